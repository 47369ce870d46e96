//! Connections that wait for another message.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use waypost_smtp::client::Next;
use waypost_tls_client::Policy;

use crate::line::Seat;

/// One that waits.
pub(crate) struct Idle {
    pub(crate) seat: Arc<Seat>,
    /// The policy that it was made under.
    pub(crate) policy: Arc<Policy>,
    /// Gives it a message, or tells it to quit.
    pub(crate) next: Box<dyn FnOnce(Next) + Send>,
}

/// All that wait, by next hop, the one that began to wait last at the end.
pub(crate) struct Pool {
    limit: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    by_nexthop: BTreeMap<Box<str>, Vec<Idle>>,
    count: usize,
    closed: bool,
}

impl Pool {
    /// For so many, at most.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, waiting: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().count
    }

    /// Keeps one, or tells it to quit.
    pub(crate) fn park(&self, nexthop: &str, idle: Idle) {
        let mut waiting = self.lock();
        if waiting.closed || waiting.count >= self.limit {
            drop(waiting);
            return (idle.next)(Next::Quit);
        }
        waiting.count += 1;
        waiting.by_nexthop.entry(nexthop.into()).or_default().push(idle);
    }

    /// Takes one that goes to this next hop, where the same is wanted now as when it was made; of several the one that has waited
    /// least, whose host is most likely to be there still.
    pub(crate) fn take(&self, nexthop: &str, policy: &Policy) -> Option<Idle> {
        self.remove(nexthop, |idle| *policy == *idle.policy)
    }

    /// Forgets one that waits no more.
    pub(crate) fn forget(&self, nexthop: &str, seat: &Arc<Seat>) {
        drop(self.remove(nexthop, |idle| Arc::ptr_eq(&idle.seat, seat)));
    }

    fn remove(&self, nexthop: &str, wanted: impl Fn(&Idle) -> bool) -> Option<Idle> {
        let mut waiting = self.lock();
        let idle = waiting.by_nexthop.get_mut(nexthop)?;
        let at = idle.iter().rposition(wanted)?;
        let found = idle.remove(at);
        if idle.is_empty() {
            waiting.by_nexthop.remove(nexthop);
        }
        waiting.count -= 1;
        Some(found)
    }

    /// Tells all to quit, and keeps none from now on.
    pub(crate) fn close(&self) {
        let all = {
            let mut waiting = self.lock();
            waiting.closed = true;
            waiting.count = 0;
            std::mem::take(&mut waiting.by_nexthop)
        };
        for idle in all.into_values().flatten() {
            (idle.next)(Next::Quit);
        }
    }
}
