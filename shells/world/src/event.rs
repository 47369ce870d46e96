//! News of messages on their way: what the log tells of a queue id after the SMTP session's part.
//!
//! One variant is one line of a classic log (see `shells/daemon`).

use std::sync::Arc;
use std::time::Duration;

use waypost_mail::{Address, Envelope, ReversePath};
use waypost_queue::ReportKind;

/// Something that happened to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `smtpd: ID: client=name[address], sasl_method=.., sasl_username=..`: a message begins.
    Client {
        /// The message.
        queue_id: Arc<str>,
        /// The session it came in; recipients are in there too.
        envelope: Arc<Envelope>,
    },
    /// `cleanup: ID: message-id=<..>`
    MessageId {
        /// The message.
        queue_id: Arc<str>,
        /// The header's value, with its angle brackets; empty without such a header.
        message_id: Box<str>,
    },
    /// `qmgr: ID: from=<..>, size=.., nrcpt=.. (queue active)`
    Active {
        /// The message.
        queue_id: Arc<str>,
        /// MAIL FROM.
        sender: ReversePath,
        /// Octets with LF line ends, our Received header included.
        size: u64,
        /// Recipients that are left, after alias expansion.
        recipients: usize,
    },
    /// `virtual: ID: to=<..>, orig_to=<..>, relay=.., delay=.., delays=.., dsn=.., status=..`
    Delivery(Box<Attempt>),
    /// `bounce: ID: sender non-delivery notification: OTHER`: the sender is told.
    Notified {
        /// The message.
        queue_id: Arc<str>,
        /// Of what.
        kind: ReportKind,
        /// The report's own name; its further lines follow under that.
        report: Arc<str>,
        /// It goes to the postmaster, since the sender of a bounce cannot be told.
        postmaster: bool,
    },
    /// `qmgr: ID: from=<..>, status=expired, returned to sender`
    Expired {
        /// The message.
        queue_id: Arc<str>,
        /// MAIL FROM.
        sender: ReversePath,
    },
    /// `qmgr: ID: removed`: nothing is left to do.
    Removed {
        /// The message.
        queue_id: Arc<str>,
    },
    /// `qmgr: warning: ..`: the server stops, and deliveries that run did not end in time. They are
    /// tried again at the next start, whatever came of them.
    Abandoned,
}

/// One attempt to deliver to one final address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The message.
    pub queue_id: Arc<str>,
    /// The final address.
    pub to: Address,
    /// What the peer gave; the same as `to` where no alias was followed.
    pub orig_to: Address,
    /// Who tried.
    pub agent: Agent,
    /// `virtual` for a mailbox, the host for mail to other servers, `none` where nothing was tried.
    pub relay: Box<str>,
    /// The time spent: before the queue, in the queue, connecting, transmitting.
    pub delays: [Duration; 4],
    /// `2.0.0`, `4.3.0`.
    pub dsn: waypost_mail::Enhanced,
    /// What came of it.
    pub status: Status,
    /// What stands in parentheses: `delivered to maildir`.
    pub text: Box<str>,
}

/// Which of Postfix's programs would have made the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// A mailbox here.
    Virtual,
    /// Another server.
    Smtp,
    /// Nothing was tried: it leads nowhere, or its destination is known to be down.
    Error,
}

impl Agent {
    /// The program's name: `virtual`, `smtp`, `error`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Virtual => "virtual",
            Self::Smtp => "smtp",
            Self::Error => "error",
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Delivered.
    Sent,
    /// Not now; it is tried again.
    Deferred,
    /// Never.
    Bounced,
}

impl Status {
    /// The word after `status=`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Deferred => "deferred",
            Self::Bounced => "bounced",
        }
    }
}

/// Takes the news. Called from worker threads, so it must not wait for anything.
pub trait Log: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> Log for F {
    fn event(&self, event: Event) {
        self(event);
    }
}
