//! The lines of a spool entry: `CHECKSUM TAB field TAB field .. LF`.
//!
//! Each line carries its own checksum, so a file that was torn anywhere, also in the middle of a
//! line, still gives every whole line before the tear.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use waypost_machine::UnixTime;

/// CRC-32 (ISO-HDLC, as in zip).
fn crc32(bytes: &[u8]) -> u32 {
    const fn table() -> [u32; 256] {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let mut value = n as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[n] = value;
            n += 1;
        }
        table
    }
    static TABLE: [u32; 256] = table();
    !bytes
        .iter()
        .fold(!0, |crc: u32, byte| TABLE[((crc ^ u32::from(*byte)) & 0xFF) as usize] ^ (crc >> 8))
}

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

    /// Ends the line.
    pub(crate) fn finish(self, out: &mut String) {
        writeln!(out, "{:08x}\t{}", crc32(self.0.as_bytes()), self.0)
            .expect("invariant: writing to a String cannot fail");
    }
}

/// The whole lines of a file, up to the first one that is torn or does not match its checksum.
pub(crate) fn lines(file: &[u8]) -> impl Iterator<Item = Fields<'_>> {
    bodies(file).map(|(_, body)| Fields(body.split('\t')))
}

/// How many bytes the whole lines take.
pub(crate) fn whole(file: &[u8]) -> usize {
    bodies(file).last().map_or(0, |(end, _)| end)
}

/// The whole lines without their checksums, each with the place behind it.
fn bodies(file: &[u8]) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    core::iter::from_fn(move || {
        let end = at + file[at..].iter().position(|byte| *byte == b'\n')?;
        let line = core::str::from_utf8(&file[at..end]).ok()?;
        let (sum, body) = line.split_once('\t')?;
        let good = sum.len() == 8 && u32::from_str_radix(sum, 16) == Ok(crc32(body.as_bytes()));
        at = end + 1;
        good.then_some((at, body))
    })
}

/// Reads the fields of one line.
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
    fn the_check_value_of_crc32() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn fields_come_back() {
        let mut out = String::new();
        Line::new("K").text("a\tb\\c\nd").plain(-7).option(None).option(Some("-")).finish(&mut out);
        assert_eq!(out.lines().count(), 1);
        let mut fields = lines(out.as_bytes()).next().unwrap();
        assert_eq!(fields.text().unwrap(), "K");
        assert_eq!(fields.text().unwrap(), "a\tb\\c\nd");
        assert_eq!(fields.plain::<i64>(), Some(-7));
        assert_eq!(fields.option(), Some(None));
        assert_eq!(fields.option().unwrap().unwrap().to_string(), "-");
        assert!(fields.text().is_none());
    }

    #[test]
    fn a_changed_line_ends_the_file() {
        let mut out = String::new();
        for word in ["a", "b", "c"] {
            Line::new(word).finish(&mut out);
        }
        let broken = out.replace("\tb\n", "\tx\n");
        let kinds = |file: &str| -> Vec<String> {
            lines(file.as_bytes()).filter_map(|mut f| f.text().map(|t| t.to_string())).collect()
        };
        assert_eq!(kinds(&out), ["a", "b", "c"]);
        assert_eq!(kinds(&broken), ["a"]);
        assert_eq!(kinds(&out[..out.len() - 1]), ["a", "b"]);
    }
}
