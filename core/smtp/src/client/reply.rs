//! Replies of the other server (RFC 5321 4.2), as they really come.
//!
//! Tolerated, because it is harmless: a line end without CR, a code without text, lines of one
//! reply with different codes (the last one counts), text lines without a code inside a reply that
//! has begun, lines and replies that are too long (they are cut). Not tolerated: a reply that begins
//! with anything but a code. Whoever skips such a line takes the next reply for the answer to the
//! wrong command, and with pipelining loses mail.

use alloc::boxed::Box;
use alloc::string::String;

use waypost_machine::{Inbox, TooLong};
use waypost_mail::Enhanced;

use crate::limits;

/// What the other server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteReply {
    /// Its code, of three digits: 000 to 999, though anything outside 200 to 599 is nonsense.
    pub code: u16,
    /// The enhanced code, if there is one that agrees with the code (RFC 2034 4).
    pub enhanced: Option<Enhanced>,
    /// All of it, printable, codes included, a blank between lines: what logs, `Diagnostic-Code:`
    /// and people see. At most [`limits::REPLY`] octets.
    pub text: Box<str>,
}

impl RemoteReply {
    /// The status for a report: the enhanced code, or `5.0.0` and the like (RFC 3463 2).
    pub fn status(&self) -> Enhanced {
        self.enhanced.unwrap_or(match self.code / 100 {
            2 => Enhanced(2, 0, 0),
            4 => Enhanced(4, 0, 0),
            _ => Enhanced(5, 0, 0),
        })
    }

    /// True for 2xx.
    pub fn is_success(&self) -> bool {
        self.code / 100 == 2
    }

    /// True for 4xx and 5xx, which are the only ways to refuse.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.code / 100, 4 | 5)
    }
}

/// Why it cannot be told what the other server wants to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Garbled {
    /// What it said, printable and cut.
    pub(super) text: Box<str>,
}

/// A reply with its lines, which EHLO needs.
pub(super) struct Said {
    pub(super) reply: RemoteReply,
    /// The lines with their codes, a line feed between them.
    pub(super) lines: String,
}

/// Puts lines together.
#[derive(Default)]
pub(super) struct Reader {
    text: String,
    lines: usize,
}

impl Reader {
    /// Takes the next reply, if it is complete.
    pub(super) fn read(&mut self, input: &mut Inbox) -> Result<Option<Said>, Garbled> {
        loop {
            // A line that is too long is dropped by the inbox: keep what is needed of it.
            let head = (input.len() >= limits::REPLY_LINE).then(|| input.head(limits::SHOWN));
            let line = match input.line(limits::REPLY_LINE) {
                Ok(None) => return Ok(None),
                Ok(Some(line)) => printable(&line),
                Err(TooLong) => printable(&head.unwrap_or_default()),
            };
            let line = line.as_str();
            self.lines += 1;
            if self.lines > limits::REPLY_LINES {
                return Err(self.garbled(line));
            }
            let begun = !self.text.is_empty();
            match split(line) {
                Some((_, true)) => self.keep(line),
                Some((code, false)) => {
                    self.keep(line);
                    let lines = core::mem::take(&mut self.text);
                    self.lines = 0;
                    let text = lines.replace('\n', " ").into();
                    let enhanced = line.get(3..).and_then(|rest| enhanced(code, rest));
                    return Ok(Some(Said { reply: RemoteReply { code, enhanced, text }, lines }));
                }
                None if begun => self.keep(line),
                None => return Err(self.garbled(line)),
            }
        }
    }

    fn keep(&mut self, line: &str) {
        let room = limits::REPLY.saturating_sub(self.text.len() + 1);
        if !self.text.is_empty() && room > 0 {
            self.text.push('\n');
        }
        self.text.push_str(cut(line, room));
    }

    fn garbled(&mut self, line: &str) -> Garbled {
        *self = Self::default();
        Garbled { text: cut(line, limits::SHOWN).into() }
    }
}

/// The code, and whether more lines follow.
fn split(line: &str) -> Option<(u16, bool)> {
    let code = line.get(..3).filter(|code| code.bytes().all(|b| b.is_ascii_digit()))?;
    let more = match line.as_bytes().get(3) {
        None | Some(b' ') => false,
        Some(b'-') => true,
        Some(_) => return None,
    };
    Some((code.parse().ok()?, more))
}

/// The enhanced code at the beginning of what follows a code.
fn enhanced(code: u16, rest: &str) -> Option<Enhanced> {
    let word = rest.split_ascii_whitespace().next()?;
    let mut parts = word.split('.');
    let mut part = || {
        let part =
            parts.next().filter(|p| p.len() <= 3 && p.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse::<u16>().ok()
    };
    let (class, subject, detail) = (part()?, part()?, part()?);
    let agrees = matches!(class, 2 | 4 | 5) && class == code / 100 && parts.next().is_none();
    agrees.then(|| u8::try_from(class).ok().map(|class| Enhanced(class, subject, detail)))?
}

fn printable(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = String::from_utf8_lossy(line);
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The beginning of a text, at most `octets` long.
fn cut(text: &str, octets: usize) -> &str {
    match text.char_indices().find(|(at, c)| at + c.len_utf8() > octets) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::format;
    use std::string::ToString;
    use std::vec::Vec;

    /// Code, enhanced code, text; or what made no sense.
    type Seen = Result<(u16, Option<Enhanced>, String), String>;

    fn read(pieces: &[&[u8]]) -> Vec<Seen> {
        let (mut reader, mut inbox, mut out) = (Reader::default(), Inbox::default(), Vec::new());
        for piece in pieces {
            inbox.push(Bytes::copy_from_slice(piece));
            loop {
                match reader.read(&mut inbox) {
                    Ok(None) => break,
                    Ok(Some(Said { reply, .. })) => {
                        out.push(Ok((reply.code, reply.enhanced, reply.text.to_string())));
                    }
                    Err(garbled) => out.push(Err(garbled.text.to_string())),
                }
            }
        }
        out
    }

    #[test]
    fn replies() {
        let e = |a, b, c| Some(Enhanced(a, b, c));
        for (text, code, enhanced, shown) in [
            ("250 2.1.0 Ok\r\n", 250, e(2, 1, 0), "250 2.1.0 Ok"),
            ("250\r\n", 250, None, "250"),
            ("250 \n", 250, None, "250 "),
            ("250 4.1.0 Ok\r\n", 250, None, "250 4.1.0 Ok"),
            ("354 3.0.0 go\r\n", 354, None, "354 3.0.0 go"),
            ("550 5.1.1\r\n", 550, e(5, 1, 1), "550 5.1.1"),
            ("550 5.1.1.1 x\r\n", 550, None, "550 5.1.1.1 x"),
            ("550 5.1000.1 x\r\n", 550, None, "550 5.1000.1 x"),
            ("550-5.1.1 no\r\n550 5.1.1 such\r\n", 550, e(5, 1, 1), "550-5.1.1 no 550 5.1.1 such"),
            ("250-a\r\n550 b\r\n", 550, None, "250-a 550 b"),
            ("220-a\r\n banner\r\n220 b\r\n", 220, None, "220-a  banner 220 b"),
            ("550 \u{7}\u{e9}\r\n", 550, None, "550 ?\u{e9}"),
            ("999 x\r\n", 999, None, "999 x"),
        ] {
            assert_eq!(read(&[text.as_bytes()]), [Ok((code, enhanced, shown.into()))], "{text}");
        }
        assert_eq!(read(&[b"550 \xff\r\n"]), [Ok((550, None, "550 \u{fffd}".into()))]);
    }

    #[test]
    fn what_does_not_begin_with_a_code() {
        for text in ["", " 250 ok", "ok", "25 x", "2500 x", "250_x", "2\u{e9}50"] {
            let line = format!("{text}\r\n250 ok\r\n");
            let got = read(&[line.as_bytes()]);
            assert_eq!(got, [Err(text.into()), Ok((250, None, "250 ok".into()))], "{text}");
        }
    }

    #[test]
    fn long_lines_and_long_replies_are_cut() {
        let long = "x".repeat(3 * limits::REPLY_LINE);
        let got = read(&[format!("550 {long}\r\n250 ok\r\n").as_bytes()]);
        assert_eq!(got[0].as_ref().unwrap().0, 550);
        assert_eq!(got[0].as_ref().unwrap().2.len(), limits::SHOWN);
        assert_eq!(got[1], Ok((250, None, "250 ok".into())));
        let many = "250-".to_string() + &"y".repeat(1000) + "\r\n";
        let got = read(&[format!("{}550 5.0.1 z\r\n", many.repeat(50)).as_bytes()]);
        let (code, enhanced, text) = got[0].as_ref().unwrap();
        assert_eq!((*code, *enhanced), (550, Some(Enhanced(5, 0, 1))));
        assert!(text.len() <= limits::REPLY, "{}", text.len());
    }

    #[test]
    fn a_reply_without_end_is_garbled() {
        let got = read(&["250-x\r\n".repeat(limits::REPLY_LINES + 1).as_bytes()]);
        assert_eq!(got, [Err("250-x".into())]);
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing_and_nothing_panics(
            lines in proptest::collection::vec("[0-9]{0,4}[- ]?[a-z0-9. \\x00\u{e9}]{0,12}\r?\n", 0..8),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let text = lines.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[&text]));
        }
    }
}
