#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! IMAP4rev1 (RFC 3501), as a machine.
//!
//! [`server::Server`] is the protocol; what it needs of the world stands in [`server::Call`]. A
//! shell drives it as any machine (see `waypost_machine`):
//!
//! ```
//! use std::sync::Arc;
//! use bytes::Bytes;
//! use waypost_imap::{Config, server::{Call, LoggedIn, Server}};
//! use waypost_machine::{Input, Limits, Machine, Now, Session, Step};
//! use waypost_mail::Peer;
//!
//! // Without TLS, as a test would have it.
//! let config = Config { implicit_tls: false, plaintext_login: true, ..Config::default() };
//! let peer = Peer { ip: [192, 0, 2, 1].into(), port: 40_000, name: None };
//! let now = Now::default();
//! let mut session = Session::new(now, Server::new(Arc::new(config), peer), Limits::default());
//! session.handle(now, Input::Bytes(Bytes::from_static(b"a LOGIN user secret\r\nb LOGOUT\r\n")));
//! let mut said = Vec::new();
//! loop {
//!     match session.poll(usize::MAX) {
//!         Step::Send(bytes) => said.extend_from_slice(&bytes),
//!         // Here a directory would be asked; it is down.
//!         Step::Call(Call::Login { ticket, .. }) => {
//!             session.handle(now, Input::Answer(ticket.answer(LoggedIn::Unavailable)));
//!         }
//!         // A failed login is answered late: let the time pass.
//!         Step::Wait(wait) => {
//!             let mono = wait.until.expect("the time of the delay");
//!             session.handle(Now { mono, ..now }, Input::Tick);
//!         }
//!         Step::Close(_) => break,
//!         _ => {}
//!     }
//! }
//! let said = String::from_utf8(said).unwrap();
//! assert!(said.starts_with("* OK [CAPABILITY IMAP4rev1 "));
//! assert!(said.contains("a NO [UNAVAILABLE] Temporary authentication failure.\r\n"));
//! assert!(said.ends_with("b OK Logout completed.\r\n"));
//! ```
//!
//! [`manual`] names the hazards of the protocol and what stands against each.

extern crate alloc;
#[cfg(test)]
extern crate std;

mod config;
mod frame;
pub mod manual;
mod response;
pub mod search;
pub mod server;
mod state;
pub mod syntax;
mod view;

pub use config::Config;
