//! A lookup table as ldap_table(5) has it: `query_filter`, `result_attribute`, `result_format`.
//!
//! [`Table::parse`] reads the map file; [`Table::lookup`] makes a [`Lookup`], which asks for searches
//! and takes their outcomes until the answer is there. It does what Postfix 3.7 does with the same
//! file, but for these points:
//!
//! - An unset `tls_require_cert` means yes. `version = 2` is read as 3.
//! - An unknown setting is an error; Postfix ignores it.
//! - Placeholders may only stand in values of the filter and the base.
//! - `terminal_result_attribute` and `leaf_result_attribute` are judged for each entry by itself, as
//!   the manual says; Postfix lets one entry's attributes decide about later entries.
//! - A lookup makes at most [`MAX_SEARCHES`] searches, however groups contain each other.
//! - [`Table::exists`] asks for one entry only, where the question is whether there is any.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops;
use core::time::Duration;

use crate::attr;
use crate::dn::{Dn, Scope};
use crate::entry::Entry;
use crate::filter::Filter;
use crate::search::{Deref, Outcome, Search};
use crate::server::{self, Bind, Server};
use crate::settings::{Format, Problem, Problems, Reader};
use crate::template::{DnTemplate, FilterTemplate, Language, Needs, Subject, Template, Values};
use crate::url::{self, Url};

/// Searches that one lookup may make; more means that groups contain each other.
pub const MAX_SEARCHES: usize = 1000;

/// A lookup table.
#[derive(Clone, Debug)]
pub struct Table {
    /// What the caller calls it, usually the file's name.
    pub name: String,
    /// Where the directory is.
    pub server: Server,
    /// Remarks about the settings: what is ignored, what means something else here.
    pub notes: Vec<Problem>,
    base: DnTemplate,
    scope: Scope,
    filter: FilterTemplate,
    format: Template,
    needs: Needs,
    domains: Vec<String>,
    terminal: Vec<String>,
    leaf: Vec<String>,
    ordinary: Vec<String>,
    special: Vec<String>,
    expansion_limit: u32,
    recursion_limit: u32,
    size_limit: u32,
    deref: Deref,
}

/// Names of the settings.
const KNOWN: &[&str] = &[
    "server_host",
    "server_port",
    "timeout",
    "search_base",
    "query_filter",
    "result_format",
    "result_filter",
    "domain",
    "result_attribute",
    "special_result_attribute",
    "terminal_result_attribute",
    "leaf_result_attribute",
    "scope",
    "bind",
    "bind_dn",
    "bind_pw",
    "recursion_limit",
    "expansion_limit",
    "size_limit",
    "dereference",
    "chase_referrals",
    "version",
    "debuglevel",
    "sasl_mechs",
    "sasl_realm",
    "sasl_authz_id",
    "sasl_minssf",
    "start_tls",
    "tls_ca_cert_dir",
    "tls_ca_cert_file",
    "tls_cert",
    "tls_key",
    "tls_require_cert",
    "tls_random_file",
    "tls_cipher_suite",
    "cache",
    "cache_expiry",
    "cache_size",
];

/// Why a lookup has no answer. None of these means "not found"; all are temporary for mail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The directory did not answer the search.
    #[error("{0}")]
    Unavailable(String),
    /// The search base does not exist, or we may not see it.
    #[error("search base '{0}' not found")]
    NoSuchBase(String),
    /// More entries than the size limit allows, ours or the server's.
    #[error("more entries than the size limit allows")]
    SizeLimit,
    /// More than one entry, where one is meant (here: at least so many).
    #[error("{0} or more entries where one is meant")]
    Ambiguous(usize),
    /// More values than `expansion_limit` allows.
    #[error("more than {0} values (expansion_limit)")]
    ExpansionLimit(u32),
    /// Groups nested more deeply than `recursion_limit` allows.
    #[error("'{0}' nested more than {1} deep (recursion_limit)")]
    RecursionLimit(String, u32),
    /// More than [`MAX_SEARCHES`] searches.
    #[error("more than {MAX_SEARCHES} searches for one key; do groups contain each other?")]
    TooManySearches,
    /// A value of a special result attribute that is neither a name nor a URL.
    #[error("{0}")]
    BadReference(String),
    /// A value that is not text.
    #[error("a value of '{0}' in '{1}' is not UTF-8 text")]
    NotText(String, String),
}

/// What a lookup found: its values in the order found; empty when there is nothing.
pub type Found = Vec<String>;

/// Joins values as postmap(1) prints them.
pub fn joined(values: &[String]) -> Option<String> {
    if values.is_empty() { None } else { Some(values.join(",")) }
}

impl Table {
    /// Reads a map file. `file` is how errors call it.
    ///
    /// # Errors
    /// All that is wrong in the file, with line and setting.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let mut r = Reader::new(file, text, Format::Postfix, KNOWN);
        let server = read_server(&mut r);
        let base = r.text("search_base").unwrap_or_default();
        if base.is_empty() {
            r.bad("search_base", "must be set");
        }
        let base = DnTemplate::parse(&base, Language::Query).unwrap_or_else(|error| {
            r.bad("search_base", &error.to_string());
            DnTemplate::default()
        });
        let filter = r.or("query_filter", "(mailacceptinggeneralid=%s)");
        let filter = FilterTemplate::parse(&filter, Language::Query).unwrap_or_else(|error| {
            r.bad("query_filter", &error.to_string());
            FilterTemplate::default()
        });
        let named =
            if r.filled("result_format").is_some() { "result_format" } else { "result_filter" };
        let format = r.or(named, "%s");
        let format = Template::parse(&format, Language::Result).unwrap_or_else(|error| {
            r.bad(named, &error);
            Template::default()
        });
        let mut needs = Needs::default();
        let mut add = |t: &Template| needs = needs.and(t.key_needs());
        base.each(&mut add);
        filter.each(&mut add);
        add(&format);
        let mut dynamic = false;
        filter.each(&mut |t| dynamic |= t.is_dynamic());
        if !dynamic {
            r.note("query_filter", "has no placeholder: every key has the same answer");
        }
        let domains = domains(&mut r);
        let expansion_limit = r.number("expansion_limit", 0, 0..=u32::MAX);
        let table = Self {
            name: file.to_string(),
            server,
            notes: Vec::new(),
            base,
            scope: [Scope::Base, Scope::One, Scope::Sub]
                [r.choice("scope", &["base", "one", "sub"], 2)],
            filter,
            format,
            needs,
            domains,
            terminal: attributes(&mut r, "terminal_result_attribute", ""),
            leaf: attributes(&mut r, "leaf_result_attribute", ""),
            ordinary: attributes(&mut r, "result_attribute", "maildrop"),
            special: attributes(&mut r, "special_result_attribute", ""),
            expansion_limit,
            recursion_limit: r.number("recursion_limit", 1000, 1..=u32::MAX),
            size_limit: r.number("size_limit", expansion_limit, 0..=i32::MAX as u32),
            deref: [Deref::Never, Deref::Searching, Deref::Finding, Deref::Always]
                [r.number("dereference", 0, 0..=3) as usize],
        };
        if table.attributes().is_empty() {
            r.bad("result_attribute", "no result attribute at all: nothing could be found");
        }
        Ok(Self { notes: r.finish()?, ..table })
    }

    /// Begins a lookup of a key. The key is folded to lower case, as Postfix does.
    pub fn lookup(&self, key: &str) -> Lookup<'_> {
        Lookup::new(Held::Borrowed(self), key, false)
    }

    /// Begins a lookup that only tells whether there is a value: it asks for one entry, and for all
    /// of them only where that one has no value. What is found is then one entry's values.
    pub fn exists(&self, key: &str) -> Lookup<'_> {
        Lookup::new(Held::Borrowed(self), key, true)
    }

    /// The same as [`Table::lookup`] and, with `exists`, [`Table::exists`], for a lookup that
    /// outlives the caller: it keeps the table.
    pub fn begin(self: &Arc<Self>, key: &str, exists: bool) -> Lookup<'static> {
        Lookup::new(Held::Shared(Arc::clone(self)), key, exists)
    }

    /// The first search of a lookup; `None` when the key cannot be in the table.
    pub fn search(&self, key: &str) -> Option<Search> {
        let subject = Subject::address(key);
        if key.is_empty() || !subject.suits(self.needs) || !self.serves(&subject) {
            return None;
        }
        let values = Values::of(subject);
        Some(Search {
            base: self.base.fill(&values)?,
            scope: self.scope,
            filter: self.filter.fill(&values)?,
            attributes: self.attributes(),
            size_limit: self.size_limit,
            deref: self.deref,
        })
    }

    /// `domain`: with a list, only keys in these domains are looked up.
    fn serves(&self, key: &Subject<'_>) -> bool {
        self.domains.is_empty()
            || (key.suits(Needs { local: true, domain: true, labels: 0 })
                && self.domains.iter().any(|domain| domain == key.domain()))
    }

    /// All attributes to ask for.
    fn attributes(&self) -> Vec<String> {
        [&self.terminal, &self.leaf, &self.ordinary, &self.special]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }
}

fn read_server(r: &mut Reader) -> Server {
    let port = r.number("server_port", 389, 1..=65535) as u16;
    let hosts = r.words("server_host").unwrap_or_else(|| Vec::from(["localhost".to_string()]));
    let places = server::places(r, "server_host", hosts, port);
    let verify = r.flag("tls_require_cert", true);
    if !verify {
        r.note("tls_require_cert", "the directory's certificate is not checked");
    }
    if r.number("version", 3, 2..=3) == 2 {
        r.note("version", "3 is spoken");
    }
    r.ignored(&["cache", "cache_expiry", "cache_size"], "is ignored, as in Postfix");
    r.ignored(&["tls_random_file", "tls_cipher_suite", "debuglevel"], "is ignored");
    let bind = match r.choice("bind", &["no", "none", "yes", "simple", "sasl"], 3) {
        0 | 1 => Bind::Anonymous,
        4 => external(r),
        _ => server::simple(r, "bind_dn", "bind_pw"),
    };
    let names = server::Names {
        ca_file: "tls_ca_cert_file",
        ca_dir: "tls_ca_cert_dir",
        cert: "tls_cert",
        key: "tls_key",
    };
    Server {
        places,
        start_tls: r.flag("start_tls", false),
        tls: server::tls(r, &names, verify),
        bind,
        timeout: Duration::from_secs(r.number("timeout", 10, 1..=3600).into()),
        chase_referrals: {
            // Written 0 and 1 in the manual, read as yes and no.
            match r.filled("chase_referrals").as_deref() {
                Some("0") => false,
                Some("1") => true,
                _ => r.flag("chase_referrals", false),
            }
        },
    }
}

fn external(r: &mut Reader) -> Bind {
    let mechanisms = r.words("sasl_mechs").unwrap_or_default();
    if !mechanisms.iter().any(|m| m.eq_ignore_ascii_case("EXTERNAL")) {
        r.bad("sasl_mechs", "only EXTERNAL can be used");
    }
    r.ignored(&["sasl_realm", "sasl_minssf"], "is ignored");
    Bind::External { authorize: r.filled("sasl_authz_id").unwrap_or_default() }
}

fn attributes(r: &mut Reader, name: &str, default: &str) -> Vec<String> {
    let Some(words) = r.words(name) else {
        return default.split_whitespace().map(ToString::to_string).collect();
    };
    for word in words.iter().filter(|word| !attr::valid(word)) {
        r.bad(name, &format!("'{word}' is not an attribute name"));
    }
    words
}

fn domains(r: &mut Reader) -> Vec<String> {
    let words = r.words("domain").unwrap_or_default();
    for word in words.iter().filter(|word| word.contains(['/', ':', '!'])) {
        r.bad("domain", &format!("'{word}': only domain names can be listed here"));
    }
    words.into_iter().map(|word| word.to_lowercase()).collect()
}

/// A lookup under way. [`Lookup::step`] says what to do; [`Lookup::answer`] takes what came.
#[derive(Clone, Debug)]
pub struct Lookup<'t> {
    table: Held<'t>,
    key: String,
    /// Ask for one entry first.
    first_only: bool,
    /// What is left to do, in the order in which values shall stand.
    work: VecDeque<Work>,
    /// The level of the search that is under way.
    level: u32,
    searches: usize,
    values: Found,
    failed: Option<LookupError>,
}

#[derive(Clone, Debug)]
enum Held<'t> {
    Borrowed(&'t Table),
    Shared(Arc<Table>),
}

impl ops::Deref for Held<'_> {
    type Target = Table;

    fn deref(&self) -> &Table {
        match self {
            Self::Borrowed(table) => table,
            Self::Shared(table) => table,
        }
    }
}

#[derive(Clone, Debug)]
enum Work {
    Value(String),
    Search(Search, u32),
}

/// What a lookup wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run this search and give its outcome to [`Lookup::answer`].
    Search(Search),
    /// The answer; nothing found when empty.
    Done(Result<Found, LookupError>),
}

impl<'t> Lookup<'t> {
    fn new(table: Held<'t>, key: &str, first_only: bool) -> Self {
        let key = key.to_lowercase();
        let mut work = VecDeque::new();
        if let Some(mut search) = table.search(&key) {
            if first_only {
                search.size_limit = 1;
            }
            work.push_back(Work::Search(search, 1));
        }
        Self {
            table,
            key,
            first_only,
            work,
            level: 0,
            searches: 0,
            values: Vec::new(),
            failed: None,
        }
    }

    /// What to do now. Ask again after each [`Lookup::answer`].
    pub fn step(&mut self) -> Step {
        loop {
            if let Some(error) = &self.failed {
                return Step::Done(Err(error.clone()));
            }
            match self.work.pop_front() {
                None => return Step::Done(Ok(core::mem::take(&mut self.values))),
                Some(Work::Value(value)) => self.expand(&value),
                Some(Work::Search(search, level)) => {
                    self.searches += 1;
                    self.level = level;
                    if self.searches <= MAX_SEARCHES {
                        return Step::Search(search);
                    }
                    self.failed = Some(LookupError::TooManySearches);
                }
            }
        }
    }

    /// Takes the outcome of the search that [`Lookup::step`] asked for last.
    pub fn answer(&mut self, outcome: Outcome) {
        let outermost = self.level == 1;
        match outcome {
            Outcome::Unavailable(why) => self.failed = Some(LookupError::Unavailable(why)),
            // A base made from the key need not be there; a member that is gone is skipped.
            Outcome::NoSuchBase if !outermost || self.table.base.is_dynamic() => {}
            Outcome::NoSuchBase => {
                let base = self.table.search(&self.key).map(|s| s.base.to_string());
                self.failed = Some(LookupError::NoSuchBase(base.unwrap_or_default()));
            }
            Outcome::Entries { entries, more } if outermost && self.first_only => {
                self.first_only = false;
                self.take(&entries);
                let found = self.work.iter().any(|work| self.yields(work));
                if more && !found && self.failed.is_none() {
                    self.work.clear();
                    if let Some(search) = self.table.search(&self.key) {
                        self.work.push_back(Work::Search(search, 1));
                    }
                }
            }
            Outcome::Entries { more: true, .. } => self.failed = Some(LookupError::SizeLimit),
            Outcome::Entries { entries, .. } => {
                let limit = self.table.size_limit as usize;
                if limit != 0 && entries.len() > limit {
                    self.failed = Some(LookupError::SizeLimit);
                } else {
                    self.take(&entries);
                }
            }
        }
    }

    fn yields(&self, work: &Work) -> bool {
        match work {
            Work::Value(value) => Subject::address(value).suits(self.table.format.value_needs()),
            Work::Search(..) => true,
        }
    }

    /// Puts the values of the entries before all other work, so that the order is that of reading.
    fn take(&mut self, entries: &[Entry]) {
        let mut work = Vec::new();
        for entry in entries {
            if let Err(error) = self.read(entry, &mut work) {
                self.failed = Some(error);
                return;
            }
        }
        for item in work.into_iter().rev() {
            self.work.push_front(item);
        }
    }

    fn read(&self, entry: &Entry, work: &mut Vec<Work>) -> Result<(), LookupError> {
        let table = &*self.table;
        let has = |names: &[String]| names.iter().any(|n| entry.values(n).next().is_some());
        let listed = |names: &[String], found: &str| names.iter().any(|n| attr::covers(n, found));
        let terminal = has(&table.terminal);
        let group = has(&table.special);
        for attribute in &entry.attributes {
            let name = attribute.name.as_str();
            if listed(&table.terminal, name) {
                text(entry, attribute, |value| work.push(Work::Value(value)))?;
            } else if terminal {
                continue;
            } else if listed(&table.leaf, name) {
                if !group {
                    text(entry, attribute, |value| work.push(Work::Value(value)))?;
                }
            } else if listed(&table.ordinary, name) {
                text(entry, attribute, |value| work.push(Work::Value(value)))?;
            } else if listed(&table.special, name) {
                if self.level >= table.recursion_limit {
                    let limit = table.recursion_limit;
                    return Err(LookupError::RecursionLimit(name.to_string(), limit));
                }
                let mut references = Vec::new();
                text(entry, attribute, |value| references.push(value))?;
                for value in references {
                    if let Some(search) = self.reference(&value)? {
                        work.push(Work::Search(search, self.level + 1));
                    }
                }
            }
        }
        Ok(())
    }

    /// The search behind a value of a special result attribute: a name or a URL.
    fn reference(&self, value: &str) -> Result<Option<Search>, LookupError> {
        let table = &*self.table;
        let bad = |why: String| LookupError::BadReference(format!("'{value}': {why}"));
        if !url::is_url(value) {
            let base = Dn::parse(value).map_err(|e| bad(e.to_string()))?;
            return Ok(Some(Search {
                base,
                scope: Scope::Base,
                filter: Filter::Present("objectClass".into()),
                attributes: table.attributes(),
                size_limit: table.size_limit,
                deref: table.deref,
            }));
        }
        // As Postfix does, the same servers are asked, whatever the URL names.
        let url = Url::parse(value).map_err(|e| bad(e.what))?;
        let ours = table.attributes();
        let attributes =
            if url.attributes.is_empty() { ours } else { both(&url.attributes, &ours) };
        if attributes.is_empty() {
            return Ok(None);
        }
        Ok(Some(Search {
            base: url.dn,
            scope: url.scope,
            filter: url.filter,
            attributes,
            size_limit: table.size_limit,
            deref: table.deref,
        }))
    }

    fn expand(&mut self, value: &str) {
        let table = &*self.table;
        let subject = Subject::address(value);
        if value.is_empty() || !subject.suits(table.format.value_needs()) {
            return;
        }
        let values = Values { key: Subject::address(&self.key), value: Some(subject), entry: None };
        self.values.push(table.format.fill_text(&values));
        if table.expansion_limit != 0 && self.values.len() > table.expansion_limit as usize {
            self.failed = Some(LookupError::ExpansionLimit(table.expansion_limit));
        }
    }
}

/// Attributes in both lists; where only one of them names options, with these.
fn both(theirs: &[String], ours: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for a in theirs {
        for b in ours {
            if attr::covers(a, b) {
                out.push(b.clone());
            } else if attr::covers(b, a) {
                out.push(a.clone());
            }
        }
    }
    out
}

/// The values of an attribute as text. A NUL would end the value for programs written in C.
fn text(
    entry: &Entry,
    attribute: &crate::entry::Attribute,
    mut each: impl FnMut(String),
) -> Result<(), LookupError> {
    for value in &attribute.values {
        match core::str::from_utf8(value) {
            Ok(text) if !text.contains('\0') => each(text.to_string()),
            _ => {
                let dn = entry.dn.to_string();
                return Err(LookupError::NotText(attribute.name.clone(), dn));
            }
        }
    }
    Ok(())
}
