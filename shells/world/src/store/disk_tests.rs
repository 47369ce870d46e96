//! The store on a disk that is full, fails, or may not be read.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use waypost_imap::server::{Flags, FolderChange, StoreHow};

use super::Error;
use super::mailbox::Mailboxes;
use super::testing::{NOON, Place};
use super::tests::{added, keywords, system};

#[test]
fn a_mailbox_that_cannot_be_read_is_unavailable() {
    let place = Place::new();
    place.deliver();
    std::fs::set_permissions(place.at("cur"), PermissionsExt::from_mode(0o000)).unwrap();
    let denied = place.store.open(&place.mail000(), "INBOX", true);
    // Its owner cannot read it; nobody else looks, not even root.
    assert!(matches!(denied, Err(Error::Denied(_))), "{denied:?}");
    std::fs::set_permissions(place.at("cur"), PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(place.open("INBOX").uids(), [1]);
}

#[test]
fn a_full_disk_does_not_hide_the_mail_there_is() {
    let place = Place::new();
    place.deliver();
    drop(place.open("INBOX"));
    place.deliver();
    let store = &place.store;
    // Nothing new can be written: the second message has no uid yet, the first can be read.
    place.faults.full();
    let session = store.open(&place.mail000(), "INBOX", true).unwrap();
    assert_eq!(session.messages.len(), 1);
    let flags = system(Flags::DELETED);
    let changes =
        store.set_flags(session.handle, &[1], StoreHow::Add, &flags, session.now).unwrap();
    assert_eq!(changes.changed.len(), 1);
    let refused =
        store.set_flags(session.handle, &[1], StoreHow::Add, &keywords(&["new"]), changes.now);
    assert!(matches!(refused, Err(Error::NoSpace(_))), "{refused:?}");
    // Making room is possible.
    assert_eq!(store.expunge(session.handle, None, changes.now).unwrap().expunged, [1]);
    place.faults.none();
    assert_eq!(added(&store.sync(session.handle, changes.now).unwrap()), [(2, true)]);
}

#[test]
fn what_came_while_the_disk_was_full_is_seen_when_there_is_room() {
    let place = Place::new();
    place.deliver();
    drop(place.open("INBOX"));
    place.deliver();
    // No directory changes any more, and the last change lies so far back that none can have been missed.
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOON as u64 - 100);
    for sub in ["new", "cur"] {
        std::fs::File::open(place.at(sub)).unwrap().set_modified(old).unwrap();
    }
    let counted = || place.counts("INBOX").messages;
    place.faults.full();
    assert_eq!((counted(), counted()), (1, 1));
    place.faults.none();
    assert_eq!(counted(), 2);
}

#[test]
fn a_list_whose_sync_failed_becomes_a_new_file() {
    let list = |place: &Place| std::fs::metadata(place.at("dovecot-uidlist")).unwrap();
    let mut doubted = 0;
    for calls in 0..40 {
        let place = Place::new();
        place.deliver();
        drop(place.open("INBOX"));
        place.deliver();
        let before = list(&place);
        place.faults.after(calls, rustix::io::Errno::IO);
        let failed = place.store.open(&place.mail000(), "INBOX", true).is_err();
        place.faults.none();
        let is_longer = list(&place).len() > before.len();
        assert_eq!(place.open("INBOX").uids(), [1, 2]);
        // The line stands there, but nobody knows whether it does so on the disk.
        if failed && is_longer {
            doubted += 1;
            assert_ne!(list(&place).ino(), before.ino(), "after {calls} calls");
        }
    }
    assert!(doubted > 0);
}

/// On NFS root may not look into the home that a user has; who makes his Maildir must not need to.
#[test]
fn root_need_not_look_into_a_home() {
    let place = Place::new();
    let home = place.dir.path().join("home/mail/mail000");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, PermissionsExt::from_mode(0o700)).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&home, Some(20000), Some(20000)).unwrap();
    }
    place.faults.squashed();
    place.deliver();
    place.deliver();
    assert_eq!(place.open("INBOX").uids(), [1, 2]);
}

/// What is remembered of a folder goes with it.
#[test]
fn a_folder_that_is_gone_is_forgotten() {
    let place = Place::new();
    place.deliver();
    let manage = |change| place.store.manage(&place.mail000(), &change);
    let (visited, unsure) = (&place.store.inner.visited, &place.store.inner.unsure);
    let before = crate::lock(visited).clone();
    manage(FolderChange::Create("a".into())).unwrap();
    drop(place.open("a"));
    place.store.mark_unsure(&place.at(".a/cur"));
    place.store.mark_unsure(&place.at(".ab/cur"));
    manage(FolderChange::Rename("a".into(), "b".into())).unwrap();
    let marks: Vec<_> = crate::lock(unsure).iter().cloned().collect();
    assert_eq!(marks, [place.at(".ab/cur"), place.at(".b/cur")]);
    drop(place.open("b"));
    place.store.mark_unsure(&place.at(".b/new"));
    assert!(place.store.is_unsure(&place.at(".b/new")));
    manage(FolderChange::Delete("b".into())).unwrap();
    let marks: Vec<_> = crate::lock(unsure).iter().cloned().collect();
    assert_eq!(marks, [place.at(".ab/cur")]);
    assert_eq!(*crate::lock(visited), before);
}

/// There is room for a while and then none. A uid list that does not get its lines is no reason to hide the
/// mail that has its uids: he could not even make room.
#[test]
fn a_list_that_found_no_room_hides_no_mail() {
    let mut began = 0;
    for calls in 0..12 {
        let place = Place::new();
        place.deliver();
        drop(place.open("INBOX"));
        place.deliver();
        place.faults.full_after(calls);
        let counted = place.store.status(&place.mail000(), "INBOX", false).unwrap();
        began += usize::from(counted.messages == 2);
        // The mailbox is forgotten meanwhile.
        *crate::lock(&place.store.inner.mailboxes) = Mailboxes::default();
        place.faults.full();
        let opened = place.store.open(&place.mail000(), "INBOX", true).unwrap();
        assert_eq!(opened.messages[0].uid, 1, "room for {calls} calls");
        place.faults.none();
        assert_eq!(place.counts("INBOX").messages, 2);
    }
    assert!((5..12).contains(&began), "{began}");
}
