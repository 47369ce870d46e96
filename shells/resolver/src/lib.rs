#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! Questions to name servers, answered by a callback: one thread with the sockets, whatever runtime
//! the rest of the program has.
//!
//! What is asked and believed is decided in `waypost-dns`; here are the sockets, the cache, and the
//! rule that the same question is under way only once.
//!
//! ```
//! use std::sync::mpsc;
//! use std::time::Instant;
//!
//! use waypost_dns::{Failure, Found, Kind, Question};
//! use waypost_machine::{Now, Time, UnixTime};
//! use waypost_resolver::{Resolver, Settings};
//!
//! let start = Instant::now();
//! let clock = move || Now {
//!     mono: Time::from_nanos(start.elapsed().as_nanos() as u64),
//!     wall: UnixTime::default(),
//! };
//! // Nobody listens there.
//! let settings = Settings { servers: vec!["127.0.0.1:1".parse()?], ..Settings::default() };
//! let resolver = Resolver::start(settings, clock)?;
//! let (to, from) = mpsc::channel();
//! let question = Question::new("example.com", Kind::Mx)?;
//! resolver.ask(question, move |answer| to.send(answer).unwrap());
//! assert_eq!(from.recv()?.found, Found::Unavailable(Failure::Silence));
//! resolver.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | file | what |
//! |---|---|
//! | `resolv_conf.rs` | the system's list of name servers |
//! | `thread.rs` | the thread: who asked what, and when to give up |
//! | `flight.rs` | one packet under way, by UDP or TCP |

mod flight;
mod resolv_conf;
mod thread;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use waypost_dns::{Answer, Failure, Question};
use waypost_machine::Now;

use thread::{Done, Inbox, Thread};

/// Whom to ask, and how much at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name servers, in order; empty: those of `resolv_conf`.
    pub servers: Vec<SocketAddr>,
    /// The system's list, resolv.conf(5). It is read again when it has changed.
    pub resolv_conf: PathBuf,
    /// How long to wait for one answer, in place of what `resolv_conf` says (5 s if nothing).
    pub timeout: Option<Duration>,
    /// How often each server is asked, in place of what `resolv_conf` says (2 if nothing).
    pub attempts: Option<u32>,
    /// Believe a server on another host when it says that it has validated an answer, as if
    /// `resolv_conf` said `trust-ad`. One on this host is always believed.
    pub trust_ad: bool,
    /// Questions under way at once; others wait for their turn. Each holds one socket.
    pub at_once: usize,
    /// Callers that wait for an answer, at most; others are told [`Failure::Busy`].
    pub waiting: usize,
    /// Answers that are kept.
    pub cached: usize,
}

impl Default for Settings {
    /// The system's name servers, 100 questions at once, 20,000 callers, 10,000 answers.
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            timeout: None,
            attempts: None,
            trust_ad: false,
            at_once: 100,
            waiting: 20_000,
            cached: 10_000,
        }
    }
}

/// The resolver. A clone is the same resolver; with the last one the thread ends.
#[derive(Clone)]
pub struct Resolver {
    handle: Arc<Handle>,
}

struct Handle {
    inbox: Arc<Inbox>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Resolver {
    /// Starts the thread. `clock` is read there; only its monotonic reading is used.
    ///
    /// # Errors
    /// No thread, no file descriptor, or a `resolv_conf` that is there but cannot be read.
    pub fn start(settings: Settings, clock: impl Fn() -> Now + Send + 'static) -> io::Result<Self> {
        let inbox = Arc::new(Inbox::new(settings.waiting)?);
        let thread = Thread::new(settings, Box::new(clock), Arc::clone(&inbox))?;
        let thread = std::thread::Builder::new().name("dns".into()).spawn(move || thread.run())?;
        Ok(Self { handle: Arc::new(Handle { inbox, thread: Mutex::new(Some(thread)) }) })
    }

    /// Asks; returns at once. `done` is called exactly once, on the resolver's thread, and should do
    /// no more than hand the answer on. It is called before `ask` returns, on the caller's thread,
    /// when the resolver has been stopped or more callers wait than the settings allow.
    pub fn ask(&self, question: Question, done: impl FnOnce(Answer) + Send + 'static) {
        if let Err((done, failure)) = self.handle.inbox.put(question, Box::new(done)) {
            done(Answer::unavailable(failure));
        }
    }

    /// Answers all who wait with [`Failure::Stopped`], and ends the thread. May be called twice.
    pub fn stop(&self) {
        self.handle.inbox.stop();
        let thread = lock(&self.handle.thread).take();
        // A callback may be who stops us; a thread does not wait for itself.
        if let Some(thread) = thread.filter(|t| t.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inbox.stop();
    }
}

type Refused = (Done, Failure);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
