//! The settings of an SMTP server.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use waypost_mail::Domain;
use waypost_sasl::Mechanism;

/// The settings, one value for all sessions of a service. Names in parentheses are those of
/// postconf(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our name in greetings and replies (myhostname).
    pub hostname: Box<str>,
    /// What follows the name in the greeting: `ESMTP Waypost` (smtpd_banner).
    pub banner: Box<str>,
    /// The name of the service as logs show it: `smtpd`, `submission/smtpd`.
    pub service: Box<str>,
    /// The domain of addresses that have none (myorigin).
    pub origin: Domain,
    /// When there is TLS.
    pub tls: Tls,
    /// Mechanisms that AUTH offers; none: no AUTH.
    pub mechanisms: Vec<Mechanism>,
    /// AUTH is offered without TLS, too (smtpd_tls_auth_only = no).
    pub auth_in_clear: bool,
    /// A second line `AUTH=PLAIN` for clients of the last century (broken_sasl_auth_clients).
    pub broken_sasl_auth_clients: bool,
    /// Octets of a message; 0: no limit (message_size_limit).
    pub message_size_limit: u64,
    /// Recipients of a message (smtpd_recipient_limit).
    pub recipient_limit: usize,
    /// Received headers at which a message is in a loop (hopcount_limit).
    pub hop_limit: u32,
    /// Errors from which on every command waits for [`Config::error_delay`]
    /// (smtpd_soft_error_limit).
    pub soft_error_limit: u32,
    /// Errors that end the session (smtpd_hard_error_limit).
    pub hard_error_limit: u32,
    /// NOOP, RSET, VRFY and the like that are free; each further one is an error
    /// (smtpd_junk_command_limit).
    pub junk_command_limit: u32,
    /// See [`Config::soft_error_limit`] (smtpd_error_sleep_time).
    pub error_delay: Duration,
    /// A wrong password is told after this time (Dovecot's auth_failure_delay).
    pub auth_failure_delay: Duration,
    /// A command must be complete within this time (smtpd_timeout).
    pub command_timeout: Duration,
    /// [`crate::limits::PROGRESS`] octets of a message must arrive within this time.
    pub body_timeout: Duration,
    /// The world must answer within this time; otherwise it is a temporary failure.
    pub call_timeout: Duration,
    /// What a bare CR or LF does (smtpd_forbid_bare_newline).
    pub bare_newline: BareNewline,
    /// SMTPUTF8 is offered (smtputf8_enable).
    pub smtputf8: bool,
}

/// When there is TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Off,
    /// After STARTTLS: port 25 (smtpd_tls_security_level = may).
    Offered,
    /// After STARTTLS, and nothing goes without: port 587 (encrypt).
    Required,
    /// From the start: port 465 (smtpd_tls_wrappermode).
    Implicit,
}

/// What a bare CR or LF does. Either way the only end of a message is CRLF.CRLF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNewline {
    /// The message is refused, once it has been read. A command that ends in a bare LF ends the
    /// session.
    Reject,
    /// A bare LF becomes a CRLF, a bare CR within a line a blank. Commands may end in LF alone.
    Normalise,
}

impl Config {
    /// The defaults, which are Postfix's, for port 25 of this host: TLS offered, no AUTH.
    pub fn new(hostname: Domain) -> Self {
        Self {
            hostname: hostname.as_str().into(),
            banner: "ESMTP Waypost".into(),
            service: "smtpd".into(),
            origin: hostname,
            tls: Tls::Offered,
            mechanisms: Vec::new(),
            auth_in_clear: false,
            broken_sasl_auth_clients: false,
            message_size_limit: 10_240_000,
            recipient_limit: 1000,
            hop_limit: 50,
            soft_error_limit: 10,
            hard_error_limit: 20,
            junk_command_limit: 100,
            error_delay: Duration::from_secs(1),
            auth_failure_delay: Duration::from_secs(2),
            command_timeout: Duration::from_secs(300),
            body_timeout: Duration::from_secs(300),
            call_timeout: Duration::from_secs(60),
            bare_newline: BareNewline::Normalise,
            smtputf8: true,
        }
    }

    /// Whether a message of this many octets is too big.
    pub(crate) fn too_big(&self, octets: u64) -> bool {
        self.message_size_limit > 0 && octets > self.message_size_limit
    }
}
