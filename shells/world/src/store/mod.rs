//! Mailboxes: Maildir, kept so that Dovecot can use the same ones before, after and beside us.
//!
//! | file | what is there |
//! |---|---|
//! | `deliver.rs` | a message from SMTP |
//! | `open.rs` | SELECT, EXAMINE, STATUS; what is open |
//! | `look.rs` | what has become of a mailbox on the disk |
//! | `state.rs` | a mailbox in memory, and its history |
//! | `uidlist.rs`, `lock.rs` | Dovecot's files |
//! | `flags.rs` | STORE, EXPUNGE |
//! | `read.rs`, `search.rs` | FETCH, SEARCH |
//! | `append.rs`, `copy.rs` | APPEND, COPY, MOVE |
//! | `folders.rs` | LIST, CREATE, DELETE, RENAME, SUBSCRIBE |
//! | `watch.rs` | IDLE |
//! | `home.rs` | the Maildir's directories |
//! | `unsure.rs` | what a failed sync leaves behind |
//! | `error.rs` | what can go wrong |
//!
//! Everything blocks, and every touch of a user's mail happens with that user's identity.

mod append;
mod copy;
#[cfg(test)]
pub(crate) mod crash_tests;
mod deliver;
#[cfg(test)]
mod disk_tests;
mod error;
mod flags;
mod folders;
mod home;
#[cfg(test)]
mod law_tests;
mod line_ends;
mod lock;
mod look;
mod mailbox;
mod open;
mod read;
mod search;
#[cfg(test)]
mod shared_tests;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod uidlist;
mod unsure;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use waypost_imap::server as imap;
use waypost_mail::MailHome;
use waypost_maildir::name::{self, Stamp};

pub use deliver::{Incoming, MAX_MAILBOXES, Parcel};
pub use error::Error;
pub use watch::Told;

use crate::clock::Clock;
use crate::fs::{File, Fs, Stat};
use crate::identity::Identity;
use crate::lock;
use crate::process::Process;
use append::Upload;
use error::is_absent;
use home::{FILE_MODE, inside};
use mailbox::Mailboxes;
use open::Session;
use read::Structures;
use watch::Watcher;

/// All mailboxes. Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    fs: Arc<dyn Fs>,
    identity: Identity,
    clock: Arc<dyn Clock>,
    /// As file names have it.
    host: String,
    process: Process,
    /// As Dovecot's locks have it.
    raw_host: String,
    mailboxes: Mutex<Mailboxes>,
    sessions: Mutex<BTreeMap<u64, Arc<Session>>>,
    uploads: Mutex<BTreeMap<u64, Arc<Mutex<Upload>>>>,
    handles: AtomicU64,
    structures: Structures,
    watcher: OnceLock<Watcher>,
    /// The last time that went into a name.
    last: Mutex<Stamp>,
    /// Maildirs whose `tmp/` has been looked through since the start.
    visited: Mutex<HashSet<PathBuf>>,
    /// Files and directories whose last sync has failed.
    unsure: Mutex<BTreeSet<PathBuf>>,
}

impl Store {
    /// A store on this file system. `hostname` goes into the names of files.
    pub fn new(
        fs: Arc<dyn Fs>,
        identity: Identity,
        process: Process,
        clock: Arc<dyn Clock>,
        hostname: &str,
    ) -> Self {
        let inner = Inner {
            fs,
            identity,
            clock,
            host: name::host(hostname),
            raw_host: process.host().unwrap_or(hostname).to_owned(),
            process,
            mailboxes: Mutex::default(),
            sessions: Mutex::default(),
            uploads: Mutex::default(),
            handles: AtomicU64::new(1),
            structures: Structures::default(),
            watcher: OnceLock::new(),
            last: Mutex::new(Stamp { seconds: 0, micros: 0 }),
            visited: Mutex::default(),
            unsure: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// With whose rights mail is handled.
    pub(crate) fn identity(&self) -> Identity {
        self.inner.identity
    }

    /// Mailboxes in memory, sessions that have one open, messages that are being appended.
    pub(crate) fn held(&self) -> [usize; 3] {
        let Inner { mailboxes, sessions, uploads, .. } = &*self.inner;
        [lock(mailboxes).len(), lock(sessions).len(), lock(uploads).len()]
    }

    fn as_user<T>(&self, home: &MailHome, work: impl FnOnce() -> T) -> Result<T, Error> {
        Ok(self.inner.identity.as_user(home.uid, home.gid, work)?)
    }

    /// The time for a name; never the same twice in this process.
    fn stamp(&self) -> Stamp {
        let wall = self.inner.clock.wall();
        let now =
            Stamp { seconds: u64::try_from(wall.secs).unwrap_or(0), micros: wall.nanos / 1000 };
        let mut last = lock(&self.inner.last);
        *last = match *last {
            last if now > last => now,
            Stamp { seconds, micros: 999_999 } => Stamp { seconds: seconds + 1, micros: 0 },
            Stamp { seconds, micros } => Stamp { seconds, micros: micros + 1 },
        };
        *last
    }

    /// A name for `tmp/`: `SECONDS.M<microseconds>P<pid>.<host>`.
    fn temporary_name(&self) -> String {
        name::dovecot(self.stamp(), self.inner.process.id(), &self.inner.host)
    }

    /// A base name for a file that no other file has, also when clocks go back: while this one has its
    /// inode number, no other can.
    fn base_name(&self, stat: &Stat) -> String {
        name::postfix(self.stamp(), stat.device, stat.inode, &self.inner.host)
    }

    /// Makes a file in `tmp/` of a folder; [`Error::Absent`] if there is no such folder. As the user.
    fn create_tmp(&self, dir: &Path) -> Result<(PathBuf, Box<dyn File>), Error> {
        loop {
            let path = inside(dir, "tmp", self.temporary_name().as_bytes());
            match self.inner.fs.create(&path, FILE_MODE) {
                Ok(file) => return Ok((path, file)),
                Err(error) if is_absent(&error) => return Err(Error::Absent),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", &path, &error)),
            }
        }
    }

    /// True the first time since the start.
    fn first_visit(&self, dir: &Path) -> bool {
        let mut visited = lock(&self.inner.visited);
        !visited.contains(dir) && visited.insert(dir.to_path_buf())
    }

    /// Tells sessions that a message has come into `new/`.
    fn delivered(&self, folder: &Path) {
        let mailbox = lock(&self.inner.mailboxes).find(folder);
        if let Some(mailbox) = mailbox {
            mailbox.notify();
            self.leave(mailbox);
        }
    }

    fn new_handle(&self) -> imap::Handle {
        imap::Handle(self.inner.handles.fetch_add(1, Ordering::Relaxed))
    }
}
