//! The configuration, typed. What each setting does is told in [`crate::KEYS`].

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use toml::de::DeValue;
use waypost_mail::{Address, Domain, Network};
use waypost_route::Restriction;

use crate::outgoing::{self, DkimKey, Dns, Relay, Spool};
use crate::reader::{self, Reader};

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Config {
    pub hostname: Domain,
    pub listen: Listen,
    /// `tls.certificates`
    pub certificates: Vec<Certificate>,
    pub directory: Directory,
    pub maps: Maps,
    pub mail: Mail,
    /// `forward.srs_domain` or its default; `None` with `forward.srs = false`.
    pub srs_domain: Option<Domain>,
    /// `dkim.keys`
    pub dkim_keys: Vec<DkimKey>,
    pub smtp: Smtp,
    pub imap: Imap,
    pub auth: Auth,
    pub dns: Dns,
    pub relay: Relay,
    pub spool: Spool,
    pub control: Control,
    pub cache: Cache,
    pub limits: Limits,
    pub log: Log,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Listen {
    pub smtp: Vec<SocketAddr>,
    pub submission: Vec<SocketAddr>,
    pub submissions: Vec<SocketAddr>,
    pub imaps: Vec<SocketAddr>,
    pub imap: Vec<SocketAddr>,
}

/// A pair of PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate and its chain.
    pub chain: Box<str>,
    /// Its key.
    pub key: Box<str>,
}

/// `[directory]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// `ldif`: the embedded directory's file.
    pub ldif: Option<Box<str>>,
    /// `server_host` and what belongs to it.
    pub ldap: Option<Ldap>,
    /// `search_base`
    pub search_base: Box<str>,
    /// `scope`
    pub scope: Scope,
    /// `timeout`
    pub timeout: Duration,
    /// `user_filter`
    pub user_filter: Box<str>,
    /// `auth_bind_userdn`
    pub auth_bind_userdn: Option<Box<str>>,
}

/// How to reach LDAP servers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Ldap {
    pub server_host: Vec<Box<str>>,
    pub start_tls: bool,
    pub tls_ca_cert_file: Option<Box<str>>,
    pub bind_dn: Option<Box<str>>,
    pub bind_pw_file: Option<Box<str>>,
}

/// `directory.scope`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole subtree.
    Sub,
    /// One level.
    One,
    /// The base alone.
    Base,
}

impl Scope {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sub => "sub",
            Self::One => "one",
            Self::Base => "base",
        }
    }
}

/// `[maps]`: files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Maps {
    pub virtual_alias_domains: Option<Box<str>>,
    pub virtual_alias_maps: Option<Box<str>>,
    pub virtual_mailbox_maps: Option<Box<str>>,
    pub virtual_uid_maps: Option<Box<str>>,
    pub virtual_gid_maps: Option<Box<str>>,
    pub smtpd_sender_login_maps: Option<Box<str>>,
    pub dovecot_ldap: Option<Box<str>>,
}

impl Maps {
    /// Every file that is named, with its key.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("virtual_alias_domains", &self.virtual_alias_domains),
            ("virtual_alias_maps", &self.virtual_alias_maps),
            ("virtual_mailbox_maps", &self.virtual_mailbox_maps),
            ("virtual_uid_maps", &self.virtual_uid_maps),
            ("virtual_gid_maps", &self.virtual_gid_maps),
            ("smtpd_sender_login_maps", &self.smtpd_sender_login_maps),
            ("dovecot_ldap", &self.dovecot_ldap),
        ]
        .into_iter()
        .filter_map(|(key, file)| file.as_deref().map(|file| (key, file)))
    }
}

/// `[mail]`
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Mail {
    pub mailbox_domains: Vec<Domain>,
    pub virtual_mailbox_base: Box<str>,
    /// What stands behind `maildir:`.
    pub mail_location: Box<str>,
    pub allowed_bases: Vec<Box<str>>,
    pub minimum_uid: u32,
    pub message_size_limit: u64,
    pub postmaster: Option<Address>,
}

/// `[smtp]`
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Smtp {
    pub banner: Box<str>,
    pub mynetworks: Vec<Network>,
    pub recipient_delimiter: Box<str>,
    pub relay_restrictions: Vec<Restriction>,
    pub recipient_restrictions: Vec<Restriction>,
    pub reject_from_login_mismatch: bool,
    pub sasl_mechanisms: Vec<&'static str>,
    pub broken_sasl_auth_clients: bool,
    pub forbid_bare_newline: BareNewline,
    pub recipient_limit: usize,
    pub soft_error_limit: u32,
    pub hard_error_limit: u32,
    pub junk_command_limit: u32,
    pub timeout: Duration,
}

/// `smtp.forbid_bare_newline`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNewline {
    /// Make CRLF of it.
    Normalize,
    /// Refuse the message.
    Reject,
}

/// `[imap]`
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Imap {
    pub idle_timeout: Duration,
    pub login_timeout: Duration,
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Auth {
    pub login_by_address: bool,
    pub failure_delay: Duration,
    pub socket: Option<AuthSocket>,
}

/// `auth.socket` and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct AuthSocket {
    pub path: Box<str>,
    pub mode: u32,
    pub user: Option<Box<str>>,
    pub group: Option<Box<str>>,
}

/// `[control]`
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Control {
    pub socket: Option<Box<str>>,
}

/// `[cache]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Cache {
    pub positive: Duration,
    pub negative: Duration,
    pub entries: usize,
}

/// `[limits]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Limits {
    pub connections: usize,
    pub connections_per_address: usize,
    pub user_messages_per_hour: u32,
    pub user_recipients_per_hour: u32,
    pub client_messages_per_hour: u32,
    pub client_recipients_per_hour: u32,
    pub handshake_timeout: Duration,
    pub write_timeout: Duration,
    pub file_threads: usize,
    pub stop_timeout: Duration,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
    pub file: Option<Box<str>>,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// journald under systemd, else human.
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
    /// The journal's own socket.
    Journald,
    /// The lines of Postfix and Dovecot.
    Classic,
}

/// `log.level`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// A limit that is none.
const MANY: u32 = 100_000_000;

pub(crate) fn read(r: &mut Reader<'_>) -> Config {
    let hostname = hostname(r);
    let mail = mail(r, &hostname);
    Config {
        listen: Listen {
            smtp: r.parsed("listen.smtp"),
            submission: r.parsed("listen.submission"),
            submissions: r.parsed("listen.submissions"),
            imaps: r.parsed("listen.imaps"),
            imap: r.parsed("listen.imap"),
        },
        certificates: certificates(r),
        directory: directory(r),
        maps: Maps {
            virtual_alias_domains: r.optional("maps.virtual_alias_domains"),
            virtual_alias_maps: r.optional("maps.virtual_alias_maps"),
            virtual_mailbox_maps: r.optional("maps.virtual_mailbox_maps"),
            virtual_uid_maps: r.optional("maps.virtual_uid_maps"),
            virtual_gid_maps: r.optional("maps.virtual_gid_maps"),
            smtpd_sender_login_maps: r.optional("maps.smtpd_sender_login_maps"),
            dovecot_ldap: r.optional("maps.dovecot_ldap"),
        },
        srs_domain: outgoing::srs_domain(r, &hostname, &mail.mailbox_domains),
        dkim_keys: outgoing::dkim_keys(r),
        mail,
        smtp: smtp(r),
        imap: Imap {
            idle_timeout: r.duration("imap.idle_timeout"),
            login_timeout: r.duration("imap.login_timeout"),
        },
        auth: auth(r),
        relay: outgoing::relay(r),
        dns: outgoing::dns(r),
        spool: outgoing::spool(r, &hostname),
        control: Control { socket: r.optional("control.socket") },
        cache: Cache {
            positive: r.duration("cache.positive"),
            negative: r.duration("cache.negative"),
            entries: r.size("cache.entries", 0..=100_000_000),
        },
        limits: Limits {
            connections: r.size("limits.connections", 1..=1_000_000),
            connections_per_address: r.size("limits.connections_per_address", 1..=1_000_000),
            user_messages_per_hour: r.count("limits.user_messages_per_hour", 0..=MANY),
            user_recipients_per_hour: r.count("limits.user_recipients_per_hour", 0..=MANY),
            client_messages_per_hour: r.count("limits.client_messages_per_hour", 0..=MANY),
            client_recipients_per_hour: r.count("limits.client_recipients_per_hour", 0..=MANY),
            handshake_timeout: r.duration("limits.handshake_timeout"),
            write_timeout: r.duration("limits.write_timeout"),
            file_threads: r.size("limits.file_threads", 1..=1000),
            stop_timeout: r.duration("limits.stop_timeout"),
        },
        log: log(r),
        hostname,
    }
}

fn hostname(r: &mut Reader<'_>) -> Domain {
    let given = r.take("hostname", "a domain name", |value| {
        let text = value.as_str().ok_or_else(String::new)?;
        Domain::parse(text).map_err(|error| error.to_string())
    });
    given.unwrap_or_else(|| {
        if !r.has("hostname") {
            r.bad("hostname", "must be given: hostname = \"mail.example.com\"");
        }
        Domain::parse("localhost").expect("invariant: localhost is a domain name")
    })
}

fn certificates(r: &mut Reader<'_>) -> Vec<Certificate> {
    let pairs = r.take("tls.certificates", "a list of pairs of files", |value| {
        let DeValue::Array(pairs) = value else { return Err(String::new()) };
        pairs
            .iter()
            .map(|pair| {
                let files = reader::list(pair.get_ref(), |file| Ok(Box::from(file)))?;
                let [chain, key] = <[Box<str>; 2]>::try_from(files).map_err(|_| String::new())?;
                Ok(Certificate { chain, key })
            })
            .collect()
    });
    pairs.unwrap_or_default()
}

fn directory(r: &mut Reader<'_>) -> Directory {
    let ldif = r.optional("directory.ldif");
    let ldap = Ldap {
        server_host: r.texts("directory.server_host"),
        start_tls: r.flag("directory.start_tls"),
        tls_ca_cert_file: r.optional("directory.tls_ca_cert_file"),
        bind_dn: r.optional("directory.bind_dn"),
        bind_pw_file: r.optional("directory.bind_pw_file"),
    };
    let ldap = (!ldap.server_host.is_empty()).then_some(ldap);
    if ldif.is_some() && ldap.is_some() {
        r.bad("directory.server_host", "write either ldif or server_host, not both");
    }
    if let Some(ldap) = &ldap
        && ldap.bind_dn.is_some() != ldap.bind_pw_file.is_some()
    {
        r.bad("directory.server_host", "bind_dn and bind_pw_file go together");
    }
    let search_base = r.optional("directory.search_base");
    if search_base.is_none() && (ldif.is_some() || ldap.is_some()) {
        let key = if ldif.is_some() { "directory.ldif" } else { "directory.server_host" };
        r.bad(key, "needs search_base = \"ou=Mail,dc=example,dc=com\" or the like");
    }
    const SCOPES: &[(&str, Scope)] =
        &[("sub", Scope::Sub), ("one", Scope::One), ("base", Scope::Base)];
    Directory {
        ldif,
        ldap,
        search_base: search_base.unwrap_or_default(),
        scope: r.choice("directory.scope", SCOPES),
        timeout: r.duration("directory.timeout"),
        user_filter: r.text("directory.user_filter"),
        auth_bind_userdn: r.optional("directory.auth_bind_userdn"),
    }
}

fn mail(r: &mut Reader<'_>, hostname: &Domain) -> Mail {
    let domains = r.take("mail.mailbox_domains", "a list of domain names", |value| {
        reader::list(value, |text| Domain::parse(text).map_err(|error| error.to_string()))
    });
    let location = r.text("mail.mail_location");
    let mail_location = match location.strip_prefix("maildir:") {
        Some(path) if path.starts_with(['/', '~']) => path.into(),
        _ => {
            r.bad(
                "mail.mail_location",
                "write \"maildir:\" and a path, as in \"maildir:~/mailbox\"",
            );
            location
        }
    };
    Mail {
        mailbox_domains: domains.unwrap_or_else(|| vec![hostname.clone()]),
        virtual_mailbox_base: r.text("mail.virtual_mailbox_base"),
        mail_location,
        allowed_bases: r.texts("mail.allowed_bases"),
        minimum_uid: r.count("mail.minimum_uid", 1..=u32::MAX - 1),
        postmaster: r.take("mail.postmaster", "an address", |value| {
            let text = value.as_str().ok_or_else(String::new)?;
            Address::parse(text).map_err(|error| error.to_string())
        }),
        message_size_limit: r.number("mail.message_size_limit", 1000..=1_000_000_000_000),
    }
}

fn smtp(r: &mut Reader<'_>) -> Smtp {
    const BARE: &[(&str, BareNewline)] =
        &[("normalize", BareNewline::Normalize), ("reject", BareNewline::Reject)];
    const MECHANISMS: &[(&str, &str)] = &[("PLAIN", "PLAIN"), ("LOGIN", "LOGIN")];
    Smtp {
        banner: line(r, "smtp.banner"),
        mynetworks: r.parsed("smtp.mynetworks"),
        recipient_delimiter: r.text("smtp.recipient_delimiter"),
        relay_restrictions: r.choices("smtp.relay_restrictions", Restriction::NAMES),
        recipient_restrictions: r.choices("smtp.recipient_restrictions", Restriction::NAMES),
        reject_from_login_mismatch: r.flag("smtp.reject_from_login_mismatch"),
        sasl_mechanisms: r.choices("smtp.sasl_mechanisms", MECHANISMS),
        broken_sasl_auth_clients: r.flag("smtp.broken_sasl_auth_clients"),
        forbid_bare_newline: r.choice("smtp.forbid_bare_newline", BARE),
        recipient_limit: r.size("smtp.recipient_limit", 1..=1_000_000),
        soft_error_limit: r.count("smtp.soft_error_limit", 1..=1_000_000),
        hard_error_limit: r.count("smtp.hard_error_limit", 1..=1_000_000),
        junk_command_limit: r.count("smtp.junk_command_limit", 1..=1_000_000),
        timeout: r.duration("smtp.timeout"),
    }
}

fn auth(r: &mut Reader<'_>) -> Auth {
    let path = r.optional("auth.socket");
    let mode = r.text("auth.socket_mode");
    let (user, group) = (r.optional("auth.socket_user"), r.optional("auth.socket_group"));
    let mode =
        u32::from_str_radix(&mode, 8).ok().filter(|mode| *mode <= 0o777).unwrap_or_else(|| {
            r.bad("auth.socket_mode", "write a mode as chmod takes it, for example \"0660\"");
            0
        });
    Auth {
        login_by_address: r.flag("auth.login_by_address"),
        failure_delay: r.duration("auth.failure_delay"),
        socket: path.map(|path| AuthSocket { path, mode, user, group }),
    }
}

fn log(r: &mut Reader<'_>) -> Log {
    const FORMATS: &[(&str, LogFormat)] = &[
        ("auto", LogFormat::Auto),
        ("human", LogFormat::Human),
        ("json", LogFormat::Json),
        ("journald", LogFormat::Journald),
        ("classic", LogFormat::Classic),
    ];
    const LEVELS: &[(&str, LogLevel)] = &[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    Log {
        format: r.choice("log.format", FORMATS),
        level: r.choice("log.level", LEVELS),
        file: r.optional("log.file"),
    }
}

/// A text that goes into a reply: one line of printable ASCII.
fn line(r: &mut Reader<'_>, path: &'static str) -> Box<str> {
    let text = r.text(path);
    if text.chars().any(|c| !(' '..='~').contains(&c)) || text.len() > 400 {
        r.bad(path, "write one line of printable ASCII");
    }
    text
}
