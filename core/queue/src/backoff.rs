//! When to try again.

use core::time::Duration;

use waypost_machine::UnixTime;

/// The schedule of retries, as Postfix's qmgr(8) has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// `minimal_backoff_time`: the shortest time between two attempts.
    pub minimal: Duration,
    /// `maximal_backoff_time`: the longest.
    pub maximal: Duration,
}

impl Default for Backoff {
    /// 300 and 4000 seconds.
    fn default() -> Self {
        Self { minimal: Duration::from_secs(300), maximal: Duration::from_secs(4000) }
    }
}

impl Backoff {
    /// When a message that arrived at `arrived` and could not be delivered at `now` is tried again:
    /// after as long as it has waited already, within the two limits. So the time between attempts
    /// doubles.
    pub fn next(&self, arrived: UnixTime, now: UnixTime) -> UnixTime {
        let age = u64::try_from(now.secs.saturating_sub(arrived.secs)).unwrap_or(0);
        let wait = self.wait(Duration::from_secs(age));
        UnixTime { secs: now.secs.saturating_add_unsigned(wait.as_secs()), nanos: now.nanos }
    }

    /// How long a message that has waited so long already waits for its next attempt.
    pub fn wait(&self, age: Duration) -> Duration {
        age.min(self.maximal).max(self.minimal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn at(secs: i64) -> UnixTime {
        UnixTime { secs, nanos: 0 }
    }

    #[test]
    fn the_time_between_attempts_doubles() {
        let backoff = Backoff::default();
        let mut now = at(1000);
        let waits: Vec<i64> = (0..7)
            .map(|_| {
                let next = backoff.next(at(1000), now);
                let wait = next.secs - now.secs;
                now = next;
                wait
            })
            .collect();
        assert_eq!(waits, [300, 300, 600, 1200, 2400, 4000, 4000]);
    }

    proptest! {
        #[test]
        fn always_later_and_within_limits(arrived in any::<i64>(), now in any::<i64>()) {
            let wait = i128::from(Backoff::default().next(at(arrived), at(now)).secs) - i128::from(now);
            let room = i128::from(i64::MAX) - i128::from(now);
            prop_assert!(wait >= 300.min(room) && wait <= 4000);
        }
    }
}
