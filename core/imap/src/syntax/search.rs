//! SEARCH (RFC 3501 6.4.4), its RETURN options (RFC 4731), WITHIN (RFC 5032).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use waypost_message::date::parse_imap_day;
use waypost_message::encoded::Charset;
use waypost_message::text::Needle;

use super::SyntaxError;
use super::args::Arg;
use super::set::Raw;
use crate::response::printable;
use crate::search::{Key, Program, When};
use crate::server::Flags;

/// Keys within keys, at most.
const DEPTH: usize = 50;

/// What RETURN asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Return {
    /// `MIN`
    pub min: bool,
    /// `MAX`
    pub max: bool,
    /// `COUNT`
    pub count: bool,
    /// `ALL`
    pub all: bool,
}

/// A SEARCH command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// `RETURN (...)`; `None`: the old reply.
    pub options: Option<Return>,
    /// The criteria.
    pub program: Program,
}

/// Why a SEARCH is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchError {
    /// BADCHARSET
    Charset,
    /// BAD
    Syntax(SyntaxError),
}

impl From<SyntaxError> for SearchError {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

/// The numbers that `*` means.
#[derive(Clone, Copy, Debug)]
pub struct Last {
    /// How many messages there are.
    pub seq: u32,
    /// The uid of the last one; 0 without messages.
    pub uid: u32,
}

/// Reads the arguments of SEARCH.
///
/// # Errors
/// [`SearchError`]
pub fn search(args: &[Arg<'_>], last: Last) -> Result<Search, SearchError> {
    let (options, args) = match args {
        [word, Arg::List(list), rest @ ..] if word.is("RETURN") => (Some(options(list)?), rest),
        _ => (None, args),
    };
    let (charset, args) = match args {
        [word, name, rest @ ..] if word.is("CHARSET") => {
            let known = name.text().and_then(|name| Charset::of(name).ok());
            (known.ok_or(SearchError::Charset)?, rest)
        }
        [word] if word.is("CHARSET") => {
            return Err(SyntaxError::verb("Invalid charset argument").into());
        }
        _ => (Charset::UTF8, args),
    };
    let mut keys = Vec::new();
    let mut reader = Reader { args, last, charset };
    while !reader.args.is_empty() {
        keys.push(reader.key(0)?);
    }
    if keys.is_empty() {
        return Err(SyntaxError::verb("Missing search parameters").into());
    }
    Ok(Search { options, program: Program(keys) })
}

fn options(list: &[Arg<'_>]) -> Result<Return, SyntaxError> {
    let mut found = Return::default();
    for option in list {
        match option.upper().as_deref() {
            Some("MIN") => found.min = true,
            Some("MAX") => found.max = true,
            Some("COUNT") => found.count = true,
            Some("ALL") => found.all = true,
            _ => return Err(SyntaxError::verb("Unknown SEARCH return option")),
        }
    }
    // RFC 4731 3.1: an empty list means ALL.
    found.all |= found == Return::default();
    Ok(found)
}

struct Reader<'a, 'b> {
    args: &'b [Arg<'a>],
    last: Last,
    charset: Charset,
}

impl<'a, 'b> Reader<'a, 'b> {
    fn next(&mut self) -> Option<&'b Arg<'a>> {
        let (first, rest) = self.args.split_first()?;
        self.args = rest;
        Some(first)
    }

    fn key(&mut self, depth: usize) -> Result<Key, SyntaxError> {
        if depth > DEPTH {
            return Err(SyntaxError::verb("Too many nested search keys"));
        }
        match self.next() {
            None => Err(SyntaxError::verb("Missing argument")),
            Some(Arg::List(list)) => {
                let mut reader = Reader { args: list, ..*self };
                let mut keys = Vec::new();
                while !reader.args.is_empty() {
                    keys.push(reader.key(depth + 1)?);
                }
                if keys.is_empty() {
                    return Err(SyntaxError::verb("No search parameters inside list"));
                }
                Ok(Key::And(keys))
            }
            Some(Arg::Str(text)) => {
                let text = String::from_utf8_lossy(text).to_ascii_uppercase();
                let text = format!("Unexpected string as search key: {}", printable(&text));
                Err(SyntaxError::shown(text))
            }
            Some(word @ Arg::Atom(_)) => self.word(word, depth),
        }
    }

    fn word(&mut self, word: &Arg<'a>, depth: usize) -> Result<Key, SyntaxError> {
        let name = word.upper().ok_or(SyntaxError::Arguments)?;
        if let Some(key) = plain(&name) {
            return Ok(key);
        }
        Ok(match name.as_str() {
            "NOT" => not(self.key(depth + 1)?),
            "OR" => Key::Or(Box::new((self.key(depth + 1)?, self.key(depth + 1)?))),
            "KEYWORD" => Key::Keyword(self.keyword(&name)?),
            "UNKEYWORD" => not(Key::Keyword(self.keyword(&name)?)),
            "UID" => {
                let set = self.argument(&name)?.atom().and_then(Raw::parse);
                let set = set.ok_or(SyntaxError::verb("Invalid UID messageset"))?;
                Key::Uid(set.resolve(self.last.uid))
            }
            "LARGER" => Key::Larger(self.number(&name)?),
            "SMALLER" => Key::Smaller(self.number(&name)?),
            "OLDER" => Key::Older(self.interval(&name)?),
            "YOUNGER" => Key::Younger(self.interval(&name)?),
            "BEFORE" => Key::Arrived(When::Before(self.date()?)),
            "ON" => Key::Arrived(When::On(self.date()?)),
            "SINCE" => Key::Arrived(When::Since(self.date()?)),
            "SENTBEFORE" => Key::Sent(When::Before(self.date()?)),
            "SENTON" => Key::Sent(When::On(self.date()?)),
            "SENTSINCE" => Key::Sent(When::Since(self.date()?)),
            "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => {
                let needle = self.needle(&name)?;
                Key::Header { name: name.into(), needle }
            }
            "HEADER" => {
                let field = self.argument(&name)?.text().ok_or_else(|| missing(&name))?;
                let field = String::from_utf8_lossy(field).into();
                Key::Header { name: field, needle: self.needle(&name)? }
            }
            "BODY" => Key::Body(self.needle(&name)?),
            "TEXT" => Key::Text(self.needle(&name)?),
            _ => match word.atom().and_then(Raw::parse) {
                // Numbers that no message has are no error here.
                Some(set) => Key::Sequence(set.resolve(self.last.seq)),
                None if name.starts_with(|c: char| c == '*' || c.is_ascii_digit()) => {
                    return Err(SyntaxError::verb("Invalid messageset"));
                }
                None => return Err(SyntaxError::shown(format!("Unknown argument {name}"))),
            },
        })
    }

    fn argument(&mut self, name: &str) -> Result<&'b Arg<'a>, SyntaxError> {
        self.next().ok_or_else(|| missing(name))
    }

    fn needle(&mut self, name: &str) -> Result<Needle, SyntaxError> {
        let text = self.argument(name)?.text().ok_or_else(|| missing(name))?;
        Ok(Needle::new(&self.charset.decode(text)))
    }

    fn keyword(&mut self, name: &str) -> Result<Box<str>, SyntaxError> {
        let word = self.argument(name)?.text().ok_or_else(|| missing(name))?;
        Ok(String::from_utf8_lossy(word).into())
    }

    fn number(&mut self, name: &str) -> Result<u64, SyntaxError> {
        let word = self.argument(name)?.atom().and_then(|w| core::str::from_utf8(w).ok());
        let wrong = || SyntaxError::verb("Invalid search size parameter");
        match word.filter(|w| w.bytes().all(|c| c.is_ascii_digit())) {
            Some(word) => word.parse().map_err(|_| wrong()),
            None => Err(wrong()),
        }
    }

    fn interval(&mut self, name: &str) -> Result<u32, SyntaxError> {
        let wrong = SyntaxError::verb("Invalid search interval parameter");
        let number = self.number(name).map_err(|_| wrong.clone())?;
        u32::try_from(number).ok().filter(|n| *n > 0).ok_or(wrong)
    }

    fn date(&mut self) -> Result<i64, SyntaxError> {
        let text = self.next().and_then(Arg::text);
        text.and_then(parse_imap_day).ok_or(SyntaxError::verb("Invalid search date parameter"))
    }
}

fn missing(name: &str) -> SyntaxError {
    SyntaxError::shown(format!("Missing parameter for search key (for search key: {name})"))
}

fn not(key: Key) -> Key {
    Key::Not(Box::new(key))
}

/// The keys that are one word.
fn plain(name: &str) -> Option<Key> {
    let flag = |name: &str| {
        Some(Key::Flag(match name {
            "ANSWERED" => Flags::ANSWERED,
            "DELETED" => Flags::DELETED,
            "DRAFT" => Flags::DRAFT,
            "FLAGGED" => Flags::FLAGGED,
            "SEEN" => Flags::SEEN,
            _ => return None,
        }))
    };
    match name {
        "ALL" => Some(Key::All),
        "RECENT" => Some(Key::Recent),
        "OLD" => Some(not(Key::Recent)),
        "NEW" => Some(Key::And(alloc::vec![Key::Recent, not(Key::Flag(Flags::SEEN))])),
        _ => flag(name).or_else(|| name.strip_prefix("UN").and_then(flag).map(not)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::args::args;
    use crate::syntax::set::Set;
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Search, SearchError> {
        search(&args(text.as_bytes()).unwrap(), Last { seq: 8, uid: 80 })
    }

    fn keys(text: &str) -> Vec<Key> {
        read(text).unwrap().program.0
    }

    #[test]
    fn keys_of_every_kind() {
        assert_eq!(keys("UNSEEN"), [not(Key::Flag(Flags::SEEN))]);
        assert_eq!(
            keys("OR (SEEN ANSWERED) NOT SUBJECT list 2:*"),
            [
                Key::Or(Box::new((
                    Key::And(vec![Key::Flag(Flags::SEEN), Key::Flag(Flags::ANSWERED)]),
                    not(Key::Header { name: "SUBJECT".into(), needle: Needle::new("list") }),
                ))),
                Key::Sequence(Set::of([(2, 8)])),
            ]
        );
        assert_eq!(keys("UID *:70"), [Key::Uid(Set::of([(70, 80)]))]);
        assert_eq!(keys("SENTSINCE 1-Jan-1970"), [Key::Sent(When::Since(0))]);
        assert_eq!(keys("YOUNGER 60 LARGER 0"), [Key::Younger(60), Key::Larger(0)]);
        assert_eq!(
            keys("CHARSET koi8-r HEADER X-Priority \"\""),
            [Key::Header { name: "X-Priority".into(), needle: Needle::new("") }]
        );
    }

    #[test]
    fn return_options() {
        assert_eq!(read("ALL").unwrap().options, None);
        let all = Return { all: true, ..Return::default() };
        assert_eq!(read("RETURN () ALL").unwrap().options, Some(all));
        let two = Return { min: true, count: true, ..Return::default() };
        assert_eq!(read("RETURN (COUNT MIN) CHARSET UTF-8 ALL").unwrap().options, Some(two));
    }

    #[test]
    fn what_is_wrong() {
        assert_eq!(read("CHARSET x ALL"), Err(SearchError::Charset));
        for (text, error) in [
            ("", "Missing search parameters"),
            ("RETURN (ALL)", "Missing search parameters"),
            ("XYZZY", "Unknown argument XYZZY"),
            ("UNALL", "Unknown argument UNALL"),
            ("SINCE x", "Invalid search date parameter"),
            ("RETURN (BOGUS) ALL", "Unknown SEARCH return option"),
            ("RETURN (SAVE) ALL", "Unknown SEARCH return option"),
            ("YOUNGER 0", "Invalid search interval parameter"),
            ("FROM", "Missing parameter for search key (for search key: FROM)"),
            ("NOT", "Missing argument"),
            ("()", "No search parameters inside list"),
            ("0", "Invalid messageset"),
            ("CHARSET", "Invalid charset argument"),
            ("\"ALL\"", "Unexpected string as search key: ALL"),
            ("UID x", "Invalid UID messageset"),
            ("$", "Unknown argument $"),
        ] {
            match read(text) {
                Err(SearchError::Syntax(found)) => assert_eq!(found.to_string(), error, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        let deep = "NOT ".repeat(5000) + "ALL";
        assert!(matches!(read(&deep), Err(SearchError::Syntax(_))));
    }

    proptest! {
        #[test]
        fn any_words_are_safe(words in prop::collection::vec(prop::sample::select(vec![
            "ALL", "NOT", "OR", "(", ")", "UID", "1:*", "HEADER", "x", "SINCE", "1-Jan-2026",
            "RETURN", "CHARSET", "UTF-8", "LARGER", "9", "KEYWORD",
        ]), 0..12)) {
            if let Ok(args) = args(words.join(" ").as_bytes()) {
                let _ = search(&args, Last { seq: 8, uid: 80 });
            }
        }
    }
}
