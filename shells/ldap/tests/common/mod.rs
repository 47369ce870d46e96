//! A directory server made of raw octets, which does whatever a test wants.

#![allow(dead_code, reason = "each test file uses its part of this")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use waypost_ldap::search::Deref;
use waypost_ldap::server::{Bind, Server, Tls};
use waypost_ldap::url::Place;
use waypost_ldap::{Dn, Filter, Outcome, Scope, Search};
use waypost_ldap3::{Client, Ldap};
use waypost_world::directory::{Bound, Directory};

pub(crate) const BIND: u8 = 0x60;
pub(crate) const SEARCH: u8 = 0x63;
pub(crate) const EXTENDED: u8 = 0x77;
pub(crate) const BIND_RESPONSE: u8 = 0x61;
pub(crate) const ENTRY: u8 = 0x64;
pub(crate) const DONE: u8 = 0x65;
pub(crate) const EXTENDED_RESPONSE: u8 = 0x78;

/// One element.
pub(crate) fn ber(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag, 0x84];
    out.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
    out.extend_from_slice(&content);
    out
}

pub(crate) fn message(id: u8, operation: &[u8]) -> Vec<u8> {
    ber(0x30, &[&ber(0x02, &[&[id]]), operation])
}

pub(crate) fn result(id: u8, tag: u8, code: u8, text: &str) -> Vec<u8> {
    let fields: [&[u8]; 3] = [&ber(0x0a, &[&[code]]), &ber(4, &[]), &ber(4, &[text.as_bytes()])];
    message(id, &ber(tag, &fields))
}

pub(crate) fn entry(id: u8, dn: &str, attributes: &[(&str, &[&[u8]])]) -> Vec<u8> {
    let attributes: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(name, values)| {
            let values: Vec<Vec<u8>> = values.iter().map(|value| ber(4, &[value])).collect();
            ber(0x30, &[&ber(4, &[name.as_bytes()]), &ber(0x31, &[&values.concat()])])
        })
        .collect();
    message(id, &ber(ENTRY, &[&ber(4, &[dn.as_bytes()]), &ber(0x30, &[&attributes.concat()])]))
}

/// SEQUENCEs within each other, of right lengths.
pub(crate) fn nested(depth: u32) -> Vec<u8> {
    let level = |level: u32| [&[0x30, 0x84][..], &(6 * (level - 1)).to_be_bytes()].concat();
    (1..=depth).rev().flat_map(level).collect()
}

/// What a client asked.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: u8,
    pub(crate) tag: u8,
    pub(crate) content: Vec<u8>,
}

/// A connection from the client's side of the wire, clear or with TLS.
pub(crate) trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn length(wire: &mut dyn Wire) -> io::Result<usize> {
    let mut first = [0];
    wire.read_exact(&mut first)?;
    if first[0] < 0x80 {
        return Ok(first[0].into());
    }
    let mut digits = vec![0; (first[0] & 0x7f).into()];
    wire.read_exact(&mut digits)?;
    Ok(digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)))
}

/// Reads one request; `None` at the end.
pub(crate) fn read(wire: &mut dyn Wire) -> Option<Request> {
    let mut tag = [0];
    wire.read_exact(&mut tag).ok()?;
    let mut body = vec![0; length(wire).ok()?];
    wire.read_exact(&mut body).ok()?;
    let id_len = usize::from(body[1]);
    let id = *body[2..2 + id_len].last().unwrap();
    let tag = body[2 + id_len];
    let mut rest = &body[3 + id_len..];
    let len = length(&mut Both(&mut rest)).unwrap();
    Some(Request { id, tag, content: rest[..len].to_vec() })
}

struct Both<'a, 'b>(&'a mut &'b [u8]);

impl Read for Both<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Both<'_, '_> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        unreachable!()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server that listens.
pub(crate) struct Fake {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
}

impl Fake {
    /// Serves each connection by `serve`, which is told how many there were before.
    pub(crate) fn start(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), serve)
    }

    pub(crate) fn on(
        listener: TcpListener,
        serve: impl Fn(TcpStream, usize) + Send + Sync + 'static,
    ) -> Self {
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, serve) = (Arc::clone(&connections), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let serve = Arc::clone(&serve);
                let before = count.fetch_add(1, Ordering::AcqRel);
                std::thread::spawn(move || serve(stream.unwrap(), before));
            }
        });
        Self { port, connections }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Settings for it, without TLS; everything takes this long at most.
    pub(crate) fn server(&self, timeout: Duration) -> Server {
        server(&[self.port], timeout)
    }
}

pub(crate) fn server(ports: &[u16], timeout: Duration) -> Server {
    let place = |port: &u16| Place::parse(&format!("ldap://localhost:{port}")).unwrap();
    Server {
        places: ports.iter().map(place).collect(),
        start_tls: false,
        tls: Tls { verify: true, ca_file: None, ca_dir: None, cert_file: None, key_file: None },
        bind: Bind::Anonymous,
        timeout,
        chase_referrals: false,
    }
}

/// Answers every request by `answer`, until the client goes.
pub(crate) fn answer(wire: &mut dyn Wire, mut answer: impl FnMut(Request) -> Vec<u8>) {
    while let Some(request) = read(wire) {
        if wire.write_all(&answer(request)).and_then(|()| wire.flush()).is_err() {
            return;
        }
    }
}

/// Answers as a directory with one entry does.
pub(crate) fn well(request: Request) -> Vec<u8> {
    match request.tag {
        BIND => result(request.id, BIND_RESPONSE, 0, ""),
        SEARCH => {
            let found = entry(request.id, "uid=x,dc=example", &[("uid", &[b"x"])]);
            [found, result(request.id, DONE, 0, "")].concat()
        }
        _ => Vec::new(),
    }
}

pub(crate) fn client() -> Client {
    Client::start().unwrap()
}

pub(crate) fn question() -> Search {
    Search {
        base: Dn::parse("dc=example").unwrap(),
        scope: Scope::Sub,
        filter: Filter::parse("(uid=x)").unwrap(),
        attributes: vec!["uid".into()],
        size_limit: 0,
        deref: Deref::Never,
    }
}

/// Begins a search.
pub(crate) fn begin(ldap: &Ldap) -> mpsc::Receiver<Outcome> {
    let (to, from) = mpsc::channel();
    // Nobody may be waiting any more.
    ldap.search(question(), Box::new(move |outcome| drop(to.send(outcome))));
    from
}

pub(crate) fn search(ldap: &Ldap) -> Outcome {
    begin(ldap).recv().expect("every search is answered")
}

/// The reason why a search has no answer.
pub(crate) fn why(outcome: Outcome) -> String {
    match outcome {
        Outcome::Unavailable(why) => why,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn bind(ldap: &Ldap, name: &str, password: &str) -> Bound {
    let (to, from) = mpsc::channel();
    let password: Box<str> = password.into();
    ldap.bind(name, password.into(), Box::new(move |bound| to.send(bound).unwrap()));
    from.recv().expect("every bind is answered")
}

/// An authority and what it signs.
pub(crate) struct Authority {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("CA.pem"), certificate.pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("CA.pem")
    }

    /// Settings that trust it and ask for StartTLS.
    pub(crate) fn trusted(&self, server: Server) -> Server {
        let file = self.file().display().to_string();
        let tls = Tls { ca_file: Some(file), ..server.tls };
        Server { start_tls: true, tls, ..server }
    }

    /// What a server with a certificate for `name` needs.
    pub(crate) fn server(&self, name: &str, expired: bool) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Arc::new(config)
    }
}

pub(crate) type TlsWire = StreamOwned<ServerConnection, TcpStream>;

/// Answers a request for StartTLS well and puts TLS on the connection.
pub(crate) fn start_tls(mut stream: TcpStream, config: &Arc<ServerConfig>) -> TlsWire {
    let request = read(&mut stream).unwrap();
    assert_eq!(request.tag, EXTENDED);
    stream.write_all(&result(request.id, EXTENDED_RESPONSE, 0, "")).unwrap();
    tls(stream, config)
}

pub(crate) fn tls(stream: TcpStream, config: &Arc<ServerConfig>) -> TlsWire {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)
}
