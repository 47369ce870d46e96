//! Why something in the spool cannot be used.

use std::io;
use std::path::Path;

use waypost_queue::{EntryError, Fault};

/// Why something in the spool cannot be used; each names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    /// The file system says so; another time it may not.
    #[error("{0}: {1}")]
    Io(String, io::Error),
    /// The file is no entry.
    #[error("{0}: {1}")]
    Entry(String, EntryError),
    /// It is not what was written there.
    #[error("{0}: {1}")]
    Damaged(String, Damage),
}

/// How a message differs from what was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    /// An entry without its body.
    #[error("not there, but its entry is")]
    Missing,
    /// The body is shorter or longer.
    #[error("not of the size that was accepted, {0} octets")]
    Size(u64),
    /// The body has other octets.
    #[error("not what was accepted: the checksum differs")]
    Checksum,
    /// The entry is that of another message.
    #[error("the entry of another message")]
    Stranger,
}

impl SpoolError {
    /// True when it will hardly be better another time: damage, or a disk that cannot read it.
    pub(crate) fn is_lasting(&self) -> bool {
        let broken = rustix::io::Errno::IO.raw_os_error();
        match self {
            Self::Io(_, error) => error.raw_os_error() == Some(broken),
            _ => self.is_damage(),
        }
    }

    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io(path.display().to_string(), error)
    }

    pub(super) fn entry(path: &Path, error: EntryError) -> Self {
        Self::Entry(path.display().to_string(), error)
    }

    pub(super) fn damaged(path: &Path, damage: Damage) -> Self {
        Self::Damaged(path.display().to_string(), damage)
    }

    /// True when the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        let full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Self::Io(_, error) if full(error.kind()))
    }

    /// True when the message is not what was accepted, and will never be. What a later version has
    /// written is good, though not for us.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Io(..) => false,
            Self::Entry(_, error) => error.fault != Fault::Version,
            Self::Damaged(..) => true,
        }
    }
}
