//! Mailboxes that several sessions share, and those that none uses any more.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use waypost_imap::server::FolderChange;
use waypost_maildir::Folder;

use super::testing::Place;
use super::tests::system;
use super::{Error, Told};
use crate::fs::RealFs;
use crate::lock;

#[test]
fn a_mailbox_that_is_in_use_stays_the_one_object() {
    let place = Place::with_maildir();
    let folder = Folder::inbox();
    let mailbox = place.store.mailbox(&place.mail000(), &folder);
    // It cannot be read, while another session has got hold of it and waits for its turn.
    let failed = place.store.with_folder(&place.mail000(), &folder, |_, _| {
        Err::<(), _>(Error::Unavailable("for now".to_owned()))
    });
    assert!(failed.is_err());
    let again = place.store.mailbox(&place.mail000(), &folder);
    assert!(Arc::ptr_eq(&mailbox, &again));
    drop((mailbox, again));
    // With nobody there, nothing is kept.
    let failed = place.store.with_folder(&place.mail000(), &folder, |_, _| {
        Err::<(), _>(Error::Unavailable("for now".to_owned()))
    });
    assert!(failed.is_err() && lock(&place.store.inner.mailboxes).len() == 0);
}

/// However they were used; and what was used last is found again as it was.
#[test]
fn few_mailboxes_are_kept_that_nobody_uses() {
    let place = Place::with_maildir();
    let used = |n: usize, name: &str| match n % 3 {
        0 => assert!(place.append(name, system(0), None).is_ok()),
        1 => assert_eq!(place.counts(name).messages, 0),
        _ => assert!(place.open(name).uids().is_empty()),
    };
    let known = |name: &str| {
        let dir = place.at(&format!(".{name}"));
        lock(&place.store.inner.mailboxes).find(&dir).is_some()
    };
    place.create("open");
    let session = place.open("open");
    for n in 0..100 {
        let name = format!("a{n}");
        place.create(&name);
        used(n, &name);
        assert!(known(&name), "{name}");
        place.counts("a0");
    }
    assert!(known("a0") && known("open") && known("a99") && known("a50") && !known("a30"));
    assert_eq!(lock(&place.store.inner.mailboxes).len(), 64 + 1);
    drop(session);
    assert_eq!(lock(&place.store.inner.mailboxes).len(), 64);
}

/// A folder that is renamed takes its watch along; who watched it by its old name ends only his own.
#[test]
fn a_watch_belongs_to_who_watched_last() {
    let place = Place::with_maildir();
    let fs = RealFs::new([place.dir.path().join("home/mail")]).unwrap();
    place.store.watch_disk(&fs).unwrap();
    let (told, heard) = mpsc::channel();
    let told: Told = Arc::new(move |handle| told.send(handle).unwrap_or_default());
    let quiet: Told = Arc::new(|_| {});
    place.create("a");
    let old = place.open("a");
    place.store.watch(old.opened.handle, Some(quiet)).unwrap();
    let mailbox = place.store.session(old.opened.handle).unwrap().mailbox.clone();
    assert_eq!(lock(&mailbox.watches).len(), 2);
    place.manage(FolderChange::Rename("a".into(), "b".into())).unwrap();
    let new = place.open("b");
    for _ in 0..2 {
        place.store.watch(new.opened.handle, Some(told.clone())).unwrap();
    }
    drop(old);
    assert_eq!(lock(&mailbox.watches).len(), 0);
    let mailbox = place.store.session(new.opened.handle).unwrap().mailbox.clone();
    assert_eq!(lock(&mailbox.watches).len(), 2);
    place.foreign(|| std::fs::write(place.at(".b/new/9.a.h"), "x").unwrap());
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)), Ok(new.opened.handle));
    let watched = place.store.inner.watcher.get().unwrap();
    assert_eq!(watched.count(), 2);
    place.store.watch(new.opened.handle, None).unwrap();
    assert_eq!(watched.count(), 0);
}

#[test]
fn watching_goes_on_when_another_session_ends_it() {
    let place = Place::new();
    place.deliver();
    let fs = RealFs::new([place.dir.path().join("home/mail")]).unwrap();
    place.store.watch_disk(&fs).unwrap();
    let (first, second) = (place.open("INBOX"), place.open("INBOX"));
    let quiet: Told = Arc::new(|_| {});
    place.store.watch(first.opened.handle, Some(quiet)).unwrap();
    let mailbox = place.store.session(first.opened.handle).unwrap().mailbox.clone();
    let (told, heard) = mpsc::channel();
    let told: Told = Arc::new(move |handle| told.send(handle).unwrap_or_default());
    // The first one has ended, as the last one so far; before its watch on disk is taken back, the
    // second one begins.
    mailbox.unwatch(first.opened.handle);
    place.store.watch(second.opened.handle, Some(told)).unwrap();
    place.store.inner.watcher.get().unwrap().remove(&mailbox);
    place.foreign(|| std::fs::write(place.at("new/9.a.h"), "x").unwrap());
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)), Ok(second.opened.handle));
}
