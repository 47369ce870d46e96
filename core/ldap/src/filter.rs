//! Search filters (RFC 4515): text to tree, tree to text, and whether an entry matches.
//!
//! A filter is a tree from the start to the end of its life. Text becomes a tree once, when a
//! configuration is read; values are put into the tree ([`Filter::map`]), never into the text. So no
//! value can change what is asked, whatever stands in it.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::fmt::Write;

use crate::attr::{self, Rule};
use crate::entry::Entry;

/// Nesting allowed in a filter text.
pub const MAX_DEPTH: usize = 32;
/// Bytes allowed in a filter text.
pub const MAX_TEXT: usize = 64 * 1024;

/// A search filter. `V` is what stands where a value stands: bytes, or a template of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter<V = Vec<u8>> {
    /// `(&(..)(..))`: all of them; of none, true (RFC 4526).
    And(Vec<Self>),
    /// `(|(..)(..))`: one of them; of none, false (RFC 4526).
    Or(Vec<Self>),
    /// `(!(..))`
    Not(Box<Self>),
    /// `(attr=value)`
    Equal(String, V),
    /// `(attr>=value)`
    GreaterOrEqual(String, V),
    /// `(attr<=value)`
    LessOrEqual(String, V),
    /// `(attr~=value)`; we take it as equality.
    Approx(String, V),
    /// `(attr=*)`
    Present(String),
    /// `(attr=initial*any*last)`
    Substrings(String, Substrings<V>),
    /// `(attr:dn:rule:=value)`
    Extensible(Extensible<V>),
}

/// The pieces of a substring assertion; at least one of them is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Substrings<V> {
    /// What the value begins with.
    pub initial: Option<V>,
    /// What stands in between, in this order, without overlap.
    pub any: Vec<V>,
    /// What the value ends with.
    pub last: Option<V>,
}

/// An extensible match (RFC 4511 4.5.1.7.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extensible<V> {
    /// The attribute; without one, the rule applies to all it fits.
    pub attr: Option<String>,
    /// Whether the parts of the entry's name count as its attributes.
    pub dn: bool,
    /// Name or number of the rule; without one, the attribute's equality.
    pub rule: Option<String>,
    /// What to match.
    pub value: V,
}

/// What is wrong in a filter text, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at character {}", at + 1)]
pub struct FilterError {
    /// Byte offset into the text.
    pub at: usize,
    /// The fault.
    pub kind: FilterFault,
}

/// The faults of filter texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterFault {
    /// A filter or one of its parts is missing.
    #[error("'(' is missing")]
    Open,
    /// A closing parenthesis is missing.
    #[error("')' is missing")]
    Close,
    /// Something follows the end of the filter.
    #[error("text after the end of the filter")]
    Trailing,
    /// No `=`.
    #[error("'=' is missing")]
    Operator,
    /// Not an attribute description.
    #[error("'{0}' is not an attribute name")]
    Attribute(String),
    /// A backslash without two hexadecimal digits.
    #[error("'\\' needs two hexadecimal digits after it")]
    Escape,
    /// A character that must be written as `\xx`.
    #[error("character must be escaped in a value")]
    Bare,
    /// Two stars with nothing between them.
    #[error("'**' is not allowed")]
    Stars,
    /// A star where only a plain value may stand.
    #[error("'*' is not allowed here")]
    Star,
    /// More than [`MAX_DEPTH`] levels.
    #[error("nested too deeply")]
    Depth,
    /// More than [`MAX_TEXT`] bytes.
    #[error("filter is too long")]
    Length,
    /// A placeholder that the template language does not have.
    #[error("{0}")]
    Template(String),
}

impl Filter {
    /// Parses a filter. A single item may stand without parentheses (`uid=x`), as ldap_table(5)
    /// and ldapsearch(1) allow.
    ///
    /// # Errors
    /// The first fault and its place.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        Self::parse_with(text, &mut |raw| unescape(raw.as_bytes()))
    }

    /// Whether the entry matches; what is neither true nor false (RFC 4511 4.5.1.7) does not.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.evaluate(entry) == Some(true)
    }

    /// True, false, or `None` for undefined.
    pub fn evaluate(&self, entry: &Entry) -> Option<bool> {
        match self {
            Self::And(parts) => every(parts, entry, true),
            Self::Or(parts) => every(parts, entry, false),
            Self::Not(part) => part.evaluate(entry).map(|truth| !truth),
            Self::Equal(name, value) | Self::Approx(name, value) => equal(entry, name, value),
            Self::GreaterOrEqual(name, value) => ordered(entry, name, value, Ordering::Less),
            Self::LessOrEqual(name, value) => ordered(entry, name, value, Ordering::Greater),
            Self::Present(name) => Some(entry.values(name).next().is_some()),
            Self::Substrings(name, parts) => substrings(entry, name, parts),
            Self::Extensible(extensible) => extended(entry, extensible),
        }
    }
}

impl<V> Filter<V> {
    /// Parses a filter whose values are made by `value` from their escaped text (which never holds
    /// `(`, `)` or `*`).
    ///
    /// # Errors
    /// The first fault and its place.
    pub fn parse_with(
        text: &str,
        value: &mut dyn FnMut(&str) -> Result<V, FilterFault>,
    ) -> Result<Self, FilterError> {
        let mut parser = Parser { text, at: 0, value };
        if text.len() > MAX_TEXT {
            return Err(parser.fault(FilterFault::Length));
        }
        parser.blanks();
        let filter = match parser.peek() {
            Some(b'(') => parser.filter(0)?,
            None => return Err(parser.fault(FilterFault::Open)),
            Some(_) => parser.item()?,
        };
        parser.blanks();
        match parser.peek() {
            None => Ok(filter),
            Some(_) => Err(parser.fault(FilterFault::Trailing)),
        }
    }

    /// The same tree with other values. `None` as soon as `change` gives `None`.
    pub fn map<W>(&self, change: &mut dyn FnMut(&V) -> Option<W>) -> Option<Filter<W>> {
        let attr = |name: &String| name.clone();
        Some(match self {
            Self::And(parts) => Filter::And(map_all(parts, change)?),
            Self::Or(parts) => Filter::Or(map_all(parts, change)?),
            Self::Not(part) => Filter::Not(Box::new(part.map(change)?)),
            Self::Equal(name, value) => Filter::Equal(attr(name), change(value)?),
            Self::GreaterOrEqual(name, value) => Filter::GreaterOrEqual(attr(name), change(value)?),
            Self::LessOrEqual(name, value) => Filter::LessOrEqual(attr(name), change(value)?),
            Self::Approx(name, value) => Filter::Approx(attr(name), change(value)?),
            Self::Present(name) => Filter::Present(attr(name)),
            Self::Substrings(name, parts) => {
                let initial = match &parts.initial {
                    Some(value) => Some(change(value)?),
                    None => None,
                };
                let any = parts.any.iter().map(&mut *change).collect::<Option<Vec<W>>>()?;
                let last = match &parts.last {
                    Some(value) => Some(change(value)?),
                    None => None,
                };
                Filter::Substrings(attr(name), Substrings { initial, any, last })
            }
            Self::Extensible(e) => Filter::Extensible(Extensible {
                attr: e.attr.clone(),
                dn: e.dn,
                rule: e.rule.clone(),
                value: change(&e.value)?,
            }),
        })
    }
}

fn map_all<V, W>(
    parts: &[Filter<V>],
    change: &mut dyn FnMut(&V) -> Option<W>,
) -> Option<Vec<Filter<W>>> {
    parts.iter().map(|part| part.map(change)).collect()
}

// --- text to tree ------------------------------------------------------------------------------

struct Parser<'t, 'v, V> {
    text: &'t str,
    at: usize,
    value: &'v mut dyn FnMut(&str) -> Result<V, FilterFault>,
}

impl<V> Parser<'_, '_, V> {
    fn fault(&self, kind: FilterFault) -> FilterError {
        FilterError { at: self.at, kind }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// One filter in parentheses; `at` stands on the opening one.
    fn filter(&mut self, depth: usize) -> Result<Filter<V>, FilterError> {
        if depth >= MAX_DEPTH {
            return Err(self.fault(FilterFault::Depth));
        }
        self.at += 1;
        self.blanks();
        let operator = self.peek();
        if matches!(operator, Some(b'&' | b'|' | b'!')) {
            self.at += 1;
        }
        let filter = match operator {
            Some(b'&') => Filter::And(self.list(depth)?),
            Some(b'|') => Filter::Or(self.list(depth)?),
            Some(b'!') => {
                self.blanks();
                if self.peek() != Some(b'(') {
                    return Err(self.fault(FilterFault::Open));
                }
                Filter::Not(Box::new(self.filter(depth + 1)?))
            }
            _ => self.item()?,
        };
        self.blanks();
        if self.peek() != Some(b')') {
            return Err(self.fault(FilterFault::Close));
        }
        self.at += 1;
        Ok(filter)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Filter<V>>, FilterError> {
        let mut parts = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                Some(b'(') => parts.push(self.filter(depth + 1)?),
                Some(b')') => return Ok(parts),
                _ => return Err(self.fault(FilterFault::Open)),
            }
        }
    }

    /// `attr OP value`, up to the next parenthesis.
    fn item(&mut self) -> Result<Filter<V>, FilterError> {
        let start = self.at;
        let rest = &self.text[start..];
        let Some(equals) = rest.find(['=', '(', ')']).filter(|&i| rest.as_bytes()[i] == b'=')
        else {
            return Err(self.fault(FilterFault::Operator));
        };
        let (name, operator) = match rest.as_bytes()[..equals].last() {
            Some(&c @ (b'>' | b'<' | b'~' | b':')) => (&rest[..equals - 1], c),
            _ => (&rest[..equals], b'='),
        };
        let end = rest[equals + 1..].find(['(', ')']).map_or(rest.len(), |i| equals + 1 + i);
        let value = &rest[equals + 1..end];
        let value_at = start + equals + 1;
        let filter = if operator == b':' {
            self.extensible(name, value, value_at)?
        } else {
            let name = self.attribute(name)?;
            match operator {
                b'>' => Filter::GreaterOrEqual(name, self.plain(value, value_at)?),
                b'<' => Filter::LessOrEqual(name, self.plain(value, value_at)?),
                b'~' => Filter::Approx(name, self.plain(value, value_at)?),
                _ if value == "*" => Filter::Present(name),
                _ if value.contains('*') => Filter::Substrings(name, self.stars(value, value_at)?),
                _ => Filter::Equal(name, self.plain(value, value_at)?),
            }
        };
        self.at = start + end;
        Ok(filter)
    }

    fn attribute(&self, name: &str) -> Result<String, FilterError> {
        if attr::valid(name) {
            Ok(name.to_string())
        } else {
            Err(self.fault(FilterFault::Attribute(name.to_string())))
        }
    }

    /// A value without stars, standing at byte `at`.
    fn plain(&mut self, raw: &str, at: usize) -> Result<V, FilterError> {
        if let Some(star) = raw.find('*') {
            return Err(FilterError { at: at + star, kind: FilterFault::Star });
        }
        if let Some(zero) = raw.find('\0') {
            return Err(FilterError { at: at + zero, kind: FilterFault::Bare });
        }
        (self.value)(raw).map_err(|kind| FilterError { at, kind })
    }

    fn stars(&mut self, raw: &str, at: usize) -> Result<Substrings<V>, FilterError> {
        let mut parts = Substrings { initial: None, any: Vec::new(), last: None };
        let count = raw.split('*').count();
        let mut from = at;
        for (index, piece) in raw.split('*').enumerate() {
            let outer = index == 0 || index + 1 == count;
            if piece.is_empty() && !outer {
                return Err(FilterError { at: from, kind: FilterFault::Stars });
            }
            if !piece.is_empty() {
                let value = self.plain(piece, from)?;
                match index {
                    0 => parts.initial = Some(value),
                    _ if index + 1 == count => parts.last = Some(value),
                    _ => parts.any.push(value),
                }
            }
            from += piece.len() + 1;
        }
        Ok(parts)
    }

    /// `[attr][:dn][:rule]` before `:=`.
    fn extensible(&mut self, head: &str, raw: &str, at: usize) -> Result<Filter<V>, FilterError> {
        let mut parts = head.split(':');
        let name = parts.next().unwrap_or_default();
        let attr = if name.is_empty() { None } else { Some(self.attribute(name)?) };
        let mut rest: Vec<&str> = parts.collect();
        let dn = rest.first().is_some_and(|word| word.eq_ignore_ascii_case("dn"));
        if dn {
            rest.remove(0);
        }
        let rule = match rest.as_slice() {
            [] => None,
            [rule] => Some(self.attribute(rule)?),
            _ => return Err(self.fault(FilterFault::Attribute(head.to_string()))),
        };
        if attr.is_none() && rule.is_none() {
            return Err(self.fault(FilterFault::Attribute(head.to_string())));
        }
        Ok(Filter::Extensible(Extensible { attr, dn, rule, value: self.plain(raw, at)? }))
    }
}

/// Decodes `\xx` (RFC 4515 3).
///
/// # Errors
/// [`FilterFault::Escape`] where two hexadecimal digits are missing.
pub fn unescape(raw: &[u8]) -> Result<Vec<u8>, FilterFault> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|&d| (d as char).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(FilterFault::Escape);
        };
        out.push((high * 16 + low) as u8);
    }
    Ok(out)
}

// --- tree to text ------------------------------------------------------------------------------

/// Writes a value so that it stands for itself in a filter (RFC 4515 3): `*`, `(`, `)`, `\`,
/// control characters and bytes that are not UTF-8 as `\XX`.
pub fn escape(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            if matches!(c, '*' | '(' | ')' | '\\') || c.is_ascii_control() {
                push_hex(&mut out, c as u8);
            } else {
                out.push(c);
            }
        }
        chunk.invalid().iter().for_each(|&byte| push_hex(&mut out, byte));
    }
    out
}

pub(crate) fn push_hex(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('\\');
    out.push(DIGITS[usize::from(byte >> 4)] as char);
    out.push(DIGITS[usize::from(byte & 15)] as char);
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('(')?;
        match self {
            Self::And(parts) => list(f, '&', parts)?,
            Self::Or(parts) => list(f, '|', parts)?,
            Self::Not(part) => write!(f, "!{part}")?,
            Self::Equal(name, value) => write!(f, "{name}={}", escape(value))?,
            Self::GreaterOrEqual(name, value) => write!(f, "{name}>={}", escape(value))?,
            Self::LessOrEqual(name, value) => write!(f, "{name}<={}", escape(value))?,
            Self::Approx(name, value) => write!(f, "{name}~={}", escape(value))?,
            Self::Present(name) => write!(f, "{name}=*")?,
            Self::Substrings(name, parts) => {
                let text = |value: &Option<Vec<u8>>| value.as_deref().map(escape);
                write!(f, "{name}={}*", text(&parts.initial).unwrap_or_default())?;
                for piece in &parts.any {
                    write!(f, "{}*", escape(piece))?;
                }
                f.write_str(&text(&parts.last).unwrap_or_default())?;
            }
            Self::Extensible(e) => {
                f.write_str(e.attr.as_deref().unwrap_or_default())?;
                if e.dn {
                    f.write_str(":dn")?;
                }
                if let Some(rule) = &e.rule {
                    write!(f, ":{rule}")?;
                }
                write!(f, ":={}", escape(&e.value))?;
            }
        }
        f.write_char(')')
    }
}

fn list(f: &mut fmt::Formatter<'_>, operator: char, parts: &[Filter]) -> fmt::Result {
    f.write_char(operator)?;
    parts.iter().try_for_each(|part| write!(f, "{part}"))
}

// --- matching ----------------------------------------------------------------------------------

/// `all`: AND over the parts; otherwise OR. Undefined counts only when no part decides.
fn every(parts: &[Filter], entry: &Entry, all: bool) -> Option<bool> {
    let mut undefined = false;
    for part in parts {
        match part.evaluate(entry) {
            Some(truth) if truth != all => return Some(truth),
            Some(_) => {}
            None => undefined = true,
        }
    }
    if undefined { None } else { Some(all) }
}

fn equal(entry: &Entry, name: &str, value: &[u8]) -> Option<bool> {
    let rule = attr::rule(name);
    let wanted = rule.normal(value)?;
    Some(entry.values(name).any(|found| rule.normal(found).as_ref() == Some(&wanted)))
}

/// True when some value does not compare as `wrong` with the assertion's.
fn ordered(entry: &Entry, name: &str, value: &[u8], wrong: Ordering) -> Option<bool> {
    let rule = attr::rule(name);
    rule.compare(value, value)?;
    Some(entry.values(name).any(|v| rule.compare(v, value).is_some_and(|order| order != wrong)))
}

fn substrings(entry: &Entry, name: &str, parts: &Substrings<Vec<u8>>) -> Option<bool> {
    let rule = attr::rule(name);
    let piece = |value: &[u8], first, last| rule.normal_piece(value, first, last);
    let initial = match &parts.initial {
        Some(value) => piece(value, true, false)?,
        None => Vec::new(),
    };
    let last = match &parts.last {
        Some(value) => piece(value, false, true)?,
        None => Vec::new(),
    };
    let any: Vec<Vec<u8>> =
        parts.any.iter().map(|value| piece(value, false, false)).collect::<Option<_>>()?;
    Some(entry.values(name).any(|value| {
        let Some(value) = rule.normal(value) else { return false };
        let Some(rest) = value.strip_prefix(initial.as_slice()) else { return false };
        let Some(mut rest) = rest.strip_suffix(last.as_slice()) else { return false };
        any.iter().all(|piece| match position(rest, piece) {
            Some(at) => {
                rest = &rest[at + piece.len()..];
                true
            }
            None => false,
        })
    }))
}

fn position(hay: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    hay.windows(needle.len()).position(|window| window == needle)
}

/// The rules we know by name and number; others are undefined.
fn extended(entry: &Entry, e: &Extensible<Vec<u8>>) -> Option<bool> {
    let name = e.attr.as_deref()?;
    let rule = match e.rule.as_deref() {
        None => attr::rule(name),
        Some("2.5.13.2" | "caseIgnoreMatch" | "caseIgnoreIA5Match") => Rule::CaseIgnore,
        Some("2.5.13.5" | "caseExactMatch" | "caseExactIA5Match") => Rule::CaseExact,
        Some("2.5.13.14" | "integerMatch") => Rule::Integer,
        Some("2.5.13.17" | "octetStringMatch") => Rule::Octets,
        Some("2.5.13.1" | "distinguishedNameMatch") => Rule::Name,
        Some("1.2.840.113556.1.4.803") => return bits(entry, name, &e.value, true),
        Some("1.2.840.113556.1.4.804") => return bits(entry, name, &e.value, false),
        Some(_) => return None,
    };
    let wanted = rule.normal(&e.value)?;
    let hit = |value: &[u8]| rule.normal(value).as_ref() == Some(&wanted);
    let in_name = e.dn
        && entry
            .dn
            .rdns
            .iter()
            .flat_map(|rdn| &rdn.parts)
            .any(|(n, v)| attr::same(n, name) && hit(v));
    Some(in_name || entry.values(name).any(hit))
}

/// Active Directory's bit rules: all the bits of the value, or one of them.
fn bits(entry: &Entry, name: &str, value: &[u8], all: bool) -> Option<bool> {
    let number = |v: &[u8]| core::str::from_utf8(v).ok()?.trim().parse::<i64>().ok();
    let mask = number(value)?;
    Some(
        entry
            .values(name)
            .filter_map(number)
            .any(|v| if all { v & mask == mask } else { v & mask != 0 }),
    )
}
