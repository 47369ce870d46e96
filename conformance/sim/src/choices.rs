//! The one source of every decision.
//!
//! Zero is always the plain case (no fault, no delay, one piece), so a run whose choices are all zero
//! is one in which nothing special happens.

use std::sync::{Mutex, PoisonError};

/// Makes decisions. Shared by all parts of one simulated world.
#[derive(Debug)]
pub struct Choices(Mutex<Source>);

#[derive(Debug)]
enum Source {
    /// SplitMix64 (Steele, Lea, Flood 2014): its state.
    Seed(u64),
    /// Bytes of a fuzzer, and how many of them are used up. Zero behind their end.
    Bytes(Vec<u8>, usize),
}

impl Choices {
    /// Decisions out of a seed: the same seed, the same decisions.
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(Source::Seed(seed)))
    }

    /// Decisions out of bytes; behind their end all are zero.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(Mutex::new(Source::Bytes(bytes.to_vec(), 0)))
    }

    /// A number below `n`; zero if `n` is.
    pub fn below(&self, n: u64) -> u64 {
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match n {
            0 | 1 => 0,
            _ => source.next(n) % n,
        }
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True `percent` times out of a hundred.
    pub fn percent(&self, percent: u64) -> bool {
        self.below(100) >= 100 - percent.min(100)
    }

    /// One of them. There must be one.
    pub fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap_or(0)]
    }

    /// A seed for a part that decides by itself, so that it does not change when others ask more or
    /// less often.
    pub fn part(&self) -> u64 {
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.next(u64::MAX)
    }
}

impl Source {
    fn next(&mut self, n: u64) -> u64 {
        match self {
            Self::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^ (mixed >> 31)
            }
            Self::Bytes(bytes, used) => {
                // No more of them than the question is worth.
                let wanted = (64 - n.leading_zeros()).div_ceil(8).max(1) as usize;
                let rest = bytes.get(*used..).unwrap_or_default();
                let taken = &rest[..wanted.min(rest.len())];
                *used += taken.len();
                taken.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_all() {
        let draw = |seed| {
            let choices = Choices::seeded(seed);
            (0..50).map(|_| choices.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn behind_the_bytes_nothing_special_happens() {
        let choices = Choices::from_bytes(&[9, 1, 2]);
        assert_eq!(choices.below(10), 9);
        assert_eq!(choices.below(1000), 258);
        assert_eq!(choices.below(1000), 0);
        assert!(!choices.percent(99));
        assert_eq!(*choices.pick(&["plain", "fault"]), "plain");
    }

    #[test]
    fn a_percentage_is_one() {
        let choices = Choices::seeded(1);
        let hits = (0..10_000).filter(|_| choices.percent(20)).count();
        assert!((1_800..2_200).contains(&hits), "{hits}");
        assert!(choices.percent(100) && !choices.percent(0));
    }
}
