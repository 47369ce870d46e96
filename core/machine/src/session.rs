//! The one byte machine of the workspace: it keeps the contract for every protocol.

use alloc::collections::VecDeque;
use core::time::Duration;

use bytes::Bytes;

use crate::inbox::Inbox;
use crate::outbox::Outbox;
use crate::step::{Input, Machine, Step, TlsInfo, TlsRole, Wait, Why};
use crate::ticket::{CallId, Ledger, Ticket};
use crate::time::{Now, Time};
use crate::timers::{Timer, Timers};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// What a protocol author writes.
///
/// None of the three methods is called while TLS is being set up, or after [`Cx::close`].
pub trait Protocol: Sized {
    /// See [`Machine::Call`].
    type Call;
    /// See [`Machine::Reply`].
    type Reply;
    /// See [`Machine::Notice`].
    type Notice;
    /// See [`Machine::Fact`].
    type Fact;

    /// The connection is there: greet, arm timers.
    fn start(&mut self, cx: &mut Cx<'_, Self>);

    /// Take what it can from `cx.input`, or make more output; called again and again while it
    /// answers [`Progress::More`] and the peer reads what was sent.
    fn advance(&mut self, cx: &mut Cx<'_, Self>) -> Progress;

    /// Something happened.
    fn event(&mut self, cx: &mut Cx<'_, Self>, event: Event<Self>);
}

/// Whether [`Protocol::advance`] wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It did something; there may be more to do.
    More,
    /// Only an input can unblock it: more bytes, an answer, a timer.
    Blocked,
}

/// What can happen to a protocol, besides bytes.
pub enum Event<P: Protocol> {
    /// A call has its outcome.
    Reply(CallId, P::Reply),
    /// A call was not answered in time: treat it as a temporary failure.
    Expired(CallId),
    /// News from the world.
    Notice(P::Notice),
    /// A timer ran out.
    Timer(Timer),
    /// TLS is up.
    Secured(TlsInfo),
    /// The peer sends no more, no call is open, and `advance` is blocked on what is left of the
    /// input. Or the connection is broken, and no commit is open. A protocol that does not close
    /// now is closed with [`Why::Gone`].
    Eof,
    /// The shell wants to stop. The protocol says so to the peer and closes.
    Stop,
}

/// How much a session may hold, and how long it waits for TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of input that wait to be taken.
    pub input: usize,
    /// Bytes of output at which a protocol is not asked for more.
    pub output: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
}

impl Default for Limits {
    /// 64 KiB each way, 60 s.
    fn default() -> Self {
        Self { input: 64 * 1024, output: 64 * 1024, handshake: HANDSHAKE }
    }
}

/// What a session keeps, as [`Limits`] bound it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes from the peer that wait for the protocol.
    pub input: usize,
    /// Bytes for the peer.
    pub output: usize,
    /// Calls without an answer.
    pub calls: usize,
}

/// What a protocol can see and do while it is called.
pub struct Cx<'a, P: Protocol> {
    /// When it is.
    pub now: Now,
    /// What the peer sent.
    pub input: &'a mut Inbox,
    state: &'a mut State<P>,
}

impl<P: Protocol> Cx<'_, P> {
    /// Sends bytes. Large ones are passed on as they are, small ones are gathered.
    pub fn send(&mut self, bytes: Bytes) {
        self.state.out.push(bytes);
    }

    /// Sends a copy of these bytes.
    pub fn send_slice(&mut self, bytes: &[u8]) {
        self.state.out.push_slice(bytes);
    }

    /// Bytes that may still be sent before `advance` should return.
    pub fn room(&self) -> usize {
        self.state.limits.output.saturating_sub(self.state.out.len())
    }

    /// Asks the world; [`Event::Reply`], or [`Event::Expired`] after `within`.
    pub fn call<T>(&mut self, within: Duration, make: impl FnOnce(Ticket<T>) -> P::Call) -> CallId {
        let ticket = self.state.ledger.open(Some(self.soon(within)));
        self.issue(ticket, make)
    }

    /// Asks the world for something whose outcome must be known: never cancelled, no deadline.
    pub fn commit<T>(&mut self, make: impl FnOnce(Ticket<T>) -> P::Call) -> CallId {
        let ticket = self.state.ledger.open_commit();
        self.issue(ticket, make)
    }

    fn issue<T>(&mut self, ticket: Ticket<T>, make: impl FnOnce(Ticket<T>) -> P::Call) -> CallId {
        let id = ticket.id();
        self.state.acts.push_back(Step::Call(make(ticket)));
        id
    }

    /// Gives up a call: its answer, should it come, is ignored.
    pub fn cancel(&mut self, id: CallId) {
        if self.state.ledger.close(id) {
            self.state.acts.push_back(Step::Cancel(id));
        }
    }

    /// Starts a timer, or starts it again.
    pub fn arm(&mut self, timer: Timer, after: Duration) {
        let due = self.soon(after);
        self.state.timers.arm(timer, due);
    }

    /// Stops a timer.
    pub fn disarm(&mut self, timer: Timer) {
        self.state.timers.disarm(timer);
    }

    /// Starts TLS after what was sent so far. Closes instead when input is already waiting: it
    /// was sent in clear by who knows whom.
    pub fn secure(&mut self, role: TlsRole) {
        if !self.input.is_empty() {
            return self.close(Why::Injected);
        }
        let due = self.soon(self.state.limits.handshake);
        self.state.timers.arm(Timer::Handshake, due);
        self.state.phase = Phase::Barrier(role);
    }

    /// Logs or counts.
    pub fn fact(&mut self, fact: P::Fact) {
        self.state.acts.push_back(Step::Fact(fact));
    }

    /// Closes after what was sent so far. Calls are cancelled, commits waited for; their answers
    /// do not reach the protocol any more.
    pub fn close(&mut self, why: Why) {
        self.state.close(why);
    }

    /// Never now: a timer of no length would spin.
    fn soon(&self, after: Duration) -> Time {
        self.now.mono.plus(after.max(Duration::from_nanos(1)))
    }
}

enum Phase {
    Open,
    /// TLS is wanted; what was sent before has to leave first.
    Barrier(TlsRole),
    Securing,
    Closing(Why),
    Closed,
}

struct State<P: Protocol> {
    limits: Limits,
    acts: VecDeque<Step<Session<P>>>,
    out: Outbox,
    ledger: Ledger,
    timers: Timers,
    phase: Phase,
}

impl<P: Protocol> State<P> {
    fn close(&mut self, why: Why) {
        if matches!(self.phase, Phase::Closing(_) | Phase::Closed) {
            return;
        }
        self.phase = Phase::Closing(why);
        self.timers.clear();
        self.acts.extend(self.ledger.cancel_all().into_iter().map(Step::Cancel));
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    fn is_securing(&self) -> bool {
        matches!(self.phase, Phase::Barrier(_) | Phase::Securing)
    }
}

/// A protocol with the contract around it.
pub struct Session<P: Protocol> {
    protocol: P,
    inbox: Inbox,
    state: State<P>,
    now: Now,
    eof: bool,
    gone: bool,
    stopped: bool,
    /// The last `advance` was blocked and nothing has happened since.
    blocked: bool,
}

impl<P: Protocol> Session<P> {
    /// A session on a connection that was opened just now.
    pub fn new(now: Now, protocol: P, limits: Limits) -> Self {
        let state = State {
            limits,
            acts: VecDeque::new(),
            out: Outbox::default(),
            ledger: Ledger::new(),
            timers: Timers::default(),
            phase: Phase::Open,
        };
        let inbox = Inbox::default();
        let mut session = Self {
            protocol,
            inbox,
            state,
            now,
            eof: false,
            gone: false,
            stopped: false,
            blocked: false,
        };
        session.with(Protocol::start);
        session
    }

    /// The protocol, for a look from outside.
    pub fn protocol(&self) -> &P {
        &self.protocol
    }

    /// What it keeps now.
    pub fn held(&self) -> Held {
        let (input, output) = (self.inbox.len(), self.state.out.len());
        Held { input, output, calls: self.state.ledger.len() }
    }

    fn with<R>(&mut self, run: impl FnOnce(&mut P, &mut Cx<'_, P>) -> R) -> R {
        self.blocked = false;
        let mut cx = Cx { now: self.now, input: &mut self.inbox, state: &mut self.state };
        run(&mut self.protocol, &mut cx)
    }

    fn event(&mut self, event: Event<P>) {
        if self.state.is_open() {
            self.with(|protocol, cx| protocol.event(cx, event));
        }
    }

    fn bytes(&mut self, bytes: Bytes) {
        match self.state.phase {
            Phase::Open if self.eof => {}
            Phase::Open if self.inbox.len() + bytes.len() > self.state.limits.input => {
                self.state.close(Why::Refused);
            }
            Phase::Open => {
                self.inbox.push(bytes);
                self.blocked = false;
            }
            Phase::Barrier(_) | Phase::Securing if !bytes.is_empty() => {
                self.state.close(Why::Injected);
            }
            _ => {}
        }
    }

    /// Calls and timers whose time is up.
    fn expire(&mut self) {
        while let Some(id) = self.state.ledger.expire(self.now.mono) {
            self.state.acts.push_back(Step::Cancel(id));
            self.event(Event::Expired(id));
        }
        while let Some(timer) = self.state.timers.expire(self.now.mono, self.state.is_securing()) {
            match timer {
                Timer::Handshake => self.state.close(Why::Timeout),
                _ => self.event(Event::Timer(timer)),
            }
        }
    }

    /// Lets the protocol work, as long as there is room for what it says.
    fn run(&mut self) {
        if self.gone {
            return self.leave();
        }
        loop {
            while self.state.is_open()
                && !self.blocked
                && self.state.out.len() < self.state.limits.output
            {
                let progress = self.with(Protocol::advance);
                self.blocked = progress == Progress::Blocked;
            }
            // The end of the input is an input like any other: it comes in its turn.
            if !(self.state.is_open() && self.blocked && self.eof && self.state.ledger.is_empty()) {
                return;
            }
            self.end();
        }
    }

    /// The connection is broken: nothing is begun any more.
    fn leave(&mut self) {
        if self.state.is_open() && !self.state.ledger.has_commit() {
            self.end();
        }
    }

    fn end(&mut self) {
        self.event(Event::Eof);
        self.state.close(Why::Gone);
    }
}

impl<P: Protocol> Machine for Session<P> {
    type Call = P::Call;
    type Reply = P::Reply;
    type Notice = P::Notice;
    type Fact = P::Fact;

    fn held(&self) -> Held {
        Self::held(self)
    }

    fn handle(&mut self, now: Now, input: Input<Self>) {
        self.now = now;
        match input {
            Input::Bytes(bytes) => self.bytes(bytes),
            Input::Eof | Input::Gone => {
                self.eof = true;
                self.gone |= matches!(input, Input::Gone);
                if self.state.is_securing() {
                    self.state.close(Why::Gone);
                }
            }
            Input::Secured(info) => {
                if matches!(self.state.phase, Phase::Securing) {
                    self.state.phase = Phase::Open;
                    self.state.timers.disarm(Timer::Handshake);
                    self.event(Event::Secured(info));
                }
            }
            Input::Answer(answer) => {
                let (id, value) = answer.into_parts();
                if self.state.ledger.close(id) {
                    self.event(Event::Reply(id, value));
                }
            }
            Input::Notice(notice) => self.event(Event::Notice(notice)),
            Input::Tick => {}
            Input::Stop if !self.stopped => {
                self.stopped = true;
                match self.state.phase {
                    Phase::Open => self.event(Event::Stop),
                    _ => self.state.close(Why::Stopped),
                }
            }
            Input::Stop => {}
        }
        self.expire();
        self.run();
    }

    fn poll(&mut self, room: usize) -> Step<Self> {
        if let Some(act) = self.state.acts.pop_front() {
            return act;
        }
        if let Some(bytes) = self.state.out.pop(room) {
            self.run();
            return Step::Send(bytes);
        }
        if self.state.out.len() == 0 {
            match &self.state.phase {
                Phase::Barrier(role) => {
                    let role = role.clone();
                    self.state.phase = Phase::Securing;
                    return Step::Secure(role);
                }
                Phase::Closing(why) if !self.state.ledger.has_commit() => {
                    let why = *why;
                    self.state.phase = Phase::Closed;
                    self.inbox.clear();
                    return Step::Close(why);
                }
                _ => {}
            }
        }
        self.rest();
        Step::Wait(self.wait())
    }
}

impl<P: Protocol> Session<P> {
    /// A session may be idle for hours, and there may be thousands of them: empty queues keep no
    /// memory.
    fn rest(&mut self) {
        if self.state.acts.is_empty() {
            self.state.acts = VecDeque::new();
        }
        self.inbox.rest();
        self.state.out.rest();
        self.state.ledger.rest();
    }

    fn wait(&self) -> Wait {
        let securing = self.state.is_securing();
        let until = match (self.state.timers.until(securing), self.state.ledger.until()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let read = if self.state.is_open() && !self.eof {
            self.state.limits.input.saturating_sub(self.inbox.len())
        } else {
            0
        };
        Wait { until, read }
    }
}
