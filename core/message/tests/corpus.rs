//! The eight corpus messages: ENVELOPE, BODY, BODYSTRUCTURE and section contents as Dovecot 2.3
//! answered them.

use waypost_message::crlf::{Mark, Window};
use waypost_message::header::Names;
use waypost_message::mime::scan;
use waypost_message::section::{self, Found, Text};
use waypost_message::structure::Structure;
use waypost_message::{envelope::Envelope, print};

const CORPUS: [&[u8]; 8] = [
    include_bytes!("data/m01.eml"),
    include_bytes!("data/m02.eml"),
    include_bytes!("data/m03.eml"),
    include_bytes!("data/m04.eml"),
    include_bytes!("data/m05.eml"),
    include_bytes!("data/m06.eml"),
    include_bytes!("data/m07.eml"),
    include_bytes!("data/m08.eml"),
];

/// Lines `* N FETCH (ITEM value)` of the reference server.
const FETCHED: &str = include_str!("data/fetch.txt");

/// The message as delivery puts it on disk.
fn lf(message: &[u8]) -> Vec<u8> {
    String::from_utf8(message.to_vec()).unwrap().replace("\r\n", "\n").into_bytes()
}

fn answer(item: &str, message: &[u8]) -> String {
    let structure = scan(message);
    let mut out = Vec::new();
    match item {
        "ENVELOPE" => print::envelope(&structure.root().envelope(), &mut out),
        "BODY" => print::body(&structure, &mut out),
        "BODYSTRUCTURE" => print::body_structure(&structure, &mut out),
        "RFC822.SIZE" => out = structure.size().to_string().into_bytes(),
        other => panic!("unknown item {other}"),
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn fetch_as_the_reference() {
    let mut seen = 0;
    for line in FETCHED.lines() {
        let rest = line.strip_prefix("* ").unwrap();
        let (number, rest) = rest.split_once(" FETCH (").unwrap();
        let (item, value) = rest.strip_suffix(')').unwrap().split_once(' ').unwrap();
        let message = CORPUS[number.parse::<usize>().unwrap() - 1];
        assert_eq!(answer(item, message), value, "{item} of message {number}");
        assert_eq!(answer(item, &lf(message)), value, "{item} of message {number} with LF");
        seen += 1;
    }
    assert_eq!(seen, 32);
}

#[test]
fn an_envelope_of_a_header_block_is_that_of_the_scan() {
    for message in CORPUS {
        assert_eq!(Envelope::parse(message), scan(message).root().envelope());
    }
}

fn path(section: &str) -> (Vec<u32>, Text) {
    let mut numbers = Vec::new();
    let mut rest = section;
    while let Some(digits) = rest.split('.').next().filter(|d| d.parse::<u32>().is_ok()) {
        numbers.push(digits.parse().unwrap());
        rest = rest[digits.len()..].trim_start_matches('.');
    }
    let text = match rest.split_once(" (") {
        Some(("HEADER.FIELDS", names)) => Text::HeaderFields(list(names)),
        Some(("HEADER.FIELDS.NOT", names)) => Text::HeaderFieldsNot(list(names)),
        _ => match rest {
            "" => Text::All,
            "HEADER" => Text::Header,
            "MIME" => Text::Mime,
            "TEXT" => Text::Text,
            other => panic!("section {other}"),
        },
    };
    (numbers, text)
}

fn list(names: &str) -> Names {
    Names::new(names.trim_end_matches(')').split(' '))
}

/// Reads a section as a server does: its range, out of the file, in small blocks.
fn contents(structure: &Structure, file: &[u8], section: &str) -> Vec<u8> {
    let (numbers, text) = path(section);
    match section::find(structure, &numbers, &text) {
        Found::Nothing => Vec::new(),
        Found::Filtered(start, end) => {
            let block = &file[start.physical as usize..end.physical as usize];
            let (Text::HeaderFields(names) | Text::HeaderFieldsNot(names)) = &text else {
                panic!("filtered without names")
            };
            section::filter(block, names, matches!(text, Text::HeaderFieldsNot(_)))
        }
        found @ Found::Octets(start, _) => {
            let mut window = Window::new(Mark::from(start), found.range());
            let mut out = Vec::new();
            while let Some(at) = window.wants() {
                let at = at as usize;
                window.push(&file[at..file.len().min(at + 7)], &mut out);
            }
            out
        }
    }
}

#[test]
fn sections_as_the_reference() {
    let sizes = [
        (1, "", 562),
        (1, "HEADER", 489),
        (1, "TEXT", 73),
        (1, "HEADER.FIELDS (SUBJECT From X-None)", 67),
        (1, "HEADER.FIELDS.NOT (RECEIVED SUBJECT)", 276),
        (1, "1", 73),
        (1, "1.MIME", 489),
        (1, "2", 0),
        (2, "1", 32),
        (2, "2.MIME", 75),
        (2, "2", 28),
        (2, "1.1", 32),
        (3, "1", 24),
        (3, "2", 16),
        (4, "2", 462),
        (4, "2.HEADER", 224),
        (4, "2.TEXT", 238),
        (4, "2.1", 18),
        (4, "2.1.MIME", 45),
        (4, "2.2", 20),
        (4, "2.HEADER.FIELDS (Subject)", 18),
        (4, "2.1.HEADER", 0),
        (5, "", 201),
        (6, "", 20),
        (6, "TEXT", 0),
        (7, "", 507),
        (8, "HEADER.FIELDS (TO)", 76),
        (8, "TEXT", 21),
    ];
    for (number, section, size) in sizes {
        let message = CORPUS[number - 1];
        let file = lf(message);
        let from_lf = contents(&scan(&file), &file, section);
        assert_eq!(from_lf.len(), size, "message {number} [{section}]");
        assert_eq!(from_lf, contents(&scan(message), message, section));
    }
}

#[test]
fn section_texts() {
    let texts = [
        (
            1,
            "HEADER.FIELDS (SUBJECT From X-None)",
            "From: Alice Example <alice@elsewhere.test>\r\nSubject: Plain text\r\n\r\n",
        ),
        (2, "1", "Gr=C3=BC=C3=9Fe, the plain part."),
        (
            2,
            "2.MIME",
            "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n",
        ),
        (3, "1", "R3L832UgYXVzIEv2bG4uDQo="),
        (4, "2.1", "<img src=\"cid:i1\">"),
        (4, "2.2", "R0lGODlhAQABAAAAACw="),
        (4, "2.HEADER.FIELDS (Subject)", "Subject: inner\r\n\r\n"),
        (6, "", "Subject: minimal\r\n\r\n"),
    ];
    for (number, section, text) in texts {
        let message = CORPUS[number - 1];
        let out = contents(&scan(message), message, section);
        assert_eq!(String::from_utf8(out).unwrap(), text, "message {number} [{section}]");
    }
}

/// SENTBEFORE, SENTON and SENTSINCE of the reference server.
#[test]
fn sent_days() {
    use waypost_message::date::{parse_imap_day, sent_day};
    let sent = |test: &dyn Fn(i64) -> bool| -> Vec<usize> {
        (1..)
            .zip(CORPUS)
            .filter(|(_, message)| test(sent_day(message).unwrap_or(i64::MIN)))
            .map(|(n, _)| n)
            .collect()
    };
    let fourth = parse_imap_day(b"4-Mar-2026").unwrap();
    let third = parse_imap_day(b"3-Mar-2026").unwrap();
    assert_eq!(sent(&|day| day >= fourth), [4, 5, 7, 8]);
    assert_eq!(sent(&|day| day < fourth), [1, 2, 3, 6]);
    assert_eq!(sent(&|day| day == third), [3]);
}
