//! Messages through the queue: other servers, reports to senders, the admin.

mod common;

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use common::{NOON, Place, address, call, client, files, sender, wait};
use waypost_machine::UnixTime;
use waypost_mail::{Body, Delivery, Enhanced, Envelope, Notify, Recipient, Reply, Ret, Target};
use waypost_queue::{Command, Diagnosis, Remote, ReportKind, Selection, SiteState};
use waypost_smtp::client::{Mail, Read};
use waypost_smtp::server::{self as smtp};
use waypost_world::carrier::{Carried, Carrier, Consignment, Fate, Passed};
use waypost_world::{Event, QueueError, Queued, Status, World};

const TEXT: &str = "From: <a@b>\r\nMessage-ID: <1@x>\r\nSubject: it\r\n\r\nHello.\r\n";

/// What the other servers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Sent { notifies: bool },
    Deferred,
    Failed,
    Silent,
}

type Done = Box<dyn FnOnce(Carried) + Send>;

/// All other servers.
struct Others {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mood: Mood,
    seen: Vec<Consignment>,
    open: Vec<(Consignment, Done)>,
}

impl Others {
    fn new(mood: Mood) -> Arc<Self> {
        let state = State { mood, seen: Vec::new(), open: Vec::new() };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn turn(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    fn until(&self, what: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        let limit = Duration::from_secs(20);
        let state = self.changed.wait_timeout_while(state, limit, |state| !what(state)).unwrap();
        assert!(!state.1.timed_out());
    }

    fn seen(&self) -> Vec<Arc<Mail>> {
        self.state.lock().unwrap().seen.iter().map(|it| Arc::clone(&it.mail)).collect()
    }

    /// Ends what is open.
    fn end(&self, mood: Mood) {
        let open = std::mem::take(&mut self.state.lock().unwrap().open);
        for (consignment, done) in open {
            done(carried(&consignment.mail, mood));
        }
    }
}

impl Carrier for Others {
    fn carry(&self, consignment: Consignment, done: Done) {
        let mut state = self.state.lock().unwrap();
        state.seen.push(consignment.clone());
        let mood = state.mood;
        if mood == Mood::Silent {
            state.open.push((consignment, done));
            drop(state);
        } else {
            drop(state);
            done(carried(&consignment.mail, mood));
        }
        self.changed.notify_all();
    }
}

fn carried(mail: &Mail, mood: Mood) -> Carried {
    let (fate, status, reply) = match mood {
        Mood::Sent { notifies } => {
            (Fate::Sent { notifies }, Enhanced(2, 0, 0), "250 2.0.0 Ok: queued as 000002")
        }
        Mood::Deferred | Mood::Silent => (Fate::Deferred, Enhanced(4, 3, 0), "451 4.3.0 Try later"),
        Mood::Failed => (Fate::Failed, Enhanced(5, 1, 1), "550 5.1.1 User unknown"),
    };
    let text = format!("host mx.remote.test[192.0.2.1] said: {reply}");
    let remote = Some(Box::new(Remote { host: "mx.remote.test".into(), reply: reply.into() }));
    let diagnosis = Arc::new(Diagnosis { status, text: text.into(), remote });
    let each = |_| Passed {
        fate,
        diagnosis: Arc::clone(&diagnosis),
        relay: "mx.remote.test[192.0.2.1]:25".into(),
        delays: [Duration::from_millis(20), Duration::from_millis(10)],
    };
    Carried { recipients: mail.recipients.iter().map(each).collect(), site: SiteState::Alive }
}

struct Stage {
    place: Place,
    others: Arc<Others>,
    world: World,
}

impl Stage {
    fn new(mood: Mood) -> Self {
        let (place, others) = (Place::new(), Others::new(mood));
        let world = start(&place, &others);
        Self { place, others, world }
    }

    fn restart(&mut self) {
        self.world.stop();
        self.world = start(&self.place, &self.others);
    }

    fn send(&self, from: &str, recipients: Vec<Recipient>) {
        send(&self.world, &envelope(from, recipients)).unwrap();
    }

    fn pass(&self, seconds: u64) {
        self.place.clock.advance(Duration::from_secs(seconds));
        self.world.run_queue();
    }

    /// Waits until the log has a line that begins so.
    fn until(&self, line: &str) {
        self.until_count(line, 1);
    }

    fn until_count(&self, line: &str, count: usize) {
        let start = std::time::Instant::now();
        loop {
            let lines = self.lines();
            if lines.iter().filter(|it| it.starts_with(line)).count() >= count {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "no '{line}' in {lines:#?}");
            std::thread::yield_now();
        }
    }

    fn lines(&self) -> Vec<String> {
        self.place.events.lock().unwrap().iter().map(short).collect()
    }

    fn queue(&self) -> Vec<Queued> {
        let listed = wait(|done| self.world.queue(Selection::All, done)).unwrap();
        let entries = wait(|done| self.world.queue_entries(listed, done)).unwrap();
        entries.into_iter().map(Result::unwrap).collect()
    }

    /// Waits until all that is in the queue waits for its time, or is held.
    fn until_rest(&self) {
        use waypost_queue::Place::{Deferred, Hold};
        let start = std::time::Instant::now();
        while !self.queue().iter().all(|it| matches!(it.listed.place, Deferred | Hold)) {
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", self.queue());
            std::thread::yield_now();
        }
    }

    fn until_empty(&self) {
        self.until_queued(0);
    }

    /// Waits until there are so many messages: one is counted out just after the log has it.
    fn until_queued(&self, count: usize) {
        let start = std::time::Instant::now();
        while self.world.queued() != count {
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", self.lines());
            std::thread::yield_now();
        }
    }

    fn command(&self, command: Command) -> usize {
        wait(|done| self.world.queue_command(command, done)).unwrap()
    }

    /// The one report in the mailbox of mail001.
    fn report(&self) -> String {
        self.until_empty();
        let mails = self.place.new_mail("mail001");
        let [report] = mails.as_slice() else { panic!("{mails:?}") };
        report.clone()
    }
}

fn start(place: &Place, others: &Arc<Others>) -> World {
    let mut settings = place.settings();
    settings.carrier = Some(Arc::<Others>::clone(others));
    settings.spool.stop_grace = Duration::from_millis(200);
    World::start(settings).unwrap()
}

fn envelope(from: &str, recipients: Vec<Recipient>) -> Envelope {
    Envelope {
        client: client(None),
        sender: sender(from),
        recipients,
        arrived: UnixTime { secs: NOON, nanos: 0 },
        size: None,
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
    }
}

fn send(world: &World, envelope: &Envelope) -> Result<(), Reply> {
    let envelope = Arc::new(envelope.clone());
    let begun = call(world, |ticket| smtp::Call::Begin { envelope, ticket });
    let smtp::Reply::Begun(smtp::Begun::Ready { message, .. }) = begun else { panic!("{begun:?}") };
    let chunks = vec![TEXT.into()];
    call(world, |ticket| smtp::Call::Append { message, chunks, ticket });
    match call(world, |ticket| smtp::Call::Commit { message, ticket }) {
        smtp::Reply::Committed(smtp::Committed::Done) => Ok(()),
        smtp::Reply::Committed(smtp::Committed::Failed(reply)) => Err(reply),
        other => panic!("{other:?}"),
    }
}

fn forwarded(orig_to: &str, to: &str, target: Target) -> Recipient {
    let delivery = Delivery { to: address(to), orig_to: address(orig_to), target };
    Recipient { address: address(orig_to), deliveries: vec![delivery], notify: None, orcpt: None }
}

fn remote(to: &str) -> Recipient {
    forwarded(to, to, Target::Remote)
}

fn nowhere(orig_to: &str) -> Recipient {
    let text = "unknown user: \"nobody@mail.example.com\"";
    let reply = Reply::new(550, Enhanced(5, 1, 1), text);
    forwarded(orig_to, "nobody@mail.example.com", Target::Undeliverable(reply))
}

fn short(event: &Event) -> String {
    match event {
        Event::Client { .. } => "client".into(),
        Event::MessageId { message_id, .. } => format!("message-id={message_id}"),
        Event::Active { sender, recipients, .. } => format!("from=<{sender}>, nrcpt={recipients}"),
        Event::Delivery(it) => format!(
            "{}: to=<{}>, orig_to=<{}>, relay={}, dsn={}, status={} ({})",
            it.agent.name(),
            it.to,
            it.orig_to,
            it.relay,
            it.dsn,
            it.status.word(),
            it.text
        ),
        Event::Notified { kind, postmaster, .. } => format!("notified: {kind:?} {postmaster}"),
        Event::Expired { sender, .. } => format!("expired from=<{sender}>"),
        Event::Removed { .. } => "removed".into(),
        Event::Abandoned => "abandoned".into(),
    }
}

/// The part of a report for programs, its blocks of fields in order.
fn machine_part(report: &str) -> Vec<Vec<(String, String)>> {
    let (_, part) = report.split_once("Content-Type: message/delivery-status").unwrap();
    let part = part.split("\n--").next().unwrap();
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), value.replace("; ", ";"))
    };
    part.split("\n\n")
        .map(|block| block.trim().lines().filter(|it| !it.is_empty()).map(field).collect())
        .filter(|block: &Vec<_>| !block.is_empty())
        .collect()
}

fn value<'a>(block: &'a [(String, String)], name: &str) -> Option<&'a str> {
    block.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_message_goes_to_another_server() {
    let stage = Stage::new(Mood::Sent { notifies: false });
    let mut to = forwarded("forward@example.com", "someone@remote.test", Target::Remote);
    to.notify = Some(Notify { success: false, failure: true, delay: false });
    let mut all = envelope("someone@elsewhere.test", vec![to, remote("x@remote.test")]);
    all.envid = Some("id".into());
    all.ret = Some(Ret::Headers);
    send(&stage.world, &all).unwrap();
    stage.until_empty();
    assert_eq!(
        stage.lines(),
        [
            "client",
            "message-id=<1@x>",
            "from=<someone@elsewhere.test>, nrcpt=2",
            "smtp: to=<someone@remote.test>, orig_to=<forward@example.com>, \
             relay=mx.remote.test[192.0.2.1]:25, dsn=2.0.0, status=sent \
             (host mx.remote.test[192.0.2.1] said: 250 2.0.0 Ok: queued as 000002)",
            "smtp: to=<x@remote.test>, orig_to=<x@remote.test>, \
             relay=mx.remote.test[192.0.2.1]:25, dsn=2.0.0, status=sent \
             (host mx.remote.test[192.0.2.1] said: 250 2.0.0 Ok: queued as 000002)",
            "removed",
        ]
    );
    // What is forwarded leaves in another form.
    let [first, second] = stage.others.seen().try_into().unwrap();
    for mail in [&first, &second] {
        assert_eq!(mail.sender, all.sender);
        assert_eq!((mail.ret, mail.envid.as_deref()), (Some(Ret::Headers), Some("id")));
    }
    assert_ne!(first.id, second.id);
    let (a, b) = (&first.recipients[0], &second.recipients[0]);
    assert_eq!(a.orcpt, Some(("rfc822".into(), "forward@example.com".into())));
    assert!(a.notify.unwrap().failure && b.orcpt.is_none() && b.notify.is_none());
    assert_eq!(files(&stage.place.spool()), Vec::<String>::new());
}

#[test]
fn the_body_is_read_in_pieces() {
    let stage = Stage::new(Mood::Silent);
    stage.send("a@elsewhere.test", vec![remote("x@remote.test")]);
    stage.others.until(|state| state.open.len() == 1);
    let (body, size) = {
        let state = stage.others.state.lock().unwrap();
        (Arc::clone(&state.open[0].0.body), state.open[0].0.mail.size)
    };
    let mut text = Vec::new();
    loop {
        let from = text.len() as u64;
        match wait(|done| body.read(from, 10, done)) {
            Read::Block { bytes, end } => {
                assert!(bytes.len() <= 10);
                text.extend_from_slice(&bytes);
                if end {
                    break;
                }
            }
            Read::Failed => panic!("the body cannot be read"),
        }
    }
    assert_eq!(text.len() as u64, size);
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("Received: from client.example.net") && text.ends_with(TEXT));
    let queued = stage.queue();
    let id = queued[0].listed.id;
    let listed = wait(|done| stage.world.queue_body(id, done)).unwrap().unwrap();
    assert_eq!(listed, text.as_bytes());
    stage.others.end(Mood::Sent { notifies: true });
    stage.until_empty();
}

#[test]
fn what_is_deferred_is_tried_again_and_again_later() {
    let mut stage = Stage::new(Mood::Deferred);
    stage.send("a@elsewhere.test", vec![remote("x@remote.test")]);
    let mut waits = Vec::new();
    for round in 1..6 {
        let line = "smtp: to=<x@remote.test>";
        stage.until_count(line, round);
        stage.until_rest();
        let [queued] = stage.queue().try_into().unwrap();
        let now = waypost_world::Clock::wall(&*stage.place.clock).secs;
        let wait = queued.listed.next.unwrap().secs - now;
        waits.push(wait);
        assert_eq!(queued.entry.recipients[0].as_ref().unwrap().attempts as usize, round);
        if round == 3 {
            stage.restart();
        }
        stage.pass(u64::try_from(wait).unwrap() - 1);
        assert_eq!(stage.queue()[0].listed.place, waypost_queue::Place::Deferred);
        if round == 5 {
            stage.others.turn(Mood::Sent { notifies: false });
        }
        stage.pass(1);
    }
    assert_eq!(waits, [300, 300, 600, 1200, 2400]);
    stage.until_empty();
    assert_eq!(stage.others.seen().len(), 6);
    assert!(stage.place.new_mail("mail001").is_empty());
}

#[test]
fn what_is_refused_comes_back() {
    let stage = Stage::new(Mood::Failed);
    let refused = forwarded("rejected@example.com", "reject@remote.test", Target::Remote);
    stage.send("mail001@example.com", vec![refused]);
    let report = stage.report();
    let lines = stage.lines();
    let text = "smtp: to=<reject@remote.test>, orig_to=<rejected@example.com>, \
                relay=mx.remote.test[192.0.2.1]:25, dsn=5.1.1, status=bounced (host";
    assert!(lines[3].starts_with(text), "{lines:#?}");
    assert!(lines[4].starts_with("message-id=<20261122120000."), "{lines:#?}");
    assert_eq!(lines[5..7], ["from=<>, nrcpt=1", "notified: Failed false"]);
    let mut rest = lines[7..].to_vec();
    rest.sort();
    let delivered = "virtual: to=<mail001@mail.example.com>, orig_to=<mail001@example.com>, \
                     relay=virtual, dsn=2.0.0, status=sent (delivered to maildir)";
    assert_eq!(rest, ["removed", "removed", delivered]);
    let [message, recipient] = machine_part(&report).try_into().unwrap();
    assert_eq!(value(&message, "Reporting-MTA"), Some("dns;mail.example.com"));
    assert_eq!(value(&message, "X-Waypost-Sender"), Some("rfc822;mail001@example.com"));
    let of = |name| value(&recipient, name);
    assert_eq!(of("Final-Recipient"), Some("rfc822;reject@remote.test"));
    assert_eq!(of("Original-Recipient"), Some("rfc822;rejected@example.com"));
    assert_eq!((of("Action"), of("Status")), (Some("failed"), Some("5.1.1")));
    assert_eq!(of("Remote-MTA"), Some("dns;mx.remote.test"));
    assert_eq!(of("Diagnostic-Code"), Some("smtp;550 5.1.1 User unknown"));
    assert!(report.contains(&TEXT.replace('\r', "")), "{report}");
    assert!(report.starts_with("Return-Path: <>\nX-Original-To: mail001@example.com\n"));
}

#[test]
fn a_part_of_an_alias_that_leads_nowhere_comes_back() {
    let stage = Stage::new(Mood::Failed);
    let mail000 = Delivery {
        to: address("mail000@mail.example.com"),
        orig_to: address("team@example.com"),
        target: Target::Later(Reply::new(451, Enhanced(4, 3, 0), "later")),
    };
    let mut team = nowhere("team@example.com");
    team.deliveries.push(mail000);
    stage.send("mail001@example.com", vec![team]);
    let report = stage.report();
    assert_eq!(stage.place.new_mail("mail000").len(), 1);
    stage.until(
        "virtual: to=<nobody@mail.example.com>, orig_to=<team@example.com>, relay=virtual, \
         dsn=5.1.1, status=bounced (unknown user: \"nobody@mail.example.com\")",
    );
    let [_, recipient] = machine_part(&report).try_into().unwrap();
    assert_eq!(value(&recipient, "Final-Recipient"), Some("rfc822;nobody@mail.example.com"));
    assert_eq!(value(&recipient, "Original-Recipient"), Some("rfc822;team@example.com"));
    let code = value(&recipient, "Diagnostic-Code").unwrap();
    assert_eq!(code, "X-Waypost;unknown user: \"nobody@mail.example.com\"");
}

#[test]
fn success_is_told_by_whoever_knows() {
    let wanted = Some(Notify { success: true, failure: false, delay: false });
    let mut direct = remote("someone@remote.test");
    direct.notify = wanted;
    // The other server tells.
    let stage = Stage::new(Mood::Sent { notifies: true });
    stage.send("mail001@example.com", vec![direct.clone()]);
    stage.until_empty();
    assert!(stage.place.new_mail("mail001").is_empty());
    assert!(stage.others.seen()[0].recipients[0].notify.unwrap().success);
    // It does not: "relayed".
    stage.others.turn(Mood::Sent { notifies: false });
    stage.send("mail001@example.com", vec![direct]);
    let report = stage.report();
    let [_, recipient] = machine_part(&report).try_into().unwrap();
    let of = |name| value(&recipient, name);
    assert_eq!((of("Action"), of("Status")), (Some("relayed"), Some("2.0.0")));
    assert_eq!(of("Final-Recipient"), Some("rfc822;someone@remote.test"));
    assert_eq!(of("Remote-MTA"), Some("dns;mx.remote.test"));
    assert!(!report.contains("Hello."), "only the header is returned");
    // An alias was followed: "expanded", and the sender's wish goes no further.
    let stage = Stage::new(Mood::Sent { notifies: true });
    let mut alias = forwarded("forward@example.com", "someone@remote.test", Target::Remote);
    alias.notify = wanted;
    stage.send("mail001@example.com", vec![alias]);
    let report = stage.report();
    let [_, recipient] = machine_part(&report).try_into().unwrap();
    assert_eq!(value(&recipient, "Action"), Some("expanded"));
    assert_eq!(value(&recipient, "Final-Recipient"), Some("rfc822;forward@example.com"));
    assert_eq!(stage.others.seen()[0].recipients[0].notify, Some(Notify::NEVER));
}

#[test]
fn delivery_to_a_mailbox_is_told_where_that_is_wanted() {
    let stage = Stage::new(Mood::Failed);
    let verdict = call(&stage.world, |ticket| smtp::Call::Recipient {
        client: Arc::new(client(Some("mail001"))),
        sender: sender("mail001@example.com"),
        recipient: address("mail000@mail.example.com"),
        ticket,
    });
    let smtp::Reply::Verdict(waypost_mail::Verdict::Accept(deliveries)) = verdict else {
        panic!("{verdict:?}")
    };
    let recipient = Recipient {
        address: address("mail000@mail.example.com"),
        deliveries,
        notify: Some(Notify { success: true, failure: true, delay: false }),
        orcpt: Some(("rfc822".into(), "first@name.test".into())),
    };
    stage.send("mail001@example.com", vec![recipient]);
    let report = stage.report();
    assert_eq!(stage.place.new_mail("mail000").len(), 1);
    let [_, recipient] = machine_part(&report).try_into().unwrap();
    assert_eq!(value(&recipient, "Action"), Some("delivered"));
    assert_eq!(value(&recipient, "Original-Recipient"), Some("rfc822;first@name.test"));
}

#[test]
fn delay_is_told_once_and_the_end_of_patience() {
    let stage = Stage::new(Mood::Deferred);
    stage.send("mail001@example.com", vec![remote("x@remote.test")]);
    stage.until_rest();
    stage.pass(4 * 3600);
    stage.until("notified: Delayed false");
    stage.until_rest();
    while stage.place.new_mail("mail001").is_empty() {
        std::thread::yield_now();
    }
    let mails = stage.place.new_mail("mail001");
    let [_, recipient] = machine_part(&mails[0]).try_into().unwrap();
    assert_eq!(value(&recipient, "Action"), Some("delayed"));
    assert_eq!(value(&recipient, "Status"), Some("4.3.0"));
    let until = "Fri, 27 Nov 2026 12:00:00 +0000 (UTC)";
    assert_eq!(value(&recipient, "Will-Retry-Until"), Some(until));
    stage.until("removed");
    let before = stage.lines().len();
    stage.pass(5 * 86_400);
    stage.until_empty();
    let lines = stage.lines().split_off(before);
    assert!(lines[1].starts_with("smtp: to=<x@remote.test>"), "{lines:#?}");
    assert_eq!(lines[2], "expired from=<mail001@example.com>");
    assert_eq!(lines[5], "notified: Failed false");
    let told = lines.iter().filter(|line| line.starts_with("notified")).count();
    assert_eq!(told, 1);
    let mails = stage.place.new_mail("mail001");
    let failed = mails.iter().find(|mail| mail.contains("Action: failed")).unwrap();
    let [_, recipient] = machine_part(failed).try_into().unwrap();
    assert_eq!(value(&recipient, "Diagnostic-Code"), Some("smtp;451 4.3.0 Try later"));
    assert_eq!(mails.len(), 2);
}

#[test]
fn nobody_is_told_of_what_he_does_not_want_to_know() {
    let stage = Stage::new(Mood::Failed);
    let mut never = remote("x@remote.test");
    never.notify = Some(Notify::NEVER);
    stage.send("mail001@example.com", vec![never]);
    stage.until_empty();
    assert!(stage.place.new_mail("mail001").is_empty());
}

#[test]
fn there_is_no_bounce_of_a_bounce() {
    let stage = Stage::new(Mood::Failed);
    // Of others: whoever wrote it has to know.
    stage.send("", vec![nowhere("dangling@example.com")]);
    stage.until_empty();
    let bounced = "virtual: to=<nobody@mail.example.com>, orig_to=<dangling@example.com>";
    assert!(stage.lines()[3].starts_with(bounced), "{:#?}", stage.lines());
    assert_eq!(stage.lines()[4..], ["removed"]);
    // Our own: the postmaster is told, here the mailbox of mail000.
    let policy = |place: &Place| {
        let mut settings = place.settings();
        settings.carrier = Some(Arc::<Others>::clone(&stage.others));
        settings.policy.postmaster = Some(address("mail000@mail.example.com"));
        settings
    };
    let place = Place::new();
    let world = World::start(policy(&place)).unwrap();
    let envelope = envelope("gone@elsewhere.test", vec![remote("x@remote.test")]);
    send(&world, &envelope).unwrap();
    let stage = Stage { place, others: Arc::clone(&stage.others), world };
    stage.until_empty();
    let lines = stage.lines();
    let told = |line: &&String| line.starts_with("notified");
    let told: Vec<&String> = lines.iter().filter(told).collect();
    assert_eq!(told, ["notified: Failed false", "notified: Failed true"]);
    let mails = stage.place.new_mail("mail000");
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    assert!(mail.contains("X-Original-To: postmaster@mail.example.com\n"), "{mail}");
    let [_, recipient] = machine_part(mail).try_into().unwrap();
    assert_eq!(value(&recipient, "Final-Recipient"), Some("rfc822;gone@elsewhere.test"));
}

/// And no report of a report to the postmaster, however often it fails.
#[test]
fn a_postmaster_who_cannot_be_reached_ends_it() {
    let stage = Stage::new(Mood::Failed);
    stage.send("gone@elsewhere.test", vec![remote("x@remote.test")]);
    stage.until_empty();
    let told = stage.lines().iter().filter(|line| line.starts_with("notified")).count();
    assert_eq!(told, 2);
    assert_eq!(files(&stage.place.spool()), Vec::<String>::new());
}

#[test]
fn the_admin_holds_releases_retries_expires_and_drops() {
    let mut stage = Stage::new(Mood::Deferred);
    for n in 0..3 {
        stage.send("mail001@example.com", vec![remote(&format!("u{n}@d{n}.test"))]);
    }
    stage.until_count("smtp: to=", 3);
    stage.until_rest();
    let ids: Vec<_> = stage.queue().iter().map(|queued| queued.listed.id).collect();
    let [a, b, c] = ids.as_slice() else { panic!("{ids:?}") };
    assert_eq!(stage.command(Command::Hold(Selection::All)), 3);
    stage.restart();
    stage.pass(10_000);
    let held = |stage: &Stage| {
        let hold = waypost_queue::Place::Hold;
        stage.queue().iter().filter(|queued| queued.listed.place == hold).count()
    };
    assert_eq!((held(&stage), stage.others.seen().len()), (3, 3));
    assert_eq!(stage.command(Command::Release(Selection::Nexthop("D0.test".into()))), 1);
    stage.until_count("smtp: to=<u0@d0.test>", 2);
    stage.until_rest();
    assert_eq!(held(&stage), 2);
    let named = wait(|done| stage.world.queue(Selection::Nexthop("d0.test".into()), done)).unwrap();
    assert_eq!(named.iter().map(|listed| listed.id).collect::<Vec<_>>(), [*a]);
    assert_eq!(stage.command(Command::Retry(Selection::Id(*a))), 1);
    stage.until_count("smtp: to=<u0@d0.test>", 3);
    let destinations = wait(|done| stage.world.destinations(done)).unwrap();
    assert!(destinations.iter().any(|it| &*it.destination.nexthop == "d1.test"));
    assert_eq!(stage.command(Command::Drop(Selection::Id(*b))), 1);
    stage.until_queued(2);
    stage.until_rest();
    assert_eq!(stage.command(Command::Expire(Selection::Id(*c))), 1);
    stage.until("notified: Failed false");
    stage.until_count("removed", 3);
    stage.until_queued(1);
    assert_eq!(stage.place.new_mail("mail001").len(), 1);
    let none = "none".parse().unwrap();
    assert_eq!(stage.command(Command::Drop(Selection::Id(none))), 0);
    assert_eq!(wait(|done| stage.world.queue_body(none, done)), Ok(None));
    stage.world.stop();
    let stopped = Some(QueueError::Stopped);
    let drop = Command::Drop(Selection::All);
    assert_eq!(wait(|done| stage.world.queue_command(drop, done)).err(), stopped);
    assert_eq!(wait(|done| stage.world.queue(Selection::All, done)).err(), stopped);
    assert_eq!(wait(|done| stage.world.queue_entries(Vec::new(), done)).err(), stopped);
    assert_eq!(wait(|done| stage.world.destinations(done)).err(), stopped);
    assert_eq!(wait(|done| stage.world.queue_body(*a, done)).err(), stopped);
}

#[test]
fn a_message_that_is_found_damaged_is_set_aside_and_forgotten() {
    let stage = Stage::new(Mood::Deferred);
    stage.send("mail001@example.com", vec![remote("x@remote.test"), remote("y@other.test")]);
    stage.until_count("smtp: to=", 2);
    stage.until_rest();
    let spool = stage.place.spool();
    let entry = files(&spool).into_iter().find(|name| name.ends_with(".entry")).unwrap();
    std::fs::write(spool.join(&entry), "nonsense\nand more\n").unwrap();
    // Who holds a message knows its entry by heart, and a job that has ended may do so for a moment.
    let start = std::time::Instant::now();
    while stage.world.queued() > 0 {
        let listed = wait(|done| stage.world.queue(Selection::All, done)).unwrap();
        if listed.iter().all(|it| it.place == waypost_queue::Place::Deferred) {
            stage.others.state.lock().unwrap().seen.clear();
            stage.pass(10_000);
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", stage.lines());
        std::thread::yield_now();
    }
    assert!(files(&spool.join("corrupt")).contains(&entry));
}

#[test]
fn whoever_sent_what_is_damaged_is_told_of_its_end() {
    let stage = Stage::new(Mood::Silent);
    stage.send("mail001@example.com", vec![remote("x@remote.test")]);
    stage.others.until(|state| state.open.len() == 1);
    let spool = stage.place.spool();
    let body = files(&spool).into_iter().find(|name| name.ends_with(".body")).unwrap();
    std::fs::write(spool.join(&body), "half").unwrap();
    stage.others.end(Mood::Failed);
    let report = stage.report();
    assert!(report.contains("Status: 5.1.1\n") && report.contains("cannot be read"), "{report}");
    assert!(files(&spool.join("corrupt")).contains(&body));
    assert_eq!(files(&spool), ["corrupt"]);
}

#[test]
fn whoever_is_reached_through_two_aliases_gets_it_once() {
    let stage = Stage::new(Mood::Silent);
    let later = |to: &str| {
        let to = address(to);
        let target = Target::Later(Reply::new(451, Enhanced(4, 3, 0), "not yet"));
        let deliveries = vec![Delivery { to: to.clone(), orig_to: to.clone(), target }];
        Recipient { address: to, deliveries, notify: None, orcpt: None }
    };
    let both = vec![later("team@example.com"), later("mail000@example.com")];
    stage.send("mail001@example.com", both);
    stage.until_empty();
    assert_eq!(["mail000", "mail001"].map(|user| stage.place.new_mail(user).len()), [1, 1]);
}

#[test]
fn a_message_that_cannot_be_read_hides_no_other() {
    let stage = Stage::new(Mood::Deferred);
    for n in 0..2 {
        stage.send("mail001@example.com", vec![remote(&format!("u{n}@d{n}.test"))]);
    }
    stage.until_count("smtp: to=", 2);
    stage.until_rest();
    let listed = wait(|done| stage.world.queue(Selection::All, done)).unwrap();
    let [bad, good] = listed.as_slice() else { panic!("{listed:?}") };
    let path = stage.place.spool().join(format!("{}.entry", bad.id));
    std::fs::write(path, "nonsense\n").unwrap();
    let told = wait(|done| stage.world.queue_entries(vec![*bad, *good], done)).unwrap();
    let [Err(QueueError::Unreadable(why)), Ok(queued)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(why.contains(bad.id.as_str()), "{why}");
    assert_eq!(queued.listed.id, good.id);
}

#[test]
fn a_stop_waits_for_what_is_under_way_but_not_for_ever() {
    let mut stage = Stage::new(Mood::Silent);
    stage.send("mail001@example.com", vec![remote("x@remote.test")]);
    stage.others.until(|state| state.open.len() == 1);
    // It ends while the world is stopping: that is written down.
    let (world, others) = (stage.world.clone(), Arc::clone(&stage.others));
    let stopping = std::thread::spawn(move || world.stop());
    others.end(Mood::Sent { notifies: true });
    stopping.join().unwrap();
    stage.restart();
    stage.until_empty();
    assert_eq!(stage.others.seen().len(), 1);
    // It never ends: the message is tried again.
    stage.send("mail001@example.com", vec![remote("x@remote.test")]);
    stage.others.until(|state| state.open.len() == 1);
    let world = stage.world.clone();
    let stopping = std::thread::spawn(move || world.stop());
    while !stopping.is_finished() {
        stage.pass(1);
        std::thread::yield_now();
    }
    stage.restart();
    assert_eq!(stage.world.queued(), 1);
    stage.others.until(|state| state.open.len() == 2);
    stage.others.end(Mood::Sent { notifies: true });
    stage.until_empty();
}

#[test]
fn a_destination_that_is_down_is_left_alone() {
    struct Down;
    impl Carrier for Down {
        fn carry(&self, consignment: Consignment, done: Done) {
            let text = "connect to mx.remote.test[192.0.2.1]:25: Connection refused";
            let why = Arc::new(Diagnosis::own(Enhanced(4, 4, 1), text));
            let each = |_: &waypost_smtp::client::To| Passed {
                fate: Fate::Deferred,
                diagnosis: Arc::clone(&why),
                relay: "none".into(),
                delays: [Duration::ZERO; 2],
            };
            let recipients = consignment.mail.recipients.iter().map(each).collect();
            done(Carried { recipients, site: SiteState::Failed(Arc::clone(&why)) });
        }
    }
    let place = Place::new();
    let mut settings = place.settings();
    settings.carrier = Some(Arc::new(Down));
    settings.spool.queue.smtp.initial = 1;
    let world = World::start(settings).unwrap();
    let stage = Stage { place, others: Others::new(Mood::Silent), world };
    stage.send("mail001@example.com", vec![remote("x@remote.test")]);
    stage.until("smtp: to=<x@remote.test>, orig_to=<x@remote.test>, relay=none, dsn=4.4.1");
    stage.until_rest();
    stage.send("mail001@example.com", vec![remote("y@remote.test")]);
    stage.until(
        "error: to=<y@remote.test>, orig_to=<y@remote.test>, relay=none, dsn=4.4.1, \
         status=deferred (delivery temporarily suspended: connect to mx.remote.test",
    );
    let destinations = wait(|done| stage.world.destinations(done)).unwrap();
    assert!(destinations[0].dead.is_some());
}

#[test]
fn reports_are_of_their_kind() {
    let stage = Stage::new(Mood::Deferred);
    stage.send("mail001@example.com", vec![remote("x@remote.test")]);
    stage.until_rest();
    stage.pass(5 * 3600);
    stage.until("notified: Delayed");
    let kinds: Vec<ReportKind> = stage
        .place
        .take_events()
        .iter()
        .filter_map(|event| match event {
            Event::Notified { kind, .. } => Some(*kind),
            Event::Delivery(it) => {
                assert!(it.status != Status::Bounced);
                None
            }
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [ReportKind::Delayed]);
}
