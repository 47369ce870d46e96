//! Each law, broken once.

use waypost_mail::{Address, Enhanced};
use waypost_world::{Agent, Attempt};

use super::*;
use crate::script::{Notify, Tls};

const LDIF: &str = "\
dn: uid=mail000,dc=x
uid: mail000
homeDirectory: /home/mail000
mailacceptinggeneralid: mail000@example.com
maildrop: mail000@mail.example.com

dn: uid=mail001,dc=x
uid: mail001
homeDirectory: /home/mail001
mailacceptinggeneralid: mail001@example.com
maildrop: mail001@mail.example.com

dn: uid=both,dc=x
uid: both
mailacceptinggeneralid: both@example.com
maildrop: mail000@mail.example.com
maildrop: bob@remote.test
";

/// A ledger, and hands to write in it.
struct Case {
    ledger: Ledger,
    uid: u32,
}

fn case(script: &str) -> Case {
    let script: Script = script.parse().unwrap();
    let mut ledger = Ledger::new(Book::read(LDIF, "mail.example.com"), &script);
    ledger.read_all("mail000");
    ledger.read_all("mail001");
    Case { ledger, uid: 0 }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Case {
    /// A message that was handed over once, with this outcome.
    fn message(&mut self, from: &str, to: &str, outcome: Outcome) -> u32 {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.mail(Mail { from, to: vec![to], size: 100, ..Mail::default() }, outcome)
    }

    fn mail(&mut self, mail: Mail, outcome: Outcome) -> u32 {
        let (token, _) = self.ledger.compose(&mail);
        let time = (seconds(1), seconds(2));
        self.ledger.tried(token, Try { to: mail.to, outcome, time });
        token
    }

    fn accepted(&mut self, to: &str) -> u32 {
        self.message("a@far.test", to, Outcome::Accepted("q1".into()))
    }

    fn copy(&self, token: u32, queue_id: &str) -> Vec<u8> {
        let head = format!(
            "Return-Path: <a@far.test>\r\nDelivered-To: mail000@mail.example.com\r\nReceived: from x (y [192.0.2.1])\r\n\tby z with ESMTP id {queue_id}\r\n\
             \tfor <x>; now\r\n"
        );
        [head.as_bytes(), &self.ledger.messages()[token as usize].data].concat()
    }

    fn change(&mut self, change: Change, came: Came) {
        let number = self.ledger.changing("mail000", change);
        self.ledger.changed(number, came);
    }

    fn create(&mut self, name: &str) {
        self.change(Change::Create(name.into()), Came::Done);
    }

    /// What LIST says, or LSUB.
    fn listed(&mut self, names: &[&str], subscribed: bool) {
        let asked = self.ledger.asking();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.ledger.listed("mail000", &names, subscribed, asked);
    }

    fn place(&mut self) -> Place {
        self.uid += 1;
        place(self.uid)
    }

    /// It lies in INBOX in the end.
    fn delivered(&mut self, token: u32, queue_id: &str) -> Place {
        let (place, copy) = (self.place(), self.copy(token, queue_id));
        self.ledger.read_last(&place, &copy, &[]);
        place
    }

    fn relayed(&mut self, token: u32, queue_id: &str, heard: bool) {
        let (data, to) = (self.copy(token, queue_id), vec!["bob@remote.test".to_owned()]);
        let (host, from) = ("mx".to_owned(), String::new());
        let taken = Taken { host, from, to, data, at: seconds(3), heard, ..Taken::default() };
        self.ledger.took(taken);
    }

    fn report(&mut self, action: &str, recipient: &str) {
        self.report_to("mail000@mail.example.com", action, recipient);
    }

    fn report_to(&mut self, to: &str, action: &str, recipient: &str) {
        let report = format!(
            "Return-Path: <>\r\nDelivered-To: {to}\r\nContent-Type: multipart/report; x=y\r\n\r\n\
             X-Waypost-Queue-ID: q1\r\n\r\nFinal-Recipient: rfc822; {recipient}\r\nAction: {action}\r\n\
             \r\nX-Token: 0\r\n"
        );
        let place = self.place();
        self.ledger.read_last(&place, report.as_bytes(), &[]);
    }

    fn delivery(&mut self, queue_id: &str, to: &str, status: waypost_world::Status) {
        let to: Address = Address::parse(to).unwrap();
        let attempt = Attempt {
            queue_id: queue_id.into(),
            orig_to: to.clone(),
            to,
            agent: Agent::Error,
            relay: "none".into(),
            delays: [Duration::ZERO; 4],
            dsn: Enhanced(5, 0, 0),
            status,
            text: "".into(),
        };
        self.ledger.event(seconds(3), Event::Delivery(Box::new(attempt)));
    }

    fn broken(mut self) -> Vec<Law> {
        self.ledger.judge(&[]);
        let mut laws: Vec<Law> = self.ledger.breaches().iter().map(|breach| breach.law).collect();
        laws.dedup();
        laws
    }
}

fn place(uid: u32) -> Place {
    Place { user: "mail000".into(), mailbox: "INBOX".into(), validity: 1, uid }
}

const NONE: [Law; 0] = [];
const CRASH: &str = "1s crash after 1 calls keep all down 1s";

#[test]
fn what_is_kept_breaks_nothing() {
    let mut case = case("");
    let token = case.accepted("both@example.com");
    case.delivered(token, "q1");
    case.relayed(token, "q1", true);
    assert_eq!(case.broken(), NONE);
}

#[test]
fn w1_a_message_that_is_lost() {
    let mut one = case("");
    one.accepted("mail000@example.com");
    assert_eq!(one.broken(), [Law::W1]);

    let mut half = case("");
    let token = half.accepted("both@example.com");
    half.delivered(token, "q1");
    assert_eq!(half.broken(), [Law::W1]);

    let mut again = case("");
    let token = again.accepted("mail000@example.com");
    again.delivered(token, "q2");
    assert_eq!(again.broken(), [Law::W1, Law::W3]);
}

#[test]
fn w1_a_message_that_was_seen_is_gone() {
    let lost = |doomed: bool| {
        let mut case = case("");
        let token = case.accepted("mail000@example.com");
        let copy = case.copy(token, "q1");
        case.ledger.read(&place(1), &copy);
        if doomed {
            case.ledger.doom(place(1));
        }
        case.broken()
    };
    assert_eq!(lost(false), [Law::W1]);
    assert_eq!(lost(true), NONE);
}

#[test]
fn w1_what_its_owner_put_there_or_moved() {
    let mut put = case("");
    let (_, content) = put.ledger.compose_for("mail000", 100);
    put.ledger.promised(place(1), &content, 0);
    assert_eq!(put.broken(), [Law::W1]);

    let moved = |arrived: bool| {
        let mut case = case("");
        let (_, content) = case.ledger.compose_for("mail000", 100);
        case.ledger.read(&place(1), &content);
        case.ledger.moving(place(1), "Trash");
        if arrived {
            let there = Place { mailbox: "Trash".into(), validity: 2, ..place(1) };
            case.ledger.read_last(&there, &content, &[]);
        }
        case.broken()
    };
    assert_eq!(moved(true), NONE);
    assert_eq!(moved(false), [Law::W1]);

    let mut filed = case("");
    let (_, content) = filed.ledger.compose_for("mail000", 100);
    filed.ledger.filed("mail000", &content);
    assert_eq!(filed.broken(), [Law::W1]);

    let mut expunged = case("");
    expunged.ledger.expunged(place(1));
    assert_eq!(expunged.broken(), [Law::W1]);
}

#[test]
fn w1_a_copy_of_a_deleted_message_may_be_expunged() {
    let copied = |deleted: bool| {
        let mut case = case("");
        let (_, content) = case.ledger.compose_for("mail000", 100);
        let (here, there) = (place(1), Place { mailbox: "Trash".into(), validity: 2, ..place(7) });
        case.create("Trash");
        let asked = case.ledger.asking();
        case.ledger.read_last(&here, &content, &[]);
        case.ledger.copying(here.clone(), "Trash", &content);
        case.ledger.promised(there.clone(), &content, asked);
        if deleted {
            case.ledger.doom(here);
        }
        case.ledger.expunged(there);
        case.broken()
    };
    assert_eq!(copied(true), NONE);
    assert_eq!(copied(false), [Law::W1]);
}

#[test]
fn w1_a_moved_message_with_deleted_may_be_expunged_where_it_came() {
    let moved = |deleted: bool| {
        let mut case = case("");
        let (_, content) = case.ledger.compose_for("mail000", 100);
        let at = |mailbox: &str| {
            let validity = u32::try_from(mailbox.len()).unwrap();
            Place { mailbox: mailbox.into(), validity, ..place(1) }
        };
        case.ledger.read(&at("INBOX"), &content);
        if deleted {
            case.ledger.doom(at("INBOX"));
        }
        for (from, to) in [("INBOX", "Archive"), ("Archive", "Work")] {
            case.ledger.copying(at(from), to, &content);
            case.ledger.moving(at(from), to);
            case.create(to);
            let asked = case.ledger.asking();
            case.ledger.promised(at(to), &content, asked);
        }
        case.broken()
    };
    assert_eq!(moved(true), NONE);
    assert_eq!(moved(false), [Law::W1]);
}

#[test]
fn a_report_is_an_end() {
    let mut failed = case("");
    let token = failed.accepted("both@example.com");
    failed.delivered(token, "q1");
    failed.report("failed", "bob@remote.test");
    assert_eq!(failed.broken(), NONE);

    let mut delayed = case("");
    let token = delayed.accepted("both@example.com");
    delayed.delivered(token, "q1");
    delayed.report("delayed", "bob@remote.test");
    assert_eq!(delayed.broken(), [Law::W1]);

    // Who is told of an alias is told of whom it leads to, but only where entries were missing.
    let told_of_alias = |script: &str| {
        let mut case = case(script);
        case.accepted("mail000@example.com");
        case.report("failed", "mail000@example.com");
        case.broken()
    };
    assert_eq!(told_of_alias("1s directory empty 5s"), NONE);
    assert_eq!(told_of_alias(""), [Law::W1]);

    let mut of_a_report = case("");
    let token = of_a_report.message("", "both@example.com", Outcome::Accepted("q1".into()));
    of_a_report.delivered(token, "q1");
    of_a_report.delivery("q1", "bob@remote.test", waypost_world::Status::Bounced);
    assert_eq!(of_a_report.broken(), NONE);
}

#[test]
fn w2_a_message_that_comes_twice() {
    let twice = |script: &str, crash: Option<u64>, removed: bool| {
        let mut case = case(script);
        let token = case.accepted("mail000@example.com");
        case.delivered(token, "q1");
        case.delivered(token, "q1");
        if removed {
            case.ledger.event(seconds(3), Event::Removed { queue_id: "q1".into() });
        }
        if let Some(at) = crash {
            case.ledger.crashed(seconds(at));
        }
        case.broken()
    };
    assert_eq!(twice("", None, false), [Law::W2]);
    assert_eq!(twice(CRASH, Some(2), false), NONE);
    // It was not here yet, or not any more.
    assert_eq!(twice(CRASH, Some(0), false), [Law::W2]);
    assert_eq!(twice(CRASH, Some(4), true), [Law::W2]);
}

#[test]
fn w2_a_host_gets_it_twice_when_its_reply_is_lost() {
    let twice = |heard: bool| {
        let mut case = case("");
        let token = case.accepted("both@example.com");
        case.delivered(token, "q1");
        case.relayed(token, "q1", heard);
        case.relayed(token, "q1", true);
        case.broken()
    };
    assert_eq!(twice(false), NONE);
    assert_eq!(twice(true), [Law::W2]);
}

#[test]
fn w2_more_copies_than_were_asked_for() {
    let copies = |asked: usize| {
        let mut case = case("");
        let (_, content) = case.ledger.compose_for("mail000", 100);
        let there = Place { mailbox: "Trash".into(), validity: 2, ..place(1) };
        case.ledger.read_last(&place(1), &content, &[]);
        case.ledger.read_last(&there, &content, &[]);
        for _ in 0..asked {
            case.ledger.copying(place(1), "Trash", &content);
        }
        case.broken()
    };
    assert_eq!(copies(1), NONE);
    assert_eq!(copies(0), [Law::W2]);

    let mut delivered = case("");
    let token = delivered.accepted("mail000@example.com");
    let place = delivered.delivered(token, "q1");
    let copy = delivered.copy(token, "q1");
    delivered.ledger.read_last(
        &Place { mailbox: "Trash".into(), validity: 2, ..place },
        &copy,
        &[],
    );
    assert_eq!(delivered.broken(), [Law::W2]);
}

#[test]
fn w13_what_was_answered_is_listed() {
    let listed = |changes: &[(Change, Came)], names: &[&str]| {
        let mut case = case("");
        for (change, came) in changes {
            case.change(change.clone(), *came);
        }
        case.listed(names, false);
        case.broken()
    };
    let create = |name: &str| (Change::Create(name.into()), Came::Done);
    let delete = |came| (Change::Delete("A".into()), came);
    let rename = (Change::Rename("A".into(), "B".into()), Came::Done);
    assert_eq!(listed(&[create("A")], &["A", "INBOX"]), NONE);
    assert_eq!(listed(&[create("A")], &["INBOX"]), [Law::W13]);
    assert_eq!(listed(&[], &["A", "INBOX"]), [Law::W13]);
    assert_eq!(listed(&[create("A"), delete(Came::Done)], &["A", "INBOX"]), [Law::W13]);
    assert_eq!(listed(&[create("A"), delete(Came::Done)], &[]), [Law::W13]);
    for names in [&["A", "INBOX"][..], &["INBOX"]] {
        assert_eq!(listed(&[create("A"), delete(Came::Unknown)], names), NONE);
    }
    let tree = [create("A"), create("A.x"), rename];
    assert_eq!(listed(&tree, &["B", "B.x", "INBOX"]), NONE);
    assert_eq!(listed(&tree, &["B", "INBOX"]), [Law::W13]);
    assert_eq!(listed(&tree, &["A.x", "B", "B.x", "INBOX"]), [Law::W13]);
}

#[test]
fn w13_changes_at_the_same_time_decide_nothing() {
    let ended = |by_crash: bool, names: &[&str]| {
        let mut case = case(CRASH);
        let delete = case.ledger.changing("mail000", Change::Delete("A".into()));
        case.create("A");
        match by_crash {
            true => case.ledger.crashed(seconds(1)),
            false => case.ledger.changed(delete, Came::Done),
        }
        case.listed(names, false);
        if by_crash {
            case.change(Change::Delete("A".into()), Came::Unknown);
            case.create("A");
            case.listed(names, false);
        }
        case.broken()
    };
    assert_eq!(ended(false, &["INBOX"]), NONE);
    assert_eq!(ended(false, &["A", "INBOX"]), NONE);
    assert_eq!(ended(true, &["A", "INBOX"]), NONE);
    assert_eq!(ended(true, &["INBOX"]), [Law::W13]);
}

#[test]
fn w13_subscriptions_stay() {
    let subscribed = |names: &[&str], again: bool| {
        let mut case = case("");
        case.create("A");
        case.change(Change::Subscribe("A".into()), Came::Done);
        case.change(Change::Delete("A".into()), Came::Done);
        if again {
            case.change(Change::Unsubscribe("A".into()), Came::Done);
        }
        case.listed(names, true);
        case.broken()
    };
    assert_eq!(subscribed(&["A"], false), NONE);
    assert_eq!(subscribed(&[], false), [Law::W13]);
    assert_eq!(subscribed(&[], true), NONE);
    assert_eq!(subscribed(&["A"], true), [Law::W13]);
}

#[test]
fn w5_and_w13_a_mailbox_is_one_whatever_it_is_called() {
    let again = |name: &str, validity: u32, deleted: bool| {
        let mut case = case("");
        let meet = |case: &mut Case, name: &str, validity: u32| {
            let asked = case.ledger.asking();
            case.ledger.uid_next(("mail000", name), validity, 2, asked);
        };
        case.create("A");
        meet(&mut case, "A", 7);
        match deleted {
            true => case.change(Change::Delete("A".into()), Came::Done),
            false => case.change(Change::Rename("A".into(), "B".into()), Came::Done),
        }
        case.create("A");
        meet(&mut case, name, validity);
        case.broken()
    };
    assert_eq!(again("A", 8, true), NONE);
    assert_eq!(again("A", 7, true), [Law::W5]);
    assert_eq!(again("B", 7, false), NONE);
    assert_eq!(again("INBOX", 7, false), [Law::W5]);

    let mut twice = case("");
    let (_, content) = twice.ledger.compose_for("mail000", 100);
    twice.create("A");
    twice.change(Change::Rename("A".into(), "B".into()), Came::Done);
    for name in ["A", "B"] {
        twice.ledger.read_last(&Place { mailbox: name.into(), ..place(1) }, &content, &[]);
    }
    assert_eq!(twice.broken(), [Law::W13]);
}

#[test]
fn w2_reports_that_go_astray_or_come_twice() {
    let reports = |to: &[&str], script: &str| {
        let mut case = case(script);
        let outcome = Outcome::Accepted("q1".into());
        let token = case.message("mail001@example.com", "both@example.com", outcome);
        case.delivered(token, "q1");
        for to in to {
            case.report_to(to, "failed", "bob@remote.test");
        }
        case.broken()
    };
    let (sender, postmaster) = ("mail001@mail.example.com", "mail000@mail.example.com");
    assert_eq!(reports(&[sender], ""), NONE);
    assert_eq!(reports(&[postmaster], ""), NONE);
    assert_eq!(reports(&["mail002@mail.example.com"], ""), [Law::W2]);
    assert_eq!(reports(&[sender, sender], ""), [Law::W2]);
    assert_eq!(reports(&[sender, sender], "1s disk broken 1s"), NONE);
}

#[test]
fn w2_delivered_and_reported() {
    let mut case = case("");
    let token = case.accepted("mail000@example.com");
    case.delivered(token, "q1");
    case.report("failed", "mail000@mail.example.com");
    assert_eq!(case.broken(), [Law::W2]);
}

#[test]
fn w3_a_message_without_a_250() {
    let came = |outcome: Outcome, times: usize| {
        let mut case = case("");
        let token = case.message("a@far.test", "mail000@example.com", outcome);
        for n in 0..times {
            case.delivered(token, &format!("q{n}"));
        }
        case.broken()
    };
    assert_eq!(came(Outcome::Refused(451), 1), [Law::W3]);
    assert_eq!(came(Outcome::Unsent, 1), [Law::W3]);
    // Its reply was lost, once.
    assert_eq!(came(Outcome::Unknown, 1), NONE);
    assert_eq!(came(Outcome::Unknown, 2), [Law::W3]);

    let mut stranger = case("");
    let token = stranger.accepted("mail000@example.com");
    stranger.delivered(token, "q1");
    stranger.relayed(token, "q1", true);
    assert_eq!(stranger.broken(), [Law::W3]);
}

#[test]
fn w4_other_octets() {
    let mut changed = case("");
    let token = changed.accepted("mail000@example.com");
    let mut copy = changed.copy(token, "q1");
    copy.truncate(copy.len() - 2);
    changed.ledger.read_last(&place(1), &copy, &[]);
    assert_eq!(changed.broken(), [Law::W4]);

    let mut put = case("");
    let (token, _) = put.ledger.compose_for("mail000", 100);
    let copy = put.copy(token, "q1");
    put.ledger.read_last(&place(1), &copy, &[]);
    // Nobody handed it over, either.
    assert_eq!(put.broken(), [Law::W4, Law::W3]);

    let mut unknown = case("");
    unknown.ledger.read_last(&place(1), b"Subject: x\r\n\r\n", &[]);
    assert_eq!(unknown.broken(), [Law::W4]);
}

#[test]
fn w5_a_uid_names_one_message() {
    let mut two = case("");
    let (one, other) =
        (two.ledger.compose_for("mail000", 9).1, two.ledger.compose_for("mail000", 9).1);
    two.ledger.read(&place(1), &one);
    two.ledger.read_last(&place(1), &other, &[]);
    assert_eq!(two.broken(), [Law::W5]);

    let mut back = case("");
    let (_, content) = back.ledger.compose_for("mail000", 9);
    back.ledger.read(&place(1), &content);
    back.ledger.doom(place(1));
    back.ledger.expunged(place(1));
    back.ledger.read_last(&place(1), &content, &[]);
    assert_eq!(back.broken(), [Law::W5]);

    let mut next = case("");
    let early = next.ledger.asking();
    next.ledger.uid_next(("mail000", "INBOX"), 1, 8, early);
    // Asked before, and answered late.
    next.ledger.uid_next(("mail000", "INBOX"), 1, 7, early);
    assert_eq!(next.ledger.breaches(), []);
    let late = next.ledger.asking();
    next.ledger.uid_next(("mail000", "INBOX"), 1, 7, late);
    assert_eq!(next.broken(), [Law::W5]);

    let mut below = case("");
    let (_, content) = below.ledger.compose_for("mail000", 9);
    below.ledger.uid_next(("mail000", "INBOX"), 1, 8, 0);
    let asked = below.ledger.asking();
    below.ledger.promised(place(7), &content, asked);
    below.ledger.read_last(&place(7), &content, &[]);
    assert_eq!(below.broken(), [Law::W5]);
}

#[test]
fn w5_flags_that_were_answered_stay() {
    // Changes of a flag, each answered or not, and the flag in the end.
    let flags = |changes: &[(bool, bool)], at_end: bool| {
        let mut case = case("");
        let (_, content) = case.ledger.compose_for("mail000", 9);
        for (set, answered) in changes {
            let number = case.ledger.storing(&place(1), "\\Seen", *set);
            if *answered {
                case.ledger.stored(&place(1), "\\Seen", number);
            }
        }
        let flags: Vec<String> = at_end.then(|| "\\Seen".to_owned()).into_iter().collect();
        case.ledger.read_last(&place(1), &content, &flags);
        case.broken()
    };
    assert_eq!(flags(&[(true, true)], true), NONE);
    assert_eq!(flags(&[(true, true)], false), [Law::W5]);
    assert_eq!(flags(&[(true, false)], false), NONE);
    assert_eq!(flags(&[(true, false)], true), NONE);
    assert_eq!(flags(&[(true, true), (false, true)], true), [Law::W5]);
    assert_eq!(flags(&[(true, true), (false, false)], true), NONE);
    assert_eq!(flags(&[(true, true), (false, false)], false), NONE);
    assert_eq!(flags(&[(true, false), (false, true)], true), NONE);
}

#[test]
fn w7_and_w9_what_recipients_get() {
    let got = |script: &str, login: Option<&str>, sender: &str, to: &str, code| {
        let mut case = case(script);
        let who = match login {
            Some("") => Who::Trusted,
            Some(user) => Who::User(user),
            None => Who::Stranger,
        };
        case.ledger.recipient(who, sender, to, code);
        case.broken()
    };
    let (far, own) = ("a@far.test", "mail000@example.com");
    let gone = "1s directory gone 5s";
    assert_eq!(got("", None, far, own, 250), NONE);
    assert_eq!(got("", None, far, "x@remote.test", 250), [Law::W7]);
    assert_eq!(got("", None, far, "x@remote.test", 554), NONE);
    assert_eq!(got("", Some("mail000"), own, "x@remote.test", 250), NONE);
    assert_eq!(got("", Some("mail000"), far, own, 250), [Law::W7]);
    assert_eq!(got("", Some("mail000"), far, own, 553), NONE);
    assert_eq!(got("", None, own, own, 250), [Law::W7]);
    assert_eq!(got("", Some(""), far, "x@remote.test", 250), NONE);
    assert_eq!(got("", Some(""), far, "x@remote.test", 554), [Law::W9]);
    assert_eq!(got("", Some(""), own, "x@remote.test", 250), [Law::W7]);
    assert_eq!(got("1s directory empty 5s", None, own, own, 250), NONE);
    assert_eq!(got("", None, own, own, 553), NONE);
    assert_eq!(got("", None, far, "none@example.com", 250), [Law::W9]);
    assert_eq!(got("", None, far, "none@example.com", 550), NONE);
    assert_eq!(got(gone, None, far, own, 550), [Law::W9]);
    assert_eq!(got(gone, None, far, own, 451), NONE);
    assert_eq!(got("", None, far, own, 451), [Law::W9]);
    assert_eq!(got("1s directory empty 5s", None, far, own, 550), NONE);
    assert_eq!(got("", None, far, own, 354), [Law::Dialogue]);
}

#[test]
fn w8_and_w9_what_logins_get() {
    let got = |script: &str, wrong, secure, good, temporary| {
        let mut case = case(script);
        let login = Login { user: "mail000".into(), tls: Tls::Implicit, wrong };
        let time = (seconds(2), seconds(4));
        case.ledger.login(&login, &Answer { secure, good, temporary, time });
        case.broken()
    };
    let gone = "1s directory gone 5s";
    assert_eq!(got("", false, true, true, false), NONE);
    assert_eq!(got("", false, false, true, false), [Law::W8]);
    assert_eq!(got("", false, false, false, false), NONE);
    assert_eq!(got("", true, true, true, false), [Law::W9]);
    assert_eq!(got("", true, true, false, false), NONE);
    assert_eq!(got("", false, true, false, true), [Law::W9]);
    assert_eq!(got(gone, false, true, false, true), NONE);
    assert_eq!(got(gone, false, true, false, false), [Law::W9]);
    assert_eq!(got("1s directory denied 5s", false, true, false, false), NONE);
    assert_eq!(got("3s directory denied 5s", false, true, false, false), NONE);
    assert_eq!(got("5s directory denied 5s", false, true, false, false), [Law::W9]);
    // Nobody can have known that the password was right.
    assert_eq!(got(gone, false, true, true, false), [Law::W9]);
    assert_eq!(got("1s directory gone 2s", false, true, true, false), NONE);
}

#[test]
fn w10_what_was_not_read() {
    let mut ledger = Ledger::new(Book::read(LDIF, "mail.example.com"), &Script::default());
    ledger.judge(&[]);
    assert_eq!(ledger.breaches().len(), 2);
    assert!(ledger.breaches().iter().all(|breach| breach.law == Law::W10));
}

/// What comes of a message for bob, with these wishes.
fn wished(notify: Option<Notify>, fill: impl Fn(&mut Case, u32)) -> Vec<Law> {
    let mut case = case("");
    let (from, to) = ("mail000@mail.example.com".to_owned(), vec!["bob@remote.test".to_owned()]);
    let mail = Mail { from, to, size: 100, notify, envid: true, ..Mail::default() };
    let token = case.mail(mail, Outcome::Accepted("q1".into()));
    fill(&mut case, token);
    case.broken()
}

const NEVER: Option<Notify> = Some(Notify { success: false, failure: false, delay: false });
const SUCCESS: Option<Notify> = Some(Notify { success: true, failure: false, delay: false });

#[test]
fn w2_the_sender_is_told_what_he_wants_to_know() {
    let bob = "bob@remote.test";
    let came = |case: &mut Case, token| case.relayed(token, "q1", true);
    let fails = |case: &mut Case, _: u32| {
        case.delivery("q1", bob, waypost_world::Status::Bounced);
    };
    assert_eq!(wished(None, came), NONE);
    assert_eq!(wished(NEVER, came), NONE);
    assert_eq!(wished(SUCCESS, came), [Law::W2]);
    let and_told = |case: &mut Case, token| {
        case.relayed(token, "q1", true);
        case.report("relayed", bob);
    };
    assert_eq!(wished(SUCCESS, and_told), NONE);
    assert_eq!(wished(NEVER, and_told), [Law::W2]);
    assert_eq!(wished(None, and_told), [Law::W2]);
    // That it failed, nobody wanted to know; then the log knows, and who was told was told too much.
    assert_eq!(wished(NEVER, fails), NONE);
    assert_eq!(wished(None, fails), [Law::W1]);
    assert_eq!(wished(NEVER, |_, _| ()), [Law::W1]);
    assert_eq!(wished(NEVER, |case, _| case.report("failed", bob)), [Law::W2]);
    assert_eq!(wished(None, |case, _| case.report("failed", bob)), NONE);
}

#[test]
fn w4_and_w8_what_a_host_learns() {
    let taken = |host: &str, secure, words: &str, to_words: &str| {
        wished(NEVER, |case, token| {
            let taken = Taken {
                host: host.into(),
                to: vec!["bob@remote.test".into()],
                data: case.copy(token, "q1"),
                words: words.into(),
                to_words: vec![to_words.into()],
                knows_dsn: true,
                secure,
                ..Taken::default()
            };
            case.ledger.took(taken);
        })
    };
    let (words, to_words) =
        (" SIZE=9 ENVID=envelope-0", " ORCPT=rfc822;bob@remote.test NOTIFY=NEVER");
    assert_eq!(taken("mx.remote.test", false, words, to_words), NONE);
    assert_eq!(taken("mx.remote.test", false, " SIZE=9", to_words), [Law::W4]);
    assert_eq!(taken("mx.remote.test", false, " ENVID=envelope-0 RET=FULL", to_words), [Law::W4]);
    assert_eq!(taken("mx.remote.test", false, words, " ORCPT=rfc822;bob@remote.test"), [Law::W4]);
    assert_eq!(taken("mx.remote.test", false, words, " NOTIFY=NEVER"), [Law::W4]);
    assert_eq!(taken("a.twin.test", true, words, to_words), NONE);
    assert_eq!(taken("a.twin.test", false, words, to_words), [Law::W8]);
}
