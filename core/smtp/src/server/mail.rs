//! MAIL (RFC 5321 4.1.1.2).

use alloc::vec::Vec;

use waypost_machine::{Cx, UnixTime};
use waypost_mail::{Recipient, ReversePath};

use super::Server;
use crate::error::CommandError;
use crate::reply;
use crate::syntax::{MailParams, Path, PathError, after_keyword, mail_params, path};

/// What MAIL and RCPT have said.
pub(super) struct Transaction {
    pub(super) sender: ReversePath,
    pub(super) params: MailParams,
    pub(super) arrived: UnixTime,
    pub(super) recipients: Vec<Recipient>,
    /// Places that all of them lead to.
    pub(super) deliveries: usize,
    /// Octets of all ORCPT.
    pub(super) orcpt: usize,
}

const SYNTAX: CommandError = CommandError::Syntax("MAIL FROM:<address>");

impl Server {
    pub(super) fn mail(&mut self, cx: &mut Cx<'_, Self>, args: &str) -> Result<(), CommandError> {
        if self.transaction.is_some() {
            return Err(CommandError::NestedMail);
        }
        let text = after_keyword(args, "FROM").ok_or(SYNTAX)?;
        let (sender, rest) = path(text, &self.config.origin).map_err(|error| match error {
            PathError::Missing => SYNTAX,
            PathError::Bad => CommandError::BadSender,
        })?;
        let sender = match sender {
            Path::Null => ReversePath::Null,
            Path::Address(address) => ReversePath::Address(address),
        };
        let params = mail_params(rest, self.config.smtputf8).map_err(CommandError::MailParam)?;
        if let ReversePath::Address(address) = &sender
            && !self.may_name(address, params.smtputf8)
        {
            return Err(CommandError::BadSender);
        }
        let too_big = params.size.is_some_and(|size| self.config.too_big(size));
        let arrived = cx.now.wall;
        let (recipients, deliveries, orcpt) = (Vec::new(), 0, 0);
        self.transaction =
            Some(Transaction { sender, params, arrived, recipients, deliveries, orcpt });
        if too_big {
            let error = CommandError::AnnouncedTooBig;
            self.rejected(cx, None, &error.reply(&self.config.hostname));
            self.transaction = None;
            return Err(error);
        }
        self.finish(cx, &reply::SENDER_OK);
        Ok(())
    }
}
