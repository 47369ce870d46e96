//! Entries in memory, searched as a directory is.
//!
//! This is the embedded directory: it answers [`Search`]es with the same filter code that the rest
//! of the crate uses. Equality and "ends with" (`*@example.com`) are answered from an index, so that
//! the cost of a lookup does not grow with the number of entries.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::attr::{self, Rule};
use crate::dn::Dn;
use crate::entry::Entry;
use crate::filter::Filter;
use crate::search::{Outcome, Search};

/// No search returns it and no filter tests it: a directory that serves logins binds, it does not show
/// hashes.
const HIDDEN: &str = "userPassword";

/// A set of entries and its indexes.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    entries: Vec<Entry>,
    passwords: BTreeMap<usize, Vec<Vec<u8>>>,
    by_name: BTreeMap<String, usize>,
    /// Attribute in lower case, normal form of the value, entry.
    values: BTreeSet<(String, Vec<u8>, usize)>,
    /// The same with the value's bytes backwards, so that endings are a range.
    endings: BTreeSet<(String, Vec<u8>, usize)>,
}

/// Two entries with one name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two entries are named '{0}'")]
pub struct Duplicate(pub String);

impl Tree {
    /// Makes a tree of entries. Entries need not have parents.
    ///
    /// # Errors
    /// When a name stands twice.
    pub fn new(entries: Vec<Entry>) -> Result<Self, Duplicate> {
        let mut tree = Self::default();
        for (id, mut entry) in entries.into_iter().enumerate() {
            let name = entry.dn.normal();
            if tree.by_name.insert(name.clone(), id).is_some() {
                return Err(Duplicate(name));
            }
            let passwords: Vec<Vec<u8>> = entry.values(HIDDEN).map(<[u8]>::to_vec).collect();
            if !passwords.is_empty() {
                tree.passwords.insert(id, passwords);
                entry.attributes.retain(|a| !attr::covers(HIDDEN, &a.name));
            }
            for attribute in &entry.attributes {
                let rule = attr::rule(&attribute.name);
                let base = attribute.name.split(';').next().unwrap_or_default();
                for value in attribute.values.iter().filter_map(|value| rule.normal(value)) {
                    let mut ending = value.clone();
                    ending.reverse();
                    tree.values.insert((base.to_ascii_lowercase(), value, id));
                    tree.endings.insert((base.to_ascii_lowercase(), ending, id));
                }
            }
            tree.entries.push(entry);
        }
        Ok(tree)
    }

    /// The entry of that name, without its passwords.
    pub fn get(&self, dn: &Dn) -> Option<&Entry> {
        self.by_name.get(&dn.normal()).map(|&id| &self.entries[id])
    }

    /// The values of `userPassword` of the entry of that name, for a bind.
    pub fn passwords(&self, dn: &Dn) -> &[Vec<u8>] {
        let id = self.by_name.get(&dn.normal());
        id.and_then(|id| self.passwords.get(id)).map_or(&[], Vec::as_slice)
    }

    /// All entries, in the order they were given, without their passwords.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Answers a search, as slapd(8) would: passwords are neither shown nor tested.
    pub fn search(&self, search: &Search) -> Outcome {
        let base = search.base.normal();
        let root = search.base.rdns.is_empty();
        if !root && !self.by_name.contains_key(&base) && !self.has_children(&search.base) {
            return Outcome::NoSuchBase;
        }
        let mut found = Vec::new();
        let mut more = false;
        let mut visit = |id: usize| {
            let entry = &self.entries[id];
            if !entry.dn.within(&search.base, search.scope) || !search.filter.matches(entry) {
                return true;
            }
            if search.size_limit != 0 && found.len() >= search.size_limit as usize {
                more = true;
                return false;
            }
            found.push(entry.select(&search.attributes));
            true
        };
        match self.candidates(&search.filter) {
            Some(ids) => ids.into_iter().all(&mut visit),
            None => (0..self.entries.len()).all(&mut visit),
        };
        Outcome::Entries { entries: found, more }
    }

    /// LDIF texts often leave the upper entries out.
    fn has_children(&self, base: &Dn) -> bool {
        self.entries.iter().any(|entry| entry.dn.within(base, crate::Scope::Sub))
    }

    /// A superset of the entries that match, in their order; `None` for "look at all".
    fn candidates(&self, filter: &Filter) -> Option<Vec<usize>> {
        match filter {
            Filter::Equal(name, value) => {
                let value = attr::rule(name).normal(value)?;
                Some(self.range(&self.values, name, &value, true))
            }
            Filter::Substrings(name, parts) => {
                let rule = attr::rule(name);
                if !matches!(rule, Rule::CaseIgnore | Rule::CaseExact) {
                    return None;
                }
                if let Some(last) = &parts.last {
                    let mut ending = rule.normal_piece(last, false, true)?;
                    ending.reverse();
                    return Some(self.range(&self.endings, name, &ending, false));
                }
                let initial = rule.normal_piece(parts.initial.as_ref()?, true, false)?;
                Some(self.range(&self.values, name, &initial, false))
            }
            Filter::And(parts) => {
                parts.iter().filter_map(|part| self.candidates(part)).min_by_key(Vec::len)
            }
            Filter::Or(parts) => {
                let mut all = BTreeSet::new();
                for part in parts {
                    all.extend(self.candidates(part)?);
                }
                Some(all.into_iter().collect())
            }
            _ => None,
        }
    }

    /// Entries whose value is (`whole`) or begins with `prefix` in one of the indexes.
    fn range(
        &self,
        index: &BTreeSet<(String, Vec<u8>, usize)>,
        name: &str,
        prefix: &[u8],
        whole: bool,
    ) -> Vec<usize> {
        let name = name.split(';').next().unwrap_or_default().to_ascii_lowercase();
        let from = (name.clone(), prefix.to_vec(), 0);
        let ids: BTreeSet<usize> = index
            .range(from..)
            .take_while(|(n, value, _)| {
                *n == name && if whole { value == prefix } else { value.starts_with(prefix) }
            })
            .map(|(_, _, id)| *id)
            .collect();
        ids.into_iter().collect()
    }
}
