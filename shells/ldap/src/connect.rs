//! One connection: reach the server, start TLS, and only then let ldap3 speak.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, StdStream};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
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
    /// Connects and starts TLS. Nobody is bound yet.
    pub(crate) async fn open(
        place: &Place,
        server: &Server,
        config: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, String> {
        let stream = reach(place, server, config).await?;
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
) -> Result<Pin<Box<dyn Stream>>, String> {
    let failed = |error: io::Error| format!("cannot connect: {error}");
    if place.scheme == Scheme::Ldapi {
        let path = if place.host.is_empty() { DEFAULT_SOCKET } else { &place.host };
        return Ok(Box::pin(UnixStream::connect(path).await.map_err(failed)?));
    }
    let mut stream = TcpStream::connect((place.host.as_str(), place.port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
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
