//! Settings, and the authorities that are trusted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use waypost_tls::PolicyTable;

/// How servers are told from impostors. Names in parentheses are those of postconf(5).
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is wanted of whom (smtp_tls_security_level, smtp_tls_policy_maps).
    pub table: PolicyTable,
    /// Whose signature counts (smtp_tls_CAfile, smtp_tls_CApath).
    pub authorities: Authorities,
    /// MTA-STS policies are looked for where `table` has no entry.
    pub mta_sts: bool,
    /// Where MTA-STS policies are kept, a file per domain; `None`: in memory only.
    pub sts_directory: Option<PathBuf>,
    /// The port that policies are fetched from: 443, says RFC 8461.
    pub sts_port: u16,
    /// How long a fetch may take.
    pub sts_timeout: Duration,
}

impl Settings {
    /// The level `may` for all; nothing is trusted, no MTA-STS. Fetches take a minute at most
    /// (RFC 8461 3.3).
    pub fn new() -> Self {
        Self {
            table: PolicyTable::default(),
            authorities: Authorities::default(),
            mta_sts: false,
            sts_directory: None,
            sts_port: 443,
            sts_timeout: Duration::from_secs(60),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

/// Authorities whose signature counts.
#[derive(Clone, Debug, Default)]
pub struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

/// Authorities that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthoritiesError {
    /// The file or directory.
    #[error("{path}: {what}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        what: String,
    },
    /// No usable certificate is in it.
    #[error("{path}: holds no usable certificate of an authority, in PEM")]
    Empty {
        /// The file or directory.
        path: String,
    },
}

impl Authorities {
    /// Those of the system. May be none: then nobody is trusted.
    pub fn system() -> Self {
        let CertificateResult { certs, .. } = load_native_certs();
        Self::of(certs)
    }

    /// Those in a file (smtp_tls_CAfile) or in a directory (smtp_tls_CApath), in PEM, and no others;
    /// with neither, [`Authorities::system`].
    ///
    /// # Errors
    /// [`AuthoritiesError`]
    pub fn load(file: Option<&Path>, directory: Option<&Path>) -> Result<Self, AuthoritiesError> {
        let Some(path) = file.or(directory) else { return Ok(Self::system()) };
        let path = path.display().to_string();
        let CertificateResult { certs, errors, .. } = load_certs_from_paths(file, directory);
        let authorities = Self::of(certs);
        match (authorities.anchors.is_empty(), errors.first()) {
            (false, _) => Ok(authorities),
            (true, Some(error)) => {
                Err(AuthoritiesError::Unreadable { path, what: error.to_string() })
            }
            (true, None) => Err(AuthoritiesError::Empty { path }),
        }
    }

    /// These; what is no certificate is passed over.
    pub fn of(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        let mut all = Self::default();
        for certificate in certificates {
            let Ok(anchor) = webpki::anchor_from_trusted_cert(&certificate) else { continue };
            all.anchors.push(anchor.to_owned());
            all.certificates.push(certificate);
        }
        all
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.anchors.len()
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}
