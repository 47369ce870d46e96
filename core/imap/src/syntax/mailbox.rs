//! Mailbox names: modified UTF-7 (RFC 3501 5.1.3) on the wire, UTF-8 within.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::combinator::map_opt;
use nom::multi::fold_many0;
use nom::sequence::delimited;

use super::{Parsed, whole};
use crate::server::SEPARATOR;

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// base64 with `,` for `/`, without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Reads a name; `None` when it is not modified UTF-7, or not as a program would write it.
pub fn decode(wire: &[u8]) -> Option<String> {
    if wire.iter().all(|c| is_direct(*c)) {
        return String::from_utf8(wire.to_vec()).ok();
    }
    whole(pieces(wire)).ok().filter(|name| encode(name).as_bytes() == wire)
}

fn is_direct(c: u8) -> bool {
    matches!(c, b' '..=b'~') && c != b'&'
}

fn pieces(input: &[u8]) -> Parsed<'_, String> {
    let direct = map_opt(take_while1(is_direct), |text: &[u8]| {
        core::str::from_utf8(text).ok().map(Cow::Borrowed)
    });
    let shifted = map_opt(
        delimited(tag("&"), take_while(|c| c != b'-'), tag("-")),
        |coded: &[u8]| match coded {
            b"" => Some(Cow::Borrowed("&")),
            _ => utf16(coded).map(Cow::Owned),
        },
    );
    let piece = alt((direct, shifted));
    fold_many0(piece, String::new, |mut name, piece: Cow<'_, str>| {
        name.push_str(&piece);
        name
    })
    .parse(input)
}

fn utf16(coded: &[u8]) -> Option<String> {
    let octets = BASE64.decode(coded).ok()?;
    if octets.len() % 2 != 0 {
        return None;
    }
    let units: Vec<u16> =
        octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).ok()
}

/// Writes a name in modified UTF-7.
pub fn encode(name: &str) -> Cow<'_, str> {
    if name.bytes().all(is_direct) {
        return Cow::Borrowed(name);
    }
    let mut wire = String::with_capacity(name.len() * 2);
    let mut shifted: Vec<u8> = Vec::new();
    for c in name.chars() {
        if u8::try_from(c).is_ok_and(|c| is_direct(c) || c == b'&') {
            shift(&mut shifted, &mut wire);
            wire.push(c);
            if c == '&' {
                wire.push('-');
            }
        } else {
            let mut units = [0; 2];
            shifted.extend(c.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    shift(&mut shifted, &mut wire);
    Cow::Owned(wire)
}

fn shift(octets: &mut Vec<u8>, wire: &mut String) {
    if !octets.is_empty() {
        wire.push('&');
        BASE64.encode_string(&*octets, wire);
        wire.push('-');
        octets.clear();
    }
}

/// Reads a mailbox argument: decoded, `INBOX` in capitals however it was written.
pub fn mailbox(wire: &[u8]) -> Option<String> {
    let mut name = decode(wire)?;
    let first = name.find(SEPARATOR).unwrap_or(name.len());
    if name[..first].eq_ignore_ascii_case("INBOX") {
        name.replace_range(..first, "INBOX");
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn by_example() {
        for (name, wire) in [
            ("INBOX", "INBOX"),
            ("Entw\u{fc}rfe", "Entw&APw-rfe"),
            ("&", "&-"),
            ("a & b", "a &- b"),
            // RFC 3501 5.1.3
            (
                "~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}",
                "~peter/mail/&U,BTFw-/&ZeVnLIqe-",
            ),
            ("\u{1f4e7}", "&2D3c5w-"),
            ("\t", "&AAk-"),
        ] {
            assert_eq!(encode(name), wire);
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name));
        }
        for wrong in ["&", "&Jjo", "&Jjo!", "\u{e4}", "&AGE-", "&AP-", "&2D0-", "&APw-&APw-", "&=-"]
        {
            assert_eq!(decode(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(mailbox(b"inbox").as_deref(), Some("INBOX"));
        assert_eq!(mailbox(b"Inbox.sub").as_deref(), Some("INBOX.sub"));
        assert_eq!(mailbox(b"inboxes").as_deref(), Some("inboxes"));
    }

    proptest! {
        #[test]
        fn names_come_back(name in "\\PC{0,20}") {
            let wire = encode(&name).into_owned();
            prop_assert_eq!(decode(wire.as_bytes()), Some(name));
        }

        #[test]
        fn any_text_is_safe(wire in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(name) = decode(&wire) {
                let again = encode(&name).into_owned();
                prop_assert_eq!(again.as_bytes(), &wire[..]);
            }
        }
    }
}
