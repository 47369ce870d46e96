//! What a session has to say: bytes in order, and acts that need no order with them.

use alloc::collections::VecDeque;
use core::mem;

use bytes::{Bytes, BytesMut};

/// Pieces below this size are gathered into one block instead of being kept as slices.
const SMALL: usize = 512;
/// A block of gathered pieces is passed on at this size.
const BLOCK: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    ready: VecDeque<Bytes>,
    gathered: BytesMut,
    len: usize,
}

impl Outbox {
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SMALL {
            self.push_slice(&bytes);
        } else {
            self.seal();
            self.len += bytes.len();
            self.ready.push_back(bytes);
        }
    }

    pub(crate) fn push_slice(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= BLOCK {
            self.seal();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The next bytes to send, at most `room`.
    pub(crate) fn pop(&mut self, room: usize) -> Option<Bytes> {
        if room == 0 || self.len == 0 {
            return None;
        }
        if self.ready.is_empty() {
            self.seal();
        }
        let front = self.ready.front_mut()?;
        let bytes = if front.len() > room {
            front.split_to(room)
        } else {
            self.ready.pop_front().unwrap_or_default()
        };
        self.len -= bytes.len();
        Some(bytes)
    }

    /// Keeps no memory when nothing is held.
    pub(crate) fn rest(&mut self) {
        if self.len == 0 {
            *self = Self::default();
        }
    }

    fn seal(&mut self) {
        if !self.gathered.is_empty() {
            self.ready.push_back(mem::take(&mut self.gathered).freeze());
        }
    }
}
