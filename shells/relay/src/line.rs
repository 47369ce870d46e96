//! One connection: what its session asks is answered here, and its end is told to the attempt whose
//! message it had.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ClientConfig;
use waypost_machine::{Answer, CallId, TlsInfo, Why};
use waypost_smtp::client::{
    Call, Client, Config, Fact, Next, Outcome, Remote, RemoteReply, Reply, Reported, Tls,
};
use waypost_tls_client::{Policy, Seen};

use crate::attempt::{Action, Input};
use crate::event::Event;
use crate::job::Job;
use crate::pool::Idle;

/// What a connection is made under.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) config: Arc<Config>,
    pub(crate) remote: Arc<Remote>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) seen: Arc<Seen>,
    /// The connection may wait for another message of the next hop.
    pub(crate) reusable: bool,
}

/// Who has the connection.
#[derive(Default)]
pub(crate) struct Seat(Mutex<Sitting>);

#[derive(Default)]
struct Sitting {
    job: Option<Arc<Job>>,
    ended: bool,
}

impl Seat {
    fn lock(&self) -> MutexGuard<'_, Sitting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it for a job; false when the connection has ended.
    pub(crate) fn take(&self, job: &Arc<Job>) -> bool {
        let mut sitting = self.lock();
        if sitting.ended {
            return false;
        }
        sitting.job = Some(Arc::clone(job));
        true
    }
}

/// One connection, from its opening to its end. Whoever drives the session hands its calls, facts
/// and end over to this; dropping it early counts as a broken connection.
pub struct Line {
    seat: Arc<Seat>,
    terms: Terms,
    /// For what outlives a job.
    relay: Arc<crate::relay::Inner>,
    nexthop: Box<str>,
    /// [`Call::NextMessage`], while it is open.
    waiting: Option<CallId>,
    /// What is told once the connection can be had for the next message: who hears of it may have one.
    held: Option<(Arc<Job>, Action)>,
    fault: Option<Box<str>>,
    /// There is TLS, or it was said what comes of its absence.
    told: bool,
    over: bool,
}

impl Line {
    pub(crate) fn new(job: Arc<Job>, terms: Terms) -> Self {
        let (relay, nexthop) = (Arc::clone(job.relay()), job.nexthop().into());
        let seat = Arc::new(Seat(Mutex::new(Sitting { job: Some(job), ended: false })));
        Self {
            seat,
            terms,
            relay,
            nexthop,
            waiting: None,
            held: None,
            fault: None,
            told: false,
            over: false,
        }
    }

    /// The host.
    pub fn remote(&self) -> &Remote {
        &self.terms.remote
    }

    /// Runs a call; `answer` is called with its outcome, on any thread, also on this one.
    pub fn call(&mut self, call: Call, answer: impl FnOnce(Answer<Reply>) + Send + 'static) {
        match call {
            Call::Read { from, len, ticket, .. } => {
                let job = self.seat.lock().job.clone();
                if let Some(job) = job {
                    let done = Box::new(move |read| answer(ticket.answer(read)));
                    job.body().read(from, len, done);
                }
            }
            Call::Report { outcome, free, ticket } => {
                let job = self.seat.lock().job.take();
                if let Some(job) = job {
                    self.report(job, *outcome, false);
                }
                if !free {
                    self.tell();
                }
                answer(ticket.answer(Reported));
            }
            Call::NextMessage { ticket } => {
                let job = self.seat.lock().job.clone();
                let id = ticket.id();
                let next = move |next: Next| answer(ticket.answer(next));
                match job {
                    // Kept for somebody who has more for this host.
                    Some(job) => next(job.talk().map_or(Next::Quit, Next::Message)),
                    None if self.terms.reusable => {
                        self.waiting = Some(id);
                        let idle = Idle {
                            seat: Arc::clone(&self.seat),
                            policy: Arc::clone(&self.terms.policy),
                            next: Box::new(next),
                        };
                        self.relay.pool.park(&self.nexthop, idle);
                    }
                    None => next(Next::Quit),
                }
                self.tell();
            }
        }
    }

    /// Tells what was held back.
    fn tell(&mut self) {
        if let Some((job, action)) = self.held.take() {
            job.act(action);
        }
    }

    /// A call is not wanted any more.
    pub fn cancel(&mut self, id: CallId) {
        if self.waiting.take_if(|waiting| *waiting == id).is_some() {
            self.relay.pool.forget(&self.nexthop, &self.seat);
        }
    }

    /// Tells the job what became of its message. When it has more for this host, and the connection
    /// is to go on, it keeps its seat.
    fn report(&mut self, job: Arc<Job>, outcome: Outcome, closed: bool) {
        let optional = self.terms.config.tls == Tls::IfOffered;
        if outcome.begun.is_some() {
            self.try_out();
        }
        let (outcome, remote) = (Arc::new(outcome), Arc::clone(&self.terms.remote));
        match job.step(Input::Ended { outcome, remote, optional }) {
            Action::Again if closed => job.feed(Input::Untried),
            Action::Again => self.seat.lock().job = Some(job),
            action => self.held = Some((job, action)),
        }
    }

    /// News of the session.
    pub fn fact(&mut self, fact: Fact) {
        let odd = |reply: RemoteReply| Event::Odd {
            remote: Arc::clone(&self.terms.remote),
            what: reply.text,
        };
        match fact {
            Fact::Secured(info) => self.secured(info),
            Fact::TlsRefused(reply) | Fact::Odd(reply) => self.relay.log.event(odd(reply)),
            Fact::Greeted(_) | Fact::LoggedIn | Fact::Utf8WithoutEightBit => {}
        }
    }

    /// What a policy on trial would have done about a host without TLS.
    fn try_out(&mut self) {
        let Terms { policy, remote, .. } = &self.terms;
        if let Some(domain) = policy.tried_out().filter(|_| !self.told) {
            let name = &remote.name;
            let reason = format!(
                "MTA-STS policy of {domain} (testing): {name} would get no mail: there is no TLS"
            );
            self.relay.log.event(Event::Insecure { reason: reason.into() });
            self.told = true;
        }
    }

    fn secured(&mut self, mut info: TlsInfo) {
        self.told = true;
        self.terms.seen.complete(&mut info);
        let (remote, trust) = (Arc::clone(&self.terms.remote), self.terms.seen.trust());
        self.relay.log.event(Event::Secured { trust, remote, info });
    }

    /// The connection broke in a way that the machine does not see; `tls`: in the handshake.
    pub fn fault(&mut self, tls: bool, fault: &str) {
        if !tls {
            return;
        }
        let Terms { remote, seen, .. } = &self.terms;
        self.fault = seen.refusal().map(Into::into);
        let reason = match seen.complaint().filter(|_| self.fault.is_some()) {
            Some(why) => format!("certificate verification failed for {remote:#}: {why}"),
            None => format!("SSL_connect error to {remote:#}: {fault}"),
        };
        let reason = reason.into();
        self.relay.log.event(Event::Insecure { reason });
    }

    /// The session has closed.
    pub fn ended(&mut self, client: &Client, why: Why) {
        let outcome = client.unfinished(self.relay.clock.now(), why, self.fault.as_deref());
        self.end(outcome);
    }

    fn end(&mut self, outcome: Option<Outcome>) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let job = {
            let mut sitting = self.seat.lock();
            sitting.ended = true;
            sitting.job.take()
        };
        self.relay.pool.forget(&self.nexthop, &self.seat);
        match (job, outcome) {
            (Some(job), Some(outcome)) => self.report(job, outcome, true),
            (Some(job), None) => job.feed(Input::Untried),
            (None, _) => {}
        }
        self.tell();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // Nobody drives the session any more: the process is about to end.
        let job = self.seat.lock().job.clone();
        if let Some(job) = job {
            job.feed(Input::Stop);
        }
        self.end(None);
    }
}
