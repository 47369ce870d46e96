//! The response to FETCH for one message (RFC 3501 7.4.2).

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::ops::Range;

use bytes::Bytes;
use waypost_machine::CallId;
use waypost_message::date::{DateTime, imap as imap_date};
use waypost_message::envelope::Envelope;
use waypost_message::section::{Found, Text, filter, find};
use waypost_message::{Structure, print};

use crate::response;
use crate::server::{Data, Keywords, Message, What};
use crate::syntax::fetch::{Item, Section};

/// Octets of the header of an enclosed message that are looked at for HEADER.FIELDS, at most.
const NESTED_HEADER: u64 = 256 * 1024;

/// A slice of a header is passed on as it is from this size on; below, copying is cheaper.
const SHARED: usize = 4096;

/// Octets of whole messages that come with what else is read of them, at most: it spares a small
/// message a call of its own.
const BODIES: u32 = 64 * 1024;

/// A stretch of the response.
pub(super) enum Segment {
    /// To be sent.
    Text(Vec<u8>),
    /// To be sent; part of something larger.
    Shared(Bytes),
    /// Octets of a message, to be asked for; with `filter`, a header of which the section at that
    /// place of the items takes some fields.
    Wanted { uid: u32, from: u64, len: u64, filter: Option<usize> },
    /// The same, asked for.
    Asked { id: CallId, len: u64, filter: Option<usize> },
    /// To be sent; they count against what is asked for ahead.
    Arrived(Bytes),
    /// A header, of which the section at that place of the items takes some fields when it is sent:
    /// a large one may be wanted in hundreds of ways. `ahead`: octets that count against what is
    /// asked for ahead.
    Picked { header: Bytes, item: usize, ahead: u64 },
    /// They were asked for in vain.
    Lost,
}

impl Segment {
    /// The call it waits for.
    pub(super) fn call(&self) -> Option<CallId> {
        match self {
            Self::Asked { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// Octets that were made for it, and are not those of the message.
    pub(super) fn rendered(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            _ => 0,
        }
    }

    /// It can be sent.
    pub(super) fn is_here(&self) -> bool {
        !matches!(self, Self::Wanted { .. } | Self::Asked { .. } | Self::Lost)
    }
}

/// True when an item sets `\Seen`.
pub(super) fn sets_seen(items: &[Item]) -> bool {
    items.iter().any(|item| matches!(item, Item::Section(section) if !section.peek))
}

/// What has to be read for these items.
pub(super) fn what(items: &[Item]) -> What {
    let mut what = What::default();
    for item in items {
        match item {
            Item::Flags | Item::Uid => {}
            Item::InternalDate => what.date = true,
            Item::Size => what.size = true,
            Item::Envelope => what.header = true,
            Item::Body | Item::BodyStructure => what.structure = true,
            Item::Section(section) => {
                match (&*section.path, &section.text) {
                    ([], Text::All) => what.size = true,
                    ([], Text::Text) => {
                        what.size = true;
                        what.header = true;
                    }
                    ([], _) => {
                        what.header = true;
                        continue;
                    }
                    _ => what.structure = true,
                }
                // A part of a message is not worth reading all of it.
                if section.partial.is_none() {
                    what.bodies = BODIES;
                }
            }
        }
    }
    what
}

/// A response of FLAGS and UID only.
pub(super) fn short(
    place: usize,
    message: &Message,
    with_uid: bool,
    with_flags: bool,
    keywords: &Keywords,
    line: &mut String,
) {
    let _ = write!(line, "* {} FETCH (", place + 1);
    if with_uid {
        let _ = write!(line, "UID {}", message.uid);
    }
    if with_flags {
        line.push_str(if with_uid { " " } else { "" });
        response::flags(message, keywords, line);
    }
    line.push_str(")\r\n");
}

/// One message and what was read of it.
pub(super) struct One {
    pub(super) place: usize,
    pub(super) message: Message,
    pub(super) data: Data,
    /// `\Seen` was set just now: the client is told.
    pub(super) marked: bool,
    pub(super) with_uid: bool,
}

/// Makes the response. UID comes first, sections last; the rest in the order of the command.
pub(super) fn message(
    one: &One,
    items: &[Item],
    keywords: &Keywords,
    segments: &mut VecDeque<Segment>,
) {
    let mut out = Out { text: Vec::with_capacity(256), segments, first: true };
    out.text.extend_from_slice(format!("* {} FETCH (", one.place + 1).as_bytes());
    if one.with_uid || items.contains(&Item::Uid) {
        out.item(format!("UID {}", one.data.uid).as_bytes());
    }
    if one.marked && !items.contains(&Item::Flags) {
        out.flags(&one.message, keywords);
    }
    for item in items {
        match item {
            Item::Uid | Item::Section(_) => {}
            Item::Flags => out.flags(&one.message, keywords),
            Item::InternalDate => {
                out.item(
                    format!(
                        "INTERNALDATE \"{}\"",
                        imap_date(DateTime { seconds: one.data.date, offset: 0 })
                    )
                    .as_bytes(),
                );
            }
            Item::Size => out.item(format!("RFC822.SIZE {}", one.data.size).as_bytes()),
            Item::Envelope => {
                out.item(b"ENVELOPE ");
                print::envelope(&Envelope::parse(&one.data.header), &mut out.text);
            }
            Item::Body => out.structure(b"BODY ", one.data.structure.as_deref(), print::body),
            Item::BodyStructure => {
                let structure = one.data.structure.as_deref();
                out.structure(b"BODYSTRUCTURE ", structure, print::body_structure);
            }
        }
    }
    for (place, item) in items.iter().enumerate() {
        if let Item::Section(section) = item {
            out.item(section.label.as_bytes());
            out.section(one, place, section);
        }
    }
    out.text.extend_from_slice(b")\r\n");
    out.flush();
}

struct Out<'a> {
    text: Vec<u8>,
    segments: &'a mut VecDeque<Segment>,
    first: bool,
}

impl Out<'_> {
    fn item(&mut self, text: &[u8]) {
        if !core::mem::take(&mut self.first) {
            self.text.push(b' ');
        }
        self.text.extend_from_slice(text);
    }

    fn flags(&mut self, message: &Message, keywords: &Keywords) {
        let mut text = String::new();
        response::flags(message, keywords, &mut text);
        self.item(text.as_bytes());
    }

    fn structure(
        &mut self,
        label: &[u8],
        structure: Option<&Structure>,
        print: impl Fn(&Structure, &mut Vec<u8>),
    ) {
        self.item(label);
        match structure {
            Some(structure) => print(structure, &mut self.text),
            None => self.text.extend_from_slice(b"NIL"),
        }
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.segments.push_back(Segment::Text(core::mem::take(&mut self.text)));
        }
    }

    fn section(&mut self, one: &One, place: usize, section: &Section) {
        let header = &one.data.header;
        let in_header = header.len() as u64;
        match (&*section.path, &section.text) {
            ([], Text::All) => self.body(one, 0..one.data.size, section),
            ([], Text::Header) => self.header(header, section),
            ([], Text::HeaderFields(_) | Text::HeaderFieldsNot(_)) if header.len() < SHARED => {
                self.text.extend_from_slice(&filtered(section, header));
            }
            ([], Text::HeaderFields(_) | Text::HeaderFieldsNot(_)) => {
                self.flush();
                let header = header.clone();
                self.segments.push_back(Segment::Picked { header, item: place, ahead: 0 });
            }
            ([], Text::Text) => {
                self.body(one, in_header.min(one.data.size)..one.data.size, section);
            }
            (path, text) => {
                let structure = one.data.structure.as_deref();
                let found = structure.map_or(Found::Nothing, |s| find(s, path, text));
                match found {
                    Found::Octets(..) | Found::Nothing => {
                        self.body(one, found.range(), section);
                    }
                    Found::Filtered(..) => {
                        let range = found.range();
                        let len = (range.end - range.start).min(NESTED_HEADER);
                        self.flush();
                        self.segments.push_back(match len {
                            0 => Segment::Text(filtered(section, b"")),
                            _ => Segment::Wanted {
                                uid: one.data.uid,
                                from: range.start,
                                len,
                                filter: Some(place),
                            },
                        });
                    }
                }
            }
        }
    }

    fn header(&mut self, header: &Bytes, section: &Section) {
        let range = cut(0..header.len() as u64, section);
        let slice = slice(header, &range).unwrap_or_default();
        self.literal(slice.len() as u64);
        self.shared(slice);
    }

    fn shared(&mut self, slice: Bytes) {
        if slice.len() < SHARED {
            self.text.extend_from_slice(&slice);
        } else {
            self.flush();
            self.segments.push_back(Segment::Shared(slice));
        }
    }

    fn body(&mut self, one: &One, range: Range<u64>, section: &Section) {
        let range = cut(range, section);
        let len = range.end - range.start;
        self.literal(len);
        let uid = one.data.uid;
        if let Some(slice) = one.data.body.as_ref().and_then(|body| slice(body, &range)) {
            self.shared(slice);
        } else if len > 0 {
            self.flush();
            self.segments.push_back(Segment::Wanted { uid, from: range.start, len, filter: None });
        }
    }

    fn literal(&mut self, len: u64) {
        self.text.extend_from_slice(format!(" {{{len}}}\r\n").as_bytes());
    }
}

/// Some of the octets; `None` when they are not all there.
fn slice(octets: &Bytes, range: &Range<u64>) -> Option<Bytes> {
    let (from, to) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (from <= to && to <= octets.len()).then(|| octets.slice(from..to))
}

/// The part of the octets that `<from.count>` asks for.
fn cut(range: Range<u64>, section: &Section) -> Range<u64> {
    let Some((from, count)) = section.partial else { return range };
    let start = range.start.saturating_add(from).min(range.end);
    start..start.saturating_add(count).min(range.end)
}

/// The literal of HEADER.FIELDS, with the blank before it.
pub(super) fn filtered(section: &Section, block: &[u8]) -> Vec<u8> {
    let text = match &section.text {
        Text::HeaderFields(names) => filter(block, names, false),
        Text::HeaderFieldsNot(names) => filter(block, names, true),
        _ => block.to_vec(),
    };
    let range = cut(0..text.len() as u64, section);
    let from = usize::try_from(range.start).unwrap_or(text.len());
    let to = usize::try_from(range.end).unwrap_or(text.len());
    let mut out = format!(" {{{}}}\r\n", to - from).into_bytes();
    out.extend_from_slice(&text[from..to]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Flags;
    use crate::syntax::args::args;
    use crate::syntax::fetch::items;

    /// One message makes a response of fifty megabytes: not all of it at once.
    #[test]
    fn a_large_header_in_many_ways_is_not_copied() {
        let header: Bytes = format!("A: {}\r\n\r\n", "x".repeat(1 << 20)).into();
        let item = |n| format!("BODY.PEEK[HEADER.FIELDS.NOT (X{n})]");
        let many: Vec<String> = (0..50).map(item).collect();
        let text = format!("({})", many.join(" "));
        let items = items(&args(text.as_bytes()).unwrap()).unwrap();
        let message = Message { uid: 1, flags: Flags::default(), recent: false };
        let data = Data { uid: 1, date: 0, size: 0, header, structure: None, body: None };
        let one = One { place: 0, message, data, marked: false, with_uid: false };
        let mut segments = VecDeque::new();
        super::message(&one, &items, &Keywords::default(), &mut segments);
        assert!(segments.iter().map(Segment::rendered).sum::<usize>() < 4096);
        assert_eq!(segments.iter().filter(|s| matches!(s, Segment::Picked { .. })).count(), 50);
    }
}
