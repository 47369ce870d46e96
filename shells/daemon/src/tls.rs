//! Certificates: read, matched to the name a client asks for, taken up anew when their files change.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DEFAULT_VERSIONS, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// A pair of PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

/// Why a pair of files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub(crate) struct TlsError {
    path: PathBuf,
    what: String,
}

/// The certificates in use. Sessions that are up keep what they began with.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: Vec<Files>,
    provider: Arc<CryptoProvider>,
    stamps: Mutex<Vec<Stamp>>,
    keys: ArcSwap<Vec<Arc<CertifiedKey>>>,
}

/// What changes when a file does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp(Option<(u64, u64, i64, i64)>);

impl Certificates {
    pub(crate) fn read(files: Vec<Files>) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(default_provider());
        let stamps = stamps(&files);
        let keys = load(&files, &provider)?;
        Ok(Arc::new(Self {
            files,
            provider,
            stamps: Mutex::new(stamps),
            keys: ArcSwap::from_pointee(keys),
        }))
    }

    /// What a server needs to speak TLS: 1.2 and 1.3.
    pub(crate) fn server_config(self: &Arc<Self>) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(DEFAULT_VERSIONS)
            .expect("invariant: ring has suites for TLS 1.2 and 1.3");
        let mut config =
            builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as Arc<_>);
        config.ignore_client_order = true;
        Arc::new(config)
    }

    /// Reads the files again if one has changed; true when new certificates are in use.
    pub(crate) fn refresh(&self) -> Result<bool, TlsError> {
        let now = stamps(&self.files);
        let mut known = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == now {
            return Ok(false);
        }
        // Remembered even when they are bad: one complaint for each change is enough.
        *known = now;
        drop(known);
        let keys = load(&self.files, &self.provider)?;
        self.keys.store(Arc::new(keys));
        Ok(true)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.keys.load();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let usable =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = |key: &&Arc<CertifiedKey>| name.as_ref().is_some_and(|n| is_for(key, n));
        let found = keys.iter().filter(named).find(usable);
        found.or_else(|| keys.iter().find(usable)).or_else(|| keys.first()).cloned()
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = key.cert.first().and_then(|cert| ParsedCertificate::try_from(cert).ok());
    parsed.is_some_and(|parsed| verify_server_name(&parsed, name).is_ok())
}

fn load(files: &[Files], provider: &CryptoProvider) -> Result<Vec<Arc<CertifiedKey>>, TlsError> {
    files.iter().map(|files| pair(files, provider).map(Arc::new)).collect()
}

fn pair(files: &Files, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let bad = |path: &Path, what: String| TlsError { path: path.into(), what };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect)
        .map_err(|error| bad(&files.chain, error.to_string()))?;
    if chain.is_empty() {
        return Err(bad(&files.chain, "holds no certificate".into()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| bad(&files.key, error.to_string()))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            bad(&files.key, format!("is not the key of {}", files.chain.display()))
        }
        error => bad(&files.key, error.to_string()),
    })
}

fn stamps(files: &[Files]) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        let of = |meta: Metadata| (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
        Stamp(fs::metadata(path).ok().map(of))
    };
    files.iter().flat_map(|files| [stamp(&files.chain), stamp(&files.key)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(dir: &Path, name: &str) -> Files {
        let made = rcgen::generate_simple_self_signed(vec![name.into()]).unwrap();
        let files =
            Files { chain: dir.join(format!("{name}.crt")), key: dir.join(format!("{name}.key")) };
        fs::write(&files.chain, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn names() {
        let dir = tempfile::tempdir().unwrap();
        let files = vec![make(dir.path(), "a.test"), make(dir.path(), "*.b.test")];
        let certificates = Certificates::read(files).unwrap();
        let keys = certificates.keys.load();
        for (name, first, second) in
            [("a.test", true, false), ("x.b.test", false, true), ("c.test", false, false)]
        {
            let name = ServerName::try_from(name).unwrap();
            assert_eq!((is_for(&keys[0], &name), is_for(&keys[1], &name)), (first, second));
        }
    }

    #[test]
    fn changed_files_are_taken_up_and_bad_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (make(dir.path(), "a.test"), make(dir.path(), "b.test"));
        let certificates = Certificates::read(vec![a.clone()]).unwrap();
        assert!(!certificates.refresh().unwrap());
        let before = Arc::clone(&certificates.keys.load()[0]);

        fs::copy(&b.chain, &a.chain).unwrap();
        let error = certificates.refresh().unwrap_err().to_string();
        assert!(error.contains("a.test.key: is not the key of"), "{error}");
        assert!(Arc::ptr_eq(&before, &certificates.keys.load()[0]));

        fs::copy(&b.key, &a.key).unwrap();
        assert!(certificates.refresh().unwrap());
        assert!(!Arc::ptr_eq(&before, &certificates.keys.load()[0]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (make(dir.path(), "a.test"), make(dir.path(), "b.test"));
        let wrong = |files: Files| Certificates::read(vec![files]).unwrap_err().to_string();
        assert!(wrong(Files { chain: a.chain.clone(), key: b.key }).contains("is not the key"));
        assert!(wrong(Files { chain: a.key.clone(), key: a.key }).contains("no certificate"));
        assert!(wrong(Files { chain: "/absent".into(), key: a.chain }).starts_with("/absent: "));
    }
}
