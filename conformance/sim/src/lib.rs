#![forbid(unsafe_code)]
//! Waypost in a simulated world: one more runtime, in which time, sockets, threads, disk, directory
//! and names are stand-ins and everything else is what is shipped.
//!
//! A [`choices::Choices`] decides all that could go one way or another, so the same choices always
//! give the same run.
//!
//! | file | what is there |
//! |---|---|
//! | `choices.rs` | where decisions come from: a seed, bytes, a recording |
//! | `disk/` | files: what is seen of them, and what a crash leaves |
//! | `data.rs` | the texts of the world: configuration, directory, names |
//! | `directory.rs` | the directory, and its bad days |
//! | `dns.rs` | names and mail exchangers, and their bad days |
//! | `faults.rs` | faults that are planted, to see that they are found |
//! | `heap.rs` | what happens next, and when: the whole scheduler, and its clock |
//! | `script/` | what happens in a run, and it as text |
//! | `actors/` | who takes part: senders, readers, hosts |
//! | `message.rs` | messages that are recognized wherever they turn up |
//! | `book.rs` | what the directory says, read by other code than the server's |
//! | `laws/` | what must be true of a whole run |
//! | `plan.rs` | draws a script |
//! | `peer.rs` | what is at the other end of a stream |
//! | `stream.rs`, `near.rs`, `far.rs` | connections: bytes under way, the server's end, the peer's end |
//! | `peer_tls.rs` | TLS of peers, and the one certificate |
//! | `weather.rs` | what befalls connections |
//! | `workers.rs` | the server's threads, as events |
//! | `site.rs` | what the server reads at its start |
//! | `node.rs` | one server: its boots, crashes and stops |
//! | `run.rs` | a script becomes a run, and the run a report |
//! | `stage.rs` | a server in its world, and events until the end |
//! | `shrink.rs` | makes a script that fails shorter |
//! | `trace.rs` | what happened, as one number |

pub mod actors;
pub mod book;
pub mod choices;
pub mod data;
pub mod directory;
pub mod disk;
pub mod dns;
mod far;
pub mod faults;
pub mod heap;
pub mod laws;
pub mod message;
mod near;
mod node;
pub mod peer;
mod peer_tls;
pub mod plan;
pub mod run;
pub mod script;
pub mod shrink;
pub mod site;
pub mod stage;
mod stream;
pub mod trace;
pub mod weather;
mod workers;

pub use node::Hosts;
pub use stream::Tamper;
