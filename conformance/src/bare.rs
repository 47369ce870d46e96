//! A bare machine as the other end of a connection: no socket, no thread, no TLS, and a clock that
//! jumps to whatever the machine waits for.

use crate::net::{Link, PATIENCE};
use bytes::Bytes;
use rustls::ClientConfig;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;
use waypost_machine::{
    Answer, Input, Limits, Machine, Now, Protocol, Session, Step, TlsInfo, UnixTime, Wait,
};

/// What a machine asks for, and the answer.
pub type World<P> = dyn FnMut(<P as Protocol>::Call) -> Answer<<P as Protocol>::Reply> + Send;

/// A connection to a machine.
pub struct Bare<P: Protocol> {
    session: Session<P>,
    world: Box<World<P>>,
    now: Now,
    unread: VecDeque<u8>,
    unsent: Bytes,
    securing: bool,
    closed: bool,
}

impl<P: Protocol> Bare<P> {
    /// Connects to `protocol`, in this world.
    pub fn new(protocol: P, world: Box<World<P>>) -> Self {
        let now = Now { wall: UnixTime { secs: 1_795_341_600, nanos: 0 }, ..Now::default() };
        let session = Session::new(now, protocol, Limits::default());
        Self {
            session,
            world,
            now,
            unread: VecDeque::new(),
            unsent: Bytes::new(),
            securing: false,
            closed: false,
        }
    }

    /// Does what the machine wants until it waits; hands in what it may be handed.
    fn pump(&mut self) -> Wait {
        loop {
            match self.session.poll(usize::MAX) {
                Step::Send(bytes) => self.unread.extend(&bytes),
                Step::Call(call) => {
                    let answer = (self.world)(call);
                    self.session.handle(self.now, Input::Answer(answer));
                }
                Step::Cancel(_) | Step::Fact(_) => {}
                Step::Secure(_) => self.securing = true,
                Step::Close(_) => self.closed = true,
                Step::Wait(wait) => {
                    let count = wait.read.min(self.unsent.len());
                    if count == 0 || self.securing {
                        return wait;
                    }
                    let part = self.unsent.split_to(count);
                    self.session.handle(self.now, Input::Bytes(part));
                }
            }
        }
    }
}

impl<P: Protocol> Read for Bare<P> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let patience = self.now.mono.plus(PATIENCE);
        loop {
            let wait = self.pump();
            if !self.unread.is_empty() || self.closed {
                return self.unread.read(to);
            }
            match wait.until.filter(|until| *until <= patience) {
                Some(until) => {
                    self.now.mono = until;
                    self.session.handle(self.now, Input::Tick);
                }
                None => return Err(io::ErrorKind::WouldBlock.into()),
            }
        }
    }
}

impl<P: Protocol> Write for Bare<P> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.unsent = [&self.unsent, from].concat().into();
        self.pump();
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<P> Link for Bare<P>
where
    P: Protocol + Send + 'static,
    P::Call: Send,
    P::Reply: Send,
    P::Fact: Send,
    P::Notice: Send,
{
    fn secure(mut self: Box<Self>, _: &Arc<ClientConfig>, _: &str) -> io::Result<Box<dyn Link>> {
        self.pump();
        if !std::mem::take(&mut self.securing) {
            return Err(io::Error::other("the machine does not want TLS"));
        }
        let info = TlsInfo { protocol: "TLSv1.3", ..TlsInfo::default() };
        self.session.handle(self.now, Input::Secured(info));
        Ok(self)
    }

    /// A write to a machine takes no time.
    fn patience(&self, _: Duration) -> io::Result<()> {
        Ok(())
    }
}
