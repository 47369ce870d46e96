//! What a handshake agreed on, in the words of OpenSSL and Postfix.

use std::sync::Arc;

use rustls::crypto::SupportedKxGroup;
use rustls::server::Accepted;
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, Connection, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig,
    SignatureScheme,
};
use waypost_machine::TlsInfo;

/// What the server's signature can be told from, as long as the handshake lasts.
pub(super) struct Offer {
    schemes: Vec<SignatureScheme>,
    key: Option<Arc<CertifiedKey>>,
}

/// What this handshake, just done, agreed on.
pub(super) fn info(connection: &Connection, offer: Option<Offer>) -> TlsInfo {
    let suite = connection.negotiated_cipher_suite();
    let version = connection.protocol_version();
    let (cipher, bits) = suite.map_or(("", 0), |suite| cipher_name(suite.suite()));
    let mut info = TlsInfo {
        protocol: match version {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "",
        },
        cipher,
        bits,
        server_name: match connection {
            Connection::Server(server) => server.server_name().map(Into::into),
            Connection::Client(_) => None,
        },
        ..TlsInfo::default()
    };
    // Like Postfix: in TLS 1.2 the cipher's name says what was negotiated.
    if version == Some(ProtocolVersion::TLSv1_3) {
        info.key_exchange =
            connection.negotiated_key_exchange_group().map_or("", |group| group_name(group));
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        if let (Some(offer), false) = (offer, resumed) {
            offer.describe(&mut info);
        }
    }
    info
}
impl Offer {
    /// Which signature the server made: rustls does not tell, but its choice is a function of
    /// what the client offered and of the key.
    fn describe(&self, info: &mut TlsInfo) {
        let Some(key) = &self.key else { return };
        let usable: Vec<_> = self
            .schemes
            .iter()
            .copied()
            .filter(|scheme| {
                // TLS 1.3 has no RSA with PKCS#1 (RFC 8446 4.2.3).
                !matches!(
                    scheme,
                    SignatureScheme::RSA_PKCS1_SHA1
                        | SignatureScheme::RSA_PKCS1_SHA256
                        | SignatureScheme::RSA_PKCS1_SHA384
                        | SignatureScheme::RSA_PKCS1_SHA512
                )
            })
            .collect();
        let Some(signer) = key.key.choose_scheme(&usable) else { return };
        signed(info, signer.scheme(), key.key.public_key().as_deref());
    }
}

/// Adds how the server has signed, and with which key: its SubjectPublicKeyInfo in DER. A client
/// learns it from its verifier of certificates.
pub fn signed(info: &mut TlsInfo, scheme: SignatureScheme, key: Option<&[u8]>) {
    let (signature, curve, digest) = signature_name(scheme);
    info.signature = signature;
    info.digest = digest;
    info.signature_key = match key {
        Some(key) if curve.is_empty() => {
            rsa_bits(key).map(|bits| format!("{bits} bits").into()).unwrap_or_default()
        }
        _ => curve.into(),
    };
}

pub(super) fn offer(accepted: &Accepted, config: &ServerConfig) -> Offer {
    let hello = accepted.client_hello();
    let schemes = hello.signature_schemes().to_vec();
    Offer { schemes, key: config.cert_resolver.resolve(hello) }
}

/// OpenSSL's name of a cipher suite, and the length of its key in bits.
fn cipher_name(suite: CipherSuite) -> (&'static str, u16) {
    match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => ("TLS_AES_256_GCM_SHA384", 256),
        CipherSuite::TLS13_AES_128_GCM_SHA256 => ("TLS_AES_128_GCM_SHA256", 128),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => ("TLS_CHACHA20_POLY1305_SHA256", 256),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => {
            ("ECDHE-ECDSA-AES256-GCM-SHA384", 256)
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => {
            ("ECDHE-ECDSA-AES128-GCM-SHA256", 128)
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            ("ECDHE-ECDSA-CHACHA20-POLY1305", 256)
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => ("ECDHE-RSA-AES256-GCM-SHA384", 256),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => ("ECDHE-RSA-AES128-GCM-SHA256", 128),
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => {
            ("ECDHE-RSA-CHACHA20-POLY1305", 256)
        }
        other => (other.as_str().unwrap_or(""), 0),
    }
}

fn group_name(group: &'static dyn SupportedKxGroup) -> &'static str {
    match group.name() {
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "P-256",
        NamedGroup::secp384r1 => "P-384",
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        _ => "",
    }
}

/// Algorithm, curve (empty for RSA) and digest, in Postfix's words.
fn signature_name(scheme: SignatureScheme) -> (&'static str, &'static str, &'static str) {
    match scheme {
        SignatureScheme::RSA_PSS_SHA256 => ("RSA-PSS", "", "SHA256"),
        SignatureScheme::RSA_PSS_SHA384 => ("RSA-PSS", "", "SHA384"),
        SignatureScheme::RSA_PSS_SHA512 => ("RSA-PSS", "", "SHA512"),
        SignatureScheme::ECDSA_NISTP256_SHA256 => ("ECDSA", "P-256", "SHA256"),
        SignatureScheme::ECDSA_NISTP384_SHA384 => ("ECDSA", "P-384", "SHA384"),
        SignatureScheme::ECDSA_NISTP521_SHA512 => ("ECDSA", "P-521", "SHA512"),
        SignatureScheme::ED25519 => ("ED25519", "", ""),
        _ => ("", "", ""),
    }
}

/// The length of the modulus in an RSA SubjectPublicKeyInfo (RFC 3279 2.3.1).
fn rsa_bits(spki: &[u8]) -> Option<usize> {
    let (_, outer) = der(spki, 0x30)?;
    let (rest, _algorithm) = der(outer, 0x30)?;
    let (_, bits) = der(rest, 0x03)?;
    let (_, key) = der(bits.strip_prefix(&[0])?, 0x30)?;
    let (_, modulus) = der(key, 0x02)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
}

/// One DER element: what follows it, and its content.
fn der(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.strip_prefix(&[tag])?.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(len)?;
    Some((after, content))
}
