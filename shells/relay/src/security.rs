//! What is needed of TLS: which destinations want it, and how a host has to prove itself.

use std::sync::Arc;

use rustls::ClientConfig;
use waypost_dns::{Answer, Exchanger};
use waypost_smtp::client::Tls;

/// Knows what each destination wants.
pub trait Security: Send + Sync {
    /// What is due for a next hop: a domain, or `[host]:port`. `done` is called exactly once, on any
    /// thread, also on this one.
    fn policy(&self, nexthop: &str, done: Box<dyn FnOnce(Arc<dyn Policy>) + Send>);
}

/// What a destination wants.
pub trait Policy: Send + Sync {
    /// A connection that was made under `other` will do.
    fn allows(&self, other: &dyn Policy) -> bool;

    /// What [`Policy::allows`] compares: level and all that belongs to it, in words.
    fn name(&self) -> &str;

    /// The TLSA records of this host are asked for before [`Policy::handshake`].
    fn wants_tlsa(&self, _: &Exchanger) -> bool {
        false
    }

    /// How to deal with this host.
    ///
    /// # Errors
    /// It gets nothing, for this reason.
    fn handshake(&self, host: &Exchanger, tlsa: Option<&Answer>) -> Result<Handshake, Box<str>>;
}

/// How to deal with one host.
pub struct Handshake {
    /// When there is TLS.
    pub tls: Tls,
    /// How to speak it; `None` with [`Tls::Never`].
    pub config: Option<Arc<ClientConfig>>,
    /// The name that SNI shows; empty: the host's.
    pub name: Box<str>,
    /// What is known of the certificate afterwards.
    pub seen: Arc<dyn Seen>,
}

/// What a handshake has shown.
pub trait Seen: Send + Sync {
    /// `Verified`, `Trusted`, `Untrusted`, `Anonymous`: how log lines call the connection.
    fn word(&self) -> &'static str;

    /// What is wrong with the certificate, for the log: `self-signed certificate`.
    fn fault(&self) -> Option<Box<str>>;

    /// Why the handshake was broken off, when it was we who did: `Server certificate not verified`.
    fn refusal(&self) -> Option<Box<str>>;
}

/// The same for everybody: TLS where it is offered, with whoever is there; or no TLS at all.
pub struct Opportunistic {
    config: Option<Arc<ClientConfig>>,
}

impl Opportunistic {
    /// TLS with this configuration, which asks for no proof; `None`: no TLS.
    pub fn new(config: Option<Arc<ClientConfig>>) -> Self {
        Self { config }
    }
}

impl Security for Opportunistic {
    fn policy(&self, _: &str, done: Box<dyn FnOnce(Arc<dyn Policy>) + Send>) {
        done(Arc::new(Self { config: self.config.clone() }));
    }
}

impl Policy for Opportunistic {
    fn allows(&self, other: &dyn Policy) -> bool {
        self.name() == other.name()
    }

    fn name(&self) -> &str {
        if self.config.is_some() { "may" } else { "none" }
    }

    fn handshake(&self, _: &Exchanger, _: Option<&Answer>) -> Result<Handshake, Box<str>> {
        let tls = if self.config.is_some() { Tls::IfOffered } else { Tls::Never };
        let seen = Arc::new(Unseen);
        Ok(Handshake { tls, config: self.config.clone(), name: "".into(), seen })
    }
}

/// Nobody has looked.
struct Unseen;

impl Seen for Unseen {
    fn word(&self) -> &'static str {
        "Untrusted"
    }

    fn fault(&self) -> Option<Box<str>> {
        None
    }

    fn refusal(&self) -> Option<Box<str>> {
        None
    }
}
