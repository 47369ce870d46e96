//! Inodes, the two layers, and the journal between them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::Arc;

use waypost_machine::UnixTime;
use waypost_world::fs::{Kind, Stat};
use waypost_world::identity::acting;

use super::Failure;
use crate::faults::Lie;

/// The number of an inode.
pub(super) type Ino = usize;

pub(super) type Name = Arc<[u8]>;

/// Where `/` is.
pub(super) const ROOT: Ino = 1;

/// Numbers of errors, as Linux has them.
const NOT_PERMITTED: i32 = 1;
const NOT_FOUND: i32 = 2;
const DENIED: i32 = 13;
const EXISTS: i32 = 17;
const NOT_A_DIRECTORY: i32 = 20;
pub(super) const IS_A_DIRECTORY: i32 = 21;
const INVALID: i32 = 22;
const NOT_EMPTY: i32 = 39;

pub(super) fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// So many changes of names wait for a sync at most: then the disk writes the older half by itself.
const JOURNAL: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Inodes by number; there is none with the number 0.
    pub(super) inodes: Vec<Option<Arc<Inode>>>,
    /// Numbers that are free again.
    pub(super) free: Vec<Ino>,
    /// Changes of names that are seen and not durable, oldest first.
    pub(super) journal: Vec<Change>,
    pub(super) calls: u64,
    pub(super) left: Option<u64>,
    pub(super) boot: u32,
    pub(super) failures: BTreeMap<Failure, Option<u32>>,
    /// What fails once so many calls were made, and how often.
    pub(super) to_fail: Option<(u64, Failure, Option<u32>)>,
    pub(super) lie: Option<Lie>,
    /// What was removed or replaced for good in this life, and what it stood for: for disks that lie.
    pub(super) gone: BTreeMap<(Ino, Name), Ino>,
    seed: u64,
    drawn: u64,
    /// A file whose sync a lying disk has put off.
    pub(super) put_off: Option<Ino>,
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) meta: Meta,
    /// What is durable of it.
    pub(super) durable: Meta,
    pub(super) links: u32,
    pub(super) body: Body,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) mtime: UnixTime,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    File {
        content: Vec<u8>,
        /// So much of it is durable. Nothing is ever written but at the end.
        synced: usize,
        /// What a failed sync took for written, and a later one does not write again.
        lost: Vec<Range<usize>>,
    },
    Dir {
        seen: BTreeMap<Name, Ino>,
        durable: BTreeMap<Name, Ino>,
    },
}

/// A change of names, whole or not at all: a rename has two.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Directory, name, and what it stands for from now on.
    pub(super) names: Vec<(Ino, Name, Option<Ino>)>,
    pub(super) mtime: UnixTime,
}

impl Body {
    pub(super) fn file() -> Self {
        Self::File { content: Vec::new(), synced: 0, lost: Vec::new() }
    }

    pub(super) fn dir() -> Self {
        Self::Dir { seen: BTreeMap::new(), durable: BTreeMap::new() }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::File { .. } => Kind::File,
            Self::Dir { .. } => Kind::Dir,
        }
    }
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        let meta = Meta { uid: 0, gid: 0, mode: 0o755, mtime: UnixTime::default() };
        let root = Inode { meta, durable: meta, links: 1, body: Body::dir() };
        Self { inodes: vec![None, Some(Arc::new(root))], seed, ..Self::default() }
    }

    pub(super) fn copy(&self) -> Self {
        Self { left: None, failures: BTreeMap::new(), to_fail: None, calls: 0, ..self.clone() }
    }

    /// Counts a call; fails when the power is off.
    pub(super) fn count(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => return Err(Failure::Any.error()),
            Some(left) => *left -= 1,
            None => {}
        }
        if let Some((_, failure, times)) = self.to_fail.take_if(|(at, ..)| *at <= self.calls) {
            self.failures.insert(failure, times);
        }
        self.calls += 1;
        Ok(())
    }

    /// A failure of one of these kinds, if one is due.
    pub(super) fn due(&mut self, kinds: &[Failure]) -> Option<Failure> {
        for kind in kinds {
            match self.failures.get_mut(kind) {
                None | Some(Some(0)) => continue,
                Some(Some(times)) => *times -= 1,
                Some(None) => {}
            }
            return Some(*kind);
        }
        None
    }

    /// A number from 0 to `n`.
    pub(super) fn random(&mut self, n: u64) -> u64 {
        self.drawn += 1;
        mix(self.seed ^ mix(self.drawn)) % (n + 1)
    }

    pub(super) fn inode(&self, ino: Ino) -> &Inode {
        self.inodes[ino].as_deref().expect("names stand for inodes")
    }

    pub(super) fn inode_mut(&mut self, ino: Ino) -> &mut Inode {
        Arc::make_mut(self.inodes[ino].as_mut().expect("names stand for inodes"))
    }

    fn names(&self, dir: Ino) -> io::Result<&BTreeMap<Name, Ino>> {
        match &self.inode(dir).body {
            Body::Dir { seen, .. } => Ok(seen),
            Body::File { .. } => Err(error(NOT_A_DIRECTORY)),
        }
    }

    /// What a path stands for. Whoever acts must be allowed to go there.
    pub(super) fn find(&self, path: &Path) -> io::Result<Ino> {
        let mut at = ROOT;
        for part in path.components() {
            match part {
                Component::RootDir => {}
                Component::Normal(name) => {
                    let names = self.names(at)?;
                    self.may(at, 0o1)?;
                    let next = names.get(name.as_bytes()).copied();
                    at = next.ok_or_else(|| error(NOT_FOUND))?;
                }
                _ => return Err(error(DENIED)),
            }
        }
        Ok(at)
    }

    /// Whether whoever acts may do this (read 4, write 2, pass 1).
    pub(super) fn may(&self, ino: Ino, what: u32) -> io::Result<()> {
        let (uid, gid) = acting();
        let meta = &self.inode(ino).meta;
        let allowed = match uid {
            0 => 0o7,
            _ if uid == meta.uid => meta.mode >> 6,
            _ if gid == meta.gid => meta.mode >> 3,
            _ => meta.mode,
        };
        match allowed & what == what {
            true => Ok(()),
            false => Err(error(DENIED)),
        }
    }

    /// The directory of a path, to be changed, and the name in it.
    fn place(&self, path: &Path) -> io::Result<(Ino, Name)> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(error(INVALID));
        };
        let dir = self.find(dir)?;
        self.names(dir)?;
        Ok((dir, name.as_bytes().into()))
    }

    /// As [`State::place`], for those who change the directory.
    fn place_to_change(&self, path: &Path) -> io::Result<(Ino, Name)> {
        let (dir, name) = self.place(path)?;
        self.may(dir, 0o3)?;
        Ok((dir, name))
    }

    fn absent(&self, dir: Ino, name: &Name) -> io::Result<()> {
        match self.names(dir)?.contains_key(name) {
            true => Err(error(EXISTS)),
            false => Ok(()),
        }
    }

    pub(super) fn make(
        &mut self,
        path: &Path,
        body: Body,
        mode: u32,
        mtime: UnixTime,
    ) -> io::Result<Ino> {
        let (dir, name) = self.place(path)?;
        // As mkdir(2) and open(2): what is there already is told before what is forbidden.
        self.absent(dir, &name)?;
        self.may(dir, 0o3)?;
        let (uid, gid) = acting();
        let meta = Meta { uid, gid, mode, mtime };
        let inode = Some(Arc::new(Inode { meta, durable: meta, links: 0, body }));
        let ino = match self.free.pop() {
            Some(ino) => {
                self.inodes[ino] = inode;
                ino
            }
            None => {
                self.inodes.push(inode);
                self.inodes.len() - 1
            }
        };
        self.change(vec![(dir, name, Some(ino))], mtime);
        Ok(ino)
    }

    pub(super) fn remove(&mut self, path: &Path, kind: Kind, mtime: UnixTime) -> io::Result<()> {
        let (dir, name) = self.place_to_change(path)?;
        let ino = self.names(dir)?.get(&name).copied().ok_or_else(|| error(NOT_FOUND))?;
        match (&self.inode(ino).body, kind) {
            (Body::Dir { seen, .. }, Kind::Dir) if !seen.is_empty() => {
                return Err(error(NOT_EMPTY));
            }
            (Body::Dir { .. }, Kind::Dir) | (Body::File { .. }, Kind::File) => {}
            (Body::Dir { .. }, _) => return Err(error(IS_A_DIRECTORY)),
            (Body::File { .. }, _) => return Err(error(NOT_A_DIRECTORY)),
        }
        self.change(vec![(dir, name, None)], mtime);
        Ok(())
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path, mtime: UnixTime) -> io::Result<()> {
        let ino = self.find(from)?;
        let (dir, name) = self.place(to)?;
        self.absent(dir, &name)?;
        self.may(dir, 0o3)?;
        if self.inode(ino).body.kind() == Kind::Dir {
            return Err(error(NOT_PERMITTED));
        }
        self.change(vec![(dir, name, Some(ino))], mtime);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, mtime: UnixTime) -> io::Result<()> {
        let (from_dir, from_name) = self.place_to_change(from)?;
        let ino = self.names(from_dir)?.get(&from_name).copied().ok_or_else(|| error(NOT_FOUND))?;
        let (to_dir, to_name) = self.place_to_change(to)?;
        if let Some(&there) = self.names(to_dir)?.get(&to_name) {
            if there == ino {
                // rename(2): two names of one file, nothing happens.
                return Ok(());
            }
            match (&self.inode(ino).body, &self.inode(there).body) {
                (Body::File { .. }, Body::File { .. }) => {}
                (Body::Dir { .. }, Body::Dir { seen, .. }) if seen.is_empty() => {}
                (Body::Dir { .. }, Body::Dir { .. }) => {
                    return Err(error(NOT_EMPTY));
                }
                (Body::File { .. }, Body::Dir { .. }) => {
                    return Err(error(IS_A_DIRECTORY));
                }
                (Body::Dir { .. }, Body::File { .. }) => {
                    return Err(error(NOT_A_DIRECTORY));
                }
            }
        }
        if self.inode(ino).body.kind() == Kind::Dir && to.starts_with(from) {
            return Err(error(INVALID));
        }
        let names = vec![(from_dir, from_name, None), (to_dir, to_name, Some(ino))];
        self.change(names, mtime);
        if self.lie == Some(Lie::NamesFirst) {
            self.write_last();
        }
        Ok(())
    }

    /// Changes what is seen, and notes it in the journal.
    pub(super) fn change(&mut self, names: Vec<(Ino, Name, Option<Ino>)>, mtime: UnixTime) {
        for (dir, name, ino) in &names {
            let inode = self.inode_mut(*dir);
            inode.meta.mtime = mtime;
            let Body::Dir { seen, .. } = &mut inode.body else { continue };
            let before = match ino {
                Some(ino) => seen.insert(Arc::clone(name), *ino),
                None => seen.remove(name),
            };
            if let Some(before) = before {
                self.inode_mut(before).links -= 1;
            }
            if let Some(ino) = ino {
                self.inode_mut(*ino).links += 1;
            }
        }
        self.journal.push(Change { names, mtime });
        if self.journal.len() > JOURNAL {
            self.settle(|at, _| at < JOURNAL / 2);
        }
    }

    pub(super) fn sync_dir(&mut self, dir: Ino) -> io::Result<()> {
        self.names(dir)?;
        if self.lie == Some(Lie::SyncDir) {
            return Ok(());
        }
        self.settle(|_, change| change.names.iter().any(|(at, ..)| *at == dir));
        let inode = self.inode_mut(dir);
        inode.durable = inode.meta;
        Ok(())
    }

    /// Makes changes durable, and with them all earlier ones of the same names.
    fn settle(&mut self, which: impl Fn(usize, &Change) -> bool) {
        let mut wanted = BTreeSet::new();
        let mut names: BTreeSet<(Ino, &[u8])> = BTreeSet::new();
        for (at, change) in self.journal.iter().enumerate().rev() {
            let named = |(dir, name, _): &(Ino, Name, _)| names.contains(&(*dir, &**name));
            if which(at, change) || change.names.iter().any(named) {
                wanted.insert(at);
                names.extend(change.names.iter().map(|(dir, name, _)| (*dir, &**name)));
            }
        }
        for (at, change) in std::mem::take(&mut self.journal).into_iter().enumerate() {
            match wanted.contains(&at) {
                true => self.write_names(&change),
                false => self.journal.push(change),
            }
        }
    }

    /// Makes a change durable.
    pub(super) fn write_names(&mut self, change: &Change) {
        for (dir, name, ino) in &change.names {
            let inode = self.inode_mut(*dir);
            inode.durable.mtime = change.mtime;
            let Body::Dir { durable, .. } = &mut inode.body else { continue };
            let before = match ino {
                Some(ino) => durable.insert(Arc::clone(name), *ino),
                None => durable.remove(name),
            };
            let lies = match self.lie {
                Some(Lie::RemovedComesBack) => ino.is_none(),
                Some(Lie::ReplacedComesBack) => ino.is_some(),
                _ => false,
            };
            if let Some(before) = before.filter(|_| lies) {
                self.gone.insert((*dir, Arc::clone(name)), before);
            }
        }
    }

    /// Makes the last change durable.
    pub(super) fn write_last(&mut self) {
        let last = self.journal.len().saturating_sub(1);
        self.settle(|at, _| at == last);
    }

    pub(super) fn chown(&mut self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        let ino = self.find(path)?;
        if acting().0 != 0 {
            return Err(error(NOT_PERMITTED));
        }
        let meta = &mut self.inode_mut(ino).meta;
        (meta.uid, meta.gid) = (uid, gid);
        Ok(())
    }

    pub(super) fn write(&mut self, ino: Ino, bytes: &[u8], mtime: UnixTime) {
        let inode = self.inode_mut(ino);
        inode.meta.mtime = mtime;
        if let Body::File { content, .. } = &mut inode.body {
            content.extend_from_slice(bytes);
        }
    }

    /// Makes a file's content durable.
    pub(super) fn sync(&mut self, ino: Ino) {
        match self.lie {
            Some(Lie::Sync) => {}
            Some(Lie::SyncLate | Lie::NamesFirst) => {
                if let Some(late) = self.put_off.replace(ino) {
                    self.write_out(late);
                }
            }
            _ => self.write_out(ino),
        }
    }

    fn write_out(&mut self, ino: Ino) {
        let Some(inode) = &mut self.inodes[ino] else { return };
        let inode = Arc::make_mut(inode);
        inode.durable = inode.meta;
        if let Body::File { content, synced, .. } = &mut inode.body {
            *synced = content.len();
        }
    }

    /// A sync that failed: the next one believes that all is written.
    pub(super) fn forget(&mut self, ino: Ino) {
        if let Body::File { content, synced, lost } = &mut self.inode_mut(ino).body {
            if *synced < content.len() {
                lost.push(*synced..content.len());
            }
            *synced = content.len();
        }
    }

    pub(super) fn stat(&self, ino: Ino) -> Stat {
        let Inode { meta, links, body, .. } = self.inode(ino);
        let size = match body {
            Body::File { content, .. } => content.len() as u64,
            Body::Dir { .. } => 4096,
        };
        Stat {
            device: 1,
            inode: ino as u64,
            size,
            uid: meta.uid,
            links: u64::from(*links),
            mtime: meta.mtime,
            kind: body.kind(),
        }
    }

    /// Always the same order for the same names, and another one with another seed.
    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<(Name, Kind)>> {
        let dir = self.find(dir)?;
        self.may(dir, 0o4)?;
        let scrambled = |(name, &ino): (&Name, &Ino)| {
            let key = name.iter().fold(self.seed, |sum, byte| mix(sum ^ u64::from(*byte)));
            (key, Arc::clone(name), self.inode(ino).body.kind())
        };
        let mut listed: Vec<_> = self.names(dir)?.iter().map(scrambled).collect();
        listed.sort_unstable_by_key(|(key, ..)| *key);
        Ok(listed.into_iter().map(|(_, name, kind)| (name, kind)).collect())
    }
}

/// A step of SplitMix64.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
