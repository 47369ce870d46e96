//! The policy file, by HTTPS (RFC 8461 3.3).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};
use waypost_dns::{Answer, Found, Kind, Question, Record};
use waypost_tls::{StsError, StsPolicy};

use crate::security::Ask;
use crate::settings::Authorities;

/// Octets of a policy file.
const SIZE: u64 = 64 * 1024;

/// Addresses that are tried.
const ADDRESSES: usize = 8;

/// Why there is no policy file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0} has no address")]
    NoAddress(String),
    #[error("{0}")]
    Http(String),
    #[error("the answer has status {0}, not 200")]
    Status(u16),
    #[error("the answer is no text/plain")]
    ContentType,
    #[error("the answer cannot be read")]
    Unreadable,
    #[error(transparent)]
    Policy(#[from] StsError),
}

pub(crate) struct Fetcher {
    ask: Ask,
    authorities: Arc<Authorities>,
    provider: Arc<CryptoProvider>,
    port: u16,
    timeout: Duration,
}

/// The addresses are known.
#[derive(Debug)]
struct Known(Vec<SocketAddr>);

impl Resolver for Known {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let mut all = self.empty();
        self.0.iter().take(ADDRESSES).for_each(|address| all.push(*address));
        Ok(all)
    }
}

impl Fetcher {
    pub(crate) fn new(
        ask: Ask,
        authorities: Arc<Authorities>,
        provider: Arc<CryptoProvider>,
        port: u16,
        timeout: Duration,
    ) -> Self {
        Self { ask, authorities, provider, port, timeout }
    }

    /// Holds a copy of all certificates, which would be too much for the time between two fetches.
    fn tls(&self) -> TlsConfig {
        let roots = self.authorities.certificates().iter();
        let roots: Vec<_> = roots.map(|root| Certificate::from_der(root).to_owned()).collect();
        TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::clone(&self.provider))
            .build()
    }

    /// Gets the policy of a domain. Blocks, for at most twice the timeout.
    pub(crate) fn fetch(&self, domain: &str) -> Result<StsPolicy, FetchError> {
        let host = format!("mta-sts.{domain}");
        let addresses = self.addresses(&host);
        if addresses.is_empty() {
            return Err(FetchError::NoAddress(host));
        }
        let config = Agent::config_builder()
            .https_only(true)
            .proxy(None)
            // RFC 8461 3.3: redirects are not followed.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(self.timeout))
            .user_agent("Waypost")
            .max_idle_connections(0)
            .tls_config(self.tls())
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), Known(addresses));
        let port = if self.port == 443 { String::new() } else { format!(":{}", self.port) };
        let http = |error: Error| FetchError::Http(error.to_string());
        let mut response = agent
            .get(format!("https://{host}{port}/.well-known/mta-sts.txt"))
            .call()
            .map_err(http)?;
        if response.status() != 200 {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("text/plain") {
            return Err(FetchError::ContentType);
        }
        let body = response.body_mut().with_config().limit(SIZE).read_to_vec().map_err(http)?;
        Ok(StsPolicy::parse(&body)?)
    }

    /// Asks for both kinds at once.
    fn addresses(&self, host: &str) -> Vec<SocketAddr> {
        let (sender, receiver) = mpsc::channel();
        for kind in [Kind::A, Kind::Aaaa] {
            let Ok(question) = Question::new(host, kind) else { continue };
            let sender = sender.clone();
            // The receiver may have given up.
            (self.ask)(question, Box::new(move |answer| _ = sender.send(answer)));
        }
        drop(sender);
        let mut addresses = Vec::new();
        loop {
            match receiver.recv_timeout(self.timeout) {
                Ok(Answer { found: Found::Records(records), .. }) => {
                    addresses.extend(records.iter().filter_map(|record| match record {
                        Record::A(address) => Some(IpAddr::V4(*address)),
                        Record::Aaaa(address) => Some(IpAddr::V6(*address)),
                        _ => None,
                    }));
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses.into_iter().map(|address| SocketAddr::new(address, self.port)).collect()
    }
}
