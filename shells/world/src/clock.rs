//! The clock of the world: the one place that reads the time.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use waypost_machine::{Now, Time, UnixTime};

/// Says when it is.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Now;

    /// The time of day.
    fn wall(&self) -> UnixTime {
        self.now().wall
    }

    /// The monotonic reading.
    fn mono(&self) -> Time {
        self.now().mono
    }

    /// Lets this thread wait. Only for what gives no sign when it is over.
    #[allow(
        clippy::disallowed_methods,
        reason = "another program's lock file gives no sign when it goes"
    )]
    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// The computer's clocks. `mono` counts from when this value was made.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now {
            mono: Time::from_nanos(nanos),
            wall: UnixTime {
                secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                nanos: since.subsec_nanos(),
            },
        }
    }
}

/// A clock that stands still until it is told to go on: for tests and simulations.
#[derive(Debug)]
pub struct ManualClock(Mutex<Now>);

impl ManualClock {
    /// A clock that shows `wall` seconds since the epoch.
    pub fn new(wall: i64) -> Self {
        let wall = UnixTime { secs: wall, nanos: 0 };
        Self(Mutex::new(Now { mono: Time::ZERO, wall }))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut now = crate::lock(&self.0);
        now.mono = now.mono.plus(by);
        let nanos = u64::from(now.wall.nanos) + u64::from(by.subsec_nanos());
        let secs = by.as_secs() + nanos / 1_000_000_000;
        now.wall.secs = now.wall.secs.saturating_add_unsigned(secs);
        now.wall.nanos = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        *crate::lock(&self.0)
    }

    fn sleep(&self, time: Duration) {
        self.advance(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_goes_on_when_told() {
        let clock = ManualClock::new(100);
        let before = clock.mono();
        clock.advance(Duration::from_millis(700));
        clock.advance(Duration::from_millis(700));
        assert_eq!(clock.wall(), UnixTime { secs: 101, nanos: 400_000_000 });
        assert_eq!(clock.mono().since(before), Duration::from_millis(1400));
    }

    #[test]
    fn the_system_clock_runs() {
        let clock = SystemClock::default();
        let (a, b) = (clock.now(), clock.now());
        assert!(a.wall.secs > 1_700_000_000 && b.mono >= a.mono);
    }
}
