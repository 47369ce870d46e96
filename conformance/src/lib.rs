//! Proof by dialogue: scripts of protocol sessions and the means to play them against Waypost, and
//! against the Postfix and Dovecot it replaces.

pub mod corpus;
pub mod net;
pub mod notation;
pub mod pattern;
pub mod replay;
pub mod report;
pub mod rig;

use std::path::PathBuf;

/// The folder of the scripts.
pub fn sessions() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/sessions"))
}
