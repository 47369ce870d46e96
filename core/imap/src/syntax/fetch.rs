//! What FETCH asks for (RFC 3501 6.4.5).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use nom::Parser;
use nom::branch::alt;
use nom::character::complete::{char, digit1};
use nom::combinator::{map_opt, opt, recognize};
use nom::multi::separated_list0;
use nom::sequence::{delimited, preceded};

use waypost_message::header::Names;
use waypost_message::section::Text;

use super::args::Arg;
use super::{Parsed, SyntaxError, whole};

/// Items of one FETCH, at most.
const ITEMS: usize = 256;

/// Numbers in one section path, at most.
const PATH: usize = 100;

/// One thing that FETCH asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `FLAGS`
    Flags,
    /// `UID`
    Uid,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Size,
    /// `ENVELOPE`
    Envelope,
    /// `BODY` without brackets
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// Octets of the message.
    Section(Section),
}

/// `BODY[...]` and the `RFC822` items that mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The name in the reply: `BODY[1.MIME]<0>`, `RFC822.TEXT`.
    pub label: String,
    /// The part.
    pub path: Vec<u32>,
    /// What of the part.
    pub text: Text,
    /// First octet and number of octets.
    pub partial: Option<(u64, u64)>,
    /// Leave `\Seen` alone.
    pub peek: bool,
}

/// Reads the items: one, a macro, or a list.
///
/// # Errors
/// [`SyntaxError`] with Dovecot's words for what is wrong.
pub fn items(args: &[Arg<'_>]) -> Result<Vec<Item>, SyntaxError> {
    use Item::{Body, Envelope, Flags, InternalDate, Size};
    let mut found = Vec::new();
    match args {
        [] => return Err(SyntaxError::Arguments),
        [Arg::List(list)] => {
            let mut rest = &list[..];
            while !rest.is_empty() {
                let (item, after) = item(rest)?;
                add(&mut found, item)?;
                rest = after;
            }
            if found.is_empty() {
                return Err(SyntaxError::verb("FETCH list is empty"));
            }
        }
        [word] if word.is("ALL") => found.extend([Flags, InternalDate, Size, Envelope]),
        [word] if word.is("FAST") => found.extend([Flags, InternalDate, Size]),
        [word] if word.is("FULL") => found.extend([Flags, InternalDate, Size, Envelope, Body]),
        args => match item(args)? {
            (item, []) => add(&mut found, item)?,
            _ => return Err(SyntaxError::Arguments),
        },
    }
    Ok(found)
}

fn add(found: &mut Vec<Item>, item: Item) -> Result<(), SyntaxError> {
    if found.contains(&item) {
        return Ok(());
    }
    if found.len() == ITEMS {
        return Err(SyntaxError::verb("Too many items"));
    }
    found.push(item);
    Ok(())
}

/// One item and what follows it; a section with header names takes up to three arguments.
fn item<'a, 'b>(args: &'b [Arg<'a>]) -> Result<(Item, &'b [Arg<'a>]), SyntaxError> {
    let (first, rest) = args.split_first().ok_or(SyntaxError::Arguments)?;
    let word = first.upper().ok_or(SyntaxError::Arguments)?;
    let simple = match word.as_str() {
        "FLAGS" => Item::Flags,
        "UID" => Item::Uid,
        "INTERNALDATE" => Item::InternalDate,
        "RFC822.SIZE" => Item::Size,
        "ENVELOPE" => Item::Envelope,
        "BODY" => Item::Body,
        "BODYSTRUCTURE" => Item::BodyStructure,
        "RFC822" => old(&word, Text::All),
        "RFC822.HEADER" => old(&word, Text::Header),
        "RFC822.TEXT" => old(&word, Text::Text),
        _ => {
            let (peek, section) = match word.strip_prefix("BODY") {
                Some(rest) => match rest.strip_prefix(".PEEK") {
                    Some(rest) => (true, rest),
                    None => (false, rest),
                },
                None => (false, ""),
            };
            if peek && section.is_empty() {
                return Err(SyntaxError::verb("Invalid BODY[..] parameter: Missing '['"));
            }
            let Some(section) = section.strip_prefix('[') else {
                return Err(SyntaxError::shown(format!("Unknown parameter: {word}")));
            };
            return bracketed(section, peek, rest);
        }
    };
    Ok((simple, rest))
}

fn old(label: &str, text: Text) -> Item {
    // RFC822.HEADER leaves \Seen alone, the other two do not.
    let peek = text == Text::Header;
    Item::Section(Section { label: label.into(), path: Vec::new(), text, partial: None, peek })
}

const NO_SECTION: SyntaxError = SyntaxError::verb("Invalid BODY[..] section");
const NO_BRACKET: SyntaxError = SyntaxError::verb("Invalid BODY[..] parameter: Missing ']'");

/// The section of `BODY[`, which is open; `section` is what stands behind the bracket.
fn bracketed<'a, 'b>(
    section: &str,
    peek: bool,
    args: &'b [Arg<'a>],
) -> Result<(Item, &'b [Arg<'a>]), SyntaxError> {
    let (inside, names, after, rest) = match section.split_once(']') {
        Some((inside, after)) => (inside, None, String::from(after), args),
        None => {
            let [Arg::List(names), close, rest @ ..] = args else { return Err(NO_BRACKET) };
            let close = close.upper().ok_or(NO_BRACKET)?;
            let after = close.strip_prefix(']').ok_or(NO_BRACKET)?;
            (section, Some(names), after.into(), rest)
        }
    };
    let (what, path) = path(inside.as_bytes()).map_err(|_| NO_SECTION)?;
    let what = core::str::from_utf8(what).map_err(|_| NO_SECTION)?;
    if path.len() > PATH {
        return Err(NO_SECTION);
    }
    let (text, shown) = text(what, names, !path.is_empty())?;
    let partial = partial(after.as_bytes())?;
    let origin = partial.map_or_else(String::new, |(from, _)| format!("<{from}>"));
    let label = format!("BODY[{inside}{shown}]{origin}");
    Ok((Item::Section(Section { label, path, text, partial, peek }), rest))
}

/// The numbers of a section, with the dots between and behind them.
fn path(input: &[u8]) -> Parsed<'_, Vec<u32>> {
    let number = |input| {
        map_opt(recognize(digit1), |digits: &[u8]| {
            let number: u32 = core::str::from_utf8(digits).ok()?.parse().ok()?;
            (number > 0).then_some(number)
        })
        .parse(input)
    };
    let (rest, path) = separated_list0(char('.'), number).parse(input)?;
    if path.is_empty() || rest.is_empty() {
        return Ok((rest, path));
    }
    // What follows the numbers has a dot before it, and a letter behind that.
    let (rest, _) = char('.').parse(rest)?;
    if rest.first().is_none_or(u8::is_ascii_digit) {
        return Err(nom::Err::Error(SyntaxError::Arguments));
    }
    Ok((rest, path))
}

/// What of a part is wanted, and the header names as the reply repeats them.
fn text(
    what: &str,
    names: Option<&Vec<Arg<'_>>>,
    in_part: bool,
) -> Result<(Text, String), SyntaxError> {
    let plain = |text| if names.is_none() { Ok((text, String::new())) } else { Err(NO_SECTION) };
    match what {
        "" => plain(Text::All),
        "HEADER" => plain(Text::Header),
        "TEXT" => plain(Text::Text),
        "MIME" if in_part => plain(Text::Mime),
        "HEADER.FIELDS" | "HEADER.FIELDS.NOT" => {
            let (names, shown) = header_names(names.ok_or(NO_SECTION)?)?;
            let not = what.ends_with("NOT");
            Ok((if not { Text::HeaderFieldsNot(names) } else { Text::HeaderFields(names) }, shown))
        }
        _ => Err(NO_SECTION),
    }
}

fn header_names(list: &[Arg<'_>]) -> Result<(Names, String), SyntaxError> {
    let mut names = Vec::with_capacity(list.len());
    for name in list {
        let name = name.text().ok_or(NO_SECTION)?;
        // RFC 5322 3.6.8; the reply repeats the names, so nothing else may get in.
        if name.is_empty() || !name.iter().all(|c| c.is_ascii_graphic() && *c != b':') {
            return Err(NO_SECTION);
        }
        names.push(String::from_utf8_lossy(name).to_ascii_uppercase());
    }
    if names.is_empty() {
        return Err(NO_SECTION);
    }
    let mut shown = String::from(" (");
    for (n, name) in names.iter().enumerate() {
        if n > 0 {
            shown.push(' ');
        }
        crate::response::astring(name, &mut shown);
    }
    shown.push(')');
    Ok((Names::new(&names), shown))
}

/// `<from.count>`, or nothing.
fn partial(input: &[u8]) -> Result<Option<(u64, u64)>, SyntaxError> {
    let number = |input| {
        map_opt(recognize(digit1), |digits: &[u8]| core::str::from_utf8(digits).ok()?.parse().ok())
            .parse(input)
    };
    let count = preceded(char('.'), number);
    let parser = opt(alt((delimited(char('<'), (number, count), char('>')),)));
    let wrong = SyntaxError::verb("Invalid BODY[..] parameter: Invalid <start.length>");
    match whole({ parser }.parse(input)) {
        Ok(Some((_, 0))) | Err(_) => Err(wrong),
        Ok(partial) => Ok(partial),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::args::args;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Vec<Item>, SyntaxError> {
        items(&args(text.as_bytes()).unwrap())
    }

    fn section(text: &str) -> Section {
        match read(text).unwrap().remove(0) {
            Item::Section(section) => section,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn items_and_macros() {
        assert_eq!(read("flags").unwrap(), [Item::Flags]);
        assert_eq!(read("(UID FLAGS UID)").unwrap(), [Item::Uid, Item::Flags]);
        assert_eq!(read("FULL").unwrap().len(), 5);
        assert_eq!(read("BODY").unwrap(), [Item::Body]);
        assert_eq!(section("RFC822").label, "RFC822");
        assert!(section("RFC822.HEADER").peek);
    }

    #[test]
    fn sections() {
        for (text, label, path) in [
            ("BODY[]", "BODY[]", &[][..]),
            ("body.peek[1.2.mime]<3.4>", "BODY[1.2.MIME]<3>", &[1, 2]),
            ("BODY[HEADER.FIELDS (Subject \"From\")]", "BODY[HEADER.FIELDS (SUBJECT FROM)]", &[]),
            ("BODY.PEEK[2.HEADER.FIELDS.NOT (x)]<0.9>", "BODY[2.HEADER.FIELDS.NOT (X)]<0>", &[2]),
            ("BODY[1]", "BODY[1]", &[1]),
            ("BODY[TEXT]", "BODY[TEXT]", &[]),
        ] {
            let section = section(text);
            assert_eq!((&*section.label, &*section.path), (label, path));
        }
        assert_eq!(section("BODY[]<6.10>").partial, Some((6, 10)));
        assert_eq!(read("(BODY[HEADER.FIELDS (A)] UID BODY[HEADER.FIELDS (B)])").unwrap().len(), 3);
    }

    #[test]
    fn what_is_wrong() {
        for (text, error) in [
            ("XYZZY", "Unknown parameter: XYZZY"),
            ("BODY[", "Invalid BODY[..] parameter: Missing ']'"),
            ("BODY[HEADER.FIELDS ()]", "Invalid BODY[..] section"),
            ("BODY[HEADER.FIELDS (\"a b\")]", "Invalid BODY[..] section"),
            ("BODY[HEADER.FIELDS]", "Invalid BODY[..] section"),
            ("BODY[HEADER (x)]", "Invalid BODY[..] section"),
            ("BODY[MIME]", "Invalid BODY[..] section"),
            ("BODY[1..2]", "Invalid BODY[..] section"),
            ("BODY[0]", "Invalid BODY[..] section"),
            ("BODY[1.]", "Invalid BODY[..] section"),
            ("BODY[1TEXT]", "Invalid BODY[..] section"),
            ("BODY[]<0.0>", "Invalid BODY[..] parameter: Invalid <start.length>"),
            ("BODY[]x", "Invalid BODY[..] parameter: Invalid <start.length>"),
            ("FLAGS extra", "Invalid arguments"),
            ("()", "FETCH list is empty"),
            ("BODY.PEEK", "Invalid BODY[..] parameter: Missing '['"),
            ("(ALL)", "Unknown parameter: ALL"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), error, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "[A-Z0-9.<>() \\[\\]]{0,40}") {
            if let Ok(args) = args(text.as_bytes()) {
                let _ = items(&args);
            }
        }
    }
}
