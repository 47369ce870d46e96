//! Templates: text with places for values, and filters and names made of such texts.
//!
//! Two languages are read: that of ldap_table(5) (`%s %u %d %S %U %D %1`..`%9`) and the part of
//! Dovecot's variables that LDAP settings use (`%u %n %d`, `%Lu`, `%{user}`, `%{ldap:attribute}`).
//! A template is parsed once; in a filter or a name, placeholders may only stand in values, so
//! that the tree is there before any value is.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::dn::{self, Dn, DnError};
use crate::entry::Entry;
use crate::filter::{self, Filter, FilterError, FilterFault};

/// Text with places for values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Place(Place, Case),
}

/// What is put into a place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Part of the value at hand: `%s %u %d` in a result format, `%$` in Dovecot's.
    Value(Part),
    /// Part of the key that is looked up: `%S %U %D`, and `%s %u %d` in a filter.
    Key(Part),
    /// Label of the key's domain, counted from the right: `%1` of `a@mail.example.com` is `com`.
    Label(usize),
    /// `%{ldap:attribute:default}`
    Attribute(String, Option<String>),
    /// `%{ldap_dn}`
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Local,
    Domain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Keep,
    Lower,
    Upper,
}

/// Where a template stands, which decides what its placeholders mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// ldap_table(5), `query_filter` and `search_base`.
    Query,
    /// ldap_table(5), `result_format`.
    Result,
    /// Dovecot's filters and names.
    User,
    /// Dovecot's `pass_attrs` and `user_attrs`.
    Field,
}

/// What a template needs of the key (or of the value) before it can be filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// A part before the `@` that is not empty, where there is an `@`.
    pub local: bool,
    /// A domain.
    pub domain: bool,
    /// So many labels in it.
    pub labels: usize,
}

/// A text and its two halves around an `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    whole: &'a str,
    local: &'a str,
    domain: Option<&'a str>,
}

/// The values to fill in.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The key, or the user's name.
    pub key: Subject<'a>,
    /// The value at hand, where there is one.
    pub value: Option<Subject<'a>>,
    /// The entry at hand, where there is one.
    pub entry: Option<&'a Entry>,
}

impl Needs {
    /// What either needs.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            local: self.local || other.local,
            domain: self.domain || other.domain,
            labels: self.labels.max(other.labels),
        }
    }
}

impl<'a> Subject<'a> {
    /// Cuts at the last `@`, as Postfix does.
    pub fn address(whole: &'a str) -> Self {
        Self::cut(whole, whole.rsplit_once('@'))
    }

    /// Cuts at the first `@`, as Dovecot does.
    pub fn user(whole: &'a str) -> Self {
        Self::cut(whole, whole.split_once('@'))
    }

    fn cut(whole: &'a str, halves: Option<(&'a str, &'a str)>) -> Self {
        match halves {
            Some((local, domain)) => Self { whole, local, domain: Some(domain) },
            None => Self { whole, local: whole, domain: None },
        }
    }

    fn part(&self, part: Part) -> &'a str {
        match part {
            Part::Whole => self.whole,
            Part::Local => self.local,
            Part::Domain => self.domain.unwrap_or_default(),
        }
    }

    /// Whether this has what a template needs; otherwise the lookup is suppressed (ldap_table(5)).
    pub fn suits(&self, needs: Needs) -> bool {
        if needs.local && self.local.is_empty() {
            return false;
        }
        let domain = self.domain.unwrap_or_default();
        if needs.domain && domain.is_empty() {
            return false;
        }
        let mut labels = domain.rsplit('.');
        (0..needs.labels).all(|_| labels.next().is_some_and(|label| !label.is_empty()))
    }

    /// The domain, or nothing.
    pub fn domain(&self) -> &'a str {
        self.part(Part::Domain)
    }
}

impl<'a> Values<'a> {
    /// Values for a filter or a name: the key alone.
    pub fn of(key: Subject<'a>) -> Self {
        Self { key, value: None, entry: None }
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Names the placeholder that the language does not have.
    pub fn parse(text: &str, language: Language) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                plain.push(c);
                continue;
            }
            let rest = chars.as_str();
            if let Some(rest) = rest.strip_prefix('%') {
                plain.push('%');
                chars = rest.chars();
                continue;
            }
            let (place, rest) = if matches!(language, Language::Query | Language::Result) {
                postfix(rest, language)?
            } else {
                dovecot(rest, language)?
            };
            chars = rest.chars();
            if !plain.is_empty() {
                pieces.push(Piece::Text(core::mem::take(&mut plain).into_bytes()));
            }
            pieces.push(place);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into_bytes()));
        }
        Ok(Self { pieces })
    }

    /// Whether there is a place in it at all.
    pub fn is_dynamic(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Place(..)))
    }

    /// What it needs of the key.
    pub fn key_needs(&self) -> Needs {
        self.needs(|place| match place {
            Place::Key(part) => Some((*part, 0)),
            Place::Label(n) => Some((Part::Domain, *n)),
            _ => None,
        })
    }

    /// What it needs of the value at hand.
    pub fn value_needs(&self) -> Needs {
        self.needs(|place| match place {
            Place::Value(part) => Some((*part, 0)),
            _ => None,
        })
    }

    fn needs(&self, of: impl Fn(&Place) -> Option<(Part, usize)>) -> Needs {
        let mut needs = Needs::default();
        for piece in &self.pieces {
            let Piece::Place(place, _) = piece else { continue };
            if let Some((part, labels)) = of(place) {
                needs.local |= part == Part::Local;
                needs.domain |= part == Part::Domain;
                needs.labels = needs.labels.max(labels);
            }
        }
        needs
    }

    /// Attributes that `%{ldap:..}` reads.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Place(Place::Attribute(name, _), _) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether the entry has every attribute that `%{ldap:..}` reads without a default.
    pub fn is_complete(&self, values: &Values<'_>) -> bool {
        self.pieces.iter().all(|piece| match piece {
            Piece::Place(Place::Attribute(name, None), _) => {
                values.entry.is_some_and(|entry| entry.text(name).is_some())
            }
            _ => true,
        })
    }

    /// Fills in the values. Nothing is escaped: what comes out is a value, not syntax.
    pub fn fill(&self, values: &Values<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Place(place, case) => {
                    let text = value_of(place, values);
                    match case {
                        Case::Keep => out.extend_from_slice(text.as_bytes()),
                        Case::Lower => out.extend_from_slice(text.to_lowercase().as_bytes()),
                        Case::Upper => out.extend_from_slice(text.to_uppercase().as_bytes()),
                    }
                }
            }
        }
        out
    }

    /// Fills in the values and gives text.
    pub fn fill_text(&self, values: &Values<'_>) -> String {
        // Texts of templates and values are UTF-8; only escapes in filters and names are not.
        String::from_utf8(self.fill(values))
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }

    /// The filled value for a tree; `None` when a place has nothing to put in, so that the whole
    /// value is empty.
    fn fill_value(&self, values: &Values<'_>) -> Option<Vec<u8>> {
        let value = self.fill(values);
        if value.is_empty() && self.is_dynamic() { None } else { Some(value) }
    }

    fn unescaped<E>(mut self, decode: impl Fn(&str) -> Result<Vec<u8>, E>) -> Result<Self, E> {
        for piece in &mut self.pieces {
            if let Piece::Text(bytes) = piece {
                let text = core::str::from_utf8(bytes).unwrap_or_default();
                *bytes = decode(text)?;
            }
        }
        Ok(self)
    }
}

fn value_of(place: &Place, values: &Values<'_>) -> String {
    match place {
        Place::Value(part) => values.value.map_or("", |value| value.part(*part)).to_owned(),
        Place::Key(part) => values.key.part(*part).to_owned(),
        Place::Label(n) => {
            values.key.domain().rsplit('.').nth(n - 1).unwrap_or_default().to_owned()
        }
        Place::Attribute(name, default) => {
            let found = values.entry.and_then(|entry| entry.text(name));
            found.or(default.as_deref()).unwrap_or_default().to_owned()
        }
        Place::Name => values.entry.map(|entry| entry.dn.to_string()).unwrap_or_default(),
    }
}

/// One placeholder of ldap_table(5); `rest` stands after the `%`.
fn postfix(rest: &str, language: Language) -> Result<(Piece, &str), String> {
    let mut chars = rest.chars();
    let letter = chars.next().ok_or("'%' at the end; write '%%' for a percent sign")?;
    let value = |part| match language {
        Language::Query => Place::Key(part),
        _ => Place::Value(part),
    };
    let place = match letter {
        's' => value(Part::Whole),
        'u' => value(Part::Local),
        'd' => value(Part::Domain),
        'S' => Place::Key(Part::Whole),
        'U' => Place::Key(Part::Local),
        'D' => Place::Key(Part::Domain),
        '1'..='9' => Place::Label(letter as usize - '0' as usize),
        other => {
            return Err(format!("'%{other}' is not known; there are %s %u %d %S %U %D %1..%9 %%"));
        }
    };
    Ok((Piece::Place(place, Case::Keep), chars.as_str()))
}

/// One of Dovecot's variables; `rest` stands after the `%`.
fn dovecot(rest: &str, language: Language) -> Result<(Piece, &str), String> {
    let known = "there are %u %n %d, %{user} %{username} %{domain}, with L or U before for case";
    let (case, rest) = match rest.strip_prefix(['L', 'U']) {
        Some(after) if rest.starts_with('L') => (Case::Lower, after),
        Some(after) => (Case::Upper, after),
        None => (Case::Keep, rest),
    };
    let (name, rest) = match rest.strip_prefix('{') {
        Some(inner) => inner.split_once('}').ok_or("'}' is missing after '%{'")?,
        None => match rest.chars().next() {
            Some(c) => rest.split_at(c.len_utf8()),
            None => return Err("'%' at the end; write '%%' for a percent sign".into()),
        },
    };
    let field = language == Language::Field;
    let place = match name {
        "u" | "user" => Place::Key(Part::Whole),
        "n" | "username" => Place::Key(Part::Local),
        "d" | "domain" => Place::Key(Part::Domain),
        "$" if field => Place::Value(Part::Whole),
        "ldap_dn" | "ldapDn" if field => Place::Name,
        _ => match name.strip_prefix("ldap:") {
            Some(attribute) if field => {
                let (attribute, default) = match attribute.split_once(':') {
                    Some((attribute, default)) => (attribute, Some(default.to_string())),
                    None => (attribute, None),
                };
                if !crate::attr::valid(attribute) {
                    return Err(format!("'%{{{name}}}': '{attribute}' is not an attribute name"));
                }
                Place::Attribute(attribute.to_string(), default)
            }
            _ => return Err(format!("'%{name}' is not known here; {known}")),
        },
    };
    Ok((Piece::Place(place, case), rest))
}

/// A filter with places in its values; by default one that nothing matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterTemplate {
    tree: Filter<Template>,
}

impl Default for FilterTemplate {
    fn default() -> Self {
        Self { tree: Filter::Or(Vec::new()) }
    }
}

impl FilterTemplate {
    /// Parses a filter with placeholders.
    ///
    /// # Errors
    /// A fault of the filter or an unknown placeholder. A placeholder outside a value is a fault:
    /// the shape of the tree must be known before any value is.
    pub fn parse(text: &str, language: Language) -> Result<Self, FilterError> {
        let tree = Filter::parse_with(text, &mut |raw| {
            Template::parse(raw, language)
                .map_err(FilterFault::Template)?
                .unescaped(|text| filter::unescape(text.as_bytes()))
        })?;
        Ok(Self { tree })
    }

    /// The filter with the values in it. `None` when a value would be empty: an empty value matches
    /// nothing, or, beside a `*`, far too much.
    pub fn fill(&self, values: &Values<'_>) -> Option<Filter> {
        self.tree.map(&mut |template| template.fill_value(values))
    }

    /// Calls `see` with every template in it.
    pub fn each(&self, see: &mut dyn FnMut(&Template)) {
        self.tree.map(&mut |template| {
            see(template);
            Some(())
        });
    }
}

/// A name with places in its values; by default the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnTemplate {
    name: Dn<Template>,
}

impl Default for DnTemplate {
    fn default() -> Self {
        Self { name: Dn { rdns: Vec::new() } }
    }
}

impl DnTemplate {
    /// Parses a name with placeholders.
    ///
    /// # Errors
    /// A fault of the name or an unknown placeholder. A placeholder outside a value is a fault.
    pub fn parse(text: &str, language: Language) -> Result<Self, DnError> {
        let name = Dn::parse_with(text, &mut |raw| {
            let (raw, quoted) = match raw.strip_prefix('"').and_then(|r| r.strip_suffix('"')) {
                Some(inner) => (inner, true),
                None => (raw, false),
            };
            Template::parse(raw, language)
                .map_err(DnError::Template)?
                .unescaped(|text| dn::unescape(text, quoted))
        })?;
        Ok(Self { name })
    }

    /// Whether there is a place in it at all.
    pub fn is_dynamic(&self) -> bool {
        self.name.rdns.iter().flat_map(|rdn| &rdn.parts).any(|(_, t)| t.is_dynamic())
    }

    /// The name with the values in it. `None` when a value would be empty.
    pub fn fill(&self, values: &Values<'_>) -> Option<Dn> {
        self.name.map(&mut |template| template.fill_value(values))
    }

    /// Calls `see` with every template in it.
    pub fn each(&self, see: &mut dyn FnMut(&Template)) {
        self.name.rdns.iter().flat_map(|rdn| &rdn.parts).for_each(|(_, t)| see(t));
    }
}
