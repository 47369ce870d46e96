//! What a failed sync leaves behind.
//!
//! When a sync fails, Linux takes what was to be written for written all the same: programs go on seeing
//! it, a later sync succeeds and says nothing of it, and after a crash it is not there. So a file whose sync
//! failed is never appended to again, but written anew under another inode, and a directory is synced
//! again, before anything that rests on them is told to anybody.

use std::collections::BTreeSet;
use std::ops::Bound;
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
        for path in below(&unsure, old) {
            unsure.remove(&path);
            unsure.extend(path.strip_prefix(old).map(|rest| new.join(rest)));
        }
    }

    /// A folder is no more, and with it what is unsure of it.
    pub(crate) fn mark_removed(&self, folder: &Path) {
        let mut unsure = lock(&self.inner.unsure);
        for path in below(&unsure, folder) {
            unsure.remove(&path);
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

    /// The same for a directory above an account's Maildir. Not as the user, who may not be allowed to;
    /// but as he, where root is not (NFS).
    pub(crate) fn sync_above(&self, home: &MailHome, dir: &Path) -> Result<(), Error> {
        match self.sync_dir(dir) {
            Err(Error::Denied(_)) => self.as_user(home, || self.sync_dir(dir))?,
            synced => synced,
        }
    }

    /// Syncs the directories above an account's Maildir if that has failed before.
    pub(crate) fn settle_above(&self, home: &MailHome) -> Result<(), Error> {
        if lock(&self.inner.unsure).is_empty() {
            return Ok(());
        }
        let mut above = top(home).ancestors().skip(1);
        above.try_for_each(|dir| self.settle_dir(dir, |dir| self.sync_above(home, dir)))
    }

    /// Syncs a folder's directories, and the Maildir's that it is in, if that has failed before. As the
    /// user.
    pub(crate) fn settle_folder(&self, home: &MailHome, folder: &Path) -> Result<(), Error> {
        if lock(&self.inner.unsure).is_empty() {
            return Ok(());
        }
        let (new, cur) = (folder.join("new"), folder.join("cur"));
        let dirs = [top(home), folder, &new, &cur];
        dirs.into_iter().try_for_each(|dir| self.settle_dir(dir, |dir| self.sync_dir(dir)))
    }

    fn settle_dir(
        &self,
        dir: &Path,
        sync: impl Fn(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.is_unsure(dir) {
            return Ok(());
        }
        match sync(dir) {
            // What is not there any more, nothing rests on.
            Err(_) if !self.is_unsure(dir) => Ok(()),
            result => result,
        }
    }
}

/// Of these paths a folder's own and those in it, which stand together.
fn below(paths: &BTreeSet<PathBuf>, folder: &Path) -> Vec<PathBuf> {
    let from = paths.range::<Path, _>((Bound::Included(folder), Bound::Unbounded));
    from.take_while(|path| path.starts_with(folder)).cloned().collect()
}
