//! One connection: socket, session and clock, moved on together.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::Duration;

use waypost_daemon::{Dial, Server, Session};
use waypost_driver::ReadBuffer;
use waypost_machine::Time;

use crate::stream::Stream;

/// How long what a peer still sends is read off after our last words.
const LINGER: Duration = Duration::from_secs(2);

/// What one connection may do before it is the others' turn: reads, writes, ticks.
const STEPS: usize = 16;

pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) phase: Phase,
    pub(crate) waker: Waker,
}

pub(crate) enum Phase {
    /// It is being opened, until then.
    Opens(Box<Dial>, Time),
    Talks(Box<dyn Session>),
    /// The session has ended; what the peer still sends is read off until then.
    Lingers {
        until: Time,
        _session: Box<dyn Session>,
    },
    Over,
}

/// How a turn ended.
pub(crate) enum Turn {
    /// There is more to do.
    Busy,
    /// All there is to do waits: for a peer, another thread, or the deadline.
    Waits,
    Ends,
}

impl Connection {
    /// When it wants a turn even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Opens(_, until) | Phase::Lingers { until, .. } => Some(*until),
            Phase::Talks(session) => session.deadline(),
            Phase::Over => None,
        }
    }

    /// Goes on until everything waits, or it is the others' turn.
    pub(crate) fn turn(&mut self, server: &Server, buffer: &mut ReadBuffer) -> Turn {
        // A fault in one session ends that session and no other.
        catch_unwind(AssertUnwindSafe(|| self.steps(server, buffer))).unwrap_or_else(|_| {
            tracing::error!(target: "waypost", "a session panicked; its connection is closed");
            Turn::Ends
        })
    }

    fn steps(&mut self, server: &Server, buffer: &mut ReadBuffer) -> Turn {
        for _ in 0..STEPS {
            let turn = match &mut self.phase {
                Phase::Opens(_, until) => {
                    let late = *until <= server.now();
                    self.open(late)
                }
                Phase::Talks(session) => {
                    let turn = talk(&mut **session, &mut self.stream, &self.waker, server, buffer);
                    match turn {
                        Turn::Ends => self.close(server),
                        turn => turn,
                    }
                }
                Phase::Lingers { until, .. } if *until <= server.now() => Turn::Ends,
                Phase::Lingers { .. } => match self.stream.read(buffer) {
                    Some(Ok(bytes)) if !bytes.is_empty() => Turn::Busy,
                    Some(_) => Turn::Ends,
                    None => Turn::Waits,
                },
                Phase::Over => Turn::Ends,
            };
            if !matches!(turn, Turn::Busy) {
                return turn;
            }
        }
        Turn::Busy
    }

    /// Has it been opened?
    fn open(&mut self, late: bool) -> Turn {
        let opened = match self.stream.is_connected() {
            Ok(false) if late => Err(std::io::ErrorKind::TimedOut.into()),
            Ok(false) => return Turn::Waits,
            Ok(true) => Ok(()),
            Err(error) => Err(error),
        };
        let Phase::Opens(dial, _) = mem::replace(&mut self.phase, Phase::Over) else {
            return Turn::Ends;
        };
        match opened {
            Ok(()) => match dial.connected() {
                Some(session) => {
                    self.phase = Phase::Talks(session);
                    Turn::Busy
                }
                None => Turn::Ends,
            },
            Err(error) => {
                dial.failed(&error);
                Turn::Ends
            }
        }
    }

    /// The session is over.
    fn close(&mut self, server: &Server) -> Turn {
        let Phase::Talks(mut session) = mem::replace(&mut self.phase, Phase::Over) else {
            return Turn::Ends;
        };
        self.stream.shut();
        if !session.linger() {
            return Turn::Ends;
        }
        let until = server.now().plus(LINGER);
        self.phase = Phase::Lingers { until, _session: session };
        Turn::Busy
    }
}

/// One step of a session.
fn talk(
    session: &mut dyn Session,
    stream: &mut Stream,
    waker: &Waker,
    server: &Server,
    buffer: &mut ReadBuffer,
) -> Turn {
    session.pump(waker);
    if session.wants_write() && session.write_to(stream) {
        return Turn::Busy;
    }
    if session.finished() {
        return Turn::Ends;
    }
    if session.wants_read()
        && let Some(read) = stream.read(buffer)
    {
        match read {
            Ok(bytes) if bytes.is_empty() => session.eof(),
            Ok(bytes) => session.received(bytes),
            Err(error) => session.broken(&error),
        }
        return Turn::Busy;
    }
    if session.deadline().is_some_and(|deadline| deadline <= server.now()) {
        session.tick();
        return Turn::Busy;
    }
    Turn::Waits
}
