//! The settings of an SMTP client.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use waypost_machine::Secret;

/// The settings, one value for all connections of a kind. Names in parentheses are those of
/// postconf(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our name in EHLO (smtp_helo_name). A host that greets with it is ourselves.
    pub helo: Box<str>,
    /// Whether a host that answers with our name ends the attempt. Not for a port of our own choice.
    pub detect_loops: bool,
    /// When there is TLS (smtp_tls_security_level). How good the certificate must be, the shell
    /// knows, which checks it.
    pub tls: Tls,
    /// The name that the certificate must be good for, and that SNI shows; empty: the host's.
    pub tls_name: Box<str>,
    /// Who we are for a relay host (smtp_sasl_password_maps).
    pub login: Option<Login>,
    /// The password may go out without TLS.
    pub login_in_clear: bool,
    /// EHLO keywords that are not to be believed, in any case (smtp_discard_ehlo_keywords).
    pub discard: Vec<Box<str>>,
    /// BDAT is used where CHUNKING is offered. It saves the stuffing of dots, and no line end can be
    /// mistaken for the end of a message.
    pub chunking: bool,
    /// A message with octets above 127 fails when the host does not offer 8BITMIME. RFC 6152 3 asks
    /// for this, or for a conversion that breaks signatures; without it the message is sent as it
    /// is, which no host of this century minds.
    pub strict_8bitmime: bool,
    /// Messages for one connection; 0: no limit (smtp_connection_reuse_count_limit).
    pub messages: u32,
    /// For how long a connection takes new messages (smtp_connection_reuse_time_limit).
    pub reuse: Duration,
    /// For how long the world may think about [`super::Call::NextMessage`]
    /// (smtp_connection_cache_time_limit).
    pub idle: Duration,
    /// The world must read a piece of a body within this time.
    pub call_timeout: Duration,
    /// How long to wait for the host.
    pub timeouts: Timeouts,
}

/// When there is TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Never: `none`.
    Never,
    /// When the host offers it: `may`.
    IfOffered,
    /// Always; a host that does not offer it gets nothing: `encrypt` and everything above.
    Required,
    /// From the start, without STARTTLS: port 465 (smtp_tls_wrappermode).
    Implicit,
}

/// A name and a password for AUTH PLAIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: Box<str>,
    /// The password.
    pub password: Secret<Box<str>>,
}

/// How long to wait for the host (RFC 5321 4.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The greeting, EHLO, HELO, AUTH (smtp_helo_timeout).
    pub hello: Duration,
    /// STARTTLS, without the handshake (smtp_starttls_timeout).
    pub starttls: Duration,
    /// MAIL (smtp_mail_timeout).
    pub mail: Duration,
    /// Each RCPT (smtp_rcpt_timeout).
    pub rcpt: Duration,
    /// DATA, until the host wants the message (smtp_data_init_timeout).
    pub data: Duration,
    /// Each 64 KiB of the message (smtp_data_xfer_timeout).
    pub body: Duration,
    /// The word on the message (smtp_data_done_timeout).
    pub done: Duration,
    /// RSET (smtp_rset_timeout).
    pub reset: Duration,
}

impl Default for Timeouts {
    /// Those of Postfix: 300, 300, 300, 300, 120, 180, 600, 20 seconds.
    fn default() -> Self {
        let [long, data, body, done, reset] = [300, 120, 180, 600, 20].map(Duration::from_secs);
        Self { hello: long, starttls: long, mail: long, rcpt: long, data, body, done, reset }
    }
}

impl Config {
    /// The defaults for port 25 of other hosts: TLS when offered, no login. `helo` is our name.
    pub fn new(helo: impl Into<Box<str>>) -> Self {
        Self {
            helo: helo.into(),
            detect_loops: true,
            tls: Tls::IfOffered,
            tls_name: "".into(),
            login: None,
            login_in_clear: false,
            discard: Vec::new(),
            chunking: true,
            strict_8bitmime: false,
            messages: 0,
            reuse: Duration::from_secs(300),
            idle: Duration::from_secs(2),
            call_timeout: Duration::from_secs(60),
            timeouts: Timeouts::default(),
        }
    }
}
