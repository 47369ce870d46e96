//! Files of the spool.

use waypost_machine::UnixTime;
use waypost_message::header;
use waypost_message::mime::scan;
use waypost_queue::dsn::{Reporter, report};
use waypost_queue::{Change, Entry, QueueId, ReportKind};

/// A file that is an entry stays one when changes are appended to its whole lines, what is written
/// anew says the same, and a change of a line before the last two is noticed.
pub fn entry(bytes: &[u8]) {
    whole_entry(bytes);
    whole_entry(&mended(bytes));
}

/// The same with the checksums that belong to these lines.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match (line.get(9..), line.strip_suffix(b"\n")) {
            (Some(body), Some(_)) if !body.is_empty() => {
                let sum = crc32fast::hash(&body[..body.len() - 1]);
                out.extend_from_slice(format!("{sum:08x}\t").as_bytes());
                out.extend_from_slice(body);
            }
            _ => out.extend_from_slice(line),
        }
    }
    out
}

fn whole_entry(bytes: &[u8]) {
    let Ok(entry) = Entry::decode(bytes) else { return };
    let whole = Entry::whole(bytes);
    assert!(whole <= bytes.len());
    assert_eq!(Entry::decode(&bytes[..whole]).as_ref(), Ok(&entry));
    assert_eq!(Entry::decode(entry.encode().as_bytes()).as_ref(), Ok(&entry));
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let mut place = 0;
    for line in &lines[..lines.len().saturating_sub(2)] {
        let mut damaged = bytes.to_vec();
        damaged[place + bytes.len() % line.len()] ^= 4;
        assert!(Entry::decode(&damaged).is_err());
        place += line.len();
    }
    if !entry.recipients.is_empty() {
        let changes = [Change::Done(0), Change::Warned];
        let mut longer = bytes[..whole].to_vec();
        longer.extend_from_slice(Change::encode_all(&changes).as_bytes());
        let mut after = entry;
        for change in changes {
            after.apply(change);
        }
        assert_eq!(Entry::decode(&longer), Ok(after));
    }
}

/// A report on any entry is a message of three parts in lines with CRLF, whose fields say what the entry
/// says and nothing that a peer has put there.
pub fn dsn(bytes: &[u8]) {
    let Ok(entry) = Entry::decode(&mended(bytes)) else { return };
    let places: Vec<u32> = (0..).take(entry.recipients.len()).collect();
    let mut reporter = Reporter::new("mail.example.com");
    reporter.double_bounce = waypost_mail::Address::parse("postmaster@example.com").ok();
    let now = UnixTime { secs: entry.origin.arrived.secs.saturating_add(7), nanos: 0 };
    for kind in [ReportKind::Failed, ReportKind::Delayed, ReportKind::Delivered] {
        let Some(report) = report(&reporter, &entry, kind, &places, "4gNew", now) else { continue };
        let original = b"Subject: original\r\n\r\nbody\r\n";
        let whole = [&report.head[..], original, &report.tail].concat();
        let feeds = whole.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
        let pairs = whole.windows(2).filter(|pair| pair == b"\r\n").count();
        assert_eq!(feeds, pairs * 2, "a line end that is none");
        assert!(whole.is_ascii() || report.smtputf8 || report.body != waypost_mail::Body::SevenBit);
        let structure = scan(&whole);
        let parts = structure.children(waypost_message::structure::PartId::ROOT).count();
        assert_eq!(parts, 3, "{}", String::from_utf8_lossy(&whole));
        let names: Vec<&[u8]> = header::fields(header::block(&whole)).map(|f| f.name).collect();
        for name in [&b"From"[..], b"To", b"Subject", b"Message-ID", b"Content-Type"] {
            let count = names.iter().filter(|known| known.eq_ignore_ascii_case(name)).count();
            assert_eq!(count, 1, "{}", name.escape_ascii());
        }
    }
}

/// A queue id that parses is printed in a form that parses to the same; so is a change of an entry.
pub fn id(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<QueueId>() {
        assert_eq!(id.as_str(), text);
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}
