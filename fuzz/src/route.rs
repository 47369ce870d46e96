//! The resolution of a recipient as a machine.

use std::sync::Arc;
use std::time::Duration;
use waypost_machine::{Input, Machine, Now, Step, Why};
use waypost_mail::{Address, ReversePath, Target, Verdict};
use waypost_route::{Fact, Looked, Lookup, Map, Policy, Request, Resolve, Restriction};

use crate::worlds::route::{Tables, client, policy, reference};

const MAPS: [Map; 7] = [
    Map::AliasDomains,
    Map::MailboxDomains,
    Map::Aliases,
    Map::Mailboxes,
    Map::Uids,
    Map::Gids,
    Map::SenderLogins,
];

/// What a resolution came to.
struct Run {
    verdict: Verdict,
    /// A table was down, or silent for too long, or we were stopped.
    unsure: bool,
}

/// Any tables, read from lines (a digit for the map, a key, values), and any order of answers. The first
/// line holds settings and operations, the second one the recipient, the third one the sender.
///
/// Whatever they are: it ends; no stranger's mail for a foreign domain is taken (W7); what could not be
/// looked up is refused for now (W9); an account has a path, a user and a group that it may have.
pub fn resolve(data: &[u8]) {
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (operations, to, from) = (line(), text(line()), text(line()));
    let tables = tables(line());
    let (Ok(to), [settings, operations @ ..]) = (Address::parse(to), operations) else { return };
    let login = settings & 1 == 0;
    let near = settings & 2 == 0;
    let ip = if near { "203.0.113.9" } else { "198.51.100.9" };
    let client = client(ip, login.then_some("joe"));
    let sender = Address::parse(from).map_or(ReversePath::Null, ReversePath::Address);
    let request = Request::Recipient { client, sender, recipient: to.clone() };
    let policy = Arc::new(some_policy(*settings));
    let run = run(&policy, request, &tables, operations);
    let domain = to.domain().as_str().to_lowercase();
    // Literals may be ours in many spellings.
    let ours = matches!(&*domain, "mail.example.com" | "localhost")
        || (to.domain().is_literal() && domain != "[192.0.2.1]")
        || [Map::AliasDomains, Map::MailboxDomains]
            .iter()
            .any(|map| !matches!(tables.look(*map, &domain), Looked::Absent));
    if !ours && !near && !login {
        assert!(matches!(run.verdict, Verdict::Refuse(_)), "W7: {:?}", run.verdict);
    }
    match &run.verdict {
        Verdict::Refuse(reply) => assert!(!run.unsure || reply.is_temporary(), "W9: {reply}"),
        Verdict::Accept(deliveries) => {
            assert!(!run.unsure, "W9: accepted without an answer");
            assert!(!deliveries.is_empty(), "accepted, and goes nowhere");
            for delivery in deliveries {
                if let Target::Maildir(home) = &delivery.target {
                    assert!(home.uid > 0 && home.gid > 0, "root's mailbox");
                    assert!(home.path.starts_with('/'), "{}", home.path);
                    assert!(!home.path.split('/').any(|name| name == ".."), "{}", home.path);
                }
            }
        }
    }
}

fn text(line: &[u8]) -> &str {
    std::str::from_utf8(line).unwrap_or_default()
}

/// The reference tables, and over them these lines; `!` for values makes the table fail.
fn tables(data: &[u8]) -> Tables {
    let mut tables = reference();
    for line in data.split(|byte| *byte == b'\n').take(40) {
        let mut words = text(line).split(' ');
        let (Some(map), Some(key)) = (words.next(), words.next()) else { continue };
        let Some(map) = map.parse().ok().and_then(|n: usize| MAPS.get(n)) else { continue };
        let values: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        match values[..] {
            [] => {}
            ["!"] => tables.down(*map, key),
            _ => tables.put(*map, key, &values),
        }
    }
    tables
}

fn some_policy(settings: u8) -> Policy {
    let mut policy = policy();
    let names = Restriction::NAMES;
    let at = |n: u8| names[usize::from(n) % names.len()].1;
    if settings & 4 != 0 {
        policy.relay_restrictions = vec![at(settings >> 3), at(settings >> 4)];
        policy.recipient_restrictions = vec![at(settings >> 5)];
    }
    policy
}

fn run(policy: &Arc<Policy>, request: Request, tables: &Tables, operations: &[u8]) -> Run {
    let mut now = Now::default();
    let mut resolve = Resolve::new(now, Arc::clone(policy), request);
    let mut open: Vec<Lookup> = Vec::new();
    let (mut late, mut verdict, mut unsure) = (Vec::new(), None, false);
    let mut operations = operations.iter();
    for _ in 0..100_000 {
        match resolve.poll(0) {
            Step::Call(lookup) => open.push(lookup),
            Step::Fact(Fact::Verdict(it)) => {
                assert!(verdict.replace(it).is_none(), "two verdicts");
            }
            Step::Fact(Fact::Unavailable { .. }) => unsure = true,
            Step::Fact(_) => {}
            Step::Cancel(id) => {
                let at = open.iter().position(|lookup| lookup.ticket.id() == id);
                late.push(open.remove(at.expect("L7: only open lookups are given up")));
            }
            Step::Close(why) => {
                assert!(matches!(why, Why::Done | Why::Stopped));
                for lookup in late.into_iter().chain(open) {
                    resolve.handle(now, Input::Answer(lookup.ticket.answer(Looked::Absent)));
                    assert!(matches!(resolve.poll(0), Step::Wait(_)), "L6: after the end");
                }
                return Run { verdict: verdict.expect("a verdict before the end"), unsure };
            }
            Step::Wait(wait) => {
                assert!(!open.is_empty() && open.len() <= 16, "L4: {} lookups", open.len());
                let until = wait.until.expect("L8: it waits for no time");
                assert!(until > now.mono, "L5: it would spin");
                let operation = operations.next().copied().unwrap_or(b'0');
                match operation {
                    b'!' => {
                        unsure = true;
                        resolve.handle(now, Input::Stop);
                    }
                    b'~' => {
                        now.mono = until;
                        unsure = true;
                        resolve.handle(now, Input::Tick);
                    }
                    b'.' => {
                        now.mono = now.mono.plus(Duration::from_secs(1)).min(until);
                        unsure |= now.mono == until;
                        resolve.handle(now, Input::Tick);
                    }
                    n => {
                        let lookup = open.remove(usize::from(n - b'0'.min(n)) % open.len());
                        let looked = tables.look(lookup.map, &lookup.key);
                        resolve.handle(now, Input::Answer(lookup.ticket.answer(looked)));
                    }
                }
            }
            _ => panic!("not of a machine without bytes"),
        }
    }
    panic!("L8: it does not end");
}
