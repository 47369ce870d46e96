//! Modified UTF-7 (RFC 9051 Appendix A, RFC 3501 5.1.3): printable ASCII stands for itself, `&` is `&-`,
//! anything else is UTF-16 in base64 between `&` and `-`, with `,` in place of `/` and no padding.

use alloc::string::String;
use alloc::vec::Vec;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Writes `text` in modified UTF-7.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut run: Vec<u16> = Vec::new();
    for c in text.chars() {
        if matches!(c, ' '..='~') {
            end_run(&mut run, &mut out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            run.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        }
    }
    end_run(&mut run, &mut out);
    out
}

fn end_run(run: &mut Vec<u16>, out: &mut String) {
    if run.is_empty() {
        return;
    }
    out.push('&');
    let (mut bits, mut held) = (0u32, 0);
    for byte in run.drain(..).flat_map(u16::to_be_bytes) {
        bits = bits << 8 | u32::from(byte);
        held += 8;
        while held >= 6 {
            held -= 6;
            out.push(char::from(ALPHABET[(bits >> held & 63) as usize]));
        }
    }
    if held > 0 {
        out.push(char::from(ALPHABET[(bits << (6 - held) & 63) as usize]));
    }
    out.push('-');
}

/// Reads modified UTF-7. Only the one right way to write a text is taken: two spellings of a name would
/// be two directories for one folder.
pub(crate) fn decode(encoded: &str) -> Option<String> {
    let mut out = String::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let (run, after) = rest[at + 1..].split_once('-')?;
        if run.is_empty() {
            out.push('&');
        } else {
            decode_run(run, &mut out)?;
        }
        rest = after;
    }
    out.push_str(rest);
    (encode(&out) == encoded).then_some(out)
}

fn decode_run(run: &str, out: &mut String) -> Option<()> {
    let (mut bits, mut held) = (0u32, 0);
    let mut units: Vec<u16> = Vec::with_capacity(run.len() * 3 / 8);
    for byte in run.bytes() {
        let value = ALPHABET.iter().position(|known| *known == byte)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        held += 6;
        if held >= 16 {
            held -= 16;
            units.push((bits >> held & 0xffff) as u16);
        }
    }
    for c in char::decode_utf16(units) {
        out.push(c.ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_names() {
        let names = [
            ("Entwürfe", "Entw&APw-rfe"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("&", "&-"),
            ("ää", "&AOQA5A-"),
            ("😀", "&2D3eAA-"),
            ("a&b", "a&-b"),
        ];
        for (text, encoded) in names {
            assert_eq!(encode(text), encoded);
            assert_eq!(decode(encoded).as_deref(), Some(text));
        }
    }

    #[test]
    fn wrong_spellings() {
        for bad in
            ["&", "&Jjo!", "&Jjo", "&AGE-", "&2D0-", "&AOQ-&AOQ-", "ä", "&AOQ=-", "&A-", "\t"]
        {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in "\\PC{0,40}|[ -~\u{1}-\u{ff}😀]{0,40}") {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|c| matches!(c, b' '..=b'~')));
            prop_assert_eq!(decode(&encoded), Some(text));
        }

        #[test]
        fn what_decodes_is_its_own_spelling(encoded in "[A-Za-z&,+-]{0,20}") {
            if let Some(text) = decode(&encoded) {
                prop_assert_eq!(encode(&text), encoded);
            }
        }
    }
}
