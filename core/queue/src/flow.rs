//! Jobs of one sender at one destination, and the places in windows that they are promised.

use crate::job::{Chain, Job};
use crate::schedule::{Schedule, number};
use crate::slab::{Link, Linked, List};

/// Jobs of one sender at one destination that wait in this round.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) site: u32,
    pub(crate) sender: u32,
    pub(crate) jobs: List,
    /// Deliveries that its jobs need.
    pub(crate) wanted: u32,
    /// Places in the destination's window that it has been promised.
    pub(crate) granted: u32,
    /// Recipients in one delivery.
    pub(crate) recipient_limit: u32,
    links: [Link; 3],
}

impl Flow {
    pub(crate) const OF_SITE: u8 = 0;
    pub(crate) const PARKED: u8 = 1;
    pub(crate) const GRANTED: u8 = 2;
}

impl Linked for Flow {
    fn links(&self) -> &[Link] {
        &self.links
    }
    fn links_mut(&mut self) -> &mut [Link] {
        &mut self.links
    }
}

impl Schedule {
    /// Deliveries that a job of a flow needs for its waiting recipients.
    fn needs(&self, job: u32, flow: u32) -> u32 {
        self.jobs[job].todo.len.div_ceil(self.flows[flow].recipient_limit)
    }

    /// Begins a round: what was put off now waits for its turn. False when there is nothing.
    pub(crate) fn begin(&mut self, job: u32, sender: u32) -> bool {
        let Job { todo, later, .. } = self.jobs[job];
        if later.len == 0 || todo.len > 0 {
            return false;
        }
        let todo = self.pour(later, todo);
        self.jobs[job].todo = todo;
        self.jobs[job].later = Chain::EMPTY;
        self.enter(job, sender);
        true
    }

    fn enter(&mut self, job: u32, sender: u32) {
        let site = self.jobs[job].site;
        let flow = match self.flows_by_key.get(&(site, sender)) {
            Some(flow) => *flow,
            None => {
                let limits = self.settings.concurrency(self.transport(site));
                let flow = self.flows.insert(Flow {
                    site,
                    sender,
                    jobs: List::new(Job::OF_FLOW),
                    wanted: 0,
                    granted: 0,
                    recipient_limit: limits.recipient_limit,
                    links: [Link::NEW; 3],
                });
                self.flows_by_key.insert((site, sender), flow);
                self.sites[site].flows.push_back(&mut self.flows, flow);
                flow
            }
        };
        let needs = self.needs(job, flow);
        let mut jobs = self.flows[flow].jobs;
        jobs.push_back(&mut self.jobs, job);
        self.flows[flow].jobs = jobs;
        self.flows[flow].wanted += needs;
        if self.sites[site].dead.is_some() {
            self.dead.push_back(&mut self.sites, site);
        }
        self.ask(flow);
    }

    /// Gives a flow places in the window while there are some, then lets it wait for others.
    fn ask(&mut self, flow: u32) {
        let Flow { site, wanted, granted, .. } = self.flows[flow];
        let mut missing = wanted.saturating_sub(granted);
        while missing > 0 && self.sites[site].parked.is_empty() && self.sites[site].has_room() {
            self.grant(flow);
            missing -= 1;
        }
        if missing > 0 {
            self.park(flow);
        }
    }

    pub(crate) fn park(&mut self, flow: u32) {
        let site = self.flows[flow].site;
        self.sites[site].parked.push_back(&mut self.flows, flow);
    }

    fn grant(&mut self, flow: u32) {
        let Flow { site, sender, .. } = self.flows[flow];
        let n = number(self.transport(site));
        self.flows[flow].granted += 1;
        self.sites[site].granted += 1;
        self.senders[sender].granted[n].push_back(&mut self.flows, flow);
        self.turn[n].push_back(&mut self.senders, sender);
    }

    /// Takes a promised place back.
    pub(crate) fn revoke(&mut self, flow: u32) {
        let Flow { site, sender, .. } = self.flows[flow];
        let n = number(self.transport(site));
        self.flows[flow].granted -= 1;
        self.sites[site].granted -= 1;
        if self.flows[flow].granted == 0 {
            self.senders[sender].granted[n].unlink(&mut self.flows, flow);
            if self.senders[sender].granted[n].is_empty() {
                self.turn[n].unlink(&mut self.senders, sender);
            }
        }
    }

    /// Hands free places of a window to the flows that wait for them.
    pub(crate) fn hand_out(&mut self, site: u32) {
        while self.sites[site].has_room() {
            let Some(flow) = self.sites[site].parked.pop_front(&mut self.flows) else { return };
            self.grant(flow);
            if self.flows[flow].wanted > self.flows[flow].granted {
                self.park(flow);
            }
        }
    }

    /// Takes a job out of its flow, with all that was promised for it: its recipients are put off.
    /// False when it did not wait.
    pub(crate) fn leave(&mut self, job: u32, sender: u32) -> bool {
        let site = self.jobs[job].site;
        let Some(flow) = self.flows_by_key.get(&(site, sender)).copied() else { return false };
        let mut jobs = self.flows[flow].jobs;
        if !jobs.contains(&self.jobs, job) {
            return false;
        }
        let needs = self.needs(job, flow);
        jobs.unlink(&mut self.jobs, job);
        self.flows[flow].jobs = jobs;
        self.flows[flow].wanted -= needs;
        self.settle(flow);
        let Job { todo, later, .. } = self.jobs[job];
        let later = self.pour(todo, later);
        self.jobs[job].todo = Chain::EMPTY;
        self.jobs[job].later = later;
        self.hand_out(site);
        true
    }

    /// Gives back what a flow does not need any more, and forgets it when it needs nothing.
    pub(crate) fn settle(&mut self, flow: u32) {
        while self.flows[flow].granted > self.flows[flow].wanted {
            self.revoke(flow);
        }
        let Flow { site, sender, wanted, granted, .. } = self.flows[flow];
        if wanted == granted {
            self.sites[site].parked.unlink(&mut self.flows, flow);
        }
        if wanted == 0 {
            self.sites[site].flows.unlink(&mut self.flows, flow);
            self.flows_by_key.remove(&(site, sender));
            self.flows.remove(flow);
        }
    }
}
