//! xtext (RFC 3461 4): `+3D` stands for `=`.

use alloc::string::String;
use alloc::vec::Vec;

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
    use super::decode_xtext;

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
}
