//! TLS towards other servers, with real handshakes and real HTTPS.

mod common;
mod handshake;
mod policy;
mod sts;
