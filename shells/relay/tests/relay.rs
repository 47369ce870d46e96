//! Messages on their way to servers on loopback.

mod common;

use std::net::{IpAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::remote::{Mood, Remote};
use common::{BODY, Bench, words};
use waypost_machine::{Answer, Input, Machine, Now, Session, Step};
use waypost_queue::SiteState;
use waypost_relay::{Dial, Event, Line, Settings, Started, Transports, Wish};
use waypost_smtp::client::{Client, Login, Reply};
use waypost_tls::{Defaults, Level, PolicyTable};
use waypost_tls_client::Settings as Security;
use waypost_world::carrier::Fate;
use waypost_world::{Clock, SystemClock};

const A: &str = "a@remote.test";
const B: &str = "b@remote.test";
const C: &str = "c@remote.test";

#[test]
fn a_message_leaves() {
    let remote = Remote::start("127.0.0.1", 0, Mood::default());
    let bench = Bench::new("", |_| {});
    let carried = bench.send(&remote.hop(), &[A, B]);
    assert_eq!(carried.site, SiteState::Alive);
    for passed in &carried.recipients {
        assert_eq!(passed.fate, Fate::Sent { notifies: false });
        assert_eq!(&*passed.diagnosis.text, "250 2.0.0 Ok: queued as 7");
        assert_eq!(passed.diagnosis.status.to_string(), "2.0.0");
        assert_eq!(&*passed.relay, format!("127.0.0.1[127.0.0.1]:{}", remote.address.port()));
    }
    let sent = BODY.replace("\r\n.", "\r\n..");
    let lines = remote.lines();
    assert_eq!(
        lines[..5],
        [
            "MAIL FROM:<mail001@example.com>",
            "RCPT TO:<a@remote.test>",
            "RCPT TO:<b@remote.test>",
            "DATA",
            &sent
        ]
    );
    assert_eq!(*bench.events.lock().unwrap(), []);
}

/// Two servers at one port, and a port at a third address where nobody is.
fn two(first: Mood, second: Mood) -> (Remote, Remote, String) {
    let first = Remote::start("127.0.0.2", 0, first);
    let port = first.address.port();
    let second = Remote::start("127.0.0.3", port, second);
    (first, second, format!("remote.test:{port}"))
}

const TWO: &str = "remote.test MX 10 mx1.remote.test
    remote.test MX 20 mx2.remote.test
    mx1.remote.test A 127.0.0.2
    mx2.remote.test A 127.0.0.3";

#[test]
fn the_first_host_is_down() {
    let (first, second, hop) = two(Mood::default(), Mood::default());
    let zone = TWO.replace("127.0.0.2", "127.0.0.9");
    let bench = Bench::new(&zone, |_| {});
    let carried = bench.send(&hop, &[A]);
    assert_eq!(words(&carried), ["Sent { notifies: false } 2.0.0 250 2.0.0 Ok: queued as 7"]);
    assert_eq!((first.connections(), second.connections()), (0, 1));
    let port = first.address.port();
    assert_eq!(&*carried.recipients[0].relay, format!("mx2.remote.test[127.0.0.3]:{port}"));
    let reason = format!("connect to mx1.remote.test[127.0.0.9]:{port}: Connection refused").into();
    assert_eq!(*bench.events.lock().unwrap(), [Event::Unreachable { reason }]);
}

#[test]
fn everybody_is_down() {
    let nobody = TcpListener::bind("127.0.0.8:0").unwrap().local_addr().unwrap();
    let bench = Bench::new("", |_| {});
    let carried = bench.send(&format!("[127.0.0.8]:{}", nobody.port()), &[A, B]);
    let text = format!("connect to 127.0.0.8[127.0.0.8]:{}: Connection refused", nobody.port());
    assert_eq!(
        words(&carried),
        [format!("Deferred 4.4.1 {text}"), format!("Deferred 4.4.1 {text}")]
    );
    assert_eq!(&*carried.recipients[0].relay, "none");
    assert!(matches!(&carried.site, SiteState::Failed(why) if *why.text == *text));
}

#[test]
fn who_may_do_better_elsewhere_goes_on() {
    let moody = Mood::saying(&[
        ("RCPT TO:<b@", "450 4.2.0 Greylisted"),
        ("RCPT TO:<c@", "550 5.1.1 Unknown"),
    ]);
    let (first, second, hop) = two(moody, Mood::default());
    let bench = Bench::new(TWO, |settings| settings.idle = Duration::ZERO);
    let port = first.address.port();
    let unknown = "Failed 5.1.1 host mx1.remote.test[127.0.0.2] said: 550 5.1.1 Unknown \
                   (in reply to RCPT TO command)";
    assert_eq!(
        bench.words(&hop, &[B, C]),
        ["Sent { notifies: false } 2.0.0 250 2.0.0 Ok: queued as 7", unknown]
    );
    let both: [Vec<String>; 2] = [vec![B.into(), C.into()], vec![B.into()]];
    assert_eq!([first.recipients(), second.recipients()], both);
    let reason = "host mx1.remote.test[127.0.0.2] said: 450 4.2.0 Greylisted \
                  (in reply to RCPT TO command)";
    let passing = Event::Passing { queue_id: "CADDB142031".into(), reason: reason.into() };
    assert_eq!(*bench.events.lock().unwrap(), [passing]);
    // What is done is told before anything else is begun.
    let words = bench.words(&hop, &[A, B, C]);
    assert!(words[0].starts_with("Sent") && words[2] == unknown, "{words:?}");
    assert!(words[1].starts_with("Deferred 4.2.0"), "{words:?}");
    assert_eq!(second.connections(), 1);
    // The last host has the last word, but silence says less than a refusal.
    let moody = Mood::saying(&[("RCPT", "450 4.2.0 Greylisted")]);
    let first = Remote::start("127.0.0.4", port, moody);
    let zone = TWO.replace("127.0.0.3", "127.0.0.9").replace("127.0.0.2", "127.0.0.4");
    let carried = Bench::new(&zone, |_| {}).send(&hop, &[A]);
    assert!(carried.recipients[0].diagnosis.text.contains("Greylisted"), "{carried:?}");
    assert_eq!((carried.site, first.connections()), (SiteState::Alive, 1));
}

#[test]
fn the_reason_is_the_one_that_tells_most() {
    let greylists = || Mood::saying(&[("RCPT", "450 4.2.0 Greylisted")]);
    let silly = || Mood { greeting: "554 5.7.1 go away", ..Mood::default() };
    let off = || TWO.replace("127.0.0.3", "127.0.0.9");
    let no_tls = "Deferred 4.7.4 TLS is required, but was not offered by host \
                  mx1.remote.test[127.0.0.2]";
    let said = |host: &str| {
        format!(
            "Deferred 4.2.0 host {host} said: 450 4.2.0 Greylisted (in reply to RCPT TO command)"
        )
    };
    let (one, two_) = ("mx1.remote.test[127.0.0.2]", "mx2.remote.test[127.0.0.3]");
    for (level, moods, zone, at, text) in [
        (Level::Encrypt, (Mood::default(), Mood::default()), off(), one, no_tls.to_owned()),
        (Level::None, (greylists(), silly()), TWO.into(), one, said(one)),
        (Level::None, (silly(), greylists()), TWO.into(), two_, said(two_)),
        (Level::None, (greylists(), greylists()), TWO.into(), two_, said(two_)),
    ] {
        let (first, _second, hop) = two(moods.0, moods.1);
        let carried = Bench::secured(&zone, level, |_| {}).send(&hop, &[A]);
        assert_eq!(words(&carried), [&*text]);
        let port = first.address.port();
        assert_eq!(&*carried.recipients[0].relay, format!("{at}:{port}"));
        if level == Level::Encrypt {
            let SiteState::Failed(why) = &carried.site else { panic!("{:?}", carried.site) };
            assert!(text.ends_with(&*why.text), "{why:?}");
        }
    }
}

#[test]
fn not_now_outweighs_never_where_the_hosts_differ() {
    // Each might take it: one later, the other never.
    let greylists = Mood::saying(&[("RCPT", "450 4.2.0 Greylisted")]);
    let rude = Mood::saying(&[("EHLO", "550 5.7.1 no")]);
    let rude = Mood { replies: [&rude.replies[..], &[("HELO", "550 5.7.1 no")]].concat(), ..rude };
    let (_first, second, hop) = two(greylists, rude.clone());
    let words = Bench::new(TWO, |_| {}).words(&hop, &[A]);
    assert!(words[0].starts_with("Deferred 4.2.0"), "{words:?}");
    assert_eq!(second.connections(), 1);
    // Where nobody says "not now", "never" counts.
    let (_first, _second, hop) = two(rude.clone(), rude);
    let words = Bench::new(TWO, |_| {}).words(&hop, &[A]);
    assert!(words[0].starts_with("Failed 5.7.1 host mx2"), "{words:?}");
}

#[test]
fn what_one_host_has_not_taken_comes_to_the_next_in_another_attempt() {
    let moody = Mood::saying(&[("RCPT TO:<b@", "450 4.2.0 Greylisted")]);
    let (_first, second, hop) = two(moody, Mood::default());
    let bench = Bench::new(TWO, |_| {});
    let words = bench.words(&hop, &[A, B]);
    assert!(words[0].starts_with("Sent") && words[1].starts_with("Deferred 4.2.0"), "{words:?}");
    assert_eq!(second.connections(), 0);
    // What the queue does later: only those that wait.
    assert!(bench.words(&hop, &[B])[0].starts_with("Sent"));
    assert_eq!(second.recipients(), [B]);
}

#[test]
fn no_more_than_two_hosts_are_talked_to() {
    let moody = || Mood::saying(&[("RCPT", "450 4.2.0 Greylisted")]);
    let (first, second, hop) = two(moody(), moody());
    let third = Remote::start("127.0.0.4", first.address.port(), Mood::default());
    let zone = format!("{TWO}\nremote.test MX 30 mx3.remote.test\nmx3.remote.test A 127.0.0.4");
    assert!(Bench::new(&zone, |_| {}).words(&hop, &[A])[0].starts_with("Deferred 4.2.0"));
    assert_eq!((first.connections(), second.connections(), third.connections()), (1, 1, 0));
    let sent = Bench::new(&zone, |settings| settings.session_limit = 0).words(&hop, &[A]);
    assert!(sent[0].starts_with("Sent"), "{sent:?}");
}

#[test]
fn hosts_that_do_not_want_to_talk() {
    for (mood, text) in [
        (
            Mood { greeting: "554 5.7.1 go away", ..Mood::default() },
            "Deferred 4.7.1 host mx1.remote.test[127.0.0.2] refused to talk to me: 554 5.7.1 go away",
        ),
        (
            Mood::saying(&[("EHLO", "")]),
            "Deferred 4.4.2 lost connection with mx1.remote.test[127.0.0.2] while performing the \
             EHLO handshake",
        ),
    ] {
        let (_first, second, hop) = two(mood, Mood::default());
        let alone = TWO.lines().filter(|line| !line.contains("mx2")).collect::<Vec<_>>().join("\n");
        let carried = Bench::new(&alone, |_| {}).send(&hop, &[A]);
        assert_eq!(words(&carried), [text]);
        assert!(matches!(carried.site, SiteState::Failed(_)));
        // Those do not count as talked to.
        let sent = Bench::new(TWO, |settings| settings.session_limit = 1).words(&hop, &[A]);
        assert!(sent[0].starts_with("Sent"), "{sent:?}");
        assert_eq!(second.connections(), 1);
    }
}

#[test]
fn a_connection_is_used_again() {
    let remote = Remote::start("127.0.0.1", 0, Mood::default());
    let bench = Bench::new("", |settings| settings.idle = Duration::from_secs(20));
    // The outcome is told before the connection is free: the next message may be faster.
    let mut sent = 0;
    while remote.connections() == sent {
        assert!(sent < 100, "each has its own");
        assert!(bench.words(&remote.hop(), &[A])[0].starts_with("Sent"));
        sent += 1;
    }
    let each = Bench::new("", |settings| settings.idle = Duration::ZERO);
    let before = remote.connections();
    for _ in 0..3 {
        assert!(each.words(&remote.hop(), &[A])[0].starts_with("Sent"));
    }
    assert_eq!(remote.connections(), before + 3);
}

#[test]
fn a_connection_that_has_gone_stale_costs_nothing() {
    let remote = Remote::start("127.0.0.1", 0, Mood { messages: 1, ..Mood::default() });
    let bench = Bench::new("", |settings| settings.idle = Duration::from_secs(20));
    for _ in 0..4 {
        assert!(bench.words(&remote.hop(), &[A])[0].starts_with("Sent"));
    }
    assert_eq!(*bench.events.lock().unwrap(), []);
}

#[test]
fn a_host_that_takes_few_recipients_gets_the_others_at_once() {
    let remote = Remote::start("127.0.0.1", 0, Mood { crowd: 2, ..Mood::default() });
    let bench = Bench::new("", |_| {});
    let many = [A, B, C, "d@remote.test", "e@remote.test"];
    let all = bench.words(&remote.hop(), &many);
    assert!(all.iter().all(|word| word.starts_with("Sent")), "{all:?}");
    assert_eq!(remote.connections(), 1);
    let none = Mood { crowd: 0, ..Mood::default() };
    let remote = Remote::start("127.0.0.1", 0, none);
    let words = bench.words(&remote.hop(), &many);
    assert!(words[0].starts_with("Deferred 4.5.3 host"), "{words:?}");
}

#[test]
fn tls_that_fails_is_left_out_where_it_is_a_wish() {
    let replies = vec![("STARTTLS", "220 go")];
    let mood = Mood { offers: vec!["STARTTLS"], replies, ..Mood::default() };
    let remote = Remote::start("127.0.0.1", 0, mood);
    // The server goes on in clear: what the client says in TLS is an unknown command.
    let bench = Bench::secured("", Level::May, |_| {});
    let carried = bench.send(&remote.hop(), &[A]);
    assert_eq!(words(&carried), ["Sent { notifies: false } 2.0.0 250 2.0.0 Ok: queued as 7"]);
    assert_eq!(remote.connections(), 2);
    let events = bench.events.lock().unwrap();
    assert!(
        matches!(&events[..], [Event::Insecure { .. }, Event::Passing { reason, .. }]
            if **reason == *"Cannot start TLS: handshake failure"),
        "{events:?}"
    );
    drop(events);
    let strict = Bench::secured("", Level::Encrypt, |_| {});
    assert_eq!(
        strict.words(&remote.hop(), &[A]),
        ["Deferred 4.7.5 Cannot start TLS: handshake failure"]
    );
    assert_eq!(remote.connections(), 3);
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_once() {
    let (first, _second, hop) = two(Mood::secure(&[]), Mood::default());
    let port = first.address.port();
    let zone = TWO.replace("127.0.0.3", "127.0.0.9");
    let bench = Bench::secured(&zone, Level::Verify, |_| {});
    assert_eq!(
        bench.words(&hop, &[A]),
        ["Deferred 4.7.5 Server certificate not verified: self-signed certificate"]
    );
    let at = format!("mx1.remote.test[127.0.0.2]:{port}");
    let queue_id = "CADDB142031".into();
    let insecure = format!("certificate verification failed for {at}: self-signed certificate");
    let unreachable = format!("connect to mx2.remote.test[127.0.0.9]:{port}: Connection refused");
    assert_eq!(
        *bench.events.lock().unwrap(),
        [
            Event::Insecure { reason: insecure.into() },
            Event::Passing { queue_id, reason: "Server certificate not verified".into() },
            Event::Unreachable { reason: unreachable.into() },
        ]
    );
}

/// A sender that knows a policy of `remote.test` on trial.
fn trial(folder: &tempfile::TempDir, port: u16) -> Bench {
    let policy = "waypost-mta-sts-1 1 1795333000\nversion: STSv1\nmode: testing\n\
                  mx: *.remote.test\nmax_age: 604800\n";
    std::fs::write(folder.path().join("remote.test"), policy).unwrap();
    let table = PolicyTable::new(Defaults { level: Level::May, ..Defaults::default() }).unwrap();
    let sts_directory = Some(folder.path().into());
    let tls = Security { table, mta_sts: true, sts_directory, ..Default::default() };
    Bench::with(TWO, tls, Some(port), |_| {})
}

#[test]
fn a_policy_on_trial_tells_of_a_host_without_tls() {
    let folder = tempfile::tempdir().unwrap();
    let deaf = Mood { replies: vec![("STARTTLS", "454 4.7.0 not now")], ..Mood::secure(&[]) };
    for mood in [Mood::default(), deaf, Mood::secure(&[])] {
        let (silent, odd) = (mood.tls.is_some() && mood.replies.is_empty(), mood.tls.is_some());
        let remote = Remote::start("127.0.0.2", 0, mood);
        let bench = trial(&folder, remote.address.port());
        assert!(bench.words("remote.test", &[A])[0].starts_with("Sent"));
        let events = bench.events.lock().unwrap();
        let reason = "MTA-STS policy of remote.test (testing): mx1.remote.test would get no mail: \
                      there is no TLS";
        let told = Event::Insecure { reason: reason.into() };
        let count = events.iter().filter(|event| **event == told).count();
        assert_eq!(count, usize::from(!silent), "{events:?}");
        assert_eq!(events.len(), 1 + usize::from(odd && !silent), "{events:?}");
    }
}

#[test]
fn names_that_lead_nowhere() {
    let zone = "null.test MX 0 .
        broken.test MX !
        here.test MX 10 mail.example.com
        mail.example.com A 127.0.0.1
        empty.test MX 10 gone.empty.test";
    let bench = Bench::new(zone, |_| {});
    for (hop, text) in [
        ("null.test", "Failed 5.1.0 Domain null.test does not accept mail (nullMX)"),
        (
            "absent.test",
            "Failed 5.4.4 Host or domain name not found. Name service error for name=absent.test \
             type=MX: Host not found",
        ),
        (
            "broken.test",
            "Deferred 4.4.3 Host or domain name not found. Name service error for \
             name=broken.test type=MX: Host not found, try again",
        ),
        ("here.test", "Failed 5.4.6 mail for here.test loops back to myself"),
        (
            "empty.test",
            "Failed 5.4.4 Host or domain name not found. Name service error for \
             name=gone.empty.test type=A: Host not found",
        ),
    ] {
        let carried = bench.send(hop, &[A, B]);
        assert_eq!(words(&carried), [text, text]);
        let failed = matches!(carried.site, SiteState::Failed(_));
        assert_eq!(failed, text.starts_with("Deferred"), "{hop}");
    }
}

#[test]
fn other_ways() {
    let remote = Remote::start("127.0.0.1", 0, Mood::default());
    let hop = remote.hop();
    let bench = Bench::new("", |settings| {
        settings.transports = Transports::new([("remote.test", &*hop)]).unwrap();
    });
    assert!(bench.words("remote.test", &[A])[0].starts_with("Sent"));
    assert!(bench.words("else.test", &[A])[0].starts_with("Failed 5.4.4"));
    let login = Login { user: "me".into(), password: Box::<str>::from("secret").into() };
    let bench = Bench::new("", |settings| {
        settings.relayhost = Some(hop.clone().into());
        settings.login = Some(login);
    });
    // No password goes out in clear.
    assert_eq!(
        bench.words("else.test", &[A]),
        ["Deferred 4.7.0 SASL authentication failed: server 127.0.0.1[127.0.0.1] offered no \
          compatible authentication mechanisms for this type of connection security"]
    );
}

/// Keeps wishes.
#[derive(Default)]
struct Wishes(Mutex<Vec<Wish>>);

impl Dial for Wishes {
    fn dial(&self, wish: Wish) {
        self.0.lock().unwrap().push(wish);
    }
}

impl Wishes {
    fn take(&self) -> Wish {
        self.0.lock().unwrap().pop().expect("a wish")
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

/// A sender whose connections are made by hand.
fn by_hand(zone: &str, change: impl FnOnce(&mut Settings)) -> (Bench, Arc<Wishes>) {
    let wishes = Arc::new(Wishes::default());
    let tls = Security { table: PolicyTable::default(), ..Default::default() };
    (Bench::dialing(zone, tls, Arc::clone(&wishes) as _, change), wishes)
}

#[test]
fn what_we_lack_ourselves_is_no_fault_of_the_host() {
    let (bench, wishes) = by_hand("", |_| {});
    for (error, words, ours) in [
        (24, "Too many open files", true),
        (99, "Cannot assign requested address", true),
        (101, "Network is unreachable", false),
    ] {
        let outcome = bench.begin("[192.0.2.1]", &[A]);
        wishes.take().failed(&std::io::Error::from_raw_os_error(error));
        let carried = outcome.try_recv().expect("it is over at once");
        let text = format!("connect to 192.0.2.1[192.0.2.1]:25: {words}");
        assert_eq!(common::words(&carried), [format!("Deferred 4.4.1 {text}")]);
        assert_eq!(carried.site == SiteState::Unknown, ours, "{:?}", carried.site);
        assert!(wishes.is_empty(), "nothing is tried again");
    }
}

#[test]
fn where_there_is_no_ipv6_ipv4_is_used_and_each_has_its_own_address() {
    let zone = "remote.test A 192.0.2.1\nremote.test AAAA 2001:db8::1";
    let (v4, v6) = ("192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap());
    let (bench, wishes) = by_hand(zone, |settings| {
        settings.ipv6 = true;
        (settings.bind_v4, settings.bind_v6) = (Some(v4), Some(v6));
    });
    let outcome = bench.begin("remote.test", &[A]);
    let mut both = Vec::new();
    for _ in 0..2 {
        assert!(outcome.try_recv().is_err());
        let wish = wishes.take();
        both.push((wish.address().ip().to_string(), wish.bind()));
        wish.failed(&std::io::Error::from_raw_os_error(101));
    }
    both.sort();
    let want =
        [("192.0.2.1".into(), Some(IpAddr::V4(v4))), ("2001:db8::1".into(), Some(IpAddr::V6(v6)))];
    assert_eq!(both, want);
    assert!(words(&outcome.try_recv().unwrap())[0].starts_with("Deferred 4.4.1 connect to"));
}

#[test]
fn a_connection_that_comes_after_the_end_is_not_used() {
    let (bench, wishes) = by_hand("", |_| {});
    let outcome = bench.begin("[192.0.2.1]", &[A]);
    let (wish, other) = (wishes.take(), bench.begin("[192.0.2.2]", &[B]));
    bench.relay.stop();
    for outcome in [outcome, other] {
        let carried = outcome.try_recv().expect("it is over at once");
        assert!(words(&carried)[0].starts_with("Deferred 4.3.2"), "{carried:?}");
        assert_eq!(carried.site, SiteState::Unknown);
    }
    assert!(wish.connected().is_none());
    // That it is not opened any more is nothing to tell.
    drop(wishes.take());
    assert_eq!(*bench.events.lock().unwrap(), []);
}

/// A connection that is driven by hand.
struct Hand {
    machine: Session<Client>,
    line: Line,
    answers: (Sender<Answer<Reply>>, Receiver<Answer<Reply>>),
}

impl Hand {
    fn new(wish: Wish) -> Self {
        let Started { machine, line, .. } = wish.connected().expect("it is wanted");
        let mut hand = Self { machine, line, answers: channel() };
        hand.pump();
        hand
    }

    fn pump(&mut self) {
        loop {
            match self.machine.poll(usize::MAX) {
                Step::Call(call) => {
                    let answers = self.answers.0.clone();
                    self.line.call(call, move |answer| answers.send(answer).unwrap());
                }
                Step::Cancel(id) => self.line.cancel(id),
                Step::Fact(fact) => self.line.fact(fact),
                Step::Close(why) => return self.line.ended(self.machine.protocol(), why),
                Step::Wait(_) => return,
                Step::Send(_) | Step::Secure(_) => {}
            }
        }
    }

    fn handle(&mut self, input: Input<Session<Client>>) {
        self.machine.handle(SystemClock::default().now(), input);
        self.pump();
    }

    /// The host says something; what is asked meanwhile is answered.
    fn says(&mut self, reply: &'static [u8]) {
        self.handle(Input::Bytes(Bytes::from_static(reply)));
        while let Ok(answer) = self.answers.1.try_recv() {
            self.handle(Input::Answer(answer));
        }
    }

    /// The host takes one message.
    fn takes(&mut self) {
        for reply in ["220 mx", "250 mx", "250 ok", "250 ok", "354 go", "250 2.0.0 Ok"] {
            self.says(reply.as_bytes());
            self.says(b"\r\n");
        }
    }
}

#[test]
fn a_connection_that_closes_when_it_is_given_a_message_costs_nothing() {
    let late = SystemClock::default().now();
    let late = Now { mono: late.mono.plus(Duration::from_secs(60)), ..late };
    type Ends = Box<dyn Fn(&mut Hand)>;
    let ends: [Ends; 3] = [
        // The host hangs up, which is seen when the message is there.
        Box::new(|hand| {
            hand.handle(Input::Eof);
            hand.says(b"");
        }),
        // It says so, after the message was handed over and before the connection heard of it.
        Box::new(|hand| hand.says(b"421 4.4.2 idle for too long\r\n")),
        // We hang up at this very moment.
        Box::new(move |hand| {
            hand.machine.handle(late, Input::Tick);
            hand.pump();
        }),
    ];
    for end in ends {
        let (bench, wishes) = by_hand("", |_| {});
        let first = bench.begin("[192.0.2.1]", &[A]);
        let mut hand = Hand::new(wishes.take());
        hand.takes();
        assert!(words(&first.try_recv().unwrap())[0].starts_with("Sent"));
        let second = bench.begin("[192.0.2.1]", &[B]);
        assert!(wishes.is_empty(), "the connection that waits is taken");
        end(&mut hand);
        // Nothing is deferred: it is connected again.
        assert!(second.try_recv().is_err());
        Hand::new(wishes.take()).takes();
        assert!(words(&second.try_recv().unwrap())[0].starts_with("Sent"));
    }
}

#[test]
fn connections_that_wait_are_closed_when_we_stop() {
    let remote = Remote::start("127.0.0.1", 0, Mood::default());
    let bench = Bench::new("", |settings| settings.idle = Duration::from_secs(600));
    assert!(bench.words(&remote.hop(), &[A])[0].starts_with("Sent"));
    bench.relay.stop();
    let end = Instant::now() + Duration::from_secs(20);
    while remote.lines().last().is_none_or(|line| line != "QUIT") {
        assert!(Instant::now() < end, "{:?}", remote.lines());
        std::thread::yield_now();
    }
}

/// A relay host that wants a login.
fn login(settings: &mut Settings, hop: &str) {
    let password = Box::<str>::from("secret").into();
    settings.relayhost = Some(hop.into());
    settings.login = Some(Login { user: "me".into(), password });
}

#[test]
fn a_relay_host_with_a_login() {
    let auth = ["AUTH PLAIN"];
    let wrapped = Mood { offers: auth.to_vec(), wrapped: true, ..Mood::secure(&auth) };
    // `\0me\0secret`
    let plain = "AUTH PLAIN AG1lAHNlY3JldA==";
    for (mood, wrapper) in [(Mood::secure(&auth), false), (wrapped, true)] {
        let remote = Remote::start("127.0.0.1", 0, mood);
        let hop = remote.hop();
        let bench = Bench::secured("", Level::Encrypt, |settings| {
            login(settings, &hop);
            settings.wrapper = wrapper;
        });
        assert!(bench.words("else.test", &[A])[0].starts_with("Sent"));
        let lines = remote.lines();
        assert_eq!(lines.iter().filter(|line| *line == plain).count(), 1, "{lines:?}");
        assert_eq!(lines.contains(&"STARTTLS".into()), !wrapper, "{lines:?}");
        let events = bench.events.lock().unwrap();
        assert!(matches!(&events[..], [Event::Secured { .. }]), "{events:?}");
    }
    // Neither to one that nobody vouches for, nor to one whose TLS does not work, nor in clear.
    let broken = Mood { replies: vec![("STARTTLS", "220 go")], ..Mood::secure(&auth) };
    let stripped = Mood { offers: auth.to_vec(), ..Mood::default() };
    for (level, mood) in [
        (Level::Verify, Mood::secure(&auth)),
        (Level::May, broken),
        (Level::May, stripped),
        (Level::None, Mood::secure(&auth)),
    ] {
        let remote = Remote::start("127.0.0.1", 0, mood);
        let hop = remote.hop();
        let bench = Bench::secured("", level, |settings| login(settings, &hop));
        let words = bench.words("else.test", &[A]);
        assert!(words[0].starts_with("Deferred 4.7."), "{words:?}");
        let lines = remote.lines();
        assert!(!lines.iter().any(|line| line.starts_with("AUTH")), "{lines:?}");
    }
}

#[test]
fn what_stops_defers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = Bench::new("", |_| {});
    let hop = format!("[127.0.0.1]:{}", silent.local_addr().unwrap().port());
    bench.relay.stop();
    let carried = bench.send(&hop, &[A]);
    assert_eq!(
        words(&carried),
        ["Deferred 4.3.2 delivery was broken off: the mail system is stopping"]
    );
    assert_eq!(carried.site, SiteState::Unknown);
}
