//! A client with a scripted host at the other end, on a virtual clock: what the tests of the client
//! share.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use waypost_machine::{Input, Limits, Machine, Now, Session, Step, Time, TlsInfo, TlsRole, Why};
use waypost_mail::{Address, Body, Enhanced, ReversePath};
use waypost_smtp::client::{
    Call, Client, Config, Disposition, Fact, Mail, Next, Outcome, Read, Remote, Reported, To,
    Trouble,
};

pub const MESSAGE: &[u8] = b"Subject: x\r\n\r\n.\r\nHello.\r\n";

pub fn to(address: &str) -> To {
    To { address: Address::parse(address).unwrap(), notify: None, orcpt: None }
}

pub fn mail(recipients: &[&str]) -> Mail {
    Mail {
        id: 1,
        sender: ReversePath::Address(Address::parse("mail001@example.com").unwrap()),
        recipients: recipients.iter().map(|r| to(r)).collect(),
        size: MESSAGE.len() as u64,
        body: Body::SevenBit,
        smtputf8: false,
        utf8_header: false,
        ret: None,
        envid: None,
    }
}

pub fn remote() -> Remote {
    Remote {
        name: "mx.remote.test".into(),
        ip: "192.0.2.25".parse().unwrap(),
        port: 25,
        nexthop: "remote.test".into(),
        best: true,
    }
}

pub fn config() -> Config {
    Config::new("mail.example.com")
}

/// Everything that one side of a script sees.
pub struct Host {
    pub session: Session<Client>,
    pub now: Now,
    pub bodies: BTreeMap<u64, Vec<u8>>,
    /// Octets of a body in one answer.
    pub block: usize,
    /// Reading fails from this octet on.
    pub unreadable: Option<u64>,
    /// Calls to read that are never answered.
    pub silent: bool,
    pub waiting: VecDeque<Mail>,
    /// The world is still thinking about another message.
    pub idle: Option<Call>,
    pub thinks: bool,
    pub calls: Vec<Call>,
    pub reports: Vec<Outcome>,
    pub facts: Vec<Fact>,
    pub closed: Option<Why>,
    pub securing: Option<String>,
    /// Octets that the client may send before the next step; `usize::MAX`: all.
    pub room: usize,
    pub said: Vec<u8>,
}

impl Host {
    pub fn new(config: Config, mail: Mail) -> Self {
        Self::at(config, remote(), mail)
    }

    pub fn at(config: Config, remote: Remote, mail: Mail) -> Self {
        let now = Now { mono: Time::from_nanos(1_000_000_000), ..Now::default() };
        let bodies = BTreeMap::from([(mail.id, MESSAGE.to_vec())]);
        let client = Client::new(Arc::new(config), remote, Arc::new(mail));
        let mut host = Self {
            session: Session::new(now, client, Limits::default()),
            now,
            bodies,
            block: usize::MAX,
            unreadable: None,
            silent: false,
            waiting: VecDeque::new(),
            idle: None,
            thinks: false,
            calls: Vec::new(),
            reports: Vec::new(),
            facts: Vec::new(),
            closed: None,
            securing: None,
            room: usize::MAX,
            said: Vec::new(),
        };
        host.pump();
        host
    }

    pub fn input(&mut self, input: Input<Session<Client>>) {
        self.session.handle(self.now, input);
        self.pump();
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        let mut rest = Bytes::copy_from_slice(bytes);
        while !rest.is_empty() && self.closed.is_none() {
            let read = self.pump();
            assert!(read > 0, "the client reads no more");
            let part = rest.split_to(rest.len().min(read));
            self.input(Input::Bytes(part));
        }
    }

    pub fn says(&mut self, text: &str) -> String {
        self.bytes(text.as_bytes());
        self.take()
    }

    /// Greets, and offers these keywords; gives what the client says then.
    pub fn greets(&mut self, keywords: &[&str]) -> String {
        assert_eq!(self.says("220 mx.remote.test ESMTP\r\n"), "EHLO mail.example.com\r\n");
        let mut offer = String::from("250-mx.remote.test\r\n");
        let (last, first) = keywords.split_last().expect("at least one");
        for keyword in first {
            offer.push_str(&format!("250-{keyword}\r\n"));
        }
        self.says(&format!("{offer}250 {last}\r\n"))
    }

    pub fn take(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.said)).into_owned()
    }

    pub fn handshake(&mut self) {
        assert_eq!(self.securing.take().as_deref(), Some("mx.remote.test"), "no handshake is due");
        let info = TlsInfo { protocol: "TLSv1.3", bits: 256, ..TlsInfo::default() };
        self.input(Input::Secured(info));
    }

    pub fn pass(&mut self, seconds: f64) {
        self.now.mono = self.now.mono.plus(Duration::from_secs_f64(seconds));
        self.input(Input::Tick);
    }

    fn answer(&mut self, call: Call) {
        let answer = match call {
            Call::Report { outcome, ticket, .. } => {
                self.reports.push(*outcome);
                ticket.answer(Reported)
            }
            Call::Read { mail, from, len, ticket } => {
                let body = &self.bodies[&mail];
                let from_usize = usize::try_from(from).unwrap();
                let end = body.len().min(from_usize + len.min(self.block));
                ticket.answer(match self.unreadable {
                    Some(limit) if from >= limit => Read::Failed,
                    _ => Read::Block {
                        bytes: Bytes::copy_from_slice(&body[from_usize..end]),
                        end: end == body.len(),
                    },
                })
            }
            Call::NextMessage { ticket } => match self.waiting.pop_front() {
                Some(mail) => {
                    self.bodies.entry(mail.id).or_insert_with(|| MESSAGE.to_vec());
                    ticket.answer(Next::Message(Arc::new(mail)))
                }
                None => ticket.answer(Next::Quit),
            },
        };
        self.session.handle(self.now, Input::Answer(answer));
    }

    /// Answers what has waited.
    pub fn answer_all(&mut self) {
        for call in std::mem::take(&mut self.calls) {
            self.answer(call);
        }
        self.pump();
    }

    /// Another message has come while the world was thinking.
    pub fn resume(&mut self) {
        self.thinks = false;
        let call = self.idle.take().expect("the client asks for a message");
        self.answer(call);
        self.pump();
    }

    /// Does what the client wants until it waits; octets that it would read.
    pub fn pump(&mut self) -> usize {
        loop {
            match self.session.poll(self.room) {
                Step::Send(bytes) => {
                    self.room = self.room.saturating_sub(match self.room {
                        usize::MAX => 0,
                        _ => bytes.len(),
                    });
                    self.said.extend_from_slice(&bytes);
                }
                Step::Call(call @ Call::Read { .. }) if self.silent => self.calls.push(call),
                Step::Call(call @ Call::NextMessage { .. }) if self.thinks => {
                    self.idle = Some(call);
                }
                Step::Call(call) => self.answer(call),
                Step::Cancel(_) => {}
                Step::Secure(TlsRole::Client { name }) => self.securing = Some(name.into()),
                Step::Secure(TlsRole::Server) => panic!("a client"),
                Step::Fact(fact) => self.facts.push(fact),
                Step::Close(why) => assert_eq!(self.closed.replace(why), None),
                Step::Wait(wait) => {
                    let stuck = self.closed.is_none() && self.room > 0 && wait.until.is_none();
                    assert!(!stuck, "nothing would ever wake it");
                    return wait.read;
                }
            }
        }
    }

    /// Plays a script: `S: text` says the host, `C: text` is what the client says to it, line by
    /// line; `-- tls`, `-- end`, `-- pass SECONDS`, `-- stop`, `-- closed WHY`.
    pub fn play(&mut self, script: &str) -> &mut Self {
        let mut heard = self.take();
        for line in script.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
            if let Some(text) = line.strip_prefix("S: ") {
                let said = self.says(&format!("{text}\r\n"));
                heard.push_str(&said);
            } else if let Some(text) = line.strip_prefix("C: ") {
                let (first, rest) = heard.split_once("\r\n").unwrap_or_else(|| {
                    panic!("want {text:?}, the client has said no more than {heard:?}")
                });
                assert_eq!(first, text);
                heard = rest.into();
            } else {
                assert_eq!(heard, "", "before {line:?}");
                match line.strip_prefix("-- ").expect("S:, C: or --").split_once(' ') {
                    Some(("pass", seconds)) => self.pass(seconds.parse().unwrap()),
                    Some(("closed", why)) => {
                        assert_eq!(format!("{:?}", self.closed.expect("closed")), why);
                    }
                    None if line == "-- tls" => self.handshake(),
                    None if line == "-- end" => self.input(Input::Eof),
                    None if line == "-- stop" => self.input(Input::Stop),
                    _ => panic!("{line}"),
                }
                heard = self.take();
            }
        }
        assert_eq!(heard, "", "the client has said more");
        self
    }

    /// The one outcome, reported or told afterwards.
    pub fn outcome(&self) -> Outcome {
        let closed = self.closed.expect("closed");
        let rest = self.session.protocol().unfinished(self.now, closed, None);
        let mut all: Vec<Outcome> = self.reports.iter().cloned().chain(rest).collect();
        assert_eq!(all.len(), 1, "one outcome");
        all.remove(0)
    }

    /// One word for each recipient, with the status and the reason.
    pub fn fates(&self) -> Vec<String> {
        self.outcome().recipients.iter().map(fate).collect()
    }

    /// The trouble of all recipients, which is the same.
    pub fn trouble(&self) -> Trouble {
        let outcome = self.outcome();
        let first = outcome.recipients[0].trouble().expect("trouble").clone();
        assert!(outcome.recipients.iter().all(|r| r.trouble() == Some(&first)));
        (*first).clone()
    }
}

/// `sent 2.0.0 (250 2.0.0 Ok)`, as a log line has it.
pub fn fate(disposition: &Disposition) -> String {
    let line = |word: &str, status: Enhanced, text: &str| format!("{word} {status} ({text})");
    match disposition {
        Disposition::Delivered(reply) => line("sent", reply.status(), &reply.text),
        Disposition::Deferred(trouble) => line("deferred", trouble.status, &trouble.reason),
        Disposition::Bounced(trouble) => line("bounced", trouble.status, &trouble.reason),
    }
}

/// Greeting and EHLO of a host that offers these keywords.
pub fn hello(keywords: &[&str]) -> String {
    let mut script = String::from("S: 220 mx.remote.test ESMTP\nC: EHLO mail.example.com\n");
    let (last, first) = keywords.split_last().expect("at least one");
    script.push_str("S: 250-mx.remote.test\n");
    for keyword in first {
        script.push_str(&format!("S: 250-{keyword}\n"));
    }
    script.push_str(&format!("S: 250 {last}\n"));
    script
}
