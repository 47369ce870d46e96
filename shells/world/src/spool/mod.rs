//! Messages that cannot be delivered now, on disk.
//!
//! A message is two files in the spool's directory: `ID.body`, our Received header and the message
//! with CRLF line ends, and `ID.entry`, who waits for it (see `waypost-queue`). The order of writing
//! makes every crash harmless:
//!
//! 1. the body is written and synced; 2. the entry is written as `ID.tmp` and synced; 3. it is
//!    renamed to `ID.entry`, and the directory synced. Only now is the message accepted.
//!
//! What happens to recipients is appended to the entry and synced. When nobody waits any more, first
//! the entry is removed, which is synced, then the body; messages that are removed together share
//! the sync. An entry in which nobody waits is removed at the next start. A body without entry was
//! never accepted, or is not needed any more, and is removed as well.
//!
//! The entry knows size and checksum of the body, and each of its lines has a checksum. Who reads a
//! body gets the end of it only when all of it is what was accepted. A message that is damaged is
//! moved into `corrupt/`, for somebody to look at; what was accepted is never thrown away unread.
//!
//! | file | what is there |
//! |---|---|
//! | `draft.rs` | a message comes in |
//! | `body.rs` | it is read, and compared |
//! | `recover.rs` | the start |
//! | `corrupt.rs` | damaged messages |

mod body;
mod corrupt;
mod draft;
mod error;
mod recover;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use waypost_queue::{Change, Entry, QueueId};

use crate::fs::{File, Fs, read_to_end};
use crate::lock;

pub(crate) use body::Body;
pub(crate) use corrupt::CORRUPT;
pub(crate) use draft::Draft;
pub(crate) use error::{Damage, SpoolError};

const MODE: u32 = 0o600;
/// Octets of an entry, at most: a line of some hundred for each recipient and attempt.
const MAX_ENTRY: u64 = 1 << 30;

/// The spool. All clones are the same.
#[derive(Clone)]
pub(crate) struct Spool {
    fs: Arc<dyn Fs>,
    directory: PathBuf,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Messages that could not be read at the start.
    unread: Mutex<BTreeSet<QueueId>>,
    /// Messages whose entries may not be on the disk as they are seen.
    unsure: Mutex<HashSet<Box<str>>>,
}

impl Spool {
    pub(crate) fn new(fs: Arc<dyn Fs>, directory: &Path) -> Self {
        Self { fs, directory: directory.to_owned(), state: Arc::default() }
    }

    /// Who waits for a message.
    pub(crate) fn load(&self, id: &str) -> Result<Entry, SpoolError> {
        self.open(id).map(|(entry, _)| entry)
    }

    /// An entry, and whether its last line is torn.
    fn open(&self, id: &str) -> Result<(Entry, bool), SpoolError> {
        let path = self.path(id, "entry");
        let failed = |error| SpoolError::io(&path, error);
        let file = self.fs.open(&path).map_err(failed)?;
        let file = read_to_end(&*file, MAX_ENTRY).map_err(failed)?;
        let entry = Entry::decode(&file).map_err(|error| SpoolError::entry(&path, error))?;
        if *entry.origin.queue_id != *id {
            return Err(SpoolError::damaged(&path, Damage::Stranger));
        }
        Ok((entry, Entry::whole(&file) < file.len()))
    }

    /// Notes what happened to recipients, durably.
    pub(crate) fn record(&self, id: &str, changes: &[Change]) -> Result<(), SpoolError> {
        let path = self.path(id, "entry");
        if !self.is_unsure(id) {
            match self.append(&path, changes) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(SpoolError::io(&path, error));
                }
                Err(_) => {
                    lock(&self.state.unsure).insert(id.into());
                }
            }
        }
        // Behind what is torn, as on a full disk, nothing would be read; and what a failed sync has
        // left may be gone after a crash, though what is appended behind it is there.
        let mut entry = self.load(id)?;
        for change in changes {
            entry.apply(change.clone());
        }
        self.rewrite(id, &entry)
    }

    /// False when the file ends in the middle of a line.
    fn append(&self, path: &Path, changes: &[Change]) -> io::Result<bool> {
        let mut file = self.fs.append(path)?;
        if is_torn(&*file)? {
            return Ok(false);
        }
        file.write_all(Change::encode_all(changes).as_bytes())?;
        file.sync().map(|()| true)
    }

    /// Puts a new entry in place of the old one, durably; recipients keep their places. Where that
    /// fails the new one may be seen, and the old one come back by a crash: nothing is appended to it.
    pub(crate) fn rewrite(&self, id: &str, entry: &Entry) -> Result<(), SpoolError> {
        let written = self.write(id, entry);
        let mut unsure = lock(&self.state.unsure);
        match written {
            Ok(()) => unsure.remove(id),
            Err(_) => unsure.insert(id.into()),
        };
        written
    }

    /// Whether an entry may not be on the disk as it is seen.
    fn is_unsure(&self, id: &str) -> bool {
        lock(&self.state.unsure).contains(id)
    }

    /// Removes a message that nobody waits for, durably.
    pub(crate) fn remove(&self, id: &str) -> Result<(), SpoolError> {
        self.remove_all(&[id]).pop().unwrap_or(Ok(()))
    }

    /// Removes messages that nobody waits for, durably, with one sync for all. Their bodies would be
    /// useless without their entries, so those go last; a body that stays is removed at the next
    /// start.
    pub(crate) fn remove_all(&self, ids: &[&str]) -> Vec<Result<(), SpoolError>> {
        let mut results: Vec<_> = ids.iter().map(|id| self.unlink(id, "entry")).collect();
        // Also for an entry that is not there: it may have gone before a sync that failed.
        if results.iter().any(Result::is_ok)
            && let Err(error) = self.fs.sync_dir(&self.directory)
        {
            for result in results.iter_mut().filter(|result| result.is_ok()) {
                *result = Err(SpoolError::io(&self.directory, again(&error)));
            }
        }
        for (id, result) in ids.iter().zip(&mut results).filter(|(_, result)| result.is_ok()) {
            *result = self.unlink(id, "body");
            if result.is_ok() {
                lock(&self.state.unsure).remove(*id);
            }
        }
        results
    }

    /// Removes a file, if it is there.
    fn unlink(&self, id: &str, kind: &str) -> Result<(), SpoolError> {
        let path = self.path(id, kind);
        match self.fs.unlink(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(SpoolError::io(&path, error))
            }
            _ => Ok(()),
        }
    }

    /// Writes an entry so that it is there whole or not at all.
    fn write(&self, id: &str, entry: &Entry) -> Result<(), SpoolError> {
        let (temporary, path) = (self.path(id, "tmp"), self.path(id, "entry"));
        let create = || match self.fs.create(&temporary, MODE) {
            // Of a write that failed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.fs.unlink(&temporary)?;
                self.fs.create(&temporary, MODE)
            }
            created => created,
        };
        let write = || {
            let mut file = create()?;
            file.write_all(entry.encode().as_bytes())?;
            file.sync()?;
            self.fs.rename(&temporary, &path)?;
            self.fs.sync_dir(&self.directory)
        };
        write().map_err(|error| {
            let _ = self.fs.unlink(&temporary);
            SpoolError::io(&path, error)
        })
    }

    fn path(&self, id: &str, kind: &str) -> PathBuf {
        self.directory.join(format!("{id}.{kind}"))
    }
}

/// The same error for somebody else.
fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// True when the file does not end with a whole line.
fn is_torn(file: &dyn File) -> io::Result<bool> {
    let mut last = [0];
    let size = file.stat()?.size;
    Ok(size == 0 || file.read_at(&mut last, size - 1)? != 1 || last != *b"\n")
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod testing;
