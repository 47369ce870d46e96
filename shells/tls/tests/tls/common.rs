//! Certificates, servers in memory, a resolver with fixed answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use rustls::crypto::ring;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConnection, Error, HandshakeKind, ServerConfig, ServerConnection, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use waypost_dns::{Answer, Exchanger, Failure, Found, Kind, Question, Record};
use waypost_tls::{Defaults, Entry, Fingerprint, Level, PolicyTable};
use waypost_tls_client::{Authorities, Clock, Done, Handshake, Policy, Security, Settings};

/// Noon of 2026-11-22.
pub(crate) const NOW: u64 = 1_795_348_800;

/// Somebody who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named(name);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |_| {})
    }

    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let mut params = params(names);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.0).expect("a certificate");
        Identity::new(vec![made.der().clone(), self.certificate()], &key)
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = named("server");
    params
}

pub(crate) fn self_signed(names: &[&str]) -> Identity {
    self_signed_with(names, |_| {})
}

pub(crate) fn self_signed_with(
    names: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> Identity {
    let key = KeyPair::generate().expect("a key");
    let mut params = params(names);
    change(&mut params);
    let made = params.self_signed(&key).expect("a certificate");
    Identity::new(vec![made.der().clone()], &key)
}

pub(crate) fn expired(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
}

/// A server.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) config: Arc<ServerConfig>,
}

impl Identity {
    fn new(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key)
            .expect("a server");
        Self { chain, config: Arc::new(config) }
    }

    /// Speaks TLS 1.2 only.
    pub(crate) fn old(mut self) -> Self {
        let resolver = Arc::clone(&self.config.cert_resolver);
        self.config = Arc::new(
            ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[&version::TLS12])
                .expect("versions")
                .with_no_client_auth()
                .with_cert_resolver(resolver),
        );
        self
    }

    /// Shows the certificates of somebody else, without the key to them.
    pub(crate) fn thief(of: &Self) -> Self {
        let key = PrivatePkcs8KeyDer::from(KeyPair::generate().expect("a key").serialize_der());
        let key = ring::sign::any_ecdsa_type(&key.into()).expect("a key");
        let shown = SingleCertAndKey::from(CertifiedKey::new(of.chain.clone(), key));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        Self { chain: of.chain.clone(), config: Arc::new(config) }
    }

    pub(crate) fn leaf(&self) -> Fingerprint {
        Fingerprint::of(&self.chain[0])
    }

    pub(crate) fn key(&self, at: usize) -> Fingerprint {
        let parsed = webpki::EndEntityCert::try_from(&self.chain[at]).expect("a certificate");
        Fingerprint::of(&parsed.subject_public_key_info())
    }

    /// A handshake with a client, in memory; how it went, and the name the client asked for.
    pub(crate) fn shake(&self, with: &Handshake) -> Result<(HandshakeKind, Option<String>), Error> {
        let name = ServerName::try_from(with.server_name.to_string()).expect("a name");
        let config = with.config.clone().expect("TLS");
        let mut client = ClientConnection::new(config, name).expect("a client");
        let mut server = ServerConnection::new(Arc::clone(&self.config)).expect("a server");
        // Two more rounds than a handshake takes, for tickets.
        for _ in 0..6 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).expect("memory");
            }
            let mut rest = &wire[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).expect("memory");
                // What the server minds, the client has told it.
                let _ = server.process_new_packets();
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).expect("memory");
            }
            let mut rest = &wire[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("memory");
                client.process_new_packets()?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        let kind = client.handshake_kind().expect("a handshake");
        Ok((kind, server.server_name().map(str::to_owned)))
    }
}

/// A resolver that knows some answers; all else does not exist.
#[derive(Clone, Default)]
pub(crate) struct Names {
    answers: Arc<Mutex<HashMap<Question, Answer>>>,
    pub(crate) asked: Arc<Mutex<Vec<Question>>>,
}

impl Names {
    pub(crate) fn set(&self, name: &str, kind: Kind, answer: Answer) {
        let question = Question::new(name, kind).expect("a name");
        self.answers.lock().expect("answers").insert(question, answer);
    }

    pub(crate) fn txt(&self, name: &str, text: &str) {
        let record = Record::Txt(text.as_bytes().into());
        self.set(name, Kind::Txt, records(vec![record], false));
    }

    pub(crate) fn fail(&self, name: &str, kind: Kind) {
        self.set(name, kind, Answer::unavailable(Failure::ServFail));
    }

    pub(crate) fn answer(&self, question: Question, done: Done) {
        self.asked.lock().expect("asked").push(question.clone());
        let known = self.answers.lock().expect("answers").get(&question).cloned();
        let nothing = Answer { found: Found::NoName, authentic: false, ttl: 60 };
        done(known.unwrap_or(nothing));
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.asked.lock().expect("asked").iter().filter(|asked| asked.kind() == kind).count()
    }
}

pub(crate) fn records(records: Vec<Record>, authentic: bool) -> Answer {
    Answer { found: Found::Records(records), authentic, ttl: 60 }
}

/// A clock that is set by hand.
#[derive(Clone)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NOW)))
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Somebody sets the clock back.
    pub(crate) fn set_back(&self, seconds: u64) {
        self.0.fetch_sub(seconds, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Arc::new(move || time.load(Ordering::SeqCst))
    }
}

pub(crate) fn security(settings: Settings, names: &Names, time: &Time) -> Arc<Security> {
    let names = names.clone();
    let ask = move |question: Question, done: Done| names.answer(question, done);
    Security::new(settings, Arc::new(ask), time.clock())
}

pub(crate) fn settings(level: Level, authority: &Authority) -> Settings {
    let table = PolicyTable::new(Defaults { level, ..Defaults::default() }).expect("a table");
    let authorities = Authorities::of([authority.certificate()]);
    Settings { table, authorities, ..Settings::default() }
}

/// With this entry for `remote.test`.
pub(crate) fn with_entry(entry: &str, authority: &Authority) -> Settings {
    let mut settings = settings(Level::May, authority);
    let entry = Entry::parse(entry).expect("an entry");
    settings.table.add("remote.test", entry).expect("a table");
    settings
}

pub(crate) fn policy(security: &Security, nexthop: &str) -> Policy {
    let (sender, receiver) = mpsc::channel();
    security.policy(nexthop, move |policy| sender.send(policy).expect("a receiver"));
    receiver.recv().expect("an answer")
}

pub(crate) fn host(name: &str, authentic: bool) -> Exchanger {
    let address = "192.0.2.25".parse().expect("an address");
    Exchanger { name: name.into(), address, preference: 10, best: true, authentic }
}
