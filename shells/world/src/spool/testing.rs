//! What the tests of the spool share.

use std::path::Path;

use waypost_machine::UnixTime;
use waypost_mail::{Address, Body, Delivery, ReversePath, Target};
use waypost_queue::{Entry, Origin, Waiting};

use super::{Spool, SpoolError};
use crate::fs::Fs;
use crate::lock;
use crate::store::crash_tests::SimFs;

pub(super) const DIR: &str = "/spool";

pub(super) fn at(secs: i64) -> UnixTime {
    UnixTime { secs, nanos: 0 }
}

pub(super) fn entry(id: &str, recipients: usize) -> Entry {
    let waiting = |n: usize| {
        let to = Address::parse(&format!("user{n}@remote.test")).unwrap();
        let delivery = Delivery { to: to.clone(), orig_to: to, target: Target::Remote };
        Waiting::new(delivery, None, None, at(100))
    };
    Entry::new(
        Origin {
            queue_id: id.into(),
            arrived: at(1),
            sender: ReversePath::Null,
            size: 0,
            checksum: None,
            message_id: "".into(),
            body: Body::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
            login: None,
            head: Box::default(),
        },
        (0..recipients).map(waiting).collect(),
    )
}

pub(super) fn body(id: &str) -> String {
    format!("Subject: {id}\r\n\r\n{}\r\n", id.repeat(50))
}

/// A disk with an empty spool.
pub(super) fn fresh() -> SimFs {
    let fs = SimFs::new();
    fs.mkdir(Path::new(DIR), 0o700).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    lock(&fs.0).calls = 0;
    fs
}

pub(super) fn flip(fs: &SimFs, name: &str, place: usize, flip: u8) {
    lock(&fs.0).damage(&Path::new(DIR).join(name), place, flip);
}

/// What a directory holds; nothing when it is not there.
pub(super) fn names(fs: &SimFs, dir: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut each = |name: &[u8], _| names.push(String::from_utf8(name.to_vec()).unwrap());
    let _ = fs.list(Path::new(dir), &mut each);
    names
}

/// The whole body.
pub(super) fn read(spool: &Spool, entry: &Entry) -> Result<String, SpoolError> {
    let mut text = Vec::new();
    spool.read_body(&entry.origin, &mut |piece| text.extend_from_slice(&piece))?;
    Ok(String::from_utf8(text).unwrap())
}

/// Recovers; the messages that wait.
pub(super) fn waiting(spool: &Spool) -> Vec<Entry> {
    let mut found = Vec::new();
    spool.recover(&mut |entry| found.push(entry)).unwrap();
    assert_eq!(spool.unread(), 0);
    found
}
