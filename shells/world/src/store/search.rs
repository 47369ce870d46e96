//! SEARCH: messages are opened only when their flags and numbers do not decide.

use std::sync::Arc;

use waypost_imap::search::{Candidate, Content, Program};
use waypost_imap::server::{self as imap, Failure};
use waypost_message::mime::scan;
use waypost_message::text::{self, Needle};
use waypost_message::{Structure, date, header};

use super::Store;
use super::error::Error;
use super::open::Session;
use super::read::{Opened, header_block, read_start};
use crate::lock;

/// How much of a message is searched for text, in bytes.
const TEXT_LIMIT: usize = 64 * 1024 * 1024;

impl Store {
    /// Which messages of a session's view match? Their uids, ascending. What is gone by now has no content,
    /// but its flags are still those of the view.
    ///
    /// # Errors
    /// [`Error::Gone`] and what makes a mailbox or a file unavailable.
    pub fn search(
        &self,
        handle: imap::Handle,
        view: &[imap::Message],
        program: &Program,
    ) -> Result<Vec<u32>, Error> {
        let session = self.session(handle)?;
        let keywords = lock(&session.mailbox.state).keyword_names.clone();
        let now = self.inner.clock.wall().secs;
        self.as_user(&session.mailbox.home, || {
            let mut found = Vec::new();
            for (seq, message) in (1..).zip(view) {
                let mut content = Lazy::new(self, &session, message.uid);
                let candidate = Candidate { seq, message, keywords: &keywords, now };
                match program.matches(&candidate, &mut content) {
                    Ok(true) => found.push(message.uid),
                    Ok(false) => {}
                    Err(_) => return Err(content.error.unwrap_or(Error::Gone)),
                }
            }
            Ok(found)
        })?
    }
}

/// A message that is opened when it has to be. Each part is read once.
struct Lazy<'a> {
    store: &'a Store,
    session: &'a Session,
    uid: u32,
    /// The outer `None`: not opened yet; the inner: there is none.
    opened: Option<Option<Opened>>,
    header: Option<Vec<u8>>,
    whole: Option<Whole>,
    error: Option<Error>,
}

/// A message in memory.
struct Whole {
    octets: Vec<u8>,
    structure: Arc<Structure>,
}

impl<'a> Lazy<'a> {
    fn new(store: &'a Store, session: &'a Session, uid: u32) -> Self {
        Self { store, session, uid, opened: None, header: None, whole: None, error: None }
    }

    fn get<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Failure> {
        read(self).map_err(|error| {
            self.error = Some(error.clone());
            error.into()
        })
    }

    fn opened(&mut self) -> Result<Option<&Opened>, Error> {
        if self.opened.is_none() {
            self.opened = Some(self.store.open_message(self.session, self.uid)?);
        }
        Ok(self.opened.as_ref().and_then(Option::as_ref))
    }

    fn header_block(&mut self) -> Result<&[u8], Error> {
        if self.header.is_none() {
            let block = match self.opened()? {
                Some(message) => header_block(&*message.file)?,
                None => Vec::new(),
            };
            self.header = Some(block);
        }
        Ok(header::block(self.header.as_deref().unwrap_or_default()))
    }

    fn whole(&mut self) -> Result<Option<&Whole>, Error> {
        if self.whole.is_none() {
            let store = self.store;
            let Some(message) = self.opened()? else { return Ok(None) };
            let octets = read_start(&*message.file, message.stat.size, TEXT_LIMIT)?;
            let structure = if message.stat.size > octets.len() as u64 {
                Arc::new(scan(&octets))
            } else {
                store.structure(message)?
            };
            self.whole = Some(Whole { octets, structure });
        }
        Ok(self.whole.as_ref())
    }
}

impl Content for Lazy<'_> {
    fn date(&mut self) -> Result<i64, Failure> {
        self.get(|lazy| Ok(lazy.opened()?.map_or(0, |message| message.stat.mtime.secs)))
    }

    fn size(&mut self) -> Result<u64, Failure> {
        let (store, mailbox, uid) = (self.store, &self.session.mailbox, self.uid);
        self.get(|lazy| lazy.opened()?.map_or(Ok(0), |message| store.size(mailbox, uid, message)))
    }

    fn sent(&mut self) -> Result<Option<i64>, Failure> {
        self.get(|lazy| Ok(date::sent_day(lazy.header_block()?)))
    }

    fn header(&mut self, name: &str, needle: &Needle) -> Result<bool, Failure> {
        self.get(|lazy| Ok(text::header(lazy.header_block()?, name.as_bytes(), needle)))
    }

    fn body(&mut self, needle: &Needle) -> Result<bool, Failure> {
        self.get(|lazy| {
            let whole = lazy.whole()?;
            Ok(whole.is_some_and(|whole| text::body(&whole.octets, &whole.structure, needle)))
        })
    }

    fn text(&mut self, needle: &Needle) -> Result<bool, Failure> {
        self.get(|lazy| {
            let whole = lazy.whole()?;
            Ok(whole.is_some_and(|whole| text::text(&whole.octets, &whole.structure, needle)))
        })
    }
}
