//! The loop: waits for sockets, deadlines and wake-ups, and gives each that has one its turn.

use std::io;
use std::mem;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Token};
use slab::Slab;
use waypost_daemon::{Dial, Server};
use waypost_driver::{Deadlines, ReadBuffer};
use waypost_machine::Time;

use crate::accept::Listener;
use crate::connection::{Connection, Phase, Turn};
use crate::stream::{Socket, Stream};
use crate::wake::Wakes;

/// The token of wake-ups.
const WAKE: Token = Token(usize::MAX);

/// So many connections are accepted before it is the turn of those that are there.
const BATCH: usize = 16;

/// One of the things that have turns.
enum Slot {
    /// What the server wants of its runtime: to connect, and to stop by the time.
    Server(Waker, Option<Time>),
    /// May be pausing until the time.
    Listener(Listener, Option<Time>),
    Connection(Connection),
}

/// All sockets of the server.
pub(crate) struct Loop {
    server: Arc<Server>,
    poll: mio::Poll,
    events: Events,
    wakes: Arc<Wakes>,
    slots: Slab<Slot>,
    deadlines: Deadlines,
    /// Whose turn it is.
    ready: Vec<usize>,
    /// Empty again after each read: connections hold no buffer.
    buffer: ReadBuffer,
}

impl Loop {
    pub(crate) fn new(server: Arc<Server>) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let wakes = Wakes::new(poll.registry(), WAKE)?;
        let mut slots = Slab::new();
        let first = slots.vacant_entry();
        let ready = vec![first.key()];
        first.insert(Slot::Server(wakes.waker(ready[0]), None));
        for (service, socket) in server.take_sockets() {
            let slot = slots.vacant_entry();
            let listener = Listener::new(service, socket, poll.registry(), slot.key())?;
            slot.insert(Slot::Listener(listener, None));
        }
        Ok(Self {
            server,
            poll,
            events: Events::with_capacity(256),
            wakes,
            slots,
            deadlines: Deadlines::default(),
            ready,
            buffer: ReadBuffer::default(),
        })
    }

    /// Gives turns until the server has stopped.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        loop {
            self.wait()?;
            mem::swap(&mut ready, &mut self.ready);
            ready.sort_unstable();
            ready.dedup();
            for key in ready.drain(..) {
                match self.turn(key) {
                    Turn::Busy => self.ready.push(key),
                    Turn::Waits => self.deadlines.set(key, self.deadline(key)),
                    // The server's own slot ends last.
                    Turn::Ends if self.end(key) => return Ok(()),
                    Turn::Ends => {}
                }
            }
        }
    }

    /// Waits until there is something to do, and notes whose turn it is.
    fn wait(&mut self) -> io::Result<()> {
        let limit = match self.ready.is_empty() && self.wakes.sleep() {
            true => self.deadlines.next().map(|deadline| self.server.until(deadline)),
            false => Some(Duration::ZERO),
        };
        match self.poll.poll(&mut self.events, limit) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            other => other?,
        }
        self.wakes.take(&mut self.ready);
        for event in &self.events {
            let key = event.token().0;
            if let Some(Slot::Connection(connection)) = self.slots.get_mut(key) {
                connection.stream.note(event);
            }
            self.ready.push(key);
        }
        let now = self.server.now();
        while let Some(key) = self.deadlines.due(now) {
            self.ready.push(key);
        }
        Ok(())
    }

    /// Whoever is woken for nothing, or by what had this key before, finds nothing to do.
    fn turn(&mut self, key: usize) -> Turn {
        match self.slots.get_mut(key) {
            Some(Slot::Connection(connection)) => connection.turn(&self.server, &mut self.buffer),
            Some(Slot::Listener(..)) => self.accept(key),
            Some(Slot::Server(waker, until)) => {
                let (waker, until) = (waker.clone(), *until);
                self.serve(key, &waker, until)
            }
            None => Turn::Waits,
        }
    }

    fn deadline(&self, key: usize) -> Option<Time> {
        match self.slots.get(key)? {
            Slot::Server(_, until) | Slot::Listener(_, until) => *until,
            Slot::Connection(connection) => connection.deadline(),
        }
    }

    /// True when that was the server.
    fn end(&mut self, key: usize) -> bool {
        self.deadlines.remove(key);
        matches!(self.slots.try_remove(key), Some(Slot::Server(..)))
    }

    fn accept(&mut self, key: usize) -> Turn {
        for _ in 0..BATCH {
            let Some(Slot::Listener(listener, pause)) = self.slots.get_mut(key) else { break };
            if pause.is_some_and(|until| self.server.now() < until) {
                return Turn::Waits;
            }
            *pause = None;
            match listener.accept(&self.server) {
                Ok(Some((socket, session))) => self.begin(socket, Phase::Talks(session)),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Waits,
                Err(error) => {
                    let moment = self.server.accept_failed(listener.service(), &error);
                    *pause = Some(self.server.now().plus(moment));
                    return Turn::Waits;
                }
            }
        }
        Turn::Busy
    }

    fn begin(&mut self, socket: Socket, phase: Phase) {
        let slot = self.slots.vacant_entry();
        let key = slot.key();
        let waker = self.wakes.waker(key);
        // When that fails, session or dial learn it as they are dropped.
        if let Ok(stream) = Stream::new(socket, self.poll.registry(), key) {
            slot.insert(Slot::Connection(Connection { stream, phase, waker }));
            self.ready.push(key);
        }
    }

    fn dial(&mut self, dial: Dial) {
        let until = self.server.now().plus(dial.timeout());
        match dial.begin() {
            Ok(socket) => {
                let socket = Socket::Tcp(TcpStream::from_std(socket));
                self.begin(socket, Phase::Opens(Box::new(dial), until));
            }
            Err(error) => dial.failed(&error),
        }
    }

    /// Opens the connections that are wished for; stops when it is time.
    fn serve(&mut self, key: usize, waker: &Waker, until: Option<Time>) -> Turn {
        while let Poll::Ready(dial) = self.server.poll_dial(waker) {
            self.dial(dial);
        }
        let until = match (until, self.server.poll_stopping(waker)) {
            (None, Poll::Pending) => return Turn::Waits,
            (None, Poll::Ready(())) => {
                // Nobody else is let in.
                self.slots.retain(|_, slot| !matches!(slot, Slot::Listener(..)));
                let until = self.server.now().plus(self.server.stop_timeout());
                self.slots[key] = Slot::Server(waker.clone(), Some(until));
                until
            }
            (Some(until), _) => until,
        };
        if self.server.poll_empty(waker).is_ready() {
            return Turn::Ends;
        }
        if until <= self.server.now() {
            self.server.give_up();
            return Turn::Ends;
        }
        Turn::Waits
    }
}
