use std::sync::Arc;

use waypost_dns::{Arrived, Found, Kind, Lookup, LookupFact, Question, Servers};
use waypost_machine::{Input, Machine, Now, Step};

const KINDS: [Kind; 6] = [Kind::A, Kind::Aaaa, Kind::Mx, Kind::Ptr, Kind::Tlsa, Kind::Txt];

/// Any answer of a name server, but that its id is right: the lookup ends. The first octet chooses
/// what is asked for.
pub fn answer(data: &[u8]) {
    let Some((kind, packet)) = data.split_first() else { return };
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let Ok(question) = Question::new("example.com", kind) else { return };
    let servers = Arc::new(Servers::new(vec![([127, 0, 0, 1], 53).into()]));
    let now = Now::default();
    let mut lookup = Lookup::new(now, servers, question, 7);
    for _ in 0..1_000 {
        match lookup.poll(usize::MAX) {
            Step::Call(call) => {
                let answer = [call.bytes.get(..2).unwrap_or_default(), packet].concat();
                let _ = call.awaited.is_answered_by(&answer);
                let answer = call.ticket.answer(Arrived::Answer(answer));
                lookup.handle(now, Input::Answer(answer));
            }
            Step::Fact(LookupFact::Answer(answer)) => {
                let empty = Found::Records(Vec::new());
                assert!(answer.found != empty, "found, and yet nothing");
            }
            Step::Close(_) => return,
            _ => {}
        }
    }
    panic!("the lookup does not end");
}
