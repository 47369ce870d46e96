//! Connections to other servers: a task that opens those that are wished for.

use std::future::poll_fn;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use smol::Async;
use waypost_daemon::{Dial, Server};

use crate::{Tasks, session, within};

/// Opens connections until the runtime ends.
pub(crate) async fn run(tasks: Tasks, server: Arc<Server>) {
    loop {
        let dial = poll_fn(|cx| server.poll_dial(cx.waker())).await;
        tasks.spawn(one(Arc::clone(&server), dial));
    }
}

async fn one(server: Arc<Server>, dial: Dial) {
    let connected = within(dial.timeout(), connect(&dial)).await;
    match connected.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => {
            if let Some(session) = dial.connected() {
                session::run(server, session, stream).await;
            }
        }
        Err(error) => dial.failed(&error),
    }
}

async fn connect(dial: &Dial) -> io::Result<Async<TcpStream>> {
    let stream = Async::new_nonblocking(dial.begin()?)?;
    stream.writable().await?;
    match stream.get_ref().take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}
