//! The laws L1 to L13 over a session and any input: the first octet chooses settings, the second one
//! whatever is left open (how the input is cut, when answers come), the rest is what the peer sends.
//! Parts that are cut by [`HANDSHAKE`] have a handshake between them.

use waypost_laws::{Broken, Script, Subject};
use waypost_machine::{Answer, Ledger, Now, Protocol, Why};

/// Between what comes before a handshake and what comes after it.
const HANDSHAKE: u8 = 0x1e;

type Notice<S> = <<S as Subject>::Protocol as Protocol>::Notice;
type Reply<S> = <<S as Subject>::Protocol as Protocol>::Reply;

/// What [`crate::operations`] needs beyond a subject of the laws.
pub(crate) trait Play: Subject {
    /// Something happens in the world, of which the session may hear.
    fn happen(&self, world: &mut Self::World, what: u8) -> Option<Notice<Self>> {
        let _ = (world, what);
        None
    }

    /// An answer to a call that this session never made, from a ledger that is far ahead of it.
    fn unknown(&self, ledger: &mut Ledger) -> Answer<Reply<Self>>;

    /// A look at what has come of it, after the end.
    fn check(&self, world: &Self::World, end: &Ended<'_, Self::Protocol>);
}

/// How a session ended.
pub(crate) struct Ended<'a, P: Protocol> {
    pub(crate) protocol: &'a P,
    pub(crate) now: Now,
    pub(crate) why: Why,
    pub(crate) sent: &'a [u8],
    /// No call was given up.
    pub(crate) whole: bool,
}

/// All laws.
pub(crate) fn all<S: Subject>(data: &[u8], subject: impl Fn(u8) -> S) {
    check(data, subject, waypost_laws::all);
}

/// Those that hold also where it matters when the peer speaks.
pub(crate) fn most<S: Subject>(data: &[u8], subject: impl Fn(u8) -> S) {
    check(data, subject, |subject, script, choices| {
        waypost_laws::lateness(subject, script, choices)?;
        waypost_laws::patience(subject, script, choices)?;
        waypost_laws::injection(subject, script, choices)?;
        waypost_laws::robustness(subject, script, choices)?;
        waypost_laws::ticks(subject, script, choices)
    });
}

fn check<S: Subject>(
    data: &[u8],
    subject: impl Fn(u8) -> S,
    laws: impl Fn(&S, &Script, &[u8]) -> Result<(), Broken>,
) {
    let [settings, seed, text @ ..] = data else { return };
    let parts = text.splitn(3, |byte| *byte == HANDSHAKE).map(<[u8]>::to_vec);
    let script = match settings & 0x80 {
        0 => Script::eof(parts),
        _ => Script::silence(parts),
    };
    if let Err(broken) = laws(&subject(settings & 0x7f), &script, &choices(*seed)) {
        panic!("{broken}");
    }
}

/// Choices from a seed; fewer for a smaller one.
fn choices(seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) | 1 << 32;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24).to_le_bytes()[0]
    };
    (0..seed).map(next).collect()
}
