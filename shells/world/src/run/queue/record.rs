//! The spool is told what happened to a message.

use std::sync::Arc;
use std::time::Duration;

use waypost_machine::UnixTime;
use waypost_mail::Target;
use waypost_queue::{Change, Diagnosis, Entry, Persisted, Waiting};

use super::attempt::{log, unreadable};
use super::route::agent;
use super::since;
use super::slot::{Due, Slot};
use crate::Inner;
use crate::event::{Agent, Status};

/// How the queue manager begins the words for recipients whose destination it leaves alone.
const SUSPENDED: &str = "delivery temporarily suspended: ";

/// Makes changes to an entry, durably.
pub(super) fn record(
    world: &Arc<Inner>,
    slot: Arc<Slot>,
    changes: Vec<Change>,
    active: Option<UnixTime>,
    due: Due<Persisted>,
) {
    let worker = Arc::clone(world);
    world.files.submit(Some(slot.key), move || {
        let world = worker;
        let spool = &world.queue.spool;
        let untold = slot.read(spool, |entry| untold(entry, &changes));
        let outcome = match slot.record(spool, &changes) {
            Ok(()) => {
                for (waiting, teller, status, why, arrived) in untold.unwrap_or_default() {
                    let now = world.settings.clock.wall();
                    let active = active.unwrap_or(now);
                    let queued = [since(arrived, active), since(active, now)];
                    let took = (queued, [Duration::ZERO; 2]);
                    log(&world, &slot, &waiting, teller, status, &why, took);
                }
                Persisted::Done
            }
            Err(error) => {
                world.queue.complain(&slot, &error);
                Persisted::Failed(changes)
            }
        };
        for attempt in slot.unpark() {
            if outcome == Persisted::Done {
                attempt.begin(&world);
            } else {
                let nothing = unreadable(&attempt.places);
                attempt.due.keep(nothing);
            }
        }
        due.keep(outcome);
    });
}

/// One line for the log: about whom, who says it, and what.
type Line = (Waiting, (Agent, &'static str), Status, Arc<Diagnosis>, UnixTime);

/// What the queue manager decided by itself, so that no delivery has told the log of it.
fn untold(entry: &Entry, changes: &[Change]) -> Vec<Line> {
    let of = |n: &usize| entry.recipients.get(*n)?.clone();
    let arrived = entry.origin.arrived;
    let line = |change: &Change| match change {
        Change::Failed(n, why) => {
            let waiting = of(n)?;
            let nowhere = matches!(waiting.delivery.target, Target::Undeliverable(_));
            nowhere.then(|| (waiting, agent(why), Status::Bounced, Arc::clone(why), arrived))
        }
        Change::Deferred(n, _, why) if why.text.starts_with(SUSPENDED) => {
            let teller = (Agent::Error, "none");
            Some((of(n)?, teller, Status::Deferred, Arc::clone(why), arrived))
        }
        _ => None,
    };
    changes.iter().filter_map(line).collect()
}
