//! Who is connected: limits on connections, and the way to tell all of them to stop.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use waypost_mail::Network;

use crate::session::post::Stop;

/// How many connections there may be.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) total: usize,
    pub(crate) per_address: usize,
    /// Clients that only count towards the total.
    pub(crate) exempt: Vec<Network>,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Total,
    Address,
    Stopping,
}

/// All open connections.
pub(crate) struct Registry {
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// In the order in which they came, which is that in which they are told to stop.
    sessions: BTreeMap<u64, Option<Arc<dyn Stop>>>,
    /// The most sessions since [`Registry::has_shrunk`] was last true.
    peak: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Sessions that somebody else began.
    clients: usize,
    stopping: bool,
    wakers: Vec<Waker>,
}

impl Open {
    /// The number of a new session.
    fn enter(&mut self) -> u64 {
        self.next += 1;
        self.sessions.insert(self.next, None);
        self.peak = self.peak.max(self.sessions.len());
        self.next
    }

    fn wake_later(&mut self, waker: &Waker) {
        if !self.wakers.iter().any(|known| known.will_wake(waker)) {
            self.wakers.push(waker.clone());
        }
    }
}

/// One connection's place; dropping it gives it back.
pub(crate) struct Place {
    registry: Arc<Registry>,
    id: u64,
    address: Option<IpAddr>,
    client: bool,
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default() })
    }

    /// A place for one more connection; `None` as address for a unix socket.
    pub(crate) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Full> {
        let address = address.map(|ip| ip.to_canonical());
        let counted = address
            .filter(|ip| !self.limits.exempt.iter().any(|network| network.contains(*ip)))
            .map(site);
        let mut open = self.lock();
        if open.stopping {
            return Err(Full::Stopping);
        }
        if open.clients >= self.limits.total {
            return Err(Full::Total);
        }
        if let Some(address) = counted {
            let count = open.by_address.entry(address).or_default();
            if *count >= self.limits.per_address {
                return Err(Full::Address);
            }
            *count += 1;
        }
        open.clients += 1;
        let id = open.enter();
        Ok(Place { registry: Arc::clone(self), id, address: counted, client: true })
    }

    /// A place for a connection of our own making; `None` when stopping. It counts for nobody's
    /// limits.
    pub(crate) fn outgoing(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.lock();
        if open.stopping {
            return None;
        }
        let id = open.enter();
        Some(Place { registry: Arc::clone(self), id, address: None, client: false })
    }

    /// Connections now.
    pub(crate) fn count(&self) -> usize {
        self.lock().sessions.len()
    }

    /// True when at least half of the connections have gone since this was last true.
    pub(crate) fn has_shrunk(&self) -> bool {
        let mut open = self.lock();
        let now = open.sessions.len();
        if open.peak == 0 || now * 2 > open.peak {
            return false;
        }
        open.peak = now;
        true
    }

    /// Takes no more connections, and tells those that are there to stop.
    pub(crate) fn stop(&self) {
        let (sessions, wakers) = {
            let mut open = self.lock();
            open.stopping = true;
            let sessions: Vec<_> = open.sessions.values().flatten().cloned().collect();
            (sessions, std::mem::take(&mut open.wakers))
        };
        sessions.iter().for_each(|session| session.stop());
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ready once [`Registry::stop`] was called.
    pub(crate) fn poll_stopping(&self, waker: &Waker) -> Poll<()> {
        let mut open = self.lock();
        if open.stopping {
            return Poll::Ready(());
        }
        open.wake_later(waker);
        Poll::Pending
    }

    /// Ready once stopping and the last connection is gone.
    pub(crate) fn poll_empty(&self, waker: &Waker) -> Poll<()> {
        let mut open = self.lock();
        if open.stopping && open.sessions.is_empty() {
            return Poll::Ready(());
        }
        open.wake_later(waker);
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// A number for this connection that no other has had.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Who is to be told when everything stops.
    pub(crate) fn set(&self, session: Arc<dyn Stop>) {
        let mut open = self.registry.lock();
        let stopping = open.stopping;
        if let Some(place) = open.sessions.get_mut(&self.id) {
            *place = Some(Arc::clone(&session));
        }
        drop(open);
        if stopping {
            session.stop();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.registry.lock();
        open.sessions.remove(&self.id);
        open.clients -= usize::from(self.client);
        if let Some(address) = self.address
            && let Some(count) = open.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&address);
            }
        }
        if open.sessions.is_empty() {
            let wakers = std::mem::take(&mut open.wakers);
            drop(open);
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 network of 64 bits.
fn site(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Arc<Registry> {
        Registry::new(Limits {
            total: 4,
            per_address: 2,
            exempt: vec!["127.0.0.0/8".parse().unwrap()],
        })
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn limits() {
        let registry = registry();
        let _a = registry.admit(ip("192.0.2.1")).unwrap();
        let b = registry.admit(ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(registry.admit(ip("192.0.2.1")).err(), Some(Full::Address));
        drop(b);
        let _b = registry.admit(ip("192.0.2.1")).unwrap();
        let _c = registry.admit(ip("127.0.0.1")).unwrap();
        let _d = registry.admit(None).unwrap();
        assert_eq!(registry.admit(ip("127.0.0.1")).err(), Some(Full::Total));
        assert_eq!(registry.count(), 4);
        // What we begin ourselves takes nobody's place.
        let out = registry.outgoing().unwrap();
        assert_eq!(registry.count(), 5);
        drop((out, _d));
        let _e = registry.admit(ip("127.0.0.1")).unwrap();
    }

    #[test]
    fn half_of_them_gone_is_told_once() {
        let registry = registry();
        assert!(!registry.has_shrunk());
        let (a, b, c) = (registry.admit(None), registry.admit(None), registry.admit(None));
        drop(a);
        assert!(!registry.has_shrunk());
        drop(b);
        assert!(registry.has_shrunk());
        assert!(!registry.has_shrunk());
        drop(c);
        assert!(registry.has_shrunk());
        assert!(!registry.has_shrunk());
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let registry = registry();
        let _a = registry.admit(ip("2001:db8::1")).unwrap();
        let _b = registry.admit(ip("2001:db8::2")).unwrap();
        assert_eq!(registry.admit(ip("2001:db8::3")).err(), Some(Full::Address));
        assert!(registry.admit(ip("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn stopping_tells_everyone_and_waits_for_the_last() {
        struct Told(Mutex<usize>);
        impl Stop for Told {
            fn stop(&self) {
                *self.0.lock().unwrap() += 1;
            }
        }
        let registry = registry();
        let told = Arc::new(Told(Mutex::new(0)));
        let (a, b) = (registry.admit(None).unwrap(), registry.admit(None).unwrap());
        a.set(Arc::clone(&told) as _);
        let waker = Waker::noop();
        assert!(registry.poll_stopping(waker).is_pending());
        registry.stop();
        // One that was admitted just before learns of it as well.
        b.set(Arc::clone(&told) as _);
        assert_eq!(*told.0.lock().unwrap(), 2);
        assert!(registry.poll_stopping(waker).is_ready());
        assert_eq!(registry.admit(None).err(), Some(Full::Stopping));
        assert!(registry.outgoing().is_none());
        drop(a);
        assert!(registry.poll_empty(waker).is_pending());
        drop(b);
        assert!(registry.poll_empty(waker).is_ready());
    }
}
