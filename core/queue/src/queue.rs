//! The queue manager: which message is tried where and when, and what becomes of it.
//!
//! A message is `Deferred` until its time comes, then `Incoming` until there is a place among the
//! active ones, then `Active` for one round: each recipient that waits is tried once. At the end of
//! the round the sender is told what there is to tell, and the message is removed, or waits for its
//! next round.
//!
//! | what happens | what is asked of the world |
//! |---|---|
//! | a recipient is delivered, refused, deferred | [`Call::Persist`]; none when that was the last one and nobody is to be told: then only [`Call::Remove`] |
//! | the round has refusals, or the lifetime is over | [`Call::Report`] of [`ReportKind::Failed`] |
//! | somebody wanted to know of the delivery | [`Call::Report`] of [`ReportKind::Delivered`] |
//! | the message is old enough for a warning | [`Call::Report`] of [`ReportKind::Delayed`] |
//! | nobody waits | [`Call::Remove`] |
//!
//! What cannot be done now is asked again later. No recipient is in two deliveries at a time, and
//! nothing is asked for a message before what was asked earlier for the same recipients is done.
//!
//! Time is counted on the monotonic clock: when the time of day jumps, nothing expires early and
//! nothing waits longer. No event takes time that grows with the number of queued messages: most
//! touch a few records, some a heap or a tree; only a command touches all that it names, and a
//! message its own recipients.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use waypost_machine::{
    Answer, CallId, Input, Ledger, Machine, Now, Step, Ticket, Time, UnixTime, Wait,
};

use crate::call::{
    Answered, Call, Fact, Listed, ListedDestination, Notice, Place, Removed, ReportKind,
};
use crate::change::Change;
use crate::heap::Heap;
use crate::queue_id::QueueId;
use crate::schedule::{Schedule, Sender};
use crate::settings::Settings;
use crate::slab::{Link, Linked, List, Slab};

/// The queue manager; a machine without bytes.
///
/// At start the world hands in [`Notice::Recovered`] for each entry of its spool, in any order and
/// at any pace, and from then on [`Notice::Submitted`] for each new one.
pub struct Queue {
    pub(crate) schedule: Schedule,
    pub(crate) messages: Slab<Message>,
    pub(crate) by_id: BTreeMap<QueueId, u32>,
    /// Next round, or next try of what stalled.
    pub(crate) timers: Heap,
    /// When dead destinations are tried again.
    pub(crate) revivals: Heap,
    /// Senders with messages that wait for a place among the active ones.
    pub(crate) with_due: List,
    pub(crate) active: u32,
    ledger: Ledger,
    open: BTreeMap<CallId, Open>,
    out: VecDeque<Step<Self>>,
    pub(crate) now: Now,
    pub(crate) stopping: bool,
    /// When the spool is asked again, once stopping.
    pub(crate) again: i64,
    pub(crate) closed: bool,
}

/// A message in the queue.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: QueueId,
    /// When it was accepted, on the monotonic clock; before its start for what was recovered.
    pub(crate) born: i64,
    pub(crate) sender: u32,
    pub(crate) jobs: List,
    /// Jobs whose turn is still to come in this round.
    pub(crate) live: u32,
    /// Deliveries that run.
    pub(crate) busy: u32,
    /// Calls to the spool that are open.
    pub(crate) open: u32,
    /// Places of the entry's recipients.
    pub(crate) places: u32,
    pub(crate) phase: Phase,
    pub(crate) marks: Marks,
    pub(crate) pending: Option<Box<Pending>>,
    pub(crate) links: [Link; 1],
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Incoming,
    Active,
    Deferred,
    Hold,
    Removing,
}

/// What is to be remembered of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks {
    pub(crate) null_sender: bool,
    pub(crate) tried: bool,
    pub(crate) held: bool,
    pub(crate) warned: bool,
    pub(crate) expire: bool,
    /// The next round begins as soon as this one is over.
    pub(crate) again: bool,
    pub(crate) dropped: bool,
    pub(crate) stalled: bool,
    pub(crate) saving: bool,
}

/// What the sender is to be told and the spool does not know yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) failed: Vec<u32>,
    pub(crate) delivered: Vec<u32>,
    pub(crate) unsaved: Vec<Change>,
}

/// A call that waits for its outcome.
#[derive(Debug)]
pub(crate) enum Open {
    Attempt { job: u32, recipients: Vec<u32> },
    Persist { message: u32 },
    Report { message: u32, kind: ReportKind, recipients: Vec<u32> },
    Remove { message: u32 },
}

impl Linked for Message {
    fn links(&self) -> &[Link] {
        &self.links
    }

    fn links_mut(&mut self) -> &mut [Link] {
        &mut self.links
    }
}

pub(crate) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

pub(crate) fn wall_nanos(time: UnixTime) -> i64 {
    time.secs.saturating_mul(1_000_000_000).saturating_add(time.nanos.into())
}

impl Queue {
    /// An empty queue.
    pub fn new(settings: Settings) -> Self {
        Self {
            schedule: Schedule::new(settings.sane()),
            messages: Slab::new(),
            by_id: BTreeMap::new(),
            timers: Heap::default(),
            revivals: Heap::default(),
            with_due: List::new(Sender::WITH_DUE),
            active: 0,
            ledger: Ledger::new(),
            open: BTreeMap::new(),
            out: VecDeque::new(),
            now: Now::default(),
            stopping: false,
            again: 0,
            closed: false,
        }
    }

    /// Changes the settings: at once for what begins from now on.
    pub fn configure(&mut self, settings: Settings) {
        self.schedule.settings = settings.sane();
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// True without messages.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All messages, in no order.
    pub fn list(&self) -> impl Iterator<Item = Listed> {
        self.messages.iter().map(|(at, message)| self.listed(at, message))
    }

    /// One message.
    pub fn find(&self, id: QueueId) -> Option<Listed> {
        let at = *self.by_id.get(&id)?;
        Some(self.listed(at, &self.messages[at]))
    }

    pub(crate) fn listed(&self, at: u32, message: &Message) -> Listed {
        let place = match message.phase {
            Phase::Incoming => Place::Incoming,
            Phase::Active | Phase::Removing => Place::Active,
            Phase::Deferred => Place::Deferred,
            Phase::Hold => Place::Hold,
        };
        let next = (place == Place::Deferred).then(|| self.timers.get(at)).flatten();
        Listed { id: message.id, place, next: next.map(|due| self.wall(due)) }
    }

    /// All destinations that something is known of, by name.
    pub fn destinations(&self) -> impl Iterator<Item = ListedDestination> {
        self.schedule.sites().map(|site| ListedDestination {
            destination: Arc::clone(&site.key),
            window: site.window.size(),
            busy: site.busy,
            dead: site.dead.clone(),
        })
    }

    /// The monotonic time, as deadlines have it.
    pub(crate) fn mono(&self) -> i64 {
        i64::try_from(self.now.mono.as_nanos()).unwrap_or(i64::MAX)
    }

    /// The time of day of a deadline.
    pub(crate) fn wall(&self, due: i64) -> UnixTime {
        let ahead = due.saturating_sub(self.mono());
        let at = wall_nanos(self.now.wall).saturating_add(ahead);
        let fraction = u32::try_from(at.rem_euclid(1_000_000_000)).unwrap_or(0);
        UnixTime { secs: at.div_euclid(1_000_000_000), nanos: fraction }
    }

    /// How long a message has been in the queue.
    pub(crate) fn age(&self, message: u32) -> Duration {
        let age = self.mono().saturating_sub(self.messages[message].born);
        Duration::from_nanos(u64::try_from(age).unwrap_or(0))
    }

    pub(crate) fn fact(&mut self, fact: Fact) {
        self.out.push_back(Step::Fact(fact));
    }

    pub(crate) fn call<T>(&mut self, open: Open, make: impl FnOnce(Ticket<T>) -> Call) {
        let ticket = self.ledger.open_commit();
        self.open.insert(ticket.id(), open);
        self.out.push_back(Step::Call(make(ticket)));
    }

    /// True when no answer is due.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn pending(&mut self, message: u32) -> &mut Pending {
        self.messages[message].pending.get_or_insert_default()
    }

    pub(crate) fn jobs(&self, message: u32) -> Vec<u32> {
        self.messages[message].jobs.iter(&self.schedule.jobs).collect()
    }

    /// Frees a job when nobody is left in it.
    pub(crate) fn release_job(&mut self, message: u32, job: u32) {
        let mut jobs = self.messages[message].jobs;
        self.schedule.release_job(job, &mut jobs);
        self.messages[message].jobs = jobs;
    }

    fn answered(&mut self, answer: Answer<Answered>) {
        let (id, value) = answer.into_parts();
        if !self.ledger.close(id) {
            return;
        }
        match (self.open.remove(&id), value) {
            (Some(Open::Attempt { job, recipients }), Answered::Attempted(attempted)) => {
                self.attempted(job, recipients, attempted);
            }
            (Some(Open::Persist { message }), Answered::Persisted(persisted)) => {
                self.persisted(message, persisted);
            }
            (Some(Open::Report { message, kind, recipients }), Answered::Reported(reported)) => {
                self.reported(message, kind, recipients, reported);
            }
            (Some(Open::Remove { message }), Answered::Removed(Removed::Done)) => {
                self.forget(message);
            }
            (Some(Open::Remove { message }), Answered::Removed(Removed::Failed)) => {
                self.stall(message);
            }
            // The types of the tickets leave nothing else.
            _ => {}
        }
    }

    /// One timer that is due; false when there is none.
    fn expire_one(&mut self) -> bool {
        let now = self.mono();
        if let Some((_, site)) = self.revivals.first().filter(|(due, _)| *due <= now) {
            self.revive(site);
            return true;
        }
        let Some((_, message)) = self.timers.first().filter(|(due, _)| *due <= now) else {
            return false;
        };
        self.timers.remove(message);
        self.messages[message].marks.stalled = false;
        match self.messages[message].phase {
            Phase::Deferred => self.make_due(message),
            Phase::Removing => self.remove(message),
            Phase::Active | Phase::Hold | Phase::Incoming => {
                self.flush(message);
                self.end_round_when_done(message);
            }
        }
        true
    }

    pub(crate) fn revive(&mut self, site: u32) {
        self.revivals.remove(site);
        if self.schedule.revive(site) {
            self.fact(Fact::Alive(Arc::clone(&self.schedule.sites[site].key)));
            self.schedule.release_site(site);
        }
    }

    pub(crate) fn places(&mut self, message: u32, more: usize) -> u32 {
        let first = self.messages[message].places;
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        self.messages[message].places = first.saturating_add(more);
        first
    }
}

impl Machine for Queue {
    type Call = Call;
    type Reply = Answered;
    type Notice = Notice;
    type Fact = Fact;

    fn handle(&mut self, now: Now, input: Input<Self>) {
        if self.closed {
            return;
        }
        self.now = now;
        match input {
            Input::Notice(Notice::Submitted(arrival)) => self.arrive(arrival, true),
            Input::Notice(Notice::Recovered(arrival)) => self.arrive(arrival, false),
            Input::Notice(Notice::Command(number, command)) => self.command(number, command),
            Input::Answer(answer) => self.answered(answer),
            Input::Stop => self.stopping = true,
            Input::Bytes(_) | Input::Eof | Input::Gone | Input::Secured(_) | Input::Tick => {}
        }
    }

    fn poll(&mut self, _room: usize) -> Step<Self> {
        loop {
            if let Some(step) = self.out.pop_front() {
                return step;
            }
            if self.closed {
                return Step::Wait(Wait { until: None, read: 0 });
            }
            if self.stopping {
                match self.wind_up() {
                    Some(step) => return step,
                    None => continue,
                }
            }
            let worked = self.expire_one()
                || self.activate_next()
                || self.attempt_next()
                || self.defer_doomed();
            if !worked {
                let timers = [self.timers.first(), self.revivals.first()];
                let until = timers.into_iter().flatten().map(|(due, _)| due).min();
                let until = until.map(|due| Time::from_nanos(u64::try_from(due).unwrap_or(0)));
                return Step::Wait(Wait { until, read: 0 });
            }
        }
    }
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod cost_tests;
