//! Which messages are active: each sender gets places while there are enough for others.

use crate::call::Fact;
use crate::queue::{Phase, Queue};

impl Queue {
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
    pub(crate) fn activate_next(&mut self) -> bool {
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
}
