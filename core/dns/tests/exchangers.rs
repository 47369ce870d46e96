//! From domains to hosts, with zones in text.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use waypost_dns::{
    Answer, Ask, Exchangers, ExchangersFact, Failure, Found, Kind, Limits, NextHop, NoRoute, Own,
    Question, Record,
};
use waypost_machine::{Input, Machine, Now, Step, Why};
use waypost_mail::{Address, Enhanced};

/// `name TYPE data`, line by line; `!` for what cannot be told; `*` for a name without records.
/// Names that are not mentioned do not exist.
struct Zone(BTreeMap<String, Vec<(String, String)>>);

impl Zone {
    fn new(text: &str) -> Self {
        let mut zone: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_default().to_owned();
            let (name, kind, data) = (word(), word(), word());
            zone.entry(name).or_default().push((kind, data));
        }
        Self(zone)
    }

    fn answer(&self, question: &Question) -> Answer {
        let Some(entries) = self.0.get(question.name()) else {
            return Answer { found: Found::NoName, authentic: false, ttl: 60 };
        };
        let kind = question.kind().to_string();
        let mut records = Vec::new();
        let mut authentic = false;
        for (of, data) in entries.iter().filter(|(of, _)| *of == kind) {
            authentic |= data.ends_with(" AD");
            let data = data.trim_end_matches(" AD");
            if data == "!" {
                return Answer::unavailable(Failure::ServFail);
            }
            records.push(match of.as_str() {
                "A" => Record::A(data.parse().unwrap()),
                "AAAA" => Record::Aaaa(data.parse().unwrap()),
                _ => {
                    let (preference, exchange) = data.split_once(' ').unwrap();
                    let exchange = exchange.trim_end_matches('.').into();
                    Record::Mx { preference: preference.parse().unwrap(), exchange }
                }
            });
        }
        let found = if records.is_empty() { Found::NoData } else { Found::Records(records) };
        Answer { found, authentic, ttl: 60 }
    }
}

fn own() -> Own {
    Own {
        names: vec!["mail.example.com".into()],
        addresses: vec!["192.0.2.99".parse().unwrap(), "2001:db8::99".parse().unwrap()],
    }
}

/// Lines of `preference name address`, or the trouble.
fn route(
    zone: &str,
    hop: &str,
    own: Own,
    limits: Limits,
    seed: u64,
) -> Result<Vec<String>, NoRoute> {
    let zone = Zone::new(zone);
    let (hop, _) = NextHop::parse(hop).unwrap();
    let mut search = Exchangers::new(Now::default(), hop, Arc::new(own), limits, seed);
    let mut route = None;
    let mut open: Vec<Ask> = Vec::new();
    loop {
        match search.poll(0) {
            Step::Call(ask) => open.push(ask),
            Step::Fact(ExchangersFact::Route(found)) => assert!(route.replace(found).is_none()),
            Step::Fact(ExchangersFact::Skipped(_)) | Step::Cancel(_) => {}
            Step::Close(why) => {
                assert_eq!(why, Why::Done);
                break;
            }
            Step::Wait(_) => {
                // In any order.
                let at = usize::try_from(seed).unwrap_or(0) % open.len();
                let Ask { question, ticket } = open.remove(at);
                let answer = ticket.answer(zone.answer(&question));
                search.handle(Now::default(), Input::Answer(answer));
            }
            Step::Send(_) | Step::Secure(_) => panic!("it has no bytes"),
        }
    }
    let hosts = route.expect("a route")?;
    assert!(!hosts.is_empty());
    Ok(hosts
        .into_iter()
        .map(|host| {
            let marks = [(host.best, " best"), (host.authentic, " AD")];
            let marks: String = marks.iter().filter(|(on, _)| *on).map(|(_, m)| *m).collect();
            format!("{} {} {}{marks}", host.preference, host.name, host.address)
        })
        .collect())
}

fn hosts(zone: &str, domain: &str) -> Vec<String> {
    let mut hosts = route(zone, domain, own(), Limits::default(), 1).unwrap();
    hosts.sort();
    hosts
}

fn trouble(zone: &str, domain: &str) -> String {
    let NoRoute { status, reason } = route(zone, domain, own(), Limits::default(), 1).unwrap_err();
    format!("{status} {reason}")
}

#[test]
fn exchangers_in_order() {
    let zone = "remote.test MX 20 mx2.remote.test
                remote.test MX 10 mx1.remote.test.
                mx1.remote.test A 192.0.2.1
                mx1.remote.test AAAA 2001:db8::1
                mx2.remote.test A 192.0.2.2";
    assert_eq!(
        hosts(zone, "remote.test"),
        [
            "10 mx1.remote.test 192.0.2.1 best",
            "10 mx1.remote.test 2001:db8::1 best",
            "20 mx2.remote.test 192.0.2.2"
        ]
    );
    for seed in 0..20 {
        let route = route(zone, "remote.test", own(), Limits::default(), seed).unwrap();
        assert_eq!(route[2], "20 mx2.remote.test 192.0.2.2");
    }
    let v4 = Limits { ipv6: false, ..Limits::default() };
    assert_eq!(route(zone, "remote.test", own(), v4, 1).unwrap().len(), 2);
    let first = Limits { addresses: 1, ..Limits::default() };
    assert!(route(zone, "remote.test", own(), first, 1).unwrap()[0].starts_with("10 mx1"));
    let best = Limits { hosts: 1, ..Limits::default() };
    assert_eq!(route(zone, "remote.test", own(), best, 1).unwrap().len(), 2);
}

#[test]
fn the_domain_itself_a_host_an_address() {
    let zone = "remote.test A 192.0.2.1\nremote.test AAAA 2001:db8::1\nmx.test MX 1 other.test\n\
                mx.test A 192.0.2.3\nnumber.test MX 5 192.0.2.4";
    assert_eq!(
        hosts(zone, "remote.test"),
        ["0 remote.test 192.0.2.1 best", "0 remote.test 2001:db8::1 best"]
    );
    assert_eq!(hosts(zone, "[mx.test]"), ["0 mx.test 192.0.2.3 best"]);
    assert_eq!(hosts(zone, "[192.0.2.7]:2525"), ["0 192.0.2.7 192.0.2.7 best"]);
    assert_eq!(hosts(zone, "[IPv6:2001:db8::7]"), ["0 2001:db8::7 2001:db8::7 best"]);
    assert_eq!(hosts(zone, "number.test"), ["5 192.0.2.4 192.0.2.4 best"]);
}

#[test]
fn nobody_there() {
    let try_again = "Host not found, try again";
    for (zone, want) in [
        ("remote.test MX 0 .", "5.1.0 Domain remote.test does not accept mail (nullMX)".into()),
        (
            "",
            "5.4.4 Host or domain name not found. Name service error for name=remote.test type=MX: \
             Host not found"
                .into(),
        ),
        (
            "remote.test MX !",
            format!(
                "4.4.3 Host or domain name not found. Name service error for name=remote.test \
                 type=MX: {try_again}"
            ),
        ),
        (
            "remote.test *",
            "5.4.4 Host or domain name not found. Name service error for name=remote.test type=AAAA: \
             Host found but no data record of requested type"
                .into(),
        ),
        (
            "remote.test MX 1 mx.test",
            "5.4.4 Host or domain name not found. Name service error for name=mx.test type=AAAA: \
             Host not found"
                .into(),
        ),
        // One that may be there later, and one that is not there: wait.
        (
            "remote.test MX 1 mx1.test\nremote.test MX 2 mx2.test\nmx1.test *\nmx2.test A !",
            format!(
                "4.4.3 Host or domain name not found. Name service error for name=mx2.test type=A: \
                 {try_again}"
            ),
        ),
        // The same for the two addresses of one host.
        (
            "remote.test MX 1 mx.test\nmx.test AAAA !",
            format!(
                "4.4.3 Host or domain name not found. Name service error for name=mx.test \
                 type=AAAA: {try_again}"
            ),
        ),
        (
            "remote.test MX 1 a..b",
            "5.4.4 Name service error for a..b: invalid host or domain name".into(),
        ),
    ] {
        assert_eq!(trouble(zone, "remote.test"), want, "{zone}");
    }
}

#[test]
fn a_host_without_address_is_skipped() {
    let zone = "remote.test MX 1 gone.test\nremote.test MX 2 down.test\nremote.test MX 3 mx.test\n\
                remote.test MX 4 .\ndown.test A !\ndown.test AAAA !\nmx.test A 192.0.2.3";
    assert_eq!(hosts(zone, "remote.test"), ["3 mx.test 192.0.2.3"]);
}

#[test]
fn ourselves() {
    let others = "mx1.test A 192.0.2.1\nmx2.test A 192.0.2.2\nus.test A 192.0.2.99\n\
                  mail.example.com A 192.0.2.98\nsix.test AAAA 2001:db8::99\n";
    for (mx, want) in [
        // By name and by address; those that are no better than we are do not count.
        ("1 mx1.test, 2 mail.example.com, 3 mx2.test", Ok("1 mx1.test 192.0.2.1 best")),
        ("1 mx1.test, 2 us.test, 3 mx2.test", Ok("1 mx1.test 192.0.2.1 best")),
        ("1 mx1.test, 2 MAIL.example.com, 2 mx2.test", Ok("1 mx1.test 192.0.2.1 best")),
        ("1 mx1.test, 2 us.test, 2 mx2.test", Ok("1 mx1.test 192.0.2.1 best")),
        ("1 us.test, 2 mx1.test", Err("5.4.6 mail for remote.test loops back to myself")),
        ("1 mail.example.com", Err("5.4.6 mail for remote.test loops back to myself")),
        ("1 six.test, 1 mx1.test", Err("5.4.6 mail for remote.test loops back to myself")),
        // We are second, and the first cannot be found.
        ("1 gone.test, 2 us.test", Err("4.4.4 unable to find primary relay for remote.test")),
        (
            "1 gone.test, 2 mail.example.com",
            Err("4.4.4 unable to find primary relay for remote.test"),
        ),
    ] {
        let mut zone = String::from(others);
        for one in mx.split(", ") {
            zone.push_str(&format!("remote.test MX {}\n", one.to_lowercase()));
        }
        let got = route(&zone, "remote.test", own(), Limits::default(), 1);
        let got = match got {
            Ok(hosts) => Ok(hosts.join(", ")),
            Err(NoRoute { status, reason }) => Err(format!("{status} {reason}")),
        };
        assert_eq!(got, want.map(String::from).map_err(String::from), "{mx}");
    }
    let zone = "remote.test A 192.0.2.99";
    assert_eq!(trouble(zone, "remote.test"), "5.4.6 mail for remote.test loops back to myself");
    // Where it is not asked for, nothing is ourselves.
    let found = route(zone, "[remote.test]", Own::default(), Limits::default(), 1).unwrap();
    assert_eq!(found, ["0 remote.test 192.0.2.99 best"]);
}

#[test]
fn authentic_all_the_way_or_not_at_all() {
    let zone = |mx: &str, a: &str| {
        format!("remote.test MX 1 mx.test{mx}\nmx.test A 192.0.2.1{a}\nmx.test AAAA 2001:db8::1")
    };
    let all = zone(" AD", " AD");
    let v4 = "1 mx.test 192.0.2.1 best";
    assert_eq!(hosts(&all, "remote.test"), [&format!("{v4} AD"), "1 mx.test 2001:db8::1 best"]);
    for (mx, a) in [(" AD", ""), ("", " AD")] {
        assert_eq!(hosts(&zone(mx, a), "remote.test")[0], v4);
    }
}

#[test]
fn a_resolver_that_is_silent() {
    let (hop, _) = NextHop::parse("remote.test").unwrap();
    let mut search =
        Exchangers::new(Now::default(), hop.clone(), Arc::new(own()), Limits::default(), 1);
    let Step::Call(ask) = search.poll(0) else { panic!("a question") };
    assert_eq!(ask.question, Question::new("remote.test", Kind::Mx).unwrap());
    let Step::Wait(wait) = search.poll(0) else { panic!("waits") };
    let late = Now { mono: wait.until.unwrap(), ..Now::default() };
    assert_eq!(late.mono.since(Now::default().mono), Duration::from_secs(120));
    search.handle(late, Input::Tick);
    assert!(matches!(search.poll(0), Step::Cancel(_)));
    let Step::Fact(ExchangersFact::Route(Err(route))) = search.poll(0) else { panic!("the end") };
    assert_eq!(route.status, Enhanced(4, 4, 3));
    assert!(matches!(search.poll(0), Step::Close(Why::Done)));
    search.handle(late, Input::Answer(ask.ticket.answer(Answer::unavailable(Failure::Silence))));
    assert!(matches!(search.poll(0), Step::Wait(_)));
    // Stopped.
    let mut search = Exchangers::new(Now::default(), hop, Arc::new(own()), Limits::default(), 1);
    search.handle(Now::default(), Input::Stop);
    let steps: Vec<_> = std::iter::from_fn(|| match search.poll(0) {
        Step::Wait(_) => None,
        Step::Fact(ExchangersFact::Route(route)) => Some(route.unwrap_err().status.0),
        _ => Some(0),
    })
    .collect();
    assert_eq!(steps, [0, 0, 4, 0]);
}

#[test]
fn next_hops() {
    let domain = |name: &str| NextHop::Domain(name.into());
    let host = |name: &str| NextHop::Host(name.into());
    let address = |text: &str| NextHop::Address(text.parse::<IpAddr>().unwrap());
    for (text, want) in [
        ("example.com", Some((domain("example.com"), None))),
        ("example.com:587", Some((domain("example.com"), Some(587)))),
        ("[mx.example.com]", Some((host("mx.example.com"), None))),
        ("[mx.example.com]:465", Some((host("mx.example.com"), Some(465)))),
        ("[192.0.2.1]:25", Some((address("192.0.2.1"), Some(25)))),
        ("[ipv6:::1]", Some((address("::1"), None))),
        ("[::1]:25", Some((address("::1"), Some(25)))),
        ("", None),
        (":25", None),
        ("[]", None),
        ("[x", None),
        ("[x]25", None),
        ("[x]:", None),
        ("x:70000", None),
        ("x:smtp", None),
    ] {
        assert_eq!(NextHop::parse(text).ok(), want, "{text}");
    }
    for (recipient, hop) in [
        ("a@example.com", "example.com"),
        ("a@[192.0.2.1]", "[192.0.2.1]"),
        ("a@[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
    ] {
        let address = Address::parse(recipient).unwrap();
        let found = NextHop::of(address.domain());
        assert_eq!(found.to_string(), hop);
        assert_eq!(NextHop::parse(hop).unwrap(), (found, None));
    }
}

proptest! {
    #[test]
    fn any_zone_ends_in_hosts_or_a_reason(
        mx in proptest::collection::vec((0u16..4, 0u8..6), 0..8),
        addresses in proptest::collection::vec((0u8..6, 0u8..5), 0..10),
        seed in any::<u64>(),
    ) {
        let mut zone = String::new();
        for (preference, host) in &mx {
            zone.push_str(&format!("remote.test MX {preference} h{host}.test\n"));
        }
        for (host, what) in &addresses {
            zone.push_str(&match what {
                0 => format!("h{host}.test A !\n"),
                1 => format!("h{host}.test A 192.0.2.99\n"),
                2 => format!("h{host}.test *\n"),
                3 => format!("h{host}.test AAAA 2001:db8::{host}\n"),
                _ => format!("h{host}.test A 192.0.2.{host}\n"),
            });
        }
        match route(&zone, "remote.test", own(), Limits::default(), seed) {
            Ok(hosts) => {
                prop_assert!(hosts.len() <= 5);
                prop_assert!(hosts.iter().all(|host| !host.contains("192.0.2.99")));
                let preferences: Vec<&str> = hosts.iter().map(|h| &h[..1]).collect();
                prop_assert!(preferences.is_sorted());
            }
            Err(route) => {
                prop_assert!(matches!(route.status.0, 4 | 5));
                // Nothing that may pass is ever taken for good.
                let soft = zone.contains('!') && !route.reason.contains("loops");
                let asked = mx.iter().any(|(_, host)| addresses.contains(&(*host, 0)));
                prop_assert!(!(soft && asked && route.status.0 == 5), "{route:?}");
            }
        }
    }
}
