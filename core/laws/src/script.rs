//! What a peer sends, and the choices that are left open.

use proptest::collection::vec;
use proptest::prelude::*;

/// What a peer sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The first part goes out at once, each further one after a handshake; what is left when the
    /// machine wants no handshake goes out at the end.
    pub parts: Vec<Vec<u8>>,
    /// What comes then.
    pub end: End,
}

/// What comes after everything was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closes.
    Eof,
    /// Nothing, until the machine has had enough.
    Silence,
    /// The shell stops the machine.
    Stop,
}

impl Script {
    /// These parts, then the end of the input.
    pub fn eof(parts: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { parts: parts.into_iter().collect(), end: End::Eof }
    }

    /// These parts, then silence: every timer runs out.
    pub fn silence(parts: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { parts: parts.into_iter().collect(), end: End::Silence }
    }
}

/// Choices for a run; fewer are simpler.
pub fn choices() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..200)
}

/// Up to 30 of these texts, in any order and number.
pub fn lines(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    vec(proptest::sample::select(texts), 0..30).prop_map(|texts| texts.concat().into_bytes())
}

/// The same parts with some bytes changed, left out or doubled.
pub fn mangled(parts: &[Vec<u8>], choices: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = parts.to_vec();
    for choice in choices.chunks_exact(4).take(16) {
        let [part, place, place_low, what] = choice else { continue };
        let count = parts.len().max(1);
        let Some(part) = parts.get_mut(usize::from(*part) % count) else { continue };
        if part.is_empty() {
            continue;
        }
        let at = (usize::from(*place) * 256 + usize::from(*place_low)) % part.len();
        match what % 4 {
            0 => part[at] = *place,
            1 => drop(part.remove(at)),
            2 => part.insert(at, part[at]),
            _ => part[at] = [b'\r', b'\n', 0, b' '][usize::from(what / 4) % 4],
        }
    }
    parts
}
