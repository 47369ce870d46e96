//! What an IMAP session asks for.

use std::sync::Arc;

use waypost_imap::server::{self as imap, Call, Failure};

use crate::promise::{Done, Promise};
use crate::{ImapSession, Inner};

/// Runs one call.
pub(crate) fn run(_: &Arc<Inner>, _: &ImapSession, call: Call, done: Done<imap::Reply>) {
    refuse(call, done);
}

/// Answers a call with its temporary failure.
pub(crate) fn refuse(call: Call, done: Done<imap::Reply>) {
    const DOWN: Failure = Failure::Unavailable;
    match call {
        Call::Login { ticket, .. } => {
            drop(Promise::new(ticket, done, || imap::LoggedIn::Unavailable));
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
