//! The parts of a message: a flat tree with positions and the raw fields IMAP asks for.
//!
//! Built by [`Scanner`](crate::mime::Scanner), written by [`print`](crate::print), searched by
//! [`section`](crate::section) paths. Fields are kept raw and read when asked for, so that a
//! structure costs about as much memory as the fields do in the message.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use crate::content::{self, ContentType, Disposition};
use crate::crlf::{Mark, Position, Window};
use crate::envelope::{Envelope, text};

/// A field that a [`Part`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the variants are the fields' names")]
pub enum FieldName {
    ContentType,
    ContentTransferEncoding,
    ContentId,
    ContentDescription,
    ContentDisposition,
    ContentMd5,
    ContentLanguage,
    ContentLocation,
    Date,
    Subject,
    From,
    Sender,
    ReplyTo,
    To,
    Cc,
    Bcc,
    InReplyTo,
    MessageId,
}

const NAMES: [(&[u8], FieldName); 18] = [
    (b"Content-Type", FieldName::ContentType),
    (b"Content-Transfer-Encoding", FieldName::ContentTransferEncoding),
    (b"Content-ID", FieldName::ContentId),
    (b"Content-Description", FieldName::ContentDescription),
    (b"Content-Disposition", FieldName::ContentDisposition),
    (b"Content-MD5", FieldName::ContentMd5),
    (b"Content-Language", FieldName::ContentLanguage),
    (b"Content-Location", FieldName::ContentLocation),
    (b"Date", FieldName::Date),
    (b"Subject", FieldName::Subject),
    (b"From", FieldName::From),
    (b"Sender", FieldName::Sender),
    (b"Reply-To", FieldName::ReplyTo),
    (b"To", FieldName::To),
    (b"Cc", FieldName::Cc),
    (b"Bcc", FieldName::Bcc),
    (b"In-Reply-To", FieldName::InReplyTo),
    (b"Message-ID", FieldName::MessageId),
];

impl FieldName {
    /// The field of that name, if it is kept; letter case does not count.
    pub fn of(name: &[u8]) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, field)| field)
    }

    /// Whether the field is one of the envelope; the others are Content-*.
    pub fn is_envelope(self) -> bool {
        NAMES.iter().position(|&(_, field)| field == self).is_some_and(|at| at >= 8)
    }
}

/// Number of a part within its structure; the message itself is [`PartId::ROOT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId(pub(crate) u32);

impl PartId {
    /// The whole message.
    pub const ROOT: Self = Self(0);

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a part is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `text/*`, or nothing said.
    Text,
    /// `multipart/*`; its children are the parts between its boundaries.
    Multipart {
        /// `multipart/digest`: parts that say nothing are messages (RFC 2046 5.1.5).
        digest: bool,
    },
    /// `message/rfc822`; its one child is the message inside.
    Message,
    /// Anything else.
    Other,
    /// A multipart or message whose inside was not looked at, being beyond the limits.
    Opaque,
}

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The part it lies in.
    pub parent: Option<PartId>,
    /// The next part with the same parent.
    pub next: Option<PartId>,
    /// The first part inside.
    pub first_child: Option<PartId>,
    pub(crate) last_child: Option<PartId>,
    /// How to treat it.
    pub kind: Kind,
    /// Where its header starts.
    pub header: Position,
    /// Where its body starts: behind the empty line.
    pub body: Position,
    /// Where its body ends: before the line end that belongs to the next boundary.
    pub end: Position,
    pub(crate) fields: Vec<(FieldName, Box<[u8]>)>,
}

impl Part {
    pub(crate) const fn new(parent: Option<PartId>, at: Position) -> Self {
        Self {
            parent,
            next: None,
            first_child: None,
            last_child: None,
            kind: Kind::Text,
            header: at,
            body: at,
            end: at,
            fields: Vec::new(),
        }
    }

    /// Octets of the header in CRLF form, with its empty line.
    pub const fn header_size(&self) -> u64 {
        self.body.crlf - self.header.crlf
    }

    /// Octets of the body in CRLF form.
    pub const fn body_size(&self) -> u64 {
        self.end.crlf - self.body.crlf
    }

    /// Lines of the body: its line feeds.
    pub const fn body_lines(&self) -> u64 {
        self.end.lines - self.body.lines
    }

    /// First value of a field, raw, folds included.
    pub fn raw(&self, name: FieldName) -> Option<&[u8]> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| &**value)
    }

    /// Content-Type, if there is one.
    pub fn content_type(&self) -> Option<ContentType> {
        self.raw(FieldName::ContentType).map(ContentType::parse)
    }

    /// Content-Transfer-Encoding; `None` means `7bit`.
    pub fn encoding(&self) -> Option<Vec<u8>> {
        self.all(FieldName::ContentTransferEncoding).find_map(content::encoding)
    }

    /// Content-Disposition: the first one with parameters, otherwise the last one.
    pub fn disposition(&self) -> Option<Disposition> {
        let mut found = None;
        for value in self.all(FieldName::ContentDisposition) {
            found = Disposition::parse(value).or(found);
            if found.as_ref().is_some_and(|d| !d.parameters.is_empty()) {
                break;
            }
        }
        found
    }

    /// Tags of Content-Language.
    pub fn languages(&self) -> Vec<Vec<u8>> {
        let mut all = self.all(FieldName::ContentLanguage).map(content::languages);
        all.find(|tags| !tags.is_empty()).unwrap_or_default()
    }

    /// A field that is plain text (Content-ID, -Description, -MD5, -Location), raw.
    pub fn text(&self, name: FieldName) -> Option<Vec<u8>> {
        self.raw(name).map(text)
    }

    /// The envelope, for the message itself and messages inside.
    pub fn envelope(&self) -> Envelope {
        let mut envelope = Envelope::default();
        for (name, value) in &self.fields {
            envelope.add(*name, value);
        }
        envelope
    }

    fn all(&self, name: FieldName) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |(field, _)| *field == name).map(|(_, value)| &**value)
    }
}

/// All parts of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    pub(crate) parts: Vec<Part>,
}

impl Structure {
    /// The whole message as a part.
    pub fn root(&self) -> &Part {
        &self.parts[0]
    }

    /// A part by its number.
    pub fn part(&self, id: PartId) -> &Part {
        &self.parts[id.index()]
    }

    /// All parts, each behind the one it lies in.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The parts directly inside a part, in order.
    pub fn children(&self, id: PartId) -> impl Iterator<Item = PartId> {
        core::iter::successors(self.part(id).first_child, |&child| self.part(child).next)
    }

    /// RFC822.SIZE: octets of the message in CRLF form.
    pub fn size(&self) -> u64 {
        self.root().end.crlf
    }

    /// About how many octets of memory it takes.
    pub fn weight(&self) -> usize {
        let fields = self.parts.iter().flat_map(|part| &part.fields);
        let kept: usize = fields.map(|(_, value)| value.len() + size_of::<FieldName>()).sum();
        kept + self.parts.len() * size_of::<Part>()
    }

    /// Octets of the message as it lies on disk.
    pub fn physical_size(&self) -> u64 {
        self.root().end.physical
    }

    /// Reads a range of the CRLF form, beginning at the nearest known point of the file.
    pub fn window(&self, range: Range<u64>) -> Window {
        if self.is_crlf() {
            return Window::direct(range);
        }
        let behind = self.parts.partition_point(|part| part.header.crlf <= range.start);
        let part = &self.parts[behind.saturating_sub(1)];
        let near = [part.end, part.body, part.header];
        let from = near.into_iter().find(|at| at.crlf <= range.start);
        Window::new(from.map_or(Mark::START, Mark::from), range)
    }

    /// Whether every line end of the file is a CRLF, so that offsets need no conversion.
    pub fn is_crlf(&self) -> bool {
        self.size() == self.physical_size()
    }
}

impl core::ops::Index<PartId> for Structure {
    type Output = Part;

    fn index(&self, id: PartId) -> &Part {
        self.part(id)
    }
}
