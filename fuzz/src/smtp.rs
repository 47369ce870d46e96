//! What SMTP says, piece by piece.

use std::ops::Range;

use waypost_mail::{Body, Domain, Notify, Ret};
use waypost_smtp::body::{Bare, Piece, Scanner};
use waypost_smtp::syntax::{
    MailParams, Path, RcptParams, after_keyword, decode_xtext, encode_utf8_xtext, encode_xtext,
    mail_params, path, rcpt_params, split_verb,
};

/// A command line: paths and parameters that parse are written in a form that parses to the same.
pub fn command(data: &[u8]) {
    let Ok(line) = std::str::from_utf8(data) else { return };
    let (verb, rest) = split_verb(line);
    assert!(line.len() >= verb.len() + rest.len());
    let origin = Domain::parse("mail.example.com").expect("a domain");
    for keyword in ["FROM", "TO"] {
        let Some(text) = after_keyword(rest, keyword) else { continue };
        let Ok((found, parameters)) = path(text, &origin) else { continue };
        if let Path::Address(address) = &found {
            let text = format!("<{address}> X");
            assert_eq!(path(&text, &origin), Ok((found.clone(), "X")), "{text}");
        }
        for utf8 in [true, false] {
            if let Ok(found) = mail_params(parameters, utf8) {
                let again = mail(&found);
                assert_eq!(mail_params(&again, utf8).as_ref(), Ok(&found), "{again}");
            }
        }
        if let Ok(found) = rcpt_params(parameters) {
            let again = rcpt(&found);
            assert_eq!(rcpt_params(&again).as_ref(), Ok(&found), "{again}");
        }
    }
    let printable = !line.contains(char::is_control);
    assert_eq!(decode_xtext(&encode_xtext(line)).as_deref(), printable.then_some(line));
    assert!(encode_utf8_xtext(line, false).is_ascii());
    let _ = decode_xtext(line);
}

fn mail(params: &MailParams) -> String {
    let mut text = String::new();
    if let Some(size) = params.size {
        text += &format!(" SIZE={size}");
    }
    text += match params.body {
        Body::SevenBit => "",
        Body::EightBitMime => " BODY=8BITMIME",
    };
    text += if params.smtputf8 { " SMTPUTF8" } else { "" };
    text += match params.ret {
        None => "",
        Some(Ret::Full) => " RET=FULL",
        Some(Ret::Headers) => " RET=HDRS",
    };
    if let Some(envid) = &params.envid {
        text += &format!(" ENVID={}", encode_xtext(envid));
    }
    text
}

fn rcpt(params: &RcptParams) -> String {
    let mut text = String::new();
    if let Some(Notify { success, failure, delay }) = params.notify {
        let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let words: Vec<&str> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        let words = if words.is_empty() { "NEVER".to_owned() } else { words.join(",") };
        text += &format!(" NOTIFY={words}");
    }
    if let Some((kind, address)) = &params.orcpt {
        // The type utf-8 is passed on as it is.
        let utf8 = kind.eq_ignore_ascii_case("utf-8");
        let address = if utf8 { address.to_string() } else { encode_xtext(address) };
        text += &format!(" ORCPT={kind};{address}");
    }
    text
}

/// What one scanner made of a text.
#[derive(Debug, PartialEq, Eq)]
struct Scanned {
    body: Vec<u8>,
    used: usize,
    ended: bool,
    bare: Option<Bare>,
}

/// The octets between DATA and its end, or of chunks: however they are cut the same comes out, without
/// a line end that is none, and the end is the first CRLF.CRLF.
pub fn body(data: &[u8]) {
    let Some((cut, text)) = data.split_first() else { return };
    let width = 1 + usize::from(*cut) % 61;
    for scanner in [Scanner::data, Scanner::chunks] {
        let whole = scan(scanner(), text.len().max(1), text);
        assert_eq!(scan(scanner(), width, text), whole);
        let feeds = whole.body.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
        let pairs = whole.body.windows(2).filter(|pair| pair == b"\r\n").count();
        let last = usize::from(whole.body.ends_with(b"\r"));
        assert_eq!(feeds, pairs * 2 + last, "a line end that is none");
    }
    let whole = scan(Scanner::data(), text.len().max(1), text);
    let from_start = [b"\r\n", text].concat();
    let end = from_start.windows(5).position(|five| five == b"\r\n.\r\n");
    assert_eq!(whole.ended, end.is_some());
    let Some(end) = end else { return };
    assert_eq!(whole.used, end + 3);
    if whole.bare.is_none() {
        assert_eq!(whole.body, unstuffed(&from_start[2..end + 2]));
    }
}

fn scan(mut scanner: Scanner, width: usize, text: &[u8]) -> Scanned {
    let (mut body, mut used) = (Vec::new(), 0);
    for chunk in text.chunks(width) {
        let scanned = scanner.scan(chunk, |piece| body.extend_from_slice(octets(chunk, &piece)));
        used += scanned.used;
        if scanned.ended {
            return Scanned { body, used, ended: true, bare: scanner.bare() };
        }
    }
    scanner.finish(|piece| body.extend_from_slice(octets(b"", &piece)));
    Scanned { body, used, ended: false, bare: scanner.bare() }
}

fn octets<'a>(chunk: &'a [u8], piece: &Piece) -> &'a [u8] {
    match piece {
        Piece::Slice(Range { start, end }) => &chunk[*start..*end],
        Piece::Text(text) => text,
    }
}

/// Whole lines, without the dots before them.
fn unstuffed(lines: &[u8]) -> Vec<u8> {
    let lines = lines.split_inclusive(|byte| *byte == b'\n');
    lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect()
}
