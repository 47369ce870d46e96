//! What IMAP says, piece by piece.

use waypost_imap::syntax::args::{Arg, Ending, args, ending, ending_of_tail};
use waypost_imap::syntax::command::head;
use waypost_imap::syntax::fetch::{Item, items};
use waypost_imap::syntax::flags::{SYSTEM, flags};
use waypost_imap::syntax::list::{self, matches, status_items};
use waypost_imap::syntax::mailbox;
use waypost_imap::syntax::search::{Last, search};
use waypost_imap::syntax::set::Raw;

/// A command with its literals: what is read is written in a form that is read to the same, however its
/// strings are spelled, and so is what the arguments mean to FETCH, SEARCH, LIST, STATUS and STORE.
pub fn command(data: &[u8]) {
    let rest = head(data).map_or(data, |head| head.rest);
    if let Ending::Literal(start, announced) = ending(data) {
        assert!(start < data.len());
        assert_eq!(ending_of_tail(data), Ending::Literal(start, announced));
    }
    let Ok(found) = args(rest) else { return };
    let written = [write(&found, false), write(&found, true)];
    let last = Last { seq: 7, uid: 4711 };
    for text in &written {
        let again = args(text).expect("what is written can be read");
        assert_eq!(again, found, "{}", text.escape_ascii());
        assert_eq!(search(&again, last), search(&found, last));
        assert_eq!(list::list(&again), list::list(&found));
    }
    let _ = list::lsub(&found);
    if let Ok(wanted) = items(&found) {
        let text = format!("({})", wanted.iter().map(item).collect::<Vec<_>>().join(" "));
        let again = args(text.as_bytes()).expect("items are arguments");
        assert_eq!(items(&again).as_ref(), Ok(&wanted), "{text}");
    }
    if let Ok(named) = flags(&found) {
        let system =
            SYSTEM.iter().filter(|(bit, _)| named.system & bit != 0).map(|(_, name)| *name);
        let words: Vec<&str> = system.chain(named.keywords.iter().map(|word| &**word)).collect();
        let text = format!("({})", words.join(" "));
        assert_eq!(flags(&args(text.as_bytes()).expect("words")).as_ref(), Ok(&named), "{text}");
    }
    if let Some(Ok(wanted)) = found.first().and_then(Arg::list).map(status_items) {
        let text = wanted.iter().map(|item| item.name()).collect::<Vec<_>>().join(" ");
        assert_eq!(status_items(&args(text.as_bytes()).expect("words")).as_ref(), Ok(&wanted));
    }
}

fn write(args: &[Arg<'_>], literals: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, arg) in args.iter().enumerate() {
        if n > 0 {
            out.push(b' ');
        }
        match arg {
            Arg::Atom(atom) => out.extend_from_slice(atom),
            Arg::List(list) => {
                out.push(b'(');
                out.extend(write(list, literals));
                out.push(b')');
            }
            Arg::Str(text) if literals || text.iter().any(|c| matches!(c, 0 | b'\r' | b'\n')) => {
                out.extend(format!("{{{}+}}\r\n", text.len()).bytes());
                out.extend_from_slice(text);
            }
            Arg::Str(text) => {
                out.push(b'"');
                for c in text.iter() {
                    if matches!(c, b'"' | b'\\') {
                        out.push(b'\\');
                    }
                    out.push(*c);
                }
                out.push(b'"');
            }
        }
    }
    out
}

fn item(item: &Item) -> String {
    let section = match item {
        Item::Flags => return "FLAGS".into(),
        Item::Uid => return "UID".into(),
        Item::InternalDate => return "INTERNALDATE".into(),
        Item::Size => return "RFC822.SIZE".into(),
        Item::Envelope => return "ENVELOPE".into(),
        Item::Body => return "BODY".into(),
        Item::BodyStructure => return "BODYSTRUCTURE".into(),
        Item::Section(section) => section,
    };
    let Some(inner) = section.label.strip_prefix("BODY") else { return section.label.clone() };
    let inner = inner.rsplit_once(']').map_or(inner, |(inner, _)| inner);
    let peek = if section.peek { ".PEEK" } else { "" };
    let partial =
        section.partial.map_or(String::new(), |(from, count)| format!("<{from}.{count}>"));
    format!("BODY{peek}{inner}]{partial}")
}

/// A sequence set: what it holds is written in a form that holds the same.
pub fn set(data: &[u8]) {
    let Some(raw) = Raw::parse(data) else { return };
    for last in [0, 1, 7, 4711, u32::MAX - 1] {
        let set = raw.resolve(last);
        assert!(set.ranges().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{set}");
        assert!(set.ranges().iter().all(|(from, to)| 0 < *from && from <= to), "{set}");
        if !set.is_empty() {
            let again = Raw::parse(set.to_string().as_bytes()).expect("a set");
            assert_eq!(again.resolve(last), set);
            assert_eq!(again.exceeds(last), set.ranges().iter().any(|(_, to)| *to > last));
        }
        for (from, to) in set.ranges().iter().take(50) {
            assert!(set.contains(*from) && set.contains(*to));
            assert!(!set.contains(from - 1) || *from == 1);
        }
    }
}

/// A mailbox name: modified UTF-7 and UTF-8 lead to each other, and `LIST` finds what it should.
pub fn mailbox(data: &[u8]) {
    if let Some(name) = mailbox::decode(data) {
        assert_eq!(mailbox::encode(&name).as_bytes(), data);
    }
    let _ = mailbox::mailbox(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let wire = mailbox::encode(text);
    assert!(wire.bytes().all(|c| matches!(c, b' '..=b'~')), "{wire}");
    assert_eq!(mailbox::decode(wire.as_bytes()).as_deref(), Some(text));
    assert!(matches("*", text));
    let Some((pattern, name)) = text.split_once('\n') else { return };
    let wild = pattern.bytes().filter(|c| matches!(c, b'*' | b'%')).count();
    // The oracle takes its time.
    if wild < 5 && name.len() < 40 && !name.starts_with("INBOX") {
        assert_eq!(matches(pattern, name), fits(pattern.as_bytes(), name.as_bytes()));
    }
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|n| fits(rest, &name[n..])),
        Some((b'%', rest)) => {
            let most = name.iter().position(|c| *c == b'.').unwrap_or(name.len());
            (0..=most).any(|n| fits(rest, &name[n..]))
        }
        Some((c, rest)) => name.split_first().is_some_and(|(d, more)| c == d && fits(rest, more)),
    }
}
