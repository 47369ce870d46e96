//! What is at the other end of a stream: a client of the server, or a host that it dials.
//!
//! A peer knows nothing of TLS, latency or the pieces that its bytes are cut into; it is told what
//! came, and says on its [`Line`] what it wants.

use std::net::SocketAddr;
use std::time::Duration;

use waypost_daemon::Service;
use waypost_machine::Now;

/// How a stream came to its end, seen from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server sends no more.
    Eof,
    /// It is gone, with what was under way.
    Reset,
    /// It never was there.
    Refused,
    /// Nobody answered.
    TimedOut,
}

/// How a peer ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// In order, after what was sent.
    Eof,
    /// At once; what is under way is lost.
    Reset,
}

/// One peer's wishes. The network takes them up after each call of a [`Peer`].
#[derive(Debug, Default)]
pub struct Line {
    /// What to send, in clear or under TLS, whatever the stream has by now.
    pub out: Vec<u8>,
    /// Begin TLS when all of `out` is sent.
    pub secure: bool,
    /// Call [`Peer::woken`] after this time; replaces an earlier wish.
    pub wake: Option<Duration>,
    /// End the stream.
    pub close: Option<Close>,
    /// Stop reading (`true`), go on reading (`false`).
    pub pause: Option<bool>,
}

impl Line {
    /// Sends a line; its end is added.
    pub fn say(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
}

/// The other end. Each method is called with an empty [`Line`] and the time.
pub trait Peer: Send {
    /// The stream is there, with TLS where the port begins with it.
    fn opened(&mut self, at: Now, line: &mut Line);
    /// Bytes came.
    fn received(&mut self, at: Now, bytes: &[u8], line: &mut Line);
    /// The TLS that [`Line::secure`] asked for is there.
    fn secured(&mut self, at: Now, line: &mut Line);
    /// The server's side of the stream is over; called once at most, and nothing is read after it.
    fn ended(&mut self, at: Now, how: Ended, line: &mut Line);
    /// The time asked for by [`Line::wake`] is over.
    fn woken(&mut self, at: Now, line: &mut Line);
    /// True when it will never say what the server waits for, and keeps the stream.
    fn is_stalled(&self) -> bool {
        false
    }
}

/// Opens streams to the server.
pub trait Network: Send + Sync {
    /// Connects to a service; the peer learns what becomes of it.
    fn connect(&self, service: Service, from: SocketAddr, peer: Box<dyn Peer>);
}
