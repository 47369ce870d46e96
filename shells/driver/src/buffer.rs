//! A block that many connections read into by turns.

use bytes::{Bytes, BytesMut};

/// Bytes read at once, at most.
const BLOCK: usize = 64 * 1024;
/// What is shorter gets a block of its own size, so that a waiting half line pins no 64 KiB.
const SMALL: usize = 4 * 1024;

/// Memory to read into: one per thread is enough, since it is empty again after each read.
///
/// Large reads are handed on as they are, without a copy; the block then starts anew behind them.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    block: BytesMut,
}

impl ReadBuffer {
    /// Empty space of 64 KiB to append to.
    pub fn space(&mut self) -> &mut BytesMut {
        self.block.clear();
        self.block.reserve(BLOCK);
        &mut self.block
    }

    /// What was appended.
    pub fn take(&mut self) -> Bytes {
        if self.block.len() < SMALL {
            let bytes = Bytes::copy_from_slice(&self.block);
            self.block.clear();
            bytes
        } else {
            self.block.split().freeze()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_reads_are_not_copied_and_small_ones_pin_nothing() {
        let mut buffer = ReadBuffer::default();
        let space = buffer.space();
        space.extend_from_slice(&[7; 10_000]);
        let at = space.as_ptr();
        let large = buffer.take();
        assert_eq!((large.as_ptr(), large.len()), (at, 10_000));

        let space = buffer.space();
        space.extend_from_slice(b"NOOP\r\n");
        let at = space.as_ptr();
        let small = buffer.take();
        assert_ne!(small.as_ptr(), at);
        assert_eq!(small, "NOOP\r\n");
        assert!(buffer.space().is_empty());
    }
}
