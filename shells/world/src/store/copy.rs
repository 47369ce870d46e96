//! COPY and MOVE.
//!
//! A copy is a hard link with a name of its own, as Dovecot makes it: both are the same user's. Where the
//! file system has no links, the content is copied. MOVE links first and removes then: a crash in between
//! leaves two messages, not none. The two mailboxes are never locked at the same time.

use std::io;
use std::path::Path;

use waypost_imap::server as imap;
use waypost_maildir::{Folder, name};

use super::Store;
use super::append::Placing;
use super::error::Error;
use super::home::{FILE_MODE, inside};
use super::open::{Session, folder_dir};
use super::state::{State, to_imap};
use crate::fs::File;

/// Octets copied at a time.
const BLOCK: usize = 64 * 1024;

impl Store {
    /// Copies messages to a mailbox of the same account; `remove`: moves them. Uid here and uid there come
    /// back for all that were there. Flags and INTERNALDATE stay.
    ///
    /// # Errors
    /// [`Error::Absent`] when there is no such target, [`Error::ReadOnly`], [`Error::TooManyKeywords`],
    /// [`Error::NoSpace`] and what makes a mailbox unavailable. Nothing is then copied.
    pub fn copy(
        &self,
        handle: imap::Handle,
        uids: &[u32],
        to: &str,
        remove: bool,
    ) -> Result<imap::CopyUids, Error> {
        let session = self.session(handle)?;
        if remove && !session.write {
            return Err(Error::ReadOnly);
        }
        let folder = Folder::parse(to)?;
        let home = &session.mailbox.home;
        // So that a missing target is told before anything is done.
        self.with_folder(home, &folder, |mailbox, state| self.look(mailbox, state, false))?;

        let target = folder_dir(home, &folder);
        let mut linked =
            Linked { store: self, target: &target, from: Vec::new(), files: Vec::new() };
        let (uid_validity, there) = self
            .as_user(home, || -> Result<_, Error> {
                for &uid in uids {
                    linked.add(&session, uid)?;
                }
                Ok(())
            })?
            .and_then(|()| {
                self.with_folder(home, &folder, |mailbox, state| {
                    self.look(mailbox, state, false)?;
                    self.place(mailbox, state, &linked.files)
                })
            })
            .inspect_err(|_| linked.take_back(&session))?;

        let pairs: Vec<(u32, u32)> = linked.from.iter().copied().zip(there).collect();
        if remove {
            self.remove(handle, &linked.from, |_| true)?;
        }
        Ok(imap::CopyUids { uid_validity, pairs })
    }

    /// As the user.
    fn link_or_copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let fs = &*self.inner.fs;
        match fs.link(from, to) {
            Err(error) if cannot_link(&error) => {}
            result => return result,
        }
        let source = fs.open(from)?;
        let mut copy = fs.create(to, FILE_MODE)?;
        copy_content(&*source, &mut *copy).inspect_err(|_| {
            let _ = fs.unlink(to);
        })
    }
}

/// Copies octets and date, and makes them durable.
fn copy_content(source: &dyn File, copy: &mut dyn File) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut at = 0;
    loop {
        let read = source.read_at(&mut block, at)?;
        if read == 0 {
            break;
        }
        copy.write_all(&block[..read])?;
        at += read as u64;
    }
    copy.set_mtime(source.stat()?.mtime)?;
    copy.sync()
}

/// The file system has no hard links, or not so many of one file.
fn cannot_link(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let error = error.raw_os_error();
    [Errno::PERM, Errno::MLINK, Errno::XDEV, Errno::OPNOTSUPP]
        .iter()
        .any(|errno| error == Some(errno.raw_os_error()))
}

/// Links in the target's `tmp/`.
struct Linked<'a> {
    store: &'a Store,
    target: &'a Path,
    from: Vec<u32>,
    files: Vec<Placing>,
}

impl Linked<'_> {
    /// Links one message; one that is gone is passed over. As the user.
    fn add(&mut self, session: &Session, uid: u32) -> Result<(), Error> {
        let (store, target) = (self.store, self.target);
        let linked = store.with_file(session, uid, named, |from, flags| {
            let temporary = store.temporary_name();
            let to = inside(target, "tmp", temporary.as_bytes());
            store.link_or_copy(from, &to)?;
            let base = store.inner.fs.stat(&to).map(|stat| sized(&store.base_name(&stat), from));
            let base = base.inspect_err(|_| {
                let _ = store.inner.fs.unlink(&to);
            })?;
            Ok(Placing { temporary, base, flags })
        })?;
        if let Some(placing) = linked {
            self.from.push(uid);
            self.files.push(placing);
        }
        Ok(())
    }

    fn take_back(&self, session: &Session) {
        let unlink = || {
            for file in &self.files {
                let path = inside(self.target, "tmp", file.temporary.as_bytes());
                let _ = self.store.inner.fs.unlink(&path);
            }
        };
        // What remains waits for the cleaner.
        let _ = self.store.as_user(&session.mailbox.home, unlink);
    }
}

/// Flags by name: another mailbox has other letters for its keywords.
fn named(state: &State, at: usize) -> imap::NamedFlags {
    let info = state.records[at].info();
    let keywords = info.letters.iter().filter_map(|index| state.keywords.name(index));
    imap::NamedFlags { system: to_imap(info).system, keywords: keywords.map(Into::into).collect() }
}

/// The sizes of the old name in the new one.
fn sized(fresh: &str, old: &Path) -> Vec<u8> {
    let old = old.file_name().unwrap_or_default().as_encoded_bytes();
    match (name::size(old), name::virtual_size(old)) {
        (Some(size), Some(virtual_size)) => name::with_sizes(fresh, size, virtual_size),
        _ => fresh.to_owned(),
    }
    .into_bytes()
}

/// Moves everything from one mailbox to another: RENAME of INBOX (RFC 9051 6.3.6).
impl Store {
    pub(crate) fn move_all(&self, handle: imap::Handle, to: &str) -> Result<(), Error> {
        let uids = self.with_session(handle, |_, state, _| {
            Ok(state.records.iter().map(|record| record.uid).collect::<Vec<u32>>())
        })?;
        self.copy(handle, &uids, to, true).map(drop)
    }
}
