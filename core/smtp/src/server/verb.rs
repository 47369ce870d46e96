//! The table of verbs.

use alloc::vec::Vec;

use waypost_machine::Cx;

use super::Server;
use crate::error::CommandError;

/// A verb.
pub(super) struct Verb {
    /// As clients write it, in upper case.
    pub(super) name: &'static str,
    /// As the log counts it.
    counted: &'static str,
    /// Allowed before STARTTLS where TLS is required (RFC 3207 4).
    pub(super) before_tls: bool,
    /// Leads nowhere: too many of them are errors.
    pub(super) junk: bool,
    /// What it does, given what follows the verb.
    pub(super) run: Run,
}

/// Replies itself, now or when the world has answered, unless it returns an error.
type Run = fn(&mut Server, &mut Cx<'_, Server>, &str) -> Result<(), CommandError>;

const fn verb(name: &'static str, counted: &'static str, run: Run) -> Verb {
    Verb { name, counted, before_tls: false, junk: false, run }
}

/// All verbs, in the order in which the log counts them.
pub(super) static VERBS: [Verb; 15] = [
    Verb { before_tls: true, junk: true, ..verb("HELO", "helo", Server::helo) },
    Verb { before_tls: true, junk: true, ..verb("EHLO", "ehlo", Server::ehlo) },
    Verb { before_tls: true, ..verb("STARTTLS", "starttls", Server::starttls) },
    verb("AUTH", "auth", Server::auth),
    verb("MAIL", "mail", Server::mail),
    verb("RCPT", "rcpt", Server::rcpt),
    verb("DATA", "data", Server::data),
    verb("BDAT", "bdat", Server::bdat),
    Verb { junk: true, ..verb("RSET", "rset", Server::rset) },
    Verb { before_tls: true, junk: true, ..verb("NOOP", "noop", Server::noop) },
    Verb { junk: true, ..verb("VRFY", "vrfy", Server::vrfy) },
    Verb { junk: true, ..verb("ETRN", "etrn", |_, _, _| Err(CommandError::NotImplemented)) },
    Verb { junk: true, ..verb("HELP", "help", Server::help) },
    Verb { before_tls: true, ..verb("QUIT", "quit", Server::quit) },
    Verb { before_tls: true, ..verb("UNKNOWN", "unknown", Server::unknown) },
];

/// The place of the verb that is none.
pub(super) const UNKNOWN: usize = VERBS.len() - 1;

/// The place of a verb in the table.
pub(super) fn find(name: &str) -> usize {
    VERBS[..UNKNOWN].iter().position(|v| v.name.eq_ignore_ascii_case(name)).unwrap_or(UNKNOWN)
}

/// How often each verb came, and how often it succeeded.
#[derive(Default)]
pub(super) struct Tally([(u32, u32); VERBS.len()]);

impl Tally {
    pub(super) fn count(&mut self, verb: usize, good: bool) {
        let (successes, all) = &mut self.0[verb];
        *successes += u32::from(good);
        *all += 1;
    }

    /// Name, successes, all.
    pub(super) fn counts(&self) -> Vec<(&'static str, u32, u32)> {
        let rows = VERBS.iter().zip(self.0);
        rows.filter(|(_, (_, all))| *all > 0)
            .map(|(v, (good, all))| (v.counted, good, all))
            .collect()
    }
}
