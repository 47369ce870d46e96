//! Mail out: `[forward]`, `[dkim]`, `[dns]`, `[relay]`, `[spool]`.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;
use core::time::Duration;

use toml::de::DeValue;
use waypost_mail::{Address, Domain};

use crate::reader::{self, Reader};
use crate::relay_tls::{self, RelayTls};

/// One of `dkim.keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkimKey {
    /// Whose mail it signs.
    pub domain: Domain,
    /// Where its public half is in the DNS.
    pub selector: Box<str>,
    /// A PEM file.
    pub file: Box<str>,
}

/// `[dns]`
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Dns {
    pub servers: Vec<SocketAddr>,
    pub trust_ad: bool,
}

/// `[relay]`
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Relay {
    pub relayhost: Option<Box<str>>,
    /// Domains and their next hops.
    pub transport_maps: Vec<(Box<str>, Box<str>)>,
    pub smtp_sasl_user: Option<Box<str>>,
    pub smtp_sasl_password_file: Option<Box<str>>,
    pub smtp_tls_wrappermode: bool,
    /// How hosts are told from impostors.
    pub tls: RelayTls,
    pub smtp_helo_name: Option<Box<str>>,
    pub smtp_bind_address: Option<Ipv4Addr>,
    pub smtp_bind_address6: Option<Ipv6Addr>,
    /// `ipv4` is among `inet_protocols`.
    pub ipv4: bool,
    /// `ipv6` is among `inet_protocols`.
    pub ipv6: bool,
    pub proxy_interfaces: Vec<IpAddr>,
    pub smtp_connect_timeout: Duration,
    pub smtp_mx_address_limit: usize,
    pub smtp_mx_session_limit: usize,
    pub smtp_connection_cache_time_limit: Duration,
    pub smtp_connection_reuse_time_limit: Duration,
    pub smtp_discard_ehlo_keywords: Vec<Box<str>>,
}

/// `[spool]`
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Spool {
    pub directory: Box<str>,
    pub minimal_backoff_time: Duration,
    pub maximal_backoff_time: Duration,
    pub queue_run_delay: Duration,
    pub maximal_queue_lifetime: Duration,
    pub bounce_queue_lifetime: Duration,
    pub delay_warning_time: Duration,
    pub bounce_size_limit: u64,
    /// `None`: nobody.
    pub double_bounce_recipient: Option<Address>,
    pub message_active_limit: u32,
    pub process_limit: u32,
    pub initial_destination_concurrency: u32,
    pub destination_concurrency_limit: u32,
    pub destination_recipient_limit: u32,
    pub failed_cohort_limit: u32,
}

pub(crate) fn srs_domain(r: &mut Reader<'_>, hostname: &Domain, ours: &[Domain]) -> Option<Domain> {
    let given = r.take("forward.srs_domain", "a domain name", |value| {
        let text = value.as_str().ok_or_else(String::new)?;
        Domain::parse(text).map_err(|error| error.to_string())
    });
    let default = || ours.iter().find(|it| *it == hostname).or_else(|| ours.first()).cloned();
    let domain = given.or_else(default);
    if r.flag("forward.srs") { domain } else { None }
}

pub(crate) fn dkim_keys(r: &mut Reader<'_>) -> Vec<DkimKey> {
    let expected = "a list of lists of domain, selector, file";
    let keys = r.take("dkim.keys", expected, |value| {
        let DeValue::Array(keys) = value else { return Err(String::new()) };
        let each = keys.iter().map(|key| {
            let texts = reader::list(key.get_ref(), |text| Ok(Box::from(text)))?;
            let [domain, selector, file] =
                <[Box<str>; 3]>::try_from(texts).map_err(|_| String::new())?;
            let domain = Domain::parse(&domain).map_err(|error| error.to_string())?;
            Domain::parse(&selector).map_err(|_| "the selector is no name".to_string())?;
            Ok(DkimKey { domain, selector, file })
        });
        each.collect()
    });
    keys.unwrap_or_default()
}

pub(crate) fn dns(r: &mut Reader<'_>) -> Dns {
    Dns { servers: name_servers(r), trust_ad: r.flag("dns.trust_ad") }
}

fn name_servers(r: &mut Reader<'_>) -> Vec<SocketAddr> {
    const PORT: u16 = 53;
    let servers = r.take("dns.servers", "a list of addresses", |value| {
        reader::list(value, |text| {
            let plain = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
            let server = plain.or_else(|_| text.parse()).ok().filter(|at| at.port() != 0);
            server.ok_or_else(|| format!("'{text}' is no address"))
        })
    });
    servers.unwrap_or_default()
}

pub(crate) fn relay(r: &mut Reader<'_>) -> Relay {
    const PROTOCOLS: &[(&str, bool)] = &[("ipv4", true), ("ipv6", false)];
    let protocols = r.choices("relay.inet_protocols", PROTOCOLS);
    if protocols.is_empty() {
        r.bad("relay.inet_protocols", "write at least one of \"ipv4\" and \"ipv6\"");
    }
    let user = r.optional("relay.smtp_sasl_user");
    let file = r.optional("relay.smtp_sasl_password_file");
    let relayhost = r.optional("relay.relayhost");
    match (&user, &file) {
        (Some(_), None) => {
            r.bad("relay.smtp_sasl_user", "goes together with smtp_sasl_password_file; write both");
        }
        (None, Some(_)) => {
            r.bad("relay.smtp_sasl_password_file", "goes together with smtp_sasl_user; write both");
        }
        _ => {}
    }
    if user.is_some() && relayhost.is_none() {
        r.bad("relay.smtp_sasl_user", "is for relayhost, which is not given; write both, or none");
    }
    Relay {
        relayhost,
        transport_maps: transport_maps(r),
        smtp_sasl_user: user,
        smtp_sasl_password_file: file,
        smtp_tls_wrappermode: r.flag("relay.smtp_tls_wrappermode"),
        tls: relay_tls::read(r),
        smtp_helo_name: helo_name(r),
        smtp_bind_address: address(r, "relay.smtp_bind_address"),
        smtp_bind_address6: address(r, "relay.smtp_bind_address6"),
        ipv4: protocols.contains(&true),
        ipv6: protocols.contains(&false),
        proxy_interfaces: r.parsed("relay.proxy_interfaces"),
        smtp_connect_timeout: r.duration("relay.smtp_connect_timeout"),
        smtp_mx_address_limit: r.size("relay.smtp_mx_address_limit", 1..=100),
        smtp_mx_session_limit: r.size("relay.smtp_mx_session_limit", 0..=100),
        smtp_connection_cache_time_limit: r.duration("relay.smtp_connection_cache_time_limit"),
        smtp_connection_reuse_time_limit: r.duration("relay.smtp_connection_reuse_time_limit"),
        smtp_discard_ehlo_keywords: r.texts("relay.smtp_discard_ehlo_keywords"),
    }
}

/// Our name in EHLO: a domain, or an address in brackets (RFC 5321 4.1.4).
fn helo_name(r: &mut Reader<'_>) -> Option<Box<str>> {
    r.take("relay.smtp_helo_name", "a domain name", |value| {
        let name = reader::text(value)?;
        Domain::parse(&name).map_err(|error| format!("'{}': {error}", name.escape_debug()))?;
        Ok(name)
    })
}

fn transport_maps(r: &mut Reader<'_>) -> Vec<(Box<str>, Box<str>)> {
    let pairs = r.take("relay.transport_maps", "a list of pairs", |value| {
        let DeValue::Array(pairs) = value else { return Err(String::new()) };
        let pair = |pair: &DeValue<'_>| {
            let words = reader::list(pair, |word| Ok(Box::from(word)))?;
            let [domain, nexthop] = <[Box<str>; 2]>::try_from(words).map_err(|_| String::new())?;
            Ok((domain, nexthop))
        };
        pairs.iter().map(|words| pair(words.get_ref())).collect()
    });
    pairs.unwrap_or_default()
}

/// An address, if there is one.
fn address<T: FromStr>(r: &mut Reader<'_>, path: &'static str) -> Option<T> {
    r.take(path, "an address in quotes", |value| {
        value.as_str().and_then(|text| text.parse().ok()).ok_or_else(String::new)
    })
}

pub(crate) fn spool(r: &mut Reader<'_>, hostname: &Domain) -> Spool {
    Spool {
        directory: r.text("spool.directory"),
        minimal_backoff_time: r.duration("spool.minimal_backoff_time"),
        maximal_backoff_time: r.duration("spool.maximal_backoff_time"),
        queue_run_delay: r.duration("spool.queue_run_delay"),
        maximal_queue_lifetime: r.duration("spool.maximal_queue_lifetime"),
        bounce_queue_lifetime: r.duration("spool.bounce_queue_lifetime"),
        delay_warning_time: r.duration("spool.delay_warning_time"),
        bounce_size_limit: r.number("spool.bounce_size_limit", 0..=1_000_000_000),
        double_bounce_recipient: double_bounce_recipient(r, hostname),
        message_active_limit: r.count("spool.qmgr_message_active_limit", 1..=1_000_000),
        process_limit: r.count("spool.default_process_limit", 1..=10_000),
        initial_destination_concurrency: r
            .count("spool.initial_destination_concurrency", 1..=10_000),
        destination_concurrency_limit: r
            .count("spool.smtp_destination_concurrency_limit", 1..=10_000),
        destination_recipient_limit: r.count("spool.smtp_destination_recipient_limit", 1..=100_000),
        failed_cohort_limit: r
            .count("spool.smtp_destination_concurrency_failed_cohort_limit", 0..=1_000),
    }
}

/// An address; without a domain, one of ours.
fn double_bounce_recipient(r: &mut Reader<'_>, hostname: &Domain) -> Option<Address> {
    r.must("spool.2bounce_notice_recipient", "an address", |value| {
        match value.as_str().ok_or_else(String::new)? {
            "" => Ok(None),
            name if name.contains('@') => Address::parse(name).map(Some),
            name => Address::new(name, hostname.clone()).map(Some),
        }
        .map_err(|error| error.to_string())
    })
}
