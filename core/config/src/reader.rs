//! Values by key, from the file or from the table of defaults, with problems gathered on the way.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::str::FromStr;
use core::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::keys::{KEYS, Key, SECTIONS};
use crate::nearest::nearest;
use crate::problem::{Problem, Problems};

type Value<'t> = Spanned<DeValue<'t>>;

pub(crate) struct Reader<'t> {
    text: &'t str,
    table: DeTable<'t>,
    problems: Vec<Problem>,
    read: BTreeSet<&'static str>,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(text: &'t str) -> Result<Self, Problems> {
        let problems = Vec::new();
        match DeTable::parse(text) {
            Ok(table) => {
                let table = table.into_inner();
                let mut reader = Self { text, table, problems, read: BTreeSet::new() };
                reader.find_unknown();
                Ok(reader)
            }
            Err(error) => {
                let line = line_of(text, error.span().map_or(0, |span| span.start));
                let what = error.message().to_string();
                let problems = Problems::new([Problem { line, what }].into());
                Err(problems.expect("invariant: one problem was given"))
            }
        }
    }

    pub(crate) fn finish<T>(self, value: T) -> Result<T, Problems> {
        debug_assert!(KEYS.iter().all(|key| self.read.contains(key.path)), "a key is not read");
        match Problems::new(self.problems) {
            Some(problems) => Err(problems),
            None => Ok(value),
        }
    }

    /// Notes a problem with the value of a key.
    pub(crate) fn bad(&mut self, path: &str, what: impl Into<String>) {
        let at = self.value(path).map_or(0, |value| value.span().start);
        let line = line_of(self.text, at);
        self.problems.push(Problem { line, what: format!("{path}: {}", what.into()) });
    }

    /// True when the file has this key.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.value(path).is_some()
    }

    /// Takes a value with `take`, from the file or else from the default; `None` without both.
    pub(crate) fn take<T>(
        &mut self,
        path: &'static str,
        wanted: &str,
        take: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let key = Key::find(path);
        self.read.insert(key.path);
        match self.value(path).map(|value| take(value.get_ref())) {
            Some(Ok(value)) => return Some(value),
            Some(Err(why)) => {
                let why = if why.is_empty() { why } else { format!("{why}; ") };
                let example = key.example();
                self.bad(path, format!("{why}write {wanted}, for example {example}"));
            }
            None => {}
        }
        let default = DeValue::parse(key.default?).expect("invariant: defaults are TOML");
        Some(take(default.get_ref()).expect("invariant: defaults are of the right kind"))
    }

    /// The same for a key that has a default.
    pub(crate) fn must<T>(
        &mut self,
        path: &'static str,
        wanted: &str,
        take: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> T {
        self.take(path, wanted, take).expect("invariant: this key has a default")
    }

    pub(crate) fn optional(&mut self, path: &'static str) -> Option<Box<str>> {
        self.take(path, "a text in quotes", text).filter(|text| !str::is_empty(text))
    }

    pub(crate) fn text(&mut self, path: &'static str) -> Box<str> {
        self.must(path, "a text in quotes", text)
    }

    pub(crate) fn flag(&mut self, path: &'static str) -> bool {
        self.must(path, "true or false", |value| value.as_bool().ok_or_else(String::new))
    }

    pub(crate) fn number(&mut self, path: &'static str, range: RangeInclusive<u64>) -> u64 {
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        self.must(path, &wanted, |value| {
            let number = value
                .as_integer()
                .and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
            number.filter(|number| range.contains(number)).ok_or_else(String::new)
        })
    }

    pub(crate) fn size(&mut self, path: &'static str, range: RangeInclusive<u64>) -> usize {
        usize::try_from(self.number(path, range)).unwrap_or(usize::MAX)
    }

    pub(crate) fn count(&mut self, path: &'static str, range: RangeInclusive<u32>) -> u32 {
        let number = self.number(path, u64::from(*range.start())..=u64::from(*range.end()));
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    pub(crate) fn duration(&mut self, path: &'static str) -> Duration {
        self.must(path, "a time", |value| value.as_str().and_then(duration).ok_or_else(String::new))
    }

    pub(crate) fn texts(&mut self, path: &'static str) -> Vec<Box<str>> {
        self.must(path, "a list of texts", |value| list(value, |text| Ok(text.into())))
    }

    /// A list of texts that each stand for something.
    pub(crate) fn parsed<T: FromStr<Err: ToString>>(&mut self, path: &'static str) -> Vec<T> {
        self.must(path, "a list of texts", |value| {
            list(value, |text| text.parse().map_err(|error: T::Err| error.to_string()))
        })
    }

    /// One of some words.
    pub(crate) fn choice<T: Copy>(&mut self, path: &'static str, choices: &[(&str, T)]) -> T {
        let wanted = words(choices);
        self.must(path, &format!("one of {wanted}"), |value| {
            choose(value.as_str().ok_or_else(String::new)?, choices)
        })
    }

    /// A list of some words.
    pub(crate) fn choices<T: Copy>(&mut self, path: &'static str, choices: &[(&str, T)]) -> Vec<T> {
        let wanted = words(choices);
        self.must(path, &format!("a list of {wanted}"), |value| {
            list(value, |text| choose(text, choices))
        })
    }

    fn value(&self, path: &str) -> Option<&Value<'t>> {
        match path.rsplit_once('.') {
            None => self.table.get(path),
            Some((section, name)) => match self.table.get(section)?.get_ref() {
                DeValue::Table(table) => table.get(name),
                _ => None,
            },
        }
    }

    fn find_unknown(&mut self) {
        let mut problems = Vec::new();
        for (key, value) in &self.table {
            let name = key.get_ref().as_ref();
            let is_section = SECTIONS.iter().any(|(section, _)| *section == name);
            match value.get_ref() {
                DeValue::Table(table) if is_section => {
                    for key in table.keys() {
                        unknown(name, key, self.text, &mut problems);
                    }
                }
                _ if is_section => {
                    let what =
                        format!("'{name}' is a section; write [{name}] on a line of its own");
                    problems.push(Problem { line: line_of(self.text, key.span().start), what });
                }
                _ => unknown("", key, self.text, &mut problems),
            }
        }
        self.problems = problems;
    }
}

fn unknown(
    section: &str,
    key: &Spanned<alloc::borrow::Cow<'_, str>>,
    text: &str,
    problems: &mut Vec<Problem>,
) {
    let name = key.get_ref().as_ref();
    let here = || KEYS.iter().filter(|key| key.section() == section);
    if here().any(|key| key.name() == name) {
        return;
    }
    let shown = if section.is_empty() { name.into() } else { format!("{section}.{name}") };
    let elsewhere = KEYS.iter().find(|key| key.name() == name);
    let among = |keys: &dyn Fn(&Key) -> bool| {
        let names: Vec<_> = KEYS.iter().filter(|key| keys(key)).map(Key::name).collect();
        let near = nearest(name, names.into_iter())?;
        KEYS.iter().find(|key| keys(key) && key.name() == near).map(|key| key.path.to_string())
    };
    let sections = || {
        let near = nearest(name, SECTIONS.iter().map(|(section, _)| *section))?;
        (!near.is_empty()).then(|| format!("[{near}]"))
    };
    let near = among(&|key| key.section() == section)
        .or_else(|| section.is_empty().then(sections).flatten())
        .or_else(|| among(&|_| true));
    let what = match (elsewhere, near) {
        (Some(key), _) => match key.section() {
            "" => format!("'{shown}' is no setting; write '{name}' above the first [section]"),
            section => format!("'{shown}' is no setting; write '{name}' under [{section}]"),
        },
        (None, Some(near)) => format!("'{shown}' is no setting; the nearest one is '{near}'"),
        (None, None) => format!("'{shown}' is no setting"),
    };
    problems.push(Problem { line: line_of(text, key.span().start), what });
}

pub(crate) fn text(value: &DeValue<'_>) -> Result<Box<str>, String> {
    value.as_str().map(Box::from).ok_or_else(String::new)
}

pub(crate) fn list<T>(
    value: &DeValue<'_>,
    each: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let DeValue::Array(values) = value else { return Err(String::new()) };
    values.iter().map(|value| each(value.get_ref().as_str().ok_or_else(String::new)?)).collect()
}

fn words<T>(choices: &[(&str, T)]) -> String {
    let quoted: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    quoted.join(", ")
}

fn choose<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(word, _)| *word == text);
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        match nearest(text, choices.iter().map(|(word, _)| *word)) {
            Some(near) => format!("'{text}' is not known, the nearest word is '{near}'"),
            None => format!("'{text}' is not known"),
        }
    })
}

/// `30`, `30s`, `5m`, `4h`, `2d`, `1w`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    digits.parse::<u32>().ok().map(|count| Duration::from_secs(u64::from(count) * unit))
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}
