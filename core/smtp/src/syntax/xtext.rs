//! xtext (RFC 3461 4): `+3D` stands for `=`.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// Encodes: everything but printable ASCII, and `+` and `=`, octet by octet.
pub fn encode_xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'+' && byte != b'=' => out.push(char::from(byte)),
            _ => write!(out, "+{byte:02X}").expect("invariant: writing to a String cannot fail"),
        }
    }
    out
}

/// Makes an address of type utf-8, which was passed on as it came ([`super::RcptParams::orcpt`]),
/// fit for a command again (RFC 6533 3). `utf8`: the command may hold UTF-8.
pub fn encode_utf8_xtext(text: &str, utf8: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '!'..='~' if c != '+' && c != '=' => out.push(c),
            c if utf8 && !c.is_ascii() && !c.is_control() && !c.is_whitespace() => out.push(c),
            c => {
                let code = u32::from(c);
                write!(out, "\\x{{{code:X}}}").expect("invariant: writing to a String cannot fail");
            }
        }
    }
    out
}

/// Decodes; `None` when a `+` is not followed by two upper case hexadecimal digits, or when the
/// result is no printable UTF-8. Characters that should have been encoded are taken as they are.
pub fn decode_xtext(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'+' {
            let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{decode_xtext, encode_utf8_xtext, encode_xtext};
    use proptest::prelude::*;

    #[test]
    fn examples() {
        for (text, expected) in [
            ("QQ314159", Some("QQ314159")),
            ("a+3Db", Some("a=b")),
            ("a=b", Some("a=b")),
            ("a+2Bb", Some("a+b")),
            ("a+2b", None),
            ("a+2", None),
            ("a+", None),
            ("a+0Ab", None),
            ("+FF", None),
            ("", Some("")),
        ] {
            assert_eq!(decode_xtext(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn utf8_addresses() {
        for (text, plain, utf8) in [
            ("x@y", "x@y", "x@y"),
            ("b\u{fc}x@y", "b\\x{FC}x@y", "b\u{fc}x@y"),
            ("a\\x{2B}b@y", "a\\x{2B}b@y", "a\\x{2B}b@y"),
            ("a+b c@y", "a\\x{2B}b\\x{20}c@y", "a\\x{2B}b\\x{20}c@y"),
            ("a\u{2028}b", "a\\x{2028}b", "a\\x{2028}b"),
        ] {
            assert_eq!(encode_utf8_xtext(text, false), plain);
            assert_eq!(encode_utf8_xtext(text, true), utf8);
        }
    }

    proptest! {
        #[test]
        fn encoded_and_decoded_again(text in "[^\\p{Cc}]{0,30}") {
            let encoded = encode_xtext(&text);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_graphic() && b != b'='));
            prop_assert_eq!(decode_xtext(&encoded), Some(text));
        }
    }
}
