//! A certificate or key by its hash.

use alloc::boxed::Box;
use core::fmt;
use core::str::FromStr;

use sha2::{Digest, Sha256};

/// The SHA-256 of a certificate, or of its public key (smtp_tls_fingerprint_digest = sha256).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// A text that is no SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no fingerprint; write the SHA-256 as 32 hex pairs with colons between them")]
pub struct FingerprintError(pub Box<str>);

impl Fingerprint {
    /// Of these octets: a certificate, or a SubjectPublicKeyInfo, in DER.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// With colons, as Postfix and OpenSSL print it, or without.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let wrong = || FingerprintError(text.into());
        let mut hash = [0; 32];
        let mut digits = text.bytes();
        for (at, octet) in hash.iter_mut().enumerate() {
            let mut next = digits.next();
            if at > 0 && next == Some(b':') {
                next = digits.next();
            }
            let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
            let (high, low) = (digit(next), digit(digits.next()));
            let pair = high.zip(low).map(|(high, low)| high << 4 | low);
            *octet = pair.and_then(|pair| u8::try_from(pair).ok()).ok_or_else(wrong)?;
        }
        match digits.next() {
            None => Ok(Self(hash)),
            Some(_) => Err(wrong()),
        }
    }
}

impl fmt::Display for Fingerprint {
    /// `3D:95:34:...`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, octet) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{octet:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn of_nothing() {
        // printf '' | openssl sha256 -c
        let text = "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:\
                    99:1B:78:52:B8:55";
        let empty = Fingerprint::of(b"");
        assert_eq!(empty.to_string(), text);
        for good in [text.to_string(), text.to_lowercase(), text.replace(':', "")] {
            assert_eq!(good.parse(), Ok(empty));
        }
        for bad in ["", "E3", &text[..94], &text[1..], &std::format!("{text}:"), "E3::"] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn prints_as_it_parses(data in any::<[u8; 4]>()) {
            let one = Fingerprint::of(&data);
            prop_assert_eq!(one.to_string().parse(), Ok(one));
        }

        #[test]
        fn any_text_is_survived(text in "[0-9A-Fa-f:é]{0,100}") {
            if let Ok(one) = text.parse::<Fingerprint>() {
                prop_assert_eq!(one.to_string().replace(':', ""), text.replace(':', "").to_uppercase());
            }
        }
    }
}
