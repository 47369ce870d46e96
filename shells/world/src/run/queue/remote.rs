//! To other servers, by the carrier.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use waypost_mail::{Address, Enhanced, Notify};
use waypost_queue::{Attempted, Diagnosis, Outcome, SiteState, Waiting};
use waypost_smtp::client::{Mail, Read, To};

use super::attempt::{Recipients, Trip};
use super::gather::Gather;
use super::slot::Due;
use crate::carrier::{Body, Carried, Consignment, Fate, Passed};
use crate::event::{Agent, Status};
use crate::promise::Sure;
use crate::run::srs::{Leaving, leaving};
use crate::{lock, spool};

/// Octets of a header that are looked at for characters beyond ASCII.
const MAX_HEADER: usize = 128 * 1024;
/// Why somebody has to wait.
const NO_CARRIER: &str = "mail transport unavailable";
const UNREADABLE: &str = "the message cannot be read now";
/// Octets that are read at a time, at most.
const BLOCK: usize = 64 * 1024;

/// Hands the message to the carrier: once for each form in which it is to leave.
pub(super) fn carry(trip: &Trip, nexthop: &str, recipients: Recipients, due: Due<Attempted>) {
    let Some(carrier) = trip.world.settings.carrier.clone() else {
        return keep(trip, NO_CARRIER, &recipients, due);
    };
    // Each reads at its own pace.
    let open = || Arc::new(OpenBody { trip: trip.clone(), file: Mutex::new(None) });
    let utf8_header = match trip.origin.smtputf8 {
        true => open().has_utf8_header(),
        false => Some(false),
    };
    let Some(utf8_header) = utf8_header else {
        return keep(trip, UNREADABLE, &recipients, due);
    };
    let mut groups: Vec<(Leaving, Recipients)> = Vec::new();
    for (place, waiting) in recipients {
        let form = leaving(&trip.world, &trip.origin, &waiting.delivery);
        match groups.iter_mut().find(|(known, _)| *known == form) {
            Some((_, group)) => group.push((place, waiting)),
            None => groups.push((form, vec![(place, waiting)])),
        }
    }
    let parts: Vec<(Mail, SpoolBody)> = groups
        .iter()
        .map(|(form, group)| {
            let head = Bytes::from(form.head.clone());
            let body = SpoolBody { head, body: open() };
            (mail(trip, form, group, utf8_header), body)
        })
        .collect();
    let gather = {
        let trip = trip.clone();
        Gather::new(move |carried: Vec<(usize, Carried)>| {
            let mut outcomes = Vec::new();
            let mut site = SiteState::Unknown;
            for (n, carried) in carried {
                outcomes.extend(finish(&trip, &groups[n].1, &carried.recipients));
                site = stronger(site, carried.site);
            }
            due.keep(Attempted { outcomes, site });
        })
    };
    for (n, (mail, body)) in parts.into_iter().enumerate() {
        let consignment = Consignment {
            queue_id: Arc::clone(&trip.slot.name),
            nexthop: nexthop.into(),
            mail: Arc::new(mail),
            body: Arc::new(body),
        };
        let gather = Arc::clone(&gather);
        carrier.carry(consignment, Box::new(move |carried| gather.add((n, carried))));
    }
}

/// All have to wait, for this reason.
fn keep(trip: &Trip, why: &str, recipients: &Recipients, due: Due<Attempted>) {
    let waits = Passed {
        fate: Fate::Deferred,
        diagnosis: Arc::new(Diagnosis::own(Enhanced(4, 3, 0), why)),
        relay: "none".into(),
        delays: [Duration::ZERO; 2],
    };
    let outcomes = recipients.iter().map(|recipient| end(trip, recipient, Agent::Error, &waits));
    due.keep(Attempted { outcomes: outcomes.collect(), site: SiteState::Unknown });
}

/// Of two consignments to one next hop, what is better to know.
fn stronger(a: SiteState, b: SiteState) -> SiteState {
    match (a, b) {
        (SiteState::Alive, _) | (_, SiteState::Alive) => SiteState::Alive,
        (SiteState::Unknown, other) | (other, _) => other,
    }
}

fn mail(trip: &Trip, form: &Leaving, group: &Recipients, utf8_header: bool) -> Mail {
    let origin = &trip.origin;
    Mail {
        id: trip.world.queue.last_mail.fetch_add(1, Ordering::Relaxed) + 1,
        sender: form.sender.clone(),
        recipients: group.iter().map(|(_, waiting)| to(waiting)).collect(),
        size: origin.size + form.head.len() as u64,
        body: origin.body,
        smtputf8: origin.smtputf8,
        utf8_header: utf8_header || !form.head.is_ascii(),
        ret: origin.ret,
        envid: origin.envid.clone(),
    }
}

/// RFC 3461 5.2: who forwards fills in what the sender called the recipient, and tells of the
/// success itself, since the sender knows nothing of the new address.
fn to(waiting: &Waiting) -> To {
    let delivery = &waiting.delivery;
    let forwarded = delivery.to != delivery.orig_to;
    let notify =
        waiting.notify.map(|notify| Notify { success: notify.success && !forwarded, ..notify });
    let typed = |address: &Address| {
        let kind = if address.is_utf8() { "utf-8" } else { "rfc822" };
        (kind.into(), address.to_string().into())
    };
    let given = waiting.orcpt.clone();
    let orcpt = given.or_else(|| forwarded.then(|| typed(&delivery.orig_to)));
    To { address: delivery.to.clone(), notify, orcpt }
}

/// Takes down what came of each recipient. One of whom nothing is told has to wait.
fn finish(trip: &Trip, recipients: &Recipients, passed: &[Passed]) -> Vec<(u32, Outcome)> {
    let unavailable = Passed {
        fate: Fate::Deferred,
        diagnosis: Arc::new(Diagnosis::own(Enhanced(4, 3, 0), NO_CARRIER)),
        relay: "none".into(),
        delays: [Duration::ZERO; 2],
    };
    let mut passed = passed.iter();
    let each = recipients.iter().map(|recipient| match passed.next() {
        Some(passed) => end(trip, recipient, Agent::Smtp, passed),
        None => end(trip, recipient, Agent::Error, &unavailable),
    });
    each.collect()
}

/// Takes down what came of one recipient.
fn end(
    trip: &Trip,
    (place, waiting): &(u32, Waiting),
    agent: Agent,
    passed: &Passed,
) -> (u32, Outcome) {
    let status = match passed.fate {
        Fate::Sent { .. } => Status::Sent,
        Fate::Deferred => Status::Deferred,
        Fate::Failed => Status::Bounced,
    };
    trip.log(waiting, (agent, &passed.relay), status, &passed.diagnosis, passed.delays);
    let why = Arc::clone(&passed.diagnosis);
    let outcome = match passed.fate {
        Fate::Sent { notifies } => {
            let forwarded = waiting.delivery.to != waiting.delivery.orig_to;
            let wanted = waiting.notify.is_some_and(|notify| notify.success);
            Outcome::Delivered((wanted && (forwarded || !notifies)).then_some(why))
        }
        Fate::Deferred => Outcome::Deferred(why),
        Fate::Failed => Outcome::Failed(why),
    };
    (*place, outcome)
}

/// A body that is read by the file pool, and what stands before it.
struct SpoolBody {
    head: Bytes,
    body: Arc<OpenBody>,
}

/// The body file, opened when it is first read.
struct OpenBody {
    trip: Trip,
    file: Mutex<Option<spool::Body>>,
}

impl OpenBody {
    fn block(&self, from: u64, len: usize) -> Option<(Bytes, bool)> {
        let queue = &self.trip.world.queue;
        let mut file = lock(&self.file);
        let opened = match &mut *file {
            Some(opened) => Ok(opened),
            none => queue.spool.body(&self.trip.origin).map(|opened| none.insert(opened)),
        };
        let read = opened.and_then(|opened| opened.read(from, len.clamp(1, BLOCK)));
        read.inspect_err(|error| queue.complain(&self.trip.slot, error)).ok()
    }

    /// `None` when it cannot be read now.
    fn has_utf8_header(&self) -> Option<bool> {
        let mut last = [0; 4];
        for from in (0..MAX_HEADER).step_by(BLOCK) {
            let (block, end) = self.block(from as u64, BLOCK)?;
            for byte in &block {
                last = [last[1], last[2], last[3], *byte];
                if last == *b"\r\n\r\n" {
                    return Some(false);
                }
                if !byte.is_ascii() {
                    return Some(true);
                }
            }
            if end {
                break;
            }
        }
        Some(false)
    }
}

impl Body for SpoolBody {
    fn read(&self, from: u64, len: usize, done: Box<dyn FnOnce(Read) + Send>) {
        let head = self.head.len() as u64;
        if let Some(rest) = head.checked_sub(from).filter(|rest| *rest > 0) {
            let start = usize::try_from(head - rest).unwrap_or(usize::MAX);
            let bytes = self.head.slice(start..(start + len.max(1)).min(self.head.len()));
            return done(Read::Block { bytes, end: false });
        }
        let done = Sure::new(done, || Read::Failed);
        let body = Arc::clone(&self.body);
        self.body.trip.world.files.submit(None, move || {
            done.keep(match body.block(from - head, len) {
                Some((bytes, end)) => Read::Block { bytes, end },
                None => Read::Failed,
            });
        });
    }
}
