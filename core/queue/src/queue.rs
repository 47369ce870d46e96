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
    Answer, CallId, Input, Ledger, Machine, Now, Step, Ticket, Time, UnixTime, Wait, Why,
};

use crate::call::{
    Answered, Arrival, Attempted, Call, Duty, Fact, Listed, ListedDestination, Notice, Persisted,
    Place, Removed, ReportKind, Reported,
};
use crate::entry::Change;
use crate::heap::Heap;
use crate::queue_id::QueueId;
use crate::schedule::{Job, Schedule};
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
    with_due: List,
    active: u32,
    ledger: Ledger,
    open: BTreeMap<CallId, Open>,
    out: VecDeque<Step<Self>>,
    pub(crate) now: Now,
    stopping: bool,
    closed: bool,
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
    places: u32,
    pub(crate) phase: Phase,
    pub(crate) marks: Marks,
    pub(crate) pending: Option<Box<Pending>>,
    links: [Link; 1],
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
enum Open {
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

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn wall_nanos(time: UnixTime) -> i64 {
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
            with_due: List::new(crate::schedule::Sender::WITH_DUE),
            active: 0,
            ledger: Ledger::new(),
            open: BTreeMap::new(),
            out: VecDeque::new(),
            now: Now::default(),
            stopping: false,
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

    fn listed(&self, at: u32, message: &Message) -> Listed {
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

    fn call<T>(&mut self, open: Open, make: impl FnOnce(Ticket<T>) -> Call) {
        let ticket = self.ledger.open_commit();
        self.open.insert(ticket.id(), open);
        self.out.push_back(Step::Call(make(ticket)));
    }

    /// Takes a message up. One that is known already is left as it is.
    fn arrive(&mut self, arrival: Arrival, at_once: bool) {
        if self.by_id.contains_key(&arrival.id) {
            return;
        }
        let age = wall_nanos(self.now.wall).saturating_sub(wall_nanos(arrival.arrived)).max(0);
        let ahead = wall_nanos(arrival.next).saturating_sub(wall_nanos(self.now.wall));
        // A time of day that was wrong once must not keep a message for longer than usual.
        let longest = nanos(self.schedule.settings.backoff.maximal);
        let due = self.mono().saturating_add(ahead.clamp(0, longest));
        let sender = self.schedule.sender(&arrival.sender);
        let at = self.messages.insert(Message {
            id: arrival.id,
            born: self.mono().saturating_sub(age),
            sender,
            jobs: List::new(Job::OF_MESSAGE),
            live: 0,
            busy: 0,
            open: 0,
            places: arrival.places,
            phase: Phase::Deferred,
            marks: Marks {
                null_sender: arrival.null_sender,
                tried: arrival.tried,
                held: arrival.held,
                warned: arrival.warned,
                ..Marks::default()
            },
            pending: None,
            links: [Link::NEW],
        });
        self.by_id.insert(arrival.id, at);
        let duties = arrival.recipients.into_iter().map(|r| (r.place, r.duty)).collect();
        self.add_recipients(at, duties);
        if arrival.held {
            self.messages[at].phase = Phase::Hold;
        } else if at_once || ahead <= 0 {
            self.make_due(at);
        } else {
            self.timers.set(at, due);
        }
    }

    /// Takes recipients up: for the next round, or for what is to be told at its end. The jobs are
    /// new.
    pub(crate) fn add_recipients(&mut self, message: u32, duties: Vec<(u32, Duty)>) -> Vec<u32> {
        let mut there = Vec::with_capacity(duties.len());
        for (place, duty) in duties {
            match duty {
                Duty::Deliver(destination) => there.push((self.schedule.site(destination), place)),
                Duty::Nowhere(why) => {
                    let pending = self.pending(message);
                    pending.failed.push(place);
                    pending.unsaved.push(Change::Failed(place as usize, why));
                }
                Duty::ReportFailed => self.pending(message).failed.push(place),
                Duty::ReportDelivered => self.pending(message).delivered.push(place),
            }
        }
        there.sort_unstable();
        let mut jobs = self.messages[message].jobs;
        let (mut last, mut new) = (None, Vec::new());
        for (site, place) in there {
            let job = match last {
                Some((at, job)) if at == site => job,
                _ => {
                    let job = self.schedule.add_job(message, &mut jobs, site);
                    new.push(job);
                    job
                }
            };
            last = Some((site, job));
            self.schedule.defer(job, place);
        }
        self.messages[message].jobs = jobs;
        new
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

    /// The time of a message has come: it waits for a place among the active ones.
    pub(crate) fn make_due(&mut self, message: u32) {
        self.timers.remove(message);
        self.messages[message].phase = Phase::Incoming;
        let sender = self.messages[message].sender;
        self.schedule.senders[sender].due.push_back(&mut self.messages, message);
        self.consider(sender);
    }

    /// Takes a message out of those that wait for a place.
    pub(crate) fn unmake_due(&mut self, message: u32) {
        let sender = self.messages[message].sender;
        self.schedule.senders[sender].due.unlink(&mut self.messages, message);
        if self.schedule.senders[sender].due.is_empty() {
            self.with_due.unlink(&mut self.schedule.senders, sender);
        }
    }

    /// Whether a sender may have one more active message: one, or less than there are places left,
    /// so that there is always one for somebody else.
    fn may_activate(&self, sender: u32) -> bool {
        let left = self.schedule.settings.message_active_limit.saturating_sub(self.active);
        let active = self.schedule.senders[sender].active;
        active == 0 || active < left
    }

    fn consider(&mut self, sender: u32) {
        if !self.schedule.senders[sender].due.is_empty() && self.may_activate(sender) {
            self.with_due.push_back(&mut self.schedule.senders, sender);
        }
    }

    /// Makes one message active; false when there is none, or no place.
    fn activate_next(&mut self) -> bool {
        while self.active < self.schedule.settings.message_active_limit {
            let Some(sender) = self.with_due.pop_front(&mut self.schedule.senders) else {
                return false;
            };
            if !self.may_activate(sender) {
                continue;
            }
            let due = self.schedule.senders[sender].due.pop_front(&mut self.messages);
            if let Some(message) = due {
                self.activate(message);
                self.consider(sender);
                return true;
            }
        }
        false
    }

    fn activate(&mut self, message: u32) {
        let sender = self.messages[message].sender;
        self.active += 1;
        self.schedule.senders[sender].active += 1;
        self.messages[message].phase = Phase::Active;
        let jobs = self.jobs(message);
        let dead = |job: &u32| self.schedule.sites[self.schedule.jobs[*job].site].dead.is_some();
        let hopeless = self.messages[message].marks.tried && jobs.iter().all(dead);
        if !hopeless {
            self.fact(Fact::Active(self.messages[message].id));
            self.begin(message, &jobs);
        }
        self.messages[message].marks.tried = true;
        self.flush(message);
        self.end_round_when_done(message);
    }

    /// Lets jobs wait for their turn.
    pub(crate) fn begin(&mut self, message: u32, jobs: &[u32]) {
        let sender = self.messages[message].sender;
        for job in jobs {
            if self.schedule.begin(*job, sender) {
                self.messages[message].live += 1;
            }
        }
    }

    /// The round is over: there is a place for another message.
    pub(crate) fn leave_active(&mut self, message: u32) {
        let sender = self.messages[message].sender;
        self.active -= 1;
        self.schedule.senders[sender].active -= 1;
        self.consider(sender);
    }

    /// Writes down what the spool does not know yet, one call at a time so that the order stays.
    pub(crate) fn flush(&mut self, message: u32) {
        let Message { id, marks, phase, .. } = self.messages[message];
        if marks.saving || marks.stalled || phase == Phase::Removing {
            return;
        }
        let changes = match &mut self.messages[message].pending {
            Some(pending) if !pending.unsaved.is_empty() => core::mem::take(&mut pending.unsaved),
            _ => return,
        };
        self.messages[message].marks.saving = true;
        self.messages[message].open += 1;
        self.call(Open::Persist { message }, |ticket| Call::Persist {
            message: id,
            changes,
            ticket,
        });
    }

    pub(crate) fn persist(&mut self, message: u32, changes: impl IntoIterator<Item = Change>) {
        self.pending(message).unsaved.extend(changes);
        self.flush(message);
    }

    pub(crate) fn report(&mut self, message: u32, kind: ReportKind, recipients: Vec<u32>) {
        self.messages[message].open += 1;
        let id = self.messages[message].id;
        let open = Open::Report { message, kind, recipients: recipients.clone() };
        self.call(open, |ticket| Call::Report { message: id, kind, recipients, ticket });
    }

    /// Removes a message, when the spool has done what it was asked for it before.
    pub(crate) fn remove(&mut self, message: u32) {
        self.messages[message].phase = Phase::Removing;
        self.timers.remove(message);
        if self.messages[message].open > 0 {
            return;
        }
        let id = self.messages[message].id;
        self.call(Open::Remove { message }, |ticket| Call::Remove { message: id, ticket });
    }

    /// The spool did not do it: again later.
    pub(crate) fn stall(&mut self, message: u32) {
        let due = self.mono().saturating_add(nanos(self.schedule.settings.queue_run_delay));
        self.timers.set(message, due);
        if !self.messages[message].marks.stalled {
            self.messages[message].marks.stalled = true;
            self.fact(Fact::Stalled(self.messages[message].id));
        }
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

    fn persisted(&mut self, message: u32, persisted: Persisted) {
        self.messages[message].open -= 1;
        self.messages[message].marks.saving = false;
        if self.messages[message].phase == Phase::Removing {
            return self.remove(message);
        }
        match persisted {
            Persisted::Done => self.flush(message),
            Persisted::Failed(mut changes) => {
                let later = core::mem::take(&mut self.pending(message).unsaved);
                changes.extend(later);
                self.pending(message).unsaved = changes;
                // What waits for a place among the active writes it down when it has one.
                if matches!(self.messages[message].phase, Phase::Active | Phase::Hold) {
                    self.stall(message);
                }
            }
        }
        self.end_round_when_done(message);
    }

    fn reported(&mut self, message: u32, kind: ReportKind, told: Vec<u32>, outcome: Reported) {
        self.messages[message].open -= 1;
        match (outcome, kind) {
            (Reported::Failed, ReportKind::Failed) => self.pending(message).failed.extend(told),
            (Reported::Failed, ReportKind::Delivered) => {
                self.pending(message).delivered.extend(told);
            }
            (Reported::Failed, ReportKind::Delayed) => {}
            (Reported::Done, ReportKind::Delayed) => {
                self.messages[message].marks.warned = true;
                self.persist(message, [Change::Warned]);
            }
            (Reported::Done, _) if self.is_over(message) => {}
            (Reported::Done, _) => {
                let done = told.into_iter().map(|place| Change::Done(place as usize));
                self.persist(message, done);
            }
        }
        if outcome == Reported::Failed {
            self.stall(message);
        }
        self.end_round_when_done(message);
    }

    /// Nobody waits and nobody is to be told: only the entry is left.
    pub(crate) fn is_over(&self, message: u32) -> bool {
        let message = &self.messages[message];
        let quiet =
            |p: &Pending| p.failed.is_empty() && p.delivered.is_empty() && p.unsaved.is_empty();
        message.jobs.is_empty()
            && message.busy == 0
            && message.open == 0
            && message.pending.as_deref().is_none_or(quiet)
    }

    fn forget(&mut self, message: u32) {
        let Message { id, sender, .. } = self.messages[message];
        self.timers.remove(message);
        self.by_id.remove(&id);
        self.messages.remove(message);
        self.schedule.release_sender(sender);
        self.fact(Fact::Removed(id));
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

    /// Begins one delivery; false when none may begin.
    fn attempt_next(&mut self) -> bool {
        let Some((job, recipients)) = self.schedule.pick() else { return false };
        let Job { message, site, todo, .. } = self.schedule.jobs[job];
        self.messages[message].busy += 1;
        if todo.is_empty() {
            self.messages[message].live -= 1;
        }
        let (id, destination) =
            (self.messages[message].id, Arc::clone(&self.schedule.sites[site].key));
        let open = Open::Attempt { job, recipients: recipients.clone() };
        self.call(open, |ticket| Call::Attempt { message: id, destination, recipients, ticket });
        true
    }

    fn attempted(&mut self, job: u32, recipients: Vec<u32>, attempted: Attempted) {
        let Job { message, site, .. } = self.schedule.jobs[job];
        self.messages[message].busy -= 1;
        self.judge(site, attempted.site);
        self.schedule.ended(job);
        self.settle_outcomes(message, job, recipients, attempted.outcomes);
        self.schedule.hand_out(site);
        self.release_job(message, job);
        if self.needs_no_record(message) {
            self.messages[message].pending = None;
            self.messages[message].marks.stalled = false;
            self.timers.remove(message);
        }
        self.flush(message);
        self.end_round_when_done(message);
    }

    /// When the next thing is the removal, it says all that there is to write down.
    fn needs_no_record(&self, message: u32) -> bool {
        let message = &self.messages[message];
        let nobody_told = |p: &Pending| p.failed.is_empty() && p.delivered.is_empty();
        message.jobs.is_empty()
            && message.busy == 0
            && message.open == 0
            && message.pending.as_deref().is_none_or(nobody_told)
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
            Input::Bytes(_) | Input::Eof | Input::Secured(_) | Input::Tick => {}
        }
    }

    fn poll(&mut self, _room: usize) -> Step<Self> {
        loop {
            if let Some(step) = self.out.pop_front() {
                return step;
            }
            if self.stopping {
                if self.open.is_empty() && !self.closed {
                    self.closed = true;
                    return Step::Close(Why::Stopped);
                }
                return Step::Wait(Wait { until: None, read: 0 });
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
