//! What a submission server does to the header of a message (RFC 6409 8): it adds what has to be
//! there and is missing, and removes what the recipients must not see.
//!
//! The body is never touched, and of the header only whole fields: the result is a list of edits,
//! so that everything else stays where it is.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use crate::date::{DateTime, rfc5322};
use crate::header::fields;

/// What to add where it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Additions<'a> {
    /// `Date`.
    pub date: DateTime,
    /// `Message-ID`, with its angle brackets.
    pub message_id: &'a str,
    /// `From`: the envelope sender, as SMTP writes it.
    pub from: &'a str,
}

/// A change of a header block. Places count octets of the block from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Leave these octets out.
    Delete(Range<usize>),
    /// Put this text before the octet at this place.
    Insert(usize, String),
}

/// The edits for a submitted message's header block (with or without its empty line), in the order
/// of their places. `Date`, `Message-ID` and `From` are added at the end where there is none; `Bcc`
/// and `Resent-Bcc` go. Line ends are those of the block; CRLF when it has none.
pub fn edits(block: &[u8], additions: &Additions<'_>) -> Vec<Edit> {
    let mut edits = Vec::new();
    let (mut date, mut message_id, mut from) = (false, false, false);
    let (mut at, mut unfinished) = (0, false);
    for field in fields(block) {
        if field.whole == b"\r" {
            // The beginning of an empty line.
            break;
        }
        let end = at + field.whole.len();
        date |= field.is(b"Date");
        message_id |= field.is(b"Message-ID");
        from |= field.is(b"From");
        unfinished = !field.whole.ends_with(b"\n");
        if field.is(b"Bcc") || field.is(b"Resent-Bcc") {
            edits.push(Edit::Delete(at..end));
            unfinished = false;
        }
        at = end;
    }
    let eol = match block.iter().position(|b| *b == b'\n') {
        Some(lf) if lf == 0 || block[lf - 1] != b'\r' => "\n",
        _ => "\r\n",
    };
    let mut text = String::new();
    if unfinished {
        text.push_str(eol);
    }
    let given = |text: &str| -> String {
        text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    };
    for (there, name, value) in [
        (date, "Date", rfc5322(additions.date)),
        (from, "From", format!("<{}>", given(additions.from))),
        (message_id, "Message-ID", given(additions.message_id)),
    ] {
        if !there {
            text.push_str(&format!("{name}: {value}{eol}"));
        }
    }
    if !(date && from && message_id) {
        edits.push(Edit::Insert(at, text));
    }
    edits
}

/// Makes the edits: the new block. For those who hold the header in one piece anyway.
pub fn apply(block: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + 200);
    let mut at = 0;
    for edit in edits {
        match edit {
            Edit::Delete(range) => {
                out.extend_from_slice(block.get(at..range.start).unwrap_or_default());
                at = range.end;
            }
            Edit::Insert(place, text) => {
                out.extend_from_slice(block.get(at..*place).unwrap_or_default());
                out.extend_from_slice(text.as_bytes());
                at = at.max(*place);
            }
        }
    }
    out.extend_from_slice(block.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    const ADDITIONS: Additions<'_> = Additions {
        date: DateTime { seconds: 1_795_334_005, offset: 0 },
        message_id: "<4gNew@mail.example.com>",
        from: "mail001@example.com",
    };

    fn submitted(block: &str) -> String {
        let edits = edits(block.as_bytes(), &ADDITIONS);
        String::from_utf8(apply(block.as_bytes(), &edits)).unwrap()
    }

    #[test]
    fn nothing_to_do_is_nothing_done() {
        let block = "DATE: x\r\nfrom : y\r\nmessage-id:\r\n z\r\n\r\n";
        assert_eq!(edits(block.as_bytes(), &ADDITIONS), []);
    }

    #[test]
    fn what_is_missing_comes_last_and_bcc_goes() {
        assert_eq!(
            submitted(
                "To: a\r\nbcc: secret@example.com,\r\n other@example.com\r\nSubject: x\r\nBcc:\r\n\r\n"
            ),
            "To: a\r\nSubject: x\r\nDate: Sun, 22 Nov 2026 07:53:25 +0000\r\n\
             From: <mail001@example.com>\r\nMessage-ID: <4gNew@mail.example.com>\r\n\r\n"
        );
        assert_eq!(
            submitted("Date: x\nResent-Bcc: y\nMessage-ID: <z>\n\n"),
            "Date: x\nMessage-ID: <z>\nFrom: <mail001@example.com>\n\n"
        );
    }

    #[test]
    fn odd_blocks() {
        assert!(submitted("").ends_with("Message-ID: <4gNew@mail.example.com>\r\n"));
        assert!(submitted("\r\n").ends_with("Message-ID: <4gNew@mail.example.com>\r\n\r\n"));
        assert!(submitted("To: a").starts_with("To: a\r\nDate: "));
        assert!(submitted("Bcc: a").starts_with("Date: "));
        // Not behind an empty line, be it half of one.
        assert!(submitted("To: a\n\r").ends_with("mail.example.com>\n\r"));
        let evil = Additions { from: "a\r\nX: y@b", ..ADDITIONS };
        let block = apply(b"\r\n", &edits(b"\r\n", &evil));
        assert_eq!(fields(&block).count(), 3);
    }

    proptest! {
        #[test]
        fn afterwards_all_is_well(lines in prop::collection::vec(
            "(Date|From|Message-Id|Bcc|bcc|Resent-Bcc|To|X):( [a-z]{0,5}){0,2}(\r?\n [a-z]{1,4}){0,2}", 0..8,
        ), crlf in any::<bool>(), end in any::<bool>()) {
            let eol = if crlf { "\r\n" } else { "\n" };
            let mut block = lines.join(eol) + eol;
            if end {
                block.push_str(eol);
            }
            let after = submitted(&block);
            for name in ["Date", "From", "Message-ID"] {
                prop_assert!(fields(after.as_bytes()).any(|f| f.is(name.as_bytes())), "{}", name);
            }
            prop_assert!(!fields(after.as_bytes()).any(|f| f.is(b"Bcc") || f.is(b"Resent-Bcc")));
            // What stays, stays in order and octet by octet.
            let kept = |text: &str| -> Vec<String> {
                fields(text.as_bytes())
                    .filter(|f| f.is(b"To") || f.is(b"X"))
                    .map(|f| String::from_utf8_lossy(f.whole).to_string())
                    .collect()
            };
            prop_assert_eq!(kept(&after), kept(&block));
            prop_assert_eq!(edits(after.as_bytes(), &ADDITIONS), []);
        }
    }
}
