//! What is done to a message because a user sends it.

mod common;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use common::remote::everywhere;
use common::{Place, client, route, send};
use waypost_mail::{Client, Domain, Peer};
use waypost_route::rate::Rates;
use waypost_world::World;
use waypost_world::signer::{Message, SignError, Signer};

/// A client of a service for users.
fn user(login: Option<&str>) -> Client {
    Client { service: "submission/smtpd".into(), ..client(login) }
}

/// Takes away the one new message: what stands behind our Received field, and its queue id.
fn arrived(place: &Place) -> (String, String) {
    let mails = place.new_mail("mail000");
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    let (_, rest) = mail.split_once(" id ").unwrap();
    let (id, _) = rest.split_once('\n').unwrap();
    let (_, text) = mail.split_once("(UTC)\n").unwrap();
    let new = place.home().join("mail000/mailbox/new");
    std::fs::remove_file(new.join(&common::files(&new)[0])).unwrap();
    (text.to_owned(), id.to_owned())
}

const BARE: &str = "To: mail000\r\nBcc: secret@example.com\r\nSubject: bare\r\n\r\nBcc: body\r\n";

#[test]
fn what_is_missing_is_added_and_bcc_goes() {
    let place = Place::new();
    let world = place.world();
    let trusted = Client {
        peer: Peer { ip: IpAddr::from([127, 0, 0, 1]), ..client(None).peer },
        ..user(None)
    };
    for (client, from, written) in [
        (user(Some("mail001")), "mail001@example.com", "<mail001@example.com>"),
        (trusted, "", "<MAILER-DAEMON@mail.example.com>"),
    ] {
        send(&world, &client, from, "mail000@example.com", BARE).unwrap();
        let (text, id) = arrived(&place);
        let expected = format!(
            "To: mail000\nSubject: bare\nDate: Sun, 22 Nov 2026 12:00:00 +0000\nFrom: {written}\n\
             Message-ID: <20261122120000.{id}@mail.example.com>\n\nBcc: body\n"
        );
        assert_eq!(text, expected);
    }
    let ids = place.take_events().into_iter().filter_map(|event| match event {
        waypost_world::Event::MessageId { message_id, .. } => Some(message_id),
        _ => None,
    });
    assert!(ids.into_iter().all(|id| id.starts_with("<20261122120000.")));
}

/// A line of a mailbox file on top hides no Bcc.
#[test]
fn a_message_out_of_a_mailbox_file() {
    let place = Place::new();
    let world = place.world();
    let text = format!("From me Sun Nov 22 2026\r\n{BARE}");
    let from = "mail001@example.com";
    send(&world, &user(Some("mail001")), from, "mail000@example.com", &text).unwrap();
    let (text, _) = arrived(&place);
    let (header, body) = text.split_once("\n\n").unwrap();
    assert!(header.starts_with("Mailbox-Line: From me Sun Nov 22 2026\nTo: mail000\n"), "{header}");
    assert!(!header.contains("secret") && !body.contains("secret"), "{text}");
}

#[test]
fn what_is_whole_stays_as_it_is() {
    let place = Place::new();
    let world = place.world();
    let text = "DATE: never\r\nfrom : <mail001@example.com>\r\nmessage-id:\r\n <1@x>\r\n\
        Return-Path: <x@y>\r\n\r\n.\r\n..two dots\r\n";
    let from = "mail001@example.com";
    send(&world, &user(Some("mail001")), from, "mail000@example.com", text).unwrap();
    assert_eq!(arrived(&place).0, text.replace('\r', ""));
}

#[test]
fn mail_of_other_servers_stays_as_it_is() {
    let place = Place::new();
    let world = place.world();
    // The last one is from mynetworks, but on port 25: a relay, for all that we know.
    let relay = Client {
        peer: Peer { ip: IpAddr::from([127, 0, 0, 1]), ..client(None).peer },
        ..client(None)
    };
    for client in [client(None), user(None), relay] {
        send(&world, &client, "a@elsewhere.test", "mail000@example.com", BARE).unwrap();
        assert_eq!(arrived(&place).0, BARE.replace('\r', ""));
    }
}

/// Bcc could stand in the part that is not held.
#[test]
fn a_header_too_long_to_be_edited_is_refused() {
    let place = Place::new();
    let world = place.world();
    let text = format!("{}Bcc: secret@example.com\r\n\r\nx\r\n", "X: y\r\n".repeat(30_000));
    let from = "mail001@example.com";
    let reply = send(&world, &user(Some("mail001")), from, "mail000@example.com", &text);
    let reply = reply.unwrap_err().to_string();
    assert_eq!(reply, "552 5.3.4 Error: message header size exceeds limit");
    assert_eq!(place.new_mail("mail000"), Vec::<String>::new());
    // Nothing is edited in mail from elsewhere, so there it is taken.
    send(&world, &client(None), "a@elsewhere.test", "mail000@example.com", &text).unwrap();
    assert_eq!(arrived(&place).0, text.replace('\r', ""));
}

#[test]
fn who_may_write_from() {
    let place = Place::new();
    let from = "mail001@example.com";
    let send = |world: &World, client: &Client, header: &str| {
        let text = format!("{header}\r\n\r\nx\r\n");
        send(world, client, from, "mail000@example.com", &text).map_err(|it| it.to_string())
    };
    let mail001 = user(Some("mail001"));
    let foreign = "From: Chief <chief@bank.test>";
    let world = place.world();
    assert_eq!(send(&world, &mail001, foreign), Ok(()));
    world.stop();
    drop(world);

    let mut settings = place.settings();
    settings.check_authors = true;
    let world = World::start(settings).unwrap();
    for header in [
        "From: <mail001@example.com>",
        "From: Me <MAIL001@example.com>, Also me <mail001@mail.example.com>",
        "From: We: mail001@example.com, mail001@mail.example.com;",
        // Our own, then.
        "To: x",
    ] {
        assert_eq!(send(&world, &mail001, header), Ok(()), "{header}");
    }
    let refused = |header| send(&world, &mail001, header).unwrap_err();
    let not_owned =
        |who| format!("553 5.7.1 <{who}>: From address rejected: not owned by user mail001");
    assert_eq!(refused(foreign), not_owned("chief@bank.test"));
    let both = "From: mail001@example.com, mail000@example.com";
    assert_eq!(refused(both), not_owned("mail000@example.com"));
    assert_eq!(refused("From: mail001@example.com\r\nFrom: a@b.test"), not_owned("a@b.test"));
    let many = format!("From: {}", "mail001@example.com, ".repeat(30));
    for header in ["From: ", "From: nobody@", "From: undisclosed:;", &many] {
        let reply = refused(header);
        assert!(reply.starts_with("55") && reply.contains(" 5.7.1 "), "{header}: {reply}");
    }
    // Other servers write what they like.
    let text = format!("{foreign}\r\n\r\nx\r\n");
    let sent = common::send(&world, &client(None), "a@bank.test", "mail000@example.com", &text);
    assert_eq!(sent, Ok(()));
}

#[test]
fn how_much_one_may_send() {
    let place = Place::new();
    let mut settings = place.settings();
    settings.rates = Rates { login: [2, 0], client: [0, 3], ..Rates::default() };
    let world = World::start(settings).unwrap();
    let send = |client: &Client, from: &str| {
        send(&world, client, from, "mail000@example.com", BARE).map_err(|it| it.to_string())
    };
    let mail001 = user(Some("mail001"));
    let from = "mail001@example.com";
    for _ in 0..2 {
        assert_eq!(send(&mail001, from), Ok(()));
    }
    let refused = "450 4.7.1 Error: too much mail from mail001: 2 messages are allowed in one hour; \
        try again in 30 minutes";
    assert_eq!(send(&mail001, from), Err(refused.into()));
    // Whoever else sends is not touched, and after a while all is well.
    assert_eq!(send(&user(Some("mail000")), "mail000@example.com"), Ok(()));
    place.clock.advance(Duration::from_secs(1801));
    assert_eq!(send(&mail001, from), Ok(()));

    let refused = "450 4.7.1 Error: too many recipients from 192.0.2.7: 3 recipients are \
        allowed in one hour; try again in 20 minutes";
    let foreign = "a@elsewhere.test";
    for _ in 0..3 {
        assert_eq!(send(&client(None), foreign), Ok(()));
    }
    assert_eq!(send(&client(None), foreign), Err(refused.into()));
    let ours = Peer { ip: IpAddr::from([127, 0, 0, 1]), ..client(None).peer };
    let ours = Client { peer: ours, ..client(None) };
    for _ in 0..5 {
        assert_eq!(send(&ours, foreign), Ok(()));
    }
}

/// A recipient that is refused anyway is not counted.
#[test]
fn only_what_is_accepted_counts() {
    let place = Place::new();
    let mut settings = place.settings();
    settings.rates = Rates { login: [0, 1], ..Rates::default() };
    let world = World::start(settings).unwrap();
    let (client, from) = (user(Some("mail001")), "mail001@example.com");
    for _ in 0..3 {
        let reply = route(&world, &client, from, "nobody@example.com").unwrap_err();
        assert_eq!(reply.code, 550);
    }
    assert!(route(&world, &client, from, "mail000@example.com").is_ok());
    let reply = route(&world, &client, from, "mail000@example.com").unwrap_err();
    assert_eq!(reply.code, 450);
}

/// Names what it is given.
struct Stamp;

impl Signer for Stamp {
    fn signs(&self, domain: &Domain) -> bool {
        domain.as_str() == "example.com"
    }

    fn sign(&self, domain: &Domain, header: &[u8], rest: Message<'_>) -> Result<String, SignError> {
        let mut octets = header.len();
        rest(&mut |piece| octets += piece.len())?;
        Ok(format!("X-Signed: {domain} {octets}\r\n"))
    }
}

#[test]
fn what_leaves_is_signed() {
    let place = Place::new();
    let mut settings = place.settings();
    let (carrier, deliveries) = everywhere();
    settings.carrier = Some(carrier);
    settings.signer = Some(Arc::new(Stamp));
    let world = World::start(settings).unwrap();
    let mail001 = user(Some("mail001"));
    let sent = |client: &Client, from: &str, to: &str, author: &str| {
        let text = format!("From: {author}\r\nDate: x\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n");
        send(&world, client, from, to, &text).unwrap();
        let got = deliveries.next().text;
        let at = got.find("From: ").unwrap();
        assert_eq!(got[at..], text);
        (got.lines().next().unwrap().to_owned(), text.len())
    };
    let (ours, there) = ("mail001@example.com", "a@remote.test");
    let (top, octets) = sent(&mail001, ours, there, ours);
    assert_eq!(top, format!("X-Signed: example.com {octets}"));
    // Neither a domain without key, nor one that the login has not shown to be its own, nor mail of
    // others.
    for (client, from, to, author) in [
        (&mail001, "info@example.org", there, "info@example.org"),
        (&mail001, "info@example.org", there, ours),
        (&mail001, ours, there, "mail001@example.com, a@b.test"),
    ] {
        let (top, _) = sent(client, from, to, author);
        assert!(top.starts_with("Received: "), "{top}");
    }
    let (top, _) = sent(&client(None), "a@b.test", "forward@example.com", ours);
    assert_eq!(top, "Delivered-To: forward@example.com");
    // mynetworks may sign for every domain of ours.
    let trusted = Peer { ip: IpAddr::from([127, 0, 0, 1]), ..client(None).peer };
    let trusted = Client { peer: trusted, ..client(None) };
    assert!(sent(&trusted, "a@b.test", there, ours).0.starts_with("X-Signed: example.com"));
    // In mailboxes here there is no signature.
    send(&world, &mail001, ours, "mail000@example.com", BARE).unwrap();
    assert!(!arrived(&place).0.contains("X-Signed"));
}
