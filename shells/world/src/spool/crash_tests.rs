//! The spool on a disk whose power fails after any call.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use waypost_machine::UnixTime;
use waypost_mail::{Address, Body, Delivery, ReversePath, Target};
use waypost_queue::{Origin, Waiting};

use super::*;
use crate::lock;
use crate::store::crash_tests::{SimFs, Survives};

const DIR: &str = "/spool";

fn at(secs: i64) -> UnixTime {
    UnixTime { secs, nanos: 0 }
}

fn entry(id: &str, recipients: usize) -> Entry {
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
        },
        (0..recipients).map(waiting).collect(),
    )
}

fn body(id: &str) -> String {
    format!("Subject: {id}\r\n\r\n{}\r\n", id.repeat(100))
}

/// What the world was told: messages that are safe, and who of them has it.
#[derive(Debug, Default)]
struct Promises {
    safe: BTreeMap<String, BTreeSet<usize>>,
    gone: BTreeSet<String>,
    /// Who has it, whether or not that could be written down.
    delivered: BTreeSet<(String, usize)>,
}

struct Life {
    spool: Spool,
    told: Promises,
}

impl Life {
    fn new(fs: &SimFs) -> Self {
        let spool = Spool::new(Arc::new(fs.clone()), Path::new(DIR));
        Self { spool, told: Promises::default() }
    }

    fn accept(&mut self, id: &str, recipients: usize) -> Result<(), SpoolError> {
        let mut draft = self.spool.begin(id)?;
        let text = body(id);
        let (a, b) = text.split_at(20);
        draft.write(&[Bytes::copy_from_slice(a.as_bytes())])?;
        draft.write(&[Bytes::copy_from_slice(b.as_bytes())])?;
        draft.commit(&mut entry(id, recipients))?;
        self.told.safe.insert(id.into(), BTreeSet::new());
        Ok(())
    }

    fn record(&mut self, id: &str, changes: &[Change]) -> Result<(), SpoolError> {
        for change in changes {
            if let Change::Done(n) = change {
                self.told.delivered.insert((id.into(), *n));
            }
        }
        self.spool.record(id, changes)?;
        for change in changes {
            if let (Change::Done(n), Some(done)) = (change, self.told.safe.get_mut(id)) {
                done.insert(*n);
            }
        }
        Ok(())
    }

    fn live(&mut self) -> Result<(), SpoolError> {
        self.spool.recover(&mut drop)?;
        self.accept("one", 2)?;
        // Given up by its sender.
        self.spool.begin("never")?.write(&[Bytes::from_static(b"half")])?;
        self.accept("two", 3)?;
        self.record("one", &[Change::Done(0)])?;
        self.record("two", &[Change::Tried(0, at(900)), Change::Done(2)])?;
        self.record("one", &[Change::Done(1)])?;
        self.told.safe.remove("one");
        self.told.gone.insert("one".into());
        self.spool.remove("one")?;
        self.accept("three", 1)
    }

    /// After the crash: everything that is safe waits, whole, for whoever has not got it.
    fn check(&self, case: &str) {
        let ids = waiting(&self.spool);
        let ids: BTreeSet<&str> = ids.iter().map(|id| &**id).collect();
        for id in &ids {
            let entry = self.spool.load(id).unwrap_or_else(|error| panic!("{case}: {error}"));
            let mut text = Vec::new();
            self.spool.read_body(&entry, &mut |piece| text.extend_from_slice(&piece)).unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), body(id), "{case}: half a message");
            assert_eq!(entry.origin.size, body(id).len() as u64, "{case}");
            assert!(!entry.is_finished(), "{case}");
            assert!(!self.told.gone.contains(*id), "{case}: {id} is delivered and back again");
        }
        for (id, done) in &self.told.safe {
            // Places change when a torn entry is written anew; names do not.
            let mut waits = BTreeSet::new();
            if ids.contains(id.as_str()) {
                let entry = self.spool.load(id).unwrap();
                waits
                    .extend(entry.recipients.iter().flatten().map(|it| it.delivery.to.to_string()));
            }
            for n in 0..recipients(id) {
                let waiting = waits.contains(&format!("user{n}@remote.test"));
                let has = self.told.delivered.contains(&(id.clone(), n));
                assert!(waiting || has, "{case}: {id} is lost for {n}");
                assert!(!waiting || !done.contains(&n), "{case}: {id} would come twice to {n}");
            }
        }
        // Nothing else is left, and life goes on.
        for id in &ids {
            self.spool.record(id, &[Change::Tried(0, at(7))]).unwrap();
        }
        assert_eq!(waiting(&self.spool).len(), ids.len(), "{case}");
        let mut names = 0;
        self.spool.fs.list(Path::new(DIR), &mut |_, _| names += 1).unwrap();
        assert_eq!(names, 2 * ids.len(), "{case}");
    }
}

/// Recovers; the messages that wait.
fn waiting(spool: &Spool) -> Vec<Box<str>> {
    let mut ids = Vec::new();
    spool.recover(&mut |entry| ids.push(entry.origin.queue_id)).unwrap();
    ids
}

fn recipients(id: &str) -> usize {
    match id {
        "one" => 2,
        "two" => 3,
        _ => 1,
    }
}

#[test]
fn a_power_failure_after_any_call_loses_nothing() {
    let start = || {
        let fs = SimFs::new();
        fs.mkdir(Path::new(DIR), 0o700).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        lock(&fs.0).calls = 0;
        fs
    };
    let fs = start();
    Life::new(&fs).live().unwrap();
    let calls = lock(&fs.0).calls;
    assert!(calls > 30, "only {calls} calls");
    for survives in [Survives::Synced, Survives::All, Survives::Names] {
        for at in 0..=calls {
            let case = format!("{survives:?}, after call {at} of {calls}");
            let fs = start();
            lock(&fs.0).left = at;
            let mut life = Life::new(&fs);
            let _ = life.live();
            lock(&fs.0).crash(survives);
            life.check(&case);
        }
    }
}

#[test]
fn a_record_that_was_cut_off_hides_none_that_follow() {
    let fs = SimFs::new();
    fs.mkdir(Path::new(DIR), 0o700).unwrap();
    let mut life = Life::new(&fs);
    life.accept("two", 3).unwrap();
    let path = life.spool.path("two", "entry");
    let half = Change::Done(0).encode();
    fs.append(&path).unwrap().write_all(&half.as_bytes()[..half.len() - 3]).unwrap();
    life.spool.record("two", &[Change::Done(0), Change::Tried(1, at(900))]).unwrap();
    life.spool.record("two", &[Change::Tried(1, at(950))]).unwrap();
    let entry = life.spool.load("two").unwrap();
    let waits: Vec<_> =
        entry.recipients.iter().flatten().map(|it| (it.delivery.to.to_string(), it.next)).collect();
    assert_eq!(
        waits,
        [("user1@remote.test".into(), at(950)), ("user2@remote.test".into(), at(100))]
    );
}
