#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! SASL mechanisms, server side (RFC 4422).
//!
//! An [`Exchange`] takes the client's responses as they stand on the line, in base64, and ends in
//! [`Credentials`] for the world to check, or in a [`Failure`].
//!
//! ```
//! use waypost_sasl::{Exchange, Mechanism, Step};
//!
//! let mut exchange = Exchange::new(Mechanism::Plain);
//! match exchange.begin(Some(b"AG1haWwwMDAAc2VjcmV0MDAw")) {
//!     Step::Done(credentials) => assert_eq!(&*credentials.authcid, "mail000"),
//!     _ => unreachable!("an initial response is all that PLAIN needs"),
//! }
//! ```

extern crate alloc;
#[cfg(test)]
extern crate std;

mod credentials;
mod login;
mod mech;
mod plain;

pub use credentials::{Credentials, Verified};
pub use mech::{Exchange, Failure, Mechanism, RESPONSE_LIMIT, Step};
pub use plain::plain_response;
