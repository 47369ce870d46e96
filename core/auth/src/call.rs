//! What the server asks of the world, and what it tells.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::IpAddr;

use waypost_machine::Ticket;
use waypost_sasl::{Credentials, Verified};

use crate::request::Fault;

/// Who wants to log in, as the asking service tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `smtp`, `imap`.
    pub service: Box<str>,
    /// The address of the service.
    pub local: Option<IpAddr>,
    /// The address of its client.
    pub remote: Option<IpAddr>,
    /// The client's connection is encrypted.
    pub secured: bool,
}

/// A question.
#[derive(Debug)]
pub enum Call {
    /// Is this password right?
    Authenticate {
        /// Who asks.
        origin: Arc<Origin>,
        /// What the client gave.
        credentials: Credentials,
        /// For the answer.
        ticket: Ticket<Verified>,
    },
}

/// The sum of all answers.
#[derive(Debug)]
pub enum Reply {
    /// See [`Call::Authenticate`].
    Verified(Verified),
}

impl From<Verified> for Reply {
    fn from(answer: Verified) -> Self {
        Self::Verified(answer)
    }
}

/// News for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A login succeeded or failed.
    Login {
        /// Who asked.
        origin: Arc<Origin>,
        /// The name as typed; empty when it did not come to one.
        user: Box<str>,
        /// `PLAIN`, `LOGIN`.
        mechanism: &'static str,
        /// What came of it.
        outcome: Verified,
    },
    /// The client does not keep to the protocol; its connection is closed.
    Broken {
        /// What it did.
        fault: Fault,
    },
}
