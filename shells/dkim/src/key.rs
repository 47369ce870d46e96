//! Keys: out of PEM files, made anew, and as the DNS shows them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey, Sha256};
use mail_auth::dkim::generate::DkimKeyPair;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

/// Bits of a new RSA key: what every verifier takes (RFC 8301 3.2), and what fits into the DNS.
const RSA_BITS: usize = 2048;
/// Fewer are refused (RFC 8301 3.2).
const RSA_LEAST: usize = 1024 / 8;
/// AlgorithmIdentifier of RSA: rsaEncryption, NULL.
const RSA_ALGORITHM: [u8; 15] = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];

/// A private key.
#[derive(Clone)]
pub struct Key {
    pub(crate) key: Arc<DkimKey>,
    kind: Kind,
    /// As the DNS record has it.
    public: Vec<u8>,
}

/// A kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `rsa-sha256`
    Rsa,
    /// `ed25519-sha256`
    Ed25519,
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The file is something else.
    #[error("not a private key in PEM form")]
    NotPem,
    /// It is neither of the kinds that DKIM has.
    #[error("neither an RSA nor an Ed25519 key: {0}")]
    Kind(String),
    /// Nobody would accept its signatures.
    #[error("an RSA key of fewer than 1024 bits")]
    Short,
    /// A key could not be made.
    #[error("cannot make a key: {0}")]
    Make(String),
}

impl std::fmt::Debug for Key {
    /// Never the secret part.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Key {
    /// Reads a PEM file as `openssl genpkey` or [`generate`] writes it.
    ///
    /// # Errors
    /// Why it is no key for DKIM.
    pub fn parse(pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::NotPem)?;
        if let PrivateKeyDer::Pkcs8(pkcs8) = &der
            && let Ok(key) = Ed25519Key::from_pkcs8_maybe_unchecked_der(pkcs8.secret_pkcs8_der())
        {
            let public = key.public_key();
            let key = Arc::new(DkimKey::Ed25519(key));
            return Ok(Self { key, kind: Kind::Ed25519, public });
        }
        let key = RsaKey::<Sha256>::from_key_der(der);
        let key = key.map_err(|error| KeyError::Kind(error.to_string()))?;
        let public = key.public_key();
        if public.len() < RSA_LEAST {
            return Err(KeyError::Short);
        }
        let public = subject_public_key_info(&public);
        Ok(Self { key: Arc::new(DkimKey::Rsa(key)), kind: Kind::Rsa, public })
    }

    /// What kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The TXT record at `selector._domainkey.domain` (RFC 6376 3.6.1).
    pub fn record(&self) -> String {
        let kind = match self.kind {
            Kind::Rsa => "rsa",
            Kind::Ed25519 => "ed25519",
        };
        format!("v=DKIM1; k={kind}; p={}", STANDARD.encode(&self.public))
    }

    /// The record as a line of a zone file: in strings of at most 255 octets.
    pub fn zone_line(&self, domain: &str, selector: &str) -> String {
        let record = self.record();
        let strings: Vec<String> = record
            .as_bytes()
            .chunks(250)
            .map(|part| format!("\"{}\"", String::from_utf8_lossy(part)))
            .collect();
        format!("{selector}._domainkey.{domain}. IN TXT ( {} )", strings.join(" "))
    }
}

/// Makes a new key, in PEM form.
///
/// # Errors
/// [`KeyError::Make`]
pub fn generate(kind: Kind) -> Result<String, KeyError> {
    let made = match kind {
        Kind::Rsa => DkimKeyPair::generate_rsa(RSA_BITS),
        Kind::Ed25519 => DkimKeyPair::generate_ed25519(),
    };
    let der = made.map_err(|error| KeyError::Make(error.to_string()))?;
    let label = match kind {
        Kind::Rsa => "RSA PRIVATE KEY",
        Kind::Ed25519 => "PRIVATE KEY",
    };
    let text = STANDARD.encode(der.private_key());
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    Ok(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")))
}

/// SubjectPublicKeyInfo (RFC 5280 4.1) of an RSAPublicKey: what DNS records hold in practice.
fn subject_public_key_info(rsa: &[u8]) -> Vec<u8> {
    let mut bits = vec![0];
    bits.extend_from_slice(rsa);
    let mut inner = RSA_ALGORITHM.to_vec();
    inner.extend(element(3, &bits));
    element(0x30, &inner)
}

/// An element of DER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 128 => out.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let length = &length[length.iter().position(|octet| *octet != 0).unwrap_or(0)..];
            // At most eight octets.
            out.push(0x80 | length.len() as u8);
            out.extend_from_slice(length);
        }
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_keys_can_be_read() {
        for (kind, record, octets) in [
            (Kind::Rsa, "v=DKIM1; k=rsa; p=MIIBIjAN", 294),
            (Kind::Ed25519, "v=DKIM1; k=ed25519; p=", 32),
        ] {
            let pem = generate(kind).unwrap();
            let key = Key::parse(pem.as_bytes()).unwrap();
            assert_eq!(key.kind(), kind);
            assert!(key.record().starts_with(record), "{}", key.record());
            assert_eq!(key.public.len(), octets);
            assert!(!format!("{key:?}").contains("key:"));
            let line = key.zone_line("example.com", "s1");
            assert!(line.starts_with("s1._domainkey.example.com. IN TXT ( \"v=DKIM1; "));
            assert!(line.split('"').all(|part| part.len() <= 255));
        }
    }

    #[test]
    fn what_is_no_key() {
        assert_eq!(Key::parse(b"").unwrap_err(), KeyError::NotPem);
        let pem = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        assert!(matches!(Key::parse(pem.as_bytes()).unwrap_err(), KeyError::Kind(_)));
    }
}
