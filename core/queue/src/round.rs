//! What the outcomes of deliveries mean for a message, and how its round ends.

use alloc::sync::Arc;
use alloc::vec::Vec;

use waypost_mail::Enhanced;

use crate::call::{Duty, Fact, Outcome, ReportKind, SiteState};
use crate::change::Change;
use crate::destination::Transport;
use crate::diagnosis::Diagnosis;
use crate::queue::{Phase, Queue};
use crate::waiting::Waiting;

impl Queue {
    /// Draws the conclusions on a destination from one attempt, which still counts as running.
    pub(crate) fn judge(&mut self, site: u32, state: SiteState) {
        let settings = *self.schedule.settings.concurrency(self.schedule.sites[site].key.transport);
        let dead = self.schedule.sites[site].dead.is_some();
        match state {
            SiteState::Alive if dead => self.revive(site),
            SiteState::Alive => {
                let busy = self.schedule.sites[site].busy;
                self.schedule.sites[site].window.succeeded(&settings, busy);
            }
            SiteState::Failed(why) if !dead => {
                if self.schedule.sites[site].window.failed(&settings) {
                    self.bury(site, why);
                }
            }
            SiteState::Failed(_) | SiteState::Unknown => {}
        }
    }

    fn bury(&mut self, site: u32, reason: Arc<Diagnosis>) {
        let pause = self.schedule.settings.backoff.minimal;
        let due = self.mono().saturating_add(i64::try_from(pause.as_nanos()).unwrap_or(i64::MAX));
        self.schedule.bury(site, Arc::new(reason.suspended()));
        self.revivals.set(site, due);
        let destination = Arc::clone(&self.schedule.sites[site].key);
        self.fact(Fact::Dead { destination, reason, until: self.wall(due) });
    }

    /// Writes down what became of each recipient of an attempt. The changes go to `unsaved`.
    pub(crate) fn settle_outcomes(
        &mut self,
        message: u32,
        job: u32,
        mut recipients: Vec<u32>,
        outcomes: Vec<(u32, Outcome)>,
    ) {
        recipients.sort_unstable();
        let mut told = alloc::vec![false; recipients.len()];
        for (place, outcome) in outcomes {
            match recipients.binary_search(&place) {
                Ok(n) if !told[n] => told[n] = true,
                _ => continue,
            }
            self.settle_outcome(message, job, place, outcome);
        }
        let untold: Vec<u32> =
            recipients.into_iter().zip(told).filter(|(_, told)| !told).map(|(n, _)| n).collect();
        if !untold.is_empty() {
            let why = Arc::new(Diagnosis::own(Enhanced(4, 3, 0), "delivery was interrupted"));
            for place in untold {
                self.settle_outcome(message, job, place, Outcome::Deferred(Arc::clone(&why)));
            }
        }
    }

    fn settle_outcome(&mut self, message: u32, job: u32, place: u32, outcome: Outcome) {
        let n = place as usize;
        match outcome {
            Outcome::Delivered(None) => self.pending(message).unsaved.push(Change::Done(n)),
            Outcome::Delivered(Some(why)) => {
                let pending = self.pending(message);
                pending.delivered.push(place);
                pending.unsaved.push(Change::Delivered(n, why));
            }
            Outcome::Deferred(why) => {
                self.schedule.defer(job, place);
                let next = self.wall(self.next_round(message));
                self.pending(message).unsaved.push(Change::Deferred(n, next, why));
            }
            Outcome::Failed(why) => {
                let pending = self.pending(message);
                pending.failed.push(place);
                pending.unsaved.push(Change::Failed(n, why));
            }
            Outcome::Became(others) => self.became(message, place, others),
        }
    }

    /// Routing now knows: the others begin at once, but for those of whom it still does not.
    fn became(&mut self, message: u32, place: u32, others: Vec<Waiting>) {
        let first = self.places(message, others.len());
        let relayhost = self.schedule.settings.relayhost.clone();
        let duty = |other| Duty::of(other, relayhost.as_deref());
        let duties = (first..).zip(others.iter().map(duty)).collect();
        // The spool has to know the places before it hears of what becomes of them.
        self.pending(message).unsaved.push(Change::Became(place as usize, others));
        let mut new = self.add_recipients(message, duties);
        let marks = self.messages[message].marks;
        if marks.held || marks.dropped || marks.expire {
            return;
        }
        let sites = &self.schedule.sites;
        let known = |site: u32| sites[site].key.transport != Transport::Route;
        new.retain(|job| known(self.schedule.jobs[*job].site));
        self.begin(message, &new);
    }

    /// When a message whose round ends now is tried again, on the monotonic clock.
    fn next_round(&self, message: u32) -> i64 {
        let wait = self.schedule.settings.backoff.wait(self.age(message));
        self.mono().saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Defers one job that waits for a dead destination; false when there is none.
    pub(crate) fn defer_doomed(&mut self) -> bool {
        let Some((job, sender)) = self.schedule.doomed() else { return false };
        let message = self.schedule.jobs[job].message;
        let site = self.schedule.jobs[job].site;
        if self.schedule.leave(job, sender) {
            self.messages[message].live -= 1;
        }
        if let Some(why) = self.schedule.sites[site].dead.clone() {
            let next = self.wall(self.next_round(message));
            let changes = self
                .schedule
                .deferred(job)
                .map(|place| Change::Deferred(place as usize, next, Arc::clone(&why)))
                .collect::<Vec<_>>();
            self.persist(message, changes);
        }
        self.end_round_when_done(message);
        true
    }

    /// Ends the round of a message when all its deliveries have ended and all is written down.
    pub(crate) fn end_round_when_done(&mut self, message: u32) {
        let record = &self.messages[message];
        let ended = record.phase == Phase::Active
            && record.live == 0
            && record.busy == 0
            && record.open == 0
            && !record.marks.stalled;
        if ended {
            self.end_round(message);
        }
    }

    fn end_round(&mut self, message: u32) {
        if self.messages[message].marks.dropped {
            self.leave_active(message);
            self.drop_recipients(message);
            return self.remove(message);
        }
        if self.is_over(message) {
            self.leave_active(message);
            return self.remove(message);
        }
        let pending = self.pending(message);
        if !pending.unsaved.is_empty() {
            return self.flush(message);
        }
        if !self.messages[message].jobs.is_empty() && self.has_expired(message) {
            return self.expire(message);
        }
        let pending = self.pending(message);
        let failed = core::mem::take(&mut pending.failed);
        if !failed.is_empty() {
            return self.report(message, ReportKind::Failed, failed);
        }
        let delivered = core::mem::take(&mut pending.delivered);
        if !delivered.is_empty() {
            return self.report(message, ReportKind::Delivered, delivered);
        }
        self.messages[message].pending = None;
        let warn = self.schedule.settings.delay_warning_time;
        let marks = self.messages[message].marks;
        if !marks.warned && !marks.null_sender && !warn.is_zero() && self.age(message) >= warn {
            let waiting = self.waiting(message);
            return self.report(message, ReportKind::Delayed, waiting);
        }
        self.leave_active(message);
        if marks.held {
            self.messages[message].phase = Phase::Hold;
            return;
        }
        if core::mem::take(&mut self.messages[message].marks.again) {
            return self.make_due(message);
        }
        let due = self.next_round(message);
        self.messages[message].phase = Phase::Deferred;
        self.timers.set(message, due);
        self.fact(Fact::Deferred(self.messages[message].id, self.wall(due)));
    }

    fn has_expired(&self, message: u32) -> bool {
        let (settings, marks) = (&self.schedule.settings, self.messages[message].marks);
        let lifetime = if marks.null_sender {
            settings.bounce_queue_lifetime
        } else {
            settings.maximal_queue_lifetime
        };
        marks.expire || self.age(message) >= lifetime
    }

    /// All recipients that wait for the next round.
    fn waiting(&self, message: u32) -> Vec<u32> {
        let mut waiting: Vec<u32> = self
            .jobs(message)
            .into_iter()
            .flat_map(|job| self.schedule.deferred(job).collect::<Vec<_>>())
            .collect();
        waiting.sort_unstable();
        waiting
    }

    /// Gives all recipients up; the sender is told at the end of the round.
    fn expire(&mut self, message: u32) {
        let waiting = self.drop_recipients(message);
        self.fact(Fact::Expired(self.messages[message].id));
        self.pending(message).failed.extend(&waiting);
        self.persist(message, waiting.into_iter().map(|place| Change::Expired(place as usize)));
    }

    /// Takes all recipients that wait away from a message.
    pub(crate) fn drop_recipients(&mut self, message: u32) -> Vec<u32> {
        let waiting = self.waiting(message);
        for job in self.jobs(message) {
            self.schedule.take_deferred(job);
            self.release_job(message, job);
        }
        waiting
    }
}
