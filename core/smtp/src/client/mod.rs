//! The client side of SMTP (RFC 5321): messages on their way to other servers.
//!
//! | phase | file |
//! |---|---|
//! | greeting, EHLO, HELO, STARTTLS, AUTH | `hello.rs` |
//! | a message: what comes next, refusals, reuse of the connection | `transaction.rs` |
//! | MAIL, RCPT | `envelope.rs` |
//! | DATA, BDAT, the body, the word on it | `data.rs` |
//! | what replies look like | `reply.rs` |
//! | what becomes of a message | `outcome.rs` |
//!
//! A shell connects, makes a [`Client`] with the first message, and runs it in a
//! [`waypost_machine::Session`]. It answers [`Call`]s; what becomes of a message comes as
//! [`Call::Report`], after which [`Call::NextMessage`] asks for another. When the session has closed,
//! [`Client::unfinished`] tells what became of a message that was not reported, because the session
//! ended in a way that the client does not see: a handshake that failed, a broken socket. It has to
//! be asked at every end; mostly there is none.
//!
//! What a host cannot do to us: have a message count as delivered without a 2xx to its end, make us
//! wait longer than [`Timeouts`] say for each reply, make us hold more than
//! [`crate::limits::REPLY`] octets of a reply, see a password without TLS, or be heard in TLS with
//! what it said before.
//!
//! A reply counts for the command that is due. What a host says when nothing is due, in the middle
//! of a message or between two, is never taken for the answer to what is sent later: it ends the
//! connection. So, other than with a server, what a client does can depend on when a host says
//! something, where that host speaks without being asked.
//!
//! ```
//! use std::sync::Arc;
//! use waypost_machine::{Limits, Machine, Now, Session, Step};
//! use waypost_mail::{Address, Body, ReversePath};
//! use waypost_smtp::client::{Client, Config, Mail, Remote, To};
//!
//! let mail = Arc::new(Mail {
//!     id: 1,
//!     sender: ReversePath::Null,
//!     recipients: vec![To {
//!         address: Address::parse("someone@remote.test").unwrap(),
//!         notify: None,
//!         orcpt: None,
//!     }],
//!     size: 351,
//!     body: Body::SevenBit,
//!     smtputf8: false,
//!     utf8_header: false,
//!     ret: None,
//!     envid: None,
//! });
//! let remote = Remote {
//!     name: "mx.remote.test".into(),
//!     ip: "192.0.2.25".parse().unwrap(),
//!     port: 25,
//!     nexthop: "remote.test".into(),
//!     best: true,
//! };
//! let client = Client::new(Arc::new(Config::new("mail.example.com")), remote, mail);
//! let mut session = Session::new(Now::default(), client, Limits::default());
//! // The host speaks first.
//! let Step::Wait(wait) = session.poll(usize::MAX) else { panic!("nothing to do yet") };
//! assert!(wait.read > 0 && wait.until.is_some());
//! ```

mod call;
mod config;
mod data;
mod envelope;
mod hello;
mod outcome;
mod reply;
mod stuff;
mod transaction;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::convert::Infallible;
use core::time::Duration;

use waypost_machine::{CallId, Cx, Event, Now, Progress, Protocol, Time, Timer, TlsInfo, Why};

pub use call::{Call, Fact, Mail, Next, Read, Remote, Reply, Reported, To};
pub use config::{Config, Login, Timeouts, Tls};
pub use hello::Features;
pub use outcome::{Cause, Disposition, Outcome, Stage, Trouble};
pub use reply::RemoteReply;

use reply::{Reader, Said};
use transaction::Transaction;

/// One connection to another server, to be run by [`waypost_machine::Session`].
pub struct Client {
    config: Arc<Config>,
    remote: Remote,
    features: Features,
    tls: Option<TlsInfo>,
    phase: Phase,
    reader: Reader,
    /// The replies that are due, in order; with RCPT, for which recipient.
    expected: VecDeque<(Stage, usize)>,
    /// The message at hand.
    transaction: Option<Transaction>,
    /// Messages begun on this connection.
    count: u32,
    opened: Time,
    /// The response of AUTH was sent for a second time.
    challenged: bool,
    /// The end was asked for while the word on a message was due.
    stopping: bool,
}

/// What the client is at.
enum Phase {
    /// Up to the login; the rest is told by what is expected.
    Hello,
    /// Waits for the handshake.
    Securing,
    /// A message.
    Transfer,
    /// Waits for the reply to RSET.
    Resetting,
    /// Waits for another message.
    Idle(CallId),
}

impl Client {
    /// A connection to this host, which was opened just now, for this message.
    pub fn new(config: Arc<Config>, remote: Remote, first: Arc<Mail>) -> Self {
        Self {
            config,
            remote,
            features: Features::default(),
            tls: None,
            phase: Phase::Hello,
            reader: Reader::default(),
            expected: VecDeque::new(),
            transaction: Some(Transaction::new(first, false)),
            count: 0,
            opened: Time::ZERO,
            challenged: false,
            stopping: false,
        }
    }

    /// The host.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// What it offers.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// TLS, when it is up.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }

    /// What is to be said of the message at hand once the session has closed with `why`, or cannot
    /// go on; `None` when it was reported, or there was none. `detail` is what the shell knows of a
    /// handshake that failed, for people to read: `Server certificate not verified`.
    pub fn unfinished(&self, now: Now, why: Why, detail: Option<&str>) -> Option<Outcome> {
        let stage = self.stage();
        let remote = &self.remote;
        let trouble = match (why, &self.phase) {
            (Why::Timeout, _) => Trouble::timeout(remote, stage),
            (Why::Stopped, _) => Trouble::stopped(remote, stage),
            (Why::Injected | Why::Refused, _) => {
                let said = alloc::format!("host {remote} said more than it was asked");
                Trouble::nonsense(stage, &said, None)
            }
            (_, Phase::Securing) => Trouble::tls(detail),
            _ => Trouble::lost(remote, stage),
        };
        self.outcome_now(now.mono, trouble)
    }

    /// Where in the dialogue we are. The end of a message counts more than what is due before it.
    fn stage(&self) -> Stage {
        let mut due = self.expected.iter().map(|(stage, _)| *stage);
        if let Some(end) = due.clone().find(|stage| stage.is_end()) {
            return end;
        }
        if let Some(next) = due.next() {
            return next;
        }
        match (&self.phase, &self.transaction) {
            (Phase::Securing, _) => Stage::Handshake,
            (Phase::Transfer, Some(transaction)) if transaction.begun() => Stage::Body,
            (Phase::Transfer, Some(_)) => Stage::Mail,
            (Phase::Hello, _) => Stage::Greeting,
            _ => Stage::Idle,
        }
    }

    fn timeout(&self, stage: Stage) -> Duration {
        let timeouts = &self.config.timeouts;
        match stage {
            Stage::Greeting | Stage::Ehlo | Stage::Helo | Stage::Auth => timeouts.hello,
            Stage::StartTls | Stage::Handshake => timeouts.starttls,
            Stage::Mail => timeouts.mail,
            Stage::Rcpt => timeouts.rcpt,
            Stage::Data => timeouts.data,
            Stage::Body | Stage::Chunk => timeouts.body,
            Stage::EndOfData | Stage::LastChunk => timeouts.done,
            Stage::Reset | Stage::Idle => timeouts.reset,
        }
    }

    fn send_line(&self, cx: &mut Cx<'_, Self>, line: &str) {
        cx.send_slice(line.as_bytes());
        cx.send_slice(b"\r\n");
    }

    fn command(&mut self, cx: &mut Cx<'_, Self>, stage: Stage, line: &str) {
        self.send_line(cx, line);
        self.expect(cx, stage, 0);
    }

    /// A reply is due.
    fn expect(&mut self, cx: &mut Cx<'_, Self>, stage: Stage, at: usize) {
        if self.expected.is_empty() {
            cx.arm(Timer::Command, self.timeout(stage));
        }
        self.expected.push_back((stage, at));
    }

    fn said(&mut self, cx: &mut Cx<'_, Self>, said: Said) {
        let Some((stage, at)) = self.expected.pop_front() else {
            return self.out_of_turn(cx, said.reply);
        };
        match self.expected.front() {
            Some((next, _)) => cx.arm(Timer::Command, self.timeout(*next)),
            None => cx.disarm(Timer::Command),
        }
        let reply = said.reply.clone();
        if reply.code == 421 {
            return self.shut(cx, stage, reply);
        }
        self.note_answer();
        match stage {
            Stage::Greeting => self.greeted(cx, reply),
            Stage::Ehlo | Stage::Helo => self.helloed(cx, stage, said),
            Stage::StartTls => self.may_secure(cx, reply),
            Stage::Auth => self.authenticated(cx, reply),
            Stage::Mail => self.sender_answered(cx, reply),
            Stage::Rcpt => self.recipient_answered(cx, at, reply),
            Stage::Data => self.data_answered(cx, reply),
            Stage::Chunk => self.chunk_answered(cx, reply),
            Stage::EndOfData | Stage::LastChunk => self.message_answered(cx, stage, reply),
            Stage::Reset => self.was_reset(cx, reply),
            Stage::Handshake | Stage::Body | Stage::Idle => {}
        }
        self.finish_if_over(cx);
    }

    /// The host closes the connection (RFC 5321 3.8).
    fn shut(&mut self, cx: &mut Cx<'_, Self>, stage: Stage, reply: RemoteReply) {
        let trouble = match stage {
            Stage::Greeting | Stage::Ehlo | Stage::Helo | Stage::StartTls | Stage::Auth => {
                Trouble::unwelcome(&self.remote, stage, reply)
            }
            _ => Trouble::said(&self.remote, stage, reply),
        };
        self.give_up(cx, trouble, Why::Gone);
    }

    /// The host speaks, and was not asked.
    fn out_of_turn(&mut self, cx: &mut Cx<'_, Self>, reply: RemoteReply) {
        match self.phase {
            Phase::Idle(call) => {
                cx.fact(Fact::Odd(reply));
                cx.cancel(call);
                cx.close(Why::Gone);
            }
            _ => self.unasked(cx, reply),
        }
    }

    /// What a host has said that does not read the message any more: its last word on it. As long as
    /// our output waits, nobody has listened.
    fn last_word(&mut self, cx: &mut Cx<'_, Self>) -> Option<Trouble> {
        if self.stage() != Stage::Body {
            return None;
        }
        let said = self.reader.read(cx.input).ok().flatten()?;
        said.reply.is_refusal().then(|| Trouble::said(&self.remote, Stage::Body, said.reply))
    }

    /// The outcome of a call; `None` when it did not come in time.
    fn answer(&mut self, cx: &mut Cx<'_, Self>, id: CallId, outcome: Option<Reply>) {
        let reading = self.transaction.as_ref().and_then(|transaction| transaction.sending.call);
        if reading == Some(id) {
            let read = match outcome {
                Some(Reply::Read(read)) => Some(read),
                _ => None,
            };
            return self.was_read(cx, read);
        }
        match (&self.phase, outcome) {
            (Phase::Idle(call), Some(Reply::Next(Next::Message(mail)))) if *call == id => {
                self.transaction = Some(Transaction::new(mail, true));
                self.begin(cx);
            }
            (Phase::Idle(call), _) if *call == id => self.quit(cx),
            // The report is written down.
            _ => {}
        }
    }

    fn stop(&mut self, cx: &mut Cx<'_, Self>) {
        self.stopping = true;
        match (&self.phase, self.stage()) {
            (Phase::Idle(_) | Phase::Resetting, _) => self.quit(cx),
            // The host has the message: its word on it is worth waiting for.
            (_, stage) if stage.is_end() => {}
            (_, stage) => {
                let trouble =
                    self.last_word(cx).unwrap_or_else(|| Trouble::stopped(&self.remote, stage));
                self.give_up(cx, trouble, Why::Stopped);
            }
        }
    }
}

impl Protocol for Client {
    type Call = Call;
    type Reply = Reply;
    type Notice = Infallible;
    type Fact = Fact;

    fn start(&mut self, cx: &mut Cx<'_, Self>) {
        self.opened = cx.now.mono;
        match self.config.tls {
            Tls::Implicit => self.secure(cx),
            _ => self.expect(cx, Stage::Greeting, 0),
        }
    }

    fn advance(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        // First say what can be said, then listen: what was sent ahead does not depend on how fast
        // the replies come.
        if self.produce(cx) == Progress::More {
            return Progress::More;
        }
        match self.reader.read(cx.input) {
            Ok(None) => Progress::Blocked,
            Ok(Some(said)) => {
                self.said(cx, said);
                Progress::More
            }
            Err(garbled) => {
                let stage = self.stage();
                let said = alloc::format!(
                    "host {} said: {} (in reply to {})",
                    self.remote,
                    garbled.text,
                    stage.request()
                );
                self.give_up(cx, Trouble::nonsense(stage, &said, None), Why::Refused);
                Progress::More
            }
        }
    }

    fn event(&mut self, cx: &mut Cx<'_, Self>, event: Event<Self>) {
        match event {
            Event::Reply(id, reply) => self.answer(cx, id, Some(reply)),
            Event::Expired(id) => self.answer(cx, id, None),
            Event::Notice(never) => match never {},
            Event::Timer(_) => {
                let trouble = self
                    .last_word(cx)
                    .unwrap_or_else(|| Trouble::timeout(&self.remote, self.stage()));
                self.give_up(cx, trouble, Why::Timeout);
            }
            Event::Secured(info) => self.secured(cx, info),
            Event::Eof => {
                let trouble =
                    self.last_word(cx).unwrap_or_else(|| Trouble::lost(&self.remote, self.stage()));
                self.give_up(cx, trouble, Why::Gone);
            }
            Event::Stop => self.stop(cx),
        }
    }
}
