//! Random dialogues: however they are cut, however slowly they are read, the server says the same.

mod fake;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fake::World;
use fake::client::Client;
use proptest::prelude::*;
use waypost_imap::Config;
use waypost_imap::server::NamedFlags;

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
    "q LOGOUT\r\n",
];

fn world() -> World {
    let mut world = World::new("u", "p");
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

/// What the server says to these pieces, read so many octets at a time.
fn transcript(pieces: &[&[u8]], room: usize) -> (Vec<u8>, bool) {
    let world = Rc::new(RefCell::new(world()));
    let config = Config {
        implicit_tls: false,
        plaintext_login: true,
        failure_delay: Duration::from_millis(1),
        append_limit: 1 << 20,
        ..Config::default()
    };
    let mut client = Client::connect(&world, &Arc::new(config));
    client.room = room;
    for piece in pieces {
        client.send(piece);
    }
    client.end();
    assert!(client.closed.is_some(), "it ends when the client is gone");
    assert_eq!(world.borrow().open_handles(), 0);
    assert_eq!(world.borrow().open_uploads(), 0);
    let said = std::mem::take(&mut client.said);
    (said, client.closed == Some(waypost_machine::Why::Done))
}

fn dialogue() -> impl Strategy<Value = Vec<u8>> {
    let command = prop::sample::select(COMMANDS).prop_map(|c| c.as_bytes().to_vec());
    let noise = prop::collection::vec(any::<u8>(), 0..30);
    let piece = prop_oneof![20 => command, 1 => noise];
    prop::collection::vec(piece, 0..25).prop_map(|pieces| {
        // Most dialogues begin with a login, or little would happen.
        [b"l LOGIN u p\r\ns SELECT INBOX\r\n".to_vec(), pieces.concat()].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn cutting_and_slow_reading_change_nothing(
        text in dialogue(),
        cuts in prop::collection::vec(0usize..2000, 0..12),
        room in 1usize..3000,
    ) {
        let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
        let whole = transcript(&[&text], usize::MAX);
        prop_assert_eq!(&transcript(&pieces, usize::MAX), &whole);
        prop_assert_eq!(&transcript(&[&text], room), &whole);
    }

    #[test]
    fn any_octets_are_safe(text in prop::collection::vec(any::<u8>(), 0..300)) {
        transcript(&[&text], usize::MAX);
        transcript(&[b"l LOGIN u p\r\n", &text], 7);
    }
}

#[test]
fn octet_by_octet() {
    let text = COMMANDS.iter().filter(|c| !c.contains("{700}")).copied().collect::<String>();
    let text = format!("l LOGIN u p\r\ns SELECT INBOX\r\n{text}");
    let pieces: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    let whole = transcript(&[text.as_bytes()], usize::MAX);
    assert!(whole.1, "it comes to LOGOUT");
    assert_eq!(transcript(&pieces, usize::MAX), whole);
}
