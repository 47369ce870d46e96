//! What the header of a message tells of its way: loops.

use crate::header::fields;

/// The way of a message so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// How many servers it has passed: its `Received` fields. Above `hopcount_limit` (50) it goes
    /// round in circles (RFC 5321 6.3).
    pub hops: usize,
    /// It was delivered to this address before.
    pub delivered: bool,
}

/// Reads the way of a message from its header block; `address` is a final recipient as
/// `Delivered-To` writes it. Letter case does not count.
pub fn trace(block: &[u8], address: &str) -> Trace {
    let mut trace = Trace::default();
    for field in fields(block) {
        trace.hops += usize::from(field.is(b"Received"));
        trace.delivered |= field.is(b"Delivered-To")
            && field.value().trim_ascii().eq_ignore_ascii_case(address.as_bytes());
    }
    trace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops() {
        let block = b"delivered-to: Mail000@\r\n mail.example.com\r\nReceived: from a\r\n by b\r\n\
            RECEIVED: from c\r\nX-Delivered-To: x@y\r\nReceived-SPF: pass\r\n\r\nReceived: body\r\n";
        assert_eq!(trace(block, "mail000@MAIL.example.com"), Trace { hops: 2, delivered: false });
        let block = b"Delivered-To:\r\n Mail000@mail.example.com\r\n\r\n";
        assert_eq!(trace(block, "mail000@MAIL.example.com"), Trace { hops: 0, delivered: true });
        assert!(!trace(block, "mail001@mail.example.com").delivered);
        assert_eq!(trace(b"", "x"), Trace::default());
    }
}
