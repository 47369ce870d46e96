//! Values of the Content-* fields (RFC 2045, 2183, 3282) and their parameters (RFC 2231).

use alloc::vec::Vec;

use crate::lexer::{Lexer, Then};

/// Most parameters read from one field; more are ignored.
const PARAMETERS: usize = 1000;

/// An attribute and its value. Parts of an RFC 2231 value are joined (`name*0`, `name*1` become
/// `name`); percent-encoding stays as it is, with the name ending in `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The attribute, in the letter case of the message.
    pub name: Vec<u8>,
    /// The value, without quotes.
    pub value: Vec<u8>,
}

/// Finds the value of a parameter.
pub fn parameter<'a>(parameters: &'a [Parameter], name: &[u8]) -> Option<&'a [u8]> {
    parameters.iter().find(|p| p.name.eq_ignore_ascii_case(name)).map(|p| &*p.value)
}

/// A Content-Type field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentType {
    /// `text` of `text/plain`, in the letter case of the message; empty when the field is broken.
    pub kind: Vec<u8>,
    /// `plain` of `text/plain`; empty when the field is broken.
    pub subtype: Vec<u8>,
    /// The parameters in their order, the joined RFC 2231 ones last.
    pub parameters: Vec<Parameter>,
}

impl ContentType {
    /// Reads a field's value. A broken one has an empty type, and no parameters.
    pub fn parse(value: &[u8]) -> Self {
        let mut lexer = Lexer::new(value);
        let mut pair = Vec::new();
        let parsed = lexer.content_type(&mut pair);
        let slash = memchr::memchr(b'/', &pair);
        let subtype = slash.map_or_else(Vec::new, |at| pair[at + 1..].to_vec());
        pair.truncate(slash.unwrap_or(pair.len()));
        let parameters = if parsed.is_ok() { parameters(&mut lexer) } else { Vec::new() };
        Self { kind: pair, subtype, parameters }
    }

    /// Whether it is `kind/subtype`, without regard to letter case.
    pub fn is(&self, kind: &[u8], subtype: &[u8]) -> bool {
        self.is_kind(kind) && self.subtype.eq_ignore_ascii_case(subtype)
    }

    /// Whether the type before the slash is `kind`, without regard to letter case.
    pub fn is_kind(&self, kind: &[u8]) -> bool {
        self.kind.eq_ignore_ascii_case(kind)
    }

    /// Value of a parameter.
    pub fn parameter(&self, name: &[u8]) -> Option<&[u8]> {
        parameter(&self.parameters, name)
    }
}

/// A Content-Disposition field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disposition {
    /// `attachment`, `inline`, or what the message says.
    pub kind: Vec<u8>,
    /// Its parameters, as those of [`ContentType`].
    pub parameters: Vec<Parameter>,
}

impl Disposition {
    /// Reads a field's value; `None` when it has an unclosed comment.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut lexer = Lexer::new(value);
        // A comment that never ends leaves nothing behind it to read.
        let _ = lexer.cfws();
        let mut kind = Vec::new();
        lexer.token(&mut kind).ok()?;
        Some(Self { kind, parameters: parameters(&mut lexer) })
    }
}

/// Reads a Content-Transfer-Encoding; `None` when it is not one token.
pub fn encoding(value: &[u8]) -> Option<Vec<u8>> {
    let mut lexer = Lexer::new(value);
    let _ = lexer.cfws();
    let mut token = Vec::new();
    lexer.token(&mut token).ok()?;
    (lexer.cfws() == Ok(Then::End) && !token.is_empty()).then_some(token)
}

/// Reads the tags of a Content-Language.
pub fn languages(value: &[u8]) -> Vec<Vec<u8>> {
    let mut lexer = Lexer::new(value);
    let _ = lexer.cfws();
    let mut tags = Vec::new();
    loop {
        let mut tag = Vec::new();
        if lexer.atom(&mut tag).is_err() || tags.len() == PARAMETERS {
            return tags;
        }
        tags.push(tag);
        if !lexer.eat(b',') {
            return tags;
        }
        let _ = lexer.cfws();
    }
}

/// One part of an RFC 2231 value.
struct Piece {
    name: Vec<u8>,
    index: u32,
    extended: bool,
    value: Vec<u8>,
}

fn parameters(lexer: &mut Lexer<'_>) -> Vec<Parameter> {
    let (mut plain, mut pieces) = (Vec::new(), Vec::new());
    while plain.len() + pieces.len() < PARAMETERS {
        match lexer.parameter() {
            Ok(None) => break,
            Ok(Some(parameter)) => match piece(parameter) {
                Ok(piece) => pieces.push(piece),
                Err(parameter) => plain.push(parameter),
            },
            Err(_) if lexer.peek().is_none() => break,
            Err(_) => lexer.pos += 1,
        }
    }
    pieces.sort_by(|a: &Piece, b: &Piece| (&a.name, a.index).cmp(&(&b.name, b.index)));
    for group in pieces.chunk_by(|a, b| a.name.eq_ignore_ascii_case(&b.name)) {
        join(group, &mut plain);
    }
    plain
}

/// Takes `name*`, `name*1` and `name*1*` apart; any other name is an ordinary parameter.
fn piece(parameter: Parameter) -> Result<Piece, Parameter> {
    let Parameter { name, value } = parameter;
    let Some(star) = memchr::memchr(b'*', &name) else { return Err(Parameter { name, value }) };
    let (digits, extended) = match &name[star + 1..] {
        [] => (&b""[..], true),
        [digits @ .., b'*'] => (digits, true),
        digits => (digits, false),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Parameter { name, value });
    }
    let index =
        digits.iter().fold(0u32, |n, d| n.wrapping_mul(10).wrapping_add(u32::from(d - b'0')));
    Ok(Piece { index, extended, value, name: name[..star].to_vec() })
}

/// Joins the pieces of one name, or gives them singly when one is missing.
fn join(group: &[Piece], out: &mut Vec<Parameter>) {
    let complete = group.iter().zip(0u32..).all(|(piece, n)| piece.index == n);
    if !complete {
        out.extend(group.iter().map(|piece| {
            let star = if piece.extended { "*" } else { "" };
            let suffix = alloc::format!("*{}{star}", piece.index);
            let name = [&piece.name, suffix.as_bytes()].concat();
            Parameter { name, value: piece.value.clone() }
        }));
        return;
    }
    let any_extended = group.iter().any(|piece| piece.extended);
    let mut name = group[0].name.clone();
    let mut value = Vec::new();
    if any_extended {
        name.push(b'*');
        if !group[0].extended {
            value.extend_from_slice(b"''");
        }
    }
    for piece in group {
        if any_extended && !piece.extended {
            for &octet in &piece.value {
                value.extend_from_slice(if octet == b'%' {
                    b"%25"
                } else {
                    core::slice::from_ref(&octet)
                });
            }
        } else {
            value.extend_from_slice(&piece.value);
        }
    }
    out.push(Parameter { name, value });
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn shown(value: &str) -> String {
        let parsed = ContentType::parse(value.as_bytes());
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let mut out = alloc::format!("{}/{}", text(&parsed.kind), text(&parsed.subtype));
        for p in &parsed.parameters {
            out += &alloc::format!(" {}=[{}]", text(&p.name), text(&p.value));
        }
        out
    }

    #[test]
    fn content_types() {
        assert_eq!(
            shown("text/plain; charset=utf-8; format=flowed"),
            "text/plain charset=[utf-8] format=[flowed]"
        );
        assert_eq!(shown(" (c) Text / HTML ;Charset=\"a \\\"b\" (x)"), "Text/HTML Charset=[a \"b]");
        assert_eq!(shown("text"), "text/");
        assert_eq!(shown("text/plain utf-8"), "/");
        assert_eq!(shown("/x; a=b"), "/");
        assert_eq!(shown("a/b; name==?utf-8?b?eA==?=; c=d"), "a/b name=[=?utf-8?b?eA==?=] c=[d]");
        assert_eq!(shown("a/b;;; x; y=; z=1"), "a/b z=[1]");
    }

    #[test]
    fn continued_parameters() {
        assert_eq!(shown("a/b; n*1=y; n*0=x; q=1"), "a/b q=[1] n=[xy]");
        assert_eq!(shown("a/b; n*0*=utf-8''%C3; n*1=\"50%\""), "a/b n*=[utf-8''%C350%25]");
        assert_eq!(shown("a/b; n*=utf-8''%C3%A9"), "a/b n*=[utf-8''%C3%A9]");
        assert_eq!(shown("a/b; n*0=x; n*2=z"), "a/b n*0=[x] n*2=[z]");
        assert_eq!(shown("a/b; n*x=1"), "a/b n*x=[1]");
    }

    #[test]
    fn other_fields() {
        assert_eq!(encoding(b" base64 (x)").as_deref(), Some(&b"base64"[..]));
        assert_eq!(encoding(b"quoted printable"), None);
        assert_eq!(languages(b"de, en-US (x) ,"), [b"de".to_vec(), b"en-US".to_vec()]);
        let d = Disposition::parse(b"attachment; filename=\"a b\"").unwrap();
        assert_eq!(parameter(&d.parameters, b"FileName"), Some(&b"a b"[..]));
    }
}
