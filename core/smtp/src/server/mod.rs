//! The server side of SMTP (RFC 5321), one verb, one file.
//!
//! | verb | file | | verb | file |
//! |---|---|---|---|---|
//! | EHLO, HELO | `ehlo.rs` | | RSET | `rset.rs` |
//! | STARTTLS | `starttls.rs` | | NOOP | `noop.rs` |
//! | AUTH | `auth.rs` | | VRFY | `vrfy.rs` |
//! | MAIL | `mail.rs` | | HELP | `help.rs` |
//! | RCPT | `rcpt.rs` | | QUIT | `quit.rs` |
//! | DATA | `data.rs` | | anything else | `unknown.rs` |
//! | BDAT | `bdat.rs` | | | |
//!
//! Commands run strictly one at a time; what a client pipelines waits in the inbox. A command that
//! asks the world leaves the server in the phase that waits for the answer.
//!
//! ```
//! use std::sync::Arc;
//! use waypost_machine::{Limits, Machine, Now, Session, Step};
//! use waypost_mail::{Domain, Peer};
//! use waypost_smtp::server::{Config, Fact, Server};
//!
//! let config = Arc::new(Config::new(Domain::parse("mail.example.com").unwrap()));
//! let peer = Peer { ip: "192.0.2.7".parse().unwrap(), port: 40000, name: None };
//! let mut session = Session::new(Now::default(), Server::new(config, peer), Limits::default());
//! assert!(matches!(session.poll(usize::MAX), Step::Fact(Fact::Connected)));
//! let Step::Send(greeting) = session.poll(usize::MAX) else { panic!("no greeting") };
//! assert_eq!(greeting, "220 mail.example.com ESMTP Waypost\r\n");
//! ```

mod auth;
mod bdat;
mod call;
mod config;
mod data;
mod ehlo;
mod help;
mod incoming;
mod mail;
mod noop;
mod quit;
mod rcpt;
mod rset;
mod starttls;
mod unknown;
mod verb;
mod vrfy;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::convert::Infallible;
use core::mem;

use bytes::Bytes;
use waypost_machine::{
    CallId, Cx, Event, Progress, Protocol, Timer, TlsInfo, TlsRole, TooLong, Why,
};
use waypost_mail::{Address, Client, Peer, Reply as SmtpReply, ReversePath};
use waypost_sasl::Exchange;

pub use call::*;
pub use config::{BareNewline, Config, Tls};

use crate::body::Bare;
use crate::error::CommandError;
use crate::limits::{self, Temper};
use crate::reply;
use crate::syntax::{RcptParams, split_verb};
use bdat::Chunk;
use incoming::Incoming;
use mail::Transaction;
use verb::{Tally, VERBS};

/// One session, to be run by [`waypost_machine::Session`].
pub struct Server {
    config: Arc<Config>,
    client: Arc<Client>,
    phase: Phase,
    /// From MAIL to the end of the message.
    transaction: Option<Transaction>,
    /// The message that is coming in.
    message: Option<Incoming>,
    /// A line that waits, because too many before it were wrong.
    held: Option<Result<Bytes, TooLong>>,
    /// The verb that runs or ran last: its place in the table.
    verb: usize,
    /// Where a connection would be lost now, as logs tell it.
    place: &'static str,
    tally: Tally,
    temper: Temper,
    /// Octets of a message taken since the time limit was last put off.
    progress: usize,
    /// The end was asked for while a message was being made durable.
    stopping: bool,
}

/// What the server is at.
enum Phase {
    /// Waits for the handshake, without having greeted.
    Ungreeted,
    /// Takes commands.
    Command,
    /// Takes a response of AUTH.
    Auth(Exchange),
    /// Waits for the world to check a password.
    Verifying { call: CallId, user: Box<str>, mechanism: &'static str },
    /// Lets the client wait for the news that it was wrong.
    Denied,
    /// Waits for the verdict on a recipient.
    Routing { call: CallId, recipient: Address, params: RcptParams },
    /// Waits for the world to open a message; with the chunk that follows, in the case of BDAT.
    Opening { call: CallId, chunk: Option<Chunk> },
    /// Takes a message that ends with CRLF.CRLF. `ended`: waits for the last appends.
    Data { ended: bool },
    /// Takes a chunk of a message.
    Chunk(Chunk),
    /// Waits for the message to be durable. `chunked`: it came by BDAT.
    Committing { call: CallId, chunked: bool },
}

impl Server {
    /// A session with this peer, which has just connected.
    pub fn new(config: Arc<Config>, peer: Peer) -> Self {
        let client = Client {
            peer,
            service: config.service.clone(),
            helo: "".into(),
            esmtp: false,
            tls: None,
            login: None,
        };
        Self {
            config,
            client: Arc::new(client),
            phase: Phase::Ungreeted,
            transaction: None,
            message: None,
            held: None,
            verb: verb::UNKNOWN,
            place: "CONNECT",
            tally: Tally::default(),
            temper: Temper::default(),
            progress: 0,
            stopping: false,
        }
    }

    /// What is known of the session.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The fact that ends a session in the log. The server tells it itself, but when the session
    /// ended without it: in a handshake, or by [`Why::Injected`] and the like.
    pub fn farewell(&self, lost: Option<&'static str>) -> Fact {
        let octets = self.message.as_ref().map(Incoming::octets);
        let lost = lost.map(|what| Lost { what, after: self.place, octets });
        Fact::Disconnected { counts: self.tally.counts(), lost }
    }

    fn greet(&mut self, cx: &mut Cx<'_, Self>) {
        send(cx, &reply::greeting(&self.config));
        self.listen(cx, Phase::Command);
    }

    /// Waits for a line.
    fn listen(&mut self, cx: &mut Cx<'_, Self>, phase: Phase) {
        self.phase = phase;
        cx.arm(Timer::Command, self.config.command_timeout);
    }

    /// Takes a line from the input, if there is one.
    fn line(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        if self.held.is_some() {
            return Progress::Blocked;
        }
        let Some(line) = cx.input.line(limits::LINE).transpose() else { return Progress::Blocked };
        cx.disarm(Timer::Command);
        if self.temper.errors() < self.config.soft_error_limit {
            self.take(cx, line);
        } else {
            self.held = Some(line);
            cx.arm(Timer::Delay, self.config.error_delay);
        }
        Progress::More
    }

    fn take(&mut self, cx: &mut Cx<'_, Self>, line: Result<Bytes, TooLong>) {
        let outcome = match mem::replace(&mut self.phase, Phase::Command) {
            Phase::Auth(exchange) => self.auth_response(cx, exchange, &line),
            _ => self.command(cx, &line),
        };
        if let Err(error) = outcome {
            self.refuse(cx, &error);
        }
    }

    fn command(
        &mut self,
        cx: &mut Cx<'_, Self>,
        line: &Result<Bytes, TooLong>,
    ) -> Result<(), CommandError> {
        if self.temper.errors() >= self.config.hard_error_limit {
            return Err(CommandError::TooManyErrors);
        }
        self.verb = verb::UNKNOWN;
        self.place = VERBS[self.verb].name;
        let line = line.as_ref().map_err(|TooLong| CommandError::LineTooLong)?;
        let line =
            core::str::from_utf8(self.unterminated(line)?).map_err(|_| CommandError::BadUtf8)?;
        let (name, args) = split_verb(line);
        if name.is_empty() {
            return Err(CommandError::Empty);
        }
        self.verb = verb::find(name);
        let verb = &VERBS[self.verb];
        self.place = verb.name;
        if verb.junk {
            self.temper.junk(self.config.junk_command_limit);
        }
        if self.config.tls == Tls::Required && self.client.tls.is_none() && !verb.before_tls {
            return match verb.name {
                "BDAT" => self.skip_chunk(cx, args, &CommandError::NeedTls),
                _ => Err(CommandError::NeedTls),
            };
        }
        match verb.name {
            "UNKNOWN" => self.unknown(cx, line),
            _ => (verb.run)(self, cx, args),
        }
    }

    /// A line without its line end, which is CRLF, or LF where that is allowed.
    fn unterminated<'a>(&self, line: &'a [u8]) -> Result<&'a [u8], CommandError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        match line.strip_suffix(b"\r") {
            Some(line) => Ok(line),
            None if self.config.bare_newline == BareNewline::Normalise => Ok(line),
            None => Err(CommandError::Bare(Bare::Lf)),
        }
    }

    /// Ends a command that went wrong.
    fn refuse(&mut self, cx: &mut Cx<'_, Self>, error: &CommandError) {
        let reply = error.reply(&self.config.hostname);
        if error.is_fatal() {
            let (what, why) = match error {
                CommandError::Timeout => (Some("timeout"), Why::Timeout),
                CommandError::Stopping => (Some("server shutdown"), Why::Stopped),
                CommandError::TooManyErrors => (Some("too many errors"), Why::Refused),
                CommandError::Injected => (Some("improper command pipelining"), Why::Injected),
                _ => (None, Why::Refused),
            };
            if what.is_none() || why == Why::Injected {
                self.tally.count(self.verb, false);
            }
            send(cx, &reply);
            return self.close(cx, what, why);
        }
        let forgiven = self.temper;
        self.finish(cx, &reply);
        if *error == CommandError::TooManyRecipients {
            // Its sender could not know, and it costs us nothing.
            self.temper = forgiven;
        }
    }

    /// Ends a command with its reply.
    fn finish(&mut self, cx: &mut Cx<'_, Self>, reply: &SmtpReply) {
        self.tally.count(self.verb, reply.is_success());
        if !reply.is_success() {
            self.temper.error();
        }
        send(cx, reply);
        self.listen(cx, Phase::Command);
        if self.stopping {
            self.refuse(cx, &CommandError::Stopping);
        }
    }

    /// Logs that a command was refused for what it wanted, not for how it was written.
    fn rejected(&self, cx: &mut Cx<'_, Self>, recipient: Option<&Address>, reply: &SmtpReply) {
        let sender: Option<ReversePath> = self.transaction.as_ref().map(|t| t.sender.clone());
        cx.fact(Fact::Rejected {
            client: Arc::clone(&self.client),
            queue_id: self.message.as_ref().map(|message| message.queue_id().into()),
            stage: self.place,
            sender,
            recipient: recipient.cloned(),
            reply: reply.clone(),
        });
    }

    /// Forgets the transaction, and the message if one has begun.
    fn reset(&mut self, cx: &mut Cx<'_, Self>) {
        self.transaction = None;
        if let Some(mut message) = self.message.take() {
            message.abort(cx);
            cx.disarm(Timer::Body);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_, Self>, lost: Option<&'static str>, why: Why) {
        if !matches!(self.phase, Phase::Command) {
            self.tally.count(self.verb, false);
        }
        cx.fact(self.farewell(lost));
        self.reset(cx);
        cx.close(why);
    }

    fn secured(&mut self, cx: &mut Cx<'_, Self>, info: TlsInfo) {
        Arc::make_mut(&mut self.client).tls = Some(info);
        cx.fact(Fact::Secured);
        match self.phase {
            Phase::Ungreeted => self.greet(cx),
            _ => self.listen(cx, Phase::Command),
        }
    }

    fn stop(&mut self, cx: &mut Cx<'_, Self>) {
        if matches!(self.phase, Phase::Committing { .. }) {
            self.stopping = true;
        } else {
            self.refuse(cx, &CommandError::Stopping);
        }
    }

    /// The outcome of a call; `None` when it did not come in time.
    fn answer(&mut self, cx: &mut Cx<'_, Self>, id: CallId, outcome: Option<Reply>) {
        if let Some(message) = &mut self.message
            && message.appended(cx, id, outcome.as_ref(), &self.config)
        {
            return;
        }
        match mem::replace(&mut self.phase, Phase::Command) {
            Phase::Verifying { call, user, mechanism } if call == id => {
                self.verified(cx, user, mechanism, outcome);
            }
            Phase::Routing { call, recipient, params } if call == id => {
                self.routed(cx, recipient, params, outcome);
            }
            Phase::Opening { call, chunk } if call == id => self.opened(cx, chunk, outcome),
            Phase::Committing { call, chunked } if call == id => {
                self.committed(cx, chunked, outcome);
            }
            // Of a message that was given up.
            phase => self.phase = phase,
        }
    }
}

impl Protocol for Server {
    type Call = Call;
    type Reply = Reply;
    type Notice = Infallible;
    type Fact = Fact;

    fn start(&mut self, cx: &mut Cx<'_, Self>) {
        cx.fact(Fact::Connected);
        match self.config.tls {
            Tls::Implicit => cx.secure(TlsRole::Server),
            _ => self.greet(cx),
        }
    }

    fn advance(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        match self.phase {
            Phase::Command | Phase::Auth(_) => self.line(cx),
            Phase::Data { ended } => self.take_data(cx, ended),
            Phase::Chunk(_) => self.take_chunk(cx),
            _ => Progress::Blocked,
        }
    }

    fn event(&mut self, cx: &mut Cx<'_, Self>, event: Event<Self>) {
        match event {
            Event::Reply(id, reply) => self.answer(cx, id, Some(reply)),
            Event::Expired(id) => self.answer(cx, id, None),
            Event::Notice(never) => match never {},
            Event::Timer(Timer::Delay) => match self.held.take() {
                Some(line) => self.take(cx, line),
                None => self.refuse(cx, &CommandError::Denied),
            },
            Event::Timer(_) => self.refuse(cx, &CommandError::Timeout),
            Event::Secured(info) => self.secured(cx, info),
            Event::Eof => self.close(cx, Some("lost connection"), Why::Gone),
            Event::Stop => self.stop(cx),
        }
    }
}

/// Sends a reply of one line. Whatever of it came from the peer is made printable.
fn send(cx: &mut Cx<'_, Server>, reply: &SmtpReply) {
    cx.send_slice(printable(&format!("{reply}")).as_bytes());
    cx.send_slice(b"\r\n");
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
