//! What one message can make of a response: not much more than the message has.

use waypost_message::envelope::{Envelope, addresses};
use waypost_message::mime::scan;
use waypost_message::print;

const MEGABYTE: usize = 1 << 20;

fn envelope(header: &str) -> (Envelope, Vec<u8>) {
    let envelope = Envelope::parse(header.as_bytes());
    let mut out = Vec::new();
    print::envelope(&envelope, &mut out);
    (envelope, out)
}

#[test]
fn an_readof_commas_has_an_end() {
    let commas = format!("{}\r\n ", ",".repeat(900)).repeat(2000);
    let (read, out) = envelope(&format!("From: first@x.test{commas}\r\n\r\n"));
    assert_eq!(read.from.len(), 10_000);
    assert_eq!(read.from[0].mailbox.as_deref(), Some(&b"first"[..]));
    assert!(out.len() < 2 * MEGABYTE, "{}", out.len());
    // Fields of one name share the limit, those of a group too, and its end is told.
    let group = format!("To: all: {};\r\nTo: {}\r\n\r\n", "a@b,".repeat(9000), "a@b,".repeat(9000));
    let (read, _) = envelope(&group);
    assert!((10_000..10_003).contains(&read.to.len()), "{}", read.to.len());
    let cut = format!("To: all: {};\r\n\r\n", "a@b,".repeat(11_000));
    let (read, _) = envelope(&cut);
    assert_eq!(read.to.last().map(|end| (&end.mailbox, &end.domain)), Some((&None, &None)));
}

/// Who sends mail to addresses of a header, or checks them, gets all.
#[test]
fn a_list_of_its_own_is_read_to_its_end() {
    assert_eq!(addresses("a@b,".repeat(20_000).as_bytes()).len(), 20_000);
}

#[test]
fn messages_inside_have_envelopes_up_to_a_limit() {
    let inner = format!("From: {}\r\nSubject: inner\r\n\r\nbody\r\n", ",".repeat(9_000));
    let part = format!("--b\r\nContent-Type: message/rfc822\r\n\r\n{inner}");
    let message = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", part.repeat(100));
    let structure = scan(message.as_bytes());
    let mut out = Vec::new();
    print::body_structure(&structure, &mut out);
    assert!(out.len() < 6 * MEGABYTE, "{}", out.len());
    let text = String::from_utf8_lossy(&out);
    assert_eq!(text.matches("\"message\" \"rfc822\"").count(), 100);
    let told = text.matches("\"inner\"").count();
    assert!((2..50).contains(&told), "{told}");
}
