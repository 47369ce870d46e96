//! Tokens of structured header fields (RFC 5322 3.2, RFC 2045 5.1), read as leniently as
//! Dovecot does, so that both name the same addresses and parameters.

use alloc::vec::Vec;

use crate::content::Parameter;

/// U+FFFD, in place of a NUL.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// A token that is not what was asked for, or never ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// What stands behind a token: more input, or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    More,
    End,
}

pub(crate) type Step = Result<Then, Broken>;

/// Reads one header value.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    data: &'a [u8],
    pub(crate) pos: usize,
    /// Text of the last comment, for `user@host (Display Name)`.
    pub(crate) comment: Vec<u8>,
}

/// atext of RFC 5322, and every octet above 127.
fn is_atext(octet: u8) -> bool {
    octet >= 0x80 || octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

/// What a MIME token may hold: atext but `/`, `?` and `=`; and the dot.
fn is_token(octet: u8) -> bool {
    octet == b'.' || (is_atext(octet) && !matches!(octet, b'/' | b'?' | b'='))
}

impl<'a> Lexer<'a> {
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self { data, pos: 0, comment: Vec::new() }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.data.get(self.pos).copied()
    }

    /// Steps over `octet` if it is next.
    pub(crate) fn eat(&mut self, octet: u8) -> bool {
        let found = self.peek() == Some(octet);
        self.pos += usize::from(found);
        found
    }

    fn then(&self) -> Then {
        if self.pos < self.data.len() { Then::More } else { Then::End }
    }

    /// Steps over blanks, line ends and comments.
    pub(crate) fn cfws(&mut self) -> Step {
        while let Some(octet) = self.peek() {
            match octet {
                b' ' | b'\t' | b'\r' | b'\n' => self.pos += 1,
                b'(' => self.comment()?,
                _ => break,
            }
        }
        Ok(self.then())
    }

    fn comment(&mut self) -> Result<(), Broken> {
        let mut text = Vec::new();
        let (mut level, mut certain) = (1, 0);
        self.pos += 1;
        while let Some(octet) = self.peek() {
            match octet {
                b'(' => level += 1,
                b')' => level -= 1,
                _ => {}
            }
            if level == 0 {
                self.pos += 1;
                self.comment = text;
                return Ok(());
            }
            self.copy_quotable(octet, &mut text, &mut certain);
        }
        text.truncate(certain);
        self.comment = text;
        Err(Broken)
    }

    /// Copies one octet of a quoted string or comment: folds vanish, `\x` is `x`, NUL is U+FFFD.
    /// `certain` is how much of `out` stays when the closing quote never comes.
    fn copy_quotable(&mut self, octet: u8, out: &mut Vec<u8>, certain: &mut usize) {
        self.pos += 1;
        match octet {
            0 => {
                out.extend_from_slice(REPLACEMENT);
                *certain = out.len();
            }
            b'\n' => {
                if out.last() == Some(&b'\r') {
                    out.pop();
                }
                *certain = out.len();
            }
            b'\\' => match self.peek() {
                None => {}
                // Not a quoted-pair: the backslash stays, the octet is looked at by itself.
                Some(b'\r' | b'\n' | 0) => out.push(octet),
                Some(quoted) => {
                    *certain = out.len();
                    out.push(quoted);
                    self.pos += 1;
                }
            },
            _ => out.push(octet),
        }
    }

    /// Copies octets while they are of a kind; how many.
    fn run(&mut self, kind: impl Fn(u8) -> bool, out: &mut Vec<u8>) -> usize {
        let rest = self.data.get(self.pos..).unwrap_or_default();
        let len = rest.iter().position(|&octet| !kind(octet)).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..len]);
        self.pos += len;
        len
    }

    /// `atom`
    pub(crate) fn atom(&mut self, out: &mut Vec<u8>) -> Step {
        if self.run(is_atext, out) == 0 {
            return Err(Broken);
        }
        self.cfws()
    }

    /// `dot-atom`, blanks around the dots allowed.
    pub(crate) fn dot_atom(&mut self, out: &mut Vec<u8>) -> Step {
        loop {
            if self.run(is_atext, out) == 0 {
                return Err(Broken);
            }
            if self.cfws()? == Then::End {
                return Ok(Then::End);
            }
            if !self.eat(b'.') {
                return Ok(Then::More);
            }
            out.push(b'.');
            if self.cfws()? == Then::End {
                return Err(Broken);
            }
        }
    }

    /// A local part with dots anywhere, as some countries' mobile mail once had them.
    pub(crate) fn loose_dot_atom(&mut self, out: &mut Vec<u8>) -> Step {
        loop {
            let mut step = Err(Broken);
            while self.eat(b'.') {
                out.push(b'.');
                if self.then() == Then::End {
                    return Ok(Then::End);
                }
                step = Ok(Then::More);
            }
            if self.peek() == Some(b'@') {
                return step;
            }
            let step = self.atom(out);
            if step != Ok(Then::More) || self.peek() != Some(b'.') {
                return step;
            }
        }
    }

    /// A MIME token, possibly empty.
    pub(crate) fn token(&mut self, out: &mut Vec<u8>) -> Step {
        self.run(is_token, out);
        if self.then() == Then::End { Ok(Then::End) } else { self.cfws() }
    }

    /// `quoted-string`; the next octet is the opening quote.
    pub(crate) fn quoted(&mut self, out: &mut Vec<u8>) -> Step {
        self.pos += 1;
        let mut certain = out.len();
        while let Some(octet) = self.peek() {
            if octet == b'"' {
                self.pos += 1;
                return self.cfws();
            }
            self.copy_quotable(octet, out, &mut certain);
        }
        out.truncate(certain);
        Err(Broken)
    }

    /// `phrase`: words with one space between them.
    pub(crate) fn phrase(&mut self, out: &mut Vec<u8>) -> Step {
        match self.peek() {
            None => return Ok(Then::End),
            Some(b'.') => return Err(Broken),
            Some(_) => {}
        }
        let word = |octet| is_atext(octet) || octet == b'.';
        loop {
            let step = if self.peek() == Some(b'"') {
                self.quoted(out)
            } else {
                self.run(word, out);
                if self.then() == Then::End { Ok(Then::End) } else { self.cfws() }
            };
            if step != Ok(Then::More) {
                return step;
            }
            if !self.peek().is_some_and(|octet| word(octet) || octet == b'"') {
                return Ok(Then::More);
            }
            out.push(b' ');
        }
    }

    /// `"@" domain`; the next octet is the `@`.
    pub(crate) fn domain(&mut self, out: &mut Vec<u8>) -> Step {
        self.pos += 1;
        if self.cfws()? == Then::End {
            return Err(Broken);
        }
        if self.peek() == Some(b'[') { self.domain_literal(out) } else { self.dot_atom(out) }
    }

    fn domain_literal(&mut self, out: &mut Vec<u8>) -> Step {
        out.push(b'[');
        self.pos += 1;
        while let Some(octet) = self.peek() {
            match octet {
                b'[' => return Err(Broken),
                b']' => {
                    out.push(b']');
                    self.pos += 1;
                    return self.cfws();
                }
                // The backslash of a quoted-pair stays here.
                b'\\' if !matches!(self.data.get(self.pos + 1), Some(b'\r' | b'\n' | 0)) => {
                    out.push(octet);
                    self.pos += 1;
                    out.push(self.peek().ok_or(Broken)?);
                    self.pos += 1;
                }
                _ => self.copy_plain(octet, out),
            }
        }
        Err(Broken)
    }

    fn copy_plain(&mut self, octet: u8, out: &mut Vec<u8>) {
        self.pos += 1;
        match octet {
            0 => out.extend_from_slice(REPLACEMENT),
            b'\n' => {
                if out.last() == Some(&b'\r') {
                    out.pop();
                }
            }
            _ => out.push(octet),
        }
    }

    /// `type "/" subtype` of Content-Type. On failure `out` may hold a type without a slash or
    /// nothing, never half a pair.
    pub(crate) fn content_type(&mut self, out: &mut Vec<u8>) -> Step {
        let result = self.content_type_pair(out);
        if result.is_err() && memchr::memchr(b'/', out).is_some() {
            out.clear();
        }
        result
    }

    fn content_type_pair(&mut self, out: &mut Vec<u8>) -> Step {
        if self.cfws()? == Then::End || self.token(out)? == Then::End || out.is_empty() {
            return Err(Broken);
        }
        if !self.eat(b'/') {
            out.clear();
            return Err(Broken);
        }
        if self.cfws()? == Then::End {
            out.clear();
            return Err(Broken);
        }
        out.push(b'/');
        let before = out.len();
        let step = self.token(out)?;
        if out.len() == before || !matches!(self.peek(), None | Some(b';')) {
            out.clear();
            return Err(Broken);
        }
        Ok(step)
    }

    /// One `";" attribute "=" value`; `Ok(None)` at the end.
    pub(crate) fn parameter(&mut self) -> Result<Option<Parameter>, Broken> {
        let (mut name, mut value) = (Vec::new(), Vec::new());
        if self.peek().is_none() {
            return Ok(None);
        }
        if !self.eat(b';') || self.cfws()? == Then::End {
            return Err(Broken);
        }
        if self.token(&mut name)? == Then::End || !self.eat(b'=') {
            return Err(Broken);
        }
        match (self.cfws(), self.peek()) {
            (Err(Broken), _) => return Err(Broken),
            (Ok(Then::End), _) => {}
            (Ok(Then::More), Some(b'"')) => {
                self.quoted(&mut value)?;
            }
            // name==?utf-8?b?...?= as some clients write it
            (Ok(Then::More), Some(b'=')) => {
                self.run(|octet| !matches!(octet, b';' | b' ' | b'\t' | b'\r' | b'\n'), &mut value);
            }
            (Ok(Then::More), _) => {
                self.token(&mut value)?;
            }
        }
        Ok(Some(Parameter { name, value }))
    }
}
