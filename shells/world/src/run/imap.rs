//! What an IMAP session asks for.

use std::sync::Arc;

use waypost_imap::server::{self as imap, Call, Failure, LoggedIn};
use waypost_sasl::{Credentials, Verified};

use crate::promise::{Done, Promise};
use crate::run::login::{Found, account, verify};
use crate::{ImapSession, Inner};

/// Runs one call.
pub(crate) fn run(world: &Arc<Inner>, _session: &ImapSession, call: Call, done: Done<imap::Reply>) {
    match call {
        Call::Login { credentials, ticket, .. } => {
            let promise = Promise::new(ticket, done, || LoggedIn::Unavailable);
            login(world, credentials, promise);
        }
        other => refuse(other, done),
    }
}

/// A password that is right leads on to the account.
fn login(world: &Arc<Inner>, credentials: Credentials, promise: Promise<LoggedIn, imap::Reply>) {
    let after = Arc::clone(world);
    let tell = move |verified| match verified {
        Verified::Denied => promise.keep(LoggedIn::Denied),
        Verified::Unavailable => promise.keep(LoggedIn::Unavailable),
        Verified::Accepted(user) => {
            let name = user.clone();
            let tell = move |found| {
                promise.keep(match found {
                    Found::Account(account) => LoggedIn::Accepted(Arc::new(account)),
                    Found::Absent => {
                        tracing::warn!("warning: '{name}' can log in but is not in the userdb");
                        LoggedIn::Unavailable
                    }
                    Found::Unavailable(why) => {
                        tracing::warn!("warning: mail of '{name}': {why}");
                        LoggedIn::Unavailable
                    }
                });
            };
            account(&after, &user, Box::new(tell));
        }
    };
    verify(world, credentials, Box::new(tell));
}

/// Answers a call with its temporary failure.
pub(crate) fn refuse(call: Call, done: Done<imap::Reply>) {
    const DOWN: Failure = Failure::Unavailable;
    match call {
        Call::Login { ticket, .. } => {
            drop(Promise::new(ticket, done, || LoggedIn::Unavailable));
        }
        Call::List { ticket, .. } => drop(Promise::new(ticket, done, || imap::Listed(Err(DOWN)))),
        Call::Manage { ticket, .. } => {
            drop(Promise::new(ticket, done, || imap::Managed(Err(DOWN))));
        }
        Call::Status { ticket, mailboxes, .. } => {
            done(ticket.answer(imap::Counted(mailboxes.iter().map(|_| Err(DOWN)).collect())));
        }
        Call::Open { ticket, .. } => drop(Promise::new(ticket, done, || imap::Opened(Err(DOWN)))),
        Call::Sync { ticket, .. } => drop(Promise::new(ticket, done, || imap::Synced(Err(DOWN)))),
        Call::Watch { ticket, .. } => drop(Promise::new(ticket, done, || imap::Watched)),
        Call::Release { ticket, .. } => drop(Promise::new(ticket, done, || imap::Released)),
        Call::Store { ticket, .. } => drop(Promise::new(ticket, done, || imap::Stored(Err(DOWN)))),
        Call::Expunge { ticket, .. } => {
            drop(Promise::new(ticket, done, || imap::Expunged(Err(DOWN))));
        }
        Call::Copy { ticket, .. } => drop(Promise::new(ticket, done, || imap::Copied(Err(DOWN)))),
        Call::Read { ticket, .. } => drop(Promise::new(ticket, done, || imap::Looked(Err(DOWN)))),
        Call::Body { ticket, .. } => drop(Promise::new(ticket, done, || imap::Piece(Err(DOWN)))),
        Call::Search { ticket, .. } => drop(Promise::new(ticket, done, || imap::Found(Err(DOWN)))),
        Call::Begin { ticket, .. } => drop(Promise::new(ticket, done, || imap::Begun(Err(DOWN)))),
        Call::Append { ticket, .. } => {
            drop(Promise::new(ticket, done, || imap::Appended(Err(DOWN))));
        }
        Call::Commit { ticket, .. } => {
            drop(Promise::new(ticket, done, || imap::Committed(Err(DOWN))));
        }
        Call::Abort { ticket, .. } => drop(Promise::new(ticket, done, || imap::Aborted)),
    }
}
