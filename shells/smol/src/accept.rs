//! One task for each listening socket.

use std::future::poll_fn;
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use smol::{Async, Timer};
use waypost_daemon::{Listening, Server, Service};

use crate::{Tasks, session};

/// Accepts until the server stops.
pub(crate) fn spawn(
    tasks: &Tasks,
    server: Arc<Server>,
    service: Service,
    socket: Listening,
) -> io::Result<()> {
    let spawner = tasks.clone();
    match socket {
        Listening::Tcp(socket) => {
            let socket = Async::new(socket)?;
            let accepting = async move {
                loop {
                    match unless_stopping(&server, socket.accept()).await {
                        Some(Ok((stream, _))) => tcp(&spawner, &server, service, stream),
                        Some(Err(error)) => pause(&server, service, &error).await,
                        None => return,
                    }
                }
            };
            tasks.spawn(accepting);
        }
        Listening::Unix(socket) => {
            let socket = Async::new(socket)?;
            let accepting = async move {
                loop {
                    match unless_stopping(&server, socket.accept()).await {
                        Some(Ok((stream, _))) => unix(&spawner, &server, stream),
                        Some(Err(error)) => pause(&server, service, &error).await,
                        None => return,
                    }
                }
            };
            tasks.spawn(accepting);
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

fn tcp(tasks: &Tasks, server: &Arc<Server>, service: Service, stream: Async<TcpStream>) {
    let socket = stream.get_ref();
    // Gone again already?
    let (Ok(peer), Ok(local)) = (socket.peer_addr(), socket.local_addr()) else { return };
    // Replies are written as a whole, so there is nothing to gather.
    let _ = socket.set_nodelay(true);
    match server.accept(service, peer, local) {
        Ok(session) => tasks.spawn(session::run(Arc::clone(server), session, stream)),
        Err(words) => {
            // A courtesy; who does not take it at once does not get it.
            let _ = { socket }.write(&words);
        }
    }
}

fn unix(tasks: &Tasks, server: &Arc<Server>, stream: Async<UnixStream>) {
    if let Some(session) = server.accept_auth() {
        tasks.spawn(session::run(Arc::clone(server), session, stream));
    }
}

async fn pause(server: &Server, service: Service, error: &io::Error) {
    Timer::after(server.accept_failed(service, error)).await;
}
