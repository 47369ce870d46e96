#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! The directory's side of mail, without a connection: what is asked and what an answer means.
//!
//! | file | what is there |
//! |---|---|
//! | [`filter`] | search filters (RFC 4515) as trees: parse, print, match |
//! | [`dn`] | names of entries (RFC 4514) and the scope of a search |
//! | [`entry`], [`attr`] | entries; attribute names and how values compare |
//! | [`ldif`] | entries as text (RFC 2849) |
//! | [`tree`] | entries in memory, searched as a directory is |
//! | [`template`] | `%s`, `%u`, `%{ldap:x}`: filters, names and results with values put in |
//! | [`search`], [`url`] | what is asked and what comes back; LDAP URLs (RFC 4516) |
//! | [`guard`] | answers of a server, taken apart before a client sees them |
//! | [`settings`] | the two file formats below, and errors that name file, line and setting |
//! | [`server`] | how to reach a directory: servers, TLS, bind |
//! | [`table`] | a lookup table as ldap_table(5) has it |
//! | [`attrs`] | Dovecot's passdb and userdb settings |
//!
//! Nothing here waits: [`table::Lookup`] says which [`Search`] to run and takes its [`Outcome`],
//! until it has the answer. A failure of the directory is always told apart from "not found".
extern crate alloc;

pub mod attr;
pub mod attrs;
pub mod dn;
pub mod entry;
pub mod filter;
pub mod guard;
pub mod ldif;
pub mod search;
pub mod server;
pub mod settings;
pub mod table;
pub mod template;
pub mod tree;
pub mod url;

pub use dn::{Dn, Scope};
pub use entry::Entry;
pub use filter::Filter;
pub use search::{Outcome, Search};
pub use server::Server;
pub use table::Table;
