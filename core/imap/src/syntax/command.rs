//! The start of a command: tag and name (RFC 3501 2.2.1).

use alloc::string::String;

use nom::Parser;
use nom::bytes::complete::{tag_no_case, take_while1};
use nom::character::complete::char;
use nom::combinator::opt;
use nom::sequence::preceded;

use super::SyntaxError;

/// Octets of a tag, at most: the head of a command is read anew with each literal of it.
const TAG: usize = 512;

/// Tag and name of a command, and what follows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The tag.
    pub tag: &'a [u8],
    /// The name in capitals, without `UID`.
    pub name: String,
    /// It began with `UID`.
    pub uid: bool,
    /// The arguments.
    pub rest: &'a [u8],
}

/// Why a command has no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError<'a> {
    /// No tag, or one without measure.
    Tag,
    /// A tag, but no name.
    Name(&'a [u8]),
}

/// Cuts a command into its head and its arguments.
///
/// # Errors
/// [`HeadError`] when there is no tag or no name.
pub fn head(command: &[u8]) -> Result<Head<'_>, HeadError<'_>> {
    let (rest, tag) = word(is_tag)(command).map_err(|_| HeadError::Tag)?;
    if !matches!(rest.first(), None | Some(b' ')) || tag.len() > TAG {
        return Err(HeadError::Tag);
    }
    let name_error = |_| HeadError::Name(tag);
    let name = |input| preceded(char(' '), word(is_name)).parse(input);
    let (rest, uid) = opt((char(' '), tag_no_case("UID "))).parse(rest).map_err(name_error)?;
    let (rest, name) = match uid {
        Some(_) => word(is_name)(rest).map_err(name_error)?,
        None => name(rest).map_err(name_error)?,
    };
    let name = String::from_utf8_lossy(name).to_ascii_uppercase();
    if !matches!(rest.first(), None | Some(b' ')) || (uid.is_none() && name == "UID") {
        return Err(HeadError::Name(tag));
    }
    Ok(Head { tag, name, uid: uid.is_some(), rest: rest.strip_prefix(b" ").unwrap_or(rest) })
}

fn word(kind: fn(u8) -> bool) -> impl Fn(&[u8]) -> super::Parsed<'_, &[u8]> {
    move |input| take_while1::<_, _, SyntaxError>(kind)(input)
}

/// `ASTRING-CHAR` except `+`.
fn is_tag(c: u8) -> bool {
    c.is_ascii_graphic() && !matches!(c, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b'+')
}

/// The names of all commands are of these; more is allowed, to name it in the reply.
fn is_name(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let parsed = head(b"a1 fetch 1 FLAGS").unwrap();
        assert_eq!((parsed.tag, &*parsed.name, parsed.uid), (&b"a1"[..], "FETCH", false));
        assert_eq!(parsed.rest, b"1 FLAGS");
        let parsed = head(b"a1 UID fetch 1").unwrap();
        assert_eq!((&*parsed.name, parsed.uid, parsed.rest), ("FETCH", true, &b"1"[..]));
        assert_eq!(head(b"a1 NOOP").unwrap().rest, b"");
        assert_eq!(head(b"a1 NOOP ").unwrap().rest, b"");
        for no_tag in ["", " a1 NOOP", "+ NOOP", "* NOOP", "a(1 NOOP", "a\u{e9} NOOP"] {
            assert_eq!(head(no_tag.as_bytes()), Err(HeadError::Tag), "{no_tag}");
        }
        let long = |len| [&b"a".repeat(len)[..], b" NOOP"].concat();
        assert_eq!(head(&long(TAG)).unwrap().name, "NOOP");
        assert_eq!(head(&long(TAG + 1)), Err(HeadError::Tag));
        for no_name in ["a1", "a1 ", "a1  NOOP", "a1 N\0OOP", "a1 UID", "a1 UID  FETCH", "a1 (x)"] {
            assert_eq!(head(no_name.as_bytes()), Err(HeadError::Name(b"a1")), "{no_name}");
        }
    }
}
