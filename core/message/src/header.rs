//! Header blocks: fields, names, unfolded values.
//!
//! A header ends at the first empty line. A line without a colon is kept as a field without a
//! name, as Dovecot does; nothing else ends a header.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use memchr::{memchr, memchr2};

/// One header field in a block of octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, without blanks before the colon; empty when the line has no colon.
    pub name: &'a [u8],
    /// Everything after the colon up to the last line end, folds included.
    pub raw: &'a [u8],
    /// The whole field with its line ends.
    pub whole: &'a [u8],
}

impl<'a> Field<'a> {
    /// Whether the field is called `name` (letter case does not count).
    pub fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value as one line: without line ends, without blanks at both ends.
    pub fn value(&self) -> Cow<'a, [u8]> {
        unfold(self.raw.trim_ascii())
    }
}

/// Removes the line ends of a folded value (RFC 5322 2.2.3).
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect())
}

/// The fields of a header block, up to its empty line or end.
pub fn fields(block: &[u8]) -> Fields<'_> {
    Fields { rest: block }
}

/// Iterator of [`fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// What stands behind the last field given: the empty line and the body at the end.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let (line, mut used) = line(self.rest)?;
        if line.is_empty() {
            return None;
        }
        let (mut end, name_end) = (line.len(), memchr(b':', line));
        while let Some(&(b' ' | b'\t')) = self.rest.get(used) {
            let (more, n) = self::line(&self.rest[used..])?;
            end = used + more.len();
            used += n;
        }
        let (whole, rest) = self.rest.split_at(used);
        self.rest = rest;
        let (name, raw) = match name_end {
            Some(colon) => (whole[..colon].trim_ascii_end(), &whole[colon + 1..end]),
            None => (&whole[..0], &whole[..end]),
        };
        Some(Field { name, raw, whole })
    }
}

/// The first line without its line end, and how many octets it takes with it.
fn line(text: &[u8]) -> Option<(&[u8], usize)> {
    if text.is_empty() {
        return None;
    }
    Some(match memchr(b'\n', text) {
        Some(lf) => (text[..lf].strip_suffix(b"\r").unwrap_or(&text[..lf]), lf + 1),
        None => (text, text.len()),
    })
}

/// The header block at the start of a message: up to and with the empty line.
pub fn block(message: &[u8]) -> &[u8] {
    let mut fields = fields(message);
    fields.by_ref().for_each(drop);
    let rest = fields.rest();
    let blank = line(rest).map_or(0, |(_, used)| used);
    &message[..message.len() - rest.len() + blank]
}

/// A set of field names for HEADER.FIELDS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    sorted: Vec<Vec<u8>>,
}

impl Names {
    /// The set of `names`; letter case does not count.
    pub fn new<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Self {
        let mut sorted: Vec<_> =
            names.into_iter().map(|name| name.as_ref().to_ascii_lowercase()).collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self { sorted }
    }

    /// Whether `name` is one of them.
    pub fn contains(&self, name: &[u8]) -> bool {
        let folded = |c: &u8| c.to_ascii_lowercase();
        self.sorted
            .binary_search_by(|probe| probe.iter().copied().cmp(name.iter().map(folded)))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn fields_of_a_block() {
        let block: &[u8] = b"A: 1\r\nB :x\n\ty\r\n  z\nno colon\n: empty\n\nC: body\n";
        let all: Vec<_> = fields(block).map(|f| (f.name, f.value().into_owned())).collect();
        assert_eq!(
            all,
            vec![
                (&b"A"[..], b"1".to_vec()),
                (b"B", b"x\ty  z".to_vec()),
                (b"", b"no colon".to_vec()),
                (b"", b"empty".to_vec()),
            ]
        );
        assert_eq!(super::block(block).len(), block.len() - b"C: body\n".len());
        assert_eq!(super::block(b"A: 1"), b"A: 1");
        assert_eq!(super::block(b"\r\nbody"), b"\r\n");
    }

    #[test]
    fn names_ignore_case() {
        let names = Names::new(["Subject", "FROM", "subject"]);
        assert!(names.contains(b"from") && names.contains(b"SUBJECT"));
        assert!(!names.contains(b"sub") && !names.contains(b"subjects") && !names.contains(b""));
    }
}
