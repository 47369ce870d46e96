//! Cuts the input into commands: lines and the literals between them (RFC 3501 2.2.1, RFC 7888).
//!
//! A command that is refused before it is complete is still followed to its end, so that octets
//! of its literals are never taken for commands.

use alloc::vec::Vec;
use core::mem;

use memchr::memchr;
use waypost_machine::Inbox;

use crate::syntax::args::{Announced, Ending, ending, ending_of_tail};

/// Octets kept of a command that is too long: enough for tag and name.
const HEAD: usize = 512;

/// Octets kept of the end of such a line: enough for `{18446744073709551615+}`.
const TAIL: usize = 32;

/// What the input held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A whole command without its last line end; literals stand in it as `{n}` CRLF and octets.
    Command(Vec<u8>),
    /// The command so far ends with the announcement of a literal, which [`Frame::held`] does not
    /// hold. To go on: [`Frame::accept`], [`Frame::skip`] or [`Frame::take`].
    Literal(Announced),
    /// A literal is announced with more octets than can be counted.
    Endless,
    /// The command is too long; its first octets.
    TooLong(Vec<u8>),
    /// A command that was refused has ended.
    Skipped,
}

/// Takes commands from an [`Inbox`].
#[derive(Debug, Default)]
pub(crate) struct Frame {
    /// The command so far.
    held: Vec<u8>,
    /// Where the line starts that is being read.
    line: usize,
    /// Octets of a literal that are still to come.
    literal: u64,
    /// The command was refused: nothing of it is kept.
    refused: bool,
    /// The command has grown over the limit; the end of its line so far.
    excess: Option<Vec<u8>>,
}

impl Frame {
    /// The next unit; `None` when the input is used up. `limit`: octets of a command.
    pub(crate) fn next(&mut self, input: &mut Inbox, limit: usize) -> Option<Unit> {
        loop {
            let front = input.front()?;
            if self.literal > 0 {
                let most = usize::try_from(self.literal).unwrap_or(usize::MAX);
                let octets = input.take(most)?;
                self.literal -= octets.len() as u64;
                if !self.refused {
                    self.held.extend_from_slice(&octets);
                }
                self.line = self.held.len();
                continue;
            }
            let found = memchr(b'\n', front);
            let octets = input.take(found.map_or(front.len(), |at| at + 1))?;
            self.add(&octets, limit);
            if found.is_some()
                && let Some(unit) = self.line_end()
            {
                return Some(unit);
            }
        }
    }

    /// Octets taken so far of a command that is not complete.
    pub(crate) fn held(&self) -> &[u8] {
        &self.held
    }

    /// True while a command that was refused goes on.
    pub(crate) fn is_skipping(&self) -> bool {
        self.refused
    }

    /// Takes the literal into the command.
    pub(crate) fn accept(&mut self, literal: Announced) {
        self.held.extend_from_slice(alloc::format!("{{{}}}\r\n", literal.octets).as_bytes());
        self.line = self.held.len();
        self.literal = literal.octets;
    }

    /// Refuses the command, whose literal is on its way: what comes of it is dropped.
    pub(crate) fn skip(&mut self, literal: Announced) {
        *self = Self { refused: true, literal: literal.octets, ..Self::default() };
    }

    /// Hands the command so far over; the literal is not the frame's business any more.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        mem::take(self).held
    }

    /// Forgets the command.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn add(&mut self, octets: &[u8], limit: usize) {
        if self.refused || self.excess.is_some() {
            let tail = self.excess.get_or_insert_default();
            tail.extend_from_slice(&octets[octets.len().saturating_sub(TAIL)..]);
            tail.drain(..tail.len().saturating_sub(TAIL));
        } else if self.held.len() + octets.len() > limit + 2 {
            self.held.extend_from_slice(octets);
            let tail = self.line.max(self.held.len().saturating_sub(TAIL));
            self.excess = Some(self.held[tail..].to_vec());
            self.held.truncate(HEAD.min(limit));
        } else {
            self.held.extend_from_slice(octets);
        }
    }

    /// A line has ended: is the command complete?
    fn line_end(&mut self) -> Option<Unit> {
        if let Some(tail) = self.excess.take() {
            // Quotes cannot be told any more: what looks like a literal is taken for one, as
            // octets that are dropped do no harm.
            match ending_of_tail(bare(&tail)) {
                Ending::Literal(_, literal) if !literal.waits => {
                    self.literal = literal.octets;
                    if self.refused {
                        return None;
                    }
                    let head = mem::take(&mut self.held);
                    self.refused = true;
                    return Some(Unit::TooLong(head));
                }
                Ending::TooLarge => return Some(Unit::Endless),
                _ => {}
            }
            let Self { held, refused, .. } = mem::take(self);
            return Some(if refused { Unit::Skipped } else { Unit::TooLong(held) });
        }
        let end = self.line + bare(&self.held[self.line..]).len();
        self.held.truncate(end);
        match ending(&self.held[self.line..]) {
            Ending::Plain => Some(Unit::Command(self.take())),
            Ending::TooLarge => Some(Unit::Endless),
            Ending::Literal(start, literal) => {
                self.held.truncate(self.line + start);
                Some(Unit::Literal(literal))
            }
        }
    }
}

/// A line without its line end.
fn bare(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use bytes::Bytes;
    use proptest::prelude::*;

    /// Accepts small literals, refuses large ones.
    fn units(pieces: &[&[u8]], limit: usize) -> Vec<Unit> {
        let mut frame = Frame::default();
        let mut input = Inbox::default();
        let mut units = Vec::new();
        for piece in pieces {
            input.push(Bytes::copy_from_slice(piece));
            while let Some(unit) = frame.next(&mut input, limit) {
                match &unit {
                    Unit::Literal(literal) if literal.octets <= 8 => frame.accept(*literal),
                    Unit::Literal(literal) if literal.waits => frame.clear(),
                    Unit::Literal(literal) => frame.skip(*literal),
                    Unit::Endless => return units,
                    _ => {}
                }
                assert!(frame.held().len() <= limit + HEAD);
                units.push(unit);
            }
        }
        units
    }

    fn commands(text: &[u8]) -> Vec<Vec<u8>> {
        let units = units(&[text], 60).into_iter();
        units.filter_map(|u| if let Unit::Command(c) = u { Some(c) } else { None }).collect()
    }

    #[test]
    fn lines_and_literals() {
        assert_eq!(
            commands(b"a NOOP\r\nb LOGIN {3}\r\nx\ny {2+}\r\n\r\n z\nc NOOP\n"),
            [&b"a NOOP"[..], b"b LOGIN {3}\r\nx\ny {2}\r\n\r\n z", b"c NOOP"]
        );
    }

    #[test]
    fn octets_of_a_refused_literal_are_no_commands() {
        assert_eq!(
            commands(b"a X {11+}\r\nb LOGOUT\r\n y {9+}\r\nc LOGOUT\r z\r\nd NOOP\r\n"),
            [b"d NOOP"]
        );
        let long = [&b"a X "[..], &[b'x'; 100], b"{10+}\r\nb LOGOUT\r\n\r\nc NOOP\r\n"].concat();
        assert_eq!(commands(&long), [b"c NOOP"]);
        // A quoted string that lacks its end announces nothing.
        assert_eq!(commands(b"a X \"{9+}\r\nb NOOP\r\n"), [&b"a X \"{9+}"[..], b"b NOOP"]);
    }

    #[test]
    fn too_long() {
        let long = [&b"a1 SEARCH "[..], &[b'x'; 100], b"\r\nb NOOP\r\n"].concat();
        let found = units(&[&long], 60);
        assert!(matches!(&found[0], Unit::TooLong(head) if head.starts_with(b"a1 SEARCH x")));
        assert_eq!(found[1..], [Unit::Command(b"b NOOP".to_vec())]);
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing(
            words in prop::collection::vec(prop::sample::select(vec![
                "a", " ", "\r\n", "\n", "{3}", "{3+}", "{20+}", "{0}", "\"", "xxxxxxxxxxxxxxxx",
                "{99999999999999999999}",
            ]), 0..30),
            cuts in prop::collection::vec(0usize..200, 0..8),
        ) {
            let text = words.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            prop_assert_eq!(units(&pieces, 40), units(&[&text], 40));
        }
    }
}
