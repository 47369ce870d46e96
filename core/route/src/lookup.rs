//! Tables, keys and answers.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use waypost_machine::Ticket;
use waypost_mail::{Address, Reply};

use crate::alias::Progress;
use crate::policy::Policy;
use crate::{class, reply};

/// The tables of routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Map {
    /// `virtual_alias_domains`: domain → anything. One value is as good as all.
    AliasDomains,
    /// `virtual_mailbox_domains`: domain → anything. One value is as good as all.
    MailboxDomains,
    /// `virtual_alias_maps`: address → addresses.
    Aliases,
    /// `virtual_mailbox_maps`: address → path.
    Mailboxes,
    /// `virtual_uid_maps`: address → user id.
    Uids,
    /// `virtual_gid_maps`: address → group id.
    Gids,
    /// `smtpd_sender_login_maps`: sender address → logins.
    SenderLogins,
}

impl Map {
    /// The name in main.cf.
    pub fn name(self) -> &'static str {
        match self {
            Self::AliasDomains => "virtual_alias_domains",
            Self::MailboxDomains => "virtual_mailbox_domains",
            Self::Aliases => "virtual_alias_maps",
            Self::Mailboxes => "virtual_mailbox_maps",
            Self::Uids => "virtual_uid_maps",
            Self::Gids => "virtual_gid_maps",
            Self::SenderLogins => "smtpd_sender_login_maps",
        }
    }

    /// Whether only the existence of a value is asked for.
    pub fn exists_only(self) -> bool {
        matches!(self, Self::AliasDomains | Self::MailboxDomains)
    }
}

/// A question to a table.
#[derive(Debug)]
pub struct Lookup {
    /// Which table.
    pub map: Map,
    /// What to look for, in lower case.
    pub key: String,
    /// For the answer.
    pub ticket: Ticket<Looked>,
}

/// What a table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// These values; at least one.
    Found(Vec<String>),
    /// There is nothing under this key.
    Absent,
    /// It cannot be told now; says why. Never to be taken for `Absent`.
    Unavailable(String),
}

/// What was learned so far, and what is missing.
#[derive(Debug, Default)]
pub(crate) struct Book {
    answers: BTreeMap<(Map, String), Option<Arc<[String]>>>,
    wanted: Vec<(Map, String)>,
    /// Alias expansions under way, by their start.
    pub(crate) expansions: BTreeMap<String, Progress>,
}

/// Why the story cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Answers are missing, see [`Book::wanted`].
    Wait,
    /// A table does not answer.
    Down,
    /// It is over.
    Refuse(Reply),
}

impl Stop {
    /// Turns a failure of a table into the reply about this address.
    pub(crate) fn about(self, address: &Address) -> Self {
        match self {
            Self::Down => Self::Refuse(reply::lookup_failure(address)),
            other => other,
        }
    }
}

impl Book {
    /// Writes down what a table said.
    pub(crate) fn learn(&mut self, map: Map, key: String, looked: Looked) {
        let answer = match looked {
            Looked::Found(values) => Some(values.into()),
            Looked::Absent => Some(Arc::default()),
            Looked::Unavailable(_) => None,
        };
        self.answers.insert((map, key), answer);
    }

    /// The values under a key; empty when there are none. An unknown answer is noted as wanted.
    pub(crate) fn look(&mut self, map: Map, key: &str) -> Result<Arc<[String]>, Stop> {
        let at = (map, key.to_lowercase());
        match self.answers.get(&at) {
            Some(Some(values)) => Ok(values.clone()),
            Some(None) => Err(Stop::Down),
            None => {
                self.wanted.push(at);
                Err(Stop::Wait)
            }
        }
    }

    /// The first of the keys that has values, and these.
    pub(crate) fn find(&mut self, map: Map, keys: Vec<Key>) -> Result<Option<Hit>, Stop> {
        for key in keys {
            let values = self.look(map, &key.text)?;
            if !values.is_empty() {
                return Ok(Some(Hit { key, values }));
            }
        }
        Ok(None)
    }

    /// Takes the questions that came up, each once.
    pub(crate) fn wanted(&mut self) -> Vec<(Map, String)> {
        let mut wanted = core::mem::take(&mut self.wanted);
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }
}

/// A form of an address under which it may stand in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) text: String,
    /// What the key leaves out: `+lists`.
    pub(crate) extension: String,
}

/// The key that has values, and these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) key: Key,
    pub(crate) values: Arc<[String]>,
}

/// The forms of an address in the order of virtual(5): `user+ext@domain`, `user@domain`; where the
/// domain is our own, `user+ext`, `user`; at last `@domain`.
pub(crate) fn keys(policy: &Policy, address: &Address) -> Vec<Key> {
    let key = |text: String, extension: &str| Key { text, extension: extension.to_string() };
    let domain = address.domain();
    let (user, extension) = split(policy, address.local());
    let mut keys = Vec::from([key(address.lookup_key(), "")]);
    if !extension.is_empty() {
        keys.push(key(format!("{user}@{domain}"), extension));
    }
    if class::is_own_site(policy, domain) {
        keys.push(key(address.local().to_string(), ""));
        if !extension.is_empty() {
            keys.push(key(user.to_string(), extension));
        }
    }
    keys.push(key(format!("@{domain}"), ""));
    keys
}

/// Cuts a local part before its extension (`recipient_delimiter`). As in Postfix, an extension never
/// leaves an empty user, and some names have none.
pub(crate) fn split<'a>(policy: &Policy, local: &'a str) -> (&'a str, &'a str) {
    let reserved = ["mailer-daemon", "double-bounce"];
    let lists = policy.recipient_delimiter.contains('-') && {
        let folded = local.to_ascii_lowercase();
        folded.starts_with("owner-") || folded.ends_with("-request")
    };
    if lists || reserved.iter().any(|name| local.eq_ignore_ascii_case(name)) {
        return (local, "");
    }
    match local.find(|c| policy.recipient_delimiter.contains(c)) {
        Some(at) if at > 0 => local.split_at(at),
        _ => (local, ""),
    }
}
