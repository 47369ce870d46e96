//! How much a peer can make us hold or do.

use waypost_sasl::RESPONSE_LIMIT;

/// Octets of a command line, line end included. RFC 5321 4.5.3.1.4 asks for 512, extensions for
/// more; an AUTH command with its initial response is the longest.
pub const LINE: usize = RESPONSE_LIMIT + 512;

/// Octets of a message that go to the world in one call.
pub const APPEND: usize = 64 * 1024;

/// Calls with pieces of a message that may be open at a time.
pub const APPENDS: usize = 2;

/// Pieces of a message below this size, in octets, are copied together.
pub const SMALL: usize = 512;

/// Octets of a message that have to arrive within the time limit for bodies: a peer that sends a
/// byte now and then is not kept waiting for.
pub const PROGRESS: usize = 16 * 1024;

/// Places that the recipients of one message may lead to, unless the limit of recipients itself is
/// higher. One recipient may be a list of a thousand, and can be named again and again.
pub const DELIVERIES: usize = 10_000;

/// Octets of ORCPT (RFC 3461 4.2 has 500 at most) that are kept for one message, for each of the
/// recipients that it may have.
pub const ORCPT: usize = 1024;

/// Octets of a command that are shown in a log line.
pub const SHOWN: usize = 200;

/// Octets of a line of another server's reply; the rest of a longer one is dropped. RFC 5321
/// 4.5.3.1.5 asks for 512.
pub const REPLY_LINE: usize = 4096;

/// Octets of another server's reply that are kept.
pub const REPLY: usize = 8192;

/// Lines of another server's reply; one with more has no end.
pub const REPLY_LINES: usize = 500;

/// Commands whose replies may be outstanding at a time, where a server knows PIPELINING. So a
/// refused MAIL is noticed before all of 100,000 recipients are named.
pub const WINDOW: usize = 100;

/// Counts what a well-behaved peer does rarely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Temper {
    errors: u32,
    idle: u32,
}

impl Temper {
    /// A command was refused.
    pub fn error(&mut self) {
        self.errors = self.errors.saturating_add(1);
    }

    /// A command that leads nowhere; above the limit each is an error.
    pub fn junk(&mut self, limit: u32) {
        if self.idle > limit {
            self.error();
        }
        self.idle = self.idle.saturating_add(1);
    }

    /// A message was taken: all is forgiven.
    pub fn calm(&mut self) {
        *self = Self::default();
    }

    /// Errors so far.
    pub const fn errors(&self) -> u32 {
        self.errors
    }
}
