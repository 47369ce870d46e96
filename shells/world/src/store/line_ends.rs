//! Line ends on their way to the disk.
//!
//! Messages lie on disk with LF, as Postfix and Dovecot leave them. On the way back each LF without a CR
//! before it becomes CRLF; therefore CR CR LF stays as it is, and what came with CRLF line ends is read
//! back octet for octet.

use memchr::memchr2;

/// Turns CRLF into LF, piece by piece, and counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LineEnds {
    /// A CR has come that is not yet written.
    held: bool,
    /// The octet before the held CR, or else the last one written, is a CR.
    after_cr: bool,
    physical: u64,
    lone: u64,
}

impl LineEnds {
    /// Appends the disk's form of `piece` to `out`.
    pub(crate) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            let run = match first {
                b'\n' => {
                    self.line_end(out);
                    1
                }
                b'\r' => {
                    self.release(out);
                    self.held = true;
                    1
                }
                _ => {
                    self.release(out);
                    let run = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    out.extend_from_slice(&rest[..run]);
                    self.after_cr = false;
                    run
                }
            };
            rest = &rest[run..];
        }
        self.physical += (out.len() - start) as u64;
    }

    /// To be called at the end: a last CR is written.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        self.release(out);
        self.physical += (out.len() - start) as u64;
    }

    /// Octets written.
    pub(crate) fn size(&self) -> u64 {
        self.physical
    }

    /// Octets of the message with CRLF line ends, as it will be read.
    pub(crate) fn virtual_size(&self) -> u64 {
        self.physical + self.lone
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        if self.held {
            out.push(b'\r');
            self.held = false;
            self.after_cr = true;
        }
    }

    fn line_end(&mut self, out: &mut Vec<u8>) {
        if self.held && self.after_cr {
            self.release(out);
        }
        self.held = false;
        // A bare LF that follows two written CRs is read as it stands; any other gets its CR back.
        if !self.after_cr {
            self.lone += 1;
        }
        out.push(b'\n');
        self.after_cr = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to_disk(pieces: &[&[u8]]) -> (Vec<u8>, LineEnds) {
        let (mut out, mut ends) = (Vec::new(), LineEnds::default());
        for piece in pieces {
            ends.push(piece, &mut out);
        }
        ends.finish(&mut out);
        (out, ends)
    }

    /// As a message is read: each LF without a CR before it gets one.
    fn from_disk(file: &[u8]) -> Vec<u8> {
        let mut out: Vec<u8> = Vec::new();
        for &c in file {
            if c == b'\n' && out.last() != Some(&b'\r') {
                out.push(b'\r');
            }
            out.push(c);
        }
        out
    }

    #[test]
    fn line_ends() {
        assert_eq!(to_disk(&[b"a\r\n\r\nb\r\n"]).0, b"a\n\nb\n");
        assert_eq!(to_disk(&[b"a\r", b"\nb\r", b"c\r"]).0, b"a\nb\rc\r");
        assert_eq!(to_disk(&[b"a\r\r\n"]).0, b"a\r\r\n");
        assert_eq!(to_disk(&[b"a\nb"]).0, b"a\nb");
    }

    proptest! {
        #[test]
        fn what_came_with_crlf_comes_back(text in "[ab\r]{0,3}(\r\n[ab\r]{0,3}){0,6}", cut in 0usize..20) {
            let (a, b) = text.as_bytes().split_at(cut.min(text.len()));
            let (disk, ends) = to_disk(&[a, b]);
            prop_assert_eq!(ends.size(), disk.len() as u64);
            prop_assert_eq!(ends.virtual_size(), text.len() as u64);
            prop_assert_eq!(from_disk(&disk), text.as_bytes());
        }

        #[test]
        fn sizes_are_right_for_anything(text in "[a\r\n]{0,12}") {
            let (disk, ends) = to_disk(&[text.as_bytes()]);
            prop_assert_eq!(ends.size(), disk.len() as u64);
            prop_assert_eq!(ends.virtual_size(), from_disk(&disk).len() as u64);
        }
    }
}
