//! The file `subscriptions` beside `cur`, `new`, `tmp` of the INBOX.
//!
//! Version 2, which Dovecot writes, begins with `V\t2` and an empty line; the levels of a name are apart
//! by a tab, and a tab, line end, NUL or `\x01` inside a level is escaped with `\x01`. The older form has
//! one name per line as it is. Names stand in modified UTF-7 (RFC 9051 Appendix A), as their directories do.

use crate::layout::Folder;
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The file's name.
pub const FILE: &str = "subscriptions";

const HEADER: &str = "V\t2\n\n";

/// The subscribed names, in the order of the file. A name need not exist as a folder.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Subscriptions {
    old_form: bool,
    lines: Vec<String>,
}

impl Subscriptions {
    /// Reads the file; lines that are not UTF-8 are dropped, an unfinished last line counts.
    pub fn parse(text: &[u8]) -> Self {
        let (old_form, body) = match text.strip_prefix(HEADER.as_bytes()) {
            Some(body) => (false, body),
            None => (!text.is_empty(), text),
        };
        let lines = body
            .split(|c| *c == b'\n')
            .filter(|line| !line.is_empty())
            .filter_map(|line| core::str::from_utf8(line).ok().map(ToOwned::to_owned))
            .collect();
        Self { old_form, lines }
    }

    /// The text of the file, in the form it was read in; a new one has version 2.
    pub fn print(&self) -> String {
        let mut text = String::new();
        if !self.old_form {
            text.push_str(HEADER);
        }
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The subscribed folders. Names that are not possible as folders are left out.
    pub fn iter(&self) -> impl Iterator<Item = Folder> {
        self.lines.iter().filter_map(|line| Folder::from_encoded(&self.unescape(line)).ok())
    }

    /// Whether `folder` is subscribed.
    pub fn has(&self, folder: &Folder) -> bool {
        let line = self.escape(folder);
        self.lines.contains(&line)
    }

    /// Adds `folder` at the end; false if it is there already.
    pub fn add(&mut self, folder: &Folder) -> bool {
        let line = self.escape(folder);
        let new = !self.lines.contains(&line);
        if new {
            self.lines.push(line);
        }
        new
    }

    /// Removes `folder`; false if it is not there.
    pub fn remove(&mut self, folder: &Folder) -> bool {
        let line = self.escape(folder);
        let before = self.lines.len();
        self.lines.retain(|known| *known != line);
        self.lines.len() < before
    }

    fn escape(&self, folder: &Folder) -> String {
        if self.old_form {
            return folder.encoded();
        }
        let levels: Vec<String> = folder.encoded().split('.').map(escape_level).collect();
        levels.join("\t")
    }

    fn unescape(&self, line: &str) -> String {
        if self.old_form {
            return line.to_string();
        }
        let levels: Vec<String> = line.split('\t').map(unescape_level).collect();
        levels.join(".")
    }
}

fn escape_level(level: &str) -> String {
    let mut out = String::with_capacity(level.len());
    for c in level.chars() {
        match c {
            '\0' => out.push_str("\x010"),
            '\x01' => out.push_str("\x011"),
            '\t' => out.push_str("\x01t"),
            '\r' => out.push_str("\x01r"),
            '\n' => out.push_str("\x01n"),
            c => out.push(c),
        }
    }
    out
}

fn unescape_level(level: &str) -> String {
    let mut out = String::with_capacity(level.len());
    let mut chars = level.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\x01' => match chars.next() {
                Some('0') => '\0',
                Some('1') | None => '\x01',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('n') => '\n',
                Some(other) => other,
            },
            c => c,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn folder(name: &str) -> Folder {
        Folder::parse(name).unwrap()
    }

    #[test]
    fn dovecots_file_comes_back() {
        let text = "V\t2\n\nWork\nEntw&APw-rfe\nINBOX\nWork\t2026\n";
        let subscriptions = Subscriptions::parse(text.as_bytes());
        let names: Vec<_> = subscriptions.iter().map(|f| f.name().to_string()).collect();
        assert_eq!(names, vec!["Work", "Entwürfe", "INBOX", "Work.2026"]);
        assert_eq!(subscriptions.print(), text);
    }

    #[test]
    fn names_are_added_and_removed() {
        let mut subscriptions = Subscriptions::parse(b"");
        assert!(subscriptions.add(&folder("Work.2026")));
        assert!(!subscriptions.add(&folder("Work.2026")));
        assert!(subscriptions.add(&folder("inbox")));
        assert!(subscriptions.has(&folder("INBOX")));
        assert_eq!(subscriptions.print(), "V\t2\n\nWork\t2026\nINBOX\n");
        assert!(subscriptions.remove(&folder("Work.2026")));
        assert!(!subscriptions.remove(&folder("Work.2026")));
        assert_eq!(subscriptions.print(), "V\t2\n\nINBOX\n");
    }

    #[test]
    fn the_old_form_stays() {
        let mut subscriptions = Subscriptions::parse(b"Work\nWork.2026\nlast");
        assert!(subscriptions.has(&folder("Work.2026")));
        assert!(subscriptions.has(&folder("last")));
        subscriptions.remove(&folder("Work"));
        assert_eq!(subscriptions.print(), "Work.2026\nlast\n");
    }

    #[test]
    fn what_cannot_be_a_folder_is_kept_but_not_shown() {
        let text = "V\t2\n\n~x\nWork\n&x-\n";
        let subscriptions = Subscriptions::parse(text.as_bytes());
        assert_eq!(subscriptions.iter().count(), 1);
        assert_eq!(subscriptions.print(), text);
    }

    #[test]
    fn escapes_come_back() {
        let level = "a\x01b\tc\rd\ne\0f";
        assert_eq!(unescape_level(&escape_level(level)), level);
        assert!(!escape_level(level).contains(['\t', '\n', '\r', '\0']));
    }
}
