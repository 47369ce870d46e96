#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! What becomes of a recipient: may this client send to it, and where does it lead?
//!
//! [`Resolve`] is a machine without bytes. It asks for [`Lookup`]s in tables that somebody else has,
//! and ends in a [`Verdict`](waypost_mail::Verdict). The words are Postfix's: restrictions, address
//! classes, `virtual_alias_maps`, `virtual_mailbox_maps`.
//!
//! | file | what is there |
//! |---|---|
//! | [`resolve`] | the story of a recipient, top to bottom, and the machine that tells it |
//! | `relay.rs` | the restrictions: who may send where |
//! | `sender.rs` | which login may use which sender address |
//! | `class.rs` | local, virtual alias, virtual mailbox, relay or other domain |
//! | `alias.rs` | expansion of aliases |
//! | `mailbox.rs` | from an address to a Maildir and its owner |
//! | [`lookup`] | tables, keys, answers; in which order the forms of an address are tried |
//! | [`policy`] | the settings |
//! | `reply.rs` | every reply that routing gives |
//!
//! A failure of a table is never taken for absence: whatever it was asked for, the verdict is then a
//! 4xx reply.
extern crate alloc;

mod alias;
mod class;
pub mod lookup;
mod mailbox;
pub mod policy;
pub mod rate;
mod relay;
mod reply;
pub mod resolve;
mod sender;

pub use lookup::{Looked, Lookup, Map};
pub use policy::{Domains, Gid, Policy, Restriction};
pub use reply::NONSENSE;
pub use resolve::{Fact, Request, Resolve};
