//! A message comes into the queue, from the spool or from outside, with its recipients.

use alloc::vec::Vec;

use crate::call::{Arrival, Duty};
use crate::change::Change;
use crate::job::Job;
use crate::queue::{Marks, Message, Phase, Queue, nanos, wall_nanos};
use crate::slab::{Link, List};

impl Queue {
    /// Takes a message up. One that is known already is left as it is.
    pub(crate) fn arrive(&mut self, arrival: Arrival, at_once: bool) {
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
        if !arrival.unsaved.is_empty() {
            self.pending(at).unsaved = arrival.unsaved;
        }
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
}
