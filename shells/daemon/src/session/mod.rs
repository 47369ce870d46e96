//! A session as a runtime sees it: bytes in, bytes out, a deadline. Which protocol it speaks and how
//! its calls are run is hidden.
//!
//! | file | what is there |
//! |---|---|
//! | `smtp.rs`, `imap.rs`, `auth.rs`, `relay.rs` | for each protocol: its calls to the world, its facts to the log |
//! | `post.rs` | how answers come back from other threads |

pub(crate) mod auth;
pub(crate) mod imap;
pub(crate) mod post;
pub(crate) mod relay;
pub(crate) mod smtp;

use std::io;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use waypost_driver::{Conn, Effect, Fault, TlsConfigs};
use waypost_machine::{CallId, Held, Machine, Time, TlsInfo, Why};
use waypost_world::Clock;

use crate::registry::Place;
use crate::session::post::{Arrival, Post};

/// One connection, from accept to close. See [`waypost_driver`] for the order of the calls.
pub trait Session: Send {
    /// Takes what came from other threads, moves everything as far as it goes, and starts what the
    /// machine asked for. `waker` is woken when something has come from another thread.
    fn pump(&mut self, waker: &Waker);
    /// Raw bytes came from the peer.
    fn received(&mut self, bytes: Bytes);
    /// The peer sends no more.
    fn eof(&mut self);
    /// The socket failed.
    fn broken(&mut self, error: &io::Error);
    /// [`Session::deadline`] has come.
    fn tick(&mut self);
    /// When [`Session::tick`] is due; [`crate::Server::until`] says how long that is.
    fn deadline(&self) -> Option<Time>;
    /// True when bytes from the peer are welcome.
    fn wants_read(&self) -> bool;
    /// True when there is something to write.
    fn wants_write(&self) -> bool;
    /// Writes until `to` would block; when true, pump again.
    fn write_to(&mut self, to: &mut dyn io::Write) -> bool;
    /// What it keeps for and of its peer.
    fn held(&self) -> Held;
    /// True when the connection can be dropped.
    fn finished(&self) -> bool;
    /// True when what the peer still sends should be read off for a moment before. The session is
    /// dropped after that: until then it has its place among the connections. One that was told to
    /// stop gives it back now, for nobody waits longer than for its last words.
    fn linger(&mut self) -> bool;
}

/// What a protocol's session does besides its machine.
pub(crate) trait Role: Send {
    type Machine: Machine<Reply: Send, Notice: Send> + Send;

    /// Runs a call; the answer goes to `post`.
    fn call(&mut self, call: <Self::Machine as Machine>::Call, post: &Arc<Post<Self::Machine>>);
    /// Logs.
    fn fact(&mut self, fact: <Self::Machine as Machine>::Fact);
    /// The outcome of a call is not wanted any more.
    fn cancel(&mut self, _: CallId) {}
    /// Logs the handshake.
    fn secured(&mut self, info: TlsInfo);
    /// Logs what the machine did not see.
    fn fault(&mut self, fault: &Fault);
    /// The session has ended; once.
    fn ended(&mut self, machine: &Self::Machine, why: Why);
}

/// A machine on its connection, with its role.
pub(crate) struct Link<R: Role> {
    conn: Conn<R::Machine>,
    role: R,
    post: Arc<Post<R::Machine>>,
    clock: Arc<dyn Clock>,
    ended: bool,
    /// Given back when the session is dropped, or before.
    place: Option<Place>,
}

impl<R> Link<R>
where
    R: Role,
    R::Machine: 'static,
{
    pub(crate) fn new(
        machine: R::Machine,
        role: R,
        tls: TlsConfigs,
        place: Place,
        clock: Arc<dyn Clock>,
        settings: waypost_driver::Settings,
    ) -> Self {
        let conn = Conn::new(place.id(), machine, tls, settings);
        let post = Arc::new(Post::default());
        place.set(Arc::clone(&post) as _);
        Self { conn, role, post, clock, ended: false, place: Some(place) }
    }
}

impl<R: Role> Session for Link<R> {
    fn pump(&mut self, waker: &Waker) {
        loop {
            let arrivals = self.post.take(waker);
            let now = self.clock.now();
            let idle = arrivals.is_empty();
            for arrival in arrivals {
                match arrival {
                    Arrival::Answer(answer) => self.conn.answer(now, answer),
                    Arrival::Notice(notice) => self.conn.notice(now, notice),
                    Arrival::Stop => self.conn.stop(now),
                }
            }
            let (role, post) = (&mut self.role, &self.post);
            let mut called = false;
            self.conn.pump(now, |effect| match effect {
                Effect::Call(call) => {
                    called = true;
                    role.call(call, post);
                }
                Effect::Cancel(id) => role.cancel(id),
                Effect::Fact(fact) => role.fact(fact),
                Effect::Secured(info) => role.secured(info),
                Effect::Fault(fault) => role.fault(&fault),
            });
            if let Some(why) = self.conn.closed()
                && !self.ended
            {
                self.ended = true;
                self.role.ended(self.conn.machine(), why);
            }
            // Some calls are answered on the spot.
            if idle && !called {
                return;
            }
        }
    }

    fn received(&mut self, bytes: Bytes) {
        self.conn.received(bytes);
    }

    fn eof(&mut self) {
        self.conn.eof();
    }

    fn broken(&mut self, error: &io::Error) {
        self.conn.broken(self.clock.now(), error);
    }

    fn tick(&mut self) {
        self.conn.tick(self.clock.now());
    }

    fn deadline(&self) -> Option<Time> {
        self.conn.deadline()
    }

    fn wants_read(&self) -> bool {
        self.conn.wants_read()
    }

    fn wants_write(&self) -> bool {
        self.conn.wants_write()
    }

    fn write_to(&mut self, to: &mut dyn io::Write) -> bool {
        self.conn.write_to(self.clock.now(), to)
    }

    fn held(&self) -> Held {
        self.conn.held()
    }

    fn finished(&self) -> bool {
        self.conn.finished()
    }

    fn linger(&mut self) -> bool {
        if self.conn.closed() == Some(Why::Stopped) {
            self.place = None;
        }
        self.conn.lingers()
    }
}
