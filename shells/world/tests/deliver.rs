//! Messages from SMTP sessions into mailboxes and through the spool.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use common::fragile::Fragile;
use common::{NOON, Place, address, call, client, files, sender, wait};
use waypost_machine::{Ledger, UnixTime};
use waypost_mail::{Body, Delivery, Domain, Envelope, Notify, Recipient, Reply, Target, Verdict};
use waypost_queue::Selection;
use waypost_smtp::server::{self as smtp, MessageId};
use waypost_world::{Event, Grade, StartError, Status, Unusable, World};

fn at(secs: i64) -> UnixTime {
    UnixTime { secs, nanos: 0 }
}

/// RCPT TO, as a client with a login may give it.
fn recipient(world: &World, to: &str) -> Recipient {
    let reply = call(world, |ticket| smtp::Call::Recipient {
        client: Arc::new(client(Some("mail000"))),
        sender: sender("mail000@example.com"),
        recipient: address(to),
        ticket,
    });
    match reply {
        smtp::Reply::Verdict(Verdict::Accept(deliveries)) => {
            Recipient { address: address(to), deliveries, notify: None, orcpt: None }
        }
        other => panic!("{other:?}"),
    }
}

fn envelope(recipients: Vec<Recipient>) -> Envelope {
    Envelope {
        client: client(None),
        sender: sender("someone@elsewhere.test"),
        recipients,
        arrived: at(NOON),
        size: None,
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
    }
}

fn begin(world: &World, envelope: Envelope) -> MessageId {
    let reply = call(world, |ticket| smtp::Call::Begin { envelope: Arc::new(envelope), ticket });
    match reply {
        smtp::Reply::Begun(smtp::Begun::Ready { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

fn append(world: &World, message: MessageId, text: &str) {
    let chunks = vec![Bytes::copy_from_slice(text.as_bytes())];
    call(world, |ticket| smtp::Call::Append { message, chunks, ticket });
}

fn commit(world: &World, message: MessageId) -> Result<(), Reply> {
    match call(world, |ticket| smtp::Call::Commit { message, ticket }) {
        smtp::Reply::Committed(smtp::Committed::Done) => Ok(()),
        smtp::Reply::Committed(smtp::Committed::Failed(reply)) => Err(reply),
        other => panic!("{other:?}"),
    }
}

const TEXT: &str = "From: <a@b>\r\nMessage-ID: <1@x>\r\n\r\nHello.\r\n.\r\n";

fn send(world: &World, recipients: Vec<Recipient>) -> Result<(), Reply> {
    let message = begin(world, envelope(recipients));
    let (a, b) = TEXT.split_at(20);
    append(world, message, a);
    append(world, message, b);
    commit(world, message)
}

fn to(world: &World, all: &[&str]) -> Vec<Recipient> {
    all.iter().map(|to| recipient(world, to)).collect()
}

fn short(event: &Event) -> String {
    match event {
        Event::Client { .. } => "client".into(),
        Event::MessageId { message_id, .. } => format!("message-id={message_id}"),
        Event::Active { sender, size, recipients, .. } => {
            format!("from=<{sender}>, size={size}, nrcpt={recipients}")
        }
        Event::Delivery(it) => format!(
            "to=<{}>, orig_to=<{}>, relay={}, dsn={}, status={} ({})",
            it.to,
            it.orig_to,
            it.relay,
            it.dsn,
            it.status.word(),
            it.text
        ),
        Event::Notified { kind, report, .. } => format!("notified: {kind:?} {report}"),
        Event::Expired { .. } => "expired".into(),
        Event::Removed { .. } => "removed".into(),
        Event::Abandoned => "abandoned".into(),
    }
}

fn log(place: &Place) -> Vec<String> {
    place.take_events().iter().map(short).collect()
}

#[test]
fn one_recipient_gets_it_at_once() {
    let place = Place::new();
    let world = place.world();
    send(&world, to(&world, &["postmaster@example.org"])).unwrap();
    let mails = place.new_mail("mail000");
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    let id = mail.split_once(" id ").unwrap().1.split_once('\n').unwrap().0;
    let expected = format!(
        "Return-Path: <someone@elsewhere.test>\n\
         X-Original-To: postmaster@example.org\n\
         Delivered-To: mail000@mail.example.com\n\
         Received: from client.example.net (unknown [192.0.2.7])\n\
         \tby mail.example.com (Waypost) with ESMTP id {id}\n\
         \tfor <postmaster@example.org>; Sun, 22 Nov 2026 12:00:00 +0000 (UTC)\n{}",
        TEXT.replace('\r', "")
    );
    assert_eq!(*mail, expected);
    let received = mail.find("From:").unwrap() - mail.find("Received:").unwrap();
    assert_eq!(
        log(&place),
        [
            "client".to_owned(),
            "message-id=<1@x>".into(),
            format!(
                "from=<someone@elsewhere.test>, size={}, nrcpt=1",
                received + TEXT.replace('\r', "").len()
            ),
            "to=<mail000@mail.example.com>, orig_to=<postmaster@example.org>, relay=virtual, \
             dsn=2.0.0, status=sent (delivered to maildir)"
                .into(),
            "removed".into(),
        ]
    );
    assert_eq!(files(&place.spool()), Vec::<String>::new());
    assert_eq!(world.queued(), 0);
}

#[test]
fn everybody_gets_it_once() {
    let place = Place::new();
    let world = place.world();
    let all = ["team@example.com", "mail000@example.com", "info@example.org"];
    send(&world, to(&world, &all)).unwrap();
    for user in ["mail000", "mail001"] {
        let mails = place.new_mail(user);
        assert_eq!(mails.len(), 1, "{user}");
        assert!(mails[0].contains("X-Original-To: team@example.com\n"), "{}", mails[0]);
        assert!(!mails[0].contains("\tfor <"), "more than one recipient");
    }
    assert_eq!(files(&place.spool()), Vec::<String>::new());
}

#[test]
fn an_abort_leaves_nothing() {
    let place = Place::new();
    let world = place.world();
    let message = begin(&world, envelope(to(&world, &["team@example.com"])));
    append(&world, message, TEXT);
    call(&world, |ticket| smtp::Call::Abort { message, ticket });
    assert!(place.new_mail("mail000").is_empty());
    assert_eq!(files(&place.home().join("mail000/mailbox/tmp")), Vec::<String>::new());
    assert_eq!(files(&place.spool()), Vec::<String>::new());
    assert!(commit(&world, message).is_err(), "it is not there any more");
}

#[test]
fn text_without_header_stays_text() {
    let place = Place::new();
    let world = place.world();
    let message = begin(&world, envelope(to(&world, &["mail001@example.com"])));
    append(&world, message, "Just text, no header\r\n");
    commit(&world, message).unwrap();
    assert!(place.new_mail("mail001")[0].ends_with("(UTC)\n\nJust text, no header\n"));
    let message = begin(&world, envelope(to(&world, &["mail001@example.com"])));
    commit(&world, message).unwrap();
    assert_eq!(place.new_mail("mail001").len(), 2, "an empty message is a message");
}

#[test]
fn loops_are_refused() {
    let place = Place::new();
    let world = place.world();
    let refused = |to_all: &[&str], text: &str| {
        let message = begin(&world, envelope(to(&world, to_all)));
        append(&world, message, text);
        commit(&world, message)
    };
    let hops = format!("{}\r\n", "Received: x\r\n".repeat(51));
    assert_eq!(refused(&["mail001@example.com"], &hops).unwrap_err().code, 554);
    let round = "Delivered-To: MAIL001@mail.example.com\r\n\r\n";
    let reply = refused(&["mail001@example.com"], round).unwrap_err();
    assert_eq!(reply.to_string(), "554 5.4.6 mail forwarding loop for mail001@mail.example.com");
    assert!(place.new_mail("mail001").is_empty());
    // Others still get it; for the one it comes back.
    refused(&["team@example.com"], round).unwrap();
    until(
        &place,
        "to=<mail001@mail.example.com>, orig_to=<team@example.com>, relay=virtual, dsn=5.4.6, \
         status=bounced (mail forwarding loop for mail001@mail.example.com)",
    );
    until(&place, "notified: Failed ");
    world.stop();
    assert_eq!(place.new_mail("mail000").len(), 1);
    assert!(place.new_mail("mail001").is_empty());
}

#[test]
fn a_remote_recipient_waits_and_the_others_do_not() {
    let place = Place::new();
    let world = place.world();
    send(&world, to(&world, &["someone@remote.test", "mail000@example.com"])).unwrap();
    assert_eq!(place.new_mail("mail000").len(), 1);
    assert_eq!(world.queued(), 1);
    until(
        &place,
        "to=<someone@remote.test>, orig_to=<someone@remote.test>, relay=none, dsn=4.3.0, \
         status=deferred (mail transport unavailable)",
    );
    let lines = log(&place);
    assert!(!lines.contains(&"removed".to_owned()));
    // It survives a restart, and nobody gets it twice.
    world.stop();
    let world = place.world();
    assert_eq!(world.queued(), 1);
    world.flush_queue();
    until(&place, "to=<someone@remote.test>");
    world.stop();
    assert_eq!(place.new_mail("mail000").len(), 1);
    assert_eq!(files(&place.spool()).len(), 2);
}

/// True when nothing in the queue is tried, or about to be.
fn rests(world: &World) -> bool {
    let all = wait(|done| world.destinations(done)).unwrap();
    all.iter().all(|destination| destination.busy == 0)
        && wait(|done| world.queue(Selection::All, done))
            .unwrap()
            .iter()
            .all(|listed| listed.place == waypost_queue::Place::Deferred)
}

/// Waits until the queue rests: what is due later is known by then.
fn until_rest(world: &World) {
    let start = std::time::Instant::now();
    while !rests(world) {
        std::thread::yield_now();
        assert!(start.elapsed() < Duration::from_secs(20), "the queue does not rest");
    }
}

/// Waits until the queue is empty: a message is counted out just after the log has it.
fn until_empty(world: &World) {
    let start = std::time::Instant::now();
    while world.queued() > 0 {
        std::thread::yield_now();
        assert!(start.elapsed() < Duration::from_secs(20), "the queue does not empty");
    }
}

/// Waits until the log has a line that begins so.
fn until(place: &Place, line: &str) {
    let (mut tries, start) = (0_u64, std::time::Instant::now());
    while !place.events.lock().unwrap().iter().any(|event| short(event).starts_with(line)) {
        std::thread::yield_now();
        tries += 1;
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(20), "no '{line}' after {tries} tries");
    }
}

#[test]
fn a_mailbox_that_fails_waits_alone() {
    let place = Place::new();
    let world = place.world();
    // A file where the Maildir should be.
    std::fs::create_dir(place.home().join("mail001")).unwrap();
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(place.home().join("mail001"), all).unwrap();
    std::fs::write(place.home().join("mail001/mailbox"), "in the way").unwrap();
    send(&world, to(&world, &["team@example.com"])).unwrap();
    assert_eq!(place.new_mail("mail000").len(), 1);
    assert_eq!(world.queued(), 1);
    let lines = log(&place);
    assert!(lines.iter().any(|l| l.contains("to=<mail001@") && l.contains("status=deferred")));
    // Alone it waits in the spool just the same.
    send(&world, to(&world, &["mail001@example.com"])).unwrap();
    assert_eq!(world.queued(), 2);
    // Not yet due, then due but still in the way, then free.
    world.run_queue();
    place.clock.advance(Duration::from_secs(301));
    world.run_queue();
    until(&place, "to=<mail001@mail.example.com>, orig_to=<mail001@example.com>, relay=virtual");
    until_rest(&world);
    std::fs::remove_file(place.home().join("mail001/mailbox")).unwrap();
    place.take_events();
    place.clock.advance(Duration::from_secs(5000));
    world.run_queue();
    until(&place, "removed");
    place.take_events();
    world.stop();
    let world = place.world();
    world.flush_queue();
    until_empty(&world);
    world.stop();
    let mails = place.new_mail("mail001");
    assert_eq!(mails.len(), 2);
    assert!(mails.iter().all(|mail| mail.ends_with(&TEXT.replace('\r', ""))));
    assert!(mails.iter().any(|mail| mail.contains("X-Original-To: team@example.com\n")));
    assert_eq!(place.new_mail("mail000").len(), 1, "never again for the other");
    assert_eq!(files(&place.spool()), Vec::<String>::new());
}

#[test]
fn what_was_nonsense_is_asked_again() {
    let place = Place::new();
    let world = place.world();
    let later = Delivery {
        to: address("mail000@mail.example.com"),
        orig_to: address("sales@example.net"),
        target: Target::Later(Reply::new(
            451,
            waypost_mail::Enhanced(4, 3, 5),
            "two homes for one address",
        )),
    };
    let recipient = Recipient {
        address: address("sales@example.net"),
        deliveries: vec![later],
        notify: None,
        orcpt: None,
    };
    send(&world, vec![recipient]).unwrap();
    until(&place, "removed");
    let mails = place.new_mail("mail000");
    assert!(mails[0].contains("X-Original-To: sales@example.net\n"), "{mails:?}");
    until_empty(&world);
}

#[test]
fn a_crowd_goes_through_the_spool() {
    let place = Place::new();
    let mut ldif = std::fs::read_to_string(place.dir.path().join("mail.ldif")).unwrap();
    for n in 0..70 {
        ldif.push_str(&format!(
            "\ndn: uid=u{n},ou=Mail,dc=example,dc=com\nobjectClass: posixAccount\nuid: u{n}\n\
             uidNumber: {}\ngidNumber: 30000\nhomeDirectory: {}/u{n}\n\
             maildrop: u{n}@mail.example.com\n",
            30000 + n,
            place.home().display()
        ));
    }
    std::fs::write(place.dir.path().join("mail.ldif"), ldif).unwrap();
    place.clock.advance(Duration::from_secs(1));
    let world = place.world();
    let names: Vec<String> = (0..70).map(|n| format!("u{n}@mail.example.com")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    send(&world, to(&world, &all)).unwrap();
    until(&place, "removed");
    for n in 0..70 {
        assert_eq!(place.new_mail(&format!("u{n}")).len(), 1, "u{n}");
    }
    let sent = place
        .take_events()
        .iter()
        .filter(|event| matches!(event, Event::Delivery(it) if it.status == Status::Sent))
        .count();
    assert_eq!(sent, 70);
    assert_eq!(files(&place.spool()), Vec::<String>::new());
}

#[test]
fn many_recipients_wait_in_little_room() {
    const COUNT: usize = 5_000;
    let place = Place::new();
    let world = place.world();
    let remote = |n: usize| {
        let to = address(&format!("user{n}@remote.test"));
        let delivery = Delivery { to: to.clone(), orig_to: to.clone(), target: Target::Remote };
        Recipient { address: to, deliveries: vec![delivery], notify: None, orcpt: None }
    };
    send(&world, (0..COUNT).map(remote).collect()).unwrap();
    let size = || {
        let names = files(&place.spool());
        let entry = names.iter().find(|name| name.ends_with(".entry")).unwrap();
        std::fs::metadata(place.spool().join(entry)).unwrap().len()
    };
    let deferred = |place: &Place| {
        let all = place.events.lock().unwrap();
        // All but a few tell of deliveries.
        all.len()
    };
    let mut before = 0;
    // Enough that the tale of all attempts would be much longer than the entry.
    for round in 1..=6 {
        while deferred(&place) < round * COUNT || !rests(&world) {
            std::thread::yield_now();
        }
        if round == 1 {
            before = size();
        }
        place.clock.advance(Duration::from_secs(10_000));
        world.run_queue();
    }
    world.stop();
    assert!(size() < before * 2, "{before} octets have become {}", size());
}

#[test]
fn pieces_and_the_end_keep_their_order() {
    let place = Place::new();
    let world = place.world();
    let message = begin(&world, envelope(to(&world, &["mail000@example.com"])));
    let (done, wait) = mpsc::channel();
    append(&world, message, "Subject: x\r\n\r\n");
    for n in 0..200 {
        let done = done.clone();
        let call = smtp::Call::Append {
            message,
            chunks: vec![format!("line {n}\r\n").into()],
            ticket: waypost_machine::Ledger::new().open(None),
        };
        world.smtp(call, move |_| done.send(()).unwrap());
    }
    drop(done);
    commit(&world, message).unwrap();
    assert_eq!(wait.iter().count(), 200);
    let expected: String = (0..200).map(|n| format!("line {n}\n")).collect();
    assert!(place.new_mail("mail000")[0].ends_with(&format!("Subject: x\n\n{expected}")));
}

/// Sends, and lets the process die after so many calls of the file system. True when it lived.
fn die_after(calls: usize, recipients: &[&str]) -> bool {
    let place = Place::new();
    std::fs::create_dir(place.spool()).unwrap();
    let fs = Fragile::new(&[&place.home(), &place.spool()], calls);
    let mut settings = place.settings();
    settings.fs = Some(Arc::new(fs.clone()));
    settings.file_threads = 1;
    // This clock stands still, and a dead disk takes nothing.
    settings.spool.stop_grace = Duration::ZERO;
    let Ok(world) = World::start(settings) else { return false };
    let accepted = send(&world, to(&world, recipients)).is_ok();
    let lived = fs.is_alive();
    world.stop();
    drop(world);
    // The next process.
    let world = place.world();
    world.flush_queue();
    let users = ["mail000", "mail001"];
    let start = std::time::Instant::now();
    while accepted && users.iter().any(|user| place.new_mail(user).is_empty()) {
        std::thread::yield_now();
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(20), "after {calls} calls a message is lost");
    }
    world.stop();
    let whole = TEXT.replace('\r', "");
    for user in users {
        let mails = place.new_mail(user);
        let half: Vec<_> = mails.iter().filter(|mail| !mail.ends_with(&whole)).collect();
        assert!(half.is_empty(), "after {calls} calls {user} has half a message: {half:?}");
        let count = mails.len();
        assert!(count <= 2, "after {calls} calls {user} has {count} copies");
    }
    assert!(
        files(&place.spool()).iter().all(|name| accepted || !name.ends_with(".entry")) || !lived,
        "what was refused does not come back"
    );
    lived
}

#[test]
fn no_death_loses_a_message() {
    for recipients in [
        &["team@example.com"][..],
        &["mail000@example.com", "mail001@example.com", "x@remote.test"][..],
    ] {
        let lived = (0..200).find(|calls| die_after(*calls, recipients));
        let calls = lived.expect("200 calls are enough for a message");
        assert!(calls > 10, "the test must see the calls: {calls}");
    }
}

#[test]
fn a_torn_entry_is_taken_up() {
    let place = Place::new();
    let world = place.world();
    send(&world, to(&world, &["someone@remote.test"])).unwrap();
    world.stop();
    let name = files(&place.spool()).into_iter().find(|name| name.ends_with(".entry")).unwrap();
    let path = place.spool().join(name);
    let mut torn = std::fs::read(&path).unwrap();
    torn.extend_from_slice(b"0000");
    std::fs::write(&path, &torn).unwrap();
    std::fs::write(place.spool().join("orphan.body"), "never accepted").unwrap();
    std::fs::write(place.spool().join("other.tmp"), "half").unwrap();
    let world = place.world();
    assert_eq!(world.queued(), 1);
    let mended = std::fs::read(&path).unwrap();
    assert_eq!(waypost_queue::Entry::whole(&mended), mended.len());
    assert_eq!(files(&place.spool()).len(), 2);
    // One that is damaged is set aside for somebody to look at, and stops nobody.
    assert_eq!(world.unusable(), Ok(Unusable { damaged: 0, unread: 0 }));
    world.stop();
    std::fs::write(place.spool().join("broken.entry"), "nonsense").unwrap();
    std::fs::write(place.spool().join("broken.body"), "text").unwrap();
    let world = place.world();
    assert_eq!(world.queued(), 1);
    let corrupt = place.spool().join("corrupt");
    assert_eq!(std::fs::read_to_string(corrupt.join("broken.entry")).unwrap(), "nonsense");
    assert_eq!(std::fs::read_to_string(corrupt.join("broken.body")).unwrap(), "text");
    assert_eq!(world.unusable(), Ok(Unusable { damaged: 1, unread: 0 }));
    let (to, from) = std::sync::mpsc::channel();
    world.check(move |findings| to.send(findings).unwrap());
    let findings = from.recv().unwrap();
    let told = findings.iter().find(|it| it.text.ends_with("corrupt: 1 damaged messages"));
    assert_eq!(told.unwrap().grade, Grade::Bad, "{findings:?}");
}

/// Stops a world; the clock goes on until its queue takes nothing more, then what is held up goes on.
fn stop_late(place: &Place, world: &World, go: mpsc::Sender<()>) {
    let stopping = world.clone();
    let stopping = std::thread::spawn(move || stopping.stop());
    while wait(|done| world.queue(Selection::All, done)).is_ok() {
        place.clock.advance(Duration::from_secs(1));
        world.run_queue();
        std::thread::yield_now();
    }
    drop(go);
    stopping.join().unwrap();
}

/// A message for mail000 that goes through the spool.
fn told(world: &World) -> MessageId {
    let mut to = recipient(world, "mail000@mail.example.com");
    to.notify = Some(Notify { success: true, failure: true, delay: false });
    let message = begin(world, envelope(vec![to]));
    append(world, message, TEXT);
    message
}

/// What nobody would hear of any more is not delivered, for it would be again after the start.
#[test]
fn what_has_not_begun_when_the_queue_stops_begins_after_the_start() {
    let place = Place::new();
    let mut settings = place.settings();
    settings.file_threads = 1;
    let world = World::start(settings).unwrap();
    let message = told(&world);
    // The one thread is held up twice: behind the acceptance, and between the beginning of the
    // delivery and the mailbox.
    let held = |call: smtp::Call| {
        let (go, held) = mpsc::channel::<()>();
        let (to, from) = mpsc::channel();
        world.smtp(call, move |answer| {
            to.send(answer.into_parts().1).unwrap();
            held.recv().unwrap_or_default();
        });
        (go, from)
    };
    let (go, taken) = held(smtp::Call::Commit { message, ticket: Ledger::new().open(None) });
    let taken = taken.recv().unwrap();
    assert!(matches!(taken, smtp::Reply::Committed(smtp::Committed::Done)), "{taken:?}");
    assert_eq!(wait(|done| world.queue(Selection::All, done)).unwrap().len(), 1);
    let (last, begun) = held(smtp::Call::Abort { message, ticket: Ledger::new().open(None) });
    drop(go);
    begun.recv().unwrap();
    stop_late(&place, &world, last);
    assert_eq!(place.new_mail("mail000").len(), 0);
    let world = place.world();
    let start = std::time::Instant::now();
    while place.new_mail("mail000").is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "it is lost");
        std::thread::yield_now();
    }
    world.stop();
    assert_eq!(place.new_mail("mail000").len(), 1);
}

/// And what was in a mailbox before anybody heard of it is not delivered again.
#[test]
fn what_ends_behind_the_stop_of_the_queue_is_written_down() {
    let place = Place::new();
    let (go, held) = mpsc::channel::<()>();
    let (delivered, log) = mpsc::channel();
    let (held, delivered) = (Mutex::new(held), Mutex::new(delivered));
    let mut settings = place.settings();
    settings.log = Arc::new(move |event: Event| {
        if matches!(event, Event::Delivery(_)) {
            delivered.lock().unwrap().send(()).unwrap_or_default();
            held.lock().unwrap().recv().unwrap_or_default();
        }
    });
    let world = World::start(settings).unwrap();
    commit(&world, told(&world)).unwrap();
    log.recv().unwrap();
    assert_eq!(place.new_mail("mail000").len(), 1);
    stop_late(&place, &world, go);
    let old = files(&place.spool());
    let world = place.world();
    let start = std::time::Instant::now();
    // Then the sender has been told.
    while files(&place.spool()).iter().any(|name| old.contains(name)) {
        assert!(start.elapsed() < Duration::from_secs(20), "{old:?} stays");
        std::thread::yield_now();
    }
    world.stop();
    assert_eq!(place.new_mail("mail000").len(), 1);
}

/// Its owner would be whoever asks, and the server could not use it.
#[test]
fn a_question_makes_no_spool() {
    let place = Place::new();
    let mut settings = place.settings();
    settings.spool.directory = place.spool().join("deeper");
    settings.srs_domain = Some(Domain::parse("mail.example.com").unwrap());
    let asked = World::for_questions(settings.clone()).unwrap();
    assert_eq!(asked.queued(), 0);
    let findings = wait(|done| asked.check(done));
    let text = format!("spool {}: 0 messages", settings.spool.directory.display());
    assert!(findings.iter().any(|it| it.text == text), "{findings:?}");
    asked.stop();
    assert!(!place.spool().exists());
}

/// A second server would deliver twice, and remove what this one is writing; questions do neither.
#[test]
fn the_spool_is_one_server_s_alone() {
    let place = Place::new();
    let world = place.world();
    // What a message looks like that is just coming in.
    let body = place.spool().join("4XyZ.body");
    std::fs::write(&body, "half a mess").unwrap();
    let in_use = StartError::SpoolInUse(place.spool().display().to_string());
    assert_eq!(World::start(place.settings()).err(), Some(in_use));
    let asked = World::for_questions(place.settings()).unwrap();
    assert_eq!(asked.queued(), 0);
    asked.flush_queue();
    asked.stop();
    assert!(body.exists());
    world.stop();
    place.world().stop();
    assert!(!body.exists(), "nobody is writing it any more");
}
