//! Wake-ups from other threads: a list of keys, and a way to end the wait for sockets.

use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use mio::{Registry, Token};

/// The keys that were woken, and whether the loop sleeps.
pub(crate) struct Wakes {
    end_wait: mio::Waker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    woken: Vec<usize>,
    asleep: bool,
}

impl Wakes {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Arc<Self>> {
        let end_wait = mio::Waker::new(registry, token)?;
        Ok(Arc::new(Self { end_wait, state: Mutex::default() }))
    }

    /// A waker for this key.
    pub(crate) fn waker(self: &Arc<Self>, key: usize) -> Waker {
        Arc::new(One { key, wakes: Arc::clone(self) }).into()
    }

    /// Before waiting: true when nothing has been woken. Who comes later ends the wait.
    pub(crate) fn sleep(&self) -> bool {
        let mut state = self.lock();
        state.asleep = state.woken.is_empty();
        state.asleep
    }

    /// After waiting: moves the woken keys to `keys`.
    pub(crate) fn take(&self, keys: &mut Vec<usize>) {
        let mut state = self.lock();
        state.asleep = false;
        match keys.is_empty() {
            true => mem::swap(keys, &mut state.woken),
            false => keys.append(&mut state.woken),
        }
    }

    fn wake(&self, key: usize) {
        let mut state = self.lock();
        state.woken.push(key);
        let asleep = mem::take(&mut state.asleep);
        drop(state);
        // An eventfd that counts to 2^64 does not refuse.
        if asleep && let Err(error) = self.end_wait.wake() {
            tracing::error!(target: "waypost", "wake-up: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct One {
    key: usize,
    wakes: Arc<Wakes>,
}

impl Wake for One {
    fn wake(self: Arc<Self>) {
        self.wakes.wake(self.key);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wakes.wake(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn a_wake_up_ends_the_wait_and_none_is_lost() {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(4);
        let wakes = Wakes::new(poll.registry(), Token(9)).unwrap();
        let (first, second) = (wakes.waker(1), wakes.waker(2));
        let mut keys = Vec::new();
        for _ in 0..100 {
            let first = first.clone();
            let thread = thread::spawn(move || first.wake());
            while keys.is_empty() {
                if wakes.sleep() {
                    poll.poll(&mut events, None).unwrap();
                    assert!(!events.is_empty());
                }
                wakes.take(&mut keys);
            }
            assert_eq!(mem::take(&mut keys), [1]);
            thread.join().unwrap();
        }
        // Awake already: no need for the system.
        second.wake_by_ref();
        first.wake_by_ref();
        assert!(!wakes.sleep());
        wakes.take(&mut keys);
        assert_eq!(keys, [2, 1]);
        assert!(wakes.sleep());
    }
}
