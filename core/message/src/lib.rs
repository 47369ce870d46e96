#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! What IMAP and delivery need to know of a message's octets: its CRLF form, its parts, its
//! envelope, its dates, its text, and the trace headers that delivery adds.
//!
//! All of it is computation on octets that the caller has: no file, clock or socket. Messages may
//! lie on disk with LF, CRLF or mixed line ends; offsets and sizes are those of the CRLF form that
//! IMAP speaks of (see [`crlf`]).
extern crate alloc;

pub mod crlf;

pub mod content;
pub mod date;
pub mod encoded;
pub mod envelope;
pub mod header;
mod lexer;
pub mod mime;
pub mod print;
pub mod received;
pub mod section;
pub mod structure;
pub mod submission;
pub mod text;
pub mod trace;

pub use structure::Structure;
