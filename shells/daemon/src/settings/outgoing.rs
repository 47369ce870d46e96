//! Mail to other servers: what the configuration says of it, and what it needs at work.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::task::{Poll, Waker};

use waypost_config::Config;
use waypost_dns::{Answer, Found, Kind, NextHop, Own, Question, Record};
use waypost_machine::Secret;
use waypost_relay::{Event, Relay, Resolve, Settings, Transports, Wish};
use waypost_resolver::Resolver;
use waypost_smtp::client::Login;
use waypost_tls_client as tls;
use waypost_world::Clock;
use waypost_world::carrier::Carrier;

use crate::dial::Dialer;
use crate::files::{self, ConfigFile};
use crate::ground::Ground;
use crate::log;
use crate::server::StartError;
use crate::settings::security;

/// The way to other servers.
pub(crate) struct Outgoing {
    relay: Relay,
    dialer: Arc<Dialer>,
    /// `None` when others answer instead.
    resolver: Option<Resolver>,
}

/// The DNS, as the relay sees it.
struct Names(Arc<dyn Resolve>);

/// The resolver, as the relay sees it.
struct Asked(Resolver);

impl Resolve for Asked {
    fn ask(&self, question: Question, done: Box<dyn FnOnce(Answer) + Send>) {
        self.0.ask(question, done);
    }
}

impl Resolve for Names {
    fn ask(&self, question: Question, done: Box<dyn FnOnce(Answer) + Send>) {
        match here(&question) {
            Some(answer) => done(answer),
            None => self.0.ask(question, done),
        }
    }
}

/// What is asked about this host is known without asking (RFC 6761 6.3).
fn here(question: &Question) -> Option<Answer> {
    let name = question.name();
    if name != "localhost" && !name.ends_with(".localhost") {
        return None;
    }
    let found = match question.kind() {
        Kind::A => Found::Records(vec![Record::A(Ipv4Addr::LOCALHOST)]),
        Kind::Aaaa => Found::Records(vec![Record::Aaaa(Ipv6Addr::LOCALHOST)]),
        _ => Found::NoData,
    };
    Some(Answer { found, authentic: false, ttl: 0 })
}

impl Outgoing {
    pub(crate) fn start(
        file: &ConfigFile,
        security: tls::Settings,
        ground: &Ground,
    ) -> Result<Self, StartError> {
        let mut settings = settings(file)?;
        settings.seed = ground.seed.unwrap_or(settings.seed);
        let dialer = Arc::new(Dialer::default());
        let clock = Arc::clone(&ground.clock);
        let resolver = match ground.names {
            None => Some(resolver(file, Arc::clone(&clock))?),
            Some(_) => None,
        };
        let asked = resolver.clone().map(|resolver| Arc::new(Asked(resolver)) as _);
        let names = ground.names.clone().or(asked).expect("invariant: one of the two is there");
        let names = Arc::new(Names(names));
        let security = security::start(security, names.clone(), Arc::clone(&clock));
        let loglevel = file.config.relay.tls.smtp_tls_loglevel;
        let relay = Relay::new(
            settings,
            clock,
            Arc::clone(&dialer) as _,
            names,
            security,
            Arc::new(move |event: Event| {
                if loglevel > 0 || !matches!(event, Event::Secured { .. }) {
                    log::relay::event(event);
                }
            }),
        );
        Ok(Self { relay, dialer, resolver })
    }

    pub(crate) fn carrier(&self) -> Arc<dyn Carrier> {
        Arc::new(self.relay.clone())
    }

    /// The next connection that is wished for.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Wish> {
        self.dialer.poll(waker)
    }

    /// Consignments under way, and connections that wait for another message.
    pub(crate) fn held(&self) -> (usize, usize) {
        self.relay.held()
    }

    /// No new connections; what no host has yet is deferred.
    pub(crate) fn stop(&self) {
        self.relay.stop();
        self.dialer.close();
        if let Some(resolver) = &self.resolver {
            resolver.stop();
        }
    }
}

fn resolver(file: &ConfigFile, clock: Arc<dyn Clock>) -> Result<Resolver, StartError> {
    let dns = waypost_resolver::Settings {
        servers: file.config.dns.servers.clone(),
        trust_ad: file.config.dns.trust_ad,
        ..Default::default()
    };
    Ok(Resolver::start(dns, move || clock.now())?)
}

/// The relay host, as far as the queue knows it. With a table of transports, the relay alone knows
/// where mail goes, and the queue has a destination for each domain.
pub(crate) fn queue_relayhost(config: &Config) -> Option<Box<str>> {
    let relay = &config.relay;
    relay.relayhost.clone().filter(|_| relay.transport_maps.is_empty())
}

/// Whether the next hops can be understood.
pub(crate) fn check(config: &Config) -> Result<(), StartError> {
    let relay = &config.relay;
    if let Some(relayhost) = &relay.relayhost {
        NextHop::parse(relayhost).map_err(|error| format!("[relay] relayhost: {error}"))?;
    }
    transports(config)?;
    Ok(())
}

fn transports(config: &Config) -> Result<Transports, StartError> {
    let lines = config.relay.transport_maps.iter();
    let transports = Transports::new(lines.map(|(domain, nexthop)| (&**domain, &**nexthop)));
    transports.map_err(|error| format!("[relay] transport_maps: {error}").into())
}

fn settings(file: &ConfigFile) -> Result<Settings, StartError> {
    let config = &file.config;
    let relay = &config.relay;
    let login = match (&relay.smtp_sasl_user, &relay.smtp_sasl_password_file) {
        (Some(user), Some(path)) => {
            let password = files::secret(&file.at(path))?;
            let password = Secret::new(password.expose().as_str().into());
            Some(Login { user: user.clone(), password })
        }
        _ => None,
    };
    let listening = config.listen.smtp.iter().map(|at| at.ip()).filter(|ip| !ip.is_unspecified());
    let addresses: Vec<IpAddr> = listening.chain(relay.proxy_interfaces.iter().copied()).collect();
    let hostname = config.hostname.as_str();
    Ok(Settings {
        helo: relay.smtp_helo_name.clone().unwrap_or_else(|| hostname.into()),
        own: Own { names: vec![hostname.to_ascii_lowercase().into()], addresses },
        transports: transports(config)?,
        relayhost: relay.relayhost.clone(),
        login,
        wrapper: relay.smtp_tls_wrappermode,
        bind_v4: relay.smtp_bind_address,
        bind_v6: relay.smtp_bind_address6,
        ipv4: relay.ipv4,
        ipv6: relay.ipv6,
        connect_timeout: relay.smtp_connect_timeout,
        address_limit: relay.smtp_mx_address_limit,
        session_limit: relay.smtp_mx_session_limit,
        idle: relay.smtp_connection_cache_time_limit,
        reuse: relay.smtp_connection_reuse_time_limit,
        discard_ehlo_keywords: relay.smtp_discard_ehlo_keywords.clone(),
        seed: RandomState::new().hash_one(0),
        ..Settings::new(hostname)
    })
}
