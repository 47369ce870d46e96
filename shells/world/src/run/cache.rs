//! What is remembered of the tables' answers, for a while.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;

use waypost_machine::Time;
use waypost_route::{Looked, Map};

use crate::lock;
use crate::settings;

/// Waits for an answer.
pub(crate) type Waiter = Box<dyn FnOnce(Looked) + Send>;
/// What is looked up where.
pub(crate) type Question = (Map, Box<str>);

/// Answers, and questions under way.
///
/// Answers live in two generations. When the young one is full it becomes the old one, and what
/// nobody asked for since is forgotten with the one before. So memory is bounded, and nothing has to
/// be sorted or scanned.
pub(crate) struct Cache {
    settings: settings::Cache,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    young: HashMap<Question, Known>,
    old: HashMap<Question, Known>,
    asked: HashMap<Question, Vec<Waiter>>,
}

#[derive(Clone)]
struct Known {
    looked: Looked,
    until: Time,
}

/// What to do about a question.
pub(crate) enum Advice {
    /// It is known.
    Known(Looked, Waiter),
    /// Ask the directory, then [`Cache::settle`].
    Ask,
    /// Somebody has asked already; the waiter will be told.
    Wait,
}

impl Cache {
    pub(crate) fn new(settings: settings::Cache) -> Self {
        Self { settings, state: Mutex::default() }
    }

    /// Takes a question. One question under way serves all who ask the same.
    pub(crate) fn look(&self, question: &Question, now: Time, waiter: Waiter) -> Advice {
        let mut state = lock(&self.state);
        if let Some(known) = state.find(question, self.half()).filter(|known| known.until > now) {
            return Advice::Known(known.looked, waiter);
        }
        match state.asked.entry(question.clone()) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push(waiter);
                Advice::Wait
            }
            Entry::Vacant(free) => {
                free.insert(vec![waiter]);
                Advice::Ask
            }
        }
    }

    /// Notes an answer and gives back those who wait for it.
    pub(crate) fn settle(&self, question: &Question, looked: &Looked, now: Time) -> Vec<Waiter> {
        let ttl = match looked {
            Looked::Found(_) => self.settings.positive,
            Looked::Absent => self.settings.negative,
            Looked::Unavailable(_) => std::time::Duration::ZERO,
        };
        let mut state = lock(&self.state);
        if !ttl.is_zero() {
            let known = Known { looked: looked.clone(), until: now.plus(ttl) };
            state.keep(question.clone(), known, self.half());
        }
        state.asked.remove(question).unwrap_or_default()
    }

    /// Answers that are kept, and questions under way.
    pub(crate) fn held(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.young.len() + state.old.len(), state.asked.len())
    }

    /// Forgets all answers.
    pub(crate) fn clear(&self) {
        let mut state = lock(&self.state);
        state.young.clear();
        state.old.clear();
    }

    fn half(&self) -> usize {
        self.settings.entries / 2
    }
}

impl State {
    fn find(&mut self, question: &Question, half: usize) -> Option<Known> {
        if let Some(known) = self.young.get(question) {
            return Some(known.clone());
        }
        let (question, known) = self.old.remove_entry(question)?;
        self.keep(question, known.clone(), half);
        Some(known)
    }

    fn keep(&mut self, question: Question, known: Known, half: usize) {
        if half == 0 {
            return;
        }
        self.old.remove(&question);
        self.young.insert(question, known);
        if self.young.len() >= half {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn cache() -> Cache {
        Cache::new(settings::Cache {
            positive: Duration::from_secs(60),
            negative: Duration::from_secs(10),
            entries: 20,
        })
    }

    fn at(secs: u64) -> Time {
        Time::ZERO.plus(Duration::from_secs(secs))
    }

    fn key(n: usize) -> Question {
        (Map::Aliases, format!("user{n}@example.com").into())
    }

    fn known(cache: &Cache, question: &Question, now: Time) -> Option<Looked> {
        match cache.look(question, now, Box::new(drop)) {
            Advice::Known(looked, _) => Some(looked),
            Advice::Ask => {
                cache.settle(question, &Looked::Unavailable(String::new()), now);
                None
            }
            Advice::Wait => panic!("nobody has asked"),
        }
    }

    #[test]
    fn values_absence_and_failure_count_differently_long() {
        let cache = cache();
        let found = Looked::Found(vec!["x".into()]);
        cache.settle(&key(1), &found, at(0));
        cache.settle(&key(2), &Looked::Absent, at(0));
        cache.settle(&key(3), &Looked::Unavailable("down".into()), at(0));
        assert_eq!(known(&cache, &key(1), at(59)), Some(found));
        assert_eq!(known(&cache, &key(1), at(60)), None);
        assert_eq!(known(&cache, &key(2), at(9)), Some(Looked::Absent));
        assert_eq!(known(&cache, &key(2), at(10)), None);
        assert_eq!(known(&cache, &key(3), at(0)), None);
        assert_eq!(known(&cache, &(Map::Mailboxes, key(1).1), at(0)), None);
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let cache = cache();
        for n in 0..1000 {
            cache.settle(&key(n), &Looked::Absent, at(0));
            assert!(known(&cache, &key(0), at(1)).is_some(), "{n}");
            let state = lock(&cache.state);
            assert!(state.young.len() + state.old.len() <= 20);
        }
        assert!(known(&cache, &key(1), at(1)).is_none());
        cache.clear();
        assert!(known(&cache, &key(0), at(1)).is_none());
    }

    #[test]
    fn one_question_serves_all() {
        let cache = cache();
        assert!(matches!(cache.look(&key(1), at(0), Box::new(drop)), Advice::Ask));
        assert!(matches!(cache.look(&key(1), at(0), Box::new(drop)), Advice::Wait));
        assert_eq!(cache.settle(&key(1), &Looked::Absent, at(0)).len(), 2);
        assert!(matches!(cache.look(&key(1), at(0), Box::new(drop)), Advice::Known(..)));
    }
}
