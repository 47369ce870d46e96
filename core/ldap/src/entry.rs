//! Entries: a name and attributes.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::attr;
use crate::dn::{Dn, DnError};

/// An entry as a search returns it. Attributes keep the order in which they came; their names are
/// compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The entry's name.
    pub dn: Dn,
    /// Its attributes; a name stands here once.
    pub attributes: Vec<Attribute>,
}

/// An attribute and its values, which may be any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The description as it was written, with options.
    pub name: String,
    /// Its values, in the order they came.
    pub values: Vec<Vec<u8>>,
}

impl Entry {
    /// An entry without attributes.
    ///
    /// # Errors
    /// When `dn` is not a distinguished name.
    pub fn new(dn: &str) -> Result<Self, DnError> {
        Ok(Self { dn: Dn::parse(dn)?, attributes: Vec::new() })
    }

    /// Adds a value to an attribute.
    pub fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        let value = value.into();
        match self.attributes.iter_mut().find(|a| attr::same(&a.name, name)) {
            Some(attribute) => attribute.values.push(value),
            None => self
                .attributes
                .push(Attribute { name: name.to_string(), values: Vec::from([value]) }),
        }
    }

    /// All values of an attribute and of its forms with options.
    pub fn values<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e [u8]> {
        self.attributes
            .iter()
            .filter(move |a| attr::covers(name, &a.name))
            .flat_map(|a| a.values.iter().map(Vec::as_slice))
    }

    /// The first value of an attribute, when it is UTF-8 text.
    pub fn text<'e>(&'e self, name: &'e str) -> Option<&'e str> {
        self.values(name).next().and_then(|value| core::str::from_utf8(value).ok())
    }

    /// A copy with the attributes asked for; an empty list, or `*`, asks for all.
    #[must_use]
    pub fn select(&self, names: &[String]) -> Self {
        if names.is_empty() || names.iter().any(|name| name == "*") {
            return self.clone();
        }
        let wanted = |a: &&Attribute| names.iter().any(|name| attr::covers(name, &a.name));
        Self {
            dn: self.dn.clone(),
            attributes: self.attributes.iter().filter(wanted).cloned().collect(),
        }
    }
}
