//! Connections to a server under test: TCP or unix sockets, TLS by rustls, lines with a deadline.

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a server may take to say its next line.  Dovecot delays a failed login up to 17 s.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Both directions of a connection.
pub trait Link: Read + Write + Send {
    /// The same connection after a successful TLS handshake.
    ///
    /// # Errors
    /// A handshake that fails; the certificate must be good for `host`.
    fn secure(self: Box<Self>, tls: &Arc<ClientConfig>, host: &str) -> io::Result<Box<dyn Link>>;

    /// How long a write may take from now on.
    ///
    /// # Errors
    /// Those of the operating system.
    fn patience(&self, time: Duration) -> io::Result<()>;

    /// How long a read may take from now on.
    ///
    /// # Errors
    /// Those of the operating system.
    fn silence(&self, time: Duration) -> io::Result<()>;
}

impl Link for TcpStream {
    fn secure(self: Box<Self>, tls: &Arc<ClientConfig>, host: &str) -> io::Result<Box<dyn Link>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(tls.clone(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, *self);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Box::new(stream))
    }

    fn patience(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }

    fn silence(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }
}

impl Link for StreamOwned<ClientConnection, TcpStream> {
    fn secure(self: Box<Self>, _: &Arc<ClientConfig>, _: &str) -> io::Result<Box<dyn Link>> {
        Err(io::Error::other("TLS is already active"))
    }

    fn patience(&self, time: Duration) -> io::Result<()> {
        self.sock.set_write_timeout(Some(time))
    }

    fn silence(&self, time: Duration) -> io::Result<()> {
        self.sock.set_read_timeout(Some(time))
    }
}

impl Link for UnixStream {
    fn secure(self: Box<Self>, _: &Arc<ClientConfig>, _: &str) -> io::Result<Box<dyn Link>> {
        Err(io::Error::other("no TLS on a unix socket"))
    }

    fn patience(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }

    fn silence(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }
}

/// Where a service listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// IP address and port.
    Tcp(SocketAddr),
    /// Path of a unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Connects; `from` is the client's own address.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn dial(&self, from: Option<IpAddr>) -> io::Result<Box<dyn Link>> {
        match self {
            Self::Tcp(address) => {
                let socket = socket2::Socket::new(
                    socket2::Domain::for_address(*address),
                    socket2::Type::STREAM,
                    None,
                )?;
                if let Some(from) = from {
                    socket.bind(&SocketAddr::new(from, 0).into())?;
                }
                socket.connect_timeout(&(*address).into(), PATIENCE)?;
                let stream = TcpStream::from(socket);
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Box::new(stream))
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Box::new(stream))
            }
        }
    }
}

/// A loopback address nobody has used before in this process: servers count connections and failed
/// logins per address, and treat an address of their own as a friend. All are written with as many
/// characters, so that what quotes them is as long.
pub fn fresh_address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let octet = |n: u32| 100 + (n % 150) as u8;
    IpAddr::V4(Ipv4Addr::new(127, octet(std::process::id()), octet(n / 150), octet(n)))
}

/// A TLS client that trusts one CA only.
///
/// # Errors
/// A file that is missing or holds no certificate.
pub fn trusting(ca: &Path) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    Ok(with_roots(roots))
}

/// A TLS client that trusts nobody, for where there is no TLS.
pub fn trusting_nobody() -> Arc<ClientConfig> {
    with_roots(RootCertStore::empty())
}

fn with_roots(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("invariant: ring knows TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Every handshake is a whole one, whoever came before: Received tells them apart.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// What came from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line with its end, or what stood before the connection's end.
    Line(Vec<u8>),
    /// The server closed or reset the connection.
    End,
}

/// A client that talks in lines.
pub struct Client {
    link: Option<Box<dyn Link>>,
    held: Vec<u8>,
    seen: usize,
}

impl Client {
    /// Talks through `link`.
    pub fn new(link: Box<dyn Link>) -> Self {
        Self { link: Some(link), held: Vec::new(), seen: 0 }
    }

    fn link(&mut self) -> io::Result<&mut Box<dyn Link>> {
        self.link.as_mut().ok_or_else(|| io::Error::other("the connection is closed"))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let link = self.link()?;
        link.write_all(bytes)?;
        link.flush()
    }

    /// Sends bytes to a peer that may not take them.
    ///
    /// # Errors
    /// Those of the connection; also when the peer has not taken all in that time.
    pub fn send_within(&mut self, bytes: &[u8], time: Duration) -> io::Result<()> {
        self.link()?.patience(time)?;
        self.send(bytes)
    }

    /// Does the TLS handshake.
    ///
    /// # Errors
    /// A handshake that fails, also because the server said something in clear after its go-ahead.
    pub fn secure(&mut self, tls: &Arc<ClientConfig>, host: &str) -> io::Result<()> {
        if !self.rest().is_empty() {
            return Err(io::Error::other("clear text before the handshake"));
        }
        let link = self.link.take().ok_or_else(|| io::Error::other("the connection is closed"))?;
        self.link = Some(link.secure(tls, host)?);
        Ok(())
    }

    /// What was received and not yet taken.
    pub fn rest(&self) -> &[u8] {
        &self.held[self.seen..]
    }

    /// The next line, with its end; waits for it up to [`PATIENCE`].
    ///
    /// # Errors
    /// Silence, or another failure of the connection.
    pub fn line(&mut self) -> io::Result<Heard> {
        let mut searched = self.seen;
        loop {
            if let Some(n) = self.held[searched..].iter().position(|&b| b == b'\n') {
                let line = self.held[self.seen..=searched + n].to_vec();
                self.seen = searched + n + 1;
                if self.seen > 65_536 {
                    self.held.drain(..self.seen);
                    self.seen = 0;
                }
                return Ok(Heard::Line(line));
            }
            searched = self.held.len();
            let mut block = [0; 16_384];
            match self.link()?.read(&mut block) {
                Ok(0) => break,
                Ok(n) => self.held.extend_from_slice(&block[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if is_end(e.kind()) => break,
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the server is silent"));
                }
                Err(e) => return Err(e),
            }
        }
        if self.rest().is_empty() {
            return Ok(Heard::End);
        }
        let line = self.rest().to_vec();
        self.seen = self.held.len();
        Ok(Heard::Line(line))
    }

    /// The next line, if it comes in this time.
    ///
    /// # Errors
    /// A failure of the connection.
    pub fn hear_within(&mut self, time: Duration) -> io::Result<Option<Heard>> {
        self.link()?.silence(time)?;
        let heard = match self.line() {
            Ok(heard) => Ok(Some(heard)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(None),
            Err(error) => Err(error),
        };
        self.link()?.silence(PATIENCE)?;
        heard
    }

    /// Gives a line back: it is heard again.
    pub fn unread(&mut self, line: &[u8]) {
        self.seen -= line.len();
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.link = None;
    }
}

/// Whether an error is how the end of a connection looks.
pub fn is_end(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
