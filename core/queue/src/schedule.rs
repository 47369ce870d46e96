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
use crate::settings::Settings;
use crate::slab::{Link, Linked, List, NONE, Slab};

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
    const OF_FLOW: u8 = 2;
}

/// Recipients, by their places in the entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    head: u32,
    pub(crate) len: u32,
}

impl Chain {
    const EMPTY: Self = Self { head: NONE, len: 0 };

    pub(crate) fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// Jobs of one sender at one destination that wait in this round.
#[derive(Debug)]
pub(crate) struct Flow {
    site: u32,
    sender: u32,
    jobs: List,
    /// Deliveries that its jobs need.
    wanted: u32,
    /// Places in the destination's window that it has been promised.
    granted: u32,
    /// Recipients in one delivery.
    recipient_limit: u32,
    links: [Link; 3],
}

impl Flow {
    pub(crate) const OF_SITE: u8 = 0;
    pub(crate) const PARKED: u8 = 1;
    const GRANTED: u8 = 2;
}

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
    granted: [List; 3],
    /// In the turn of each transport, and among those with due messages.
    links: [Link; 4],
}

impl Sender {
    pub(crate) const WITH_DUE: u8 = 3;
}

impl Linked for Job {
    fn links(&self) -> &[Link] {
        &self.links
    }
    fn links_mut(&mut self) -> &mut [Link] {
        &mut self.links
    }
}

impl Linked for Flow {
    fn links(&self) -> &[Link] {
        &self.links
    }
    fn links_mut(&mut self) -> &mut [Link] {
        &mut self.links
    }
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
    flows: Slab<Flow>,
    /// The recipients of all jobs: place, and the next one.
    recipients: Slab<(u32, u32)>,
    sites_by_key: BTreeMap<Arc<Destination>, u32>,
    senders_by_key: BTreeMap<Arc<str>, u32>,
    /// Flows by destination and sender.
    flows_by_key: BTreeMap<(u32, u32), u32>,
    /// For each transport, senders with a flow that may go.
    turn: [List; 3],
    /// Deliveries that run, for each transport.
    busy: [u32; 3],
    /// Which transport is looked at first.
    first: usize,
    /// Dead destinations with jobs that wait.
    dead: List,
}

const fn number(transport: Transport) -> usize {
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
    fn take(&mut self, mut chain: Chain, limit: u32) -> (Vec<u32>, Chain) {
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

    fn transport(&self, site: u32) -> Transport {
        self.sites[site].key.transport
    }

    /// Deliveries that a job of a flow needs for its waiting recipients.
    fn needs(&self, job: u32, flow: u32) -> u32 {
        self.jobs[job].todo.len.div_ceil(self.flows[flow].recipient_limit)
    }

    /// Moves recipients from one list to the front of another, which turns their order around. What
    /// is put off piles up in reverse, so it is tried in order again.
    fn pour(&mut self, mut from: Chain, mut onto: Chain) -> Chain {
        while from.len > 0 {
            let next = self.recipients[from.head].1;
            self.recipients[from.head].1 = onto.head;
            onto = Chain { head: from.head, len: onto.len + 1 };
            from = Chain { head: next, len: from.len - 1 };
        }
        onto
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

    fn park(&mut self, flow: u32) {
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
    fn revoke(&mut self, flow: u32) {
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
    fn settle(&mut self, flow: u32) {
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
