//! Connections to other servers.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use waypost_daemon::Dial;

/// Begins to connect.
pub(crate) fn begin(dial: &Dial) -> io::Result<TcpStream> {
    let to = dial.address();
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Commands are written as a whole, so there is nothing to gather.
    socket.set_tcp_nodelay(true)?;
    if let Some(address) = dial.bind() {
        socket.bind(&SocketAddr::new(address, 0).into())?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}
