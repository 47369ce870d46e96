use waypost_message::content::{ContentType, Disposition, encoding, languages};
use waypost_message::crlf::{Converter, crlf_size, to_crlf};
use waypost_message::encoded::{Transfer, TransferDecoder, decode_words};
use waypost_message::header::{self, Names};
use waypost_message::mime::{Scanner, scan};
use waypost_message::section::{self, Text};
use waypost_message::submission::{self, Additions};
use waypost_message::text::Needle;
use waypost_message::trace::trace;
use waypost_message::{date, envelope, print, text};

/// However a message is cut, its structure is the same; positions are right and nest.
pub fn structure(data: &[u8]) {
    let whole = scan(data);
    let mut scanner = Scanner::new();
    let width = data.first().map_or(1, |&b| usize::from(b % 61) + 1);
    data.chunks(width).for_each(|piece| scanner.push(piece));
    assert_eq!(scanner.finish(), whole);
    assert_eq!(whole.size(), crlf_size(data));
    for part in whole.parts() {
        for at in [part.header, part.body, part.end] {
            let before = &data[..usize::try_from(at.physical).expect("within the message")];
            assert_eq!(at.crlf, crlf_size(before));
        }
        assert!(part.header <= part.body && part.body <= part.end);
        if let Some(parent) = part.parent {
            assert!(whole[parent].body <= part.header && part.end <= whole[parent].end);
        }
        if let Some(next) = part.next {
            assert!(part.end <= whole[next].header && whole[next].parent == part.parent);
        }
        if let Some(child) = part.first_child {
            assert!(part.body <= whole[child].header);
        }
    }
    let mut out = Vec::new();
    print::envelope(&whole.root().envelope(), &mut out);
    print::body_structure(&whole, &mut out);
    assert!(!out.contains(&0));
    let needle = Needle::new("K\u{f6}ln");
    if text::body(data, &whole, &needle) {
        assert!(text::text(data, &whole, &needle));
    }
}

/// A range of the message in CRLF form is read right from anywhere.
pub fn window(data: &[u8]) {
    let [start, len, block, message @ ..] = data else { return };
    let (start, len) = (u64::from(*start) * 4, u64::from(*len) * 2);
    let whole = to_crlf(message);
    let mut converter = Converter::new();
    let mut pieces = Vec::new();
    message.chunks(usize::from(*block).max(1)).for_each(|piece| converter.push(piece, &mut pieces));
    assert_eq!(pieces, whole);
    let mut window = scan(message).window(start..start + len);
    let mut out = Vec::new();
    while let Some(at) = window.wants() {
        let at = usize::try_from(at).expect("within the message");
        let rest = message.get(at..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        window.push(&rest[..rest.len().min(usize::from(*block).max(1))], &mut out);
    }
    let clip = |at: u64| usize::try_from(at).expect("small").min(whole.len());
    assert_eq!(out, whole[clip(start)..clip(start + len)]);
}

/// Header values: addresses, dates, encoded words, HEADER.FIELDS.
pub fn header(data: &[u8]) {
    for address in envelope::addresses(data) {
        assert!(address.mailbox.is_some() || address.domain.is_none());
    }
    if let Some(moment) = date::parse(data) {
        assert_eq!(date::parse(date::rfc5322(moment).as_bytes()), Some(moment));
    }
    if let Some(moment) = date::parse_imap(data) {
        assert_eq!(date::parse_imap(date::imap(moment).as_bytes()), Some(moment));
    }
    let _ = decode_words(data);
    let names = Names::new(["Subject", "From", "Content-Type"]);
    let all =
        section::filter(data, &names, true).len() + section::filter(data, &names, false).len();
    assert!(all <= crlf_size(data) as usize + 8);
    let structure = scan(data);
    for numbers in [&[][..], &[1], &[2], &[1, 1], &[1, 2, 1]] {
        for text in [Text::All, Text::Header, Text::Mime, Text::Text] {
            let range = section::find(&structure, numbers, &text).range();
            assert!(range.start <= range.end && range.end <= structure.size());
        }
    }
    let _ = section::find(&structure, &[1], &Text::HeaderFields(names));
}

/// The header of a submitted message gets what it lacks and loses what it must, once and for all; its
/// other octets stay, and its way is read.
pub fn submission(data: &[u8]) {
    let block = header::block(data);
    let additions = Additions {
        date: date::DateTime { seconds: 1_795_334_005, offset: 60 },
        message_id: "<4gNew@mail.example.com>",
        from: "mail001@example.com",
    };
    let edits = submission::edits(block, &additions);
    let edited = submission::apply(block, &edits);
    let again = submission::edits(&edited, &additions);
    assert_eq!(again, [], "{}", edited.escape_ascii());
    let count = |block: &[u8], name: &[u8]| header::fields(block).filter(|f| f.is(name)).count();
    for name in [&b"Date"[..], b"From", b"Message-ID"] {
        assert_eq!(count(&edited, name), count(block, name).max(1));
    }
    assert_eq!(count(&edited, b"Bcc") + count(&edited, b"Resent-Bcc"), 0);
    assert_eq!(count(&edited, b"Received"), count(block, b"Received"));
    let way = trace(&edited, "mail000@example.com");
    assert_eq!(way, trace(block, "mail000@example.com"));
    assert_eq!(way.hops, count(block, b"Received"));
}

/// Content-Type, Content-Disposition and their like: what a header says is shown in a form that IMAP
/// clients can read, whatever it is.
pub fn content(data: &[u8]) {
    let content = ContentType::parse(data);
    assert!(content.is(&content.kind, &content.subtype));
    for parameter in &content.parameters {
        assert!(content.parameter(&parameter.name).is_some());
    }
    let _ = (Disposition::parse(data), encoding(data), languages(data));
    let mut out = Vec::new();
    print::string(data, &mut out);
    print::nstring(Some(data), &mut out);
    assert!(!out.is_empty());
}

/// A body decodes to the same however it is cut.
pub fn decode(data: &[u8]) {
    for transfer in [Transfer::Base64, Transfer::QuotedPrintable] {
        let mut decoder = TransferDecoder::new(transfer);
        let mut out = Vec::new();
        let width = data.first().map_or(1, |&b| usize::from(b) + 1);
        data.chunks(width).for_each(|piece| decoder.push(piece, &mut out));
        decoder.finish(&mut out);
        assert!(out.len() <= data.len());
        // Blanks beyond measure are let through when they come in pieces.
        if !data.windows(1000).any(|w| w.iter().all(|b| matches!(b, b' ' | b'\t' | b'='))) {
            assert_eq!(out, transfer.decode(data));
        }
    }
}
