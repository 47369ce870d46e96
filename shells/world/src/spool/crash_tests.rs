//! The spool on a disk whose power fails after any call, and on one where any call fails.

use std::collections::{BTreeMap, BTreeSet};

use waypost_mail::{Address, Delivery, Target};
use waypost_queue::Waiting;

use super::testing::{DIR, at, body, entry, flip, fresh, names, read, waiting};
use super::*;
use crate::store::crash_tests::{SimFs, Survives};

/// What happened to a message.
#[derive(Debug, Default)]
struct Story {
    /// Its entries, in order; the last ones may never have been written.
    states: Vec<Entry>,
    /// How many of them may be forgotten: those before the last that is known to be durable.
    past: usize,
    /// Its sender was told that it is accepted.
    accepted: bool,
    /// It was removed, or at least that was tried.
    removed: bool,
    /// It was removed, and must not come back.
    gone: bool,
}

struct Life {
    fs: SimFs,
    spool: Spool,
    told: BTreeMap<&'static str, Story>,
}

/// What fails once is tried again, as the queue does.
fn twice(mut work: impl FnMut() -> Result<(), SpoolError>) -> Result<(), SpoolError> {
    work().or_else(|_| work())
}

impl Life {
    fn new(fs: &SimFs) -> Self {
        let spool = Spool::new(Arc::new(fs.clone()), Path::new(DIR));
        Self { fs: fs.clone(), spool, told: BTreeMap::new() }
    }

    /// A sender whose message is not taken gives up.
    fn accept(&mut self, id: &'static str, recipients: usize) {
        let story = self.told.entry(id).or_default();
        let mut written = || {
            let mut draft = self.spool.begin(id)?;
            let text = body(id);
            let (a, b) = text.split_at(20);
            draft.write(&[a.to_owned().into()])?;
            draft.write(&[b.to_owned().into()])?;
            let mut entry = entry(id, recipients);
            let committed = draft.commit(&mut entry);
            story.states.push(entry);
            committed
        };
        story.accepted = written().is_ok();
    }

    fn change(
        &mut self,
        id: &str,
        new: impl FnOnce(&mut Entry),
        write: impl Fn(&Spool, &Entry) -> Result<(), SpoolError>,
    ) -> Result<(), SpoolError> {
        let Some(story) = self.told.get_mut(id).filter(|story| story.accepted) else {
            return Ok(());
        };
        let mut entry = story.states.last().unwrap().clone();
        new(&mut entry);
        story.states.push(entry.clone());
        twice(|| write(&self.spool, &entry))?;
        story.past = story.states.len() - 1;
        Ok(())
    }

    fn record(&mut self, id: &str, changes: &[Change]) -> Result<(), SpoolError> {
        let apply = |entry: &mut Entry| {
            for change in changes {
                entry.apply(change.clone()).unwrap();
            }
        };
        self.change(id, apply, |spool, _| spool.record(id, changes))
    }

    fn remove(&mut self, id: &str) -> Result<(), SpoolError> {
        self.told.get_mut(id).unwrap().removed = true;
        twice(|| self.spool.remove(id))?;
        self.told.get_mut(id).unwrap().gone = true;
        Ok(())
    }

    /// Somebody finds that a message is damaged.
    fn dismiss(&mut self, id: &str) -> Result<(), SpoolError> {
        if !self.told[id].accepted {
            return Ok(());
        }
        let entry = &self.told[id].states[0];
        let damaged = || match read(&self.spool, entry) {
            Err(error) if error.is_damage() => Ok(error),
            other => Err(other.map_or_else(|error| error, |_| panic!("{id} was not damaged"))),
        };
        let error = damaged().or_else(|_| damaged())?;
        twice(|| self.spool.set_aside(id, &error))
    }

    /// Starts anew; what waits must be told, though perhaps not at once.
    fn restart(&mut self) -> Result<(), SpoolError> {
        self.spool = Spool::new(Arc::new(self.fs.clone()), Path::new(DIR));
        let mut found = BTreeSet::new();
        let mut each = |entry: Entry| found.extend([entry.origin.queue_id]);
        twice(|| self.spool.recover(&mut each))?;
        self.spool.recover_rest(&mut each);
        if self.spool.unread() == 0 {
            let waits = self.told.iter().filter(|(_, story)| story.accepted && !story.removed);
            for (id, _) in waits.filter(|(id, _)| **id != "bad") {
                assert!(found.contains(*id), "{id} is overlooked");
            }
        }
        Ok(())
    }

    fn live(&mut self) -> Result<(), SpoolError> {
        self.restart()?;
        self.accept("one", 2);
        if let Ok(mut draft) = self.spool.begin("never") {
            // Given up by its sender.
            let _ = draft.write(&[bytes::Bytes::from_static(b"half")]);
        }
        self.accept("two", 3);
        self.record("one", &[Change::Done(0)])?;
        self.record("two", &[Change::Tried(0, at(900)), Change::Done(2)])?;
        self.accept("bad", 1);
        if self.told["bad"].accepted {
            flip(&self.fs, "bad.body", 30, 1);
        }
        let shorter = |entry: &mut Entry| entry.warned = true;
        self.change("two", shorter, |spool, entry| spool.rewrite("two", entry))?;
        self.record("one", &[Change::Done(1)])?;
        self.remove("one")?;
        self.dismiss("bad")?;
        self.accept("four", 1);
        self.remove("four")?;
        self.restart()?;
        let to = Address::parse("user3@remote.test").unwrap();
        let delivery = Delivery { to: to.clone(), orig_to: to, target: Target::Remote };
        let others = vec![Waiting::new(delivery, None, None, at(100))];
        self.record("two", &[Change::Became(1, others), Change::Done(0)])?;
        self.record("two", &[Change::Tried(3, at(950))])?;
        self.accept("three", 1);
        Ok(())
    }

    /// After the crash: what was accepted waits, whole, and as far as is known to be durable.
    fn check(&self, case: &str) {
        let spool = Spool::new(Arc::new(self.fs.clone()), Path::new(DIR));
        let found = waiting(&spool);
        for entry in &found {
            let id = &*entry.origin.queue_id;
            let story = &self.told[id];
            let known = story.states[story.past..].iter().any(|state| same(state, entry));
            assert!(known, "{case}: {id} is {entry:?}");
            let finished = story.states[story.past].is_finished();
            assert!(!finished && !story.gone, "{case}: {id} is delivered and back again");
            match read(&spool, entry) {
                Ok(text) => assert_eq!(text, body(id), "{case}: half a message"),
                Err(error) => assert!(id == "bad" && error.is_damage(), "{case}: {error}"),
            }
        }
        let is_there = |id: &str| found.iter().any(|entry| *entry.origin.queue_id == *id);
        let set_aside = names(&self.fs, "/spool/corrupt");
        for (id, story) in &self.told {
            let over = story.states[story.past..].iter().any(Entry::is_finished);
            if story.accepted && !story.removed && !over {
                let aside = *id == "bad" && set_aside == ["bad.body", "bad.entry"];
                assert!(is_there(id) || aside, "{case}: {id} is lost");
            }
        }
        if is_there("bad") || !self.told.get("bad").is_some_and(|story| story.accepted) {
            assert_eq!(set_aside.len(), 0, "{case}: {set_aside:?}");
        }
        // Nothing else is left, and life goes on.
        for entry in &found {
            spool.record(&entry.origin.queue_id, &[Change::Warned]).unwrap();
        }
        let again = waiting(&spool);
        assert_eq!(again.len(), found.len(), "{case}");
        assert!(again.iter().all(|entry| entry.warned), "{case}");
        let left = names(&self.fs, DIR);
        let files = left.iter().filter(|name| *name != "corrupt").count();
        assert_eq!(files, 2 * found.len(), "{case}: {left:?}");
    }
}

/// The same but for how often it was tried: what fails may be counted twice.
fn same(a: &Entry, b: &Entry) -> bool {
    let uncounted = |entry: &Entry| {
        let mut entry = entry.clone();
        for waiting in entry.recipients.iter_mut().flatten() {
            waiting.attempts = 0;
        }
        entry
    };
    uncounted(a) == uncounted(b)
}

const ALL: [Survives; 5] =
    [Survives::Synced, Survives::All, Survives::Names, Survives::Torn, Survives::Holes];

/// The calls of a life without trouble.
fn calls() -> usize {
    let fs = fresh();
    let mut life = Life::new(&fs);
    life.live().unwrap();
    let calls = lock(&fs.0).calls;
    assert!(calls > 90, "only {calls} calls");
    life.check("without trouble");
    calls
}

#[test]
fn a_power_failure_after_any_call_loses_nothing() {
    let calls = calls();
    for survives in ALL {
        for at in 0..=calls {
            let fs = fresh();
            lock(&fs.0).left = at;
            let mut life = Life::new(&fs);
            let _ = life.live();
            lock(&fs.0).crash(survives);
            life.check(&format!("{survives:?}, after call {at} of {calls}"));
        }
    }
}

/// And a power failure later.
#[test]
fn calls_that_fail_lose_nothing() {
    let calls = calls();
    for survives in ALL {
        for (at, many) in (1..=calls).flat_map(|at| (1..=3).map(move |many| (at, many))) {
            let fs = fresh();
            lock(&fs.0).faults = at..at + many;
            let mut life = Life::new(&fs);
            let case = format!("{survives:?}, {many} calls from {at} of {calls} on failed");
            let lived = life.live();
            assert!(lived.is_ok() || many > 1, "{case}: {lived:?}");
            lock(&fs.0).crash(survives);
            life.check(&case);
        }
    }
}

#[test]
fn messages_that_go_together_share_a_sync() {
    let fs = fresh();
    let mut life = Life::new(&fs);
    for id in ["one", "two", "four"] {
        life.accept(id, 1);
    }
    lock(&fs.0).calls = 0;
    let results = life.spool.remove_all(&["one", "none", "two"]);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(lock(&fs.0).calls, 3 + 1 + 3);
    assert_eq!(names(&fs, DIR), ["four.body", "four.entry"]);
    // One that stays does not keep the others; without the sync none is gone.
    for (fault, left) in [(1, [true, false]), (3, [true, true]), (4, [true, false])] {
        lock(&fs.0).crash(Survives::All);
        life.accept("one", 1);
        lock(&fs.0).calls = 0;
        lock(&fs.0).faults = fault..fault + 1;
        let results = life.spool.remove_all(&["four", "one"]);
        assert_eq!(results.iter().map(Result::is_err).collect::<Vec<_>>(), left, "{fault}");
        life.accept("four", 1);
    }
}

#[test]
fn what_a_failed_sync_left_is_removed_durably_the_second_time() {
    let fs = fresh();
    let mut life = Life::new(&fs);
    life.accept("one", 1);
    lock(&fs.0).calls = 0;
    lock(&fs.0).faults = 2..3;
    assert!(life.spool.remove("one").is_err());
    life.spool.remove("one").unwrap();
    lock(&fs.0).crash(Survives::Synced);
    assert_eq!(waiting(&life.spool), []);
    assert_eq!(names(&fs, "/spool/corrupt").len(), 0);
}

#[test]
fn a_record_that_was_cut_off_hides_none_that_follow() {
    let fs = fresh();
    let mut life = Life::new(&fs);
    life.accept("two", 3);
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

/// An entry that was written anew, and not its name, is not one to append to.
#[test]
fn what_follows_a_rewrite_that_failed_is_durable() {
    type Again = fn(&mut Life, &dyn Fn()) -> bool;
    let rewrite: Again = |life, fail| {
        let entry = life.spool.load("two").unwrap();
        fail();
        life.spool.rewrite("two", &entry).is_ok()
    };
    // Its last line is torn, and the spool taken up again.
    let take_up: Again = |life, fail| {
        let path = life.spool.path("two", "entry");
        life.fs.append(&path).unwrap().write_all(b"0123").unwrap();
        life.spool = Spool::new(Arc::new(life.fs.clone()), Path::new(DIR));
        fail();
        let taken = life.spool.recover(&mut |_| {}).is_ok();
        let whole = taken && life.spool.unread() == 0;
        life.spool.recover_rest(&mut |_| {});
        whole
    };
    for again in [rewrite, take_up] {
        let mut failed = 0;
        for at in 1..=20 {
            let fs = fresh();
            let mut life = Life::new(&fs);
            life.accept("two", 3);
            let fail = || {
                lock(&fs.0).calls = 0;
                lock(&fs.0).faults = at..at + 1;
            };
            failed += usize::from(!again(&mut life, &fail));
            lock(&fs.0).faults = 0..0;
            life.spool.record("two", &[Change::Done(0)]).unwrap();
            lock(&fs.0).crash(Survives::Synced);
            let left = waiting(&life.spool).pop().unwrap();
            assert_eq!(left.recipients[0], None, "call {at} failed");
        }
        assert!(failed >= 5, "only {failed} calls can fail");
    }
}

/// What a disk refuses to read is not damaged: it waits until the disk thinks better of it.
#[test]
fn what_cannot_be_read_is_taken_up_later() {
    let fs = fresh();
    let mut life = Life::new(&fs);
    life.accept("one", 2);
    life.accept("two", 3);
    let count = |faults| {
        let spool = Spool::new(Arc::new(fs.clone()), Path::new(DIR));
        lock(&fs.0).calls = 0;
        lock(&fs.0).faults = faults;
        let mut found = Vec::new();
        spool.recover(&mut |entry| found.push(entry.origin.queue_id)).unwrap();
        let unread = spool.unread();
        spool.recover_rest(&mut |entry| found.push(entry.origin.queue_id));
        assert_eq!(spool.unread(), 0);
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 2, "{found:?}");
        (lock(&fs.0).calls, unread)
    };
    let (calls, unread) = count(0..0);
    assert_eq!(unread, 0);
    // The first call lists the directory.
    let unread: usize = (2..=calls).map(|at| count(at..at + 1).1).sum();
    assert_eq!(unread, calls - 1);
    assert_eq!(names(&fs, "/spool/corrupt").len(), 0);
}
