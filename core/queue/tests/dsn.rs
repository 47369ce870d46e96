//! Reports, field by field against those of Postfix.

use std::sync::Arc;

use proptest::prelude::*;
use waypost_machine::UnixTime;
use waypost_mail::{
    Address, Body, Delivery, Enhanced, MailHome, Notify, Reply, Ret, ReversePath, Target,
};
use waypost_queue::dsn::{Part, Report, Reporter, report};
use waypost_queue::{Diagnosis, Entry, Origin, ReportKind, Waiting};

const NOW: UnixTime = UnixTime { secs: 1_795_334_005, nanos: 0 };

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// A recipient `to`, written `orig_to`.
fn recipient(to: &str, orig_to: &str, target: Target, last: Diagnosis) -> Waiting {
    let delivery = Delivery { to: address(to), orig_to: address(orig_to), target };
    let mut waiting = Waiting::new(delivery, None, None, NOW);
    waiting.last = Some(Arc::new(last));
    waiting
}

fn unknown_user() -> Waiting {
    let why = Diagnosis::own(Enhanced(5, 1, 1), "unknown user: \"nobody@mail.example.com\"");
    recipient("nobody@mail.example.com", "dangling@example.com", mailbox(), why)
}

fn mailbox() -> Target {
    Target::Maildir(MailHome { path: "/home/mail/mail001/mailbox".into(), uid: 1, gid: 1 })
}

fn said(code: u16, status: Enhanced, words: &'static str, context: &str) -> Diagnosis {
    Diagnosis::said("localhost", "127.0.0.1", &Reply::new(code, status, words), context)
}

/// A message that came at `seconds` past 07:53 with this queue id.
fn entry(queue_id: &str, seconds: i64, recipients: Vec<Waiting>) -> Entry {
    let origin = Origin {
        queue_id: queue_id.into(),
        arrived: UnixTime { secs: 1_795_333_980 + seconds, nanos: 0 },
        sender: ReversePath::Address(address("mail001@example.com")),
        size: 500,
        checksum: None,
        message_id: "<x@client.example.net>".into(),
        body: Body::EightBitMime,
        smtputf8: false,
        ret: None,
        envid: None,
        login: None,
        head: Box::default(),
    };
    Entry::new(origin, recipients)
}

fn made(entry: &Entry, kind: ReportKind) -> Report {
    let places: Vec<u32> = (0..).take(entry.recipients.len()).collect();
    let reporter = Reporter::new("mail.example.com");
    report(&reporter, entry, kind, &places, "4gNew", NOW).expect("it is wanted")
}

/// Fields of the part that programs read, by blocks; unfolded, with our names for theirs.
fn machine(text: &str) -> Vec<Vec<(String, String)>> {
    let text = text.replace("\r\n", "\n").replace("X-Postfix", "X-Waypost");
    let kind = text.find("Content-Type: message/").expect("the part is there");
    let start = kind + text[kind..].find("\n\n").unwrap() + 2;
    let end = start + text[start..].find("\n--").unwrap();
    let unfolded = text[start..end].replace("\n    ", " ");
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a field");
        // RFC 3464 2.1.2: blanks behind the type do not count.
        (name.to_owned(), value.replacen("; ", ";", 1))
    };
    unfolded
        .split("\n\n")
        .map(|block| block.lines().map(field).collect())
        .filter(|block: &Vec<_>| !block.is_empty())
        .collect()
}

/// Content-Types of the parts.
fn types(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim_end);
    let kinds = lines.filter_map(|line| line.strip_prefix("Content-Type: "));
    kinds.map(|kind| kind.split(';').next().unwrap().to_owned()).collect()
}

fn same_as(golden: &str, report: &Report) {
    let head = String::from_utf8(report.head.clone()).unwrap();
    assert_eq!(machine(&head), machine(golden));
    let parts = types(golden);
    assert_eq!(types(&head), parts[..4]);
    assert!(report.smtputf8 == golden.contains("message/global-delivery-status"));
    for name in ["Auto-Submitted: auto-replied", "From: Mail Delivery System <MAILER-DAEMON@"] {
        assert!(head.contains(name) && golden.contains(name), "{name}");
    }
}

// A function cannot include a file by its argument.
macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../../conformance/dsn/dsn-", $name, ".eml"))
    };
}

#[test]
fn unknown_user_here() {
    let report = made(&entry("EBDEA142083", 12, vec![unknown_user()]), ReportKind::Failed);
    same_as(golden!("bounce-unknown-user"), &report);
    assert_eq!((report.original, report.to), (Part::Full, address("mail001@example.com")));
}

#[test]
fn two_recipients_one_refused_by_the_other_server() {
    let words = "<reject@remote.test>: Recipient address rejected: User unknown";
    let why = said(550, Enhanced(5, 1, 1), words, "(in reply to RCPT TO command)");
    let refused = recipient("reject@remote.test", "rejected@example.com", Target::Remote, why);
    let report = made(&entry("40469142122", 17, vec![unknown_user(), refused]), ReportKind::Failed);
    same_as(golden!("bounce-two-recipients"), &report);
}

#[test]
fn refused_by_the_other_server_alone() {
    let words = "<reject@remote.test>: Recipient address rejected: User unknown";
    let why = said(550, Enhanced(5, 1, 1), words, "(in reply to RCPT TO command)");
    let refused = recipient("reject@remote.test", "rejected@example.com", Target::Remote, why);
    let report = made(&entry("B27221420A3", 13, vec![refused]), ReportKind::Failed);
    same_as(golden!("bounce-remote-reject"), &report);
}

#[test]
fn refused_after_data() {
    let why = said(
        554,
        Enhanced(5, 7, 1),
        "Message content rejected",
        "(in reply to end of DATA command)",
    );
    let to = "reject-data@remote.test";
    let report = made(
        &entry("667101420C2", 14, vec![recipient(to, to, Target::Remote, why)]),
        ReportKind::Failed,
    );
    same_as(golden!("bounce-remote-data-reject"), &report);
}

#[test]
fn headers_only_and_what_the_sender_gave() {
    let mut waiting = unknown_user();
    waiting.orcpt = Some(("rfc822".into(), "some+one@example.com".into()));
    let mut entry = entry("1967E1420E2", 15, vec![waiting]);
    entry.origin.ret = Some(Ret::Headers);
    entry.origin.envid = Some("golden-2".into());
    let report = made(&entry, ReportKind::Failed);
    same_as(golden!("bounce-ret-hdrs"), &report);
    assert_eq!(report.original, Part::Headers);
}

#[test]
fn in_utf8() {
    let mut entry = entry("E31D3142122", 17, vec![unknown_user()]);
    entry.origin.smtputf8 = true;
    same_as(golden!("bounce-utf8"), &made(&entry, ReportKind::Failed));
    // Addresses keep their letters, with their own type (RFC 6533 3).
    let why = Diagnosis::own(Enhanced(5, 1, 1), "kein Empfänger");
    let waiting = recipient("jörg@remote.test", "jörg@remote.test", Target::Remote, why);
    entry.recipients = vec![Some(waiting)];
    let text = String::from_utf8(made(&entry, ReportKind::Failed).head).unwrap();
    assert!(text.contains("\r\nFinal-Recipient: utf-8; jörg@remote.test\r\n"), "{text}");
    assert!(text.contains("\r\nDiagnostic-Code: X-Waypost; kein Empfänger\r\n"));
    entry.origin.smtputf8 = false;
    let text = String::from_utf8(made(&entry, ReportKind::Failed).head).unwrap();
    assert!(text.contains("\r\nFinal-Recipient: rfc822; j?rg@remote.test\r\n"), "{text}");
}

#[test]
fn delayed_and_expired() {
    let words = "TLS is required, but was not offered by host localhost[127.0.0.1]";
    let why = Diagnosis::own(Enhanced(4, 7, 4), words);
    let stuck = recipient("someone@notls.test", "stuck@example.com", Target::Remote, why);
    let entry = entry("44E2A142164", 21, vec![stuck]);
    let report = made(&entry, ReportKind::Delayed);
    same_as(golden!("delay-warning"), &report);
    assert_eq!(report.original, Part::Headers);
    same_as(golden!("bounce-expired"), &made(&entry, ReportKind::Failed));
}

#[test]
fn delivered_relayed_expanded() {
    let success = Some(Notify { success: true, failure: false, delay: false });
    let why = said(250, Enhanced(2, 0, 0), "Ok: queued as 000002", "");
    let mut relayed = recipient("someone@remote.test", "someone@remote.test", Target::Remote, why);
    relayed.notify = success;
    let report = made(&entry("88510142102", 16, vec![relayed]), ReportKind::Delivered);
    same_as(golden!("relayed"), &report);
    let done = Diagnosis::own(Enhanced(2, 0, 0), "delivered to maildir");
    let to = ["mail001@mail.example.com", "mail002@mail.example.com"];
    let mut team: Vec<Waiting> =
        to.map(|to| recipient(to, "postmaster@example.org", mailbox(), done.clone())).to_vec();
    team.iter_mut().for_each(|waiting| waiting.notify = success);
    let mut entry = entry("BFA171420E2", 15, team);
    entry.origin.envid = Some("golden-1".into());
    let report = made(&entry, ReportKind::Delivered);
    same_as(golden!("success"), &report);
    assert!(!String::from_utf8(report.head).unwrap().contains("mail002"), "the alias stays closed");
    let to = "mail001@mail.example.com";
    let mut direct = recipient(to, to, mailbox(), done);
    direct.notify = success;
    entry.recipients = vec![Some(direct)];
    let text = String::from_utf8(made(&entry, ReportKind::Delivered).head).unwrap();
    assert!(text.contains("\r\nAction: delivered\r\n"), "{text}");
}

#[test]
fn the_sender_decides() {
    let notify = |success, failure, delay| Some(Notify { success, failure, delay });
    let kinds = [ReportKind::Failed, ReportKind::Delayed, ReportKind::Delivered];
    for (wish, expected) in [
        (None, [true, true, false]),
        (notify(true, false, false), [false, false, true]),
        (notify(false, true, false), [true, false, false]),
        (notify(false, false, true), [false, true, false]),
        (Some(Notify::NEVER), [false, false, false]),
    ] {
        let mut waiting = unknown_user();
        waiting.notify = wish;
        let entry = entry("A", 0, vec![waiting]);
        let reporter = Reporter::new("mail.example.com");
        let is_made = |kind| report(&reporter, &entry, kind, &[0], "B", NOW).is_some();
        assert_eq!(kinds.map(is_made), expected, "{wish:?}");
    }
}

#[test]
fn no_report_of_a_report_but_to_the_postmaster() {
    let mut entry = entry("A", 0, vec![unknown_user()]);
    entry.origin.sender = ReversePath::Null;
    let mut reporter = Reporter::new("mail.example.com");
    let made =
        |reporter: &Reporter, entry: &Entry, kind| report(reporter, entry, kind, &[0], "B", NOW);
    assert_eq!(made(&reporter, &entry, ReportKind::Failed), None);
    let postmaster = address("postmaster@example.com");
    reporter.double_bounce = Some(postmaster.clone());
    assert_eq!(made(&reporter, &entry, ReportKind::Failed).unwrap().to, postmaster);
    assert_eq!(made(&reporter, &entry, ReportKind::Delayed), None);
    entry.recipients[0].as_mut().unwrap().delivery.orig_to = postmaster;
    assert_eq!(made(&reporter, &entry, ReportKind::Failed), None, "no circle");
}

#[test]
fn a_large_original_is_not_returned() {
    let mut entry = entry("A", 0, vec![unknown_user()]);
    entry.origin.size = 50_001;
    assert_eq!(made(&entry, ReportKind::Failed).original, Part::Headers);
}

#[test]
fn the_words() {
    let words = "<reject@remote.test>: Recipient address rejected: User unknown";
    let why = said(550, Enhanced(5, 1, 1), words, "(in reply to RCPT TO command)");
    let refused = recipient("reject@remote.test", "rejected@example.com", Target::Remote, why);
    let report = made(&entry("A", 0, vec![refused]), ReportKind::Failed);
    let text = String::from_utf8(report.head).unwrap().replace("\r\n", "\n");
    assert!(
        text.contains(
            "\n\nThis is the mail server mail.example.com. Your message could not be\n\
         delivered to the recipients below, and it will not be tried again.\n\
         The message is returned at the end of this report.\n\n\
         <reject@remote.test> (reached through <rejected@example.com>)\n    \
         There is no such address. Please check how it is written.\n    \
         host localhost[127.0.0.1] said: 550 5.1.1 <reject@remote.test>:\n    \
         Recipient address rejected: User unknown (in reply to RCPT TO command)\n\n\
         If you need help, write to postmaster here and send this whole report along.\n\n--"
        ),
        "{text}"
    );
}

proptest! {
    #[test]
    fn nothing_that_was_said_breaks_out_of_its_field(
        words in any::<String>(), host in any::<String>(), envid in any::<String>(),
    ) {
        let reply = Reply { code: 550, enhanced: None, text: words.into() };
        let why = Diagnosis::said(&host, &host, &reply, "(in reply to MAIL FROM command)");
        let waiting = recipient("x@remote.test", "x@remote.test", Target::Remote, why);
        let mut entry = entry("A", 0, vec![waiting]);
        entry.origin.envid = Some(envid.into());
        let report = made(&entry, ReportKind::Failed);
        let text = String::from_utf8(report.head).unwrap();
        prop_assert_eq!(text.matches("--4gNew.").count(), 3);
        let blocks = machine(&text);
        prop_assert_eq!(blocks.len(), 2);
        let names: Vec<_> = blocks[1].iter().map(|(name, _)| name.as_str()).collect();
        prop_assert_eq!(names, ["Final-Recipient", "Original-Recipient", "Action", "Status",
            "Remote-MTA", "Diagnostic-Code"]);
        prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
    }
}
