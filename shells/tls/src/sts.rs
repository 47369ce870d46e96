//! MTA-STS (RFC 8461): who has a policy, and is it still the same.
//!
//! A domain is asked for its id when mail goes there and the last answer is older than it may be; the
//! policy is fetched when the id is new. All who ask for one domain at the same time wait for the
//! same answer. Whatever fails, a policy that was fetched before holds until its lifetime is over.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use waypost_dns::{Answer, Found, Kind, Question, Record};
use waypost_tls::{StsMode, StsPolicy, sts_id};

use crate::fetch::{FetchError, Fetcher};
use crate::kept::{Directory, Kept, is_domain};
use crate::security::{Ask, Clock};

/// An answer about an id is believed so long, in seconds, at least and at most.
const BELIEVED: (u64, u64) = (60, 3600);

/// After a fetch that failed, the next is tried so many seconds later (RFC 8461 3.3).
const PAUSE: u64 = 300;

/// A policy is fetched again after so many seconds, the same id or not (RFC 8461 3.3).
const REFRESH: u64 = 86_400;

/// Domains in memory.
const DOMAINS: usize = 10_000;

/// Fetches at once.
const FETCHES: usize = 16;

/// Fetches that wait for others. Mail waits for them: with sites that take all the time they get, the
/// last of these begins after some minutes. Where there are more, mail goes without a policy that
/// was not known before, and it is asked for again a minute later.
const QUEUE: usize = 100;

type Waiting = Box<dyn FnOnce(Option<Arc<StsPolicy>>) + Send>;

pub(crate) struct Sts {
    ask: Ask,
    clock: Clock,
    fetcher: Fetcher,
    directory: Directory,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    domains: HashMap<Box<str>, Domain>,
    /// Domains and ids to be fetched.
    queue: VecDeque<(Box<str>, Box<str>)>,
    threads: usize,
}

#[derive(Default)]
struct Domain {
    kept: Option<Kept>,
    /// Nothing needs to be asked before.
    good_until: u64,
    state: State,
    waiting: Vec<Waiting>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    /// The answer that is under way decides.
    Asking,
    /// The policy at hand holds while it is fetched again.
    Refreshing,
}

impl Domain {
    /// A clock that was set back makes nothing hold for longer than it may.
    fn keep_to(&mut self, now: u64) {
        self.good_until = self.good_until.min(now + BELIEVED.1);
        if let Some(kept) = &mut self.kept {
            kept.fetched = kept.fetched.min(now);
        }
    }

    fn current(&self, now: u64) -> Option<Arc<StsPolicy>> {
        let kept = self.kept.as_ref().filter(|kept| kept.is_live(now))?;
        (kept.policy.mode != StsMode::None).then(|| Arc::clone(&kept.policy))
    }
}

impl Sts {
    pub(crate) fn new(
        ask: Ask,
        clock: Clock,
        fetcher: Fetcher,
        directory: Option<PathBuf>,
    ) -> Arc<Self> {
        let (directory, inner) = (Directory::new(directory), Mutex::default());
        Arc::new(Self { ask, clock, fetcher, directory, inner })
    }

    /// Finds the policy that holds for a domain now.
    pub(crate) fn find(
        self: &Arc<Self>,
        domain: &str,
        done: impl FnOnce(Option<Arc<StsPolicy>>) + Send + 'static,
    ) {
        let question = Question::new(&format!("_mta-sts.{domain}"), Kind::Txt);
        let (Ok(question), true) = (question, is_domain(domain)) else { return done(None) };
        let now = (self.clock)();
        let mut kept = None;
        let mut inner = self.lock();
        if !inner.domains.contains_key(domain) {
            // Nobody waits for the disk, but those who want to know.
            drop(inner);
            kept = self.directory.read(domain).filter(|kept| kept.is_live(now));
            inner = self.lock();
        }
        if inner.domains.len() >= DOMAINS && !inner.domains.contains_key(domain) {
            // What holds is on disk.
            inner.domains.retain(|_, domain| domain.state != State::Idle);
        }
        let entry = inner
            .domains
            .entry(domain.into())
            .or_insert_with(|| Domain { kept, ..Domain::default() });
        entry.keep_to(now);
        match entry.state {
            State::Idle if now >= entry.good_until => {}
            State::Idle | State::Refreshing => {
                let current = entry.current(now);
                drop(inner);
                return done(current);
            }
            State::Asking => return entry.waiting.push(Box::new(done)),
        }
        entry.state = State::Asking;
        entry.waiting.push(Box::new(done));
        drop(inner);
        let (sts, domain) = (Arc::clone(self), domain.into());
        (self.ask)(question, Box::new(move |answer| sts.answered(domain, &answer)));
    }

    /// What the domain says of its id.
    fn answered(self: &Arc<Self>, domain: Box<str>, answer: &Answer) {
        let now = (self.clock)();
        let texts = match &answer.found {
            Found::Records(records) => &records[..],
            _ => &[],
        };
        let id = sts_id(texts.iter().filter_map(|record| match record {
            Record::Txt(text) => Some(&**text),
            _ => None,
        }));
        let mut inner = self.lock();
        let Inner { domains, queue, threads } = &mut *inner;
        let Some(entry) = domains.get_mut(&domain) else { return };
        entry.good_until = now + u64::from(answer.ttl).clamp(BELIEVED.0, BELIEVED.1);
        let live = entry.kept.as_ref().filter(|kept| kept.is_live(now));
        let same = live.filter(|kept| Some(&kept.id) == id.as_ref());
        let fresh = same.is_some_and(|kept| now < kept.fetched.saturating_add(REFRESH));
        let full = queue.len() >= QUEUE;
        if full && id.is_some() && !fresh {
            entry.good_until = now + BELIEVED.0;
        }
        let Some(id) = id.filter(|_| !fresh && !full) else {
            return self.settle(inner, &domain, now);
        };
        let holds = same.is_some();
        queue.push_back((domain.clone(), id));
        let start = *threads < FETCHES;
        *threads += usize::from(start);
        if holds {
            entry.state = State::Refreshing;
            let (waiting, current) = (mem::take(&mut entry.waiting), entry.current(now));
            drop(inner);
            waiting.into_iter().for_each(|done| done(current.clone()));
        } else {
            drop(inner);
        }
        if start {
            self.start();
        }
    }

    fn start(self: &Arc<Self>) {
        let sts = Arc::clone(self);
        let started = thread::Builder::new().name("mta-sts".into()).spawn(move || sts.work());
        if let Err(error) = started {
            tracing::warn!("warning: MTA-STS: cannot start a thread: {error}");
            self.give_up();
        }
    }

    /// Fetches what waits to be fetched.
    fn work(&self) {
        loop {
            let mut inner = self.lock();
            let Some((domain, id)) = inner.queue.pop_front() else {
                inner.threads -= 1;
                return;
            };
            drop(inner);
            // What comes was written by strangers: the worst it may cost is its policy.
            let fetched = catch_unwind(AssertUnwindSafe(|| self.fetcher.fetch(&domain)));
            let fetched = fetched.unwrap_or(Err(FetchError::Unreadable));
            let now = (self.clock)();
            let kept = match fetched {
                Ok(policy) => Some(Kept { id, fetched: now, policy: Arc::new(policy) }),
                Err(error) => {
                    tracing::warn!("warning: MTA-STS policy of {domain}: {error}");
                    None
                }
            };
            if let Some(kept) = &kept
                && let Err(error) = self.directory.write(&domain, kept)
            {
                tracing::warn!("warning: MTA-STS policy of {domain} cannot be kept: {error}");
            }
            let mut inner = self.lock();
            if let Some(entry) = inner.domains.get_mut(&domain) {
                match kept {
                    Some(kept) => entry.kept = Some(kept),
                    None => entry.good_until = now + PAUSE,
                }
            }
            self.settle(inner, &domain, now);
        }
    }

    /// Nobody fetches: all who wait go on without.
    fn give_up(&self) {
        let mut inner = self.lock();
        inner.threads -= 1;
        let queue = match inner.threads {
            0 => mem::take(&mut inner.queue),
            _ => VecDeque::new(),
        };
        drop(inner);
        let now = (self.clock)();
        queue.into_iter().for_each(|(domain, _)| self.settle(self.lock(), &domain, now));
    }

    /// Tells all who wait.
    fn settle(&self, mut inner: MutexGuard<'_, Inner>, domain: &str, now: u64) {
        let Some(entry) = inner.domains.get_mut(domain) else { return };
        entry.state = State::Idle;
        let (waiting, current) = (mem::take(&mut entry.waiting), entry.current(now));
        drop(inner);
        waiting.into_iter().for_each(|done| done(current.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
