//! The thread: who asked what, what is under way, and when to give up.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use waypost_dns::{Answer, Arrived, Cache, Failure, Lookup, LookupFact, Question};
use waypost_machine::{Input, Machine, Now, Step, Ticket, Time};

use crate::flight::{BUFFER, Flight};
use crate::resolv_conf::Followed;
use crate::{Refused, Settings, lock};

pub(crate) type Done = Box<dyn FnOnce(Answer) + Send>;

/// What others have asked for, and the thread has not yet taken.
pub(crate) struct Inbox {
    wake: OwnedFd,
    limit: usize,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    questions: Vec<(Question, Done)>,
    /// Callers that the thread holds.
    held: usize,
    stop: bool,
}

impl Inbox {
    pub(crate) fn new(limit: usize) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { wake, limit, asked: Mutex::default() })
    }

    pub(crate) fn put(&self, question: Question, done: Done) -> Result<(), Refused> {
        let mut asked = lock(&self.asked);
        if asked.stop {
            return Err((done, Failure::Stopped));
        }
        if asked.questions.len() + asked.held >= self.limit {
            return Err((done, Failure::Busy));
        }
        let first = asked.questions.is_empty();
        asked.questions.push((question, done));
        drop(asked);
        if first {
            self.wake();
        }
        Ok(())
    }

    pub(crate) fn stop(&self) {
        lock(&self.asked).stop = true;
        self.wake();
    }

    fn wake(&self) {
        // It fails only when it is awake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Everything asked since last time; `None` when it is time to stop, and nothing was asked.
    fn take(&self) -> Option<Vec<(Question, Done)>> {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        let mut asked = lock(&self.asked);
        let questions = mem::take(&mut asked.questions);
        asked.held += questions.len();
        (!asked.stop || !questions.is_empty()).then_some(questions)
    }

    fn release(&self, callers: usize) {
        lock(&self.asked).held -= callers;
    }

    fn stopped(&self) -> bool {
        lock(&self.asked).stop
    }
}

/// A question under way.
struct Running {
    lookup: Lookup,
    flight: Option<Flight>,
    callers: Vec<Done>,
    until: Option<Time>,
    /// The servers are believed when they say that they have validated.
    trust: bool,
}

pub(crate) struct Thread {
    inbox: Arc<Inbox>,
    clock: Box<dyn Fn() -> Now + Send>,
    servers: Followed,
    at_once: usize,
    cache: Cache,
    running: BTreeMap<Question, Running>,
    /// Questions that wait for their turn, and their order.
    waiting: BTreeMap<Question, Vec<Done>>,
    order: VecDeque<Question>,
    buffer: Vec<u8>,
}

impl Thread {
    pub(crate) fn new(
        settings: Settings,
        clock: Box<dyn Fn() -> Now + Send>,
        inbox: Arc<Inbox>,
    ) -> io::Result<Self> {
        Ok(Self {
            inbox,
            clock,
            at_once: settings.at_once.max(1),
            cache: Cache::new(settings.cached),
            servers: Followed::new(settings)?,
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
            buffer: vec![0; BUFFER],
        })
    }

    pub(crate) fn run(mut self) {
        while let Some(asked) = self.inbox.take() {
            for (question, done) in asked {
                self.ask(question, done);
            }
            if self.inbox.stopped() {
                self.stop();
                continue;
            }
            let now = (self.clock)();
            let due = self.running.iter().filter(|(_, r)| r.until.is_some_and(|t| t <= now.mono));
            let due: Vec<Question> = due.map(|(question, _)| question.clone()).collect();
            for question in due {
                self.handle(&question, Input::Tick);
            }
            self.begin();
            for question in self.wait() {
                // What has come was written by strangers: the worst it may cost is its question.
                if catch_unwind(AssertUnwindSafe(|| self.progress(&question))).is_err() {
                    tracing::error!(%question, "an answer could not be read");
                    self.give_up(&question);
                }
            }
        }
    }

    fn ask(&mut self, question: Question, done: Done) {
        let now = (self.clock)();
        if let Some(answer) = self.cache.get(now.mono, &question) {
            self.tell(vec![done], &answer);
        } else if let Some(running) = self.running.get_mut(&question) {
            running.callers.push(done);
        } else {
            let callers = self.waiting.entry(question).or_insert_with_key(|question| {
                self.order.push_back(question.clone());
                Vec::new()
            });
            callers.push(done);
        }
    }

    /// Begins what waits, as far as there is room.
    fn begin(&mut self) {
        while self.running.len() < self.at_once
            && let Some(question) = self.order.pop_front()
        {
            let callers = self.waiting.remove(&question).unwrap_or_default();
            let Ok(seed) = seed() else {
                self.tell(callers, &Answer::unavailable(Failure::Busy));
                continue;
            };
            let (servers, trust) = self.servers.now();
            let lookup = Lookup::new((self.clock)(), servers, question.clone(), seed);
            let running = Running { lookup, flight: None, callers, until: None, trust };
            self.running.insert(question.clone(), running);
            self.pump(&question);
        }
    }

    /// Sleeps until something comes; the questions for which it did.
    fn wait(&self) -> Vec<Question> {
        let mut fds = vec![PollFd::new(&self.inbox.wake, PollFlags::IN)];
        let mut whose = Vec::new();
        for (question, running) in &self.running {
            if let Some(flight) = &running.flight {
                let (fd, flags) = flight.waits();
                fds.push(PollFd::from_borrowed_fd(fd, flags));
                whose.push(question);
            }
        }
        let until = self.running.values().filter_map(|running| running.until).min();
        let now = (self.clock)().mono;
        // A little longer than needed: waking a moment too early means waking twice.
        let left = until.map(|until| until.since(now) + Duration::from_millis(1));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => tracing::error!(%error, "poll"),
        }
        let ready = fds.iter().skip(1).zip(whose).filter(|(fd, _)| !fd.revents().is_empty());
        ready.map(|(_, question)| question.clone()).collect()
    }

    fn progress(&mut self, question: &Question) {
        let Some(running) = self.running.get_mut(question) else { return };
        let Some(flight) = &mut running.flight else { return };
        if let Some(arrived) = flight.progress(&mut self.buffer)
            && let Some(flight) = running.flight.take()
        {
            let answer = flight.ticket().answer(arrived);
            self.handle(question, Input::Answer(answer));
        }
    }

    fn handle(&mut self, question: &Question, input: Input<Lookup>) {
        let now = (self.clock)();
        if let Some(running) = self.running.get_mut(question) {
            running.lookup.handle(now, input);
            self.pump(question);
        }
    }

    /// Does what the lookup says, until it waits or ends.
    fn pump(&mut self, question: &Question) {
        let mut answer = None;
        let Some(running) = self.running.get_mut(question) else { return };
        loop {
            match running.lookup.poll(usize::MAX) {
                Step::Call(packet) => match Flight::depart(packet) {
                    Ok(flight) => running.flight = Some(flight),
                    Err(ticket) => running.lookup.handle((self.clock)(), failed(ticket)),
                },
                Step::Cancel(id) => {
                    running.flight.take_if(|flight| flight.id() == id);
                }
                Step::Fact(LookupFact::Useless { server, failure }) => {
                    tracing::debug!(%server, %question, %failure, "name server is of no use");
                }
                Step::Fact(LookupFact::Answer(last)) => answer = Some(last),
                Step::Wait(wait) => {
                    running.until = wait.until;
                    break;
                }
                Step::Close(_) => break,
                // It has no bytes.
                Step::Send(_) | Step::Secure(_) => {}
            }
        }
        if let Some(mut answer) = answer {
            answer.authentic &= running.trust;
            self.cache.put((self.clock)().mono, question, &answer);
            if let Some(running) = self.running.remove(question) {
                self.tell(running.callers, &answer);
            }
        }
    }

    fn give_up(&mut self, question: &Question) {
        if let Some(running) = self.running.remove(question) {
            self.tell(running.callers, &Answer::unavailable(Failure::Nonsense));
        }
    }

    fn tell(&self, callers: Vec<Done>, answer: &Answer) {
        self.inbox.release(callers.len());
        for done in callers {
            // One caller's fault is not the end of the others.
            let told = catch_unwind(AssertUnwindSafe(|| done(answer.clone())));
            if told.is_err() {
                tracing::error!("a caller of the resolver panicked");
            }
        }
    }

    fn stop(&mut self) {
        let running = mem::take(&mut self.running).into_values().map(|running| running.callers);
        let waiting = mem::take(&mut self.waiting).into_values();
        let callers = running.chain(waiting).flatten().collect();
        self.order.clear();
        self.tell(callers, &Answer::unavailable(Failure::Stopped));
    }
}

fn failed(ticket: Ticket<Arrived>) -> Input<Lookup> {
    Input::Answer(ticket.answer(Arrived::Failed))
}

/// 64 bits that nobody else knows.
fn seed() -> io::Result<u64> {
    let mut seed = [0; 8];
    let len = getrandom(&mut seed, GetRandomFlags::empty())?;
    if len < seed.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(u64::from_ne_bytes(seed))
}
