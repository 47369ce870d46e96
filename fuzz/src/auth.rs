use std::collections::BTreeMap;

use crate::operations;
use crate::session::{self, Ended, Play};
use waypost_auth::{Call, Config, Reply, Server};
use waypost_laws::Subject;
use waypost_machine::{Answer, Ledger, Limits};
use waypost_sasl::{Mechanism, Verified};

struct Case {
    hang_up: bool,
    down: bool,
}

/// Any lines on the auth socket. Requests are answered as they get ready, and a line that is wrong ends
/// those that are under way: what is said depends on when the lines come.
pub fn session(data: &[u8]) {
    session::most(data, Case::new);
}

/// Any lines, and anything that a shell may do.
pub fn operations(data: &[u8]) {
    operations::run(data, Case::new);
}

impl Case {
    fn new(settings: u8) -> Self {
        Self { down: settings & 1 != 0, hang_up: settings & 2 == 0 }
    }
}

impl Subject for Case {
    type Protocol = Server;
    type World = ();

    fn protocol(&self) -> Server {
        let config = Config::new(1, 1, "a5173911e3973f09a8ec6e7039f31542");
        Server::new(Config {
            mechanisms: Mechanism::ALL.to_vec(),
            hang_up_when_unavailable: self.hang_up,
            ..config
        })
    }

    fn world(&self) {}

    fn answer(&self, (): &mut (), call: Call) -> Answer<Reply> {
        let Call::Authenticate { credentials, ticket, .. } = call;
        ticket.answer(match &**credentials.password.expose() {
            _ if self.down => Verified::Unavailable,
            "secret000" => Verified::Accepted(credentials.authcid),
            _ => Verified::Denied,
        })
    }

    fn may_idle(&self) -> bool {
        true
    }

    fn limits(&self) -> Limits {
        Limits { input: 16 * 1024, output: 100, ..Limits::default() }
    }
}

impl Play for Case {
    fn unknown(&self, ledger: &mut Ledger) -> Answer<Reply> {
        let ticket = ledger.open(None);
        ledger.close(ticket.id());
        ticket.answer(Verified::Denied)
    }

    /// Whole lines of words that clients know.
    fn check(&self, (): &(), end: &Ended<'_, Server>) {
        let mut words: BTreeMap<&[u8], usize> = BTreeMap::new();
        for line in end.sent.split_inclusive(|b| *b == b'\n') {
            assert!(line.ends_with(b"\n"), "a line without end");
            let word = line.split(|b| *b == b'\t' || *b == b'\n').next().unwrap_or_default();
            *words.entry(word).or_default() += 1;
        }
        for word in words.keys() {
            let known: &[&[u8]] = &[
                b"VERSION", b"MECH", b"SPID", b"CUID", b"COOKIE", b"DONE", b"OK", b"FAIL", b"CONT",
            ];
            assert!(known.contains(word), "{}", word.escape_ascii());
        }
    }
}
