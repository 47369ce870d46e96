#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! DKIM signatures (RFC 6376, RFC 8301, RFC 8463): keys for domains, and signing with them.
//!
//! A domain may have an RSA and an Ed25519 key under two selectors; its mail then gets both
//! signatures, since not everybody can check the younger kind. The body is read once, in pieces.

mod key;
mod sign;

pub use key::{Key, KeyError, Kind, generate};
pub use sign::Keys;
