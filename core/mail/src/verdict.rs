//! What routing says of a recipient.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::address::Address;
use crate::status::Reply;

/// The outcome of RCPT TO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it; there is at least one delivery.
    Accept(Vec<Delivery>),
    /// Refuse it with this reply: 5xx for good, 4xx for now (the directory does not answer).
    Refuse(Reply),
}

/// One place where a message has to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The final address, after all aliases: Delivered-To.
    pub to: Address,
    /// The address that the peer gave: X-Original-To, and `orig_to=` in logs.
    pub orig_to: Address,
    /// What to do.
    pub target: Target,
}

/// What to do with a message for one final address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Put it into a Maildir.
    Maildir(MailHome),
    /// Send it to the mail exchangers of the address's domain.
    Remote,
    /// It cannot be told now where it goes (a table gave nonsense, the directory was down while
    /// an alias was followed): keep it, ask again later.
    Later(Reply),
    /// It leads nowhere, though another part of the same alias does lead somewhere: a failure
    /// notice is due.
    Undeliverable(Reply),
}

/// A user's Maildir and the identity that owns it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MailHome {
    /// Absolute path of the Maildir, without trailing slash: `/home/mail/mail000/mailbox`.
    pub path: Box<str>,
    /// Numeric user id.
    pub uid: u32,
    /// Numeric group id.
    pub gid: u32,
}

/// An account as a login finds it: who, and where the mail lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// The account's own name (its uid attribute), whatever was typed.
    pub user: Box<str>,
    /// Its mail.
    pub home: MailHome,
}
