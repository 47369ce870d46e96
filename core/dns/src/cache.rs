//! What was answered, for as long as it holds.

use alloc::collections::{BTreeMap, BTreeSet};
use core::mem::size_of;
use core::time::Duration;

use waypost_machine::Time;

use crate::question::{Answer, Found, Question, Record};

/// Nothing is kept for longer, in seconds, whatever it says (RFC 8767 4: a week is too long for
/// anything; a mail server asks again after a day).
const LONGEST: u32 = 24 * 60 * 60;
/// "There is none" is kept for no longer than this, in seconds (RFC 2308 5 allows three hours). A new
/// exchanger is found soon after it was made.
const LONGEST_ABSENCE: u32 = 15 * 60;
/// A failure is kept for so long, in seconds (RFC 2308 7): a queue full of mail for one domain asks
/// once.
const FAILURE: u32 = 5;

/// An answer with more octets than this is not kept: one by TCP can have 64 KiB, and whoever has many
/// names could fill the memory with them. Honest ones are far smaller.
const LARGEST: usize = 8 * 1024;

/// Octets of an answer, roughly.
fn octets(found: &Found) -> usize {
    let Found::Records(records) = found else { return 0 };
    let own = |record: &Record| match record {
        Record::A(_) | Record::Aaaa(_) => 0,
        Record::Mx { exchange: name, .. } | Record::Ptr(name) => name.len(),
        Record::Tlsa { data, .. } | Record::Txt(data) => data.len(),
    };
    records.iter().map(|record| size_of::<Record>() + own(record)).sum()
}

/// Answers to questions, up to a number of them; those that end first go first.
#[derive(Debug)]
pub struct Cache {
    limit: usize,
    answers: BTreeMap<Question, Kept>,
    /// The same, by their end.
    ends: BTreeSet<(Time, Question)>,
}

#[derive(Debug)]
struct Kept {
    answer: Answer,
    end: Time,
}

impl Cache {
    /// An empty cache for so many answers.
    pub fn new(limit: usize) -> Self {
        Self { limit, answers: BTreeMap::new(), ends: BTreeSet::new() }
    }

    /// How many answers are held, those that have ended included.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// True when it holds none.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// An answer that still holds, with the seconds that are left of it.
    pub fn get(&self, now: Time, question: &Question) -> Option<Answer> {
        let kept = self.answers.get(question).filter(|kept| kept.end > now)?;
        let left = kept.end.since(now).as_secs();
        let ttl = u32::try_from(left).unwrap_or(u32::MAX);
        Some(Answer { ttl, ..kept.answer.clone() })
    }

    /// Keeps an answer, in place of what was known before. An answer that holds for no time, or has
    /// more than 8 KiB, is not kept; a failure does not drive out what still holds.
    pub fn put(&mut self, now: Time, question: &Question, answer: &Answer) {
        let seconds = match answer.found {
            Found::Records(_) => answer.ttl.min(LONGEST),
            Found::NoData | Found::NoName => answer.ttl.min(LONGEST_ABSENCE),
            Found::Unavailable(_) if self.get(now, question).is_some() => return,
            Found::Unavailable(_) => FAILURE,
        };
        self.forget(question);
        if seconds == 0 || self.limit == 0 || octets(&answer.found) > LARGEST {
            return;
        }
        while self.answers.len() >= self.limit
            && let Some((_, first)) = self.ends.pop_first()
        {
            self.answers.remove(&first);
        }
        let end = now.plus(Duration::from_secs(seconds.into()));
        self.ends.insert((end, question.clone()));
        self.answers.insert(question.clone(), Kept { answer: answer.clone(), end });
    }

    /// Forgets what is known of a question.
    pub fn forget(&mut self, question: &Question) {
        if let Some(kept) = self.answers.remove(question) {
            self.ends.remove(&(kept.end, question.clone()));
        }
    }
}
