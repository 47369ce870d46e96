//! One packet under way: a socket of its own, and what is awaited there.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use waypost_dns::{Arrived, Awaited, Packet, Transport};
use waypost_machine::{CallId, Ticket};

/// Datagrams that are read in one go; somebody who sends more of them holds up nobody else.
const DATAGRAMS: usize = 32;

/// Room for any datagram.
pub(crate) const BUFFER: usize = 64 * 1024;

pub(crate) struct Flight {
    socket: Socket,
    awaited: Awaited,
    ticket: Ticket<Arrived>,
}

enum Socket {
    Udp(UdpSocket),
    Tcp(Tcp),
}

struct Tcp {
    stream: TcpStream,
    /// What is not yet sent.
    out: Vec<u8>,
    /// What has come: two octets of length, then the answer.
    come: Vec<u8>,
}

impl Flight {
    /// Sends, or begins to. The ticket comes back when that cannot be.
    pub(crate) fn depart(packet: Packet) -> std::result::Result<Self, Ticket<Arrived>> {
        let Packet { server, transport, bytes, awaited, ticket } = packet;
        let socket = match transport {
            Transport::Udp => udp(server, &bytes).map(Socket::Udp),
            Transport::Tcp => tcp(server, &bytes).map(Socket::Tcp),
        };
        match socket {
            Ok(socket) => Ok(Self { socket, awaited, ticket }),
            Err(error) => {
                tracing::debug!(%server, %error, "no way to the name server");
                Err(ticket)
            }
        }
    }

    pub(crate) fn id(&self) -> CallId {
        self.ticket.id()
    }

    pub(crate) fn ticket(self) -> Ticket<Arrived> {
        self.ticket
    }

    /// What to wait for.
    pub(crate) fn waits(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.socket {
            Socket::Udp(socket) => (socket.as_fd(), PollFlags::IN),
            Socket::Tcp(tcp) if tcp.out.is_empty() => (tcp.stream.as_fd(), PollFlags::IN),
            Socket::Tcp(tcp) => (tcp.stream.as_fd(), PollFlags::OUT),
        }
    }

    /// Goes on; the outcome, if it is there.
    pub(crate) fn progress(&mut self, buffer: &mut [u8]) -> Option<Arrived> {
        let come = match &mut self.socket {
            Socket::Udp(socket) => read_datagrams(socket, &self.awaited, buffer),
            Socket::Tcp(tcp) => tcp.progress(buffer),
        };
        match come {
            Ok(answer) => answer.map(Arrived::Answer),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(_) => Some(Arrived::Failed),
        }
    }
}

fn udp(server: SocketAddr, bytes: &[u8]) -> Result<UdpSocket> {
    // The system chooses a port at random (RFC 5452 9.2).
    let socket = match server {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    socket.send(bytes)?;
    Ok(socket)
}

fn read_datagrams(
    socket: &UdpSocket,
    awaited: &Awaited,
    buffer: &mut [u8],
) -> Result<Option<Vec<u8>>> {
    for _ in 0..DATAGRAMS {
        let len = match socket.recv(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        let datagram = &buffer[..len];
        if awaited.is_answered_by(datagram) {
            return Ok(Some(datagram.to_vec()));
        }
    }
    Ok(None)
}

fn tcp(server: SocketAddr, bytes: &[u8]) -> Result<Tcp> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let length = u16::try_from(bytes.len()).map_err(|_| ErrorKind::InvalidInput)?;
    let out = [&length.to_be_bytes(), bytes].concat();
    Ok(Tcp { stream: socket.into(), out, come: Vec::new() })
}

impl Tcp {
    fn progress(&mut self, buffer: &mut [u8]) -> Result<Option<Vec<u8>>> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Not connected yet.
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(None),
                sent => drop(self.out.drain(..sent?)),
            }
        }
        loop {
            let len = match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                read => read?,
            };
            self.come.extend_from_slice(&buffer[..len]);
            if let Some((length, answer)) = self.come.split_first_chunk() {
                let length = usize::from(u16::from_be_bytes(*length));
                if let Some(answer) = answer.get(..length) {
                    return Ok(Some(answer.to_vec()));
                }
            }
        }
    }
}
