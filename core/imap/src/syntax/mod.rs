//! The grammar of commands (RFC 3501 9), read from whole commands: framing comes first
//! (`frame.rs`), so nothing here ever waits for more.
//!
//! As Dovecot does, a command is first cut into arguments ([`args`]), which every verb then reads
//! in its own way. So one place knows of quoting, literals and nesting.

pub mod args;
pub mod command;
pub mod fetch;
pub mod flags;
pub mod list;
pub mod mailbox;
pub mod search;
pub mod set;

use alloc::borrow::Cow;
use alloc::string::String;

use nom::error::{ErrorKind, ParseError};

/// What is wrong with a command; the text is that of the BAD reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// Nothing that could be an argument.
    #[error("Invalid arguments")]
    Arguments,
    /// A quoted string without end.
    #[error("Missing '\"'")]
    Quote,
    /// A list without end.
    #[error("Missing ')'")]
    Open,
    /// A `)` too many.
    #[error("Unexpected ')'")]
    Close,
    /// Lists in lists in lists.
    #[error("Too many '('")]
    Depth,
    /// `{` without a number and `}` at the end of a line.
    #[error("Invalid literal size")]
    Literal,
    /// An octet above 127 outside of a string.
    #[error("8bit data in atom")]
    EightBit,
    /// An argument that the verb does not take.
    #[error("{0}")]
    Verb(Cow<'static, str>),
}

impl SyntaxError {
    /// An error of one verb, with its own words.
    pub(crate) const fn verb(text: &'static str) -> Self {
        Self::Verb(Cow::Borrowed(text))
    }

    /// An error of one verb, with words that show the input.
    pub(crate) const fn shown(text: String) -> Self {
        Self::Verb(Cow::Owned(text))
    }
}

impl ParseError<&[u8]> for SyntaxError {
    fn from_error_kind(_: &[u8], _: ErrorKind) -> Self {
        Self::Arguments
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// What a parser of pieces gives.
pub(crate) type Parsed<'a, T> = nom::IResult<&'a [u8], T, SyntaxError>;

/// The result of a parser that must take everything.
pub(crate) fn whole<T>(parsed: Parsed<'_, T>) -> Result<T, SyntaxError> {
    match parsed {
        Ok((b"", value)) => Ok(value),
        Ok(_) => Err(SyntaxError::Arguments),
        Err(nom::Err::Error(error) | nom::Err::Failure(error)) => Err(error),
        Err(nom::Err::Incomplete(_)) => Err(SyntaxError::Arguments),
    }
}
