//! Putting the spool in order after a stop or a crash.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::Builder;

use waypost_queue::{Entry, QueueId};

use super::{Damage, Spool, SpoolError};
use crate::fs::Kind;
use crate::lock;

/// Threads that read entries.
const READERS: usize = 8;
/// Messages that are worth them.
const MANY: usize = 1000;

/// What the directory holds.
#[derive(Default)]
struct Names {
    /// In order.
    entries: Vec<QueueId>,
    /// In order.
    bodies: Vec<QueueId>,
    /// Other files of ours, by name.
    rest: Vec<String>,
}

impl Spool {
    /// Puts the directory in order, and hands out the messages that wait, one at a time. One that cannot be read now is kept for
    /// [`recover_rest`](Self::recover_rest), a damaged one is set aside; the others are not kept
    /// from anything.
    pub(crate) fn recover(&self, each: &mut dyn FnMut(Entry)) -> Result<(), SpoolError> {
        let names = self.names()?;
        self.recover_all(&names, each);
        // Never accepted, or removed but for this.
        for id in names.bodies {
            if names.entries.binary_search(&id).is_err() {
                self.clear(&format!("{id}.body"));
            }
        }
        for name in names.rest {
            self.clear(&name);
        }
        Ok(())
    }

    /// Hands out what could not be read so far and now can be.
    pub(crate) fn recover_rest(&self, each: &mut dyn FnMut(Entry)) {
        let unread: Vec<QueueId> = lock(&self.state.unread).iter().copied().collect();
        for id in unread {
            let body = self.fs.stat(&self.path(id.as_str(), "body"));
            let gone = body.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
            self.recover_one(id, !gone, each);
        }
    }

    /// How many messages could not be read so far.
    pub(crate) fn unread(&self) -> usize {
        lock(&self.state.unread).len()
    }

    /// The messages that are there, whatever their state.
    pub(crate) fn ids(&self) -> Result<Vec<QueueId>, SpoolError> {
        Ok(self.names()?.entries)
    }

    /// A disk reads many small files faster when it knows of more than one at a time.
    fn recover_all(&self, names: &Names, each: &mut dyn FnMut(Entry)) {
        let next = AtomicUsize::new(0);
        let work = |each: &mut dyn FnMut(Entry)| {
            while let Some(id) = names.entries.get(next.fetch_add(1, Ordering::Relaxed)) {
                let body = names.bodies.binary_search(id).is_ok();
                self.recover_one(*id, body, each);
            }
        };
        if names.entries.len() >= MANY {
            std::thread::scope(|scope| {
                let (to, from) = mpsc::sync_channel(READERS);
                for _ in 0..READERS {
                    let to = to.clone();
                    // The other end is there until all is sent.
                    let read = move || work(&mut |entry| drop(to.send(entry)));
                    // Without any thread all is done below.
                    let _ = Builder::new().name("spool".into()).spawn_scoped(scope, read);
                }
                drop(to);
                from.into_iter().for_each(&mut *each);
            });
        }
        work(each);
    }

    fn recover_one(&self, id: QueueId, body: bool, each: &mut dyn FnMut(Entry)) {
        let taken = self.take_up(id.as_str(), body).or_else(|error| {
            if !error.is_damage() {
                return Err(error);
            }
            self.set_aside(id.as_str(), &error).map(|()| None)
        });
        match taken {
            Ok(entry) => {
                lock(&self.state.unread).remove(&id);
                if let Some(entry) = entry {
                    each(entry);
                }
            }
            Err(error) => {
                if lock(&self.state.unread).insert(id) {
                    tracing::error!("spool: {error}; the message {id} stays until it can be read");
                }
            }
        }
    }

    /// One entry after a restart; `None` when nobody waits.
    fn take_up(&self, id: &str, body: bool) -> Result<Option<Entry>, SpoolError> {
        let (entry, torn) = self.open(id)?;
        if entry.is_finished() {
            self.remove(id)?;
            return Ok(None);
        }
        if !body {
            return Err(SpoolError::damaged(&self.path(id, "body"), Damage::Missing));
        }
        if torn || self.is_unsure(id) {
            // Nothing may be appended behind it.
            self.rewrite(id, &entry)?;
        }
        Ok(Some(entry))
    }

    /// Removes what no message needs. Where that fails it does no harm.
    fn clear(&self, name: &str) {
        let path = self.directory.join(name);
        if let Err(error) = self.fs.unlink(&path) {
            tracing::warn!("warning: spool: {}: {error}", path.display());
        }
    }

    fn names(&self) -> Result<Names, SpoolError> {
        let mut names = Names::default();
        let mut sort = |name: &[u8], kind: Kind| {
            let Some((id, suffix)) =
                core::str::from_utf8(name).ok().and_then(|n| n.rsplit_once('.'))
            else {
                return;
            };
            match (id.parse(), suffix) {
                _ if kind != Kind::File => {}
                (Ok(id), "entry") => names.entries.push(id),
                (Ok(id), "body") => names.bodies.push(id),
                (Ok(_), "tmp") => names.rest.push(format!("{id}.tmp")),
                // Not ours.
                _ => {}
            }
        };
        let listed = self.fs.list(&self.directory, &mut sort);
        listed.map_err(|error| SpoolError::io(&self.directory, error))?;
        names.entries.sort_unstable();
        names.bodies.sort_unstable();
        Ok(names)
    }
}
