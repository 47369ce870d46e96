//! What can go wrong with a mailbox, told apart by what the caller can do about it.

use std::io;
use std::path::Path;

use waypost_imap::server::Failure;
use waypost_maildir::NameError;

use crate::identity::Refused;

/// Why the store did not do something. Nothing of a failed deed remains, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such mailbox.
    #[error("no such mailbox")]
    Absent,
    /// The mailbox is there already.
    #[error("mailbox exists")]
    Exists,
    /// INBOX cannot be deleted.
    #[error("INBOX can't be deleted")]
    Inbox,
    /// Not a name for a mailbox.
    #[error(transparent)]
    Invalid(#[from] NameError),
    /// The disk or the user's quota is full. The text says what was tried.
    #[error("{0}: no space left, or over quota")]
    NoSpace(String),
    /// The user may not do this to his files. The text says what was tried.
    #[error("{0}: permission denied")]
    Denied(String),
    /// The mailbox was opened with EXAMINE.
    #[error("mailbox is open read-only")]
    ReadOnly,
    /// All 26 keywords of the mailbox are taken.
    #[error("a mailbox can have 26 keywords, and this one has them")]
    TooManyKeywords,
    /// Every uid of the mailbox has been given out.
    #[error("no uid is left")]
    NoUid,
    /// An empty message cannot be stored.
    #[error("can't save a zero byte message")]
    Empty,
    /// The mailbox was deleted, renamed, or got a new UIDVALIDITY while it was open.
    #[error("the mailbox is no longer what it was")]
    Gone,
    /// Another program holds the lock and does not give it up.
    #[error("{0}: locked by another program")]
    Locked(String),
    /// The account's user or group id is not one that may own mail.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The disk failed, or something else that is not the user's doing.
    #[error("{0}")]
    Unavailable(String),
}

impl Error {
    /// An error of the file system, with what was tried.
    pub(crate) fn io(tried: &str, path: &Path, error: &io::Error) -> Self {
        let what = || format!("{tried} {}", path.display());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(what()),
            // Ours too: a path that is not under an allowed base.
            io::ErrorKind::PermissionDenied if error.raw_os_error().is_some() => {
                Self::Denied(what())
            }
            io::ErrorKind::ReadOnlyFilesystem => Self::Denied(what()),
            _ => Self::Unavailable(format!("{}: {error}", what())),
        }
    }
}

/// As an IMAP client is told. The details are for the log.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Absent => Self::NoMailbox,
            Error::Exists => Self::Exists,
            Error::Invalid(NameError::Long) | Error::TooManyKeywords | Error::NoUid => Self::Limit,
            Error::Invalid(name) => {
                let text = name.to_string();
                Self::Invalid(text.strip_prefix("Invalid mailbox name: ").unwrap_or(&text).into())
            }
            Error::Inbox => Self::Invalid("INBOX can't be deleted".into()),
            Error::Empty => Self::Invalid("Can't save a zero byte message".into()),
            Error::NoSpace(_) => Self::NoSpace,
            Error::ReadOnly => Self::ReadOnly,
            Error::Gone => Self::Gone,
            Error::Denied(_) | Error::Locked(_) | Error::Refused(_) | Error::Unavailable(_) => {
                Self::Unavailable
            }
        }
    }
}

/// Adds what was tried, and where, to an error of the file system.
pub(crate) trait Tried<T> {
    fn tried(self, what: &str, path: &Path) -> Result<T, Error>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, what: &str, path: &Path) -> Result<T, Error> {
        self.map_err(|error| Error::io(what, path, &error))
    }
}

/// Whether a call failed because what it was to work on is not there.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
