#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! What makes Waypost a process: command line, configuration files, sockets, certificates, limits,
//! signals, log lines. Whatever runtime drives the connections, this part is the same.
//!
//! A runtime calls [`main`] with a function that serves: it takes the sockets of a [`Server`],
//! accepts, opens the connections that [`Server::poll_dial`] asks for, and drives one [`Session`] for
//! each connection until the server stops.
//!
//! | file | what is there |
//! |---|---|
//! | `cli.rs` | the commands |
//! | `admin.rs` | check, query, auth-test |
//! | `quickstart.rs` | a server to try, made on the spot |
//! | `server.rs`, `session/` | the running server; sessions by protocol |
//! | `settings.rs`, `files.rs` | from `waypost.toml` to the settings of each part |
//! | `listen.rs`, `tls.rs`, `registry.rs` | sockets, certificates, who is connected |
//! | `control/` | `waypost queue`, and the socket on which a running server answers it |
//! | `ground.rs` | what a server stands on: the system, or a simulation |
//! | `dial.rs` | connections to other servers |
//! | `sendmail/` | `waypost sendmail`, for cron and scripts |
//! | `log/` | log lines |
//! | `process.rs` | rights, signals, systemd |

mod admin;
mod cli;
mod control;
mod dial;
mod dkim;
mod files;
mod ground;
mod listen;
mod log;
mod process;
mod quickstart;
mod registry;
mod sendmail;
mod server;
mod session;
mod settings;
mod tls;

pub use cli::main;
pub use dial::Dial;
pub use ground::Ground;
pub use listen::{Listening, Service};
pub use server::{Given, Held, Server, StartError};
pub use session::Session;
