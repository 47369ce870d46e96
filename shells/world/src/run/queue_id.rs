//! Queue ids: what the admin looks for in the log.

use std::sync::Mutex;

use waypost_machine::UnixTime;

use crate::lock;

/// Digits of Postfix's long queue ids: no vowels, so that no words come out.
const DIGITS: &[u8; 52] = b"0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";

/// Gives out ids as Postfix's `enable_long_queue_ids` does: seconds and microseconds of the time of
/// day, `z`, and, in place of an inode number, the process. No two are the same, also across
/// restarts, as long as the clock of a new process does not stand behind the last id of the one
/// before it that had the same process id.
#[derive(Debug)]
pub(crate) struct QueueIds {
    process: u32,
    /// Microseconds since the epoch of the last id.
    last: Mutex<u64>,
}

impl QueueIds {
    pub(crate) fn new(process: u32) -> Self {
        Self { process, last: Mutex::default() }
    }

    pub(crate) fn next(&self, now: UnixTime) -> String {
        let secs = u64::try_from(now.secs).unwrap_or(0);
        let wanted = secs.saturating_mul(1_000_000).saturating_add(u64::from(now.nanos / 1000));
        let micros = {
            let mut last = lock(&self.last);
            *last = wanted.max(last.saturating_add(1));
            *last
        };
        let mut id = String::new();
        digits(micros / 1_000_000, 6, &mut id);
        digits(micros % 1_000_000, 4, &mut id);
        id.push('z');
        digits(self.process.into(), 1, &mut id);
        id
    }
}

fn digits(mut number: u64, at_least: usize, out: &mut String) {
    let mut backwards = Vec::new();
    while number > 0 || backwards.len() < at_least {
        // The remainder is below 52.
        backwards.push(DIGITS[(number % 52) as usize]);
        number /= 52;
    }
    out.extend(backwards.into_iter().rev().map(char::from));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_ordered_and_never_the_same() {
        let ids = QueueIds::new(std::process::id());
        let now = UnixTime { secs: 1_795_348_800, nanos: 461_630_000 };
        let mut all: Vec<String> = (0..1000).map(|_| ids.next(now)).collect();
        all.push(ids.next(UnixTime { secs: 5, nanos: 0 }));
        all.push(ids.next(UnixTime { secs: 1_795_348_801, nanos: 0 }));
        let mut sorted = all.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted, all);
        assert!(all.iter().all(|id| id.len() <= 16 && id.as_bytes()[10] == b'z'), "{:?}", all[0]);
        assert!(all[0].bytes().all(|digit| DIGITS.contains(&digit)));
    }
}
