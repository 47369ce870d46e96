//! The end: deliveries that run may end, and the spool learns what came of them.

use alloc::vec::Vec;

use waypost_machine::{Step, Time, Wait, Why};

use crate::queue::{Message, Phase, Queue};

/// What the spool could not do is asked of it again after so many nanoseconds: whoever stops does
/// not wait for the next queue run, and what is not written down is delivered twice.
const AGAIN: i64 = 1_000_000_000;

impl Queue {
    /// The next step of the end; `None` when something else has to be done first.
    pub(crate) fn wind_up(&mut self) -> Option<Step<Self>> {
        let (now, idle) = (self.mono(), self.is_idle());
        if idle || self.again <= now {
            let owing = self.owing();
            if idle && owing.is_empty() {
                self.closed = true;
                return Some(Step::Close(Why::Stopped));
            }
            if self.again <= now {
                self.again = now.saturating_add(AGAIN);
                for message in owing {
                    self.ask_again(message);
                }
                return None;
            }
        }
        let again = Time::from_nanos(u64::try_from(self.again).unwrap_or(0));
        Some(Step::Wait(Wait { until: Some(again), read: 0 }))
    }

    /// Messages of which something happened that the spool does not know and is not being told.
    fn owing(&self) -> Vec<u32> {
        let owes = |message: &Message| {
            let marks = message.marks;
            let unsaved = message.pending.as_ref().is_some_and(|it| !it.unsaved.is_empty());
            match message.phase {
                Phase::Removing => marks.stalled,
                _ => unsaved && !marks.saving && !marks.dropped,
            }
        };
        self.messages.iter().filter(|(_, message)| owes(message)).map(|(at, _)| at).collect()
    }

    fn ask_again(&mut self, message: u32) {
        self.messages[message].marks.stalled = false;
        match self.messages[message].phase {
            Phase::Removing => self.remove(message),
            _ => self.flush(message),
        }
    }
}
