//! Certificates of hosts, good and bad.

use super::script::Tls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// An authority, and what it has signed.
pub struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    /// A new authority.
    ///
    /// # Errors
    /// Those of the key generator.
    pub fn new() -> io::Result<Self> {
        let mut ca = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "CA of the other hosts");
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let authority = CertifiedIssuer::self_signed(ca, key).map_err(io::Error::other)?;
        Ok(Self { authority })
    }

    /// The authority's certificate.
    pub fn pem(&self) -> String {
        self.authority.pem()
    }

    /// A good certificate for a name and its key, as `PATH.crt` and `PATH.key`.
    ///
    /// # Errors
    /// Those of the key generator and of the file system.
    pub fn files(&self, name: &str, path: &Path) -> io::Result<()> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate =
            named(name)?.signed_by(&key, &self.authority).map_err(io::Error::other)?;
        fs::write(path.with_extension("crt"), certificate.pem())?;
        fs::write(path.with_extension("key"), key.serialize_pem())
    }

    /// What a host of this name and kind has.
    ///
    /// # Errors
    /// Those of the key generator.
    pub fn server(&self, name: &str, kind: Tls) -> io::Result<Arc<ServerConfig>> {
        let name = if kind == Tls::WrongName { "other.remote.test" } else { name };
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, name);
        if kind == Tls::Expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = match kind {
            Tls::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.authority),
        };
        let certificate = certificate.map_err(io::Error::other)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .map_err(io::Error::other)?;
        Ok(Arc::new(config))
    }
}

fn named(name: &str) -> io::Result<CertificateParams> {
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(io::Error::other)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
