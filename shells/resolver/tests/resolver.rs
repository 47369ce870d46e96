//! A resolver on real sockets, with name servers of every mood.

mod server;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{MX, TXT};
use hickory_proto::rr::{Name, RData};
use server::{Asked, Server, answer, datagram};
use waypost_dns::{Answer, Failure, Found, Kind, Question, Record};
use waypost_machine::{Now, Time, UnixTime};
use waypost_resolver::{Resolver, Settings};

/// Long enough for a busy computer.
const PATIENCE: Duration = Duration::from_secs(20);

fn start(settings: Settings) -> Resolver {
    let start = Instant::now();
    let clock = move || Now {
        mono: Time::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap()),
        wall: UnixTime::default(),
    };
    Resolver::start(settings, clock).unwrap()
}

fn asking(servers: &[SocketAddr]) -> Settings {
    Settings { servers: servers.to_vec(), timeout: Some(PATIENCE), ..Settings::default() }
}

/// Servers that are silent are given up soon.
fn impatient(servers: &[SocketAddr]) -> Settings {
    let timeout = Some(Duration::from_millis(100));
    Settings { timeout, attempts: Some(1), ..asking(servers) }
}

fn ask(resolver: &Resolver, name: &str, kind: Kind) -> Receiver<Answer> {
    let (to, from) = channel();
    let question = Question::new(name, kind).unwrap();
    resolver.ask(question, move |answer| to.send(answer).unwrap());
    from
}

fn answered(resolver: &Resolver, name: &str, kind: Kind) -> Answer {
    ask(resolver, name, kind).recv_timeout(PATIENCE).expect("an answer")
}

fn mx(preference: u16, host: &str) -> RData {
    RData::MX(MX::new(preference, Name::from_ascii(host).unwrap()))
}

fn found(preference: u16, exchange: &str) -> Found {
    Found::Records(vec![Record::Mx { preference, exchange: exchange.into() }])
}

fn good(asked: &Asked) -> Vec<Vec<u8>> {
    vec![datagram(&answer(&asked.query, &[mx(10, "mx.test.")]))]
}

/// Answers once for each that is sent.
fn held() -> (Sender<()>, Server) {
    let (hold, release) = channel();
    let release = Mutex::new(release);
    let server = Server::start(move |asked| match release.lock().unwrap().recv() {
        Ok(()) => good(asked),
        Err(_) => Vec::new(),
    });
    (hold, server)
}

#[test]
fn a_good_answer_and_then_the_cache() {
    let server = Server::start(good);
    let resolver = start(asking(&[server.address]));
    let first = answered(&resolver, "a.test", Kind::Mx);
    assert_eq!((first.found, first.ttl, first.authentic), (found(10, "mx.test"), 300, false));
    let second = answered(&resolver, "A.test.", Kind::Mx);
    assert_eq!(second.found, found(10, "mx.test"));
    assert_eq!(server.count(), 1);
}

#[test]
fn a_name_server_on_this_host_is_believed() {
    let server = Server::start(|asked| {
        let mut message = answer(&asked.query, &[mx(10, "mx.test.")]);
        message.metadata.authentic_data = true;
        vec![datagram(&message)]
    });
    assert!(answered(&start(asking(&[server.address])), "a.test", Kind::Mx).authentic);
}

#[test]
fn silence_sends_it_to_the_next() {
    let silent = Server::start(|_| Vec::new());
    let server = Server::start(good);
    let resolver = start(impatient(&[silent.address, server.address]));
    assert_eq!(answered(&resolver, "a.test", Kind::Mx).found, found(10, "mx.test"));
    assert_eq!((silent.count(), server.count()), (1, 1));

    let resolver = start(Settings { attempts: Some(3), ..impatient(&[silent.address]) });
    let nobody = answered(&resolver, "a.test", Kind::Mx).found;
    assert_eq!(nobody, Found::Unavailable(Failure::Silence));
    assert_eq!(silent.count(), 1 + 3);
}

#[test]
fn what_answers_another_question_is_not_heard() {
    let server = Server::start(|asked| {
        let right = answer(&asked.query, &[mx(10, "mx.test.")]);
        let forged = answer(&asked.query, &[mx(10, "forged.test.")]);
        let (mut id, mut name, mut question) = (forged.clone(), forged.clone(), forged);
        id.metadata.id ^= 1;
        name.queries[0].set_name(Name::from_ascii("b.test.").unwrap());
        question.metadata.message_type = hickory_proto::op::MessageType::Query;
        let mut all = vec![b"x".to_vec(), Vec::new(), vec![0xff; 600]];
        all.extend([id, name, question].iter().map(datagram));
        // More than is read in one go.
        let mut all: Vec<_> = all.iter().cycle().take(100).cloned().collect();
        all.push(datagram(&right));
        all
    });
    let resolver = start(asking(&[server.address]));
    assert_eq!(answered(&resolver, "a.test", Kind::Mx).found, found(10, "mx.test"));
    assert_eq!(server.count(), 1);
}

#[test]
fn what_does_not_fit_comes_by_tcp() {
    let text = vec!["x".repeat(250); 200];
    let server = Server::start(move |asked| {
        let mut message = answer(&asked.query, &[]);
        if asked.tcp {
            message = answer(&asked.query, &[RData::TXT(TXT::new(text.clone()))]);
        } else {
            message.metadata.truncation = true;
        }
        vec![datagram(&message)]
    });
    let resolver = start(asking(&[server.address]));
    let Found::Records(records) = answered(&resolver, "a.test", Kind::Txt).found else {
        panic!("records")
    };
    assert_eq!(records, [Record::Txt(vec![b'x'; 50_000].into())]);
    assert_eq!(server.count(), 2);
}

#[test]
fn a_connection_that_breaks_is_a_failure_of_that_server() {
    let breaks = Server::start(|asked| {
        let mut message = answer(&asked.query, &[]);
        message.metadata.truncation = true;
        if asked.tcp { Vec::new() } else { vec![datagram(&message)] }
    });
    let server = Server::start(good);
    let resolver = start(asking(&[breaks.address, server.address]));
    assert_eq!(answered(&resolver, "a.test", Kind::Mx).found, found(10, "mx.test"));
    assert_eq!((breaks.count(), server.count()), (2, 1));
}

#[test]
fn servfail_and_nxdomain_are_two_things() {
    let fails = Server::start(|asked| {
        let mut message = answer(&asked.query, &[]);
        message.metadata.response_code = ResponseCode::ServFail;
        vec![datagram(&message)]
    });
    let none = Server::start(|asked| {
        let mut message = answer(&asked.query, &[]);
        message.metadata.response_code = ResponseCode::NXDomain;
        vec![datagram(&message)]
    });
    let resolver = start(asking(&[fails.address]));
    let unavailable = answered(&resolver, "a.test", Kind::Mx).found;
    assert_eq!(unavailable, Found::Unavailable(Failure::ServFail));
    // It is remembered for a moment: a queue full of mail asks once.
    assert_eq!(answered(&resolver, "a.test", Kind::Mx).found, unavailable);
    assert_eq!(fails.count(), 1);
    let resolver = start(asking(&[fails.address, none.address]));
    assert_eq!(answered(&resolver, "a.test", Kind::Mx).found, Found::NoName);
}

#[test]
fn nobody_listens() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let resolver = start(asking(&[gone]));
    let started = Instant::now();
    let found = answered(&resolver, "a.test", Kind::Mx).found;
    assert_eq!(found, Found::Unavailable(Failure::Silence));
    assert!(started.elapsed() < PATIENCE, "the system says so at once");
}

#[test]
fn the_same_question_is_under_way_once() {
    let (hold, server) = held();
    let resolver = start(asking(&[server.address]));
    let all: Vec<_> = (0..50).map(|_| ask(&resolver, "a.test", Kind::Mx)).collect();
    hold.send(()).unwrap();
    for one in all {
        assert_eq!(one.recv_timeout(PATIENCE).unwrap().found, found(10, "mx.test"));
    }
    assert_eq!(server.count(), 1);
}

#[test]
fn questions_wait_for_their_turn_and_too_many_are_turned_away() {
    let (hold, server) = held();
    let settings = Settings { at_once: 2, waiting: 5, ..asking(&[server.address]) };
    let resolver = start(settings);
    let names = ["a.test", "b.test", "c.test", "d.test", "e.test"];
    let all: Vec<_> = names.iter().map(|name| ask(&resolver, name, Kind::Mx)).collect();
    let sixth = ask(&resolver, "f.test", Kind::Mx).recv_timeout(PATIENCE).unwrap();
    assert_eq!(sixth.found, Found::Unavailable(Failure::Busy));
    names.iter().for_each(|_| hold.send(()).unwrap());
    for one in all {
        assert_eq!(one.recv_timeout(PATIENCE).unwrap().found, found(10, "mx.test"));
    }
    hold.send(()).unwrap();
    assert_eq!(answered(&resolver, "f.test", Kind::Mx).found, found(10, "mx.test"));
    let mut ports: Vec<SocketAddr> = server.clients();
    assert_eq!(ports.len(), 6);
    ports.sort();
    ports.dedup();
    assert!(ports.len() > 2, "each packet has a socket of its own: {ports:?}");
}

#[test]
fn a_caller_that_panics_does_not_stop_the_others() {
    let server = Server::start(good);
    let resolver = start(asking(&[server.address]));
    let question = Question::new("a.test", Kind::Mx).unwrap();
    let (to, from) = channel::<()>();
    resolver.ask(question, move |_| {
        let _to = to;
        panic!("a fault of the caller")
    });
    assert!(from.recv_timeout(PATIENCE).is_err());
    assert_eq!(answered(&resolver, "b.test", Kind::Mx).found, found(10, "mx.test"));
}

#[test]
fn stopping_answers_everybody() {
    let silent = Server::start(|_| Vec::new());
    let resolver = start(Settings { at_once: 1, ..asking(&[silent.address]) });
    let all = ["a.test", "b.test"].map(|name| ask(&resolver, name, Kind::Mx));
    resolver.stop();
    for one in all {
        let found = one.try_recv().expect("answered before stop returns").found;
        assert_eq!(found, Found::Unavailable(Failure::Stopped));
    }
    let late = ask(&resolver, "c.test", Kind::Mx).try_recv().unwrap();
    assert_eq!(late.found, Found::Unavailable(Failure::Stopped));
    resolver.stop();
}

#[test]
fn a_callback_may_ask_again_and_stop() {
    let server = Server::start(good);
    let resolver = start(asking(&[server.address]));
    let (to, from) = channel();
    let again = resolver.clone();
    resolver.ask(Question::new("a.test", Kind::Mx).unwrap(), move |_| {
        let stop = again.clone();
        again.ask(Question::new("b.test", Kind::Mx).unwrap(), move |answer| {
            stop.stop();
            to.send(answer).unwrap();
        });
    });
    assert_eq!(from.recv_timeout(PATIENCE).unwrap().found, found(10, "mx.test"));
}
