//! APPEND, and how a file gets its place in a mailbox.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use waypost_imap::server as imap;
use waypost_machine::UnixTime;
use waypost_mail::MailHome;
use waypost_maildir::name::{self, Info};
use waypost_maildir::sync::Dir;
use waypost_maildir::{Folder, UidList};

use super::Store;
use super::error::{Error, Tried};
use super::home::inside;
use super::line_ends::LineEnds;
use super::mailbox::Mailbox;
use super::open::folder_dir;
use super::state::{Found, State, from_imap};
use crate::fs::File;
use crate::lock;

/// A message that is being appended.
pub(crate) struct Upload {
    home: MailHome,
    folder: Folder,
    flags: imap::NamedFlags,
    date: Option<i64>,
    path: PathBuf,
    file: Box<dyn File>,
    ends: LineEnds,
    failed: Option<Error>,
}

/// A complete file in `tmp/` that is to become a message.
pub(crate) struct Placing {
    /// Its name in `tmp/`.
    pub(crate) temporary: String,
    /// Its base name in `cur/`.
    pub(crate) base: Vec<u8>,
    /// Its flags.
    pub(crate) flags: imap::NamedFlags,
}

impl Store {
    /// Begins an APPEND. `date` is in seconds since the epoch, UTC; `None`: now. Ends with
    /// [`Store::commit_upload`] or [`Store::abort_upload`].
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Invalid`], [`Error::NoSpace`] and what makes a mailbox unavailable.
    pub fn begin_upload(
        &self,
        home: &MailHome,
        mailbox: &str,
        flags: imap::NamedFlags,
        date: Option<i64>,
    ) -> Result<imap::Upload, Error> {
        let folder = Folder::parse(mailbox)?;
        let dir = folder_dir(home, &folder);
        let create = || self.create_tmp(&dir);
        let mut created = self.as_user(home, create)?;
        if matches!(created, Err(Error::Absent)) && self.complete(home, &folder)? {
            created = self.as_user(home, create)?;
        }
        let (path, file) = created?;
        let upload = Upload {
            home: home.clone(),
            folder,
            flags,
            date,
            path,
            file,
            ends: LineEnds::default(),
            failed: None,
        };
        let id = self.new_handle().0;
        lock(&self.inner.uploads).insert(id, Arc::new(Mutex::new(upload)));
        Ok(imap::Upload(id))
    }

    /// Takes the next piece, with CRLF line ends.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and the like. Later pieces are then not written, and the commit fails in the same
    /// way.
    pub fn append(&self, upload: imap::Upload, chunks: &[Bytes]) -> Result<(), Error> {
        let upload = lock(&self.inner.uploads).get(&upload.0).cloned().ok_or(Error::Gone)?;
        let mut upload = lock(&upload);
        upload.write(self, |ends, piece| chunks.iter().for_each(|chunk| ends.push(chunk, piece)))
    }

    /// Makes the message durable: UIDVALIDITY and uid.
    ///
    /// # Errors
    /// What [`Store::append`] has failed with, [`Error::Empty`], [`Error::Absent`] when the mailbox is gone
    /// by now, [`Error::TooManyKeywords`], [`Error::NoSpace`] and the like. Nothing is then appended.
    pub fn commit_upload(&self, upload: imap::Upload) -> Result<(u32, u32), Error> {
        let upload = lock(&self.inner.uploads).remove(&upload.0).ok_or(Error::Gone)?;
        let mut upload = lock(&upload);
        let committed = upload.commit(self);
        if committed.is_err() {
            upload.remove(self);
        }
        committed
    }

    /// Gives the message up. An unknown upload is no error.
    pub fn abort_upload(&self, upload: imap::Upload) {
        let upload = lock(&self.inner.uploads).remove(&upload.0);
        if let Some(upload) = upload {
            lock(&upload).remove(self);
        }
    }

    /// Gives files in `tmp/` their uids and moves them to `cur/`; all of them or none. Returns
    /// UIDVALIDITY and the uids. As the user, with the state up to date.
    pub(crate) fn place(
        &self,
        mailbox: &Mailbox,
        state: &mut State,
        files: &[Placing],
    ) -> Result<(u32, Vec<u32>), Error> {
        let mut names = Vec::with_capacity(files.len());
        for file in files {
            let letters = self.letters(mailbox, state, &file.flags.keywords, true)?;
            let info = Info { flags: from_imap(file.flags.system), letters };
            names.push(name::with_info(&file.base, info));
        }
        let lock = self.lock_list(&mailbox.dir)?;
        // Another server may have given out uids since the state was brought up to date. If not, the list
        // need not be read for each message.
        let known = self.is_list_known(&mailbox.dir, state);
        let mut list = if known {
            state.end_of_list()
        } else {
            self.read_list(mailbox, state)?.map_or_else(|| self.new_list(mailbox, state), Ok)?
        };
        list.reserve_below(state.next_uid);
        let first = list.len();
        let uids = add_all(&mut list, &names)?;
        let rewrite = list.is_untidy() || self.is_list_unsure(&mailbox.dir);
        let written = if rewrite && !known {
            self.replace_list(&mailbox.dir, state, &list.print(|_| true))?
        } else {
            self.append_list(&mailbox.dir, state, &list.print_from(first))?
        };
        if !written {
            return Err(Error::NoSpace(format!("write {}", mailbox.dir.display())));
        }
        if let Err(error) = self.rename_all(&mailbox.dir, files, &names) {
            state.next_uid = list.next_uid();
            // Records of another server's may stand before ours: the next look reads the list.
            state.cur_seen.forget();
            return Err(error);
        }
        if uids.first().is_some_and(|uid| *uid == state.next_uid) {
            let found = uids.iter().zip(&names);
            state.add(found.map(|(uid, name)| Found { uid: *uid, dir: Dir::Cur, file_name: name }));
            self.note_own_change(mailbox, state, Dir::Cur);
            drop(lock);
        } else {
            // There are messages of another server's before ours: look at them all.
            state.cur_seen.forget();
            drop(lock);
            // The messages are placed, whatever this says.
            let _ = self.look(mailbox, state, false);
        }
        mailbox.notify();
        Ok((list.uid_validity(), uids))
    }

    fn rename_all(&self, dir: &Path, files: &[Placing], names: &[Vec<u8>]) -> Result<(), Error> {
        let cur = dir.join("cur");
        for (done, (file, name)) in files.iter().zip(names).enumerate() {
            let from = inside(dir, "tmp", file.temporary.as_bytes());
            let moved =
                self.inner.fs.rename(&from, &inside(dir, "cur", name)).tried("rename", &from);
            if let Err(error) = moved {
                self.remove_all(dir, &names[..done]);
                return Err(error);
            }
        }
        self.sync_dir(&cur).inspect_err(|_| self.remove_all(dir, names))
    }

    fn remove_all(&self, dir: &Path, names: &[Vec<u8>]) {
        for name in names {
            let _ = self.inner.fs.unlink(&inside(dir, "cur", name));
        }
        // The names may be durable, whatever was said of them: they must not come back.
        let _ = self.sync_dir(&dir.join("cur"));
    }
}

fn add_all(list: &mut UidList, names: &[Vec<u8>]) -> Result<Vec<u32>, Error> {
    names.iter().map(|name| list.add(name).ok_or(Error::NoUid)).collect()
}

impl Upload {
    fn write(
        &mut self,
        store: &Store,
        fill: impl FnOnce(&mut LineEnds, &mut Vec<u8>),
    ) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut piece = Vec::new();
        fill(&mut self.ends, &mut piece);
        let write = || self.file.write_all(&piece).tried("write", &self.path);
        let written = store.as_user(&self.home, write).and_then(|result| result);
        self.failed = written.as_ref().err().cloned();
        written
    }

    fn commit(&mut self, store: &Store) -> Result<(u32, u32), Error> {
        self.write(store, LineEnds::finish)?;
        if self.ends.size() == 0 {
            return Err(Error::Empty);
        }
        let (temporary, base) = store.as_user(&self.home, || self.seal(store))??;
        let placing = [Placing { temporary, base, flags: self.flags.clone() }];
        store.with_folder(&self.home, &self.folder, |mailbox, state| {
            store.look(mailbox, state, false)?;
            let (uid_validity, uids) = store.place(mailbox, state, &placing)?;
            Ok((uid_validity, uids.first().copied().unwrap_or_default()))
        })
    }

    /// Gives the file its date and makes its content durable. Its name in `tmp/` and its future one.
    fn seal(&self, store: &Store) -> Result<(String, Vec<u8>), Error> {
        let stat = self.file.stat().tried("stat", &self.path)?;
        let base = store.base_name(&stat);
        let base = name::with_sizes(&base, self.ends.size(), self.ends.virtual_size());
        if let Some(secs) = self.date {
            self.file.set_mtime(UnixTime { secs, nanos: 0 }).tried("set date", &self.path)?;
        }
        self.file.sync().tried("sync", &self.path)?;
        let temporary = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((temporary, base.into_bytes()))
    }

    fn remove(&self, store: &Store) {
        // It may have been placed and taken back; else it waits for the cleaner.
        let _ = store.as_user(&self.home, || store.inner.fs.unlink(&self.path));
    }
}
