//! `dovecot-uidlist` on the disk: read, appended to, written anew; and UIDVALIDITY for new folders.

use std::path::Path;

use waypost_maildir::uidlist::FILE;
use waypost_maildir::{UidList, uidvalidity};

use super::Store;
use super::error::{Error, Tried, is_absent};
use super::home::{FILE_MODE, top};
use super::mailbox::Mailbox;
use super::state::State;
use crate::fs::read_to_end;

/// Longest list that is read, in bytes: some ten million messages.
const LIMIT: u64 = 1 << 30;

impl Store {
    /// Reads the list; `None` if there is none or it is broken. As the user.
    pub(crate) fn read_list(
        &self,
        mailbox: &Mailbox,
        state: &mut State,
    ) -> Result<Option<UidList>, Error> {
        let path = mailbox.dir.join(FILE);
        let file = match self.inner.fs.open(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(Error::io("open", &path, &error)),
        };
        let stat = file.stat().tried("stat", &path)?;
        let text = read_to_end(&*file, LIMIT).tried("read", &path)?;
        match UidList::parse(text) {
            Ok(list) if state.loaded && list.uid_validity() != state.uid_validity => {
                state.gone = true;
                Err(Error::Gone)
            }
            Ok(list) => {
                state.list_seen = Some(stat.into());
                Ok(Some(list))
            }
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "broken uid list, making a new one");
                Ok(None)
            }
        }
    }

    /// A list where there is none: from what is known of the mailbox, else with a new UIDVALIDITY.
    pub(crate) fn new_list(&self, mailbox: &Mailbox, state: &State) -> Result<UidList, Error> {
        if state.loaded {
            return Ok(state.to_list(self.new_guid()));
        }
        Ok(UidList::new(self.new_uid_validity(top(&mailbox.home))?, self.new_guid()))
    }

    /// Adds lines to the list. False if there is no room for them: the messages then have no uid yet.
    ///
    /// What a sync has failed to write, no later one writes (fsync(2), errors): from then on the file looks
    /// whole, and a power cut leaves a hole in it. So the next one to write the list makes a new file.
    pub(crate) fn append_list(
        &self,
        dir: &Path,
        state: &mut State,
        lines: &[u8],
    ) -> Result<bool, Error> {
        let path = dir.join(FILE);
        let append = || {
            let mut file = self.inner.fs.append(&path).tried("open", &path)?;
            let written = file.write_all(lines).tried("write", &path);
            let seen = written.and_then(|()| file.stat().tried("stat", &path));
            // Also where only some of the lines found room: who reads the file relies on them.
            let synced = file.sync().tried("sync", &path).inspect_err(|_| self.mark_unsure(&path));
            let seen = seen?;
            synced.map(|()| seen.into())
        };
        match append() {
            Ok(seen) => {
                state.list_seen = Some(seen);
                Ok(true)
            }
            Err(error) => {
                // A part of the lines may stand there: the next look reads the file, and mends it.
                state.list_seen = None;
                state.cur_seen.forget();
                no_room(error)
            }
        }
    }

    /// Writes the list anew. False if there is no room for it: then the old one stands there.
    pub(crate) fn replace_list(
        &self,
        dir: &Path,
        state: &mut State,
        text: &[u8],
    ) -> Result<bool, Error> {
        let path = dir.join(FILE);
        let replaced = self.replace(&path, &dir.join("dovecot-uidlist.tmp"), text);
        match replaced {
            Ok(()) => {
                state.list_seen = self.inner.fs.stat(&path).ok().map(Into::into);
                Ok(true)
            }
            Err(error) => {
                // What stands there may have no end that can be appended to.
                state.list_seen = None;
                state.cur_seen.forget();
                no_room(error)
            }
        }
    }

    /// Whether the list is the one that was read or written last, and can be appended to. Under the lock.
    pub(crate) fn is_list_known(&self, dir: &Path, state: &State) -> bool {
        let now = self.inner.fs.stat(&dir.join(FILE)).ok().map(Into::into);
        now.is_some() && now == state.list_seen && !self.is_list_unsure(dir)
    }

    /// Whether what the disk has of the list may be other than what is read from it.
    pub(crate) fn is_list_unsure(&self, dir: &Path) -> bool {
        self.is_unsure(&dir.join(FILE))
    }

    /// Writes a file under another name, syncs it, and renames it into place.
    pub(crate) fn replace(&self, path: &Path, temporary: &Path, text: &[u8]) -> Result<(), Error> {
        let fs = &*self.inner.fs;
        if let Err(error) = fs.unlink(temporary)
            && !is_absent(&error)
        {
            return Err(Error::io("unlink", temporary, &error));
        }
        let written = || {
            let mut file = fs.create(temporary, FILE_MODE).tried("create", temporary)?;
            file.write_all(text).tried("write", temporary)?;
            file.sync().tried("sync", temporary)?;
            fs.rename(temporary, path).tried("rename", path)
        };
        if let Err(error) = written() {
            let _ = fs.unlink(temporary);
            return Err(error);
        }
        self.mark_sure(path);
        path.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
    }

    /// The next UIDVALIDITY of this account, taken as Dovecot takes it: by renaming the empty file that
    /// has the last one in its name.
    pub(crate) fn new_uid_validity(&self, top: &Path) -> Result<u32, Error> {
        let fs = &*self.inner.fs;
        let file = top.join(uidvalidity::FILE);
        let last = fs.open(&file).ok().and_then(|file| read_to_end(&*file, 64).ok());
        let mut last = last.and_then(|text| uidvalidity::parse(&text));
        for _ in 0..10 {
            let Some(value) = last.take() else {
                last = self.find_uid_validity(top)?;
                if last.is_some() {
                    continue;
                }
                return self.first_uid_validity(top);
            };
            let next = uidvalidity::next(value);
            let (from, to) =
                (top.join(uidvalidity::file_name(value)), top.join(uidvalidity::file_name(next)));
            match fs.rename(&from, &to) {
                Ok(()) => {
                    self.write_uid_validity(top, next)?;
                    return Ok(next);
                }
                // Another one has just taken it, or the file lies.
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(Error::io("rename", &from, &error)),
            }
        }
        Err(Error::Unavailable(format!("{}: cannot take the next one", file.display())))
    }

    fn find_uid_validity(&self, top: &Path) -> Result<Option<u32>, Error> {
        let mut highest = None;
        let mut each = |name: &[u8], _| highest = highest.max(uidvalidity::parse_file_name(name));
        self.inner.fs.list(top, &mut each).tried("list", top)?;
        Ok(highest)
    }

    /// The account's first: the time.
    fn first_uid_validity(&self, top: &Path) -> Result<u32, Error> {
        let now = u32::try_from(self.inner.clock.wall().secs).unwrap_or(1).max(1);
        let path = top.join(uidvalidity::file_name(now));
        self.inner.fs.create(&path, 0o444).tried("create", &path)?;
        self.write_uid_validity(top, now)?;
        Ok(now)
    }

    fn write_uid_validity(&self, top: &Path, value: u32) -> Result<(), Error> {
        let path = top.join(uidvalidity::FILE);
        let temporary = top.join("dovecot-uidvalidity.tmp");
        self.replace(&path, &temporary, uidvalidity::text(value).as_bytes())
    }

    /// A name for a mailbox that no other has: time, process, and a count.
    pub(crate) fn new_guid(&self) -> [u8; 16] {
        let stamp = self.stamp();
        let host =
            self.inner.host.bytes().fold(0x811c_9dc5u32, |hash, byte| {
                (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            });
        let mut guid = [0; 16];
        guid[..4].copy_from_slice(&stamp.micros.to_le_bytes());
        guid[4..8].copy_from_slice(&(stamp.seconds as u32).to_le_bytes());
        guid[8..12].copy_from_slice(&self.inner.process.id().to_le_bytes());
        guid[12..].copy_from_slice(&host.to_be_bytes());
        guid
    }
}

fn no_room(error: Error) -> Result<bool, Error> {
    match error {
        Error::NoSpace(_) | Error::Denied(_) => Ok(false),
        error => Err(error),
    }
}
