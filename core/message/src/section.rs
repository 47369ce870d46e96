//! Sections of FETCH BODY[...] (RFC 3501 6.4.5): which octets a section path names.
//!
//! What a path does not name is empty, as Dovecot answers; see [`Found::Nothing`].

use alloc::vec::Vec;
use core::ops::Range;

use crate::crlf::{Position, to_crlf};
use crate::header::{Names, fields};
use crate::structure::{Kind, PartId, Structure};

/// What of a part is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// `[]` or `[1.2]`: everything, or the part's body.
    All,
    /// `HEADER`
    Header,
    /// `HEADER.FIELDS (..)`
    HeaderFields(Names),
    /// `HEADER.FIELDS.NOT (..)`
    HeaderFieldsNot(Names),
    /// `MIME`; needs a part number.
    Mime,
    /// `TEXT`
    Text,
}

/// Octets of the message that a section names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// These octets, to be sent as they are.
    Octets(Position, Position),
    /// A header block of which [`filter`] makes the section's text.
    Filtered(Position, Position),
    /// The message has no such section: an empty string.
    Nothing,
}

impl Found {
    /// The octets in CRLF form; empty for nothing.
    pub const fn range(&self) -> Range<u64> {
        match self {
            Self::Octets(start, end) | Self::Filtered(start, end) => start.crlf..end.crlf,
            Self::Nothing => 0..0,
        }
    }
}

/// The part that numbers name (RFC 3501 6.4.5): `None` when there is none.
pub fn part(structure: &Structure, numbers: &[u32]) -> Option<PartId> {
    let mut id = PartId::ROOT;
    for (n, &number) in numbers.iter().enumerate() {
        let last = n + 1 == numbers.len();
        id = match structure[id].kind {
            Kind::Multipart { .. } => {
                let skip = usize::try_from(number.checked_sub(1)?).ok()?;
                structure.children(id).nth(skip)?
            }
            // Of a part that is no multipart only part 1 is there, and it is the part itself.
            kind if number == 1 && (last || kind == Kind::Message) => id,
            _ => return None,
        };
        if !last && structure[id].kind == Kind::Message {
            id = structure[id].first_child?;
        }
    }
    Some(id)
}

/// Finds a section.
pub fn find(structure: &Structure, numbers: &[u32], text: &Text) -> Found {
    let Some(mut id) = part(structure, numbers) else { return Found::Nothing };
    let inside = matches!(
        text,
        Text::Header | Text::HeaderFields(_) | Text::HeaderFieldsNot(_) | Text::Text
    );
    if !numbers.is_empty() && inside {
        // These are those of the message inside the part.
        match structure[id].first_child {
            Some(message) if structure[id].kind == Kind::Message => id = message,
            _ => return Found::Nothing,
        }
    }
    let this = &structure[id];
    match text {
        Text::All if numbers.is_empty() => Found::Octets(this.header, this.end),
        Text::All | Text::Text => Found::Octets(this.body, this.end),
        Text::Mime if numbers.is_empty() => Found::Nothing,
        Text::Header | Text::Mime => Found::Octets(this.header, this.body),
        Text::HeaderFields(_) | Text::HeaderFieldsNot(_) => Found::Filtered(this.header, this.body),
    }
}

/// The fields of a header block that are named (`not`: that are not), in CRLF form. `block` may
/// have any line ends. An empty line follows the named fields always, the others when the block
/// has one, as Dovecot does.
pub fn filter(block: &[u8], names: &Names, not: bool) -> Vec<u8> {
    let mut picked = Vec::new();
    let mut all = fields(block);
    for field in all.by_ref().filter(|field| names.contains(field.name) != not) {
        picked.extend_from_slice(field.whole);
    }
    let mut out = to_crlf(&picked);
    if !not && !out.is_empty() && !out.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    if !not || !all.rest().is_empty() {
        out.extend_from_slice(b"\r\n");
    }
    out
}
