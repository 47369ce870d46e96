//! RCPT (RFC 5321 4.1.1.3).

use alloc::boxed::Box;
use alloc::sync::Arc;

use waypost_machine::Cx;
use waypost_mail::{Address, Recipient, Verdict};

use super::{Call, Phase, Reply, Server};
use crate::error::CommandError;
use crate::limits;
use crate::reply;
use crate::syntax::{Path, PathError, RcptParams, after_keyword, path, rcpt_params};

const SYNTAX: CommandError = CommandError::Syntax("RCPT TO:<address>");

impl Server {
    pub(super) fn rcpt(&mut self, cx: &mut Cx<'_, Self>, args: &str) -> Result<(), CommandError> {
        let transaction = self.transaction.as_ref().ok_or(CommandError::NeedMail)?;
        if self.message.is_some() {
            return Err(CommandError::RcptAfterBdat);
        }
        let limit = self.config.recipient_limit;
        if transaction.recipients.len() >= limit
            || transaction.deliveries >= limit.max(limits::DELIVERIES)
            || transaction.orcpt >= limit.saturating_mul(limits::ORCPT)
        {
            return Err(CommandError::TooManyRecipients);
        }
        let text = after_keyword(args, "TO").ok_or(SYNTAX)?;
        let (recipient, rest) = path(text, &self.config.origin).map_err(|error| match error {
            PathError::Missing => SYNTAX,
            PathError::Bad => CommandError::BadRecipient,
        })?;
        let Path::Address(recipient) = recipient else { return Err(CommandError::BadRecipient) };
        if !self.may_name(&recipient, transaction.params.smtputf8) {
            return Err(CommandError::BadRecipient);
        }
        let params = rcpt_params(rest).map_err(CommandError::RcptParam)?;
        let client = Arc::clone(&self.client);
        let sender = transaction.sender.clone();
        let call = cx.call(self.config.call_timeout, |ticket| Call::Recipient {
            client,
            sender,
            recipient: recipient.clone(),
            ticket,
        });
        self.phase = Phase::Routing { call, recipient, params };
        Ok(())
    }

    /// The world has found where a recipient leads, or not (`None`).
    pub(super) fn routed(
        &mut self,
        cx: &mut Cx<'_, Self>,
        recipient: Address,
        params: RcptParams,
        outcome: Option<Reply>,
    ) {
        let verdict = match outcome {
            Some(Reply::Verdict(verdict)) => verdict,
            _ => {
                let error = CommandError::CannotRoute(Box::new(recipient.clone()));
                Verdict::Refuse(error.reply(&self.config.hostname))
            }
        };
        match (verdict, &mut self.transaction) {
            (Verdict::Accept(deliveries), Some(transaction)) => {
                let RcptParams { notify, orcpt } = params;
                transaction.deliveries += deliveries.len();
                transaction.orcpt +=
                    orcpt.as_ref().map_or(0, |(kind, text)| kind.len() + text.len());
                let accepted = Recipient { address: recipient, deliveries, notify, orcpt };
                transaction.recipients.push(accepted);
                self.finish(cx, &reply::RECIPIENT_OK);
            }
            (Verdict::Refuse(reply), _) => {
                self.rejected(cx, Some(&recipient), &reply);
                self.finish(cx, &reply);
            }
            (Verdict::Accept(_), None) => self.refuse(cx, &CommandError::NeedMail),
        }
    }

    /// A domain beyond ASCII needs SMTPUTF8 with MAIL (RFC 6531 3.4); a local part is looked up
    /// anyway, and the extension has to be on for either.
    pub(super) fn may_name(&self, address: &Address, smtputf8: bool) -> bool {
        let ascii = address.domain().as_str().is_ascii();
        !address.is_utf8() || self.config.smtputf8 && (ascii || smtputf8)
    }
}
