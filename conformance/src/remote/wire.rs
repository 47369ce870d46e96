//! A scripted host with a socket, and a daemon at the other end.

use super::certificates::Certificates;
use super::journal::{Journal, fate};
use super::script::{HOSTS, Tls};
use super::{PATIENCE, Side};
use rustls::{ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

/// A host for one case.
pub struct Wire {
    /// Host and listener.
    listeners: Vec<(&'static str, TcpListener)>,
    domain: String,
    certificates: Arc<Certificates>,
    journal: Journal,
    stream: Option<BufReader<Stream>>,
    /// How many fates of each recipient were told.
    told: BTreeMap<String, usize>,
    retry: Box<dyn FnMut() -> Result<(), String> + Send>,
}

enum Stream {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Clear(tcp) => tcp,
            Self::Tls(tls) => &tls.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(tcp) => tcp.read(into),
            Self::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

impl Wire {
    /// Hosts on one free port, at the addresses of [`HOSTS`]. `domain` is that of the recipients, whose fates
    /// are read from the `journal`; its certificates are for `mx.DOMAIN`.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn new(
        domain: &str,
        certificates: Arc<Certificates>,
        journal: Journal,
        retry: Box<dyn FnMut() -> Result<(), String> + Send>,
    ) -> io::Result<Self> {
        Ok(Self {
            listeners: listeners()?,
            domain: domain.to_owned(),
            certificates,
            journal,
            stream: None,
            told: BTreeMap::new(),
            retry,
        })
    }

    /// The port.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn port(&self) -> io::Result<u16> {
        let (_, listener) = self.listeners.first().ok_or(ErrorKind::NotFound)?;
        Ok(listener.local_addr()?.port())
    }

    fn stream(&mut self) -> Result<&mut BufReader<Stream>, String> {
        self.stream.as_mut().ok_or_else(|| "there is no connection".into())
    }

    fn accept(&self) -> io::Result<(&'static str, TcpStream)> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let fds = self.listeners.iter().map(|(_, listener)| PollFd::new(listener, PollFlags::IN));
        let mut fds: Vec<PollFd<'_>> = fds.collect();
        let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
        poll(&mut fds, Some(&patience))?;
        let ready = fds.iter().position(|fd| !fd.revents().is_empty());
        let (host, listener) = &self.listeners[ready.ok_or(ErrorKind::TimedOut)?];
        let (stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok((host, stream))
    }
}

/// All hosts that live, on one port.
fn listeners() -> io::Result<Vec<(&'static str, TcpListener)>> {
    let alive = || HOSTS.iter().filter(|(name, _)| *name != "dead");
    let addresses = || alive().filter_map(|(name, address)| Some((*name, (*address)?)));
    'port: loop {
        let mut listeners: Vec<(&'static str, TcpListener)> = Vec::new();
        let mut port = 0;
        for (name, address) in addresses() {
            let listener = match TcpListener::bind((Ipv4Addr::from(address), port)) {
                // Somebody else has that one.
                Err(e) if e.kind() == ErrorKind::AddrInUse && port != 0 => continue 'port,
                listener => listener?,
            };
            port = listener.local_addr()?.port();
            listeners.push((name, listener));
        }
        return Ok(listeners);
    }
}

impl Side for Wire {
    fn connection(&mut self, host: Option<&str>) -> Result<(), String> {
        // The last one is over as far as the script goes.
        self.stream = None;
        let (reached, stream) = self.accept().map_err(|e| format!("no connection: {e}"))?;
        if host.is_some_and(|host| host != reached) {
            return Err(format!("a connection to {reached}"));
        }
        self.stream = Some(BufReader::new(Stream::Clear(stream)));
        Ok(())
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut line = Vec::new();
        match self.stream()?.read_until(b'\n', &mut line) {
            Ok(_) if line.is_empty() => Ok(None),
            Ok(_) if line.ends_with(b"\n") => Ok(Some(line)),
            Ok(_) => Err("it closes in the middle of a line".into()),
            // Gone without a word of goodbye.
            Err(e) if gone(&e) && line.is_empty() => Ok(None),
            Err(e) => Err(format!("the client says nothing: {e}")),
        }
    }

    fn octets(&mut self, count: usize) -> Result<Vec<u8>, String> {
        let mut octets = vec![0; count];
        self.stream()?.read_exact(&mut octets).map_err(|e| e.to_string())?;
        Ok(octets)
    }

    fn say(&mut self, bytes: &[u8]) {
        if let Ok(stream) = self.stream() {
            let stream = stream.get_mut();
            let _ = stream.write_all(bytes).and_then(|()| stream.flush());
        }
    }

    fn secure(&mut self, how: Tls) -> Result<(), String> {
        let reader = self.stream.take().ok_or("there is no connection")?;
        let early = !reader.buffer().is_empty();
        let Stream::Clear(tcp) = reader.into_inner() else { return Err("TLS twice".into()) };
        if early {
            return Err("the client says more before the handshake".into());
        }
        let name = format!("mx.{}", self.domain);
        match how {
            Tls::Closed => return after_hello(tcp, b""),
            Tls::Garbage => return after_hello(tcp, b"this is not a handshake\r\n"),
            // Alert, TLS 1.2, two octets: fatal, handshake_failure (RFC 8446 6).
            Tls::Refused => return after_hello(tcp, &[21, 3, 3, 0, 2, 2, 40]),
            Tls::Good | Tls::WrongName | Tls::Expired | Tls::SelfSigned => {}
        }
        let config = self.certificates.server(&name, how).map_err(|e| e.to_string())?;
        let session = ServerConnection::new(config).map_err(|e| e.to_string())?;
        let mut stream = Box::new(StreamOwned::new(session, tcp));
        while stream.conn.is_handshaking() {
            match stream.conn.complete_io(&mut stream.sock) {
                Ok(_) => {}
                // A client that does not like the certificate says so; the script knows.
                Err(_) if how != Tls::Good => break,
                Err(e) => return Err(format!("handshake: {e}")),
            }
        }
        self.stream = Some(BufReader::new(Stream::Tls(stream)));
        Ok(())
    }

    fn close(&mut self) {
        if let Some(stream) = self.stream.take() {
            // With a FIN and not with a reset, which would also take back what was said.
            let _ = stream.get_ref().tcp().shutdown(Shutdown::Write);
            if let Stream::Clear(mut tcp) = stream.into_inner() {
                let _ = io::copy(&mut tcp, &mut io::sink());
            }
        }
    }

    fn reset(&mut self) {
        self.stream = None;
    }

    fn fate(&mut self, recipient: &str) -> Result<String, String> {
        let address = format!("{recipient}@{}", self.domain);
        let told = self.told.entry(recipient.to_owned()).or_default();
        *told += 1;
        self.journal.wait(*told - 1, &self.domain, |line| fate(line, &address))
    }

    fn retry(&mut self) -> Result<(), String> {
        (self.retry)()
    }
}

/// Says this to the beginning of a handshake, and closes.
fn after_hello(mut tcp: TcpStream, bytes: &[u8]) -> Result<(), String> {
    tcp.read(&mut [0; 16_384]).map_err(|e| format!("no handshake: {e}"))?;
    let _ = tcp.write_all(bytes);
    let _ = tcp.shutdown(Shutdown::Write);
    // Until the client has gone.
    let _ = io::copy(&mut tcp, &mut io::sink());
    Ok(())
}

fn gone(error: &io::Error) -> bool {
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof, ErrorKind::BrokenPipe];
    // rustls: an alert, or data that is no TLS record.
    kinds.contains(&error.kind()) || error.kind() == ErrorKind::InvalidData
}
