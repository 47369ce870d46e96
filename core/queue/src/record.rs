//! The lines of a spool entry: `CHECKSUM TAB field TAB field .. LF`.
//!
//! Each line carries its own checksum (CRC-32 as in zip, eight hexadecimal digits), so a file that
//! was torn anywhere, also in the middle of a line, still gives every whole line before the tear.
//! What is appended at a time is one line, of one or more records with a field `\;` in between. So
//! only the last line can be torn, also on a disk that keeps the later blocks of a write and loses
//! the earlier; one that is bad with others behind it was damaged.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use waypost_machine::UnixTime;

/// Between two records of one line. No text is ever written like this.
const AND: &str = "\t\\;\t";

/// Writes one line.
#[derive(Default)]
pub(crate) struct Line(String);

impl Line {
    /// A line of the kind that this word names.
    pub(crate) fn new(kind: &str) -> Self {
        Self(String::from(kind))
    }

    /// Adds a text.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.0.push('\t');
        for c in text.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '\t' => self.0.push_str("\\t"),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        self
    }

    /// Adds anything that prints without a tab or line end.
    pub(crate) fn plain(mut self, value: impl core::fmt::Display) -> Self {
        let mut text = String::new();
        write!(text, "{value}").expect("invariant: writing to a String cannot fail");
        self = self.text(&text);
        self
    }

    /// Adds a text that may be missing.
    pub(crate) fn option(self, text: Option<&str>) -> Self {
        match text {
            None => self.text("-"),
            Some(text) => {
                let mut marked = String::from("+");
                marked.push_str(text);
                self.text(&marked)
            }
        }
    }

    /// Adds another record to the line.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.push_str(AND);
        self.0.push_str(&other.0);
        self
    }

    /// Ends the line.
    pub(crate) fn finish(self, out: &mut String) {
        writeln!(out, "{:08x}\t{}", crc32fast::hash(self.0.as_bytes()), self.0)
            .expect("invariant: writing to a String cannot fail");
    }
}

/// The lines of a file, without checksums; `None` for one that is bad, or not ended.
pub(crate) fn lines(file: &[u8]) -> impl Iterator<Item = Option<&str>> {
    file.split_inclusive(|byte| *byte == b'\n').map(good)
}

/// How many bytes the whole lines before the first bad one take.
pub(crate) fn whole(file: &[u8]) -> usize {
    let lines = file.split_inclusive(|byte| *byte == b'\n');
    lines.take_while(|line| good(line).is_some()).map(<[u8]>::len).sum()
}

fn good(line: &[u8]) -> Option<&str> {
    let line = core::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (sum, body) = line.split_once('\t')?;
    // No other way of writing the number: a checksum that was changed is a changed line.
    let digits = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let plain = sum.len() == 8 && sum.bytes().all(digits);
    let known = u32::from_str_radix(sum, 16).ok()?;
    (plain && known == crc32fast::hash(body.as_bytes())).then_some(body)
}

/// The records of one line.
pub(crate) fn records(line: &str) -> impl Iterator<Item = Fields<'_>> {
    line.split(AND).map(|record| Fields(record.split('\t')))
}

/// Reads the fields of one record.
pub(crate) struct Fields<'a>(core::str::Split<'a, char>);

impl<'a> Fields<'a> {
    /// The next text.
    pub(crate) fn text(&mut self) -> Option<Cow<'a, str>> {
        let raw = self.0.next()?;
        if !raw.contains('\\') {
            return Some(Cow::Borrowed(raw));
        }
        let mut text = String::with_capacity(raw.len());
        let mut chars = raw.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next()? {
                    't' => text.push('\t'),
                    'n' => text.push('\n'),
                    c => text.push(c),
                },
                c => text.push(c),
            }
        }
        Some(Cow::Owned(text))
    }

    /// The next field, as what it prints.
    pub(crate) fn plain<T: core::str::FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }

    /// The next text that may be missing: `None` when the field is not there or broken.
    pub(crate) fn option(&mut self) -> Option<Option<Cow<'a, str>>> {
        let text = self.text()?;
        match text.as_ref() {
            "-" => Some(None),
            marked => marked.strip_prefix('+').map(|text| Some(Cow::Owned(text.into()))),
        }
    }

    /// How many fields are left.
    pub(crate) fn left(&self) -> Vec<&'a str> {
        self.0.clone().collect()
    }
}

pub(crate) fn time(fields: &mut Fields<'_>) -> Option<UnixTime> {
    Some(UnixTime { secs: fields.plain()?, nanos: fields.plain()? })
}

pub(crate) fn boxed(text: Cow<'_, str>) -> Box<str> {
    text.into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn fields_come_back() {
        let mut out = String::new();
        Line::new("K").text("a\tb\\c\nd").plain(-7).option(None).option(Some("-")).finish(&mut out);
        assert_eq!(out.lines().count(), 1);
        let mut fields = records(lines(out.as_bytes()).next().flatten().unwrap()).next().unwrap();
        assert_eq!(fields.text().unwrap(), "K");
        assert_eq!(fields.text().unwrap(), "a\tb\\c\nd");
        assert_eq!(fields.plain::<i64>(), Some(-7));
        assert_eq!(fields.option(), Some(None));
        assert_eq!(fields.option().unwrap().unwrap().to_string(), "-");
        assert!(fields.text().is_none());
    }

    #[test]
    fn records_share_a_line() {
        let mut out = String::new();
        Line::new("a").text("\\;").and(Line::new("b").text(";")).finish(&mut out);
        let line = lines(out.as_bytes()).next().flatten().unwrap();
        let mut read = Vec::new();
        for mut fields in records(line) {
            read.push((fields.text().unwrap(), fields.text().unwrap()));
        }
        assert_eq!(read, [("a".into(), "\\;".into()), ("b".into(), ";".into())]);
    }

    #[test]
    fn a_bad_line_is_told_from_good_ones() {
        let mut out = String::new();
        for word in ["a", "b", "c"] {
            Line::new(word).finish(&mut out);
        }
        let is_good = |file: &str| -> Vec<bool> {
            lines(file.as_bytes()).map(|line| line.is_some()).collect()
        };
        assert_eq!(is_good(&out), [true; 3]);
        assert_eq!(is_good(&out.replace("\tb\n", "\tx\n")), [true, false, true]);
        assert_eq!(is_good(&out[..out.len() - 1]), [true, true, false]);
        assert_eq!(is_good(&out.to_uppercase()), [false; 3]);
        assert_eq!(whole(out.replace("\tb\n", "\tx\n").as_bytes()), out.len() / 3);
    }
}
