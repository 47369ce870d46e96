//! The CRLF form of a message that lies on disk with LF, CRLF or mixed line ends.
//!
//! IMAP counts octets of the CRLF form (RFC 3501 2.2). A lone LF counts as two octets, a CRLF as
//! two, a lone CR as one. Offsets in the file are *physical*, offsets in the CRLF form *virtual*.

use alloc::vec::Vec;
use core::ops::Range;

use memchr::{memchr, memchr_iter};

/// A point of a message, counted three ways from its first octet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Octets of the file before this point.
    pub physical: u64,
    /// Octets of the CRLF form before this point.
    pub crlf: u64,
    /// Line feeds before this point.
    pub lines: u64,
}

/// Counts octets and lines of a message given in pieces of any size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    at: Position,
    last_cr: bool,
}

impl Counter {
    /// A counter before the first octet.
    pub const fn new() -> Self {
        Self { at: Position { physical: 0, crlf: 0, lines: 0 }, last_cr: false }
    }

    /// Counts the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        let mut lone = 0;
        for lf in memchr_iter(b'\n', piece) {
            let cr = if lf == 0 { self.last_cr } else { piece[lf - 1] == b'\r' };
            lone += u64::from(!cr);
            self.at.lines += 1;
        }
        self.at.physical += piece.len() as u64;
        self.at.crlf += piece.len() as u64 + lone;
        if let Some(&last) = piece.last() {
            self.last_cr = last == b'\r';
        }
    }

    /// The point behind all pieces so far; `crlf` is the RFC822.SIZE of what was counted.
    pub const fn position(&self) -> Position {
        self.at
    }
}

/// Size of `message` in its CRLF form, in octets.
pub fn crlf_size(message: &[u8]) -> u64 {
    let mut counter = Counter::new();
    counter.push(message);
    counter.position().crlf
}

/// Turns pieces into their CRLF form: a lone LF becomes CRLF, all else stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Converter {
    last_cr: bool,
}

impl Converter {
    /// A converter before the first octet.
    pub const fn new() -> Self {
        Self { last_cr: false }
    }

    /// Appends the CRLF form of `piece` to `out`.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let Some(&last) = piece.last() else { return };
        out.reserve(piece.len() + piece.len() / 32);
        let mut done = 0;
        for lf in memchr_iter(b'\n', piece) {
            let cr = if lf == 0 { self.last_cr } else { piece[lf - 1] == b'\r' };
            if !cr {
                out.extend_from_slice(&piece[done..lf]);
                out.push(b'\r');
                done = lf;
            }
        }
        out.extend_from_slice(&piece[done..]);
        self.last_cr = last == b'\r';
    }
}

/// The CRLF form of a whole message or part.
pub fn to_crlf(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Converter::new().push(message, &mut out);
    out
}

/// A point where reading can go on: never between the two octets of a line end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Offset in the file, in octets.
    pub physical: u64,
    /// Offset in the CRLF form, in octets.
    pub crlf: u64,
    /// The octet before this point is a CR of the file.
    after_cr: bool,
}

impl Mark {
    /// The start of the message.
    pub const START: Self = Self { physical: 0, crlf: 0, after_cr: false };
}

impl From<Position> for Mark {
    /// The positions of a [`Structure`](crate::structure::Structure) all lie at line starts or
    /// before line ends, so that no CR can stand before them whose LF comes after.
    fn from(at: Position) -> Self {
        Self { physical: at.physical, crlf: at.crlf, after_cr: false }
    }
}

/// Reads a range of the CRLF form out of the file, block by block.
///
/// Ask [`wants`](Self::wants) where to read, give what was read to [`push`](Self::push), until
/// `wants` answers `None`. [`mark`](Self::mark) then serves to begin the next range without
/// reading the message from its start again.
///
/// ```
/// use waypost_message::crlf::{Mark, Window};
/// let file = b"a\nbc\nd";
/// let mut window = Window::new(Mark::START, 2..6);
/// let mut out = Vec::new();
/// while let Some(at) = window.wants() {
///     let block = &file[at as usize..file.len().min(at as usize + 2)];
///     if block.is_empty() {
///         break;
///     }
///     window.push(block, &mut out);
/// }
/// assert_eq!(out, b"\nbc\r");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    mark: Mark,
    range: Range<u64>,
}

impl Window {
    /// The octets `range` of the CRLF form, beginning to read at `from`. A mark behind the range's
    /// start is of no use and reading begins at the start of the file.
    pub fn new(from: Mark, range: Range<u64>) -> Self {
        let mark = if from.crlf <= range.start { from } else { Mark::START };
        Self { mark, range }
    }

    /// A range of a file that has no lone LF: both offsets are the same.
    pub fn direct(range: Range<u64>) -> Self {
        let at = range.start;
        // With no lone LF in the file every LF found belongs to a CR, also the very first one.
        Self { mark: Mark { physical: at, crlf: at, after_cr: true }, range }
    }

    /// Offset in the file of the next octet needed; `None` when the range is complete.
    pub const fn wants(&self) -> Option<u64> {
        if self.mark.crlf < self.range.end { Some(self.mark.physical) } else { None }
    }

    /// Upper bound of the file octets still needed.
    pub const fn at_most(&self) -> u64 {
        self.range.end.saturating_sub(self.mark.crlf)
    }

    /// Where the next range can begin.
    pub const fn mark(&self) -> Mark {
        self.mark
    }

    /// Takes file octets from the offset of [`wants`](Self::wants) on and appends those of the
    /// range, in CRLF form, to `out`. Octets behind the range are left alone.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while !rest.is_empty() && self.mark.crlf < self.range.end {
            let lf = memchr(b'\n', rest);
            let run = lf.unwrap_or(rest.len());
            if run > 0 {
                let taken = self.copy(&rest[..run], out);
                rest = &rest[taken..];
                if taken < run {
                    return;
                }
            }
            if lf.is_some() {
                if !self.line_end(out) {
                    return;
                }
                rest = &rest[1..];
            }
        }
    }

    /// Copies the part of a run without LF that lies in the range; how many octets it used up.
    fn copy(&mut self, run: &[u8], out: &mut Vec<u8>) -> usize {
        let start = self.mark.crlf;
        let left = usize::try_from(self.range.end - start).unwrap_or(usize::MAX);
        let run = &run[..run.len().min(left)];
        let skip = usize::try_from(self.range.start.saturating_sub(start)).unwrap_or(usize::MAX);
        out.extend_from_slice(run.get(skip..).unwrap_or_default());
        self.mark.physical += run.len() as u64;
        self.mark.crlf += run.len() as u64;
        if let Some(&last) = run.last() {
            self.mark.after_cr = last == b'\r';
        }
        run.len()
    }

    /// One LF of the file. False when the range ends between its CR and LF: the mark then stays
    /// before the line end, and the range counts as complete.
    fn line_end(&mut self, out: &mut Vec<u8>) -> bool {
        let width = if self.mark.after_cr { 1 } else { 2 };
        for (n, octet) in b"\r\n"[2 - width..].iter().enumerate() {
            if self.range.contains(&(self.mark.crlf + n as u64)) {
                out.push(*octet);
            }
        }
        if self.mark.crlf + width as u64 > self.range.end {
            self.range.end = self.mark.crlf;
            return false;
        }
        self.mark.physical += 1;
        self.mark.crlf += width as u64;
        self.mark.after_cr = false;
        true
    }
}

/// Replaces NUL octets by 0x80: an IMAP literal must not hold them (RFC 3501 4.3), and Dovecot
/// answers so.
pub fn mask_nul(bytes: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = memchr(0, &bytes[from..]) {
        bytes[from + at] = 0x80;
        from += at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut before = 0;
        for &octet in message {
            if octet == b'\n' && before != b'\r' {
                out.push(b'\r');
            }
            out.push(octet);
            before = octet;
        }
        out
    }

    fn messages() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"\r\n\nax"[..]), 0..60)
    }

    fn read(file: &[u8], mut window: Window, block: usize) -> (Vec<u8>, Mark) {
        let mut out = Vec::new();
        while let Some(at) = window.wants() {
            let at = usize::try_from(at).unwrap();
            if at >= file.len() {
                break;
            }
            window.push(&file[at..file.len().min(at + block)], &mut out);
        }
        (out, window.mark())
    }

    proptest! {
        #[test]
        fn pieces_convert_as_the_whole(message in messages(), cut in 0usize..60) {
            let cut = cut.min(message.len());
            let (mut converter, mut counter) = (Converter::new(), Counter::new());
            let mut out = Vec::new();
            for piece in [&message[..cut], &message[cut..]] {
                converter.push(piece, &mut out);
                counter.push(piece);
            }
            prop_assert_eq!(&out, &naive(&message));
            prop_assert_eq!(counter.position().crlf, out.len() as u64);
            prop_assert_eq!(counter.position().physical, message.len() as u64);
        }

        #[test]
        fn windows_are_slices(message in messages(), a in 0u64..80, b in 0u64..80, block in 1usize..9) {
            let whole = naive(&message);
            let (start, end) = (a.min(b), a.max(b));
            let clip = |n: u64| usize::try_from(n).unwrap().min(whole.len());
            let wanted = &whole[clip(start)..clip(end)];
            let (out, mark) = read(&message, Window::new(Mark::START, start..end), block);
            prop_assert_eq!(&out, wanted);
            // The mark continues where the first window stopped.
            let (next, _) = read(&message, Window::new(mark, end..end + 20), block);
            prop_assert_eq!(&next, &whole[clip(end)..clip(end + 20)]);
            // A message in CRLF form needs no scan.
            let (direct, _) = read(&whole, Window::direct(start..end), block);
            prop_assert_eq!(&direct, wanted);
        }
    }

    #[test]
    fn nul_is_masked() {
        let mut bytes = *b"\0a\0\0b";
        mask_nul(&mut bytes);
        assert_eq!(&bytes, b"\x80a\x80\x80b");
    }
}
