//! One question to a list of name servers: a machine without bytes.
//!
//! Each server is asked in turn, for as many rounds as the settings say. A server that says SERVFAIL
//! or REFUSED has said what it can and is not asked again; one that is silent, or talks nonsense, is.
//! An answer that does not fit a datagram is fetched by TCP, a server that knows no EDNS is asked
//! without, and an alias that the server did not follow is followed.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::net::SocketAddr;
use core::time::Duration;

use waypost_machine::{Input, Ledger, Machine, Now, Step, Ticket, Wait, Why};

use crate::packet::{Awaited, Response, about};
use crate::question::{Answer, Failure, Found, Question};
use crate::random::Random;

/// Aliases that are followed by a new question.
const ALIASES: usize = 8;

/// Whom to ask, and how patiently: resolv.conf(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// In order.
    pub addresses: Vec<SocketAddr>,
    /// How long to wait for one answer (`timeout:`).
    pub timeout: Duration,
    /// How often each is asked (`attempts:`).
    pub attempts: u32,
    /// Begin with any of them (`rotate`).
    pub rotate: bool,
}

impl Servers {
    /// Five seconds, two attempts, in order.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses, timeout: Duration::from_secs(5), attempts: 2, rotate: false }
    }
}

/// A packet to be sent to a name server, and the answer to be brought.
#[derive(Debug)]
pub struct Packet {
    /// To whom.
    pub server: SocketAddr,
    /// How.
    pub transport: Transport,
    /// Its octets. By TCP their number goes before them, as two octets (RFC 1035 4.2.2).
    pub bytes: Vec<u8>,
    /// Tells the answer from what else may come.
    pub awaited: Awaited,
    /// For the answer.
    pub ticket: Ticket<Arrived>,
}

/// How a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// From a new socket, connected to the server, whose port the system chose at random: an answer
    /// that somebody forges has to guess it (RFC 5452 9.2). Datagrams for which
    /// [`Awaited::is_answered_by`] is false are dropped, and the socket is read on.
    Udp,
    /// By a connection.
    Tcp,
}

/// The outcome of a [`Packet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// The answer, without the length that TCP has.
    Answer(Vec<u8>),
    /// Nobody is there, or the connection broke.
    Failed,
}

/// News of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A server could not be used; others may.
    Useless {
        /// Which.
        server: SocketAddr,
        /// Why.
        failure: Failure,
    },
    /// The end: comes once, before the machine closes.
    Answer(Answer),
}

/// One lookup. Its last fact is the [`Fact::Answer`], after which it closes.
pub struct Lookup {
    servers: Arc<Servers>,
    question: Question,
    random: Random,
    ledger: Ledger,
    out: VecDeque<Step<Self>>,
    /// Turns left, each a place in the list of servers.
    turns: VecDeque<usize>,
    /// The answer that is waited for.
    current: Option<Current>,
    /// The worst that was heard, which is told in the end.
    failure: Option<Failure>,
    aliases: Vec<Box<str>>,
    authentic: bool,
    ttl: u32,
    over: bool,
}

struct Current {
    server: usize,
    transport: Transport,
    edns: bool,
    awaited: Awaited,
}

impl Lookup {
    /// Begins. `seed` makes the ids of packets: 64 bits that nobody else knows, new for each lookup.
    pub fn new(now: Now, servers: Arc<Servers>, question: Question, seed: u64) -> Self {
        let mut lookup = Self {
            servers,
            question,
            random: Random::new(seed),
            ledger: Ledger::new(),
            out: VecDeque::new(),
            turns: VecDeque::new(),
            current: None,
            failure: None,
            aliases: Vec::new(),
            authentic: true,
            ttl: u32::MAX,
            over: false,
        };
        lookup.begin(now);
        lookup
    }

    /// All servers from the start, for this question.
    fn begin(&mut self, now: Now) {
        let count = self.servers.addresses.len();
        if count == 0 {
            return self.fail(Failure::NoServer);
        }
        let first = if self.servers.rotate { self.random.below(count) } else { 0 };
        let attempts = self.servers.attempts.max(1);
        self.turns = (0..attempts).flat_map(|_| (0..count).map(|n| (first + n) % count)).collect();
        self.failure = None;
        self.next_server(now);
    }

    fn next_server(&mut self, now: Now) {
        match self.turns.pop_front() {
            Some(server) => self.send(now, server, Transport::Udp, true),
            None => self.fail(self.failure.unwrap_or(Failure::Silence)),
        }
    }

    fn send(&mut self, now: Now, server: usize, transport: Transport, edns: bool) {
        let Some(address) = self.servers.addresses.get(server).copied() else { return };
        let awaited = Awaited::new(self.random.id(), self.question.clone());
        let ticket = self.ledger.open(Some(now.mono.plus(self.servers.timeout)));
        self.out.push_back(Step::Call(Packet {
            server: address,
            transport,
            bytes: awaited.packet(edns),
            awaited: awaited.clone(),
            ticket,
        }));
        self.current = Some(Current { server, transport, edns, awaited });
    }

    fn arrived(&mut self, now: Now, arrived: Option<Arrived>) {
        let Some(Current { server, transport, edns, awaited }) = self.current.take() else {
            return;
        };
        let response = match arrived {
            Some(Arrived::Answer(packet)) => awaited.read(&packet, edns),
            Some(Arrived::Failed) | None => Response::Useless(Failure::Silence),
        };
        match response {
            Response::Found { found, authentic, ttl } => {
                self.note(authentic, ttl);
                self.end(found, self.authentic, self.ttl, Why::Done);
            }
            Response::Alias { to, authentic, ttl } => {
                self.note(authentic, ttl);
                self.follow(now, to);
            }
            Response::Truncated if transport == Transport::Udp => {
                self.send(now, server, Transport::Tcp, edns);
            }
            Response::NoEdns => self.send(now, server, transport, false),
            Response::Truncated => self.useless(now, server, Failure::Nonsense),
            Response::Useless(failure) => self.useless(now, server, failure),
        }
    }

    fn note(&mut self, authentic: bool, ttl: u32) {
        self.authentic &= authentic;
        self.ttl = self.ttl.min(ttl);
    }

    fn follow(&mut self, now: Now, to: Box<str>) {
        if self.aliases.len() >= ALIASES || *to == *self.question.name() {
            return self.fail(Failure::Aliases);
        }
        match about(&to, self.question.kind()) {
            Err(failure) => self.fail(failure),
            Ok(question) => {
                self.aliases.push(to);
                self.question = question;
                self.begin(now);
            }
        }
    }

    fn useless(&mut self, now: Now, server: usize, failure: Failure) {
        if let Some(address) = self.servers.addresses.get(server) {
            self.out.push_back(Step::Fact(Fact::Useless { server: *address, failure }));
        }
        if matches!(failure, Failure::ServFail | Failure::Refused | Failure::Aliases) {
            self.turns.retain(|turn| *turn != server);
        }
        // SERVFAIL tells more than silence, and silence more than nothing.
        let rank = |failure: Failure| match failure {
            Failure::ServFail => 4,
            Failure::Aliases => 3,
            Failure::Nonsense => 2,
            Failure::Refused => 1,
            _ => 0,
        };
        if self.failure.is_none_or(|before| rank(failure) > rank(before)) {
            self.failure = Some(failure);
        }
        self.next_server(now);
    }

    fn fail(&mut self, failure: Failure) {
        self.end(Found::Unavailable(failure), false, 0, Why::Done);
    }

    fn end(&mut self, found: Found, authentic: bool, ttl: u32, why: Why) {
        self.over = true;
        self.current = None;
        for id in self.ledger.cancel_all() {
            self.out.push_back(Step::Cancel(id));
        }
        self.out.push_back(Step::Fact(Fact::Answer(Answer { found, authentic, ttl })));
        self.out.push_back(Step::Close(why));
    }
}

impl Machine for Lookup {
    type Call = Packet;
    type Reply = Arrived;
    type Notice = Infallible;
    type Fact = Fact;

    fn handle(&mut self, now: Now, input: Input<Self>) {
        if self.over {
            return;
        }
        match input {
            Input::Answer(answer) => {
                let (id, arrived) = answer.into_parts();
                if self.ledger.close(id) {
                    self.arrived(now, Some(arrived));
                }
            }
            Input::Eof | Input::Gone | Input::Stop => {
                return self.end(Found::Unavailable(Failure::Stopped), false, 0, Why::Stopped);
            }
            Input::Tick | Input::Bytes(_) | Input::Secured(_) => {}
            Input::Notice(never) => match never {},
        }
        while !self.over
            && let Some(id) = self.ledger.expire(now.mono)
        {
            self.out.push_back(Step::Cancel(id));
            self.arrived(now, None);
        }
    }

    fn poll(&mut self, _room: usize) -> Step<Self> {
        let until = self.ledger.until();
        self.out.pop_front().unwrap_or(Step::Wait(Wait { until, read: 0 }))
    }
}
