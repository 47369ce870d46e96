//! The bytes between DATA's 354 and its end (RFC 5321 4.5.2), and those of BDAT chunks (RFC 3030).
//!
//! One scanner of five states does it all: it finds the end, takes the stuffed dots out, and makes
//! every line end a CRLF. It works on slices of what was received and copies nothing.

use core::ops::Range;

use memchr::memchr2;

const CRLF: &[u8] = b"\r\n";
/// What a carriage return within a line becomes.
const BLANK: &[u8] = b" ";

/// A piece of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes of the chunk that was scanned.
    Slice(Range<usize>),
    /// These bytes, which stand in no chunk.
    Text(&'static [u8]),
}

/// A line end that is none (RFC 5321 2.3.8): other servers may take it for one, and see another
/// message than we do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    /// A carriage return without line feed.
    Cr,
    /// A line feed without carriage return.
    Lf,
}

/// Where in a line the scanner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// After CRLF, or at the very beginning.
    Bol,
    /// Within a line.
    Mid,
    /// After a CR within a line.
    Cr,
    /// After a dot at the beginning of a line.
    Dot,
    /// After a dot at the beginning of a line and a CR.
    DotCr,
}

/// The scanner.
#[derive(Clone, Debug)]
pub struct Scanner {
    state: State,
    /// Dots are stuffed and CRLF.CRLF is the end: DATA. Otherwise BDAT.
    dots: bool,
    bare: Option<Bare>,
}

/// What [`Scanner::scan`] did with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Bytes that belong to the message or its end; the rest is what the client says next.
    pub used: usize,
    /// The end of the message was found. Never with BDAT.
    pub ended: bool,
}

impl Scanner {
    /// For a message that ends with CRLF.CRLF.
    pub const fn data() -> Self {
        Self { state: State::Bol, dots: true, bare: None }
    }

    /// For a message in chunks, whose end is counted.
    pub const fn chunks() -> Self {
        Self { state: State::Bol, dots: false, bare: None }
    }

    /// The first bare CR or LF seen so far.
    pub const fn bare(&self) -> Option<Bare> {
        self.bare
    }

    /// Scans a chunk and gives out the pieces of the message in it, in order.
    pub fn scan(&mut self, chunk: &[u8], mut out: impl FnMut(Piece)) -> Scanned {
        let mut run = Run { start: 0, out: &mut out };
        let mut at = 0;
        while let Some(&byte) = chunk.get(at) {
            match (self.state, byte) {
                (State::Bol, b'.') if self.dots => {
                    run.until(at);
                    run.start = at + 1;
                    self.state = State::Dot;
                    at += 1;
                }
                (State::Bol | State::Mid, _) => {
                    at = self.middle(chunk, at, &mut run);
                }
                (State::Cr, b'\n') => {
                    if at == 0 {
                        run.text(CRLF, 1);
                    }
                    self.state = State::Bol;
                    at += 1;
                }
                (State::Cr, _) => {
                    self.fault(Bare::Cr);
                    run.until(at.saturating_sub(1));
                    run.text(BLANK, at);
                    self.state = State::Mid;
                }
                (State::Dot, b'\r') => {
                    run.start = at + 1;
                    self.state = State::DotCr;
                    at += 1;
                }
                (State::Dot, _) => self.state = State::Mid,
                (State::DotCr, b'\n') => return Scanned { used: at + 1, ended: true },
                (State::DotCr, _) => {
                    self.fault(Bare::Cr);
                    run.text(BLANK, at);
                    self.state = State::Mid;
                }
            }
        }
        // A CR at the end is held back: what follows decides what it is.
        run.until(if self.state == State::Cr { at.saturating_sub(1) } else { at });
        Scanned { used: at, ended: false }
    }

    /// Ends a message in chunks: the last line gets its line end.
    pub fn finish(&mut self, mut out: impl FnMut(Piece)) {
        if self.state == State::Cr {
            self.fault(Bare::Cr);
            out(Piece::Text(BLANK));
        }
        if self.state != State::Bol {
            out(Piece::Text(CRLF));
        }
        self.state = State::Bol;
    }

    /// Goes on to the next CR, or over the next bare LF.
    fn middle(&mut self, chunk: &[u8], at: usize, run: &mut Run<'_>) -> usize {
        self.state = State::Mid;
        let Some(found) = memchr2(b'\r', b'\n', &chunk[at..]).map(|found| at + found) else {
            return chunk.len();
        };
        if chunk[found] == b'\r' {
            self.state = State::Cr;
        } else {
            self.fault(Bare::Lf);
            run.until(found);
            run.text(CRLF, found + 1);
            // A sender that ends lines with LF alone has stuffed no dot for us to take out.
        }
        found + 1
    }

    fn fault(&mut self, bare: Bare) {
        self.bare.get_or_insert(bare);
    }
}

/// Bytes that go out as they are, as long as nothing has to be changed.
struct Run<'a> {
    start: usize,
    out: &'a mut dyn FnMut(Piece),
}

impl Run<'_> {
    /// Gives out what lies before `end`.
    fn until(&mut self, end: usize) {
        if self.start < end {
            (self.out)(Piece::Slice(self.start..end));
        }
        self.start = end;
    }

    /// Gives out a text, and goes on at `next`.
    fn text(&mut self, text: &'static [u8], next: usize) {
        (self.out)(Piece::Text(text));
        self.start = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// What the scanner makes of a text, cut in pieces.
    #[derive(Debug, PartialEq, Eq)]
    struct Seen {
        body: Vec<u8>,
        rest: Option<Vec<u8>>,
        bare: Option<Bare>,
    }

    fn scanned(scanner: Scanner, pieces: &[&[u8]]) -> Seen {
        let mut scanner = scanner;
        let mut seen = Seen { body: Vec::new(), rest: None, bare: None };
        for piece in pieces {
            if let Some(rest) = &mut seen.rest {
                rest.extend_from_slice(piece);
                continue;
            }
            let scanned = scanner.scan(piece, |part| match part {
                Piece::Slice(range) => seen.body.extend_from_slice(&piece[range]),
                Piece::Text(text) => seen.body.extend_from_slice(text),
            });
            if scanned.ended {
                seen.rest = Some(piece[scanned.used..].to_vec());
            } else {
                assert_eq!(scanned.used, piece.len());
            }
        }
        seen.bare = scanner.bare();
        seen
    }

    /// RFC 5321 word by word: find CRLF.CRLF, cut at CRLF, take leading dots off; then make bare
    /// CR and LF harmless.
    fn oracle(text: &[u8]) -> Seen {
        let with_start = [b"\r\n", text].concat();
        let end = with_start.windows(5).position(|w| w == b"\r\n.\r\n");
        let (mut message, rest) = match end {
            Some(at) => (&with_start[2..at + 2], Some(with_start[at + 5..].to_vec())),
            None => (text, None),
        };
        let (mut body, mut bare) = (Vec::new(), None);
        while !message.is_empty() {
            let end = message.windows(2).position(|w| w == b"\r\n");
            let line = &message[..end.unwrap_or(message.len())];
            message = end.map_or(&[], |end| &message[end + 2..]);
            let line = line.strip_prefix(b".").unwrap_or(line);
            for (at, byte) in line.iter().enumerate() {
                match byte {
                    // The last byte of an unfinished text may yet become a CRLF.
                    b'\r' if end.is_none() && at + 1 == line.len() => {}
                    b'\r' => {
                        bare.get_or_insert(Bare::Cr);
                        body.push(b' ');
                    }
                    b'\n' => {
                        bare.get_or_insert(Bare::Lf);
                        body.extend_from_slice(b"\r\n");
                    }
                    byte => body.push(*byte),
                }
            }
            if end.is_some() {
                body.extend_from_slice(b"\r\n");
            }
        }
        Seen { body, rest, bare }
    }

    /// All texts over an alphabet of four, up to seven long, with every way to cut them.
    #[test]
    fn every_short_text_in_every_cutting_is_as_the_rfc_says() {
        const ALPHABET: [u8; 4] = [b'\r', b'\n', b'.', b'x'];
        let mut cases = 0;
        for len in 0..=7u32 {
            for number in 0..4usize.pow(len) {
                let text: Vec<u8> =
                    (0..len).map(|place| ALPHABET[number >> (2 * place) & 3]).collect();
                let expected = oracle(&text);
                for cuts in 0..1usize << len.saturating_sub(1) {
                    let mut pieces = Vec::new();
                    let mut from = 0;
                    for at in 1..text.len() {
                        if cuts >> (at - 1) & 1 == 1 {
                            pieces.push(&text[from..at]);
                            from = at;
                        }
                    }
                    pieces.push(&text[from..]);
                    assert_eq!(scanned(Scanner::data(), &pieces), expected, "{pieces:?}");
                    cases += 1;
                }
            }
        }
        assert_eq!(cases, 1_198_373);
    }

    #[test]
    fn examples() {
        for (text, body) in [
            (&b".\r\n"[..], &b""[..]),
            (b"a\r\n.\r\n", b"a\r\n"),
            (b"..\r\n..x\r\n...\r\n.\r\n", b".\r\n.x\r\n..\r\n"),
            (b".x\r\n.\r\n", b"x\r\n"),
            (b"a\n.\n.\r\nb\r\r\nc\rd\r\n.\r\n", b"a\r\n.\r\n.\r\nb \r\nc d\r\n"),
        ] {
            let seen = scanned(Scanner::data(), &[text]);
            assert_eq!((&seen.body[..], seen.rest), (body, Some(Vec::new())));
        }
    }

    #[test]
    fn long_bodies_are_given_out_in_one_piece() {
        let text = b"a line of text\r\n".repeat(1000);
        let mut pieces = Vec::new();
        Scanner::data().scan(&text, |piece| pieces.push(piece));
        assert_eq!(pieces, [Piece::Slice(0..text.len())]);
    }

    #[test]
    fn chunks_keep_dots_and_end_their_last_line() {
        for (text, body) in [
            (&b".\r\nx"[..], &b".\r\nx\r\n"[..]),
            (b"a\nb\r\n", b"a\r\nb\r\n"),
            (b"a\r", b"a \r\n"),
            (b"", b""),
        ] {
            let mut scanner = Scanner::chunks();
            let mut seen = Vec::new();
            scanner.scan(text, |part| match part {
                Piece::Slice(range) => seen.extend_from_slice(&text[range]),
                Piece::Text(text) => seen.extend_from_slice(text),
            });
            scanner.finish(|part| {
                if let Piece::Text(text) = part {
                    seen.extend_from_slice(text);
                }
            });
            assert_eq!(seen, body);
        }
    }

    proptest! {
        /// Nothing that goes out can be taken for the end of a message by the next server.
        #[test]
        fn only_crlf_goes_out(text in proptest::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'x'), Just(0)], 0..200,
        )) {
            let seen = scanned(Scanner::data(), &[&text]);
            for at in 0..seen.body.len() {
                match seen.body[at] {
                    b'\n' => prop_assert!(at > 0 && seen.body[at - 1] == b'\r'),
                    b'\r' => prop_assert_eq!(seen.body[at + 1], b'\n'),
                    _ => {}
                }
            }
        }
    }
}
