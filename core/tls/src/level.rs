//! How much is wanted.

use alloc::boxed::Box;
use core::fmt;
use core::str::FromStr;

/// A TLS security level (smtp_tls_security_level of postconf(5)), in Postfix's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// No TLS.
    None,
    /// TLS when the host offers it, and whatever certificate it has; else in clear.
    #[default]
    May,
    /// TLS or nothing, whatever the certificate.
    Encrypt,
    /// A certificate or key that is known by its fingerprint.
    Fingerprint,
    /// What the TLSA records of the host say, where DNSSEC vouches for them; else as `may`.
    Dane,
    /// What the TLSA records say, or nothing.
    DaneOnly,
    /// A certificate by a trusted authority for the name of the host, though plain DNS led to that
    /// name.
    Verify,
    /// A certificate by a trusted authority for the domain of the recipient.
    Secure,
}

/// A word that is no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no TLS level; there are none, may, encrypt, fingerprint, dane, dane-only, verify, secure"
)]
pub struct LevelError(pub Box<str>);

impl Level {
    /// Every level with its name.
    pub const NAMES: &[(&str, Self)] = &[
        ("none", Self::None),
        ("may", Self::May),
        ("encrypt", Self::Encrypt),
        ("fingerprint", Self::Fingerprint),
        ("dane", Self::Dane),
        ("dane-only", Self::DaneOnly),
        ("verify", Self::Verify),
        ("secure", Self::Secure),
    ];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::May => "may",
            Self::Encrypt => "encrypt",
            Self::Fingerprint => "fingerprint",
            Self::Dane => "dane",
            Self::DaneOnly => "dane-only",
            Self::Verify => "verify",
            Self::Secure => "secure",
        }
    }

    /// TLSA records are asked for.
    pub fn is_dane(self) -> bool {
        matches!(self, Self::Dane | Self::DaneOnly)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let found = Self::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(_, level)| *level).ok_or_else(|| LevelError(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_order() {
        for (name, level) in Level::NAMES {
            assert_eq!((level.word(), name.parse()), (*name, Ok(*level)));
        }
        assert!(Level::NAMES.is_sorted_by_key(|(_, level)| *level));
        assert_eq!("MAY".parse(), Ok(Level::May));
        assert_eq!("half-dane".parse::<Level>(), Err(LevelError("half-dane".into())));
    }
}
