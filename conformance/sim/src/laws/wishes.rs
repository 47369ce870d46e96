//! What senders want to be told (RFC 3461), and that the next host learns of it.

use std::collections::BTreeSet;

use super::judge::Found;
use super::{Law, Ledger, Message, Taken, Try};
use crate::book::{End, Known};
use crate::message::in_report;
use crate::script::{Notify, Ret};

/// Domains to which nothing goes in clear: `relay.smtp_tls_policy_maps` of the configuration.
const ENCRYPTED: &str = "twin.test";

/// The envelope id of a message that has one.
pub fn envelope_id(token: u32) -> String {
    format!("envelope-{token}")
}

/// Text as parameters have it (RFC 3461 4).
pub fn xtext(text: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && c != '+' && c != '=';
    let each = text.chars().map(|c| if plain(c) { c.into() } else { format!("+{:02X}", c as u32) });
    each.collect()
}

/// What the sender of a message wants to know; of success nothing where he does not say.
pub(super) fn of(message: &Message) -> Notify {
    message.mail.notify.unwrap_or(Notify { success: false, failure: true, delay: true })
}

impl Ledger {
    /// W2: the sender is told what he wants to know, and nothing else.
    pub(super) fn judge_wishes(
        &self,
        (token, queue_id): (u32, &str),
        (message, tried): (&Message, &Try),
        ends: &BTreeSet<End>,
        found: &Found,
        broken: &mut Vec<(Law, String)>,
    ) {
        let wish = of(message);
        let it = format!("message {token} ({queue_id})");
        for ((_, who), actions) in found.reported.iter().filter(|((id, _), _)| id == queue_id) {
            let unwanted = |action: &&String| match action.as_str() {
                "failed" => !wish.failure,
                "delayed" => !wish.delay,
                _ => !wish.success,
            };
            for action in actions.keys().filter(unwanted) {
                broken.push((Law::W2, format!("{it}: {who} {action}, and nobody wanted to know")));
            }
        }
        if !wish.success || message.mail.from.is_empty() {
            return;
        }
        for end in ends {
            let (End::Mailbox(_, who) | End::Remote(who)) = end else { continue };
            let told = |who: &str, is: &[&str]| {
                let actions = found.reported.get(&(queue_id.to_owned(), in_report(who)));
                actions.is_some_and(|actions| is.iter().any(|it| actions.contains_key(*it)))
            };
            let of_alias =
                || tried.to.iter().any(|to| told(to, &["expanded"]) && self.leads(to, who));
            if self.came(token, queue_id, end, found)
                && !told(who, &["delivered", "relayed"])
                && !of_alias()
                && !self.is_told_by_host(token, message, who)
                && !self.is_told_elsewhere(message, queue_id, who)
                // The copy of before a crash stays, whatever becomes of the second attempt.
                && (!told(who, &["failed"]) || self.mishaps_of(queue_id) == 0)
            {
                broken.push((Law::W2, format!("{it} came to {who}, and its sender was not told")));
            }
        }
    }

    /// True when it is where it should be.
    pub(super) fn came(&self, token: u32, queue_id: &str, end: &End, found: &Found) -> bool {
        let key = |who: &str| (token, queue_id.to_owned(), who.to_owned());
        match end {
            End::Mailbox(_, who) => found.delivered.contains_key(&key(who)),
            End::Remote(who) => found.relayed.contains_key(&key(who)),
            End::Nowhere(_) => false,
        }
    }

    /// True when a host has it that tells of it itself.
    fn is_told_by_host(&self, token: u32, message: &Message, who: &str) -> bool {
        let is_it = |to: &String| to.eq_ignore_ascii_case(who);
        message.mail.to.iter().any(is_it)
            && self.taken.iter().any(|taken| {
                taken.knows_dsn
                    && taken.to.iter().any(is_it)
                    && crate::message::read(&taken.data).token == Some(token)
            })
    }

    /// W8: what must come by TLS does. W4: the envelope says what the sender said.
    pub(super) fn judge_envelope(
        &self,
        token: u32,
        message: &Message,
        taken: &Taken,
        broken: &mut Vec<(Law, String)>,
    ) {
        let it = format!("{} got message {token}", taken.host);
        if taken.host.ends_with(ENCRYPTED) && !taken.secure {
            broken.push((Law::W8, format!("{it} in clear")));
        }
        let mail = &message.mail;
        let has = |word: &str| taken.words.split(' ').any(|it| it == word);
        if mail.utf8 && !(has("SMTPUTF8") && has("BODY=8BITMIME")) {
            broken.push((Law::W4, format!("{it} as one in ASCII:{}", taken.words)));
        }
        if !taken.knows_dsn {
            return;
        }
        let ret = mail.ret.map(|ret| match ret {
            Ret::Full => "FULL".to_owned(),
            Ret::Headers => "HDRS".to_owned(),
        });
        let envid = mail.envid.then(|| envelope_id(token));
        for (name, expected) in [("RET", ret), ("ENVID", envid)] {
            let told = parameter(&taken.words, name);
            if told != expected.as_deref() {
                broken.push((Law::W4, format!("{it} with {name} {told:?}, not {expected:?}")));
            }
        }
        for (to, words) in taken.to.iter().zip(&taken.to_words) {
            // Who forwards tells of the success himself.
            let forwarded = !mail.to.iter().any(|it| it.eq_ignore_ascii_case(to));
            let notify = mail.notify.map(|it| Notify { success: it.success && !forwarded, ..it });
            let notify = notify.map(|notify| notify.to_string().to_ascii_uppercase());
            let told = parameter(words, "NOTIFY");
            if told != notify.as_deref() {
                broken.push((Law::W4, format!("{it} with NOTIFY {told:?}, not {notify:?}")));
            }
            let orcpt = parameter(words, "ORCPT");
            let known = |orcpt: &str| {
                let is_it =
                    |to: &&String| orcpt.eq_ignore_ascii_case(&format!("rfc822;{}", xtext(to)));
                orcpt.starts_with("utf-8;") || mail.to.iter().any(|to| is_it(&to))
            };
            if orcpt.is_some_and(|orcpt| !known(orcpt))
                || orcpt.is_none() && (forwarded || mail.envid && to.is_ascii())
            {
                broken.push((Law::W4, format!("{it} for {to} with ORCPT {orcpt:?}")));
            }
        }
    }

    /// Of an address that leads to one end or another, as the directory changes, those that were
    /// meant: where it came, or any.
    pub(super) fn meant(
        &self,
        (token, queue_id): (u32, &str),
        to: &str,
        found: &Found,
    ) -> Option<BTreeSet<End>> {
        if !self.book.changes(to) {
            return None;
        }
        let Known::Here(ends) = self.book.look(to) else { return None };
        let is_there = |end: &&End| {
            let (End::Mailbox(_, who) | End::Remote(who) | End::Nowhere(who)) = end;
            self.came(token, queue_id, end, found)
                || found.reported.contains_key(&(queue_id.to_owned(), in_report(who)))
                || found.waiting.get(queue_id).is_some_and(|waiting| waiting.contains(who))
        };
        let there: BTreeSet<End> = ends.iter().filter(is_there).cloned().collect();
        Some(if there.is_empty() { ends.into_iter().take(1).collect() } else { there })
    }
}

fn parameter<'a>(words: &'a str, name: &str) -> Option<&'a str> {
    let mut words = words.split(' ').filter_map(|word| word.split_once('='));
    words.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
