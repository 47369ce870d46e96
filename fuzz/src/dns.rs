use std::net::IpAddr;
use std::sync::Arc;

use waypost_dns::{
    Answer, Arrived, Ask, Exchangers, ExchangersFact, Failure, Found, Kind, Limits, Lookup,
    LookupFact, NextHop, Own, Packet, Question, Record, Servers,
};
use waypost_machine::{Input, Machine, Now, Step};

const KINDS: [Kind; 6] = [Kind::A, Kind::Aaaa, Kind::Mx, Kind::Ptr, Kind::Tlsa, Kind::Txt];

/// Any answer of a name server, but that its id is right: the lookup ends, and what is found is of the
/// kind that was asked for. The first octet chooses what is asked for, and which packets get lost.
pub fn answer(data: &[u8]) {
    let Some((settings, packet)) = data.split_first() else { return };
    let kind = KINDS[usize::from(*settings) % KINDS.len()];
    let Ok(question) = Question::new("example.com", kind) else { return };
    let addresses = vec![([127, 0, 0, 1], 53).into(), ([127, 0, 0, 2], 53).into()];
    let mut now = Now::default();
    let mut lookup = Lookup::new(now, Arc::new(Servers::new(addresses)), question, 7);
    let mut open: Option<Packet> = None;
    let (mut asked, mut heard) = (0_u8, None);
    for _ in 0..1_000 {
        match lookup.poll(0) {
            Step::Call(call) => {
                asked = asked.saturating_add(1);
                open = Some(call);
            }
            Step::Fact(LookupFact::Answer(answer)) => {
                assert!(heard.is_none(), "two answers");
                heard = Some(answer);
            }
            Step::Cancel(_) => open = None,
            Step::Close(_) => return check(kind, &heard.expect("an answer before the end")),
            Step::Wait(wait) => {
                let until = wait.until.expect("L8: it waits for no time");
                assert!(until > now.mono, "L5: it would spin");
                // Some packets get lost, and some connections break.
                match (open.take(), (settings / 6 + asked) % 7) {
                    (Some(_), 1) | (None, _) => {
                        now.mono = until;
                        lookup.handle(now, Input::Tick);
                    }
                    (Some(call), 2) => {
                        let answer = call.ticket.answer(Arrived::Failed);
                        lookup.handle(now, Input::Answer(answer));
                    }
                    (Some(call), _) => {
                        let answer = [call.bytes.get(..2).unwrap_or_default(), packet].concat();
                        let _ = call.awaited.is_answered_by(&answer);
                        let answer = call.ticket.answer(Arrived::Answer(answer));
                        lookup.handle(now, Input::Answer(answer));
                    }
                }
            }
            _ => {}
        }
    }
    panic!("L8: the lookup does not end");
}

fn check(kind: Kind, answer: &Answer) {
    let Found::Records(records) = &answer.found else { return };
    assert!(!records.is_empty(), "found, and yet nothing");
    for record in records {
        let found = match record {
            Record::A(_) => Kind::A,
            Record::Aaaa(_) => Kind::Aaaa,
            Record::Mx { .. } => Kind::Mx,
            Record::Ptr(_) => Kind::Ptr,
            Record::Tlsa { .. } => Kind::Tlsa,
            Record::Txt(_) => Kind::Txt,
        };
        assert_eq!(found, kind);
    }
}

/// Octets that decide.
struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Bytes<'_> {
    fn below(&mut self, count: u8) -> u8 {
        self.0.next().map_or(0, |byte| byte % count)
    }
}

/// Any exchangers with any addresses, answered in any order: the search ends, in the order of preference,
/// with no host that is no better than we are, no address twice too many, and only the first ones `best`.
/// The first line is the next hop, the rest decides.
pub fn exchangers(data: &[u8]) {
    let cut = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (hop, rest) = data.split_at(cut);
    let Ok((hop, port)) = NextHop::parse(std::str::from_utf8(hop).unwrap_or_default()) else {
        return;
    };
    let again = port.map_or_else(|| hop.to_string(), |port| format!("{hop}:{port}"));
    assert_eq!(NextHop::parse(&again), Ok((hop.clone(), port)), "{again}");
    let mut bytes = Bytes(rest.get(1..).unwrap_or_default().iter());
    let own = Own { names: vec!["mx3.example.com".into()], addresses: vec![[192, 0, 2, 3].into()] };
    let limits = Limits { hosts: 4, addresses: 3, ..Limits::default() };
    let mut now = Now::default();
    let direct = !matches!(hop, NextHop::Domain(_));
    let mut search = Exchangers::new(now, hop, Arc::new(own), limits, u64::from(bytes.below(255)));
    let mut open: Vec<Ask> = Vec::new();
    let mut route = None;
    for _ in 0..1_000 {
        match search.poll(0) {
            Step::Call(ask) => open.push(ask),
            Step::Cancel(id) => open.retain(|ask| ask.ticket.id() != id),
            Step::Fact(ExchangersFact::Route(found)) => {
                assert!(route.replace(found).is_none(), "two routes");
            }
            Step::Close(_) => {
                match route.expect("a route before the end") {
                    Ok(hosts) => {
                        assert!(!hosts.is_empty() && hosts.len() <= limits.addresses);
                        assert!(hosts.is_sorted_by_key(|host| host.preference), "{hosts:?}");
                        let own = |ip: IpAddr| ip.to_canonical() == IpAddr::from([192, 0, 2, 3]);
                        let us =
                            hosts.iter().any(|h| &*h.name == "mx3.example.com" || own(h.address));
                        assert!(!us || direct, "ourselves: {hosts:?}");
                    }
                    Err(trouble) => assert!(matches!(trouble.status.0, 4 | 5), "{trouble:?}"),
                }
                return;
            }
            Step::Wait(wait) => {
                let until = wait.until.expect("L8: it waits for no time");
                assert!(until > now.mono && !open.is_empty(), "L4, L5");
                if bytes.below(20) == 19 {
                    now.mono = until;
                    search.handle(now, Input::Tick);
                    continue;
                }
                let count = u8::try_from(open.len()).expect("few");
                let ask = open.remove(usize::from(bytes.below(count)));
                let answer = some_answer(&ask.question, &mut bytes);
                search.handle(now, Input::Answer(ask.ticket.answer(answer)));
            }
            _ => {}
        }
    }
    panic!("L8: the search does not end");
}

fn some_answer(question: &Question, bytes: &mut Bytes<'_>) -> Answer {
    let records =
        |bytes: &mut Bytes<'_>| (0..=bytes.below(6)).map(|_| record(question, bytes)).collect();
    let found = match bytes.below(8) {
        0 => Found::NoData,
        1 => Found::NoName,
        2 => Found::Unavailable(Failure::ServFail),
        _ => Found::Records(records(bytes)),
    };
    Answer { found, authentic: bytes.below(2) == 0, ttl: 60 }
}

fn record(question: &Question, bytes: &mut Bytes<'_>) -> Record {
    match question.kind() {
        Kind::Mx => {
            let exchange = match bytes.below(9) {
                0 => String::new(),
                1 => "192.0.2.9".into(),
                2 => "a..b".into(),
                n => format!("mx{n}.example.com"),
            };
            Record::Mx { preference: bytes.below(4).into(), exchange: exchange.into() }
        }
        Kind::Aaaa => {
            Record::Aaaa([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x200 + u16::from(bytes.below(9))].into())
        }
        _ => Record::A([192, 0, 2, bytes.below(9)].into()),
    }
}
