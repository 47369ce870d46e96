#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! Takes mail to other servers: from a next hop to hosts, from hosts to connections, from what they
//! say to what becomes of each recipient.
//!
//! | file | what is there |
//! |---|---|
//! | `relay.rs` | [`Relay`]: the world's [`Carrier`](waypost_world::carrier::Carrier) |
//! | `attempt.rs` | one attempt, as a machine: which host comes next, when it is over |
//! | `job.rs` | does what an attempt wants done |
//! | `search.rs` | the hosts of a next hop |
//! | `line.rs` | one connection: its calls and its end |
//! | `pool.rs` | connections that wait for another message |
//! | `dial.rs`, `resolve.rs`, `event.rs` | what is needed of others: connections, the DNS, a log |
//! | `settings.rs`, `transport.rs` | the admin's wishes |
//!
//! There are no sockets here, no threads, and no waiting: a runtime opens the connections that are
//! wished for ([`Dial`]) and drives the sessions.

mod attempt;
mod dial;
mod event;
mod job;
mod line;
mod outcome;
mod pool;
mod relay;
mod resolve;
mod search;
mod settings;
mod transport;

pub use dial::{Dial, Started, Wish};
pub use event::{Event, Log};
pub use line::Line;
pub use relay::Relay;
pub use resolve::Resolve;
pub use settings::Settings;
pub use transport::{Transports, TransportsError};
