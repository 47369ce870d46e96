//! The tree of mailboxes: LIST, CREATE, DELETE, RENAME, SUBSCRIBE.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use waypost_imap::server::{self as imap, FolderChange};
use waypost_mail::MailHome;
use waypost_maildir::layout::FOLDER_MARK;
use waypost_maildir::{Folder, Subscriptions, UidList, subscriptions};

use super::Store;
use super::error::{Error, Tried, is_absent};
use super::home::{DIR_MODE, FILE_MODE, inside, top};
use super::open::folder_dir;
use crate::fs::{Kind, read_to_end};
use crate::lock;

/// Where Dovecot puts folders that are being deleted. What is left there of a crash is deleted with the
/// next one.
const TRASHED: &str = "..DOVECOT-TRASHED";

/// Longest file of subscriptions that is read, in bytes.
const SUBSCRIPTIONS_LIMIT: u64 = 16 * 1024 * 1024;

impl Store {
    /// Every mailbox and every subscription, by name. Levels that only have mailboxes below them, and
    /// subscriptions of what is not there, are not selectable.
    ///
    /// # Errors
    /// What makes the account's mail unavailable.
    pub fn list(&self, home: &MailHome) -> Result<Vec<imap::Folder>, Error> {
        let (folders, subscribed) = self.as_user(home, || -> Result<_, Error> {
            Ok((self.folders(home)?, self.subscriptions(home)?))
        })??;
        let mut all: BTreeMap<String, imap::Folder> = BTreeMap::new();
        let mut add = |folder: &Folder, selectable: bool, subscribed: bool| {
            let known = all.entry(folder.name().to_owned()).or_insert_with(|| imap::Folder {
                name: folder.name().into(),
                selectable: false,
                subscribed: false,
                special_use: folder.special_use().map(|used| &used.attribute()[1..]),
            });
            known.selectable |= selectable;
            known.subscribed |= subscribed;
        };
        for folder in &folders {
            add(folder, true, false);
            let mut level = folder.parent();
            while let Some(parent) = level {
                add(&parent, false, false);
                level = parent.parent();
            }
        }
        subscribed.iter().for_each(|folder| add(&folder, false, true));
        Ok(all.into_values().collect())
    }

    /// Changes the tree.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Exists`], [`Error::Invalid`], [`Error::Inbox`], [`Error::NoSpace`] and
    /// what makes the account's mail unavailable.
    pub fn manage(&self, home: &MailHome, change: &FolderChange) -> Result<(), Error> {
        match change {
            FolderChange::Create(name) => self.create(home, &Folder::to_create(name)?),
            FolderChange::Delete(name) => self.delete(home, &Folder::parse(name)?),
            FolderChange::Rename(from, to) => {
                self.rename(home, &Folder::parse(from)?, &Folder::to_create(to)?)
            }
            FolderChange::Subscribe(name) => self.subscribe(home, &Folder::parse(name)?, true),
            FolderChange::Unsubscribe(name) => self.subscribe(home, &Folder::parse(name)?, false),
        }
    }

    fn create(&self, home: &MailHome, folder: &Folder) -> Result<(), Error> {
        if folder.is_inbox() {
            return Err(Error::Exists);
        }
        // The folder lies in the INBOX's directory.
        self.with_folder(home, &Folder::inbox(), |inbox, _| {
            self.inner.fs.stat(&inbox.dir.join("cur")).map_err(|_| Error::Absent)?;
            self.make_folder(home, &folder_dir(home, folder))
        })
    }

    /// As the user.
    fn make_folder(&self, home: &MailHome, dir: &Path) -> Result<(), Error> {
        match self.inner.fs.mkdir(dir, DIR_MODE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists);
            }
            result => result.tried("mkdir", dir)?,
        }
        let made = || {
            self.make_subdirs(dir)?;
            let mark = dir.join(FOLDER_MARK);
            self.inner.fs.create(&mark, FILE_MODE).tried("create", &mark)?;
            let list = UidList::new(self.new_uid_validity(top(home))?, self.new_guid());
            let path = dir.join(waypost_maildir::uidlist::FILE);
            self.replace(&path, &dir.join("dovecot-uidlist.tmp"), &list.print(|_| true))?;
            self.sync_dir(top(home))
        };
        made().inspect_err(|_| {
            let _ = self.remove_tree(dir);
        })
    }

    fn delete(&self, home: &MailHome, folder: &Folder) -> Result<(), Error> {
        if folder.is_inbox() {
            return Err(Error::Inbox);
        }
        let dir = folder_dir(home, folder);
        self.as_user(home, || {
            let trashed = top(home).join(TRASHED);
            for _ in 0..5 {
                match self.inner.fs.rename(&dir, &trashed) {
                    Ok(()) => {
                        self.closed(&dir);
                        self.sync_dir(top(home))?;
                        return self.remove_tree(&trashed);
                    }
                    Err(error) if is_absent(&error) => return Err(Error::Absent),
                    // What another one is deleting, or has left there.
                    Err(error) if is_in_the_way(&error) => self.remove_tree(&trashed)?,
                    Err(error) => return Err(Error::io("rename", &dir, &error)),
                }
            }
            Err(Error::Unavailable(format!("{} is in the way", trashed.display())))
        })?
    }

    fn rename(&self, home: &MailHome, from: &Folder, to: &Folder) -> Result<(), Error> {
        if to.is_inbox() {
            return Err(Error::Exists);
        }
        if from.is_inbox() {
            return self.rename_inbox(home, to);
        }
        self.as_user(home, || {
            let folders = self.folders(home)?;
            let is_there = |wanted: &Folder| folders.contains(wanted);
            let below: Vec<&Folder> =
                folders.iter().filter(|folder| folder.below(from).is_some()).collect();
            if is_there(to) {
                return Err(Error::Exists);
            }
            if !is_there(from) && below.is_empty() {
                return Err(Error::Absent);
            }
            // All names first, so that nothing is begun that cannot end.
            let mut renames = vec![(from.clone(), to.clone())];
            for folder in below.into_iter().filter(|folder| *folder != to) {
                let rest = folder.below(from).unwrap_or_default();
                let renamed = Folder::parse(&format!("{}.{rest}", to.name()))?;
                if is_there(&renamed) && renamed.below(from).is_none() {
                    return Err(Error::Exists);
                }
                renames.push((folder.clone(), renamed));
            }
            // So that none meets another on its way: RENAME a a.b has the deepest first, RENAME a.b a the
            // deepest last.
            renames.sort_by_key(|(from, _)| from.name().len());
            if to.name().len() > from.name().len() {
                renames.reverse();
            }
            for (from, to) in &renames {
                let (old, new) = (folder_dir(home, from), folder_dir(home, to));
                match self.inner.fs.rename(&old, &new) {
                    Ok(()) => {
                        self.mark_renamed(&old, &new);
                        self.closed(&old);
                    }
                    Err(error) if is_absent(&error) && !is_there(from) => {}
                    Err(error) => return Err(Error::io("rename", &old, &error)),
                }
            }
            self.sync_dir(top(home))
        })?
    }

    /// INBOX itself stays; its messages move to a new mailbox (RFC 9051 6.3.6).
    fn rename_inbox(&self, home: &MailHome, to: &Folder) -> Result<(), Error> {
        self.create(home, to)?;
        let inbox = self.open(home, "INBOX", true)?.handle;
        let moved = self.move_all(inbox, to.name());
        self.release(inbox);
        moved
    }

    fn subscribe(&self, home: &MailHome, folder: &Folder, subscribe: bool) -> Result<(), Error> {
        if subscribe {
            // What is not there cannot be subscribed, as with Dovecot. This also makes INBOX.
            self.with_folder(home, folder, |mailbox, _| {
                let cur = mailbox.dir.join("cur");
                self.inner.fs.stat(&cur).map(drop).map_err(|error| {
                    if is_absent(&error) { Error::Absent } else { Error::io("stat", &cur, &error) }
                })
            })?;
        }
        let top = top(home);
        let mailbox = self.mailbox(home, &Folder::inbox());
        let subscribed = self.as_user(home, || {
            // Where nothing has been delivered yet, nothing is subscribed.
            if self.inner.fs.stat(top).is_err_and(|error| is_absent(&error)) {
                return Ok(());
            }
            // One at a time in this process; the lock file, which is Dovecot's, for other programs.
            let _state = lock(&mailbox.state);
            let _lock = self.lock_file(top.join("subscriptions.lock"))?;
            let mut subscriptions = self.subscriptions(home)?;
            let changed =
                if subscribe { subscriptions.add(folder) } else { subscriptions.remove(folder) };
            if !changed {
                return self.settle_folder(home, top);
            }
            let path = top.join(subscriptions::FILE);
            self.replace(&path, &top.join("subscriptions.tmp"), subscriptions.print().as_bytes())
        });
        self.leave(mailbox);
        subscribed?
    }

    /// All folders there are, INBOX among them. As the user.
    fn folders(&self, home: &MailHome) -> Result<Vec<Folder>, Error> {
        let mut folders = vec![Folder::inbox()];
        let mut each = |name: &[u8], kind| {
            if kind == Kind::Dir {
                folders.extend(Folder::from_dir_name(name));
            }
        };
        match self.inner.fs.list(top(home), &mut each) {
            Ok(()) => {}
            // Nothing has been delivered yet.
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(Error::io("list", top(home), &error)),
        }
        folders.sort();
        Ok(folders)
    }

    /// As the user.
    fn subscriptions(&self, home: &MailHome) -> Result<Subscriptions, Error> {
        let path = top(home).join(subscriptions::FILE);
        match self.inner.fs.open(&path) {
            Ok(file) => {
                let text = read_to_end(&*file, SUBSCRIPTIONS_LIMIT).tried("read", &path)?;
                Ok(Subscriptions::parse(&text))
            }
            Err(error) if is_absent(&error) => Ok(Subscriptions::default()),
            Err(error) => Err(Error::io("open", &path, &error)),
        }
    }

    /// A folder's directory is no longer that folder: sessions that have it open are told.
    fn closed(&self, dir: &Path) {
        lock(&self.inner.visited).remove(dir);
        self.mark_removed(dir);
        let mailbox = lock(&self.inner.mailboxes).remove(dir);
        if let Some(mailbox) = mailbox {
            lock(&mailbox.state).gone = true;
            mailbox.notify();
        }
    }

    /// Removes a folder's directory with all in it, also directories that another program has put there.
    fn remove_tree(&self, dir: &Path) -> Result<(), Error> {
        let mut entries = Vec::new();
        match self.inner.fs.list(dir, &mut |name, kind| entries.push((name.to_vec(), kind))) {
            Err(error) if is_absent(&error) => return Ok(()),
            result => result.tried("list", dir)?,
        }
        for (name, kind) in entries {
            let path = inside(dir, "", &name);
            if kind == Kind::Dir {
                self.remove_tree(&path)?;
                continue;
            }
            match self.inner.fs.unlink(&path) {
                Err(error) if !is_absent(&error) => {
                    return Err(Error::io("unlink", &path, &error));
                }
                _ => {}
            }
        }
        match self.inner.fs.rmdir(dir) {
            Err(error) if !is_absent(&error) => Err(Error::io("rmdir", dir, &error)),
            _ => Ok(()),
        }
    }
}

fn is_in_the_way(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}
