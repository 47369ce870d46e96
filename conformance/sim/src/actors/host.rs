//! A host that the server sends mail to, in one of several moods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use waypost_machine::Now;

use super::{Lines, Scene, elapsed};
use crate::laws::{Law, Taken};
use crate::peer::{Close, Ended, Line, Peer};
use crate::script::{How, Mood, Stage};

/// A host ends a stream on which nothing came for so long (RFC 5321 4.5.3.2.7).
const PATIENCE: Duration = Duration::from_secs(300);

/// All hosts.
#[derive(Clone)]
pub struct Hosts(Arc<Inner>);

struct Inner {
    scene: Scene,
    names: BTreeMap<IpAddr, String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    moods: BTreeMap<String, Mood>,
    /// Recipients that were deferred once.
    greylist: BTreeSet<String>,
}

impl Hosts {
    /// Hosts by their addresses in the zones (`name A address`).
    pub fn new(scene: &Scene, zones: &str) -> Self {
        let names = zones.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, kind, data) = (words.next()?, words.next()?, words.next()?);
            let address = data.parse().ok().filter(|_| matches!(kind, "A" | "AAAA"))?;
            Some((address, name.to_owned()))
        });
        let names = names.collect();
        Self(Arc::new(Inner { scene: scene.clone(), names, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a host's mood, for connections that begin from now on; `*`: that of all.
    pub fn set(&self, host: &str, mood: Mood) {
        let mut state = self.state();
        match host {
            "*" => {
                let names: Vec<String> = self.0.names.values().cloned().collect();
                state.moods = names.into_iter().map(|name| (name, mood)).collect();
            }
            host => {
                state.moods.insert(host.to_owned(), mood);
            }
        }
    }

    /// Who answers there; nobody at an address that no name leads to.
    pub fn answer(&self, address: SocketAddr) -> Option<Box<dyn Peer>> {
        let name = self.0.names.get(&address.ip())?;
        let mood = self.state().moods.get(name).copied().unwrap_or_default();
        Some(Box::new(Host {
            hosts: self.clone(),
            name: name.clone(),
            mood,
            lines: Lines::default(),
            from: None,
            to: Vec::new(),
            data: None,
            told: None,
            left: false,
        }))
    }
}

/// One connection.
struct Host {
    hosts: Hosts,
    name: String,
    mood: Mood,
    lines: Lines,
    from: Option<String>,
    to: Vec<String>,
    /// A message that is coming in.
    data: Option<Vec<u8>>,
    /// A message that was answered, and nothing came since.
    told: Option<usize>,
    left: bool,
}

impl Host {
    fn breach(&self, law: Law, what: &str) {
        let what = format!("{}: {what}", self.name);
        self.hosts.0.scene.ledger().breach(law, what);
    }

    /// What the mood says here; true when it says anything else than yes.
    fn balks(&mut self, stage: Stage, line: &mut Line) -> bool {
        match self.mood {
            Mood::Defers(here) if here == stage => {
                line.say("451 4.3.0 Not now");
                true
            }
            Mood::Refuses(here) if here == stage => {
                line.say("550 5.7.1 Never");
                true
            }
            Mood::Leaves(here, how) if here == stage => {
                self.leave(how, line);
                true
            }
            _ => false,
        }
    }

    fn leave(&mut self, how: How, line: &mut Line) {
        self.left = true;
        line.wake = None;
        match how {
            How::Closes => line.close = Some(Close::Eof),
            How::Resets => line.close = Some(Close::Reset),
            How::Stalls => {}
        }
    }

    fn command(&mut self, text: &str, line: &mut Line) {
        let verb = text.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
        let path = text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        let path = path.map(|(path, _)| path.to_owned());
        match (verb.as_str(), path) {
            ("EHLO" | "HELO", _) => {
                line.say("250-host");
                line.say("250-PIPELINING");
                line.say("250-8BITMIME");
                line.say("250 SIZE 10000000");
            }
            ("MAIL", Some(from)) if self.from.is_none() => {
                if !self.balks(Stage::Mail, line) {
                    self.from = Some(from);
                    line.say("250 2.1.0 Ok");
                }
            }
            ("RCPT", Some(to)) if self.from.is_some() => self.recipient(to, line),
            ("DATA", _) if !self.to.is_empty() => {
                if !self.balks(Stage::Data, line) {
                    self.data = Some(Vec::new());
                    line.say("354 Go on");
                }
            }
            ("DATA", _) => line.say("554 5.5.1 No valid recipients"),
            ("RSET", _) => {
                (self.from, self.to) = (None, Vec::new());
                line.say("250 2.0.0 Ok");
            }
            ("QUIT", _) => {
                line.say("221 2.0.0 Bye");
                self.leave(How::Closes, line);
            }
            // After a MAIL that was not accepted, in one go with it.
            ("RCPT", Some(_)) => line.say("503 5.5.1 No sender"),
            _ => {
                self.breach(Law::Dialogue, &format!("{text:?}"));
                line.say("500 5.5.2 What");
            }
        }
    }

    fn recipient(&mut self, to: String, line: &mut Line) {
        if self.mood == Mood::Greylists {
            let key = format!("{} {to}", self.name);
            if self.hosts.state().greylist.insert(key) {
                return line.say("450 4.2.0 Greylisted");
            }
        }
        if !self.balks(Stage::Rcpt, line) {
            self.to.push(to);
            line.say("250 2.1.5 Ok");
        }
    }

    /// A line of the message.
    fn text(&mut self, at: Now, text: &[u8], line: &mut Line) {
        let Some(data) = &mut self.data else { return };
        if text != b"." {
            data.extend_from_slice(text.strip_prefix(b".").unwrap_or(text));
            data.extend_from_slice(b"\r\n");
            return;
        }
        let data = self.data.take().unwrap_or_default();
        let (from, to) = (self.from.take().unwrap_or_default(), std::mem::take(&mut self.to));
        if self.balks(Stage::Dot, line) {
            return;
        }
        let host = self.name.clone();
        let taken = Taken { host, from, to, data, at: elapsed(at), heard: false };
        let number = self.hosts.0.scene.ledger().took(taken);
        if self.mood == Mood::LosesReply {
            return self.leave(How::Resets, line);
        }
        self.told = Some(number);
        line.say("250 2.0.0 Ok: taken");
    }
}

impl Peer for Host {
    fn opened(&mut self, _: Now, line: &mut Line) {
        line.wake = Some(PATIENCE);
        match self.mood {
            Mood::Defers(Stage::Greeting) => line.say("421 4.3.2 Not now"),
            Mood::Refuses(Stage::Greeting) => line.say("554 5.3.2 Never"),
            Mood::Leaves(Stage::Greeting, how) => self.leave(how, line),
            _ => line.say("220 host ESMTP"),
        }
        if let Mood::Defers(Stage::Greeting) = self.mood {
            self.leave(How::Closes, line);
        }
    }

    fn received(&mut self, at: Now, bytes: &[u8], line: &mut Line) {
        if let Some(number) = self.told.take() {
            self.hosts.0.scene.ledger().heard(number);
        }
        line.wake = Some(PATIENCE);
        self.lines.push(bytes);
        while let Some(text) = self.lines.next() {
            match &self.data {
                _ if self.left => return,
                Some(_) => self.text(at, &text, line),
                None => self.command(&String::from_utf8_lossy(&text), line),
            }
        }
        if self.left {
            line.wake = None;
        }
    }

    fn secured(&mut self, _: Now, _: &mut Line) {}

    fn ended(&mut self, _: Now, _: Ended, line: &mut Line) {
        self.left = true;
        line.close = Some(Close::Eof);
    }

    fn woken(&mut self, _: Now, line: &mut Line) {
        if !self.left {
            self.leave(How::Closes, line);
        }
    }
}
