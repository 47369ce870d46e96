//! DANE (RFC 6698, 7671, 7672): which TLSA records count, and what if none do.
//!
//! A lookup that fails says nothing: whoever can make it fail would otherwise switch TLS off. So the
//! host has to wait. An answer that nobody vouches for says nothing either, but there the domain has
//! promised nothing, and the host is as good as one without records (RFC 7672 2.2).

use alloc::boxed::Box;
use alloc::vec::Vec;

use sha2::{Digest, Sha256, Sha512};

use crate::level::Level;

/// The four fields of a TLSA record, as they come (RFC 6698 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Certificate usage.
    pub usage: u8,
    /// Selector.
    pub selector: u8,
    /// Matching type.
    pub matching: u8,
    /// Certificate association data.
    pub data: &'a [u8],
}

/// A TLSA record that can be used with SMTP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tlsa {
    /// Whose certificate it is.
    pub usage: Usage,
    /// What of the certificate.
    pub selector: Selector,
    matching: Matching,
    data: Box<[u8]>,
}

/// Whose certificate a record is of. Usages 0 and 1 are not for SMTP (RFC 7672 3.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Usage {
    /// 2: an authority; the host's certificate must lead to it, and be for its name.
    TrustAnchor,
    /// 3: the host's own; names and dates do not count (RFC 7672 3.1.1).
    EndEntity,
}

/// What of the certificate a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// 0: all of it.
    Certificate,
    /// 1: its SubjectPublicKeyInfo.
    Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Matching {
    Full,
    Sha256,
    Sha512,
}

impl Tlsa {
    /// `None`: a record that cannot be used.
    fn new(record: Record<'_>) -> Option<Self> {
        let usage = match record.usage {
            2 => Usage::TrustAnchor,
            3 => Usage::EndEntity,
            _ => return None,
        };
        let selector = match record.selector {
            0 => Selector::Certificate,
            1 => Selector::Key,
            _ => return None,
        };
        let matching = match (record.matching, record.data.len()) {
            (0, 1..) => Matching::Full,
            (1, 32) => Matching::Sha256,
            (2, 64) => Matching::Sha512,
            _ => return None,
        };
        Some(Self { usage, selector, matching, data: record.data.into() })
    }

    /// Whether it is of this certificate, given in DER, with this SubjectPublicKeyInfo in DER.
    pub fn matches(&self, certificate: &[u8], key: &[u8]) -> bool {
        let selected = match self.selector {
            Selector::Certificate => certificate,
            Selector::Key => key,
        };
        match self.matching {
            Matching::Full => *self.data == *selected,
            Matching::Sha256 => *self.data == *Sha256::digest(selected),
            Matching::Sha512 => *self.data == *Sha512::digest(selected),
        }
    }

    /// The certificate itself, in DER, where the record holds all of it.
    pub fn certificate(&self) -> Option<&[u8]> {
        let whole = self.selector == Selector::Certificate && self.matching == Matching::Full;
        whole.then_some(&*self.data)
    }
}

/// What the resolver said of the TLSA records of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered<'a> {
    /// These.
    Records(&'a [Record<'a>]),
    /// There are none.
    Absent,
    /// It cannot be told: SERVFAIL, which is also what wrong signatures give, or silence.
    Failed,
}

/// What to do about a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dane {
    /// Its certificate must fit one of these.
    Use(Vec<Tlsa>),
    /// DANE does not apply; go on with this level: `may` or `encrypt`.
    Instead(Level),
    /// It gets nothing now. The reason, as Postfix words it.
    Defer(&'static str),
}

/// Decides at the levels `dane` and `dane-only`. `secure`: the resolver vouches for what it said.
/// A host whose own name and addresses nobody vouches for need not be asked about: it is
/// `decide(level, false, Answered::Absent)`.
pub fn decide(level: Level, secure: bool, answered: Answered<'_>) -> Dane {
    let without = |level_instead, reason| match level {
        Level::DaneOnly => Dane::Defer(reason),
        _ => Dane::Instead(level_instead),
    };
    match answered {
        Answered::Failed => Dane::Defer("TLSA lookup error"),
        _ if !secure => without(Level::May, "non DNSSEC destination"),
        Answered::Absent => without(Level::May, "no TLSA records found"),
        Answered::Records(records) => match usable(records) {
            // RFC 7672 2.2: they promise TLS at least.
            none if none.is_empty() => without(Level::Encrypt, "no usable TLSA records"),
            usable => Dane::Use(usable),
        },
    }
}

/// Those that can be used. Of digests of the same thing only the strongest kind counts
/// (RFC 7671 9).
fn usable(records: &[Record<'_>]) -> Vec<Tlsa> {
    let all: Vec<Tlsa> = records.iter().filter_map(|record| Tlsa::new(*record)).collect();
    let outdone = |one: &Tlsa| {
        one.matching == Matching::Sha256
            && all.iter().any(|other| {
                let same = (other.usage, other.selector) == (one.usage, one.selector);
                same && other.matching == Matching::Sha512
            })
    };
    let mut kept: Vec<Tlsa> = all.iter().filter(|one| !outdone(one)).cloned().collect();
    kept.sort();
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: [u8; 64] = [7; 64];

    fn record(usage: u8, selector: u8, matching: u8, len: usize) -> Record<'static> {
        Record { usage, selector, matching, data: &HASH[..len] }
    }

    #[test]
    fn what_counts() {
        for (fields, want) in [
            ((3, 1, 1, 32), true),
            ((3, 0, 1, 32), true),
            ((2, 0, 1, 32), true),
            ((2, 1, 2, 64), true),
            ((3, 1, 0, 9), true),
            ((0, 1, 1, 32), false),
            ((1, 1, 1, 32), false),
            ((255, 1, 1, 32), false),
            ((3, 2, 1, 32), false),
            ((3, 1, 3, 32), false),
            ((3, 1, 1, 31), false),
            ((3, 1, 2, 32), false),
            ((3, 1, 0, 0), false),
        ] {
            let (usage, selector, matching, len) = fields;
            let one = usable(&[record(usage, selector, matching, len)]);
            assert_eq!(one.len(), usize::from(want), "{fields:?}");
        }
    }

    #[test]
    fn the_strongest_digest_counts() {
        let all =
            [record(3, 1, 1, 32), record(3, 1, 2, 64), record(3, 1, 0, 5), record(2, 1, 1, 32)];
        let kinds: Vec<_> = usable(&all).iter().map(|one| (one.usage, one.matching)).collect();
        let want = [
            (Usage::TrustAnchor, Matching::Sha256),
            (Usage::EndEntity, Matching::Full),
            (Usage::EndEntity, Matching::Sha512),
        ];
        assert_eq!(kinds, want);
    }

    #[test]
    fn decisions() {
        use Answered::{Absent, Failed, Records};
        use Level::{Encrypt, May};
        let good: &[Record<'_>] = &[record(3, 1, 1, 32)];
        let bad: &[Record<'_>] = &[record(1, 1, 1, 32)];
        let uses = || Dane::Use(usable(good));
        for (secure, answered, dane, only) in [
            (true, Records(good), uses(), uses()),
            (true, Records(bad), Dane::Instead(Encrypt), Dane::Defer("no usable TLSA records")),
            (true, Absent, Dane::Instead(May), Dane::Defer("no TLSA records found")),
            (false, Records(good), Dane::Instead(May), Dane::Defer("non DNSSEC destination")),
            (false, Absent, Dane::Instead(May), Dane::Defer("non DNSSEC destination")),
            (false, Failed, Dane::Defer("TLSA lookup error"), Dane::Defer("TLSA lookup error")),
            (true, Failed, Dane::Defer("TLSA lookup error"), Dane::Defer("TLSA lookup error")),
        ] {
            assert_eq!(decide(Level::Dane, secure, answered), dane, "{secure} {answered:?}");
            assert_eq!(decide(Level::DaneOnly, secure, answered), only, "{secure} {answered:?}");
        }
    }

    #[test]
    fn matches() {
        let (certificate, key) = (&b"certificate"[..], &b"key"[..]);
        let hashes = (Sha256::digest(key), Sha512::digest(certificate));
        for (selector, matching, data, want) in [
            (0, 0, certificate, true),
            (0, 0, key, false),
            (1, 0, key, true),
            (1, 1, &hashes.0[..], true),
            (0, 1, &hashes.0[..], false),
            (0, 2, &hashes.1[..], true),
            (1, 2, &hashes.1[..], false),
        ] {
            let one = Tlsa::new(Record { usage: 3, selector, matching, data }).unwrap();
            assert_eq!(one.matches(certificate, key), want, "{one:?}");
            assert_eq!(one.certificate().is_some(), selector == 0 && matching == 0);
        }
    }

    proptest! {
        #[test]
        fn dane_never_falls_below_what_was_promised(
            fields in proptest::collection::vec((0u8..5, 0u8..3, 0u8..4, 0usize..65), 0..6),
            secure in any::<bool>(),
            only in any::<bool>(),
        ) {
            let records: Vec<_> = fields.iter().map(|(u, s, m, n)| record(*u, *s, *m, *n)).collect();
            let level = if only { Level::DaneOnly } else { Level::Dane };
            match decide(level, secure, Answered::Records(&records)) {
                Dane::Use(kept) => prop_assert!(secure && !kept.is_empty()),
                Dane::Instead(Level::May) => prop_assert!(!secure && !only),
                Dane::Instead(level) => prop_assert!(level == Level::Encrypt && secure && !only),
                Dane::Defer(_) => prop_assert!(only),
            }
        }
    }
}
