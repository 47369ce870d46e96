//! What there is to tell. What becomes of messages is not here: the queue tells that.

use std::sync::Arc;

use waypost_machine::TlsInfo;
use waypost_smtp::client::Remote;
use waypost_tls_client::Trust;

/// Where news go.
pub trait Log: Send + Sync {
    /// Something happened.
    fn event(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> Log for F {
    fn event(&self, event: Event) {
        self(event);
    }
}

/// News of connections and attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is no connection: `connect to mx.remote.test[192.0.2.1]:25: Connection refused`.
    Unreachable {
        /// The words.
        reason: Box<str>,
    },
    /// Something is wrong with an exchanger; others may do.
    Skipped {
        /// The words.
        reason: Box<str>,
    },
    /// TLS is up: `Verified TLS connection established to mx.remote.test[192.0.2.1]:25: ..`.
    Secured {
        /// How much the certificate is worth.
        trust: Trust,
        /// The host.
        remote: Arc<Remote>,
        /// What was agreed on.
        info: TlsInfo,
    },
    /// TLS did not come about: `certificate verification failed for mx.remote.test[192.0.2.1]:25:
    /// self-signed certificate`. Or there is none where a policy on trial wants it.
    Insecure {
        /// The words.
        reason: Box<str>,
    },
    /// A host did not take a message, and that is not the last word: another host is tried, or the
    /// same one differently.
    Passing {
        /// The message.
        queue_id: Arc<str>,
        /// What was the matter.
        reason: Box<str>,
    },
    /// A host does what it should not.
    Odd {
        /// The host.
        remote: Arc<Remote>,
        /// What.
        what: Box<str>,
    },
}
