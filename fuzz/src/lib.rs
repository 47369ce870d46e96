//! Bodies of the fuzz targets: each takes any bytes, and panics when a promise is broken.
//!
//! They run four ways: under libFuzzer (`fuzz/smoke`, `fuzz/campaign`, `cargo fuzz`), over the corpus
//! and over seeded mutations of it as an ordinary test (`conformance/tests/fuzz.rs`), and by hand.

mod auth;
mod config;
mod dns;
mod imap;
mod imap_session;
mod ldap;
mod mail;
mod maildir;
mod message;
mod operations;
mod queue;
mod queue_operations;
mod route;
mod sasl;
mod session;
mod sim;
mod smtp;
mod smtp_session;
mod tls;
mod worlds;

/// A target: its name, which is also its folder in `corpus/`, the dictionary in `dict/` that helps it (or
/// none), and its body.
pub type Target = (&'static str, &'static str, fn(&[u8]));

/// All of them. The scripts read this table too: a line for each.
#[rustfmt::skip]
pub const TARGETS: &[Target] = &[
    ("auth-session", "auth", auth::session),
    ("auth-operations", "auth", auth::operations),
    ("config-file", "config", config::file),
    ("dns-answer", "dns", dns::answer),
    ("dns-exchangers", "", dns::exchangers),
    ("imap-command", "imap", imap::command),
    ("imap-mailbox", "imap", imap::mailbox),
    ("imap-set", "", imap::set),
    ("imap-session", "imap", imap_session::server),
    ("imap-operations", "imap", imap_session::server_operations),
    ("ldap-accounts", "ldap", ldap::accounts),
    ("ldap-answers", "", ldap::answers),
    ("ldap-dn", "ldap", ldap::names),
    ("ldap-filter", "ldap", ldap::filters),
    ("ldap-ldif", "ldap", ldap::entries),
    ("ldap-table", "ldap", ldap::table),
    ("ldap-template", "ldap", ldap::template),
    ("mail-address", "", mail::address),
    ("mail-srs", "", mail::srs),
    ("maildir-folder", "", maildir::folder),
    ("maildir-keywords", "", maildir::keywords),
    ("maildir-name", "maildir", maildir::file_name),
    ("maildir-sync", "maildir", maildir::sync),
    ("maildir-uidlist", "maildir", maildir::uidlist),
    ("message-content", "message", message::content),
    ("message-decode", "message", message::decode),
    ("message-header", "message", message::header),
    ("message-structure", "message", message::structure),
    ("message-submission", "message", message::submission),
    ("message-window", "message", message::window),
    ("queue-dsn", "queue", queue::dsn),
    ("queue-entry", "queue", queue::entry),
    ("queue-id", "", queue::id),
    ("queue-operations", "", queue_operations::queue),
    ("route-operations", "route", route::resolve),
    ("sasl-exchange", "", sasl::exchange),
    ("sim", "", sim::run),
    ("smtp-body", "smtp", smtp::body),
    ("smtp-client", "smtp-replies", smtp_session::client),
    ("smtp-client-operations", "smtp-replies", smtp_session::client_operations),
    ("smtp-command", "smtp", smtp::command),
    ("smtp-exchange", "", smtp_session::exchange),
    ("smtp-session", "smtp", smtp_session::server),
    ("smtp-operations", "smtp", smtp_session::server_operations),
    ("tls-dane", "", tls::dane),
    ("tls-policy", "tls", tls::policy),
    ("tls-sts", "tls", tls::sts),
];

/// Runs the target called `name`; false when there is none.
pub fn run(name: &str, data: &[u8]) -> bool {
    let target = TARGETS.iter().find(|(known, ..)| *known == name);
    target.map(|(.., body)| body(data)).is_some()
}
