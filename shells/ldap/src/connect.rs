//! One connection: reach the server, start TLS, and only then let ldap3 speak.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, StdStream};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use waypost_ldap::guard::{self, Body, Guard};
use waypost_ldap::server::{Bind, Server};
use waypost_ldap::url::{Place, Scheme};

use crate::{code_name, tls};

/// Where Debian's slapd(8) listens for `ldapi:///`.
const DEFAULT_SOCKET: &str = "/var/run/slapd/ldapi";
/// `LDAPMessage { 1, [APPLICATION 23] { [0] "1.3.6.1.4.1.1466.20037" } }` (RFC 4511 4.14.1)
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// Octets of the answer to it, at most.
const MAX_START_TLS_ANSWER: usize = 4096;
/// A connection on which nothing is said is looked after so often. Firewalls wait for longer.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A stream to a server.
trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// A connection that ldap3 speaks on.
pub(crate) struct Connection {
    ldap: Ldap,
    /// Where it leads, for messages.
    pub(crate) place: String,
    life: Arc<Life>,
}

/// What the relay knows of a connection.
#[derive(Default)]
struct Life {
    /// Octets that came from the server.
    heard: AtomicU64,
    dead: AtomicBool,
    why: Mutex<Option<String>>,
    /// Ends the relay.
    hang_up: tokio::sync::Notify,
}

impl Connection {
    /// Connects and starts TLS. Nobody is bound yet. The caller gives up after `within`.
    pub(crate) async fn open(
        place: &Place,
        server: &Server,
        config: Option<&Arc<ClientConfig>>,
        within: Duration,
    ) -> Result<Self, String> {
        let stream = reach(place, server, config, within).await?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(|e| e.to_string())?;
        ours.set_nonblocking(true).map_err(|e| e.to_string())?;
        let ours = UnixStream::from_std(ours).map_err(|e| e.to_string())?;
        let life = Arc::new(Life::default());
        tokio::spawn(relay(stream, ours, Arc::clone(&life)));
        let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
        let (driver, ldap) = LdapConnAsync::with_settings(settings, "ldapi:///")
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            // How it ended is told to those who wait on it, with the relay's reason.
            let _ = driver.drive().await;
        });
        Ok(Self { ldap, place: place.to_string(), life })
    }

    /// Binds as the settings say.
    pub(crate) async fn bind(&self, bind: &Bind) -> Result<(), String> {
        let mut ldap = self.ldap();
        let (who, result) = match bind {
            Bind::Anonymous => return Ok(()),
            Bind::Simple { dn, password } => {
                (dn.as_str(), ldap.simple_bind(dn, password.expose()).await)
            }
            Bind::External { .. } => ("EXTERNAL", ldap.sasl_external_bind().await),
        };
        match result {
            Ok(result) if result.rc == 0 => Ok(()),
            Ok(result) => Err(format!(
                "bind as '{who}' failed: {} ({}) {}",
                code_name(result.rc),
                result.rc,
                result.text
            )),
            Err(error) => Err(self.explain(&error.to_string())),
        }
    }

    /// A handle for one operation.
    pub(crate) fn ldap(&self) -> Ldap {
        self.ldap.clone()
    }

    /// True while operations can be sent.
    pub(crate) fn is_open(&self) -> bool {
        !self.life.dead.load(Ordering::Acquire) && !self.ldap().is_closed()
    }

    /// Octets that came so far; no change in a long time means that nobody is there.
    pub(crate) fn heard(&self) -> u64 {
        self.life.heard.load(Ordering::Acquire)
    }

    /// Closes; what is under way on it fails with this reason.
    pub(crate) fn close(&self, why: &str) {
        self.life.end(why);
    }

    /// The reason of a failure, as exactly as it is known.
    pub(crate) fn explain(&self, error: &str) -> String {
        let why = self.life.why.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{}: {}", self.place, why.as_deref().unwrap_or(error))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.life.end("closed");
    }
}

impl Life {
    fn end(&self, why: &str) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.into());
        self.dead.store(true, Ordering::Release);
        self.hang_up.notify_one();
    }
}

/// Connects and does whatever must come before the first operation.
async fn reach(
    place: &Place,
    server: &Server,
    config: Option<&Arc<ClientConfig>>,
    within: Duration,
) -> Result<Pin<Box<dyn Stream>>, String> {
    let failed = |error: io::Error| format!("cannot connect: {error}");
    if place.scheme == Scheme::Ldapi {
        let path = if place.host.is_empty() { DEFAULT_SOCKET } else { &place.host };
        return Ok(Box::pin(UnixStream::connect(path).await.map_err(failed)?));
    }
    let addresses: Vec<SocketAddr> =
        lookup_host((place.host.as_str(), place.port)).await.map_err(failed)?.collect();
    let mut stream = first(&addresses, within, tcp).await.map_err(failed)?;
    let implicit = place.scheme == Scheme::Ldaps;
    if !implicit && !server.start_tls {
        return Ok(Box::pin(stream));
    }
    let config = config.ok_or("TLS is not set up")?;
    if !implicit {
        start_tls(&mut stream).await?;
    }
    let name = ServerName::try_from(place.host.clone())
        .map_err(|_| format!("TLS: '{}' cannot stand in a certificate", place.host))?;
    let stream = TlsConnector::from(Arc::clone(config))
        .connect(name, stream)
        .await
        .map_err(|error| tls::explain(&error, &place.host))?;
    Ok(Box::pin(stream))
}

/// Connects to one of the addresses of a host. One that is silent must not take all the time from
/// those that come after it.
async fn first<S, C: Future<Output = io::Result<S>>>(
    addresses: &[SocketAddr],
    within: Duration,
    connect: impl Fn(SocketAddr) -> C,
) -> io::Result<S> {
    let Some((last, others)) = addresses.split_last() else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    };
    // As much as they have together is left for TLS and the bind.
    let share = within / (2 * u32::try_from(addresses.len()).unwrap_or(u32::MAX));
    for address in others {
        if let Ok(Ok(stream)) = timeout(share, connect(*address)).await {
            return Ok(stream);
        }
    }
    connect(*last).await
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // A firewall forgets connections on which nothing is said; who does not know of it waits for an
    // answer that cannot come.
    let alive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
    SockRef::from(&stream).set_tcp_keepalive(&alive)?;
    Ok(stream)
}

/// Asks for TLS and reads the answer, octet for octet, with nothing of ldap3 in between. Whatever
/// follows the answer belongs to the handshake, so it is left in the socket.
async fn start_tls(stream: &mut TcpStream) -> Result<(), String> {
    let failed = |error: io::Error| format!("StartTLS: {error}");
    stream.write_all(START_TLS).await.map_err(failed)?;
    let mut answer = Vec::new();
    let whole = loop {
        if let Some(len) = guard::frame(&answer).map_err(|fault| format!("StartTLS: {fault}"))? {
            break len;
        }
        if answer.len() >= MAX_START_TLS_ANSWER {
            return Err("StartTLS: the answer is too long".into());
        }
        match stream.read_u8().await {
            Ok(octet) => answer.push(octet),
            Err(_) => return Err("StartTLS: the server closed the connection".into()),
        }
    };
    let answer = guard::parse(&answer[..whole]).map_err(|fault| format!("StartTLS: {fault}"))?;
    match answer.body {
        Body::Result(result) if result.code == 0 && answer.id == 1 => Ok(()),
        Body::Result(result) => Err(format!(
            "StartTLS refused: {} ({}) {}",
            code_name(result.code),
            result.code,
            String::from_utf8_lossy(result.text)
        )),
        _ => Err("StartTLS: unexpected answer".into()),
    }
}

/// Carries octets between ldap3 and the server, answers through the guard.
async fn relay(server: Pin<Box<dyn Stream>>, ours: UnixStream, life: Arc<Life>) {
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let (mut from_us, mut to_us) = tokio::io::split(ours);
    let requests = async {
        let copied = tokio::io::copy(&mut from_us, &mut to_server).await;
        match copied {
            Ok(_) => "closed".to_owned(),
            Err(error) => format!("cannot send: {error}"),
        }
    };
    let answers = async {
        let mut guard = Guard::default();
        let mut buffer = vec![0; 16 * 1024];
        let mut out = Vec::new();
        loop {
            match from_server.read(&mut buffer).await {
                Ok(0) => break "the server closed the connection".to_owned(),
                Ok(count) => {
                    life.heard.fetch_add(count as u64, Ordering::AcqRel);
                    let good = guard.push(&buffer[..count], &mut out);
                    if to_us.write_all(&out).await.is_err() {
                        break "closed".to_owned();
                    }
                    if let Err(fault) = good {
                        break fault.to_string();
                    }
                    out.clear();
                }
                Err(error) => break format!("cannot receive: {error}"),
            }
        }
    };
    let why = tokio::select! {
        why = requests => why,
        why = answers => why,
        () = life.hang_up.notified() => "closed".to_owned(),
    };
    life.end(&why);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn an_address_that_is_silent_keeps_nobody_from_the_others() {
        let addresses: Vec<SocketAddr> =
            (1..4).map(|n| SocketAddr::from(([192, 0, 2, n], 389))).collect();
        let connect = |address: SocketAddr| async move {
            match address {
                it if it == SocketAddr::from(([192, 0, 2, 1], 389)) => pending().await,
                it if it == SocketAddr::from(([192, 0, 2, 2], 389)) => {
                    ready(Err(io::ErrorKind::ConnectionRefused.into())).await
                }
                it => Ok(it),
            }
        };
        let within = Duration::from_millis(60);
        let found = runtime().block_on(first(&addresses, within, connect));
        assert_eq!(found.unwrap(), addresses[2]);
        let refused = runtime().block_on(first(&addresses[..2], within, connect));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let none = runtime().block_on(first(&[], within, connect));
        assert_eq!(none.unwrap_err().to_string(), "the host has no address");
    }

    #[test]
    fn connections_are_looked_after() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = runtime().block_on(tcp(address)).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE);
    }
}
