//! A connection: bytes on their way in two directions, the server's session at one end, a peer at the
//! other.
//!
//! | file | what is there |
//! |---|---|
//! | `near.rs` | the server's end: drives a session |
//! | `far.rs` | the other end: a peer, and its TLS |
//! | `weather.rs` | what befalls a connection |

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use waypost_daemon::Session;
use waypost_world::Clock;

use crate::choices::Choices;
use crate::far::Far;
use crate::heap::{ETERNAL, Heap, Life};
use crate::laws::{Breach, Law};
use crate::near::Near;
use crate::peer::{Ended, Peer};
use crate::trace::Trace;
use crate::weather::{Direction, Fortune, Mishap, Pieces};

/// Planted faults on the way between the server and its peers.
pub trait Tamper: Send + Sync {
    /// What a peer hears of what the server has sent it, TLS taken off.
    fn heard(&self, bytes: Bytes) -> Bytes {
        bytes
    }

    /// What is sent to the server of what a peer says, TLS not yet put on.
    fn said(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    /// True when sessions are kept although their connections have ended.
    fn keeps_sessions(&self) -> bool {
        false
    }

    /// True when the server's end of a connection is not woken this time.
    fn loses_wake(&self) -> bool {
        false
    }
}

/// What all connections of a run share.
pub(crate) struct Net {
    pub(crate) heap: Arc<Heap>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) tamper: Option<Arc<dyn Tamper>>,
    /// What should not be.
    pub(crate) complaints: Mutex<Vec<Breach>>,
}

impl Net {
    pub(crate) fn complain(&self, law: Law, what: impl Into<String>) {
        lock(&self.complaints).push(Breach { law, what: what.into() });
    }
}

/// Who opened a connection, and how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    /// A client; `tls`: from the start.
    Client { tls: bool },
    /// The server.
    Server,
}

pub(crate) struct Stream {
    pub(crate) net: Arc<Net>,
    /// The server's.
    pub(crate) life: Life,
    /// For the trace.
    pub(crate) name: String,
    pub(crate) opener: Opener,
    choices: Choices,
    fortune: Fortune,
    pipes: Mutex<Pipes>,
    pub(crate) near: Mutex<Near>,
    /// The server's end has been woken and is about to run.
    pub(crate) woken: AtomicBool,
    /// The server is dead; what is left is what its kernel does.
    pub(crate) gone: AtomicBool,
    pub(crate) far: Mutex<Far>,
}

#[derive(Default)]
struct Pipes {
    to_server: Pipe,
    to_peer: Pipe,
    mishap: Option<(Mishap, Direction, u64)>,
    /// Nothing arrives any more.
    silent: bool,
}

#[derive(Default)]
struct Pipe {
    /// When the last piece arrives.
    last: Duration,
    /// Bytes written and not yet read.
    held: usize,
    /// Bytes that have arrived and are not yet read.
    arrived: VecDeque<Bytes>,
    /// How it ended, once that has arrived.
    end: Option<Ended>,
    /// Bytes written so far.
    written: u64,
    /// The writer waits for room.
    full: bool,
    closed: bool,
}

/// What arrives.
enum Parcel {
    Bytes(Bytes),
    End(Ended),
}

impl Stream {
    pub(crate) fn new(
        net: &Arc<Net>,
        life: Life,
        (from, to): (SocketAddr, SocketAddr),
        opener: Opener,
        (choices, fortune): (Choices, Fortune),
        (session, peer): (Box<dyn Session>, Box<dyn Peer>),
    ) -> Arc<Self> {
        Arc::new(Self {
            net: Arc::clone(net),
            life,
            name: format!("{from}>{to}"),
            opener,
            choices,
            fortune,
            pipes: Mutex::new(Pipes { mishap: fortune.mishap, ..Pipes::default() }),
            near: Mutex::new(Near::new(session)),
            woken: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            far: Mutex::new(Far::new(peer)),
        })
    }

    /// Both ends begin.
    pub(crate) fn open(self: &Arc<Self>) {
        self.wake_near();
        let stream = Arc::clone(self);
        self.net.heap.after(ETERNAL, self.fortune.latency, move || stream.far_opened());
    }

    pub(crate) fn note(&self, what: &str, bytes: &[u8]) {
        let at = self.net.heap.elapsed();
        self.net.trace.note(at, &format_args!("{}", self.name), what, bytes);
    }

    fn pipes(&self) -> MutexGuard<'_, Pipes> {
        lock(&self.pipes)
    }

    /// Room for the server to write.
    pub(crate) fn room(&self) -> io::Result<usize> {
        let mut pipes = self.pipes();
        if pipes.to_server.end == Some(Ended::Reset) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let room = self.fortune.window.saturating_sub(pipes.to_peer.held);
        pipes.to_peer.full = room == 0;
        Ok(room)
    }

    /// Puts bytes on their way.
    pub(crate) fn send(self: &Arc<Self>, direction: Direction, mut bytes: Bytes) {
        let mut pipes = self.pipes();
        if pipes.pipe(direction).closed {
            return;
        }
        let pipe = pipes.pipe(direction);
        pipe.held += bytes.len();
        pipe.written += bytes.len() as u64;
        self.mishap(&mut pipes, direction);
        if pipes.silent {
            return;
        }
        while !bytes.is_empty() {
            let piece = match self.fortune.pieces {
                Pieces::Whole => bytes.len(),
                // Long messages do not come byte by byte to their end.
                Pieces::Of(most) => {
                    let most = most.max(bytes.len() as u64 / 64);
                    bytes.len().min(1 + usize::try_from(self.choices.below(most)).unwrap_or(0))
                }
            };
            let piece = bytes.split_to(piece);
            self.dispatch(pipes.pipe(direction), direction, Parcel::Bytes(piece));
        }
    }

    /// The writer of this direction writes no more.
    pub(crate) fn end(self: &Arc<Self>, direction: Direction, how: Ended) {
        let mut pipes = self.pipes();
        if pipes.pipe(direction).closed && how == Ended::Eof {
            return;
        }
        pipes.pipe(direction).closed = true;
        if !pipes.silent {
            self.dispatch(pipes.pipe(direction), direction, Parcel::End(how));
        }
    }

    fn dispatch(self: &Arc<Self>, pipe: &mut Pipe, direction: Direction, parcel: Parcel) {
        let now = self.net.heap.elapsed();
        let jitter = u64::try_from(self.fortune.latency.as_micros() / 4).unwrap_or(0);
        let delay = self.fortune.latency + Duration::from_micros(self.choices.below(jitter));
        pipe.last = pipe.last.max(now + delay);
        let stream = Arc::clone(self);
        self.net.heap.after(ETERNAL, pipe.last.saturating_sub(now), move || {
            stream.arrive(direction, parcel);
        });
    }

    /// What is to befall the connection does when so much has been written.
    fn mishap(self: &Arc<Self>, pipes: &mut Pipes, direction: Direction) {
        let Some((what, which, behind)) = pipes.mishap else { return };
        if which != direction || pipes.pipe(direction).written <= behind {
            return;
        }
        pipes.mishap = None;
        match what {
            Mishap::Stall(long) => {
                let until = self.net.heap.elapsed() + long;
                pipes.to_server.last = pipes.to_server.last.max(until);
                pipes.to_peer.last = pipes.to_peer.last.max(until);
            }
            // What was just written is lost.
            Mishap::Silent => {
                pipes.silent = true;
                self.note("falls silent", b"");
            }
            Mishap::Reset => {
                pipes.silent = true;
                let stream = Arc::clone(self);
                let delay = self.fortune.latency;
                self.net.heap.after(ETERNAL, delay, move || stream.reset());
            }
        }
    }

    /// The network tells both ends that there is no connection any more.
    pub(crate) fn reset(self: &Arc<Self>) {
        self.note("is reset", b"");
        {
            let mut pipes = self.pipes();
            pipes.silent = false;
            pipes.to_server.closed = true;
            pipes.to_peer.closed = true;
        }
        self.arrive(Direction::ToServer, Parcel::End(Ended::Reset));
        self.arrive(Direction::ToPeer, Parcel::End(Ended::Reset));
    }

    fn arrive(self: &Arc<Self>, direction: Direction, parcel: Parcel) {
        {
            let mut pipes = self.pipes();
            if pipes.silent {
                return;
            }
            let pipe = pipes.pipe(direction);
            match parcel {
                _ if pipe.end == Some(Ended::Reset) => return,
                Parcel::Bytes(bytes) => pipe.arrived.push_back(bytes),
                Parcel::End(how) => pipe.end = Some(how),
            }
        }
        match direction {
            Direction::ToServer => self.wake_near(),
            Direction::ToPeer => self.far_readable(),
        }
    }

    /// True when the server waits for the other end: for what is on its way, for one that does not take
    /// what was written, or for a host's word that it keeps back.
    pub(crate) fn is_kept_waiting(&self) -> bool {
        let (pipes, far) = (self.pipes(), lock(&self.far));
        let now = self.net.heap.elapsed();
        let due = pipes.to_server.last.max(pipes.to_peer.last) > now;
        let mute = self.opener == Opener::Server && far.is_stalled();
        pipes.silent || due || pipes.to_peer.full || mute
    }

    /// Takes what has arrived, `limit` bytes at most.
    pub(crate) fn take(self: &Arc<Self>, direction: Direction, limit: usize) -> Taken {
        let mut pipes = self.pipes();
        let pipe = pipes.pipe(direction);
        if pipe.end == Some(Ended::Reset) {
            pipe.arrived.clear();
        }
        let Some(mut bytes) = pipe.arrived.pop_front() else {
            return pipe.end.map_or(Taken::Nothing, Taken::End);
        };
        if bytes.len() > limit {
            pipe.arrived.push_front(bytes.split_off(limit));
        } else if pipe.arrived.front().is_some_and(|next| bytes.len() + next.len() <= limit) {
            let mut all = BytesMut::from(&*bytes);
            while let Some(next) = pipe.arrived.pop_front() {
                if all.len() + next.len() > limit {
                    pipe.arrived.push_front(next);
                    break;
                }
                all.extend_from_slice(&next);
            }
            bytes = all.freeze();
        }
        pipe.held = pipe.held.saturating_sub(bytes.len());
        let freed = std::mem::take(&mut pipe.full);
        drop(pipes);
        if freed && direction == Direction::ToPeer {
            // The server's end learns of the room after a while.
            let stream = Arc::clone(self);
            self.net.heap.after(ETERNAL, self.fortune.latency, move || stream.wake_near());
        }
        Taken::Bytes(bytes)
    }
}

/// What a reader gets.
pub(crate) enum Taken {
    Bytes(Bytes),
    End(Ended),
    Nothing,
}

impl Pipes {
    fn pipe(&mut self, direction: Direction) -> &mut Pipe {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToPeer => &mut self.to_peer,
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Net {
    pub(crate) fn now(&self) -> waypost_machine::Now {
        self.heap.now()
    }
}
