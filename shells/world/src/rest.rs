//! The spool of a server that does not run: what the admin sees in it and does to it.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use waypost_machine::UnixTime;
use waypost_mail::Enhanced;
use waypost_queue::{
    Change, Command, Destination, Diagnosis, Entry, Listed, Place, QueueId, Selection, State,
};

use crate::fs::{Fs, RealFs};
use crate::spool::{Spool, SpoolError};
use crate::{StartError, lock_spool};

/// A message of the queue, for the admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Where it stands.
    pub listed: Listed,
    /// What is known of it.
    pub entry: Arc<Entry>,
}

/// A spool that no server works on.
pub struct AtRest {
    spool: Spool,
    real: RealFs,
    directory: Box<Path>,
    /// User and group of the directory.
    owner: (u32, u32),
    relayhost: Option<Box<str>>,
}

/// Why something cannot be done to a spool at rest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// A server works on it.
    #[error("{0}: a server uses this spool")]
    InUse(String),
    /// It cannot be read or written; the text names the file.
    #[error("spool: {0}")]
    Spool(String),
}

impl From<SpoolError> for RestError {
    fn from(error: SpoolError) -> Self {
        Self::Spool(error.to_string())
    }
}

impl AtRest {
    /// A spool; `relayhost` takes all mail for other servers, if there is one.
    ///
    /// # Errors
    /// It is not there, or not for us to see, or a server works on it.
    pub fn open(directory: &Path, relayhost: Option<&str>) -> Result<Self, RestError> {
        let failed = |error| RestError::Spool(format!("{}: {error}", directory.display()));
        let real = RealFs::new([directory]).map_err(failed)?;
        let owner = std::fs::metadata(directory).map_err(failed)?;
        let owner = (owner.uid(), owner.gid());
        let spool = Spool::new(Arc::new(real.clone()), directory);
        let (directory, relayhost) = (directory.into(), relayhost.map(Into::into));
        let rest = Self { spool, real, directory, owner, relayhost };
        drop(rest.lock()?);
        Ok(rest)
    }

    /// Hands out the messages of a selection, in the order of their names, which is that of their
    /// arrival. What cannot be read is logged and left out.
    ///
    /// # Errors
    /// The spool cannot be read; or what `each` says.
    pub fn each<E: From<RestError>>(
        &self,
        selection: &Selection,
        mut each: impl FnMut(Queued) -> Result<(), E>,
    ) -> Result<(), E> {
        for id in self.ids(selection)? {
            if let Some(queued) = self.load(id)
                && self.is_of(&queued.entry, selection)
            {
                each(queued)?;
            }
        }
        Ok(())
    }

    /// Does what a command says; how many messages it changed. The spool is ours meanwhile: no
    /// server starts on it.
    ///
    /// # Errors
    /// A server works on it, or it cannot be written; then a part may be done.
    pub fn command(&self, now: UnixTime, command: &Command) -> Result<usize, RestError> {
        let _lock = self.lock()?;
        let (Command::Hold(selection)
        | Command::Release(selection)
        | Command::Retry(selection)
        | Command::Expire(selection)
        | Command::Drop(selection)) = command;
        let mut changed = 0;
        for id in self.ids(selection)? {
            let Some(Queued { entry, .. }) = self.load(id) else { continue };
            if !self.is_of(&entry, selection) {
                continue;
            }
            let mut new = Entry::clone(&entry);
            match command {
                Command::Hold(_) => new.held = true,
                Command::Release(_) if new.held => {
                    new.held = false;
                    make_due(&mut new, now);
                }
                // Held, it stays where it is.
                Command::Retry(_) if !new.held => make_due(&mut new, now),
                Command::Release(_) | Command::Retry(_) => {}
                Command::Expire(_) => {
                    new.held = false;
                    expire(&mut new);
                    make_due(&mut new, now);
                }
                Command::Drop(_) => new.recipients.iter_mut().for_each(|it| *it = None),
            }
            if new == *entry {
                continue;
            }
            self.store(id, &new)?;
            changed += 1;
        }
        Ok(changed)
    }

    /// Hands out a message, piece by piece; false when there is none of this name.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn body(&self, id: QueueId, each: &mut dyn FnMut(Bytes)) -> Result<bool, RestError> {
        let Some(queued) = self.load(id) else { return Ok(false) };
        self.spool.read_body(&queued.entry.origin, each)?;
        Ok(true)
    }

    fn lock(&self) -> Result<OwnedFd, RestError> {
        lock_spool(&self.real, &self.directory).map_err(|error| match error {
            StartError::SpoolInUse(path) => RestError::InUse(path),
            error => RestError::Spool(error.to_string()),
        })
    }

    fn ids(&self, selection: &Selection) -> Result<Vec<QueueId>, RestError> {
        if let Selection::Id(id) = selection {
            return Ok(vec![*id]);
        }
        Ok(self.spool.ids()?)
    }

    /// A message; `None` when it is not there, or damaged, or its story is over.
    fn load(&self, id: QueueId) -> Option<Queued> {
        let entry = match self.spool.load(id.as_str()) {
            Ok(entry) => entry,
            Err(SpoolError::Io(_, error)) if error.kind() == std::io::ErrorKind::NotFound => {
                return None;
            }
            Err(error) => {
                tracing::error!("spool: {error}");
                return None;
            }
        };
        if entry.is_finished() {
            return None;
        }
        let place = if entry.held { Place::Hold } else { Place::Deferred };
        let next = if entry.held { None } else { entry.next() };
        Some(Queued { listed: Listed { id, place, next }, entry: Arc::new(entry) })
    }

    fn is_of(&self, entry: &Entry, selection: &Selection) -> bool {
        let Selection::Nexthop(name) = selection else { return true };
        let lower = name.to_ascii_lowercase();
        entry.recipients.iter().flatten().any(|waiting| {
            Destination::of(&waiting.delivery, self.relayhost.as_deref())
                .is_some_and(|it| *it.nexthop == **name || *it.nexthop == *lower)
        })
    }

    /// Writes an entry, and removes the message when nobody waits for it.
    fn store(&self, id: QueueId, entry: &Entry) -> Result<(), RestError> {
        self.spool.rewrite(id.as_str(), entry)?;
        if entry.is_finished() {
            return Ok(self.spool.remove(id.as_str())?);
        }
        self.give_back(&self.directory.join(format!("{id}.entry")))
    }

    /// What root has written belongs to the server's user all the same, or could not be read by it.
    fn give_back(&self, path: &Path) -> Result<(), RestError> {
        let failed = |error| RestError::Spool(format!("{}: {error}", path.display()));
        let (uid, gid) = self.owner;
        if self.real.stat(path).map_err(failed)?.uid != uid {
            self.real.chown(path, uid, gid).map_err(failed)?;
        }
        Ok(())
    }
}

fn make_due(entry: &mut Entry, now: UnixTime) {
    for waiting in entry.recipients.iter_mut().flatten() {
        waiting.next = waiting.next.min(now);
    }
}

/// Nobody is tried any more: the sender is told why each was not reached.
fn expire(entry: &mut Entry) {
    let never = || Arc::new(Diagnosis::own(Enhanced(4, 4, 7), "returned by the administrator"));
    for place in 0..entry.recipients.len() {
        let change = match &entry.recipients[place] {
            Some(waiting) if waiting.state == State::Waiting => match waiting.last {
                Some(_) => Change::Expired(place),
                None => Change::Failed(place, never()),
            },
            _ => continue,
        };
        entry.apply(change).expect("invariant: the place is one of the entry's");
    }
}

#[cfg(test)]
#[path = "rest_tests.rs"]
mod tests;
