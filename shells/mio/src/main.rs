//! Waypost on mio: one thread for all connections, for small hosts.
//!
//! All that is particular to this runtime stands in this crate: the loop ([`turn`]), accepting
//! ([`accept`]), connecting and driving a session ([`connection`], [`stream`]), wake-ups from other
//! threads ([`wake`]).

mod accept;
mod connection;
mod stream;
mod turn;
mod wake;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use waypost_daemon::Server;

use crate::turn::Loop;

fn main() -> ExitCode {
    waypost_daemon::main(run)
}

fn run(server: Arc<Server>) -> io::Result<()> {
    Loop::new(server)?.run()
}
