//! Waypost on tokio: one task for each connection, on as many threads as there are cores.
//!
//! All that is particular to this runtime stands in this crate: accepting ([`accept`]), connecting
//! ([`connect`]), driving a session ([`session`]).

mod accept;
mod connect;
mod session;

use std::future::poll_fn;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use waypost_daemon::Server;

fn main() -> ExitCode {
    waypost_daemon::main(run)
}

fn run(server: Arc<Server>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        for (service, socket) in server.take_sockets() {
            accept::spawn(Arc::clone(&server), service, socket)?;
        }
        tokio::spawn(connect::run(Arc::clone(&server)));
        poll_fn(|cx| server.poll_stopping(cx.waker())).await;
        let empty = poll_fn(|cx| server.poll_empty(cx.waker()));
        if tokio::time::timeout(server.stop_timeout(), empty).await.is_err() {
            server.give_up();
        }
        Ok(())
    })
}
