//! Settings files: `name = value`, as Postfix's tables and Dovecot's LDAP settings have them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

/// One setting and the line where it begins (counted from 1).
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value, without the blanks around it. May be a password: never printed.
    pub value: String,
    /// Where it stands.
    pub line: usize,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} = [value]", self.line, self.name)
    }
}

/// Something wrong, or worth saying, about a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {setting}: {what}")]
pub struct Problem {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, counted from 1; 0 when the setting is missing.
    pub line: usize,
    /// The setting.
    pub setting: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// All that is wrong in a file; one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl core::error::Error for Problems {}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// postconf(5): a line that begins with a blank continues the one before; `#` begins a comment
    /// only as the first character of a line that is not blank.
    Postfix,
    /// Dovecot 2.3: a `\` at the end continues; `#` begins a comment anywhere but in quotes; a value
    /// may stand in quotes.
    Dovecot,
}

/// Takes the settings of a file one by one and collects what is wrong with them.
#[derive(Debug)]
pub struct Reader {
    file: String,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
    notes: Vec<Problem>,
}

impl Reader {
    /// Reads a file's text. `known` are the names that may stand in it; others are problems.
    pub fn new(file: &str, text: &str, format: Format, known: &[&str]) -> Self {
        let mut reader = Self {
            file: file.to_string(),
            settings: Vec::new(),
            problems: Vec::new(),
            notes: Vec::new(),
        };
        let lines = match format {
            Format::Postfix => postfix_lines(text),
            Format::Dovecot => dovecot_lines(text),
        };
        for (line, text) in lines {
            let Some((name, value)) = text.split_once('=') else {
                // The line may be a password that lost its name: say no more than its first word.
                let word = text.split_whitespace().next().unwrap_or_default();
                let word = if known.contains(&word) { word } else { "setting" };
                reader.fault(line, word, "'=' is missing");
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            let value = if format == Format::Dovecot { unquote(value) } else { value.to_string() };
            if !known.contains(&name) {
                let what = match nearest(name, known) {
                    Some(near) => format!("unknown setting; did you mean '{near}'?"),
                    None => "unknown setting".to_string(),
                };
                reader.fault(line, name, &what);
                continue;
            }
            let setting = Setting { name: name.to_string(), value, line };
            match reader.settings.iter_mut().find(|s| s.name == name) {
                Some(earlier) => {
                    let what = format!("set again; line {} no longer counts", earlier.line);
                    *earlier = setting;
                    reader.note_at(line, name, &what);
                }
                None => reader.settings.push(setting),
            }
        }
        reader
    }

    fn problem(&self, line: usize, setting: &str, what: &str) -> Problem {
        Problem {
            file: self.file.clone(),
            line,
            setting: setting.to_string(),
            what: what.to_string(),
        }
    }

    fn fault(&mut self, line: usize, setting: &str, what: &str) {
        let problem = self.problem(line, setting, what);
        self.problems.push(problem);
    }

    fn note_at(&mut self, line: usize, setting: &str, what: &str) {
        let problem = self.problem(line, setting, what);
        self.notes.push(problem);
    }

    fn find(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().find(|s| s.name == name)
    }

    fn line(&self, name: &str) -> usize {
        self.find(name).map_or(0, |s| s.line)
    }

    /// Reports a fault of a setting.
    pub fn bad(&mut self, name: &str, what: &str) {
        self.fault(self.line(name), name, what);
    }

    /// Remarks something that is no fault.
    pub fn note(&mut self, name: &str, what: &str) {
        self.note_at(self.line(name), name, what);
    }

    /// The value, where the setting is there.
    pub fn text(&self, name: &str) -> Option<String> {
        self.find(name).map(|s| s.value.clone())
    }

    /// The value, where it is there and not empty.
    pub fn filled(&self, name: &str) -> Option<String> {
        self.text(name).filter(|value| !value.is_empty())
    }

    /// The value, or a default where there is none.
    pub fn or(&self, name: &str, default: &str) -> String {
        self.filled(name).unwrap_or_else(|| default.to_string())
    }

    /// The words of a value, separated by commas or blanks.
    pub fn words(&self, name: &str) -> Option<Vec<String>> {
        let separator = |c: char| c == ',' || c.is_whitespace();
        let words = |value: String| {
            value.split(separator).filter(|w| !w.is_empty()).map(ToString::to_string).collect()
        };
        self.text(name).map(words)
    }

    /// `yes` or `no`.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.filled(name).map(|v| v.to_ascii_lowercase()).as_deref() {
            None => default,
            Some("yes") => true,
            Some("no") => false,
            Some(_) => {
                self.bad(name, "must be 'yes' or 'no'");
                default
            }
        }
    }

    /// A number.
    pub fn number(&mut self, name: &str, default: u32, range: RangeInclusive<u32>) -> u32 {
        match self.filled(name).map(|value| value.parse::<u32>()) {
            None => default,
            Some(Ok(number)) if range.contains(&number) => number,
            Some(_) => {
                let what = format!("must be a number from {} to {}", range.start(), range.end());
                self.bad(name, &what);
                default
            }
        }
    }

    /// One of several words (compared without case); gives its place in the list.
    pub fn choice(&mut self, name: &str, choices: &[&str], default: usize) -> usize {
        let Some(value) = self.filled(name) else { return default };
        match choices.iter().position(|choice| value.eq_ignore_ascii_case(choice)) {
            Some(place) => place,
            None => {
                let mut what = format!("must be one of: {}", choices.join(", "));
                if let Some(near) = nearest(&value, choices) {
                    what.push_str(&format!("; did you mean '{near}'?"));
                }
                self.bad(name, &what);
                default
            }
        }
    }

    /// Notes that settings are read but change nothing.
    pub fn ignored(&mut self, names: &[&str], why: &str) {
        for name in names {
            if self.find(name).is_some() {
                self.note(name, why);
            }
        }
    }

    /// The remarks, where nothing is wrong.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn finish(self) -> Result<Vec<Problem>, Problems> {
        if self.problems.is_empty() { Ok(self.notes) } else { Err(Problems(self.problems)) }
    }
}

/// Logical lines and the numbers of their first physical ones.
fn postfix_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        match lines.last_mut() {
            Some((_, before)) if line.starts_with([' ', '\t']) => {
                before.push(' ');
                before.push_str(content);
            }
            _ => lines.push((index + 1, content.to_string())),
        }
    }
    lines
}

fn dovecot_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let content = uncommented(line.trim());
        if content.is_empty() {
            continue;
        }
        let (content, continues) = match content.strip_suffix('\\') {
            Some(content) => (content.trim_end(), true),
            None => (content, false),
        };
        match lines.last_mut() {
            Some((_, before)) if open => {
                before.push(' ');
                before.push_str(content);
            }
            _ => lines.push((index + 1, content.to_string())),
        }
        open = continues;
    }
    lines
}

/// The line up to a `#` that stands in no quotes.
fn uncommented(line: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => return line[..at].trim_end(),
            (None, _) => {}
        }
    }
    line
}

fn unquote(value: &str) -> String {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            let mut out = String::with_capacity(inner.len());
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
            }
            return out;
        }
    }
    value.to_string()
}

/// The known word nearest to what was written, when it is near enough to be meant.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word: Vec<char> = word.to_lowercase().chars().take(64).collect();
    let best = known.iter().map(|k| (distance(&word, k), *k)).min_by_key(|(d, _)| *d)?;
    (best.0 <= 1 + word.len() / 4).then_some(best.1)
}

/// Levenshtein distance.
fn distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (j, cb) in b.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = j + 1;
        for (i, ca) in a.iter().enumerate() {
            let change = diagonal + usize::from(*ca != cb);
            diagonal = row[i + 1];
            row[i + 1] = change.min(diagonal + 1).min(row[i] + 1);
        }
    }
    row[a.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["server_host", "bind_pw", "scope", "timeout", "start_tls"];

    #[test]
    fn postfix_files() {
        let text = "# comment\nserver_host = ldap://a\n  # in between\n\n\tldap://b\nscope=sub\n";
        let mut r = Reader::new("f", text, Format::Postfix, KNOWN);
        assert_eq!(r.words("server_host").unwrap(), ["ldap://a", "ldap://b"]);
        assert_eq!(r.choice("scope", &["base", "one", "sub"], 0), 2);
        assert!(r.finish().unwrap().is_empty());
    }

    #[test]
    fn postfix_values_keep_the_hash() {
        let r = Reader::new("f", "bind_pw = a#b \"c\"\n", Format::Postfix, KNOWN);
        assert_eq!(r.text("bind_pw").unwrap(), "a#b \"c\"");
    }

    #[test]
    fn dovecot_files() {
        let text = "server_host = a \\\n  b # both\nbind_pw = \"x#\\\"y\" # z\n scope = '#'\n";
        let r = Reader::new("f", text, Format::Dovecot, KNOWN);
        assert_eq!(r.text("server_host").unwrap(), "a b");
        assert_eq!(r.text("bind_pw").unwrap(), "x#\"y");
        assert_eq!(r.text("scope").unwrap(), "#");
    }

    #[test]
    fn errors_name_file_line_setting_and_the_nearest() {
        let text =
            "sever_host = x\nscope = sup\ntimeout = soon\nhunter2\nstart_tls = ja\nzzzzzz = 1\n";
        let mut r = Reader::new("maps/a", text, Format::Postfix, KNOWN);
        r.choice("scope", &["base", "one", "sub"], 0);
        r.number("timeout", 10, 1..=3600);
        r.flag("start_tls", false);
        let text = r.finish().unwrap_err().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "maps/a:1: sever_host: unknown setting; did you mean 'server_host'?");
        assert_eq!(lines[1], "maps/a:4: setting: '=' is missing");
        assert_eq!(lines[2], "maps/a:6: zzzzzz: unknown setting");
        assert_eq!(
            lines[3],
            "maps/a:2: scope: must be one of: base, one, sub; did you mean 'sub'?"
        );
        assert_eq!(lines[4], "maps/a:3: timeout: must be a number from 1 to 3600");
        assert_eq!(lines[5], "maps/a:5: start_tls: must be 'yes' or 'no'");
    }

    #[test]
    fn a_setting_twice_is_remarked() {
        let r = Reader::new("f", "scope = sub\nscope = one\n", Format::Postfix, KNOWN);
        assert_eq!(r.text("scope").unwrap(), "one");
        let notes = r.finish().unwrap();
        assert_eq!(notes[0].to_string(), "f:2: scope: set again; line 1 no longer counts");
    }
}
