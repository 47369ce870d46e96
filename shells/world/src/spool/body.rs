//! A message on its way out of the spool, compared with what was accepted.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use waypost_queue::Origin;

use super::{Damage, Spool, SpoolError};
use crate::fs::File;

/// Octets read at a time.
pub(super) const BLOCK: usize = 64 * 1024;

/// A body that is read. The last piece is handed out only when all that was read, it included, is
/// what was accepted: so nobody ever takes a damaged message for a whole one.
pub(crate) struct Body {
    path: PathBuf,
    file: Box<dyn File>,
    size: u64,
    checksum: Option<u32>,
    /// How far it was read, and the checksum of that.
    at: u64,
    sum: crc32fast::Hasher,
}

impl Spool {
    /// Opens the body of a message.
    pub(crate) fn body(&self, origin: &Origin) -> Result<Body, SpoolError> {
        let path = self.path(&origin.queue_id, "body");
        let file = self.fs.open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SpoolError::damaged(&path, Damage::Missing),
            _ => SpoolError::io(&path, error),
        })?;
        let (size, checksum) = (origin.size, origin.checksum);
        Ok(Body { path, file, size, checksum, at: 0, sum: crc32fast::Hasher::new() })
    }

    /// Hands out the body of a message, piece by piece. After an error the pieces so far are not a
    /// whole message.
    pub(crate) fn read_body(
        &self,
        origin: &Origin,
        each: &mut dyn FnMut(Bytes),
    ) -> Result<(), SpoolError> {
        let mut body = self.body(origin)?;
        loop {
            let (piece, end) = body.read(body.at, BLOCK)?;
            if !piece.is_empty() {
                each(piece);
            }
            if end {
                return Ok(());
            }
        }
    }
}

impl Body {
    /// Reads up to `len` octets from `from` on; true with the last ones, which may be none. To read
    /// on where the last piece ended costs nothing extra, to jump costs reading all before it.
    pub(crate) fn read(&mut self, from: u64, len: usize) -> Result<(Bytes, bool), SpoolError> {
        if from != self.at {
            self.at = 0;
            self.sum.reset();
            while self.at < from.min(self.size) {
                let left = usize::try_from(from.min(self.size) - self.at).unwrap_or(BLOCK);
                self.next(left.min(BLOCK))?;
            }
        }
        let piece = self.next(len)?;
        let end = self.at == self.size;
        if end {
            self.compare()?;
        }
        Ok((piece, end))
    }

    fn next(&mut self, len: usize) -> Result<Bytes, SpoolError> {
        let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX);
        let mut piece = vec![0; len.min(left)];
        let mut filled = 0;
        while filled < piece.len() {
            let read = self.file.read_at(&mut piece[filled..], self.at + filled as u64);
            match read.map_err(|error| SpoolError::io(&self.path, error))? {
                0 => return Err(SpoolError::damaged(&self.path, Damage::Size(self.size))),
                count => filled += count,
            }
        }
        self.at += piece.len() as u64;
        self.sum.update(&piece);
        Ok(piece.into())
    }

    /// All is read: is it what was accepted?
    fn compare(&self) -> Result<(), SpoolError> {
        let more = self.file.read_at(&mut [0], self.size);
        if more.map_err(|error| SpoolError::io(&self.path, error))? > 0 {
            return Err(SpoolError::damaged(&self.path, Damage::Size(self.size)));
        }
        match self.checksum {
            Some(known) if known != self.sum.clone().finalize() => {
                Err(SpoolError::damaged(&self.path, Damage::Checksum))
            }
            _ => Ok(()),
        }
    }
}
