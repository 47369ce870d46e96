//! Looking into messages.
//!
//! Files are opened by the name last known; when another program has renamed one meanwhile, the directory
//! is read again. The mailbox is not locked while a file is read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use waypost_imap::server as imap;
use waypost_machine::UnixTime;
use waypost_maildir::name;
use waypost_message::Structure;
use waypost_message::crlf::{self, Counter, Mark, Window};
use waypost_message::mime::Scanner;

use super::Store;
use super::error::{Error, is_absent};
use super::home::inside;
use super::mailbox::Mailbox;
use super::open::Session;
use super::state::State;
use crate::fs::{File, Stat};
use crate::lock;

/// Octets read from a file at a time.
const BLOCK: usize = 64 * 1024;

/// Octets of a header that are brought; what lies beyond is left out.
const HEADER_LIMIT: usize = 2 * 1024 * 1024;

/// Octets of a body that are brought at a time, at most.
const PIECE_LIMIT: u32 = 4 * 1024 * 1024;

/// How often a file may be renamed between two looks at it.
const RENAMES: u32 = 50;

/// Structures that are kept, of the messages looked at last.
const STRUCTURES: usize = 64;

/// A message that is being read piece by piece.
pub(crate) struct Cursor {
    uid: u32,
    message: Opened,
    mark: Mark,
}

/// A message's file.
pub(crate) struct Opened {
    pub(crate) file: Box<dyn File>,
    pub(crate) stat: Stat,
    /// RFC822.SIZE, if it is known.
    virtual_size: Option<u64>,
}

/// A file, whatever it is called.
type Identity = (u64, u64, u64, UnixTime);

/// The structures of the messages looked at last.
#[derive(Default)]
pub(crate) struct Structures(Mutex<Vec<(Identity, Arc<Structure>)>>);

impl Structures {
    fn find(&self, identity: Identity) -> Option<Arc<Structure>> {
        let kept = lock(&self.0);
        kept.iter().find(|(known, _)| *known == identity).map(|(_, structure)| structure.clone())
    }

    fn keep(&self, identity: Identity, structure: Arc<Structure>) {
        let mut kept = lock(&self.0);
        if kept.len() >= STRUCTURES {
            kept.remove(0);
        }
        kept.push((identity, structure));
    }
}

impl Store {
    /// Brings what was asked for of these messages; those that are gone are missing.
    ///
    /// # Errors
    /// [`Error::Gone`] and what makes a mailbox or a file unavailable.
    pub fn read(
        &self,
        handle: imap::Handle,
        uids: &[u32],
        what: imap::What,
    ) -> Result<Vec<imap::Data>, Error> {
        let session = self.session(handle)?;
        self.as_user(&session.mailbox.home, || {
            let mut all = Vec::with_capacity(uids.len());
            let mut left = u64::from(what.bodies);
            for &uid in uids {
                if let Some(message) = self.open_message(&session, uid)? {
                    let mut data = self.read_message(&session.mailbox, uid, &message, what)?;
                    if data.size <= left && what.bodies > 0 {
                        data.body = whole(uid, message, data.size)?;
                        left -= data.body.as_ref().map_or(0, |body| body.len() as u64);
                    }
                    all.push(data);
                }
            }
            Ok(all)
        })?
    }

    /// Brings a piece of a message with CRLF line ends, NUL octets replaced by 0x80. It is shorter than
    /// `len` only at the end of the message, empty behind it, and `None` when the message is gone.
    ///
    /// # Errors
    /// [`Error::Gone`] and what makes a mailbox or a file unavailable.
    pub fn body(
        &self,
        handle: imap::Handle,
        uid: u32,
        from: u64,
        len: u32,
    ) -> Result<Option<Bytes>, Error> {
        let session = self.session(handle)?;
        self.as_user(&session.mailbox.home, || {
            let kept = lock(&session.cursor).take().filter(|cursor| cursor.uid == uid);
            let mut cursor = match kept {
                Some(cursor) => cursor,
                None => match self.open_message(&session, uid)? {
                    Some(message) => Cursor { uid, message, mark: Mark::START },
                    None => return Ok(None),
                },
            };
            let piece = cursor.piece(from, len.min(PIECE_LIMIT))?;
            *lock(&session.cursor) = Some(cursor);
            Ok(Some(piece))
        })?
    }

    /// RFC822.SIZE of all messages. As the user.
    pub(crate) fn total_size(&self, mailbox: &Mailbox, state: &mut State) -> Result<u64, Error> {
        let mut total = 0;
        for at in 0..state.records.len() {
            let record = state.records[at];
            let base = state.base(&record);
            let known = name::virtual_size(base).or_else(|| state.sizes.get(&record.uid).copied());
            total += match known {
                Some(size) => size,
                None => {
                    let (dir, file_name) = state.file(&record);
                    let path = inside(&mailbox.dir, dir.name(), &file_name);
                    let size = match self.inner.fs.open(&path) {
                        Ok(file) => count(&*file)?,
                        // Renamed or removed since: the next look tells.
                        Err(error) if is_absent(&error) => continue,
                        Err(error) => return Err(Error::io("open", &path, &error)),
                    };
                    state.sizes.insert(record.uid, size);
                    size
                }
            };
        }
        Ok(total)
    }

    /// Opens the file of a message; `None` when it is gone. As the user.
    pub(crate) fn open_message(
        &self,
        session: &Session,
        uid: u32,
    ) -> Result<Option<Opened>, Error> {
        let counted = |state: &State, _| state.sizes.get(&uid).copied();
        self.with_file(session, uid, counted, |path, counted| {
            let file = self.inner.fs.open(path)?;
            let stat = file.stat()?;
            let file_name = path.file_name().unwrap_or_default().as_encoded_bytes();
            // A W= is believed only beside an S= that is true.
            let believed = name::size(file_name).filter(|size| *size == stat.size);
            let virtual_size = believed.and_then(|_| name::virtual_size(file_name)).or(counted);
            Ok(Opened { file, stat, virtual_size })
        })
    }

    /// Does something with the file of a message where it is now; `None` when it is gone. `know` takes what
    /// else is needed from the state. Other sessions and other programs rename the file at any time:
    /// `work` is then done again. As the user.
    pub(crate) fn with_file<K, T>(
        &self,
        session: &Session,
        uid: u32,
        know: impl Fn(&State, usize) -> K,
        mut work: impl FnMut(&Path, K) -> io::Result<T>,
    ) -> Result<Option<T>, Error> {
        let mailbox = &session.mailbox;
        let place = |state: &State| {
            let at = state.find(uid)?;
            let (dir, file_name) = state.file(&state.records[at]);
            Some((inside(&mailbox.dir, dir.name(), &file_name), know(state, at)))
        };
        let mut tried = PathBuf::new();
        for _ in 0..RENAMES {
            let (path, known) = {
                let mut state = lock(&mailbox.state);
                let mut found = place(&state);
                if found.as_ref().is_some_and(|(path, _)| *path == tried) {
                    // Not renamed by us: the disk knows more than the state.
                    state.cur_seen.forget();
                    self.look(mailbox, &mut state, session.write)?;
                    found = place(&state).filter(|(path, _)| *path != tried);
                }
                let Some(found) = found else { return Ok(None) };
                found
            };
            match work(&path, known) {
                Ok(done) => return Ok(Some(done)),
                Err(error) if is_absent(&error) => tried = path,
                Err(error) => return Err(Error::io("read", &path, &error)),
            }
        }
        Err(Error::Unavailable(format!("{} is renamed again and again", tried.display())))
    }

    fn read_message(
        &self,
        mailbox: &Mailbox,
        uid: u32,
        message: &Opened,
        what: imap::What,
    ) -> Result<imap::Data, Error> {
        let structure = if what.structure { Some(self.structure(message)?) } else { None };
        let size = match &structure {
            Some(structure) => structure.size(),
            None if what.size => self.size(mailbox, uid, message)?,
            None => 0,
        };
        let header = if what.header { header(&*message.file)? } else { Bytes::new() };
        Ok(imap::Data { uid, date: message.stat.mtime.secs, size, header, structure, body: None })
    }

    /// RFC822.SIZE. It is counted once where the name does not tell it.
    pub(crate) fn size(&self, mailbox: &Mailbox, uid: u32, message: &Opened) -> Result<u64, Error> {
        if let Some(size) = message.virtual_size {
            return Ok(size);
        }
        let size = count(&*message.file)?;
        lock(&mailbox.state).sizes.insert(uid, size);
        Ok(size)
    }

    pub(crate) fn structure(&self, message: &Opened) -> Result<Arc<Structure>, Error> {
        let Stat { device, inode, size, mtime, .. } = message.stat;
        let identity = (device, inode, size, mtime);
        if let Some(structure) = self.inner.structures.find(identity) {
            return Ok(structure);
        }
        let mut scanner = Scanner::new();
        each_block(&*message.file, |block| scanner.push(block))?;
        let structure = Arc::new(scanner.finish());
        self.inner.structures.keep(identity, structure.clone());
        Ok(structure)
    }
}

impl Cursor {
    fn piece(&mut self, from: u64, len: u32) -> Result<Bytes, Error> {
        let Opened { file, stat, virtual_size } = &self.message;
        let range = from..from.saturating_add(u64::from(len));
        let mut window = if *virtual_size == Some(stat.size) {
            Window::direct(range)
        } else {
            Window::new(self.mark, range)
        };
        let mut out = Vec::with_capacity((len as usize).min(BLOCK * 2));
        let mut block = vec![0; BLOCK.min(usize::try_from(window.at_most()).unwrap_or(BLOCK))];
        while let Some(at) = window.wants() {
            let read = read_at(&**file, &mut block, at)?;
            if read == 0 {
                break;
            }
            window.push(&block[..read], &mut out);
        }
        self.mark = window.mark();
        crlf::mask_nul(&mut out);
        Ok(out.into())
    }
}

/// All of a message, unless it is not as large as it should be.
fn whole(uid: u32, message: Opened, size: u64) -> Result<Option<Bytes>, Error> {
    let Ok(len) = u32::try_from(size) else { return Ok(None) };
    let body = Cursor { uid, message, mark: Mark::START }.piece(0, len)?;
    Ok(Some(body).filter(|body| body.len() as u64 == size))
}

/// The header with its empty line, CRLF line ends, NUL octets replaced by 0x80.
fn header(file: &dyn File) -> Result<Bytes, Error> {
    let mut header = crlf::to_crlf(&header_block(file)?);
    crlf::mask_nul(&mut header);
    Ok(header.into())
}

/// The header with its empty line, as it lies on disk.
pub(crate) fn header_block(file: &dyn File) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    let mut searched = 0;
    loop {
        let start = text.len();
        // Most headers fit the first read.
        text.resize(start + if start == 0 { 8192 } else { BLOCK }, 0);
        let read = read_at(file, &mut text[start..], start as u64)?;
        text.truncate(start + read);
        if let Some(end) = header_end(&text, searched) {
            text.truncate(end);
            return Ok(text);
        }
        if read == 0 || text.len() >= HEADER_LIMIT {
            return Ok(text);
        }
        // An empty line may have begun at the end of what there was.
        searched = text.len().saturating_sub(2);
    }
}

/// Where the header ends: behind its empty line.
fn header_end(text: &[u8], from: usize) -> Option<usize> {
    if from == 0 {
        if text.starts_with(b"\n") {
            return Some(1);
        }
        if text.starts_with(b"\r\n") {
            return Some(2);
        }
    }
    memchr::memchr_iter(b'\n', &text[from..]).find_map(|lf| match &text[from + lf + 1..] {
        [b'\n', ..] => Some(from + lf + 2),
        [b'\r', b'\n', ..] => Some(from + lf + 3),
        _ => None,
    })
}

/// The first octets of a file of this size, `limit` at most.
pub(crate) fn read_start(file: &dyn File, size: u64, limit: usize) -> Result<Vec<u8>, Error> {
    let mut octets = vec![0; usize::try_from(size).unwrap_or(limit).min(limit)];
    let mut filled = 0;
    while filled < octets.len() {
        match read_at(file, &mut octets[filled..], filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    octets.truncate(filled);
    Ok(octets)
}

fn count(file: &dyn File) -> Result<u64, Error> {
    let mut counter = Counter::new();
    each_block(file, |block| counter.push(block))?;
    Ok(counter.position().crlf)
}

fn each_block(file: &dyn File, mut each: impl FnMut(&[u8])) -> Result<(), Error> {
    let mut block = vec![0; BLOCK];
    let mut at = 0;
    loop {
        let read = read_at(file, &mut block, at)?;
        if read == 0 {
            return Ok(());
        }
        each(&block[..read]);
        at += read as u64;
    }
}

fn read_at(file: &dyn File, block: &mut [u8], at: u64) -> Result<usize, Error> {
    file.read_at(block, at).map_err(|error| Error::Unavailable(format!("read a message: {error}")))
}
