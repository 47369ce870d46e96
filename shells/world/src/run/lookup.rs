//! A lookup in a table: from the question of a route to searches in a directory, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use waypost_ldap::table::{self, Step};
use waypost_ldap::{Outcome, Table};
use waypost_route::{Looked, Map};

use crate::clock::Clock;
use crate::run::ask::ask;
use crate::run::cache::{Advice, Cache, Question, Waiter};
use crate::settings::{self, Source};

/// The tables and what is remembered of them.
pub(crate) struct Lookups {
    sources: BTreeMap<Map, Source>,
    cache: Cache,
    clock: Arc<dyn Clock>,
}

/// A lookup under way. Dropped before its end it ends as a failure, so nobody waits for ever.
struct Flight {
    source: Source,
    lookup: table::Lookup<'static>,
    end: Option<End>,
}

/// Who gets the answer.
enum End {
    /// All who asked this question; it is remembered.
    Shared(Arc<Lookups>, Question),
    /// This one.
    Own(Waiter),
}

impl Lookups {
    pub(crate) fn new(
        sources: BTreeMap<Map, Source>,
        cache: settings::Cache,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { sources, cache: Cache::new(cache), clock }
    }

    /// The table of a map.
    pub(crate) fn source(&self, map: Map) -> Option<&Source> {
        self.sources.get(&map)
    }

    /// All tables.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (Map, &Source)> {
        self.sources.iter().map(|(map, source)| (*map, source))
    }

    /// Answers that are remembered, and questions under way.
    pub(crate) fn held(&self) -> (usize, usize) {
        self.cache.held()
    }

    /// Forgets what is remembered.
    pub(crate) fn forget(&self) {
        self.cache.clear();
    }

    /// Looks up a key; `done` is told at once or later, on any thread.
    pub(crate) fn look(self: &Arc<Self>, map: Map, key: &str, done: Waiter) {
        let Some(source) = self.sources.get(&map) else {
            done(Looked::Absent);
            return;
        };
        let question = (map, key.to_lowercase().into_boxed_str());
        match self.cache.look(&question, self.clock.mono(), done) {
            Advice::Known(looked, done) => done(looked),
            Advice::Wait => {}
            Advice::Ask => {
                let lookup = source.table.begin(&question.1, map.exists_only());
                let end = Some(End::Shared(Arc::clone(self), question));
                fly(Flight { source: source.clone(), lookup, end });
            }
        }
    }

    /// Looks up all values of a key, now: what is remembered does not count, and nothing is.
    pub(crate) fn ask(&self, map: Map, key: &str, done: Waiter) {
        let Some(source) = self.sources.get(&map) else {
            done(Looked::Absent);
            return;
        };
        let lookup = source.table.begin(key, false);
        fly(Flight { source: source.clone(), lookup, end: Some(End::Own(done)) });
    }

    fn settle(&self, question: &Question, looked: Looked) {
        let mut waiters = self.cache.settle(question, &looked, self.clock.mono());
        let last = waiters.pop();
        for waiter in waiters {
            waiter(looked.clone());
        }
        if let Some(waiter) = last {
            waiter(looked);
        }
    }
}

impl Flight {
    fn land(&mut self, looked: Looked) {
        match self.end.take() {
            Some(End::Shared(lookups, question)) => lookups.settle(&question, looked),
            Some(End::Own(waiter)) => waiter(looked),
            None => {}
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.land(Looked::Unavailable("the lookup was dropped".into()));
    }
}

/// Runs searches until the lookup has its answer, or a search is to be waited for.
fn fly(mut flight: Flight) {
    loop {
        match flight.lookup.step() {
            Step::Done(result) => {
                let looked = looked(&flight.source.table, result);
                flight.land(looked);
                return;
            }
            Step::Search(search) => {
                let directory = Arc::clone(&flight.source.directory);
                let start = |done| directory.search(search, done);
                match ask(flight, start, go_on) {
                    None => return,
                    Some((mut back, outcome)) => {
                        back.lookup.answer(outcome);
                        flight = back;
                    }
                }
            }
        }
    }
}

fn go_on(mut flight: Flight, outcome: Outcome) {
    flight.lookup.answer(outcome);
    fly(flight);
}

fn looked(table: &Table, result: Result<Vec<String>, table::LookupError>) -> Looked {
    match result {
        Ok(values) if values.is_empty() => Looked::Absent,
        Ok(values) => Looked::Found(values),
        Err(error) => Looked::Unavailable(format!("{}: {error}", table.name)),
    }
}
