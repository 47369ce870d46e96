//! What SEARCH asks of a message's text (RFC 3501 6.4.4): substrings of decoded headers and
//! bodies, letter case apart.
//!
//! A substring is found exactly when a scan of the decoded text finds it: no words, no stemming.
//! Letters are compared by simple upper case, as i;unicode-casemap does (RFC 5051) without its
//! decomposition: a composed letter and the same letter with a combining accent differ.

use alloc::string::String;
use alloc::vec::Vec;

use memchr::memmem;

use crate::encoded::{Charset, Transfer, TransferDecoder, UnknownCharset, decode_words};
use crate::envelope::{Address, LIST, first_addresses};
use crate::header::{Field, fields, unfold};
use crate::structure::{Kind, Part, Structure};

/// Octets of a body decoded at a time.
const BLOCK: usize = 64 << 10;

/// A text to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    folded: String,
}

impl Needle {
    /// Looks for `text` whatever the case of its letters.
    pub fn new(text: &str) -> Self {
        let mut folded = String::new();
        fold(text, &mut folded);
        Self { folded }
    }

    /// Looks for a search key given in a character set; UTF-8 when none is named.
    ///
    /// # Errors
    /// When nobody knows the character set (RFC 3501 BADCHARSET).
    pub fn in_charset(charset: Option<&[u8]>, key: &[u8]) -> Result<Self, UnknownCharset> {
        let charset = charset.map_or(Ok(Charset::UTF8), Charset::of)?;
        Ok(Self::new(&charset.decode(key)))
    }

    /// Whether it is the empty text, which every text holds.
    pub fn is_empty(&self) -> bool {
        self.folded.is_empty()
    }

    /// Whether `text` holds it.
    pub fn is_in(&self, text: &str) -> bool {
        let mut folded = String::with_capacity(text.len());
        fold(text, &mut folded);
        memmem::find(folded.as_bytes(), self.folded.as_bytes()).is_some()
    }

    /// Whether a header value holds it, decoded and on one line; runs of blanks may stand for one.
    fn is_in_value(&self, value: &[u8]) -> bool {
        let text = decode_words(&unfold(value));
        self.is_in(&text) || {
            let words: Vec<&str> =
                text.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            self.is_in(&words.join(" "))
        }
    }
}

/// Appends `text` in upper case; a letter that would become several (sharp s) stays as it is.
fn fold(text: &str, out: &mut String) {
    let mut rest = text;
    while !rest.is_empty() {
        let ascii = rest.bytes().position(|octet| !octet.is_ascii()).unwrap_or(rest.len());
        let (plain, tail) = rest.split_at(ascii);
        let start = out.len();
        out.push_str(plain);
        out[start..].make_ascii_uppercase();
        let others = tail.bytes().position(|octet| octet.is_ascii()).unwrap_or(tail.len());
        for letter in tail[..others].chars() {
            let mut upper = letter.to_uppercase();
            out.push(if upper.len() == 1 { upper.next().unwrap_or(letter) } else { letter });
        }
        rest = &tail[others..];
    }
}

/// HEADER, SUBJECT, FROM, TO, CC, BCC: whether a field of that name holds the text. The empty text
/// asks whether there is such a field. Address fields are also searched as addresses in their
/// usual form, `Name <box@host>`, however they are written; the first 10,000 are.
pub fn header(block: &[u8], name: &[u8], needle: &Needle) -> bool {
    let is_address = ["From", "To", "Cc", "Bcc", "Sender", "Reply-To"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    fields(block).filter(|field| field.is(name)).any(|field| {
        needle.is_empty()
            || needle.is_in_value(field.raw.trim_ascii())
            || (is_address && needle.is_in_value(&written(&first_addresses(field.raw, LIST))))
    })
}

/// BODY: whether the text of a part holds it. `message` is the file, `structure` its structure.
pub fn body(message: &[u8], structure: &Structure, needle: &Needle) -> bool {
    needle.is_empty() || structure.parts().iter().any(|part| part_holds(message, part, needle))
}

/// TEXT: whether a header, of the message or of any part, or the text of a part holds it.
pub fn text(message: &[u8], structure: &Structure, needle: &Needle) -> bool {
    needle.is_empty()
        || structure.parts().iter().any(|part| {
            let header = octets(message, part.header.physical, part.body.physical);
            fields(header).any(|field| field_holds(&field, needle))
                || part_holds(message, part, needle)
        })
}

fn field_holds(field: &Field<'_>, needle: &Needle) -> bool {
    // The name, the colon, and the value as they stand, on one line.
    let whole = field.whole.trim_ascii_end();
    needle.is_in_value(whole) || needle.is_in(&decode_words(&unfold(whole)))
}

/// Octets of the file; none where the structure is not that of the file.
fn octets(message: &[u8], start: u64, end: u64) -> &[u8] {
    let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    message.get(index(start)..index(end)).unwrap_or_default()
}

/// Whether the body of a text part holds the text. Of multiparts and messages only the parts
/// inside count; other media are not searched, but for the likes of message/delivery-status.
fn part_holds(message: &[u8], part: &Part, needle: &Needle) -> bool {
    let content_type = part.content_type();
    let searched = match part.kind {
        Kind::Text | Kind::Opaque => true,
        Kind::Multipart { .. } | Kind::Message => false,
        Kind::Other => content_type.as_ref().is_some_and(|c| c.is_kind(b"message")),
    };
    let transfer = Transfer::of(part.encoding().as_deref()).filter(|_| searched);
    let Some(transfer) = transfer else { return false };
    let label = content_type.as_ref().and_then(|c| c.parameter(b"charset"));
    // The ASCII letters of a text in an unknown character set can still be found.
    let charset = label.and_then(|label| Charset::of(label).ok()).unwrap_or(Charset::UTF8);
    let body = octets(message, part.body.physical, part.end.physical);
    stream_holds(body, transfer, charset, needle)
}

/// Decodes block by block; the end of a block is searched again with the next.
fn stream_holds(body: &[u8], transfer: Transfer, charset: Charset, needle: &Needle) -> bool {
    let finder = memmem::Finder::new(needle.folded.as_bytes());
    let mut transfer = TransferDecoder::new(transfer);
    let mut charset = charset.decoder();
    let (mut raw, mut text, mut folded) = (Vec::new(), String::new(), String::new());
    let mut blocks = body.chunks(BLOCK).peekable();
    while let Some(block) = blocks.next() {
        let last = blocks.peek().is_none();
        raw.clear();
        text.clear();
        transfer.push(block, &mut raw);
        if last {
            transfer.finish(&mut raw);
        }
        charset.push(&raw, last, &mut text);
        fold(&text, &mut folded);
        if finder.find(folded.as_bytes()).is_some() {
            return true;
        }
        let mut keep = folded.len().saturating_sub(needle.folded.len());
        while !folded.is_char_boundary(keep) {
            keep -= 1;
        }
        folded.drain(..keep);
    }
    false
}

/// Addresses in their usual form, for searching.
fn written(list: &[Address]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut first = true;
    for address in list {
        let mailbox = address.mailbox.as_deref().unwrap_or_default();
        if address.mailbox.is_none() && address.domain.is_none() {
            out.push(b';');
            first = false;
            continue;
        }
        if !core::mem::replace(&mut first, false) {
            out.extend_from_slice(b", ");
        }
        let Some(domain) = &address.domain else {
            out.extend_from_slice(mailbox);
            out.extend_from_slice(b": ");
            first = true;
            continue;
        };
        let angle = address.name.as_ref().filter(|name| !name.is_empty());
        if let Some(name) = angle {
            out.extend_from_slice(name);
            out.extend_from_slice(b" <");
        }
        out.extend_from_slice(mailbox);
        out.push(b'@');
        out.extend_from_slice(domain);
        if angle.is_some() {
            out.push(b'>');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mime::scan;
    use alloc::format;
    use alloc::vec;
    use proptest::prelude::*;

    const CORPUS: [&[u8]; 8] = [
        include_bytes!("../tests/data/m01.eml"),
        include_bytes!("../tests/data/m02.eml"),
        include_bytes!("../tests/data/m03.eml"),
        include_bytes!("../tests/data/m04.eml"),
        include_bytes!("../tests/data/m05.eml"),
        include_bytes!("../tests/data/m06.eml"),
        include_bytes!("../tests/data/m07.eml"),
        include_bytes!("../tests/data/m08.eml"),
    ];

    fn found(test: impl Fn(&[u8]) -> bool) -> Vec<usize> {
        (1..).zip(CORPUS).filter(|(_, message)| test(message)).map(|(n, _)| n).collect()
    }

    fn in_header(name: &str, key: &str) -> Vec<usize> {
        found(|message| header(message, name.as_bytes(), &Needle::new(key)))
    }

    fn in_text(key: &str) -> Vec<usize> {
        found(|message| text(message, &scan(message), &Needle::new(key)))
    }

    fn in_body(key: &str) -> Vec<usize> {
        found(|message| body(message, &scan(message), &Needle::new(key)))
    }

    /// Answers of the reference server.
    #[test]
    fn headers() {
        assert_eq!(in_header("From", "alice"), [1, 4, 8]);
        assert_eq!(in_header("From", "Alice Example"), [1, 4, 8]);
        assert_eq!(in_header("To", "mail000"), [1, 2, 4, 5, 7, 8]);
        assert_eq!(in_header("Cc", "dave"), [2]);
        assert_eq!(in_header("Bcc", "x"), []);
        assert_eq!(in_header("Subject", "plain"), [1, 2, 5, 7]);
        assert_eq!(in_header("Subject", ""), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(in_header("X-Priority", "1"), [7]);
        assert_eq!(in_header("X-Priority", ""), [7]);
        assert_eq!(in_header("Message-ID", "m03"), [3]);
        assert_eq!(in_header("From", "REN\u{c9}"), [3]);
    }

    /// Answers of the reference server.
    #[test]
    fn texts_and_bodies() {
        assert_eq!(in_body("builder"), []);
        assert_eq!(in_body("html"), [2]);
        assert_eq!(in_text("alice"), [1, 4, 8]);
        assert_eq!(in_text("K\u{f6}ln"), [3, 7]);
        assert_eq!(in_text("Gr\u{fc}\u{df}e"), [2, 3]);
        assert_eq!(in_text("REN\u{c9}"), [3]);
        assert_eq!(in_text("\u{20ac}"), [7]);
    }

    #[test]
    fn keys_in_charsets() {
        assert_eq!(Needle::in_charset(Some(b"iso-8859-1"), b"\xe9"), Ok(Needle::new("\u{c9}")));
        assert_eq!(Needle::in_charset(Some(b"x-none"), b"a"), Err(UnknownCharset));
        assert_eq!(Needle::in_charset(None, b"A"), Ok(Needle::new("a")));
    }

    #[test]
    fn addresses_in_any_form() {
        let found = |raw: &str, key: &str| header(raw.as_bytes(), b"from", &Needle::new(key));
        assert!(found("From: bob@x.test (Bob\n Builder)\n", "bob builder <bob@x"));
        assert!(found("From: \"Bob  Builder\"\n <bob @ x . test>\n", "bob builder"));
        assert!(found("From: \"Bob Builder\" <bob @ x . test>\n", "<bob@x.test>"));
        assert!(found("From: a: b@x, c@y;\n", "a: b@x, c@y;"));
        assert!(!found("From: bob@x.test\n", "alice"));
        assert!(!found("Subject: x\n\nFrom: bob\n", "bob"));
    }

    proptest! {
        /// A needle is found wherever the blocks are cut.
        #[test]
        fn found_across_blocks(at in 0usize..6, key in "[a-z]{1,9}\u{e9}[a-z]{0,9}") {
            let mut text = vec![b'-'; BLOCK - at - 4];
            text.extend_from_slice(key.as_bytes());
            text.extend_from_slice(&vec![b'-'; BLOCK]);
            let message = [b"Content-Type: text/plain; charset=utf-8\n\n", &*text].concat();
            let needle = Needle::new(&key.to_uppercase());
            prop_assert!(body(&message, &scan(&message), &needle));
            let other = Needle::new(&format!("{key}_"));
            prop_assert!(!body(&message, &scan(&message), &other));
        }
    }
}
