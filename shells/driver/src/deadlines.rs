//! When each of many connections wants to be looked at, for a shell with one thread.

use std::collections::BTreeSet;

use waypost_machine::Time;

/// At most one alarm for each key; keys are small numbers that are used again, as a slab's are.
///
/// A deadline that moves to a later time, as each command moves an idle timeout, costs nothing: the
/// alarm stays where it is, and whoever it wakes too early sets it again. So an alarm is a reason to
/// look, not a proof that something is due.
#[derive(Debug, Default)]
pub struct Deadlines {
    order: BTreeSet<(Time, usize)>,
    alarms: Vec<Option<Time>>,
}

impl Deadlines {
    /// The key has this deadline from now on, and is told then, or before.
    pub fn set(&mut self, key: usize, deadline: Option<Time>) {
        let Some(deadline) = deadline else { return };
        if self.alarms.len() <= key {
            self.alarms.resize(key + 1, None);
        }
        match self.alarms[key] {
            Some(alarm) if alarm <= deadline => return,
            Some(alarm) => {
                self.order.remove(&(alarm, key));
            }
            None => {}
        }
        self.order.insert((deadline, key));
        self.alarms[key] = Some(deadline);
    }

    /// The key has no deadline any more.
    pub fn remove(&mut self, key: usize) {
        if let Some(alarm) = self.alarms.get_mut(key).and_then(Option::take) {
            self.order.remove(&(alarm, key));
        }
    }

    /// The first alarm.
    pub fn next(&self) -> Option<Time> {
        self.order.first().map(|(time, _)| *time)
    }

    /// Takes a key whose alarm has come, the earliest first.
    pub fn due(&mut self, now: Time) -> Option<usize> {
        let (_, key) = self.order.first().copied().filter(|(alarm, _)| *alarm <= now)?;
        self.remove(key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(secs: u64) -> Time {
        Time::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn later_is_free_and_earlier_moves() {
        let mut deadlines = Deadlines::default();
        deadlines.set(3, Some(at(10)));
        deadlines.set(3, Some(at(20)));
        assert_eq!(deadlines.next(), Some(at(10)));
        deadlines.set(3, Some(at(5)));
        deadlines.set(1, Some(at(7)));
        assert_eq!((deadlines.next(), deadlines.due(at(4))), (Some(at(5)), None));
        assert_eq!([deadlines.due(at(9)), deadlines.due(at(9))], [Some(3), Some(1)]);
        assert_eq!((deadlines.next(), deadlines.due(at(99))), (None, None));
        deadlines.set(1, Some(at(7)));
        deadlines.remove(1);
        deadlines.remove(8);
        assert_eq!(deadlines.next(), None);
    }

    proptest! {
        /// Nobody is told late, however deadlines move; nobody has two alarms.
        #[test]
        fn each_key_is_told_in_time(
            steps in proptest::collection::vec((0_usize..6, proptest::option::of(0_u64..40)), 1..80),
        ) {
            let mut deadlines = Deadlines::default();
            let mut wanted = BTreeMap::new();
            for (now, (key, after)) in steps.into_iter().enumerate() {
                let now = at(now as u64);
                match after {
                    Some(after) => {
                        let deadline = now.plus(std::time::Duration::from_secs(after));
                        deadlines.set(key, Some(deadline));
                        wanted.insert(key, deadline);
                    }
                    None => {
                        deadlines.remove(key);
                        wanted.remove(&key);
                    }
                }
                while let Some(key) = deadlines.due(now) {
                    match wanted.get(&key) {
                        Some(deadline) if *deadline <= now => drop(wanted.remove(&key)),
                        deadline => deadlines.set(key, deadline.copied()),
                    }
                }
                prop_assert!(wanted.values().all(|deadline| *deadline > now));
                prop_assert_eq!(deadlines.next() <= wanted.values().min().copied(), true);
                prop_assert_eq!(deadlines.order.len(), wanted.len());
            }
        }
    }
}
