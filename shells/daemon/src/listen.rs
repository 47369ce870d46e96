//! Sockets to accept connections on: bound here, or handed over by systemd.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use listenfd::ListenFd;
use nix::unistd::{Gid, Group, Uid, User, chown};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use waypost_config::{AuthSocket, Listen};

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Port 25.
    Smtp,
    /// Port 587.
    Submission,
    /// Port 465.
    Submissions,
    /// Port 993.
    Imaps,
    /// Port 143.
    Imap,
    /// Dovecot's auth protocol on a unix socket.
    Auth,
}

impl Service {
    /// The key under `[listen]`, and the name in log lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Imaps => "imaps",
            Self::Imap => "imap",
            Self::Auth => "auth",
        }
    }
}

/// A socket that accepts; does not block.
#[derive(Debug)]
pub enum Listening {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// Why a service has no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("{service} on {address}: {error}{}", hint(.error))]
    Bind { service: &'static str, address: String, error: io::Error },
    #[error("systemd handed over a socket for {0}, which no service in [listen] names")]
    Unexpected(SocketAddr),
    #[error("sockets from systemd: {0}")]
    Handed(io::Error),
    #[error("auth.socket_{what}: no {what} '{name}'")]
    Owner { what: &'static str, name: String },
}

impl ListenError {
    /// Somebody else has the port.
    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self, Self::Bind { error, .. } if error.kind() == io::ErrorKind::AddrInUse)
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (ports below 1024 need root, or a capability)",
        io::ErrorKind::AddrInUse => " (is another mail server running?)",
        _ => "",
    }
}

/// Where a socket from systemd listens.
struct Place {
    local: SocketAddr,
    /// It takes IPv4 as well as IPv6.
    dual: bool,
}

impl Place {
    fn of(socket: &TcpListener) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let dual = local.is_ipv6() && !SockRef::from(socket).only_v6()?;
        Ok(Self { local, dual })
    }

    /// It is for all addresses of a port, and this is one of them.
    fn has(&self, address: &SocketAddr) -> bool {
        self.local.ip().is_unspecified()
            && self.local.port() == address.port()
            && (self.dual || self.local.is_ipv4() == address.is_ipv4())
    }
}

/// Opens all sockets of `[listen]`. Sockets from systemd (socket activation) are used where their
/// address fits; one for all addresses of a port stands for every line with one of these.
pub(crate) fn open(listen: &Listen) -> Result<Vec<(Service, Listening)>, ListenError> {
    open_with(listen, handed_over()?)
}

fn open_with(
    listen: &Listen,
    mut handed: Vec<(Place, TcpListener)>,
) -> Result<Vec<(Service, Listening)>, ListenError> {
    let mut taken: Vec<Place> = Vec::new();
    let mut sockets = Vec::new();
    for (service, addresses) in [
        (Service::Smtp, &listen.smtp),
        (Service::Submission, &listen.submission),
        (Service::Submissions, &listen.submissions),
        (Service::Imaps, &listen.imaps),
        (Service::Imap, &listen.imap),
    ] {
        for address in addresses {
            let exact = handed.iter().position(|(place, _)| place.local == *address);
            let any = handed.iter().position(|(place, _)| place.has(address));
            let socket = match exact.or(any) {
                Some(at) => {
                    let (place, socket) = handed.swap_remove(at);
                    taken.push(place);
                    socket
                }
                None if taken.iter().any(|place| place.has(address)) => continue,
                None => bind(*address).map_err(|error| ListenError::Bind {
                    service: service.name(),
                    address: address.to_string(),
                    error,
                })?,
            };
            sockets.push((service, Listening::Tcp(socket)));
        }
    }
    match handed.first() {
        Some((place, _)) => Err(ListenError::Unexpected(place.local)),
        None => Ok(sockets),
    }
}

fn handed_over() -> Result<Vec<(Place, TcpListener)>, ListenError> {
    let mut from = ListenFd::from_env();
    let mut handed = Vec::new();
    for at in 0..from.len() {
        if let Some(socket) = from.take_tcp_listener(at).map_err(ListenError::Handed)? {
            socket.set_nonblocking(true).map_err(ListenError::Handed)?;
            handed.push((Place::of(&socket).map_err(ListenError::Handed)?, socket));
        }
    }
    Ok(handed)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // 0.0.0.0 has its own line.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Opens the unix socket for Dovecot's auth protocol, with its mode and owner.
pub(crate) fn open_auth(path: &Path, socket: &AuthSocket) -> Result<Listening, ListenError> {
    let owner = socket.user.as_deref().map(user).transpose()?;
    let group = socket.group.as_deref().map(group).transpose()?;
    let bind = || {
        // One of a former life; anything else in its place is left alone, and binding fails.
        if fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        // Nobody connects before mode and owner are right.
        let listener = {
            let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
            let listener = UnixListener::bind(path);
            nix::sys::stat::umask(before);
            listener?
        };
        chown(path, owner, group)?;
        fs::set_permissions(path, fs::Permissions::from_mode(socket.mode))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map(Listening::Unix).map_err(|error| ListenError::Bind {
        service: Service::Auth.name(),
        address: path.display().to_string(),
        error,
    })
}

fn user(name: &str) -> Result<Uid, ListenError> {
    let found = name.parse().map(Uid::from_raw).ok();
    found
        .or_else(|| User::from_name(name).ok().flatten().map(|user| user.uid))
        .ok_or_else(|| ListenError::Owner { what: "user", name: name.into() })
}

fn group(name: &str) -> Result<Gid, ListenError> {
    let found = name.parse().map(Gid::from_raw).ok();
    found
        .or_else(|| Group::from_name(name).ok().flatten().map(|group| group.gid))
        .ok_or_else(|| ListenError::Owner { what: "group", name: name.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_on_one_port() {
        let v4 = bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = v4.local_addr().unwrap().port();
        // Would fail if the IPv6 socket took IPv4 as well.
        match bind(SocketAddr::new("::".parse().unwrap(), port)) {
            Ok(v6) => assert_eq!(v6.local_addr().unwrap().port(), port),
            Err(error) => assert_ne!(error.kind(), io::ErrorKind::AddrInUse),
        }
    }

    /// Where it listens, for these lines and with these sockets from systemd.
    fn opened(lines: &[SocketAddr], handed: Vec<TcpListener>) -> Vec<SocketAddr> {
        let none = Vec::new;
        let listen = Listen {
            smtp: lines.to_vec(),
            submission: none(),
            submissions: none(),
            imaps: none(),
            imap: none(),
        };
        let handed = handed.into_iter().map(|it| (Place::of(&it).unwrap(), it)).collect();
        let sockets = open_with(&listen, handed).unwrap();
        let mut at: Vec<_> = sockets
            .iter()
            .map(|(_, socket)| match socket {
                Listening::Tcp(socket) => socket.local_addr().unwrap(),
                Listening::Unix(_) => panic!("no unix socket was asked for"),
            })
            .collect();
        at.sort();
        at
    }

    #[test]
    fn a_socket_from_systemd_stands_for_its_own_addresses_only() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let one = first.local_addr().unwrap();
        assert_eq!(opened(&[one, two_of(one)], vec![first]), [one, two_of(one)]);
        // One for all addresses.
        let all = bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let at = all.local_addr().unwrap();
        let one = SocketAddr::from(([127, 0, 0, 1], at.port()));
        assert_eq!(opened(&[one, two_of(at), at], vec![all]), [at]);
    }

    /// Another address of the same port.
    fn two_of(at: SocketAddr) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 2], at.port()))
    }

    #[test]
    fn a_socket_from_systemd_stands_for_its_family() {
        let six = |at: SocketAddr| SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, at.port()));
        let v4 = bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let at = v4.local_addr().unwrap();
        if let Err(error) = bind(six(at)) {
            // There is no IPv6 here.
            return assert_ne!(error.kind(), io::ErrorKind::AddrInUse);
        }
        assert_eq!(opened(&[at, six(at)], vec![v4]), [at, six(at)]);
        // `ListenStream=25` is for both.
        let both = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        both.set_only_v6(false).unwrap();
        both.bind(&six(SocketAddr::from(([0; 4], 0))).into()).unwrap();
        both.listen(1).unwrap();
        let both = TcpListener::from(both);
        let at = both.local_addr().unwrap();
        let v4 = SocketAddr::from(([0, 0, 0, 0], at.port()));
        assert_eq!(opened(&[v4, at], vec![both]), [at]);
    }

    #[test]
    fn the_auth_socket_has_its_mode_and_replaces_its_predecessor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth");
        let socket = AuthSocket { path: "auth".into(), mode: 0o640, user: None, group: None };
        drop(open_auth(&path, &socket).unwrap());
        open_auth(&path, &socket).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        // A file of somebody's is not removed.
        let file = dir.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert!(open_auth(&file, &socket).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"mine");
        let nobody = AuthSocket { user: Some("no-such-user-here".into()), ..socket };
        assert!(open_auth(&path, &nobody).unwrap_err().to_string().contains("no-such-user-here"));
    }
}
