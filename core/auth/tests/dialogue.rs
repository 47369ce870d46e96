//! Dialogues with a client such as Postfix, on a virtual clock.

use std::time::Duration;

use bytes::Bytes;
use waypost_auth::{Call, Config, Fact, Fault, Server};
use waypost_machine::{Input, Limits, Machine, Now, Session, Step, Why};
use waypost_sasl::{Mechanism, Verified};

const GOOD: &str = "resp=AG1haWwwMDAAc2VjcmV0MDAw";
const BAD: &str = "resp=AG1haWwwMDAAd3Jvbmc=";

struct Dialogue {
    session: Session<Server>,
    now: Now,
    facts: Vec<Fact>,
    closed: Option<Why>,
    down: bool,
    /// Calls are kept until they are asked for.
    silent: bool,
    calls: Vec<Call>,
}

impl Dialogue {
    fn new(config: Config) -> Self {
        let now = Now::default();
        let session = Session::new(now, Server::new(config), Limits::default());
        let (facts, calls) = (Vec::new(), Vec::new());
        Self { session, now, facts, closed: None, down: false, silent: false, calls }
    }

    fn ready() -> Self {
        let mut d = Self::new(config());
        d.said();
        assert_eq!(d.say("VERSION\t1\t0\nCPID\t21362\n"), "");
        d
    }

    fn input(&mut self, input: Input<Session<Server>>) -> String {
        self.session.handle(self.now, input);
        self.said()
    }

    fn say(&mut self, text: &str) -> String {
        self.input(Input::Bytes(Bytes::copy_from_slice(text.as_bytes())))
    }

    fn pass(&mut self, seconds: f64) -> String {
        self.now.mono = self.now.mono.plus(Duration::from_secs_f64(seconds));
        self.input(Input::Tick)
    }

    fn said(&mut self) -> String {
        let mut said = Vec::new();
        loop {
            match self.session.poll(usize::MAX) {
                Step::Send(bytes) => said.extend_from_slice(&bytes),
                Step::Call(call) if self.silent => self.calls.push(call),
                Step::Call(call) => {
                    let answer = self.answer(call);
                    self.session.handle(self.now, Input::Answer(answer));
                }
                Step::Fact(fact) => self.facts.push(fact),
                Step::Close(why) => self.closed = Some(why),
                Step::Wait(_) => return String::from_utf8(said).expect("text"),
                Step::Cancel(_) => {}
                Step::Secure(_) => panic!("no TLS here"),
            }
        }
    }

    fn answer(&self, call: Call) -> waypost_machine::Answer<waypost_auth::Reply> {
        let Call::Authenticate { credentials, ticket, .. } = call;
        let user = credentials.authcid.to_ascii_lowercase();
        let outcome = match (&*user, &**credentials.password.expose()) {
            _ if self.down => Verified::Unavailable,
            ("mail000", "secret000") | ("mail001", "secret001") => Verified::Accepted(user.into()),
            _ => Verified::Denied,
        };
        ticket.answer(outcome)
    }
}

fn config() -> Config {
    Config::new(20953, 2, "a5173911e3973f09a8ec6e7039f31542")
}

fn auth(id: u32, more: &str) -> String {
    format!("AUTH\t{id}\tPLAIN\tservice=smtp\tnologin\trip=127.0.1.3\tsecured\t{more}\n")
}

#[test]
fn the_handshake() {
    let config = Config { mechanisms: Mechanism::ALL.to_vec(), ..config() };
    let mut d = Dialogue::new(config);
    assert_eq!(
        d.said(),
        "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t20953\nCUID\t2\n\
         COOKIE\ta5173911e3973f09a8ec6e7039f31542\nDONE\n"
    );
    let said = d.say("VERSION\t1\t0\nCPID\t1\nAUTH\t1\tLOGIN\tservice=smtp\n");
    assert_eq!(said, "CONT\t1\tVXNlcm5hbWU6\n");
    assert_eq!(d.say("CONT\t1\tbWFpbDAwMA==\n"), "CONT\t1\tUGFzc3dvcmQ6\n");
    assert_eq!(d.say("CONT\t1\tc2VjcmV0MDAw\n"), "OK\t1\tuser=mail000\n");
    let Some(Fact::Login { origin, mechanism, .. }) = d.facts.last() else { panic!("a fact") };
    assert_eq!((&*origin.service, *mechanism, origin.secured), ("smtp", "LOGIN", false));
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let mut d = Dialogue::new(config());
    d.said();
    d.pass(59.0);
    assert_eq!(d.closed, None);
    d.pass(1.0);
    assert_eq!(d.closed, Some(Why::Timeout));
    // A connection that is set up may be idle for ever.
    let mut d = Dialogue::ready();
    d.pass(1e6);
    assert_eq!(d.closed, None);
}

#[test]
fn good_and_bad_passwords() {
    let mut d = Dialogue::ready();
    assert_eq!(d.say(&auth(1, GOOD)), "OK\t1\tuser=mail000\n");
    assert_eq!(d.say(&auth(2, BAD)), "");
    assert_eq!(d.pass(1.9), "");
    assert_eq!(d.pass(0.1), "FAIL\t2\tuser=mail000\n");
    // In upper case; with another authorization identity; empty.
    assert_eq!(
        d.say(&auth(3, "resp=AE1BSUwwMDEAc2VjcmV0MDAx")),
        "OK\t3\tuser=mail001\toriginal_user=MAIL001\n"
    );
    d.say(&auth(4, "resp=bWFpbDAwMQBtYWlsMDAwAHNlY3JldDAwMA=="));
    assert_eq!(d.pass(2.0), "FAIL\t4\tuser=mail000\n");
    assert_eq!(d.say(&auth(5, "")), "CONT\t5\t\n");
    d.say("CONT\t5\t\n");
    d.say(&auth(6, "resp="));
    assert_eq!(d.pass(2.0), "FAIL\t5\nFAIL\t6\n");
}

#[test]
fn requests_side_by_side() {
    let mut d = Dialogue::ready();
    let said = d.say(&[auth(1, BAD), auth(2, GOOD)].concat());
    assert_eq!(said, "OK\t2\tuser=mail000\n");
    d.pass(1.0);
    d.say(&auth(3, BAD));
    assert_eq!(d.pass(1.0), "FAIL\t1\tuser=mail000\n");
    assert_eq!(d.pass(1.0), "FAIL\t3\tuser=mail000\n");
    // The id is free again.
    assert_eq!(d.say(&auth(1, GOOD)), "OK\t1\tuser=mail000\n");
}

#[test]
fn answers_in_any_order() {
    let mut d = Dialogue::ready();
    d.silent = true;
    assert_eq!(d.say(&[auth(1, GOOD), auth(2, GOOD), auth(3, GOOD)].concat()), "");
    let mut calls = std::mem::take(&mut d.calls);
    calls.rotate_left(1);
    d.say("CANCEL\t1\n");
    for (call, said) in
        calls.into_iter().zip(["OK\t2\tuser=mail000\n", "OK\t3\tuser=mail000\n", ""])
    {
        let answer = d.answer(call);
        assert_eq!(d.input(Input::Answer(answer)), said);
    }
}

#[test]
fn a_directory_that_is_down() {
    let mut d = Dialogue::ready();
    d.down = true;
    // Alone: the connection goes, which Postfix understands.
    assert_eq!(d.say(&auth(1, GOOD)), "");
    assert_eq!(d.closed, Some(Why::Refused));
    // With another request open, or by setting: the code.
    let mut d = Dialogue::ready();
    d.say(&auth(1, ""));
    d.down = true;
    assert_eq!(d.say(&auth(2, GOOD)), "FAIL\t2\tuser=mail000\tcode=temp_fail\n");
    let mut d = Dialogue::new(Config { hang_up_when_unavailable: false, ..config() });
    d.said();
    d.silent = true;
    d.say(&format!("VERSION\t1\t0\nCPID\t1\n{}", auth(1, GOOD)));
    assert_eq!(d.pass(60.0), "FAIL\t1\tuser=mail000\tcode=temp_fail\n");
    let Some(Fact::Login { outcome, .. }) = d.facts.last() else { panic!("a fact") };
    assert_eq!(*outcome, Verified::Unavailable);
}

#[test]
fn bad_base64_and_late_answers() {
    let mut d = Dialogue::ready();
    assert_eq!(
        d.say(&auth(1, "resp=!!!")),
        "FAIL\t1\tcode=invalid_base64\treason=Invalid base64 data in initial response\n"
    );
    d.say(&auth(2, ""));
    assert_eq!(
        d.say("CONT\t2\t!!!\n"),
        "FAIL\t2\tcode=invalid_base64\treason=Invalid base64 data in continued response\n"
    );
    let late = "reason=Authentication request timed out\n";
    assert_eq!(d.say("CONT\t99\tAAAA\n"), format!("FAIL\t99\t{late}"));
    assert_eq!(d.say("CANCEL\t98\n"), "");
    d.say(&auth(3, ""));
    assert_eq!(d.pass(60.0), format!("FAIL\t3\t{late}"));
}

#[test]
fn who_breaks_the_protocol_is_sent_away() {
    let hello = "VERSION\t1\t0\nCPID\t1\n";
    for (text, fault) in [
        (format!("{hello}BOGUS\t1\n"), Fault::Unknown),
        ("VERSION\t2\t0\n".into(), Fault::Version),
        ("VERSION\tone\t0\n".into(), Fault::Field),
        (auth(1, GOOD), Fault::NoHandshake),
        (format!("VERSION\t1\t0\n{}", auth(1, GOOD)), Fault::NoHandshake),
        (format!("{hello}{}{}", auth(1, ""), auth(1, "")), Fault::IdInUse),
        (format!("{hello}{}CONT\t1\tAAAA\n", auth(1, BAD)), Fault::Unasked),
        (format!("{hello}AUTH\t1\tCRAM-MD5\tservice=smtp\n"), Fault::Mechanism),
        (format!("{hello}AUTH\t1\tPLAIN\tsecured\n"), Fault::NoService),
        (format!("{hello}AUTH\t1\tPLAIN\tservice=smtp\tresp=\tsecured\n"), Fault::NotLast),
        ("x".repeat(20_000), Fault::LineTooLong),
    ] {
        let mut d = Dialogue::new(config());
        d.said();
        d.say(&text);
        assert_eq!(d.closed, Some(Why::Refused), "{text}");
        assert_eq!(d.facts.last(), Some(&Fact::Broken { fault }), "{text}");
    }
    let mut d = Dialogue::new(config());
    d.input(Input::Bytes(Bytes::from_static(b"\xff\n")));
    assert_eq!(d.facts, [Fact::Broken { fault: Fault::NotUtf8 }]);
}

#[test]
fn too_many_requests() {
    let mut d = Dialogue::ready();
    for id in 0..1000 {
        assert_eq!(d.say(&auth(id, "")), format!("CONT\t{id}\t\n"));
    }
    assert_eq!(d.say(&auth(1000, GOOD)), "FAIL\t1000\tcode=temp_fail\n");
    d.say("CANCEL\t7\n");
    assert_eq!(d.say(&auth(1000, GOOD)), "OK\t1000\tuser=mail000\n");
}

#[test]
fn names_cannot_break_a_line() {
    let mut d = Dialogue::ready();
    // NUL a TAB b NUL x
    d.say(&auth(1, "resp=AGEJYgB4"));
    assert_eq!(d.pass(2.0), "FAIL\t1\tuser=a\u{1}tb\n");
}
