//! Flags and keywords (RFC 3501 2.3.2).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::SyntaxError;
use super::args::Arg;
use crate::server::{Flags, NamedFlags};

/// Keywords in one command, at most.
const KEYWORDS: usize = 64;

/// Octets of a keyword, at most.
const KEYWORD: usize = 255;

/// The system flags in the order in which Dovecot shows them.
pub const SYSTEM: [(u8, &str); 5] = [
    (Flags::ANSWERED, "\\Answered"),
    (Flags::FLAGGED, "\\Flagged"),
    (Flags::DELETED, "\\Deleted"),
    (Flags::SEEN, "\\Seen"),
    (Flags::DRAFT, "\\Draft"),
];

/// Reads flags: one list, or words one after the other (`STORE 1 FLAGS \Seen \Draft`).
///
/// # Errors
/// [`SyntaxError`] for a system flag that there is not, and for what is no word.
pub fn flags(args: &[Arg<'_>]) -> Result<NamedFlags, SyntaxError> {
    let words = match args {
        [Arg::List(list)] => list,
        _ => args,
    };
    let mut found = NamedFlags::default();
    for word in words {
        let word = word.atom().ok_or(SyntaxError::verb("Flags list contains non-atoms"))?;
        if word.starts_with(b"\\") {
            found.system |= system(word)?;
        } else {
            add_keyword(&mut found.keywords, word)?;
        }
    }
    Ok(found)
}

fn system(word: &[u8]) -> Result<u8, SyntaxError> {
    let known = SYSTEM.iter().find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(word));
    known.map(|(bit, _)| *bit).ok_or_else(|| {
        let name = String::from_utf8_lossy(word).to_ascii_uppercase();
        SyntaxError::shown(format!("Invalid system flag {name}"))
    })
}

fn add_keyword(keywords: &mut Vec<Box<str>>, word: &[u8]) -> Result<(), SyntaxError> {
    let name = keyword(word)?;
    if !keywords.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        if keywords.len() == KEYWORDS {
            return Err(SyntaxError::verb("Too many keywords"));
        }
        keywords.push(name.into());
    }
    Ok(())
}

/// Checks that a word can be a keyword: an atom.
fn keyword(word: &[u8]) -> Result<&str, SyntaxError> {
    let odd = |c: &u8| matches!(c, b'%' | b'*' | b'\\' | b']');
    let text = core::str::from_utf8(word).map_err(|_| SyntaxError::Arguments)?;
    if text.is_empty() || word.iter().any(odd) {
        return Err(SyntaxError::shown(format!("Invalid keyword name '{text}'")));
    }
    if text.len() > KEYWORD {
        return Err(SyntaxError::verb("Keyword name too long"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::args::args;

    fn read(text: &str) -> Result<NamedFlags, SyntaxError> {
        flags(&args(text.as_bytes()).unwrap())
    }

    #[test]
    fn lists_and_words() {
        let found = read("(\\Seen $Label1 \\deleted work WORK)").unwrap();
        assert_eq!(found.system, Flags::SEEN | Flags::DELETED);
        assert_eq!(found.keywords, ["$Label1".into(), "work".into()]);
        assert_eq!(read("\\Seen \\Draft").unwrap().system, Flags::SEEN | Flags::DRAFT);
        assert_eq!(read("()").unwrap(), NamedFlags::default());
    }

    #[test]
    fn what_is_no_flag() {
        for (text, error) in [
            ("\\Bogus", "Invalid system flag \\BOGUS"),
            ("(\\Recent)", "Invalid system flag \\RECENT"),
            ("(a*b)", "Invalid keyword name 'a*b'"),
            ("((x))", "Flags list contains non-atoms"),
            ("\"x\"", "Flags list contains non-atoms"),
        ] {
            assert_eq!(alloc::string::ToString::to_string(&read(text).unwrap_err()), error);
        }
    }
}
