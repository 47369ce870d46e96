//! Laws: what is printed reads back, and no value changes the shape of what is asked.

use proptest::prelude::*;
use waypost_ldap::filter::{Extensible, Filter, Substrings};
use waypost_ldap::template::{DnTemplate, FilterTemplate, Language, Subject, Values};
use waypost_ldap::tree::Tree;
use waypost_ldap::{Dn, Entry, Outcome, Scope, Search, dn, filter, ldif};

fn attribute() -> impl Strategy<Value = String> {
    "[a-z][a-zA-Z0-9-]{0,8}(;[a-z]{1,3})?"
}

/// Bytes, with those that mean something in filters and names more often than others.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..12),
        "[ab*()\\\\,+=;\"<># \0é%]{0,8}".prop_map(String::into_bytes),
    ]
}

fn some_value() -> impl Strategy<Value = Vec<u8>> {
    value().prop_filter("not empty", |v| !v.is_empty())
}

fn substrings() -> impl Strategy<Value = Substrings<Vec<u8>>> {
    let any = proptest::collection::vec(some_value(), 0..3);
    (proptest::option::of(some_value()), any, proptest::option::of(some_value()))
        .prop_filter("some piece", |(i, a, l)| i.is_some() || !a.is_empty() || l.is_some())
        .prop_map(|(initial, any, last)| Substrings { initial, any, last })
}

fn extensible() -> impl Strategy<Value = Filter> {
    let attr = "[a-ce-z]{1,4}";
    let rule = "[a-ce-z]{1,4}|2\\.5\\.13\\.2";
    (proptest::option::of(attr), any::<bool>(), proptest::option::of(rule), value())
        .prop_filter("one of them", |(attr, _, rule, _)| attr.is_some() || rule.is_some())
        .prop_map(|(attr, dn, rule, value)| {
            Filter::Extensible(Extensible { attr, dn, rule, value })
        })
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let leaf = prop_oneof![
        (attribute(), value()).prop_map(|(a, v)| Filter::Equal(a, v)),
        (attribute(), value()).prop_map(|(a, v)| Filter::GreaterOrEqual(a, v)),
        (attribute(), value()).prop_map(|(a, v)| Filter::LessOrEqual(a, v)),
        (attribute(), value()).prop_map(|(a, v)| Filter::Approx(a, v)),
        attribute().prop_map(Filter::Present),
        (attribute(), substrings()).prop_map(|(a, s)| Filter::Substrings(a, s)),
        extensible(),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|f| Filter::Not(Box::new(f))),
        ]
    })
}

fn any_dn() -> impl Strategy<Value = Dn> {
    // Names of entries have no attribute options.
    let pair = ("[a-z][a-zA-Z0-9-]{0,8}", value());
    let rdn = proptest::collection::vec(pair, 1..3).prop_map(|parts| dn::Rdn { parts });
    proptest::collection::vec(rdn, 0..4).prop_map(|rdns| Dn { rdns })
}

/// The tree without its values.
fn shape<V>(filter: &Filter<V>) -> Filter<()> {
    filter.map(&mut |_| Some(())).unwrap()
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

proptest! {
    #[test]
    fn a_printed_filter_reads_back(filter in any_filter()) {
        prop_assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter);
    }

    #[test]
    fn any_text_is_a_filter_or_an_error(text in "[(&|!)a=*\\\\0-9<>~:. %é]{0,40}") {
        if let Ok(filter) = Filter::parse(&text) {
            prop_assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter);
        }
    }

    #[test]
    fn escape_is_undone(value in value()) {
        let escaped = filter::escape(&value);
        prop_assert!(!escaped.contains(['*', '(', ')', '\0']));
        prop_assert_eq!(filter::unescape(escaped.as_bytes()).unwrap(), value.clone());
        prop_assert_eq!(dn::value(&dn::escape(&value)).unwrap(), value);
    }

    #[test]
    fn a_printed_name_reads_back(dn in any_dn()) {
        let read = Dn::parse(&dn.to_string()).unwrap();
        prop_assert_eq!(read.normal(), dn.normal());
        prop_assert_eq!(read, dn);
    }

    #[test]
    fn any_text_is_a_name_or_an_error(text in "[a=,+;\"\\\\# 0-9<é]{0,30}") {
        if let Ok(dn) = Dn::parse(&text) {
            prop_assert_eq!(Dn::parse(&dn.to_string()).unwrap(), dn);
        }
    }

    #[test]
    fn written_ldif_reads_back(
        dn in any_dn(),
        pairs in proptest::collection::vec((attribute(), value()), 1..6),
    ) {
        let mut entry = Entry { dn, attributes: Vec::new() };
        for (name, value) in pairs {
            let word = name.to_ascii_lowercase();
            prop_assume!(!["dn", "version", "control", "changetype"].contains(&&*word));
            entry.push(&name, value);
        }
        let text = ldif::write(std::slice::from_ref(&entry));
        prop_assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 76));
        prop_assert_eq!(ldif::parse(text.as_bytes()).unwrap(), vec![entry]);
    }

    #[test]
    fn any_bytes_are_ldif_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(entries) = ldif::parse(&bytes) {
            prop_assert_eq!(ldif::parse(ldif::write(&entries).as_bytes()).unwrap(), entries);
        }
    }

    /// The law this crate is about: whatever is looked up, the filter sent has the template's shape.
    #[test]
    fn no_value_changes_the_shape(key in value()) {
        let key = text_of(&key);
        let templates = [
            "mailacceptinggeneralid=*@%s",
            "(|(mailacceptinggeneralid=%s)(maildrop=%u))",
            "(&(!(a=x%sy*%u*z))(b>=%d)(c:dn:=%s)(d=%u*))",
        ];
        for template in templates {
            let plain = template.replace("%s", "x").replace("%u", "x").replace("%d", "x");
            let plain = shape(&Filter::parse(&plain).unwrap());
            let template = FilterTemplate::parse(template, Language::Query).unwrap();
            let values = Values::of(Subject::address(&key));
            if let Some(filter) = template.fill(&values) {
                let read = Filter::parse(&filter.to_string()).unwrap();
                prop_assert_eq!(shape(&read), plain);
                prop_assert_eq!(read, filter);
            }
        }
    }

    #[test]
    fn no_value_changes_the_name(user in value()) {
        let user = text_of(&user);
        let template = DnTemplate::parse("uid=%u,ou=%d+cn=%n,dc=example", Language::User).unwrap();
        if let Some(dn) = template.fill(&Values::of(Subject::user(&user))) {
            let read = Dn::parse(&dn.to_string()).unwrap();
            prop_assert_eq!(read.rdns.len(), 3);
            prop_assert_eq!(&read.rdns[0].parts[0].1, user.as_bytes());
            prop_assert_eq!(read, dn);
        }
    }

    /// The index of the tree finds what a look at every entry finds.
    #[test]
    fn the_index_loses_nothing(
        values in proptest::collection::vec(("[abAB@. ]{0,6}", "[0-9]{1,3}"), 1..12),
        equal in "[abAB@. ]{0,4}", parts in ("[ab ]{0,2}", "[@ ]{0,2}", "[ab. ]{0,2}"), number in "0?[0-9]{1,2}",
    ) {
        let entries: Vec<Entry> = values.iter().enumerate().map(|(n, (mail, number))| {
            let mut entry = Entry::new(&format!("cn=e{n},dc=x")).unwrap();
            entry.push("mail", mail.as_str());
            entry.push("uidNumber", number.as_str());
            entry
        }).collect();
        let tree = Tree::new(entries.clone()).unwrap();
        let piece = |s: &String| (!s.is_empty()).then(|| s.clone().into_bytes());
        let substrings = Substrings { initial: piece(&parts.0), any: piece(&parts.1).into_iter().collect(), last: piece(&parts.2) };
        let mail = Filter::Equal("mail".into(), equal.into_bytes());
        let number = Filter::Equal("uidnumber".into(), number.into_bytes());
        let some = Filter::Substrings("MAIL".into(), substrings);
        let filters = [
            mail.clone(), number.clone(), some.clone(),
            Filter::Or(vec![mail.clone(), number.clone()]),
            Filter::And(vec![some.clone(), number.clone()]),
            Filter::And(vec![Filter::Not(Box::new(mail)), some]),
        ];
        for filter in filters {
            let search = Search {
                base: Dn::parse("dc=x").unwrap(), scope: Scope::Sub, filter: filter.clone(),
                attributes: vec![], size_limit: 0, deref: Default::default(),
            };
            let expected: Vec<Entry> = entries.iter().filter(|e| filter.matches(e)).cloned().collect();
            prop_assert_eq!(tree.search(&search), Outcome::all(expected), "{}", filter);
        }
    }
}
