//! One connection of a client, with its requests.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::time::Duration;

use waypost_machine::{CallId, Cx, Event, Progress, Protocol, Time, Timer, TooLong, Why};
use waypost_sasl::{Exchange, Failure, Mechanism, Step, Verified};

use crate::call::{Call, Fact, Origin, Reply};
use crate::line::{LIMIT, push_escaped};
use crate::request::{Fault, Request, parse};

/// The version of the protocol that is spoken.
const MAJOR: u32 = 1;
/// Requests of one connection that may be open.
const REQUESTS: usize = 1000;

const TIMED_OUT: &str = "Authentication request timed out";

/// The settings of a connection. The last three are the shell's to choose: there is no chance here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Mechanisms that are on.
    pub mechanisms: Vec<Mechanism>,
    /// A wrong password is told after this time (auth_failure_delay).
    pub failure_delay: Duration,
    /// The handshake, or the answer to a challenge, must come within this time.
    pub timeout: Duration,
    /// The world must answer within this time.
    pub call_timeout: Duration,
    /// When the directory does not answer, the connection is closed instead of saying
    /// `FAIL code=temp_fail`, unless other requests are open on it. Postfix takes any FAIL for a
    /// wrong password (535), and a lost connection for what it is (454).
    pub hang_up_when_unavailable: bool,
    /// The server's process id.
    pub server_pid: u32,
    /// The number of this connection, unique in this process.
    pub connection: u32,
    /// 32 hexadecimal digits that nobody can guess.
    pub cookie: Box<str>,
}

impl Config {
    /// The defaults, which are Dovecot's but for
    /// [`hang_up_when_unavailable`](Self::hang_up_when_unavailable).
    pub fn new(server_pid: u32, connection: u32, cookie: &str) -> Self {
        Self {
            mechanisms: Vec::from([Mechanism::Plain]),
            failure_delay: Duration::from_secs(2),
            timeout: Duration::from_secs(60),
            call_timeout: Duration::from_secs(60),
            hang_up_when_unavailable: true,
            server_pid,
            connection,
            cookie: cookie.into(),
        }
    }
}

/// One connection, to be run by [`waypost_machine::Session`].
pub struct Server {
    config: Config,
    has_version: bool,
    has_pid: bool,
    requests: BTreeMap<u32, Open>,
}

/// A request that has no outcome yet.
struct Open {
    origin: Arc<Origin>,
    state: State,
}

enum State {
    /// The client's turn, until then.
    Challenged { exchange: Exchange, until: Time },
    /// The world's turn.
    Verifying { call: CallId, user: Box<str>, mechanism: &'static str },
    /// Denied; the client is told then.
    Denied { user: Box<str>, due: Time },
}

impl State {
    fn due(&self) -> Option<Time> {
        match self {
            Self::Challenged { until: due, .. } | Self::Denied { due, .. } => Some(*due),
            Self::Verifying { .. } => None,
        }
    }
}

impl Server {
    /// A connection that has just been opened.
    pub fn new(config: Config) -> Self {
        Self { config, has_version: false, has_pid: false, requests: BTreeMap::new() }
    }

    fn greet(&self, cx: &mut Cx<'_, Self>) {
        let Config { server_pid, connection, cookie, .. } = &self.config;
        let mut text = format!("VERSION\t{MAJOR}\t2\n");
        for mechanism in &self.config.mechanisms {
            text.push_str(&format!("MECH\t{}\tplaintext\n", mechanism.name()));
        }
        text.push_str(&format!("SPID\t{server_pid}\nCUID\t{connection}\nCOOKIE\t{cookie}\nDONE\n"));
        cx.send_slice(text.as_bytes());
        cx.arm(Timer::Greeting, self.config.timeout);
    }

    fn take(&mut self, cx: &mut Cx<'_, Self>, line: &[u8]) -> Result<(), Fault> {
        let line = core::str::from_utf8(line).map_err(|_| Fault::NotUtf8)?;
        let line = line.strip_suffix('\n').unwrap_or(line);
        let request = parse(line, &self.config.mechanisms)?;
        match request {
            Request::Version { major } if major != MAJOR => return Err(Fault::Version),
            Request::Version { .. } => self.has_version = true,
            Request::ClientPid => {
                self.has_pid = true;
                cx.disarm(Timer::Greeting);
            }
            _ if !(self.has_version && self.has_pid) => {
                return Err(Fault::NoHandshake);
            }
            Request::Auth { id, mechanism, origin, initial } => {
                if self.requests.contains_key(&id) {
                    return Err(Fault::IdInUse);
                }
                if self.requests.len() >= REQUESTS {
                    fail(cx, id, None, &["code=temp_fail"]);
                    return Ok(());
                }
                let mut exchange = Exchange::new(mechanism);
                let initial = initial.map(|text| if text.is_empty() { "=" } else { text });
                let step = exchange.begin(initial.map(str::as_bytes));
                self.step(cx, id, Arc::new(origin), exchange, step, "initial");
            }
            Request::Continue { id, response } => match self.requests.remove(&id) {
                Some(Open { origin, state: State::Challenged { mut exchange, .. } }) => {
                    let step = exchange.response(response.as_bytes());
                    self.step(cx, id, origin, exchange, step, "continued");
                }
                Some(_) => return Err(Fault::Unasked),
                None => fail(cx, id, None, &[&format!("reason={TIMED_OUT}")]),
            },
            Request::Cancel { id } => {
                if let Some(Open { state: State::Verifying { call, .. }, .. }) =
                    self.requests.remove(&id)
                {
                    cx.cancel(call);
                }
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        cx: &mut Cx<'_, Self>,
        id: u32,
        origin: Arc<Origin>,
        exchange: Exchange,
        step: Step,
        which: &str,
    ) {
        let mechanism = exchange.mechanism().name();
        let state = match step {
            Step::Challenge(text) => {
                cx.send_slice(format!("CONT\t{id}\t{text}\n").as_bytes());
                State::Challenged { exchange, until: cx.now.mono.plus(self.config.timeout) }
            }
            Step::Done(credentials) => {
                let user = credentials.authcid.clone();
                let ask = Arc::clone(&origin);
                let call = cx.call(self.config.call_timeout, |ticket| Call::Authenticate {
                    origin: ask,
                    credentials,
                    ticket,
                });
                State::Verifying { call, user, mechanism }
            }
            Step::Failed(failure) => {
                let user: Box<str> = failure.user().unwrap_or_default().into();
                let outcome = Verified::Denied;
                let (origin_, user_) = (Arc::clone(&origin), user.clone());
                cx.fact(Fact::Login { origin: origin_, user: user_, mechanism, outcome });
                if failure == Failure::BadBase64 || failure == Failure::TooLong {
                    let reason = format!("reason=Invalid base64 data in {which} response");
                    return fail(cx, id, None, &["code=invalid_base64", &reason]);
                }
                self.denied(cx, user)
            }
        };
        self.requests.insert(id, Open { origin, state });
        self.arm(cx);
    }

    fn denied(&self, cx: &Cx<'_, Self>, user: Box<str>) -> State {
        State::Denied { user, due: cx.now.mono.plus(self.config.failure_delay) }
    }

    /// The world has checked a password, or not (`None`).
    fn verified(&mut self, cx: &mut Cx<'_, Self>, call: CallId, outcome: Option<Reply>) {
        let is_it =
            |open: &Open| matches!(open.state, State::Verifying { call: c, .. } if c == call);
        let Some(id) = self.requests.iter().find(|(_, open)| is_it(open)).map(|(id, _)| *id) else {
            return;
        };
        let Some(Open { origin, state: State::Verifying { user, mechanism, .. } }) =
            self.requests.remove(&id)
        else {
            return;
        };
        let outcome = match outcome {
            Some(Reply::Verified(outcome)) => outcome,
            None => Verified::Unavailable,
        };
        let (origin_, user_) = (Arc::clone(&origin), user.clone());
        cx.fact(Fact::Login { origin: origin_, user: user_, mechanism, outcome: outcome.clone() });
        match outcome {
            Verified::Accepted(account) => accept(cx, id, &account, &user),
            Verified::Denied => {
                let state = self.denied(cx, user);
                self.requests.insert(id, Open { origin, state });
                self.arm(cx);
            }
            Verified::Unavailable
                if self.config.hang_up_when_unavailable && self.requests.is_empty() =>
            {
                cx.close(Why::Refused);
            }
            Verified::Unavailable => fail(cx, id, Some(&user), &["code=temp_fail"]),
        }
    }

    /// Sets the timer for the request that is due first.
    fn arm(&self, cx: &mut Cx<'_, Self>) {
        match self.requests.values().filter_map(|open| open.state.due()).min() {
            Some(due) => cx.arm(Timer::Delay, due.since(cx.now.mono)),
            None => cx.disarm(Timer::Delay),
        }
    }

    /// Tells what is due.
    fn due(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now.mono;
        let is_due = |open: &Open| open.state.due().is_some_and(|due| due <= now);
        let ids: Vec<u32> =
            self.requests.iter().filter(|(_, open)| is_due(open)).map(|(id, _)| *id).collect();
        for id in ids {
            match self.requests.remove(&id).map(|open| open.state) {
                Some(State::Denied { user, .. }) => {
                    fail(cx, id, Some(&*user).filter(|user| !user.is_empty()), &[]);
                }
                _ => fail(cx, id, None, &[&format!("reason={TIMED_OUT}")]),
            }
        }
        self.arm(cx);
    }
}

impl Protocol for Server {
    type Call = Call;
    type Reply = Reply;
    type Notice = Infallible;
    type Fact = Fact;

    fn start(&mut self, cx: &mut Cx<'_, Self>) {
        self.greet(cx);
    }

    fn advance(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        let outcome = match cx.input.line(LIMIT) {
            Ok(None) => return Progress::Blocked,
            Ok(Some(line)) => self.take(cx, &line),
            Err(TooLong) => Err(Fault::LineTooLong),
        };
        if let Err(fault) = outcome {
            cx.fact(Fact::Broken { fault });
            cx.close(Why::Refused);
        }
        Progress::More
    }

    fn event(&mut self, cx: &mut Cx<'_, Self>, event: Event<Self>) {
        match event {
            Event::Reply(call, reply) => self.verified(cx, call, Some(reply)),
            Event::Expired(call) => self.verified(cx, call, None),
            Event::Notice(never) => match never {},
            Event::Timer(Timer::Delay) => self.due(cx),
            Event::Timer(_) => cx.close(Why::Timeout),
            Event::Secured(_) => {}
            Event::Eof => cx.close(Why::Gone),
            Event::Stop => cx.close(Why::Stopped),
        }
    }
}

fn accept(cx: &mut Cx<'_, Server>, id: u32, account: &str, typed: &str) {
    let mut line = format!("OK\t{id}\tuser=");
    push_escaped(&mut line, account);
    if account != typed {
        line.push_str("\toriginal_user=");
        push_escaped(&mut line, typed);
    }
    line.push('\n');
    cx.send_slice(line.as_bytes());
}

fn fail(cx: &mut Cx<'_, Server>, id: u32, user: Option<&str>, fields: &[&str]) {
    let mut line = format!("FAIL\t{id}");
    if let Some(user) = user {
        line.push_str("\tuser=");
        push_escaped(&mut line, user);
    }
    for field in fields {
        line.push('\t');
        line.push_str(field);
    }
    line.push('\n');
    cx.send_slice(line.as_bytes());
}
