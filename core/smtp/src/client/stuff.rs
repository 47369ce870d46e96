//! The body on its way out (RFC 5321 4.5.2): the inverse of [`crate::body`].
//!
//! Slices of what was read go out as they are; only the dots between them are ours. What is no
//! line end here may be one elsewhere, so none goes out: a bare LF becomes CRLF, a bare CR a blank.
//! A body that came in through our own server holds neither, and leaves as it came.

use bytes::Bytes;
use memchr::memchr2;

const DOT: Bytes = Bytes::from_static(b".");
const CRLF: Bytes = Bytes::from_static(b"\r\n");
const BLANK: Bytes = Bytes::from_static(b" ");

/// Where in a line it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// After CRLF, or at the very beginning.
    Bol,
    /// Within a line.
    Mid,
    /// After a CR, which is held back until it is known what follows.
    Cr,
}

/// Makes a body fit for the wire.
#[derive(Clone, Debug)]
pub(super) struct Stuffer {
    state: State,
    /// Dots are stuffed: DATA. Otherwise BDAT.
    dots: bool,
}

impl Stuffer {
    /// `dots`: for DATA.
    pub(super) const fn new(dots: bool) -> Self {
        Self { state: State::Bol, dots }
    }

    /// Gives out the pieces of a block, in order.
    pub(super) fn push(&mut self, block: &Bytes, mut out: impl FnMut(Bytes)) {
        let mut start = 0;
        let mut at = 0;
        if self.state == State::Cr && !block.is_empty() {
            if block[0] == b'\n' {
                out(CRLF);
                (start, at) = (1, 1);
                self.state = State::Bol;
            } else {
                out(BLANK);
                self.state = State::Mid;
            }
        }
        while at < block.len() {
            if self.dots && self.state == State::Bol && block[at] == b'.' {
                emit(block, start, at, &mut out);
                out(DOT);
                start = at;
            }
            self.state = State::Mid;
            let Some(found) = memchr2(b'\r', b'\n', &block[at..]).map(|found| at + found) else {
                break;
            };
            let next = block.get(found + 1);
            match (block[found], next) {
                (b'\r', Some(b'\n')) => {
                    at = found + 2;
                    self.state = State::Bol;
                    continue;
                }
                (b'\r', None) => {
                    emit(block, start, found, &mut out);
                    self.state = State::Cr;
                    return;
                }
                (b'\r', Some(_)) => {
                    emit(block, start, found, &mut out);
                    out(BLANK);
                }
                _ => {
                    emit(block, start, found, &mut out);
                    out(CRLF);
                    self.state = State::Bol;
                }
            }
            (start, at) = (found + 1, found + 1);
        }
        emit(block, start, block.len(), &mut out);
    }

    /// The body is over: its last line gets its end.
    pub(super) fn finish(&mut self, mut out: impl FnMut(Bytes)) {
        if self.state == State::Cr {
            out(BLANK);
        }
        if self.state != State::Bol {
            out(CRLF);
        }
        self.state = State::Bol;
    }
}

fn emit(block: &Bytes, start: usize, end: usize, out: &mut impl FnMut(Bytes)) {
    if start < end {
        out(block.slice(start..end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{Piece, Scanner};
    use proptest::prelude::*;
    use std::format;
    use std::vec::Vec;

    fn stuffed(dots: bool, blocks: &[&[u8]]) -> Vec<u8> {
        let mut stuffer = Stuffer::new(dots);
        let mut out = Vec::new();
        for block in blocks {
            let mut got = 0;
            stuffer.push(&Bytes::copy_from_slice(block), |piece| {
                assert!(!piece.is_empty());
                got += piece.len();
                out.extend_from_slice(&piece);
            });
            assert!(got <= 2 * block.len() + 2);
        }
        stuffer.finish(|piece| out.extend_from_slice(&piece));
        out
    }

    #[test]
    fn examples() {
        for (body, data, chunk) in [
            ("", "", ""),
            ("a\r\n", "a\r\n", "a\r\n"),
            ("a", "a\r\n", "a\r\n"),
            (".\r\n", "..\r\n", ".\r\n"),
            (".", "..\r\n", ".\r\n"),
            ("..a\r\nb.\r\n.c\r\n", "...a\r\nb.\r\n..c\r\n", "..a\r\nb.\r\n.c\r\n"),
            ("a\n.\nb", "a\r\n..\r\nb\r\n", "a\r\n.\r\nb\r\n"),
            ("a\r.\rb\r\r\n", "a . b \r\n", "a . b \r\n"),
            ("\r", " \r\n", " \r\n"),
            ("a\n\r\n.\r\n", "a\r\n\r\n..\r\n", "a\r\n\r\n.\r\n"),
        ] {
            assert_eq!(stuffed(true, &[body.as_bytes()]), data.as_bytes(), "{body:?}");
            assert_eq!(stuffed(false, &[body.as_bytes()]), chunk.as_bytes(), "{body:?}");
        }
    }

    #[test]
    fn a_body_without_dots_is_passed_on_as_it_lies_there() {
        let block = Bytes::from("line\r\n".repeat(1000));
        let mut pieces = Vec::new();
        Stuffer::new(true).push(&block, |piece| pieces.push(piece));
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].as_ptr(), block.as_ptr());
    }

    /// Postfix breaks it after 998 octets, and with it the signatures over it.
    #[test]
    fn a_long_line_leaves_as_it_came() {
        let line = format!("{}\r\n", "x".repeat(5000)).into_bytes();
        let (first, second) = line.split_at(999);
        assert_eq!(stuffed(true, &[first, second]), line);
    }

    /// Every body up to length 7 over the alphabet that matters, cut everywhere.
    #[test]
    fn every_short_body() {
        let mut bodies: Vec<Vec<u8>> = std::vec![Vec::new()];
        let mut from = 0;
        for _ in 0..7 {
            let to = bodies.len();
            for at in from..to {
                for byte in *b"\r\n.x" {
                    let mut longer = bodies[at].clone();
                    longer.push(byte);
                    bodies.push(longer);
                }
            }
            from = to;
        }
        for body in &bodies {
            let whole = stuffed(true, &[body]);
            for cut in 0..=body.len() {
                assert_eq!(stuffed(true, &[&body[..cut], &body[cut..]]), whole, "{body:?}");
            }
            let bare = |at: usize| match whole[at] {
                b'\r' => whole.get(at + 1) != Some(&b'\n'),
                b'\n' => at == 0 || whole[at - 1] != b'\r',
                _ => false,
            };
            assert!(!(0..whole.len()).any(bare), "{body:?} {whole:?}");
            assert!(!whole.windows(5).any(|w| w == b"\r\n.\r\n"), "{body:?}");
            assert!(!whole.starts_with(b".\r\n"), "{body:?}");
            assert_eq!(unstuffed(&whole), stuffed(false, &[body]), "{body:?}");
        }
    }

    fn unstuffed(wire: &[u8]) -> Vec<u8> {
        let wire = [wire, b".\r\n"].concat();
        let mut scanner = Scanner::data();
        let mut out = Vec::new();
        let scanned = scanner.scan(&wire, |piece| match piece {
            Piece::Slice(range) => out.extend_from_slice(&wire[range]),
            Piece::Text(text) => out.extend_from_slice(text),
        });
        assert!(scanned.ended && scanned.used == wire.len());
        assert_eq!(scanner.bare(), None);
        out
    }

    proptest! {
        #[test]
        fn what_a_server_took_comes_back_unchanged(
            lines in proptest::collection::vec("[.x]{0,3}[^\r\n]{0,8}", 0..20),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let body: Vec<u8> = lines.iter().flat_map(|l| [l.as_bytes(), b"\r\n"].concat()).collect();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let blocks: Vec<&[u8]> = cuts.windows(2).map(|w| &body[w[0]..w[1]]).collect();
            prop_assert_eq!(&unstuffed(&stuffed(true, &blocks)), &body);
            prop_assert_eq!(&stuffed(false, &blocks), &body);
        }
    }
}
