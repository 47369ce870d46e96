//! MAIL and RCPT, and whether the host can take the message at all.

use alloc::format;
use alloc::string::String;
use core::fmt::Write;

use waypost_machine::{Cx, Why};
use waypost_mail::{Body, Enhanced, Notify, Ret};

use super::Client;
use super::call::{Mail, To};
use super::hello::Features;
use super::outcome::{Cause, Stage, Trouble};
use super::reply::RemoteReply;
use super::transaction::Next;
use crate::syntax::{encode_utf8_xtext, encode_xtext};

impl Client {
    /// Why the message at hand cannot be given to this host, whatever it says.
    pub(super) fn unsuitable(&self, mail: &Mail, needs_utf8: bool) -> Option<Trouble> {
        let own = |status, reason: String| {
            Trouble::own(Stage::Mail, Cause::Unsuitable, status, reason.into())
        };
        let remote = &self.remote;
        if let Some(limit) = self.features.size
            && limit > 0
            && mail.size > limit
        {
            return Some(own(
                Enhanced(5, 3, 4),
                format!("message size {} exceeds size limit {limit} of server {remote}", mail.size),
            ));
        }
        if !self.features.smtputf8 && needs_utf8 {
            let reason = format!(
                "message requires SMTPUTF8, but no server was found that supports SMTPUTF8. The \
                 last attempted server was {remote}"
            );
            return Some(Trouble { elsewhere: true, ..own(Enhanced(5, 6, 7), reason) });
        }
        let eight_bit = mail.body == Body::EightBitMime && !self.features.eight_bit;
        if eight_bit && self.config.strict_8bitmime {
            let reason = format!("message requires 8BITMIME, which {remote} does not offer");
            return Some(Trouble { elsewhere: true, ..own(Enhanced(5, 6, 3), reason) });
        }
        None
    }

    /// The reply to MAIL.
    pub(super) fn sender_answered(&mut self, cx: &mut Cx<'_, Self>, reply: RemoteReply) {
        let Some(transaction) = &mut self.transaction else { return };
        if reply.is_success() {
            transaction.open = true;
            return;
        }
        let trouble = Trouble::said(&self.remote, Stage::Mail, reply);
        if trouble.cause == Cause::Protocol {
            return self.give_up(cx, trouble, Why::Refused);
        }
        // What was sent ahead will be refused, too; its replies do not matter any more.
        transaction.fail(trouble);
        transaction.next = Next::Drain;
    }

    /// The reply to one RCPT.
    pub(super) fn recipient_answered(
        &mut self,
        cx: &mut Cx<'_, Self>,
        at: usize,
        reply: RemoteReply,
    ) {
        let Some(transaction) = &mut self.transaction else { return };
        if reply.is_success() {
            transaction.accepted += 1;
            return;
        }
        if transaction.next == Next::Drain {
            return;
        }
        let trouble = Trouble::said(&self.remote, Stage::Rcpt, reply);
        if trouble.cause == Cause::Protocol {
            return self.give_up(cx, trouble, Why::Refused);
        }
        transaction.refuse(at, trouble);
    }
}

/// MAIL with what the host offers to understand. `utf8`: as SMTPUTF8.
pub(super) fn mail_command(mail: &Mail, features: &Features, utf8: bool) -> String {
    let mut line = format!("MAIL FROM:<{}>", mail.sender);
    if features.size.is_some() {
        put(&mut line, format_args!(" SIZE={}", mail.size));
    }
    if features.eight_bit && mail.body == Body::EightBitMime {
        line.push_str(" BODY=8BITMIME");
    }
    if features.dsn {
        if let Some(envid) = &mail.envid {
            put(&mut line, format_args!(" ENVID={}", encode_xtext(envid)));
        }
        match mail.ret {
            None => {}
            Some(Ret::Full) => line.push_str(" RET=FULL"),
            Some(Ret::Headers) => line.push_str(" RET=HDRS"),
        }
    }
    if utf8 {
        line.push_str(" SMTPUTF8");
    }
    line
}

/// RCPT with what the host offers to understand.
pub(super) fn rcpt_command(to: &To, features: &Features, utf8: bool) -> String {
    let mut line = format!("RCPT TO:<{}>", to.address);
    if !features.dsn {
        return line;
    }
    if let Some((kind, address)) = &to.orcpt {
        let address = match kind.eq_ignore_ascii_case("utf-8") {
            true => encode_utf8_xtext(address, utf8),
            false => encode_xtext(address),
        };
        // RFC 3461 4.2: the type is an atom.
        if kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            put(&mut line, format_args!(" ORCPT={kind};{address}"));
        }
    }
    if let Some(notify) = to.notify {
        put(&mut line, format_args!(" NOTIFY={}", notify_words(notify)));
    }
    line
}

fn notify_words(notify: Notify) -> String {
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let mut text = String::new();
    for (_, word) in words.into_iter().filter(|(on, _)| *on) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(word);
    }
    if text.is_empty() { "NEVER".into() } else { text }
}

fn put(line: &mut String, words: core::fmt::Arguments<'_>) {
    line.write_fmt(words).expect("invariant: writing to a String cannot fail");
}
