//! What is needed of a runtime: connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use waypost_machine::{Limits, Session};
use waypost_smtp::client::Client;

use crate::job::Job;
use crate::line::{Line, Terms};

/// Opens connections.
pub trait Dial: Send + Sync {
    /// Notes a wish; returns at once. Sooner or later [`Wish::connected`] or [`Wish::failed`] is
    /// called; to drop it counts as a failure.
    fn dial(&self, wish: Wish);
}

/// A connection that is wished for.
pub struct Wish {
    address: SocketAddr,
    bind: Option<IpAddr>,
    timeout: Duration,
    /// Until it is settled.
    party: Option<(Arc<Job>, Terms)>,
}

/// What is to be run on a connection.
pub struct Started {
    /// The machine.
    pub machine: Session<Client>,
    /// How it speaks TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// What its calls go to.
    pub line: Line,
}

impl Wish {
    pub(crate) fn new(
        address: SocketAddr,
        bind: Option<IpAddr>,
        timeout: Duration,
        job: Arc<Job>,
        terms: Terms,
    ) -> Self {
        Self { address, bind, timeout, party: Some((job, terms)) }
    }

    /// Where to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address to connect from, if it matters.
    pub fn bind(&self) -> Option<IpAddr> {
        self.bind
    }

    /// How long it may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The connection is there. `None` when it is not wanted any more.
    pub fn connected(mut self) -> Option<Started> {
        let (job, terms) = self.party.take()?;
        let mail = job.talk()?;
        let client = Client::new(Arc::clone(&terms.config), terms.remote.as_ref().clone(), mail);
        let machine = Session::new(job.now(), client, Limits::default());
        let tls = terms.tls.clone();
        Some(Started { machine, tls, line: Line::new(job, terms) })
    }

    /// There is no connection.
    pub fn failed(mut self, error: &io::Error) {
        if let Some((job, terms)) = self.party.take() {
            job.unreachable(&terms.remote, &words(error), is_ours(error));
        }
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        if let Some((job, terms)) = self.party.take() {
            job.unreachable(&terms.remote, "the attempt was broken off", true);
        }
    }
}

/// We have no descriptors, memory or ports left, or not the address to connect from: it says nothing
/// about the host, and others of its messages may fare better.
fn is_ours(error: &io::Error) -> bool {
    // ENOMEM, ENFILE, EMFILE, EADDRINUSE, EADDRNOTAVAIL, ENOBUFS
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 98 | 99 | 105))
}

/// As strerror(3) words it.
fn words(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::TimedOut {
        return "Connection timed out".into();
    }
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.into(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_in_the_words_of_the_system() {
        // ECONNREFUSED
        assert_eq!(words(&io::Error::from_raw_os_error(111)), "Connection refused");
        assert_eq!(words(&io::ErrorKind::TimedOut.into()), "Connection timed out");
        assert_eq!(words(&io::Error::other("no more")), "no more");
    }
}
