//! Settings of the IMAP server.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use waypost_sasl::Mechanism;

/// Settings of the IMAP server, shared by all its sessions.
#[derive(Clone, Debug)]
pub struct Config {
    /// Named in the greeting and in ID.
    pub product: Box<str>,
    /// TLS from the first octet on (port 993).
    pub implicit_tls: bool,
    /// A certificate is there: STARTTLS is offered where TLS is not up.
    pub starttls: bool,
    /// Passwords are taken without TLS too; otherwise LOGINDISABLED.
    pub plaintext_login: bool,
    /// What AUTHENTICATE offers, in this order.
    pub mechanisms: Vec<Mechanism>,
    /// Octets of a message in APPEND, at most (RFC 7889).
    pub append_limit: u64,
    /// Octets of a command before login, at most.
    pub login_command_limit: usize,
    /// Octets of a command after login, with its literals, at most.
    pub command_limit: usize,
    /// A client must have logged in by then.
    pub login_timeout: Duration,
    /// A client that is silent for so long is sent away (RFC 3501 5.4: at least 30 minutes), but
    /// not from IDLE.
    pub idle_timeout: Duration,
    /// `* OK Still here` after each of these while in IDLE. None, and IDLE ends as all else, when it
    /// is longer than `idle_timeout`.
    pub idle_notice: Duration,
    /// [`Config::PROGRESS`] octets of a message in APPEND, or all the rest, must arrive within this
    /// time.
    pub body_timeout: Duration,
    /// Before the reply to a failed login.
    pub failure_delay: Duration,
    /// What the world may take for one call; one that is about many messages may take
    /// [`Config::MESSAGE_TIMEOUT`] more for each.
    pub call_timeout: Duration,
    /// The bad command before login that ends the session.
    pub bad_before_login: u32,
    /// The bad command after login, without a good one between, that ends the session.
    pub bad_after_login: u32,
}

impl Config {
    /// What a slow disk needs to rename, remove, link or search one message.
    pub const MESSAGE_TIMEOUT: Duration = Duration::from_millis(20);

    /// Octets of a message in APPEND that have to arrive within [`Config::body_timeout`]: a client
    /// that sends a byte now and then is not waited for.
    pub const PROGRESS: usize = 16 * 1024;

    /// What the world may take for one call about so many messages.
    pub(crate) fn timeout_of(&self, messages: usize) -> Duration {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.call_timeout.saturating_add(Self::MESSAGE_TIMEOUT.saturating_mul(messages))
    }
}

impl Default for Config {
    /// Dovecot's values where it has them; implicit TLS, PLAIN.
    fn default() -> Self {
        Self {
            product: "Waypost".into(),
            implicit_tls: true,
            starttls: false,
            plaintext_login: false,
            mechanisms: [Mechanism::Plain].into(),
            append_limit: 64 << 20,
            login_command_limit: 8192,
            command_limit: 64 << 10,
            login_timeout: Duration::from_secs(3 * 60),
            idle_timeout: Duration::from_secs(30 * 60),
            idle_notice: Duration::from_secs(2 * 60),
            body_timeout: Duration::from_secs(5 * 60),
            failure_delay: Duration::from_secs(2),
            call_timeout: Duration::from_secs(60),
            bad_before_login: 3,
            bad_after_login: 21,
        }
    }
}
