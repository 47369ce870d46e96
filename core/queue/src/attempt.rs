//! One delivery: how it begins, and what follows when it ends.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::call::{Attempted, Call};
use crate::job::Job;
use crate::queue::{Open, Pending, Queue};

impl Queue {
    /// Begins one delivery; false when none may begin.
    pub(crate) fn attempt_next(&mut self) -> bool {
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

    pub(crate) fn attempted(&mut self, job: u32, recipients: Vec<u32>, attempted: Attempted) {
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
}
