//! What happened, as one number: two runs that did the same have the same.

use std::fmt::Arguments;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Takes all that is seen from outside: bytes on the wire (in clear), the disk at the end.
#[derive(Debug)]
pub struct Trace(Mutex<State>);

#[derive(Debug)]
struct State {
    hash: u64,
    /// The lines, if anybody wants to read them.
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Nothing has happened. `told`: what happens is also kept in words.
    pub fn new(told: bool) -> Self {
        Self(Mutex::new(State { hash: 0xcbf2_9ce4_8422_2325, lines: told.then(Vec::new) }))
    }

    /// Something happened to `who`, with these bytes.
    pub fn note(&self, at: Duration, who: &Arguments<'_>, what: &str, bytes: &[u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        state.mix(nanos);
        state.bytes(what.as_bytes());
        state.bytes(bytes);
        if let Some(lines) = &mut state.lines {
            lines.push(line(at, who, what, bytes));
        }
    }

    /// Something happened that is told in words only.
    pub fn tell(&self, at: Duration, who: &Arguments<'_>, what: impl FnOnce() -> String) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = &mut state.lines {
            lines.push(line(at, who, &what(), b""));
        }
    }

    /// The number.
    pub fn hash(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hash
    }

    /// The words so far; none are kept behind it.
    pub fn lines(&self) -> Vec<String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.lines.take().unwrap_or_default()
    }
}

impl State {
    /// FNV-1a (Fowler, Noll, Vo) by words of 64 bits, and a rotation so that high bits come down.
    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(last));
        }
    }
}

/// So many bytes of what was said are shown.
const SHOWN: usize = 300;

fn line(at: Duration, who: &Arguments<'_>, what: &str, bytes: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    let more = match bytes.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" … and {more} bytes"),
    };
    let shown = shown.escape_debug();
    format!("{:>14.6} {who} {what} {shown}{more}", at.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_of_all_that_happened() {
        let hash = |at: u64, what, bytes: &[u8]| {
            let trace = Trace::new(false);
            trace.note(Duration::from_millis(at), &format_args!("x"), what, bytes);
            trace.hash()
        };
        let first = hash(1, "says", b"NOOP 12345\r\n");
        assert_eq!(first, hash(1, "says", b"NOOP 12345\r\n"));
        for other in [
            hash(2, "says", b"NOOP 12345\r\n"),
            hash(1, "hears", b"NOOP 12345\r\n"),
            hash(1, "says", b"NOOP 12345\r"),
            hash(1, "says", b"NOOP 12346\r\n"),
            hash(1, "says", b"NOOP 12345\r\n\0"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn words_are_kept_where_they_are_wanted() {
        let trace = Trace::new(true);
        trace.note(Duration::from_millis(1500), &format_args!("smtp"), "says", b"220 hello\r\n");
        assert_eq!(trace.lines(), ["      1.500000 smtp says 220 hello\\r\\n"]);
        assert!(Trace::new(false).lines().is_empty());
    }
}
