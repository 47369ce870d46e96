#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! TLS towards other servers: what is wanted of whom, and what counts as proof. Opens nothing, does
//! no TLS of its own.
//!
//! | file | what |
//! |---|---|
//! | `level.rs` | [`Level`]: from none to secure, under Postfix's names |
//! | `names.rs` | [`NameRule`]: which names a certificate may be for |
//! | `fingerprint.rs` | [`Fingerprint`]: a certificate or key by its hash |
//! | `entry.rs` | [`Entry`]: a line of a policy table, and the [`Day`] on which it ends |
//! | `table.rs` | [`PolicyTable`]: a next hop to its [`Policy`] |
//! | `sts.rs` | MTA-STS (RFC 8461): the record, the policy file |
//! | `dane.rs` | DANE (RFC 6698, 7671, 7672): which TLSA records count, and what if none do |
//!
//! ```
//! use waypost_tls::{Entry, Level, PolicyTable};
//!
//! let mut table = PolicyTable::default();
//! table.add("bank.test", Entry::parse("secure match=.bank.test").unwrap()).unwrap();
//! table.add("old.test", Entry::parse("encrypt until=2027-01-31").unwrap()).unwrap();
//! let february = 1_801_526_400;
//! assert_eq!(table.find("bank.test", february).level, Level::Secure);
//! assert_eq!(table.find("old.test", february - 86_401).level, Level::Encrypt);
//! assert_eq!(table.find("old.test", february).level, Level::May);
//! ```

extern crate alloc;
#[cfg(test)]
extern crate std;

mod dane;
mod entry;
mod fingerprint;
mod level;
mod names;
mod sts;
mod table;

pub use dane::{Answered, Dane, Record, Selector, Tlsa, Usage, decide};
pub use entry::{Day, Entry, EntryError};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use level::{Level, LevelError};
pub use names::{NameRule, Peer, parse_names};
pub use sts::{StsError, StsMode, StsPolicy, sts_id};
pub use table::{Defaults, Origin, Policy, PolicyTable, TableError};
