//! A message while something is done for it: what its entry says, as far as the disk has it.

use std::sync::{Arc, Mutex};

use waypost_machine::Ticket;
use waypost_queue::{Answered, Change, Entry, QueueId};

use super::{Queue, Task};
use crate::lock;
use crate::run::queue::attempt::Attempt;
use crate::spool::{Spool, SpoolError};

/// Keys of the file pool; session numbers and the like are below.
const KEY: u64 = 3 << 62;
/// Lines that may be appended to an entry, whatever its size, before it is written anew.
const APPENDED: usize = 64;

/// A message while something is done for it. Whoever does it holds it; without holders the entry
/// is forgotten, and read again when it is needed.
pub(crate) struct Slot {
    pub(crate) id: QueueId,
    /// The same for the log.
    pub(crate) name: Arc<str>,
    /// For the file pool: jobs for one message run one after the other.
    pub(crate) key: u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entry: Option<Entry>,
    /// Lines appended since the entry was read or written.
    appended: usize,
    /// Attempts for places that the entry does not have yet.
    parked: Vec<Attempt>,
}

impl Slot {
    /// A message whose entry is to be read.
    pub(crate) fn new(id: QueueId) -> Self {
        let kept = Mutex::default();
        Self { id, name: id.as_str().into(), key: KEY | hash(id.as_str()), kept }
    }

    /// A message with this entry.
    pub(crate) fn with(id: QueueId, entry: Entry) -> Self {
        let slot = Self::new(id);
        lock(&slot.kept).entry = Some(entry);
        slot
    }

    /// Looks at the entry, which may be read for it.
    pub(crate) fn read<R>(
        &self,
        spool: &Spool,
        look: impl FnOnce(&Entry) -> R,
    ) -> Result<R, SpoolError> {
        let mut kept = lock(&self.kept);
        kept.load(self.id, spool).map(|entry| look(entry))
    }

    /// Makes changes, durably.
    pub(crate) fn record(&self, spool: &Spool, changes: &[Change]) -> Result<(), SpoolError> {
        let mut kept = lock(&self.kept);
        let recorded = kept.record(self.id, spool, changes);
        if recorded.is_err() {
            // Something of it may stand there all the same.
            kept.entry = None;
        }
        recorded
    }

    /// Keeps an attempt until the entry knows its recipients.
    pub(crate) fn park(&self, attempt: Attempt) {
        lock(&self.kept).parked.push(attempt);
    }

    /// The attempts that were kept.
    pub(crate) fn unpark(&self) -> Vec<Attempt> {
        std::mem::take(&mut lock(&self.kept).parked)
    }
}

impl Kept {
    fn load(&mut self, id: QueueId, spool: &Spool) -> Result<&mut Entry, SpoolError> {
        match &mut self.entry {
            Some(entry) => Ok(entry),
            none => {
                self.appended = 0;
                Ok(none.insert(spool.load(id.as_str())?))
            }
        }
    }

    fn record(&mut self, id: QueueId, spool: &Spool, changes: &[Change]) -> Result<(), SpoolError> {
        let appended = self.appended + changes.len();
        let entry = self.load(id, spool)?;
        let crowded = appended > APPENDED && appended > entry.recipients.len();
        if !crowded {
            spool.record(id.as_str(), changes)?;
        }
        for change in changes {
            entry.apply(change.clone());
        }
        if crowded {
            spool.rewrite(id.as_str(), entry)?;
        }
        self.appended = if crowded { 0 } else { appended };
        Ok(())
    }
}

/// The duty to answer the machine. When the work for it panics, or is dropped undone, the machine
/// gets the answer that stands for a failure.
pub(crate) struct Due<T>
where
    Answered: From<T>,
{
    queue: Arc<Queue>,
    slot: Arc<Slot>,
    open: Option<(Ticket<T>, T)>,
}

impl<T> Due<T>
where
    Answered: From<T>,
{
    pub(crate) fn new(queue: &Arc<Queue>, slot: &Arc<Slot>, ticket: Ticket<T>, failed: T) -> Self {
        Self { queue: Arc::clone(queue), slot: Arc::clone(slot), open: Some((ticket, failed)) }
    }

    /// Answers.
    pub(crate) fn keep(mut self, outcome: T) {
        if let Some((ticket, _)) = self.open.take() {
            self.queue.push(Task::Answer(ticket.answer(outcome), Arc::clone(&self.slot)));
        }
    }
}

impl<T> Drop for Due<T>
where
    Answered: From<T>,
{
    fn drop(&mut self) {
        if let Some((ticket, failed)) = self.open.take() {
            self.queue.push(Task::Answer(ticket.answer(failed), Arc::clone(&self.slot)));
        }
    }
}

/// A key for the pool.
fn hash(id: &str) -> u64 {
    // FNV-1a: only to spread.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    hash >> 2
}
