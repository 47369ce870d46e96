//! SELECT, EXAMINE, STATUS, and what sessions have open.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use waypost_imap::server as imap;
use waypost_mail::MailHome;
use waypost_maildir::name::Flags;
use waypost_maildir::{Folder, keywords};

use super::Store;
use super::error::Error;
use super::home::top;
use super::mailbox::Mailbox;
use super::state::State;
use crate::lock;

/// A mailbox as one session has it open.
pub(crate) struct Session {
    pub(crate) mailbox: Arc<Mailbox>,
    /// SELECT, not EXAMINE.
    pub(crate) write: bool,
    /// Where the last piece of a body ended.
    pub(crate) cursor: Mutex<Option<super::read::Cursor>>,
}

impl Store {
    /// Opens a mailbox: SELECT, or EXAMINE if not `write`. Release the handle in the end.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Invalid`] and what makes a mailbox unavailable.
    pub fn open(
        &self,
        home: &MailHome,
        mailbox: &str,
        write: bool,
    ) -> Result<imap::OpenMailbox, Error> {
        let folder = Folder::parse(mailbox)?;
        self.with_folder(home, &folder, |mailbox, state| {
            if self.first_visit(&mailbox.dir) {
                self.clean_tmp(&mailbox.dir);
            }
            self.look(mailbox, state, write)?;
            let session = Session { mailbox: mailbox.clone(), write, cursor: Mutex::default() };
            let handle = self.new_handle();
            state.attach(handle.0);
            lock(&self.inner.sessions).insert(handle.0, Arc::new(session));
            Ok(imap::OpenMailbox {
                handle,
                uid_validity: state.uid_validity,
                uid_next: state.next_uid,
                now: imap::ModSeq(state.modseq),
                messages: state.messages(write),
                keywords: state.keyword_names.clone(),
                may_add_keywords: write && state.keywords.iter().count() < keywords::LIMIT,
            })
        })
    }

    /// What has changed since `since`? Looks at the disk.
    ///
    /// # Errors
    /// [`Error::Gone`] and what makes a mailbox unavailable.
    pub fn sync(&self, handle: imap::Handle, since: imap::ModSeq) -> Result<imap::Changes, Error> {
        self.with_session(handle, |mailbox, state, session| {
            self.look(mailbox, state, session.write)?;
            Ok(state.changes(handle.0, since.0, session.write))
        })
    }

    /// Closes a mailbox. An unknown handle is no error.
    pub fn release(&self, handle: imap::Handle) {
        let session = lock(&self.inner.sessions).remove(&handle.0);
        if let Some(session) = session {
            self.unwatch(&session.mailbox, handle);
            lock(&session.mailbox.state).detach(handle.0);
            let mailbox = Arc::clone(&session.mailbox);
            drop(session);
            self.leave(mailbox);
        }
    }

    /// Counts messages, and sizes if asked for, without a session. Nothing moves, nothing stops being
    /// recent.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Invalid`] and what makes a mailbox unavailable.
    pub fn status(
        &self,
        home: &MailHome,
        mailbox: &str,
        size: bool,
    ) -> Result<imap::Counts, Error> {
        let folder = Folder::parse(mailbox)?;
        self.with_folder(home, &folder, |mailbox, state| {
            self.look(mailbox, state, false)?;
            let count = |with: fn(&super::state::Record) -> bool| {
                narrow(state.records.iter().filter(|record| with(record)).count())
            };
            Ok(imap::Counts {
                messages: narrow(state.records.len()),
                recent: narrow(state.recent.len()),
                unseen: count(|record| !record.has(Flags::SEEN)),
                deleted: count(|record| record.has(Flags::DELETED)),
                uid_next: state.next_uid,
                uid_validity: state.uid_validity,
                size: if size { self.total_size(mailbox, state)? } else { 0 },
            })
        })
    }

    /// Does something with an open mailbox, as its user.
    pub(crate) fn with_session<T>(
        &self,
        handle: imap::Handle,
        work: impl FnOnce(&Arc<Mailbox>, &mut State, &Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let session = self.session(handle)?;
        let mailbox = &session.mailbox;
        let result = self.as_user(&mailbox.home, || {
            let mut state = lock(&mailbox.state);
            let result = work(mailbox, &mut state, &session);
            if state.gone { Err(Error::Gone) } else { result }
        })?;
        if matches!(result, Err(Error::Gone)) {
            self.forget_gone(mailbox);
        }
        result
    }

    pub(crate) fn session(&self, handle: imap::Handle) -> Result<Arc<Session>, Error> {
        lock(&self.inner.sessions).get(&handle.0).cloned().ok_or(Error::Gone)
    }

    /// Does something with a mailbox by name, as its user. INBOX is made when it is missing, and another
    /// folder when that was begun; a mailbox that is another one than we knew is taken up anew, and `work`
    /// done again.
    pub(crate) fn with_folder<T>(
        &self,
        home: &MailHome,
        folder: &Folder,
        mut work: impl FnMut(&Arc<Mailbox>, &mut State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut last = false;
        loop {
            self.settle_above(home)?;
            let mailbox = self.mailbox(home, folder);
            let result = self.as_user(home, || work(&mailbox, &mut lock(&mailbox.state)));
            let mut result = result.and_then(|result| result);
            if matches!(result, Err(Error::Absent)) && !last {
                match self.complete(home, folder) {
                    Ok(true) => {
                        last = true;
                        continue;
                    }
                    Ok(false) => {}
                    Err(error) => result = Err(error),
                }
            }
            match result {
                Err(Error::Gone) => {
                    self.forget_gone(&mailbox);
                    if last {
                        return Err(Error::Gone);
                    }
                }
                Err(error) => {
                    self.forget_unread(mailbox);
                    return Err(error);
                }
                Ok(done) => {
                    self.leave(mailbox);
                    return Ok(done);
                }
            }
            last = true;
        }
    }

    /// The one object for this mailbox. [`leave`](Self::leave) it in the end.
    pub(crate) fn mailbox(&self, home: &MailHome, folder: &Folder) -> Arc<Mailbox> {
        lock(&self.inner.mailboxes).find_or_make(home, folder_dir(home, folder))
    }

    /// A mailbox that nobody uses is kept for a while.
    pub(crate) fn leave(&self, mailbox: Arc<Mailbox>) {
        let dropped = lock(&self.inner.mailboxes).leave(mailbox);
        // Not while the table is locked: there may be much in it.
        drop(dropped);
    }

    /// Takes a mailbox that is gone out of the table: what stands there now is another one.
    pub(crate) fn forget_gone(&self, mailbox: &Arc<Mailbox>) {
        lock(&self.inner.mailboxes).forget(mailbox);
    }

    /// Takes a mailbox that could not be read out of the table, unless somebody else works with it: two
    /// objects of one mailbox would break each other's lock on the disk, and give out uids twice.
    fn forget_unread(&self, mailbox: Arc<Mailbox>) {
        let mut mailboxes = lock(&self.inner.mailboxes);
        if mailboxes.is_ours_alone(&mailbox) && !lock(&mailbox.state).loaded {
            mailboxes.forget(&mailbox);
            return;
        }
        drop(mailboxes);
        self.leave(mailbox);
    }
}

/// The directory of a folder.
pub(crate) fn folder_dir(home: &MailHome, folder: &Folder) -> PathBuf {
    let top: &Path = top(home);
    folder.dir_name().map_or_else(|| top.to_path_buf(), |name| top.join(name))
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
