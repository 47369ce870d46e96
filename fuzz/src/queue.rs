//! Files of the spool.

use waypost_queue::{Change, Entry};

/// A file that is an entry stays one when a change is appended to its whole lines, and what is
/// written anew says the same.
pub fn entry(bytes: &[u8]) {
    let Ok(entry) = Entry::decode(bytes) else { return };
    let whole = Entry::whole(bytes);
    assert!(whole <= bytes.len());
    assert_eq!(Entry::decode(&bytes[..whole]).as_ref(), Ok(&entry));
    assert_eq!(Entry::decode(entry.encode().as_bytes()).as_ref(), Ok(&entry));
    if !entry.recipients.is_empty() {
        let mut longer = bytes[..whole].to_vec();
        longer.extend_from_slice(Change::Done(0).encode().as_bytes());
        let mut after = entry;
        after.apply(Change::Done(0));
        assert_eq!(Entry::decode(&longer), Ok(after));
    }
}
