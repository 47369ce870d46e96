//! Faults to be planted in the simulated world, to see that the simulation finds them. None of them is
//! in the product: each is a world that does not keep its word, or makes the server look as if it did
//! not.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::stream::Tamper;

/// What a disk does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// A file's sync does nothing.
    Sync,
    /// A directory's sync does nothing.
    SyncDir,
    /// A file's content is durable only when the next file is synced: what rests on it is answered too
    /// early.
    SyncLate,
    /// The same, and names are durable at once.
    NamesFirst,
    /// After a crash all files are back that were removed since the last one.
    RemovedComesBack,
    /// After a crash all files that were replaced since the last one are what they were.
    ReplacedComesBack,
    /// After a crash all lists of uids are empty, so that uids are given out again.
    UidsForgotten,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Sync,
        Self::SyncDir,
        Self::SyncLate,
        Self::NamesFirst,
        Self::RemovedComesBack,
        Self::ReplacedComesBack,
        Self::UidsForgotten,
    ];
}

impl fmt::Display for Lie {
    /// As a script has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync => "sync",
            Self::SyncDir => "sync-dir",
            Self::SyncLate => "sync-late",
            Self::NamesFirst => "names-first",
            Self::RemovedComesBack => "removed-comes-back",
            Self::ReplacedComesBack => "replaced-comes-back",
            Self::UidsForgotten => "uids-forgotten",
        })
    }
}

impl FromStr for Lie {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|lie| lie.to_string() == text);
        found.ok_or_else(|| format!("no lie of a disk: {text}"))
    }
}

/// What happens to what the server says, or is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    /// A message is taken before it has come.
    AnswersEarly,
    /// A failure to take a message looks like success.
    FailureIsSuccess,
    /// A stranger's recipient elsewhere is taken.
    Relays,
    /// AUTH is offered in clear.
    OffersAuthInClear,
    /// Dots at the beginning of lines are lost.
    LosesDots,
    /// The reply to MAIL comes twice.
    AnswersTwice,
    /// An EXPUNGE is told during FETCH.
    ExpungesDuringFetch,
    /// All messages have the same uid.
    OneUid,
    /// Flags are taken away instead of set.
    FlagsTheOtherWay,
    /// Who wants to be told nothing is told.
    LosesWishes,
    /// Sessions are kept when their connections have ended.
    KeepsSessions,
    /// Now and then a session is not woken.
    LosesWakes,
}

impl Wire {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::AnswersEarly,
        Self::FailureIsSuccess,
        Self::Relays,
        Self::OffersAuthInClear,
        Self::LosesDots,
        Self::AnswersTwice,
        Self::ExpungesDuringFetch,
        Self::OneUid,
        Self::FlagsTheOtherWay,
        Self::LosesWishes,
        Self::KeepsSessions,
        Self::LosesWakes,
    ];

    /// For a run.
    pub fn tamper(self) -> impl Tamper {
        Tampering { wire: self, wakes: AtomicU64::new(0) }
    }

    /// A line that the server has said, without its end, as its peer hears it.
    fn line(self, line: &[u8], out: &mut Vec<u8>) {
        const TAKEN: &[u8] = b"250 2.0.0 Ok: queued as ";
        let mut say = |line: &[u8]| {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        };
        match self {
            Self::AnswersEarly if line.starts_with(b"354 ") => {
                say(line);
                say(b"250 2.0.0 Ok: queued as 4EARLY");
            }
            Self::AnswersEarly if line.starts_with(TAKEN) => {}
            Self::FailureIsSuccess if line.starts_with(b"45") => {
                say(b"250 2.0.0 Ok: queued as 4FAILED");
            }
            Self::Relays if line.ends_with(b"Relay access denied") => say(b"250 2.1.5 Ok"),
            Self::OffersAuthInClear if line == b"250-STARTTLS" => {
                say(line);
                say(b"250-AUTH PLAIN");
            }
            Self::AnswersTwice if line.starts_with(b"250 2.1.0 ") => {
                say(line);
                say(line);
            }
            Self::ExpungesDuringFetch if line.starts_with(b"* ") && has(line, b" FETCH (") => {
                say(b"* 1 EXPUNGE");
                say(line);
            }
            Self::OneUid if has(line, b" FETCH (") => say(&first_uid(line)),
            _ => say(line),
        }
    }
}

struct Tampering {
    wire: Wire,
    wakes: AtomicU64,
}

impl Tamper for Tampering {
    fn heard(&self, bytes: Bytes) -> Bytes {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        let mut rest = &bytes[..];
        while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
            self.wire.line(&rest[..at], &mut out);
            rest = &rest[at + 2..];
        }
        out.extend_from_slice(rest);
        out.into()
    }

    fn said(&self, bytes: Vec<u8>) -> Vec<u8> {
        match self.wire {
            Wire::LosesDots => replaced(&bytes, b"\r\n..", b"\r\n."),
            Wire::LosesWishes => replaced(&bytes, b" NOTIFY=NEVER", b""),
            Wire::FlagsTheOtherWay => replaced(&bytes, b" +FLAGS", b" -FLAGS"),
            _ => bytes,
        }
    }

    fn keeps_sessions(&self) -> bool {
        self.wire == Wire::KeepsSessions
    }

    fn loses_wake(&self) -> bool {
        const EVERY: u64 = 20;
        let wakes = self.wakes.fetch_add(1, Ordering::Relaxed);
        self.wire == Wire::LosesWakes && wakes % EVERY == EVERY - 1
    }
}

fn has(line: &[u8], what: &[u8]) -> bool {
    line.windows(what.len()).any(|part| part == what)
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some(at) = rest.windows(from.len()).position(|part| part == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// The line with 1 as the uid.
fn first_uid(line: &[u8]) -> Vec<u8> {
    const UID: &[u8] = b"UID ";
    let Some(at) = line.windows(UID.len()).position(|part| part == UID) else {
        return line.to_vec();
    };
    let (before, number) = line.split_at(at + UID.len());
    let digits = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
    [before, b"1", &number[digits..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_changes_what_it_should() {
        let heard = |wire: Wire, text: &'static str| {
            String::from_utf8(wire.tamper().heard(Bytes::from(text)).to_vec()).unwrap()
        };
        let taken = "250 2.0.0 Ok: queued as 4A\r\n";
        let mail = "250 2.1.0 Ok\r\n";
        assert_eq!(heard(Wire::AnswersTwice, mail), [mail, mail].concat());
        assert_eq!(heard(Wire::Relays, taken), taken);
        let early = heard(Wire::AnswersEarly, "354 End data\r\n");
        assert!(early.starts_with("354 End data\r\n250 "), "{early}");
        let next = heard(Wire::OneUid, "* 2 FETCH (UID 17 FLAGS ())\r\n* OK\r\npart");
        assert_eq!(next, "* 2 FETCH (UID 1 FLAGS ())\r\n* OK\r\npart");
        let fetch = heard(Wire::ExpungesDuringFetch, "* 2 FETCH (UID 3)\r\n");
        assert_eq!(fetch, "* 1 EXPUNGE\r\n* 2 FETCH (UID 3)\r\n");
        let said = Wire::LosesDots.tamper().said(b"a\r\n..b\r\n.\r\n".to_vec());
        assert_eq!(said, b"a\r\n.b\r\n.\r\n");
    }
}
