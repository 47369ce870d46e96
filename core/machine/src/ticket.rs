//! Calls to the world and the tickets that pair each with its one answer.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::marker::PhantomData;

use crate::time::Time;

/// Names one call of one machine; never used twice by that machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u64);

/// The right to answer one call, once, with a `T`.
///
/// A ticket is not `Clone`, and `T` is fixed by the call, so a world cannot answer twice or with
/// the wrong type. `T` holds failure too: "the directory is down" is a value of it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a call that is never answered waits until its time is up"]
pub struct Ticket<T> {
    id: CallId,
    kind: PhantomData<fn(T)>,
}

impl<T> Ticket<T> {
    /// The call this ticket belongs to.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// The answer, to be handed to the machine with [`crate::Input::Answer`].
    pub fn answer<R: From<T>>(self, outcome: T) -> Answer<R> {
        Answer { id: self.id, value: outcome.into() }
    }
}

/// The outcome of a call on its way back. Only [`Ticket::answer`] makes one.
#[derive(Debug)]
pub struct Answer<R> {
    id: CallId,
    value: R,
}

impl<R> Answer<R> {
    /// The call it answers.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// The outcome, for a look on its way.
    pub fn value(&self) -> &R {
        &self.value
    }

    /// The call and its outcome, for a machine that keeps its own [`Ledger`].
    pub fn into_parts(self) -> (CallId, R) {
        (self.id, self.value)
    }
}

/// The open calls of one machine.
///
/// [`crate::Session`] keeps one for every protocol; a machine without bytes (a resolver, a queue)
/// keeps its own.
#[derive(Debug, Default)]
pub struct Ledger {
    issued: u64,
    open: BTreeMap<CallId, Open>,
}

#[derive(Debug)]
struct Open {
    deadline: Option<Time>,
    commit: bool,
}

impl Ledger {
    /// A ledger without calls.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a call that counts as failed at `deadline`.
    pub fn open<T>(&mut self, deadline: Option<Time>) -> Ticket<T> {
        self.issue(deadline, false)
    }

    /// Opens a call whose outcome must be known: it has no deadline and is never cancelled.
    pub fn open_commit<T>(&mut self) -> Ticket<T> {
        self.issue(None, true)
    }

    fn issue<T>(&mut self, deadline: Option<Time>, commit: bool) -> Ticket<T> {
        self.issued += 1;
        let id = CallId(self.issued);
        self.open.insert(id, Open { deadline, commit });
        Ticket { id, kind: PhantomData }
    }

    /// Closes a call; false when it was not open (late, cancelled, unknown).
    pub fn close(&mut self, id: CallId) -> bool {
        self.open.remove(&id).is_some()
    }

    /// Keeps no memory when no call is open.
    pub(crate) fn rest(&mut self) {
        if self.open.is_empty() {
            self.open = BTreeMap::new();
        }
    }

    /// True when no call is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How many calls are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// True while a commit is open.
    pub fn has_commit(&self) -> bool {
        self.open.values().any(|open| open.commit)
    }

    /// The earliest deadline.
    pub fn until(&self) -> Option<Time> {
        self.open.values().filter_map(|open| open.deadline).min()
    }

    /// Closes one call whose deadline has passed, and names it.
    pub fn expire(&mut self, now: Time) -> Option<CallId> {
        let due = |open: &Open| open.deadline.is_some_and(|deadline| deadline <= now);
        let id = self.open.iter().find(|(_, open)| due(open)).map(|(id, _)| *id)?;
        self.open.remove(&id);
        Some(id)
    }

    /// Closes every call but the commits, and names them.
    pub fn cancel_all(&mut self) -> Vec<CallId> {
        let ids: Vec<_> =
            self.open.iter().filter(|(_, open)| !open.commit).map(|(id, _)| *id).collect();
        for id in &ids {
            self.open.remove(id);
        }
        ids
    }
}
