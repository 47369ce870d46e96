//! Where an account's mail lies, and how it comes into being.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use waypost_mail::MailHome;
use waypost_maildir::Folder;
use waypost_maildir::layout::SUBDIRS;

use super::Store;
use super::error::{Error, Tried, is_absent};
use super::open::folder_dir;
use crate::fs::Kind;

/// For directories that hold mail.
pub(crate) const DIR_MODE: u32 = 0o700;

/// For files that hold mail.
pub(crate) const FILE_MODE: u32 = 0o600;

/// For directories above the homes, such as one for each domain.
const ABOVE_MODE: u32 = 0o755;

/// A file that is older than this in `tmp/` belongs to nobody (cr.yp.to/proto/maildir.html).
const TMP_SECONDS: i64 = 36 * 3600;

/// The Maildir's own directory.
pub(crate) fn top(home: &MailHome) -> &Path {
    Path::new(&*home.path)
}

/// The file's path in a subdirectory of a folder.
pub(crate) fn inside(dir: &Path, sub: &str, name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    dir.join(sub).join(std::ffi::OsStr::from_bytes(name))
}

impl Store {
    /// Makes the Maildir with `cur`, `new` and `tmp` if anything of it is missing, all 0700 and the
    /// user's. To be called as root where users' homes cannot be made by the users.
    ///
    /// The Maildir's parent is the user's home. What is missing above the home is made 0755 and stays
    /// root's; the home itself, where the user is not allowed to make it, is made for him and given to
    /// him. So the directory of all homes may belong to root, and need not be writable by anyone else.
    pub(crate) fn make_maildir(&self, home: &MailHome) -> Result<(), Error> {
        let top = top(home);
        let missing: Vec<&Path> =
            top.ancestors().take_while(|dir| !self.is_there(home, dir)).collect();
        for dir in missing.into_iter().rev() {
            let above_home =
                top.parent().is_some_and(|parent| parent != dir && parent.starts_with(dir));
            if above_home {
                self.made(self.inner.fs.mkdir(dir, ABOVE_MODE), dir)?;
            } else {
                self.make_for_user(home, dir)?;
            }
            if let Some(parent) = dir.parent() {
                self.sync_above(home, parent)?;
            }
        }
        self.as_user(home, || self.make_subdirs(top))?
    }

    /// Makes what a folder needs: for INBOX everything, for another one what is missing in its directory,
    /// as a crash leaves it that came while it was made. False when that is not there.
    pub(crate) fn complete(&self, home: &MailHome, folder: &Folder) -> Result<bool, Error> {
        if folder.is_inbox() {
            return self.make_maildir(home).map(|()| true);
        }
        let dir = folder_dir(home, folder);
        self.as_user(home, || match self.inner.fs.stat(&dir) {
            Ok(stat) if stat.kind == Kind::Dir => self.make_subdirs(&dir).map(|()| true),
            Err(error) if !is_absent(&error) => Err(Error::io("stat", &dir, &error)),
            _ => Ok(false),
        })?
    }

    /// Makes `cur`, `new` and `tmp` in a folder, as the user.
    pub(crate) fn make_subdirs(&self, dir: &Path) -> Result<(), Error> {
        for sub in SUBDIRS {
            let sub = dir.join(sub);
            self.made(self.inner.fs.mkdir(&sub, DIR_MODE), &sub)?;
        }
        self.sync_dir(dir)
    }

    fn make_for_user(&self, home: &MailHome, dir: &Path) -> Result<(), Error> {
        let as_user = self.as_user(home, || self.made(self.inner.fs.mkdir(dir, DIR_MODE), dir))?;
        match as_user {
            Err(Error::Denied(_)) if self.inner.identity.changes() && self.parent_is_roots(dir) => {
            }
            result => return result,
        }
        self.make_and_give(home, dir)
    }

    /// As root. Under another name until it is the user's: a crash in between must not leave him a
    /// directory that he can never enter.
    fn make_and_give(&self, home: &MailHome, dir: &Path) -> Result<(), Error> {
        let fs = &*self.inner.fs;
        let mut name = OsString::from(".");
        name.push(dir.file_name().unwrap_or_default());
        name.push(".new");
        let unfinished = dir.with_file_name(name);
        self.made(fs.mkdir(&unfinished, DIR_MODE), &unfinished)?;
        let given = || {
            fs.chown(&unfinished, home.uid, home.gid)?;
            fs.sync_dir(&unfinished)?;
            fs.rename(&unfinished, dir)
        };
        match given() {
            // Another delivery has made it meanwhile.
            Err(_) if fs.stat(dir).is_ok() => Ok(()),
            result => result.tried("make", dir),
        }
    }

    /// In a directory of the user's own, root makes and gives away nothing: the user could put something
    /// else in its place in between.
    fn parent_is_roots(&self, dir: &Path) -> bool {
        let parent = dir.parent().map(|parent| self.inner.fs.stat(parent));
        parent.is_some_and(|stat| stat.is_ok_and(|stat| stat.uid == 0))
    }

    /// Another delivery may have made it meanwhile.
    fn made(&self, result: std::io::Result<()>, dir: &Path) -> Result<(), Error> {
        match result {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            result => result.tried("mkdir", dir),
        }
    }

    /// What cannot be looked at counts as there: making it then says what is wrong.
    fn is_there(&self, home: &MailHome, dir: &Path) -> bool {
        let stat = || self.inner.fs.stat(dir);
        // Above the home the user may not be allowed to look, and inside of it root may not (NFS).
        let found = stat();
        let found = if found.is_ok() { Ok(found) } else { self.as_user(home, stat) };
        !matches!(found, Ok(Err(error)) if is_absent(&error))
    }

    /// Removes what crashed deliveries have left in `tmp/`. To be called as the user.
    pub(crate) fn clean_tmp(&self, dir: &Path) {
        let tmp = dir.join("tmp");
        let mut names = Vec::new();
        // Nothing depends on it: an error is seen again by whoever writes there.
        let _ = self.inner.fs.list(&tmp, &mut |name, _| names.push(name.to_vec()));
        let now = self.inner.clock.wall().secs;
        for name in names.iter().filter(|name| name.first() != Some(&b'.')) {
            let path = inside(dir, "tmp", name);
            if self.inner.fs.stat(&path).is_ok_and(|stat| stat.mtime.secs < now - TMP_SECONDS) {
                let _ = self.inner.fs.unlink(&path);
            }
        }
    }
}
