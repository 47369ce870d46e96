//! The Sender Rewriting Scheme: how a forwarded message leaves with a sender of our own domain, so
//! that SPF (RFC 7208) holds for it, and how a bounce to that sender finds its way back.
//!
//! | from | becomes | |
//! |---|---|---|
//! | `user@first.test` | `SRS0=HHHH=TT=first.test=user@us` | `HHHH` proves that we wrote it, `TT` is the day |
//! | `SRS0=rest@other.test` | `SRS1=HHHH=other.test==rest@us` | already rewritten by another: the bounce goes there |
//! | `SRS1=xxxx=other.test==rest@third.test` | `SRS1=HHHH=other.test==rest@us` | by others: only the proof changes |
//!
//! Format, hash and day are those of libsrs2 and postsrsd, so addresses written by these stay good
//! when their secret is kept. There is no RFC.
//!
//! A rewritten local part is longer than the original, often above the 64 octets that every server
//! has to take (RFC 5321 4.5.3.1.1). Most servers take more; for those that do not, there is no
//! better sender: the original one would fail SPF, and a shorter one would need a table of all
//! senders that must never be lost. So up to [`Srs::max_local`] octets it is rewritten, and above
//! that [`SrsError::TooLong`] says to leave it as it is.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use waypost_machine::Secret;

use crate::address::{Address, AddressError, Domain};

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Days after which the time stamp starts again.
const PERIOD: i64 = 1024;

/// What rewriting needs to know.
#[derive(Clone, Debug)]
pub struct Srs {
    /// The domain of rewritten senders. Mail for it has to come back to us.
    pub domain: Domain,
    /// The first one signs, all are good for checking. They need at least 16 octets to be worth
    /// something.
    pub secrets: Vec<Secret<Vec<u8>>>,
    /// Days for which a bounce is let back; at most 1000.
    pub max_age: u16,
    /// Characters of the proof, 4 to 24. Case does not count, so one in 38^n guesses is right: of
    /// 4 characters, one in two million. What the further secrets prove may have 4 and more.
    pub hash_length: usize,
    /// Octets of a rewritten local part, see above.
    pub max_local: usize,
}

/// Why an address is not rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrsError {
    /// The domain is not the one of rewritten senders.
    #[error("not an address of the SRS domain")]
    NotOurs,
    /// It does not begin with `SRS0` or `SRS1`, or has not all of its parts.
    #[error("not an SRS address")]
    NotSrs,
    /// The proof is wrong: somebody else made it up, or it was changed on its way.
    #[error("SRS hash does not match")]
    Forged,
    /// It is too old.
    #[error("SRS time stamp out of date")]
    Expired,
    /// The result would be longer than allowed.
    #[error("SRS address too long")]
    TooLong,
    /// There is no secret.
    #[error("no SRS secret")]
    NoSecret,
}

impl From<AddressError> for SrsError {
    fn from(error: AddressError) -> Self {
        match error {
            AddressError::TooLong => Self::TooLong,
            _ => Self::NotSrs,
        }
    }
}

/// The part behind the tag `SRS0` or `SRS1`, separator included.
fn behind<'a>(local: &'a str, tag: &str) -> Option<&'a str> {
    let (start, rest) = local.split_at_checked(4)?;
    (start.eq_ignore_ascii_case(tag) && rest.starts_with(['=', '-', '+'])).then_some(rest)
}

/// True for a sender that some forwarder has written.
pub fn is_srs(address: &Address) -> bool {
    behind(address.local(), "SRS0").is_some() || behind(address.local(), "SRS1").is_some()
}

impl Srs {
    /// Rewriting as postsrsd does by default: 21 days, 4 characters, local parts of any length.
    pub fn new(domain: Domain, secret: Secret<Vec<u8>>) -> Self {
        Self {
            domain,
            secrets: alloc::vec![secret],
            max_age: 21,
            hash_length: 4,
            max_local: usize::MAX,
        }
    }

    /// The sender with which a forwarded message leaves; `day` counts from 1970-01-01, UTC. A
    /// sender of our SRS domain stays as it is. It is up to the caller to ask only for senders of
    /// domains that are not ours, and only for messages that leave.
    ///
    /// # Errors
    /// [`SrsError::TooLong`], [`SrsError::NoSecret`], or [`SrsError::NotSrs`] for an `SRS1`
    /// address without its parts.
    pub fn forward(&self, sender: &Address, day: i64) -> Result<Address, SrsError> {
        if *sender.domain() == self.domain {
            return Ok(sender.clone());
        }
        let secret = self.secrets.first().ok_or(SrsError::NoSecret)?;
        let (local, domain) = (sender.local(), sender.domain().as_str());
        let length = self.hash_length;
        let rewritten = if let Some(rest) = behind(local, "SRS0") {
            format!("SRS1={}={domain}={rest}", hash_of(secret, &[domain, rest], length))
        } else if let Some(rest) = behind(local, "SRS1") {
            let (_, first, rest) = parts(rest)?;
            // Nothing would come back there.
            Domain::parse(first)?;
            format!("SRS1={}={first}={rest}", hash_of(secret, &[first, rest], length))
        } else {
            let stamp = stamp(day);
            let hash = hash_of(secret, &[&stamp, domain, local], length);
            format!("SRS0={hash}={stamp}={domain}={local}")
        };
        if rewritten.len() > self.max_local {
            return Err(SrsError::TooLong);
        }
        Ok(Address::new(&rewritten, self.domain.clone())?)
    }

    /// Where mail for a rewritten sender goes: the original sender, or the forwarder before us.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn reverse(&self, address: &Address, day: i64) -> Result<Address, SrsError> {
        if *address.domain() != self.domain {
            return Err(SrsError::NotOurs);
        }
        if let Some(rest) = behind(address.local(), "SRS1") {
            let (hash, first, rest) = parts(rest)?;
            self.check(hash, &[first, rest])?;
            return Ok(Address::new(&format!("SRS0{rest}"), Domain::parse(first)?)?);
        }
        let rest = behind(address.local(), "SRS0").ok_or(SrsError::NotSrs)?;
        let (hash, stamp, rest) = parts(rest)?;
        let (domain, local) = rest.split_once('=').ok_or(SrsError::NotSrs)?;
        self.check(hash, &[stamp, domain, local])?;
        let age = (day - day_of(stamp).ok_or(SrsError::NotSrs)?).rem_euclid(PERIOD);
        // One day in the future: the clocks of two of our servers.
        if age > i64::from(self.max_age) && age != PERIOD - 1 {
            return Err(SrsError::Expired);
        }
        Ok(Address::new(local, Domain::parse(domain)?)?)
    }

    fn check(&self, hash: &str, of: &[&str]) -> Result<(), SrsError> {
        if self.secrets.is_empty() {
            return Err(SrsError::NoSecret);
        }
        let good = |n, secret| {
            let length = if n == 0 { self.hash_length } else { hash.len() };
            same(&hash_of(secret, of, length), hash)
        };
        // All are tried, whatever the first says: the time tells nothing.
        let good = self.secrets.iter().enumerate().fold(false, |any, (n, it)| good(n, it) | any);
        if good { Ok(()) } else { Err(SrsError::Forged) }
    }
}

fn hash_of(secret: &Secret<Vec<u8>>, of: &[&str], length: usize) -> String {
    // Some servers change the case of addresses, so it must not count.
    let text = of.concat().to_ascii_lowercase();
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.expose())
        .expect("invariant: HMAC takes keys of any length");
    mac.update(text.as_bytes());
    let digest = mac.finalize().into_bytes();
    let sextet = |n: usize| {
        let bits = |at: usize| u16::from(digest.get(at).copied().unwrap_or(0));
        let pair = (bits(n * 6 / 8) << 8) | bits(n * 6 / 8 + 1);
        char::from(BASE64[usize::from(pair >> (10 - n * 6 % 8)) & 63])
    };
    (0..length.clamp(4, 24)).map(sextet).collect()
}

/// Compares without case, as servers on the way may change it, and without a hint by the time it
/// takes.
fn same(own: &str, given: &str) -> bool {
    let fold = |a: &u8, b: &u8| a.to_ascii_lowercase() ^ b.to_ascii_lowercase();
    let differ = own.bytes().zip(given.bytes()).fold(0, |all, (a, b)| all | fold(&a, &b));
    own.len() == given.len() && differ == 0
}

/// `=a=b=rest` -> a, b, rest; the first separator may be another one.
fn parts(text: &str) -> Result<(&str, &str, &str), SrsError> {
    let mut parts = text.get(1..).unwrap_or_default().splitn(3, '=');
    let mut part = || parts.next().ok_or(SrsError::NotSrs);
    Ok((part()?, part()?, part()?))
}

fn stamp(day: i64) -> String {
    let day = day.rem_euclid(PERIOD);
    let digit = |n: i64| char::from(BASE32[usize::try_from(n & 31).unwrap_or(0)]);
    String::from_iter([digit(day >> 5), digit(day)])
}

fn day_of(stamp: &str) -> Option<i64> {
    let digit = |c: u8| {
        let place = BASE32.iter().position(|d| *d == c.to_ascii_uppercase())?;
        i64::try_from(place).ok()
    };
    match stamp.as_bytes() {
        [high, low] => Some(digit(*high)? << 5 | digit(*low)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    /// 2020-01-01
    const DAY: i64 = 18_262;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn srs() -> Srs {
        let secret = Secret::new(b"tops3cr3t".to_vec());
        Srs::new(Domain::parse("example.com").unwrap(), secret)
    }

    fn forward(text: &str) -> Result<String, SrsError> {
        srs().forward(&address(text), DAY).map(|address| address.to_string())
    }

    fn reverse(text: &str) -> Result<String, SrsError> {
        srs().reverse(&address(text), DAY).map(|address| address.to_string())
    }

    #[test]
    fn as_postsrsd_does() {
        for (from, to) in [
            ("test@otherdomain.com", "SRS0=vmyz=2W=otherdomain.com=test@example.com"),
            (
                "SRS0=opaque+string@otherdomain.com",
                "SRS1=chaI=otherdomain.com==opaque+string@example.com",
            ),
            (
                "SRS1=X=thirddomain.com==opaque+string@otherdomain.com",
                "SRS1=JIBX=thirddomain.com==opaque+string@example.com",
            ),
            ("test@example.com", "test@example.com"),
        ] {
            assert_eq!(forward(from).unwrap(), to);
        }
        for (from, to) in [
            ("SRS0=XjO9=2V=otherdomain.com=test@example.com", Ok("test@otherdomain.com")),
            (
                "SRS1=JIBX=thirddomain.com==opaque+string@example.com",
                Ok("SRS0=opaque+string@thirddomain.com"),
            ),
            ("test@example.com", Err(SrsError::NotSrs)),
            ("SRS0=te87=T7=otherdomain.com=test@example.com", Err(SrsError::Expired)),
            ("SRS0=VcIb=7N=otherdomain.com=test@example.com", Err(SrsError::Expired)),
            ("SRS0=vmyz=2W=otherdomain.com=other@example.com", Err(SrsError::Forged)),
            ("SRS0=vmy=2W=otherdomain.com=test@example.com", Err(SrsError::Forged)),
            ("SRS0=vmyz=2W=otherdomain.com@example.com", Err(SrsError::NotSrs)),
            ("SRS1=JIBX=thirddomain.com@example.com", Err(SrsError::NotSrs)),
            ("SRS0=vmyz=2W=otherdomain.com=test@elsewhere.com", Err(SrsError::NotOurs)),
        ] {
            assert_eq!(reverse(from), to.map(ToString::to_string), "{from}");
        }
    }

    #[test]
    fn what_could_not_come_back_is_not_rewritten() {
        let sender = "SRS1=X=o~her.test==opaque@otherdomain.com";
        assert_eq!(forward(sender), Err(SrsError::NotSrs));
    }

    #[test]
    fn case_does_not_count() {
        let shouted = "SRS0=VMYZ=2W=OTHERDOMAIN.COM=TEST@EXAMPLE.COM";
        assert_eq!(reverse(shouted).unwrap(), "TEST@OTHERDOMAIN.COM");
        assert_eq!(
            reverse("srs0=vmyz=2w=otherdomain.com=test@example.com").unwrap(),
            "test@otherdomain.com"
        );
    }

    #[test]
    fn age() {
        let good = |day| -> Vec<i64> {
            let address = srs().forward(&address("a@b.test"), day).unwrap();
            (-2i64..1024).filter(|later| srs().reverse(&address, day + later).is_ok()).collect()
        };
        let expected: Vec<i64> = (-1..=21).chain([1023]).collect();
        assert_eq!(good(DAY), expected);
        assert_eq!(good(1023), expected);
    }

    #[test]
    fn secrets_change() {
        let mut new = srs();
        new.secrets.insert(0, Secret::new(b"another".to_vec()));
        let old = address(&forward("test@otherdomain.com").unwrap());
        assert!(new.reverse(&old, DAY).is_ok());
        let written = new.forward(&address("test@otherdomain.com"), DAY).unwrap();
        assert_eq!(srs().reverse(&written, DAY), Err(SrsError::Forged));
        new.secrets.clear();
        assert_eq!(new.forward(&address("a@b.test"), DAY), Err(SrsError::NoSecret));
        assert_eq!(new.reverse(&old, DAY), Err(SrsError::NoSecret));
    }

    /// The addresses of postsrsd stay good when its secret stands behind a new one; with the new
    /// one, nothing shorter than what it writes is good.
    #[test]
    fn longer_proofs() {
        let sender = address("test@otherdomain.com");
        let old = srs().forward(&sender, DAY).unwrap();
        let mut long = Srs { hash_length: 8, ..srs() };
        assert_eq!(long.reverse(&old, DAY), Err(SrsError::Forged));
        let new = long.forward(&sender, DAY).unwrap();
        assert!(new.to_string().starts_with("SRS0=vmyz") && new.to_string().contains("=2W="));
        assert_eq!(long.reverse(&new, DAY), Ok(sender.clone()));
        long.secrets.insert(0, Secret::new(b"another".to_vec()));
        assert_eq!(long.reverse(&old, DAY), Ok(sender.clone()));
        assert_eq!(long.reverse(&new, DAY), Ok(sender));
        for short in ["", "v", "vmy"] {
            let cut = address(&old.to_string().replace("vmyz", short));
            assert_eq!(long.reverse(&cut, DAY), Err(SrsError::Forged));
        }
    }

    #[test]
    fn long_and_odd_local_parts() {
        let long = address(&std::format!("{}@b.test", "x".repeat(64)));
        assert!(srs().forward(&long, DAY).is_ok());
        let strict = Srs { max_local: 64, ..srs() };
        assert_eq!(strict.forward(&long, DAY), Err(SrsError::TooLong));
        let longest = address(&std::format!("{}@b.test", "x".repeat(250)));
        assert_eq!(srs().forward(&longest, DAY), Err(SrsError::TooLong));
        assert_eq!(forward("\"a b@c\"@b.test").unwrap().split_once('=').unwrap().0, "\"SRS0");
        assert!(is_srs(&address("srs0+x@b.test")) && !is_srs(&address("srs0x@b.test")));
    }

    proptest! {
        #[test]
        fn there_and_back(local in "[!-~ä]{1,40}", domain in "[a-z]{1,9}\\.test", day in any::<i32>()) {
            let sender = Address::new(&local, Domain::parse(&domain).unwrap()).unwrap();
            let day = i64::from(day);
            let forwarded = srs().forward(&sender, day).unwrap();
            prop_assert!(is_srs(&forwarded) && Address::parse(&forwarded.to_string()).is_ok());
            if !is_srs(&sender) {
                prop_assert_eq!(srs().reverse(&forwarded, day), Ok(sender.clone()));
            }
            // Through a second forwarder, and back through both.
            let second = Srs { domain: Domain::parse("second.test").unwrap(), ..srs() };
            let twice = second.forward(&forwarded, day).unwrap();
            let once = second.reverse(&twice, day).unwrap();
            prop_assert_eq!(once.local(), forwarded.local());
        }

        #[test]
        fn one_changed_character_is_found(place in 5usize..33, letter in "[a-z0-9]") {
            let mut text: Vec<char> = "SRS0=vmyz=2W=otherdomain.com=test".chars().collect();
            let new = letter.chars().next().unwrap();
            if text[place].eq_ignore_ascii_case(&new) || text[place] == '=' {
                return Ok(());
            }
            text[place] = new;
            let text: String = text.into_iter().collect();
            let forged = Address::new(&text, Domain::parse("example.com").unwrap()).unwrap();
            prop_assert!(srs().reverse(&forged, DAY).is_err());
        }

        #[test]
        fn nothing_panics(local in "[ -~]{1,50}") {
            let any = Address::new(&local, Domain::parse("example.com").unwrap()).unwrap();
            let _ = srs().reverse(&any, DAY);
            let any = Address::new(&std::format!("SRS1{local}"), Domain::parse("b.test").unwrap());
            let _ = srs().forward(&any.unwrap(), DAY);
        }
    }
}
