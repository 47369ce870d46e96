//! One attempt to take a message to the hosts of its next hop: a machine without bytes, clock or
//! sockets. Each input leads to one action, whose outcome is the next input.
//!
//! 1. A connection that waits for another message, if there is one.
//! 2. The hosts, in order. Whoever is deferred by one and may do better elsewhere goes on to the
//!    next, as long as there are any, and no more than `session_limit` were talked to. Once some
//!    host has taken the message for anybody, that ends: the others wait for another attempt, and
//!    what has been done is written down before anything else. A crash while a slow host is waited
//!    for would make a second copy of it. Nobody is kept from the other hosts for ever: the next
//!    attempt is for the others alone, each attempt that ends so makes them fewer, and the one in
//!    which the first host takes nobody goes on to the second.
//! 3. A host that takes only so many recipients gets the others at once, on the same connection.
//! 4. TLS that was a mere wish and has failed is left out, once.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use waypost_dns::{Exchanger, NoRoute};
use waypost_machine::Time;
use waypost_mail::Enhanced;
use waypost_queue::{Diagnosis, SiteState};
use waypost_smtp::client::{Cause, Disposition, Mail, Outcome, Remote, Stage, To, Trouble};
use waypost_tls_client::Refusal;
use waypost_world::carrier::{Carried, Fate, Passed};

use crate::outcome::{Words, diagnosis};

/// What has happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// No connection waits for a message.
    NoneIdle,
    /// The hosts, in order; or why there are none.
    Route(Result<Vec<Exchanger>, NoRoute>),
    /// We do not want to talk to this host: it cannot give the proof that is wanted.
    Unsafe(Refusal),
    /// There is no connection with the host, for this reason: `Connection refused`. `ours`: it says
    /// nothing about the host.
    Unreachable { reason: Box<str>, ours: bool },
    /// The connection that the message was given to had gone before.
    Untried,
    /// The outcome of talking to a host. `optional`: TLS was a mere wish.
    Ended { outcome: Arc<Outcome>, remote: Arc<Remote>, optional: bool },
    /// We are stopping.
    Stop,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Give the message to a connection that waits: nothing follows until it has ended. Else
    /// [`Input::NoneIdle`].
    Reuse,
    /// Find the hosts.
    Route,
    /// Connect.
    Connect {
        host: Exchanger,
        /// Without TLS.
        plain: bool,
    },
    /// Once more on the same connection, or else [`Input::Untried`].
    Again,
    /// It is over.
    Done(Carried),
    /// Nothing now.
    Wait,
}

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before a host has the message.
    Seeking,
    /// A host has it.
    Talking,
    Over,
}

/// How much a word tells: how far we came with the host that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    /// There was no connection, or not even a host.
    Outside,
    /// We did not want one: the host cannot give the proof that is wanted.
    Unsafe,
    /// It was talked to, up to here.
    Inside(Stage),
}

/// What is known of a recipient so far.
struct Word {
    passed: Passed,
    depth: Depth,
}

impl Word {
    /// It is a deferral that tells more than what comes from so far.
    fn outdoes(&self, depth: Depth) -> bool {
        self.passed.fate == Fate::Deferred && self.depth > depth
    }
}

/// See the module.
pub(crate) struct Attempt {
    mail: Arc<Mail>,
    started: Time,
    port: u16,
    session_limit: usize,
    /// The last word on each recipient; for those in `open` it is not final.
    words: Vec<Option<Word>>,
    /// Places of recipients that have no final word.
    open: Vec<usize>,
    /// Places of those that the host at hand is given.
    tried: Vec<usize>,
    /// `None`: not asked for yet.
    hosts: Option<VecDeque<Exchanger>>,
    host: Option<Exchanger>,
    plain: bool,
    /// Hosts talked to.
    sessions: usize,
    /// One that was talked to before the hosts were known.
    met: Option<IpAddr>,
    phase: Phase,
    stopping: bool,
    /// A host has taken or refused mail.
    alive: bool,
    /// The trouble that was about a host: the one that tells most; of equals, the last.
    dead: Option<(Depth, Arc<Diagnosis>)>,
}

impl Attempt {
    /// Begins. The first thing to do is [`Action::Reuse`]. `port`: of the hosts.
    pub(crate) fn new(mail: Arc<Mail>, started: Time, port: u16, session_limit: usize) -> Self {
        let open: Vec<usize> = (0..mail.recipients.len()).collect();
        Self {
            words: open.iter().map(|_| None).collect(),
            tried: open.clone(),
            open,
            mail,
            started,
            port,
            session_limit,
            hosts: None,
            host: None,
            plain: false,
            sessions: 0,
            met: None,
            phase: Phase::Seeking,
            stopping: false,
            alive: false,
            dead: None,
        }
    }

    /// What a host gets that is ready now; `None` when it is over.
    pub(crate) fn talk(&mut self) -> Option<Arc<Mail>> {
        if self.phase == Phase::Over {
            return None;
        }
        self.phase = Phase::Talking;
        if self.tried.len() == self.mail.recipients.len() {
            return Some(Arc::clone(&self.mail));
        }
        let to: Vec<To> =
            self.tried.iter().filter_map(|at| self.mail.recipients.get(*at)).cloned().collect();
        Some(Arc::new(Mail { recipients: to, ..Mail::clone(&self.mail) }))
    }

    /// Takes one input.
    pub(crate) fn handle(&mut self, now: Time, input: Input) -> Action {
        if self.phase == Phase::Over {
            return Action::Wait;
        }
        match input {
            Input::Stop => self.stop(now),
            Input::NoneIdle => Action::Route,
            Input::Route(Ok(hosts)) => {
                let met = self.met;
                self.hosts =
                    Some(hosts.into_iter().filter(|host| met != Some(host.address)).collect());
                self.next_host(now)
            }
            Input::Route(Err(NoRoute { status, reason })) => {
                let diagnosis = Arc::new(Diagnosis::own(status, reason));
                if status.0 != 5 {
                    self.blame(Depth::Outside, &diagnosis);
                }
                self.hosts = Some(VecDeque::new());
                self.note(now, &diagnosis, Depth::Outside);
                self.finish()
            }
            Input::Unsafe(Refusal { status, reason }) => {
                let diagnosis = Arc::new(Diagnosis::own(status, reason));
                self.blame(Depth::Unsafe, &diagnosis);
                self.note(now, &diagnosis, Depth::Unsafe);
                self.next_host(now)
            }
            Input::Unreachable { reason, ours } => {
                let text = format!("connect to {}: {reason}", self.place());
                let diagnosis = Arc::new(Diagnosis::own(Enhanced(4, 4, 1), text));
                if !ours {
                    self.blame(Depth::Outside, &diagnosis);
                }
                self.note(now, &diagnosis, Depth::Outside);
                self.next_host(now)
            }
            Input::Untried => self.untried(now),
            Input::Ended { outcome, remote, optional } => {
                self.phase = Phase::Seeking;
                self.ended(now, &outcome, &remote, optional)
            }
        }
    }

    /// The host at hand, as in `connect to mx.remote.test[192.0.2.1]:25: ..`.
    fn place(&self) -> String {
        match &self.host {
            Some(host) => format!("{}[{}]:{}", host.name, host.address, self.port),
            None => "nobody".into(),
        }
    }

    fn stop(&mut self, now: Time) -> Action {
        self.stopping = true;
        if self.phase == Phase::Talking {
            // The session is told as well, and knows what has become of the message.
            return Action::Wait;
        }
        let text = "delivery was broken off: the mail system is stopping";
        self.note(now, &Arc::new(Diagnosis::own(Enhanced(4, 3, 2), text)), Depth::Outside);
        self.finish()
    }

    /// Nothing was said to the host at hand.
    fn untried(&mut self, now: Time) -> Action {
        self.phase = Phase::Seeking;
        if self.stopping {
            return self.stop(now);
        }
        if self.has_sent() {
            return self.finish();
        }
        match (&self.hosts, &self.host) {
            (Some(_), Some(host)) => Action::Connect { host: host.clone(), plain: self.plain },
            (Some(_), None) => self.next_host(now),
            (None, _) => {
                self.tried.clone_from(&self.open);
                self.met = None;
                Action::Route
            }
        }
    }

    /// A host is of no use now.
    fn blame(&mut self, depth: Depth, diagnosis: &Arc<Diagnosis>) {
        if self.dead.as_ref().is_none_or(|(before, _)| *before <= depth) {
            self.dead = Some((depth, Arc::clone(diagnosis)));
        }
    }

    /// A finding of our own about all who wait. What a host has said or shown tells more.
    fn note(&mut self, now: Time, diagnosis: &Arc<Diagnosis>, depth: Depth) {
        let fate = if diagnosis.status.0 == 5 { Fate::Failed } else { Fate::Deferred };
        let delays = [now.since(self.started), Duration::ZERO];
        for at in &self.open {
            let Some(word) = self.words.get_mut(*at) else { continue };
            if !word.as_ref().is_some_and(|word| word.outdoes(depth)) {
                let diagnosis = Arc::clone(diagnosis);
                let passed = Passed { fate, diagnosis, relay: "none".into(), delays };
                *word = Some(Word { passed, depth });
            }
        }
    }

    fn next_host(&mut self, now: Time) -> Action {
        if self.stopping {
            return self.stop(now);
        }
        self.tried.clone_from(&self.open);
        self.plain = false;
        let more = self.may_go_on();
        match self.hosts.as_mut().filter(|_| more).and_then(VecDeque::pop_front) {
            Some(host) => {
                self.host = Some(host.clone());
                Action::Connect { host, plain: false }
            }
            None => self.finish(),
        }
    }

    /// Some host has the message, for somebody.
    fn has_sent(&self) -> bool {
        self.words.iter().flatten().any(|word| matches!(word.passed.fate, Fate::Sent { .. }))
    }

    /// Whether there may be another host.
    fn may_go_on(&self) -> bool {
        let left = self.hosts.as_ref().is_none_or(|hosts| !hosts.is_empty());
        left && (self.session_limit == 0 || self.sessions < self.session_limit)
    }

    /// A host has been talked to.
    fn ended(&mut self, now: Time, outcome: &Outcome, remote: &Remote, optional: bool) -> Action {
        if outcome.stale {
            return self.untried(now);
        }
        if optional
            && !(self.plain || self.has_sent())
            && outcome.site.as_deref().is_some_and(is_handshake)
            && let Some(host) = self.host.clone().filter(|_| !self.stopping)
        {
            self.plain = true;
            return Action::Connect { host, plain: true };
        }
        if self.hosts.is_none() {
            self.met = Some(remote.ip);
        }
        if let Some(trouble) = &outcome.site {
            self.blame(Depth::Inside(trouble.stage), &Arc::new(diagnosis(remote, trouble)));
        }
        if outcome.begun.is_some() || outcome.site.is_none() {
            self.sessions += 1;
        }
        self.alive |= outcome.site.is_none() && !self.stopping;
        let again = self.sort(outcome, remote);
        if !again.is_empty() && !self.stopping {
            // Still the same session.
            self.sessions = self.sessions.saturating_sub(1);
            self.tried = again;
            return Action::Again;
        }
        match (self.open.is_empty() || self.has_sent(), &self.hosts) {
            (true, _) => self.finish(),
            (false, None) if !self.stopping && self.may_go_on() => {
                self.tried.clone_from(&self.open);
                self.host = None;
                Action::Route
            }
            (false, None) => self.finish(),
            (false, Some(_)) => self.next_host(now),
        }
    }

    /// Writes down what became of each recipient; returns those whom the host at hand will take in
    /// another transaction.
    fn sort(&mut self, outcome: &Outcome, remote: &Remote) -> Vec<usize> {
        let more = self.may_go_on() && !self.stopping;
        let some = outcome.recipients.iter().any(|r| matches!(r, Disposition::Delivered(_)));
        let mut words = Words::new(outcome, remote, self.started);
        let (mut again, mut open) = (Vec::new(), Vec::new());
        let tried = std::mem::take(&mut self.tried);
        for (at, disposition) in tried.iter().zip(&outcome.recipients) {
            let trouble = disposition.trouble();
            let crowded = some && trouble.is_some_and(|trouble| trouble.is_too_many_recipients());
            let elsewhere = more && trouble.is_some_and(|trouble| trouble.elsewhere);
            if crowded {
                again.push(*at);
            }
            if crowded || elsewhere {
                open.push(*at);
            }
            let Some(word) = self.words.get_mut(*at) else { continue };
            let passed = words.passed(disposition);
            let depth = trouble.map_or(Depth::Outside, |trouble| Depth::Inside(trouble.stage));
            // Where a host says what others may see differently, "not now" outweighs "never", and
            // what was said later in a dialogue what was said sooner in another.
            let keep = trouble.is_some_and(|trouble| trouble.elsewhere)
                && word.as_ref().is_some_and(|word| match passed.fate {
                    Fate::Failed => word.outdoes(Depth::Unsafe),
                    _ => word.outdoes(depth),
                });
            if !keep {
                *word = Some(Word { passed, depth });
            }
        }
        // All of them are in order.
        let among = |places: &[usize], at: &usize| places.binary_search(at).is_ok();
        self.open.retain(|at| !among(&tried, at) || among(&open, at));
        again
    }

    fn finish(&mut self) -> Action {
        self.phase = Phase::Over;
        let unknown = || Passed {
            fate: Fate::Deferred,
            diagnosis: Arc::new(Diagnosis::own(Enhanced(4, 3, 0), "delivery was broken off")),
            relay: "none".into(),
            delays: [Duration::ZERO; 2],
        };
        let sent = self.has_sent();
        let words = std::mem::take(&mut self.words);
        let recipients: Vec<Passed> =
            words.into_iter().map(|word| word.map_or_else(unknown, |word| word.passed)).collect();
        let site = match self.dead.take() {
            _ if self.alive || sent => SiteState::Alive,
            _ if self.stopping => SiteState::Unknown,
            Some((_, reason)) => SiteState::Failed(reason),
            None => SiteState::Unknown,
        };
        Action::Done(Carried { recipients, site })
    }
}

/// It happened in the handshake.
fn is_handshake(trouble: &Trouble) -> bool {
    trouble.stage == Stage::Handshake
        && matches!(trouble.cause, Cause::Tls | Cause::Lost | Cause::Timeout)
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
