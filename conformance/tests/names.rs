//! Names by a real name server: the resolver, and the way from a domain to its hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use waypost_conformance::nsd::Nsd;
use waypost_dns::{
    Answer, Exchanger, Exchangers, ExchangersFact, Failure, Found, Kind, Limits, NextHop, NoRoute,
    Own, Question, Record,
};
use waypost_machine::{Input, Machine, Step};
use waypost_resolver::{Resolver, Settings};
use waypost_world::{Clock, SystemClock};

const REMOTE: &str = "\
@ MX 10 mx1
@ MX 20 mx3
@ MX 10 mx2
@ MX 10 mx1
mx1 A 192.0.2.1
mx2 A 192.0.2.2
mx2 AAAA 2001:db8::2
mx3 A 192.0.2.3
address A 192.0.2.4
six AAAA 2001:db8::6
null MX 0 .
nothing TXT \"no address here\"
dangling MX 10 gone
half MX 10 gone
half MX 20 mx3
self MX 10 mx1
self MX 20 mail.example.com.
self MX 30 mx2
only MX 10 mail.example.com.
alias CNAME remote.test.
far CNAME mx.elsewhere.test.
loop1 CNAME loop2
loop2 CNAME loop1
mxalias MX 5 farhost
farhost CNAME mx.elsewhere.test.
broken MX 10 mx.broken.test.
later MX 10 mx.broken.test.
later MX 20 mx3
_25._tcp.mx1 TLSA 3 1 1 AB9BEB9919729F3239AF08214C1EF6CCA52D2DBAE788BB5BE834C13911292ED9
";
const ELSEWHERE: &str = "\
mx A 192.0.2.9
@ MX 1 mx
";

struct World {
    _nsd: Nsd,
    resolver: Resolver,
    clock: Arc<SystemClock>,
}

impl World {
    fn new() -> Self {
        let text = format!("{REMOTE}big TXT {}\n", format!("\"{}\" ", "x".repeat(200)).repeat(60));
        let zones = [("remote.test", &*text), ("elsewhere.test", ELSEWHERE), ("broken.test", "")];
        let nsd = Nsd::start(&zones).unwrap();
        let clock = Arc::new(SystemClock::default());
        let settings = Settings { servers: vec![nsd.address], ..Settings::default() };
        let own = Arc::clone(&clock);
        let resolver = Resolver::start(settings, move || own.now()).unwrap();
        Self { _nsd: nsd, resolver, clock }
    }

    fn ask(&self, question: Question) -> Receiver<Answer> {
        let (to, from) = channel();
        self.resolver.ask(question, move |answer| to.send(answer).unwrap());
        from
    }

    fn answer(&self, name: &str, kind: Kind) -> Found {
        let from = self.ask(Question::new(name, kind).unwrap());
        let answer = from.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(!answer.authentic, "nsd does not validate");
        answer.found
    }

    /// The hosts for a domain, as chance orders them with this seed.
    fn exchangers(&self, domain: &str, seed: u64) -> Result<Vec<Exchanger>, NoRoute> {
        let own = Own { names: vec!["mail.example.com".into()], addresses: Vec::new() };
        let hop = NextHop::parse(domain).unwrap().0;
        let mut search =
            Exchangers::new(self.clock.now(), hop, Arc::new(own), Limits::default(), seed);
        let (mut open, mut result) = (BTreeMap::new(), None);
        loop {
            match search.poll(usize::MAX) {
                Step::Call(ask) => {
                    open.insert(ask.ticket.id(), (self.ask(ask.question), ask.ticket));
                }
                Step::Cancel(id) => drop(open.remove(&id)),
                Step::Fact(ExchangersFact::Skipped(_)) => {}
                Step::Fact(ExchangersFact::Route(route)) => result = Some(route),
                Step::Close(_) => return result.expect("a fact before the end"),
                Step::Wait(_) => {
                    let (_, (from, ticket)) = open.pop_first().expect("it waits for an answer");
                    let answer = from.recv_timeout(Duration::from_secs(30)).unwrap();
                    search.handle(self.clock.now(), Input::Answer(ticket.answer(answer)));
                }
                Step::Send(_) | Step::Secure(_) => panic!("it has no bytes"),
            }
        }
    }

    /// `NAME ADDRESS` in order.
    fn hosts(&self, domain: &str) -> Vec<String> {
        let hosts = self.exchangers(domain, 1).unwrap();
        hosts.iter().map(|host| format!("{} {}", host.name, host.address)).collect()
    }

    fn refused(&self, domain: &str) -> String {
        let NoRoute { status, reason } = self.exchangers(domain, 1).unwrap_err();
        format!("{}.{}.{} {reason}", status.0, status.1, status.2)
    }
}

#[test]
fn the_resolver_and_a_real_name_server() {
    let world = World::new();
    let mx = |preference, exchange: &str| Record::Mx { preference, exchange: exchange.into() };
    let Found::Records(mut exchangers) = world.answer("Remote.TEST", Kind::Mx) else { panic!() };
    exchangers.sort();
    let three = [mx(10, "mx1.remote.test"), mx(10, "mx2.remote.test"), mx(20, "mx3.remote.test")];
    assert_eq!(exchangers, three);
    // More than a datagram holds.
    let text = Record::Txt(vec![b'x'; 12_000].into());
    assert_eq!(world.answer("big.remote.test", Kind::Txt), Found::Records(vec![text]));
    let Found::Records(tlsa) = world.answer("_25._tcp.mx1.remote.test", Kind::Tlsa) else {
        panic!()
    };
    let [Record::Tlsa { usage: 3, selector: 1, matching: 1, data }] = tlsa.as_slice() else {
        panic!("{tlsa:?}")
    };
    assert_eq!((data.len(), &data[..3]), (32, &[0xab, 0x9b, 0xeb][..]));

    assert_eq!(world.answer("nothing.remote.test", Kind::Mx), Found::NoData);
    assert_eq!(world.answer("gone.remote.test", Kind::Mx), Found::NoName);
    let servfail = Found::Unavailable(Failure::ServFail);
    assert_eq!(world.answer("mx.broken.test", Kind::A), servfail);
    assert_eq!(world.answer("example.org", Kind::A), Found::Unavailable(Failure::Refused));

    // An alias within the zone, one into another zone, and a circle.
    let Found::Records(alias) = world.answer("alias.remote.test", Kind::Mx) else { panic!() };
    assert_eq!(alias.len(), 3);
    let nine = Found::Records(vec![Record::A([192, 0, 2, 9].into())]);
    assert_eq!(world.answer("far.remote.test", Kind::A), nine);
    let circle = world.answer("loop1.remote.test", Kind::A);
    assert!(matches!(circle, Found::Unavailable(_)), "{circle:?}");
}

#[test]
fn from_a_domain_to_its_hosts() {
    let world = World::new();
    let mut first = BTreeSet::new();
    for seed in 0..40 {
        let hosts = world.exchangers("remote.test", seed).unwrap();
        let names: Vec<&str> = hosts.iter().map(|host| &*host.name).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!(names[3], "mx3.remote.test");
        assert_eq!(hosts.iter().filter(|host| host.best).count(), 3);
        first.insert(format!("{} {}", names[0], hosts[0].address));
    }
    assert_eq!(first.len(), 3, "equals come in any order: {first:?}");

    assert_eq!(world.hosts("address.remote.test"), ["address.remote.test 192.0.2.4"]);
    assert_eq!(world.hosts("six.remote.test"), ["six.remote.test 2001:db8::6"]);
    assert_eq!(world.hosts("half.remote.test"), ["mx3.remote.test 192.0.2.3"]);
    assert_eq!(world.hosts("self.remote.test"), ["mx1.remote.test 192.0.2.1"]);
    assert_eq!(world.hosts("mxalias.remote.test"), ["farhost.remote.test 192.0.2.9"]);
    assert_eq!(world.hosts("later.remote.test"), ["mx3.remote.test 192.0.2.3"]);
    assert_eq!(world.hosts("[mx1.remote.test]"), ["mx1.remote.test 192.0.2.1"]);

    let refused = |domain: &str| world.refused(&format!("{domain}.remote.test"));
    assert_eq!(refused("null"), "5.1.0 Domain null.remote.test does not accept mail (nullMX)");
    assert_eq!(refused("only"), "5.4.6 mail for only.remote.test loops back to myself");
    for (domain, status) in [
        ("gone", "5.4.4"),
        ("nothing", "5.4.4"),
        ("dangling", "5.4.4"),
        ("broken", "4.4.3"),
        ("loop1", "4.4.3"),
    ] {
        let text = refused(domain);
        assert!(text.starts_with(&format!("{status} ")), "{domain}: {text}");
    }
}
