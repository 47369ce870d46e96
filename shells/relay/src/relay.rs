//! The world's carrier.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use waypost_dns::Own;
use waypost_tls_client::Security;
use waypost_world::Clock;
use waypost_world::carrier::{Carried, Carrier, Consignment};

use crate::attempt::Input;
use crate::dial::Dial;
use crate::event::Log;
use crate::job::Job;
use crate::pool::Pool;
use crate::resolve::Resolve;
use crate::settings::Settings;

/// Takes messages to other servers.
#[derive(Clone)]
pub struct Relay(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) own: Arc<Own>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) resolve: Arc<dyn Resolve>,
    pub(crate) security: Arc<Security>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) pool: Pool,
    count: AtomicU64,
    jobs: Mutex<Jobs>,
}

/// All that are under way.
#[derive(Default)]
struct Jobs {
    open: BTreeMap<u64, Weak<Job>>,
    stopping: bool,
}

impl Relay {
    /// A carrier, and what it needs.
    pub fn new(
        settings: Settings,
        clock: Arc<dyn Clock>,
        dial: Arc<dyn Dial>,
        resolve: Arc<dyn Resolve>,
        security: Arc<Security>,
        log: Arc<dyn Log>,
    ) -> Self {
        Self(Arc::new(Inner {
            own: Arc::new(settings.own.clone()),
            pool: Pool::new(settings.idle_limit),
            settings,
            clock,
            dial,
            resolve,
            security,
            log,
            count: AtomicU64::new(0),
            jobs: Mutex::default(),
        }))
    }

    /// Consignments under way, and connections that wait for another message.
    pub fn held(&self) -> (usize, usize) {
        let jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        (jobs.open.len(), self.0.pool.len())
    }

    /// Stops: what no host has yet is deferred at once, also all that comes later. Sessions are told
    /// by whoever drives them, and say themselves what became of their messages.
    pub fn stop(&self) {
        let jobs: Vec<Arc<Job>> = {
            let mut jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.stopping = true;
            jobs.open.values().filter_map(Weak::upgrade).collect()
        };
        self.0.pool.close();
        for job in jobs {
            job.feed(Input::Stop);
        }
    }
}

impl Inner {
    pub(crate) fn forget(&self, id: u64) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&id);
    }

    /// A number that decides the order of equals for one job.
    pub(crate) fn seed(&self, id: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.settings.seed, id).hash(&mut hasher);
        hasher.finish()
    }
}

impl Carrier for Relay {
    fn carry(&self, consignment: Consignment, done: Box<dyn FnOnce(Carried) + Send>) {
        let id = self.0.count.fetch_add(1, Ordering::Relaxed);
        let job = Job::new(id, Arc::clone(&self.0), consignment, done);
        let stopping = {
            let mut jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.open.insert(id, Arc::downgrade(&job));
            jobs.stopping
        };
        if stopping {
            return job.feed(Input::Stop);
        }
        job.begin();
    }
}
