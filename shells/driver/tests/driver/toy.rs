//! A line protocol with a bit of everything, and both ends of a TLS connection for it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use waypost_driver::{Conn, Effect, Fault, Settings, TlsConfigs};
use waypost_machine::{
    Cx, Event, Limits, Now, Progress, Protocol, Session, Ticket, Time, TlsInfo, TlsRole, Why,
};

/// `STARTTLS`, `TURN text` (a call), `PUT n` and n bytes, `GET n`, `BAD`, `QUIT`.
#[derive(Default)]
pub(crate) struct Toy {
    tls_first: bool,
    /// It waits for its peer for ever.
    tireless: bool,
    putting: Option<usize>,
    put: usize,
    getting: usize,
    turning: bool,
    pub(crate) info: Option<TlsInfo>,
}

pub(crate) struct Turned(pub(crate) Vec<u8>);

pub(crate) struct Turn(pub(crate) Bytes, pub(crate) Ticket<Turned>);

impl Toy {
    pub(crate) fn tls_first() -> Self {
        Self { tls_first: true, ..Self::default() }
    }

    pub(crate) fn tireless() -> Self {
        Self { tireless: true, ..Self::default() }
    }

    fn line(&mut self, cx: &mut Cx<'_, Self>, line: &[u8]) {
        let line = std::str::from_utf8(line).unwrap().trim_end();
        match line.split_once(' ').unwrap_or((line, "")) {
            ("STARTTLS", _) => {
                cx.send_slice(b"go\n");
                cx.secure(TlsRole::Server);
            }
            ("TURN", text) => {
                let text = Bytes::copy_from_slice(text.as_bytes());
                self.turning = true;
                cx.call(Duration::from_secs(9), |ticket| Turn(text, ticket));
            }
            ("PUT", count) => self.putting = count.parse().ok(),
            ("GET", count) => self.getting = count.parse().unwrap(),
            ("QUIT", _) => {
                cx.send_slice(b"bye\n");
                cx.close(Why::Done);
            }
            _ => cx.close(Why::Refused),
        }
    }
}

impl Protocol for Toy {
    type Call = Turn;
    type Reply = Turned;
    type Notice = ();
    type Fact = TlsInfo;

    fn start(&mut self, cx: &mut Cx<'_, Self>) {
        if !self.tireless {
            cx.arm(waypost_machine::Timer::Idle, Duration::from_secs(60));
        }
        match self.tls_first {
            true => cx.secure(TlsRole::Server),
            false => cx.send_slice(b"hello\n"),
        }
    }

    fn advance(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        if self.turning {
            return Progress::Blocked;
        }
        if self.getting > 0 {
            let count = self.getting.min(16 * 1024);
            self.getting -= count;
            cx.send(Bytes::from(vec![b'g'; count]));
            return Progress::More;
        }
        if let Some(left) = self.putting {
            if left == 0 {
                cx.send_slice(format!("put {}\n", self.put).as_bytes());
                self.putting = None;
                return Progress::More;
            }
            let Some(bytes) = cx.input.take(left) else { return Progress::Blocked };
            assert!(bytes.iter().all(|byte| *byte == b'p'));
            self.put += bytes.len();
            self.putting = Some(left - bytes.len());
            return Progress::More;
        }
        match cx.input.line(100) {
            Ok(Some(line)) => self.line(cx, &line),
            Ok(None) => return Progress::Blocked,
            Err(_) => cx.close(Why::Refused),
        }
        Progress::More
    }

    fn event(&mut self, cx: &mut Cx<'_, Self>, event: Event<Self>) {
        match event {
            Event::Reply(_, Turned(text)) => {
                self.turning = false;
                cx.send(text.into());
                cx.send_slice(b"\n");
            }
            Event::Secured(info) => {
                self.info = Some(info.clone());
                cx.fact(info);
                if self.tls_first {
                    cx.send_slice(b"hello\n");
                }
            }
            Event::Timer(_) => {
                cx.send_slice(b"too slow\n");
                cx.close(Why::Timeout);
            }
            Event::Eof => cx.fact(TlsInfo::default()),
            Event::Stop => {
                cx.send_slice(b"stopping\n");
                cx.close(Why::Stopped);
            }
            _ => {}
        }
    }
}

pub(crate) fn at(seconds: u64) -> Now {
    Now { mono: Time::ZERO.plus(Duration::from_secs(seconds)), ..Now::default() }
}

/// One certificate, and clients that trust it.
pub(crate) struct Pki {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) name: &'static str,
}

impl Pki {
    pub(crate) fn ecdsa() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["ec.test".into()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        Self::new("ec.test", made.cert.der().clone(), key, rustls::DEFAULT_VERSIONS)
    }

    pub(crate) fn rsa(versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let cert = CertificateDer::from_pem_slice(include_bytes!("rsa.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("rsa.key")).unwrap();
        Self::new("rsa.test", cert, key, versions)
    }

    fn new(
        name: &'static str,
        cert: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(cert.clone()).unwrap();
        let provider = Arc::new(default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { server: Arc::new(server), client: Arc::new(client), name }
    }

    pub(crate) fn configs(&self) -> TlsConfigs {
        TlsConfigs { server: Some(self.server.clone()), client: Some(self.client.clone()) }
    }

    pub(crate) fn connect(&self) -> ClientConnection {
        ClientConnection::new(self.client.clone(), self.name.try_into().unwrap()).unwrap()
    }
}

/// A connection with the toy on it, and what the shell would do with its effects.
pub(crate) struct Server {
    pub(crate) conn: Conn<Session<Toy>>,
    pub(crate) now: Now,
    pub(crate) faults: Vec<Fault>,
    /// How many faults there had been at each fact.
    pub(crate) known: Vec<usize>,
    pub(crate) facts: Vec<TlsInfo>,
    pub(crate) secured: Vec<TlsInfo>,
    pub(crate) calls: VecDeque<Turn>,
}

impl Server {
    pub(crate) fn new(toy: Toy, tls: TlsConfigs) -> Self {
        let now = at(0);
        let session = Session::new(now, toy, Limits::default());
        let conn = Conn::new(1, session, tls, Settings::default());
        let mut server = Self {
            conn,
            now,
            faults: vec![],
            known: vec![],
            facts: vec![],
            secured: vec![],
            calls: VecDeque::new(),
        };
        server.pump();
        server
    }

    pub(crate) fn pump(&mut self) {
        let Self { conn, now, faults, known, facts, secured, calls } = self;
        conn.pump(*now, |effect| match effect {
            Effect::Call(turn) => calls.push_back(turn),
            Effect::Cancel(_) => {}
            Effect::Fact(info) => {
                known.push(faults.len());
                facts.push(info);
            }
            Effect::Secured(info) => secured.push(info),
            Effect::Fault(fault) => faults.push(fault),
        });
    }

    /// Hands these bytes in, cut into pieces, and answers calls; returns what came back.
    pub(crate) fn give(&mut self, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut back = self.take();
        for piece in bytes.chunks(piece) {
            self.conn.received(Bytes::copy_from_slice(piece));
            back.extend(self.take());
        }
        back
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut back = Vec::new();
        loop {
            self.pump();
            while let Some(Turn(text, ticket)) = self.calls.pop_front() {
                let turned = text.iter().rev().copied().collect();
                self.conn.answer(self.now, ticket.answer(Turned(turned)));
                self.pump();
            }
            if !self.conn.write_to(self.now, &mut back) {
                return back;
            }
        }
    }

    pub(crate) fn wait_is_sound(&self) {
        let wants = self.conn.wants_read() || self.conn.wants_write();
        assert!(self.conn.finished() || wants || self.conn.deadline().is_some());
    }
}

/// Moves bytes between the two until both are still; returns the client's plaintext.
pub(crate) fn shuttle(client: &mut ClientConnection, server: &mut Server, piece: usize) -> Vec<u8> {
    let mut plain = Vec::new();
    loop {
        let mut to_server = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut to_server).unwrap();
        }
        let to_client = server.give(&to_server, piece);
        server.wait_is_sound();
        if to_server.is_empty() && to_client.is_empty() {
            return plain;
        }
        let mut rest = &to_client[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
            // "Nothing yet" is an error that is no news here.
            let _ = client.reader().read_to_end(&mut plain);
        }
    }
}

pub(crate) fn say(client: &mut ClientConnection, text: &[u8]) {
    client.writer().write_all(text).unwrap();
}
