//! A spool in memory and deliveries that end when a test says so; it checks on the way what must
//! hold at every moment.

// Each test uses its own part of it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use waypost_machine::{Input, Machine, Now, Step, Ticket, Time, UnixTime, Wait};
use waypost_mail::{Address, Body, Delivery, Enhanced, MailHome, ReversePath, Target};
use waypost_queue::*;

pub(crate) const START: i64 = 1_800_000_000;

/// A delivery that runs.
pub(crate) struct Running {
    pub(crate) message: QueueId,
    pub(crate) destination: Arc<Destination>,
    pub(crate) recipients: Vec<u32>,
    pub(crate) ticket: Ticket<Attempted>,
}

/// A call to the spool that is open.
pub(crate) enum Asked {
    Persist(QueueId, Vec<Change>, Ticket<Persisted>),
    Report(QueueId, ReportKind, Vec<u32>, Ticket<Reported>),
    Remove(QueueId, Ticket<Removed>),
}

pub(crate) struct Sim {
    pub(crate) queue: Queue,
    pub(crate) settings: Settings,
    pub(crate) now: Now,
    /// What lies on disk, as the file has it.
    pub(crate) spool: BTreeMap<QueueId, String>,
    pub(crate) running: Vec<Running>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) until: Option<Time>,
    /// Every report made: message, kind, final addresses.
    pub(crate) reports: Vec<(QueueId, ReportKind, Vec<String>)>,
    /// Every delivery of a recipient: message and place.
    pub(crate) delivered: Vec<(QueueId, u32)>,
    /// Every attempt begun, in order.
    pub(crate) begun: Vec<(QueueId, Vec<u32>)>,
    pub(crate) dropped: BTreeSet<QueueId>,
    pub(crate) removed: BTreeSet<QueueId>,
    /// Answer the spool's calls at once.
    pub(crate) prompt: bool,
    /// The queue has ended.
    pub(crate) closed: bool,
}

pub(crate) fn id(n: usize) -> QueueId {
    format!("m{n}").parse().unwrap()
}

pub(crate) fn why(class: u8, text: &str) -> Arc<Diagnosis> {
    Arc::new(Diagnosis::own(Enhanced(class, 4, 1), text))
}

pub(crate) fn waiting(to: &str) -> Waiting {
    let to = Address::parse(to).unwrap();
    let home = MailHome { path: format!("/home/{}", to.local()).into(), uid: 1, gid: 1 };
    let reply = |code| waypost_mail::Reply { code, enhanced: None, text: "no way".into() };
    let target = match to.domain().as_str() {
        "local" => Target::Maildir(home),
        "later" => Target::Later(reply(451)),
        "nowhere" => Target::Undeliverable(reply(550)),
        _ => Target::Remote,
    };
    let delivery = Delivery { orig_to: to.clone(), to, target };
    Waiting::new(delivery, None, None, UnixTime::default())
}

impl Sim {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            queue: Queue::new(settings.clone()),
            settings,
            now: Now { mono: Time::ZERO, wall: UnixTime { secs: START, nanos: 0 } },
            spool: BTreeMap::new(),
            running: Vec::new(),
            asked: Vec::new(),
            facts: Vec::new(),
            until: None,
            reports: Vec::new(),
            delivered: Vec::new(),
            begun: Vec::new(),
            dropped: BTreeSet::new(),
            removed: BTreeSet::new(),
            prompt: true,
            closed: false,
        }
    }

    pub(crate) fn entry(&self, id: QueueId) -> Entry {
        Entry::decode(self.spool[&id].as_bytes()).unwrap()
    }

    fn entry_for(&self, id: QueueId, sender: &str, to: &[&str]) -> Entry {
        let sender = match sender {
            "" => ReversePath::Null,
            sender => ReversePath::Address(Address::parse(sender).unwrap()),
        };
        let origin = Origin {
            queue_id: id.to_string().into(),
            arrived: self.now.wall,
            sender,
            size: 1,
            checksum: None,
            message_id: "".into(),
            body: Body::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
            login: None,
            head: Box::default(),
        };
        let mut recipients: Vec<_> = to.iter().map(|to| waiting(to)).collect();
        recipients.iter_mut().for_each(|r| r.next = self.now.wall);
        Entry::new(origin, recipients)
    }

    pub(crate) fn submit(&mut self, n: usize, sender: &str, to: &[&str]) -> QueueId {
        let id = id(n);
        let entry = self.entry_for(id, sender, to);
        self.spool.insert(id, entry.encode());
        let arrival = Arrival::of(&entry, self.settings.relayhost.as_deref()).unwrap();
        self.notice(Notice::Submitted(arrival));
        id
    }

    /// A message of which something happened already that its file does not know.
    pub(crate) fn submit_unsaved(&mut self, n: usize, to: &[&str], unsaved: Vec<Change>) {
        let mut entry = self.entry_for(id(n), "a@b.test", to);
        self.spool.insert(id(n), entry.encode());
        for change in &unsaved {
            entry.apply(change.clone()).expect("it makes sense");
        }
        let arrival = Arrival::of(&entry, self.settings.relayhost.as_deref()).unwrap();
        self.notice(Notice::Submitted(Arrival { unsaved, ..arrival }));
    }

    pub(crate) fn command(&mut self, command: Command) -> usize {
        self.notice(Notice::Command(7, command));
        let done = self.facts.iter().rev().find_map(|fact| match fact {
            Fact::Commanded { command: 7, messages } => Some(*messages),
            _ => None,
        });
        done.expect("every command is answered")
    }

    /// Everything but the spool is lost.
    pub(crate) fn crash(&mut self) {
        self.queue = Queue::new(self.settings.clone());
        self.running.clear();
        self.asked.clear();
        let arrivals: Vec<_> = self
            .spool
            .values()
            .map(|file| Entry::decode(file.as_bytes()).unwrap())
            .map(|entry| Arrival::of(&entry, self.settings.relayhost.as_deref()).unwrap())
            .collect();
        for arrival in arrivals {
            self.notice(Notice::Recovered(arrival));
        }
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.queue.handle(self.now, Input::Notice(notice));
        self.drain();
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono.plus(time);
        self.now.wall.secs += i64::try_from(time.as_secs()).unwrap();
        self.queue.handle(self.now, Input::Tick);
        self.drain();
    }

    /// Lets time pass until the queue wants to be woken; false when it waits for nothing.
    pub(crate) fn pass_until_due(&mut self) -> bool {
        let Some(until) = self.until else { return false };
        let wait = until.since(self.now.mono).as_secs() + 1;
        self.pass(Duration::from_secs(wait));
        true
    }

    pub(crate) fn drain(&mut self) {
        loop {
            match self.queue.poll(0) {
                Step::Call(call) => self.take(call),
                Step::Fact(fact) => {
                    if let Fact::Removed(id) = &fact {
                        assert!(!self.spool.contains_key(id), "{id} removed before the spool did");
                    }
                    self.facts.push(fact);
                }
                Step::Wait(Wait { until, read }) => {
                    assert_eq!(read, 0);
                    assert!(until.is_none_or(|until| until > self.now.mono), "it would spin");
                    self.until = until;
                    break;
                }
                Step::Close(_) => {
                    self.closed = true;
                    break;
                }
                _ => panic!("a machine without bytes"),
            }
        }
        assert!(
            self.closed
                || self.queue.is_empty()
                || !self.running.is_empty()
                || !self.asked.is_empty()
                || self.until.is_some()
                || self.queue.list().all(|listed| listed.place == Place::Hold),
            "messages wait for nothing"
        );
    }

    fn take(&mut self, call: Call) {
        let asked = match call {
            Call::Attempt { message, destination, recipients, ticket } => {
                self.check_attempt(message, &destination, &recipients);
                self.begun.push((message, recipients.clone()));
                self.running.push(Running { message, destination, recipients, ticket });
                return;
            }
            Call::Persist { message, changes, ticket } => {
                assert!(!changes.is_empty());
                Asked::Persist(message, changes, ticket)
            }
            Call::Report { message, kind, recipients, ticket } => {
                self.check_report(message, kind, &recipients);
                Asked::Report(message, kind, recipients, ticket)
            }
            Call::Remove { message, ticket } => Asked::Remove(message, ticket),
        };
        self.asked.push(asked);
        if self.prompt {
            self.answer(self.asked.len() - 1, true);
        }
    }

    fn check_attempt(&self, message: QueueId, destination: &Destination, recipients: &[u32]) {
        let limits = *self.settings.concurrency(destination.transport);
        assert!(!recipients.is_empty());
        assert!(recipients.len() <= limits.recipient_limit.max(1) as usize);
        let same = |r: &&Running| *r.destination == *destination;
        let there = self.running.iter().filter(same).count();
        assert!(there < limits.limit.max(1) as usize, "more than the window allows");
        let transport = |r: &&Running| r.destination.transport == destination.transport;
        let all = self.running.iter().filter(transport).count();
        assert!(all < limits.process_limit.max(1) as usize, "more than the processes");
        let running: BTreeSet<u32> = self
            .running
            .iter()
            .filter(|running| running.message == message)
            .flat_map(|running| running.recipients.clone())
            .collect();
        let entry = self.entry(message);
        for place in recipients {
            assert!(!running.contains(place), "{message} {place} is tried twice at a time");
            // A place that the spool has still to hear of is one that just came to be.
            if let Some(waiting) = entry.recipients.get(*place as usize) {
                let waiting = waiting.as_ref().expect("nobody is tried who has it");
                assert_eq!(waiting.state, State::Waiting);
                let goes = Destination::of(&waiting.delivery, self.settings.relayhost.as_deref());
                assert_eq!(goes.as_ref(), Some(destination));
            }
        }
    }

    fn check_report(&self, message: QueueId, kind: ReportKind, recipients: &[u32]) {
        assert!(!recipients.is_empty());
        let entry = self.entry(message);
        for place in recipients {
            let waiting = entry.recipients[*place as usize].as_ref().expect("not told before");
            let expected = match kind {
                ReportKind::Failed => State::Failed,
                ReportKind::Delayed => State::Waiting,
                ReportKind::Delivered => State::Delivered,
            };
            assert_eq!(waiting.state, expected);
            assert!(waiting.last.is_some() || waiting.attempts == 0, "there are words for it");
        }
    }

    /// Answers a call to the spool.
    pub(crate) fn answer(&mut self, n: usize, good: bool) {
        let answer = match self.asked.remove(n) {
            Asked::Persist(id, changes, ticket) if good => {
                let file = self.spool.get_mut(&id).expect("it lies there");
                let mut entry = Entry::decode(file.as_bytes()).unwrap();
                for change in &changes {
                    entry.apply(change.clone()).expect("it makes sense");
                    file.push_str(&change.encode());
                }
                ticket.answer(Persisted::Done)
            }
            Asked::Persist(_, changes, ticket) => ticket.answer(Persisted::Failed(changes)),
            Asked::Report(id, kind, recipients, ticket) if good => {
                let entry = self.entry(id);
                let to = recipients.iter().map(|n| {
                    entry.recipients[*n as usize].as_ref().unwrap().delivery.to.to_string()
                });
                self.reports.push((id, kind, to.collect()));
                ticket.answer(Reported::Done)
            }
            Asked::Report(_, _, _, ticket) => ticket.answer(Reported::Failed),
            Asked::Remove(id, ticket) if good => {
                assert!(!self.running.iter().any(|r| r.message == id), "a delivery runs");
                self.spool.remove(&id);
                self.removed.insert(id);
                ticket.answer(Removed::Done)
            }
            Asked::Remove(_, ticket) => ticket.answer(Removed::Failed),
        };
        self.queue.handle(self.now, Input::Answer(answer));
        if !self.prompt {
            self.drain();
        }
    }

    /// Ends a delivery, the same way for all its recipients.
    pub(crate) fn end(&mut self, n: usize, outcome: Outcome, site: SiteState) {
        let outcomes = vec![outcome; self.running[n].recipients.len()];
        self.end_each(n, outcomes, site);
    }

    pub(crate) fn end_each(&mut self, n: usize, outcomes: Vec<Outcome>, site: SiteState) {
        let Running { message, recipients, ticket, .. } = self.running.remove(n);
        let outcomes: Vec<_> = recipients.into_iter().zip(outcomes).collect();
        for (place, outcome) in &outcomes {
            if matches!(outcome, Outcome::Delivered(_)) {
                self.delivered.push((message, *place));
            }
        }
        let answer = ticket.answer(Attempted { outcomes, site });
        self.queue.handle(self.now, Input::Answer(answer));
        self.drain();
    }

    pub(crate) fn deliver(&mut self, n: usize) {
        self.end(n, Outcome::Delivered(None), SiteState::Alive);
    }

    pub(crate) fn defer(&mut self, n: usize) {
        self.end(n, Outcome::Deferred(why(4, "busy")), SiteState::Alive);
    }

    pub(crate) fn no_connection(&mut self, n: usize) {
        let why = why(4, "connect: Connection refused");
        self.end(n, Outcome::Deferred(Arc::clone(&why)), SiteState::Failed(why));
    }

    pub(crate) fn place(&self, id: QueueId) -> Option<Place> {
        self.queue.find(id).map(|listed| listed.place)
    }
}
