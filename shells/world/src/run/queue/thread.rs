//! The thread that runs the queue manager, and what takes its place in a simulation.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use waypost_machine::{Input, Machine, Step, Time, UnixTime};
use waypost_queue::{
    Attempted, Call, Fact, Notice, Persisted, QueueId, Removed, Reported, SiteState,
};

use super::attempt::{Attempt, active, expired};
use super::record::record;
use super::remove::remove;
use super::report::report;
use super::slot::{Due, Slot};
use super::{How, Queue, QueueError, Submitted, Task};
use crate::event::Event;
use crate::promise::Sure;
use crate::workers::{Worker, Workers};
use crate::{Inner, lock};

/// The file pool's key of [`Queue::take_rest`].
const REST: u64 = (3 << 62) | 1;

/// The queue manager and what is remembered beside it.
pub(super) struct Driver {
    queue: Arc<Queue>,
    world: Weak<Inner>,
    machine: waypost_queue::Queue,
    /// Messages for which something is done.
    slots: HashMap<QueueId, Weak<Slot>>,
    /// Entries that the machine may ask for at once.
    fresh: Vec<Arc<Slot>>,
    /// When the round of a message began.
    active: HashMap<QueueId, UnixTime>,
    /// Messages whose first `queue active` stands in the log.
    announced: HashSet<QueueId>,
    commands: BTreeMap<u64, Sure<Result<usize, QueueError>>>,
    last_command: u64,
    /// When it is too late for what is under way.
    end: Option<Time>,
    wait: Duration,
    /// When messages that could not be read are looked at.
    rest: Time,
    closed: bool,
}

/// Closes the queue when the thread ends, however it does: nobody waits for an answer that will not
/// come, and nothing piles up.
struct Closing(Arc<Queue>);

impl Drop for Closing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "the queue has stopped by a fault; mail stays in the spool until restart"
            );
        }
        self.0.close();
    }
}

impl Driver {
    pub(super) fn new(queue: Arc<Queue>, world: &Arc<Inner>) -> Self {
        let machine = waypost_queue::Queue::new(queue.settings.queue.clone());
        let delay = queue.settings.queue.queue_run_delay;
        Self {
            queue,
            world: Arc::downgrade(world),
            machine,
            slots: HashMap::new(),
            fresh: Vec::new(),
            active: HashMap::new(),
            announced: HashSet::new(),
            commands: BTreeMap::new(),
            last_command: 0,
            end: None,
            wait: Duration::ZERO,
            rest: world.settings.clock.mono().plus(delay),
            closed: false,
        }
    }

    /// Runs until it is told to stop, or there is no world any more.
    pub(super) fn run(mut self) {
        let _closing = Closing(Arc::clone(&self.queue));
        self.begin();
        loop {
            let tasks = self.queue.take(self.wait);
            if !self.round(tasks) {
                break;
            }
        }
    }

    /// Takes up what was found at start.
    fn begin(&mut self) {
        if let Some(world) = self.world.upgrade() {
            let found = std::mem::take(&mut *lock(&self.queue.found));
            for arrival in found {
                self.handle(&world, Input::Notice(Notice::Recovered(arrival)));
            }
        }
    }

    /// Does these tasks and what is due; false when it was the last round.
    fn round(&mut self, tasks: VecDeque<Task>) -> bool {
        let Some(world) = self.world.upgrade() else { return false };
        for task in tasks {
            self.task(&world, task);
        }
        self.handle(&world, Input::Tick);
        self.drain(&world);
        self.tidy(&world);
        if !self.closed && self.end.is_some_and(|end| end <= world.settings.clock.mono()) {
            world.settings.log.event(Event::Abandoned);
            self.closed = true;
        }
        !self.closed
    }

    fn handle(&mut self, world: &Inner, input: Input<waypost_queue::Queue>) {
        self.machine.handle(world.settings.clock.now(), input);
    }

    fn task(&mut self, world: &Arc<Inner>, task: Task) {
        match task {
            Task::Submitted(submitted) => {
                let Submitted { slot, arrival, how } = *submitted;
                self.slots.insert(slot.id, Arc::downgrade(&slot));
                let notice = match how {
                    How::Now => {
                        self.announced.insert(slot.id);
                        Notice::Submitted(arrival)
                    }
                    How::Later => Notice::Recovered(arrival),
                };
                self.fresh.push(slot);
                self.handle(world, Input::Notice(notice));
            }
            Task::Answer(answer, slot) => {
                self.fresh.push(slot);
                self.handle(world, Input::Answer(answer));
            }
            Task::Found(arrival) => {
                self.handle(world, Input::Notice(Notice::Recovered(*arrival)));
            }
            Task::Command(command, done) => {
                self.last_command += 1;
                self.commands.insert(self.last_command, done);
                let notice = Notice::Command(self.last_command, command);
                self.handle(world, Input::Notice(notice));
            }
            Task::Look(look) => {
                // What was handed over before has to be seen in its place.
                self.drain(world);
                look(&self.machine);
            }
            Task::Tick => {}
            Task::Stop => {
                let grace = self.queue.settings.stop_grace;
                self.end.get_or_insert_with(|| world.settings.clock.mono().plus(grace));
                self.handle(world, Input::Stop);
            }
        }
    }

    /// Does what the machine wants.
    fn drain(&mut self, world: &Arc<Inner>) {
        loop {
            match self.machine.poll(0) {
                Step::Call(call) => self.call(world, call),
                Step::Fact(fact) => self.fact(world, fact),
                Step::Close(_) => {
                    self.closed = true;
                    break;
                }
                Step::Wait(wait) => {
                    // Now and then all the same, in case the clock does not go on as we do.
                    let longest = self.queue.settings.queue.queue_run_delay;
                    let now = world.settings.clock.mono();
                    let due = wait.until.into_iter().chain(self.end).min();
                    self.wait = due.map_or(longest, |due| due.since(now)).min(longest);
                    break;
                }
                Step::Send(_) | Step::Cancel(_) | Step::Secure(_) => {}
            }
        }
        self.fresh.clear();
    }

    fn slot(&mut self, id: QueueId) -> Arc<Slot> {
        if let Some(slot) = self.slots.get(&id).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = Arc::new(Slot::new(id));
        self.slots.insert(id, Arc::downgrade(&slot));
        self.fresh.push(Arc::clone(&slot));
        slot
    }

    fn call(&mut self, world: &Arc<Inner>, call: Call) {
        match call {
            Call::Attempt { message, destination, recipients, ticket } => {
                let slot = self.slot(message);
                let nothing = Attempted { outcomes: Vec::new(), site: SiteState::Unknown };
                let due = Due::new(&self.queue, &slot, ticket, nothing);
                let active = self.active.get(&message).copied();
                Attempt { slot, destination, places: recipients, active, due }.begin(world);
            }
            Call::Persist { message, changes, ticket } => {
                let slot = self.slot(message);
                let failed = Persisted::Failed(changes.clone());
                let due = Due::new(&self.queue, &slot, ticket, failed);
                record(world, slot, changes, self.active.get(&message).copied(), due);
            }
            Call::Report { message, kind, recipients, ticket } => {
                let slot = self.slot(message);
                let due = Due::new(&self.queue, &slot, ticket, Reported::Failed);
                report(world, slot, kind, recipients, due);
            }
            Call::Remove { message, ticket } => {
                let slot = self.slot(message);
                let due = Due::new(&self.queue, &slot, ticket, Removed::Failed);
                remove(world, slot, due);
            }
        }
    }

    fn fact(&mut self, world: &Arc<Inner>, fact: Fact) {
        match fact {
            Fact::Active(id) => {
                self.active.insert(id, world.settings.clock.wall());
                if !self.announced.remove(&id) {
                    active(world, self.slot(id));
                }
            }
            Fact::Deferred(id, _) => {
                self.active.remove(&id);
            }
            Fact::Expired(id) => expired(world, self.slot(id)),
            Fact::Removed(id) => {
                self.active.remove(&id);
                self.announced.remove(&id);
                self.slots.remove(&id);
                world.settings.log.event(Event::Removed { queue_id: id.as_str().into() });
                self.queue.count.fetch_sub(1, Ordering::Relaxed);
            }
            Fact::Stalled(id) => {
                tracing::warn!("warning: {id}: the spool could not be written; again later");
            }
            Fact::Dead { destination, reason, .. } => {
                tracing::debug!(
                    "{destination}: nothing is tried there for a while: {}",
                    reason.text
                );
            }
            Fact::Alive(destination) => tracing::debug!("{destination}: is tried again"),
            Fact::Commanded { command, messages } => {
                if let Some(done) = self.commands.remove(&command) {
                    done.keep(Ok(messages));
                }
            }
        }
    }

    /// Now and then, tries again to read what could not be read at start.
    fn tidy(&mut self, world: &Arc<Inner>) {
        let now = world.settings.clock.mono();
        if self.queue.spool.unread() > 0 && self.rest <= now {
            self.rest = now.plus(self.queue.settings.queue.queue_run_delay);
            let worker = Arc::clone(world);
            // One after the other, so that none is taken up twice.
            world.files.submit(Some(REST), move || worker.queue.take_rest());
        }
        if self.slots.len() > 1024 && self.slots.len() == self.slots.capacity() {
            self.slots.retain(|_, slot| slot.strong_count() > 0);
        }
    }
}

/// The queue manager without a thread: it gets turns.
pub(super) struct Turns {
    workers: Arc<dyn Workers>,
    queue: Arc<Queue>,
    driver: Mutex<Driver>,
    next: Mutex<Next>,
    _closing: Closing,
}

/// The turns that were asked for.
#[derive(Default)]
struct Next {
    /// One comes at once.
    soon: bool,
    /// The last one that is due when nothing happens.
    timer: u64,
}

impl Turns {
    /// Begins; lives until it has no turn any more.
    pub(super) fn begin(mut driver: Driver, workers: Arc<dyn Workers>) -> Weak<Self> {
        driver.begin();
        let queue = Arc::clone(&driver.queue);
        let turns = Arc::new(Self {
            workers,
            _closing: Closing(Arc::clone(&queue)),
            queue,
            driver: Mutex::new(driver),
            next: Mutex::default(),
        });
        turns.wake();
        Arc::downgrade(&turns)
    }

    /// There is something to do.
    pub(super) fn wake(self: &Arc<Self>) {
        if !std::mem::replace(&mut lock(&self.next).soon, true) {
            let turns = Arc::clone(self);
            let turn = move || {
                lock(&turns.next).soon = false;
                turns.turn();
            };
            self.workers.run(Worker::Queue, Duration::ZERO, Box::new(turn));
        }
    }

    fn turn(self: &Arc<Self>) {
        let wait = {
            let mut driver = lock(&self.driver);
            let tasks = self.queue.take(Duration::ZERO);
            if !driver.round(tasks) {
                return self.queue.close();
            }
            driver.wait
        };
        let mut next = lock(&self.next);
        next.timer += 1;
        let (turns, timer) = (Arc::clone(self), next.timer);
        drop(next);
        let turn = move || {
            if lock(&turns.next).timer == timer {
                turns.turn();
            }
        };
        self.workers.run(Worker::Queue, wait, Box::new(turn));
    }
}
