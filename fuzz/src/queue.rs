//! Files of the spool.

use waypost_queue::{Change, Entry};

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
