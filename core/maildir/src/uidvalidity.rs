//! `dovecot-uidvalidity` and `dovecot-uidvalidity.xxxxxxxx`: the last UIDVALIDITY given to a folder of
//! this account, so that no two folders, and no folder made again under an old name, get the same one.
//!
//! The number stands twice: in the file, as eight hexadecimal digits, and in the name of an empty file.
//! The next number is taken by renaming that empty file, which only one process can win.

use alloc::format;
use alloc::string::String;

/// The file with the number in it.
pub const FILE: &str = "dovecot-uidvalidity";

/// The name of the empty file for `value`.
pub fn file_name(value: u32) -> String {
    format!("{FILE}.{value:08x}")
}

/// The text of [`FILE`] for `value`.
pub fn text(value: u32) -> String {
    format!("{value:08x}")
}

/// The number in the text of [`FILE`]; `None` when it is broken, then the directory has to be searched.
pub fn parse(text: &[u8]) -> Option<u32> {
    hex(text.get(..8)?)
}

/// The number in the name of an empty file.
pub fn parse_file_name(name: &[u8]) -> Option<u32> {
    hex(name.strip_prefix(FILE.as_bytes())?.strip_prefix(b".")?)
}

/// The number after `value`; never 0, which is no UIDVALIDITY (RFC 9051 2.3.1.1).
pub fn next(value: u32) -> u32 {
    value.wrapping_add(1).max(1)
}

fn hex(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let value = u32::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()?;
    (value != 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_and_name_hold_the_same_number() {
        assert_eq!(parse(b"6b029f62"), Some(1_795_333_986));
        assert_eq!(parse(b"6b029f62\n"), Some(1_795_333_986));
        assert_eq!(parse_file_name(b"dovecot-uidvalidity.6b029f62"), Some(1_795_333_986));
        assert_eq!(file_name(1_795_333_986), "dovecot-uidvalidity.6b029f62");
        assert_eq!(text(1), "00000001");
    }

    #[test]
    fn broken_ones_are_seen() {
        for bad in [&b""[..], b"6b029f6", b"00000000", b"6b029f6g", b"+b029f62"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        assert_eq!(parse_file_name(b"dovecot-uidvalidity"), None);
        assert_eq!(parse_file_name(b"dovecot-uidvalidity.fffffffff"), None);
    }

    #[test]
    fn zero_is_never_next() {
        assert_eq!(next(u32::MAX), 1);
        assert_eq!(next(7), 8);
    }
}
