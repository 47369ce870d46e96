//! Laws over random tables: no relaying, no failure taken for absence, an end to everything; and the
//! machine's own laws.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Tables, address, client, path, policy, rcpt, reference, run};
use proptest::prelude::*;
use waypost_machine::{Input, Machine, Now, Step, Time, Why};
use waypost_mail::{Address, Target, Verdict};
use waypost_route::{Fact, Looked, Map, Policy, Request, Resolve, Restriction};

const DOMAINS: &[&str] =
    &["example.com", "mail.example.com", "remote.test", "localhost", "[192.0.2.1]"];
const MAPS: &[Map] =
    &[Map::AliasDomains, Map::Aliases, Map::Mailboxes, Map::Uids, Map::SenderLogins];

fn any_address() -> impl Strategy<Value = String> {
    ("[ab]", "(\\+x)?", proptest::sample::select(DOMAINS))
        .prop_map(|(user, ext, domain)| format!("{user}{ext}@{domain}"))
}

fn any_value(map: Map) -> BoxedStrategy<Vec<String>> {
    let one: BoxedStrategy<String> = match map {
        Map::AliasDomains | Map::MailboxDomains => Just("x".to_string()).boxed(),
        Map::Aliases => prop_oneof![
            6 => any_address(),
            1 => Just("a".to_string()),
            1 => Just("@remote.test".to_string()),
            1 => Just("not an address".to_string()),
        ]
        .boxed(),
        Map::Mailboxes => "(/srv/[ab]/|/srv/\\.\\./|x)".boxed(),
        Map::Uids | Map::Gids => "(0|50|1000|x)".boxed(),
        Map::SenderLogins => "(joe|ann|joe, ann)".boxed(),
    };
    proptest::collection::vec(one, 1..3).boxed()
}

fn any_key(map: Map) -> BoxedStrategy<String> {
    match map {
        Map::AliasDomains | Map::MailboxDomains => {
            proptest::sample::select(&DOMAINS[..3]).prop_map(ToString::to_string).boxed()
        }
        _ => prop_oneof![
            4 => any_address(),
            1 => proptest::sample::select(DOMAINS).prop_map(|d| format!("@{d}")),
            1 => "[ab]".prop_map(|s| s),
        ]
        .boxed(),
    }
}

fn any_tables() -> impl Strategy<Value = Tables> {
    let row = proptest::sample::select(MAPS)
        .prop_flat_map(|map| (Just(map), any_key(map), any_value(map)));
    proptest::collection::vec(row, 0..25).prop_map(|rows| {
        let mut tables = Tables::default();
        for (map, key, values) in rows {
            tables.0.insert((map, key), Looked::Found(values));
        }
        tables
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let restriction = proptest::sample::select(Restriction::NAMES).prop_map(|(_, it)| it);
    let list = || proptest::collection::vec(restriction.clone(), 0..4);
    (list(), list(), any::<bool>()).prop_map(|(relay, recipient, reference)| {
        let mut policy = policy();
        if !reference {
            policy.relay_restrictions = relay;
            policy.recipient_restrictions = recipient;
        }
        policy
    })
}

fn any_login() -> impl Strategy<Value = Option<&'static str>> {
    proptest::sample::select(&[None, Some("joe"), Some("eve")][..])
}

proptest! {
    /// W7: a foreign recipient is accepted only for a login or from mynetworks.
    #[test]
    fn no_relay(
        policy in any_policy(), tables in any_tables(), to in any_address(),
        login in any_login(), near in any::<bool>(),
    ) {
        let ip = if near { "203.0.113.9" } else { "198.51.100.9" };
        let request = Request::Recipient {
            client: client(ip, login), sender: path("x@elsewhere.test"), recipient: address(&to),
        };
        let domain = to.rsplit('@').next().unwrap().to_string();
        let ours = domain == "mail.example.com" || domain == "localhost"
            || matches!(tables.look(Map::AliasDomains, &domain), Looked::Found(_));
        let run = run(&policy, request, |map, key| tables.look(map, key));
        if !ours && !near && login.is_none() {
            prop_assert!(matches!(run.verdict, Verdict::Refuse(_)), "{:?}", run.verdict);
        }
        if let Verdict::Accept(deliveries) = &run.verdict {
            prop_assert!(!deliveries.is_empty());
            for d in deliveries {
                if let Target::Maildir(home) = &d.target {
                    prop_assert!(home.uid >= 100 && home.gid > 0);
                    prop_assert!(home.path.starts_with("/srv/") && !home.path.contains(".."));
                }
            }
        }
    }

    /// W9: when a table did not answer a question, the recipient is refused for now.
    #[test]
    fn failure_is_not_absence(
        policy in any_policy(), tables in any_tables(), to in any_address(),
        from in any_address(), login in any_login(), fail in 0_usize..12,
    ) {
        let mut count = 0;
        let run = run(&policy, rcpt(login, &from, &to), |map, key| {
            count += 1;
            if count == fail + 1 { Looked::Unavailable("x".into()) } else { tables.look(map, key) }
        });
        if count > fail {
            let Verdict::Refuse(reply) = &run.verdict else { panic!("accepted") };
            prop_assert!(reply.is_temporary(), "{reply}");
        }
    }
}

proptest! {
    /// Aliases of any shape end, each question is asked once, and none more often than needed.
    #[test]
    fn everything_ends(tables in any_tables(), to in any_address()) {
        let run = run(&policy(), rcpt(Some("joe"), "", &to), |map, key| tables.look(map, key));
        let mut asked = run.asked.clone();
        asked.sort();
        asked.dedup();
        prop_assert_eq!(asked.len(), run.asked.len());
        if let Verdict::Accept(deliveries) = &run.verdict {
            let mut finals: Vec<String> =
                deliveries.iter().filter(|d| !matches!(d.target, Target::Later(_)))
                    .map(|d| d.to.lookup_key().to_lowercase()).collect();
            let all = finals.len();
            finals.sort();
            finals.dedup();
            prop_assert_eq!(finals.len(), all, "each address once");
        }
    }

    /// Whoever is found is found in the same place when asked about by himself: the queue counts on
    /// it, for a message that waits for one of several.
    #[test]
    fn whoever_is_found_is_found_again(tables in any_tables(), to in any_address()) {
        let again = |to: &Address, orig_to: &Address| {
            let request = Request::Again { to: to.clone(), orig_to: orig_to.clone() };
            run(&policy(), request, |map, key| tables.look(map, key)).verdict
        };
        let to = address(&to);
        let Verdict::Accept(deliveries) = again(&to, &to) else { return Ok(()) };
        for delivery in deliveries {
            if let Target::Maildir(_) | Target::Later(_) = delivery.target {
                let Verdict::Accept(found) = again(&delivery.to, &to) else {
                    panic!("{delivery:?} is not found again")
                };
                prop_assert!(found.contains(&delivery), "{delivery:?} {found:?}");
            }
        }
    }

    /// In whatever order the answers come, the verdict is the same; ticks change nothing.
    #[test]
    fn order_does_not_matter(tables in any_tables(), to in any_address(), picks in proptest::collection::vec(any::<usize>(), 64)) {
        let request = rcpt(Some("joe"), "", &to);
        let straight = run(&policy(), request.clone(), |map, key| tables.look(map, key));
        let now = Now::default();
        let mut resolve = Resolve::new(now, Arc::new(policy()), request);
        let (mut open, mut verdict, mut picks) = (Vec::new(), None, picks.into_iter().cycle());
        loop {
            match resolve.poll(0) {
                Step::Call(lookup) => open.push(lookup),
                Step::Fact(Fact::Verdict(it)) => verdict = Some(it),
                Step::Fact(_) => {}
                Step::Close(_) => break,
                Step::Wait(_) => {
                    prop_assert!(!open.is_empty() && open.len() <= 16);
                    resolve.handle(now, Input::Tick);
                    let lookup = open.swap_remove(picks.next().unwrap() % open.len());
                    let looked = tables.look(lookup.map, &lookup.key);
                    resolve.handle(now, Input::Answer(lookup.ticket.answer(looked)));
                }
                _ => panic!("not of a machine without bytes"),
            }
        }
        prop_assert_eq!(verdict, Some(straight.verdict));
    }
}

#[test]
fn a_table_that_never_answers_counts_as_down() {
    let start = Now::default();
    let mut resolve =
        Resolve::new(start, Arc::new(policy()), rcpt(None, "", "mail000@example.com"));
    let Step::Call(lookup) = resolve.poll(0) else { panic!("no call") };
    let Step::Wait(wait) = resolve.poll(0) else { panic!("no wait") };
    let until = wait.until.unwrap();
    assert_eq!((until, wait.read), (Time::ZERO.plus(Duration::from_secs(60)), 0));
    resolve.handle(Now { mono: until, wall: start.wall }, Input::Tick);
    assert!(matches!(resolve.poll(0), Step::Fact(Fact::Unavailable { .. })));
    assert!(matches!(resolve.poll(0), Step::Cancel(id) if id == lookup.ticket.id()));
    let Step::Fact(Fact::Verdict(Verdict::Refuse(reply))) = resolve.poll(0) else { panic!() };
    assert_eq!(reply.code, 451);
    assert!(matches!(resolve.poll(0), Step::Close(Why::Done)));
    // The late answer changes nothing.
    resolve.handle(start, Input::Answer(lookup.ticket.answer(Looked::Absent)));
    assert!(matches!(resolve.poll(0), Step::Wait(_)));
}

#[test]
fn a_stop_ends_it_without_a_lie() {
    let now = Now::default();
    let mut resolve = Resolve::new(now, Arc::new(policy()), rcpt(None, "", "mail000@example.com"));
    let Step::Call(_lookup) = resolve.poll(0) else { panic!("no call") };
    resolve.handle(now, Input::Stop);
    assert!(matches!(resolve.poll(0), Step::Cancel(_)));
    assert!(
        matches!(resolve.poll(0), Step::Fact(Fact::Verdict(Verdict::Refuse(r))) if r.code == 451)
    );
    assert!(matches!(resolve.poll(0), Step::Close(Why::Stopped)));
}

/// A list of 999 is resolved in a handful of rounds, not one after the other.
#[test]
fn long_lists_are_asked_side_by_side() {
    let mut tables = reference();
    let many: Vec<String> = (0..999).map(|n| format!("u{n}@remote.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    tables.put(Map::Aliases, "all@example.com", &many);
    let now = Now::default();
    let request = rcpt(None, "", "all@example.com");
    let mut resolve = Resolve::new(now, Arc::new(policy()), request);
    let (mut open, mut rounds) = (Vec::new(), 0);
    loop {
        match resolve.poll(0) {
            Step::Call(lookup) => open.push(lookup),
            Step::Close(_) => break,
            Step::Wait(_) => {
                rounds += 1;
                for lookup in std::mem::take(&mut open) {
                    let looked = tables.look(lookup.map, &lookup.key);
                    resolve.handle(now, Input::Answer(lookup.ticket.answer(looked)));
                }
            }
            _ => {}
        }
    }
    assert!(rounds <= 2 * 999 / 16 + 10, "{rounds} rounds");
}
