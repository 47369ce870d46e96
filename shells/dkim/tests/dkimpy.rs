//! Signatures as another program sees them: dkimpy (Debian: python3-dkim, python3-nacl).

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use waypost_dkim::{Key, Keys, Kind, generate};
use waypost_mail::Domain;
use waypost_world::signer::Signer;

/// Keys of example.com, and their DNS records.
fn keys() -> (Keys, String) {
    let mut keys = Keys::default();
    let mut records = String::new();
    for (kind, selector) in [(Kind::Rsa, "r1"), (Kind::Ed25519, "e1")] {
        let key = Key::parse(generate(kind).unwrap().as_bytes()).unwrap();
        records += &format!("{selector}._domainkey.example.com\t{}\n", key.record());
        keys.add(&domain("Example.com"), selector, key);
    }
    (keys, records)
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

/// Signs; the rest comes in pieces of so many octets.
fn sign(keys: &Keys, header: &str, rest: &str, pieces: usize) -> String {
    let mut read = |each: &mut dyn FnMut(&[u8])| {
        rest.as_bytes().chunks(pieces).for_each(each);
        Ok(())
    };
    let fields = keys.sign(&domain("example.com"), header.as_bytes(), &mut read).unwrap();
    format!("{fields}{header}{rest}")
}

/// What dkimpy finds, a line for each message.
fn check(records: &str, messages: &[String]) -> Vec<String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(records.as_bytes()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dkimpy.py");
    let mut python = Command::new("python3")
        .arg(script)
        .arg(file.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    for message in messages {
        write!(stdin, "{}\n{message}", message.len()).unwrap();
    }
    drop(stdin);
    let out = python.wait_with_output().unwrap();
    let lines: Vec<_> = String::from_utf8(out.stdout).unwrap().lines().map(Into::into).collect();
    assert_eq!(lines.len(), messages.len());
    lines
}

const HEADER: &str = "Received: from x by y; now\r\nFrom: Me\r\n <me@example.com>\r\n\
    TO: a@b.test,\r\n\tc@d.test\r\nSubject:   two   blanks \r\nX: y\r\nList-Id: <l.example.com>\r\n\
    Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\n";
const BODY: &str = "Hello  \t you \r\n \r\n.\r\n\r\nbye\r\n\r\n\r\n";

#[test]
fn both_signatures_are_good() {
    let (keys, records) = keys();
    let good = sign(&keys, HEADER, BODY, 3);
    let from = format!("From: chief@bank.test\r\n{good}");
    let messages = [
        // On top of it may come what likes, and blanks in the header may change.
        good.clone(),
        format!("Delivered-To: x@y.test\r\nReceived: from z by a; b\r\n{good}"),
        good.replace("two   blanks ", "two blanks"),
        format!("{good}\r\n\r\n"),
        // The text may not, and no second From either.
        good.replace("bye", "pay"),
        good.replace("two", "2"),
        from,
    ];
    let expected = [["True True"; 4].as_slice(), &["False False"; 3]].concat();
    assert_eq!(check(&records, &messages), expected);
    let (first, second) = good.split_once("a=ed25519-sha256").unwrap();
    assert!(first.starts_with("DKIM-Signature: v=1; a=rsa-sha256; s=r1; d=example.com; "));
    assert!(second.starts_with("; s=e1; d=example.com; "), "{second}");
    let names = first.split_once("h=").unwrap().1.split_once("; bh=").map_or("", |it| it.0);
    let names = names.to_lowercase().replace(['\r', '\n', '\t', ' '], "");
    assert_eq!(names.matches("from").count(), 2, "{names}");
    assert!(names.contains("list-id") && !names.contains("received") && !names.contains("cc"));
    assert!(first.lines().all(|line| line.len() < 100), "{first}");
    assert!(!keys.signs(&domain("sub.example.com")) && keys.signs(&domain("EXAMPLE.COM")));
}

/// Whatever the text, and however it comes in pieces.
#[test]
fn any_text() {
    let (keys, records) = keys();
    let lines = prop::collection::vec("[ -~\tä☃]{0,12}( |\t| \t )?", 0..6);
    let strategy = (lines, any::<bool>(), 1usize..30);
    let mut runner = TestRunner::default();
    let mut messages: Vec<String> = Vec::new();
    for _ in 0..150 {
        let (lines, end, pieces) = strategy.new_tree(&mut runner).unwrap().current();
        let mut body = lines.join("\r\n");
        if end && !body.is_empty() {
            body += "\r\n";
        }
        messages.push(sign(&keys, HEADER, &body, pieces));
    }
    // A message that is all header.
    let header = HEADER.strip_suffix("\r\n").unwrap();
    messages.push(sign(&keys, header, "", 1) + "\r\n");
    for (found, message) in check(&records, &messages).iter().zip(&messages) {
        assert_eq!(found, "True True", "{message:?}");
    }
}
