//! Who is next.
//!
//! A *job* is one message at one destination. Jobs of one sender at one destination form a *flow*.
//! A destination gives the places of its window to its flows in turn; a transport gives its
//! processes to the senders in turn, each sender to his flows in turn, and a flow to its jobs in
//! turn: one delivery of at most `recipient_limit` recipients at a time. So a message waits for one
//! delivery of each other sender at its destination, and of each other message of its own sender
//! there, however many messages or recipients those have.
//!
//! No step looks at more than a few records: a flow stands in its sender's turn only with a place
//! in a window already granted, so that whoever is next can really go.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::destination::{Destination, Site, TRANSPORTS, Transport, Window};
use crate::diagnosis::Diagnosis;
use crate::flow::Flow;
use crate::job::Job;
use crate::settings::Settings;
use crate::slab::{Link, Linked, List, Slab};

/// Who is fair to whom: a login, or the domain of an envelope sender.
#[derive(Debug)]
pub(crate) struct Sender {
    key: Arc<str>,
    /// Messages of his in the queue.
    messages: u32,
    /// How many of them are active.
    pub(crate) active: u32,
    /// Messages that wait to become active.
    pub(crate) due: List,
    /// For each transport, flows with a place granted.
    pub(crate) granted: [List; 3],
    /// In the turn of each transport, and among those with due messages.
    links: [Link; 4],
}

impl Sender {
    pub(crate) const WITH_DUE: u8 = 3;
}

impl Linked for Sender {
    fn links(&self) -> &[Link] {
        &self.links
    }
    fn links_mut(&mut self) -> &mut [Link] {
        &mut self.links
    }
}

/// Jobs, flows, destinations and senders, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) settings: Settings,
    pub(crate) jobs: Slab<Job>,
    pub(crate) sites: Slab<Site>,
    pub(crate) senders: Slab<Sender>,
    pub(crate) flows: Slab<Flow>,
    /// The recipients of all jobs: place, and the next one.
    pub(crate) recipients: Slab<(u32, u32)>,
    sites_by_key: BTreeMap<Arc<Destination>, u32>,
    senders_by_key: BTreeMap<Arc<str>, u32>,
    /// Flows by destination and sender.
    pub(crate) flows_by_key: BTreeMap<(u32, u32), u32>,
    /// For each transport, senders with a flow that may go.
    pub(crate) turn: [List; 3],
    /// Deliveries that run, for each transport.
    busy: [u32; 3],
    /// Which transport is looked at first.
    first: usize,
    /// Dead destinations with jobs that wait.
    pub(crate) dead: List,
}

pub(crate) const fn number(transport: Transport) -> usize {
    transport as usize
}

impl Schedule {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            jobs: Slab::new(),
            sites: Slab::new(),
            senders: Slab::new(),
            flows: Slab::new(),
            recipients: Slab::new(),
            sites_by_key: BTreeMap::new(),
            senders_by_key: BTreeMap::new(),
            flows_by_key: BTreeMap::new(),
            turn: [List::new(0), List::new(1), List::new(2)],
            busy: [0; 3],
            first: 0,
            dead: List::new(0),
        }
    }

    /// Counts one more message of a sender.
    pub(crate) fn sender(&mut self, key: &str) -> u32 {
        let at = match self.senders_by_key.get(key) {
            Some(at) => *at,
            None => {
                let key: Arc<str> = key.into();
                let at = self.senders.insert(Sender {
                    key: Arc::clone(&key),
                    messages: 0,
                    active: 0,
                    due: List::new(0),
                    granted: [List::new(Flow::GRANTED); 3],
                    links: [Link::NEW; 4],
                });
                self.senders_by_key.insert(key, at);
                at
            }
        };
        self.senders[at].messages += 1;
        at
    }

    /// Counts one message of a sender less.
    pub(crate) fn release_sender(&mut self, at: u32) {
        self.senders[at].messages -= 1;
        if self.senders[at].messages == 0 {
            let key = Arc::clone(&self.senders[at].key);
            self.senders_by_key.remove(&key);
            self.senders.remove(at);
        }
    }

    /// The destination of this name, if it is known.
    pub(crate) fn find_site(&self, key: &Destination) -> Option<u32> {
        self.sites_by_key.get(key).copied()
    }

    /// The destination of this name.
    pub(crate) fn site(&mut self, key: Destination) -> u32 {
        if let Some(at) = self.find_site(&key) {
            return at;
        }
        let settings = *self.settings.concurrency(key.transport);
        let key = Arc::new(key);
        let at = self.sites.insert(Site::new(Arc::clone(&key), &settings));
        self.sites_by_key.insert(key, at);
        at
    }

    /// All destinations, by name.
    pub(crate) fn sites(&self) -> impl Iterator<Item = &Site> {
        self.sites_by_key.values().map(|site| &self.sites[*site])
    }

    /// Messages with recipients there.
    pub(crate) fn messages_at(&self, site: u32) -> Vec<u32> {
        self.sites[site].jobs.iter(&self.jobs).map(|job| self.jobs[job].message).collect()
    }

    /// Forgets a destination that nothing is known of.
    pub(crate) fn release_site(&mut self, at: u32) {
        if self.sites[at].is_idle() {
            let key = Arc::clone(&self.sites[at].key);
            self.sites_by_key.remove(&key);
            self.sites.remove(at);
        }
    }

    pub(crate) fn transport(&self, site: u32) -> Transport {
        self.sites[site].key.transport
    }

    /// The next delivery, if one may begin: its job, and the recipients.
    pub(crate) fn pick(&mut self) -> Option<(u32, Vec<u32>)> {
        loop {
            let n = (0..3).map(|n| (self.first + n) % 3).find(|n| {
                let limit = self.settings.concurrency(TRANSPORTS[*n]).process_limit;
                !self.turn[*n].is_empty() && self.busy[*n] < limit
            })?;
            self.first = (n + 1) % 3;
            let sender = self.turn[n].rotate(&mut self.senders)?;
            let mut granted = self.senders[sender].granted[n];
            let flow = granted.rotate(&mut self.flows)?;
            self.senders[sender].granted[n] = granted;
            let site = self.flows[flow].site;
            if self.sites[site].dead.is_none() {
                return self.start(flow);
            }
            // It died after the place was promised.
            self.revoke(flow);
            self.park(flow);
        }
    }

    fn start(&mut self, flow: u32) -> Option<(u32, Vec<u32>)> {
        let site = self.flows[flow].site;
        let transport = self.transport(site);
        let mut jobs = self.flows[flow].jobs;
        let job = jobs.rotate(&mut self.jobs)?;
        let (recipients, rest) = self.take(self.jobs[job].todo, self.flows[flow].recipient_limit);
        self.jobs[job].todo = rest;
        self.jobs[job].busy += 1;
        if rest.len == 0 {
            jobs.unlink(&mut self.jobs, job);
        }
        self.flows[flow].jobs = jobs;
        self.flows[flow].wanted -= 1;
        self.revoke(flow);
        self.sites[site].busy += 1;
        self.busy[number(transport)] += 1;
        self.settle(flow);
        Some((job, recipients))
    }

    /// A delivery has ended.
    pub(crate) fn ended(&mut self, job: u32) {
        let site = self.jobs[job].site;
        self.jobs[job].busy -= 1;
        self.sites[site].busy -= 1;
        self.busy[number(self.transport(site))] -= 1;
    }

    /// Nothing is to be tried there; whoever waits is to be deferred.
    pub(crate) fn bury(&mut self, site: u32, why: Arc<Diagnosis>) {
        self.sites[site].dead = Some(why);
        if !self.sites[site].flows.is_empty() {
            self.dead.push_back(&mut self.sites, site);
        }
    }

    /// It may be tried again. False when it was not dead.
    pub(crate) fn revive(&mut self, site: u32) -> bool {
        if self.sites[site].dead.take().is_none() {
            return false;
        }
        self.dead.unlink(&mut self.sites, site);
        self.sites[site].window = Window::new(self.settings.concurrency(self.transport(site)));
        self.hand_out(site);
        true
    }

    /// A job that waits for a dead destination, and its sender.
    pub(crate) fn doomed(&mut self) -> Option<(u32, u32)> {
        loop {
            let site = self.dead.head()?;
            if let Some(flow) = self.sites[site].flows.head() {
                let job = self.flows[flow].jobs.head()?;
                return Some((job, self.flows[flow].sender));
            }
            self.dead.unlink(&mut self.sites, site);
        }
    }
}
