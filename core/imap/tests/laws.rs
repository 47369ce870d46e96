//! The laws of machines over the IMAP server, in a good world and in bad ones.

mod fake;

use std::sync::Arc;
use std::time::Duration;

use fake::World;
use proptest::collection::vec;
use proptest::prelude::*;
use waypost_imap::Config;
use waypost_imap::server::{Call, NamedFlags, Reply, Server};
use waypost_laws::{Script, Subject, all, choices, lines, transcript};
use waypost_machine::{Answer, Limits, Why};
use waypost_mail::Peer;

#[derive(Clone, Debug)]
struct Case {
    config: Arc<Config>,
    failing: &'static [&'static str],
}

impl Subject for Case {
    type Protocol = Server;
    type World = World;

    fn protocol(&self) -> Server {
        let peer = Peer { ip: [127, 0, 1, 3].into(), port: 40_000, name: None };
        Server::new(self.config.clone(), peer)
    }

    fn world(&self) -> World {
        let mut world = world();
        world.failing = self.failing;
        world
    }

    fn answer(&self, world: &mut World, call: Call) -> Answer<Reply> {
        world.run(call)
    }

    fn is_commit(&self, call: &Call) -> bool {
        matches!(call, Call::Commit { .. } | Call::Abort { .. } | Call::Release { .. })
    }

    /// What lies in the mailboxes, and what is still held.
    fn outcome(&self, world: &World) -> String {
        let mut text =
            format!("{} handles, {} uploads", world.open_handles(), world.open_uploads());
        for (name, folder) in &world.folders {
            text += &format!("; {name}");
            for mail in &folder.mails {
                text += &format!(" {} {:?} {}", mail.uid, mail.flags, mail.octets.len());
            }
        }
        text
    }

    /// Small ones, so that they are met.
    fn limits(&self) -> Limits {
        Limits { input: 16 * 1024, output: 300, ..Limits::default() }
    }
}

const COMMANDS: &[&str] = &[
    "l LOGIN u p\r\n",
    "l LOGIN {1+}\r\nu {1+}\r\np\r\n",
    "a AUTHENTICATE PLAIN\r\nAHUAcA==\r\n",
    "s SELECT INBOX\r\n",
    "s EXAMINE INBOX\r\n",
    "s SELECT Other\r\n",
    "c CREATE Other\r\n",
    "c DELETE Other\r\n",
    "c RENAME Other INBOX.More\r\n",
    "c SUBSCRIBE INBOX\r\n",
    "t LIST \"\" * RETURN (CHILDREN SUBSCRIBED STATUS (MESSAGES UIDNEXT SIZE))\r\n",
    "t LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (% INBOX.%)\r\n",
    "t LSUB \"\" *\r\n",
    "t STATUS INBOX (MESSAGES UNSEEN UIDVALIDITY)\r\n",
    "f FETCH 1:* (FLAGS UID INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)\r\n",
    "f FETCH 1:* (BODY[] BODY.PEEK[HEADER.FIELDS (Subject To)] BODY[TEXT]<3.1000>)\r\n",
    "f FETCH 2 (BODY[1] BODY[1.MIME] BODY[2.HEADER.FIELDS (X)] RFC822.HEADER)\r\n",
    "f UID FETCH 2:9 FLAGS\r\n",
    "o STORE 1:2 +FLAGS (\\Deleted kw)\r\n",
    "o UID STORE 1:* -FLAGS.SILENT (\\Seen kw)\r\n",
    "e EXPUNGE\r\n",
    "e UID EXPUNGE 1:2\r\n",
    "y COPY 1:* Other\r\n",
    "y UID MOVE 2 INBOX\r\n",
    "h SEARCH OR SEEN NOT TEXT body UID 1:*\r\n",
    "h UID SEARCH RETURN (MIN MAX COUNT ALL) LARGER 10\r\n",
    "p APPEND INBOX (\\Seen kw2) {13+}\r\nSubject: a\r\n\r\n\r\n",
    "p APPEND INBOX {700}\r\n",
    "p APPEND Nowhere {5+}\r\n12345\r\n",
    "i IDLE\r\nDONE\r\n",
    "i IDLE\r\nwhat\r\n",
    "i IDLE\r\n",
    "n NOOP\r\n",
    "n CHECK\r\n",
    "n CLOSE\r\n",
    "n UNSELECT\r\n",
    "n CAPABILITY\r\n",
    "n ID NIL\r\n",
    "n NAMESPACE\r\n",
    "b BOGUS {3+}\r\nabc {4+}\r\nabcd\r\n",
    "b FETCH 1 (\r\n",
    "\r\n",
    "b STARTTLS\r\n",
    "q LOGOUT\r\n",
];

fn world() -> World {
    let mut world = World::new("u", "p");
    // Some messages come whole with what is read of them, others piece by piece.
    world.bodies = 3000;
    for n in 1..=4 {
        let text = "line of the body\r\n".repeat(n * n * 30);
        let octets = format!(
            "From: a@b\r\nSubject: m{n}\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
             --x\r\n\r\n{text}\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nX: y\r\n\r\nin\r\n--x--\r\n"
        );
        world.deliver("INBOX", octets.into(), &NamedFlags::default(), 1_000_000);
    }
    world
}

/// Most dialogues begin with a login, or little would happen.
fn dialogue() -> impl Strategy<Value = Vec<u8>> {
    let login = prop_oneof![
        4 => Just(&b"l LOGIN u p\r\ns SELECT INBOX\r\n"[..]),
        1 => Just(&b"a AUTHENTICATE PLAIN AHUAcA==\r\n"[..]),
        1 => Just(&b""[..]),
    ];
    (login, lines(COMMANDS)).prop_map(|(login, rest)| [login, &rest].concat())
}

fn case() -> impl Strategy<Value = Case> {
    // Without signs of life silence ends IDLE too (L11); with them a client may stay for ever.
    let tls = || Config { idle_notice: Duration::from_secs(3600), ..Config::default() };
    let clear = move || Config { implicit_tls: false, plaintext_login: true, ..tls() };
    let config = prop_oneof![
        2 => Just(clear()),
        1 => Just(tls()),
        1 => Just(Config { starttls: true, ..clear() }),
        1 => Just(Config { append_limit: 20, command_limit: 200, ..clear() }),
    ];
    const FAILING: &[&[&str]] = &[
        &["Sync"],
        &["Store"],
        &["Read"],
        &["Body"],
        &["Begin"],
        &["Append"],
        &["Commit"],
        &["List", "Status"],
        &["Open"],
        &["Search", "Copy", "Expunge"],
        &["Login"],
    ];
    let failing = prop_oneof![2 => Just(&[][..]), 1 => prop::sample::select(FAILING)];
    (config, failing).prop_map(|(config, failing)| Case { config: Arc::new(config), failing })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

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
        case in case(), bytes in vec(any::<u8>(), 0..300), login in any::<bool>(), choices in choices(),
    ) {
        let login = if login { &b"l LOGIN u p\r\ns SELECT INBOX\r\n"[..] } else { b"" };
        all(&case, &Script::eof([[login, &bytes].concat()]), &choices)?;
    }

    #[test]
    fn nothing_is_held_at_the_end(case in case(), text in dialogue()) {
        let seen = transcript(&case, &Script::eof([text]))?;
        prop_assert!(seen.outcome.starts_with("0 handles, 0 uploads"), "{}", seen);
    }
}

fn clear() -> Case {
    let config = Config { implicit_tls: false, plaintext_login: true, ..Config::default() };
    Case { config: Arc::new(config), failing: &[] }
}

/// The laws under twenty ways to cut, answer and wake.
fn some_choices(case: &Case, script: &Script) {
    for seed in 0..20u8 {
        let choices: Vec<u8> =
            (0..100).map(|n: u8| n.wrapping_mul(seed).wrapping_add(seed)).collect();
        all(case, script, &choices).unwrap();
    }
}

#[test]
fn every_command_in_turn() {
    let text = COMMANDS.iter().filter(|c| !c.contains("{700}") && !c.contains("STARTTLS"));
    let text = format!("l LOGIN u p\r\ns SELECT INBOX\r\n{}", text.copied().collect::<String>());
    let (case, script) = (clear(), Script::eof([text.into_bytes()]));
    let seen = transcript(&case, &script).unwrap();
    assert_eq!(seen.closed, Some(Why::Done), "it comes to LOGOUT: {seen}");
    some_choices(&case, &script);
}

/// Whether DONE comes at once or later: what the session itself did to its mailbox is noticed.
#[test]
fn idle_on_a_mailbox_that_this_session_took_away() {
    for command in ["DELETE Other", "RENAME Other More"] {
        let text = format!(
            "l LOGIN u p\r\nc CREATE Other\r\ns SELECT Other\r\nc {command}\r\ni IDLE\r\nDONE\r\n"
        );
        let (case, script) = (clear(), Script::eof([text.into_bytes()]));
        assert_eq!(transcript(&case, &script).unwrap().closed, Some(Why::Refused), "{command}");
        some_choices(&case, &script);
    }
}
