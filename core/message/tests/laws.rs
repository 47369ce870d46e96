//! Laws of the scanner: the same structure for every way of cutting a message, offsets that nest,
//! limits that hold, and the parts that another parser finds.

use proptest::prelude::*;
use waypost_message::crlf::{crlf_size, to_crlf};
use waypost_message::mime::{Limits, Scanner, scan};
use waypost_message::structure::{Kind, PartId, Structure};
use waypost_message::{print, section};

/// Lines that mean something to a MIME parser, and some that do not.
fn line() -> impl Strategy<Value = &'static str> {
    prop::sample::select(
        &[
            "",
            "",
            "text",
            " folded",
            "--",
            "--a",
            "--a--",
            "--a ",
            "--b",
            "--b--",
            "--ab",
            "--a--x",
            "MIME-Version: 1.0",
            "Content-Type: multipart/mixed; boundary=a",
            "Content-Type: multipart/mixed; boundary=\"b\"",
            "Content-Type: multipart/digest; boundary=ab",
            "Content-Type: multipart/mixed; boundary=\"a--\"",
            "Content-Type: message/rfc822",
            "Content-Type: text/html; charset=utf-8",
            "Content-Disposition: attachment; filename=x",
            "Content-ID: <x>",
            "From: Bob <bob@x.test>",
            "Subject: long\t(text) \"with\" \\ signs",
            "no colon",
            "\r",
            "-",
        ][..],
    )
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let end = prop::sample::select(&["\n", "\n", "\r\n", "\r\n", ""][..]);
    prop::collection::vec((line(), end), 0..40).prop_map(|lines| {
        lines.into_iter().flat_map(|(a, b)| [a, b].concat().into_bytes()).collect()
    })
}

fn scan_in_pieces(message: &[u8], sizes: &[usize], limits: Limits) -> Structure {
    let mut scanner = Scanner::with_limits(limits);
    let mut rest = message;
    for &size in sizes.iter().cycle().take(message.len() + 1) {
        let (piece, tail) = rest.split_at(size.min(rest.len()));
        scanner.push(piece);
        rest = tail;
    }
    scanner.push(rest);
    scanner.finish()
}

/// Positions are those of the message, nest, and follow each other; numbers agree with the octets.
fn check(message: &[u8], structure: &Structure) {
    assert_eq!(structure.size(), crlf_size(message));
    assert_eq!(structure.physical_size(), message.len() as u64);
    for (n, part) in structure.parts().iter().enumerate() {
        for at in [part.header, part.body, part.end] {
            let before = &message[..at.physical as usize];
            assert_eq!(at.crlf, crlf_size(before), "part {n}");
            assert_eq!(at.lines, before.iter().filter(|&&o| o == b'\n').count() as u64);
        }
        assert!(part.header <= part.body && part.body <= part.end, "part {n}");
        if let Some(parent) = part.parent {
            let parent = &structure[parent];
            assert!(parent.body <= part.header && part.end <= parent.end, "part {n}");
            assert!(matches!(parent.kind, Kind::Multipart { .. } | Kind::Message));
        }
        if let Some(next) = part.next {
            assert!(part.end <= structure[next].header, "part {n}");
        }
    }
    let mut reached = vec![PartId::ROOT];
    let mut at = 0;
    while let Some(&id) = reached.get(at) {
        reached.extend(structure.children(id));
        at += 1;
    }
    assert_eq!(reached.len(), structure.parts().len());
}

/// Everything that can be asked of a structure is asked.
fn ask(message: &[u8], structure: &Structure) {
    let mut out = Vec::new();
    print::envelope(&structure.root().envelope(), &mut out);
    print::body(structure, &mut out);
    print::body_structure(structure, &mut out);
    let needle = waypost_message::text::Needle::new("x\u{e9}");
    let _ = waypost_message::text::text(message, structure, &needle);
    for path in [&[1][..], &[2], &[1, 1], &[2, 1, 1], &[0], &[u32::MAX]] {
        for text in [section::Text::All, section::Text::Mime, section::Text::Header] {
            let range = section::find(structure, path, &text).range();
            assert!(range.start <= range.end && range.end <= structure.size());
        }
    }
}

proptest! {
    #[test]
    fn cutting_changes_nothing(
        message in message(),
        sizes in prop::collection::vec(1usize..30, 1..5),
        depth in 2usize..6, parts in 1usize..12, field in 1usize..80,
    ) {
        let limits = Limits { depth, parts, field, kept: 600 };
        for limits in [limits, Limits::default()] {
            let whole = scan_in_pieces(&message, &[message.len() + 1], limits);
            prop_assert_eq!(&scan_in_pieces(&message, &sizes, limits), &whole);
            prop_assert_eq!(&scan_in_pieces(&message, &[1], limits), &whole);
            check(&message, &whole);
        }
    }

    /// A range is read right from the nearest point, and with little to skip.
    #[test]
    fn windows_begin_anywhere(message in message(), start in 0u64..600, len in 0u64..100) {
        let structure = scan(&message);
        let whole = to_crlf(&message);
        let clip = |at: u64| (at as usize).min(whole.len());
        let mut window = structure.window(start..start + len);
        let mut out = Vec::new();
        while let Some(block) = window.wants().and_then(|at| message.get(at as usize..)) {
            if block.is_empty() {
                break;
            }
            window.push(&block[..block.len().min(7)], &mut out);
        }
        prop_assert_eq!(&out[..], &whole[clip(start)..clip(start + len)]);
    }

    /// Line ends do not change what a message is.
    #[test]
    fn lf_and_crlf_are_the_same_message(lines in prop::collection::vec(line(), 0..40)) {
        let lf = lines.join("\n").replace('\r', "").into_bytes();
        let crlf = to_crlf(&lf);
        let (a, b) = (scan(&lf), scan(&crlf));
        prop_assert!(b.is_crlf());
        prop_assert_eq!(a.parts().len(), b.parts().len());
        for (a, b) in a.parts().iter().zip(b.parts()) {
            prop_assert_eq!([a.header.crlf, a.body.crlf, a.end.crlf], [b.header.crlf, b.body.crlf, b.end.crlf]);
            prop_assert_eq!(a.body_lines(), b.body_lines());
        }
        let printed = |s: &Structure| { let mut out = Vec::new(); print::body_structure(s, &mut out); out };
        prop_assert_eq!(printed(&a), printed(&b));
    }

    #[test]
    fn nothing_panics(message in prop_oneof![message(), prop::collection::vec(any::<u8>(), 0..400)]) {
        let structure = scan(&message);
        check(&message, &structure);
        ask(&message, &structure);
    }

    /// Header values of any octets, where a parser has most to do.
    #[test]
    fn no_header_panics(
        name in prop::sample::select(&["From", "Content-Type", "Content-Disposition", "Date", "Content-Language", "Subject"][..]),
        value in prop::collection::vec(prop::sample::select(&b"a@.<>\"\\(),:;*=?/[] \t\n\0\xe9'0%"[..]), 0..60),
    ) {
        let text = value.iter().flat_map(|&o| if o == b'\n' { vec![o, b' '] } else { vec![o] });
        let message: Vec<u8> = format!("{name}: ").into_bytes().into_iter().chain(text).chain(*b"\n\nx\n").collect();
        let structure = scan(&message);
        check(&message, &structure);
        ask(&message, &structure);
    }
}

/// A well-formed message: text, multipart, or message within message.
#[derive(Clone, Debug)]
enum Tree {
    Text(String),
    Multi(Vec<Self>),
    Message(Box<Self>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf =
        prop::sample::select(&["", "one", "one\ntwo", "one\n", "\n\nx", "-- \nsig", "--"][..])
            .prop_map(|text| Tree::Text(text.to_owned()));
    leaf.prop_recursive(5, 30, 4, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 1..4).prop_map(Tree::Multi),
            1 => inner.prop_map(|tree| match tree {
                // The other parser cannot do a message that is nothing but a message.
                Tree::Message(_) => Tree::Multi(vec![tree]),
                tree => Tree::Message(Box::new(tree)),
            }),
        ]
    })
}

/// Writes a part, header and body; boundaries are numbered and no one begins another.
fn write(tree: &Tree, number: &mut usize, out: &mut String) {
    match tree {
        Tree::Text(text) => *out += &format!("Content-Type: text/plain\n\n{text}"),
        Tree::Multi(parts) => {
            *number += 1;
            let boundary = format!("b{number}.");
            *out += &format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\n\npreamble");
            for part in parts {
                *out += &format!("\n--{boundary}\n");
                write(part, number, out);
            }
            *out += &format!("\n--{boundary}--\nepilogue");
        }
        Tree::Message(inner) => {
            *out += "Content-Type: message/rfc822\n\nSubject: inner\n";
            write(inner, number, out);
        }
    }
}

/// Offsets of header, body and, where nothing lies inside, of the end of each part. (The other
/// parser ends a multipart before its epilogue.)
type Parts = Vec<(usize, usize, Option<usize>)>;

fn other_parser(message: &mail_parser::Message<'_>, out: &mut Parts) {
    for part in &message.parts {
        let leaf = !part.is_multipart() && !part.is_message();
        let end = leaf.then_some(part.offset_end as usize);
        out.push((part.offset_header as usize, part.offset_body as usize, end));
        if let mail_parser::PartType::Message(inner) = &part.body {
            other_parser(inner, out);
        }
    }
}

fn ours(message: &[u8]) -> Parts {
    let structure = scan(message);
    let part = |p: &waypost_message::structure::Part| {
        let leaf = !matches!(p.kind, Kind::Multipart { .. } | Kind::Message);
        (p.header.crlf as usize, p.body.crlf as usize, leaf.then_some(p.end.crlf as usize))
    };
    structure.parts().iter().map(part).collect()
}

fn sorted(mut parts: Parts) -> Parts {
    parts.sort_unstable();
    parts
}

proptest! {
    #[test]
    fn parts_are_those_of_mail_parser(tree in tree()) {
        let mut text = String::from("MIME-Version: 1.0\n");
        write(&tree, &mut 0, &mut text);
        let message = to_crlf(text.as_bytes());
        let parsed = mail_parser::MessageParser::default().parse(&message).unwrap();
        let mut theirs = Vec::new();
        other_parser(&parsed, &mut theirs);
        prop_assert_eq!(sorted(ours(&message)), sorted(theirs), "{}", text);
    }
}

#[test]
fn corpus_parts_are_those_of_mail_parser() {
    for n in 1..=8 {
        let message = std::fs::read(format!("tests/data/m0{n}.eml")).unwrap();
        let parsed = mail_parser::MessageParser::default().parse(&message).unwrap();
        let mut theirs = Vec::new();
        other_parser(&parsed, &mut theirs);
        assert_eq!(sorted(ours(&message)), sorted(theirs), "message {n}");
    }
}

#[test]
fn endless_nesting_is_harmless() {
    let mut multipart = String::new();
    for n in 0..200_000 {
        multipart += &format!("Content-Type: multipart/mixed; boundary=x{n}.\n\n--x{n}.\n");
    }
    let digests = "Content-Type: message/rfc822\n\n".repeat(200_000);
    for message in [multipart, digests] {
        let structure = scan(message.as_bytes());
        assert_eq!(structure.parts().len(), 100);
        assert_eq!(structure.parts().last().unwrap().kind, Kind::Opaque);
        ask(message.as_bytes(), &structure);
    }
}

#[test]
fn parts_are_limited() {
    let message =
        format!("Content-Type: multipart/mixed; boundary=x\n\n{}", "--x\n\ntext\n".repeat(30_000));
    let structure = scan(message.as_bytes());
    assert_eq!(structure.parts().len(), 10_000);
    check_ends(&structure, message.len());
}

fn check_ends(structure: &Structure, len: usize) {
    assert_eq!(structure.physical_size(), len as u64);
    assert_eq!(structure.parts().last().unwrap().end.physical, len as u64);
}

#[test]
fn kept_fields_are_limited() {
    let mut message = "To: a\n".repeat(100_000);
    message += &format!("Subject: {}\n", "x".repeat(5_000_000));
    message += "Content-Type: text/html\n\nbody\n";
    let structure = scan(message.as_bytes());
    assert!(structure.root().envelope().to.len() < 20_000);
    assert_eq!(structure.root().envelope().subject, None);
    check_ends(&structure, message.len());
}
