//! The queue of messages that were not delivered while their client waited.
//!
//! What is tried where and when is decided by the machine of `waypost-queue`; here it is done.
//!
//! | file | what is there |
//! |---|---|
//! | `thread.rs` | the thread that runs the machine |
//! | `slot.rs` | a message while something is done for it |
//! | `attempt.rs` | a delivery begins: who, and by which way; what it logs |
//! | `local.rs`, `remote.rs`, `route.rs` | into mailboxes; to other servers; back to routing |
//! | `record.rs`, `remove.rs` | the spool is told what happened; that it is over |
//! | `report.rs` | the sender is told |
//! | `gather.rs` | waiting for several answers |
//! | `look.rs` | what the admin sees |
//!
//! The thread never waits for anything but its next task: work on files is done by the file pool,
//! in order for each message.

mod attempt;
mod gather;
mod local;
mod look;
mod record;
mod remote;
mod remove;
mod report;
mod route;
mod slot;
mod thread;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use waypost_machine::{Answer, UnixTime};
use waypost_queue::{Answered, Arrival, Change, Command, Entry, Selection};

use crate::promise::Sure;
use crate::spool::{Spool, SpoolError};
use crate::{Inner, lock};

use slot::Slot;

pub use look::QueueError;
pub(crate) use remove::Removals;

/// The messages that wait, and the way to the thread that looks after them.
pub(crate) struct Queue {
    pub(crate) spool: Spool,
    settings: crate::Spool,
    tasks: Mutex<Tasks>,
    wake: Condvar,
    /// Messages in the spool, those being tried included.
    count: AtomicUsize,
    /// What was found at start, for the thread.
    found: Mutex<Vec<Arrival>>,
    /// The last [`waypost_smtp::client::Mail::id`].
    last_mail: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Instead of the thread.
    turns: Mutex<Weak<thread::Turns>>,
}

#[derive(Default)]
struct Tasks {
    waiting: VecDeque<Task>,
    /// Nobody takes them any more.
    closed: bool,
}

/// Something for the thread.
enum Task {
    /// A message lies in the spool, durably.
    Submitted(Box<Submitted>),
    /// Something was done; the message may be needed again at once.
    Answer(Answer<Answered>, Arc<Slot>),
    /// A message that could not be read before.
    Found(Box<Arrival>),
    /// The admin wants something.
    Command(Command, Sure<Result<usize, QueueError>>),
    /// The admin looks.
    Look(Box<dyn FnOnce(&waypost_queue::Queue) + Send>),
    /// The clock has been moved.
    Tick,
    /// The end.
    Stop,
}

/// A new message.
struct Submitted {
    slot: Arc<Slot>,
    arrival: Arrival,
    how: How,
}

/// How a new message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// At once; the log has its first `queue active` already.
    Now,
    /// When its time comes: it was tried just now.
    Later,
}

impl Queue {
    /// Takes up what waits in the spool, as soon as it is started.
    pub(crate) fn open(spool: Spool, settings: &crate::Spool) -> Result<Self, SpoolError> {
        let mut found = Vec::new();
        spool.recover(&mut |entry| found.extend(arrival(&entry, settings)))?;
        let count = found.len();
        Ok(Self::with(spool, settings, count, found, false))
    }

    /// Only counts what waits in the spool, if there is one: nothing is ever tried, or changed.
    pub(crate) fn resting(spool: Spool, settings: &crate::Spool) -> Result<Self, SpoolError> {
        let count = match spool.ids() {
            Err(SpoolError::Io(_, error)) if error.kind() == std::io::ErrorKind::NotFound => 0,
            ids => ids?.len(),
        };
        Ok(Self::with(spool, settings, count, Vec::new(), true))
    }

    fn with(
        spool: Spool,
        settings: &crate::Spool,
        count: usize,
        found: Vec<Arrival>,
        closed: bool,
    ) -> Self {
        Self {
            spool,
            settings: settings.clone(),
            tasks: Mutex::new(Tasks { waiting: VecDeque::new(), closed }),
            wake: Condvar::new(),
            count: AtomicUsize::new(count),
            found: Mutex::new(found),
            last_mail: AtomicU64::new(0),
            thread: Mutex::new(None),
            turns: Mutex::default(),
        }
    }

    /// Starts the thread.
    pub(crate) fn start(self: &Arc<Self>, world: &Arc<Inner>) -> std::io::Result<()> {
        let driver = thread::Driver::new(Arc::clone(self), world);
        if let Some(workers) = &world.settings.workers {
            *lock(&self.turns) = thread::Turns::begin(driver, Arc::clone(workers));
            return Ok(());
        }
        let thread =
            std::thread::Builder::new().name("queue".into()).spawn(move || driver.run())?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// Takes a message over that lies in the spool, durably, as this entry says but for the changes,
    /// which the spool could not be told.
    pub(crate) fn submit(self: &Arc<Self>, entry: Entry, how: How, unsaved: Vec<Change>) {
        let Some(arrival) = arrival(&entry, &self.settings) else { return };
        let arrival = Arrival { unsaved, ..arrival };
        self.count.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::new(Slot::with(arrival.id, entry));
        self.push(Task::Submitted(Box::new(Submitted { slot, arrival, how })));
    }

    /// Takes up what could not be read at start and now can be. Waits for the disk.
    fn take_rest(&self) {
        self.spool.recover_rest(&mut |entry| {
            if let Some(arrival) = arrival(&entry, &self.settings) {
                self.count.fetch_add(1, Ordering::Relaxed);
                self.push(Task::Found(Box::new(arrival)));
            }
        });
    }

    /// Logs why a message cannot be read or written now. A damaged one is set aside and forgotten.
    fn complain(&self, slot: &Slot, why: &SpoolError) {
        if self.spool.dismiss(&slot.name, why) {
            self.command(Command::Drop(Selection::Id(slot.id)), Box::new(|_| {}));
        }
    }

    /// When a message that arrives now and fails at once is tried again.
    pub(crate) fn second_attempt(&self, now: UnixTime) -> UnixTime {
        self.settings.queue.backoff.next(now, now)
    }

    /// Messages that wait, those being tried included.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Looks at the clock.
    pub(crate) fn tick(&self) {
        self.push(Task::Tick);
    }

    /// Ends the thread: what is under way is written down as far as it ends in time; nothing new is
    /// begun.
    pub(crate) fn stop(&self) {
        self.push(Task::Stop);
        if let Some(thread) = lock(&self.thread).take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic in it has been reported.
            let _ = thread.join();
        }
    }

    fn push(&self, task: Task) {
        let mut tasks = lock(&self.tasks);
        if tasks.closed {
            drop(tasks);
            // Whoever waits for it is told by that.
            drop(task);
            return;
        }
        tasks.waiting.push_back(task);
        drop(tasks);
        self.wake.notify_one();
        let turns = lock(&self.turns).upgrade();
        if let Some(turns) = turns {
            turns.wake();
        }
    }

    /// The tasks that there are; waits for the first, so long at most.
    fn take(&self, wait: Duration) -> VecDeque<Task> {
        let mut tasks = lock(&self.tasks);
        if tasks.waiting.is_empty() {
            let idle = |tasks: &mut Tasks| tasks.waiting.is_empty();
            let woken = self.wake.wait_timeout_while(tasks, wait, idle);
            tasks = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut tasks.waiting)
    }

    /// Whether no task is taken any more: nobody hears of what is done now.
    fn is_closed(&self) -> bool {
        lock(&self.tasks).closed
    }

    /// No task is taken any more.
    fn close(&self) {
        let mut tasks = lock(&self.tasks);
        tasks.closed = true;
        let left = std::mem::take(&mut tasks.waiting);
        drop(tasks);
        drop(left);
    }
}

/// What the machine needs to know of an entry.
fn arrival(entry: &Entry, settings: &crate::Spool) -> Option<Arrival> {
    let arrival = Arrival::of(entry, settings.queue.relayhost.as_deref());
    arrival.inspect_err(|error| tracing::error!("spool: {}: {error}", entry.origin.queue_id)).ok()
}

/// The time from one moment to another; none when it is the other way round.
pub(crate) fn since(from: UnixTime, to: UnixTime) -> Duration {
    let nanos = |at: UnixTime| i128::from(at.secs) * 1_000_000_000 + i128::from(at.nanos);
    u64::try_from(nanos(to) - nanos(from)).map_or(Duration::ZERO, Duration::from_nanos)
}

#[cfg(test)]
mod crash_tests;
