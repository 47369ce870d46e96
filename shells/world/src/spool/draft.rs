//! A message on its way into the spool.

use std::io;

use bytes::Bytes;
use waypost_queue::Entry;

use super::body::BLOCK;
use super::{MODE, Spool, SpoolError};
use crate::fs::File;

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
    /// Begins a message.
    pub(crate) fn begin(&self, id: &str) -> Result<Draft, SpoolError> {
        let path = self.path(id, "body");
        let body = self.fs.create(&path, MODE).map_err(|error| SpoolError::io(&path, error))?;
        let sum = crc32fast::Hasher::new();
        Ok(Draft { spool: self.clone(), id: id.into(), body, size: 0, sum, kept: false })
    }
}

impl Draft {
    /// Writes the next pieces of the body.
    pub(crate) fn write(&mut self, chunks: &[Bytes]) -> Result<(), SpoolError> {
        for chunk in chunks {
            self.body.write_all(chunk).map_err(|error| self.failed(error))?;
            self.size += chunk.len() as u64;
            self.sum.update(chunk);
        }
        Ok(())
    }

    /// Hands out what was written, from an octet on.
    pub(crate) fn read(
        &self,
        mut from: u64,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), SpoolError> {
        let mut block = vec![0; BLOCK];
        loop {
            let count = self.body.read_at(&mut block, from).map_err(|error| self.failed(error))?;
            if count == 0 {
                return Ok(());
            }
            each(&block[..count]);
            from += count as u64;
        }
    }

    /// Makes the message durable, for those who wait in this entry.
    pub(crate) fn commit(mut self, entry: &mut Entry) -> Result<(), SpoolError> {
        entry.origin.size = self.size;
        entry.origin.checksum = Some(self.sum.clone().finalize());
        self.body.sync().map_err(|error| self.failed(error))?;
        let written = self.spool.write(&self.id, entry);
        if written.is_err() {
            // It may have got its name before the sync failed; then it must not come back. Where
            // that cannot be helped, it comes whole.
            self.kept = match self.spool.fs.unlink(&self.spool.path(&self.id, "entry")) {
                Ok(()) => self.spool.fs.sync_dir(&self.spool.directory).is_err(),
                Err(error) => error.kind() != io::ErrorKind::NotFound,
            };
            return written;
        }
        self.kept = true;
        Ok(())
    }

    fn failed(&self, error: io::Error) -> SpoolError {
        SpoolError::io(&self.spool.path(&self.id, "body"), error)
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
