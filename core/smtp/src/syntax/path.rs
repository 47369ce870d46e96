//! Paths: what follows `FROM:` and `TO:` (RFC 5321 4.1.2).

use alloc::string::String;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{anychar, char, none_of};
use nom::combinator::{opt, recognize, value, verify};
use nom::multi::{fold_many0, many1_count, separated_list1};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};
use waypost_mail::{Address, Domain};

use super::BLANKS;

/// A path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// `<>`.
    Null,
    /// A mailbox.
    Address(Address),
}

/// A text that is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is nothing where a path should stand.
    #[error("missing address")]
    Missing,
    /// There is something else.
    #[error("bad address syntax")]
    Bad,
}

/// What follows a keyword and its colon (`FROM:`), blanks trimmed; `None` without them.
pub fn after_keyword<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let (head, rest) = (text.get(..keyword.len())?, text.get(keyword.len()..)?);
    let rest = rest.strip_prefix(':')?;
    head.eq_ignore_ascii_case(keyword).then(|| rest.trim_matches(BLANKS))
}

/// Parses a path, with or without angle brackets, and gives what follows it. A source route is
/// dropped (RFC 5321 F.2); a name without domain gets `origin`.
///
/// # Errors
/// [`PathError`].
pub fn path<'a>(text: &'a str, origin: &Domain) -> Result<(Path, &'a str), PathError> {
    if text.is_empty() {
        return Err(PathError::Missing);
    }
    let (rest, raw) =
        alt((bracketed, mailbox.map(Some))).parse(text).map_err(|_| PathError::Bad)?;
    if !(rest.is_empty() || rest.starts_with(BLANKS)) {
        return Err(PathError::Bad);
    }
    let rest = rest.trim_matches(BLANKS);
    let Some((local, domain)) = raw else { return Ok((Path::Null, rest)) };
    let domain = match domain {
        Some(domain) => Domain::parse(domain).map_err(|_| PathError::Bad)?,
        None => origin.clone(),
    };
    let address = Address::new(&local, domain).map_err(|_| PathError::Bad)?;
    Ok((Path::Address(address), rest))
}

/// An unquoted local part and a domain that is still to be checked.
type Mailbox<'a> = (String, Option<&'a str>);

fn bracketed(text: &str) -> IResult<&str, Option<Mailbox<'_>>> {
    let inner = preceded(opt(route), mailbox);
    delimited((char('<'), blanks), opt(inner), (blanks, char('>'))).parse(text)
}

fn blanks(text: &str) -> IResult<&str, &str> {
    take_while(|c| BLANKS.contains(&c)).parse(text)
}

/// `@a.example,@b.example:`
fn route(text: &str) -> IResult<&str, ()> {
    let hops = separated_list1(char(','), preceded(char('@'), domain));
    value((), terminated(hops, char(':'))).parse(text)
}

fn mailbox(text: &str) -> IResult<&str, Mailbox<'_>> {
    (alt((quoted, unquoted)), opt(preceded(char('@'), domain))).parse(text)
}

fn quoted(text: &str) -> IResult<&str, String> {
    let character = alt((preceded(char('\\'), anychar), none_of("\\\"")));
    let content = fold_many0(character, String::new, |mut local, c| {
        local.push(c);
        local
    });
    let content = delimited(char('"'), content, char('"'));
    verify(content, |local: &str| !local.is_empty()).parse(text)
}

/// Dots may stand anywhere: mobile operators gave out such addresses.
fn unquoted(text: &str) -> IResult<&str, String> {
    let atom = take_while1(is_atext);
    let dot = tag(".");
    recognize(many1_count(alt((atom, dot)))).map(String::from).parse(text)
}

/// RFC 5322 3.2.3 atext, and UTF-8 (RFC 6532 3.2).
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii()
}

fn domain(text: &str) -> IResult<&str, &str> {
    let literal = recognize((char('['), take_while1(|c| c != ']' && c != ' '), char(']')));
    let name = take_while1(|c: char| {
        c.is_ascii_alphanumeric() || "-_.".contains(c) || !(c.is_ascii() || c.is_whitespace())
    });
    alt((literal, name)).parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    fn parsed(text: &str) -> Result<(String, String), PathError> {
        let origin = Domain::parse("mail.example.com").unwrap();
        let (path, rest) = path(text, &origin)?;
        Ok(match path {
            Path::Null => ("<>".into(), rest.into()),
            Path::Address(address) => (address.to_string(), rest.into()),
        })
    }

    #[test]
    fn accepted() {
        for (text, address, rest) in [
            ("<a@b.test>", "a@b.test", ""),
            ("a@b.test", "a@b.test", ""),
            ("< a@b.test > SIZE=1  BODY=7BIT", "a@b.test", "SIZE=1  BODY=7BIT"),
            ("<>", "<>", ""),
            ("<> AUTH=<>", "<>", "AUTH=<>"),
            ("<someone>", "someone@mail.example.com", ""),
            ("Name <a@b.test>", "Name@mail.example.com", "<a@b.test>"),
            ("<\"some one\"@b.test>", "\"some one\"@b.test", ""),
            ("<\"some\\\"one\"@b.test>", "\"some\\\"one\"@b.test", ""),
            ("<\"a@c.test\"@b.test>", "\"a@c.test\"@b.test", ""),
            ("<\"a\"@b.test>", "a@b.test", ""),
            ("<@a.test,@b.test:x@c.test>", "x@c.test", ""),
            ("<x@[192.0.2.1]>", "x@[192.0.2.1]", ""),
            ("<x@[IPv6:::1]>", "x@[IPv6:::1]", ""),
            ("<x@b.test.>", "x@b.test", ""),
            ("<x@b_c.test>", "x@b_c.test", ""),
            ("<a..b.@c.test>", "\"a..b.\"@c.test", ""),
            ("<a%b!c*@d.test>", "a%b!c*@d.test", ""),
            ("<ren\u{e9}@b\u{fc}cher.test>", "ren\u{e9}@b\u{fc}cher.test", ""),
        ] {
            assert_eq!(parsed(text), Ok((address.into(), rest.into())), "{text}");
        }
    }

    #[test]
    fn refused() {
        assert_eq!(parsed(""), Err(PathError::Missing));
        for text in [
            "<a@b.test",
            "a@b.test>",
            "<a@>",
            "<@b.test>",
            "<a@b@c.test>",
            "<a b@c.test>",
            "<a@b..test>",
            "<a@-b.test>",
            "<a@[bogus]>",
            "<a@[]>",
            "<a)(b@c.test>",
            "<\"\"@b.test>",
            "<\"a@b.test>",
            "<a\u{7}b@c.test>",
            "<a\0@c.test>",
            "<a@b.test>SIZE=1",
            "< >x",
            "<",
            "<a@b.test>>",
        ] {
            assert_eq!(parsed(text), Err(PathError::Bad), "{text}");
        }
    }

    #[test]
    fn keywords() {
        assert_eq!(after_keyword("from: <a>", "FROM"), Some("<a>"));
        for text in ["FROM <a>", "FROM :<a>", "TO:<a>", "FR", "\u{fc}\u{fc}\u{fc}:"] {
            assert_eq!(after_keyword(text, "FROM"), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_printed_is_parsed(local in "[^\\p{Cc}]{1,20}", label in "[a-z0-9_]{1,9}") {
            let address = Address::new(&local, Domain::parse(&label).unwrap()).unwrap();
            let text = std::format!("<{address}>");
            let (path, rest) = path(&text, &Domain::parse("x").unwrap()).unwrap();
            prop_assert_eq!((path, rest), (Path::Address(address), ""));
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = parsed(&text);
        }
    }
}
