//! Every lookup of the reference transcripts gives the answer of `postmap -q`, by the same filter.

mod common;

use waypost_ldap::table::joined;

/// `$ postmap -q KEY ldap:..`, the answer, `[exit N]`, and the filter that slapd logged.
struct Case {
    key: String,
    answer: Option<String>,
    filter: Option<String>,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ postmap -q ") {
            let (key, _) = command.split_once(" ldap:").unwrap();
            let key = key.strip_prefix('\'').and_then(|k| k.strip_suffix('\'')).unwrap_or(key);
            cases.push(Case { key: key.into(), answer: None, filter: None });
        } else if let Some(filter) = line.strip_prefix("+ ") {
            cases.last_mut().unwrap().filter = Some(filter.into());
        } else if !line.starts_with(['#', '[']) && !line.starts_with("postmap: ") {
            cases.last_mut().unwrap().answer = Some(line.into());
        }
    }
    cases
}

fn check(map: &str, text: &str, count: usize) {
    let tree = common::directory();
    let table = common::map(map);
    let cases = cases(text);
    assert_eq!(cases.len(), count, "{map}: the transcript was read in full");
    for Case { key, answer, filter } in cases {
        let found = common::query(&table, &tree, &key).unwrap();
        assert_eq!(joined(&found), answer, "{map} {key:?}");
        // slapd logs the normal form of what it was asked.
        let asked = table.search(key.trim().to_lowercase().as_str()).map(|s| s.filter.to_string());
        assert_eq!(asked, filter, "{map} {key:?}");
        let exists = common::run(table.exists(&key), |search| tree.search(search)).0.unwrap();
        assert_eq!(!exists.is_empty(), answer.is_some(), "{map} {key:?}: exists");
    }
}

#[test]
fn virtual_alias_domains() {
    check("virtual_alias_domains", include_str!("data/virtual_alias_domains.txt"), 15);
}

#[test]
fn virtual_alias_maps() {
    check("virtual_alias_maps", include_str!("data/virtual_alias_maps.txt"), 23);
}

#[test]
fn virtual_mailbox_maps() {
    check("virtual_mailbox_maps", include_str!("data/virtual_mailbox_maps.txt"), 10);
}

#[test]
fn virtual_uid_maps() {
    check("virtual_uid_maps", include_str!("data/virtual_uid_maps.txt"), 5);
}

#[test]
fn smtpd_sender_login_maps() {
    check("smtpd_sender_login_maps", include_str!("data/smtpd_sender_login_maps.txt"), 11);
}

/// A second maildrop on an account: two entries answer, and the caller sees that they are two.
#[test]
fn two_maildrops_on_an_account() {
    let ldif = include_str!("data/data.ldif").replace(
        "maildrop: mail000@mail.example.com\nuserPassword",
        "maildrop: mail000@mail.example.com\nmaildrop: mail001@mail.example.com\nuserPassword",
    );
    let tree = common::tree(&ldif);
    let ask = |map, key| common::query(&common::map(map), &tree, key).unwrap();
    let mailbox = "mail001@mail.example.com";
    let paths = ["/home/mail/mail000/mailbox/", "/home/mail/mail001/mailbox/"];
    assert_eq!(ask("virtual_mailbox_maps", mailbox), paths);
    assert_eq!(ask("virtual_uid_maps", mailbox), ["20000", "20001"]);
    let owners = ["mail000", "mail001", "team", "catchall"];
    assert_eq!(ask("smtpd_sender_login_maps", mailbox), owners);
    let drops = ["mail000@mail.example.com", "mail001@mail.example.com"];
    assert_eq!(ask("virtual_alias_maps", "mail000@example.com"), drops);
}

#[test]
fn the_article_s_entries_load() {
    let tree = common::tree(include_str!("data/article.ldif"));
    let dn = waypost_ldap::Dn::parse("uid=mail000,ou=Mail,dc=example,dc=com").unwrap();
    let entry = tree.get(&dn).unwrap();
    assert_eq!(entry.text("uidNumber"), Some("20000"));
    assert_eq!(entry.text("homeDirectory"), Some("/home/mail/mail000"));
    assert_eq!(tree.passwords(&dn), [b"{SSHA}ncdXGXXD6zaG76dSCVKVAQLH4vPcHaTa"]);
    assert_eq!(entry.text("userPassword"), None);
}
