//! Sequence sets (RFC 3501 9 `sequence-set`).

use alloc::vec::Vec;
use core::fmt::{self, Write};

use nom::Parser;
use nom::branch::alt;
use nom::character::complete::{char, digit1};
use nom::combinator::{map_opt, opt, recognize, value};
use nom::multi::separated_list1;
use nom::sequence::{pair, preceded};

use super::{Parsed, whole};

/// In a [`Raw`] set: `*`, the largest number there is.
const STAR: u32 = u32::MAX;

/// A set as it was written: `*` is not a number yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw(Vec<(u32, u32)>);

impl Raw {
    /// Reads a set; `None` when it is none, or has a number that is 0 or beyond 32 bits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        whole(ranges(text)).ok().map(Self)
    }

    /// The set with `*` as `last`; `last` is 0 when there are no messages.
    pub fn resolve(&self, last: u32) -> Set {
        let number = |n: u32| if n == STAR { last } else { n };
        Set::of(self.0.iter().map(|(a, b)| (number(*a), number(*b))))
    }

    /// True when one of its numbers is above `last` (`*` never is).
    pub fn exceeds(&self, last: u32) -> bool {
        self.0.iter().any(|(a, b)| [a, b].into_iter().any(|n| *n != STAR && *n > last))
    }

    /// True when `*` stands in it.
    pub fn has_star(&self) -> bool {
        self.0.iter().any(|(a, b)| *a == STAR || *b == STAR)
    }
}

fn ranges(input: &[u8]) -> Parsed<'_, Vec<(u32, u32)>> {
    let range = pair(number, opt(preceded(char(':'), number)));
    separated_list1(char(','), range.map(|(a, b)| (a, b.unwrap_or(a)))).parse(input)
}

fn number(input: &[u8]) -> Parsed<'_, u32> {
    let digits = map_opt(recognize(digit1), |digits| {
        let number: u32 = core::str::from_utf8(digits).ok()?.parse().ok()?;
        (number != 0).then_some(number)
    });
    alt((value(STAR, char('*')), digits)).parse(input)
}

/// A set of numbers from 1 on, as ranges that grow and do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(Vec<(u32, u32)>);

impl Set {
    /// The set of some ranges, in any order, the ends of each in any order. 0 is left out.
    pub fn of(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut all: Vec<(u32, u32)> = ranges
            .into_iter()
            .map(|(a, b)| (a.min(b).max(1), a.max(b)))
            .filter(|(a, b)| a <= b)
            .collect();
        all.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(all.len().min(64));
        for (from, to) in all {
            match merged.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    /// The set of single numbers, ascending.
    pub fn of_sorted(numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for n in numbers {
            match merged.last_mut() {
                Some(last) if last.1.checked_add(1) == Some(n) => last.1 = n,
                _ => merged.push((n, n)),
            }
        }
        Self(merged)
    }

    /// True when `n` is in the set.
    pub fn contains(&self, n: u32) -> bool {
        let after = self.0.partition_point(|(from, _)| *from <= n);
        after > 0 && self.0[after - 1].1 >= n
    }

    /// The ranges, ascending, both ends included.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// True when nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Set {
    /// As in COPYUID and ESEARCH: `1,4,6:8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (from, to)) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_char(',')?;
            }
            if from == to {
                write!(f, "{from}")?;
            } else {
                write!(f, "{from}:{to}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn shown(text: &str, last: u32) -> alloc::string::String {
        Raw::parse(text.as_bytes()).unwrap().resolve(last).to_string()
    }

    #[test]
    fn by_example() {
        assert_eq!(shown("1,3,5:6", 8), "1,3,5:6");
        assert_eq!(shown("*:7", 8), "7:8");
        assert_eq!(shown("100:*", 8), "8:100");
        assert_eq!(shown("*", 8), "8");
        assert_eq!(shown("*", 0), "");
        assert_eq!(shown("1:*", 0), "1");
        assert_eq!(shown("4294967294,4294967295", 0), "4294967294");
        assert_eq!(shown("5:3,4,1:2", 8), "1:5");
        for wrong in ["", "0", "x", "1:", ":1", "1,,2", "1-", "1:2:3", "4294967296", "1 2", "-1"] {
            assert_eq!(Raw::parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(Raw::parse(b"1:99").unwrap().exceeds(8));
        assert!(!Raw::parse(b"*:7").unwrap().exceeds(8));
    }

    proptest! {
        #[test]
        fn same_as_a_set_of_numbers(ranges in prop::collection::vec((0u32..60, 0u32..60), 0..9)) {
            let naive: BTreeSet<u32> = ranges
                .iter()
                .flat_map(|(a, b)| (*a).min(*b)..=(*a).max(*b))
                .filter(|n| *n > 0)
                .collect();
            let set = Set::of(ranges);
            for n in 0..70 {
                prop_assert_eq!(set.contains(n), naive.contains(&n));
            }
            prop_assert_eq!(&Set::of_sorted(naive.iter().copied()), &set);
            if !set.is_empty() {
                let again = Raw::parse(set.to_string().as_bytes()).unwrap().resolve(0);
                prop_assert_eq!(again, set);
            }
        }

        #[test]
        fn any_text_is_safe(text in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(raw) = Raw::parse(&text) {
                raw.resolve(7);
            }
        }
    }
}
