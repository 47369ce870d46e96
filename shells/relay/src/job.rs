//! Does what an [`Attempt`] wants done.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use waypost_dns::{Exchanger, Exchangers, Limits, NextHop, NoRoute, Own};
use waypost_machine::Now;
use waypost_mail::Enhanced;
use waypost_smtp::client::{Config, Mail, Next, Remote, Stage, Tls, Trouble};
use waypost_tls_client::{Handshake, Policy, Refusal, UNVERIFIED};
use waypost_world::carrier::{Body, Carried, Consignment};

use crate::attempt::{Action, Attempt, Input};
use crate::dial::Wish;
use crate::event::Event;
use crate::line::Terms;
use crate::relay::Inner;
use crate::search::search;

/// One consignment on its way.
pub(crate) struct Job {
    id: u64,
    relay: Arc<Inner>,
    consignment: Consignment,
    /// Where to, after all tables.
    nexthop: Box<str>,
    hop: Option<NextHop>,
    port: u16,
    state: Mutex<State>,
}

struct State {
    attempt: Attempt,
    policy: Option<Arc<Policy>>,
    done: Option<Box<dyn FnOnce(Carried) + Send>>,
}

impl Job {
    pub(crate) fn new(
        id: u64,
        relay: Arc<Inner>,
        consignment: Consignment,
        done: Box<dyn FnOnce(Carried) + Send>,
    ) -> Arc<Self> {
        let settings = &relay.settings;
        let nexthop = settings
            .transports
            .find(&consignment.nexthop)
            .or(settings.relayhost.as_deref())
            .unwrap_or(&consignment.nexthop);
        let nexthop: Box<str> = nexthop.into();
        let parsed = NextHop::parse(&nexthop).ok();
        let port = parsed.as_ref().and_then(|(_, port)| *port).unwrap_or(25);
        let started = relay.clock.mono();
        let mail = Arc::clone(&consignment.mail);
        let attempt = Attempt::new(mail, started, port, settings.session_limit);
        Arc::new(Self {
            id,
            consignment,
            nexthop,
            hop: parsed.map(|(hop, _)| hop),
            port,
            state: Mutex::new(State { attempt, policy: None, done: Some(done) }),
            relay,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn relay(&self) -> &Arc<Inner> {
        &self.relay
    }

    pub(crate) fn nexthop(&self) -> &str {
        &self.nexthop
    }

    pub(crate) fn body(&self) -> &Arc<dyn Body> {
        &self.consignment.body
    }

    pub(crate) fn now(&self) -> Now {
        self.relay.clock.now()
    }

    /// The message, for a host that is ready for it; `None` when it is not wanted any more.
    pub(crate) fn talk(&self) -> Option<Arc<Mail>> {
        self.lock().attempt.talk()
    }

    /// Begins.
    pub(crate) fn begin(self: &Arc<Self>) {
        let job = Arc::clone(self);
        let done = move |policy| {
            job.lock().policy = Some(Arc::new(policy));
            job.act(Action::Reuse);
        };
        self.relay.security.policy(&self.nexthop, done);
    }

    /// Hands in what happened, and does what follows from it.
    pub(crate) fn feed(self: &Arc<Self>, input: Input) {
        let action = self.step(input);
        self.act(action);
    }

    /// Hands in what happened, and says what follows from it.
    pub(crate) fn step(&self, input: Input) -> Action {
        let now = self.relay.clock.mono();
        let reason = passing(&input);
        let action = self.lock().attempt.handle(now, input);
        if let Some(reason) = reason
            && matches!(action, Action::Connect { .. } | Action::Route)
        {
            let queue_id = Arc::clone(&self.consignment.queue_id);
            self.relay.log.event(Event::Passing { queue_id, reason });
        }
        action
    }

    /// Does something. Nothing is locked: its outcome may come at once.
    pub(crate) fn act(self: &Arc<Self>, action: Action) {
        match action {
            Action::Reuse => self.reuse(),
            Action::Route => self.route(),
            Action::Connect { host, plain } => self.connect(host, plain),
            // Only who has a connection can go on with it.
            Action::Again => self.feed(Input::Untried),
            Action::Done(carried) => {
                let done = self.lock().done.take();
                self.relay.forget(self.id);
                if let Some(done) = done {
                    done(carried);
                }
            }
            Action::Wait => {}
        }
    }

    /// What the next hop wants; `None` when all is over.
    fn policy(&self) -> Option<Arc<Policy>> {
        let state = self.lock();
        state.policy.clone().filter(|_| state.done.is_some())
    }

    fn reuse(self: &Arc<Self>) {
        let Some(policy) = self.policy() else { return };
        while let Some(idle) = self.relay.pool.take(&self.nexthop, &policy) {
            if idle.seat.take(self) {
                // Without a message, the job is over, and the connection of no use.
                return (idle.next)(self.talk().map_or(Next::Quit, Next::Message));
            }
        }
        self.feed(Input::NoneIdle);
    }

    fn route(self: &Arc<Self>) {
        let settings = &self.relay.settings;
        let Some(hop) = self.hop.clone() else {
            let reason = format!("'{}' is no destination", self.nexthop).into();
            let status = Enhanced(5, 4, 4);
            return self.feed(Input::Route(Err(NoRoute { status, reason })));
        };
        // Who has chosen a port has chosen whom to talk to.
        let own =
            if self.port == 25 { Arc::clone(&self.relay.own) } else { Arc::new(Own::default()) };
        let limits = Limits {
            addresses: settings.address_limit,
            ipv4: settings.ipv4,
            ipv6: settings.ipv6,
            ..Limits::default()
        };
        let exchangers = Exchangers::new(self.now(), hop, own, limits, self.relay.seed(self.id));
        let relay = Arc::clone(&self.relay);
        let job = Arc::clone(self);
        search(
            exchangers,
            Arc::clone(&self.relay.resolve),
            Arc::clone(&self.relay.clock),
            Box::new(move |trouble| relay.log.event(Event::Skipped { reason: trouble.reason })),
            Box::new(move |route| job.feed(Input::Route(route))),
        );
    }

    fn connect(self: &Arc<Self>, host: Exchanger, plain: bool) {
        let Some(policy) = self.policy() else { return };
        let (job, for_host, under) = (Arc::clone(self), host.clone(), Arc::clone(&policy));
        let done = move |handshake: Result<Handshake, Refusal>| match handshake {
            Ok(handshake) => job.wish(&for_host, plain, under, handshake),
            Err(refusal) => job.feed(Input::Unsafe(refusal)),
        };
        self.relay.security.prepare(policy, host, self.port, done);
    }

    /// Wishes for a connection.
    fn wish(
        self: &Arc<Self>,
        host: &Exchanger,
        plain: bool,
        policy: Arc<Policy>,
        handshake: Handshake,
    ) {
        let settings = &self.relay.settings;
        let bind = match host.address {
            IpAddr::V4(_) => settings.bind_v4.map(IpAddr::V4),
            IpAddr::V6(_) => settings.bind_v6.map(IpAddr::V6),
        };
        let remote = Remote {
            name: host.name.clone(),
            ip: host.address,
            port: self.port,
            nexthop: self.nexthop.clone(),
            best: host.best,
        };
        let terms = Terms {
            config: Arc::new(self.config(&handshake, plain)),
            remote: Arc::new(remote),
            policy,
            tls: handshake.config,
            seen: handshake.seen,
            reusable: !settings.idle.is_zero(),
        };
        let address = SocketAddr::new(host.address, self.port);
        let wish = Wish::new(address, bind, settings.connect_timeout, Arc::clone(self), terms);
        self.relay.dial.dial(wish);
    }

    fn config(&self, handshake: &Handshake, plain: bool) -> Config {
        let settings = &self.relay.settings;
        let relayhost = settings.relayhost.as_deref() == Some(&*self.nexthop);
        let tls = match handshake.tls {
            _ if plain => Tls::Never,
            Tls::IfOffered | Tls::Required if relayhost && settings.wrapper => Tls::Implicit,
            tls => tls,
        };
        Config {
            detect_loops: self.port == 25,
            tls,
            tls_name: handshake.server_name.clone(),
            login: settings.login.clone().filter(|_| relayhost),
            discard: settings.discard_ehlo_keywords.clone(),
            reuse: settings.reuse,
            // An answer may take a moment even where nothing waits.
            idle: settings.idle.max(Duration::from_secs(1)),
            timeouts: settings.timeouts,
            ..Config::new(settings.helo.clone())
        }
    }

    /// There is no connection with this host. `ours`: that is our own fault.
    pub(crate) fn unreachable(self: &Arc<Self>, remote: &Remote, why: &str, ours: bool) {
        // When all is over, it was we who gave up.
        if self.lock().done.is_some() {
            let reason = format!("connect to {remote:#}: {why}").into();
            self.relay.log.event(Event::Unreachable { reason });
        }
        self.feed(Input::Unreachable { reason: why.into(), ours });
    }
}

/// The reason, but for what [`Event::Insecure`] has told just before, in a line that tools look for:
/// what is wrong with a certificate.
fn brief(trouble: &Trouble) -> Box<str> {
    match trouble.reason.split_once(": ") {
        Some((words, _)) if trouble.stage == Stage::Handshake && words == UNVERIFIED => {
            words.into()
        }
        _ => trouble.reason.clone(),
    }
}

/// What is to be told of a host's words when they are not the last.
fn passing(input: &Input) -> Option<Box<str>> {
    match input {
        Input::Ended { outcome, .. } if !outcome.stale => {
            let mut troubles = outcome.recipients.iter().filter_map(|r| r.trouble());
            troubles.find(|trouble| trouble.elsewhere).map(|trouble| brief(trouble))
        }
        Input::Unsafe(refusal) => Some(refusal.reason.clone()),
        _ => None,
    }
}
