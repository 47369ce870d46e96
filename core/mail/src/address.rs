//! Mail addresses: what stands between the angle brackets.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Octets of a local part (RFC 5321 4.5.3.1.1 asks for 64; Postfix takes what fits in a line).
const MAX_LOCAL: usize = 255;
/// Octets of a domain (RFC 5321 4.5.3.1.2).
const MAX_DOMAIN: usize = 255;

/// An address `local@domain`. The local part is kept unquoted, as it is looked up; it is quoted
/// again, where it has to be, by `Display`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    local: Box<str>,
    domain: Domain,
}

/// A domain as the peer wrote it: a name, or a literal `[192.0.2.1]`. Compares without case.
#[derive(Clone, Debug)]
pub struct Domain(Box<str>);

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`, or nothing before it.
    #[error("no local part")]
    NoLocal,
    /// There is nothing after the `@`.
    #[error("no domain")]
    NoDomain,
    /// The local part has a character that must be quoted, or an unfinished quote.
    #[error("bad local part")]
    BadLocal,
    /// The domain has a label that is empty, too long, or of the wrong characters.
    #[error("bad domain")]
    BadDomain,
    /// A part is longer than its limit.
    #[error("too long")]
    TooLong,
}

impl Address {
    /// An address from an unquoted local part and a domain.
    ///
    /// # Errors
    /// The local part is empty, too long, or holds a control character.
    pub fn new(local: &str, domain: Domain) -> Result<Self, AddressError> {
        if local.is_empty() {
            return Err(AddressError::NoLocal);
        }
        if local.len() > MAX_LOCAL {
            return Err(AddressError::TooLong);
        }
        if local.chars().any(char::is_control) {
            return Err(AddressError::BadLocal);
        }
        Ok(Self { local: local.into(), domain })
    }

    /// Parses `local@domain` or `"quoted local"@domain` (RFC 5321 4.1.2, RFC 6531 for UTF-8),
    /// without angle brackets and source route.
    ///
    /// # Errors
    /// Names the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, rest) = if text.starts_with('"') { quoted(text)? } else { dotted(text)? };
        let domain = rest.strip_prefix('@').ok_or(AddressError::NoDomain)?;
        Self::new(&local, Domain::parse(domain)?)
    }

    /// The unquoted local part.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The form that lookup tables see: unquoted local part, `@`, domain, cases as written.
    pub fn lookup_key(&self) -> String {
        let mut key = String::with_capacity(self.local.len() + 1 + self.domain.0.len());
        key.push_str(&self.local);
        key.push('@');
        key.push_str(&self.domain.0);
        key
    }

    /// True when a part has characters beyond ASCII (needs SMTPUTF8).
    pub fn is_utf8(&self) -> bool {
        !self.local.is_ascii() || !self.domain.0.is_ascii()
    }
}

/// The unquoted local part of `"..."@...`, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), AddressError> {
    let mut local = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((local, &text[at + 1..])),
            '\\' => local.push(chars.next().ok_or(AddressError::BadLocal)?.1),
            c => local.push(c),
        }
    }
    Err(AddressError::BadLocal)
}

fn dotted(text: &str) -> Result<(String, &str), AddressError> {
    let at = text.rfind('@').ok_or(AddressError::NoDomain)?;
    let (local, rest) = text.split_at(at);
    if local.is_empty() {
        return Err(AddressError::NoLocal);
    }
    if local.split('.').all(is_atom) {
        Ok((local.to_owned(), rest))
    } else {
        Err(AddressError::BadLocal)
    }
}

fn is_atom(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_atext)
}

/// RFC 5322 3.2.3 atext, and UTF-8 (RFC 6532 3.2).
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.local.split('.').all(is_atom) {
            return write!(f, "{}@{}", self.local, self.domain);
        }
        f.write_str("\"")?;
        for c in self.local.chars() {
            if c == '"' || c == '\\' {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "\"@{}", self.domain)
    }
}

impl Domain {
    /// Parses a domain name or an address literal. Underscores are taken, as Postfix does; a
    /// trailing dot is dropped.
    ///
    /// # Errors
    /// [`AddressError::NoDomain`], [`AddressError::BadDomain`] or [`AddressError::TooLong`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_DOMAIN {
            return Err(AddressError::TooLong);
        }
        if text.starts_with('[') {
            let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
            return match inner {
                Some(inner) if is_literal(inner) => Ok(Self(text.into())),
                _ => Err(AddressError::BadDomain),
            };
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(AddressError::NoDomain);
        }
        if name.split('.').all(is_label) {
            Ok(Self(name.into()))
        } else {
            Err(AddressError::BadDomain)
        }
    }

    /// As written, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for `[192.0.2.1]` and the like.
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }
}

/// RFC 5321 4.1.3: `192.0.2.1`, `IPv6:2001:db8::1`. No other tag is registered.
fn is_literal(inner: &str) -> bool {
    match inner.split_at_checked(5) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case("IPv6:") => rest.parse::<Ipv6Addr>().is_ok(),
        _ => inner.parse::<Ipv4Addr>().is_ok(),
    }
}

/// RFC 1035 2.3.1, with underscores and UTF-8 (RFC 5890 2.3.2.1).
fn is_label(label: &str) -> bool {
    let good = |c: char| {
        c.is_ascii_alphanumeric()
            || c == '-'
            || c == '_'
            || !(c.is_ascii() || c.is_control() || c.is_whitespace())
    };
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(good)
}

impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Domain {}

impl PartialOrd for Domain {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Domain {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        let folded = |d: &Self| d.0.to_ascii_lowercase();
        folded(self).cmp(&folded(other))
    }
}

impl core::hash::Hash for Domain {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.0.to_ascii_lowercase().hash(state);
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn examples() {
        for (text, local, printed) in [
            ("a.b+c@example.com", "a.b+c", "a.b+c@example.com"),
            ("\"a b\"@example.com", "a b", "\"a b\"@example.com"),
            ("\"a\"@Example.COM.", "a", "a@Example.COM"),
            ("\"x@y\\\"\"@[192.0.2.1]", "x@y\"", "\"x@y\\\"\"@[192.0.2.1]"),
            ("jörg@bücher.example", "jörg", "jörg@bücher.example"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.local(), address.to_string().as_str()), (local, printed));
        }
    }

    #[test]
    fn refusals() {
        for (text, error) in [
            ("", AddressError::NoDomain),
            ("user", AddressError::NoDomain),
            ("@example.com", AddressError::NoLocal),
            ("a..b@example.com", AddressError::BadLocal),
            ("a b@example.com", AddressError::BadLocal),
            ("\"a@example.com", AddressError::BadLocal),
            ("a@", AddressError::NoDomain),
            ("a@-x.com", AddressError::BadDomain),
            ("a@x..com", AddressError::BadDomain),
            ("a@[]", AddressError::BadDomain),
            ("a@[bogus]", AddressError::BadDomain),
            ("a@[IPv6:192.0.2.1]", AddressError::BadDomain),
        ] {
            assert_eq!(Address::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn domains_compare_without_case() {
        assert_eq!(Domain::parse("EXAMPLE.com").unwrap(), Domain::parse("example.COM").unwrap());
    }

    proptest! {
        #[test]
        fn printed_and_parsed_again(local in "[^\\p{Cc}]{1,20}", label in "[a-z0-9_]{1,9}") {
            let address = Address::new(&local, Domain::parse(&label).unwrap()).unwrap();
            prop_assert_eq!(Address::parse(&address.to_string()).unwrap(), address);
        }
    }
}
