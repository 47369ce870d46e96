//! Names and mail exchangers, and their bad days.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use waypost_dns::{Answer, Failure, Found, Kind, Question, Record};
use waypost_relay::Resolve;

use crate::choices::Choices;
use crate::heap::{Heap, Life};

/// How long an answer takes at most on a good day.
const QUICK: Duration = Duration::from_millis(20);
/// When whoever asks gives up.
const LIMIT: Duration = Duration::from_secs(15);
/// How many aliases are followed.
const ALIASES: usize = 8;
/// For how many seconds an answer holds.
const TTL: u32 = 60;

/// What name servers do on a bad day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// SERVFAIL
    Fail,
    /// No answer.
    Silent,
    /// Answers take seconds.
    Slow,
}

/// Zones. A clone is another handle of the same.
#[derive(Clone)]
pub struct Zones {
    shared: Arc<Shared>,
}

struct Shared {
    heap: Arc<Heap>,
    choices: Choices,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    names: BTreeMap<Box<str>, Node>,
    troubles: BTreeMap<Trouble, Duration>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    records: Vec<Record>,
    alias: Option<Box<str>>,
    failure: Option<Failure>,
}

impl Zones {
    /// Zones out of a text, one record a line: `name A 192.0.2.1`, `name AAAA 2001:db8::1`,
    /// `name MX 10 host`, `name TXT text`, `name CNAME other`, `name FAIL servfail`. A line that begins
    /// with `#` is a comment. What is not there does not exist.
    ///
    /// # Errors
    /// A line that is none of these.
    pub fn new(heap: Arc<Heap>, seed: u64, text: &str) -> Result<Self, String> {
        let mut state = State::default();
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            state.add(line).ok_or_else(|| format!("not a record: {line}"))?;
        }
        let shared = Shared { heap, choices: Choices::seeded(seed), state: Mutex::new(state) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The names as a server sees them that lives this life: after its death nothing is answered.
    pub fn of(&self, life: Life) -> Arc<dyn Resolve> {
        Arc::new(Handle { shared: Arc::clone(&self.shared), life })
    }

    /// A bad day, so long from now.
    pub fn trouble(&self, trouble: Trouble, duration: Duration) {
        let end = self.shared.heap.elapsed() + duration;
        let mut state = self.shared.state();
        let known = state.troubles.entry(trouble).or_default();
        *known = end.max(*known);
    }

    /// All bad days are over.
    pub fn heal(&self) {
        self.shared.state().troubles.clear();
    }
}

impl State {
    fn add(&mut self, line: &str) -> Option<()> {
        let mut words = line.split_whitespace();
        let (name, kind) = (words.next()?, words.next()?);
        let first = words.next()?;
        let node = self.names.entry(name.to_ascii_lowercase().into()).or_default();
        match kind {
            "A" => node.records.push(Record::A(first.parse().ok()?)),
            "AAAA" => node.records.push(Record::Aaaa(first.parse().ok()?)),
            "MX" => {
                let exchange = words.next()?.trim_end_matches('.').to_ascii_lowercase().into();
                node.records.push(Record::Mx { preference: first.parse().ok()?, exchange });
            }
            "TXT" => {
                let rest = words.fold(first.to_owned(), |text, word| text + " " + word);
                node.records.push(Record::Txt(rest.into_bytes().into()));
                return Some(());
            }
            "CNAME" => node.alias = Some(first.to_ascii_lowercase().into()),
            "FAIL" => {
                node.failure = Some(match first {
                    "servfail" => Failure::ServFail,
                    "refused" => Failure::Refused,
                    "silence" => Failure::Silence,
                    "nonsense" => Failure::Nonsense,
                    _ => return None,
                });
            }
            _ => return None,
        }
        words.next().is_none().then_some(())
    }

    fn find(&self, question: &Question) -> Found {
        let mut name = question.name();
        for _ in 0..ALIASES {
            let Some(node) = self.names.get(name) else {
                let below = format!(".{name}");
                return match self.names.keys().any(|known| known.ends_with(&below)) {
                    true => Found::NoData,
                    false => Found::NoName,
                };
            };
            if let Some(failure) = node.failure {
                return Found::Unavailable(failure);
            }
            if let Some(alias) = &node.alias {
                name = alias;
                continue;
            }
            let fits = |record: &&Record| kind(record) == question.kind();
            let records: Vec<Record> = node.records.iter().filter(fits).cloned().collect();
            return match records.is_empty() {
                true => Found::NoData,
                false => Found::Records(records),
            };
        }
        Found::Unavailable(Failure::Aliases)
    }
}

fn kind(record: &Record) -> Kind {
    match record {
        Record::A(_) => Kind::A,
        Record::Aaaa(_) => Kind::Aaaa,
        Record::Mx { .. } => Kind::Mx,
        Record::Ptr(_) => Kind::Ptr,
        Record::Tlsa { .. } => Kind::Tlsa,
        Record::Txt(_) => Kind::Txt,
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, trouble: Trouble) -> bool {
        let now = self.heap.elapsed();
        self.state().troubles.get(&trouble).is_some_and(|end| now < *end)
    }

    fn delay(&self) -> Duration {
        let limit = match () {
            () if self.has(Trouble::Silent) => return LIMIT,
            () if self.has(Trouble::Slow) => LIMIT,
            () => QUICK,
        };
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.choices.below(micros))
    }
}

struct Handle {
    shared: Arc<Shared>,
    life: Life,
}

impl Resolve for Handle {
    fn ask(&self, question: Question, done: Box<dyn FnOnce(Answer) + Send>) {
        let shared = Arc::clone(&self.shared);
        let failure = match () {
            () if shared.has(Trouble::Silent) => Some(Failure::Silence),
            () if shared.has(Trouble::Fail) => Some(Failure::ServFail),
            () => None,
        };
        let answer = move |shared: &Shared| match failure {
            Some(failure) => Answer::unavailable(failure),
            None => {
                let found = shared.state().find(&question);
                Answer { found, authentic: false, ttl: TTL }
            }
        };
        let delay = self.shared.delay();
        self.shared.heap.after(self.life, delay, move || done(answer(&shared)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;
    use crate::heap::ETERNAL;

    fn ask(zones: &Zones, heap: &Heap, name: &str, kind: Kind) -> Found {
        let found = Arc::new(Mutex::new(None));
        let told = Arc::clone(&found);
        let question = Question::new(name, kind).unwrap();
        let done = move |answer: Answer| *told.lock().unwrap() = Some(answer.found);
        zones.of(ETERNAL).ask(question, Box::new(done));
        while let Some(event) = heap.next(Duration::MAX) {
            event();
        }
        let found = found.lock().unwrap().take();
        found.unwrap()
    }

    #[test]
    fn zones_answer() {
        let heap = Arc::new(Heap::new(0));
        let zones = Zones::new(Arc::clone(&heap), 1, data::ZONES).unwrap();
        let ask = |name, kind| ask(&zones, &heap, name, kind);
        let mx = |preference, exchange: &str| Record::Mx { preference, exchange: exchange.into() };
        let both = vec![mx(10, "mx1.remote.test"), mx(20, "mx2.remote.test")];
        assert_eq!(ask("remote.test", Kind::Mx), Found::Records(both.clone()));
        assert_eq!(ask("other.test", Kind::Mx), Found::Records(both));
        assert_eq!(ask("null.test", Kind::Mx), Found::Records(vec![mx(0, "")]));
        assert_eq!(ask("plain.test", Kind::Mx), Found::NoData);
        assert_eq!(ask("broken.test", Kind::A), Found::NoData);
        assert_eq!(ask("nowhere.test", Kind::Mx), Found::NoName);
        assert_eq!(ask("round.test", Kind::Mx), Found::Unavailable(Failure::Aliases));
        assert_eq!(ask("servfail.test", Kind::Mx), Found::Unavailable(Failure::ServFail));
    }

    #[test]
    fn a_bad_day_ends() {
        let heap = Arc::new(Heap::new(0));
        let zones = Zones::new(Arc::clone(&heap), 1, "a.test A 192.0.2.1").unwrap();
        zones.trouble(Trouble::Silent, Duration::from_secs(1));
        let silence = Found::Unavailable(Failure::Silence);
        assert_eq!(ask(&zones, &heap, "a.test", Kind::A), silence);
        assert!(heap.elapsed() >= LIMIT);
        assert_ne!(ask(&zones, &heap, "a.test", Kind::A), silence);
        assert!(Zones::new(heap, 1, "a.test A 192.0.2.1 twice").is_err());
    }
}
