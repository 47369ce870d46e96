//! One delivery: who is meant, by which way it goes, and what the log is told of it.

use std::sync::Arc;
use std::time::Duration;

use waypost_machine::{Now, UnixTime};
use waypost_mail::Enhanced;
use waypost_queue::{
    Attempted, Destination, Diagnosis, Origin, Outcome, SiteState, State, Transport, Waiting,
};

use super::slot::{Due, Slot};
use super::{local, remote, route, since};
use crate::Inner;
use crate::event::{self, Agent, Event, Status};

/// A delivery that is to begin.
pub(crate) struct Attempt {
    pub(super) slot: Arc<Slot>,
    pub(super) destination: Arc<Destination>,
    /// Places in the entry.
    pub(super) places: Vec<u32>,
    /// When the round began.
    pub(super) active: Option<UnixTime>,
    pub(super) due: Due<Attempted>,
}

/// Recipients, by their places in the entry.
pub(super) type Recipients = Vec<(u32, Waiting)>;

/// A delivery under way: what all ways need.
#[derive(Clone)]
pub(super) struct Trip {
    pub(super) world: Arc<Inner>,
    pub(super) slot: Arc<Slot>,
    pub(super) origin: Arc<Origin>,
    pub(super) begun: Now,
    active: UnixTime,
}

impl Attempt {
    /// Lets it begin when its message's turn comes.
    pub(super) fn begin(self, world: &Arc<Inner>) {
        let worker = Arc::clone(world);
        world.files.submit(Some(self.slot.key), move || self.run(&worker));
    }

    fn run(self, world: &Arc<Inner>) {
        let look = |entry: &waypost_queue::Entry| {
            let known = |place: &u32| (*place as usize) < entry.recipients.len();
            let there = |place: &u32| {
                let waiting = entry.recipients.get(*place as usize)?.clone()?;
                (waiting.state == State::Waiting).then_some((*place, waiting))
            };
            let all = self.places.iter().all(known);
            all.then(|| (entry.origin.clone(), self.places.iter().filter_map(there).collect()))
        };
        let (origin, recipients): (_, Recipients) = match self.slot.read(&world.queue.spool, look) {
            Ok(Some(found)) => found,
            Ok(None) => {
                let slot = Arc::clone(&self.slot);
                return slot.park(self);
            }
            Err(error) => {
                world.queue.complain(&self.slot, &error);
                return self.due.keep(unreadable(&self.places));
            }
        };
        let begun = world.settings.clock.now();
        let trip = Trip {
            world: Arc::clone(world),
            slot: self.slot,
            active: self.active.unwrap_or(begun.wall),
            origin: Arc::new(origin),
            begun,
        };
        match self.destination.transport {
            Transport::Virtual => local::deliver(trip, recipients, self.due),
            Transport::Route => route::resolve(trip, recipients, self.due),
            Transport::Smtp => {
                remote::carry(&trip, &self.destination.nexthop, recipients, self.due);
            }
        }
    }
}

/// The entry or the body cannot be read now.
pub(super) fn unreadable(places: &[u32]) -> Attempted {
    let why = Arc::new(Diagnosis::own(Enhanced(4, 3, 0), "queue file read error"));
    let deferred = |place: &u32| (*place, Outcome::Deferred(Arc::clone(&why)));
    Attempted { outcomes: places.iter().map(deferred).collect(), site: SiteState::Unknown }
}

impl Trip {
    /// What a recipient's last line in the log says.
    pub(super) fn log(
        &self,
        waiting: &Waiting,
        (agent, relay): (Agent, &str),
        status: Status,
        why: &Diagnosis,
        took: [Duration; 2],
    ) {
        let arrived = self.origin.arrived;
        let queued = [since(arrived, self.active), since(self.active, self.begun.wall)];
        log(&self.world, &self.slot, waiting, (agent, relay), status, why, (queued, took));
    }

    /// The time since it began.
    pub(super) fn took(&self) -> Duration {
        self.world.settings.clock.mono().since(self.begun.mono)
    }
}

/// Tells the log what has become of a recipient.
pub(super) fn log(
    world: &Inner,
    slot: &Slot,
    waiting: &Waiting,
    (agent, relay): (Agent, &str),
    status: Status,
    why: &Diagnosis,
    (queued, took): ([Duration; 2], [Duration; 2]),
) {
    world.settings.log.event(Event::Delivery(Box::new(event::Attempt {
        queue_id: Arc::clone(&slot.name),
        to: waiting.delivery.to.clone(),
        orig_to: waiting.delivery.orig_to.clone(),
        agent,
        relay: relay.into(),
        delays: [queued[0], queued[1], took[0], took[1]],
        dsn: why.status,
        status,
        text: why.text.clone(),
    })));
}

/// Tells the log that a round begins.
pub(super) fn active(world: &Arc<Inner>, slot: Arc<Slot>) {
    tell(world, slot, |name, entry| Event::Active {
        queue_id: Arc::clone(name),
        sender: entry.origin.sender.clone(),
        size: entry.origin.size,
        recipients: entry
            .recipients
            .iter()
            .flatten()
            .filter(|waiting| waiting.state == State::Waiting)
            .count(),
    });
}

/// Tells the log that the lifetime is over.
pub(super) fn expired(world: &Arc<Inner>, slot: Arc<Slot>) {
    tell(world, slot, |name, entry| Event::Expired {
        queue_id: Arc::clone(name),
        sender: entry.origin.sender.clone(),
    });
}

fn tell(
    world: &Arc<Inner>,
    slot: Arc<Slot>,
    make: impl FnOnce(&Arc<str>, &waypost_queue::Entry) -> Event + Send + 'static,
) {
    let worker = Arc::clone(world);
    world.files.submit(Some(slot.key), move || {
        match slot.read(&worker.queue.spool, |entry| make(&slot.name, entry)) {
            Ok(event) => worker.settings.log.event(event),
            Err(error) => worker.queue.complain(&slot, &error),
        }
    });
}
