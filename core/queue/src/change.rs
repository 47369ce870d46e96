//! What happens to a message in the queue, as the lines that are appended to its entry.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use waypost_machine::UnixTime;

use crate::diagnosis::{Diagnosis, read_diagnosis, write_diagnosis};
use crate::record::{Fields, Line, time};
use crate::waiting::{WAITING_FIELDS, Waiting};

/// Something that happened to a recipient; the number is its place in [`crate::Entry::recipients`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has the message, or needs it no more.
    Done(usize),
    /// It could not have it; next time then.
    Tried(usize, UnixTime),
    /// Routing now says that it is these.
    Became(usize, Vec<Waiting>),
    /// It could not have it for this reason; next time then.
    Deferred(usize, UnixTime, Arc<Diagnosis>),
    /// It has the message, and the sender is to be told.
    Delivered(usize, Arc<Diagnosis>),
    /// It will never have the message, and the sender is to be told.
    Failed(usize, Arc<Diagnosis>),
    /// The same, for the reason that was told last.
    Expired(usize),
    /// The admin holds the message, or does so no more.
    Held(bool),
    /// The sender was told of the delay.
    Warned,
}

impl Change {
    /// The line to append.
    pub fn encode(&self) -> String {
        Self::encode_all(core::slice::from_ref(self))
    }

    /// The line to append for what happened together: a crash leaves all of it, or nothing. Empty
    /// when nothing happened.
    pub fn encode_all(changes: &[Self]) -> String {
        let mut out = String::new();
        if let Some(line) = changes.iter().map(Self::write).reduce(Line::and) {
            line.finish(&mut out);
        }
        out
    }

    fn write(&self) -> Line {
        match self {
            Self::Done(n) => Line::new("done").plain(n),
            Self::Tried(n, next) => Line::new("tried").plain(n).plain(next.secs).plain(next.nanos),
            Self::Became(n, others) => others
                .iter()
                .fold(Line::new("became").plain(n), |line, waiting| waiting.write(line)),
            Self::Deferred(n, next, why) => write_diagnosis(
                Line::new("deferred").plain(n).plain(next.secs).plain(next.nanos),
                Some(why),
            ),
            Self::Delivered(n, why) => write_diagnosis(Line::new("delivered").plain(n), Some(why)),
            Self::Failed(n, why) => write_diagnosis(Line::new("failed").plain(n), Some(why)),
            Self::Expired(n) => Line::new("expired").plain(n),
            Self::Held(held) => Line::new("held").plain(u8::from(*held)),
            Self::Warned => Line::new("warned"),
        }
    }

    pub(crate) fn read(kind: &str, fields: &mut Fields<'_>) -> Option<Self> {
        match kind {
            "held" => return Some(Self::Held(fields.plain::<u8>()? == 1)),
            "warned" => return Some(Self::Warned),
            _ => {}
        }
        let n = fields.plain()?;
        Some(match kind {
            "done" => Self::Done(n),
            "tried" => Self::Tried(n, time(fields)?),
            "deferred" => Self::Deferred(n, time(fields)?, read_diagnosis(fields)??),
            "delivered" => Self::Delivered(n, read_diagnosis(fields)??),
            "failed" => Self::Failed(n, read_diagnosis(fields)??),
            "expired" => Self::Expired(n),
            "became" => {
                let count = fields.left().len();
                if !count.is_multiple_of(WAITING_FIELDS) {
                    return None;
                }
                let others = (0..count / WAITING_FIELDS).map(|_| Waiting::read(fields));
                Self::Became(n, others.collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}
