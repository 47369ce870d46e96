//! What a listing of `new/` and `cur/` means: which message has which uid, which are new, which are gone.
//!
//! A file is known by its base name, so a rename that changes flags or moves it from `new/` to `cur/` does
//! not change the message. Files unknown to the uid list get the next uids, in the order of the times in
//! their names. A uid that was told to be gone does not come back: its file, should it appear again, is a
//! new message.

use crate::name;
use crate::uidlist::{Entry, UidList};
use alloc::vec::Vec;

/// Which directory an entry stands in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dir {
    /// Delivered, not yet seen by a server.
    New,
    /// Seen by a server; flags are in the name.
    Cur,
}

impl Dir {
    /// The directory's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Cur => "cur",
        }
    }
}

/// The entries of `new/` and `cur/`, names packed into one buffer.
#[derive(Clone, Default, Debug)]
pub struct Listing {
    text: Vec<u8>,
    files: Vec<File>,
    /// Positions in `files` by base name; 0 is free, else the position plus one.
    slots: Vec<u32>,
    duplicates: Vec<Duplicate>,
    nameless: Vec<(Dir, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug)]
struct File {
    start: u32,
    length: u16,
    dir: Dir,
}

/// Two files with one base name in one directory: two messages that want to be one. The second is to get
/// a name of its own, unless both are the same file listed twice because of a rename in between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Duplicate {
    /// Where both stand.
    pub dir: Dir,
    /// The name that is kept.
    pub kept: Vec<u8>,
    /// The name that came later.
    pub extra: Vec<u8>,
}

impl Listing {
    /// A listing with room for `files` names.
    pub fn with_capacity(files: usize) -> Self {
        let mut listing = Self::default();
        listing.text.reserve(files * 56);
        listing.files.reserve(files);
        listing.grow(files);
        listing
    }

    /// Adds a directory entry. `new/` is to be read before `cur/`: a file that moves meanwhile is then
    /// seen at least once, and what is seen in `cur/` wins. Hidden files and names with line ends are
    /// passed over; what begins with `:` is kept apart ([`Listing::nameless`]).
    pub fn push(&mut self, dir: Dir, file_name: &[u8]) {
        if !name::is_message(file_name) {
            if file_name.first() == Some(&b':') {
                self.nameless.push((dir, file_name.to_vec()));
            }
            return;
        }
        let (Ok(start), Ok(length)) =
            (u32::try_from(self.text.len()), u16::try_from(file_name.len()))
        else {
            return;
        };
        if (self.files.len() + 1) * 2 > self.slots.len() {
            self.grow((self.files.len() + 1) * 2);
        }
        let slot = self.slot(name::base(file_name));
        let file = File { start, length, dir };
        match self.slots[slot] {
            0 => {
                self.slots[slot] = self.files.len() as u32 + 1;
                self.files.push(file);
                self.text.extend_from_slice(file_name);
            }
            position => self.push_again(position as usize - 1, file, file_name),
        }
    }

    fn push_again(&mut self, position: usize, file: File, file_name: &[u8]) {
        let (dir, kept) = self.file(position);
        if dir == Dir::New && file.dir == Dir::Cur {
            self.text.extend_from_slice(file_name);
            self.files[position] = file;
        } else if dir == file.dir && kept != file_name {
            let (kept, extra) = (kept.to_vec(), file_name.to_vec());
            self.duplicates.push(Duplicate { dir, kept, extra });
        }
    }

    /// How many files there are, each base name once.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Directory and name of a file.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn file(&self, position: usize) -> (Dir, &[u8]) {
        let file = self.files[position];
        let start = file.start as usize;
        (file.dir, &self.text[start..start + usize::from(file.length)])
    }

    /// The position of the file with this base name.
    pub fn find(&self, base: &[u8]) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        (self.slots[self.slot(base)] as usize).checked_sub(1)
    }

    /// Files that share a base name with another.
    pub fn duplicates(&self) -> &[Duplicate] {
        &self.duplicates
    }

    /// Files whose name begins with `:`. They are to get a name.
    pub fn nameless(&self) -> &[(Dir, Vec<u8>)] {
        &self.nameless
    }

    /// Where `base` is in the table, or would be.
    fn slot(&self, base: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash(base) & mask;
        while let Some(position) = (self.slots[slot] as usize).checked_sub(1) {
            if name::base(self.file(position).1) == base {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self, files: usize) {
        self.slots.clear();
        self.slots.resize((files * 2).next_power_of_two().max(16), 0);
        for position in 0..self.files.len() {
            let slot = self.slot(name::base(self.file(position).1));
            self.slots[slot] = position as u32 + 1;
        }
    }
}

/// FNV-1a, with the high bits folded in.
fn hash(base: &[u8]) -> usize {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in base {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash ^ hash >> 32) as usize
}

/// A message that exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Present {
    /// Its uid.
    pub uid: u32,
    /// Its file's position in the listing.
    pub file: usize,
}

/// What [`plan`] found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Plan {
    /// All messages, by uid.
    pub present: Vec<Present>,
    /// How many records of the uid list are in use or unknown; the uid list's records from here on are
    /// new and must be written before any uid is told to anybody.
    pub first_new: usize,
    /// Uids of the list that have no file (any more).
    pub vanished: Vec<u32>,
}

/// Matches a listing of both directories with the uid list. New files are added to the list.
///
/// `gone(uid)` says that this uid was told to be expunged, although the list still has it.
pub fn plan(listing: &Listing, list: &mut UidList, gone: impl Fn(u32) -> bool) -> Plan {
    let mut plan = Plan { first_new: list.len(), ..Plan::default() };
    plan.present.reserve(listing.len());
    // Highest uid first: should a name stand twice, the later record counts.
    let mut taken = alloc::vec![false; listing.len()];
    for index in (0..list.len()).rev() {
        let Entry { uid, name, .. } = list.entry(index);
        match listing.find(name) {
            Some(file) if !taken[file] && !gone(uid) => {
                taken[file] = true;
                plan.present.push(Present { uid, file });
            }
            _ => plan.vanished.push(uid),
        }
    }
    plan.present.reverse();
    plan.vanished.reverse();

    let mut fresh: Vec<usize> = (0..listing.len()).filter(|file| !taken[*file]).collect();
    fresh.sort_unstable_by(|a, b| name::order(listing.file(*a).1, listing.file(*b).1));
    for file in fresh {
        if let Some(uid) = list.add(listing.file(file).1) {
            plan.present.push(Present { uid, file });
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::{BTreeMap, BTreeSet};
    use alloc::format;
    use alloc::string::String;
    use alloc::vec;
    use proptest::prelude::*;

    fn listing(new: &[&str], cur: &[&str]) -> Listing {
        let mut listing = Listing::default();
        new.iter().for_each(|name| listing.push(Dir::New, name.as_bytes()));
        cur.iter().for_each(|name| listing.push(Dir::Cur, name.as_bytes()));
        listing
    }

    fn uids(plan: &Plan) -> Vec<u32> {
        plan.present.iter().map(|p| p.uid).collect()
    }

    fn names(plan: &Plan, listing: &Listing) -> Vec<String> {
        let name = |p: &Present| String::from_utf8(listing.file(p.file).1.to_vec()).unwrap();
        plan.present.iter().map(name).collect()
    }

    #[test]
    fn the_first_sync_orders_by_time() {
        let listing = listing(&["9.M2P1.h", "9.M1P1.h"], &["3.x.h:2,S"]);
        let mut list = UidList::new(1, [0; 16]);
        let plan = plan(&listing, &mut list, |_| false);
        assert_eq!(uids(&plan), vec![1, 2, 3]);
        assert_eq!(names(&plan, &listing), vec!["3.x.h:2,S", "9.M1P1.h", "9.M2P1.h"]);
        assert_eq!(list.print_from(plan.first_new), b"1 :3.x.h\n2 :9.M1P1.h\n3 :9.M2P1.h\n");
    }

    #[test]
    fn a_flag_change_keeps_the_uid() {
        let mut list = UidList::new(1, [0; 16]);
        list.add(b"1.a.h");
        list.add(b"2.b.h");
        let listing = listing(&[], &["2.b.h:2,", "1.a.h:2,ST"]);
        let plan = plan(&listing, &mut list, |_| false);
        assert_eq!(uids(&plan), vec![1, 2]);
        assert_eq!(names(&plan, &listing), vec!["1.a.h:2,ST", "2.b.h:2,"]);
        assert!(plan.vanished.is_empty() && plan.first_new == list.len());
    }

    #[test]
    fn what_is_missing_has_vanished() {
        let mut list = UidList::new(1, [0; 16]);
        list.add(b"1.a.h");
        list.add(b"2.b.h");
        let plan = plan(&listing(&[], &["2.b.h:2,"]), &mut list, |_| false);
        assert_eq!((uids(&plan), plan.vanished), (vec![2], vec![1]));
    }

    #[test]
    fn an_expunged_message_comes_back_as_a_new_one() {
        let mut list = UidList::new(1, [0; 16]);
        list.add(b"1.a.h");
        let plan = plan(&listing(&[], &["1.a.h:2,"]), &mut list, |uid| uid == 1);
        assert_eq!((uids(&plan), plan.vanished), (vec![2], vec![1]));
        assert_eq!(list.print_from(plan.first_new), b"2 :1.a.h\n");
    }

    #[test]
    fn of_two_records_the_later_counts() {
        let mut list = UidList::parse(b"3 V1 N1\n1 :x\n2 :y\n5 :x\n".to_vec()).unwrap();
        let plan = plan(&listing(&[], &["x:2,", "y:2,"]), &mut list, |_| false);
        assert_eq!((uids(&plan), plan.vanished), (vec![2, 5], vec![1]));
    }

    #[test]
    fn one_file_seen_twice_is_one_message() {
        let moved = listing(&["1.a.h"], &["1.a.h:2,"]);
        assert_eq!((moved.len(), moved.file(0).0), (1, Dir::Cur));
        assert!(moved.duplicates().is_empty());
        let twice = listing(&[], &["1.a.h:2,", "1.a.h:2,S", "1.a.h:2,"]);
        assert_eq!(twice.len(), 1);
        assert_eq!(
            twice.duplicates(),
            [Duplicate { dir: Dir::Cur, kept: b"1.a.h:2,".to_vec(), extra: b"1.a.h:2,S".to_vec() }]
        );
    }

    #[test]
    fn odd_entries_are_kept_apart() {
        let listing = listing(&[".", "..", ".hidden", "a\nb"], &[":2,S"]);
        assert!(listing.is_empty());
        assert_eq!(listing.nameless(), [(Dir::Cur, b":2,S".to_vec())]);
        assert_eq!(listing.find(b"x"), None);
    }

    /// What other programs do to a mailbox between two looks at it.
    #[derive(Clone, Debug)]
    enum Act {
        Deliver(u32),
        Flag(usize, u8),
        Remove(usize),
        Move(usize),
        /// The file is hidden for one look: seen as gone, then back.
        Reappear(usize),
        TearList,
    }

    fn acts() -> impl Strategy<Value = Vec<Vec<Act>>> {
        let act = prop_oneof![
            4 => (0u32..50).prop_map(Act::Deliver),
            3 => (any::<usize>(), 0u8..32).prop_map(|(at, flags)| Act::Flag(at, flags)),
            2 => any::<usize>().prop_map(Act::Remove),
            2 => any::<usize>().prop_map(Act::Move),
            1 => any::<usize>().prop_map(Act::Reappear),
            1 => Just(Act::TearList),
        ];
        proptest::collection::vec(proptest::collection::vec(act, 0..8), 1..8)
    }

    #[derive(Default)]
    struct Mailbox {
        files: BTreeMap<Vec<u8>, (Dir, Vec<u8>)>,
        hidden: BTreeSet<Vec<u8>>,
        delivered: u32,
    }

    impl Mailbox {
        fn act(&mut self, act: &Act) {
            let nth = |at: usize, files: &BTreeMap<Vec<u8>, _>| {
                (!files.is_empty()).then(|| files.keys().nth(at % files.len()).unwrap().clone())
            };
            match *act {
                Act::Deliver(time) => {
                    self.delivered += 1;
                    let name = format!("{time}.M{}P1.h", self.delivered).into_bytes();
                    self.files.insert(name.clone(), (Dir::New, name));
                }
                Act::Flag(at, bits) => {
                    if let Some(base) = nth(at, &self.files) {
                        let (_, old) = &self.files[&base];
                        let info = name::Info {
                            flags: name::Flags::from_bits(bits),
                            ..name::Info::default()
                        };
                        let changed = name::with_info(old, info);
                        self.files.insert(base, (Dir::Cur, changed));
                    }
                }
                Act::Remove(at) => {
                    nth(at, &self.files).map(|base| self.files.remove(&base));
                }
                Act::Move(at) => {
                    if let Some(base) = nth(at, &self.files) {
                        let moved = (Dir::Cur, name::in_cur(&self.files[&base].1));
                        self.files.insert(base, moved);
                    }
                }
                Act::Reappear(at) => {
                    nth(at, &self.files).map(|base| self.hidden.insert(base));
                }
                Act::TearList => {}
            }
        }

        fn list(&self) -> Listing {
            let mut listing = Listing::with_capacity(1);
            for (dir, name) in
                self.files.iter().filter(|(b, _)| !self.hidden.contains(*b)).map(|f| f.1)
            {
                listing.push(*dir, name);
            }
            listing
        }
    }

    proptest! {
        #[test]
        fn a_uid_never_names_two_messages(rounds in acts()) {
            let mut mailbox = Mailbox::default();
            let mut file = UidList::new(9, [1; 16]).print(|_| true);
            // What a client was told: uid to base name; and the uids it was told to be gone.
            let mut told: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
            let mut gone: BTreeSet<u32> = BTreeSet::new();
            let mut highest = 0;
            for round in rounds {
                round.iter().for_each(|act| mailbox.act(act));
                if round.iter().any(|act| matches!(act, Act::TearList)) {
                    file.extend_from_slice(b"4294 :to");
                }
                let listing = mailbox.list();
                mailbox.hidden.clear();
                let mut list = UidList::parse(file.clone()).unwrap();
                let plan = plan(&listing, &mut list, |uid| gone.contains(&uid));

                prop_assert_eq!(plan.present.len(), listing.len());
                prop_assert!(plan.present.windows(2).all(|pair| pair[0].uid < pair[1].uid));
                for present in &plan.present {
                    let base = name::base(listing.file(present.file).1).to_vec();
                    prop_assert!(!gone.contains(&present.uid));
                    match told.get(&present.uid) {
                        Some(known) => prop_assert_eq!(known, &base),
                        None => prop_assert!(present.uid > highest, "{} is not new", present.uid),
                    }
                    told.insert(present.uid, base);
                }
                let now: BTreeSet<u32> = uids(&plan).into_iter().collect();
                gone.extend(told.keys().filter(|uid| !now.contains(uid)));
                highest = list.next_uid() - 1;
                if list.is_untidy() || highest % 3 == 0 {
                    file = list.print(|index| now.contains(&list.entry(index).uid));
                } else {
                    file.extend_from_slice(&list.print_from(plan.first_new));
                }
            }
        }
    }
}
