//! What happens next, and when: one heap of events, and the clock that it moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use waypost_machine::{Now, Time, UnixTime};
use waypost_world::Clock;

/// Something that happens.
pub type Event = Box<dyn FnOnce() + Send>;

/// Whose events they are: those of a server that crashes never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life(u32);

/// Everybody's: the network, the remote hosts, the clients.
pub const ETERNAL: Life = Life(0);

/// Events in the order in which they happen. The clock stands still between two of them.
#[derive(Default)]
pub struct Heap(Mutex<State>);

#[derive(Default)]
struct State {
    now: Duration,
    /// The time of day when `now` was zero, moved by [`Heap::jump`].
    wall: i64,
    order: u64,
    lives: u32,
    dead: BTreeSet<Life>,
    events: BTreeMap<(Duration, u64), (Life, Event)>,
    happened: u64,
}

impl Heap {
    /// A heap whose clock shows `wall` seconds since the epoch.
    pub fn new(wall: i64) -> Self {
        Self(Mutex::new(State { wall, ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new life.
    pub fn birth(&self) -> Life {
        let mut state = self.state();
        state.lives += 1;
        Life(state.lives)
    }

    /// None of this life's events happens any more, nor those that it still wants. Returns what they held, to be dropped without
    /// the heap being locked.
    #[must_use]
    pub fn death(&self, life: Life) -> Vec<Event> {
        let mut state = self.state();
        state.dead.insert(life);
        let (dead, living) = std::mem::take(&mut state.events)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, (whose, _))| *whose == life);
        state.events = living;
        dead.into_values().map(|(_, event)| event).collect()
    }

    /// Lets something happen after `delay`; what is due at the same time happens in this order.
    pub fn after(&self, life: Life, delay: Duration, event: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        if state.dead.contains(&life) {
            // Dropped last of all, without the heap being locked.
            return drop(state);
        }
        state.order += 1;
        let key = (state.now + delay, state.order);
        state.events.insert(key, (life, Box::new(event)));
    }

    /// Moves the clock to the next event, and hands it out to be run; `None` when nothing is left,
    /// or nothing before `end`.
    pub fn next(&self, end: Duration) -> Option<Event> {
        let mut state = self.state();
        let first = state.events.first_entry().filter(|first| first.key().0 <= end)?;
        let ((at, _), (_, event)) = first.remove_entry();
        // A worker may have slept meanwhile, and all others with it.
        state.now = at.max(state.now);
        state.happened += 1;
        Some(event)
    }

    /// Moves the clock on to this time; nothing may be left to happen before it.
    pub fn pass(&self, to: Duration) {
        let mut state = self.state();
        state.now = state.now.max(to);
    }

    /// How many events have happened.
    pub fn happened(&self) -> u64 {
        self.state().happened
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.state().now
    }

    /// Sets the time of day on or back, by so many seconds; the other clock goes on as before.
    pub fn jump(&self, seconds: i64) {
        self.state().wall += seconds;
    }
}

impl Clock for Heap {
    fn now(&self) -> Now {
        let state = self.state();
        let secs = i64::try_from(state.now.as_secs()).unwrap_or(i64::MAX);
        Now {
            mono: Time::from_nanos(u64::try_from(state.now.as_nanos()).unwrap_or(u64::MAX)),
            wall: UnixTime { secs: state.wall + secs, nanos: state.now.subsec_nanos() },
        }
    }

    fn sleep(&self, time: Duration) {
        self.state().now += time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn said(words: &Arc<Mutex<Vec<&'static str>>>, word: &'static str) -> impl FnOnce() + use<> {
        let words = Arc::clone(words);
        move || words.lock().unwrap().push(word)
    }

    #[test]
    fn events_come_in_order_and_move_the_clock() {
        let heap = Heap::new(1_000);
        let words = Arc::default();
        heap.after(ETERNAL, Duration::from_millis(1500), said(&words, "third"));
        heap.after(ETERNAL, Duration::ZERO, said(&words, "first"));
        heap.after(ETERNAL, Duration::ZERO, said(&words, "second"));
        heap.after(ETERNAL, Duration::from_secs(9), said(&words, "too late"));
        while let Some(event) = heap.next(Duration::from_secs(2)) {
            event();
        }
        assert_eq!(*words.lock().unwrap(), ["first", "second", "third"]);
        assert_eq!((heap.happened(), heap.elapsed()), (3, Duration::from_millis(1500)));
        heap.jump(-500);
        assert_eq!(heap.wall(), UnixTime { secs: 501, nanos: 500_000_000 });
    }

    #[test]
    fn a_dead_servers_events_do_not_happen() {
        let heap = Heap::new(0);
        let words = Arc::default();
        let (dead, living) = (heap.birth(), heap.birth());
        heap.after(dead, Duration::ZERO, said(&words, "dead"));
        heap.after(living, Duration::ZERO, said(&words, "living"));
        assert_eq!(heap.death(dead).len(), 1);
        heap.after(dead, Duration::ZERO, said(&words, "a ghost"));
        while let Some(event) = heap.next(Duration::MAX) {
            event();
        }
        assert_eq!(*words.lock().unwrap(), ["living"]);
    }
}
