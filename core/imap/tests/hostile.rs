//! Clients that break the rules, or vanish: the server answers, stays in step, keeps its limits,
//! and gives back what it holds.

mod fake;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fake::World;
use fake::client::Client;
use waypost_imap::Config;
use waypost_imap::server::{Fact, NamedFlags};
use waypost_machine::Why;

fn world() -> Rc<RefCell<World>> {
    let mut world = World::new("u", "p");
    for n in 1..=3 {
        let octets = format!("Subject: m{n}\r\n\r\nbody {n}\r\n");
        world.deliver("INBOX", octets.into(), &NamedFlags::default(), 1_000_000);
    }
    Rc::new(RefCell::new(world))
}

fn clear() -> Config {
    Config { implicit_tls: false, plaintext_login: true, ..Config::default() }
}

fn logged_in(world: &Rc<RefCell<World>>) -> Client {
    let mut client = Client::connect(world, &Arc::new(clear()));
    client.text();
    assert!(client.command("l LOGIN u p").starts_with("l OK [CAPABILITY IMAP4rev1 "));
    client
}

fn selected(world: &Rc<RefCell<World>>) -> Client {
    let mut client = logged_in(world);
    assert!(client.command("s SELECT INBOX").ends_with("s OK [READ-WRITE] Select completed.\r\n"));
    client
}

#[test]
fn octets_of_refused_literals_are_never_commands() {
    let world = world();
    for refused in [
        "a XYZZY {11+}\r\nb EXPUNGE\r\n\r\n",
        "a APPEND INBOX \"no date\" {11+}\r\nb EXPUNGE\r\n\r\n",
        "a APPEND INBOX (\\Bogus) {11+}\r\nb EXPUNGE\r\n {11+}\r\nc EXPUNGE\r\n\r\n",
        "a APPEND NoSuch {11+}\r\nb EXPUNGE\r\n\r\n",
        "a APPEND INBOX {3+}\r\nx\r\n {11+}\r\nb EXPUNGE\r\n\r\n",
        "a APPEND INBOX {0+}\r\n {11+}\r\nb EXPUNGE\r\n\r\n",
        "a(b XYZZY {11+}\r\nb EXPUNGE\r\n\r\n",
        "a  XYZZY {11+}\r\nb EXPUNGE\r\n\r\n",
        "a SEARCH SUBJECT {70000+}\r\n",
    ] {
        let mut client = selected(&world);
        let text = match refused.contains("70000") {
            true => format!("{refused}{}\r\n", "b EXPUNGE\r\n".repeat(70_000 / 11 + 1)),
            false => refused.to_owned(),
        };
        let text = match refused.contains("70000") {
            true => format!("{}\r\n", &text[..refused.len() + 70_000]),
            false => text,
        };
        client.send(text.as_bytes());
        let reply = client.text();
        assert!(!reply.contains("xpunge"), "{refused:?}: {reply}");
        assert_eq!(reply.lines().count(), 1, "{refused:?}: {reply}");
        assert_eq!(client.command("z NOOP"), "z OK NOOP completed.\r\n", "{refused:?}");
        assert_eq!(world.borrow().open_uploads(), 0);
        client.command("x LOGOUT");
    }
}

/// It is read as far as it is here with each literal, so there must not be many.
#[test]
fn append_has_two_literals_at_most() {
    let world = world();
    let mut client = selected(&world);
    assert_eq!(client.command("a APPEND (x {1}"), "+ OK\r\n");
    let bad = "a BAD Error in IMAP command APPEND: Invalid arguments.\r\n";
    assert_eq!(client.command("y {1}"), bad);
    client.send(b"a APPEND (x {1+}\r\ny {11+}\r\nb EXPUNGE\r\n {1+}\r\nx)\r\n");
    assert_eq!(client.text(), bad);
    client.send(b"c APPEND {5+}\r\nINBOX (\\Seen) {1+}\r\nx\r\n");
    assert!(client.text().contains("c OK [APPENDUID "));
}

#[test]
fn a_long_line_with_a_literal_at_its_end() {
    let world = world();
    let mut client = selected(&world);
    let long = format!("a SEARCH SUBJECT \"{}\" {{11+}}\r\nb EXPUNGE\r\n\r\n", "x".repeat(100_000));
    client.send(long.as_bytes());
    assert_eq!(client.text(), "a BAD Error in IMAP command SEARCH: Too long argument.\r\n");
    client.send(
        format!("a APPEND INBOX {{1+}}\r\nx{} {{11+}}\r\nb EXPUNGE\r\n\r\n", "y".repeat(100_000))
            .as_bytes(),
    );
    assert_eq!(client.text(), "a BAD Error in IMAP command APPEND: Invalid arguments.\r\n");
    assert_eq!(client.command("z NOOP"), "z OK NOOP completed.\r\n");
}

#[test]
fn endless_lines_before_login_end_the_session() {
    let world = world();
    let mut client = Client::connect(&world, &Arc::new(clear()));
    client.text();
    client.send(&[b'x'; 10_000]);
    assert_eq!(client.text(), "");
    client.send(b"\r\n");
    assert_eq!(client.text(), "* BYE Input buffer full, aborting\r\n");
    assert_eq!(client.closed, Some(Why::Refused));
}

#[test]
fn passwords_in_clear_are_refused() {
    let config = Config { implicit_tls: false, starttls: true, ..Config::default() };
    let mut client = Client::connect(&world(), &Arc::new(config));
    let greeting = client.text();
    assert!(greeting.contains(" STARTTLS LOGINDISABLED] "), "{greeting}");
    assert!(client.command("a LOGIN u p").starts_with("a NO [PRIVACYREQUIRED] "));
    assert!(client.command("b AUTHENTICATE PLAIN AHUAcA==").starts_with("b NO [PRIVACYREQUIRED] "));
    assert_eq!(client.command("c STARTTLS"), "c OK Begin TLS negotiation now.\r\n");
    let listed = client.command("d CAPABILITY");
    assert!(listed.contains(" AUTH=PLAIN\r\n") && !listed.contains("STARTTLS"), "{listed}");
    assert!(client.command("e LOGIN u p").starts_with("* CAPABILITY "));
}

#[test]
fn octets_behind_starttls_end_the_session() {
    let config = Config { implicit_tls: false, starttls: true, ..Config::default() };
    let mut client = Client::connect(&world(), &Arc::new(config));
    client.text();
    client.send(b"a STARTTLS\r\nb NOOP\r\n");
    assert_eq!(client.text(), "a OK Begin TLS negotiation now.\r\n");
    assert_eq!(client.closed, Some(Why::Injected));
}

#[test]
fn what_was_held_is_given_back_however_it_ends() {
    let beginnings: [&[u8]; 7] = [
        b"",
        b"a FETCH 1:* (BODY[] ENVELOPE)\r\n",
        b"a IDLE\r\n",
        b"a IDLE\r\nDONE\r\n",
        b"a APPEND INBOX {100+}\r\nhalf of it",
        b"a APPEND INBOX {100}\r\n",
        b"a SEARCH TEXT {5}\r\n",
    ];
    for beginning in beginnings {
        for end in 0..4 {
            let world = world();
            let mut client = selected(&world);
            client.send(beginning);
            match end {
                0 => client.end(),
                1 => client.stop(),
                2 => client.gone(),
                // Who is there may idle for ever.
                _ if beginning == b"a IDLE\r\n" => continue,
                _ => {
                    client.said.clear();
                    while client.closed.is_none() {
                        client.said.clear();
                        client.wait(Duration::from_secs(3600));
                    }
                }
            }
            let expected = [Why::Gone, Why::Stopped, Why::Gone, Why::Timeout][end];
            assert_eq!(client.closed, Some(expected), "{beginning:?}");
            assert_eq!(world.borrow().open_handles(), 0, "{beginning:?}");
            assert_eq!(world.borrow().open_uploads(), 0, "{beginning:?}");
            let last = client.facts.last();
            assert!(matches!(last, Some(Fact::Disconnected { user: Some(_), .. })), "{last:?}");
        }
    }
}

#[test]
fn nothing_goes_on_for_a_client_that_is_gone() {
    for (mute, command) in [
        ("Read", "a FETCH 1:* ENVELOPE\r\nb FETCH 1:* ENVELOPE\r\n"),
        ("Body", "a FETCH 1:* BODY.PEEK[]<1.2>\r\n"),
        ("Search", "a SEARCH BODY x\r\n"),
        ("Append", "a APPEND INBOX {3+}\r\nabc\r\n"),
    ] {
        let world = world();
        let mut client = selected(&world);
        client.mute = &["Read", "Body", "Search", "Append"];
        client.send(command.as_bytes());
        let asked = client.asked.iter().filter(|name| *name == mute).count();
        client.gone();
        assert_ne!(client.closed, None, "{command:?}");
        assert_eq!(client.asked.iter().filter(|name| *name == mute).count(), asked);
        assert_eq!(world.borrow().open_handles(), 0, "{command:?}");
        assert_eq!(world.borrow().open_uploads(), 0, "{command:?}");
    }
    // What is being made durable is.
    let mut client = logged_in(&world());
    client.mute = &["Commit"];
    client.send(b"a APPEND INBOX {3+}\r\nabc\r\nb LOGOUT\r\n");
    client.gone();
    assert_eq!((client.closed, client.text().as_str()), (None, ""));
    assert!(!client.asked.iter().any(|name| name == "Abort"), "{:?}", client.asked);
}

#[test]
fn a_client_that_reads_nothing_is_not_read_from() {
    let world = world();
    let large = Bytes::from(vec![b'x'; 1 << 20]);
    world.borrow_mut().deliver("INBOX", large, &NamedFlags::default(), 0);
    let mut client = selected(&world);
    client.room = 0;
    client.send(b"a UID FETCH 1:* BODY.PEEK[]\r\n");
    for _ in 0..20 {
        client.send(b"b UID FETCH 1:* BODY.PEEK[]\r\n");
    }
    assert_eq!(client.text(), "");
    client.room = 1000;
    client.send(b"c NOOP\r\n");
    let text = client.text();
    assert_eq!(text.matches("BODY[] {1048576}").count(), 21);
    assert!(text.ends_with("c OK NOOP completed.\r\n"));
}

#[test]
fn failed_logins_are_late_and_count_nothing() {
    let world = world();
    let mut client = Client::connect(&world, &Arc::new(clear()));
    client.text();
    for _ in 0..5 {
        assert_eq!(client.command("a LOGIN u wrong"), "");
        client.wait(Duration::from_millis(1999));
        assert_eq!(client.text(), "");
        client.wait(Duration::from_millis(1));
        assert_eq!(client.text(), "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n");
    }
    world.borrow_mut().directory_down = true;
    client.command("a LOGIN u p");
    client.wait(Duration::from_secs(2));
    assert_eq!(client.text(), "a NO [UNAVAILABLE] Temporary authentication failure.\r\n");
    let failed = |down| Fact::LoginFailed { user: "u".into(), method: "PLAIN", unavailable: down };
    assert_eq!(client.facts.first(), Some(&failed(false)));
    assert_eq!(client.facts.last(), Some(&failed(true)));
}

#[test]
fn a_client_that_says_nothing_is_sent_away() {
    let mut client = Client::connect(&world(), &Arc::new(clear()));
    client.text();
    client.wait(Duration::from_secs(179));
    assert_eq!(client.text(), "");
    client.wait(Duration::from_secs(1));
    assert_eq!(client.text(), "* BYE Disconnected for inactivity.\r\n");
    let mut client = selected(&world());
    client.wait(Duration::from_secs(30 * 60 - 1));
    assert_eq!(client.text(), "");
    client.wait(Duration::from_secs(1));
    assert_eq!(client.text(), "* BYE Disconnected for inactivity.\r\n");
}

#[test]
fn a_handshake_puts_off_no_login() {
    let config = Config { starttls: true, ..clear() };
    let mut client = Client::connect(&world(), &Arc::new(config));
    client.text();
    client.wait(Duration::from_secs(150));
    client.handshake = Duration::from_secs(50);
    // The three minutes are over in the handshake.
    let said = "a OK Begin TLS negotiation now.\r\n* BYE Disconnected for inactivity.\r\n";
    assert_eq!(client.command("a STARTTLS"), said);
    assert_eq!(client.closed, Some(Why::Timeout));
}

#[test]
fn idle_says_that_it_lives() {
    let mut client = selected(&world());
    assert_eq!(client.command("a IDLE"), "+ idling\r\n");
    client.wait(Duration::from_secs(120));
    assert_eq!(client.text(), "* OK Still here\r\n");
    // Some clients never say DONE; as long as they are there, that is all right.
    for _ in 0..60 {
        client.wait(Duration::from_secs(120));
        assert_eq!(client.text(), "* OK Still here\r\n");
    }
    assert_eq!(client.command("DONE"), "a OK Idle completed.\r\n");
    client.wait(Duration::from_secs(1000));
    assert_eq!(client.text(), "");
}

#[test]
fn messages_may_come_octet_by_octet() {
    let world = world();
    let mut client = logged_in(&world);
    let message = "Subject: slow\r\n\r\n".to_owned() + &"word ".repeat(300);
    client.send(format!("a APPEND INBOX {{{}}}\r\n", message.len()).as_bytes());
    assert_eq!(client.text(), "+ OK\r\n");
    for octet in message.as_bytes() {
        client.send(&[*octet]);
    }
    assert!(client.command("").starts_with("a OK [APPENDUID "));
    let folder = &world.borrow().folders["INBOX"];
    assert_eq!(folder.mails.last().unwrap().octets, message);
}

#[test]
fn a_trickle_is_no_message() {
    let world = world();
    let inactive = "* BYE Disconnected for inactivity.\r\n";
    // In the message, in one that is refused and only read, and behind it.
    for begin in [
        "a APPEND INBOX {100000}\r\n",
        "a APPEND NoSuch {100000+}\r\n",
        "a APPEND INBOX {3+}\r\nabc {100000+}\r\n",
    ] {
        let mut client = logged_in(&world);
        client.send(begin.as_bytes());
        client.text();
        for _ in 0..4 {
            client.send(b"x");
            client.wait(Duration::from_secs(70));
        }
        assert_eq!((client.text().as_str(), client.closed), ("", None), "{begin:?}");
        client.wait(Duration::from_secs(20));
        assert_eq!((client.text().as_str(), client.closed), (inactive, Some(Why::Timeout)));
    }
    assert_eq!(world.borrow().open_uploads(), 0);
    // Who sends enough may take longer.
    let mut client = logged_in(&world);
    client.send(format!("a APPEND INBOX {{{}}}\r\n", 20 * Config::PROGRESS).as_bytes());
    assert_eq!(client.text(), "+ OK\r\n");
    for _ in 0..20 {
        client.send(&[b'x'; Config::PROGRESS]);
        client.wait(Duration::from_secs(200));
        assert_eq!(client.text(), "");
    }
    assert!(client.command("").starts_with("a OK [APPENDUID "));
}

#[test]
fn large_headers_are_brought_a_few_at_a_time() {
    let world = world();
    for size in [100, 1_000_000] {
        let count = {
            let mut world = world.borrow_mut();
            let octets = format!("Subject: {}\r\n\r\n", "x".repeat(size));
            let none = waypost_imap::server::NamedFlags::default();
            for _ in 0..200 {
                world.deliver("INBOX", octets.clone().into(), &none, 1_000_000);
            }
            world.reads.clear();
            world.folders["INBOX"].mails.len()
        };
        let mut client = selected(&world);
        let first = count - 199;
        let reply = client.command(&format!("a FETCH {first}:* BODY.PEEK[HEADER.FIELDS (TO)]"));
        assert!(reply.ends_with("a OK Fetch completed.\r\n"));
        client.command("b LOGOUT");
        let reads = &world.borrow().reads;
        assert_eq!(reads.iter().sum::<usize>(), 200);
        match size {
            100 => assert!(reads.len() < 12 && reads.contains(&64), "{reads:?}"),
            _ => assert!(reads.iter().skip(2).all(|count| *count <= 4), "{reads:?}"),
        }
    }
}

/// Ten octets of header may be a kilobyte of envelope: it is made when the client reads.
#[test]
fn responses_are_made_as_they_are_read() {
    let world = world();
    let octets = format!("From: {}\r\n\r\n", ",".repeat(9000));
    for _ in 0..40 {
        world.borrow_mut().deliver("INBOX", octets.clone().into(), &NamedFlags::default(), 0);
    }
    let mut client = selected(&world);
    client.asked.clear();
    client.room = 0;
    client.send(b"a FETCH 4:* ENVELOPE\r\n");
    // More messages would have been asked for, had all that are here been rendered.
    assert_eq!(client.asked, ["Read", "Read"]);
    client.room = usize::MAX;
    let reply = client.command("b NOOP");
    assert_eq!(reply.matches(" FETCH (ENVELOPE (").count(), 40);
    assert!(reply.ends_with("a OK Fetch completed.\r\nb OK NOOP completed.\r\n"));
}

/// Fields of a large header, in many ways: none is made, or asked for, before its turn.
#[test]
fn fields_are_picked_as_they_are_read() {
    let world = world();
    let large = format!("A: 1\r\nB: {}\r\nC: 3\r\n\r\n", "x".repeat(200_000));
    let inner = format!("Content-Type: message/rfc822\r\n\r\n{large}body\r\n");
    world.borrow_mut().deliver("INBOX", inner.into(), &NamedFlags::default(), 0);
    world.borrow_mut().deliver("INBOX", large.clone().into(), &NamedFlags::default(), 0);
    for (seq, part, calls) in [(4, "1.", 2), (5, "", 0)] {
        let mut client = selected(&world);
        client.asked.clear();
        let item = |n| format!("BODY.PEEK[{part}HEADER.FIELDS.NOT (X{n})]");
        let many: Vec<String> = (0..20).map(item).collect();
        client.room = 0;
        client.send(format!("a FETCH {seq} ({})\r\n", many.join(" ")).as_bytes());
        // One that is read now, and one ahead.
        assert_eq!(client.asked.iter().filter(|name| *name == "Body").count(), calls);
        client.room = usize::MAX;
        let reply = client.command("b NOOP");
        let literal = format!("{{{}}}\r\n{large}", large.len());
        assert_eq!(reply.matches(&literal).count(), 20);
        assert!(reply.ends_with("a OK Fetch completed.\r\nb OK NOOP completed.\r\n"));
        let some = format!(
            "c FETCH {seq} (BODY.PEEK[{part}HEADER.FIELDS (A C)] UID BODY.PEEK[{part}HEADER.FIELDS (B)]<3.4>)"
        );
        let expected = format!(
            "* {seq} FETCH (UID {seq} BODY[{part}HEADER.FIELDS (A C)] {{14}}\r\nA: 1\r\nC: 3\r\n\r\n \
             BODY[{part}HEADER.FIELDS (B)]<3> {{4}}\r\nxxxx)\r\nc OK Fetch completed.\r\n"
        );
        assert_eq!(client.command(&some), expected);
    }
}
