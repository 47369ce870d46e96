//! The store on a disk that crashes after any call.
//!
//! The disk is a simulated one with two layers: what programs see, and what survives. Content survives a
//! sync of the file, names survive a sync of their directory. A scenario runs once to count its calls,
//! then again and again, crashing after each of them under each rule of survival; then the server starts
//! anew, and what was promised must hold.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use waypost_imap::server::{Flags, NamedFlags, StoreHow};
use waypost_machine::UnixTime;
use waypost_mail::MailHome;

use super::testing::NOON;
use super::{Error, Parcel, Store};
use crate::clock::ManualClock;
use crate::fs::{Each, File, Fs, Kind, Stat};
use crate::identity::Identity;
use crate::lock;

/// What a crash leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Survives {
    /// Only what was synced.
    Synced,
    /// Everything.
    All,
    /// All names, but only synced content.
    Names,
    /// All names, and half of what was written since the last sync.
    Torn,
    /// All names, but the first half of what was written since the last sync is zeros.
    Holes,
}

#[derive(Clone, Debug, Default)]
struct Node {
    content: Vec<u8>,
    durable: Vec<u8>,
    /// What a failed sync took for written, and a later one does not write again.
    lost: Vec<Range<usize>>,
    mtime: i64,
    is_dir: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    nodes: BTreeMap<u64, Node>,
    seen: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    next: u64,
    /// Time of change of directories goes on with each change.
    ticks: i64,
    /// Calls until the power fails.
    pub(crate) left: usize,
    /// The numbers of calls that fail, counted from 1; the power stays on.
    pub(crate) faults: Range<usize>,
    /// The sync of a directory that fails has written all the same.
    written: bool,
    pub(crate) calls: usize,
}

impl Node {
    /// What a sync makes durable.
    fn written(&self) -> Vec<u8> {
        let mut written = self.content.clone();
        for lost in &self.lost {
            written[lost.clone()].fill(0);
        }
        written
    }
}

impl Disk {
    fn count(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.left == 0 || self.faults.contains(&self.calls) {
            return Err(rustix::io::Errno::IO.into());
        }
        self.left -= 1;
        Ok(())
    }

    fn node(&self, path: &Path) -> io::Result<u64> {
        self.seen.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn touch(&mut self, path: &Path) {
        self.ticks += 1;
        let dir = path.parent().and_then(|dir| self.seen.get(dir)).copied();
        if let Some(node) = dir.and_then(|dir| self.nodes.get_mut(&dir)) {
            node.mtime = NOON + self.ticks;
        }
    }

    fn make(&mut self, path: &Path, is_dir: bool) -> io::Result<u64> {
        if self.seen.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let parent =
            path.parent().map_or_else(|| Err(io::ErrorKind::NotFound.into()), |dir| self.node(dir));
        if !self.nodes[&parent?].is_dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        self.next += 1;
        let node = Node { is_dir, mtime: NOON + self.ticks, ..Node::default() };
        self.nodes.insert(self.next, node);
        self.seen.insert(path.to_path_buf(), self.next);
        self.touch(path);
        Ok(self.next)
    }

    fn stat(&self, node: u64) -> Stat {
        let Node { content, mtime, is_dir, .. } = &self.nodes[&node];
        Stat {
            device: 1,
            inode: node,
            size: content.len() as u64,
            uid: 0,
            links: self.seen.values().filter(|seen| **seen == node).count() as u64,
            mtime: UnixTime { secs: *mtime, nanos: 0 },
            kind: if *is_dir { Kind::Dir } else { Kind::File },
        }
    }

    pub(crate) fn crash(&mut self, survives: Survives) {
        if matches!(survives, Survives::Synced) {
            self.seen = self.durable.clone();
        }
        for node in self.nodes.values_mut() {
            match survives {
                Survives::All => {
                    node.content = node.written();
                    node.durable = node.content.clone();
                }
                Survives::Synced | Survives::Names => node.content = node.durable.clone(),
                Survives::Torn | Survives::Holes => {
                    // Nothing is ever written but at the end.
                    let synced = node.durable.len();
                    let middle = synced + (node.content.len() - synced) / 2;
                    match survives {
                        Survives::Torn => node.content.truncate(middle),
                        _ => node.content[synced..middle].fill(0),
                    }
                    node.durable = node.content.clone();
                }
            }
            node.lost.clear();
        }
        // What lies in a directory that is lost is lost with it; parents come first in the order.
        let mut left: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for (path, node) in std::mem::take(&mut self.seen) {
            if path.parent().is_none_or(|parent| left.contains_key(parent)) {
                left.insert(path, node);
            }
        }
        self.seen = left;
        self.durable = self.seen.clone();
        (self.left, self.calls, self.faults) = (usize::MAX, 0, 0..0);
    }

    /// Changes a byte of a file as a bad disk does.
    pub(crate) fn damage(&mut self, path: &Path, place: usize, flip: u8) {
        let node = self.nodes.get_mut(&self.seen[path]).unwrap();
        for layer in [&mut node.content, &mut node.durable] {
            if let Some(byte) = layer.get_mut(place) {
                *byte ^= flip;
            }
        }
    }
}

#[derive(Clone)]
pub(crate) struct SimFs(pub(crate) Arc<Mutex<Disk>>);

struct SimFile {
    fs: SimFs,
    node: u64,
}

impl SimFs {
    pub(crate) fn new() -> Self {
        let mut disk = Disk { left: usize::MAX, ..Disk::default() };
        disk.nodes.insert(0, Node { is_dir: true, ..Node::default() });
        disk.seen.insert("/".into(), 0);
        disk.durable = disk.seen.clone();
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Another disk with the same on it.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(lock(&self.0).clone())))
    }

    fn call<T>(&self, work: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = lock(&self.0);
        disk.count()?;
        work(&mut disk)
    }

    fn file(&self, node: io::Result<u64>) -> io::Result<Box<dyn File>> {
        Ok(Box::new(SimFile { fs: self.clone(), node: node? }))
    }
}

impl Fs for SimFs {
    fn create(&self, path: &Path, _: u32) -> io::Result<Box<dyn File>> {
        self.file(self.call(|disk| disk.make(path, false)))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.file(self.call(|disk| disk.node(path)))
    }
    fn append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open(path)
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.call(|disk| Ok(disk.stat(disk.node(path)?)))
    }
    fn list(&self, dir: &Path, each: Each<'_>) -> io::Result<()> {
        let all = self.call(|disk| {
            disk.node(dir)?;
            let inside = disk.seen.iter().filter(|(path, _)| path.parent() == Some(dir));
            Ok(inside.map(|(path, node)| (path.clone(), disk.stat(*node).kind)).collect::<Vec<_>>())
        })?;
        for (path, kind) in all {
            each(path.file_name().unwrap().as_encoded_bytes(), kind);
        }
        Ok(())
    }
    fn mkdir(&self, dir: &Path, _: u32) -> io::Result<()> {
        self.call(|disk| disk.make(dir, true).map(drop))
    }
    fn rmdir(&self, dir: &Path) -> io::Result<()> {
        self.unlink(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|disk| {
            disk.node(from)?;
            let moved: Vec<PathBuf> =
                disk.seen.keys().filter(|path| path.starts_with(from)).cloned().collect();
            for path in moved {
                let below = path.strip_prefix(from).unwrap();
                let target =
                    if below.as_os_str().is_empty() { to.to_path_buf() } else { to.join(below) };
                let node = disk.seen.remove(&path).unwrap();
                disk.seen.insert(target, node);
            }
            disk.touch(from);
            disk.touch(to);
            Ok(())
        })
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|disk| {
            let node = disk.node(from)?;
            if disk.seen.contains_key(to) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            disk.seen.insert(to.to_path_buf(), node);
            disk.touch(to);
            Ok(())
        })
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.call(|disk| {
            disk.node(path)?;
            disk.seen.remove(path);
            disk.touch(path);
            Ok(())
        })
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = lock(&self.0);
        let fate = disk.count();
        let written = fate.is_ok() || disk.written && disk.left > 0;
        if written {
            let here = |path: &Path| path.parent() == Some(dir);
            let is_here = |(path, _): &(&PathBuf, &u64)| here(path);
            let own = |(path, node): (&PathBuf, &u64)| (path.clone(), *node);
            let mut names: Vec<_> = disk.seen.iter().filter(is_here).map(own).collect();
            let nodes: Vec<u64> = names.iter().map(|(_, node)| *node).collect();
            // A rename is one entry in a journal: its two ends become durable together.
            let is_lost = |(path, node): &(&PathBuf, &u64)| {
                !disk.seen.contains_key(*path) && (here(path) || nodes.contains(node))
            };
            let lost: Vec<_> = disk.durable.iter().filter(is_lost).map(own).collect();
            let moved = |(_, node): &(&PathBuf, &u64)| lost.iter().any(|(_, lost)| lost == *node);
            names.extend(disk.seen.iter().filter(moved).map(own));
            for (path, _) in lost {
                disk.durable.remove(&path);
            }
            disk.durable.extend(names);
        }
        fate
    }
    fn chown(&self, _: &Path, _: u32, _: u32) -> io::Result<()> {
        self.call(|_| Ok(()))
    }
}

impl File for SimFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.fs.call(|disk| {
            disk.ticks += 1;
            let mtime = NOON + disk.ticks;
            let node = disk.nodes.get_mut(&self.node).unwrap();
            node.content.extend_from_slice(bytes);
            node.mtime = mtime;
            Ok(())
        })
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fs.call(|disk| {
            let content = &disk.nodes[&self.node].content;
            let rest = content.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let read = rest.len().min(buffer.len());
            buffer[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        })
    }
    fn sync(&self) -> io::Result<()> {
        let mut disk = lock(&self.fs.0);
        let (fate, power) = (disk.count(), disk.left > 0);
        let node = disk.nodes.get_mut(&self.node).unwrap();
        match &fate {
            Ok(()) => node.durable = node.written(),
            Err(_) if power => node.lost.push(node.durable.len()..node.content.len()),
            Err(_) => {}
        }
        fate
    }
    fn stat(&self) -> io::Result<Stat> {
        self.fs.call(|disk| Ok(disk.stat(self.node)))
    }
    fn set_mtime(&self, mtime: UnixTime) -> io::Result<()> {
        self.fs.call(|disk| {
            disk.nodes.get_mut(&self.node).unwrap().mtime = mtime.secs;
            Ok(())
        })
    }
}

/// What clients and senders were told.
#[derive(Debug, Default)]
struct Promises {
    /// Subjects of messages that were accepted and not removed since.
    accepted: Vec<String>,
    /// Subjects of messages that were flagged.
    flagged: Vec<String>,
    /// Mailbox, UIDVALIDITY and uid, and the subject they were told to stand for.
    uids: BTreeMap<(String, u32, u32), String>,
}

struct Server {
    store: Store,
    home: MailHome,
    told: Promises,
}

impl Server {
    fn start(fs: &SimFs, boot: i64) -> Self {
        let clock = Arc::new(ManualClock::new(NOON + boot));
        let store = Store::new(
            Arc::new(fs.clone()),
            Identity::of_process(100),
            crate::Process::own(),
            clock,
            "h",
        );
        let home = MailHome { path: "/home/mail000/mailbox".into(), uid: 20000, gid: 20000 };
        Self { store, home, told: Promises::default() }
    }

    fn deliver(&mut self, subject: &str) -> Result<(), Error> {
        let parcel = Parcel { home: self.home.clone(), head: b"A: b\n".to_vec() };
        let mut incoming = self.store.deliver(vec![parcel]);
        incoming.append(&[Bytes::from(format!("Subject: {subject}\r\n\r\nx\r\n"))]);
        incoming.commit().remove(0)?;
        self.told.accepted.push(subject.to_owned());
        Ok(())
    }

    fn append(&mut self, mailbox: &str, subject: &str) -> Result<(), Error> {
        let flags = NamedFlags { system: Flags::SEEN, keywords: vec!["work".into()] };
        let upload = self.store.begin_upload(&self.home, mailbox, flags, None)?;
        let text = Bytes::from(format!("Subject: {subject}\r\n\r\nx\r\n"));
        self.store.append(upload, &[text])?;
        let (uid_validity, uid) = self.store.commit_upload(upload)?;
        self.told.accepted.push(subject.to_owned());
        self.told.uids.insert((mailbox.to_owned(), uid_validity, uid), subject.to_owned());
        Ok(())
    }

    /// Opens a mailbox and reads all of it: what a client then knows.
    fn look(&mut self, mailbox: &str) -> Result<Vec<String>, Error> {
        let open = self.store.open(&self.home, mailbox, true)?;
        let mut subjects = Vec::new();
        for message in &open.messages {
            let Some(body) = self.store.body(open.handle, message.uid, 0, 1000)? else { continue };
            let text = String::from_utf8(body.to_vec()).unwrap();
            let subject = text.split("Subject: ").nth(1).unwrap_or("").lines().next().unwrap_or("");
            assert!(!subject.is_empty(), "half a message: {text:?}");
            let flagged = message.flags.system & Flags::FLAGGED != 0;
            let promised = self.told.flagged.iter().any(|known| known == subject);
            assert!(flagged || !promised, "{subject} has lost its flag");
            subjects.push(subject.to_owned());
            let name = (mailbox.to_owned(), open.uid_validity, message.uid);
            let known = self.told.uids.entry(name).or_insert_with(|| subject.to_owned());
            assert_eq!(known, subject, "uid {} of {mailbox} names two messages", message.uid);
        }
        self.store.release(open.handle);
        Ok(subjects)
    }

    /// A day of an account.
    fn live(&mut self) -> Result<(), Error> {
        self.deliver("d1")?;
        self.look("INBOX")?;
        self.deliver("d2")?;
        self.append("INBOX", "a1")?;
        self.look("INBOX")?;
        let create = waypost_imap::server::FolderChange::Create("Work".into());
        self.store.manage(&self.home, &create)?;
        self.append("Work", "a2")?;
        let open = self.store.open(&self.home, "INBOX", true)?;
        self.store.copy(open.handle, &[1], "Work", true)?;
        self.look("Work")?;
        let deleted = NamedFlags { system: Flags::DELETED, keywords: Vec::new() };
        let last = open.messages.last().map_or(0, |message| message.uid);
        let flagged = NamedFlags { system: Flags::FLAGGED, keywords: Vec::new() };
        self.store.set_flags(open.handle, &[2], StoreHow::Add, &flagged, open.now)?;
        self.store.settle(open.handle)?;
        self.told.flagged.push("d2".to_owned());
        self.told.accepted.retain(|subject| subject != "a1");
        self.store.set_flags(open.handle, &[last], StoreHow::Add, &deleted, open.now)?;
        self.store.expunge(open.handle, None, open.now)?;
        self.deliver("d3")?;
        self.look("INBOX").map(drop)
    }

    /// After the crash: nothing promised is lost, and each uid is what it was.
    fn check(&mut self, case: &str) {
        let mut found = self.look("INBOX").unwrap_or_else(|error| panic!("{case}: {error}"));
        match self.look("Work") {
            Ok(more) => found.extend(more),
            Err(Error::Absent) => {}
            Err(error) => panic!("{case}: {error}"),
        }
        for subject in &self.told.accepted {
            assert!(found.contains(subject), "{case}: {subject} is lost, there is {found:?}");
        }
        self.deliver("after").unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(self.look("INBOX").unwrap().contains(&"after".to_owned()), "{case}");
    }
}

#[test]
fn a_crash_after_any_call_breaks_no_promise() {
    let fs = SimFs::new();
    Server::start(&fs, 0).live().unwrap();
    let calls = lock(&fs.0).calls;
    assert!(calls > 150, "only {calls} calls");
    for survives in [Survives::Synced, Survives::All, Survives::Names] {
        for at in 0..calls {
            let case = format!("{survives:?}, after call {at}");
            let fs = SimFs::new();
            lock(&fs.0).left = at;
            let mut server = Server::start(&fs, 0);
            let _ = server.live();
            let told = std::mem::take(&mut server.told);
            drop(server);
            lock(&fs.0).crash(survives);
            let mut server = Server::start(&fs, 3600);
            server.told = told;
            server.check(&case);
        }
    }
}

/// What could not be moved to `cur/` is removed from `new/`.
#[test]
fn what_was_moved_away_from_new_does_not_come_back() {
    let mut stayed = 0;
    for at in 1..80 {
        let fs = SimFs::new();
        let mut server = Server::start(&fs, 0);
        server.deliver("d0").unwrap();
        server.look("INBOX").unwrap();
        let create = waypost_imap::server::FolderChange::Create("Work".into());
        server.store.manage(&server.home, &create).unwrap();
        server.deliver("d1").unwrap();
        {
            let mut disk = lock(&fs.0);
            disk.calls = 0;
            disk.faults = at..at + 1;
        }
        let Ok(open) = server.store.open(&server.home, "INBOX", true) else { continue };
        lock(&fs.0).faults = 0..0;
        let new = Path::new(&*server.home.path).join("new");
        let is_new = lock(&fs.0).seen.keys().any(|path| path.parent() == Some(&new));
        if !is_new || open.messages.len() < 2 {
            continue;
        }
        stayed += 1;
        server.store.copy(open.handle, &[2], "Work", true).unwrap();
        lock(&fs.0).crash(Survives::Synced);
        let mut server = Server::start(&fs, 3600);
        assert_eq!(server.look("INBOX").unwrap(), ["d0"]);
        assert_eq!(server.look("Work").unwrap(), ["d1"]);
    }
    assert!(stayed > 0);
}

/// What is refused is gone, also when the disk has written it before it said that it could not.
#[test]
fn a_refused_append_does_not_come_back() {
    let mut failed = 0;
    for at in 1..60 {
        let fs = SimFs::new();
        let mut server = Server::start(&fs, 0);
        server.deliver("d0").unwrap();
        server.look("INBOX").unwrap();
        {
            let mut disk = lock(&fs.0);
            (disk.calls, disk.faults, disk.written) = (0, at..at + 1, true);
        }
        let appended = server.append("INBOX", "a1");
        failed += usize::from(appended.is_err());
        lock(&fs.0).crash(Survives::Synced);
        let left = Server::start(&fs, 3600).look("INBOX").unwrap();
        assert_eq!(left.contains(&"a1".to_owned()), appended.is_ok(), "call {at}: {left:?}");
    }
    assert!(failed > 10, "only {failed} calls can fail");
}
