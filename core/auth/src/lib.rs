#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! The server side of Dovecot's authentication protocol 1.2, so that a Postfix beside us
//! (`smtpd_sasl_type = dovecot`) asks us about passwords.
//!
//! Lines end in LF, fields are separated by TAB. The server begins with `VERSION 1 2`, a line `MECH
//! PLAIN plaintext` for each mechanism, `SPID` (its process id), `CUID` (the connection's number),
//! `COOKIE` and `DONE`.
//!
//! The client sends `VERSION`, `CPID`, and then requests with ids of its choosing, as many at a time
//! as it likes: `AUTH id mechanism service=.. resp=..`, `CONT id response`, `CANCEL id`. It gets
//! `CONT id challenge`, `OK id user=..`, or `FAIL id user=.. code=.. reason=..`.

extern crate alloc;
#[cfg(test)]
extern crate std;

mod call;
mod line;
mod request;
mod server;

pub use call::{Call, Fact, Origin, Reply};
pub use request::Fault;
pub use server::{Config, Server};
