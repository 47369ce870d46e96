//! A connection's socket, of either kind, and what is known of it.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use bytes::Bytes;
use mio::event::{Event, Source};
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use waypost_driver::ReadBuffer;

pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket that is told of once when something changes: so it is remembered here.
pub(crate) struct Stream {
    socket: Socket,
    readable: bool,
    writable: bool,
    /// The peer has ended its side: the system does not tell again.
    closed: bool,
}

impl Socket {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(socket) => socket,
            Self::Unix(socket) => socket,
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(into),
            Self::Unix(socket) => socket.read(into),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write_vectored(slices),
            Self::Unix(socket) => socket.write_vectored(slices),
        }
    }
}

impl Stream {
    /// Tells of the socket's changes under this key from now on, and of its state once.
    pub(crate) fn new(mut socket: Socket, registry: &Registry, key: usize) -> io::Result<Self> {
        registry.register(socket.source(), Token(key), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket, readable: false, writable: false, closed: false })
    }

    pub(crate) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.closed |= event.is_read_closed() || event.is_error();
    }

    /// True when the connection that was begun is there; an error when there will be none.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        let Socket::Tcp(socket) = &self.socket else { return Ok(true) };
        match socket.take_error()? {
            Some(error) => Err(error),
            None => Ok(self.writable && socket.peer_addr().is_ok()),
        }
    }

    /// Reads; `None` when nothing is there.
    pub(crate) fn read(&mut self, buffer: &mut ReadBuffer) -> Option<io::Result<Bytes>> {
        if !self.readable {
            return None;
        }
        let read = buffer.read(|space| {
            let count = self.socket.read(space)?;
            // Less than there was room for: that was all, and more will be told of.
            self.readable = self.closed || count == space.len();
            Ok(count)
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                None
            }
            read => Some(read),
        }
    }

    /// We send no more.
    pub(crate) fn shut(&mut self) {
        // A failure at this point is the peer's loss only.
        let _ = match &self.socket {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write),
        };
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.writable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = self.socket.write_vectored(slices);
        let blocked = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        self.writable = !written.as_ref().is_err_and(blocked);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
