//! Connections to other servers: a task that opens those that are wished for.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;
use waypost_daemon::{Dial, Server};

use crate::session;

/// Opens connections until the runtime ends.
pub(crate) async fn run(server: Arc<Server>) {
    loop {
        let dial = poll_fn(|cx| server.poll_dial(cx.waker())).await;
        tokio::spawn(one(Arc::clone(&server), dial));
    }
}

async fn one(server: Arc<Server>, dial: Dial) {
    let connected = match timeout(dial.timeout(), connect(&dial)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match connected {
        Ok(stream) => {
            if let Some(session) = dial.connected() {
                session::run(server, session, stream).await;
            }
        }
        Err(error) => dial.failed(&error),
    }
}

async fn connect(dial: &Dial) -> io::Result<TcpStream> {
    let stream = TcpStream::from_std(dial.begin()?)?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}
