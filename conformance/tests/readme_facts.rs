//! What README.md says and nobody runs: its configuration is one, the places it names are there.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("README.md can be read")
}

#[test]
fn its_configuration_is_one() {
    let text = readme();
    let blocks = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next());
    let blocks: Vec<&str> = blocks.map(Option::unwrap_or_default).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        // A part of one stands below the rest.
        let whole = match block.starts_with('[') {
            true => format!("hostname = \"mail.example.com\"\n{block}"),
            false => block.to_owned(),
        };
        let parsed = waypost_config::parse(&whole);
        assert!(parsed.is_ok(), "{:?}", parsed.err());
    }
}

#[test]
fn the_places_it_names_are_there() {
    let text = readme();
    let tops = ["core", "shells", "conformance", "fuzz", "benches"];
    let quoted = text.split('`').skip(1).step_by(2);
    let is_place = |q: &&str| {
        q.split_once('/').is_some_and(|(top, _)| tops.contains(&top)) && !q.contains([' ', '\n'])
    };
    let places: Vec<&str> = quoted.filter(is_place).collect();
    assert!(places.len() > 15, "{places:?}");
    for place in places {
        assert!(root().join(place).exists(), "{place}");
    }
}
