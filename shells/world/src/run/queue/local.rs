//! Into mailboxes here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use waypost_mail::{Enhanced, Target, Verdict};
use waypost_queue::{Attempted, Change, Diagnosis, Outcome, SiteState, Waiting};

use super::attempt::{Recipients, Trip, unreadable};
use super::slot::Due;
use super::{route, since};
use crate::event::{Agent, Status};
use crate::run::message::{delivered_head, dsn_of};
use crate::store::Parcel;

/// Delivers. Where routing was asked long ago, it is asked again first: the mailbox may have moved.
/// While the tables do not answer, the one that was known will do.
pub(super) fn deliver(trip: Trip, recipients: Recipients, due: Due<Attempted>) {
    let fresh = trip.world.settings.spool.queue.backoff.minimal;
    if since(trip.origin.arrived, trip.begun.wall) < fresh {
        return write(trip, recipients, Vec::new(), due);
    }
    let asked = recipients.iter().map(|(_, waiting)| waiting.clone()).collect();
    let worker = Arc::clone(&trip.world);
    route::ask(&trip.clone(), asked, move |verdicts| {
        let (mut there, mut outcomes) = (recipients, Vec::new());
        for (n, verdict) in verdicts {
            let (place, waiting) = &there[n];
            let same = match &verdict {
                Verdict::Accept(deliveries) => deliveries.contains(&waiting.delivery),
                Verdict::Refuse(reply) => reply.is_temporary(),
            };
            if !same {
                outcomes.push((*place, route::outcome(&trip, waiting, verdict)));
            }
        }
        there.retain(|(place, _)| outcomes.iter().all(|(other, _)| other != place));
        worker.files.submit(None, move || write(trip, there, outcomes, due));
    });
}

/// Writes the message into the mailboxes.
fn write(
    trip: Trip,
    recipients: Recipients,
    mut outcomes: Vec<(u32, Outcome)>,
    due: Due<Attempted>,
) {
    let worker = Arc::clone(&trip.world);
    let job = move || {
        if trip.world.queue.is_closed() {
            // It would be delivered again after the start.
            return;
        }
        let written =
            if recipients.is_empty() { Some(Vec::new()) } else { store(&trip, &recipients) };
        let Some(written) = written else {
            let places: Vec<u32> = recipients.iter().map(|(place, _)| *place).collect();
            outcomes.extend(unreadable(&places).outcomes);
            return due.keep(Attempted { outcomes, site: SiteState::Unknown });
        };
        let took = [Duration::ZERO, trip.took()];
        let mut site = SiteState::Unknown;
        for ((place, waiting), result) in recipients.iter().zip(written) {
            let (status, why) = match result {
                Ok(()) => (Status::Sent, Diagnosis::own(Enhanced(2, 0, 0), "delivered to maildir")),
                Err(why) => (Status::Deferred, why),
            };
            trip.log(waiting, (Agent::Virtual, "virtual"), status, &why, took);
            let wanted = waiting.notify.is_some_and(|notify| notify.success);
            outcomes.push((
                *place,
                match status {
                    Status::Sent => {
                        site = SiteState::Alive;
                        Outcome::Delivered(wanted.then(|| Arc::new(why)))
                    }
                    Status::Deferred | Status::Bounced => Outcome::Deferred(Arc::new(why)),
                },
            ));
        }
        if trip.world.queue.is_closed() {
            write_down(&trip, &outcomes);
        }
        due.keep(Attempted { outcomes, site });
    };
    // Not in line with the message's other jobs: its mailboxes are written side by side.
    worker.files.submit(None, job);
}

/// Tells the spool who has the message. The queue does so, but for what ended after its stop.
fn write_down(trip: &Trip, outcomes: &[(u32, Outcome)]) {
    let done = |(place, outcome): &(u32, Outcome)| match outcome {
        Outcome::Delivered(None) => Some(Change::Done(*place as usize)),
        Outcome::Delivered(Some(why)) => Some(Change::Delivered(*place as usize, Arc::clone(why))),
        _ => None,
    };
    let done: Vec<Change> = outcomes.iter().filter_map(done).collect();
    if !done.is_empty()
        && let Err(error) = trip.slot.record(&trip.world.queue.spool, &done)
    {
        tracing::error!("spool: {error}; {} may be delivered again", trip.slot.name);
    }
}

/// What came of each; `None` when the message cannot be read.
fn store(trip: &Trip, recipients: &[(u32, Waiting)]) -> Option<Vec<Result<(), Diagnosis>>> {
    let sender = trip.origin.sender.to_string();
    let parcels = recipients.iter().filter_map(|(_, waiting)| match &waiting.delivery.target {
        Target::Maildir(home) => {
            let head = delivered_head(&sender, &waiting.delivery).into_bytes();
            Some(Parcel { home: home.clone(), head })
        }
        _ => None,
    });
    let mut incoming = trip.world.store.deliver(parcels.collect());
    let mut each = |piece: Bytes| {
        incoming.append(&[piece]);
    };
    if let Err(error) = trip.world.queue.spool.read_body(&trip.origin, &mut each) {
        incoming.abort();
        trip.world.queue.complain(&trip.slot, &error);
        return None;
    }
    let results = incoming.commit().into_iter();
    let results = results.map(|result| match result {
        Ok(_) => Ok(()),
        Err(error) => Err(Diagnosis::own(dsn_of(&error), error.to_string())),
    });
    Some(results.collect())
}
