#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! The formats of a Maildir as Postfix and Dovecot keep it, as pure functions: no file is opened here.
//!
//! A mailbox that this crate describes can be used by Dovecot before, after and beside us:
//!
//! | file or name                     | module            |
//! |----------------------------------|-------------------|
//! | `new/` and `cur/` file names     | [`name`]          |
//! | `.Folder.Sub`, `maildirfolder`   | [`layout`]        |
//! | `dovecot-uidlist`                | [`uidlist`]       |
//! | `dovecot-keywords`               | [`keywords`]      |
//! | `dovecot-uidvalidity[.xxxxxxxx]` | [`uidvalidity`]   |
//! | `subscriptions`                  | [`subscriptions`] |
//!
//! [`sync`] puts them together: from a listing of `new/` and `cur/` and the uid list it says which
//! message has which uid, which are new, and which are gone.
//!
//! File names are bytes, as the file system has them. A name never holds `/` or NUL.

extern crate alloc;

pub mod keywords;
pub mod layout;
pub mod name;
pub mod subscriptions;
pub mod sync;
pub mod uidlist;
pub mod uidvalidity;
mod utf7;

pub use keywords::Keywords;
pub use layout::{Folder, NameError};
pub use name::{Flags, Info, Letters};
pub use subscriptions::Subscriptions;
pub use uidlist::UidList;
