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

/// What a host offers; those of the zones are all different.
#[derive(Clone, Copy, Debug, Default)]
struct Offers {
    /// It knows EHLO at all.
    ehlo: bool,
    eight_bit: bool,
    pipelining: bool,
    dsn: bool,
    utf8: bool,
    chunking: bool,
    starttls: bool,
}

impl Offers {
    fn of(host: &str) -> Self {
        let esmtp = Self { ehlo: true, eight_bit: true, pipelining: true, ..Self::default() };
        match host {
            "mx1.remote.test" => Self { dsn: true, ..esmtp },
            "mx2.remote.test" => Self { starttls: true, ..esmtp },
            "a.twin.test" => {
                Self { dsn: true, utf8: true, chunking: true, starttls: true, ..esmtp }
            }
            "b.twin.test" => Self { ehlo: true, ..Self::default() },
            "plain.test" => Self::default(),
            _ => Self { utf8: true, starttls: true, ..esmtp },
        }
    }

    /// Whether a parameter of MAIL or RCPT is understood.
    fn knows(self, parameter: &str) -> bool {
        match parameter.split('=').next().unwrap_or("") {
            "SIZE" => self.ehlo,
            "BODY" => self.eight_bit,
            "SMTPUTF8" => self.utf8,
            "RET" | "ENVID" | "NOTIFY" | "ORCPT" => self.dsn,
            _ => false,
        }
    }
}

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
            offers: Offers::of(name),
            secure: false,
            lines: Lines::default(),
            taken: None,
            data: None,
            pieces: None,
            chunk: None,
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
    offers: Offers,
    secure: bool,
    lines: Lines,
    /// The envelope, from MAIL on.
    taken: Option<Taken>,
    /// A message that is coming in.
    data: Option<Vec<u8>>,
    /// One that comes in pieces.
    pieces: Option<Vec<u8>>,
    /// A piece that is coming: how long it is, and whether it is the last.
    chunk: Option<(usize, bool)>,
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
        match (verb.as_str(), path) {
            ("EHLO", _) if !self.offers.ehlo => line.say("502 5.5.1 What"),
            ("EHLO", _) => self.hello(line),
            ("HELO", _) => line.say("250 host"),
            ("STARTTLS", _) if self.offers.starttls && !self.secure => self.starttls(line),
            ("MAIL", Some((from, words))) if self.taken.is_none() => {
                self.check_words(words);
                if !self.balks(Stage::Mail, line) {
                    self.taken = Some(Taken {
                        host: self.name.clone(),
                        from: from.to_owned(),
                        words: words.to_owned(),
                        knows_dsn: self.offers.dsn,
                        secure: self.secure,
                        ..Taken::default()
                    });
                    line.say("250 2.1.0 Ok");
                }
            }
            ("RCPT", Some((to, words))) if self.taken.is_some() => self.recipient(to, words, line),
            ("BDAT", _) if self.offers.chunking && chunk(text).is_some() => {
                self.chunk = chunk(text)
            }
            ("DATA", _) if self.has_recipients() => {
                if !self.balks(Stage::Data, line) {
                    self.data = Some(Vec::new());
                    line.say("354 Go on");
                }
            }
            ("DATA", _) => line.say("554 5.5.1 No valid recipients"),
            ("RSET", _) => {
                (self.taken, self.pieces) = (None, None);
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

    fn hello(&mut self, line: &mut Line) {
        let Offers { eight_bit, pipelining, dsn, utf8, chunking, starttls, .. } = self.offers;
        line.say("250-host");
        let words = [
            (eight_bit, "8BITMIME"),
            (pipelining, "PIPELINING"),
            (dsn, "DSN"),
            (utf8, "SMTPUTF8"),
            (chunking, "CHUNKING"),
            (starttls && !self.secure, "STARTTLS"),
        ];
        for (_, word) in words.iter().filter(|(on, _)| *on) {
            line.say(&format!("250-{word}"));
        }
        line.say("250 SIZE 10000000");
    }

    /// One that refuses TLS says yes first, and then something else.
    fn starttls(&mut self, line: &mut Line) {
        match self.mood {
            Mood::Defers(Stage::Tls) => return line.say("454 4.7.0 Not now"),
            Mood::Refuses(Stage::Tls) => {
                line.say("220 2.0.0 Go on");
                line.say("550 5.7.1 Never");
                return self.leave(How::Closes, line);
            }
            _ => line.say("220 2.0.0 Go on"),
        }
        line.secure = !self.balks(Stage::Tls, line);
    }

    fn has_recipients(&self) -> bool {
        self.taken.as_ref().is_some_and(|taken| !taken.to.is_empty())
    }

    /// Nobody says what was not offered.
    fn check_words(&self, words: &str) {
        let unknown = words.split_ascii_whitespace().find(|word| !self.offers.knows(word));
        if let Some(word) = unknown {
            self.breach(Law::Dialogue, &format!("{word:?} was not offered"));
        }
    }

    fn recipient(&mut self, to: &str, words: &str, line: &mut Line) {
        self.check_words(words);
        if self.mood == Mood::Greylists {
            let key = format!("{} {to}", self.name);
            if self.hosts.state().greylist.insert(key) {
                return line.say("450 4.2.0 Greylisted");
            }
        }
        if !self.balks(Stage::Rcpt, line)
            && let Some(taken) = &mut self.taken
        {
            taken.to.push(to.to_owned());
            taken.to_words.push(words.to_owned());
            line.say("250 2.1.5 Ok");
        }
    }

    /// A piece of the message.
    fn piece(&mut self, at: Now, piece: &[u8], last: bool, line: &mut Line) {
        if !self.has_recipients() {
            return line.say("503 5.5.1 No valid recipients");
        }
        if self.pieces.is_none() && self.balks(Stage::Data, line) {
            self.taken = None;
            return;
        }
        self.pieces.get_or_insert_default().extend_from_slice(piece);
        match last {
            true => self.take(at, line),
            false => line.say("250 2.0.0 Ok"),
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
        self.take(at, line);
    }

    /// The message is there.
    fn take(&mut self, at: Now, line: &mut Line) {
        let data = self.data.take().or_else(|| self.pieces.take());
        let taken = self.taken.take();
        if self.balks(Stage::Dot, line) {
            return;
        }
        let taken =
            Taken { data: data.unwrap_or_default(), at: elapsed(at), ..taken.unwrap_or_default() };
        let number = self.hosts.0.scene.ledger().took(taken);
        if self.mood == Mood::LosesReply {
            return self.leave(How::Resets, line);
        }
        self.told = Some(number);
        line.say("250 2.0.0 Ok: taken");
    }
}

impl Peer for Host {
    fn is_stalled(&self) -> bool {
        self.left && matches!(self.mood, Mood::Leaves(_, How::Stalls))
    }

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
        while !self.left {
            if let Some((size, last)) = self.chunk {
                let Some(piece) = self.lines.octets(size) else { break };
                self.chunk = None;
                self.piece(at, &piece, last, line);
                continue;
            }
            let Some(text) = self.lines.next() else { break };
            match &self.data {
                Some(_) => self.text(at, &text, line),
                _ => self.command(&String::from_utf8_lossy(&text), line),
            }
        }
        if self.left {
            line.wake = None;
        }
    }

    fn secured(&mut self, _: Now, line: &mut Line) {
        (self.secure, self.taken) = (true, None);
        line.wake = Some(PATIENCE);
    }

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

/// `BDAT 86 LAST`
fn chunk(text: &str) -> Option<(usize, bool)> {
    let mut words = text.split_ascii_whitespace().skip(1);
    let size = words.next()?.parse().ok()?;
    Some((size, words.next().is_some_and(|word| word.eq_ignore_ascii_case("LAST"))))
}
