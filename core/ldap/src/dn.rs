//! Distinguished names (RFC 4514): text to parts, parts to text, comparison, scope.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::attr;
use crate::filter::push_hex;

/// Bytes allowed in the text of a name.
pub const MAX_TEXT: usize = 8 * 1024;

/// The name of an entry, the nearest part first. `V` is what stands where a value stands: bytes, or
/// a template of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dn<V = Vec<u8>> {
    /// Its parts; none for the root.
    pub rdns: Vec<Rdn<V>>,
}

/// One part of a name: one or more `attribute=value`, joined by `+`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rdn<V = Vec<u8>> {
    /// Attribute and value; at least one.
    pub parts: Vec<(String, V)>,
}

/// How far below its base a search looks (RFC 4511 4.5.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The base alone.
    Base,
    /// Its children.
    One,
    /// Itself and everything below.
    Sub,
}

/// What is wrong in the text of a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnError {
    /// A part without `=`.
    #[error("'{0}' has no '='")]
    NoEquals(String),
    /// Not an attribute name.
    #[error("'{0}' is not an attribute name")]
    Attribute(String),
    /// A backslash that escapes nothing.
    #[error("'\\' must be followed by a special character or two hexadecimal digits")]
    Escape,
    /// A value after `#` that is not hexadecimal, or whose encoding is broken.
    #[error("the value after '#' is not a hexadecimal string")]
    Hex,
    /// A special character without a backslash.
    #[error("'{0}' must be escaped in a name")]
    Bare(char),
    /// More than [`MAX_TEXT`] bytes.
    #[error("name is too long")]
    Length,
    /// A placeholder that the template language does not have.
    #[error("{0}")]
    Template(String),
}

impl Dn {
    /// Parses a name. Spaces around `,`, `+` and `=` are dropped, as RFC 2253 4 lets readers do
    /// and `search_base = dc=your, dc=com` of ldap_table(5) needs; `;` separates like `,`.
    ///
    /// # Errors
    /// The first fault.
    pub fn parse(text: &str) -> Result<Self, DnError> {
        Self::parse_with(text, &mut value)
    }

    /// The normal form, equal for names of the same entry: attribute names in lower case, values by
    /// their rule, the parts of an RDN sorted.
    pub fn normal(&self) -> String {
        let parts: Vec<String> = self.rdns.iter().map(Rdn::normal).collect();
        parts.join(",")
    }

    /// Whether this entry lies within the scope of a search from `base`.
    pub fn within(&self, base: &Self, scope: Scope) -> bool {
        let Some(depth) = self.rdns.len().checked_sub(base.rdns.len()) else { return false };
        let fits = match scope {
            Scope::Base => depth == 0,
            Scope::One => depth == 1,
            Scope::Sub => true,
        };
        fits && self.rdns[depth..].iter().zip(&base.rdns).all(|(a, b)| a.normal() == b.normal())
    }

    /// The name without its first part; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.rdns.split_first()?;
        Some(Self { rdns: rest.to_vec() })
    }
}

impl Rdn {
    /// The normal form of one part, see [`Dn::normal`].
    pub fn normal(&self) -> String {
        let mut parts: Vec<String> = self
            .parts
            .iter()
            .map(|(name, value)| {
                // Values of other kinds do not name entries; a DN within a DN would recurse.
                let rule = match attr::rule(name) {
                    attr::Rule::Name => attr::Rule::CaseIgnore,
                    rule => rule,
                };
                let value = rule.normal(value).unwrap_or_else(|| value.clone());
                let mut text = name.to_ascii_lowercase();
                text.push('=');
                text.push_str(&escape(&value));
                text
            })
            .collect();
        parts.sort_unstable();
        parts.join("+")
    }
}

impl<V> Dn<V> {
    /// Parses a name whose values are made by `value` from their escaped text.
    ///
    /// # Errors
    /// The first fault.
    pub fn parse_with(
        text: &str,
        value: &mut dyn FnMut(&str) -> Result<V, DnError>,
    ) -> Result<Self, DnError> {
        if text.len() > MAX_TEXT {
            return Err(DnError::Length);
        }
        let mut rdns = Vec::new();
        if text.trim().is_empty() {
            return Ok(Self { rdns });
        }
        for part in split(text, &[',', ';']) {
            let mut parts = Vec::new();
            for pair in split(part, &['+']) {
                let Some((name, raw)) = pair.split_once('=') else {
                    return Err(DnError::NoEquals(pair.trim().to_string()));
                };
                let name = name.trim();
                if !attr::valid(name) {
                    return Err(DnError::Attribute(name.to_string()));
                }
                parts.push((name.to_string(), value(trim(raw))?));
            }
            rdns.push(Rdn { parts });
        }
        Ok(Self { rdns })
    }

    /// The same name with other values. `None` as soon as `change` gives `None`.
    pub fn map<W>(&self, change: &mut dyn FnMut(&V) -> Option<W>) -> Option<Dn<W>> {
        let mut rdns = Vec::with_capacity(self.rdns.len());
        for rdn in &self.rdns {
            let mut parts = Vec::with_capacity(rdn.parts.len());
            for (name, value) in &rdn.parts {
                parts.push((name.clone(), change(value)?));
            }
            rdns.push(Rdn { parts });
        }
        Some(Dn { rdns })
    }
}

impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rdn) in self.rdns.iter().enumerate() {
            let lead = if index == 0 { "" } else { "," };
            for (index, (name, value)) in rdn.parts.iter().enumerate() {
                let lead = if index == 0 { lead } else { "+" };
                write!(f, "{lead}{name}={}", escape(value))?;
            }
        }
        Ok(())
    }
}

/// Cuts at separators that no backslash and no quotes (RFC 2253 4) protect.
fn split<'t>(text: &'t str, separators: &[char]) -> Vec<&'t str> {
    let mut parts = Vec::new();
    let (mut from, mut escaped, mut quoted) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if !quoted && separators.contains(&c) => {
                parts.push(&text[from..at]);
                from = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// Drops spaces at both ends, but not a last one that is escaped.
fn trim(raw: &str) -> &str {
    let raw = raw.trim_start_matches([' ', '\n', '\r']);
    let cut = raw.trim_end_matches([' ', '\n', '\r']);
    let slashes = cut.bytes().rev().take_while(|&b| b == b'\\').count();
    if slashes % 2 == 1 && cut.len() < raw.len() { &raw[..=cut.len()] } else { cut }
}

/// Decodes the text of a value.
///
/// # Errors
/// The first fault.
pub fn value(raw: &str) -> Result<Vec<u8>, DnError> {
    if let Some(hex) = raw.strip_prefix('#') {
        return octets(hex);
    }
    let raw = match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => return unescape(inner, true),
        None => raw,
    };
    unescape(raw, false)
}

/// Decodes escapes; inside quotes only `"` itself needs one.
pub(crate) fn unescape(raw: &str, quoted: bool) -> Result<Vec<u8>, DnError> {
    let mut out = Vec::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let Some(next) = chars.next() else { return Err(DnError::Escape) };
                if let Some(high) = next.to_digit(16) {
                    let low = chars.next().and_then(|d| d.to_digit(16)).ok_or(DnError::Escape)?;
                    out.push((high * 16 + low) as u8);
                } else if matches!(next, ' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>' | '\\')
                {
                    out.push(next as u8);
                } else {
                    return Err(DnError::Escape);
                }
            }
            '"' => return Err(DnError::Bare(c)),
            '+' | ',' | ';' | '<' | '>' | '\0' if !quoted => return Err(DnError::Bare(c)),
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(out)
}

/// `#` and the BER encoding in hexadecimal; we take the content of a short primitive string.
fn octets(hex: &str) -> Result<Vec<u8>, DnError> {
    let digits: Option<Vec<u32>> = hex.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|d| d.len() >= 4 && d.len() % 2 == 0).ok_or(DnError::Hex)?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect();
    let content = &bytes[2..];
    if bytes[1] < 128 && usize::from(bytes[1]) == content.len() {
        Ok(content.to_vec())
    } else {
        Err(DnError::Hex)
    }
}

/// Writes a value so that it stands for itself in a name (RFC 4514 2.4).
pub fn escape(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    let mut at = 0;
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            let end = at + c.len_utf8() == value.len();
            let edge = (c == ' ' && (at == 0 || end)) || (c == '#' && at == 0);
            if edge || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=') {
                out.push('\\');
                out.push(c);
            } else if c.is_ascii_control() {
                push_hex(&mut out, c as u8);
            } else {
                out.push(c);
            }
            at += c.len_utf8();
        }
        chunk.invalid().iter().for_each(|&byte| push_hex(&mut out, byte));
        at += chunk.invalid().len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn dn(text: &str) -> Dn {
        Dn::parse(text).unwrap()
    }

    #[test]
    fn reads_the_examples_of_rfc_4514() {
        assert_eq!(dn("UID=jsmith,DC=example,DC=net").rdns.len(), 3);
        let two = dn("OU=Sales+CN=J.  Smith,DC=example,DC=net");
        assert_eq!(two.rdns[0].parts[1], ("CN".into(), b"J.  Smith".to_vec()));
        assert_eq!(
            dn("CN=James \\\"Jim\\\" Smith\\, III").rdns[0].parts[0].1,
            b"James \"Jim\" Smith, III"
        );
        assert_eq!(dn("CN=Before\\0dAfter").rdns[0].parts[0].1, b"Before\rAfter");
        assert_eq!(dn("1.3.6.1.4.1.1466.0=#04024869").rdns[0].parts[0].1, b"Hi");
        assert_eq!(dn("CN=Lu\\C4\\8Di\\C4\\87").rdns[0].parts[0].1, "Lučić".as_bytes());
        assert_eq!(dn("dc=your, dc=com"), dn("dc=your,dc=com"));
        assert_eq!(dn("o=\"a, b\"").rdns[0].parts[0].1, b"a, b");
        assert_eq!(dn("cn=a\\ ").rdns[0].parts[0].1, b"a ");
        assert_eq!(dn(""), Dn { rdns: vec![] });
    }

    #[test]
    fn refuses_what_is_no_name() {
        for bad in
            ["mail000", "uid=a,b", "=x", "u id=x", "cn=a\\", "cn=a\\z", "cn=#zz", "cn=<a", ","]
        {
            assert!(Dn::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Dn::parse(&"a".repeat(MAX_TEXT + 1)), Err(DnError::Length));
    }

    #[test]
    fn compares_and_scopes() {
        let base = dn("ou=Mail,dc=example,dc=com");
        let user = dn("UID=Mail000,OU=MAIL,dc=Example,dc=com");
        assert_eq!(user.normal(), dn("uid=mail000, ou=mail, dc=example, dc=com").normal());
        assert_eq!(dn("cn=a+ou=b").normal(), dn("OU=B+CN=A").normal());
        assert!(user.within(&base, Scope::Sub) && user.within(&base, Scope::One));
        assert!(!user.within(&base, Scope::Base) && base.within(&base, Scope::Base));
        assert!(base.within(&base, Scope::Sub) && !base.within(&base, Scope::One));
        assert!(!base.within(&user, Scope::Sub));
        assert!(!dn("uid=x,ou=Other,dc=example,dc=com").within(&base, Scope::Sub));
        assert!(user.within(&dn(""), Scope::Sub));
        assert_eq!(user.parent().unwrap().normal(), base.normal());
    }
}
