//! Messages that come whole with what else is read of them.

mod fake;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use fake::World;
use fake::client::Client;
use waypost_imap::Config;
use waypost_imap::server::NamedFlags;

/// Messages of 100 to 2500 octets; `bodies` octets of them come whole.
fn selected(bodies: u32) -> Client {
    let mut world = World::new("u", "p");
    world.bodies = bodies;
    for n in 1..=8 {
        let text = "line of the body\r\n".repeat(n * n * 2);
        let octets = format!(
            "From: a@b\r\nSubject: m{n}\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
             --x\r\n\r\n{text}\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nX: y\r\n\r\nin\r\n--x--\r\n"
        );
        world.deliver("INBOX", octets.into(), &NamedFlags::default(), 1_000_000);
    }
    let config = Config { implicit_tls: false, plaintext_login: true, ..Config::default() };
    let mut client = Client::connect(&Rc::new(RefCell::new(world)), &Arc::new(config));
    client.command("l LOGIN u p");
    client.command("s SELECT INBOX");
    client.asked.clear();
    client
}

#[test]
fn the_answer_is_the_same_however_a_body_comes() {
    for command in [
        "FETCH 1:8 BODY.PEEK[]",
        "UID FETCH 1:* (FLAGS BODY.PEEK[TEXT] RFC822.SIZE)",
        "FETCH 1:8 (BODY[] BODY[1] BODY.PEEK[2.TEXT] BODY.PEEK[2.HEADER.FIELDS (X)])",
        "FETCH 2:7 (BODY.PEEK[]<10.50> BODY.PEEK[TEXT]<5000.7> BODY.PEEK[9])",
    ] {
        let answer = |bodies| selected(bodies).command(&format!("a {command}"));
        let piecewise = answer(0);
        assert!(piecewise.ends_with("a OK Fetch completed.\r\n"), "{piecewise}");
        for bodies in [150, 1000, 3000, u32::MAX] {
            assert_eq!(answer(bodies), piecewise, "{bodies} octets, {command}");
        }
    }
}

/// One way to the files and back: all is asked for at once.
#[test]
fn a_small_message_is_asked_for_once() {
    let mut client = selected(u32::MAX);
    client.mute = &["Read", "Sync"];
    client.command("a FETCH 3 BODY.PEEK[]");
    assert_eq!(client.asked, ["Read", "Sync"]);
    let mut client = selected(u32::MAX);
    assert!(client.command("a FETCH 3 BODY.PEEK[]").contains("Subject: m3"));
    assert_eq!(client.asked, ["Read", "Sync"]);
    // What is marked as read has to be told of before the news.
    let mut client = selected(u32::MAX);
    client.command("a FETCH 3 BODY[]");
    assert_eq!(client.asked, ["Read", "Store", "Sync"]);
    // A part is not worth all of the message.
    let mut client = selected(u32::MAX);
    client.command("a FETCH 3 BODY.PEEK[]<0.10>");
    assert_eq!(client.asked, ["Read", "Sync", "Body"]);
}

#[test]
fn news_of_the_way_are_told_at_the_end() {
    let mut client = selected(u32::MAX);
    client.mute = &["Sync"];
    let said = client.command("a FETCH 1 BODY.PEEK[]");
    assert!(said.contains("Subject: m1") && !said.contains("a OK"), "{said}");
    client.wait(std::time::Duration::from_secs(70));
    assert_eq!(client.text(), "a OK Fetch completed.\r\n");
}
