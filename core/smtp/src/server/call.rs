//! What an SMTP server asks of the world, and what it tells.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use waypost_machine::Ticket;
use waypost_mail::{Address, Client, Envelope, Reply as SmtpReply, ReversePath, Verdict};
use waypost_sasl::{Credentials, Verified};

/// A message that is being received, as the world names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId(pub u64);

/// A question or a deed.
#[derive(Debug)]
pub enum Call {
    /// Is this password right?
    Authenticate {
        /// The session.
        client: Arc<Client>,
        /// What the client gave.
        credentials: Credentials,
        /// For the answer.
        ticket: Ticket<Verified>,
    },
    /// May this client send to this recipient, and where does it lead?
    Recipient {
        /// The session.
        client: Arc<Client>,
        /// MAIL FROM.
        sender: ReversePath,
        /// RCPT TO.
        recipient: Address,
        /// For the answer.
        ticket: Ticket<Verdict>,
    },
    /// A message begins. When this call is cancelled ([`waypost_machine::Step::Cancel`]), whatever
    /// was begun is to be dropped: no other call will name it.
    Begin {
        /// Everything known of it.
        envelope: Arc<Envelope>,
        /// For the answer.
        ticket: Ticket<Begun>,
    },
    /// A piece of the message: CRLF line ends, dots unstuffed.
    Append {
        /// Which message.
        message: MessageId,
        /// The piece, as slices of what was received.
        chunks: Vec<Bytes>,
        /// For the answer.
        ticket: Ticket<Appended>,
    },
    /// The message is complete: make it durable, in the mailboxes or in the spool.
    Commit {
        /// Which message.
        message: MessageId,
        /// For the answer.
        ticket: Ticket<Committed>,
    },
    /// The message is given up. It may name one that is gone already, after a failed append.
    Abort {
        /// Which message.
        message: MessageId,
        /// For the answer.
        ticket: Ticket<Aborted>,
    },
}

/// The outcome of [`Call::Begin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Go on; the queue id is what logs and the final reply show.
    Ready {
        /// Its name in further calls.
        message: MessageId,
        /// `4gXyZ1abcd`: what the admin looks for in the log.
        queue_id: Box<str>,
    },
    /// Not now, with the reply for DATA or BDAT (452 4.3.1, 451 4.3.0).
    Failed(SmtpReply),
}

/// The outcome of [`Call::Append`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Taken.
    Done,
    /// Not taken; the message is lost, the reply is for its end.
    Failed(SmtpReply),
}

/// The outcome of [`Call::Commit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is on disk and will not be lost.
    Done,
    /// It is not; the reply is for the peer.
    Failed(SmtpReply),
}

/// The outcome of [`Call::Abort`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted;

/// The sum of all answers.
#[derive(Debug)]
pub enum Reply {
    /// See [`Call::Authenticate`].
    Verified(Verified),
    /// See [`Call::Recipient`].
    Verdict(Verdict),
    /// See [`Call::Begin`].
    Begun(Begun),
    /// See [`Call::Append`].
    Appended(Appended),
    /// See [`Call::Commit`].
    Committed(Committed),
    /// See [`Call::Abort`].
    Aborted(Aborted),
}

impl From<Verified> for Reply {
    fn from(answer: Verified) -> Self {
        Self::Verified(answer)
    }
}

impl From<Verdict> for Reply {
    fn from(answer: Verdict) -> Self {
        Self::Verdict(answer)
    }
}

impl From<Begun> for Reply {
    fn from(answer: Begun) -> Self {
        Self::Begun(answer)
    }
}

impl From<Appended> for Reply {
    fn from(answer: Appended) -> Self {
        Self::Appended(answer)
    }
}

impl From<Committed> for Reply {
    fn from(answer: Committed) -> Self {
        Self::Committed(answer)
    }
}

impl From<Aborted> for Reply {
    fn from(answer: Aborted) -> Self {
        Self::Aborted(answer)
    }
}

/// News for the log: one variant, one classic line (see `shells/daemon`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// `connect from`.
    Connected,
    /// The handshake is done.
    Secured,
    /// A login succeeded or failed.
    Login {
        /// The name as typed.
        user: Box<str>,
        /// `PLAIN`, `LOGIN`.
        mechanism: &'static str,
        /// What came of it.
        outcome: Verified,
    },
    /// `NOQUEUE: reject: RCPT from ...`: a command was refused.
    Rejected {
        /// The session at that time: `proto=` and `helo=`.
        client: Arc<Client>,
        /// The message, when it had begun: shown in place of `NOQUEUE`.
        queue_id: Option<Box<str>>,
        /// `MAIL`, `RCPT`, `DATA`, `BDAT`, `END-OF-MESSAGE`.
        stage: &'static str,
        /// MAIL FROM, when given.
        sender: Option<ReversePath>,
        /// RCPT TO, when given.
        recipient: Option<Address>,
        /// The reply as sent.
        reply: SmtpReply,
    },
    /// `warning: non-SMTP command from ...: GET / HTTP/1.1`: a web browser, or worse.
    NotSmtp {
        /// The line, printable and cut to 200 characters.
        line: Box<str>,
    },
    /// The end of the session: how often each verb came, and how often it succeeded.
    Disconnected {
        /// Verb in lower case, good ones, all; only verbs that came, in the order of Postfix.
        counts: Vec<(&'static str, u32, u32)>,
        /// How it ended, when not by QUIT.
        lost: Option<Lost>,
    },
}

/// How a session ended that should have gone on: `lost connection after DATA (12 bytes)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// `lost connection`, `timeout`, `too many errors`, and the like.
    pub what: &'static str,
    /// The last verb, in upper case, `CONNECT`, or `END-OF-MESSAGE`.
    pub after: &'static str,
    /// Octets of the message that had come by then, within one.
    pub octets: Option<u64>,
}
