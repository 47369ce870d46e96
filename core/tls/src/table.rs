//! A next hop to what is wanted of its hosts.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::entry::{Entry, EntryError};
use crate::fingerprint::Fingerprint;
use crate::level::Level;
use crate::names::NameRule;

/// What holds where no entry says otherwise. Names in parentheses are those of postconf(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// (smtp_tls_security_level)
    pub level: Level,
    /// Names at the level `verify` (smtp_tls_verify_cert_match).
    pub verify_names: Vec<NameRule>,
    /// Names at the level `secure` (smtp_tls_secure_cert_match).
    pub secure_names: Vec<NameRule>,
    /// At the level `fingerprint` (smtp_tls_fingerprint_cert_match).
    pub fingerprints: Vec<Fingerprint>,
}

impl Default for Defaults {
    /// Those of Postfix, with the level `may`.
    fn default() -> Self {
        Self {
            level: Level::May,
            verify_names: [NameRule::Hostname].into(),
            secure_names: [NameRule::Nexthop, NameRule::DotNexthop].into(),
            fingerprints: Vec::new(),
        }
    }
}

/// What is wanted of the hosts of one next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The level.
    pub level: Level,
    /// The names that the certificate may be for, where the level asks for one.
    pub names: Vec<NameRule>,
    /// Certificates and keys, at the level `fingerprint`.
    pub fingerprints: Vec<Fingerprint>,
    /// The name to ask for (SNI); `None`: the host's.
    pub server_name: Option<NameRule>,
    /// Who says so.
    pub origin: Origin,
}

/// Who says what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The defaults.
    Default,
    /// The entry with this key.
    Entry(Box<str>),
}

/// An entry that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The entry of this next hop.
    #[error("{0}: {1}")]
    Entry(Box<str>, EntryError),
    /// A next hop is listed twice.
    #[error("{0} is listed twice")]
    Twice(Box<str>),
}

/// Policies by next hop (smtp_tls_policy_maps).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyTable {
    defaults: Defaults,
    entries: BTreeMap<Box<str>, Entry>,
}

impl PolicyTable {
    /// Without entries.
    ///
    /// # Errors
    /// [`EntryError::NoFingerprint`]
    pub fn new(defaults: Defaults) -> Result<Self, EntryError> {
        if defaults.level == Level::Fingerprint && defaults.fingerprints.is_empty() {
            return Err(EntryError::NoFingerprint);
        }
        Ok(Self { defaults, entries: BTreeMap::new() })
    }

    /// Adds an entry for a next hop as transport tables write it: `example.com`, `[host]:587`; or for
    /// all domains below one: `.example.com`.
    ///
    /// # Errors
    /// [`TableError`]
    pub fn add(&mut self, nexthop: &str, entry: Entry) -> Result<(), TableError> {
        let key: Box<str> = nexthop.to_ascii_lowercase().into();
        if entry.level == Level::Fingerprint
            && entry.fingerprints.is_empty()
            && self.defaults.fingerprints.is_empty()
        {
            return Err(TableError::Entry(key, EntryError::NoFingerprint));
        }
        match self.entries.insert(key.clone(), entry) {
            None => Ok(()),
            Some(_) => Err(TableError::Twice(key)),
        }
    }

    /// Adds the lines of a file as postmap(1) reads them: a next hop, blanks, an [`Entry`]; a line
    /// that begins with a blank goes on with the one before, and `#` begins a remark.
    ///
    /// # Errors
    /// The number of the first line that cannot be taken, and why; the lines before it are added.
    pub fn add_file(&mut self, text: &str) -> Result<(), (usize, TableError)> {
        let mut logical: Vec<(usize, String)> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let content = line.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            match logical.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
                Some((_, before)) => *before = format!("{before} {content}"),
                None => logical.push((at + 1, content.into())),
            }
        }
        for (at, line) in logical {
            let (key, text) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
            let entry = Entry::parse(text).map_err(|error| TableError::Entry(key.into(), error));
            entry.and_then(|entry| self.add(key, entry)).map_err(|error| (at, error))?;
        }
        Ok(())
    }

    /// The policy for a next hop, at `now` (seconds since 1970 in UTC). A bare domain without an
    /// entry has that of the nearest domain above it that stands with a leading dot. An entry that
    /// is over counts as if it were not there.
    pub fn find(&self, nexthop: &str, now: u64) -> Policy {
        let lower = nexthop.to_ascii_lowercase();
        let mut key = lower.as_str();
        loop {
            if let Some(entry) = self.entries.get(key).filter(|entry| !entry.is_over(now)) {
                return self.policy(entry, Origin::Entry(key.into()));
            }
            let bare = !lower.contains(['[', ':']);
            let parent = key.get(1..).and_then(|rest| rest.find('.')).filter(|_| bare);
            match parent.and_then(|dot| key.get(dot + 1..)) {
                Some(parent) => key = parent,
                None => return self.policy(&Entry::new(self.defaults.level), Origin::Default),
            }
        }
    }

    /// Entries that are over, with their keys.
    pub fn over(&self, now: u64) -> impl Iterator<Item = (&str, &Entry)> {
        let entries = self.entries.iter().filter(move |(_, entry)| entry.is_over(now));
        entries.map(|(key, entry)| (&**key, entry))
    }

    /// Whether TLSA records are asked for anywhere.
    pub fn names_dane(&self) -> bool {
        let levels = self.entries.values().map(|entry| entry.level);
        levels.chain([self.defaults.level]).any(Level::is_dane)
    }

    fn policy(&self, entry: &Entry, origin: Origin) -> Policy {
        let defaults = &self.defaults;
        let names = match (entry.level, &entry.names) {
            (_, Some(names)) => names.clone(),
            (Level::Verify, None) => defaults.verify_names.clone(),
            (Level::Secure, None) => defaults.secure_names.clone(),
            _ => Vec::new(),
        };
        let fingerprints = match (entry.level, &*entry.fingerprints) {
            (Level::Fingerprint, []) => defaults.fingerprints.clone(),
            (_, listed) => listed.to_vec(),
        };
        let server_name = entry.server_name.clone();
        Policy { level: entry.level, names, fingerprints, server_name, origin }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("smtp_tls_security_level"),
            Self::Entry(key) => write!(f, "smtp_tls_policy_maps, {key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "
# TLS_README
example.com             secure match=.example.com
.example.com            verify
[mail.example.com]      encrypt
[mail.example.com]:587  secure
    match=hostname

old.test                may until=2027-01-31
.test                   none
";

    fn table(level: Level) -> PolicyTable {
        let mut table = PolicyTable::new(Defaults { level, ..Defaults::default() }).unwrap();
        table.add_file(FILE).unwrap();
        table
    }

    #[test]
    fn nearest_entry() {
        let table = table(Level::Encrypt);
        for (nexthop, level, origin) in [
            ("example.com", Level::Secure, Some("example.com")),
            ("EXAMPLE.com", Level::Secure, Some("example.com")),
            ("a.b.example.com", Level::Verify, Some(".example.com")),
            ("badexample.com", Level::Encrypt, None),
            ("[mail.example.com]", Level::Encrypt, Some("[mail.example.com]")),
            ("[mail.example.com]:587", Level::Secure, Some("[mail.example.com]:587")),
            ("[mail.example.com]:25", Level::Encrypt, None),
            ("[other.example.com]", Level::Encrypt, None),
            ("mail.example.com:25", Level::Encrypt, None),
            ("old.test", Level::May, Some("old.test")),
            ("x.test", Level::None, Some(".test")),
            ("test", Level::Encrypt, None),
            ("", Level::Encrypt, None),
            (".", Level::Encrypt, None),
        ] {
            let found = table.find(nexthop, 1_800_000_000);
            let want = origin.map_or(Origin::Default, |key| Origin::Entry(key.into()));
            assert_eq!((found.level, found.origin), (level, want), "{nexthop}");
        }
    }

    #[test]
    fn what_is_over_does_not_count() {
        let table = table(Level::Secure);
        let (last, after) = (1_801_439_999, 1_801_440_000);
        assert_eq!(table.find("old.test", last).level, Level::May);
        assert_eq!(table.over(last).count(), 0);
        assert_eq!(table.find("old.test", after).origin, Origin::Entry(".test".into()));
        assert!(table.over(after).map(|(key, _)| key).eq(["old.test"]));
    }

    #[test]
    fn names_by_level() {
        let table = table(Level::Secure);
        let names = |nexthop| table.find(nexthop, 0).names;
        assert_eq!(names("other.net"), [NameRule::Nexthop, NameRule::DotNexthop]);
        assert_eq!(names("x.example.com"), [NameRule::Hostname]);
        assert_eq!(names("example.com"), [NameRule::Below("example.com".into())]);
        assert!(names("old.test").is_empty());
    }

    #[test]
    fn mistakes() {
        let no_print = Defaults { level: Level::Fingerprint, ..Defaults::default() };
        assert_eq!(PolicyTable::new(no_print), Err(EntryError::NoFingerprint));
        let mut table = PolicyTable::default();
        let key = || Box::from("a.test");
        assert_eq!(
            table.add_file("\na.test"),
            Err((2, TableError::Entry(key(), EntryError::Empty)))
        );
        assert_eq!(
            table.add_file("a.test fingerprint"),
            Err((1, TableError::Entry(key(), EntryError::NoFingerprint)))
        );
        assert_eq!(table.add_file("a.test may\nA.test may"), Err((2, TableError::Twice(key()))));
        assert!(!table.names_dane());
        table.add_file("b.test dane").unwrap();
        assert!(table.names_dane());
    }

    proptest! {
        #[test]
        fn any_file_is_survived(text in "[a.:\\[\\] \t\n#]{0,20}( may| verify)?[a.\n ]{0,9}", hop in "[a.:\\[\\]é]{0,8}") {
            let mut table = PolicyTable::default();
            let _ = table.add_file(&text);
            let found = table.find(&hop, 0);
            if let Origin::Entry(key) = found.origin {
                prop_assert!(hop.to_ascii_lowercase().ends_with(&*key));
            }
        }
    }
}
