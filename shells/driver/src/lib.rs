#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! Drives one [`waypost_machine::Machine`] over one connection, under any runtime.
//!
//! [`Conn`] holds the machine and the wire (clear, or TLS by rustls). It does no input or output:
//! a shell reads from its socket and calls [`Conn::received`], lends its socket to
//! [`Conn::write_to`], and runs what [`Conn::pump`] hands out. One round of a shell is:
//!
//! 1. hand in what happened: [`Conn::received`], [`Conn::answer`], [`Conn::tick`], ...;
//! 2. [`Conn::pump`], and run or log each [`Effect`];
//! 3. [`Conn::write_to`] while [`Conn::wants_write`]; when it wrote something, 2 again;
//! 4. leave when [`Conn::finished`];
//! 5. wait until the socket is readable (only if [`Conn::wants_read`]) or writable (only if
//!    [`Conn::wants_write`]), an answer has come, or it is [`Conn::deadline`]; go to 1.
//!
//! Any other order is legal too; leaving a step out only delays.

mod buffer;
mod conn;
mod deadlines;
mod trace;
mod wire;

pub use buffer::ReadBuffer;
pub use conn::{Conn, Effect, Fault, Settings};
pub use deadlines::Deadlines;
pub use wire::{TlsConfigs, TlsFault, signed};
