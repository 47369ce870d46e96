//! The machines alone, without daemon, socket, clock or file: bytes are handed over in memory, time
//! passes when a machine waits for it, and a small world answers its calls at once.

use crate::net::Link;
use bytes::Bytes;
use rustls::ClientConfig;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;
use waypost_machine::{
    Answer, Input, Limits, Machine, Now, Protocol, Session, Step, TlsInfo, TlsRole,
};

pub mod imap;
pub mod smtp;

/// Answers the calls of a machine.
pub trait World<P: Protocol>: Send {
    /// Does what the call asks.
    fn run(&mut self, now: Now, call: P::Call) -> Answer<P::Reply>;

    /// News for the machine; waits for it as long as told.
    fn news(&mut self, _: Duration) -> Option<P::Notice> {
        None
    }
}

/// How long news may take to come, before time passes for the machine.
const NEWS: Duration = Duration::from_millis(500);

/// A connection to a machine.
pub struct Bare<P: Protocol> {
    session: Session<P>,
    world: Box<dyn World<P>>,
    now: Now,
    /// From the client, not handed over yet.
    waiting: VecDeque<Bytes>,
    /// For the client, not read yet.
    said: VecDeque<u8>,
    /// The machine wants a handshake.
    secure: Option<TlsRole>,
    closed: bool,
}

impl<P: Protocol> Bare<P> {
    /// A connection that has just been made.
    pub fn new(protocol: P, world: Box<dyn World<P>>) -> Self {
        let now = Now::default();
        let session = Session::new(now, protocol, Limits::default());
        let (waiting, said) = (VecDeque::new(), VecDeque::new());
        Self { session, world, now, waiting, said, secure: None, closed: false }
    }

    /// Lets the machine work until it has said something, has closed, or wants a handshake; false
    /// when it waits for the client and for nothing else.
    fn work(&mut self) -> bool {
        while self.said.is_empty() && !self.closed && self.secure.is_none() {
            match self.session.poll(65_536) {
                Step::Send(bytes) => self.said.extend(bytes.iter()),
                Step::Call(call) => {
                    let answer = self.world.run(self.now, call);
                    self.session.handle(self.now, Input::Answer(answer));
                }
                Step::Cancel(_) | Step::Fact(_) => {}
                Step::Secure(role) => self.secure = Some(role),
                Step::Close(_) => self.closed = true,
                Step::Wait(wait) => {
                    let next = if wait.read > 0 { self.waiting.pop_front() } else { None };
                    match (next, wait.until) {
                        (Some(mut bytes), _) => {
                            let now = bytes.split_to(bytes.len().min(wait.read));
                            if !bytes.is_empty() {
                                self.waiting.push_front(bytes);
                            }
                            self.session.handle(self.now, Input::Bytes(now));
                        }
                        (None, until) => match (self.world.news(NEWS), until) {
                            (Some(news), _) => self.session.handle(self.now, Input::Notice(news)),
                            (None, Some(until)) => {
                                self.now.mono = until;
                                self.session.handle(self.now, Input::Tick);
                            }
                            (None, None) => return false,
                        },
                    }
                }
            }
        }
        true
    }
}

impl<P: Protocol> Read for Bare<P> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let worked = self.work();
        if self.said.is_empty() && !self.closed {
            let why = if worked { "it waits for a handshake" } else { "it waits for more" };
            return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
        }
        self.said.read(into)
    }
}

impl<P: Protocol> Write for Bare<P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.waiting.push_back(Bytes::copy_from_slice(bytes));
        // News that has come before is told before.
        while let Some(news) = self.world.news(Duration::ZERO) {
            self.session.handle(self.now, Input::Notice(news));
        }
        Ok(bytes.len())
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
    P::Notice: Send,
    P::Fact: Send,
{
    fn secure(mut self: Box<Self>, _: &Arc<ClientConfig>, _: &str) -> io::Result<Box<dyn Link>> {
        self.work();
        if self.closed {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // A machine with TLS from the start does not ask for it: the shell does.
        if self.secure.take().is_some() || self.said.is_empty() {
            let info = TlsInfo {
                protocol: "TLSv1.3",
                cipher: "TLS_AES_256_GCM_SHA384",
                bits: 256,
                ..TlsInfo::default()
            };
            self.session.handle(self.now, Input::Secured(info));
        }
        Ok(self)
    }

    fn patience(&self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn silence(&self, _: Duration) -> io::Result<()> {
        Ok(())
    }
}
