//! A disk with two layers: what programs see, and what a power cut leaves.
//!
//! Content becomes durable by a sync of the file, names by a sync of their directory; owners with
//! whatever carries them. Between two syncs a disk may have written as much or as little as it likes,
//! in any order that a journal allows: [`Survival`] says what it did. A disk can be full, fail to read
//! or to sync (and then forget what it had not written, as Linux does), and it can [lie](crate::faults).
//!
//! | file | what is there |
//! |---|---|
//! | `mod.rs` | [`Disk`], and it as a file system |
//! | `state.rs` | inodes, the two layers, and the journal between them |
//! | `crash.rs` | what is left, by which rule |
//! | `look.rs` | what a test sees of a disk and puts on it: files, owners, foreign writers |

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use waypost_machine::UnixTime;
use waypost_world::Clock;
use waypost_world::fs::{Each, File, Fs, Kind, Stat};

use crate::faults::Lie;
use state::{Body, IS_A_DIRECTORY, Ino, State};

mod crash;
mod look;
mod state;
#[cfg(test)]
mod tests;

pub use crash::Survival;
pub use look::Owned;

/// Something that goes wrong without a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No space: nothing is made, and what is written ends somewhere in the middle.
    Full,
    /// A file's sync fails, and what it was to write is never written.
    Sync,
    /// A directory's sync fails.
    SyncDir,
    /// Reading fails.
    Read,
    /// Nothing can be opened or listed: too many open files.
    Open,
    /// Any call fails.
    Any,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Full, Self::Sync, Self::SyncDir, Self::Read, Self::Open, Self::Any];

    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Full => 28,
            Self::Open => 24,
            Self::Sync | Self::SyncDir | Self::Read | Self::Any => 5,
        })
    }
}

impl fmt::Display for Failure {
    /// As a script has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Sync => "sync",
            Self::SyncDir => "sync-dir",
            Self::Read => "read",
            Self::Open => "open",
            Self::Any => "any",
        })
    }
}

impl FromStr for Failure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|failure| failure.to_string() == text);
        found.ok_or_else(|| format!("no failure of a disk: {text}"))
    }
}

/// A disk. A clone is another handle of the same.
#[derive(Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
    /// In which life it is used, if it is bound to one.
    boot: Option<u32>,
}

impl Disk {
    /// An empty disk: a root directory that is root's. The seed decides the order in which
    /// directories are listed, and where a write to a full disk ends.
    pub fn new(seed: u64, clock: Arc<dyn Clock>) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))), clock, boot: None }
    }

    /// The disk for a server to use until the next crash: afterwards it has no effect any more,
    /// whoever still holds it.
    #[must_use]
    pub fn mount(&self) -> Self {
        let boot = Some(self.state().boot);
        Self { boot, ..self.clone() }
    }

    /// Another disk with the same on it, healthy, and with another clock. Costs little: what is on
    /// them is shared until it changes.
    #[must_use]
    pub fn copy(&self, clock: Arc<dyn Clock>) -> Self {
        let state = self.state().copy();
        Self { state: Arc::new(Mutex::new(state)), clock, boot: None }
    }

    /// How many calls were made and had an effect or failed as they should: none of a dead disk.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Lets the power fail after so many more calls: from then on every call fails, and nothing
    /// changes, until [`Disk::crash`]. `None`: it does not.
    pub fn crash_after(&self, calls: Option<u64>) {
        self.state().left = calls;
    }

    /// Whether the power has failed.
    pub fn is_dead(&self) -> bool {
        self.state().left == Some(0)
    }

    /// Lets calls of a kind fail: so many of them, or all until [`Disk::heal`].
    pub fn fail(&self, failure: Failure, times: Option<u32>) {
        self.state().failures.insert(failure, times);
    }

    /// As [`Disk::fail`], so many calls from now.
    pub fn fail_after(&self, calls: u64, failure: Failure, times: Option<u32>) {
        let mut state = self.state();
        let at = state.calls + calls;
        state.to_fail = Some((at, failure, times));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        let mut state = self.state();
        state.failures.clear();
        state.to_fail = None;
    }

    /// This failure is over.
    pub fn heal_one(&self, failure: Failure) {
        self.state().failures.remove(&failure);
    }

    /// What the disk does wrong, from now on.
    pub fn lie(&self, lie: Option<Lie>) {
        self.state().lie = lie;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call: counted, and failing when the power is off or a failure of these kinds is due.
    fn call<T>(
        &self,
        kinds: &[Failure],
        work: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state();
        if self.boot.is_some_and(|boot| boot != state.boot) {
            return Err(Failure::Any.error());
        }
        state.count()?;
        if let Some(failure) = state.due(kinds) {
            return Err(failure.error());
        }
        work(&mut state)
    }

    /// The time that a change is given. File systems have it from the kernel's tick.
    fn mtime(&self) -> UnixTime {
        let UnixTime { secs, nanos } = self.clock.wall();
        UnixTime { secs, nanos: nanos - nanos % 4_000_000 }
    }

    fn file(&self, state: &State, ino: Ino) -> Box<dyn File> {
        let disk = Self { boot: Some(state.boot), ..self.clone() };
        Box::new(Handle { disk, ino })
    }

    fn open_file(&self, path: &Path, write: bool) -> io::Result<Box<dyn File>> {
        self.call(&[Failure::Open, Failure::Any], |state| {
            let ino = state.find(path)?;
            state.may(ino, if write { 0o6 } else { 0o4 })?;
            match state.inode(ino).body {
                Body::File { .. } => Ok(self.file(state, ino)),
                Body::Dir { .. } => Err(state::error(IS_A_DIRECTORY)),
            }
        })
    }
}

impl Fs for Disk {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        let mtime = self.mtime();
        self.call(&[Failure::Full, Failure::Open, Failure::Any], |state| {
            let ino = state.make(path, Body::file(), mode, mtime)?;
            Ok(self.file(state, ino))
        })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open_file(path, false)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open_file(path, true)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.call(&[Failure::Any], |state| Ok(state.stat(state.find(path)?)))
    }

    fn list(&self, dir: &Path, each: Each<'_>) -> io::Result<()> {
        let listed =
            self.call(&[Failure::Open, Failure::Read, Failure::Any], |state| state.list(dir))?;
        for (name, kind) in listed {
            each(&name, kind);
        }
        Ok(())
    }

    fn mkdir(&self, dir: &Path, mode: u32) -> io::Result<()> {
        let mtime = self.mtime();
        self.call(&[Failure::Full, Failure::Any], |state| {
            state.make(dir, Body::dir(), mode, mtime).map(drop)
        })
    }

    fn rmdir(&self, dir: &Path) -> io::Result<()> {
        let mtime = self.mtime();
        self.call(&[Failure::Any], |state| state.remove(dir, Kind::Dir, mtime))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mtime = self.mtime();
        self.call(&[Failure::Any], |state| state.rename(from, to, mtime))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mtime = self.mtime();
        self.call(&[Failure::Full, Failure::Any], |state| state.link(from, to, mtime))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mtime = self.mtime();
        self.call(&[Failure::Any], |state| state.remove(path, Kind::File, mtime))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(&[Failure::SyncDir, Failure::Any], |state| {
            let ino = state.find(dir)?;
            state.sync_dir(ino)
        })
    }

    fn chown(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        self.call(&[Failure::Any], |state| state.chown(path, uid, gid))
    }
}

/// An open file. It ends with the life of the server that opened it.
struct Handle {
    disk: Disk,
    ino: Ino,
}

impl File for Handle {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mtime = self.disk.mtime();
        self.disk.call(&[Failure::Any], |state| match state.due(&[Failure::Full]) {
            None => {
                state.write(self.ino, bytes, mtime);
                Ok(())
            }
            Some(full) => {
                let fits = state.random(bytes.len() as u64);
                let fits = usize::try_from(fits).unwrap_or(0);
                state.write(self.ino, &bytes[..fits], mtime);
                Err(full.error())
            }
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.call(&[Failure::Read, Failure::Any], |state| {
            let Body::File { content, .. } = &state.inode(self.ino).body else { return Ok(0) };
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            let rest = content.get(offset..).unwrap_or_default();
            let read = rest.len().min(buffer.len());
            buffer[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.call(&[], |state| match state.due(&[Failure::Sync, Failure::Any]) {
            None => {
                state.sync(self.ino);
                Ok(())
            }
            Some(failure) => {
                state.forget(self.ino);
                Err(failure.error())
            }
        })
    }

    fn stat(&self) -> io::Result<Stat> {
        self.disk.call(&[Failure::Any], |state| Ok(state.stat(self.ino)))
    }

    fn set_mtime(&self, mtime: UnixTime) -> io::Result<()> {
        self.disk.call(&[Failure::Any], |state| {
            state.inode_mut(self.ino).meta.mtime = mtime;
            Ok(())
        })
    }
}
