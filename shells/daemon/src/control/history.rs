//! What the log says of a message. The spool keeps the last word on each recipient, not all of
//! them; the log has the rest, where it is a file that we can read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

/// Prints the lines that name the message; how many there were.
pub(crate) fn print(log: &Path, id: &str, out: &mut dyn Write) -> io::Result<usize> {
    let mut found = 0;
    let mut reader = BufReader::with_capacity(64 * 1024, File::open(log)?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if names(&line, id.as_bytes()) {
            found += 1;
            out.write_all(&line)?;
        }
        line.clear();
    }
    Ok(found)
}

/// The name stands in the line as a word of its own.
fn names(line: &[u8], id: &[u8]) -> bool {
    let part = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
    line.windows(id.len()).enumerate().any(|(at, window)| {
        window == id
            && !part(at.checked_sub(1).and_then(|before| line.get(before)))
            && !part(line.get(at + id.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word() {
        for (line, named) in [
            ("postfix/qmgr[1]: 4gXy: removed\n", true),
            ("4gXy", true),
            ("notification: 4gXy\n", true),
            ("postfix/qmgr[1]: 4gXyz: removed\n", false),
            ("94gXy: removed\n", false),
            ("4gX", false),
        ] {
            assert_eq!(names(line.as_bytes(), b"4gXy"), named, "{line}");
        }
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, "a 4gXy: one\nb 5: two\nc 4gXy: three\n").unwrap();
        let mut out = Vec::new();
        assert_eq!(print(&log, "4gXy", &mut out).unwrap(), 2);
        assert_eq!(out, b"a 4gXy: one\nc 4gXy: three\n");
    }
}
