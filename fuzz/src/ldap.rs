use waypost_ldap::attrs::Accounts;
use waypost_ldap::table::Step;
use waypost_ldap::template::{DnTemplate, FilterTemplate, Language, Subject, Values};
use waypost_ldap::{Dn, Entry, Filter, Outcome, Table, dn, filter, ldif, url::Url};

/// A filter that parses is printed in a form that parses to the same; matching it never panics.
pub fn filters(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(filter) = Filter::parse(text) {
        assert_eq!(Filter::parse(&filter.to_string()).as_ref(), Ok(&filter));
        let mut entry = waypost_ldap::Entry::new("uid=a,dc=b").expect("a name");
        entry.push("uid", "a");
        entry.push("uidNumber", "1");
        let _ = filter.matches(&entry);
    }
}

/// The shape of a filter or a name is known before any value is: whatever the key, a template becomes
/// the same tree, with the same attributes, and what is printed of it reads back. The first line is the
/// template, the rest the key.
pub fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((template, key)) = text.split_once('\n') else { return };
    let harmless = Subject::address("user@mail.example.com");
    for language in [Language::Query, Language::User] {
        let subject = match language {
            Language::Query => Subject::address(key),
            _ => Subject::user(key),
        };
        if let Ok(template) = FilterTemplate::parse(template, language)
            && let Some(filled) = template.fill(&Values::of(subject))
        {
            let printed = filled.to_string();
            if printed.len() > filter::MAX_TEXT {
                continue;
            }
            let read = Filter::parse(&printed).expect("what is printed reads back");
            assert_eq!(read, filled, "{filled}");
            if let Some(other) = template.fill(&Values::of(harmless)) {
                assert_eq!(shape(&read), shape(&other), "{filled}");
            }
        }
        if let Ok(template) = DnTemplate::parse(template, language)
            && let Some(filled) = template.fill(&Values::of(subject))
        {
            let printed = filled.to_string();
            if printed.len() > dn::MAX_TEXT {
                continue;
            }
            let read = Dn::parse(&printed).expect("what is printed reads back");
            assert_eq!(read, filled, "{filled}");
            if let Some(other) = template.fill(&Values::of(harmless)) {
                let nothing = |dn: &Dn| dn.map(&mut |_| Some(()));
                assert_eq!(nothing(&read), nothing(&other), "{filled}");
            }
        }
    }
}

/// A filter without its values.
fn shape(filter: &Filter) -> Option<Filter<()>> {
    filter.map(&mut |_| Some(()))
}

/// A name that parses is printed in a form that parses to the same.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(dn) = Dn::parse(text) {
        // With its escapes it may be longer than what was read.
        let printed = dn.to_string();
        if printed.len() <= dn::MAX_TEXT {
            assert_eq!(Dn::parse(&printed).as_ref(), Ok(&dn));
        }
    }
    if let Ok(url) = Url::parse(text) {
        assert_eq!(Filter::parse(&url.filter.to_string()).as_ref(), Ok(&url.filter));
        assert_eq!(Dn::parse(&url.dn.to_string()).as_ref(), Ok(&url.dn));
    }
}

/// Entries that parse are written in a form that parses to the same.
pub fn entries(data: &[u8]) {
    if let Ok(entries) = ldif::parse(data) {
        assert_eq!(ldif::parse(ldif::write(&entries).as_bytes()).as_ref(), Ok(&entries));
    }
}

/// Settings of a table, a key, and what the directory holds, cut by NUL: a lookup ends, with values
/// or with an error, and no search is made that a filter of the settings would not make.
pub fn table(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (Ok(settings), Ok(key)) = (std::str::from_utf8(part()), std::str::from_utf8(part())) else {
        return;
    };
    let entries = ldif::parse(part()).unwrap_or_default();
    let table = match Table::parse("fuzz", settings) {
        Ok(table) => table,
        Err(problems) => return assert!(!problems.0.is_empty()),
    };
    for mut lookup in [table.lookup(key), table.exists(key)] {
        let mut searches = 0;
        loop {
            match lookup.step() {
                Step::Search(search) => {
                    searches += 1;
                    assert!(searches <= 2_000, "it searches for ever");
                    lookup.answer(outcome(&entries, searches, search.size_limit));
                }
                Step::Done(found) => break drop(found),
            }
        }
    }
}

/// All entries there are; sometimes there is more, or no base.
fn outcome(entries: &[Entry], searches: usize, limit: u32) -> Outcome {
    let limit = usize::try_from(limit).expect("fits");
    match entries {
        [] if searches % 2 == 0 => Outcome::NoSuchBase,
        [] => Outcome::all(Vec::new()),
        _ if (1..entries.len()).contains(&limit) => {
            Outcome::Entries { entries: entries[..limit].to_vec(), more: true }
        }
        _ => Outcome::all(entries.to_vec()),
    }
}

/// Settings of accounts, as Dovecot writes them, a user, and what the directory holds, cut by NUL: the
/// searches for any user have one shape, and every entry gives fields.
pub fn accounts(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (Ok(settings), Ok(user)) = (std::str::from_utf8(part()), std::str::from_utf8(part()))
    else {
        return;
    };
    let accounts = match Accounts::parse("fuzz", settings) {
        Ok(accounts) => accounts,
        Err(problems) => return assert!(!problems.0.is_empty()),
    };
    let _ = (accounts.bind_as(user), accounts.iterate());
    let searches = |user| [accounts.user_search(user), accounts.password_search(user)];
    for pair in searches(user).iter().zip(&searches("user@example.com")) {
        if let (Some(search), Some(other)) = pair {
            assert_eq!(shape(&search.filter), shape(&other.filter), "{}", search.filter);
        }
    }
    for entry in ldif::parse(part()).unwrap_or_default() {
        let fields = accounts.user_fields(user, &entry);
        assert!(fields.iter().all(|(name, _)| fields.get(name).is_some()));
        let _ = (accounts.password_fields(user, &entry), accounts.iterated_user(&entry));
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
