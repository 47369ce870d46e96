//! A listening socket.

use std::io::{self, Write};

use mio::net::{TcpListener, TcpStream, UnixListener};
use mio::{Interest, Registry, Token};
use waypost_daemon::{Listening, Server, Service, Session};

use crate::stream::Socket;

pub(crate) struct Listener {
    service: Service,
    socket: Accepting,
}

enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) fn new(
        service: Service,
        socket: Listening,
        registry: &Registry,
        key: usize,
    ) -> io::Result<Self> {
        let socket = match socket {
            Listening::Tcp(socket) => {
                let mut socket = TcpListener::from_std(socket);
                registry.register(&mut socket, Token(key), Interest::READABLE)?;
                Accepting::Tcp(socket)
            }
            Listening::Unix(socket) => {
                let mut socket = UnixListener::from_std(socket);
                registry.register(&mut socket, Token(key), Interest::READABLE)?;
                Accepting::Unix(socket)
            }
        };
        Ok(Self { service, socket })
    }

    pub(crate) fn service(&self) -> Service {
        self.service
    }

    /// The next connection; `None` when it was refused, or is gone already.
    ///
    /// # Errors
    /// `WouldBlock` when there is no other; anything else is worth a pause.
    pub(crate) fn accept(&self, server: &Server) -> io::Result<Option<(Socket, Box<dyn Session>)>> {
        match &self.socket {
            Accepting::Tcp(socket) => {
                let (stream, _) = socket.accept()?;
                Ok(self.tcp(server, stream))
            }
            Accepting::Unix(socket) => {
                let (stream, _) = socket.accept()?;
                Ok(server.accept_auth().map(|session| (Socket::Unix(stream), session)))
            }
        }
    }

    fn tcp(&self, server: &Server, mut stream: TcpStream) -> Option<(Socket, Box<dyn Session>)> {
        // Gone again already?
        let (peer, local) = (stream.peer_addr().ok()?, stream.local_addr().ok()?);
        // Replies are written as a whole, so there is nothing to gather.
        let _ = stream.set_nodelay(true);
        match server.accept(self.service, peer, local) {
            Ok(session) => Some((Socket::Tcp(stream), session)),
            Err(words) => {
                // A courtesy; who does not take it at once does not get it.
                let _ = stream.write(&words);
                None
            }
        }
    }
}
