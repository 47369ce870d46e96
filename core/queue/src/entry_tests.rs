//! Tests of the spool entry: examples, and the laws of torn files.

use super::*;
use crate::origin::MAGIC;
use crate::record::Line;
use alloc::string::String;
use proptest::prelude::*;
use std::format;
use std::vec;
use waypost_mail::{
    Address, Body, Delivery, Enhanced, MailHome, Notify, Reply, Ret, ReversePath, Target,
};

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn at(secs: i64) -> UnixTime {
    UnixTime { secs, nanos: 5 }
}

fn waiting(to: &str, target: Target) -> Waiting {
    let delivery = Delivery { to: address(to), orig_to: address("team@example.com"), target };
    Waiting::new(delivery, None, None, at(100))
}

fn later() -> Target {
    Target::Later(Reply::new(451, Enhanced(4, 3, 0), "directory\tdown\\"))
}

fn entry() -> Entry {
    let home = MailHome { path: "/home/mail/m\t0\n/mailbox".into(), uid: 20000, gid: 20001 };
    let mut second = waiting("\"a b\"@Example.org", later());
    second.notify = Some(Notify { success: true, failure: false, delay: true });
    second.orcpt = Some(("rfc822".into(), "x@y".into()));
    Entry::new(
        Origin {
            queue_id: "4gXyZ1abcd".into(),
            arrived: at(-1),
            sender: ReversePath::Address(address("sender@elsewhere.test")),
            size: 356,
            checksum: Some(7),
            message_id: "<a\u{e4}@b>".into(),
            body: Body::EightBitMime,
            smtputf8: true,
            ret: Some(Ret::Headers),
            envid: Some("-".into()),
            login: Some("mail000".into()),
            head: "A: b\r\n\tc\r\n".into(),
        },
        vec![
            waiting("mail000@mail.example.com", Target::Maildir(home)),
            second,
            waiting("someone@remote.test", Target::Remote),
            waiting(
                "n@e.com",
                Target::Undeliverable(Reply { code: 550, enhanced: None, text: "".into() }),
            ),
        ],
    )
}

fn why() -> Arc<Diagnosis> {
    let reply = Reply::new(451, Enhanced(4, 7, 1), "greylisted, come\tback");
    Arc::new(Diagnosis::said(
        "mx.remote.test",
        "192.0.2.1",
        &reply,
        "(in reply to RCPT TO command)",
    ))
}

#[test]
fn written_and_read() {
    let entry = entry();
    let file = entry.encode();
    assert!(file.contains("\twaypost-spool\t2\t4gXyZ1abcd\t"), "{file}");
    assert_eq!(Entry::decode(file.as_bytes()).unwrap(), entry);
    let null = Entry {
        origin: Origin {
            sender: ReversePath::Null,
            ret: None,
            envid: None,
            ..entry.origin.clone()
        },
        ..entry
    };
    assert_eq!(Entry::decode(null.encode().as_bytes()).unwrap(), null);
}

#[test]
fn changes_append() {
    let mut entry = entry();
    let mut file = entry.encode();
    let changes = [
        Change::Done(0),
        Change::Tried(1, at(900)),
        Change::Became(
            1,
            vec![waiting("x@remote.test", Target::Remote), waiting("y@z.test", later())],
        ),
        Change::Became(2, vec![]),
        Change::Deferred(0, at(950), why()),
        Change::Done(3),
        Change::Held(true),
        Change::Held(false),
        Change::Warned,
        Change::Deferred(4, at(960), why()),
        Change::Expired(4),
        Change::Failed(5, Arc::new(Diagnosis::own(Enhanced(5, 1, 1), "unknown user"))),
    ];
    for change in changes {
        file.push_str(&change.encode());
        entry.apply(change).unwrap();
    }
    assert_eq!(Entry::decode(file.as_bytes()).unwrap(), entry);
    let states: Vec<_> = entry.recipients.iter().flatten().map(|r| (r.state, r.attempts)).collect();
    assert_eq!(states, [(State::Failed, 1), (State::Failed, 0)]);
    assert_eq!(entry.recipients[4].as_ref().unwrap().last, Some(why()));
    assert!(entry.warned && !entry.held && !entry.is_finished());
    let shorter = entry.encode();
    assert!(shorter.len() < file.len());
    assert_eq!(Entry::decode(shorter.as_bytes()).unwrap(), entry, "places stay");
    assert_eq!(entry.next(), Some(at(100)));
    for n in [4, 5] {
        entry.apply(Change::Done(n)).unwrap();
    }
    assert!(entry.is_finished() && entry.next().is_none());
    assert_eq!(entry.apply(Change::Done(6)), None);
}

#[test]
fn faults_are_named() {
    let file = entry().encode();
    let error = |text: &str| Entry::decode(text.as_bytes()).unwrap_err().fault;
    assert_eq!(error(""), Fault::Magic);
    assert_eq!(error("hello\n"), Fault::Magic);
    let mut newer = String::new();
    Line::new(MAGIC).plain(3).finish(&mut newer);
    assert_eq!(error(&newer), Fault::Version);
    let cut = file.rfind("ready").unwrap();
    assert_eq!(error(&file[..cut]), Fault::Incomplete);
    let twice = format!("{file}{}", Change::Done(9).encode());
    assert_eq!(error(&twice), Fault::Nonsense);
    for line in file.lines().skip(1) {
        let changed = format!("{}{}", file.replace(line, &line.to_uppercase()), file);
        assert_eq!(error(&changed), Fault::Damaged);
    }
}

/// Written by version 1, which had no checksum of the body, no head, and a line for each change.
#[test]
fn older_entries_are_read() {
    let origin = Origin { checksum: None, head: "".into(), ..entry().origin };
    let mut entry = Entry { origin, ..entry() };
    let newer = entry.encode();
    let (first, rest) = newer.split_once('\n').unwrap();
    let first = first[9..].strip_suffix("\t-\t").unwrap().replace("\t2\t", "\t1\t");
    let older = format!("{:08x}\t{first}\n{rest}", crc32fast::hash(first.as_bytes()));
    assert_eq!(Entry::decode(older.as_bytes()).unwrap(), entry);
    let changes = [Change::Tried(0, at(9)), Change::Done(0)];
    let longer = format!("{older}{}", Change::encode_all(&changes));
    for change in changes {
        entry.apply(change).unwrap();
    }
    assert_eq!(Entry::decode(longer.as_bytes()).unwrap(), entry);
    assert_eq!(Entry::decode(entry.encode().as_bytes()).unwrap(), entry);
}

#[test]
fn what_happens_together_is_there_together() {
    let mut entry = entry();
    let before = entry.clone();
    let file = entry.encode();
    let others = vec![waiting("x@remote.test", Target::Remote)];
    let changes = [Change::Became(2, others), Change::Failed(4, why()), Change::Warned];
    let line = Change::encode_all(&changes);
    assert_eq!(line.lines().count(), 1);
    for change in changes {
        entry.apply(change).unwrap();
    }
    let mut longer = format!("{file}{line}").into_bytes();
    assert_eq!(Entry::decode(&longer).unwrap(), entry);
    // A disk may keep the later blocks of a write and lose the earlier.
    longer[file.len()..file.len() + 40].fill(0);
    assert_eq!(Entry::decode(&longer).unwrap(), before);
    assert_eq!(Entry::whole(&longer), file.len());
    assert_eq!(Change::encode_all(&[]), "");
}

proptest! {
    #[test]
    fn a_torn_file_is_the_state_before(cut in 0usize..4000, steps in 0usize..4) {
        let mut entry = entry();
        let mut file = entry.encode();
        let mut states = vec![(file.len(), entry.clone())];
        for n in 0..steps {
            let change = if n % 2 == 0 { Change::Done(n) } else { Change::Tried(n, at(7)) };
            file.push_str(&change.encode());
            entry.apply(change);
            states.push((file.len(), entry.clone()));
        }
        let cut = cut.min(file.len());
        let expected = states.iter().rev().find(|(len, _)| *len <= cut).map(|(_, entry)| entry);
        let torn = &file.as_bytes()[..cut];
        prop_assert_eq!(&Entry::decode(torn).ok(), &expected.cloned());
        // Once the tear is cut off, appending goes on.
        let mut mended = torn[..Entry::whole(torn)].to_vec();
        mended.extend_from_slice(Change::Done(1).encode().as_bytes());
        let after = expected.cloned().map(|mut entry| {
            entry.apply(Change::Done(1)).map(|()| entry)
        });
        prop_assert_eq!(Entry::decode(&mended).ok(), after.flatten());
    }

    #[test]
    fn never_panics(file in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Entry::decode(&file);
    }

    /// It is noticed, or only the last thing that happened is forgotten.
    #[test]
    fn a_flipped_byte_never_changes_the_meaning(place: usize, flip in 1u8..=255, steps in 0usize..4) {
        let mut entry = entry();
        let mut file = entry.encode();
        let mut states = vec![entry.clone()];
        for n in 0..steps {
            let change = if n % 2 == 0 { Change::Done(n) } else { Change::Tried(n, at(7)) };
            file.push_str(&change.encode());
            entry.apply(change);
            states.push(entry.clone());
        }
        let mut file = file.into_bytes();
        let place = place % file.len();
        file[place] ^= flip;
        if let Ok(read) = Entry::decode(&file) {
            // A line end that is gone takes two lines with it.
            let last = states.len().saturating_sub(3);
            prop_assert!(states[last..states.len() - 1].contains(&read));
        }
    }
}
