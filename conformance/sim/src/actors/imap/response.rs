//! Responses of an IMAP server, as far as this client needs them.

/// A part of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A word, a number, a flag, `BODY[]`.
    Atom(String),
    /// A quoted string or a literal.
    Text(Vec<u8>),
    /// In parentheses.
    List(Vec<Self>),
}

impl Part {
    pub(super) fn atom(&self) -> &str {
        match self {
            Self::Atom(word) => word,
            _ => "",
        }
    }

    pub(super) fn list(&self) -> &[Self] {
        match self {
            Self::List(parts) => parts,
            _ => &[],
        }
    }

    /// The octets of a string; those of a word too, since a name may be either.
    pub(super) fn octets(&self) -> &[u8] {
        match self {
            Self::Atom(word) => word.as_bytes(),
            Self::Text(text) => text,
            Self::List(_) => b"",
        }
    }

    pub(super) fn number(&self) -> Option<u32> {
        self.atom().parse().ok()
    }
}

/// Responses out of bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Responses {
    held: Vec<u8>,
    /// Up to here no response ends.
    looked: usize,
}

impl Responses {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// True in the middle of a response.
    pub(super) fn is_begun(&self) -> bool {
        !self.held.is_empty()
    }

    /// The next whole response, with its literals, without its line end.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let rest = self.held.get(self.looked..)?;
            let lf = rest.iter().position(|byte| *byte == b'\n')?;
            let line = rest[..lf].strip_suffix(b"\r").unwrap_or(&rest[..lf]);
            let behind = self.looked + lf + 1;
            match literal(line) {
                Some(size) if self.held.len() < behind + size => return None,
                Some(size) => self.looked = behind + size,
                None => {
                    let end = self.looked + line.len();
                    let mut response: Vec<u8> = self.held.drain(..behind).collect();
                    response.truncate(end);
                    self.looked = 0;
                    return Some(response);
                }
            }
        }
    }
}

/// The size of the literal that a line announces at its end.
fn literal(line: &[u8]) -> Option<usize> {
    let inner = line.strip_suffix(b"}")?;
    let at = inner.iter().rposition(|byte| *byte == b'{')?;
    std::str::from_utf8(&inner[at + 1..]).ok()?.parse().ok()
}

/// The parts of a response; `None` when it is not well formed.
pub(super) fn parts(response: &[u8]) -> Option<Vec<Part>> {
    let mut rest = response;
    let parts = list(&mut rest, 0)?;
    rest.is_empty().then_some(parts)
}

fn list(rest: &mut &[u8], depth: usize) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    while let Some(first) = rest.first() {
        match first {
            b' ' => *rest = &rest[1..],
            b')' if depth > 0 => return Some(parts),
            b'(' => {
                *rest = &rest[1..];
                parts.push(Part::List(list(rest, depth + 1)?));
                *rest = rest.strip_prefix(b")")?;
            }
            b'"' => parts.push(Part::Text(quoted(rest)?)),
            b'{' => {
                let lf = rest.iter().position(|byte| *byte == b'\n')?;
                let size = literal(rest[..lf].strip_suffix(b"\r")?)?;
                let text = rest.get(lf + 1..lf + 1 + size)?;
                parts.push(Part::Text(text.to_vec()));
                *rest = &rest[lf + 1 + size..];
            }
            _ => parts.push(Part::Atom(atom(rest)?)),
        }
    }
    (depth == 0).then_some(parts)
}

fn quoted(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut at = 1;
    loop {
        match rest.get(at)? {
            b'"' => break,
            b'\\' => {
                text.push(*rest.get(at + 1)?);
                at += 2;
            }
            byte => {
                text.push(*byte);
                at += 1;
            }
        }
    }
    *rest = &rest[at + 1..];
    Some(text)
}

/// A word; what is in brackets belongs to it.
fn atom(rest: &mut &[u8]) -> Option<String> {
    let mut bracket = false;
    let end = rest.iter().position(|byte| {
        match byte {
            b'[' => bracket = true,
            b']' => bracket = false,
            _ => {}
        }
        !bracket && matches!(byte, b' ' | b'(' | b')')
    });
    let end = end.unwrap_or(rest.len());
    let word = String::from_utf8(rest[..end].to_vec()).ok().filter(|word| !word.is_empty())?;
    *rest = &rest[end..];
    Some(word)
}

/// The number behind a word of a response code: `[UIDNEXT 5]`.
pub(super) fn code(text: &str, word: &str) -> Option<u32> {
    let (_, rest) = text.split_once(&format!("[{word} "))?;
    rest.split([' ', ']']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_come_in_pieces() {
        let all =
            b"* 1 FETCH (UID 5 BODY[] {6}\r\na\r\nb)\n FLAGS (\\Seen))\r\na1 OK [UIDNEXT 6] x\r\n";
        for cut in 0..all.len() {
            let mut responses = Responses::default();
            let mut got = Vec::new();
            for piece in [&all[..cut], &all[cut..]] {
                responses.push(piece);
                while let Some(response) = responses.next() {
                    got.push(response);
                }
            }
            assert_eq!(got.len(), 2, "{cut}");
            assert_eq!(code(&String::from_utf8_lossy(&got[1]), "UIDNEXT"), Some(6));
            let fetch = parts(&got[0]).unwrap();
            assert_eq!((fetch[1].number(), fetch[2].atom()), (Some(1), "FETCH"));
            let items = fetch[3].list();
            assert_eq!(items[3].octets(), b"a\r\nb)\n");
            assert_eq!(items[5].list()[0].atom(), "\\Seen");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_not_read() {
        for bad in ["* (", "* )", "* \"x", "* {3}\r\nab"] {
            assert_eq!(parts(bad.as_bytes()), None, "{bad}");
        }
        let list = parts(b"* LIST (\\HasNoChildren) \".\" \"a \\\"b\"").unwrap();
        assert_eq!(list.last().unwrap().octets(), b"a \"b");
    }
}
