//! One question, with name servers of every kind: packets are literal where they matter.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, NS, SOA, TLSA, TXT};
use hickory_proto::rr::{Name, RData, Record as Resource, RecordType};
use proptest::prelude::*;
use waypost_dns::{
    Answer, Arrived, Failure, Found, Kind, Lookup, LookupFact, Packet, Question, Record, Servers,
    Transport,
};
use waypost_machine::{Input, Machine, Now, Step, Why};

const ONE: &str = "127.0.0.1:53";
const TWO: &str = "[::1]:53";

struct Run {
    lookup: Lookup,
    now: Now,
    sent: Vec<Packet>,
    useless: Vec<Failure>,
    answer: Option<Answer>,
    closed: Option<Why>,
}

impl Run {
    fn new(name: &str, kind: Kind, servers: &[&str]) -> Self {
        let servers: Vec<SocketAddr> = servers.iter().map(|s| s.parse().unwrap()).collect();
        Self::with(name, kind, Servers::new(servers))
    }

    fn with(name: &str, kind: Kind, servers: Servers) -> Self {
        let question = Question::new(name, kind).unwrap();
        let now = Now::default();
        let mut run = Self {
            lookup: Lookup::new(now, Arc::new(servers), question, 0x1234_5678_9abc_def0),
            now,
            sent: Vec::new(),
            useless: Vec::new(),
            answer: None,
            closed: None,
        };
        run.pump();
        run
    }

    fn pump(&mut self) {
        loop {
            match self.lookup.poll(usize::MAX) {
                Step::Call(send) => self.sent.push(send),
                Step::Cancel(_) => {}
                Step::Fact(LookupFact::Useless { failure, .. }) => self.useless.push(failure),
                Step::Fact(LookupFact::Answer(answer)) => {
                    assert_eq!(self.answer.replace(answer), None);
                }
                Step::Close(why) => assert_eq!(self.closed.replace(why), None),
                Step::Wait(wait) => {
                    assert_eq!(wait.until.is_some(), self.closed.is_none());
                    assert_eq!(self.answer.is_some(), self.closed.is_some());
                    return;
                }
                Step::Send(_) | Step::Secure(_) => panic!("it has no bytes"),
            }
        }
    }

    /// What is being asked now.
    fn asked(&mut self) -> Packet {
        assert_eq!(self.sent.len(), 1, "one packet at a time");
        self.sent.remove(0)
    }

    fn answers(&mut self, send: Packet, arrived: Arrived) {
        self.lookup.handle(self.now, Input::Answer(send.ticket.answer(arrived)));
        self.pump();
    }

    /// The server answers by changing an empty reply to the question.
    fn replies(&mut self, change: impl FnOnce(&mut Message)) -> Transport {
        let send = self.asked();
        let mut reply = reply_to(&send.bytes);
        change(&mut reply);
        let transport = send.transport;
        let packet = reply.to_vec().unwrap();
        assert!(send.awaited.is_answered_by(&packet));
        self.answers(send, Arrived::Answer(packet));
        transport
    }

    fn pass(&mut self, seconds: u64) {
        self.now.mono = self.now.mono.plus(Duration::from_secs(seconds));
        self.lookup.handle(self.now, Input::Tick);
        self.pump();
    }

    fn found(&self) -> &Found {
        &self.answer.as_ref().expect("an answer").found
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn reply_to(query: &[u8]) -> Message {
    let query = Message::from_vec(query).unwrap();
    let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.recursion_desired = true;
    reply.metadata.recursion_available = true;
    reply.add_query(query.queries[0].clone());
    reply
}

fn add(reply: &mut Message, owner: &str, ttl: u32, data: RData) {
    reply.add_answer(Resource::from_rdata(name(owner), ttl, data));
}

fn soa(reply: &mut Message, ttl: u32, minimum: u32) {
    let data = SOA::new(name("ns.test."), name("admin.test."), 1, 2, 3, 4, minimum);
    reply.add_authority(Resource::from_rdata(name("test."), ttl, RData::SOA(data)));
}

fn address(n: u8) -> RData {
    RData::A(A::new(192, 0, 2, n))
}

fn alias(to: &str) -> RData {
    RData::CNAME(CNAME(name(to)))
}

#[test]
fn the_packet_octet_by_octet() {
    let mut run = Run::new("Example.COM.", Kind::Mx, &[ONE]);
    let send = run.asked();
    assert_eq!((send.server, send.transport), (ONE.parse().unwrap(), Transport::Udp));
    let id = [send.bytes[0], send.bytes[1]];
    let rest: &[u8] = &[
        0x01, 0x20, // a question; recursion desired, AD
        0, 1, 0, 0, 0, 0, 0, 1, // one question, one additional record
        7, b'e', b'x', b'a', b'm', b'p', b'l', b'e', 3, b'c', b'o', b'm', 0, // the name
        0, 15, 0, 1, // MX IN
        0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0, // OPT: 1232 octets
    ];
    assert_eq!(&send.bytes[2..], rest);
    // And an answer: two exchangers, one of them with a pointer into the question.
    let answer: &[u8] = &[
        0x81, 0xa0, // a response; AD
        0, 1, 0, 2, 0, 0, 0, 0, //
        7, b'E', b'x', b'a', b'm', b'p', b'l', b'e', 3, b'c', b'o', b'm', 0, 0, 15, 0, 1, //
        0xc0, 12, 0, 15, 0, 1, 0, 0, 1, 44, 0, 8, 0, 10, 3, b'M', b'X', b'1', 0xc0, 12, //
        0xc0, 12, 0, 15, 0, 1, 0, 0, 0, 60, 0, 4, 0, 20, 0xc0, 12,
    ];
    let packet = [&id[..], answer].concat();
    assert!(send.awaited.is_answered_by(&packet));
    run.answers(send, Arrived::Answer(packet));
    let mx = |preference, exchange: &str| Record::Mx { preference, exchange: exchange.into() };
    let records = vec![mx(10, "mx1.example.com"), mx(20, "example.com")];
    let answer = Answer { found: Found::Records(records), authentic: true, ttl: 60 };
    assert_eq!((run.answer, run.closed), (Some(answer), Some(Why::Done)));
}

#[test]
fn names() {
    for (text, want) in [
        ("example.com", Some("example.com")),
        ("EXAMPLE.com.", Some("example.com")),
        ("b\u{fc}cher.example", Some("xn--bcher-kva.example")),
        ("_25._tcp.mx.example", Some("_25._tcp.mx.example")),
        ("_mta-sts.example", Some("_mta-sts.example")),
        ("1.2.0.192.in-addr.arpa", Some("1.2.0.192.in-addr.arpa")),
        ("", None),
        (".", None),
        ("a..b", None),
        (".a", None),
        ("a b.test", None),
        ("a\0b.test", None),
        ("a\\.b.test", None),
        (&"a".repeat(64), None),
        (&"a.".repeat(128), None),
    ] {
        let got = Question::new(text, Kind::A).ok();
        assert_eq!(got.as_ref().map(Question::name), want, "{text}");
    }
}

#[test]
fn what_is_no_answer_to_the_question() {
    let mut run = Run::new("a.test", Kind::A, &[ONE]);
    let send = run.asked();
    let good = || {
        let mut reply = reply_to(&send.bytes);
        add(&mut reply, "a.test.", 1, address(1));
        reply
    };
    assert!(send.awaited.is_answered_by(&good().to_vec().unwrap()));
    type Change = fn(&mut Message);
    let changes: &[Change] = &[
        |m| m.metadata.id ^= 1,
        |m| m.metadata.message_type = MessageType::Query,
        |m| m.metadata.op_code = OpCode::Notify,
        |m| m.queries[0] = Query::query(Name::from_ascii("b.test.").unwrap(), RecordType::A),
        |m| m.queries[0] = Query::query(Name::from_ascii("a.test.").unwrap(), RecordType::AAAA),
        |m| m.queries.clear(),
        |m| {
            let twice = m.queries[0].clone();
            m.add_query(twice);
        },
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut reply = good();
        change(&mut reply);
        assert!(!send.awaited.is_answered_by(&reply.to_vec().unwrap()), "{n}");
    }
    let whole = good().to_vec().unwrap();
    for cut in 0..whole.len() {
        assert!(!send.awaited.is_answered_by(&whole[..cut]), "{cut}");
    }
}

#[test]
fn every_kind_of_record() {
    let tlsa = || {
        let data = vec![0xab; 32];
        TLSA::new(3.into(), 1.into(), 1.into(), data)
    };
    let cases: Vec<(Kind, RData, Record)> = vec![
        (Kind::A, address(7), Record::A("192.0.2.7".parse().unwrap())),
        (
            Kind::Aaaa,
            RData::AAAA("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().into()),
            Record::Aaaa("2001:db8::1".parse().unwrap()),
        ),
        (
            Kind::Mx,
            RData::MX(MX::new(0, Name::root())),
            Record::Mx { preference: 0, exchange: "".into() },
        ),
        (
            Kind::Txt,
            RData::TXT(TXT::from_bytes(vec![b"v=STSv1; ", b"id=1;"])),
            Record::Txt(b"v=STSv1; id=1;".to_vec().into()),
        ),
        (
            Kind::Tlsa,
            RData::TLSA(tlsa()),
            Record::Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0xab; 32].into() },
        ),
    ];
    for (kind, data, want) in cases {
        let mut run = Run::new("x.test", kind, &[ONE]);
        run.replies(|reply| {
            // Something else for the same name, and the right thing for another one.
            add(reply, "other.test.", 1, data.clone());
            add(reply, "X.test.", 9, data);
        });
        assert_eq!(run.found(), &Found::Records(vec![want]));
        assert_eq!(run.answer.as_ref().unwrap().ttl, 9);
        assert!(!run.answer.as_ref().unwrap().authentic);
    }
}

#[test]
fn no_name_and_no_data_are_not_the_same_and_last_as_the_zone_says() {
    for (code, found) in
        [(ResponseCode::NXDomain, Found::NoName), (ResponseCode::NoError, Found::NoData)]
    {
        for (ttl, minimum, want) in [(600, 300, 300), (60, 300, 60)] {
            let mut run = Run::new("x.test", Kind::Mx, &[ONE]);
            run.replies(|reply| {
                reply.metadata.response_code = code;
                reply.metadata.authentic_data = true;
                soa(reply, ttl, minimum);
            });
            let answer = Answer { found: found.clone(), authentic: true, ttl: want };
            assert_eq!(run.answer, Some(answer));
        }
        let mut run = Run::new("x.test", Kind::Mx, &[ONE]);
        run.replies(|reply| reply.metadata.response_code = code);
        assert_eq!((run.found(), run.answer.as_ref().unwrap().ttl), (&found, 0));
    }
}

#[test]
fn aliases() {
    // All in one packet.
    let mut run = Run::new("x.test", Kind::A, &[ONE]);
    run.replies(|reply| {
        add(reply, "z.test.", 300, address(1));
        add(reply, "x.test.", 200, alias("Y.test."));
        add(reply, "y.test.", 100, alias("z.test."));
    });
    assert_eq!(run.found(), &Found::Records(vec![Record::A("192.0.2.1".parse().unwrap())]));
    assert_eq!(run.answer.as_ref().unwrap().ttl, 100);
    // To a name that has nothing, and to one that is not there.
    for (code, found) in
        [(ResponseCode::NXDomain, Found::NoName), (ResponseCode::NoError, Found::NoData)]
    {
        let mut run = Run::new("x.test", Kind::A, &[ONE]);
        run.replies(|reply| {
            reply.metadata.response_code = code;
            add(reply, "x.test.", 200, alias("y.test."));
            soa(reply, 50, 60);
        });
        assert_eq!((run.found(), run.answer.as_ref().unwrap().ttl), (&found, 50));
    }
    // Not followed by the server: we do.
    let mut run = Run::new("x.test", Kind::A, &[ONE]);
    run.replies(|reply| {
        reply.metadata.authentic_data = true;
        add(reply, "x.test.", 200, alias("y.test."));
    });
    run.replies(|reply| add(reply, "y.test.", 300, address(1)));
    assert_eq!(run.found(), &Found::Records(vec![Record::A("192.0.2.1".parse().unwrap())]));
    let answer = run.answer.as_ref().unwrap();
    assert_eq!((answer.ttl, answer.authentic), (200, false), "all of it has to be authentic");
    // In circles: within a packet, from packet to packet, and without end.
    let mut run = Run::new("x.test", Kind::A, &[ONE]);
    run.replies(|reply| {
        add(reply, "x.test.", 1, alias("y.test."));
        add(reply, "y.test.", 1, alias("x.test."));
    });
    assert_eq!(run.found(), &Found::Unavailable(Failure::Aliases));
    let mut run = Run::new("n0.test", Kind::A, &[ONE]);
    let mut asked = 0;
    while run.answer.is_none() {
        asked += 1;
        let (from, to) = (format!("n{}.test.", asked - 1), format!("n{asked}.test."));
        run.replies(|reply| add(reply, &from, 1, alias(&to)));
    }
    assert_eq!((run.found(), asked), (&Found::Unavailable(Failure::Aliases), 9));
}

#[test]
fn an_answer_that_does_not_fit_comes_by_tcp() {
    let mut run = Run::new("x.test", Kind::A, &[ONE, TWO]);
    let first = run.replies(|reply| reply.metadata.truncation = true);
    let second = run.replies(|reply| add(reply, "x.test.", 1, address(1)));
    assert_eq!((first, second), (Transport::Udp, Transport::Tcp));
    assert!(matches!(run.found(), Found::Records(_)));
    // A server that truncates there, too, or has no TCP, is useless; the next is asked.
    for broken in [true, false] {
        let mut run = Run::new("x.test", Kind::A, &[ONE, TWO]);
        run.replies(|reply| reply.metadata.truncation = true);
        let send = run.asked();
        assert_eq!((send.transport, send.server), (Transport::Tcp, ONE.parse().unwrap()));
        let mut reply = reply_to(&send.bytes);
        reply.metadata.truncation = true;
        let arrived = Arrived::Answer(reply.to_vec().unwrap());
        run.answers(send, if broken { Arrived::Failed } else { arrived });
        let send = run.asked();
        assert_eq!((send.transport, send.server), (Transport::Udp, TWO.parse().unwrap()));
    }
}

/// A server may stop in the middle of a record (RFC 2181 9: such an answer is ignored, but for TC).
#[test]
fn an_answer_that_is_cut_anywhere_comes_by_tcp() {
    let mut whole = reply_to(&Run::new("x.test", Kind::Mx, &[ONE]).asked().bytes);
    whole.metadata.truncation = true;
    let question = whole.to_vec().unwrap().len();
    for n in 1..4 {
        let mx = RData::MX(MX::new(n, name(&format!("mx{n}.x.test."))));
        add(&mut whole, "x.test.", 60, mx);
    }
    let whole = whole.to_vec().unwrap();
    for end in question..=whole.len() {
        let mut run = Run::new("x.test", Kind::Mx, &[ONE]);
        let send = run.asked();
        let packet = [&send.bytes[..2], &whole[2..end]].concat();
        assert!(send.awaited.is_answered_by(&packet), "{end}");
        run.answers(send, Arrived::Answer(packet));
        assert_eq!(run.asked().transport, Transport::Tcp, "{end}");
    }
}

#[test]
fn a_server_without_edns() {
    let mut run = Run::new("x.test", Kind::A, &[ONE]);
    let send = run.asked();
    // It could not even read the question.
    let packet = [send.bytes[0], send.bytes[1], 0x80, 0x01, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    assert!(send.awaited.is_answered_by(&packet));
    run.answers(send, Arrived::Answer(packet));
    let plain = Message::from_vec(&run.sent[0].bytes).unwrap();
    assert!(plain.edns.is_none());
    run.replies(|reply| add(reply, "x.test.", 1, address(1)));
    assert!(matches!(run.found(), Found::Records(_)));
    // And one that cannot read it without, either.
    let mut run = Run::new("x.test", Kind::A, &[ONE]);
    for _ in 0..2 {
        run.replies(|reply| reply.metadata.response_code = ResponseCode::FormErr);
    }
    assert_eq!(run.found(), &Found::Unavailable(Failure::Refused));
}

#[test]
fn silent_servers_are_asked_again_in_turn() {
    let mut run = Run::new("x.test", Kind::A, &[ONE, TWO]);
    let mut seen = Vec::new();
    let mut ids = Vec::new();
    while run.answer.is_none() {
        let send = run.asked();
        seen.push(send.server.to_string());
        ids.push([send.bytes[0], send.bytes[1]]);
        run.pass(4);
        assert!(run.sent.is_empty());
        run.pass(1);
        // What comes now comes too late.
        let late = reply_to(&send.bytes).to_vec().unwrap();
        run.answers(send, Arrived::Answer(late));
    }
    assert_eq!(seen, [ONE, TWO, ONE, TWO]);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "a new id each time");
    assert_eq!(run.found(), &Found::Unavailable(Failure::Silence));
    assert_eq!(run.useless, [Failure::Silence; 4]);
}

#[test]
fn servers_that_say_no_are_not_asked_again() {
    let mut run = Run::new("x.test", Kind::A, &[ONE, TWO]);
    run.replies(|reply| reply.metadata.response_code = ResponseCode::ServFail);
    let send = run.asked();
    assert_eq!(send.server, TWO.parse().unwrap());
    run.answers(send, Arrived::Failed);
    let send = run.asked();
    assert_eq!(send.server, TWO.parse().unwrap());
    run.answers(send, Arrived::Answer(b"nonsense".to_vec()));
    assert_eq!(run.found(), &Found::Unavailable(Failure::ServFail));
    let mut run = Run::new("x.test", Kind::A, &[ONE]);
    run.replies(|reply| reply.metadata.response_code = ResponseCode::Refused);
    assert_eq!(run.found(), &Found::Unavailable(Failure::Refused));
    // A server that only knows whom else to ask does not recurse.
    let mut run = Run::new("x.test", Kind::A, &[ONE]);
    run.replies(|reply| {
        let ns = RData::NS(NS(name("ns.test.")));
        reply.add_authority(Resource::from_rdata(name("test."), 1, ns));
    });
    assert_eq!(run.found(), &Found::Unavailable(Failure::Refused));
}

#[test]
fn nobody_to_ask_and_no_time() {
    let run = Run::new("x.test", Kind::A, &[]);
    assert_eq!(run.found(), &Found::Unavailable(Failure::NoServer));
    let mut run = Run::new("x.test", Kind::A, &[ONE]);
    run.lookup.handle(run.now, Input::Stop);
    run.pump();
    assert_eq!(run.closed, Some(Why::Stopped));
    assert_eq!(run.found(), &Found::Unavailable(Failure::Stopped));
}

#[test]
fn rotation_begins_anywhere() {
    let mut first = std::collections::BTreeSet::new();
    let addresses: Vec<SocketAddr> = [ONE, TWO, "192.0.2.53:53"].map(|s| s.parse().unwrap()).into();
    for seed in 0..50 {
        let servers = Servers { rotate: true, ..Servers::new(addresses.clone()) };
        let question = Question::new("x.test", Kind::A).unwrap();
        let mut lookup = Lookup::new(Now::default(), Arc::new(servers), question, seed);
        let Step::Call(send) = lookup.poll(0) else { panic!("a packet") };
        first.insert(send.server);
    }
    assert_eq!(first.len(), 3);
}

proptest! {
    #[test]
    fn any_packet_leads_to_an_end(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..20),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
    ) {
        let mut run = Run::new("x.test", Kind::Mx, &[ONE, TWO]);
        let mut packets = packets.into_iter();
        let mut flips = flips.into_iter();
        let mut rounds = 0;
        while run.answer.is_none() {
            rounds += 1;
            prop_assert!(rounds < 100);
            let send = run.asked();
            let mut reply = reply_to(&send.bytes);
            add(&mut reply, "x.test.", 1, RData::MX(MX::new(1, name("mx.test."))));
            add(&mut reply, "x.test.", 1, alias("y.test."));
            soa(&mut reply, 1, 1);
            let mut packet = reply.to_vec().unwrap();
            match packets.next() {
                Some(garbage) => packet = [&packet[..2], &garbage].concat(),
                None => match flips.next() {
                    Some((at, byte)) => {
                        let at = at.index(packet.len());
                        packet[at] ^= byte;
                    }
                    None => packet.truncate(rounds),
                },
            }
            let _ = send.awaited.is_answered_by(&packet);
            run.answers(send, Arrived::Answer(packet));
        }
    }
}
