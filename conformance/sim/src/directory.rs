//! The directory, and its bad days.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use waypost_ldap::tree::Tree;
use waypost_ldap::{Dn, Entry, Outcome, Search, ldif};
use waypost_machine::Secret;
use waypost_world::directory::{
    BindDone, Bound, CheckDone, Counters, Counts, Directory, SearchDone, password,
};

use crate::choices::Choices;
use crate::heap::{Heap, Life};

/// How long an answer takes at most on a good day.
const QUICK: Duration = Duration::from_millis(3);
/// How long whoever asks waits at most: `[directory] timeout`.
const LIMIT: Duration = Duration::from_secs(10);

/// What a directory does on a bad day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// It does not answer, or says at once that it is busy.
    Gone,
    /// Answers take seconds.
    Slow,
    /// Answers come when the time limit is all but over: whoever asked may be gone.
    Late,
    /// Binds are denied, be the password right or wrong.
    Denied,
    /// Binds fail: whether the password is right cannot be told.
    Unbound,
    /// All that is found comes twice.
    Doubled,
    /// Nothing is found.
    Empty,
}

/// What is wrong with a directory that is planted as a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// An outage looks like "no such entry".
    OutageIsAbsence,
    /// When a bind fails, for whatever reason, it is answered from memory: a name that has bound before
    /// is let in.
    Remembers,
}

/// A directory in memory. A clone is another handle of the same.
#[derive(Clone)]
pub struct FaultyDirectory {
    shared: Arc<Shared>,
}

struct Shared {
    heap: Arc<Heap>,
    choices: Choices,
    counters: Counters,
    state: Mutex<State>,
}

struct State {
    entries: Vec<Entry>,
    tree: Arc<Tree>,
    /// Bad days, and when they end.
    troubles: BTreeMap<Trouble, Duration>,
    defect: Option<Defect>,
    /// Names that have bound, for a directory that remembers.
    bound: Vec<String>,
}

impl FaultyDirectory {
    /// A directory with these entries, as LDIF.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn new(heap: Arc<Heap>, seed: u64, text: &str) -> Result<Self, String> {
        let entries = ldif::parse(text.as_bytes())
            .map_err(|error| format!("line {}: {}", error.line, error.kind))?;
        Self::with(heap, seed, entries)
    }

    /// The same, of entries that were read before.
    ///
    /// # Errors
    /// Two of them have one name.
    pub fn with(heap: Arc<Heap>, seed: u64, entries: Vec<Entry>) -> Result<Self, String> {
        let tree = Arc::new(Tree::new(entries.clone()).map_err(|error| error.to_string())?);
        let state =
            State { entries, tree, troubles: BTreeMap::new(), defect: None, bound: Vec::new() };
        let (choices, counters) = (Choices::seeded(seed), Counters::default());
        let state = Mutex::new(state);
        Ok(Self { shared: Arc::new(Shared { heap, choices, counters, state }) })
    }

    /// The directory as a server sees it that lives this life: after its death nothing is answered.
    pub fn of(&self, life: Life) -> Arc<dyn Directory> {
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

    /// Plants a fault.
    pub fn plant(&self, defect: Option<Defect>) {
        self.shared.state().defect = defect;
    }

    /// Changes the entries: what is answered from now on.
    ///
    /// # Errors
    /// Two of them then have one name; nothing changes.
    pub fn change(&self, change: impl FnOnce(&mut Vec<Entry>)) -> Result<(), String> {
        let mut state = self.shared.state();
        let mut entries = state.entries.clone();
        change(&mut entries);
        state.tree = Arc::new(Tree::new(entries.clone()).map_err(|error| error.to_string())?);
        state.entries = entries;
        Ok(())
    }

    /// Gives the entry with this `uid` these values of an attribute, none to take it away. False when
    /// there is no such entry.
    pub fn set(&self, uid: &str, attribute: &str, values: &[&str]) -> bool {
        let mut found = false;
        let changed = self.change(|entries| {
            for entry in entries.iter_mut().filter(|entry| entry.text("uid") == Some(uid)) {
                found = true;
                entry.attributes.retain(|known| !known.name.eq_ignore_ascii_case(attribute));
                for value in values {
                    entry.push(attribute, *value);
                }
            }
        });
        found && changed.is_ok()
    }

    /// What was asked so far.
    pub fn counters(&self) -> Counts {
        self.shared.counters.read()
    }
}

impl State {
    fn remembers(&self, name: &str) -> bool {
        self.defect == Some(Defect::Remembers) && self.bound.iter().any(|known| known == name)
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

    /// How long an answer takes that is asked for now.
    fn delay(&self) -> Duration {
        let up_to = |limit: Duration| {
            let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
            Duration::from_micros(self.choices.below(micros))
        };
        if self.has(Trouble::Gone) {
            return if self.choices.percent(50) { up_to(QUICK) } else { LIMIT };
        }
        if self.has(Trouble::Late) {
            return LIMIT - up_to(Duration::from_millis(10));
        }
        if self.has(Trouble::Slow) {
            return up_to(LIMIT);
        }
        up_to(QUICK)
    }

    fn search(&self, search: &Search) -> Outcome {
        if self.has(Trouble::Gone) {
            return match self.state().defect {
                Some(Defect::OutageIsAbsence) => Outcome::all(Vec::new()),
                _ => Outcome::Unavailable("the directory is gone".into()),
            };
        }
        if self.has(Trouble::Empty) {
            return Outcome::all(Vec::new());
        }
        let tree = Arc::clone(&self.state().tree);
        let mut outcome = tree.search(search);
        if self.has(Trouble::Doubled)
            && let Outcome::Entries { entries, .. } = &mut outcome
        {
            let again = entries.clone();
            entries.extend(again);
        }
        outcome
    }

    fn bind(&self, name: &str, password: &Secret<Box<str>>) -> Bound {
        let unavailable = |text: &str| Bound::Unavailable { code: Some(52), text: text.into() };
        if self.has(Trouble::Gone) || self.has(Trouble::Unbound) {
            return match self.state().remembers(name) {
                true => Bound::Accepted,
                false => unavailable("the directory is gone"),
            };
        }
        if self.has(Trouble::Denied) {
            return Bound::Denied;
        }
        let Ok(dn) = Dn::parse(name) else { return Bound::Denied };
        let mut state = self.state();
        let given = password.expose().as_bytes();
        let fits = |stored: &Vec<u8>| password::check(stored, given, true) == Ok(true);
        if !state.tree.passwords(&dn).iter().any(fits) {
            return if state.remembers(name) { Bound::Accepted } else { Bound::Denied };
        }
        state.bound.push(name.to_owned());
        Bound::Accepted
    }
}

struct Handle {
    shared: Arc<Shared>,
    life: Life,
}

impl Handle {
    /// Lets an answer come after a while; what it is shows then.
    fn later(&self, answer: impl FnOnce(&Shared) + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        let delay = shared.delay();
        self.shared.heap.after(self.life, delay, move || answer(&shared));
    }
}

impl Directory for Handle {
    fn search(&self, search: Search, done: SearchDone) {
        self.shared.counters.search();
        self.later(move |shared| done(shared.search(&search)));
    }

    fn bind(&self, name: &str, password: Secret<Box<str>>, done: BindDone) {
        if password.expose().is_empty() {
            return done(Bound::Denied);
        }
        self.shared.counters.bind();
        let name = name.to_owned();
        self.later(move |shared| done(shared.bind(&name, &password)));
    }

    fn counters(&self) -> Counts {
        self.shared.counters.read()
    }

    fn check(&self, done: CheckDone) {
        self.later(|shared| {
            done(match shared.has(Trouble::Gone) {
                true => Err("the directory is gone".into()),
                false => Ok(format!("{} entries", shared.state().entries.len())),
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use waypost_ldap::{Filter, Scope};

    use super::*;
    use crate::data;
    use crate::heap::ETERNAL;

    struct Place {
        heap: Arc<Heap>,
        directory: FaultyDirectory,
    }

    impl Place {
        fn new() -> Self {
            let heap = Arc::new(Heap::new(0));
            let directory = FaultyDirectory::new(Arc::clone(&heap), 1, data::LDIF).unwrap();
            Self { heap, directory }
        }

        fn run<T>(&self, told: &Mutex<Option<T>>) -> T {
            while let Some(event) = self.heap.next(Duration::MAX) {
                event();
            }
            told.lock().unwrap().take().unwrap()
        }

        fn find(&self, address: &str) -> Outcome {
            let told = Arc::new(Mutex::new(None));
            let tell = Arc::clone(&told);
            let search = Search {
                base: Dn::parse("ou=Mail,dc=example,dc=com").unwrap(),
                scope: Scope::Sub,
                filter: Filter::parse(&format!("(mailacceptinggeneralid={address})")).unwrap(),
                attributes: vec!["maildrop".into()],
                size_limit: 0,
                deref: waypost_ldap::search::Deref::Never,
            };
            let done = move |outcome| *tell.lock().unwrap() = Some(outcome);
            self.directory.of(ETERNAL).search(search, Box::new(done));
            self.run(&told)
        }

        fn drops(&self, address: &str) -> Vec<String> {
            let Outcome::Entries { entries, .. } = self.find(address) else { return Vec::new() };
            let drops = entries.iter().flat_map(|entry| entry.values("maildrop"));
            drops.map(|drop| String::from_utf8(drop.to_vec()).unwrap()).collect()
        }

        fn bind(&self, uid: &str, password: &str) -> Bound {
            let told = Arc::new(Mutex::new(None));
            let tell = Arc::clone(&told);
            let done = move |bound| *tell.lock().unwrap() = Some(bound);
            let dn = format!("uid={uid},ou=Mail,dc=example,dc=com");
            let password = Secret::new(password.into());
            self.directory.of(ETERNAL).bind(&dn, password, Box::new(done));
            self.run(&told)
        }
    }

    #[test]
    fn on_a_good_day_it_answers_quickly() {
        let place = Place::new();
        assert_eq!(place.drops("forward@example.com"), ["someone@remote.test"]);
        assert_eq!(place.drops("team@example.com").len(), 2);
        assert_eq!(place.bind("mail003", "secret003"), Bound::Accepted);
        assert_eq!(place.bind("mail003", "secret000"), Bound::Denied);
        assert_eq!(place.bind("team", "secret000"), Bound::Denied);
        assert!(place.heap.elapsed() < QUICK * 5);
        assert_eq!(place.directory.counters(), Counts { searches: 2, binds: 3 });
    }

    #[test]
    fn bad_days_come_and_go() {
        let place = Place::new();
        let found = place.find("forward@example.com");
        let day = Duration::from_secs(60);
        place.directory.trouble(Trouble::Gone, day);
        assert!(matches!(place.find("forward@example.com"), Outcome::Unavailable(_)));
        assert!(matches!(place.bind("mail003", "secret003"), Bound::Unavailable { .. }));
        place.directory.heal();
        place.directory.trouble(Trouble::Late, day);
        let before = place.heap.elapsed();
        assert_eq!(place.find("forward@example.com"), found);
        assert!(place.heap.elapsed() - before > LIMIT / 2);
        place.directory.heal();
        place.directory.trouble(Trouble::Doubled, day);
        assert_eq!(place.drops("forward@example.com").len(), 2);
        place.directory.trouble(Trouble::Denied, day);
        assert_eq!(place.bind("mail003", "secret003"), Bound::Denied);
        place.directory.trouble(Trouble::Empty, day);
        assert_eq!(place.find("forward@example.com"), Outcome::all(Vec::new()));
        place.heap.after(ETERNAL, day, || ());
        while let Some(event) = place.heap.next(Duration::MAX) {
            event();
        }
        assert_eq!(place.find("forward@example.com"), found);
    }

    #[test]
    fn entries_change() {
        let place = Place::new();
        assert!(place.directory.set("forward", "maildrop", &["other@remote.test"]));
        assert_eq!(place.drops("forward@example.com"), ["other@remote.test"]);
        assert!(!place.directory.set("nobody", "maildrop", &[]));
        assert_eq!(place.bind("mail003", "secret003"), Bound::Accepted);
    }

    #[test]
    fn planted_faults_show() {
        let place = Place::new();
        assert_eq!(place.bind("mail003", "secret003"), Bound::Accepted);
        place.directory.trouble(Trouble::Gone, Duration::from_secs(60));
        place.directory.plant(Some(Defect::OutageIsAbsence));
        assert_eq!(place.find("forward@example.com"), Outcome::all(Vec::new()));
        place.directory.plant(Some(Defect::Remembers));
        assert_eq!(place.bind("mail003", "wrong"), Bound::Accepted);
    }
}
