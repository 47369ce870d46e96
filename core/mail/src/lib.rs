#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! The words that every Waypost crate shares: addresses, envelopes, replies, verdicts; and the
//! rewriting of envelope senders ([`srs`]).

extern crate alloc;
#[cfg(test)]
extern crate std;

mod address;
mod envelope;
mod net;
pub mod srs;
mod status;
mod verdict;

pub use address::{Address, AddressError, Domain};
pub use envelope::{Body, Client, Envelope, Login, Notify, Peer, Recipient, Ret, ReversePath};
pub use net::{Network, NetworkError};
pub use status::{Enhanced, Reply};
pub use verdict::{Account, Delivery, MailHome, Target, Verdict};
