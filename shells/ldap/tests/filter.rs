//! Every filter that our trees can print is one that ldap3 can send.

use proptest::prelude::*;
use waypost_ldap::Filter;
use waypost_ldap::filter::Substrings;

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        "[()*\\\\\\x00 =a&|!]{0,8}".prop_map(String::into_bytes),
    ]
}

fn filled() -> impl Strategy<Value = Vec<u8>> {
    value().prop_filter("not empty", |value| !value.is_empty())
}

fn filters() -> impl Strategy<Value = Filter> {
    let name = || "[a-z][a-zA-Z0-9-]{0,8}";
    let substrings = (
        name(),
        prop::option::of(filled()),
        prop::collection::vec(filled(), 0..3),
        prop::option::of(filled()),
    )
        .prop_filter("one piece", |(_, initial, any, last)| {
            initial.is_some() || !any.is_empty() || last.is_some()
        })
        .prop_map(|(name, initial, any, last)| {
            Filter::Substrings(name, Substrings { initial, any, last })
        });
    let leaf = prop_oneof![
        (name(), value()).prop_map(|(name, value)| Filter::Equal(name, value)),
        (name(), filled()).prop_map(|(name, value)| Filter::GreaterOrEqual(name, value)),
        (name(), filled()).prop_map(|(name, value)| Filter::LessOrEqual(name, value)),
        name().prop_map(Filter::Present),
        substrings,
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 1..3).prop_map(Filter::Or),
            inner.prop_map(|part| Filter::Not(Box::new(part))),
        ]
    })
}

proptest! {
    #[test]
    fn is_understood(filter in filters()) {
        let text = filter.to_string();
        prop_assert!(ldap3::parse_filter(&text).is_ok(), "{}", text);
        prop_assert_eq!(Filter::parse(&text).unwrap(), filter);
    }
}
