//! A client that talks to the bare machine: no socket, no clock, no thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use waypost_imap::Config;
use waypost_imap::server::{Call, Fact, Notice, Server};
use waypost_machine::{Input, Limits, Machine, Now, Session, Step, TlsInfo, UnixTime, Wait, Why};
use waypost_mail::Peer;

use super::World;

/// One connection. Several may share a world.
pub struct Client {
    session: Session<Server>,
    world: Rc<RefCell<World>>,
    now: Now,
    /// What the server said and nobody has read.
    pub said: Vec<u8>,
    pub closed: Option<Why>,
    pub facts: Vec<Fact>,
    /// Octets per [`Machine::poll`].
    pub room: usize,
    /// Calls that the world does not answer: those whose `Debug` text begins so.
    pub mute: &'static [&'static str],
    /// How long handshakes take.
    pub handshake: Duration,
    /// The names of all calls.
    pub asked: Vec<String>,
}

impl Client {
    pub fn connect(world: &Rc<RefCell<World>>, config: &Arc<Config>) -> Self {
        let wall = UnixTime { secs: world.borrow().now, nanos: 0 };
        let now = Now { wall, ..Now::default() };
        let peer = Peer { ip: [127, 0, 0, 1].into(), port: 40_000, name: None };
        let session = Session::new(now, Server::new(config.clone(), peer), Limits::default());
        let mut client = Self {
            session,
            world: world.clone(),
            now,
            said: Vec::new(),
            closed: None,
            facts: Vec::new(),
            room: usize::MAX,
            mute: &[],
            handshake: Duration::ZERO,
            asked: Vec::new(),
        };
        client.drain();
        client
    }

    /// Sends octets, as far as the server takes them.
    pub fn send(&mut self, octets: &[u8]) {
        let mut rest = Bytes::copy_from_slice(octets);
        while !rest.is_empty() && self.closed.is_none() {
            let read = self.drain();
            assert!(read > 0 || self.closed.is_some(), "the server reads no more");
            let piece = rest.split_to(read.min(rest.len()));
            self.session.handle(self.now, Input::Bytes(piece));
        }
        self.drain();
    }

    /// The server is told that this side sends no more.
    pub fn end(&mut self) {
        self.session.handle(self.now, Input::Eof);
        self.drain();
    }

    /// The connection breaks.
    pub fn gone(&mut self) {
        self.session.handle(self.now, Input::Gone);
        self.drain();
    }

    pub fn stop(&mut self) {
        self.session.handle(self.now, Input::Stop);
        self.drain();
    }

    /// Lets time pass until the server says something; at most this long.
    pub fn wait(&mut self, at_most: Duration) {
        let end = self.now.mono.plus(at_most);
        while self.said.is_empty() && self.closed.is_none() {
            self.drain();
            let Step::Wait(wait) = self.session.poll(self.room) else { continue };
            let Some(until) = wait.until.filter(|until| *until <= end) else {
                self.now.mono = end;
                break;
            };
            self.now.mono = until;
            self.session.handle(self.now, Input::Tick);
            self.drain();
        }
    }

    /// Hands out what the world has to tell.
    pub fn notice(&mut self) {
        let changed = std::mem::take(&mut self.world.borrow_mut().changed);
        for handle in changed {
            self.session.handle(self.now, Input::Notice(Notice::Changed(handle)));
        }
        self.drain();
    }

    /// The next line that the server says, with its line end; waits for late replies.
    pub fn line(&mut self) -> Option<Vec<u8>> {
        if self.said.is_empty() {
            self.notice();
        }
        if self.said.is_empty() {
            self.wait(Duration::from_secs(20));
        }
        let end = self.said.iter().position(|c| *c == b'\n').map_or(self.said.len(), |at| at + 1);
        let rest = self.said.split_off(end);
        let line = std::mem::replace(&mut self.said, rest);
        (!line.is_empty()).then_some(line)
    }

    /// Everything said so far.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.said)).into_owned()
    }

    /// Sends a line and gives what comes back.
    pub fn command(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.text()
    }

    fn is_mute(&mut self, call: &Call) -> bool {
        let text = format!("{call:?}");
        self.asked.push(text.chars().take_while(char::is_ascii_alphabetic).collect());
        self.mute.iter().any(|name| text.starts_with(name))
    }

    /// Lets the time of a handshake pass.
    fn handshake(&mut self) {
        let end = self.now.mono.plus(self.handshake);
        while let Step::Wait(Wait { until: Some(until), .. }) = self.session.poll(self.room) {
            assert!(until > self.now.mono, "it waits for a time that is over");
            if until > end {
                break;
            }
            self.now.mono = until;
            self.session.handle(self.now, Input::Tick);
        }
        self.now.mono = end;
    }

    /// Works until the machine waits; how many octets it would take.
    fn drain(&mut self) -> usize {
        loop {
            match self.session.poll(self.room) {
                Step::Send(bytes) => self.said.extend_from_slice(&bytes),
                Step::Call(call) if self.is_mute(&call) => drop(call),
                Step::Call(call) => {
                    let answer = self.world.borrow_mut().run(call);
                    self.session.handle(self.now, Input::Answer(answer));
                }
                Step::Cancel(_) => {}
                Step::Secure(_) => {
                    self.handshake();
                    self.session.handle(self.now, Input::Secured(TlsInfo::default()));
                }
                Step::Fact(fact) => self.facts.push(fact),
                Step::Close(why) => {
                    self.closed = Some(why);
                    return 0;
                }
                Step::Wait(wait) => return wait.read,
            }
        }
    }
}
