//! What the scanner makes of header lines: the fields it keeps, the kind of the part.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use memchr::memchr;

use super::{BOUNDARY, Boundary, FIELD_COST, Found, NAME, PREFIX, Scanner, State, Top};
use crate::crlf::Position;
use crate::structure::{FieldName, Kind};

/// What is known of the header being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Header {
    pub(super) lines: u64,
    /// The field being read, if it is kept.
    field: Option<FieldName>,
    value: Vec<u8>,
    pub(super) is_mime: bool,
}

impl Scanner {
    pub(super) fn header_line(&mut self, line: &[u8], ended: bool) {
        if let Some(found) = self.find(&line[..line.len().min(PREFIX)]) {
            return self.boundary_in_header(found);
        }
        if line.is_empty() && ended {
            self.state = State::HeaderEnd;
            return;
        }
        let folded = self.header.lines > 0 && matches!(line.first(), Some(b' ' | b'\t'));
        self.header.lines += 1;
        if folded {
            if self.header.field.is_some() {
                self.header.value.push(b'\n');
                self.header.value.extend_from_slice(line);
                self.header.value.truncate(self.limits.field);
            }
            return;
        }
        self.keep_field();
        let Some(colon) = memchr(b':', &line[..line.len().min(NAME + PREFIX)]) else { return };
        let name = trim_blanks_end(&line[..colon]);
        if name.eq_ignore_ascii_case(b"MIME-Version") {
            self.header.is_mime = true;
        }
        let Some(field) = FieldName::of(name) else { return };
        if field == FieldName::ContentType {
            self.header.is_mime = true;
        }
        if !field.is_envelope() || self.has_envelope() {
            self.header.field = Some(field);
            self.header.value.extend_from_slice(skip_blanks(&line[colon + 1..]));
            self.header.value.truncate(self.limits.field);
        }
    }

    /// Whether the current part is a message rather than a MIME part.
    fn has_envelope(&self) -> bool {
        match self.parts[self.part.index()].parent {
            None => true,
            Some(parent) => self.parts[parent.index()].kind == Kind::Message,
        }
    }

    /// Files the field read so far.
    fn keep_field(&mut self) {
        let Some(field) = self.header.field.take() else { return };
        let cost = self.header.value.len() + FIELD_COST;
        if self.kept + cost <= self.limits.kept {
            self.kept += cost;
            let value = self.header.value.as_slice().into();
            self.parts[self.part.index()].fields.push((field, value));
        }
        self.header.value.clear();
    }

    /// A boundary line instead of a header line.
    pub(super) fn boundary_in_header(&mut self, found: Found) {
        // The part whose header loses its last line end to the boundary.
        let mut short = None;
        let parent = self.parts[self.part.index()].parent;
        if self.header.lines > 0 {
            short = Some(self.part);
        } else if let Some(parent) = parent
            && self.parts[parent.index()].kind == Kind::Message
        {
            // The message inside is empty, and so is the body it is.
            short = Some(parent);
            let end = self.before_line_end();
            self.parts[parent.index()].body = end;
            self.parts[self.part.index()].header = end;
        }
        let end = if short.is_some() { self.before_line_end() } else { self.line };
        while self.state == State::Header {
            self.end_header(end, false);
        }
        if let Some(short) = short {
            self.end_parts(self.parts[short.index()].parent, end);
        }
        self.cross(found, self.line);
    }

    /// The header of the current part ends, with its empty line (`blank`) or without.
    pub(super) fn end_header(&mut self, body: Position, blank: bool) {
        self.keep_field();
        let (kind, boundary) = self.classify();
        let room = self.depth + 1 < self.limits.depth;
        let more = self.parts.len() < self.limits.parts;
        let part = &mut self.parts[self.part.index()];
        part.body = body;
        part.kind = kind;
        if !self.header.is_mime {
            part.fields.retain(|(field, _)| field.is_envelope());
        }
        match (kind, boundary) {
            (Kind::Multipart { .. }, Some(text)) if blank && room => {
                self.boundaries.push(Boundary { part: self.part, text });
            }
            (Kind::Multipart { .. }, Some(_)) if blank => part.kind = Kind::Opaque,
            (Kind::Message, _) if room && more => return self.append(body),
            (Kind::Message, _) => part.kind = Kind::Opaque,
            _ => {}
        }
        self.begin_body(Top::Header);
    }

    /// What the current part's header makes of it, and its boundary.
    fn classify(&self) -> (Kind, Option<Vec<u8>>) {
        let part = &self.parts[self.part.index()];
        let parent = part.parent.map(|parent| self.parts[parent.index()].kind);
        let Some(content_type) = part.content_type().filter(|_| self.header.is_mime) else {
            let digest = parent == Some(Kind::Multipart { digest: true });
            return (if digest { Kind::Message } else { Kind::Text }, None);
        };
        let kind = if content_type.is_kind(b"text") {
            Kind::Text
        } else if content_type.is(b"message", b"rfc822") {
            Kind::Message
        } else if !content_type.is_kind(b"multipart") {
            Kind::Other
        } else if content_type.subtype.is_empty() {
            Kind::Opaque
        } else {
            Kind::Multipart { digest: content_type.subtype.eq_ignore_ascii_case(b"digest") }
        };
        let boundary = content_type.parameter(b"boundary");
        (kind, boundary.map(|text| text[..text.len().min(BOUNDARY)].to_vec()))
    }
}

fn trim_blanks_end(name: &[u8]) -> &[u8] {
    let len = name.iter().rposition(|octet| !matches!(octet, b' ' | b'\t')).map_or(0, |at| at + 1);
    &name[..len]
}

/// Skips the blanks behind a colon; of nothing but blanks, one.
fn skip_blanks(value: &[u8]) -> &[u8] {
    match value.iter().position(|octet| !matches!(octet, b' ' | b'\t')) {
        Some(at) => &value[at..],
        None => value.get(1..).unwrap_or_default(),
    }
}

/// The octets after a field's colon in the form a [`Part`] keeps: without the blanks that lead,
/// with LF for every fold.
pub(crate) fn kept_value(raw: &[u8]) -> Cow<'_, [u8]> {
    let Some(lf) = memchr(b'\n', raw) else { return Cow::Borrowed(skip_blanks(raw)) };
    let without_cr = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).len();
    let mut value = skip_blanks(&raw[..without_cr(&raw[..lf])]).to_vec();
    for line in raw[lf + 1..].split(|&octet| octet == b'\n') {
        value.push(b'\n');
        value.extend_from_slice(&line[..without_cr(line)]);
    }
    Cow::Owned(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_kept_as_dovecot_does() {
        assert_eq!(&*kept_value(b"  a\r\n\tb\n c"), b"a\n\tb\n c");
        assert_eq!(&*kept_value(b" \t "), b"\t ");
        assert_eq!(&*kept_value(b"a"), b"a");
    }
}
