//! Mail for other servers: what the world needs of whoever takes it there.

use std::sync::Arc;
use std::time::Duration;

use waypost_queue::{Diagnosis, SiteState};
use waypost_smtp::client::{Mail, Read};

/// Takes messages to other servers.
pub trait Carrier: Send + Sync {
    /// Tries once to take a message to the hosts of its next hop. Returns at once; `done` is called
    /// exactly once, from any thread, also when the carrier is stopping: then everybody is
    /// [`Fate::Deferred`], unless somebody has the message already.
    fn carry(&self, consignment: Consignment, done: Box<dyn FnOnce(Carried) + Send>);
}

/// One message for one next hop.
#[derive(Clone)]
pub struct Consignment {
    /// Its name in the log.
    pub queue_id: Arc<str>,
    /// Where to: a domain, or a relay host as `relayhost` of postconf(5) writes it.
    pub nexthop: Box<str>,
    /// Envelope and size. Its `id` is unlike that of all others under way.
    pub mail: Arc<Mail>,
    /// The message itself.
    pub body: Arc<dyn Body>,
}

/// A message that lies in the spool.
pub trait Body: Send + Sync {
    /// Reads up to `len` octets from `from` on; returns at once. `done` is called exactly once, on
    /// any thread. Only the last piece, which may be empty, has `end`.
    fn read(&self, from: u64, len: usize, done: Box<dyn FnOnce(Read) + Send>);
}

/// What came of a [`Consignment`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// In the order of [`Mail::recipients`].
    pub recipients: Vec<Passed>,
    /// What it tells of the next hop.
    pub site: SiteState,
}

/// What came of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// How it ended.
    pub fate: Fate,
    /// The status, and what stands in the log's parentheses: `250 2.0.0 Ok: queued as 000001`,
    /// `host mx.remote.test[192.0.2.1] said: 550 5.1.1 ... (in reply to RCPT TO command)`.
    pub diagnosis: Arc<Diagnosis>,
    /// The host that it ended at, as after `relay=`: `mx.remote.test[192.0.2.1]:25`, or `none`.
    pub relay: Box<str>,
    /// How long it took to reach the host, and then to hand the message over.
    pub delays: [Duration; 2],
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The host has it.
    Sent {
        /// The host has also taken over to notify the sender (RFC 3461 5.2).
        notifies: bool,
    },
    /// Not now.
    Deferred,
    /// Never.
    Failed,
}
