//! The store on a disk whose power fails after any call, and on one where any call fails.
//!
//! A day of three accounts runs once to count its calls, then again and again with a crash after each
//! of them, by each rule of survival; then the store starts anew, and what was promised must hold. No
//! network and no directory are in it: these runs are cheap, and there are many of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use waypost_imap::server::{Flags, FolderChange, NamedFlags, OpenMailbox, StoreHow};
use waypost_mail::MailHome;
use waypost_sim::choices::Choices;
use waypost_sim::disk::{Disk, Failure, Survival};
use waypost_world::identity::Identity;
use waypost_world::store::{Error, Parcel, Store};
use waypost_world::{ManualClock, Process};

const NOON: i64 = 1_769_947_200;

/// What clients and senders were told of a message.
#[derive(Clone, Debug, Default)]
struct Told {
    /// The mailboxes where it must be, or in one of them.
    places: Vec<&'static str>,
    /// It is nowhere any more.
    gone: bool,
    /// It has this flag.
    flagged: bool,
}

#[derive(Clone, Default)]
struct Promises {
    /// By account and subject.
    messages: BTreeMap<(usize, String), Told>,
    /// Account, mailbox, UIDVALIDITY and uid, and the subject they were told to stand for.
    uids: BTreeMap<(usize, String, u32, u32), String>,
}

struct Server {
    clock: Arc<ManualClock>,
    disk: Disk,
    store: Store,
    told: Promises,
}

fn home(account: usize) -> MailHome {
    let id = 20_000 + u32::try_from(account).unwrap();
    MailHome { path: format!("/home/mail/mail00{account}/mailbox").into(), uid: id, gid: id }
}

fn flags(system: u8, keywords: &[&str]) -> NamedFlags {
    NamedFlags { system, keywords: keywords.iter().map(|&keyword| keyword.into()).collect() }
}

fn text(subject: &str) -> Bytes {
    format!("Subject: {subject}\r\n\r\n{}\r\n", subject.repeat(40)).into()
}

fn fresh() -> (Disk, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(NOON));
    let disk = Disk::new(1, clock.clone());
    disk.mkdirs("/home", 0, 0).unwrap();
    (disk, clock)
}

impl Server {
    fn start(disk: Disk, clock: Arc<ManualClock>, told: Promises) -> Self {
        let fs = Arc::new(disk.mount());
        let store = Store::new(
            fs,
            Identity::simulated(100),
            Process::alone(1, "mx"),
            clock.clone(),
            "mx.example.com",
        );
        Self { clock, disk, store, told }
    }

    /// The power fails, and `down` later all is up again.
    fn restart(self, rule: Survival, choices: &Choices, down: Duration) -> Self {
        let Self { clock, disk, store, told } = self;
        drop(store);
        disk.crash(rule, choices);
        clock.advance(down);
        Self::start(disk, clock, told)
    }

    fn deliver(&mut self, accounts: &[usize], subject: &str) -> Result<(), Error> {
        let parcel = |&account: &usize| {
            let head = format!("Delivered-To: mail00{account}\n").into_bytes();
            Parcel { home: home(account), head }
        };
        let mut incoming = self.store.deliver(accounts.iter().map(parcel).collect());
        let text = text(subject);
        incoming.append(&[text.slice(..11), text.slice(11..30)]);
        incoming.append(&[text.slice(30..)]);
        let outcome = incoming.commit();
        let mut failed = None;
        for (&account, outcome) in accounts.iter().zip(outcome) {
            match outcome {
                Ok(_) => self.promise(account, subject, &["INBOX"]),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn promise(&mut self, account: usize, subject: &str, places: &[&'static str]) {
        let told = self.told.messages.entry((account, subject.to_owned())).or_default();
        told.places = places.to_vec();
    }

    fn told(&mut self, subject: &str) -> &mut Told {
        self.told.messages.entry((0, subject.to_owned())).or_default()
    }

    fn append(&mut self, mailbox: &'static str, subject: &str) -> Result<(), Error> {
        let marks = flags(Flags::SEEN, &["work"]);
        let upload = self.store.begin_upload(&home(0), mailbox, marks, Some(1_000_000_000))?;
        self.store.append(upload, &[text(subject)])?;
        let (validity, uid) = self.store.commit_upload(upload)?;
        self.promise(0, subject, &[mailbox]);
        self.told.uids.insert((0, mailbox.to_owned(), validity, uid), subject.to_owned());
        Ok(())
    }

    fn select(&self, mailbox: &str) -> Result<OpenMailbox, Error> {
        self.store.open(&home(0), mailbox, true)
    }

    /// Reads all of a mailbox: what a client then knows of it. Subjects, and whether they are flagged.
    fn look(&mut self, account: usize, mailbox: &str) -> Result<Vec<(String, bool)>, Error> {
        let open = self.store.open(&home(account), mailbox, true)?;
        let mut found = Vec::new();
        for message in &open.messages {
            let Some(body) = self.store.body(open.handle, message.uid, 0, 10_000)? else {
                continue;
            };
            let body = String::from_utf8(body.to_vec()).unwrap();
            let (_, rest) = body.split_once("Subject: ").unwrap_or_default();
            let subject = rest.lines().next().unwrap_or("").to_owned();
            let whole = String::from_utf8(text(&subject).to_vec()).unwrap();
            assert!(!subject.is_empty() && body.ends_with(&whole), "not what was sent: {body:?}");
            let key = (account, mailbox.to_owned(), open.uid_validity, message.uid);
            let known = self.told.uids.entry(key).or_insert_with(|| subject.clone());
            assert_eq!(*known, subject, "uid {} of {mailbox} is two messages", message.uid);
            assert!(message.uid < open.uid_next);
            found.push((subject, message.flags.system & Flags::FLAGGED != 0));
        }
        self.store.release(open.handle);
        Ok(found)
    }

    /// After a failure the disk is well again, and all goes on.
    fn go_on(&mut self) -> Result<(), Error> {
        self.deliver(&[0, 1], "d8")?;
        self.append("INBOX", "a8")?;
        match self.look(0, "Work").and_then(|_| self.append("Work", "a9")) {
            // A CREATE that failed, or half of it that could not be taken back.
            Ok(()) | Err(Error::Absent) => {}
            Err(error) => return Err(error),
        }
        self.look(0, "INBOX")?;
        self.look(1, "INBOX").map(drop)
    }

    /// UIDVALIDITY and next uid of those mailboxes that are there.
    fn names(&self) -> BTreeMap<(usize, &'static str), (u32, u32)> {
        let mut names = BTreeMap::new();
        for (account, mailbox) in [(0, "INBOX"), (0, "Work"), (1, "INBOX")] {
            match self.store.status(&home(account), mailbox, false) {
                Ok(counts) => {
                    names.insert((account, mailbox), (counts.uid_validity, counts.uid_next));
                }
                Err(Error::Absent) => {}
                Err(error) => panic!("{mailbox} of {account}: {error}"),
            }
        }
        names
    }

    fn uid(&mut self, open: &OpenMailbox, mailbox: &str, subject: &str) -> Option<u32> {
        let known = self.told.uids.iter().find(|((account, name, validity, _), known)| {
            *account == 0 && name == mailbox && *validity == open.uid_validity && *known == subject
        });
        known.map(|((.., uid), _)| *uid)
    }

    /// A day. Ends with the first thing that fails.
    fn live(&mut self) -> Result<(), Error> {
        self.deliver(&[0], "d1")?;
        self.look(0, "INBOX")?;
        self.deliver(&[0, 1, 2], "many")?;
        self.append("INBOX", "a1")?;
        self.look(0, "INBOX")?;
        self.store.manage(&home(0), &FolderChange::Create("Work".into()))?;
        self.append("Work", "a2")?;
        let open = self.select("INBOX")?;
        self.flag(&open, "d1")?;
        self.copy(&open, "d1", "Work")?;
        self.moved(&open, "many", "Work")?;
        self.look(0, "Work")?;
        self.put("foreign");
        self.expunge(&open, "a1")?;
        self.deliver(&[0], "d2")?;
        self.store.sync(open.handle, open.now)?;
        self.store.release(open.handle);
        self.look(0, "INBOX")?;
        self.look(1, "INBOX").map(drop)
    }

    fn flag(&mut self, open: &OpenMailbox, subject: &str) -> Result<(), Error> {
        let Some(uid) = self.uid(open, "INBOX", subject) else { return Ok(()) };
        let marks = flags(Flags::FLAGGED, &["later"]);
        self.store.set_flags(open.handle, &[uid], StoreHow::Add, &marks, open.now)?;
        self.store.settle(open.handle)?;
        self.told(subject).flagged = true;
        Ok(())
    }

    fn copy(&mut self, open: &OpenMailbox, subject: &str, to: &str) -> Result<(), Error> {
        let Some(uid) = self.uid(open, "INBOX", subject) else { return Ok(()) };
        let copied = self.store.copy(open.handle, &[uid], to, false)?;
        for (_, uid) in copied.pairs {
            let key = (0, to.to_owned(), copied.uid_validity, uid);
            self.told.uids.insert(key, subject.to_owned());
        }
        Ok(())
    }

    fn moved(&mut self, open: &OpenMailbox, subject: &str, to: &'static str) -> Result<(), Error> {
        let Some(uid) = self.uid(open, "INBOX", subject) else { return Ok(()) };
        self.promise(0, subject, &["INBOX", to]);
        self.store.copy(open.handle, &[uid], to, true)?;
        self.promise(0, subject, &[to]);
        Ok(())
    }

    fn expunge(&mut self, open: &OpenMailbox, subject: &str) -> Result<(), Error> {
        let Some(uid) = self.uid(open, "INBOX", subject) else { return Ok(()) };
        let deleted = flags(Flags::DELETED, &[]);
        self.store.set_flags(open.handle, &[uid], StoreHow::Add, &deleted, open.now)?;
        self.told(subject).places.clear();
        self.store.expunge(open.handle, None, open.now)?;
        self.told(subject).gone = true;
        Ok(())
    }

    /// Another program delivers.
    fn put(&mut self, subject: &str) {
        let text = String::from_utf8(text(subject).to_vec()).unwrap().replace("\r\n", "\n");
        let path = format!("{}/new/{NOON}.M1P2.elsewhere", home(0).path);
        if !self.disk.is_dead() && self.disk.put(path, text.as_bytes(), 20_000, 20_000).is_ok() {
            self.promise(0, subject, &["INBOX"]);
        }
    }

    /// Nothing promised is lost, nothing that is gone is back, each uid is what it was, everything is
    /// its user's; and life goes on.
    fn check(&mut self, case: &str) {
        let ok = |result: Result<Vec<(String, bool)>, Error>| match result {
            Ok(found) => found,
            Err(Error::Absent) => Vec::new(),
            Err(error) => panic!("{case}: {error}"),
        };
        let mut found = BTreeMap::new();
        for (account, mailbox) in [(0, "INBOX"), (0, "Work"), (1, "INBOX"), (2, "INBOX")] {
            found.insert((account, mailbox), ok(self.look(account, mailbox)));
        }
        for ((account, subject), told) in &self.told.messages {
            let mut count = 0;
            for place in &told.places {
                let there = found[&(*account, *place)].iter().filter(|it| it.0 == *subject);
                count += there.clone().count();
                assert!(
                    !told.flagged || there.clone().all(|it| it.1),
                    "{case}: {subject} in {place} has lost its flag"
                );
            }
            let everywhere = ["INBOX", "Work"].iter().filter_map(|it| found.get(&(*account, *it)));
            let all = everywhere.flatten().filter(|it| it.0 == *subject).count();
            assert!(told.places.is_empty() || count > 0, "{case}: {subject} is lost: {found:?}");
            assert!(count <= told.places.len(), "{case}: {subject} came twice: {found:?}");
            assert!(!told.gone || all == 0, "{case}: {subject} is back: {found:?}");
        }
        for account in 0..3 {
            let subject = format!("after{account}");
            self.deliver(&[account], &subject)
                .unwrap_or_else(|error| panic!("{case}: mail00{account}: {error}"));
            let there = self.look(account, "INBOX").unwrap();
            assert!(there.iter().any(|it| it.0 == subject), "{case}");
            let own = format!("/home/mail/mail00{account}");
            for owned in self.disk.owners(&own) {
                let id = 20_000 + u32::try_from(account).unwrap();
                let mode = if owned.is_dir { 0o700 } else { 0o600 };
                assert_eq!((owned.uid, owned.gid), (id, id), "{case}: {owned:?}");
                assert_eq!(owned.mode & !mode & !0o444, 0, "{case}: {owned:?}");
            }
        }
        match self.append("Work", "afterwards") {
            Ok(()) | Err(Error::Absent) => {}
            Err(error) => panic!("{case}: {error}"),
        }
    }
}

fn calls() -> u64 {
    let (disk, clock) = fresh();
    let mut server = Server::start(disk.clone(), clock, Promises::default());
    server.live().unwrap();
    let calls = disk.calls();
    server.check("without a crash");
    calls
}

#[test]
fn a_crash_after_any_call_breaks_no_promise() {
    let calls = calls();
    assert!(calls > 300, "only {calls} calls");
    for (rule, seeds) in [
        (Survival::Nothing, 1),
        (Survival::All, 1),
        (Survival::Names, 1),
        (Survival::Data, 1),
        (Survival::Half, 2),
    ] {
        for (at, seed) in (0..calls).flat_map(|at| (0..seeds).map(move |seed| (at, seed))) {
            let case = format!("{rule}, after call {at}, seed {seed}");
            let (disk, clock) = fresh();
            disk.crash_after(Some(at));
            let mut server = Server::start(disk, clock, Promises::default());
            let _ = server.live();
            let choices = Choices::seeded(seed << 32 | at);
            let down = Duration::from_secs([1, 20, 3600][usize::try_from(at % 3).unwrap()]);
            server.restart(rule, &choices, down).check(&case);
        }
    }
}

#[test]
fn a_call_that_fails_breaks_no_promise() {
    let calls = calls();
    for failure in [Failure::Any, Failure::Full, Failure::Sync, Failure::SyncDir, Failure::Read] {
        for at in 0..calls {
            let times = 1 + u32::try_from(at % 3).unwrap();
            let case = format!("{failure}, {times} times after call {at}");
            let (disk, clock) = fresh();
            disk.fail_after(at, failure, Some(times));
            let mut server = Server::start(disk.clone(), clock, Promises::default());
            let _ = server.live();
            disk.heal();
            server.clock.advance(Duration::from_secs(20));
            let mut server = match at % 2 {
                0 => server,
                // What a failed sync forgot is seen after a crash only.
                _ => {
                    let choices = Choices::seeded(at);
                    server.restart(Survival::All, &choices, Duration::from_secs(20))
                }
            };
            server.check(&case);
        }
    }
}

#[test]
fn what_a_failed_sync_forgot_is_written_again() {
    let calls = calls();
    for failure in [Failure::Sync, Failure::SyncDir, Failure::Any] {
        for rule in [Survival::Nothing, Survival::All, Survival::Names] {
            for at in 0..calls {
                let case = format!("{failure}, after call {at}, then {rule}");
                let (disk, clock) = fresh();
                let times = 1 + u32::try_from(at % 3).unwrap();
                disk.fail_after(at, failure, Some(times));
                let mut server = Server::start(disk.clone(), clock, Promises::default());
                let _ = server.live();
                disk.heal();
                server.clock.advance(Duration::from_secs(20));
                server.go_on().unwrap_or_else(|error| panic!("{case}: {error}"));
                let before = server.names();
                let choices = Choices::seeded(at);
                let mut server = server.restart(rule, &choices, Duration::from_secs(20));
                let after = server.names();
                for (name, (validity, next)) in before {
                    let now = after.get(&name).copied();
                    assert_eq!(now.map(|it| it.0), Some(validity), "{case}: {name:?}");
                    assert!(now.is_some_and(|it| it.1 >= next), "{case}: {name:?}: {next}");
                }
                server.check(&case);
            }
        }
    }
}
