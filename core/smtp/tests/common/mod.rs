//! A server on a virtual clock, with a world of a few rules: what the tests of this folder share.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use waypost_machine::{
    Input, Limits, Machine, Now, Session, Step, TlsInfo, TlsRole, UnixTime, Wait, Why,
};
use waypost_mail::{Delivery, Domain, Enhanced, Envelope, Peer, Reply, Target, Verdict};
use waypost_sasl::{Mechanism, Verified};
use waypost_smtp::server::{
    Aborted, Appended, Begun, Call, Committed, Config, Fact, MessageId, Server, Tls,
};

/// A message as the world got it.
#[derive(Debug, Clone)]
pub struct Received {
    pub envelope: Arc<Envelope>,
    pub body: Vec<u8>,
    pub appends: usize,
    pub committed: bool,
    pub aborted: bool,
}

/// What goes wrong in the world.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub directory_down: bool,
    pub begin: Option<Reply>,
    pub append: Option<Reply>,
    pub commit: Option<Reply>,
    /// Calls that are never answered.
    pub silent: bool,
}

/// The world: accounts mail000 and mail001, recipients of example.com, a spool in memory.
#[derive(Debug, Default)]
pub struct World {
    pub faults: Faults,
    pub messages: Vec<Received>,
    pub calls: Vec<&'static str>,
}

pub const SPOOL_FULL: Reply = Reply {
    code: 452,
    enhanced: Some(Enhanced(4, 3, 1)),
    text: std::borrow::Cow::Borrowed("Error: insufficient system storage"),
};

/// To how many places a recipient leads.
fn members(local: &str) -> Option<usize> {
    match local {
        "list" => Some(1000),
        _ => local.starts_with("mail00").then_some(1),
    }
}

impl World {
    pub fn answer(&mut self, call: Call) -> waypost_machine::Answer<waypost_smtp::server::Reply> {
        match call {
            Call::Authenticate { credentials, ticket, .. } => {
                self.calls.push("authenticate");
                let (user, password) = (&*credentials.authcid, &**credentials.password.expose());
                let user = user.to_ascii_lowercase();
                ticket.answer(match (self.faults.directory_down, &*user, password) {
                    (true, _, _) => Verified::Unavailable,
                    (_, "mail000", "secret000") | (_, "mail001", "secret001") => {
                        Verified::Accepted(user.into())
                    }
                    _ => Verified::Denied,
                })
            }
            Call::Recipient { recipient, ticket, .. } => {
                self.calls.push("recipient");
                let denied = |code, enhanced, why: &str| {
                    Verdict::Refuse(Reply::new(code, enhanced, format!("<{recipient}>: {why}")))
                };
                ticket.answer(if self.faults.directory_down {
                    denied(451, Enhanced(4, 3, 0), "Temporary lookup failure")
                } else if recipient.domain().as_str().eq_ignore_ascii_case("remote.test") {
                    denied(454, Enhanced(4, 7, 1), "Relay access denied")
                } else if let Some(members) = members(recipient.local()) {
                    let to = recipient.clone();
                    let delivery = Delivery { to, orig_to: recipient, target: Target::Remote };
                    Verdict::Accept(vec![delivery; members])
                } else {
                    let why = "Recipient address rejected: User unknown in virtual alias table";
                    denied(550, Enhanced(5, 1, 1), why)
                })
            }
            Call::Begin { envelope, ticket } => {
                self.calls.push("begin");
                ticket.answer(match &self.faults.begin {
                    Some(reply) => Begun::Failed(reply.clone()),
                    None => {
                        self.messages.push(Received {
                            envelope,
                            body: Vec::new(),
                            appends: 0,
                            committed: false,
                            aborted: false,
                        });
                        let count = self.messages.len() as u64;
                        Begun::Ready {
                            message: MessageId(count),
                            queue_id: format!("Q{count}").into(),
                        }
                    }
                })
            }
            Call::Append { message, chunks, ticket } => {
                self.calls.push("append");
                let message = self.message(message);
                message.appends += 1;
                for chunk in chunks {
                    message.body.extend_from_slice(&chunk);
                }
                ticket.answer(match &self.faults.append {
                    Some(reply) => Appended::Failed(reply.clone()),
                    None => Appended::Done,
                })
            }
            Call::Commit { message, ticket } => {
                self.calls.push("commit");
                ticket.answer(match self.faults.commit.clone() {
                    Some(reply) => Committed::Failed(reply),
                    None => {
                        self.message(message).committed = true;
                        Committed::Done
                    }
                })
            }
            Call::Abort { message, ticket } => {
                self.calls.push("abort");
                self.message(message).aborted = true;
                ticket.answer(Aborted)
            }
        }
    }

    fn message(&mut self, id: MessageId) -> &mut Received {
        &mut self.messages[usize::try_from(id.0).unwrap() - 1]
    }
}

/// A client, a server, a world.
pub struct Dialogue {
    pub session: Session<Server>,
    pub world: World,
    pub now: Now,
    pub facts: Vec<Fact>,
    pub closed: Option<Why>,
    pub securing: bool,
    pub calls: Vec<Call>,
    said: Vec<u8>,
}

pub fn hostname() -> Domain {
    Domain::parse("mail.example.com").unwrap()
}

/// Port 25 of the reference: AUTH inside TLS, with the line for old clients.
pub fn port25() -> Config {
    Config {
        mechanisms: vec![Mechanism::Plain],
        broken_sasl_auth_clients: true,
        ..Config::new(hostname())
    }
}

/// Port 587 of the reference.
pub fn port587() -> Config {
    Config { tls: Tls::Required, service: "submission/smtpd".into(), ..port25() }
}

impl Dialogue {
    pub fn new(config: Config) -> Self {
        let peer = Peer { ip: "127.0.1.3".parse().unwrap(), port: 40000, name: None };
        let now = Now { wall: UnixTime { secs: 1_795_341_600, nanos: 0 }, ..Now::default() };
        let server = Server::new(Arc::new(config), peer);
        let mut dialogue = Self {
            session: Session::new(now, server, Limits::default()),
            world: World::default(),
            now,
            facts: Vec::new(),
            closed: None,
            securing: false,
            calls: Vec::new(),
            said: Vec::new(),
        };
        dialogue.pump();
        dialogue
    }

    /// After the greeting, EHLO said.
    pub fn greeted(config: Config) -> Self {
        let mut dialogue = Self::new(config);
        dialogue.say("EHLO client.example.net\r\n");
        dialogue.take();
        dialogue
    }

    /// After STARTTLS and another EHLO.
    pub fn secured(config: Config) -> Self {
        let mut dialogue = Self::greeted(config);
        assert_eq!(dialogue.say("STARTTLS\r\n"), "220 2.0.0 Ready to start TLS\r\n");
        dialogue.handshake();
        dialogue.say("EHLO client.example.net\r\n");
        dialogue
    }

    pub fn handshake(&mut self) {
        assert!(std::mem::take(&mut self.securing), "no handshake is due");
        let info = TlsInfo { protocol: "TLSv1.3", bits: 256, ..TlsInfo::default() };
        self.input(Input::Secured(info));
    }

    pub fn input(&mut self, input: Input<Session<Server>>) {
        self.session.handle(self.now, input);
        self.pump();
    }

    /// Sends bytes, as much at a time as the server wants, and gives what it says to them.
    pub fn send(&mut self, bytes: &[u8]) -> String {
        let mut rest = Bytes::copy_from_slice(bytes);
        while !rest.is_empty() && self.closed.is_none() {
            let wait = self.pump().expect("open");
            assert!(wait.read > 0, "the server reads no more");
            let part = rest.split_to(rest.len().min(wait.read));
            self.input(Input::Bytes(part));
        }
        self.take()
    }

    pub fn say(&mut self, text: &str) -> String {
        self.send(text.as_bytes())
    }

    /// Lets time pass.
    pub fn pass(&mut self, seconds: f64) -> String {
        self.now.mono = self.now.mono.plus(Duration::from_secs_f64(seconds));
        self.input(Input::Tick);
        self.take()
    }

    /// What was said since it was asked last.
    pub fn take(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.said)).into_owned()
    }

    /// Does what the server wants until it waits.
    pub fn pump(&mut self) -> Option<Wait> {
        loop {
            match self.session.poll(usize::MAX) {
                Step::Send(bytes) => self.said.extend_from_slice(&bytes),
                Step::Call(call) if self.world.faults.silent => self.calls.push(call),
                Step::Call(call) => {
                    let answer = self.world.answer(call);
                    self.session.handle(self.now, Input::Answer(answer));
                }
                Step::Cancel(_) => {}
                Step::Secure(role) => {
                    assert_eq!(role, TlsRole::Server);
                    self.securing = true;
                }
                Step::Fact(fact) => self.facts.push(fact),
                Step::Close(why) => {
                    assert_eq!(self.closed.replace(why), None);
                }
                Step::Wait(wait) => return self.closed.is_none().then_some(wait),
            }
        }
    }

    /// The world answers all calls that wait.
    pub fn answer_all(&mut self) -> String {
        for call in std::mem::take(&mut self.calls) {
            let answer = self.world.answer(call);
            self.session.handle(self.now, Input::Answer(answer));
        }
        self.pump();
        self.take()
    }

    /// MAIL and RCPT of a plain message.
    pub fn envelope(&mut self) {
        let said =
            self.say("MAIL FROM:<someone@elsewhere.test>\r\nRCPT TO:<mail000@example.com>\r\n");
        assert_eq!(said, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n");
    }

    /// Up to the 354.
    pub fn data(&mut self) {
        self.envelope();
        assert_eq!(self.say("DATA\r\n"), "354 End data with <CR><LF>.<CR><LF>\r\n");
    }

    /// The last fact of the session.
    pub fn farewell(&self) -> &Fact {
        self.facts.last().expect("a fact")
    }
}
