//! A mailbox that sessions share.

use std::path::PathBuf;
use std::sync::Mutex;

use waypost_imap::server as imap;
use waypost_mail::MailHome;

use super::state::State;
use super::watch::Told;

/// A mailbox: there is one object for each in the process, and its lock comes before that on the disk.
pub(crate) struct Mailbox {
    /// Whose it is.
    pub(crate) home: MailHome,
    /// The directory with `cur`, `new` and `tmp`.
    pub(crate) dir: PathBuf,
    /// Its messages.
    pub(crate) state: Mutex<State>,
    /// Sessions to be told of changes.
    pub(crate) watchers: Mutex<Vec<(imap::Handle, Told)>>,
}

impl Mailbox {
    /// A mailbox that has not been looked at yet.
    pub(crate) fn new(home: MailHome, dir: PathBuf) -> Self {
        Self { home, dir, state: Mutex::default(), watchers: Mutex::default() }
    }
}
