//! The laws of machines over the authentication server.

use proptest::collection::vec;
use proptest::prelude::*;
use waypost_auth::{Call, Config, Reply, Server};
use waypost_laws::{Script, Subject, all, choices};
use waypost_machine::{Answer, Limits};
use waypost_sasl::{Mechanism, Verified};

#[derive(Clone, Debug)]
struct Case {
    down: bool,
    hang_up: bool,
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

    /// Requests are answered as they get ready.
    fn settled(&self, sent: Vec<u8>) -> Vec<u8> {
        let mut lines: Vec<_> = sent.split_inclusive(|b| *b == b'\n').collect();
        lines.sort_unstable();
        lines.concat()
    }

    fn may_idle(&self) -> bool {
        true
    }

    fn limits(&self) -> Limits {
        Limits { input: 16 * 1024, output: 100, ..Limits::default() }
    }
}

/// Requests with ids of their own, one after the other.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let request = proptest::sample::select(vec![
        "AUTH\t#\tPLAIN\tservice=smtp\tresp=AG1haWwwMDAAc2VjcmV0MDAw\n",
        "AUTH\t#\tPLAIN\tservice=smtp\tresp=AG1haWwwMDAAd3Jvbmc=\n",
        "AUTH\t#\tPLAIN\tservice=smtp\tresp=\n",
        "AUTH\t#\tPLAIN\tservice=smtp\nCONT\t#\tAG1haWwwMDAAc2VjcmV0MDAw\n",
        "AUTH\t#\tLOGIN\tservice=imap\nCONT\t#\tbWFpbDAwMA==\nCONT\t#\tc2VjcmV0MDAw\n",
        "AUTH\t#\tLOGIN\tservice=imap\nCONT\t#\t!\n",
        "AUTH\t#\tLOGIN\tservice=imap\nCANCEL\t#\n",
        "CONT\t#\tAAAA\n",
    ]);
    vec(request, 0..20).prop_map(|requests| {
        let numbered =
            requests.iter().enumerate().map(|(n, text)| text.replace('#', &n.to_string()));
        ["VERSION\t1\t2\nCPID\t1\n".to_owned()]
            .into_iter()
            .chain(numbered)
            .collect::<String>()
            .into()
    })
}

fn case() -> impl Strategy<Value = Case> {
    // Hanging up depends on what else is open at that moment.
    prop_oneof![
        2 => Just(Case { down: false, hang_up: true }),
        1 => Just(Case { down: true, hang_up: false }),
    ]
}

proptest! {
    #[test]
    fn the_server_keeps_the_laws(case in case(), text in requests(), choices in choices()) {
        all(&case, &Script::silence([text]), &choices)?;
    }

    #[test]
    fn any_bytes_will_do(bytes in vec(any::<u8>(), 0..200), choices in choices()) {
        let case = Case { down: false, hang_up: true };
        all(&case, &Script::eof([bytes]), &choices)?;
    }
}
