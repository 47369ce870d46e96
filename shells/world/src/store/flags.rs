//! STORE and EXPUNGE: flags are renames, keywords are letters, an expunged message is a removed file.

use waypost_imap::server::{self as imap, StoreHow};
use waypost_maildir::name::{self, Flags, Info, Letters};
use waypost_maildir::sync::Dir;

use super::Store;
use super::error::{Error, is_absent};
use super::home::inside;
use super::mailbox::Mailbox;
use super::state::{Record, State, from_imap};

/// How often to look again for files that another program renames meanwhile.
const LOOKS: u32 = 5;

/// Files that are renamed or removed at a time. On a slow disk a mailbox is not locked for minutes: other
/// sessions, and Dovecot, get at it in between.
const BATCH: usize = 1000;

impl Store {
    /// Changes flags, and tells the changes since `since`, those just made included. A message that is gone
    /// by now is passed over.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::TooManyKeywords`], [`Error::NoSpace`], [`Error::Gone`] and what makes a
    /// mailbox unavailable. Some of the messages may then have the new flags; [`Store::sync`] tells.
    pub fn set_flags(
        &self,
        handle: imap::Handle,
        uids: &[u32],
        how: StoreHow,
        flags: &imap::NamedFlags,
        since: imap::ModSeq,
    ) -> Result<imap::Changes, Error> {
        for (n, batch) in uids.chunks(BATCH).enumerate() {
            self.set_flags_of_some(handle, batch, how, flags, n == 0)?;
        }
        self.with_session(handle, |_, state, session| {
            if !session.write {
                return Err(Error::ReadOnly);
            }
            Ok(state.changes(handle.0, since.0, true))
        })
    }

    fn set_flags_of_some(
        &self,
        handle: imap::Handle,
        uids: &[u32],
        how: StoreHow,
        flags: &imap::NamedFlags,
        first: bool,
    ) -> Result<(), Error> {
        self.with_session(handle, |mailbox, state, session| {
            if !session.write {
                return Err(Error::ReadOnly);
            }
            if first {
                self.look(mailbox, state, true)?;
            }
            let letters = self.letters(mailbox, state, &flags.keywords, how != StoreHow::Remove)?;
            let change = Info { flags: from_imap(flags.system), letters };
            let mut wanted = uids.to_vec();
            for _ in 0..LOOKS {
                wanted = self.change_flags(mailbox, state, &wanted, how, change)?;
                if wanted.is_empty() {
                    break;
                }
                // Renamed by another program, or gone.
                state.cur_seen.forget();
                self.look(mailbox, state, true)?;
            }
            mailbox.notify();
            Ok(())
        })
    }

    /// Makes the flags that were set so far survive a power cut: they are names, so the directory is
    /// synced, once for however many messages.
    ///
    /// # Errors
    /// What makes a mailbox unavailable.
    pub fn settle(&self, handle: imap::Handle) -> Result<(), Error> {
        let session = self.session(handle)?;
        let cur = session.mailbox.dir.join("cur");
        self.as_user(&session.mailbox.home, || self.sync_dir(&cur))?
    }

    /// Removes those of the messages that are `\Deleted`, and tells the changes since `since`. `uids`: only
    /// among these.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Gone`] and what makes a mailbox unavailable. Some of the messages may
    /// then be removed.
    pub fn expunge(
        &self,
        handle: imap::Handle,
        uids: Option<&[u32]>,
        since: imap::ModSeq,
    ) -> Result<imap::Changes, Error> {
        let doomed = self.with_session(handle, |mailbox, state, session| {
            if !session.write {
                return Err(Error::ReadOnly);
            }
            self.look(mailbox, state, true)?;
            let asked = |uid: &u32| uids.is_none_or(|uids| uids.binary_search(uid).is_ok());
            let deleted = state.records.iter().filter(|record| record.has(Flags::DELETED));
            Ok(deleted.map(|record| record.uid).filter(asked).collect::<Vec<u32>>())
        })?;
        self.remove(handle, &doomed, |record| record.has(Flags::DELETED))?;
        self.with_session(handle, |_, state, _| Ok(state.changes(handle.0, since.0, true)))
    }

    /// Removes messages, given by uid, ascending; those that `still` is not true of by then are kept.
    pub(crate) fn remove(
        &self,
        handle: imap::Handle,
        uids: &[u32],
        still: impl Fn(&Record) -> bool,
    ) -> Result<(), Error> {
        for batch in uids.chunks(BATCH) {
            self.with_session(handle, |mailbox, state, session| {
                let mut doomed = batch.to_vec();
                for _ in 0..LOOKS {
                    doomed
                        .retain(|uid| state.find(*uid).is_some_and(|at| still(&state.records[at])));
                    doomed = self.remove_files(mailbox, state, &doomed)?;
                    if doomed.is_empty() {
                        break;
                    }
                    state.cur_seen.forget();
                    self.look(mailbox, state, session.write)?;
                }
                mailbox.notify();
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The letters of these keywords; those the mailbox does not have yet are made if `make`, else passed
    /// over.
    pub(crate) fn letters(
        &self,
        mailbox: &Mailbox,
        state: &mut State,
        names: &[Box<str>],
        make: bool,
    ) -> Result<Letters, Error> {
        let known = |state: &State| {
            let mut letters = Letters::NONE;
            for name in names {
                match state.keywords.find(name).and_then(Letters::one) {
                    Some(letter) => letters = letters.with(letter),
                    None if make => return None,
                    None => {}
                }
            }
            Some(letters)
        };
        if let Some(letters) = known(state) {
            return Ok(letters);
        }
        let _lock = self.lock_list(&mailbox.dir)?;
        self.read_keywords(mailbox, state)?;
        let mut keywords = state.keywords.clone();
        let mut letters = Letters::NONE;
        for name in names {
            let (index, _) = keywords.find_or_add(name).map_err(|_| Error::TooManyKeywords)?;
            letters = letters.with(Letters::one(index).unwrap_or_default());
        }
        self.write_keywords(mailbox, state, keywords)?;
        Ok(letters)
    }

    /// Renames. Returns the uids whose files are not where they were.
    fn change_flags(
        &self,
        mailbox: &Mailbox,
        state: &mut State,
        uids: &[u32],
        how: StoreHow,
        change: Info,
    ) -> Result<Vec<u32>, Error> {
        let mut missing = Vec::new();
        let mut renamed = false;
        let modseq = state.modseq + 1;
        let _lock = self.lock_unless_full(&mailbox.dir)?;
        for &uid in uids {
            let Some(at) = state.find(uid) else { continue };
            let record = state.records[at];
            let wanted = combine(record.info(), how, change);
            if wanted == record.info() {
                continue;
            }
            let (dir, old) = state.file(&record);
            let new = name::with_info(&old, wanted);
            let (from, to) =
                (inside(&mailbox.dir, dir.name(), &old), inside(&mailbox.dir, "cur", &new));
            match self.inner.fs.rename(&from, &to) {
                Ok(()) => {
                    state.set_file(at, Dir::Cur, &new);
                    state.touch(at, modseq);
                    state.modseq = modseq;
                    renamed = true;
                }
                Err(error) if is_absent(&error) => missing.push(uid),
                Err(error) => return Err(Error::io("rename", &from, &error)),
            }
        }
        if renamed {
            self.note_own_change(mailbox, state, Dir::Cur);
        }
        Ok(missing)
    }

    /// Removes messages, given by uid, ascending. Returns the uids whose files are not where they were.
    fn remove_files(
        &self,
        mailbox: &Mailbox,
        state: &mut State,
        uids: &[u32],
    ) -> Result<Vec<u32>, Error> {
        let mut missing = Vec::new();
        let mut removed = Vec::new();
        let mut in_new = false;
        let mut failed = None;
        if uids.is_empty() {
            return Ok(missing);
        }
        let _lock = self.lock_unless_full(&mailbox.dir)?;
        for &uid in uids {
            let Some(at) = state.find(uid) else { continue };
            let (dir, file_name) = state.file(&state.records[at]);
            let path = inside(&mailbox.dir, dir.name(), &file_name);
            match self.inner.fs.unlink(&path) {
                Ok(()) => {
                    removed.push(at);
                    in_new |= dir == Dir::New;
                }
                Err(error) if is_absent(&error) => missing.push(uid),
                Err(error) => {
                    failed = Some(Error::io("unlink", &path, &error));
                    break;
                }
            }
        }
        state.remove(&removed);
        if !removed.is_empty() {
            self.note_own_change(mailbox, state, Dir::Cur);
            // What was told to be gone does not come back after a power cut.
            let synced = self.sync_dir(&mailbox.dir.join("cur"));
            if in_new {
                self.sync_dir(&mailbox.dir.join("new"))?;
            }
            synced?;
        }
        failed.map_or(Ok(missing), Err)
    }
}

fn combine(old: Info, how: StoreHow, change: Info) -> Info {
    let Info { flags, letters } = change;
    match how {
        StoreHow::Add => Info { flags: old.flags.with(flags), letters: old.letters.with(letters) },
        StoreHow::Remove => {
            Info { flags: old.flags.without(flags), letters: old.letters.without(letters) }
        }
        StoreHow::Replace => change,
    }
}
