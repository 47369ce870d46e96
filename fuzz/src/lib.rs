//! Bodies of the fuzz targets: each takes any bytes, and panics when a promise is broken.
//!
//! They run three ways: under libFuzzer (`fuzz/smoke`), over the corpus and over seeded
//! mutations of it as an ordinary test (`conformance/tests/fuzz.rs`), and by hand.

mod auth;
mod config;
mod dns;
mod imap;
mod ldap;
mod mail;
mod maildir;
mod message;
mod queue;
mod sasl;
mod session;
mod smtp;
mod tls;

/// A target: its name, which is also its folder in `corpus/`, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("auth-session", auth::session),
    ("config-file", config::file),
    ("dns-answer", dns::answer),
    ("imap-session", imap::session),
    ("ldap-answers", ldap::answers),
    ("ldap-filter", ldap::filter),
    ("ldap-dn", ldap::dn),
    ("ldap-ldif", ldap::entries),
    ("ldap-settings", ldap::settings),
    ("mail-address", mail::address),
    ("maildir-name", maildir::file_name),
    ("maildir-folder", maildir::folder),
    ("maildir-uidlist", maildir::uidlist),
    ("maildir-keywords", maildir::keywords),
    ("maildir-sync", maildir::sync),
    ("message-structure", message::structure),
    ("message-window", message::window),
    ("message-header", message::header),
    ("message-decode", message::decode),
    ("queue-entry", queue::entry),
    ("sasl-exchange", sasl::exchange),
    ("smtp-client", smtp::client),
    ("smtp-session", smtp::session),
    ("tls-policy", tls::policy),
    ("tls-sts", tls::sts),
];

/// The body called `name`.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, body)| *body)
}
