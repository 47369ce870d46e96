//! The settings. Names in parentheses are those of postconf(5).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use waypost_dns::Own;
use waypost_smtp::client::{Login, Timeouts};

use crate::transport::Transports;

/// How mail is taken to other servers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name in EHLO (smtp_helo_name).
    pub helo: Box<str>,
    /// Who we are: a host that turns out to be one of these gets no mail.
    pub own: Own,
    /// Other ways for some domains (transport_maps).
    pub transports: Transports,
    /// Takes all mail that has no other way (relayhost). Where the queue knows it already, next hops
    /// come as it is and not as domains.
    pub relayhost: Option<Box<str>>,
    /// Who we are for the relay host (smtp_sasl_password_maps).
    pub login: Option<Login>,
    /// TLS from the start with the relay host (smtp_tls_wrappermode).
    pub wrapper: bool,
    /// Where IPv4 connections come from (smtp_bind_address).
    pub bind_v4: Option<Ipv4Addr>,
    /// Where IPv6 connections come from (smtp_bind_address6).
    pub bind_v6: Option<Ipv6Addr>,
    /// IPv4 is used (inet_protocols).
    pub ipv4: bool,
    /// IPv6 is used (inet_protocols).
    pub ipv6: bool,
    /// How long a connection may take (smtp_connect_timeout).
    pub connect_timeout: Duration,
    /// Addresses that are tried, at most (smtp_mx_address_limit).
    pub address_limit: usize,
    /// Hosts that are talked to for one message, at most (smtp_mx_session_limit).
    pub session_limit: usize,
    /// For how long a connection waits for another message (smtp_connection_cache_time_limit).
    pub idle: Duration,
    /// For how long a connection takes new messages (smtp_connection_reuse_time_limit).
    pub reuse: Duration,
    /// Connections that wait for another message, at most.
    pub idle_limit: usize,
    /// EHLO keywords that are not to be believed (smtp_discard_ehlo_keywords).
    pub discard_ehlo_keywords: Vec<Box<str>>,
    /// How long to wait for a host.
    pub timeouts: Timeouts,
    /// Decides the order of equals.
    pub seed: u64,
}

impl Settings {
    /// Postfix's defaults. `helo` is our name.
    pub fn new(helo: &str) -> Self {
        let names = vec![helo.to_ascii_lowercase().into()];
        Self {
            helo: helo.into(),
            own: Own { names, addresses: Vec::new() },
            transports: Transports::default(),
            relayhost: None,
            login: None,
            wrapper: false,
            bind_v4: None,
            bind_v6: None,
            ipv4: true,
            ipv6: true,
            connect_timeout: Duration::from_secs(30),
            address_limit: 5,
            session_limit: 2,
            idle: Duration::from_secs(2),
            reuse: Duration::from_secs(300),
            idle_limit: 500,
            discard_ehlo_keywords: Vec::new(),
            timeouts: Timeouts::default(),
            seed: 0,
        }
    }
}
