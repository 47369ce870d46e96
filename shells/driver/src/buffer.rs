//! A block that many connections read into by turns.

use std::io;

use bytes::{Bytes, BytesMut};

/// Bytes read at once, at most.
const BLOCK: usize = 64 * 1024;
/// What is shorter gets a block of its own size, so that a waiting half line pins no 64 KiB.
const SMALL: usize = 4 * 1024;

/// Memory to read into: one per thread is enough, since it is empty again after each read.
///
/// Large reads are handed on as they are, without a copy; the next then goes behind them, or into a
/// new block.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    block: BytesMut,
}

impl ReadBuffer {
    /// What one `read` brings, which is given 4 to 64 KiB of space and returns how much it filled;
    /// empty at the end of the stream.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Bytes> {
        if self.block.len() < SMALL {
            self.block = BytesMut::zeroed(BLOCK);
        }
        let count = read(&mut self.block)?;
        Ok(match count < SMALL {
            true => Bytes::copy_from_slice(&self.block[..count]),
            false => self.block.split_to(count).freeze(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_reads_are_not_copied_and_small_ones_pin_nothing() {
        let mut buffer = ReadBuffer::default();
        let mut at = std::ptr::null();
        let mut read = |count: usize| {
            let bytes = buffer.read(|space| {
                at = space.as_ptr();
                space[..count].fill(7);
                Ok(count)
            });
            (bytes.unwrap(), at)
        };
        let (large, first) = read(10_000);
        assert_eq!((large.as_ptr(), large.len()), (first, 10_000));
        let (small, second) = read(6);
        assert_ne!(small.as_ptr(), second);
        assert_eq!(&small[..], [7; 6]);
        // What was handed out is not read into again.
        let (again, third) = read(6);
        assert_eq!((third, again.len()), (second, 6));
        assert_eq!(second as usize, first as usize + 10_000);
    }

    #[test]
    fn a_used_up_block_gives_way_to_a_new_one() {
        let mut buffer = ReadBuffer::default();
        let held: Vec<Bytes> = (0..20)
            .map(|_| {
                let read = buffer.read(|space| {
                    assert!(space.len() >= SMALL);
                    Ok(space.len().min(10_000))
                });
                read.unwrap()
            })
            .collect();
        assert!(held.iter().all(|bytes| bytes.len() >= SMALL));
        let error = buffer.read(|_| Err(io::ErrorKind::WouldBlock.into())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(buffer.read(|_| Ok(0)).unwrap().is_empty());
    }
}
