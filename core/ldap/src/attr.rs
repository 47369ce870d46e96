//! Attribute descriptions (RFC 4512 2.5) and the equality rules of their values.
//!
//! Names are compared without regard to case. We read no schema: a short table tells how the values
//! of the attributes that matter to mail compare; every other attribute is a directory string
//! (`caseIgnoreMatch`), as `mailacceptinggeneralid`, `maildrop`, `uid`, `mail` and `cn` are.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// How the values of an attribute compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `caseIgnoreMatch`: case folded, outer spaces dropped, inner runs of spaces taken as one.
    CaseIgnore,
    /// `caseExactMatch`: as above, but the case counts.
    CaseExact,
    /// `integerMatch`: by value.
    Integer,
    /// `octetStringMatch`: byte for byte.
    Octets,
    /// `distinguishedNameMatch`: as names of entries, see [`crate::Dn`].
    Name,
}

/// Attributes that are not `caseIgnoreMatch` (RFC 2307, RFC 4519, RFC 4524).
const RULES: &[(&str, Rule)] = &[
    ("uidNumber", Rule::Integer),
    ("gidNumber", Rule::Integer),
    ("shadowExpire", Rule::Integer),
    ("homeDirectory", Rule::CaseExact),
    ("loginShell", Rule::CaseExact),
    ("memberUid", Rule::CaseExact),
    ("userPassword", Rule::Octets),
    ("jpegPhoto", Rule::Octets),
    ("userCertificate", Rule::Octets),
    ("member", Rule::Name),
    ("uniqueMember", Rule::Name),
    ("memberOf", Rule::Name),
    ("manager", Rule::Name),
    ("owner", Rule::Name),
    ("seeAlso", Rule::Name),
];

/// Says whether two attribute descriptions are the same (RFC 4512 2.5: case is ignored).
pub fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Says whether `found` is `wanted`, or `wanted` with options: `mail` covers `mail;lang-de`.
pub fn covers(wanted: &str, found: &str) -> bool {
    match found.as_bytes().get(wanted.len()) {
        None => same(wanted, found),
        Some(b';') => found.is_char_boundary(wanted.len()) && same(wanted, &found[..wanted.len()]),
        Some(_) => false,
    }
}

/// Says whether `name` is an attribute description: a name or a dotted number, with options after
/// `;` (RFC 4512 1.4, 2.5). An underscore is allowed too, as directories in use have them.
pub fn valid(name: &str) -> bool {
    let mut parts = name.split(';');
    let base = parts.next().unwrap_or_default();
    let word = |s: &str| {
        !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let oid =
        |s: &str| s.split('.').all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let named = base.starts_with(|c: char| c.is_ascii_alphabetic()) && word(base);
    (named || oid(base)) && parts.all(word)
}

/// The equality rule of an attribute; options are looked past.
pub fn rule(name: &str) -> Rule {
    let base = name.split(';').next().unwrap_or_default();
    RULES.iter().find(|(known, _)| same(known, base)).map_or(Rule::CaseIgnore, |(_, rule)| *rule)
}

impl Rule {
    /// The normal form of a value: two values are equal under the rule exactly when their normal
    /// forms are. `None` when the value cannot be one of this kind (an integer of letters), so that
    /// comparing with it is neither true nor false (RFC 4511 4.5.1.7).
    pub fn normal(self, value: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::CaseIgnore => Some(spaces(&fold(value), true, true)),
            Self::CaseExact => Some(spaces(value, true, true)),
            Self::Integer => integer(value).map(|(negative, digits)| {
                let mut text = Vec::with_capacity(digits.len() + 1);
                if negative {
                    text.push(b'-');
                }
                text.extend_from_slice(digits);
                text
            }),
            Self::Octets => Some(value.to_vec()),
            Self::Name => {
                let text = core::str::from_utf8(value).ok()?;
                crate::Dn::parse(text).ok().map(|dn| dn.normal().into_bytes())
            }
        }
    }

    /// The normal form of one piece of a substring assertion. Spaces at the outer ends of the whole
    /// assertion do not count, those between two pieces do (RFC 4518 2.6.1).
    /// `None` for rules that have no substring match.
    pub fn normal_piece(self, value: &[u8], first: bool, last: bool) -> Option<Vec<u8>> {
        match self {
            Self::CaseIgnore => Some(spaces(&fold(value), first, last)),
            Self::CaseExact => Some(spaces(value, first, last)),
            Self::Octets => Some(value.to_vec()),
            Self::Integer | Self::Name => None,
        }
    }

    /// Orders two values; `None` where the rule has no order or a value is not of its kind.
    pub fn compare(self, a: &[u8], b: &[u8]) -> Option<Ordering> {
        if self == Self::Name {
            return None;
        }
        if self == Self::Integer {
            let (a, b) = (integer(a)?, integer(b)?);
            let size = |digits: &[u8]| (digits.len(), digits.to_vec());
            return Some(match (a.0, b.0) {
                (false, false) => size(a.1).cmp(&size(b.1)),
                (true, true) => size(b.1).cmp(&size(a.1)),
                (negative, _) if negative => Ordering::Less,
                _ => Ordering::Greater,
            });
        }
        Some(self.normal(a)?.cmp(&self.normal(b)?))
    }
}

/// Folds case; bytes that are not UTF-8 keep theirs, but for ASCII.
fn fold(value: &[u8]) -> Vec<u8> {
    if value.is_ascii() {
        return value.to_ascii_lowercase();
    }
    match core::str::from_utf8(value) {
        Ok(text) => text.chars().flat_map(char::to_lowercase).collect::<String>().into_bytes(),
        Err(_) => value.to_ascii_lowercase(),
    }
}

/// Takes runs of spaces as one and drops those at the ends asked for.
fn spaces(value: &[u8], start: bool, end: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for &byte in value {
        let again = out.last().map_or(start, |&last| last == b' ');
        if byte != b' ' || !again {
            out.push(byte);
        }
    }
    if end && out.last() == Some(&b' ') {
        out.pop();
    }
    out
}

/// Sign and digits without leading zeros; zero has no digits and no sign.
fn integer(value: &[u8]) -> Option<(bool, &[u8])> {
    let value = value.trim_ascii();
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let zeros = digits.iter().take_while(|&&d| d == b'0').count();
    Some((negative && zeros < digits.len(), &digits[zeros..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(valid("mail") && valid("mail;lang-de") && valid("2.5.4.3") && valid("x-y_z"));
        for bad in ["", "1a", "a b", "mail;", "2..5", "m(ail", "é", ";x"] {
            assert!(!valid(bad), "{bad}");
        }
        assert!(covers("mail", "MAIL") && covers("mail", "Mail;lang-de"));
        assert!(!covers("mail", "maildrop") && !covers("mail;x", "mail"));
    }

    #[test]
    fn normal_forms() {
        let ci =
            |v: &str| String::from_utf8(Rule::CaseIgnore.normal(v.as_bytes()).unwrap()).unwrap();
        assert_eq!(ci("  Ab   C "), "ab c");
        assert_eq!(ci("ÄÖ"), "äö");
        assert_eq!(ci("   "), "");
        let int = |v: &str| Rule::Integer.normal(v.as_bytes());
        assert_eq!(int("0020000"), int("20000"));
        assert_eq!(int("-0"), int("0"));
        assert_ne!(int("-7"), int("7"));
        assert_eq!(int("twenty"), None);
        assert_eq!(Rule::Integer.compare(b"9", b"10"), Some(Ordering::Less));
        assert_eq!(Rule::Integer.compare(b"-10", b"-9"), Some(Ordering::Less));
        assert_eq!(Rule::Integer.compare(b"-1", b"1"), Some(Ordering::Less));
        assert_eq!(
            Rule::Name.normal(b"UID=Mail000, ou=Mail"),
            Rule::Name.normal(b"uid=mail000,OU=mail")
        );
        assert_eq!(rule("UIDNUMBER"), Rule::Integer);
        assert_eq!(rule("homedirectory;x-a"), Rule::CaseExact);
    }
}
