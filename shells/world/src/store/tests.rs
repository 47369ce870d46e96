//! The store as its callers see it, on a real disk.

use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use waypost_imap::server::{self as imap, Flags, FolderChange, ModSeq, NamedFlags, StoreHow};

use super::testing::{NOON, Place, names};
use super::{Error, Parcel, Store};

const MESSAGE: &[u8] = b"Subject: x\r\nTo: a\r\n\r\nHello.\r\nBye.\r\n";

impl Place {
    pub(super) fn deliver(&self) -> String {
        let parcel = Parcel { home: self.mail000(), head: b"Delivered-To: mail000\r\n".to_vec() };
        let mut incoming = self.store.deliver(vec![parcel]);
        incoming.append(&[Bytes::from_static(MESSAGE)]);
        incoming.commit().remove(0).unwrap()
    }

    pub(super) fn open(&self, mailbox: &str) -> Opened<'_> {
        let opened = self.store.open(&self.mail000(), mailbox, true).unwrap();
        Opened { store: &self.store, now: opened.now, opened }
    }

    pub(super) fn manage(&self, change: FolderChange) -> Result<(), Error> {
        self.store.manage(&self.mail000(), &change)
    }

    pub(super) fn create(&self, name: &str) {
        self.manage(FolderChange::Create(name.into())).unwrap();
    }

    pub(super) fn append(
        &self,
        mailbox: &str,
        flags: NamedFlags,
        date: Option<i64>,
    ) -> Result<(u32, u32), Error> {
        let upload = self.store.begin_upload(&self.mail000(), mailbox, flags, date)?;
        let appended = self.store.append(upload, &[Bytes::from_static(MESSAGE)]);
        if appended.is_err() {
            self.store.abort_upload(upload);
        }
        appended.and_then(|()| self.store.commit_upload(upload))
    }

    pub(super) fn counts(&self, mailbox: &str) -> imap::Counts {
        self.store.status(&self.mail000(), mailbox, true).unwrap()
    }

    /// What another program does: as its user, since it may be root that runs the tests.
    pub(super) fn foreign(&self, work: impl FnOnce()) {
        self.as_user(work);
    }
}

/// A session.
pub(super) struct Opened<'a> {
    store: &'a Store,
    pub(super) opened: imap::OpenMailbox,
    now: ModSeq,
}

impl Opened<'_> {
    pub(super) fn uids(&self) -> Vec<u32> {
        self.opened.messages.iter().map(|message| message.uid).collect()
    }

    fn sync(&mut self) -> imap::Changes {
        let changes = self.store.sync(self.opened.handle, self.now).unwrap();
        self.now = changes.now;
        changes
    }

    fn flag(&mut self, uids: &[u32], how: StoreHow, flags: NamedFlags) -> imap::Changes {
        let handle = self.opened.handle;
        let changes = self.store.set_flags(handle, uids, how, &flags, self.now).unwrap();
        self.now = changes.now;
        changes
    }

    fn expunge(&mut self, uids: Option<&[u32]>) -> Vec<u32> {
        let changes = self.store.expunge(self.opened.handle, uids, self.now).unwrap();
        self.now = changes.now;
        changes.expunged
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.store.release(self.opened.handle);
    }
}

pub(super) fn system(system: u8) -> NamedFlags {
    NamedFlags { system, keywords: Vec::new() }
}

pub(super) fn keywords(names: &[&str]) -> NamedFlags {
    NamedFlags { system: 0, keywords: names.iter().map(|name| (*name).into()).collect() }
}

pub(super) fn added(changes: &imap::Changes) -> Vec<(u32, bool)> {
    changes.added.iter().map(|message| (message.uid, message.recent)).collect()
}

#[test]
fn an_account_without_mail_has_an_empty_inbox() {
    let place = Place::new();
    let session = place.open("inbox");
    assert!(session.uids().is_empty());
    assert_eq!((session.opened.uid_next, i64::from(session.opened.uid_validity)), (1, NOON));
    assert_eq!(
        place.names(""),
        [
            "cur",
            "dovecot-uidlist",
            "dovecot-uidvalidity",
            "dovecot-uidvalidity.6553f100",
            "new",
            "tmp"
        ]
    );
    assert!(matches!(place.store.open(&place.mail000(), "NoSuch", true), Err(Error::Absent)));
}

#[test]
fn delivered_messages_are_recent_once() {
    let place = Place::new();
    let names = [place.deliver(), place.deliver()];
    assert_eq!((place.counts("INBOX").recent, place.counts("INBOX").uid_next), (2, 3));
    assert_eq!(place.names("new").len(), 2);
    let examined = place.store.open(&place.mail000(), "INBOX", false).unwrap();
    assert!(examined.messages.iter().all(|message| message.recent));
    assert_eq!(place.names("new").len(), 2);

    let mut first = place.open("INBOX");
    assert!(first.opened.messages.iter().all(|message| message.recent));
    let mut moved = names.map(|name| name + ":2,");
    moved.sort();
    assert_eq!(place.names("cur"), moved);
    assert!(place.open("INBOX").opened.messages.iter().all(|message| !message.recent));
    place.deliver();
    assert_eq!(added(&first.sync()), [(3, true)]);
    assert_eq!(added(&place.open("INBOX").sync()), []);
    assert_eq!((place.counts("INBOX").recent, place.counts("INBOX").unseen), (0, 3));
    place.store.release(examined.handle);
}

#[test]
fn flags_are_names_of_files() {
    let place = Place::new();
    place.deliver();
    let (mut one, mut two) = (place.open("INBOX"), place.open("INBOX"));
    let set = Flags::SEEN | Flags::FLAGGED | Flags::ANSWERED | Flags::DRAFT;
    let changes = one.flag(&[1, 9], StoreHow::Replace, system(set));
    assert_eq!(changes.changed[0].flags.system, set);
    assert!(place.names("cur")[0].ends_with(":2,DFRS"));
    assert_eq!(two.sync().changed[0].flags.system, set);
    assert_eq!(two.sync().changed, []);
    // What is so already is no change.
    assert_eq!(one.flag(&[1], StoreHow::Add, system(Flags::SEEN)).changed, []);
    one.flag(&[1], StoreHow::Remove, system(Flags::SEEN | Flags::DRAFT));
    assert!(place.names("cur")[0].ends_with(":2,FR"));
    let readonly = place.store.open(&place.mail000(), "INBOX", false).unwrap();
    let refused =
        place.store.set_flags(readonly.handle, &[1], StoreHow::Add, &system(1), readonly.now);
    assert_eq!(refused, Err(Error::ReadOnly));
}

#[test]
fn keywords_have_letters() {
    let place = Place::new();
    place.deliver();
    let mut session = place.open("INBOX");
    let changes = session.flag(&[1], StoreHow::Add, keywords(&["work", "$Label1"]));
    assert_eq!(changes.changed[0].flags.keywords, 0b11);
    assert_eq!(&*changes.keywords.unwrap(), [Box::from("work"), Box::from("$Label1")]);
    assert!(place.names("cur")[0].ends_with(":2,ab"));
    let text = || std::fs::read_to_string(place.at("dovecot-keywords")).unwrap();
    assert_eq!(text(), "0 work\n1 $Label1\n");
    // Taking off a keyword that is not there makes none.
    assert_eq!(session.flag(&[1], StoreHow::Remove, keywords(&["WORK", "nope"])).keywords, None);
    assert!(place.names("cur")[0].ends_with(":2,b"));
    let many: Vec<String> = (0..24).map(|i| format!("k{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    session.flag(&[1], StoreHow::Add, keywords(&many));
    let full = place.store.set_flags(
        session.opened.handle,
        &[1],
        StoreHow::Add,
        &keywords(&["27th"]),
        session.now,
    );
    assert_eq!(full, Err(Error::TooManyKeywords));
    assert!(!place.open("INBOX").opened.may_add_keywords);
}

#[test]
fn expunged_messages_are_gone_for_all() {
    let place = Place::new();
    (0..4).for_each(|_| drop(place.deliver()));
    let (mut one, mut two) = (place.open("INBOX"), place.open("INBOX"));
    one.flag(&[1, 2, 4], StoreHow::Add, system(Flags::DELETED));
    assert_eq!(one.expunge(Some(&[2, 3])), [2]);
    place.deliver();
    assert_eq!(one.expunge(None), [1, 4]);
    let seen = two.sync();
    assert_eq!((seen.expunged.as_slice(), added(&seen)), (&[1, 2, 4][..], vec![(5, false)]));
    assert_eq!(place.names("cur").len(), 2);
    assert_eq!(place.open("INBOX").uids(), [3, 5]);
    // Uids are never given again, also not after a restart.
    one.flag(&[5], StoreHow::Add, system(Flags::DELETED));
    one.expunge(None);
    assert_eq!(place.restarted().open(&place.mail000(), "INBOX", true).unwrap().uid_next, 6);
}

#[test]
fn another_program_changes_flags_and_removes_messages() {
    let place = Place::new();
    let names: Vec<String> = (0..3).map(|_| place.deliver()).collect();
    let mut session = place.open("INBOX");
    let cur = |name: &str| place.at("cur").join(name);
    place.foreign(|| {
        std::fs::rename(cur(&format!("{}:2,", names[0])), cur(&format!("{}:2,Sc", names[0])))
            .unwrap();
        std::fs::remove_file(cur(&format!("{}:2,", names[1]))).unwrap();
    });
    // Before it is looked at, the old name is used and the new one found.
    let body = place.store.body(session.opened.handle, 1, 0, 1000).unwrap().unwrap();
    assert!(body.starts_with(b"Delivered-To: mail000\r\nSubject: x\r\n"));
    let changes = session.flag(&[1, 2], StoreHow::Add, system(Flags::FLAGGED));
    assert_eq!(changes.expunged, [2]);
    assert_eq!(
        changes.changed[0].flags,
        Flags { system: Flags::SEEN | Flags::FLAGGED, keywords: 4 }
    );
    assert!(place.names("cur").contains(&format!("{}:2,FSc", names[0])));
    assert_eq!(session.sync().changed, []);
    assert_eq!(place.store.body(session.opened.handle, 2, 0, 10).unwrap(), None);
}

#[test]
fn uids_survive_a_restart() {
    let place = Place::new();
    (0..3).for_each(|_| drop(place.deliver()));
    let before = place.open("INBOX");
    place.deliver();
    let store = place.restarted();
    let after = store.open(&place.mail000(), "INBOX", true).unwrap();
    assert_eq!(after.uid_validity, before.opened.uid_validity);
    let uids: Vec<_> = after.messages.iter().map(|message| (message.uid, message.recent)).collect();
    assert_eq!(uids, [(1, false), (2, false), (3, false), (4, true)]);
}

#[test]
fn a_lost_or_broken_uid_list_is_made_again() {
    let place = Place::new();
    (0..3).for_each(|_| drop(place.deliver()));
    let mut session = place.open("INBOX");
    session.flag(&[2], StoreHow::Add, system(Flags::DELETED));
    session.expunge(None);
    let list = place.at("dovecot-uidlist");
    // While the mailbox is known, uids keep their meaning.
    for broken in [None, Some("garbage\n"), Some("3 V1 N1\n7 :x\n3 :y\n"), Some("")] {
        place.foreign(|| match broken {
            None => std::fs::remove_file(&list).unwrap(),
            Some(text) => std::fs::write(&list, text).unwrap(),
        });
        place.deliver();
        let changes = session.sync();
        assert_eq!((changes.expunged.len(), changes.added.len()), (0, 1), "{broken:?}");
    }
    let before = place.open("INBOX");
    assert_eq!(before.uids(), [1, 3, 4, 5, 6, 7]);
    assert_eq!(before.opened.uid_validity, session.opened.uid_validity);
    // After a restart nothing is known, so that it has to be another UIDVALIDITY.
    place.foreign(|| std::fs::write(&list, "garbage\n").unwrap());
    let after = place.restarted().open(&place.mail000(), "INBOX", true).unwrap();
    assert_eq!(after.uid_validity, before.opened.uid_validity + 1);
    assert_eq!(after.messages.len(), 6);
    // A torn last line is another server's crash: it is mended.
    let torn = std::fs::read_to_string(&list).unwrap() + "7 :1795";
    place.foreign(|| std::fs::write(&list, torn).unwrap());
    place.deliver();
    let mended = place.restarted().open(&place.mail000(), "INBOX", true).unwrap();
    assert_eq!((mended.uid_validity, mended.messages.len()), (after.uid_validity, 7));
    assert!(!std::fs::read_to_string(&list).unwrap().contains("7 :1795\n"));
}

#[test]
fn another_uid_validity_ends_a_session() {
    let place = Place::new();
    place.deliver();
    let session = place.open("INBOX");
    place.foreign(|| std::fs::write(place.at("dovecot-uidlist"), "3 V77 N1\n").unwrap());
    place.deliver();
    assert_eq!(place.store.sync(session.opened.handle, session.now), Err(Error::Gone));
    assert_eq!(place.open("INBOX").opened.uid_validity, 77);
}

#[test]
fn two_files_with_one_base_name_become_two_messages() {
    let place = Place::with_maildir();
    place.foreign(|| {
        for (name, text) in [("1.a.h:2,", "first"), ("1.a.h:2,S", "second"), (":2,S", "nameless")] {
            std::fs::write(place.at("cur").join(name), text).unwrap();
        }
    });
    let mut session = place.open("INBOX");
    let changes = session.sync();
    assert_eq!(session.uids().len() + changes.added.len(), 3);
    assert_eq!(changes.expunged, []);
    assert_eq!(place.names("cur").len(), 3);
    assert!(place.names("cur").iter().all(|name| !name.starts_with(':')));
}

#[test]
fn messages_are_read_with_crlf() {
    let place = Place::new();
    place.deliver();
    place.foreign(|| std::fs::write(place.at("new/9.plain.h"), "A: b\n\nc\0d\n\r\nend").unwrap());
    let session = place.open("INBOX");
    let what = imap::What { date: true, size: true, header: true, structure: true, bodies: 0 };
    let data = place.store.read(session.opened.handle, &[1, 2, 3], what).unwrap();
    assert_eq!(data.iter().map(|data| data.uid).collect::<Vec<_>>(), [1, 2]);
    let whole = b"A: b\r\n\r\nc\x80d\r\n\r\nend";
    assert_eq!((data[0].size, &*data[0].header), (whole.len() as u64, &b"A: b\r\n\r\n"[..]));
    assert_eq!(data[1].size, 23 + MESSAGE.len() as u64);
    assert_eq!(data[1].structure.as_ref().unwrap().size(), data[1].size);
    let only_size = imap::What { size: true, ..imap::What::default() };
    let sizes = place.store.read(session.opened.handle, &[1, 2], only_size).unwrap();
    assert!(sizes.iter().zip(&data).all(|(a, b)| a.size == b.size));
    assert_eq!(place.counts("INBOX").size, data[0].size + data[1].size);

    let body = |from, len| place.store.body(session.opened.handle, 1, from, len).unwrap().unwrap();
    assert_eq!(&*body(0, 1000), whole);
    for cut in 0..=whole.len() {
        let (a, b) = (body(0, cut as u32), body(cut as u64, 1000));
        assert_eq!([&*a, &*b].concat(), whole, "{cut}");
    }
    assert_eq!(&*body(1000, 10), b"");

    let both = whole.len() as u32 + data[1].size as u32;
    for (bodies, brought) in [
        (0, [false, false]),
        (whole.len() as u32 - 1, [false, false]),
        (whole.len() as u32, [true, false]),
        (data[1].size as u32, [true, false]),
        (both - 1, [true, false]),
        (both, [true, true]),
    ] {
        let what = imap::What { size: true, bodies, ..imap::What::default() };
        let read = place.store.read(session.opened.handle, &[1, 2], what).unwrap();
        for (n, data) in read.iter().enumerate() {
            let wanted = || place.store.body(session.opened.handle, data.uid, 0, 10_000).unwrap();
            assert_eq!(data.body, brought[n].then(wanted).flatten(), "{bodies} octets, {n}");
        }
    }
}

#[test]
fn a_wrong_size_in_a_name_is_not_believed() {
    let place = Place::with_maildir();
    place.foreign(|| std::fs::write(place.at("cur/1.a.h,S=99,W=99:2,"), "A: b\n\nc\n").unwrap());
    let session = place.open("INBOX");
    let what = imap::What { size: true, ..imap::What::default() };
    assert_eq!(place.store.read(session.opened.handle, &[1], what).unwrap()[0].size, 11);
}

#[test]
fn messages_are_searched() {
    use waypost_imap::search::{Key, When};
    use waypost_message::text::Needle;
    let place = Place::new();
    place.deliver();
    let flags = NamedFlags { system: Flags::SEEN, keywords: vec!["work".into()] };
    place.append("INBOX", flags, Some(86400 * 10)).unwrap();
    let session = place.open("INBOX");
    let search = |key| {
        let program = waypost_imap::search::Program(vec![key]);
        place.store.search(session.opened.handle, &session.opened.messages, &program).unwrap()
    };
    assert_eq!(search(Key::All), [1, 2]);
    assert_eq!(search(Key::Flag(Flags::SEEN)), [2]);
    assert_eq!(search(Key::Keyword("WORK".into())), [2]);
    assert_eq!(search(Key::Larger(40)), [1]);
    assert_eq!(search(Key::Arrived(When::On(10))), [2]);
    let header = |value| Key::Header { name: "delivered-to".into(), needle: Needle::new(value) };
    assert_eq!(search(header("mail000")), [1]);
    assert_eq!(search(Key::Body(Needle::new("HELLO"))), [1, 2]);
    assert_eq!(search(Key::Body(Needle::new("subject"))), []);
    assert_eq!(search(Key::Text(Needle::new("subject: x"))), [1, 2]);
    // A message that is gone has nothing to find.
    place.foreign(|| {
        for name in place.names("cur") {
            std::fs::remove_file(place.at("cur").join(name)).unwrap();
        }
    });
    assert_eq!(search(Key::Text(Needle::new("x"))), []);
    assert_eq!(search(Key::Flag(Flags::SEEN)), [2]);
}

#[test]
fn messages_are_appended() {
    let place = Place::new();
    let flags = NamedFlags { system: Flags::SEEN, keywords: vec!["work".into()] };
    let (uid_validity, uid) = place.append("INBOX", flags, Some(1_769_978_096)).unwrap();
    assert_eq!((i64::from(uid_validity), uid), (NOON, 1));
    let name = &place.names("cur")[0];
    assert!(name.ends_with(&format!(",S=30,W={}:2,Sa", MESSAGE.len())), "{name}");
    let meta = std::fs::metadata(place.at("cur").join(name)).unwrap();
    assert_eq!((meta.mtime(), meta.mode() & 0o777), (1_769_978_096, 0o600));
    let mut session = place.open("INBOX");
    assert!(session.opened.messages[0].recent);
    place.append("INBOX", NamedFlags::default(), None).unwrap();
    assert_eq!(added(&session.sync()), [(2, true)]);

    assert_eq!(place.append("NoSuch", NamedFlags::default(), None), Err(Error::Absent));
    let begin = || place.store.begin_upload(&place.mail000(), "INBOX", NamedFlags::default(), None);
    let empty = begin().unwrap();
    assert_eq!(place.store.commit_upload(empty), Err(Error::Empty));
    let aborted = begin().unwrap();
    place.store.append(aborted, &[Bytes::from_static(MESSAGE)]).unwrap();
    place.store.abort_upload(aborted);
    assert_eq!(place.store.commit_upload(aborted), Err(Error::Gone));
    assert!(place.names("tmp").is_empty() && place.names("cur").len() == 2);
}

#[test]
fn an_append_that_fails_leaves_nothing() {
    let place = Place::new();
    place.append("INBOX", NamedFlags::default(), None).unwrap();
    drop(place.open("INBOX"));
    let mut failed = 0;
    loop {
        place.faults.after(failed, rustix::io::Errno::IO);
        let outcome = place.append("INBOX", NamedFlags::default(), None);
        let struck = place.faults.struck();
        place.faults.none();
        if !struck {
            outcome.unwrap();
            break;
        }
        assert!(outcome.is_err() || place.names("cur").len() > 1, "call {failed}");
        assert!(place.names("tmp").is_empty(), "call {failed}");
        if outcome.is_err() {
            assert_eq!(place.counts("INBOX").messages, 1, "call {failed}");
        }
        failed += 1;
    }
    assert!(failed > 12, "only {failed} calls can fail");
    assert_eq!(place.open("INBOX").uids().len(), place.names("cur").len());
}

#[test]
fn messages_are_copied_and_moved() {
    let place = Place::new();
    (0..3).for_each(|_| drop(place.deliver()));
    let mut session = place.open("INBOX");
    let handle = session.opened.handle;
    assert_eq!(place.store.copy(handle, &[1], "Trash", false), Err(Error::Absent));
    place.create("Trash");
    session.flag(
        &[1],
        StoreHow::Add,
        NamedFlags { system: Flags::SEEN, keywords: vec!["b".into()] },
    );
    let copied = place.store.copy(handle, &[1, 2, 99], "Trash", false).unwrap();
    assert_eq!(i64::from(copied.uid_validity), NOON + 1);
    assert_eq!(copied.pairs, [(1, 1), (2, 2)]);
    let trash = place.open("Trash");
    assert_eq!(trash.opened.messages[0].flags, Flags { system: Flags::SEEN, keywords: 1 });
    assert!(trash.opened.messages.iter().all(|message| message.recent));
    let inode = |path| std::fs::metadata(path).unwrap().ino();
    let seen = |names: Vec<String>| names.into_iter().find(|name| name.ends_with(":2,Sa")).unwrap();
    let in_trash = seen(names(&place.at(".Trash/cur")));
    assert!(in_trash.contains(",S=52,W=58:"), "{in_trash}");
    let in_inbox = seen(place.names("cur"));
    assert_eq!(inode(place.at(".Trash/cur").join(in_trash)), inode(place.at("cur").join(in_inbox)));

    let moved = place.store.copy(handle, &[2, 3], "Trash", true).unwrap();
    assert_eq!(moved.pairs, [(2, 3), (3, 4)]);
    assert_eq!(session.sync().expunged, [2, 3]);
    // Into the mailbox itself.
    assert_eq!(place.store.copy(handle, &[1], "INBOX", false).unwrap().pairs, [(1, 4)]);
    assert_eq!(added(&session.sync()), [(4, true)]);
    assert!(place.names("tmp").is_empty() && names(&place.at(".Trash/tmp")).is_empty());
}

#[test]
fn without_hard_links_the_content_is_copied() {
    let place = Place::new();
    place.append("INBOX", system(Flags::SEEN), Some(1_600_000_000)).unwrap();
    place.faults.no_links();
    let session = place.open("INBOX");
    let copied = place.store.copy(session.opened.handle, &[1], "INBOX", false).unwrap();
    assert_eq!(copied.pairs, [(1, 2)]);
    let what = imap::What { date: true, size: true, ..imap::What::default() };
    let data = place.store.read(session.opened.handle, &[1, 2], what).unwrap();
    assert_eq!((data[0].date, data[0].size), (data[1].date, data[1].size));
    assert_eq!(data[1].date, 1_600_000_000);
}

#[test]
fn a_copy_that_fails_leaves_nothing() {
    let place = Place::new();
    (0..3).for_each(|_| drop(place.deliver()));
    place.create("Trash");
    let session = place.open("INBOX");
    let mut failed = 0;
    loop {
        place.faults.after(failed, rustix::io::Errno::IO);
        let outcome = place.store.copy(session.opened.handle, &[1, 2, 3], "Trash", false);
        let struck = place.faults.struck();
        place.faults.none();
        if !struck {
            assert_eq!(outcome.unwrap().pairs.len(), 3);
            break;
        }
        if outcome.is_err() {
            assert_eq!(place.counts("Trash").messages % 3, 0, "call {failed}");
            assert!(names(&place.at(".Trash/tmp")).is_empty(), "call {failed}");
        }
        failed += 1;
    }
    assert!(failed > 20, "only {failed} calls can fail");
}

#[test]
fn the_tree_is_changed_as_dovecot_does() {
    let place = Place::new();
    let all = || -> Vec<String> {
        let folders = place.store.list(&place.mail000()).unwrap();
        let shown = folders.iter().map(|folder| {
            let marks = [(!folder.selectable, "-"), (folder.subscribed, "+")];
            let marks: String =
                marks.iter().filter(|(set, _)| *set).map(|(_, mark)| *mark).collect();
            format!("{}{marks}", folder.name)
        });
        shown.collect()
    };
    let change = |change| place.manage(change);
    assert_eq!(all(), ["INBOX"]);
    for name in ["Work", "Work.2026", "Work.2026.Q1", "tail.", "Entwürfe", "Sent"] {
        place.create(name);
    }
    assert_eq!(change(FolderChange::Create("Work".into())), Err(Error::Exists));
    assert_eq!(change(FolderChange::Create("inbox".into())), Err(Error::Exists));
    assert!(matches!(change(FolderChange::Create("a/b".into())), Err(Error::Invalid(_))));
    assert_eq!(all(), ["Entwürfe", "INBOX", "Sent", "Work", "Work.2026", "Work.2026.Q1", "tail"]);
    let uses = place.store.list(&place.mail000()).unwrap();
    assert_eq!(uses.iter().filter_map(|folder| folder.special_use).collect::<Vec<_>>(), ["Sent"]);
    assert_eq!(
        names(&place.at(".Entw&APw-rfe")),
        ["cur", "dovecot-uidlist", "maildirfolder", "new", "tmp"]
    );

    change(FolderChange::Subscribe("Work.2026".into())).unwrap();
    change(FolderChange::Subscribe("INBOX".into())).unwrap();
    assert_eq!(change(FolderChange::Subscribe("NoSuch".into())), Err(Error::Absent));
    change(FolderChange::Rename("Work.2026".into(), "Archive".into())).unwrap();
    assert_eq!(change(FolderChange::Rename("Archive".into(), "Work".into())), Err(Error::Exists));
    assert_eq!(change(FolderChange::Rename("NoSuch".into(), "X".into())), Err(Error::Absent));
    change(FolderChange::Delete("Sent".into())).unwrap();
    assert_eq!(change(FolderChange::Delete("Sent".into())), Err(Error::Absent));
    assert_eq!(change(FolderChange::Delete("INBOX".into())), Err(Error::Inbox));
    assert_eq!(
        all(),
        ["Archive", "Archive.Q1", "Entwürfe", "INBOX+", "Work", "Work.2026-+", "tail"]
    );
    change(FolderChange::Unsubscribe("Work.2026".into())).unwrap();
    change(FolderChange::Unsubscribe("Work.2026".into())).unwrap();
    change(FolderChange::Delete("Archive".into())).unwrap();
    change(FolderChange::Rename("Archive".into(), "Archive.Old".into())).unwrap();
    change(FolderChange::Rename("Work".into(), "Work.Work".into())).unwrap();
    assert_eq!(
        all(),
        [
            "Archive-",
            "Archive.Old-",
            "Archive.Old.Q1",
            "Entwürfe",
            "INBOX+",
            "Work-",
            "Work.Work",
            "tail"
        ]
    );
    assert_eq!(std::fs::read_to_string(place.at("subscriptions")).unwrap(), "V\t2\n\nINBOX\n");
}

#[test]
fn a_renamed_level_takes_its_mailboxes_along_whatever_their_names() {
    let place = Place::new();
    // What is below one comes to the name of another, which goes on itself.
    for (from, to, before, after) in [
        ("Up.a", "Up", ["Up.a.a.b", "Up.a.b"], ["Up.a.b", "Up.b"]),
        ("Down", "Down.a", ["Down.a.b", "Down.b"], ["Down.a.a.b", "Down.a.b"]),
    ] {
        before.iter().for_each(|name| place.create(name));
        let known = before.map(|name| place.open(name).opened.uid_validity);
        place.manage(FolderChange::Rename(from.into(), to.into())).unwrap();
        assert_eq!(after.map(|name| place.open(name).opened.uid_validity), known);
    }
}

#[test]
fn before_any_mail_nothing_is_subscribed() {
    let place = Place::new();
    place.manage(FolderChange::Unsubscribe("Work".into())).unwrap();
    assert_eq!(std::fs::read_dir(place.dir.path().join("home/mail")).unwrap().count(), 0);
}

#[test]
fn renaming_inbox_moves_its_messages() {
    let place = Place::new();
    (0..2).for_each(|_| drop(place.deliver()));
    place.manage(FolderChange::Rename("INBOX".into(), "Old".into())).unwrap();
    assert!(place.open("INBOX").uids().is_empty());
    assert_eq!(place.open("Old").uids(), [1, 2]);
}

#[test]
fn a_deleted_mailbox_ends_its_sessions() {
    let place = Place::new();
    place.create("Doomed");
    place.create("Renamed");
    let (doomed, renamed) = (place.open("Doomed"), place.open("Renamed"));
    let before = doomed.opened.uid_validity;
    place.manage(FolderChange::Delete("Doomed".into())).unwrap();
    place.manage(FolderChange::Rename("Renamed".into(), "New".into())).unwrap();
    place.create("Doomed");
    for session in [&doomed, &renamed] {
        assert_eq!(place.store.sync(session.opened.handle, session.now), Err(Error::Gone));
    }
    assert!(place.open("Doomed").opened.uid_validity > before);
    // By another program.
    let session = place.open("Doomed");
    place.foreign(|| {
        std::fs::remove_dir_all(place.at(".Doomed")).unwrap();
        for dir in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(place.at(".Doomed").join(dir)).unwrap();
        }
        std::fs::write(place.at(".Doomed/dovecot-uidlist"), "3 V5 N1\n").unwrap();
    });
    assert_eq!(place.store.sync(session.opened.handle, session.now), Err(Error::Gone));
    assert!(place.open("Doomed").uids().is_empty());
}

#[test]
fn sessions_are_told_of_changes() {
    let place = Place::new();
    place.deliver();
    let fs = crate::fs::RealFs::new([place.dir.path().join("home/mail")]).unwrap();
    place.store.watch_disk(&fs).unwrap();
    let session = place.open("INBOX");
    let (told, heard) = mpsc::channel();
    let told = Box::new(move |handle| told.send(handle).unwrap_or_default());
    place.store.watch(session.opened.handle, Some(std::sync::Arc::new(told))).unwrap();
    let wait = || heard.recv_timeout(Duration::from_secs(10)).unwrap();
    // By another program.
    place.foreign(|| std::fs::write(place.at("new/9.a.h"), "x").unwrap());
    assert_eq!(wait(), session.opened.handle);
    place.store.watch(session.opened.handle, None).unwrap();
    while heard.try_recv().is_ok() {}
    // By ourselves, without any watch on disk.
    let store = place.restarted();
    let opened = store.open(&place.mail000(), "INBOX", true).unwrap();
    let (told, heard) = mpsc::channel();
    let told = Box::new(move |handle| told.send(handle).unwrap_or_default());
    store.watch(opened.handle, Some(std::sync::Arc::new(told))).unwrap();
    assert!(heard.try_recv().is_err());
    store.deliver(vec![Parcel { home: place.mail000(), head: b"A: b\n".to_vec() }]).commit();
    assert_eq!(heard.try_recv(), Ok(opened.handle));
}

/// CREATE makes a directory first: a crash behind that must not leave a name that can neither be used nor made.
#[test]
fn a_folder_that_was_begun_is_finished() {
    for there in [&[][..], &["cur"], &["cur", "new"], &["tmp"]] {
        let place = Place::with_maildir();
        let begin = |name: &str| {
            for sub in [""].iter().chain(there) {
                let dir = place.at(&format!(".{name}")).join(sub);
                place.foreign(|| std::fs::create_dir_all(dir).unwrap());
            }
        };
        begin("a");
        begin("b");
        begin("c");
        assert_eq!(place.manage(FolderChange::Create("a".into())), Err(Error::Exists));
        assert_eq!(place.counts("a").messages, 0);
        place.append("b", system(0), None).unwrap();
        assert_eq!(place.open("b").uids(), [1]);
        assert_eq!(place.open("c").uids(), []);
        let absent = place.store.open(&place.mail000(), "d", true);
        assert_eq!(absent.err(), Some(Error::Absent));
    }
}

#[test]
fn many_messages_are_flagged_and_removed() {
    let place = Place::with_maildir();
    place.foreign(|| {
        for n in 0..2500 {
            std::fs::write(place.at(&format!("cur/{n}.a.h:2,")), "x\n").unwrap();
        }
    });
    let (mut session, mut other) = (place.open("INBOX"), place.open("INBOX"));
    let uids = session.uids();
    let changes = session.flag(&uids, StoreHow::Add, system(Flags::DELETED));
    assert_eq!(changes.changed.len(), 2500);
    // What loses the flag meanwhile, or is gone, is no matter.
    other.flag(&uids[2499..], StoreHow::Remove, system(Flags::DELETED));
    place.foreign(|| std::fs::remove_file(place.at("cur/2000.a.h:2,T")).unwrap());
    assert_eq!(session.expunge(None), uids[..2499]);
    assert_eq!(other.sync().expunged, uids[..2499]);
    assert_eq!(place.counts("INBOX").messages, 1);
}

#[test]
fn an_append_sees_uids_that_another_program_gave_out() {
    let place = Place::with_maildir();
    let none = NamedFlags::default;
    let (uid_validity, first) = place.append("INBOX", none(), None).unwrap();
    assert_eq!(place.append("INBOX", none(), None), Ok((uid_validity, first + 1)));
    let mailbox = place.store.mailbox(&place.mail000(), &waypost_maildir::Folder::inbox());
    place.as_user(|| {
        let mut state = crate::lock(&mailbox.state);
        // The list alone: its files are not there yet, or already gone.
        std::fs::OpenOptions::new()
            .append(true)
            .open(place.at("dovecot-uidlist"))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"7 :9.a.h\n"))
            .unwrap();
        std::fs::write(place.at("tmp/x"), "x\n").unwrap();
        let placing = super::append::Placing {
            temporary: "x".to_owned(),
            base: b"10.b.h".to_vec(),
            flags: none(),
        };
        let placed = place.store.place(&mailbox, &mut state, &[placing]).unwrap();
        assert_eq!(placed, (uid_validity, vec![8]));
    });
    assert_eq!(place.append("INBOX", none(), None), Ok((uid_validity, 9)));
    assert_eq!(place.counts("INBOX").messages, 4);
}

#[test]
fn a_folder_with_a_directory_of_another_program_is_deleted() {
    let place = Place::with_maildir();
    for name in ["Odd", "Plain"] {
        place.create(name);
    }
    place.foreign(|| {
        std::fs::create_dir_all(place.at(".Odd/courierimapkeywords/x")).unwrap();
        std::fs::write(place.at(".Odd/courierimapkeywords/:list"), "x").unwrap();
    });
    for name in ["Odd", "Plain"] {
        place.manage(FolderChange::Delete(name.into())).unwrap();
    }
    assert!(!place.names("").iter().any(|name| name.starts_with("..") || name.contains("Odd")));
}
