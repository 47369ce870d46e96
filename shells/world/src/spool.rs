//! Messages that cannot be delivered now, on disk.
//!
//! A message is two files in the spool's directory: `ID.body`, our Received header and the message
//! with CRLF line ends, and `ID.entry`, who waits for it (see `waypost-queue`). The order of writing
//! makes every crash harmless:
//!
//! 1. the body is written and synced; 2. the entry is written as `ID.tmp` and synced; 3. it is
//!    renamed to `ID.entry`, and the directory synced. Only now is the message accepted.
//!
//! What happens to recipients is appended to the entry and synced. When nobody waits any more, body
//! and entry are removed; an entry in which nobody waits is removed at the next start if a crash kept
//! it. A body without entry was never accepted, and is removed as well.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use waypost_machine::UnixTime;
use waypost_queue::{Change, Entry, EntryError};

use crate::fs::{File, Fs, Kind, read_to_end};

const MODE: u32 = 0o600;
/// Octets of an entry, at most: a line of some hundred for each recipient and attempt.
const MAX_ENTRY: u64 = 1 << 30;
/// Octets read at a time.
const BLOCK: usize = 64 * 1024;

/// The spool.
#[derive(Clone)]
pub(crate) struct Spool {
    fs: Arc<dyn Fs>,
    directory: PathBuf,
}

/// Why something in the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    #[error("{0}: {1}")]
    Io(String, io::Error),
    #[error("{0}: {1}")]
    Entry(String, EntryError),
}

/// A message that is being written. Dropped, it leaves nothing behind.
pub(crate) struct Draft {
    spool: Spool,
    id: Box<str>,
    body: Box<dyn File>,
    size: u64,
    sum: crc32fast::Hasher,
    kept: bool,
}

impl Spool {
    pub(crate) fn new(fs: Arc<dyn Fs>, directory: &Path) -> Self {
        Self { fs, directory: directory.to_owned() }
    }

    /// Begins a message.
    pub(crate) fn begin(&self, id: &str) -> Result<Draft, SpoolError> {
        let path = self.path(id, "body");
        let body = self.fs.create(&path, MODE).map_err(|error| at(&path, error))?;
        Ok(Draft {
            spool: self.clone(),
            id: id.into(),
            body,
            size: 0,
            sum: crc32fast::Hasher::new(),
            kept: false,
        })
    }

    /// Who waits for a message.
    pub(crate) fn load(&self, id: &str) -> Result<Entry, SpoolError> {
        let path = self.path(id, "entry");
        let file = self.read(&path)?;
        Entry::decode(&file).map_err(|error| SpoolError::Entry(path.display().to_string(), error))
    }

    /// Notes what happened to recipients, durably.
    pub(crate) fn record(&self, id: &str, changes: &[Change]) -> Result<(), SpoolError> {
        let path = self.path(id, "entry");
        let text = Change::encode_all(changes);
        let append = || {
            let mut file = self.fs.append(&path)?;
            if is_torn(&*file)? {
                return Ok(false);
            }
            file.write_all(text.as_bytes())?;
            file.sync().map(|()| true)
        };
        if append().map_err(|error| at(&path, error))? {
            return Ok(());
        }
        // An earlier record failed on the way (a full disk): behind its rest nothing would be read.
        let mut entry = self.load(id)?;
        for change in changes {
            entry.apply(change.clone());
        }
        self.write(id, &entry)
    }

    /// Puts a new entry in place of the old one, durably; recipients keep their places.
    pub(crate) fn rewrite(&self, id: &str, entry: &Entry) -> Result<(), SpoolError> {
        self.write(id, entry)
    }

    /// Hands out the body, piece by piece.
    pub(crate) fn read_body(
        &self,
        id: &str,
        each: &mut dyn FnMut(Bytes),
    ) -> Result<(), SpoolError> {
        let path = self.path(id, "body");
        let mut read = || {
            let file = self.fs.open(&path)?;
            let mut offset = 0;
            loop {
                let mut block = vec![0; BLOCK];
                let count = file.read_at(&mut block, offset)?;
                if count == 0 {
                    return Ok(offset);
                }
                block.truncate(count);
                offset += count as u64;
                each(block.into());
            }
        };
        read().map(drop).map_err(|error| at(&path, error))
    }

    /// Removes a message that nobody waits for; its entry says so already.
    pub(crate) fn remove(&self, id: &str) -> Result<(), SpoolError> {
        for kind in ["body", "entry"] {
            let path = self.path(id, kind);
            match self.fs.unlink(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at(&path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts the directory in order after a stop or a crash: the messages that wait, and when each
    /// is to be tried.
    pub(crate) fn recover(&self) -> Result<Vec<(UnixTime, Arc<str>)>, SpoolError> {
        let (mut entries, others) = self.names()?;
        let mut waiting = Vec::new();
        for id in &entries {
            match self.take_up(id) {
                Ok(Some(next)) => waiting.push((next, Arc::from(id.as_str()))),
                Ok(None) => {}
                // Left as it is, for somebody to look at.
                Err(error) => tracing::error!("spool: {error}; the message is left alone"),
            }
        }
        entries.sort_unstable();
        for name in others {
            let id = name.strip_suffix(".body");
            if id.is_none_or(|id| entries.binary_search_by(|known| known.as_str().cmp(id)).is_err())
            {
                let path = self.directory.join(&name);
                self.fs.unlink(&path).map_err(|error| at(&path, error))?;
            }
        }
        Ok(waiting)
    }

    /// The messages that are there, whatever their state.
    pub(crate) fn ids(&self) -> Result<Vec<String>, SpoolError> {
        Ok(self.names()?.0)
    }

    /// The messages with an entry, and the names of all other files of ours.
    fn names(&self) -> Result<(Vec<String>, Vec<String>), SpoolError> {
        let (mut entries, mut others) = (Vec::new(), Vec::new());
        let mut sort = |name: &[u8], kind: Kind| {
            let Ok(name) = core::str::from_utf8(name) else { return };
            match name.rsplit_once('.') {
                Some((id, "entry")) if kind == Kind::File => entries.push(id.to_owned()),
                Some((_, "body" | "tmp")) if kind == Kind::File => others.push(name.to_owned()),
                _ => {}
            }
        };
        self.fs.list(&self.directory, &mut sort).map_err(|error| at(&self.directory, error))?;
        Ok((entries, others))
    }

    /// One entry after a restart: when to try it; `None` when nobody waits.
    fn take_up(&self, id: &str) -> Result<Option<UnixTime>, SpoolError> {
        let path = self.path(id, "entry");
        let file = self.read(&path)?;
        let entry = Entry::decode(&file)
            .map_err(|error| SpoolError::Entry(path.display().to_string(), error))?;
        let Some(next) = entry.next() else {
            self.remove(id)?;
            return Ok(None);
        };
        let body = self.path(id, "body");
        self.fs.stat(&body).map_err(|error| at(&body, error))?;
        if Entry::whole(&file) < file.len() {
            // A line was torn; nothing may be appended behind it.
            self.write(id, &entry)?;
        }
        Ok(Some(next))
    }

    /// Writes an entry so that it is there whole or not at all.
    fn write(&self, id: &str, entry: &Entry) -> Result<(), SpoolError> {
        let (temporary, path) = (self.path(id, "tmp"), self.path(id, "entry"));
        let write = || {
            let mut file = self.fs.create(&temporary, MODE)?;
            file.write_all(entry.encode().as_bytes())?;
            file.sync()?;
            self.fs.rename(&temporary, &path)?;
            self.fs.sync_dir(&self.directory)
        };
        write().map_err(|error| {
            let _ = self.fs.unlink(&temporary);
            at(&path, error)
        })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, SpoolError> {
        let file = self.fs.open(path).map_err(|error| at(path, error))?;
        read_to_end(&*file, MAX_ENTRY).map_err(|error| at(path, error))
    }

    fn path(&self, id: &str, kind: &str) -> PathBuf {
        self.directory.join(format!("{id}.{kind}"))
    }
}

impl Draft {
    /// Writes the next pieces of the body.
    pub(crate) fn write(&mut self, chunks: &[Bytes]) -> Result<(), SpoolError> {
        for chunk in chunks {
            let written = self.body.write_all(chunk);
            written.map_err(|error| at(&self.spool.path(&self.id, "body"), error))?;
            self.size += chunk.len() as u64;
            self.sum.update(chunk);
        }
        Ok(())
    }

    /// Makes the message durable, for those who wait in this entry.
    pub(crate) fn commit(mut self, entry: &mut Entry) -> Result<(), SpoolError> {
        entry.origin.size = self.size;
        entry.origin.checksum = Some(self.sum.clone().finalize());
        self.body.sync().map_err(|error| at(&self.spool.path(&self.id, "body"), error))?;
        if let Err(error) = self.spool.write(&self.id, entry) {
            // It may have got its name before the sync failed; then it must not come back.
            let _ = self.spool.fs.unlink(&self.spool.path(&self.id, "entry"));
            return Err(error);
        }
        self.kept = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            // Otherwise the next start does it.
            let _ = self.spool.fs.unlink(&self.spool.path(&self.id, "body"));
        }
    }
}

impl SpoolError {
    /// True when the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        let full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Self::Io(_, error) if full(error.kind()))
    }
}

/// True when the file does not end with a whole line.
fn is_torn(file: &dyn File) -> io::Result<bool> {
    let mut last = [0];
    let size = file.stat()?.size;
    Ok(size == 0 || file.read_at(&mut last, size - 1)? != 1 || last != *b"\n")
}

fn at(path: &Path, error: io::Error) -> SpoolError {
    SpoolError::Io(path.display().to_string(), error)
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
