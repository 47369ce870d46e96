//! A mailbox that sessions share, and the table of them.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use nix::sys::inotify::WatchDescriptor;
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
    /// For them, on the disk.
    pub(crate) watches: Mutex<Vec<WatchDescriptor>>,
}

impl Mailbox {
    /// A mailbox that has not been looked at yet.
    pub(crate) fn new(home: MailHome, dir: PathBuf) -> Self {
        Self {
            home,
            dir,
            state: Mutex::default(),
            watchers: Mutex::default(),
            watches: Mutex::default(),
        }
    }
}

/// Mailboxes that are kept in memory although nobody uses them.
const IDLE: usize = 64;

/// The mailboxes that are in use, and those that were last.
#[derive(Default)]
pub(crate) struct Mailboxes {
    known: HashMap<PathBuf, Arc<Mailbox>>,
    /// Those that were left, the last one at the end. Some may be in use again.
    left: VecDeque<Weak<Mailbox>>,
}

impl Mailboxes {
    /// The one object for a mailbox, if there is one.
    pub(crate) fn find(&self, dir: &Path) -> Option<Arc<Mailbox>> {
        self.known.get(dir).cloned()
    }

    /// The one object for a mailbox.
    pub(crate) fn find_or_make(&mut self, home: &MailHome, dir: PathBuf) -> Arc<Mailbox> {
        if let Some(mailbox) = self.known.get(&dir) {
            return Arc::clone(mailbox);
        }
        let mailbox = Arc::new(Mailbox::new(home.clone(), dir.clone()));
        self.known.insert(dir, Arc::clone(&mailbox));
        mailbox
    }

    /// Takes out whatever is known by this name.
    pub(crate) fn remove(&mut self, dir: &Path) -> Option<Arc<Mailbox>> {
        self.known.remove(dir)
    }

    /// Takes a mailbox out, if it is the one that is known by its name.
    pub(crate) fn forget(&mut self, mailbox: &Arc<Mailbox>) {
        if self.known.get(&mailbox.dir).is_some_and(|known| Arc::ptr_eq(known, mailbox)) {
            self.known.remove(&mailbox.dir);
        }
    }

    /// Whether nobody works with a mailbox but who asks, who holds it once. Nobody else comes while the
    /// table is locked.
    pub(crate) fn is_ours_alone(&self, mailbox: &Arc<Mailbox>) -> bool {
        let known = self.known.get(&mailbox.dir);
        known.is_some_and(|known| Arc::ptr_eq(known, mailbox)) && Arc::strong_count(mailbox) == 2
    }

    /// Somebody needs a mailbox no more. Returns those that are to be dropped for it, once the table is
    /// not locked any more.
    pub(crate) fn leave(&mut self, mailbox: Arc<Mailbox>) -> Vec<Arc<Mailbox>> {
        let mut dropped = Vec::new();
        if self.is_ours_alone(&mailbox) {
            self.left.retain(|left| left.as_ptr() != Arc::as_ptr(&mailbox));
            self.left.push_back(Arc::downgrade(&mailbox));
        }
        drop(mailbox);
        while self.left.len() > IDLE {
            let oldest = self.left.pop_front().and_then(|left| left.upgrade());
            if let Some(oldest) = oldest.filter(|oldest| self.is_ours_alone(oldest)) {
                self.known.remove(&oldest.dir);
                dropped.push(oldest);
            }
        }
        dropped
    }

    /// How many are known.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}
