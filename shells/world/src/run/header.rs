//! The header of a message that comes in: held until it is complete, so that something is known of
//! the message before it is written anywhere, and so that a submitted one can be completed.

use bytes::Bytes;
use memchr::memchr;
use waypost_mail::Address;
use waypost_message::header::fields;

use crate::run::submission::{self, Submission};

/// Octets of a header that are held; one that is longer is passed on as far as it came.
const MAX_HEADER: usize = 128 * 1024;
/// Characters of a Message-ID that are remembered, as long as the message waits: as many as a line
/// may have (RFC 5322 2.1.1).
const MAX_MESSAGE_ID: usize = 998;
/// Received fields: more mean that the message goes round (Postfix's `hopcount_limit`).
pub(crate) const HOPCOUNT_LIMIT: usize = 50;

/// Holds the header.
#[derive(Default)]
pub(crate) struct Header {
    held: Vec<u8>,
    /// Where the first line begins that was not looked at.
    line: usize,
    /// Where the `From ` lines of a mailbox file end that stand before the first field.
    mailbox: usize,
    /// What was learned, once it is complete.
    known: Option<Known>,
    /// What a submitted message's header needs.
    submission: Option<Submission>,
    /// It is from one of our own: its authors count, and it may be signed.
    is_ours: bool,
}

/// What the header tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Message-ID as written; empty without.
    pub(crate) message_id: Box<str>,
    /// Received fields.
    pub(crate) hops: usize,
    /// Delivered-To fields, in lower case.
    pub(crate) delivered_to: Vec<String>,
    /// The addresses in From; `None` when they cannot be read.
    pub(crate) authors: Option<Vec<Address>>,
    /// The header with its empty line, of mail that is from one of our own.
    pub(crate) block: Vec<u8>,
    /// It was too long to be held: only its beginning is known, and nothing was edited.
    pub(crate) cut: bool,
}

/// The end of a header: behind its empty line, or before a line that cannot be in a header.
enum End {
    Behind(usize),
    Before(usize),
    /// There is no more of the message.
    Here,
    /// It is longer than what is held.
    Cut,
}

impl Header {
    /// A header that is edited when the message is submitted.
    pub(crate) fn new(submission: Option<Submission>, is_ours: bool) -> Self {
        Self { submission, is_ours, ..Self::default() }
    }

    /// True for a submitted message.
    pub(crate) fn is_submission(&self) -> bool {
        self.submission.is_some()
    }

    /// Takes the next pieces and gives back what can be passed on; nothing while the header is
    /// incomplete. A line that is no header field ends the header; as Postfix does, the empty line
    /// that should stand there is put in, so that no reader takes the text for a header.
    pub(crate) fn push(&mut self, chunks: Vec<Bytes>) -> Vec<Bytes> {
        if self.known.is_some() {
            return chunks;
        }
        let mut chunks = chunks.into_iter();
        for chunk in chunks.by_ref() {
            self.held.extend_from_slice(&chunk);
            let end = self.find_end();
            if end.is_some() || self.held.len() > MAX_HEADER {
                let end = end.unwrap_or(End::Cut);
                let mut out = self.release(&end);
                out.extend(chunks);
                return out;
            }
        }
        Vec::new()
    }

    /// What is held at the end of a message that is all header.
    pub(crate) fn finish(&mut self) -> Vec<Bytes> {
        if self.known.is_some() { Vec::new() } else { self.release(&End::Here) }
    }

    /// What was learned.
    pub(crate) fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    fn find_end(&mut self) -> Option<End> {
        while let Some(lf) = memchr(b'\n', &self.held[self.line..]) {
            let start = self.line;
            let line = &self.held[start..start + lf];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                return Some(End::Behind(start + lf + 1));
            }
            let folded = start > self.mailbox && matches!(line[0], b' ' | b'\t');
            let of_mailbox = start == self.mailbox && is_mailbox_line(line);
            if !folded && !of_mailbox && !is_field(line) {
                return Some(End::Before(start));
            }
            self.line = start + lf + 1;
            if of_mailbox {
                self.mailbox = self.line;
            }
        }
        None
    }

    fn release(&mut self, end: &End) -> Vec<Bytes> {
        let from_end = match end {
            End::Behind(at) | End::Before(at) => self.held.len() - at,
            End::Here | End::Cut => 0,
        };
        let held = Bytes::from(name_mailbox_lines(std::mem::take(&mut self.held), self.mailbox));
        let at = held.len() - from_end;
        let cut = matches!(end, End::Cut);
        let block = match &self.submission {
            Some(submission) if !cut => submission.edit(&held[..at]).into(),
            _ => held.slice(..at),
        };
        let mut known = Known { cut, ..learn(&block) };
        let mut out = vec![block.clone()];
        if matches!(end, End::Before(_)) {
            out.push(Bytes::from_static(b"\r\n"));
        }
        if self.is_ours {
            known.authors = submission::authors(&block);
            known.block = out.concat();
        }
        self.known = Some(known);
        out.push(held.slice(at..));
        out.retain(|piece| !piece.is_empty());
        out
    }
}

/// `name:` with blanks before the colon, as old programs write them (RFC 5322 4.5).
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = memchr(b':', line) else { return false };
    let name = line[..colon].trim_ascii_end();
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

/// `From user date`, as before each message of a mailbox file, possibly quoted.
fn is_mailbox_line(line: &[u8]) -> bool {
    let quotes = line.iter().take_while(|octet| **octet == b'>').count();
    line[quotes..].starts_with(b"From ")
}

/// Makes fields of such lines, as Postfix does. If they ended the header, all fields behind them
/// would become text, Bcc too.
fn name_mailbox_lines(held: Vec<u8>, end: usize) -> Vec<u8> {
    if end == 0 {
        return held;
    }
    let lines = held[..end].split_inclusive(|octet| *octet == b'\n');
    let mut named: Vec<u8> =
        lines.flat_map(|line| [&b"Mailbox-Line: "[..], line].concat()).collect();
    named.extend_from_slice(&held[end..]);
    named
}

fn learn(block: &[u8]) -> Known {
    let mut known = Known::default();
    for field in fields(block) {
        if field.is(b"received") {
            known.hops += 1;
        } else if field.is(b"message-id") && known.message_id.is_empty() {
            let value = field.value();
            let value = String::from_utf8_lossy(value.trim_ascii());
            let shown = value.chars().filter(|c| !c.is_control());
            known.message_id = shown.take(MAX_MESSAGE_ID).collect();
        } else if field.is(b"delivered-to") && known.delivered_to.len() < HOPCOUNT_LIMIT {
            let value = field.value();
            known.delivered_to.push(String::from_utf8_lossy(value.trim_ascii()).to_lowercase());
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pass(message: &str, cuts: &[usize]) -> (String, Known) {
        let mut header = Header::default();
        let mut out = Vec::new();
        let mut at = 0;
        for cut in cuts.iter().chain([&message.len()]) {
            let cut = (*cut).clamp(at, message.len());
            let chunk = Bytes::copy_from_slice(&message.as_bytes()[at..cut]);
            out.extend(header.push(vec![chunk, Bytes::new()]));
            at = cut;
        }
        out.extend(header.finish());
        (String::from_utf8(out.concat()).unwrap(), header.known().unwrap().clone())
    }

    const MESSAGE: &str = "Received: from a\r\n\tby b\r\nReceived: x\r\nMessage-ID:\r\n <1@x>\r\n\
        Delivered-To: Me@Example.com\r\nMessage-Id: <2@x>\r\n\r\nReceived: in the body\r\n\r\nend\r\n";

    #[test]
    fn a_header_is_known_and_nothing_changed() {
        let (out, known) = pass(MESSAGE, &[]);
        assert_eq!(out, MESSAGE);
        assert_eq!((&*known.message_id, known.hops), ("<1@x>", 2));
        assert_eq!(known.delivered_to, ["me@example.com"]);
    }

    #[test]
    fn an_endless_message_id_is_not_remembered() {
        let message = format!("Message-ID:\r\n <{}@x>\r\n\r\n", "ä".repeat(5000));
        let (out, known) = pass(&message, &[]);
        assert_eq!(out, message);
        assert_eq!(known.message_id.chars().count(), MAX_MESSAGE_ID);
    }

    #[test]
    fn text_never_becomes_a_header() {
        for (message, expected) in [
            ("Just text, no header\r\n", "\r\nJust text, no header\r\n"),
            ("To: x\r\nFrom someone\r\nA: b\r\n", "To: x\r\n\r\nFrom someone\r\nA: b\r\n"),
            (" folded\r\n", "\r\n folded\r\n"),
            ("a b: c\r\n", "\r\na b: c\r\n"),
            ("\r\nbody\r\n", "\r\nbody\r\n"),
            ("To: x\r\n", "To: x\r\n"),
            ("", ""),
            (
                "From a b\r\n>>From c\r\nTo: x\r\n y\r\n\r\nFrom d\r\n",
                "Mailbox-Line: From a b\r\nMailbox-Line: >>From c\r\nTo: x\r\n y\r\n\r\nFrom d\r\n",
            ),
            ("From a\r\n b\r\n", "Mailbox-Line: From a\r\n\r\n b\r\n"),
            ("From a\r\nno field\r\n", "Mailbox-Line: From a\r\n\r\nno field\r\n"),
            ("From a\r\n", "Mailbox-Line: From a\r\n"),
            ("From: a\r\n", "From: a\r\n"),
        ] {
            assert_eq!(pass(message, &[]).0, expected);
        }
    }

    #[test]
    fn a_header_without_end_is_passed_on() {
        let message = "X: y\r\n".repeat(MAX_HEADER / 6 + 10);
        let (out, _) = pass(&message, &[1000, MAX_HEADER + 5]);
        assert_eq!(out, message);
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing(mut cuts in prop::collection::vec(0usize..150, 0..8)) {
            cuts.sort_unstable();
            prop_assert_eq!(pass(MESSAGE, &cuts), pass(MESSAGE, &[]));
            for odd in ["A: b\r\nno header\r\nC: d\r\n\r\nx\r\n", "From a\r\n>From b\r\nC: d\r\n\r\nx\r\n"] {
                prop_assert_eq!(pass(odd, &cuts), pass(odd, &[]));
            }
        }
    }
}
