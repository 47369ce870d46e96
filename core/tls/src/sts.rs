//! MTA-STS (RFC 8461): the record that says that there is a policy, and the policy.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::names::is_name;

/// The longest lifetime, in seconds: about a year (RFC 8461 3.2).
const MAX_AGE: u32 = 31_557_600;

/// Patterns kept of one policy.
const MX_LIMIT: usize = 1000;

/// What a domain says of its hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsPolicy {
    /// What to do about hosts that do not keep to it.
    pub mode: StsMode,
    /// For how long it holds after it was fetched, in seconds.
    pub max_age: u32,
    /// Names of the hosts, in lower case; `*.example.com` stands for one label before the domain.
    pub mx: Vec<Box<str>>,
}

/// What to do about hosts that do not keep to the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StsMode {
    /// Send them nothing.
    Enforce,
    /// Send, and tell.
    Testing,
    /// There is no policy any more.
    None,
}

/// A policy that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StsError {
    /// It is not text.
    #[error("the policy is not UTF-8")]
    NotText,
    /// `version: STSv1` is missing.
    #[error("the policy has no 'version: STSv1'")]
    Version,
    /// `mode:` is missing, or unknown.
    #[error("the policy has no known mode")]
    Mode,
    /// `max_age:` is missing, or no number.
    #[error("the policy has no max_age")]
    MaxAge,
    /// It names no host, or one that is no name.
    #[error("the policy names no hosts, or something that is none")]
    Mx,
}

impl StsPolicy {
    /// Parses a policy file (RFC 8461 3.2). Of what stands twice, the first counts; what is not
    /// known is passed over.
    ///
    /// # Errors
    /// [`StsError`]
    pub fn parse(file: &[u8]) -> Result<Self, StsError> {
        let text = core::str::from_utf8(file).map_err(|_| StsError::NotText)?;
        let (mut version, mut mode, mut max_age) = (None, None, None);
        let mut mx = Vec::new();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let (key, value) = (key.trim(), value.trim_matches([' ', '\t', '\r']));
            match key {
                "version" => _ = version.get_or_insert(value),
                "mode" => _ = mode.get_or_insert(value),
                "max_age" => _ = max_age.get_or_insert(value),
                "mx" if mx.len() < MX_LIMIT => mx.push(pattern(value).ok_or(StsError::Mx)?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(StsError::Version);
        }
        let mode = match mode {
            Some("enforce") => StsMode::Enforce,
            Some("testing") => StsMode::Testing,
            Some("none") => StsMode::None,
            _ => return Err(StsError::Mode),
        };
        let digits = max_age
            .filter(|age| (1..=10).contains(&age.len()) && age.bytes().all(|b| b.is_ascii_digit()));
        let age: u64 = digits.and_then(|age| age.parse().ok()).ok_or(StsError::MaxAge)?;
        let max_age = u32::try_from(age).unwrap_or(u32::MAX).min(MAX_AGE);
        if mx.is_empty() && mode != StsMode::None {
            return Err(StsError::Mx);
        }
        Ok(Self { mode, max_age, mx })
    }

    /// Whether the domain names this host as one of its own (RFC 8461 4.1).
    pub fn names(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| is_name(pattern, host))
    }
}

impl fmt::Display for StsPolicy {
    /// As a policy file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version: STSv1\nmode: {}\n", self.mode)?;
        for mx in &self.mx {
            writeln!(f, "mx: {mx}")?;
        }
        writeln!(f, "max_age: {}", self.max_age)
    }
}

impl fmt::Display for StsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        })
    }
}

/// A name, or `*.` and a name.
fn pattern(text: &str) -> Option<Box<str>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(good)
    };
    let good = name.len() <= 253 && name.split('.').all(is_label);
    good.then(|| text.to_ascii_lowercase().into())
}

/// The id in the TXT records at `_mta-sts.DOMAIN` (RFC 8461 3.1), which changes with the policy.
/// `None`: there is not exactly one record of the kind, or it is broken; so there is no policy.
pub fn sts_id<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Option<Box<str>> {
    let is_sts = |record: &&[u8]| {
        let rest = record.strip_prefix(b"v=STSv1");
        rest.is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b';'))
    };
    let mut records = records.into_iter().filter(is_sts);
    let record = records.next()?;
    if records.next().is_some() {
        return None;
    }
    let text = core::str::from_utf8(record).ok()?;
    let fields = text.split(';').skip(1).filter_map(|field| field.trim().split_once('='));
    let id = fields.into_iter().find(|(name, _)| *name == "id")?.1;
    let good = (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    good.then(|| id.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String, ToString};

    /// RFC 8461 3.2, appendix A.1
    const EXAMPLE: &str = "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\n\
                           mx: backupmx.example.com\nmax_age: 604800\n";

    #[test]
    fn policies() {
        let policy = StsPolicy::parse(EXAMPLE.as_bytes()).unwrap();
        let mx = ["mail.example.com", "*.example.net", "backupmx.example.com"].map(Box::from);
        let want = StsPolicy { mode: StsMode::Enforce, max_age: 604_800, mx: mx.into() };
        assert_eq!(policy, want);
        let crlf = EXAMPLE.replace('\n', "\r\n");
        assert_eq!(StsPolicy::parse(crlf.as_bytes()), Ok(want.clone()));
        let spaced = "version:STSv1 \r\nmode:   none\r\nmax_age:\t9999999999\r\nnew: x\r\nmode: x";
        let none = StsPolicy { mode: StsMode::None, max_age: MAX_AGE, mx: Vec::new() };
        assert_eq!(StsPolicy::parse(spaced.as_bytes()), Ok(none));
        for (from, to, error) in [
            ("STSv1", "STSv2", StsError::Version),
            ("version", "Version", StsError::Version),
            ("enforce", "strict", StsError::Mode),
            ("mode: enforce\n", "", StsError::Mode),
            ("604800", "", StsError::MaxAge),
            ("604800", "-1", StsError::MaxAge),
            ("604800", "12345678901", StsError::MaxAge),
            ("mail.example.com", "", StsError::Mx),
            ("mail.example.com", "mail..example.com", StsError::Mx),
            ("*.example.net", "*.*.example.net", StsError::Mx),
            ("*.example.net", "ma*.example.net", StsError::Mx),
        ] {
            let broken = EXAMPLE.replacen(from, to, 1);
            assert_eq!(StsPolicy::parse(broken.as_bytes()), Err(error), "{broken}");
        }
        let hostless = "version: STSv1\nmode: testing\nmax_age: 1";
        assert_eq!(StsPolicy::parse(hostless.as_bytes()), Err(StsError::Mx));
        assert_eq!(StsPolicy::parse(b"\xff"), Err(StsError::NotText));
    }

    #[test]
    fn hosts() {
        let policy = StsPolicy::parse(EXAMPLE.as_bytes()).unwrap();
        for (host, want) in [
            ("mail.example.com", true),
            ("MAIL.example.com.", true),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            (".example.net", false),
            ("other.example.com", false),
            ("", false),
        ] {
            assert_eq!(policy.names(host), want, "{host}");
        }
    }

    #[test]
    fn records() {
        for (records, want) in [
            // RFC 8461 3.1
            (&["v=STSv1; id=20160831085700Z;"][..], Some("20160831085700Z")),
            (&["v=STSv1;id=1"], Some("1")),
            (&["v=STSv1 ; x=y ; id=1 "], Some("1")),
            (&["v=spf1 -all", "v=STSv1; id=1"], Some("1")),
            (&["v=STSv1; id=1", "v=STSv1; id=1"], None),
            (&["v=STSv1; id="], None),
            (&["v=STSv1; id=a-b"], None),
            (&["v=STSv1; id=123456789012345678901234567890123"], None),
            (&["v=STSv1;"], None),
            (&["v=STSv1"], None),
            (&["v=STSv10; id=1"], None),
            (&["id=1; v=STSv1;"], None),
            (&[], None),
        ] {
            let got = sts_id(records.iter().map(|record| record.as_bytes()));
            assert_eq!(got.as_deref(), want, "{records:?}");
        }
        assert_eq!(sts_id([&b"v=STSv1; id=\xff"[..]]), None);
    }

    proptest! {
        #[test]
        fn what_parses_prints_to_the_same(
            fields in proptest::collection::vec("(version: STSv1|mode: (enforce|testing|none)|max_age: [0-9]{1,11}|mx: [*a.-]{1,9}|[a:\r ]{0,5})\n", 0..9),
        ) {
            let file: String = fields.concat();
            if let Ok(policy) = StsPolicy::parse(file.as_bytes()) {
                prop_assert!(policy.max_age <= MAX_AGE);
                prop_assert!(policy.mode == StsMode::None || !policy.mx.is_empty());
                prop_assert_eq!(StsPolicy::parse(policy.to_string().as_bytes()), Ok(policy));
            }
        }

        #[test]
        fn any_octets_are_survived(file in any::<Vec<u8>>(), records in any::<Vec<Vec<u8>>>()) {
            let _ = StsPolicy::parse(&file);
            let _ = sts_id(records.iter().map(Vec::as_slice));
        }

        #[test]
        fn a_record_is_found_among_others(id in "[a-zA-Z0-9]{1,32}", others in proptest::collection::vec("[a-z=;]{0,9}", 0..4)) {
            let record = std::format!("v=STSv1; id={id};");
            let records = others.iter().map(String::as_bytes).chain([record.as_bytes()]);
            let found = sts_id(records);
            prop_assert_eq!(found.as_deref(), Some(&*id));
        }
    }
}
