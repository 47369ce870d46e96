//! TLS of clients and remote hosts, by the real rustls, and the certificate of all hosts here.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, ServerConfig,
    ServerConnection, SignatureScheme,
};

/// Made once for each process. Ed25519: its signatures are always of the same length, so the
/// handshakes of two runs are, too.
struct Certificate {
    pem: String,
    key_pem: String,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(Certificate::make);

const MADE: &str = "invariant: made by fixed code from fixed words";

impl Certificate {
    fn make() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect(MADE);
        let names = ["mail.example.org", "*.remote.test", "*.example.net"].map(String::from);
        let mut terms = rcgen::CertificateParams::new(names).expect(MADE);
        // By chance its number would now and then be a byte longer.
        terms.serial_number = Some(vec![1].into());
        let made = terms.self_signed(&key).expect(MADE);
        let provider = Arc::new(ring::default_provider());
        let der: CertificateDer<'static> = made.der().clone();
        let secret = PrivateKeyDer::try_from(key.serialize_der()).expect(MADE);
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect(MADE)
            .with_no_client_auth()
            .with_single_cert(vec![der], secret)
            .expect(MADE);
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect(MADE)
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        // What one connection remembers would change the next.
        client.resumption = rustls::client::Resumption::disabled();
        Self {
            pem: made.pem(),
            key_pem: key.serialize_pem(),
            server: Arc::new(server),
            client: Arc::new(client),
        }
    }
}

/// Writes the certificate and its key, for the server.
pub(crate) fn write_pair(chain: &Path, key: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(chain, &CERTIFICATE.pem)?;
    std::fs::write(key, &CERTIFICATE.key_pem)?;
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600))
}

/// A client's side.
pub(crate) fn client() -> Connection {
    let name = ServerName::try_from("mail.example.org").expect(MADE);
    let mut made = ClientConnection::new(Arc::clone(&CERTIFICATE.client), name).expect(MADE);
    made.set_buffer_limit(None);
    made.into()
}

/// A remote host's side.
pub(crate) fn server() -> Connection {
    let mut made = ServerConnection::new(Arc::clone(&CERTIFICATE.server)).expect(MADE);
    made.set_buffer_limit(None);
    made.into()
}

/// Believes everybody: whom to believe is no question of the simulation, and to compute it takes as
/// long as the rest of a handshake.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
