//! A next hop to what is wanted of its hosts, and a host to the handshake with it.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls_pki_types::ServerName;
use waypost_dns::{Answer, Exchanger, Found, Kind, NextHop, Question, Record};
use waypost_mail::Enhanced;
use waypost_smtp::client::Tls;
use waypost_tls::{
    Answered, Dane, Level, NameRule, Origin, Peer, PolicyTable, StsMode, StsPolicy, Tlsa, decide,
};

use crate::fetch::Fetcher;
use crate::judge::{Proof, Wanted};
use crate::seen::Seen;
use crate::settings::Settings;
use crate::slots::Slots;
use crate::sts::Sts;

/// Gets an answer, once, on any thread.
pub type Done = Box<dyn FnOnce(Answer) + Send>;

/// Asks the resolver. Must not block; may answer at once.
pub type Ask = Arc<dyn Fn(Question, Done) + Send + Sync>;

/// Says how many seconds have passed since 1970, in UTC.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A name below a signed zone that every validating resolver knows: the answer has the AD flag,
/// whatever else it has.
const PROBE: &str = "arpa";

/// TLS towards other servers.
pub struct Security {
    table: PolicyTable,
    ask: Ask,
    clock: Clock,
    slots: Slots,
    sts: Option<Arc<Sts>>,
}

/// What is wanted of the hosts of a next hop. Equal policies want the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    wanted: waypost_tls::Policy,
    /// The domain, without brackets and port.
    nexthop: Box<str>,
    /// The domain's own word, in force or on trial.
    sts: Option<Arc<StsPolicy>>,
}

/// A host that must not get anything now; another one of the same next hop may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// `dsn=`, always of class 4.
    pub status: Enhanced,
    /// The text for people.
    pub reason: Box<str>,
}

/// How to greet a host.
#[derive(Clone)]
pub struct Handshake {
    /// When there is TLS.
    pub tls: Tls,
    /// The level in the end. Up to `may`, a handshake that fails can be followed by a connection
    /// without TLS.
    pub level: Level,
    /// How to speak TLS; `None` at the level `none`.
    pub config: Option<Arc<ClientConfig>>,
    /// The name to ask for (SNI): [`waypost_smtp::client::Config::tls_name`]. Always one that rustls
    /// takes.
    pub server_name: Box<str>,
    /// What the handshake will find. Keep it as long as the connection.
    pub seen: Arc<Seen>,
}

impl Policy {
    /// The level, before the host itself is asked.
    pub fn level(&self) -> Level {
        self.wanted.level
    }

    /// Who says so.
    pub fn origin(&self) -> &Origin {
        &self.wanted.origin
    }

    /// The domain, when it only wants to know what its MTA-STS policy would do (RFC 8461 5).
    pub fn tried_out(&self) -> Option<&str> {
        let testing = self.sts.as_ref().is_some_and(|sts| sts.mode == StsMode::Testing);
        testing.then_some(&*self.nexthop)
    }

    /// The domain's MTA-STS policy, in force or on trial.
    pub fn sts(&self) -> Option<&StsPolicy> {
        self.sts.as_deref()
    }
}

impl fmt::Display for Policy {
    /// For an admin who asks why mail waits: `verify (MTA-STS policy of example.com)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sts.as_ref().filter(|sts| sts.mode == StsMode::Enforce) {
            Some(_) => write!(f, "verify (MTA-STS policy of {})", self.nexthop),
            None => write!(f, "{} ({})", self.wanted.level, self.wanted.origin),
        }
    }
}

impl Security {
    /// Makes one. Entries of the table that are over are named in the log.
    pub fn new(settings: Settings, ask: Ask, clock: Clock) -> Arc<Self> {
        for (key, entry) in settings.table.over(clock()) {
            tracing::warn!(
                "warning: smtp_tls_policy_maps: {key}: '{entry}' is over and has no effect"
            );
        }
        let provider = Arc::new(ring::default_provider());
        let authorities = Arc::new(settings.authorities);
        let sts = settings.mta_sts.then(|| {
            let provider: Arc<CryptoProvider> = Arc::clone(&provider);
            let (port, timeout) = (settings.sts_port, settings.sts_timeout);
            let fetcher =
                Fetcher::new(Arc::clone(&ask), Arc::clone(&authorities), provider, port, timeout);
            Sts::new(Arc::clone(&ask), Arc::clone(&clock), fetcher, settings.sts_directory)
        });
        let slots = Slots::new(provider, authorities);
        Arc::new(Self { table: settings.table, ask, clock, slots, sts })
    }

    /// Finds what is wanted of the hosts of a next hop, which is written as transport tables have it:
    /// `example.com`, `[mx.example.com]:587`. `done` is called once, perhaps at once, on any thread;
    /// it may take the minute in which an MTA-STS policy is fetched.
    pub fn policy(&self, nexthop: &str, done: impl FnOnce(Policy) + Send + 'static) {
        let wanted = self.table.find(nexthop, (self.clock)());
        let (bare, plain) = match NextHop::parse(nexthop) {
            Ok((NextHop::Domain(domain), port)) => (domain, port.is_none()),
            Ok((NextHop::Host(host), _)) => (host, false),
            Ok((NextHop::Address(address), _)) => (address.to_string().into(), false),
            Err(_) => (nexthop.into(), false),
        };
        let bare: Box<str> = bare.to_ascii_lowercase().into();
        // An entry for the destination is the admin's word, which also switches MTA-STS off there.
        let overridden = wanted.origin != Origin::Default;
        let open = !matches!(wanted.level, Level::None | Level::Fingerprint | Level::DaneOnly);
        match &self.sts {
            Some(sts) if plain && open && !overridden => {
                let domain = bare.clone();
                sts.find(&domain, move |sts| done(Policy { wanted, nexthop: bare, sts }));
            }
            _ => done(Policy { wanted, nexthop: bare, sts: None }),
        }
    }

    /// The question whose answer [`Security::handshake`] needs for this host, if it needs one.
    ///
    /// A host that is an alias, which RFC 5321 5.1 forbids, is asked about by its own name alone, and
    /// only when the whole chain to its addresses was validated. RFC 7672 2.2.2 looks at the name at
    /// the end of the chain first: records that stand only there are not found, and count for nothing.
    pub fn tlsa_question(policy: &Policy, host: &Exchanger, port: u16) -> Option<Question> {
        let asks = policy.level().is_dane() && host.authentic;
        let name = || format!("_{port}._tcp.{}", host.name);
        asks.then(|| Question::new(&name(), Kind::Tlsa).ok()).flatten()
    }

    /// Says how to greet a host. `tlsa`: the answer to [`Security::tlsa_question`].
    ///
    /// # Errors
    /// [`Refusal`]: the host gets nothing now.
    pub fn handshake(
        &self,
        policy: &Policy,
        host: &Exchanger,
        port: u16,
        tlsa: Option<&Answer>,
    ) -> Result<Handshake, Refusal> {
        let (level, proof) = self.proof(policy, host, port, tlsa)?;
        let peer = Peer { host: &host.name, nexthop: &policy.nexthop };
        let asked = policy.wanted.server_name.as_ref().unwrap_or(&NameRule::Hostname);
        let server_name = asked.name(peer).unwrap_or(&host.name);
        let server_name = match ServerName::try_from(server_name) {
            Ok(_) => server_name.into(),
            Err(_) => host.address.to_string().into(),
        };
        if level == Level::None {
            let seen = Arc::new(Seen::default());
            return Ok(Handshake { tls: Tls::Never, level, config: None, server_name, seen });
        }
        let wanted = Wanted {
            proof,
            host: host.name.to_ascii_lowercase().into(),
            port,
            nexthop: policy.nexthop.clone(),
            server_name,
            testing: policy.tried_out().is_some(),
        };
        let server_name = wanted.server_name.clone();
        let (config, seen) = self.slots.take(wanted, (self.clock)());
        let tls = if level == Level::May { Tls::IfOffered } else { Tls::Required };
        Ok(Handshake { tls, level, config: Some(config), server_name, seen })
    }

    /// [`Security::handshake`] with the answer to [`Security::tlsa_question`]. `done` is called once,
    /// perhaps at once, on any thread.
    pub fn prepare(
        self: &Arc<Self>,
        policy: Arc<Policy>,
        host: Exchanger,
        port: u16,
        done: impl FnOnce(Result<Handshake, Refusal>) + Send + 'static,
    ) {
        let Some(question) = Self::tlsa_question(&policy, &host, port) else {
            return done(self.handshake(&policy, &host, port, None));
        };
        let security = Arc::clone(self);
        let answered = move |answer: Answer| {
            done(security.handshake(&policy, &host, port, Some(&answer)));
        };
        (self.ask)(question, Box::new(answered));
    }

    /// Says in the log when DANE is wanted somewhere and the resolver does not validate. Nothing else
    /// changes: without validation `dane` is as good as `may`, and what is `dane-only` waits.
    pub fn probe(&self) {
        if !self.table.names_dane() {
            return;
        }
        let Ok(question) = Question::new(PROBE, Kind::Txt) else { return };
        let answered = |answer: Answer| {
            let Answer { found, authentic, .. } = answer;
            match found {
                Found::Unavailable(why) => tracing::warn!(
                    "warning: cannot tell whether the resolver validates (DNSSEC), which DANE \
                     needs: {why}"
                ),
                _ if !authentic => tracing::warn!(
                    "warning: DANE is configured, but the resolver does not validate (DNSSEC): \
                     destinations at level dane get opportunistic TLS, those at level dane-only \
                     wait; use a validating resolver on this host"
                ),
                _ => tracing::debug!("the resolver validates (DNSSEC)"),
            }
        };
        (self.ask)(question, Box::new(answered));
    }

    /// The level in the end, and what counts as proof.
    fn proof(
        &self,
        policy: &Policy,
        host: &Exchanger,
        port: u16,
        tlsa: Option<&Answer>,
    ) -> Result<(Level, Proof), Refusal> {
        let mut level = policy.level();
        if let Some(sts) = policy.sts.as_ref().filter(|sts| !sts.names(&host.name)) {
            let Exchanger { name, .. } = host;
            let domain = &policy.nexthop;
            if sts.mode == StsMode::Enforce {
                let why = format!("{name} is no host of the MTA-STS policy of {domain}");
                return Err(refusal(why));
            }
            tracing::warn!("MTA-STS policy of {domain} (testing): {name} is no host of it");
        }
        if level.is_dane() {
            match dane(level, host, tlsa) {
                Dane::Use(records) => return Ok((level, Proof::Tlsa(records))),
                Dane::Instead(instead) => level = instead,
                Dane::Defer(why) => return Err(refusal(format!("{why} for {}:{port}", host.name))),
            }
        }
        // The domain has named its hosts over HTTPS: the host's name is proof.
        if policy.sts.as_ref().is_some_and(|sts| sts.mode == StsMode::Enforce) {
            let level = level.max(Level::Verify);
            return Ok((level, Proof::Names([NameRule::Hostname].into())));
        }
        let wanted = &policy.wanted;
        let proof = match level {
            Level::None | Level::May | Level::Encrypt => Proof::Nothing,
            Level::Fingerprint => Proof::Fingerprints(wanted.fingerprints.clone()),
            Level::Verify | Level::Secure => Proof::Names(wanted.names.clone()),
            Level::Dane | Level::DaneOnly => Proof::Tlsa(Vec::<Tlsa>::new()),
        };
        Ok((level, proof))
    }
}

fn refusal(reason: String) -> Refusal {
    Refusal { status: Enhanced(4, 7, 5), reason: reason.into() }
}

fn dane(level: Level, host: &Exchanger, tlsa: Option<&Answer>) -> Dane {
    match tlsa {
        // Who does not ask does not know.
        None if host.authentic => decide(level, false, Answered::Failed),
        None => decide(level, false, Answered::Absent),
        Some(Answer { found, authentic, .. }) => match found {
            Found::Unavailable(_) => decide(level, false, Answered::Failed),
            Found::NoData | Found::NoName => decide(level, *authentic, Answered::Absent),
            Found::Records(found) => {
                let records: Vec<_> = found.iter().filter_map(record).collect();
                let answered = match &records[..] {
                    [] => Answered::Absent,
                    records => Answered::Records(records),
                };
                decide(level, *authentic, answered)
            }
        },
    }
}

fn record(record: &Record) -> Option<waypost_tls::Record<'_>> {
    match record {
        Record::Tlsa { usage, selector, matching, data } => Some(waypost_tls::Record {
            usage: *usage,
            selector: *selector,
            matching: *matching,
            data,
        }),
        _ => None,
    }
}
