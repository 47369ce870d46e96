use waypost_ldap::attrs::Accounts;
use waypost_ldap::template::{FilterTemplate, Language, Subject, Values};
use waypost_ldap::{Dn, Filter, Table, ldif, url::Url};

/// A filter that parses is printed in a form that parses to the same; matching it never panics.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(filter) = Filter::parse(text) {
        assert_eq!(Filter::parse(&filter.to_string()).as_ref(), Ok(&filter));
        let mut entry = waypost_ldap::Entry::new("uid=a,dc=b").expect("a name");
        entry.push("uid", "a");
        entry.push("uidNumber", "1");
        let _ = filter.matches(&entry);
    }
    // The first line is a template, the rest a key: the key does not change the shape.
    let Some((template, key)) = text.split_once('\n') else { return };
    let Ok(template) = FilterTemplate::parse(template, Language::Query) else { return };
    let filled = |key: &str| template.fill(&Values::of(Subject::address(key)));
    if let Some(filter) = filled(key) {
        let read = Filter::parse(&filter.to_string()).expect("what is printed reads back");
        assert_eq!(read, filter);
    }
}

/// A name that parses is printed in a form that parses to the same.
pub fn dn(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(dn) = Dn::parse(text) {
        assert_eq!(Dn::parse(&dn.to_string()).as_ref(), Ok(&dn));
    }
    let _ = Url::parse(text);
}

/// Entries that parse are written in a form that parses to the same.
pub fn entries(data: &[u8]) {
    if let Ok(entries) = ldif::parse(data) {
        assert_eq!(ldif::parse(ldif::write(&entries).as_bytes()).as_ref(), Ok(&entries));
    }
}

/// Settings files: an answer for any text.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(table) = Table::parse("fuzz", text) {
        let _ = table.lookup("user@mail.example.com").step();
    }
    if let Ok(accounts) = Accounts::parse("fuzz", text) {
        let _ = (accounts.bind_as("user"), accounts.user_search("user"));
    }
}

/// What a server sends: however it is cut, the same comes out, and all of that is well-formed.
pub fn answers(bytes: &[u8]) {
    use waypost_ldap::guard::{Guard, frame, parse};
    let pass = |pieces: &[&[u8]]| {
        let mut guard = Guard::default();
        let mut out = Vec::new();
        let end = pieces.iter().try_for_each(|piece| guard.push(piece, &mut out));
        (end, out)
    };
    let (end, out) = pass(&[bytes]);
    let (a, b) = bytes.split_at(bytes.len() / 2);
    assert_eq!(pass(&[a, b]), (end, out.clone()));
    let mut rest = out.as_slice();
    while let Some(len) = frame(rest).expect("what comes out can be framed") {
        parse(&rest[..len]).expect("what comes out can be parsed");
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
}
