//! Mailboxes: Maildir, kept so that Dovecot can use the same ones before, after and beside us.
//!
//! | file | what is there |
//! |---|---|
//! | `deliver.rs` | a message from SMTP |
//! | `home.rs` | the Maildir's directories |
//! | `error.rs` | what can go wrong |

mod deliver;
mod error;
mod home;
mod line_ends;
#[cfg(test)]
mod testing;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use waypost_mail::MailHome;
use waypost_maildir::name::{self, Stamp};

pub use deliver::{Incoming, MAX_MAILBOXES, Parcel};
pub use error::Error;

use crate::clock::Clock;
use crate::fs::Fs;
use crate::identity::Identity;
use crate::lock;
use error::Tried;

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
    /// The last time that went into a name.
    last: Mutex<Stamp>,
    /// Maildirs whose `tmp/` has been looked through since the start.
    visited: Mutex<HashSet<PathBuf>>,
}

impl Store {
    /// A store on this file system. `hostname` goes into the names of files.
    pub fn new(fs: Arc<dyn Fs>, identity: Identity, clock: Arc<dyn Clock>, hostname: &str) -> Self {
        let inner = Inner {
            fs,
            identity,
            clock,
            host: name::host(hostname),
            last: Mutex::new(Stamp { seconds: 0, micros: 0 }),
            visited: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
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

    /// A name that no file has: `SECONDS.M<microseconds>P<pid>.<host>`.
    fn fresh_name(&self) -> String {
        name::dovecot(self.stamp(), std::process::id(), &self.inner.host)
    }

    /// True the first time since the start.
    fn first_visit(&self, dir: &Path) -> bool {
        let mut visited = lock(&self.inner.visited);
        !visited.contains(dir) && visited.insert(dir.to_path_buf())
    }

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        self.inner.fs.sync_dir(dir).tried("sync", dir)
    }

    /// Tells sessions that a message has come into `new/`.
    fn delivered(&self, _folder: &Path) {}
}
