//! Password hashes as `userPassword` holds them: `{SCHEME}hash` (RFC 2307 5.3, RFC 3112).
//!
//! | scheme | what it is |
//! |---|---|
//! | `{SSHA}` `{SHA}` | SHA-1 with and without salt |
//! | `{SSHA256}` `{SSHA384}` `{SSHA512}`, `{SHA256}` .. | SHA-2 with and without salt |
//! | `{CRYPT}` | crypt(5): `$5$`, `$6$`, `$2a$` `$2b$` `$2y$`, `$y$` |
//! | `{PBKDF2}` `{PBKDF2-SHA1}` `{PBKDF2-SHA256}` `{PBKDF2-SHA512}` | as OpenLDAP's pw-pbkdf2 writes them |
//! | `{ARGON2}` | as OpenLDAP's argon2 writes them |
//! | none, `{CLEARTEXT}` | the password itself; only where a setting allows it |
//!
//! A check costs from a microsecond to half a second of computing, so it does not belong on a thread
//! that others wait for. Comparisons take the same time wherever the difference is.

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

/// Why a stored value cannot be compared with a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A scheme that we do not know, such as `{CRYPT}` with the old DES hash.
    #[error("unknown password scheme")]
    Scheme,
    /// The hash is not well-formed.
    #[error("malformed password hash")]
    Malformed,
    /// The password stands there as it is, and no setting allows that.
    #[error("cleartext password, which is not allowed")]
    Cleartext,
}

/// Whether `password` is the one that `stored` was made from.
///
/// # Errors
/// When that cannot be told from `stored`.
pub fn check(stored: &[u8], password: &[u8], allow_cleartext: bool) -> Result<bool, Unusable> {
    let (scheme, hash) = split(stored);
    let Some(scheme) = scheme else {
        return cleartext(stored, password, allow_cleartext);
    };
    let text = || core::str::from_utf8(hash).map_err(|_| Unusable::Malformed);
    match scheme.to_ascii_uppercase().as_str() {
        "SSHA" => salted::<Sha1>(hash, password),
        "SSHA256" => salted::<Sha256>(hash, password),
        "SSHA384" => salted::<Sha384>(hash, password),
        "SSHA512" => salted::<Sha512>(hash, password),
        "SHA" => unsalted::<Sha1>(hash, password),
        "SHA256" => unsalted::<Sha256>(hash, password),
        "SHA384" => unsalted::<Sha384>(hash, password),
        "SHA512" => unsalted::<Sha512>(hash, password),
        "CRYPT" => crypt(text()?, password),
        "PBKDF2" | "PBKDF2-SHA1" => pbkdf2(text()?, |salt, rounds, out| {
            pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, rounds, out);
        }),
        "PBKDF2-SHA256" => pbkdf2(text()?, |salt, rounds, out| {
            pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, rounds, out);
        }),
        "PBKDF2-SHA512" => pbkdf2(text()?, |salt, rounds, out| {
            pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, rounds, out);
        }),
        "ARGON2" => argon2(text()?, password),
        "CLEARTEXT" => cleartext(hash, password, allow_cleartext),
        _ => Err(Unusable::Scheme),
    }
}

/// Hashes a password with `{SSHA512}`, for entries that we write ourselves. The salt should be
/// random and new for each.
pub fn hash(password: &[u8], salt: &[u8; 16]) -> String {
    let mut bytes = Sha512::new().chain_update(password).chain_update(salt).finalize().to_vec();
    bytes.extend_from_slice(salt);
    format!("{{SSHA512}}{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// `{SCHEME}` and the rest.
fn split(stored: &[u8]) -> (Option<&str>, &[u8]) {
    let end = stored.iter().position(|byte| *byte == b'}');
    match (stored.first(), end) {
        (Some(b'{'), Some(end)) => (core::str::from_utf8(&stored[1..end]).ok(), &stored[end + 1..]),
        _ => (None, stored),
    }
}

fn cleartext(stored: &[u8], password: &[u8], allowed: bool) -> Result<bool, Unusable> {
    if allowed { Ok(equal(stored, password)) } else { Err(Unusable::Cleartext) }
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

fn salted<D: Digest>(hash: &[u8], password: &[u8]) -> Result<bool, Unusable> {
    let bytes = unbase64(&STANDARD, hash)?;
    let (digest, salt) =
        bytes.split_at_checked(<D as Digest>::output_size()).ok_or(Unusable::Malformed)?;
    Ok(equal(digest, &D::new().chain_update(password).chain_update(salt).finalize()))
}

fn unsalted<D: Digest>(hash: &[u8], password: &[u8]) -> Result<bool, Unusable> {
    let bytes = unbase64(&STANDARD, hash)?;
    if bytes.len() != <D as Digest>::output_size() {
        return Err(Unusable::Malformed);
    }
    Ok(equal(&bytes, &D::digest(password)))
}

/// crypt(5).
fn crypt(hash: &str, password: &[u8]) -> Result<bool, Unusable> {
    let verdict = |result: Result<(), argon2::password_hash::Error>| match result {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(Unusable::Malformed),
    };
    match hash.split('$').nth(1) {
        Some("5" | "6") => verdict(sha_crypt::ShaCrypt::default().verify_password(password, hash)),
        Some("y") => verdict(yescrypt::Yescrypt::default().verify_password(password, hash)),
        Some("2a" | "2b" | "2y") => bcrypt::verify(password, hash).map_err(|_| Unusable::Malformed),
        _ => Err(Unusable::Scheme),
    }
}

/// `ROUNDS$SALT$HASH` in base64 with `.` for `+`.
fn pbkdf2(hash: &str, derive: impl FnOnce(&[u8], u32, &mut [u8])) -> Result<bool, Unusable> {
    const ADAPTED: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./";
    let alphabet = Alphabet::new(ADAPTED).map_err(|_| Unusable::Malformed)?;
    let mut parts = hash.split('$');
    let (Some(rounds), Some(salt), Some(digest), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Unusable::Malformed);
    };
    let rounds = rounds.parse().ok().filter(|rounds| *rounds > 0).ok_or(Unusable::Malformed)?;
    let (salt, digest) = (unbase64(&alphabet, salt)?, unbase64(&alphabet, digest)?);
    // A short digest would match too easily; SHA-1 has 20 bytes, SHA-512 has 64.
    if !(20..=64).contains(&digest.len()) {
        return Err(Unusable::Malformed);
    }
    let mut derived = vec![0; digest.len()];
    derive(&salt, rounds, &mut derived);
    Ok(equal(&derived, &digest))
}

/// The PHC string of argon2(1).
fn argon2(hash: &str, password: &[u8]) -> Result<bool, Unusable> {
    let parsed = PasswordHash::new(hash).map_err(|_| Unusable::Malformed)?;
    match Argon2::default().verify_password(password, &parsed) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(Unusable::Malformed),
    }
}

/// Decodes base64 with and without padding.
fn unbase64(alphabet: &Alphabet, text: impl AsRef<[u8]>) -> Result<Vec<u8>, Unusable> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config).decode(text).map_err(|_| Unusable::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by slappasswd(8) with the modules of OpenLDAP 2.5, by crypt(3) of libxcrypt 4.4 and by
    /// Python's hashlib.
    const SECRET000: &[&str] = &[
        "{SSHA}WUsV828yHf8kaifI8guumtiHCGKxRoVb",
        "{ssha}A8Sx0AMLFbo5uHnb0qtbaFWjXZBzYWx0",
        "{SSHA256}f7c0JhXGDwQ/G4Ugid/EYPiWYPBpOlWY4bX2rVni4HtzYWx0",
        "{SSHA512}SWEQ/nd7ZZoQYCcogGck09TRJNSWsd3+I/0kFeacal517yiDrnK+9SK9Cn+WDZrsWyt/grCuby+J4yHx0lqbxspoM40mf04P",
        "{SHA}gXervxvifJcIzb9eVzxTT7qTQ4w=",
        "{SHA256}/XQPyeFB3zq55StCqUeotr64MJTUGaY0J6DZ+y6VzPw=",
        "{CRYPT}$5$saltstring$4So/5w1u6O2aEyEKe0MvV0k1Efxaq2RC.JzMDAKZa1D",
        "{CRYPT}$5$rounds=1000$saltstring$gE/iGq46AVDNYyGpufWTVu1J8c8ozRish8gk00Ye9k/",
        "{CRYPT}$6$saltstring$sO4InNKdIea3hBWMzAaWbge8PhCjr19QrD2HyYNUpKBqoT/e6M866btJM3SLN8My32ofeX/XrCAceICUeEXKv1",
        "{crypt}$2y$04$abcdefghijklmnopqrstuuVnXqdXTCHOfKX2g0iG5oDcQjwTwbwWy",
        "{CRYPT}$2b$04$abcdefghijklmnopqrstuuVnXqdXTCHOfKX2g0iG5oDcQjwTwbwWy",
        "{CRYPT}$y$j75$abcdefghijklmnop$DvRwPN0yxOCh3OP2a7d8ZtBHnVRP38x0z6pyFI/LHA7",
        "{PBKDF2}1000$c2FsdHNhbHRzYWx0c2Fs$lDY5AEygT20tG3H1UITpSyb8cxQ",
        "{PBKDF2-SHA1}1000$c2FsdHNhbHRzYWx0c2Fs$lDY5AEygT20tG3H1UITpSyb8cxQ",
        "{PBKDF2-SHA256}1000$c2FsdHNhbHRzYWx0c2Fs$Xiz0tylRWhoG9z1pyV5tSM9cG62DQPH9Gl/2ne.p8gI",
        "{PBKDF2-SHA512}1000$c2FsdHNhbHRzYWx0c2Fs$0TPVHOo1pvBjrUSmihl4nyCZu/1H0PR4QPhy9zDAuwEwt/qsnpOd3lb65IuBrtUASJ02dvgKS5r1A6QCpTnVkA",
        "{ARGON2}$argon2i$v=19$m=4096,t=3,p=1$0DHuZGNc4OYZyokGbC1Mtw$HWWttYesPKbcznmOVRsShV4k6ocCJk9fyfY3Y5SpF3I",
    ];

    #[test]
    fn every_scheme_knows_right_from_wrong() {
        for stored in SECRET000 {
            assert_eq!(check(stored.as_bytes(), b"secret000", false), Ok(true), "{stored}");
            assert_eq!(check(stored.as_bytes(), b"secret001", false), Ok(false), "{stored}");
        }
    }

    #[test]
    fn cleartext_needs_permission() {
        for stored in [&b"secret000"[..], b"{CLEARTEXT}secret000"] {
            assert_eq!(check(stored, b"secret000", false), Err(Unusable::Cleartext));
            assert_eq!(check(stored, b"secret000", true), Ok(true));
            assert_eq!(check(stored, b"secret00", true), Ok(false));
        }
    }

    #[test]
    fn what_cannot_be_checked_is_no_wrong_password() {
        for (stored, why) in [
            ("{CRYPT}abb9kWwFm6dqI", Unusable::Scheme),
            ("{CRYPT}$1$abc$2bQki4bWfNkFOjuXpOlqr.", Unusable::Scheme),
            ("{CRYPT}$6$saltstring", Unusable::Malformed),
            ("{CRYPT}$2y$99$x", Unusable::Malformed),
            ("{MD5}x", Unusable::Scheme),
            ("{SSHA}AAAA", Unusable::Malformed),
            ("{SSHA}!", Unusable::Malformed),
            ("{SHA}AAAA", Unusable::Malformed),
            ("{PBKDF2-SHA256}0$AAAA$AAAA", Unusable::Malformed),
            ("{PBKDF2-SHA256}1000$c2FsdA$AAAA", Unusable::Malformed),
            ("{ARGON2}x", Unusable::Malformed),
            ("{}", Unusable::Scheme),
        ] {
            assert_eq!(check(stored.as_bytes(), b"x", false), Err(why), "{stored}");
        }
    }

    #[test]
    fn own_hashes_are_checked() {
        let stored = hash(b"p\xc3\xa4ss", b"0123456789abcdef");
        assert_eq!(check(stored.as_bytes(), b"p\xc3\xa4ss", false), Ok(true));
        assert_ne!(stored, hash(b"p\xc3\xa4ss", b"0123456789abcdeg"));
    }
}
