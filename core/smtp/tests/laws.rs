//! The laws of machines over the SMTP server, in a good world and in a bad one.

mod common;

use std::sync::Arc;

use common::{Faults, SPOOL_FULL, World, hostname, port25, port587};
use proptest::collection::vec;
use proptest::prelude::*;
use waypost_laws::{Script, Subject, all, choices, lines, transcript};
use waypost_machine::{Answer, Limits};
use waypost_mail::Peer;
use waypost_sasl::Mechanism;
use waypost_smtp::server::{BareNewline, Call, Config, Reply, Server, Tls};

#[derive(Debug)]
struct Case {
    config: Arc<Config>,
    faults: Faults,
}

impl Case {
    fn new(config: Config, faults: Faults) -> Self {
        Self { config: Arc::new(config), faults }
    }
}

impl Subject for Case {
    type Protocol = Server;
    type World = World;

    fn protocol(&self) -> Server {
        let peer = Peer { ip: [127, 0, 1, 3].into(), port: 40000, name: None };
        Server::new(Arc::clone(&self.config), peer)
    }

    fn world(&self) -> World {
        World { faults: self.faults.clone(), ..World::default() }
    }

    fn answer(&self, world: &mut World, call: Call) -> Answer<Reply> {
        world.answer(call)
    }

    fn is_commit(&self, call: &Call) -> bool {
        matches!(call, Call::Commit { .. } | Call::Abort { .. })
    }

    /// The messages that were taken.
    fn outcome(&self, world: &World) -> String {
        let taken = world.messages.iter().filter(|message| message.committed);
        let told = |message: &common::Received| {
            let envelope = &message.envelope;
            let to: Vec<_> = envelope.recipients.iter().map(|r| r.address.to_string()).collect();
            format!("{} {to:?} {}", envelope.sender, message.body.escape_ascii())
        };
        taken.map(told).collect::<Vec<_>>().join("; ")
    }

    /// Small ones, so that they are met.
    fn limits(&self) -> Limits {
        Limits { input: 16 * 1024, output: 300, ..Limits::default() }
    }
}

const LINES: &[&str] = &[
    "EHLO client.example.net\r\n",
    "HELO x\r\n",
    "STARTTLS\r\n",
    "AUTH PLAIN AG1haWwwMDAAc2VjcmV0MDAw\r\n",
    "AUTH PLAIN AG1haWwwMDAAd3Jvbmc=\r\n",
    "AUTH LOGIN\r\nbWFpbDAwMA==\r\nc2VjcmV0MDAw\r\n",
    "AUTH PLAIN\r\n*\r\n",
    "MAIL FROM:<someone@elsewhere.test> SIZE=100\r\n",
    "MAIL FROM:<>\r\nRCPT TO:<mail000@example.com>\r\nRCPT TO:<nobody@example.com>\r\n",
    "RCPT TO:<mail001@example.com> NOTIFY=NEVER\r\n",
    "DATA\r\n",
    "Subject: x\r\n\r\n..\r\nbare\n.\n\r.\r\n.\r\n",
    ".\r\n",
    "BDAT 10\r\n0123456789",
    "BDAT 14 LAST\r\nRSET\r\nQUIT\r\n\r\n",
    "BDAT x\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "VRFY mail000\r\n",
    "HELP\n",
    "BOGUS\r\n",
    "\r\n",
    "GET / HTTP/1.1\r\n",
    "QUIT\r\n",
    "NO",
];

/// Dialogues that get somewhere, more often than chance would.
fn dialogue() -> impl Strategy<Value = Vec<u8>> {
    let mail = "MAIL FROM:<a@b.test>\r\nRCPT TO:<mail000@example.com>\r\n";
    let body = prop_oneof![
        lines(&["x\r\n", "..\r\n", ".x\r\n", "\n", "\r", "Received: x\r\n", "\r\n"]),
        (1usize..3000)
            .prop_map(|n| b"a line of sixty bytes or so, as they come in messages\r\n".repeat(n)),
    ];
    let message =
        body.prop_map(move |body| [mail.as_bytes(), b"DATA\r\n", &body, b"\r\n.\r\n"].concat());
    let part = prop_oneof![3 => lines(LINES), 1 => message];
    vec(part, 1..4).prop_map(|parts| parts.concat())
}

fn case() -> impl Strategy<Value = Case> {
    let reply = || prop_oneof![3 => Just(None), 1 => Just(Some(SPOOL_FULL))];
    let faults = (any::<bool>(), reply(), reply(), reply()).prop_map(
        |(directory_down, begin, append, commit)| Faults {
            directory_down,
            begin,
            append,
            commit,
            ..Faults::default()
        },
    );
    let faults = prop_oneof![2 => Just(Faults::default()), 1 => faults];
    let login = || vec![Mechanism::Plain, Mechanism::Login];
    let config = prop_oneof![
        Just(port25()),
        Just(port587()),
        Just(Config { mechanisms: login(), auth_in_clear: true, ..port25() }),
        Just(Config { bare_newline: BareNewline::Reject, ..port25() }),
        Just(Config { tls: Tls::Implicit, ..port25() }),
        Just(Config { message_size_limit: 2000, hop_limit: 5, ..Config::new(hostname()) }),
        Just(Config { recipient_limit: 2, soft_error_limit: 2, hard_error_limit: 4, ..port25() }),
    ];
    (config, faults).prop_map(|(config, faults)| Case::new(config, faults))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_server_keeps_the_laws(
        case in case(), first in dialogue(), second in dialogue(), choices in choices(),
    ) {
        let parts = [first, second];
        all(&case, &Script::eof(parts.clone()), &choices)?;
        all(&case, &Script::silence(parts), &choices)?;
    }

    #[test]
    fn any_bytes_will_do(
        case in case(), bytes in vec(any::<u8>(), 0..300), choices in choices(),
    ) {
        all(&case, &Script::eof([bytes]), &choices)?;
    }
}

#[test]
fn the_dialogues_are_worth_it() {
    let case = Case::new(port25(), Faults::default());
    let message = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<mail000@example.com>\r\nDATA\r\n\
                    Subject: x\r\n\r\n..\r\nbare\n.\n\r.\r\n.\r\n";
    let script = Script::eof([b"EHLO x\r\nSTARTTLS\r\n".to_vec(), message.to_vec()]);
    let seen = transcript(&case, &script).unwrap();
    assert_eq!(seen.handshakes, 1);
    assert_eq!(
        seen.outcome,
        "a@b.test [\"mail000@example.com\"] Subject: x\\r\\n\\r\\n.\\r\\nbare\\r\\n.\\r\\n .\\r\\n"
    );
}
