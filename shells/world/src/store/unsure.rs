//! What a failed sync leaves behind.
//!
//! When a sync fails, Linux takes what was to be written for written all the same: programs go on seeing
//! it, a later sync succeeds and says nothing of it, and after a crash it is not there. So a file whose sync
//! failed is never appended to again, but written anew under another inode, and a directory is synced
//! again, before anything that rests on them is told to anybody.

use std::path::{Path, PathBuf};

use waypost_mail::MailHome;

use super::Store;
use super::error::{Error, Tried, is_absent};
use super::home::top;
use crate::lock;

impl Store {
    /// Notes that a sync of this file or directory has failed.
    pub(crate) fn mark_unsure(&self, path: &Path) {
        lock(&self.inner.unsure).insert(path.to_path_buf());
    }

    /// Notes that it is durable as it is seen.
    pub(crate) fn mark_sure(&self, path: &Path) {
        lock(&self.inner.unsure).remove(path);
    }

    /// Whether it may be another one after a crash than the one that is seen.
    pub(crate) fn is_unsure(&self, path: &Path) -> bool {
        lock(&self.inner.unsure).contains(path)
    }

    /// A folder has another name now, and with it what is unsure of it.
    pub(crate) fn mark_renamed(&self, old: &Path, new: &Path) {
        let mut unsure = lock(&self.inner.unsure);
        let moved: Vec<PathBuf> =
            unsure.iter().filter(|path| path.starts_with(old)).cloned().collect();
        for path in moved {
            unsure.remove(&path);
            unsure.extend(path.strip_prefix(old).map(|rest| new.join(rest)));
        }
    }

    /// Makes the names in a directory durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        let synced = self.inner.fs.sync_dir(dir);
        match &synced {
            Ok(()) => self.mark_sure(dir),
            Err(error) if is_absent(error) => self.mark_sure(dir),
            Err(_) => self.mark_unsure(dir),
        }
        synced.tried("sync", dir)
    }

    /// Syncs the directories above an account's Maildir if that has failed before. Not as the user, who
    /// may not be allowed to.
    pub(crate) fn settle_above(&self, home: &MailHome) -> Result<(), Error> {
        self.settle_dirs(|dir| dir != top(home) && top(home).starts_with(dir))
    }

    /// Syncs a folder's directories, and the Maildir's that it is in, if that has failed before. As the
    /// user.
    pub(crate) fn settle_folder(&self, home: &MailHome, folder: &Path) -> Result<(), Error> {
        let is_sub = |dir: &Path| {
            dir.parent() == Some(folder) && (dir.ends_with("new") || dir.ends_with("cur"))
        };
        self.settle_dirs(|dir| dir == top(home) || dir == folder || is_sub(dir))
    }

    fn settle_dirs(&self, which: impl Fn(&Path) -> bool) -> Result<(), Error> {
        let unsure: Vec<PathBuf> =
            lock(&self.inner.unsure).iter().filter(|path| which(path)).cloned().collect();
        for dir in unsure {
            match self.sync_dir(&dir) {
                // What is not there any more, nothing rests on.
                Err(_) if !self.is_unsure(&dir) => {}
                result => result?,
            }
        }
        Ok(())
    }
}
