//! Back to routing: recipients of whom it could not tell before where they lead.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use waypost_mail::{Delivery, Enhanced, Reply, Target, Verdict};
use waypost_queue::{Attempted, Diagnosis, Outcome, SiteState, Waiting};
use waypost_route::NONSENSE;

use super::attempt::{Recipients, Trip};
use super::gather::Gather;
use super::slot::Due;
use crate::event::{Agent, Status};
use crate::run::srs;

/// "Bad destination mailbox address" (RFC 3463 3.2).
pub(super) const UNKNOWN_USER: Enhanced = Enhanced(5, 1, 1);

/// Asks the tables anew.
pub(super) fn resolve(trip: Trip, recipients: Recipients, due: Due<Attempted>) {
    let asked = recipients.iter().map(|(_, waiting)| waiting.clone()).collect();
    ask(&trip.clone(), asked, move |verdicts| {
        // Whoever is reached through two aliases gets the message once.
        let mut seen = HashSet::new();
        let mut is_new = |it: &Waiting| seen.insert(it.delivery.to.lookup_key().to_lowercase());
        let outcomes = verdicts
            .into_iter()
            .map(|(n, verdict)| {
                let (place, waiting) = &recipients[n];
                let mut outcome = outcome(&trip, waiting, verdict);
                if let Outcome::Became(others) = &mut outcome {
                    others.retain(&mut is_new);
                }
                (*place, outcome)
            })
            .collect();
        due.keep(Attempted { outcomes, site: SiteState::Unknown });
    });
}

/// Asks the tables where these lead now; `done` gets the verdicts with the numbers of those asked.
pub(super) fn ask(
    trip: &Trip,
    asked: Vec<Waiting>,
    done: impl FnOnce(Vec<(usize, Verdict)>) + Send + 'static,
) {
    let gather = Gather::new(done);
    for (n, waiting) in asked.into_iter().enumerate() {
        let (to, orig_to) = (waiting.delivery.to, waiting.delivery.orig_to);
        let gather = Arc::clone(&gather);
        let keep = Box::new(move |verdict| gather.add((n, verdict)));
        let world = &trip.world;
        let request = srs::again(world, to, orig_to);
        let (lookups, clock) = (&world.lookups, &world.settings.clock);
        crate::run::resolve::resolve(lookups, clock, &world.policy, request, keep);
    }
}

/// What the verdict means for a recipient, who does not know more than that.
pub(super) fn outcome(trip: &Trip, waiting: &Waiting, verdict: Verdict) -> Outcome {
    let (why, status) = match verdict {
        Verdict::Accept(deliveries) => {
            let deliveries = own_part(waiting, deliveries);
            if let [only] = deliveries.as_slice()
                && only.to == waiting.delivery.to
                && let Target::Later(reply) = &only.target
            {
                (not_yet(reply), Status::Deferred)
            } else {
                let became = |delivery| {
                    let mut other = Waiting { delivery, ..waiting.clone() };
                    if let Target::Later(reply) = &other.delivery.target {
                        other.last = Some(Arc::new(not_yet(reply)));
                    }
                    other
                };
                return Outcome::Became(deliveries.into_iter().map(became).collect());
            }
        }
        Verdict::Refuse(reply) if reply.is_temporary() => (not_yet(&reply), Status::Deferred),
        Verdict::Refuse(reply) => {
            let mut why = Diagnosis::of_reply(&reply);
            if why.status == UNKNOWN_USER {
                let address = waiting.delivery.to.lookup_key();
                why.text = format!("unknown user: \"{address}\"").into();
            }
            (why, Status::Bounced)
        }
    };
    trip.log(waiting, agent(&why), status, &why, [Duration::ZERO; 2]);
    match status {
        Status::Bounced => Outcome::Failed(Arc::new(why)),
        Status::Deferred | Status::Sent => Outcome::Deferred(Arc::new(why)),
    }
}

/// What of these deliveries is for a recipient. One who was found at the end of an alias, beside
/// others, and still is there is meant alone: the others have, or wait for, a message of their own.
fn own_part(waiting: &Waiting, mut deliveries: Vec<Delivery>) -> Vec<Delivery> {
    let known = match &waiting.delivery.target {
        Target::Maildir(_) => true,
        Target::Later(reply) => reply.enhanced == Some(NONSENSE),
        Target::Remote | Target::Undeliverable(_) => false,
    };
    let own = deliveries.iter().position(|it| it.to == waiting.delivery.to);
    match own.filter(|_| known) {
        Some(own) => vec![deliveries.swap_remove(own)],
        None => deliveries,
    }
}

/// Who says so in Postfix, and its `relay=`.
pub(super) fn agent(why: &Diagnosis) -> (Agent, &'static str) {
    match why.status {
        UNKNOWN_USER | crate::run::message::LOOP => (Agent::Virtual, "virtual"),
        _ => (Agent::Error, "none"),
    }
}

/// A reply of routing as a reason to wait.
fn not_yet(reply: &Reply) -> Diagnosis {
    let mut why = Diagnosis::of_reply(reply);
    why.status.0 = 4;
    why
}
