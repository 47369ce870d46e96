//! What a spool entry holds: the envelope of a message, who has it, who still waits.
//!
//! An entry is a file of lines, in the order in which things happened:
//!
//! | line | meaning |
//! |---|---|
//! | `waypost-spool 2 ID ..` | the message as it was accepted |
//! | `rcpt ..` | a recipient that waits |
//! | `free N` | N places that nobody has any more |
//! | `ready N` | N places stand above; without this line the entry was never finished |
//! | `done N` | recipient N has it, or needs it no more |
//! | `tried N ..` | recipient N could not have it |
//! | `became N ..` | recipient N turned out to be these recipients |
//! | `deferred N ..` | recipient N could not have it, for this reason |
//! | `delivered N ..` | recipient N has it, the sender is to be told |
//! | `failed N ..` | recipient N will never have it, the sender is to be told |
//! | `expired N` | the same, for the last reason told |
//! | `held 1` | the admin holds it; `0`: no more |
//! | `warned` | the sender was told of the delay |
//!
//! Later lines are appended, so that a crash at any moment leaves either the state before or after;
//! what happened together stands in one line. Each line has a checksum: a last line that is bad was
//! torn by a crash and does not count, a bad one with others behind it makes the file unusable.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use waypost_machine::UnixTime;

use crate::change::Change;
use crate::diagnosis::Diagnosis;
use crate::origin::Origin;
use crate::record::{self, Fields, Line};
use crate::waiting::{State, Waiting};

/// Places that may be free: alias expansion makes at most a thousand of each of a thousand.
const MAX_PLACES: usize = 1 << 21;

/// A message in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it was when it was accepted.
    pub origin: Origin,
    /// Its recipients, in order; `None` for those who have it. Places are never used again.
    pub recipients: Vec<Option<Waiting>>,
    /// The admin holds it.
    pub held: bool,
    /// The sender was told of the delay.
    pub warned: bool,
}

/// Why a file is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct EntryError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file does not begin as an entry does.
    #[error("not a spool entry")]
    Magic,
    /// Written by a later version.
    #[error("written by a later version")]
    Version,
    /// Not what was written there.
    #[error("damaged")]
    Damaged,
    /// The file ends before its recipients are complete: the message was never accepted.
    #[error("incomplete")]
    Incomplete,
    /// The line is whole but makes no sense.
    #[error("makes no sense")]
    Nonsense,
}

impl Entry {
    /// A new entry.
    pub fn new(origin: Origin, recipients: Vec<Waiting>) -> Self {
        let recipients = recipients.into_iter().map(Some).collect();
        Self { origin, recipients, held: false, warned: false }
    }

    /// The file for a new entry, or a shorter one for an old entry: recipients who have the message
    /// are left out. The others keep their places.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        self.origin.write().finish(&mut out);
        let mut free = 0;
        for waiting in &self.recipients {
            let Some(waiting) = waiting else {
                free += 1;
                continue;
            };
            write_free(&mut free, &mut out);
            waiting.write(Line::new("rcpt")).finish(&mut out);
        }
        write_free(&mut free, &mut out);
        Line::new("ready").plain(self.recipients.len()).finish(&mut out);
        if self.held {
            out.push_str(&Change::Held(true).encode());
        }
        if self.warned {
            out.push_str(&Change::Warned.encode());
        }
        out
    }

    /// Reads a file. What was torn off its end after it was complete does not count.
    ///
    /// # Errors
    /// When the file never was a complete entry, or is damaged.
    pub fn decode(file: &[u8]) -> Result<Self, EntryError> {
        let mut lines = record::lines(file).zip(1..).peekable();
        let fail = |line, fault| EntryError { line, fault };
        let first = lines.next().and_then(|(first, _)| record::records(first?).next());
        let mut first = first.ok_or_else(|| fail(1, Fault::Magic))?;
        let origin = Origin::read(&mut first).map_err(|fault| fail(1, fault))?;
        let mut entry = Self::new(origin, Vec::new());
        let mut ready = false;
        while let Some((line, number)) = lines.next() {
            let Some(line) = line else {
                if lines.peek().is_some() {
                    return Err(fail(number, Fault::Damaged));
                }
                break;
            };
            for mut record in record::records(line) {
                let read = entry.read(&mut record, &mut ready);
                read.ok_or_else(|| fail(number, Fault::Nonsense))?;
            }
        }
        if ready { Ok(entry) } else { Err(fail(0, Fault::Incomplete)) }
    }

    /// Reads one record behind the first.
    fn read(&mut self, fields: &mut Fields<'_>, ready: &mut bool) -> Option<()> {
        let kind = fields.text()?;
        match (kind.as_ref(), *ready) {
            ("rcpt", false) => self.recipients.push(Some(Waiting::read(fields)?)),
            ("free", false) => {
                let places = self.recipients.len().checked_add(fields.plain()?)?;
                if places > MAX_PLACES {
                    return None;
                }
                self.recipients.resize(places, None);
            }
            ("ready", false) if fields.plain() == Some(self.recipients.len()) => *ready = true,
            ("rcpt" | "ready", _) | (_, false) => return None,
            (_, true) => self.apply(Change::read(&kind, fields)?)?,
        }
        Some(())
    }

    /// How many bytes at the start of a file are whole lines. What follows was torn in a crash and
    /// has to be cut off before anything is appended.
    pub fn whole(file: &[u8]) -> usize {
        record::whole(file)
    }

    /// Makes a change; `None` when there is no such recipient.
    pub fn apply(&mut self, change: Change) -> Option<()> {
        match change {
            Change::Done(n) => {
                self.recipients.get_mut(n)?.take();
            }
            Change::Tried(n, next) => {
                if let Some(waiting) = self.recipients.get_mut(n)? {
                    waiting.attempts = waiting.attempts.saturating_add(1);
                    waiting.next = next;
                }
            }
            Change::Became(n, others) => {
                // Else it was noted before, but whoever did so could not know that it was.
                if self.recipients.get_mut(n)?.take().is_some() {
                    self.recipients.extend(others.into_iter().map(Some));
                }
            }
            Change::Deferred(n, next, why) => {
                if let Some(waiting) = self.recipients.get_mut(n)? {
                    waiting.attempts = waiting.attempts.saturating_add(1);
                    waiting.next = next;
                    waiting.last = Some(why);
                }
            }
            Change::Delivered(n, why) => self.report(n, State::Delivered, Some(why))?,
            Change::Failed(n, why) => self.report(n, State::Failed, Some(why))?,
            Change::Expired(n) => self.report(n, State::Failed, None)?,
            Change::Held(held) => self.held = held,
            Change::Warned => self.warned = true,
        }
        Some(())
    }

    fn report(&mut self, n: usize, state: State, why: Option<Arc<Diagnosis>>) -> Option<()> {
        if let Some(waiting) = self.recipients.get_mut(n)? {
            waiting.state = state;
            waiting.last = why.or_else(|| waiting.last.take());
        }
        Some(())
    }

    /// True when nobody waits.
    pub fn is_finished(&self) -> bool {
        self.recipients.iter().all(Option::is_none)
    }

    /// When somebody is to be tried, or the sender told, next.
    pub fn next(&self) -> Option<UnixTime> {
        self.recipients.iter().flatten().map(|waiting| waiting.next).min()
    }
}

/// A run of places that nobody has any more.
fn write_free(count: &mut usize, out: &mut String) {
    if *count > 0 {
        Line::new("free").plain(*count).finish(out);
        *count = 0;
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
