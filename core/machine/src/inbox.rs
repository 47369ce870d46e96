//! Bytes from the peer that the protocol has not taken yet.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// A line was longer than its limit. Its rest, up to the line feed, is skipped by the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Chunks are copied together up to this size: one of an octet takes the memory of sixty.
const SMALL: usize = 512;

/// A queue of chunks. Taking copies nothing, but for a line that lies across chunks.
#[derive(Debug, Default)]
pub struct Inbox {
    chunks: VecDeque<Bytes>,
    len: usize,
    /// Bytes at the front that are known to hold no line feed.
    scanned: usize,
    /// The rest of an over-long line is still to be dropped.
    skipping: bool,
}

impl Inbox {
    /// Adds a chunk at the end.
    pub fn push(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        self.len += chunk.len();
        match self.chunks.back_mut() {
            Some(back) if back.len() + chunk.len() <= SMALL => {
                *back = [&**back, &*chunk].concat().into();
            }
            _ => self.chunks.push_back(chunk),
        }
        self.skip();
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next line with its line feed; `None` while it is not complete.
    ///
    /// # Errors
    /// [`TooLong`], once, when the line (line feed included) has more than `limit` bytes; it is
    /// dropped, also those bytes of it that are still to come.
    pub fn line(&mut self, limit: usize) -> Result<Option<Bytes>, TooLong> {
        match self.find_line_feed(limit) {
            Some(end) if end < limit => Ok(Some(self.split(end + 1))),
            None if self.len < limit => Ok(None),
            _ => {
                self.skipping = true;
                self.skip();
                Err(TooLong)
            }
        }
    }

    /// Up to `at_most` bytes of the first chunk; never copies.
    pub fn take(&mut self, at_most: usize) -> Option<Bytes> {
        let front = self.chunks.front().filter(|_| at_most > 0)?;
        let count = front.len().min(at_most);
        Some(self.split(count))
    }

    /// The first chunk, as it lies there. For a scanner that then takes as many as it likes.
    pub fn front(&self) -> Option<&[u8]> {
        self.chunks.front().map(AsRef::as_ref)
    }

    /// A copy of the first bytes, `at_most` of them: who is it that sends too much?
    pub fn head(&self, at_most: usize) -> Vec<u8> {
        self.chunks.iter().flatten().take(at_most).copied().collect()
    }

    /// Keeps no memory when nothing is held.
    pub(crate) fn rest(&mut self) {
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
    }

    /// Drops everything held.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Looks for a line feed in the first `limit` bytes; remembers how far it looked.
    fn find_line_feed(&mut self, limit: usize) -> Option<usize> {
        let mut start = 0;
        for chunk in &self.chunks {
            let end = start + chunk.len();
            if end > self.scanned {
                let from = self.scanned - start;
                if let Some(at) = memchr(b'\n', &chunk[from..]) {
                    return Some(start + from + at);
                }
                self.scanned = end;
            }
            if end >= limit {
                return None;
            }
            start = end;
        }
        None
    }

    /// Takes the first `count` bytes, which are held.
    fn split(&mut self, count: usize) -> Bytes {
        self.len -= count;
        self.scanned = 0;
        if let Some(front) = self.chunks.front_mut() {
            if front.len() > count {
                return front.split_to(count);
            }
            if front.len() == count {
                return self.chunks.pop_front().unwrap_or_default();
            }
        }
        let mut joined = BytesMut::with_capacity(count);
        while joined.len() < count {
            let Some(mut chunk) = self.chunks.pop_front() else { break };
            let part = chunk.len().min(count - joined.len());
            joined.extend_from_slice(&chunk[..part]);
            chunk.advance(part);
            if !chunk.is_empty() {
                self.chunks.push_front(chunk);
            }
        }
        joined.freeze()
    }

    /// Drops the rest of an over-long line, as far as it is here.
    fn skip(&mut self) {
        while self.skipping {
            let Some(chunk) = self.chunks.front() else { break };
            let (count, ended) = match memchr(b'\n', chunk) {
                Some(at) => (at + 1, true),
                None => (chunk.len(), false),
            };
            self.split(count);
            self.skipping = !ended;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fed(chunks: &[&[u8]]) -> Inbox {
        let mut inbox = Inbox::default();
        for chunk in chunks {
            inbox.push(Bytes::copy_from_slice(chunk));
        }
        inbox
    }

    #[test]
    fn lines_across_chunks() {
        let mut inbox = fed(&[b"EH", b"LO x\r", b"\nNO", b"OP\r\nQU"]);
        assert_eq!(inbox.head(4), b"EHLO");
        assert_eq!(inbox.head(99).len(), 16);
        assert_eq!(inbox.line(100).unwrap().unwrap(), "EHLO x\r\n");
        assert_eq!(inbox.line(100).unwrap().unwrap(), "NOOP\r\n");
        assert_eq!(inbox.line(100), Ok(None));
        assert_eq!(inbox.take(100).unwrap(), "QU");
        assert!(inbox.is_empty());
    }

    #[test]
    fn an_over_long_line_is_reported_once_and_skipped() {
        let mut inbox = fed(&[b"0123456789"]);
        assert_eq!(inbox.line(8), Err(TooLong));
        assert_eq!(inbox.line(8), Ok(None));
        inbox.push(Bytes::from_static(b"more\nNOOP\n"));
        assert_eq!(inbox.line(8).unwrap().unwrap(), "NOOP\n");
    }

    #[test]
    fn a_peer_that_sends_single_octets_takes_no_more_memory() {
        let mut inbox = Inbox::default();
        for _ in 0..65_536 {
            inbox.push(Bytes::from_static(b"x"));
        }
        assert_eq!((inbox.len(), inbox.chunks.len()), (65_536, 65_536 / SMALL));
        // What is large stays where it is.
        let large = Bytes::from(std::vec![b'y'; SMALL]);
        inbox.push(large.clone());
        assert_eq!(inbox.chunks.back().map(|chunk| chunk.as_ptr()), Some(large.as_ptr()));
    }

    fn all_lines(chunks: &[&[u8]], limit: usize) -> Vec<Result<Bytes, TooLong>> {
        let mut inbox = Inbox::default();
        let mut out = Vec::new();
        for chunk in chunks {
            inbox.push(Bytes::copy_from_slice(chunk));
            loop {
                match inbox.line(limit) {
                    Ok(Some(line)) => out.push(Ok(line)),
                    Ok(None) => break,
                    Err(e) => out.push(Err(e)),
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing(
            text in proptest::collection::vec(prop_oneof![3 => Just(b'x'), 1 => Just(b'\n')], 0..60),
            cuts in proptest::collection::vec(0usize..60, 0..6),
            limit in 1usize..9,
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            prop_assert_eq!(all_lines(&pieces, limit), all_lines(&[&text], limit));
        }
    }
}
