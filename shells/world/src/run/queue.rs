//! The spool's schedule: who waits is tried again, until everybody has the message.
//!
//! Each attempt asks the tables anew where the waiting addresses lead, so what was wrong with them
//! heals by itself; while the directory is down, a mailbox that is known is delivered to all the
//! same. Recipients on other servers wait.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use waypost_machine::UnixTime;
use waypost_mail::{Enhanced, MailHome, Reply, Target, Verdict};
use waypost_queue::{Backoff, Change, Entry, Waiting};
use waypost_route::Request;

use crate::event::{Agent, Attempt, Event, Status};
use crate::run::message::{LOOP, delivered_head, dsn_of, relay};
use crate::run::resolve::resolve;
use crate::spool::{Spool, SpoolError};
use crate::store::{MAX_MAILBOXES, Parcel};
use crate::{Inner, lock};

/// Messages that are tried at the same time.
const AT_ONCE: usize = 20;
/// Recipients of one message that are resolved in one turn; the others follow at once.
const QUESTIONS: usize = 500;
/// Mailboxes of one message that are written in one turn; the others follow at once.
const MAILBOXES: usize = 2000;
/// Changes of an entry that are appended to it; with more, it is written anew, and shorter.
const APPENDED: usize = 64;
/// Keys of the file pool; session numbers and the like are below.
const KEY: u64 = 3 << 62;

/// The place on the schedule of what is to be tried whether it is due or not.
const FLUSHED: UnixTime = UnixTime { secs: i64::MIN, nanos: 0 };

/// Why somebody has to wait, as `dsn=` and in parentheses.
type Reason = (Enhanced, String);

/// Recipients by their places, and what became of each.
type Outcomes = Vec<(usize, Result<(), Reason>)>;

/// The messages that wait.
pub(crate) struct Queue {
    pub(crate) spool: Spool,
    pub(crate) backoff: Backoff,
    run_delay: Duration,
    state: Mutex<State>,
    wake: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    schedule: BTreeSet<(UnixTime, Arc<str>)>,
    active: usize,
    /// Since the thread looked at it last.
    changed: bool,
    stopping: bool,
}

impl Queue {
    /// Takes up what waits in the spool.
    pub(crate) fn open(spool: Spool, settings: &crate::Spool) -> Result<Self, SpoolError> {
        let mut schedule = BTreeSet::new();
        spool.recover(&mut |entry| schedule.extend(place(&entry)))?;
        Ok(Self::with(spool, settings, State { schedule, ..State::default() }))
    }

    /// Only counts what waits in the spool: nothing is ever tried, or changed.
    pub(crate) fn resting(spool: Spool, settings: &crate::Spool) -> Result<Self, SpoolError> {
        let schedule = spool.ids()?.iter().map(|id| (FLUSHED, Arc::from(id.as_str()))).collect();
        Ok(Self::with(spool, settings, State { schedule, stopping: true, ..State::default() }))
    }

    fn with(spool: Spool, settings: &crate::Spool, state: State) -> Self {
        Self {
            spool,
            backoff: Backoff {
                minimal: settings.minimal_backoff,
                maximal: settings.maximal_backoff,
            },
            run_delay: settings.run_delay,
            state: Mutex::new(state),
            wake: Condvar::new(),
            thread: Mutex::new(None),
        }
    }

    /// Starts the thread that keeps the schedule.
    pub(crate) fn start(self: &Arc<Self>, world: Weak<Inner>) -> std::io::Result<()> {
        let queue = Arc::clone(self);
        let thread = std::thread::Builder::new().name("queue".into()).spawn(move || {
            while let Some(wait) = queue.next_wait(&world) {
                queue.pause(wait);
            }
        })?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// Runs what is due; how long to wait then, or `None` when all is over.
    fn next_wait(&self, world: &Weak<Inner>) -> Option<Duration> {
        let world = world.upgrade()?;
        lock(&self.state).changed = false;
        self.spool.recover_rest(&mut |entry| lock(&self.state).schedule.extend(place(&entry)));
        run(&world);
        let now = world.settings.clock.wall();
        let state = lock(&self.state);
        if state.stopping {
            return None;
        }
        let next = state.schedule.first().map(|(next, _)| since(now, *next));
        let soon = next.map_or(self.run_delay, |wait| wait.min(self.run_delay));
        Some(soon.max(Duration::from_secs(1)))
    }

    /// Waits so long, or until the schedule changes; not at all if it has changed already.
    fn pause(&self, wait: Duration) {
        let state = lock(&self.state);
        if !state.stopping && !state.changed {
            drop(self.wake.wait_timeout(state, wait));
        }
    }

    /// A message waits until then.
    pub(crate) fn add(&self, next: UnixTime, id: Arc<str>) {
        let mut state = lock(&self.state);
        state.schedule.insert((next, id));
        state.changed = true;
        drop(state);
        self.wake.notify_one();
    }

    /// Messages that wait, those being tried included.
    pub(crate) fn len(&self) -> usize {
        let state = lock(&self.state);
        state.schedule.len() + state.active
    }

    /// Makes everything due, whatever the entries say.
    pub(crate) fn flush(&self) {
        let mut state = lock(&self.state);
        let all = std::mem::take(&mut state.schedule);
        state.schedule = all.into_iter().map(|(_, id)| (FLUSHED, id)).collect();
    }

    /// Ends the thread; nothing new is begun.
    pub(crate) fn stop(&self) {
        lock(&self.state).stopping = true;
        self.wake.notify_all();
        if let Some(thread) = lock(&self.thread).take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic in it has been reported.
            let _ = thread.join();
        }
    }

    /// Takes a message that is due.
    fn take(&self, now: UnixTime) -> Option<(UnixTime, Arc<str>)> {
        let mut state = lock(&self.state);
        let due = state.schedule.first().is_some_and(|(next, _)| *next <= now);
        if state.stopping || !due || state.active >= AT_ONCE {
            return None;
        }
        state.active += 1;
        state.schedule.pop_first()
    }
}

/// The place of a message on the schedule.
fn place(entry: &Entry) -> Option<(UnixTime, Arc<str>)> {
    Some((entry.next()?, Arc::from(&*entry.origin.queue_id)))
}

/// Begins to try what is due, as much as may be tried at once; more follows as that ends.
pub(crate) fn run(world: &Arc<Inner>) {
    while let Some((due, id)) = world.queue.take(world.settings.clock.wall()) {
        let all = due == FLUSHED;
        let turn = Turn { world: Arc::clone(world), id: Arc::clone(&id), all, next: None };
        let key = KEY | hash(&id);
        world.files.submit(Some(key), move || turn.begin());
    }
}

/// One message's turn. However it ends, the message is on the schedule again unless it is gone.
struct Turn {
    world: Arc<Inner>,
    id: Arc<str>,
    /// Everybody is tried, due or not.
    all: bool,
    /// What the end of the turn shall be.
    next: Option<Next>,
}

enum Next {
    At(UnixTime),
    Gone,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let now = self.world.settings.clock.wall();
        let queue = &self.world.queue;
        {
            let mut state = lock(&queue.state);
            state.active -= 1;
            state.changed = true;
            match self.next {
                Some(Next::Gone) => {}
                Some(Next::At(next)) => {
                    state.schedule.insert((next, Arc::clone(&self.id)));
                }
                // Something failed on the way.
                None => {
                    let next = queue.backoff.next(now, now);
                    state.schedule.insert((next, Arc::clone(&self.id)));
                }
            }
        }
        queue.wake.notify_one();
    }
}

/// What is known in the middle of a turn: where the waiting addresses lead now.
struct Resolving {
    turn: Mutex<Option<(Turn, Entry)>>,
    verdicts: Mutex<Vec<(usize, Option<Verdict>)>>,
}

impl Turn {
    /// Reads the entry and asks the tables.
    fn begin(mut self) {
        let entry = match self.world.queue.spool.load(&self.id) {
            Ok(entry) => entry,
            Err(error) => {
                if self.world.queue.spool.dismiss(&self.id, &error) {
                    self.next = Some(Next::Gone);
                }
                return;
            }
        };
        let now = self.world.settings.clock.wall();
        let world = Arc::clone(&self.world);
        let fresh = since(entry.origin.arrived, now) < world.queue.backoff.minimal;
        let (mut questions, mut known) = (Vec::new(), Vec::new());
        let mut mailboxes = 0;
        for (n, waiting) in entry.recipients.iter().enumerate() {
            let Some(waiting) = waiting.as_ref().filter(|it| self.all || it.next <= now) else {
                continue;
            };
            match &waiting.delivery.target {
                Target::Remote => known.push((n, None)),
                // However often the tables are asked, it would go round again.
                Target::Undeliverable(reply) if reply.enhanced == Some(LOOP) => {
                    known.push((n, None));
                }
                // Routing has said so just now.
                Target::Maildir(_) if fresh => {
                    if self.all || mailboxes < MAILBOXES {
                        known.push((n, None));
                    }
                    mailboxes += 1;
                }
                _ => questions.push((n, waiting.delivery.clone())),
            }
        }
        if !self.all {
            questions.truncate(QUESTIONS);
        }
        let resolving = Arc::new(Resolving {
            turn: Mutex::new(Some((self, entry))),
            verdicts: Mutex::new(known),
        });
        for (n, delivery) in questions {
            let request = Request::Again { to: delivery.to, orig_to: delivery.orig_to };
            let resolving = Arc::clone(&resolving);
            let keep = move |verdict| lock(&resolving.verdicts).push((n, Some(verdict)));
            let clock = &world.settings.clock;
            resolve(&world.lookups, clock, &world.policy, request, Box::new(keep));
        }
    }

    /// Delivers to those who have a mailbox now, and notes what came of it.
    fn deliver(mut self, mut entry: Entry, mut verdicts: Vec<(usize, Option<Verdict>)>) {
        verdicts.sort_by_key(|(n, _)| *n);
        let mut changes = Vec::new();
        let mut plan = Plan::default();
        for (n, verdict) in verdicts {
            plan.add(&mut entry, n, verdict, &mut changes);
        }
        let begun = self.world.settings.clock.now();
        let before = since(entry.origin.arrived, begun.wall);
        let next = self.world.queue.backoff.next(entry.origin.arrived, begun.wall);
        let mut attempts = Vec::new();
        let mut damage = None;
        for batch in plan.mailboxes.chunks(MAX_MAILBOXES) {
            let outcomes = self.batch(&entry, batch).unwrap_or_else(|error| {
                let failed = (Enhanced(4, 3, 0), error.to_string());
                damage = Some(error);
                batch.iter().map(|(n, _)| (*n, Err(failed.clone()))).collect()
            });
            for (n, home) in outcomes {
                let took = self.world.settings.clock.mono().since(begun.mono);
                let (dsn, status, text) = match home {
                    Ok(()) => {
                        changes.push(Change::Done(n));
                        (Enhanced(2, 0, 0), Status::Sent, "delivered to maildir".into())
                    }
                    Err((dsn, text)) => {
                        changes.push(Change::Tried(n, next));
                        (dsn, Status::Deferred, text)
                    }
                };
                attempts.push((n, Agent::Virtual, dsn, status, text, took));
            }
        }
        for (n, (dsn, text)) in plan.waiting {
            changes.push(Change::Tried(n, next));
            attempts.push((n, Agent::Error, dsn, Status::Deferred, text, Duration::ZERO));
        }
        let log = Arc::clone(&self.world.settings.log);
        for (n, agent, dsn, status, text, took) in attempts {
            let Some(waiting) = &entry.recipients[n] else { continue };
            log.event(Event::Delivery(Box::new(Attempt {
                queue_id: Arc::clone(&self.id),
                to: waiting.delivery.to.clone(),
                orig_to: waiting.delivery.orig_to.clone(),
                agent,
                relay: relay(agent),
                delays: [Duration::ZERO, before, Duration::ZERO, took],
                dsn,
                status,
                text: text.into(),
            })));
        }
        self.note(&mut entry, changes);
        if let Some(damage) = damage
            && self.world.queue.spool.dismiss(&self.id, &damage)
        {
            self.next = Some(Next::Gone);
        }
    }

    /// Writes down what happened, and removes the message when nobody waits any more.
    fn note(&mut self, entry: &mut Entry, changes: Vec<Change>) {
        let spool = &self.world.queue.spool;
        for change in &changes {
            // What became of a recipient was applied when it was found out.
            if !matches!(change, Change::Became(..)) {
                entry.apply(change.clone());
            }
        }
        let next = entry.next();
        let noted = match changes.len() {
            0 => Ok(()),
            many if many > APPENDED && next.is_some() => spool.rewrite(&self.id, entry),
            _ => spool.record(&self.id, &changes),
        };
        if let Err(error) = noted {
            // It is tried again as if nothing had happened; so it may come twice, never not at all.
            tracing::error!("spool: {error}");
            return;
        }
        if let Some(next) = next {
            self.next = Some(Next::At(next));
            return;
        }
        if let Err(error) = spool.remove(&self.id) {
            tracing::error!("spool: {error}; the next start removes it");
        }
        self.next = Some(Next::Gone);
        self.world.settings.log.event(Event::Removed { queue_id: Arc::clone(&self.id) });
    }

    /// Writes the message to a few mailboxes: all of it, or nothing.
    fn batch(&self, entry: &Entry, batch: &[(usize, MailHome)]) -> Result<Outcomes, SpoolError> {
        let sender = entry.origin.sender.to_string();
        let parcels = batch.iter().filter_map(|(n, home)| {
            let waiting = entry.recipients[*n].as_ref()?;
            let head = delivered_head(&sender, &waiting.delivery).into_bytes();
            Some(Parcel { home: home.clone(), head })
        });
        let mut incoming = self.world.store.deliver(parcels.collect());
        let mut each = |piece: Bytes| {
            incoming.append(&[piece]);
        };
        if let Err(error) = self.world.queue.spool.read_body(entry, &mut each) {
            incoming.abort();
            return Err(error);
        }
        let results = incoming.commit().into_iter();
        let results = results.map(|it| match it {
            Ok(_) => Ok(()),
            Err(error) => Err((dsn_of(&error), error.to_string())),
        });
        Ok(batch.iter().map(|(n, _)| *n).zip(results).collect())
    }
}

impl Drop for Resolving {
    /// The last answer is there: the work on files goes on.
    fn drop(&mut self) {
        let Some((turn, entry)) = lock(&self.turn).take() else { return };
        let verdicts = std::mem::take(&mut *lock(&self.verdicts));
        let world = Arc::clone(&turn.world);
        let key = KEY | hash(&turn.id);
        world.files.submit(Some(key), move || turn.deliver(entry, verdicts));
    }
}

/// What to do for the recipients that are due.
#[derive(Default)]
struct Plan {
    mailboxes: Vec<(usize, MailHome)>,
    waiting: Vec<(usize, Reason)>,
}

impl Plan {
    fn add(
        &mut self,
        entry: &mut Entry,
        n: usize,
        verdict: Option<Verdict>,
        changes: &mut Vec<Change>,
    ) {
        let Some(waiting) = entry.recipients[n].clone() else { return };
        match verdict {
            Some(Verdict::Accept(deliveries)) if deliveries != [waiting.delivery.clone()] => {
                let others: Vec<Waiting> = deliveries
                    .into_iter()
                    .map(|delivery| Waiting { delivery, ..waiting.clone() })
                    .collect();
                let first = entry.recipients.len();
                let change = Change::Became(n, others);
                entry.apply(change.clone());
                changes.push(change);
                for n in first..entry.recipients.len() {
                    self.place(entry, n);
                }
            }
            Some(Verdict::Refuse(reply)) => self.refused(&waiting, n, &reply),
            Some(Verdict::Accept(_)) | None => self.place(entry, n),
        }
    }

    fn place(&mut self, entry: &Entry, n: usize) {
        let Some(waiting) = &entry.recipients[n] else { return };
        match &waiting.delivery.target {
            Target::Maildir(home) => self.mailboxes.push((n, home.clone())),
            other => self.waiting.extend(waits(other).map(|why| (n, why))),
        }
    }

    /// The tables do not say where it leads. While they only do not answer, a mailbox that was
    /// known before will do.
    fn refused(&mut self, waiting: &Waiting, n: usize, reply: &Reply) {
        match &waiting.delivery.target {
            Target::Maildir(home) if reply.is_temporary() => {
                self.mailboxes.push((n, home.clone()));
            }
            _ => self.waiting.push((n, said(reply))),
        }
    }
}

/// Why a recipient without a mailbox here waits.
pub(crate) fn waits(target: &Target) -> Option<Reason> {
    match target {
        Target::Maildir(_) => None,
        Target::Remote => Some((Enhanced(4, 3, 0), "mail transport unavailable".into())),
        Target::Later(reply) | Target::Undeliverable(reply) => Some(said(reply)),
    }
}

/// A reply as a reason to wait: nothing is given up here, so its class is always 4.
fn said(reply: &Reply) -> Reason {
    let Enhanced(_, subject, detail) = reply.enhanced.unwrap_or(Enhanced(4, 3, 0));
    (Enhanced(4, subject, detail), reply.text.clone().into_owned())
}

/// The time from one moment to another; none when it is the other way round.
pub(crate) fn since(from: UnixTime, to: UnixTime) -> Duration {
    let nanos = |at: UnixTime| i128::from(at.secs) * 1_000_000_000 + i128::from(at.nanos);
    u64::try_from(nanos(to) - nanos(from)).map_or(Duration::ZERO, Duration::from_nanos)
}

/// A key for the pool.
fn hash(id: &str) -> u64 {
    // FNV-1a: only to spread.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    hash >> 2
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fs::Fs;
    use crate::store::crash_tests::SimFs;

    /// What is due now may be added just before the thread begins to wait.
    #[test]
    fn a_message_is_never_overlooked() {
        let fs = SimFs::new();
        fs.mkdir(Path::new("/spool"), 0o700).unwrap();
        let spool = Spool::new(Arc::new(fs), Path::new("/spool"));
        let settings = crate::Spool::new("/spool");
        let queue = Queue::open(spool, &settings).unwrap();
        queue.add(UnixTime { secs: 0, nanos: 0 }, "id".into());
        let begun = std::time::Instant::now();
        queue.pause(Duration::from_secs(20));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
