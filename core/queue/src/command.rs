//! What the admin can do to messages: postsuper(1), postqueue(1).

use alloc::vec::Vec;

use crate::call::{Command, Fact, Listed, Selection};
use crate::change::Change;
use crate::destination::{Destination, TRANSPORTS};
use crate::queue::{Message, Phase, Queue};

impl Queue {
    pub(crate) fn command(&mut self, number: u64, command: Command) {
        let (selection, act): (_, fn(&mut Self, u32) -> bool) = match &command {
            Command::Hold(selection) => (selection, Self::hold),
            Command::Release(selection) => (selection, Self::release),
            Command::Retry(selection) => (selection, Self::retry),
            Command::Expire(selection) => (selection, Self::expire_now),
            Command::Drop(selection) => (selection, Self::drop_message),
        };
        let mut messages = 0;
        for message in self.select(selection) {
            messages += usize::from(act(self, message));
        }
        if matches!(command, Command::Retry(_)) {
            self.revive_selected(selection);
        }
        self.fact(Fact::Commanded { command: number, messages });
    }

    /// The messages of a selection, in no order.
    pub fn listing(&self, selection: &Selection) -> impl Iterator<Item = Listed> {
        self.select(selection).into_iter().map(|at| self.listed(at, &self.messages[at]))
    }

    fn select(&self, selection: &Selection) -> Vec<u32> {
        match selection {
            Selection::Id(id) => self.by_id.get(id).copied().into_iter().collect(),
            Selection::All => self.messages.iter().map(|(at, _)| at).collect(),
            Selection::Nexthop(name) => {
                let mut found: Vec<u32> = self
                    .sites_named(name)
                    .into_iter()
                    .flat_map(|site| self.schedule.messages_at(site))
                    .collect();
                found.sort_unstable();
                found.dedup();
                found
            }
        }
    }

    /// Destinations of this name, whatever the transport.
    fn sites_named(&self, name: &str) -> Vec<u32> {
        let lower = name.to_ascii_lowercase();
        let mut names = alloc::vec![name];
        if lower != name {
            names.push(&lower);
        }
        let keys = names.into_iter().flat_map(|name| {
            TRANSPORTS.map(|transport| Destination { transport, nexthop: name.into() })
        });
        keys.filter_map(|key| self.schedule.find_site(&key)).collect()
    }

    fn revive_selected(&mut self, selection: &Selection) {
        let sites: Vec<u32> = match selection {
            Selection::Nexthop(name) => self.sites_named(name),
            Selection::All => self.revivals.records().collect(),
            Selection::Id(_) => self
                .select(selection)
                .into_iter()
                .flat_map(|message| self.jobs(message))
                .map(|job| self.schedule.jobs[job].site)
                .collect(),
        };
        for site in sites {
            self.revive(site);
        }
    }

    fn hold(&mut self, message: u32) -> bool {
        let record = &mut self.messages[message];
        if record.marks.held || record.marks.dropped || record.phase == Phase::Removing {
            return false;
        }
        record.marks.held = true;
        record.marks.again = false;
        match record.phase {
            Phase::Active => self.call_off(message),
            Phase::Incoming => {
                self.unmake_due(message);
                self.messages[message].phase = Phase::Hold;
            }
            _ => {
                self.timers.remove(message);
                self.messages[message].phase = Phase::Hold;
            }
        }
        self.persist(message, [Change::Held(true)]);
        true
    }

    fn release(&mut self, message: u32) -> bool {
        let Message { marks, phase, .. } = self.messages[message];
        if !marks.held || marks.dropped || phase == Phase::Removing {
            return false;
        }
        self.messages[message].marks.held = false;
        if phase == Phase::Hold {
            self.messages[message].marks.stalled = false;
            self.make_due(message);
        }
        // What was called off goes on when the deliveries that run have ended.
        self.messages[message].marks.again = phase == Phase::Active;
        self.persist(message, [Change::Held(false)]);
        true
    }

    fn retry(&mut self, message: u32) -> bool {
        let deferred = self.messages[message].phase == Phase::Deferred;
        if deferred {
            self.make_due(message);
        }
        deferred
    }

    /// Also what is held: the admin means it.
    fn expire_now(&mut self, message: u32) -> bool {
        let record = &mut self.messages[message];
        if record.marks.dropped || record.marks.expire || record.phase == Phase::Removing {
            return false;
        }
        record.marks.expire = true;
        match record.phase {
            Phase::Deferred => self.make_due(message),
            Phase::Hold => {
                self.release(message);
            }
            Phase::Active => {
                self.call_off(message);
                self.end_round_when_done(message);
            }
            Phase::Incoming | Phase::Removing => {}
        }
        true
    }

    fn drop_message(&mut self, message: u32) -> bool {
        let record = &mut self.messages[message];
        if record.marks.dropped || record.phase == Phase::Removing {
            return false;
        }
        record.marks.dropped = true;
        match record.phase {
            Phase::Active => {
                self.messages[message].marks.stalled = false;
                self.call_off(message);
                self.end_round_when_done(message);
            }
            phase => {
                if phase == Phase::Incoming {
                    self.unmake_due(message);
                }
                self.timers.remove(message);
                self.drop_recipients(message);
                self.remove(message);
            }
        }
        true
    }

    /// Takes back what has not begun in this round.
    fn call_off(&mut self, message: u32) {
        let sender = self.messages[message].sender;
        for job in self.jobs(message) {
            if self.schedule.leave(job, sender) {
                self.messages[message].live -= 1;
            }
        }
    }
}
