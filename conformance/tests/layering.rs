//! The arrows between crates, and what core may not name.  A new arrow is a line in a table here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crate folder; crates of this workspace it may import; crates from outside it may import.
type Row = (&'static str, &'static str, &'static str);

const ARROWS: &[Row] = &[
    ("core/machine", "", "bytes memchr"),
    ("core/laws", "machine", "bytes proptest"),
    ("core/mail", "machine", "hmac sha1 thiserror"),
    ("core/sasl", "machine", "base64 thiserror"),
    ("core/message", "", "base64 encoding_rs memchr thiserror"),
    ("core/ldap", "machine", "base64 thiserror"),
    ("core/maildir", "", "memchr thiserror"),
    ("core/smtp", "machine mail sasl", "bytes memchr nom thiserror"),
    ("core/imap", "machine mail message sasl", "base64 bytes memchr nom thiserror"),
    ("core/auth", "machine sasl", "thiserror"),
    ("core/route", "machine mail", "thiserror"),
    ("core/dns", "machine mail", "hickory-proto thiserror"),
    ("core/queue", "machine mail message", "crc32fast thiserror"),
    // Hashes of certificates are what TLSA records and fingerprints are made of.
    ("core/tls", "", "sha2 thiserror"),
    ("core/config", "mail route tls", "thiserror toml"),
    ("shells/memory", "", ""),
    ("shells/driver", "machine", "bytes rustls thiserror tracing"),
    ("shells/resolver", "dns machine", "rustix tracing"),
    (
        "shells/world",
        "auth imap ldap machine mail maildir message queue route sasl smtp",
        "arc-swap argon2 base64 bcrypt bytes crc32fast memchr nix pbkdf2 rustix sha-crypt sha1 sha2 \
         subtle thiserror tracing yescrypt",
    ),
    ("shells/dkim", "mail message world", "base64 mail-auth rustls-pki-types thiserror"),
    (
        "shells/ldap",
        "ldap machine world",
        "ldap3 rustls rustls-native-certs rustls-pki-types socket2 thiserror tokio \
         tokio-rustls tracing",
    ),
    ("shells/relay", "dns machine mail queue smtp tls-client world", "rustls"),
    (
        "shells/daemon",
        "auth config dns dkim driver imap ldap ldap3 machine mail memory message queue relay resolver route sasl \
         smtp tls-client world",
        "arc-swap base64 bytes clap listenfd nix rcgen rpassword rustix rustls rustls-pki-types \
         sd-notify serde serde_json signal-hook socket2 thiserror tracing tracing-journald \
         tracing-subscriber",
    ),
    // ureq is for MTA-STS policies alone, which come by HTTPS (RFC 8461).
    (
        "shells/tls",
        "dns driver machine mail smtp tls",
        "rustls rustls-native-certs rustls-pki-types rustls-webpki thiserror tracing ureq",
    ),
    ("shells/mio", "daemon driver machine", "bytes mio slab tracing"),
    ("shells/smol", "daemon driver machine", "smol"),
    ("shells/tokio", "daemon driver machine", "tokio"),
];

/// Crates of the core that need the standard library, with the reason.
const WITH_STD: &[(&str, &str)] = &[("core/laws", "property tests only")];

/// What no crate of the core may reach, however far away.
const NOT_IN_CORE: &[&str] = &["ldap3", "mio", "rustls", "smol", "tokio"];

/// Words of the outside world, and the files outside tests that may hold them.
const WORLD_ONLY: &[(&str, &[&str])] = &[
    // A lock file of another program gives no sign when it goes.
    ("thread::sleep", &["shells/world/src/clock.rs"]),
    (
        "Instant::now",
        &[
            "shells/daemon/src",
            "shells/tokio/src",
            "shells/world/src",
            "shells/ldap/src",
            "benches",
        ],
    ),
    ("SystemTime::now", &["shells/daemon/src", "shells/world/src/clock.rs", "benches"]),
];

const FILE_LINES: usize = 800;
const FILE_LINES_GOAL: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("below the workspace").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Files below `folder` with this ending, relative to the workspace.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let (root, mut found) = (root(), Vec::new());
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_none_or(|n| n != "target") {
                folders.push(path);
            } else if path.to_str().is_some_and(|p| p.ends_with(ending)) {
                found.push(path.strip_prefix(&root).expect("below the root").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn crates(of: &str) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(root().join(of))
        .expect("a folder of crates")
        .flatten()
        .filter(|e| e.path().join("Cargo.toml").exists())
        .map(|e| format!("{of}/{}", e.file_name().to_string_lossy()))
        .collect();
    found.sort();
    found
}

/// Names in a `[dependencies]` table.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let table = manifest.lines().skip_while(|l| *l != "[dependencies]").skip(1);
    table
        .take_while(|l| !l.starts_with('['))
        .filter_map(|l| l.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn manifests_keep_to_the_table() {
    let table: BTreeMap<_, _> =
        ARROWS.iter().map(|(at, ours, theirs)| (*at, (ours, theirs))).collect();
    let mut problems = Vec::new();
    for at in crates("core").into_iter().chain(crates("shells")) {
        let Some((ours, theirs)) = table.get(at.as_str()) else {
            problems.push(format!("{at} has no row"));
            continue;
        };
        let allowed: BTreeSet<String> = ours
            .split_whitespace()
            .map(|name| format!("waypost-{name}"))
            .chain(theirs.split_whitespace().map(str::to_owned))
            .collect();
        let used = dependencies(&read(&root().join(&at).join("Cargo.toml")));
        for name in used.difference(&allowed) {
            problems.push(format!("{at} imports {name}: not in the table"));
        }
        for name in allowed.difference(&used) {
            problems.push(format!("{at} does not import {name}: the table says so"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn core_names_no_outside_world() {
    for at in crates("core") {
        if WITH_STD.iter().any(|(name, _)| *name == at) {
            continue;
        }
        let lib = read(&root().join(&at).join("src/lib.rs"));
        let head: Vec<&str> = lib.lines().take(3).collect();
        let wanted = ["#![no_std]", "#![forbid(unsafe_code)]", "#![deny(missing_docs)]"];
        assert_eq!(head, wanted, "{at}/src/lib.rs");
        for file in files(&format!("{at}/src"), ".rs") {
            let text = read(&root().join(&file));
            let mut before = "";
            for line in text.lines() {
                let named = line.trim_start().starts_with("extern crate std");
                let tested = before.contains("cfg(test)");
                assert!(!named || tested, "{}: extern crate std outside tests", file.display());
                before = line;
            }
        }
    }
}

#[test]
fn core_reaches_no_runtime() {
    for at in crates("core") {
        let name = at.replace("core/", "waypost-");
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--offline",
                "--locked",
                "-p",
                &name,
                "-e",
                "normal",
                "--prefix",
                "none",
            ])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in tree.lines() {
            let reached = line.split(' ').next().unwrap_or_default();
            assert!(!NOT_IN_CORE.contains(&reached), "{name} reaches {reached}");
        }
    }
}

/// The part of a source file before its unit tests.
fn shipped(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

#[test]
fn clocks_and_sleep_stay_in_their_files() {
    let mut problems = Vec::new();
    for file in files("core", ".rs").into_iter().chain(files("shells", ".rs")) {
        let at = file.display().to_string();
        if at.contains("/tests/") {
            continue;
        }
        let text = read(&root().join(&file));
        for (word, allowed) in WORLD_ONLY {
            let here = allowed.iter().any(|a| at.starts_with(a));
            let used = |l: &&str| l.contains(word) && !l.trim_start().starts_with("//");
            if !here && let Some(line) = shipped(&text).lines().find(used) {
                problems.push(format!("{at}: {}", line.trim()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn no_test_sleeps_or_is_switched_off() {
    let words = ["thread::sleep", "time::sleep(", "#[ignore"];
    let mut problems = Vec::new();
    for folder in ["core", "shells", "conformance"] {
        for file in files(folder, ".rs") {
            let at = file.display().to_string();
            if at == "conformance/tests/layering.rs" {
                continue;
            }
            let text = read(&root().join(&file));
            let tests = if at.contains("/tests/") || at.starts_with("conformance") {
                text.as_str()
            } else {
                &text[shipped(&text).len()..]
            };
            for line in tests.lines().filter(|l| words.iter().any(|w| l.contains(w))) {
                problems.push(format!("{at}: {}", line.trim()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn files_stay_readable() {
    let mut too_long = Vec::new();
    for folder in ["core", "shells", "conformance", "benches", "fuzz"] {
        for file in files(folder, ".rs") {
            let lines = read(&root().join(&file)).lines().count();
            if lines > FILE_LINES {
                too_long.push(format!("{} has {lines} lines", file.display()));
            } else if lines > FILE_LINES_GOAL {
                println!("{} has {lines} lines, {FILE_LINES_GOAL} is the goal", file.display());
            }
        }
    }
    assert!(too_long.is_empty(), "{}", too_long.join("\n"));
}

/// Documents and doc comments point at files by path, as the story of a recipient in
/// core/smtp/src/lib.rs does: the files must be there.
#[test]
fn named_files_exist() {
    let mut missing = Vec::new();
    let documents =
        ["core", "shells", "conformance", "benches"].iter().flat_map(|f| files(f, ".rs"));
    let pages =
        [".md"].iter().flat_map(|e| ["conformance", "benches", "fuzz"].map(|f| files(f, e)));
    let readme = [PathBuf::from("README.md")].into_iter().filter(|p| root().join(p).exists());
    for file in documents.chain(pages.flatten()).chain(readme) {
        let text = read(&root().join(&file));
        let comments = text.lines().filter(|l| {
            file.extension().is_some_and(|e| e == "md") || l.trim_start().starts_with("//")
        });
        for word in comments.flat_map(|l| l.split(|c: char| !in_path(c))) {
            let top = word.split('/').next().unwrap_or_default();
            let ours = matches!(top, "core" | "shells" | "conformance" | "benches" | "fuzz");
            let named = word.trim_end_matches('.');
            if ours && named.ends_with(".rs") && !root().join(named).exists() {
                missing.push(format!("{} names {named}", file.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

fn in_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-')
}
