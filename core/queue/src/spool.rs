//! What is asked of the spool, in which order, and what follows from its answers.

use alloc::vec::Vec;

use crate::call::{Call, Fact, Persisted, ReportKind, Reported};
use crate::change::Change;
use crate::queue::{Message, Open, Pending, Phase, Queue, nanos};

impl Queue {
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

    /// The spool did not do it: again later. Of what is to be dropped only the removal counts: of a
    /// damaged message there may be nothing left to write to.
    pub(crate) fn stall(&mut self, message: u32) {
        let Message { marks, phase, .. } = self.messages[message];
        if marks.dropped && phase != Phase::Removing {
            return;
        }
        if self.stopping {
            self.messages[message].marks.stalled = true;
            return;
        }
        let due = self.mono().saturating_add(nanos(self.schedule.settings.queue_run_delay));
        self.timers.set(message, due);
        if !self.messages[message].marks.stalled {
            self.messages[message].marks.stalled = true;
            self.fact(Fact::Stalled(self.messages[message].id));
        }
    }

    pub(crate) fn persisted(&mut self, message: u32, persisted: Persisted) {
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

    pub(crate) fn reported(
        &mut self,
        message: u32,
        kind: ReportKind,
        told: Vec<u32>,
        outcome: Reported,
    ) {
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

    pub(crate) fn forget(&mut self, message: u32) {
        let Message { id, sender, .. } = self.messages[message];
        self.timers.remove(message);
        self.by_id.remove(&id);
        self.messages.remove(message);
        self.schedule.release_sender(sender);
        self.fact(Fact::Removed(id));
    }
}
