#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! `waypost.toml`: text in, typed [`Config`] out. Opens no file.
//!
//! Every key stands once, in [`KEYS`], with its default and its documentation; [`reference()`] prints
//! them as a commented file. A key that does not exist, or a value of the wrong kind, is a
//! [`Problem`] with its line, the nearest right key, and what to write instead.
//!
//! ```
//! let config = waypost_config::parse("hostname = 'mail.example.com'").unwrap();
//! assert_eq!(config.mail.message_size_limit, 10_240_000);
//!
//! let problems = waypost_config::parse("hostnam = 'mail.example.com'").unwrap_err();
//! assert_eq!(
//!     problems.first().to_string(),
//!     "1: 'hostnam' is no setting; the nearest one is 'hostname'"
//! );
//! ```

extern crate alloc;
#[cfg(test)]
extern crate std;

mod config;
mod keys;
mod nearest;
mod outgoing;
mod problem;
mod reader;
mod reference;
mod relay_tls;

pub use config::{
    Auth, AuthSocket, BareNewline, Cache, Certificate, Config, Control, Directory, Imap, Ldap,
    Limits, Listen, Log, LogFormat, LogLevel, Mail, Maps, Scope, Smtp,
};
pub use keys::{KEYS, Key};
pub use outgoing::{DkimKey, Dns, Relay, Spool};
pub use problem::{Problem, Problems};
pub use reference::reference;
pub use relay_tls::RelayTls;
pub use waypost_route::Restriction;

use reader::Reader;

/// Reads a configuration.
///
/// # Errors
/// All problems found, in the order of their lines.
pub fn parse(text: &str) -> Result<Config, Problems> {
    let mut reader = Reader::new(text)?;
    let config = config::read(&mut reader);
    reader.finish(config)
}
