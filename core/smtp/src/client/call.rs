//! What an SMTP client is given, what it asks of the world, and what it tells.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use bytes::Bytes;
use waypost_machine::{Ticket, TlsInfo};
use waypost_mail::{Address, Body, Notify, Ret, ReversePath};

use super::outcome::Outcome;
use super::reply::RemoteReply;

/// The host at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its name, as the DNS or the configuration gave it.
    pub name: Box<str>,
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// What we wanted to reach when we found this host: a domain, or a relay host.
    pub nexthop: Box<str>,
    /// There is no better host for it. When such a one turns out to be ourselves, the mail goes
    /// round in circles for good.
    pub best: bool,
}

impl fmt::Display for Remote {
    /// `mx.example[192.0.2.1]`. With `{:#}` the port follows, as in `relay=`: `...]:25`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name, self.ip)?;
        if f.alternate() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// A message to be passed on, but for its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The name of this attempt in calls, of the world's choosing.
    pub id: u64,
    /// MAIL FROM.
    pub sender: ReversePath,
    /// RCPT TO; at least one.
    pub recipients: Vec<To>,
    /// Octets of the body, CRLF line ends counted as two.
    pub size: u64,
    /// `BODY=`: whether there are octets above 127 in it.
    pub body: Body,
    /// The sender asked for `SMTPUTF8`. It is passed on when the host knows it, and needed only for
    /// what follows.
    pub smtputf8: bool,
    /// The header has characters beyond ASCII.
    pub utf8_header: bool,
    /// `RET=`
    pub ret: Option<Ret>,
    /// `ENVID=`, decoded.
    pub envid: Option<Box<str>>,
}

impl Mail {
    /// It cannot be passed on without SMTPUTF8 (RFC 6531 3.2). A domain that is to be written in
    /// ASCII where that will do must come that way.
    pub(super) fn needs_utf8(&self) -> bool {
        let sender = match &self.sender {
            ReversePath::Null => false,
            ReversePath::Address(address) => address.is_utf8(),
        };
        let header = self.utf8_header && self.smtputf8;
        header || sender || self.recipients.iter().any(|to| to.address.is_utf8())
    }
}

/// One recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    /// Its address.
    pub address: Address,
    /// `NOTIFY=`
    pub notify: Option<Notify>,
    /// `ORCPT=`, decoded: type and address. Who forwards fills it in (RFC 3461 5.2.1).
    pub orcpt: Option<(Box<str>, Box<str>)>,
}

/// A question or a deed.
#[derive(Debug)]
pub enum Call {
    /// The next piece of the body: up to `len` octets from `from` on.
    Read {
        /// [`Mail::id`]
        mail: u64,
        /// Octets from the start of the body.
        from: u64,
        /// Octets, at most.
        len: usize,
        /// For the answer.
        ticket: Ticket<Read>,
    },
    /// The attempt is over, and this came of it. Never cancelled; write it down before anything
    /// else.
    Report {
        /// What became of it.
        outcome: Box<Outcome>,
        /// The connection is free: [`Call::NextMessage`] is the next call, without a wait.
        free: bool,
        /// For the answer.
        ticket: Ticket<Reported>,
    },
    /// The connection is free: is there another message for it? The answer may take
    /// [`super::Config::idle`]. A message that was handed over here and neither reported nor told
    /// by [`super::Client::unfinished`] at the end was not tried.
    NextMessage {
        /// For the answer.
        ticket: Ticket<Next>,
    },
}

/// The outcome of [`Call::Read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A piece. Only the last one, which may be empty, has `end`.
    Block {
        /// At least one octet, unless `end`.
        bytes: Bytes,
        /// The body ends here.
        end: bool,
    },
    /// It cannot be read.
    Failed,
}

/// The outcome of [`Call::Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported;

/// The outcome of [`Call::NextMessage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This one.
    Message(Arc<Mail>),
    /// None: say QUIT.
    Quit,
}

/// The sum of all answers.
#[derive(Debug)]
pub enum Reply {
    /// See [`Call::Read`].
    Read(Read),
    /// See [`Call::Report`].
    Reported(Reported),
    /// See [`Call::NextMessage`].
    Next(Next),
}

impl From<Read> for Reply {
    fn from(answer: Read) -> Self {
        Self::Read(answer)
    }
}

impl From<Reported> for Reply {
    fn from(answer: Reported) -> Self {
        Self::Reported(answer)
    }
}

impl From<Next> for Reply {
    fn from(answer: Next) -> Self {
        Self::Next(answer)
    }
}

/// News for the log. What becomes of messages is not here: see [`Call::Report`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The host has greeted.
    Greeted(RemoteReply),
    /// The handshake is done: `Verified TLS connection established to ...`.
    Secured(TlsInfo),
    /// The host offered STARTTLS and then refused it; the dialogue goes on in clear.
    TlsRefused(RemoteReply),
    /// The host knows us.
    LoggedIn,
    /// The host says SMTPUTF8 and not 8BITMIME, which it implies (RFC 6531 3.1).
    Utf8WithoutEightBit,
    /// The host said something out of turn, or did not want to reset: the connection ends after
    /// what it was used for.
    Odd(RemoteReply),
}
