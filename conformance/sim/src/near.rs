//! The server's end of a connection: drives a session, as every shell does.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use waypost_daemon::Session;
use waypost_machine::Time;
use waypost_world::Clock;

use crate::heap::ETERNAL;
use crate::laws::Law;
use crate::peer::Ended;
use crate::stream::{Stream, Taken, lock};
use crate::weather::Direction;

/// Bytes read at once, at most.
const BLOCK: usize = 64 * 1024;
/// How long what a peer still sends is read off after the last words.
const LINGER: Duration = Duration::from_secs(2);
/// A session that goes round so often without waiting for anything does so for ever.
const ROUNDS: usize = 20_000;

/// Bytes that a session may keep of its peer: what its machine takes, and a block that was read.
const INPUT: usize = 64 * 1024 + BLOCK;
/// Bytes for it: what its machine has said, and what waits to be written; each begins a last piece
/// while there is room for some of it.
const OUTPUT: usize = 2 * (64 * 1024 + PIECE);
/// What a session says at once, at most.
const PIECE: usize = 64 * 1024;
/// Calls without an answer: a FETCH reads ahead so far.
const CALLS: usize = 8;

pub(crate) enum Near {
    Open {
        session: Box<dyn Session>,
        timer: Timer,
        waker: Option<Waker>,
    },
    /// What still comes is read off.
    Lingering,
    /// What still comes is answered by a reset.
    Closed,
    /// Nobody there knows of the connection any more, and it is told when it is used.
    Gone,
}

/// The earliest event that is set for a deadline.
#[derive(Default)]
pub(crate) struct Timer {
    deadline: Option<Time>,
    /// When the event comes that counts, and which it is.
    event: Option<(Time, u64)>,
    count: u64,
}

impl Near {
    pub(crate) fn new(session: Box<dyn Session>) -> Self {
        Self::Open { session, timer: Timer::default(), waker: None }
    }
}

/// Wakes the server's end.
struct Woken(Weak<Stream>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(stream) = self.0.upgrade()
            && !stream.net.tamper.as_ref().is_some_and(|tamper| tamper.loses_wake())
        {
            stream.wake_near();
        }
    }
}

impl Stream {
    /// Lets the server's end run, soon.
    pub(crate) fn wake_near(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Relaxed) {
            let stream = Arc::clone(self);
            let whose = if self.gone.load(Ordering::Relaxed) { ETERNAL } else { self.life };
            self.net.heap.after(whose, Duration::ZERO, move || stream.run_near());
        }
    }

    /// True while the server has a session here.
    pub(crate) fn is_open(&self) -> bool {
        matches!(*lock(&self.near), Near::Open { .. } | Near::Lingering)
    }

    fn run_near(self: &Arc<Self>) {
        self.woken.store(false, Ordering::Relaxed);
        let mut near = lock(&self.near);
        match &mut *near {
            Near::Open { session, timer, waker } => {
                let waker =
                    waker.get_or_insert_with(|| Waker::from(Arc::new(Woken(Arc::downgrade(self)))));
                if !self.drive(&mut **session, timer, waker) {
                    return;
                }
                let next = match session.linger() {
                    true => Near::Lingering,
                    false => Near::Closed,
                };
                let lingers = matches!(next, Near::Lingering);
                let ended = std::mem::replace(&mut *near, next);
                drop(near);
                match self.net.tamper.as_ref().is_some_and(|tamper| tamper.keeps_sessions()) {
                    true => std::mem::forget(ended),
                    false => drop(ended),
                }
                self.end(Direction::ToPeer, Ended::Eof);
                if lingers {
                    let stream = Arc::clone(self);
                    self.net.heap.after(self.life, LINGER, move || {
                        *lock(&stream.near) = Near::Closed;
                        stream.read_off();
                    });
                } else {
                    self.read_off();
                }
            }
            Near::Lingering | Near::Closed | Near::Gone => {
                drop(near);
                self.read_off();
            }
        }
    }

    /// What comes when there is no session any more.
    fn read_off(self: &Arc<Self>) {
        loop {
            match self.take(Direction::ToServer, BLOCK) {
                Taken::Bytes(_) => {
                    if !matches!(*lock(&self.near), Near::Lingering) {
                        return self.end(Direction::ToPeer, Ended::Reset);
                    }
                }
                Taken::End(_) => {
                    *lock(&self.near) = Near::Closed;
                    return;
                }
                Taken::Nothing => return,
            }
        }
    }

    /// Goes on until everything waits; true when the session has ended.
    fn drive(
        self: &Arc<Self>,
        session: &mut dyn Session,
        timer: &mut Timer,
        waker: &Waker,
    ) -> bool {
        for _ in 0..ROUNDS {
            session.pump(waker);
            if session.wants_write() && session.write_to(&mut Writer(self)) {
                continue;
            }
            if session.finished() {
                return true;
            }
            let held = session.held();
            if held.input > INPUT || held.output > OUTPUT || held.calls > CALLS {
                self.net.complain(Law::W11, format!("{} keeps too much: {held:?}", self.name));
            }
            if session.wants_read() && self.read_near(session) {
                continue;
            }
            let now = self.net.heap.mono();
            match session.deadline() {
                Some(deadline) if deadline <= now => session.tick(),
                deadline => {
                    self.set(timer, deadline, now);
                    return false;
                }
            }
        }
        self.net.complain(Law::W10, format!("{}: the session goes round and round", self.name));
        true
    }

    fn read_near(self: &Arc<Self>, session: &mut dyn Session) -> bool {
        match self.take(Direction::ToServer, BLOCK) {
            Taken::Bytes(bytes) => session.received(bytes),
            Taken::End(Ended::Eof) => session.eof(),
            Taken::End(_) => session.broken(&io::ErrorKind::ConnectionReset.into()),
            Taken::Nothing => return false,
        }
        true
    }

    /// One event at a time stands for the deadline: deadlines move with every command, and most of
    /// them backwards only.
    fn set(self: &Arc<Self>, timer: &mut Timer, deadline: Option<Time>, now: Time) {
        timer.deadline = deadline;
        let Some(deadline) = deadline else { return };
        if timer.event.is_some_and(|(at, _)| at <= deadline) {
            return;
        }
        timer.count += 1;
        timer.event = Some((deadline, timer.count));
        let (stream, count) = (Arc::clone(self), timer.count);
        self.net.heap.after(self.life, deadline.since(now), move || stream.ring(count));
    }

    fn ring(self: &Arc<Self>, count: u64) {
        let now = self.net.heap.mono();
        if let Near::Open { timer, .. } = &mut *lock(&self.near) {
            if timer.event.is_none_or(|(_, counts)| counts != count) {
                return;
            }
            timer.event = None;
            match timer.deadline {
                Some(deadline) if deadline <= now => {}
                deadline => return self.set(timer, deadline, now),
            }
        }
        self.run_near();
    }

    /// The server is gone. `told`: its machine lives, and the peer learns at once.
    pub(crate) fn crash_near(self: &Arc<Self>, told: bool) {
        let ended = std::mem::replace(&mut *lock(&self.near), Near::Gone);
        // The event that would have run is gone with the server's life.
        self.woken.store(false, Ordering::Relaxed);
        self.gone.store(true, Ordering::Relaxed);
        let open = matches!(ended, Near::Open { .. } | Near::Lingering);
        drop(ended);
        if told && open {
            self.end(Direction::ToPeer, Ended::Reset);
        }
    }
}

/// The socket as a session writes to it: what would wait would block.
struct Writer<'a>(&'a Arc<Stream>);

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0.room()?);
        if taken == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.send(Direction::ToPeer, Bytes::copy_from_slice(&bytes[..taken]));
        Ok(taken)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let room = self.0.room()?;
        let whole: usize = slices.iter().map(|slice| slice.len()).sum();
        if room == 0 && whole > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut all = Vec::with_capacity(room.min(whole));
        for slice in slices {
            let rest = room - all.len();
            all.extend_from_slice(&slice[..slice.len().min(rest)]);
        }
        let taken = all.len();
        self.0.send(Direction::ToPeer, all.into());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
