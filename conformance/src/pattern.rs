//! What a server line must look like: literal bytes with a few wildcards.
//!
//! - `{name}` matches one or more bytes without a blank, tab, `)` or `]`, and remembers them:
//!   a later `{name}` in an `S` line must see the same bytes, in a `C` line it is replaced by them.
//! - `{_}` is the same without a memory.
//! - `{..}` matches any run of bytes, also none.
//! - `{took}` matches Dovecot's ` (0.001 + 0.000 secs)` or nothing.
//!
//! A brace that is not followed by one of these is an ordinary byte, so that IMAP literals
//! (`{29+}`) need no escape.

use std::collections::BTreeMap;

/// Values of the names seen so far.
pub type Names = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    Word(String),
    Blank,
    Any,
    Took,
}

/// A text with wildcards, for matching (`S`) or for filling in (`C`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

/// A client line uses a name that no server line has given yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing is known as {{{0}}}")]
pub struct Unknown(pub String);

impl Pattern {
    /// Reads the wildcards of a text.
    pub fn new(text: &[u8]) -> Self {
        let mut pieces = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text;
        while let Some((&first, after)) = rest.split_first() {
            if let Some((piece, tail)) = wildcard(rest) {
                if !plain.is_empty() {
                    pieces.push(Piece::Bytes(std::mem::take(&mut plain)));
                }
                pieces.push(piece);
                rest = tail;
            } else {
                plain.push(first);
                rest = after;
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Bytes(plain));
        }
        Self(pieces)
    }

    /// Whether `line` fits; on success the names it binds are added to `names`.
    pub fn matches(&self, line: &[u8], names: &mut Names) -> bool {
        let mut bound = names.clone();
        let fits = fit(&self.0, line, &mut bound);
        if fits {
            *names = bound;
        }
        fits
    }

    /// The bytes with every name replaced by its value.
    ///
    /// # Errors
    /// A wildcard that has no value.
    pub fn fill(&self, names: &Names) -> Result<Vec<u8>, Unknown> {
        let mut out = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Word(name) => {
                    out.extend_from_slice(names.get(name).ok_or_else(|| Unknown(name.clone()))?);
                }
                Piece::Blank => return Err(Unknown("_".into())),
                Piece::Any => return Err(Unknown("..".into())),
                Piece::Took => return Err(Unknown("took".into())),
            }
        }
        Ok(out)
    }
}

fn wildcard(text: &[u8]) -> Option<(Piece, &[u8])> {
    let inner = text.strip_prefix(b"{")?;
    let end = inner.iter().position(|&b| b == b'}')?;
    let (name, tail) = (&inner[..end], &inner[end + 1..]);
    let piece = match name {
        b"_" => Piece::Blank,
        b".." => Piece::Any,
        b"took" => Piece::Took,
        _ => {
            let word = name.first()?.is_ascii_lowercase()
                && name.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
            if !word {
                return None;
            }
            Piece::Word(String::from_utf8(name.to_vec()).ok()?)
        }
    };
    Some((piece, tail))
}

fn in_word(byte: u8) -> bool {
    !matches!(byte, b' ' | b'\t' | b')' | b']' | b'\r' | b'\n')
}

fn fit(pieces: &[Piece], line: &[u8], names: &mut Names) -> bool {
    let Some((piece, pieces)) = pieces.split_first() else { return line.is_empty() };
    match piece {
        Piece::Bytes(bytes) => {
            line.strip_prefix(bytes.as_slice()).is_some_and(|rest| fit(pieces, rest, names))
        }
        Piece::Word(name) => match names.get(name).cloned() {
            Some(value) => {
                line.strip_prefix(value.as_slice()).is_some_and(|rest| fit(pieces, rest, names))
            }
            None => words(line).any(|n| {
                let mut bound = names.clone();
                bound.insert(name.clone(), line[..n].to_vec());
                let fits = fit(pieces, &line[n..], &mut bound);
                if fits {
                    *names = bound;
                }
                fits
            }),
        },
        Piece::Blank => words(line).any(|n| fit(pieces, &line[n..], names)),
        Piece::Any => (0..=line.len()).any(|n| fit(pieces, &line[n..], names)),
        Piece::Took => fit(pieces, after_timing(line), names) || fit(pieces, line, names),
    }
}

/// Lengths of the non-empty starts of `line` that are one word.
fn words(line: &[u8]) -> impl Iterator<Item = usize> + use<> {
    1..=line.iter().take_while(|&&b| in_word(b)).count()
}

/// What follows ` (0.001 + 0.000 secs)`, or all of it when there is none.
fn after_timing(line: &[u8]) -> &[u8] {
    let Some(inner) = line.strip_prefix(b" (") else { return line };
    let digits = inner.iter().take_while(|b| matches!(b, b'0'..=b'9' | b'.' | b'+' | b' ')).count();
    inner[digits..].strip_prefix(b"secs)").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(pattern: &str, line: &str) -> Option<Names> {
        let mut names = Names::new();
        Pattern::new(pattern.as_bytes()).matches(line.as_bytes(), &mut names).then_some(names)
    }

    #[test]
    fn literal_braces_are_ordinary_bytes() {
        assert!(matched("* 1 FETCH (BODY[] {28}", "* 1 FETCH (BODY[] {28}").is_some());
        assert!(matched("* 1 FETCH (BODY[] {28}", "* 1 FETCH (BODY[] {27}").is_none());
        assert!(matched("a APPEND x {29+}", "a APPEND x {29+}").is_some());
    }

    #[test]
    fn a_name_is_remembered() {
        let names = matched("[UIDVALIDITY {v}] UIDs", "[UIDVALIDITY 17] UIDs").expect("matches");
        assert_eq!(names["v"], b"17");
        assert!(matched("{a} {b} {a}", "x y x").is_some());
        assert!(matched("{a} {b} {a}", "x y z").is_none());
    }

    #[test]
    fn timing_may_be_absent() {
        assert!(matched("a OK Done{took}.", "a OK Done (0.001 + 0.000 + 0.002 secs).").is_some());
        assert!(matched("a OK Done{took}.", "a OK Done.").is_some());
        assert!(matched("a OK Done{took}.", "a OK Done (soon).").is_none());
    }

    #[test]
    fn any_and_blank() {
        assert!(matched("* OK {..} ready.", "* OK  ready.").is_some());
        assert!(matched("queued as {_}", "queued as 4XyZ").is_some());
        assert!(matched("queued as {_}", "queued as 4XyZ twice").is_none());
    }

    #[test]
    fn a_client_line_is_filled_in() {
        let names = Names::from([("user".into(), b"u1".to_vec())]);
        assert_eq!(
            Pattern::new(b"a LOGIN {user} {9+}").fill(&names),
            Ok(b"a LOGIN u1 {9+}".into())
        );
        assert_eq!(Pattern::new(b"{nobody}").fill(&names), Err(Unknown("nobody".into())));
    }
}
