#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! The DNS as a mail server needs it: a stub resolver, and the way from a domain to the hosts that
//! take its mail.
//!
//! | file | what |
//! |---|---|
//! | `question.rs` | names, types, records |
//! | `packet.rs` | packets out and in; the codec is `hickory-proto`'s |
//! | `lookup.rs` | [`Lookup`]: one question to a list of servers |
//! | `cache.rs` | [`Cache`]: what was answered, for as long as it holds |
//! | `mx.rs` | which host comes first, and which is ourselves |
//! | `exchangers.rs` | [`Exchangers`]: a domain to its hosts and their addresses |
//!
//! Both machines have no bytes and no sockets: they ask the world to send packets, or to answer
//! questions. The resolver is a stub (RFC 1034 5.3.1): the servers recurse, and validate if somebody
//! does. What it says of "no such name" and what of "cannot tell now" never become the same thing.

extern crate alloc;
#[cfg(test)]
extern crate std;

mod cache;
mod exchangers;
mod lookup;
mod mx;
mod packet;
mod question;
mod random;

pub use cache::Cache;
pub use exchangers::{Ask, Exchangers, Fact as ExchangersFact, Limits, NextHop, NextHopError};
pub use lookup::{Arrived, Fact as LookupFact, Lookup, Packet, Servers, Transport};
pub use mx::{Exchanger, NoRoute, Own};
pub use packet::Awaited;
pub use question::{Answer, Failure, Found, Kind, NameError, Question, Record};
