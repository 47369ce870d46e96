//! A world that fails or does not answer: the client hears of a failure for now, nothing hangs.

mod fake;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fake::World;
use fake::client::Client;
use waypost_imap::Config;
use waypost_imap::server::NamedFlags;
use waypost_machine::Why;

fn selected() -> (Rc<RefCell<World>>, Client) {
    let mut world = World::new("u", "p");
    for n in 1..=3 {
        let octets = format!("Subject: m{n}\r\n\r\nbody {n}\r\n");
        world.deliver("INBOX", octets.into(), &NamedFlags::default(), 1_000_000);
    }
    world.create("Other");
    let world = Rc::new(RefCell::new(world));
    let config = Config { implicit_tls: false, plaintext_login: true, ..Config::default() };
    let mut client = Client::connect(&world, &Arc::new(config));
    client.command("l LOGIN u p");
    client.command("s SELECT INBOX");
    client.text();
    (world, client)
}

const DOWN: &str =
    "NO [UNAVAILABLE] Internal error occurred. Refer to server log for more information.\r\n";

#[test]
fn a_call_without_answer_is_a_failure_for_now() {
    let cases: &[(&'static [&'static str], &str, &str)] = &[
        (&["List"], "LIST \"\" *", DOWN),
        (&["List"], "LSUB \"\" *", DOWN),
        (&["Status"], "STATUS INBOX (MESSAGES)", DOWN),
        (&["Manage"], "CREATE New", DOWN),
        (&["Manage"], "UNSUBSCRIBE New", DOWN),
        (&["Open"], "SELECT INBOX", DOWN),
        (&["Store"], "STORE 1 +FLAGS (\\Seen)", DOWN),
        (&["Expunge"], "EXPUNGE", DOWN),
        (&["Expunge"], "CLOSE", "OK Close completed.\r\n"),
        (&["Copy"], "COPY 1 Other", DOWN),
        (&["Copy"], "MOVE 1 Other", DOWN),
        (&["Search"], "SEARCH ALL", DOWN),
        (&["Read"], "FETCH 1:* RFC822.SIZE", DOWN),
        (&["Begin"], "APPEND Other {3+}\r\nabc", DOWN),
        (&["Append"], "APPEND Other {3+}\r\nabc", DOWN),
        // What was done is done; what is new can be asked for again.
        (&["Sync"], "NOOP", "OK NOOP completed.\r\n"),
        (&["Sync"], "FETCH 1 UID", "OK Fetch completed.\r\n"),
        (&["Store"], "FETCH 1 BODY[]", "OK Fetch completed.\r\n"),
        (&["Watch"], "IDLE\r\nDONE", "OK Idle completed.\r\n"),
        (&["Sync"], "IDLE\r\nDONE", "OK Idle completed.\r\n"),
    ];
    for (mute, command, expected) in cases {
        let (world, mut client) = selected();
        client.mute = mute;
        let mut reply = client.command(&format!("a {command}"));
        for _ in 0..3 {
            client.wait(Duration::from_secs(61));
            reply += &client.text();
        }
        assert!(reply.ends_with(&format!("a {expected}")), "{command}: {reply}");
        client.mute = &[];
        let reply = client.command("z NOOP");
        assert!(reply.ends_with("z OK NOOP completed.\r\n"), "{command}: {reply}");
        client.command("x LOGOUT");
        assert_eq!(client.closed, Some(Why::Done));
        assert_eq!(world.borrow().open_uploads(), 0, "{command}");
    }
}

#[test]
fn what_is_done_to_many_messages_may_take_longer() {
    let mut world = World::new("u", "p");
    for _ in 0..500 {
        world.deliver("INBOX", "A: b\r\n\r\n".into(), &NamedFlags::default(), 1_000_000);
    }
    let world = Rc::new(RefCell::new(world));
    let config = Config { implicit_tls: false, plaintext_login: true, ..Config::default() };
    for (call, command) in [
        ("Store", "STORE 1:* +FLAGS (\\Deleted)"),
        ("Search", "SEARCH ALL"),
        ("Copy", "COPY 1:* INBOX"),
        ("Expunge", "EXPUNGE"),
        ("Expunge", "CLOSE"),
    ] {
        let mut client = Client::connect(&world, &Arc::new(config.clone()));
        client.command("l LOGIN u p");
        client.command("s SELECT INBOX");
        client.text();
        client.mute = Box::leak(Box::new([call]));
        client.command(&format!("a {command}"));
        client.wait(Duration::from_secs(69));
        assert_eq!(client.text(), "", "{command}");
        client.wait(Duration::from_secs(2));
        assert!(client.text().contains("a "), "{command}");
    }
}

#[test]
fn a_login_without_answer() {
    let (_, mut client) = selected();
    client.command("x LOGOUT");
    let world = Rc::new(RefCell::new(World::new("u", "p")));
    let config = Config { implicit_tls: false, plaintext_login: true, ..Config::default() };
    let mut client = Client::connect(&world, &Arc::new(config));
    client.text();
    client.mute = &["Login"];
    client.command("a LOGIN u p");
    client.wait(Duration::from_secs(62));
    assert_eq!(client.text(), "a NO [UNAVAILABLE] Temporary authentication failure.\r\n");
}

#[test]
fn a_body_without_answer_ends_the_session() {
    let (world, mut client) = selected();
    world.borrow_mut().bodies = 0;
    client.mute = &["Body"];
    let begun = client.command("a FETCH 1 BODY.PEEK[]");
    assert!(begun.ends_with("BODY[] {23}\r\n"), "{begun}");
    client.wait(Duration::from_secs(60));
    assert_eq!(client.text(), "");
    assert!(client.closed.is_some());
}

#[test]
fn a_mailbox_that_goes_away_ends_the_session() {
    for command in [
        "NOOP",
        "FETCH 1 FLAGS",
        "FETCH 1 BODY[]",
        "STORE 1 +FLAGS (\\Seen)",
        "SEARCH ALL",
        "EXPUNGE",
        "COPY 1 Other",
        "UID MOVE 1 Other",
    ] {
        let (world, mut client) = selected();
        world.borrow_mut().folders.remove("INBOX");
        let reply = client.command(&format!("a {command}"));
        let bye = "* BYE IMAP session state is inconsistent, please relogin.\r\n";
        assert!(reply.ends_with(bye), "{command}: {reply}");
        assert!(client.closed.is_some());
        assert_eq!(world.borrow().open_handles(), 0);
    }
}

#[test]
fn stopping_waits_for_a_message_that_is_being_made_durable() {
    let (world, mut client) = selected();
    client.mute = &["Commit"];
    client.command("a APPEND INBOX {3+}\r\nabc");
    client.stop();
    assert_eq!(client.closed, None);
    assert_eq!(client.text(), "");
    assert_eq!(world.borrow().open_uploads(), 1);
    let (world, mut client) = selected();
    client.command("a APPEND INBOX {5}\r\nab");
    client.stop();
    assert_eq!(client.text(), "* BYE Server shutting down.\r\n");
    assert_eq!(world.borrow().open_uploads(), 0);
}

#[test]
fn a_wrong_command_is_wrong_whatever_the_world_says() {
    let (world, mut client) = selected();
    world.borrow_mut().failing = &["Append"];
    let reply = client.command("a APPEND INBOX {3+}\r\nabc and more");
    assert_eq!(reply, "a BAD Error in IMAP command APPEND: Invalid arguments.\r\n");
    let reply = client.command("a APPEND INBOX {3+}\r\nabc");
    assert_eq!(reply, format!("a {DOWN}"));
    assert_eq!(world.borrow().open_uploads(), 0);
}
