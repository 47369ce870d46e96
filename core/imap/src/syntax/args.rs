//! Arguments: atoms, strings, literals and lists (RFC 3501 4).

use alloc::borrow::Cow;
use alloc::vec::Vec;

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, take, take_while, take_while1};
use nom::character::complete::{char, digit1};
use nom::combinator::{map, map_opt, opt, recognize};
use nom::sequence::{delimited, pair, terminated};

use super::{Parsed, SyntaxError, whole};

/// Lists within lists, at most.
const DEPTH: usize = 50;

/// One argument of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg<'a> {
    /// A word; also flags (`\Seen`), patterns (`*`) and `NIL`.
    Atom(&'a [u8]),
    /// A quoted string or a literal.
    Str(Cow<'a, [u8]>),
    /// Arguments in parentheses.
    List(Vec<Self>),
}

impl<'a> Arg<'a> {
    /// The octets of an atom.
    pub fn atom(&self) -> Option<&'a [u8]> {
        match self {
            Self::Atom(atom) => Some(atom),
            _ => None,
        }
    }

    /// The octets of an atom or a string (`astring`).
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(atom) => Some(atom),
            Self::Str(text) => Some(text),
            Self::List(_) => None,
        }
    }

    /// The arguments in a list.
    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// True for the atom `word`, in any letter case.
    pub fn is(&self, word: &str) -> bool {
        self.atom().is_some_and(|atom| atom.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The atom as text in capitals, as replies show it.
    pub(crate) fn upper(&self) -> Option<alloc::string::String> {
        self.atom().map(|atom| alloc::string::String::from_utf8_lossy(atom).to_ascii_uppercase())
    }
}

/// Reads all arguments of a command; blanks between them do not matter.
///
/// # Errors
/// [`SyntaxError`] when the text is no sequence of arguments.
pub fn args(input: &[u8]) -> Result<Vec<Arg<'_>>, SyntaxError> {
    whole(items(input, 0))
}

fn items(mut input: &[u8], depth: usize) -> Parsed<'_, Vec<Arg<'_>>> {
    let mut items = Vec::new();
    loop {
        (input, _) = take_while(|c| c == b' ').parse(input)?;
        match input.first() {
            None if depth > 0 => return Err(nom::Err::Failure(SyntaxError::Open)),
            None => return Ok((input, items)),
            Some(b')') if depth > 0 => return Ok((&input[1..], items)),
            Some(b')') => return Err(nom::Err::Failure(SyntaxError::Close)),
            Some(b'(') if depth == DEPTH => return Err(nom::Err::Failure(SyntaxError::Depth)),
            Some(b'(') => {
                let (rest, list) = self::items(&input[1..], depth + 1)?;
                items.push(Arg::List(list));
                input = rest;
            }
            Some(_) => {
                let (rest, item) = item(input)?;
                items.push(item);
                input = rest;
            }
        }
    }
}

fn item(input: &[u8]) -> Parsed<'_, Arg<'_>> {
    match input.first() {
        Some(b'"') => map(quoted, Arg::Str).parse(input),
        Some(b'{') => map(literal, |text| Arg::Str(Cow::Borrowed(text))).parse(input),
        Some(c) if *c >= 0x80 => Err(nom::Err::Failure(SyntaxError::EightBit)),
        _ => {
            let (rest, atom) = take_while1(is_atom)(input)?;
            match rest.first() {
                Some(c) if *c >= 0x80 => Err(nom::Err::Failure(SyntaxError::EightBit)),
                _ => Ok((rest, Arg::Atom(atom))),
            }
        }
    }
}

/// What may stand in a word here: more than `ATOM-CHAR`, as flags and patterns are words too.
fn is_atom(c: u8) -> bool {
    c.is_ascii_graphic() && !matches!(c, b'(' | b')' | b'"' | b'{')
}

/// `quoted`, with its escapes undone.
fn quoted(input: &[u8]) -> Parsed<'_, Cow<'_, [u8]>> {
    let broken = |_| nom::Err::Failure(SyntaxError::Quote);
    let plain = |c: u8| !matches!(c, b'"' | b'\\' | b'\r' | b'\n' | 0);
    let (rest, text) = delimited(char('"'), take_while(plain), alt((tag("\""), tag("\\"))))
        .parse(input)
        .map_err(|_: nom::Err<SyntaxError>| broken(()))?;
    if input[text.len() + 1] == b'"' {
        return Ok((rest, Cow::Borrowed(text)));
    }
    let mut out = text.to_vec();
    let mut rest = &input[text.len() + 1..];
    loop {
        match rest {
            [b'"', after @ ..] => return Ok((after, Cow::Owned(out))),
            [b'\\', c, after @ ..] if !matches!(c, b'\r' | b'\n' | 0) => {
                out.push(*c);
                rest = after;
            }
            [c, after @ ..] if plain(*c) => {
                out.push(*c);
                rest = after;
            }
            _ => return Err(broken(())),
        }
    }
}

/// `{n}` CRLF and the octets, as the framing put them together.
fn literal(input: &[u8]) -> Parsed<'_, &[u8]> {
    let broken = |_: nom::Err<SyntaxError>| nom::Err::Failure(SyntaxError::Literal);
    let (rest, size) = terminated(announced, tag("\r\n")).parse(input).map_err(broken)?;
    take(size.octets).parse(rest).map_err(broken)
}

/// The announcement of a literal (RFC 3501 4.3, RFC 7888).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Octets to come.
    pub octets: u64,
    /// The client waits for `+` before it sends them.
    pub waits: bool,
    /// `~{`: a literal8 (RFC 3516).
    pub binary: bool,
}

fn announced(input: &[u8]) -> Parsed<'_, Announced> {
    let number = map_opt(recognize(digit1), |digits| {
        core::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok())
    });
    map(
        (opt(char('~')), delimited(char('{'), pair(number, opt(char('+'))), char('}'))),
        |(binary, (octets, plus))| Announced {
            octets,
            waits: plus.is_none(),
            binary: binary.is_some(),
        },
    )
    .parse(input)
}

/// What a line says at its end of a literal that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing: the command ends with the line.
    Plain,
    /// A literal follows; its announcement starts at this place of the line.
    Literal(usize, Announced),
    /// A literal of a size beyond 64 bits follows.
    TooLarge,
}

/// Looks whether a line (without its CRLF) announces a literal at its end.
///
/// Braces inside a quoted string announce nothing, also where the string lacks its end.
pub fn ending(line: &[u8]) -> Ending {
    match ending_of_tail(line) {
        Ending::Literal(start, _) if in_quotes(&line[..start]) => Ending::Plain,
        Ending::TooLarge if in_quotes(line) => Ending::Plain,
        ending => ending,
    }
}

/// The same for a line of which only the end is known, and so nothing of quotes.
pub fn ending_of_tail(line: &[u8]) -> Ending {
    if line.last() != Some(&b'}') {
        return Ending::Plain;
    }
    let Some(open) = memchr::memrchr(b'{', line) else { return Ending::Plain };
    let start = match line[..open].last() {
        Some(b'~') => open - 1,
        _ => open,
    };
    match whole(announced(&line[start..])) {
        Ok(announced) => Ending::Literal(start, announced),
        Err(_) => {
            let inner = &line[open + 1..line.len() - 1];
            let digits = inner.strip_suffix(b"+").unwrap_or(inner);
            if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
                Ending::TooLarge
            } else {
                Ending::Plain
            }
        }
    }
}

/// Whether a quoted string is open at the end of the text.
fn in_quotes(text: &[u8]) -> bool {
    let mut open = false;
    let mut chars = text.iter();
    while let Some(c) = chars.next() {
        match c {
            b'"' => open = !open,
            b'\\' if open => {
                chars.next();
            }
            _ => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn s(text: &str) -> Arg<'_> {
        Arg::Str(Cow::Borrowed(text.as_bytes()))
    }

    #[test]
    fn all_kinds() {
        assert_eq!(
            args(b"mail000 \"a \\\"b\\\\\" {3}\r\nx\r\n (\\Seen (* %)()) NIL \"\"").unwrap(),
            vec![
                Arg::Atom(b"mail000"),
                s("a \"b\\"),
                s("x\r\n"),
                Arg::List(vec![
                    Arg::Atom(b"\\Seen"),
                    Arg::List(vec![Arg::Atom(b"*"), Arg::Atom(b"%")]),
                    Arg::List(vec![]),
                ]),
                Arg::Atom(b"NIL"),
                s(""),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, error) in [
            ("\"x", SyntaxError::Quote),
            ("\"x\\", SyntaxError::Quote),
            ("\"x\\\"", SyntaxError::Quote),
            ("(x", SyntaxError::Open),
            ("x)", SyntaxError::Close),
            ("{5", SyntaxError::Literal),
            ("{-1}", SyntaxError::Literal),
            ("{5}\r\nabc", SyntaxError::Literal),
            ("caf\u{e9}", SyntaxError::EightBit),
            ("\u{e9}", SyntaxError::EightBit),
            ("a\u{7}b", SyntaxError::Arguments),
        ] {
            assert_eq!(args(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(args(&[b'('; 100]), Err(SyntaxError::Depth));
    }

    #[test]
    fn literals_announced() {
        let plain = Announced { octets: 5, waits: true, binary: false };
        assert_eq!(ending(b"a LOGIN {5}"), Ending::Literal(8, plain));
        assert_eq!(ending(b"a \"x\\\"\" {5}"), Ending::Literal(8, plain));
        let plus = Announced { octets: 5, waits: false, binary: true };
        assert_eq!(ending(b"a ~{5+}"), Ending::Literal(2, plus));
        for none in ["a \"{5}", "a {5", "a {-1}", "a {x}", "a {}", "a {5-}", "a 5}"] {
            assert_eq!(ending(none.as_bytes()), Ending::Plain, "{none}");
        }
        assert_eq!(ending(b"a {99999999999999999999}"), Ending::TooLarge);
    }
}
