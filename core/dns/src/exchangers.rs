//! From a domain to the hosts that take its mail, and their addresses: a machine without bytes.
//!
//! Top to bottom (RFC 5321 5.1):
//!
//! 1. The exchangers of the domain. None listed: the domain itself. `.`: nobody (RFC 7505).
//! 2. If one of them is ourselves, those that are no better than we are do not count.
//! 3. The addresses of all that are left, asked at the same time. A host without any is skipped, as
//!    long as there are others.
//! 4. The order: preference, then chance.
//!
//! What cannot be told now defers the mail; what is not there bounces it.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::net::IpAddr;
use core::time::Duration;

use waypost_machine::{CallId, Input, Ledger, Machine, Now, Step, Ticket, Wait, Why};
use waypost_mail::{Domain, Enhanced};

use crate::mx::{Exchanger, NoRoute, Own, order};
use crate::question::{Answer, Failure, Found, Kind, Question, Record};
use crate::random::Random;

/// Where mail is to go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// To the exchangers of this domain: `example.com`.
    Domain(Box<str>),
    /// To this very host: `[mx.example.com]`.
    Host(Box<str>),
    /// To this address: `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
    Address(IpAddr),
}

/// A text that is no next hop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no destination; write example.com, [mx.example.com] or [192.0.2.1], with :PORT if need be"
)]
pub struct NextHopError(Box<str>);

impl NextHop {
    /// The next hop for a recipient.
    pub fn of(domain: &Domain) -> Self {
        match domain.as_str().strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(literal) => Self::bracketed(literal),
            None => Self::Domain(domain.as_str().into()),
        }
    }

    /// Parses what relayhost and transport tables hold: a domain, or a host in brackets, and a port
    /// if there is one.
    ///
    /// # Errors
    /// [`NextHopError`]
    pub fn parse(text: &str) -> Result<(Self, Option<u16>), NextHopError> {
        let wrong = || NextHopError(text.into());
        let (hop, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or_else(wrong)?),
                };
                (Self::bracketed(host), port)
            }
            None => match text.split_once(':') {
                Some((domain, port)) => (Self::Domain(domain.into()), Some(port)),
                None => (Self::Domain(text.into()), None),
            },
        };
        if let Self::Domain(name) | Self::Host(name) = &hop
            && Question::new(name, Kind::A).is_err()
        {
            return Err(wrong());
        }
        let port = port.map(str::parse).transpose().map_err(|_| wrong())?;
        Ok((hop, port))
    }

    fn bracketed(text: &str) -> Self {
        let tagged = text.split_at_checked(5).filter(|(tag, _)| tag.eq_ignore_ascii_case("IPv6:"));
        let address = tagged.map_or(text, |(_, rest)| rest);
        address.parse().map_or_else(|_| Self::Host(text.into()), Self::Address)
    }
}

impl core::fmt::Display for NextHop {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Domain(name) => f.write_str(name),
            Self::Host(name) => write!(f, "[{name}]"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
            Self::Address(IpAddr::V4(address)) => write!(f, "[{address}]"),
        }
    }
}

/// How much to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Exchangers whose addresses are asked for, the best first.
    pub hosts: usize,
    /// Addresses that come out (smtp_mx_address_limit).
    pub addresses: usize,
    /// IPv4 is used (inet_protocols).
    pub ipv4: bool,
    /// IPv6 is used (inet_protocols).
    pub ipv6: bool,
    /// The world must answer within this time.
    pub timeout: Duration,
}

impl Default for Limits {
    /// 20 hosts, five addresses, both families, two minutes.
    fn default() -> Self {
        let timeout = Duration::from_secs(120);
        Self { hosts: 20, addresses: 5, ipv4: true, ipv6: true, timeout }
    }
}

/// A question for the resolver: [`crate::Cache`], and [`crate::Lookup`] for what it does not hold.
#[derive(Debug)]
pub struct Ask {
    /// The question.
    pub question: Question,
    /// For the answer.
    pub ticket: Ticket<Answer>,
}

/// News of the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// An exchanger without usable address; others may do.
    Skipped(NoRoute),
    /// The end: comes once, before the machine closes. At least one exchanger, in the order in which
    /// they are to be tried.
    Route(Result<Vec<Exchanger>, NoRoute>),
}

/// The search for the hosts of one destination. Its last fact is the [`Fact::Route`], after which it
/// closes.
pub struct Exchangers {
    hop: NextHop,
    own: Arc<Own>,
    limits: Limits,
    random: Random,
    ledger: Ledger,
    out: VecDeque<Step<Self>>,
    /// Open questions about the addresses of a host, by its place in `hosts`.
    open: BTreeMap<CallId, (usize, Question)>,
    /// The question about exchangers, while it is open.
    listing: Option<CallId>,
    hosts: Vec<Host>,
    /// We are an exchanger of this preference ourselves.
    own_preference: Option<u16>,
    /// The preference of the best exchanger, we included.
    best: Option<u16>,
    /// The list of exchangers was validated.
    authentic: bool,
    over: bool,
}

/// An exchanger, and what was found of it.
struct Host {
    name: Box<str>,
    preference: u16,
    addresses: Vec<(IpAddr, bool)>,
    trouble: Option<NoRoute>,
}

impl Exchangers {
    /// Begins. `seed` decides the order of equals.
    pub fn new(now: Now, hop: NextHop, own: Arc<Own>, limits: Limits, seed: u64) -> Self {
        let mut search = Self {
            hop,
            own,
            limits,
            random: Random::new(seed),
            ledger: Ledger::new(),
            out: VecDeque::new(),
            open: BTreeMap::new(),
            listing: None,
            hosts: Vec::new(),
            own_preference: None,
            best: None,
            authentic: true,
            over: false,
        };
        search.begin(now);
        search
    }

    fn begin(&mut self, now: Now) {
        match self.hop.clone() {
            NextHop::Address(address) => {
                let mut host = Host::new(format!("{address}").into(), 0);
                host.addresses.push((address, false));
                self.hosts.push(host);
                self.decide();
            }
            NextHop::Host(name) => {
                self.listed(now, alloc::vec![(0, name)]);
            }
            NextHop::Domain(name) => match Question::new(&name, Kind::Mx) {
                Ok(question) => self.listing = Some(self.ask(now, question)),
                Err(_) => {
                    let reason =
                        format!("Name service error for {name}: invalid host or domain name");
                    self.refuse(Enhanced(5, 4, 4), &reason);
                }
            },
        }
    }

    fn ask(&mut self, now: Now, question: Question) -> CallId {
        let ticket = self.ledger.open(Some(now.mono.plus(self.limits.timeout)));
        let id = ticket.id();
        self.out.push_back(Step::Call(Ask { question, ticket }));
        id
    }

    /// What is known of the exchangers.
    fn exchangers(&mut self, now: Now, question: &Question, answer: Answer) {
        self.authentic = answer.authentic;
        let records = match answer.found {
            Found::Records(records) => records,
            // RFC 5321 5.1: the domain is its own exchanger.
            Found::NoData => {
                let name = question.name().into();
                return self.listed(now, alloc::vec![(0, name)]);
            }
            found @ (Found::NoName | Found::Unavailable(_)) => {
                let NoRoute { status, reason } = absent(question, &found);
                return self.refuse(status, &reason);
            }
        };
        let mut hosts: Vec<(u16, Box<str>)> = records
            .into_iter()
            .filter_map(|record| match record {
                Record::Mx { preference, exchange } => Some((preference, exchange)),
                _ => None,
            })
            .collect();
        if hosts.iter().all(|(_, name)| name.is_empty()) {
            let reason = format!("Domain {} does not accept mail (nullMX)", self.hop);
            return self.refuse(Enhanced(5, 1, 0), &reason);
        }
        hosts.retain(|(_, name)| !name.is_empty());
        hosts.sort();
        hosts.dedup();
        self.listed(now, hosts);
    }

    /// Asks for the addresses of these, in order.
    fn listed(&mut self, now: Now, mut hosts: Vec<(u16, Box<str>)>) {
        self.best = hosts.first().map(|(preference, _)| *preference);
        let own = hosts.iter().find(|(_, name)| self.own.is_name(name));
        self.own_preference = own.map(|(preference, _)| *preference);
        if let Some(own) = self.own_preference {
            hosts.retain(|(preference, _)| *preference < own);
        }
        // Those of one preference that are cut off here are cut off by chance.
        self.random.shuffle(&mut hosts);
        hosts.sort_by_key(|(preference, _)| *preference);
        hosts.truncate(self.limits.hosts);
        let kinds = [(self.limits.ipv6, Kind::Aaaa), (self.limits.ipv4, Kind::A)];
        for (preference, name) in hosts {
            let at = self.hosts.len();
            let mut host = Host::new(name, preference);
            if let Ok(address) = host.name.parse() {
                // Against RFC 1035 3.3.9, and widespread.
                host.addresses.push((address, false));
            } else {
                for (_, kind) in kinds.into_iter().filter(|(wanted, _)| *wanted) {
                    match Question::new(&host.name, kind) {
                        Ok(question) => {
                            let id = self.ask(now, question.clone());
                            self.open.insert(id, (at, question));
                        }
                        Err(_) => host.trouble = Some(invalid(&host.name)),
                    }
                }
            }
            self.hosts.push(host);
        }
        if self.open.is_empty() {
            self.decide();
        }
    }

    /// What is known of one address of a host.
    fn addresses(&mut self, at: usize, question: &Question, answer: Answer) {
        let Some(host) = self.hosts.get_mut(at) else { return };
        match answer.found {
            Found::Records(records) => {
                host.addresses.extend(records.into_iter().filter_map(|record| match record {
                    Record::A(address) => Some((IpAddr::V4(address), answer.authentic)),
                    Record::Aaaa(address) => Some((IpAddr::V6(address), answer.authentic)),
                    _ => None,
                }));
            }
            found => {
                let trouble = absent(question, &found);
                // "Not now" says more than "not at all"; of two that say the same, AAAA speaks, as in
                // Postfix.
                let first = host.trouble.as_ref().map_or(u8::MAX, |before| before.status.0);
                let class = trouble.status.0;
                if class < first || class == first && question.kind() == Kind::Aaaa {
                    host.trouble = Some(trouble);
                }
            }
        }
    }

    /// All is known.
    fn decide(&mut self) {
        let mut found = Vec::new();
        let mut own = self.own_preference;
        let mut troubles = Vec::new();
        for host in &self.hosts {
            for (address, authentic) in &host.addresses {
                if self.own.is_address(*address) {
                    own = Some(own.map_or(host.preference, |own| own.min(host.preference)));
                }
                found.push(Exchanger {
                    name: host.name.clone(),
                    address: *address,
                    preference: host.preference,
                    best: false,
                    authentic: *authentic && self.authentic,
                });
            }
            if host.addresses.is_empty() {
                troubles.extend(host.trouble.clone());
            }
        }
        let best_found = found.iter().map(|host| host.preference).chain(own).min();
        if let Some(own) = own {
            found.retain(|host| host.preference < own);
        }
        if !found.is_empty() {
            let skipped = troubles.into_iter().map(|trouble| Step::Fact(Fact::Skipped(trouble)));
            self.out.extend(skipped);
            let mut hosts = order(found, self.limits.addresses.max(1), &mut self.random);
            for host in &mut hosts {
                host.best &= Some(host.preference) == self.best.or(Some(host.preference));
            }
            return self.end(Ok(hosts), Why::Done);
        }
        if own.is_some() && best_found == self.best.or(best_found) {
            let reason = format!("mail for {} loops back to myself", self.hop);
            return self.refuse(Enhanced(5, 4, 6), &reason);
        }
        if own.is_some() {
            let reason = format!("unable to find primary relay for {}", self.hop);
            return self.refuse(Enhanced(4, 4, 4), &reason);
        }
        // One that may be there later is enough to wait for.
        let trouble = troubles.into_iter().min_by_key(|trouble| trouble.status.0);
        let NoRoute { status, reason } = trouble.unwrap_or_else(|| NoRoute {
            status: Enhanced(4, 4, 4),
            reason: "all network protocols are disabled".into(),
        });
        self.refuse(status, &reason);
    }

    fn refuse(&mut self, status: Enhanced, reason: &str) {
        self.end(Err(NoRoute { status, reason: reason.into() }), Why::Done);
    }

    fn end(&mut self, route: Result<Vec<Exchanger>, NoRoute>, why: Why) {
        self.over = true;
        for id in self.ledger.cancel_all() {
            self.out.push_back(Step::Cancel(id));
        }
        self.out.push_back(Step::Fact(Fact::Route(route)));
        self.out.push_back(Step::Close(why));
    }

    fn learn(&mut self, now: Now, id: CallId, answer: Answer) {
        if self.listing == Some(id) {
            self.listing = None;
            if let NextHop::Domain(name) = &self.hop
                && let Ok(question) = Question::new(name, Kind::Mx)
            {
                self.exchangers(now, &question, answer);
            }
        } else if let Some((at, question)) = self.open.remove(&id) {
            self.addresses(at, &question, answer);
            if self.open.is_empty() {
                self.decide();
            }
        }
    }
}

impl Host {
    fn new(name: Box<str>, preference: u16) -> Self {
        Self { name, preference, addresses: Vec::new(), trouble: None }
    }
}

fn invalid(name: &str) -> NoRoute {
    let reason = format!("Name service error for {name}: invalid host or domain name").into();
    NoRoute { status: Enhanced(5, 4, 4), reason }
}

/// What is to be said of something that was not found.
fn absent(question: &Question, found: &Found) -> NoRoute {
    let (status, why) = match found {
        Found::Unavailable(_) => (Enhanced(4, 4, 3), "Host not found, try again"),
        Found::NoName => (Enhanced(5, 4, 4), "Host not found"),
        Found::NoData | Found::Records(_) => {
            (Enhanced(5, 4, 4), "Host found but no data record of requested type")
        }
    };
    let reason =
        format!("Host or domain name not found. Name service error for {question}: {why}").into();
    NoRoute { status, reason }
}

impl Machine for Exchangers {
    type Call = Ask;
    type Reply = Answer;
    type Notice = Infallible;
    type Fact = Fact;

    fn handle(&mut self, now: Now, input: Input<Self>) {
        if self.over {
            return;
        }
        match input {
            Input::Answer(answer) => {
                let (id, answer) = answer.into_parts();
                if self.ledger.close(id) {
                    self.learn(now, id, answer);
                }
            }
            Input::Eof | Input::Gone | Input::Stop => {
                let reason = format!("the search for {} was broken off", self.hop).into();
                let status = Enhanced(4, 4, 3);
                return self.end(Err(NoRoute { status, reason }), Why::Stopped);
            }
            Input::Tick | Input::Bytes(_) | Input::Secured(_) => {}
            Input::Notice(never) => match never {},
        }
        while !self.over
            && let Some(id) = self.ledger.expire(now.mono)
        {
            self.out.push_back(Step::Cancel(id));
            self.learn(now, id, Answer::unavailable(Failure::Silence));
        }
    }

    fn poll(&mut self, _room: usize) -> Step<Self> {
        let until = self.ledger.until();
        self.out.pop_front().unwrap_or(Step::Wait(Wait { until, read: 0 }))
    }
}
