//! Damaged messages, out of the way.

use std::io;
use std::path::PathBuf;

use super::{Spool, SpoolError};
use crate::fs::Kind;

/// Below the spool's directory.
pub(crate) const CORRUPT: &str = "corrupt";

impl Spool {
    /// Logs why a message cannot be delivered now. When it is damaged, it is moved into `corrupt/`:
    /// true, and the queue should forget it.
    pub(crate) fn dismiss(&self, id: &str, why: &SpoolError) -> bool {
        if !why.is_damage() {
            tracing::error!("spool: {why}");
            return false;
        }
        match self.set_aside(id, why) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!("spool: {why}; it stays where it is: {error}");
                false
            }
        }
    }

    /// Moves a damaged message into `corrupt/`, durably, for somebody to look at. The body goes
    /// first: without entry it would be taken for one that was never accepted.
    pub(super) fn set_aside(&self, id: &str, why: &SpoolError) -> Result<(), SpoolError> {
        let corrupt = self.corrupt();
        let failed = |error| SpoolError::io(&corrupt, error);
        match self.fs.mkdir(&corrupt, 0o700) {
            Ok(()) => self.fs.sync_dir(&self.directory).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        for kind in ["body", "entry"] {
            let (from, to) = (self.path(id, kind), corrupt.join(format!("{id}.{kind}")));
            match self.fs.rename(&from, &to) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(SpoolError::io(&from, error)),
            }
            self.fs.sync_dir(&corrupt).map_err(failed)?;
            self.fs.sync_dir(&self.directory).map_err(failed)?;
        }
        tracing::error!("spool: {why}; the message {id} is set aside in {}", corrupt.display());
        Ok(())
    }

    /// How many damaged messages were set aside and not taken away since.
    pub(crate) fn damaged(&self) -> Result<usize, SpoolError> {
        let (corrupt, mut names) = (self.corrupt(), Vec::new());
        let listed = self.fs.list(&corrupt, &mut |name, kind| {
            let id = name.strip_suffix(b".entry").or_else(|| name.strip_suffix(b".body"));
            if let (Some(id), Kind::File) = (id, kind) {
                names.push(id.to_owned());
            }
        });
        match listed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(SpoolError::io(&corrupt, error));
            }
            _ => {}
        }
        names.sort_unstable();
        names.dedup();
        Ok(names.len())
    }

    fn corrupt(&self) -> PathBuf {
        self.directory.join(CORRUPT)
    }
}
