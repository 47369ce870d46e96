//! The recipients of a message at one destination: who is tried in this round, who in the next.

use alloc::vec::Vec;

use crate::schedule::Schedule;
use crate::slab::{Link, Linked, List, NONE};

/// One message at one destination.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) message: u32,
    pub(crate) site: u32,
    /// Recipients to be tried in this round.
    pub(crate) todo: Chain,
    /// Recipients to be tried in the next.
    pub(crate) later: Chain,
    /// Deliveries that run.
    pub(crate) busy: u32,
    links: [Link; 3],
}

impl Job {
    pub(crate) const OF_MESSAGE: u8 = 0;
    pub(crate) const OF_SITE: u8 = 1;
    pub(crate) const OF_FLOW: u8 = 2;
}

/// Recipients, by their places in the entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    head: u32,
    pub(crate) len: u32,
}

impl Chain {
    pub(crate) const EMPTY: Self = Self { head: NONE, len: 0 };

    pub(crate) fn is_empty(self) -> bool {
        self.len == 0
    }
}

impl Linked for Job {
    fn links(&self) -> &[Link] {
        &self.links
    }
    fn links_mut(&mut self) -> &mut [Link] {
        &mut self.links
    }
}

impl Schedule {
    /// A job without recipients.
    pub(crate) fn add_job(&mut self, message: u32, of_message: &mut List, site: u32) -> u32 {
        let job = Job {
            message,
            site,
            todo: Chain::EMPTY,
            later: Chain::EMPTY,
            busy: 0,
            links: [Link::NEW; 3],
        };
        let at = self.jobs.insert(job);
        of_message.push_back(&mut self.jobs, at);
        self.sites[site].jobs.push_back(&mut self.jobs, at);
        at
    }

    /// Frees a job that has no recipients left; true when it was freed.
    pub(crate) fn release_job(&mut self, at: u32, of_message: &mut List) -> bool {
        let Job { site, todo, later, busy, .. } = self.jobs[at];
        if todo.len > 0 || later.len > 0 || busy > 0 {
            return false;
        }
        of_message.unlink(&mut self.jobs, at);
        self.sites[site].jobs.unlink(&mut self.jobs, at);
        self.jobs.remove(at);
        self.release_site(site);
        true
    }

    /// Puts a recipient on the list for the next round.
    pub(crate) fn defer(&mut self, job: u32, place: u32) {
        let Chain { head, len } = self.jobs[job].later;
        let head = self.recipients.insert((place, head));
        self.jobs[job].later = Chain { head, len: len + 1 };
    }

    /// The recipients of the next round.
    pub(crate) fn deferred(&self, job: u32) -> impl Iterator<Item = u32> {
        self.chain(self.jobs[job].later)
    }

    fn chain(&self, chain: Chain) -> impl Iterator<Item = u32> {
        let mut next = chain.head;
        core::iter::from_fn(move || {
            let (place, after) = (next != NONE).then(|| self.recipients[next])?;
            next = after;
            Some(place)
        })
    }

    /// Takes up to `limit` recipients off a list.
    pub(crate) fn take(&mut self, mut chain: Chain, limit: u32) -> (Vec<u32>, Chain) {
        let count = chain.len.min(limit);
        let mut taken = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let (place, next) = self.recipients[chain.head];
            self.recipients.remove(chain.head);
            taken.push(place);
            chain = Chain { head: next, len: chain.len - 1 };
        }
        (taken, chain)
    }

    /// Takes all recipients of the next round away.
    pub(crate) fn take_deferred(&mut self, job: u32) -> Vec<u32> {
        let (taken, rest) = self.take(self.jobs[job].later, u32::MAX);
        self.jobs[job].later = rest;
        taken
    }

    /// Moves recipients from one list to the front of another, which turns their order around. What
    /// is put off piles up in reverse, so it is tried in order again.
    pub(crate) fn pour(&mut self, mut from: Chain, mut onto: Chain) -> Chain {
        while from.len > 0 {
            let next = self.recipients[from.head].1;
            self.recipients[from.head].1 = onto.head;
            onto = Chain { head: from.head, len: onto.len + 1 };
            from = Chain { head: next, len: from.len - 1 };
        }
        onto
    }
}
