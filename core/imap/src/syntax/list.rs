//! LIST with its options (RFC 5258, RFC 5819, RFC 6154), STATUS items, and pattern matching.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::SyntaxError;
use super::args::Arg;
use super::mailbox;
use crate::server::SEPARATOR;

/// Octets of all patterns of one LIST, at most.
const PATTERNS: usize = 2048;

/// One item of STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the names of the items")]
pub enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    Size,
    AppendLimit,
}

impl StatusItem {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "MESSAGES",
            Self::Recent => "RECENT",
            Self::UidNext => "UIDNEXT",
            Self::UidValidity => "UIDVALIDITY",
            Self::Unseen => "UNSEEN",
            Self::Size => "SIZE",
            Self::AppendLimit => "APPENDLIMIT",
        }
    }
}

/// In the order in which replies show them.
const ITEMS: [StatusItem; 7] = [
    StatusItem::Messages,
    StatusItem::Recent,
    StatusItem::UidNext,
    StatusItem::UidValidity,
    StatusItem::Unseen,
    StatusItem::Size,
    StatusItem::AppendLimit,
];

/// Reads the items of STATUS; each once, in the order of replies.
///
/// # Errors
/// [`SyntaxError`] with Dovecot's words.
pub fn status_items(list: &[Arg<'_>]) -> Result<Vec<StatusItem>, SyntaxError> {
    if list.is_empty() {
        return Err(SyntaxError::verb("Empty status list"));
    }
    for word in list {
        let name = word.upper().ok_or(SyntaxError::verb("Status list contains non-atoms"))?;
        if !ITEMS.iter().any(|item| item.name() == name) {
            return Err(SyntaxError::shown(format!("Invalid status item {name}")));
        }
    }
    Ok(ITEMS.into_iter().filter(|item| list.iter().any(|w| w.is(item.name()))).collect())
}

/// A LIST command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// It has options or several patterns: the flags are those asked for, not the old ones.
    pub extended: bool,
    /// Select `SUBSCRIBED`
    pub subscribed: bool,
    /// Select `RECURSIVEMATCH`
    pub recursive: bool,
    /// Select `SPECIAL-USE`
    pub special_use: bool,
    /// `RETURN (SUBSCRIBED)`
    pub return_subscribed: bool,
    /// `RETURN (CHILDREN)`
    pub return_children: bool,
    /// `RETURN (SPECIAL-USE)`
    pub return_special_use: bool,
    /// `RETURN (STATUS (...))`; empty: no STATUS.
    pub status: Vec<StatusItem>,
    /// The reference with each of the patterns, decoded. What is no modified UTF-7 matches
    /// nothing and is left out.
    pub patterns: Vec<String>,
    /// The pattern is empty: only the separator is asked for.
    pub root: bool,
}

/// Reads the arguments of LIST.
///
/// # Errors
/// [`SyntaxError`] with Dovecot's words.
pub fn list(args: &[Arg<'_>]) -> Result<List, SyntaxError> {
    let mut found = List::default();
    let args = match args {
        [Arg::List(options), rest @ ..] => {
            found.extended = true;
            select(options, &mut found)?;
            rest
        }
        _ => args,
    };
    let (reference, args) = args.split_first().ok_or(SyntaxError::verb("Invalid reference"))?;
    let reference = reference.text().ok_or(SyntaxError::verb("Invalid reference"))?;
    let (pattern, args) = args.split_first().ok_or(SyntaxError::verb("Invalid pattern"))?;
    match pattern {
        Arg::List(patterns) => {
            found.extended = true;
            for pattern in patterns {
                let pattern = pattern.text().ok_or(SyntaxError::verb("Invalid pattern list"))?;
                add_pattern(reference, pattern, &mut found);
            }
        }
        pattern => {
            let pattern = pattern.text().ok_or(SyntaxError::verb("Invalid pattern"))?;
            // RFC 3501 6.3.8: an empty name asks for the separator.
            found.root = pattern.is_empty() && !found.extended;
            add_pattern(reference, pattern, &mut found);
        }
    }
    match args {
        [] => {}
        [word, Arg::List(options)] if word.is("RETURN") => {
            found.extended = true;
            returned(options, &mut found)?;
        }
        _ => return Err(SyntaxError::verb("Extra arguments")),
    }
    limited(found)
}

fn limited(found: List) -> Result<List, SyntaxError> {
    if found.patterns.iter().map(String::len).sum::<usize>() > PATTERNS {
        return Err(SyntaxError::verb("Too long patterns"));
    }
    Ok(found)
}

/// Reads the arguments of LSUB: reference and pattern.
///
/// # Errors
/// [`SyntaxError`] with Dovecot's words.
pub fn lsub(args: &[Arg<'_>]) -> Result<List, SyntaxError> {
    let [reference, pattern, ..] = args else { return Err(SyntaxError::verb("Missing arguments")) };
    let (Some(reference), Some(pattern)) = (reference.text(), pattern.text()) else {
        return Err(SyntaxError::Arguments);
    };
    let mut found = List { subscribed: true, ..List::default() };
    found.root = pattern.is_empty();
    add_pattern(reference, pattern, &mut found);
    limited(found)
}

fn add_pattern(reference: &[u8], pattern: &[u8], found: &mut List) {
    let decoded = mailbox::decode(&[reference, pattern].concat());
    found.patterns.extend(decoded);
}

fn select(options: &[Arg<'_>], found: &mut List) -> Result<(), SyntaxError> {
    for option in options {
        match option.upper().as_deref() {
            Some("SUBSCRIBED") => found.subscribed = true,
            Some("RECURSIVEMATCH") => found.recursive = true,
            Some("SPECIAL-USE") => found.special_use = true,
            // Every mailbox here is local; this asks for remote ones too.
            Some("REMOTE") => {}
            _ => return Err(SyntaxError::verb("Unknown select options")),
        }
    }
    if found.recursive && !found.subscribed && !found.special_use {
        return Err(SyntaxError::verb("RECURSIVEMATCH must not be the only selection"));
    }
    found.return_subscribed |= found.subscribed;
    found.return_special_use |= found.special_use;
    Ok(())
}

fn returned(options: &[Arg<'_>], found: &mut List) -> Result<(), SyntaxError> {
    let mut rest = options;
    while let Some((option, after)) = rest.split_first() {
        rest = after;
        match (option.upper().as_deref(), after) {
            (Some("SUBSCRIBED"), _) => found.return_subscribed = true,
            (Some("CHILDREN"), _) => found.return_children = true,
            (Some("SPECIAL-USE"), _) => found.return_special_use = true,
            (Some("STATUS"), [Arg::List(items), after @ ..]) => {
                found.status = status_items(items)?;
                rest = after;
            }
            _ => return Err(SyntaxError::verb("Unknown return options")),
        }
    }
    Ok(())
}

/// Holds a name against a pattern: `*` is anything, `%` anything but the separator. `INBOX` is
/// itself in any letter case, also where mailboxes lie below it.
///
/// The time is that of the name's length times the pattern's, whatever the pattern.
pub fn matches(pattern: &str, name: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let pattern = pattern.as_bytes();
    let inbox = if name == "INBOX" || name.starts_with("INBOX.") { 5 } else { 0 };
    // Which beginnings of the pattern fit what was read of the name.
    let mut fits = vec![false; pattern.len() + 1];
    fits[0] = true;
    skip_wildcards(pattern, &mut fits);
    for (n, &c) in name.as_bytes().iter().enumerate() {
        // From the end, so that each place is read before it is written.
        for at in (0..=pattern.len()).rev() {
            let stays = match pattern.get(at) {
                Some(b'*') => true,
                Some(b'%') => c != SEPARATOR as u8,
                _ => false,
            };
            let steps = at.checked_sub(1).is_some_and(|before| {
                let wanted = pattern[before];
                fits[before] && (wanted == c || (n < inbox && wanted.eq_ignore_ascii_case(&c)))
            });
            fits[at] = (fits[at] && stays) || steps;
        }
        skip_wildcards(pattern, &mut fits);
    }
    fits[pattern.len()]
}

/// A wildcard may stand for nothing.
fn skip_wildcards(pattern: &[u8], fits: &mut [bool]) {
    for (at, c) in pattern.iter().enumerate() {
        fits[at + 1] |= fits[at] && matches!(c, b'*' | b'%');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::args::args;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<List, SyntaxError> {
        list(&args(text.as_bytes()).unwrap())
    }

    #[test]
    fn options() {
        let plain = read("\"\" *").unwrap();
        assert!(!plain.extended && !plain.root && plain.patterns == ["*"]);
        assert!(read("\"\" \"\"").unwrap().root);
        assert_eq!(read("Work. (% \"*\")").unwrap().patterns, ["Work.%", "Work.*"]);
        let all = read(
            "(SUBSCRIBED RECURSIVEMATCH REMOTE) \"\" % RETURN (CHILDREN STATUS (UNSEEN MESSAGES))",
        );
        let all = all.unwrap();
        assert!(all.subscribed && all.recursive && all.return_children && all.return_subscribed);
        assert_eq!(all.status, [StatusItem::Messages, StatusItem::Unseen]);
        for (text, error) in [
            ("", "Invalid reference"),
            ("\"\"", "Invalid pattern"),
            ("(BOGUS) \"\" *", "Unknown select options"),
            ("(RECURSIVEMATCH) \"\" *", "RECURSIVEMATCH must not be the only selection"),
            ("\"\" * RETURN (BOGUS)", "Unknown return options"),
            ("\"\" * RETURN (STATUS (XYZZY))", "Invalid status item XYZZY"),
            ("\"\" * RETURN (STATUS ())", "Empty status list"),
            (&alloc::format!("\"\" {}", "*a".repeat(2000)), "Too long patterns"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), error, "{text}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, name, yes) in [
            ("*", "INBOX.sub", true),
            ("%", "INBOX.sub", false),
            ("%", "INBOX", true),
            ("inbox", "INBOX", true),
            ("in%", "INBOX", true),
            ("inbox.%", "INBOX.sub", true),
            ("inbox.%", "INBOX.Sub", true),
            ("INBOX.s%", "INBOX.Sub", false),
            ("w*", "Work", false),
            ("Work.%", "Work.2026", true),
            ("Work.%", "Work.2026.Q1", false),
            ("Work*", "Work.2026.Q1", true),
            ("*.%x*1", "Work.2026.axb.Q1", true),
            ("%.%", "a.b", true),
            ("%.%", "a", false),
            ("", "a", false),
            ("a%", "a", true),
        ] {
            assert_eq!(matches(pattern, name), yes, "{pattern} {name}");
        }
    }

    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|n| naive(rest, &name[n..])),
            Some((b'%', rest)) => {
                let end = name.iter().position(|c| *c == b'.').unwrap_or(name.len());
                (0..=end).any(|n| naive(rest, &name[n..]))
            }
            Some((c, rest)) => name.first() == Some(c) && naive(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn same_as_trying_everything(pattern in "[ab.*%]{0,8}", name in "[ab.]{0,8}") {
            prop_assert_eq!(matches(&pattern, &name), naive(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
