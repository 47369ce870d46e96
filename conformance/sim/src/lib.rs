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
//! | `script.rs` | what happens in a run, as text |
//! | `peer.rs` | what is at the other end of a stream |

pub mod choices;
pub mod data;
pub mod directory;
pub mod disk;
pub mod dns;
pub mod faults;
pub mod heap;
pub mod peer;
pub mod script;
