#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! TLS towards other servers, done: the rules of [`waypost_tls`] on rustls.
//!
//! | file | what |
//! |---|---|
//! | `settings.rs` | [`Settings`], and the authorities that are trusted |
//! | `security.rs` | [`Security`]: a next hop to its [`Policy`], a host to its [`Handshake`] |
//! | `judge.rs` | a certificate against what is wanted, in words |
//! | `verifier.rs` | the same, as rustls asks for it |
//! | `seen.rs` | [`Seen`]: what a handshake found, for the log |
//! | `slots.rs` | configurations with their sessions, kept for the next connection to the same host |
//! | `sts.rs` | MTA-STS: who has a policy, and is it still the same |
//! | `fetch.rs` | the policy file, by HTTPS |
//! | `kept.rs` | policies on disk |
//!
//! What is wanted of a certificate is decided in the handshake: one that does not fit ends it, and
//! no mail goes out. Sessions are resumed only where the very same was wanted of the very same host,
//! within the hour.

mod fetch;
mod judge;
mod kept;
mod security;
mod seen;
mod settings;
mod slots;
mod sts;
mod verifier;

pub use security::{Ask, Clock, Done, Handshake, Policy, Refusal, Security};
pub use seen::{Seen, Trust, UNVERIFIED};
pub use settings::{Authorities, AuthoritiesError, Settings};
