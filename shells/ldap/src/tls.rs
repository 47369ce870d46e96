//! TLS towards a directory: whom to trust, and what went wrong in words.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use waypost_ldap::server::Tls;

/// TLS settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of use.
    #[error("{path}: {what}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// No authority is known by which a server could be checked.
    #[error("no trusted certificates: set tls_ca_cert_file, or install ca-certificates")]
    NoRoots,
    /// Certificate and key do not fit.
    #[error("{path}: {what}")]
    Identity {
        /// The certificate's file.
        path: String,
        /// What is wrong.
        what: String,
    },
}

/// Makes the configuration for a server's settings.
pub(crate) fn config(tls: &Tls) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| TlsError::NoRoots)?;
    let builder = if tls.verify {
        builder.with_root_certificates(roots(tls)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
    };
    let config = match (&tls.cert_file, &tls.key_file) {
        (Some(cert), key) => {
            let key = key.as_ref().unwrap_or(cert);
            let chain = certificates(Path::new(cert))?;
            let secret = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| TlsError::File { path: key.clone(), what: error.to_string() })?;
            builder.with_client_auth_cert(chain, secret).map_err(|error| TlsError::Identity {
                path: cert.clone(),
                what: error.to_string(),
            })?
        }
        (None, _) => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn roots(tls: &Tls) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let mut add = |path: &Path| -> Result<(), TlsError> {
        for certificate in certificates(path)? {
            store.add(certificate).map_err(|error| TlsError::File {
                path: path.display().to_string(),
                what: error.to_string(),
            })?;
        }
        Ok(())
    };
    if let Some(file) = &tls.ca_file {
        add(Path::new(file))?;
    }
    if let Some(dir) = &tls.ca_dir {
        for file in files(dir)? {
            add(&file)?;
        }
    }
    if tls.ca_file.is_none() && tls.ca_dir.is_none() {
        // One unreadable certificate of the system must not take all others away.
        let native = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(native.certs);
    }
    if store.is_empty() { Err(TlsError::NoRoots) } else { Ok(store) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |what: String| TlsError::File { path: path.display().to_string(), what };
    let all: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| fail(error.to_string()))?;
    if all.is_empty() { Err(fail("holds no certificate".into())) } else { Ok(all) }
}

/// The files of a directory as c_rehash(1) leaves it: hashed links and PEM files alike.
fn files(dir: &str) -> Result<Vec<PathBuf>, TlsError> {
    let fail = |error: std::io::Error| TlsError::File { path: dir.into(), what: error.to_string() };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let pem = path.extension().is_some_and(|e| {
            e == "pem" || e == "crt" || e.to_str().is_some_and(|e| e.parse::<u8>().is_ok())
        });
        if pem && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What a failed handshake means.
pub(crate) fn explain(error: &std::io::Error, name: &str) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(error) = inner else { return format!("TLS: {error}") };
    let what = match error {
        Error::InvalidCertificate(fault) => match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("its certificate is not for the name '{name}'")
            }
            // The second: by another authority of the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not signed by a trusted authority".into()
            }
            CertificateError::Revoked => "its certificate is revoked".into(),
            other => format!("its certificate cannot be used: {other}"),
        },
        other => other.to_string(),
    };
    format!("TLS: {what}")
}

/// For `tls_require_cert = no`: any certificate will do, as long as the server has its key.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
