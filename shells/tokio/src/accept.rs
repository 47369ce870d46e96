//! One task for each listening socket.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use waypost_daemon::{Listening, Server, Service};

use crate::session;

/// Accepts until the server stops.
pub(crate) fn spawn(server: Arc<Server>, service: Service, socket: Listening) -> io::Result<()> {
    match socket {
        Listening::Tcp(socket) => {
            let socket = TcpListener::from_std(socket)?;
            tokio::spawn(async move {
                loop {
                    match unless_stopping(&server, socket.accept()).await {
                        Some(Ok((stream, _))) => tcp(&server, service, stream),
                        Some(Err(error)) => pause(&server, service, &error).await,
                        None => return,
                    }
                }
            });
        }
        Listening::Unix(socket) => {
            let socket = UnixListener::from_std(socket)?;
            tokio::spawn(async move {
                loop {
                    match unless_stopping(&server, socket.accept()).await {
                        Some(Ok((stream, _))) => unix(&server, stream),
                        Some(Err(error)) => pause(&server, service, &error).await,
                        None => return,
                    }
                }
            });
        }
    }
    Ok(())
}

/// The future's outcome; `None` once the server is stopping.
async fn unless_stopping<F: Future>(server: &Server, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match server.poll_stopping(cx.waker()) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(cx).map(Some),
    })
    .await
}

fn tcp(server: &Arc<Server>, service: Service, stream: TcpStream) {
    // Gone again already?
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    // Replies are written as a whole, so there is nothing to gather.
    let _ = stream.set_nodelay(true);
    match server.accept(service, peer, local) {
        Ok(session) => {
            tokio::spawn(session::run(Arc::clone(server), session, stream));
        }
        Err(words) => {
            // A courtesy; who does not take it at once does not get it.
            let _ = stream.try_write(&words);
        }
    }
}

fn unix(server: &Arc<Server>, stream: UnixStream) {
    if let Some(session) = server.accept_auth() {
        tokio::spawn(session::run(Arc::clone(server), session, stream));
    }
}

async fn pause(server: &Server, service: Service, error: &io::Error) {
    tokio::time::sleep(server.accept_failed(service, error)).await;
}
