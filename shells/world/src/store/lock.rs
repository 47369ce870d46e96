//! Dovecot's dotlock on `dovecot-uidlist`, so that both servers may work on a mailbox at once.
//!
//! The lock is a file that only one program can make (O_EXCL), with `pid:host` in it. A lock of a process
//! of this host that lives no more is broken at once, any other when it has not changed for two minutes.
//! It guards the uid list, `dovecot-keywords`, and listings of `cur/` against renames in mid-listing.
//! Within this process the mailbox's mutex comes first, so a lock with our own pid is a leftover.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use waypost_maildir::uidlist;

use super::Store;
use super::error::{Error, Tried};
use super::home::FILE_MODE;
use crate::fs::{Fs, read_to_end};

/// A lock that did not change for so long is broken: Dovecot's `MAILDIR_UIDLIST_LOCK_STALE_TIMEOUT`.
const STALE_SECONDS: i64 = 120;

/// A lock without a whole name in it is broken after so long: its owner died before it wrote its name there,
/// or the power failed before all of that reached the disk.
const TORN_SECONDS: i64 = 10;

/// How long to wait for another program: so many times [`STEP`].
const STEPS: u32 = 1500;
const STEP: Duration = Duration::from_millis(10);

/// The lock; given up when dropped.
pub(crate) struct DotLock<'a> {
    fs: &'a dyn Fs,
    path: PathBuf,
}

impl Store {
    /// Takes the lock of a folder. As the user.
    pub(crate) fn lock_list(&self, dir: &Path) -> Result<DotLock<'_>, Error> {
        self.lock_file(dir.join(uidlist::LOCK))
    }

    /// Takes any such lock, by its path.
    pub(crate) fn lock_file(&self, path: PathBuf) -> Result<DotLock<'_>, Error> {
        let fs = &*self.inner.fs;
        for _ in 0..STEPS {
            match fs.create(&path, FILE_MODE) {
                Ok(mut file) => {
                    let lock = DotLock { fs, path };
                    let owner = format!("{}:{}", self.inner.process.id(), self.inner.raw_host);
                    file.write_all(owner.as_bytes()).tried("write", &lock.path)?;
                    return Ok(lock);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if !self.break_stale(&path) {
                        self.inner.clock.sleep(STEP);
                    }
                }
                Err(error) => return Err(Error::io("create", &path, &error)),
            }
        }
        Err(Error::Locked(path.display().to_string()))
    }

    /// Takes the lock, or does without it on a full disk: renaming and removing files needs no room, and
    /// removing some is what the user has to do then.
    pub(crate) fn lock_unless_full(&self, dir: &Path) -> Result<Option<DotLock<'_>>, Error> {
        match self.lock_list(dir) {
            Err(Error::NoSpace(_)) => Ok(None),
            lock => lock.map(Some),
        }
    }

    /// Removes a lock nobody holds any more; true if it is worth trying again at once.
    fn break_stale(&self, path: &Path) -> bool {
        let fs = &*self.inner.fs;
        let Ok(before) = fs.stat(path) else { return true };
        let owner = fs.open(path).and_then(|file| read_to_end(&*file, 512)).unwrap_or_default();
        let age = self.inner.clock.wall().secs.saturating_sub(before.mtime.secs);
        let stale = match self.owner(&owner) {
            Owner::Alive => false,
            Owner::Dead => true,
            Owner::Elsewhere => age > STALE_SECONDS,
            // From the future: the clock was set back after the crash.
            Owner::Torn => age.abs() > TORN_SECONDS,
        };
        // Another program may have broken it and taken it meanwhile.
        let unchanged = || fs.stat(path).is_ok_and(|now| now == before);
        if stale && unchanged() {
            tracing::warn!(lock = %path.display(), "breaking a stale lock");
            return fs.unlink(path).is_ok();
        }
        false
    }

    fn owner(&self, text: &[u8]) -> Owner {
        let text = std::str::from_utf8(text).unwrap_or_default().trim_end();
        let (pid, host) = text.split_once(':').unwrap_or_default();
        let Some(pid) = pid.parse().ok().filter(|pid: &i32| *pid > 0) else { return Owner::Torn };
        let own_host = &self.inner.raw_host;
        if host != own_host {
            return if own_host.starts_with(host) { Owner::Torn } else { Owner::Elsewhere };
        }
        match self.inner.process.lives(pid) {
            true => Owner::Alive,
            false => Owner::Dead,
        }
    }
}

/// Who holds a lock.
enum Owner {
    /// A process of this host.
    Alive,
    /// A process of this host that is no more.
    Dead,
    /// A process of another host: whether it lives cannot be told.
    Elsewhere,
    /// The name is missing, or not whole.
    Torn,
}

impl Drop for DotLock<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.fs.unlink(&self.path) {
            tracing::warn!(lock = %self.path.display(), %error, "cannot remove a lock");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOON, Place};

    #[test]
    fn a_lock_is_taken_and_given_up() {
        let place = Place::with_maildir();
        let lock =
            place.as_user(|| place.store.lock_list(&place.at("")).map(|lock| lock.path.clone()));
        assert_eq!(lock.unwrap(), place.at("dovecot-uidlist.lock"));
        assert!(!place.at("dovecot-uidlist.lock").exists());
    }

    #[test]
    fn a_dead_owners_lock_is_broken() {
        let place = Place::with_maildir();
        let path = place.at("dovecot-uidlist.lock");
        let own = format!("{}:{}", std::process::id(), place.store.inner.raw_host);
        let dead = format!("4194999:{}", place.store.inner.raw_host);
        // Process ids end at 4194304, so the second one cannot be alive.
        for owner in [own, dead] {
            std::fs::write(&path, &owner).unwrap();
            assert!(place.as_user(|| place.store.lock_list(&place.at("")).is_ok()), "{owner}");
        }
    }

    #[test]
    fn only_age_tells_of_a_lock_of_another_host() {
        let place = Place::with_maildir();
        let path = place.at("dovecot-uidlist.lock");
        std::fs::write(&path, "1:elsewhere").unwrap();
        assert!(!place.store.break_stale(&path));
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        assert!(place.store.break_stale(&path));
        assert!(!path.exists());
    }

    #[test]
    fn a_lock_without_an_owner_is_broken_soon() {
        let place = Place::with_maildir();
        let path = place.at("dovecot-uidlist.lock");
        let age = |text: &str, seconds: i64| {
            let time = std::time::Duration::from_secs((NOON - seconds) as u64);
            let file = std::fs::File::create(&path).unwrap();
            std::fs::write(&path, text).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + time).unwrap();
        };
        let torn = format!("1:{}", &place.store.inner.raw_host[..1]);
        for text in ["", "123", "\0\0\0\0:host", &torn] {
            age(text, 9);
            assert!(!place.store.break_stale(&path), "{text:?}");
            age(text, 11);
            assert!(place.store.break_stale(&path), "{text:?}");
            // The clock was set back since.
            age(text, -3600);
            assert!(place.store.break_stale(&path), "{text:?}");
        }
    }

    #[test]
    fn a_living_owner_keeps_it() {
        let place = Place::with_maildir();
        let path = place.at("dovecot-uidlist.lock");
        std::fs::write(&path, format!("1:{}", place.store.inner.raw_host)).unwrap();
        assert!(!place.store.break_stale(&path));
        assert!(path.exists());
    }
}
