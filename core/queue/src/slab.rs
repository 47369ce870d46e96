//! Records in one array, named by their place, and lists of them that need no memory of their own.
//!
//! Every record is reached, linked and freed in constant time, however many there are.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

use crate::meter;

/// No record.
pub(crate) const NONE: u32 = u32::MAX;

/// Records named by their place; places are used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    len: usize,
}

#[derive(Debug)]
enum Slot<T> {
    Taken(T),
    Free { next: u32 },
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        meter::count();
        self.len += 1;
        if self.free != NONE {
            let at = self.free;
            if let Slot::Free { next } =
                core::mem::replace(&mut self.slots[at as usize], Slot::Taken(value))
            {
                self.free = next;
            }
            return at;
        }
        let at = u32::try_from(self.slots.len()).expect("invariant: less than 2^32 records");
        self.slots.push(Slot::Taken(value));
        at
    }

    pub(crate) fn remove(&mut self, at: u32) {
        meter::count();
        if matches!(self.slots[at as usize], Slot::Taken(_)) {
            self.slots[at as usize] = Slot::Free { next: self.free };
            self.free = at;
            self.len -= 1;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.slots).filter_map(|(at, slot)| match slot {
            Slot::Taken(value) => Some((at, value)),
            Slot::Free { .. } => None,
        })
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, at: u32) -> &T {
        meter::count();
        match &self.slots[at as usize] {
            Slot::Taken(value) => value,
            Slot::Free { .. } => unreachable!("invariant: only places in use are named"),
        }
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, at: u32) -> &mut T {
        meter::count();
        match &mut self.slots[at as usize] {
            Slot::Taken(value) => value,
            Slot::Free { .. } => unreachable!("invariant: only places in use are named"),
        }
    }
}

/// A record's neighbours in one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    prev: u32,
    next: u32,
    linked: bool,
}

impl Link {
    pub(crate) const NEW: Self = Self { prev: NONE, next: NONE, linked: false };
}

/// A record that can stand in lists: in one of each kind at a time.
pub(crate) trait Linked {
    /// One link for each kind.
    fn links(&self) -> &[Link];
    fn links_mut(&mut self) -> &mut [Link];
}

/// A list of records, first to last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    head: u32,
    tail: u32,
    kind: u8,
}

impl List {
    /// An empty list that uses this link of its records.
    pub(crate) const fn new(kind: u8) -> Self {
        Self { head: NONE, tail: NONE, kind }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    pub(crate) fn head(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    fn link<T: Linked>(&self, slab: &Slab<T>, at: u32) -> Link {
        slab[at].links()[usize::from(self.kind)]
    }

    fn link_mut<'a, T: Linked>(&self, slab: &'a mut Slab<T>, at: u32) -> &'a mut Link {
        &mut slab[at].links_mut()[usize::from(self.kind)]
    }

    /// What follows a record of this list.
    pub(crate) fn after<T: Linked>(&self, slab: &Slab<T>, at: u32) -> Option<u32> {
        let next = self.link(slab, at).next;
        (next != NONE).then_some(next)
    }

    /// Whether a record stands in a list of this kind.
    pub(crate) fn contains<T: Linked>(&self, slab: &Slab<T>, at: u32) -> bool {
        self.link(slab, at).linked
    }

    /// Puts a record at the end; nothing happens when it stands in a list of this kind.
    pub(crate) fn push_back<T: Linked>(&mut self, slab: &mut Slab<T>, at: u32) {
        if self.contains(slab, at) {
            return;
        }
        *self.link_mut(slab, at) = Link { prev: self.tail, next: NONE, linked: true };
        match self.tail {
            NONE => self.head = at,
            tail => self.link_mut(slab, tail).next = at,
        }
        self.tail = at;
    }

    /// Takes a record out; nothing happens when it does not stand in a list of this kind.
    pub(crate) fn unlink<T: Linked>(&mut self, slab: &mut Slab<T>, at: u32) {
        let Link { prev, next, linked } = self.link(slab, at);
        if !linked {
            return;
        }
        match prev {
            NONE => self.head = next,
            prev => self.link_mut(slab, prev).next = next,
        }
        match next {
            NONE => self.tail = prev,
            next => self.link_mut(slab, next).prev = prev,
        }
        *self.link_mut(slab, at) = Link::NEW;
    }

    pub(crate) fn pop_front<T: Linked>(&mut self, slab: &mut Slab<T>) -> Option<u32> {
        let head = self.head()?;
        self.unlink(slab, head);
        Some(head)
    }

    /// The first record, which becomes the last.
    pub(crate) fn rotate<T: Linked>(&mut self, slab: &mut Slab<T>) -> Option<u32> {
        let head = self.pop_front(slab)?;
        self.push_back(slab, head);
        Some(head)
    }

    /// All records, first to last.
    pub(crate) fn iter<'a, T: Linked>(&self, slab: &'a Slab<T>) -> impl Iterator<Item = u32> + 'a {
        let list = *self;
        core::iter::successors(self.head(), move |at| list.after(slab, *at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    struct Node([Link; 2]);

    impl Linked for Node {
        fn links(&self) -> &[Link] {
            &self.0
        }
        fn links_mut(&mut self) -> &mut [Link] {
            &mut self.0
        }
    }

    proptest! {
        #[test]
        fn lists_are_as_a_deque(steps in prop::collection::vec((0u8..4, 0u32..12), 0..200)) {
            let mut slab = Slab::new();
            for _ in 0..12 {
                slab.insert(Node([Link::NEW; 2]));
            }
            let (mut list, mut model) = (List::new(1), VecDeque::new());
            for (step, at) in steps {
                match step {
                    0 => {
                        list.push_back(&mut slab, at);
                        if !model.contains(&at) {
                            model.push_back(at);
                        }
                    }
                    1 => {
                        list.unlink(&mut slab, at);
                        model.retain(|other| *other != at);
                    }
                    2 => prop_assert_eq!(list.pop_front(&mut slab), model.pop_front()),
                    _ => {
                        let first = model.pop_front();
                        model.extend(first);
                        prop_assert_eq!(list.rotate(&mut slab), first);
                    }
                }
                let seen: Vec<u32> = list.iter(&slab).collect();
                prop_assert_eq!(&seen, &model.iter().copied().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn places_are_used_again() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        slab.remove(a);
        slab.remove(a);
        assert_eq!((slab.len(), slab[b]), (1, 'b'));
        assert_eq!((slab.insert('c'), slab.insert('d')), (a, 2));
        assert_eq!(slab.iter().map(|(_, c)| *c).collect::<std::string::String>(), "cbd");
    }
}
