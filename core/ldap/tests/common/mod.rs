//! A directory in memory and a loop that runs lookups against it.
#![allow(dead_code, reason = "each test file uses its part")]

use waypost_ldap::table::{LookupError, Step};
use waypost_ldap::tree::Tree;
use waypost_ldap::{Outcome, Search, Table, ldif};

/// The directory of the reference lookups.
pub(crate) fn directory() -> Tree {
    tree(include_str!("../data/data.ldif"))
}

pub(crate) fn tree(text: &str) -> Tree {
    Tree::new(ldif::parse(text.as_bytes()).unwrap()).unwrap()
}

pub(crate) fn map(name: &str) -> Table {
    let text = match name {
        "smtpd_sender_login_maps" => include_str!("../data/postfix/smtpd_sender_login_maps"),
        "virtual_alias_domains" => include_str!("../data/postfix/virtual_alias_domains"),
        "virtual_alias_maps" => include_str!("../data/postfix/virtual_alias_maps"),
        "virtual_mailbox_maps" => include_str!("../data/postfix/virtual_mailbox_maps"),
        "virtual_uid_maps" => include_str!("../data/postfix/virtual_uid_maps"),
        other => panic!("no map {other}"),
    };
    Table::parse(name, text).unwrap()
}

/// A table with the settings that matter and an anonymous connection.
pub(crate) fn table(settings: &str) -> Table {
    let text = format!("search_base = dc=example,dc=com\nbind = no\n{settings}");
    Table::parse("table", &text).unwrap()
}

/// Runs a lookup; the searches made come second.
pub(crate) fn run(
    mut lookup: waypost_ldap::table::Lookup<'_>,
    mut answer: impl FnMut(&Search) -> Outcome,
) -> (Result<Vec<String>, LookupError>, Vec<Search>) {
    let mut searches = Vec::new();
    loop {
        match lookup.step() {
            Step::Done(result) => return (result, searches),
            Step::Search(search) => {
                lookup.answer(answer(&search));
                searches.push(search);
            }
        }
    }
}

pub(crate) fn query(table: &Table, tree: &Tree, key: &str) -> Result<Vec<String>, LookupError> {
    run(table.lookup(key), |search| tree.search(search)).0
}
