//! Deadlines of records that are named by their place in an array.

use alloc::vec::Vec;

use crate::meter;
use crate::slab::NONE;

/// At most one deadline for each record; setting, moving and removing one takes O(log n).
#[derive(Debug, Default)]
pub(crate) struct Heap {
    /// A binary heap, the earliest first.
    items: Vec<(i64, u32)>,
    /// Where each record stands in `items`.
    places: Vec<u32>,
}

impl Heap {
    /// The earliest deadline, and whose it is.
    pub(crate) fn first(&self) -> Option<(i64, u32)> {
        self.items.first().copied()
    }

    /// All records with a deadline, in no order.
    pub(crate) fn records(&self) -> impl Iterator<Item = u32> {
        self.items.iter().map(|(_, record)| *record)
    }

    /// The deadline of a record.
    pub(crate) fn get(&self, record: u32) -> Option<i64> {
        let place = self.places.get(record as usize).filter(|place| **place != NONE)?;
        Some(self.items[*place as usize].0)
    }

    /// Gives a record a deadline in place of the one it may have.
    pub(crate) fn set(&mut self, record: u32, due: i64) {
        self.remove(record);
        let index = record as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, NONE);
        }
        self.items.push((due, record));
        self.up(self.items.len() - 1);
    }

    /// Takes the deadline of a record away, if it has one.
    pub(crate) fn remove(&mut self, record: u32) {
        let Some(place) = self.places.get(record as usize).copied().filter(|p| *p != NONE) else {
            return;
        };
        self.places[record as usize] = NONE;
        let place = place as usize;
        self.items.swap_remove(place);
        if place < self.items.len() {
            let place = self.up(place);
            self.down(place);
        }
    }

    fn up(&mut self, mut at: usize) -> usize {
        while at > 0 && self.items[at] < self.items[(at - 1) / 2] {
            let parent = (at - 1) / 2;
            self.items.swap(at, parent);
            self.note(at);
            at = parent;
        }
        self.note(at);
        at
    }

    fn down(&mut self, mut at: usize) {
        loop {
            let child = [2 * at + 1, 2 * at + 2]
                .into_iter()
                .filter(|child| *child < self.items.len())
                .min_by_key(|child| self.items[*child]);
            match child {
                Some(child) if self.items[child] < self.items[at] => {
                    self.items.swap(at, child);
                    self.note(at);
                    at = child;
                }
                _ => break,
            }
        }
        self.note(at);
    }

    fn note(&mut self, at: usize) {
        meter::count();
        let record = self.items[at].1;
        self.places[record as usize] =
            u32::try_from(at).expect("invariant: less than 2^32 records");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn as_a_sorted_map(steps in prop::collection::vec((0u32..20, any::<Option<i8>>()), 0..200)) {
            let (mut heap, mut model) = (Heap::default(), BTreeMap::new());
            for (record, due) in steps {
                match due {
                    Some(due) => {
                        heap.set(record, due.into());
                        model.insert(record, i64::from(due));
                    }
                    None => {
                        heap.remove(record);
                        model.remove(&record);
                    }
                }
                let first = model.iter().map(|(record, due)| (*due, *record)).min();
                prop_assert_eq!(heap.first(), first);
            }
        }
    }
}
