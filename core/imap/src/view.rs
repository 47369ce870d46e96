//! The client's view of a mailbox: which number is which message, and what it may be told when.
//!
//! A message that is gone keeps its number until the client has been told, and that may not be
//! while FETCH, STORE or SEARCH run (RFC 3501 7.4.1).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use crate::server::{Changes, Flags, Message};
use crate::syntax::set::{Raw, Set};

/// One message, packed: an idle session holds one of these for each.
#[derive(Clone, Copy, Debug)]
struct Entry {
    uid: u32,
    keywords: u32,
    system: u8,
    recent: bool,
    gone: bool,
}

/// All messages, by uid.
#[derive(Debug, Default)]
pub(crate) struct View {
    entries: Vec<Entry>,
    /// How many are gone without the client knowing.
    gone: usize,
    /// What the client was told of `\Recent`.
    recent: u32,
}

/// What the client has to be told, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The flags of a message.
    Flags {
        /// Its number.
        seq: u32,
        /// The message.
        message: Message,
    },
    /// A message is gone.
    Expunge(u32),
    /// The number of messages.
    Exists(u32),
    /// The number of those that are `\Recent`.
    Recent(u32),
}

impl View {
    pub(crate) fn new(messages: &[Message]) -> Self {
        let mut view = Self { entries: Vec::with_capacity(messages.len()), ..Self::default() };
        view.entries.extend(messages.iter().map(Entry::from));
        view.recent = view.count_recent();
        view
    }

    pub(crate) fn len(&self) -> u32 {
        number(self.entries.len())
    }

    /// The number of `\Recent` messages.
    pub(crate) fn recent(&self) -> u32 {
        self.recent
    }

    /// The uid of the last message; 0 without one.
    pub(crate) fn last_uid(&self) -> u32 {
        self.entries.last().map_or(0, |entry| entry.uid)
    }

    /// The number of the first message without `\Seen`.
    pub(crate) fn first_unseen(&self) -> Option<u32> {
        let unseen = |entry: &Entry| entry.system & Flags::SEEN == 0;
        self.entries.iter().position(unseen).map(|at| number(at) + 1)
    }

    /// The message at a place (its number less one).
    pub(crate) fn message(&self, place: usize) -> Option<Message> {
        self.entries.get(place).map(Entry::message)
    }

    /// The place of a uid.
    pub(crate) fn place(&self, uid: u32) -> Option<usize> {
        self.entries.binary_search_by_key(&uid, |entry| entry.uid).ok()
    }

    /// The places of a sequence set; `None` when it names numbers that are not there.
    pub(crate) fn sequences(&self, set: &Raw) -> Option<Vec<Range<usize>>> {
        if self.entries.is_empty() && set.has_star() {
            return Some(Vec::new());
        }
        if set.exceeds(self.len()) || self.entries.is_empty() {
            return None;
        }
        let set = set.resolve(self.len());
        Some(set.ranges().iter().map(|(from, to)| *from as usize - 1..*to as usize).collect())
    }

    /// The places of a set of uids.
    pub(crate) fn uids(&self, set: &Raw) -> Vec<Range<usize>> {
        let mut places = Vec::new();
        for (from, to) in set.resolve(self.last_uid()).ranges() {
            let start = self.entries.partition_point(|entry| entry.uid < *from);
            let end = self.entries.partition_point(|entry| entry.uid <= *to);
            if start < end {
                places.push(start..end);
            }
        }
        places
    }

    /// The uids at some places, without those that are gone.
    pub(crate) fn uids_at(&self, places: &[Range<usize>]) -> Vec<u32> {
        let entries = places.iter().flat_map(|range| &self.entries[range.clone()]);
        entries.filter(|entry| !entry.gone).map(|entry| entry.uid).collect()
    }

    /// Everything, for SEARCH.
    pub(crate) fn snapshot(&self) -> Arc<[Message]> {
        self.entries.iter().map(Entry::message).collect()
    }

    /// Takes changes in. `expunge`: the client may be told what is gone now. `quiet` says of a
    /// message whether its new flags are what the client expects and need no line.
    pub(crate) fn apply(
        &mut self,
        changes: &Changes,
        expunge: bool,
        quiet: impl Fn(&Message, Flags) -> bool,
    ) -> Vec<News> {
        let mut news = Vec::new();
        for changed in &changes.changed {
            let Some(place) = self.place(changed.uid) else { continue };
            let before = self.entries[place].message();
            if before.flags != changed.flags {
                self.entries[place].set(changed.flags);
                let message = self.entries[place].message();
                if !quiet(&before, changed.flags) {
                    news.push(News::Flags { seq: number(place) + 1, message });
                }
            }
        }
        for uid in &changes.expunged {
            if let Some(place) = self.place(*uid)
                && !self.entries[place].gone
            {
                self.entries[place].gone = true;
                self.gone += 1;
            }
        }
        let count = self.entries.len();
        if expunge && self.gone > 0 {
            self.expunge(&mut news);
        }
        let fewer = self.entries.len() < count;
        let more = self.add(changes);
        if more {
            news.push(News::Exists(self.len()));
        }
        if fewer || more {
            let recent = self.count_recent();
            if recent != self.recent {
                self.recent = recent;
                news.push(News::Recent(recent));
            }
        }
        news
    }

    /// The last number first: so no number changes before its line is read.
    fn expunge(&mut self, news: &mut Vec<News>) {
        let places = (0..self.entries.len()).rev().filter(|place| self.entries[*place].gone);
        news.extend(places.map(|place| News::Expunge(number(place) + 1)));
        self.entries.retain(|entry| !entry.gone);
        self.gone = 0;
    }

    fn add(&mut self, changes: &Changes) -> bool {
        let before = self.entries.len();
        for message in &changes.added {
            let came_and_went = changes.expunged.binary_search(&message.uid).is_ok();
            if message.uid > self.last_uid() && !came_and_went {
                self.entries.push(Entry::from(message));
            }
        }
        self.entries.len() > before
    }

    fn count_recent(&self) -> u32 {
        number(self.entries.iter().filter(|entry| entry.recent).count())
    }
}

impl Entry {
    fn message(&self) -> Message {
        let flags = Flags { system: self.system, keywords: self.keywords };
        Message { uid: self.uid, flags, recent: self.recent }
    }

    fn set(&mut self, flags: Flags) {
        self.system = flags.system;
        self.keywords = flags.keywords;
    }
}

impl From<&Message> for Entry {
    fn from(message: &Message) -> Self {
        let Flags { system, keywords } = message.flags;
        Self { uid: message.uid, keywords, system, recent: message.recent, gone: false }
    }
}

/// Places are below the number of uids, which have 32 bits.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// The set of uids as COPYUID and ESEARCH write it.
pub(crate) fn ranges(uids: impl IntoIterator<Item = u32>) -> Set {
    Set::of_sorted(uids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ModSeq;
    use alloc::vec;
    use proptest::prelude::*;

    fn message(uid: u32, system: u8) -> Message {
        Message { uid, flags: Flags { system, keywords: 0 }, recent: uid.is_multiple_of(2) }
    }

    fn view(uids: impl IntoIterator<Item = u32>) -> View {
        View::new(&uids.into_iter().map(|uid| message(uid, 0)).collect::<Vec<_>>())
    }

    fn set(text: &str) -> Raw {
        Raw::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn numbers_and_uids() {
        let view = view([3, 5, 8, 9]);
        assert_eq!(view.sequences(&set("1,3:4")), Some(vec![0..1, 2..4]));
        assert_eq!(view.sequences(&set("*:4,1:2")), Some(vec![0..2, 3..4]));
        assert_eq!(view.sequences(&set("4:5")), None);
        assert_eq!(view.uids(&set("4:7,9")), [1..2, 3..4]);
        assert_eq!(view.uids(&set("3,100:*")), [0..1, 3..4]);
        assert_eq!(view.uids_at(&[0..1, 2..4]), [3, 8, 9]);
        let empty = View::default();
        assert_eq!(empty.sequences(&set("1:*")), Some(vec![]));
        assert_eq!(empty.sequences(&set("1")), None);
        assert_eq!(empty.uids(&set("1:*")), []);
    }

    #[test]
    fn what_is_gone_keeps_its_number_until_told() {
        let mut view = view([1, 2, 3]);
        let gone = Changes { expunged: vec![2], added: vec![message(4, 0)], ..Changes::default() };
        let news = view.apply(&gone, false, |_, _| false);
        assert_eq!(news, [News::Exists(4), News::Recent(2)]);
        assert_eq!(view.uids_at(&view.sequences(&set("2:3")).unwrap()), [3]);
        let news = view.apply(&Changes::default(), true, |_, _| false);
        assert_eq!(news, [News::Expunge(2), News::Recent(1)]);
    }

    /// What can happen to a mailbox.
    #[derive(Clone, Debug)]
    enum Deed {
        Add,
        Flag(usize, u8),
        Remove(usize),
        /// The session asks for what is new; it may hear of what is gone, or not.
        Look(bool),
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let deed = prop_oneof![
            3 => Just(Deed::Add),
            2 => (0usize..9, 0u8..32).prop_map(|(at, flags)| Deed::Flag(at, flags)),
            2 => (0usize..9).prop_map(Deed::Remove),
            3 => any::<bool>().prop_map(Deed::Look),
        ];
        prop::collection::vec(deed, 0..60)
    }

    proptest! {
        /// A client that believes what it is told is never wrong about which number is which
        /// message, and in the end knows all.
        #[test]
        fn the_client_is_never_wrong(deeds in deeds()) {
            let mut mailbox: Vec<Message> = Vec::new();
            let mut next = 1;
            let mut changes = Changes::default();
            let mut view = View::default();
            let mut client: Vec<Message> = Vec::new();
            for deed in deeds.into_iter().chain([Deed::Look(true)]) {
                match deed {
                    Deed::Add => {
                        mailbox.push(message(next, 0));
                        changes.added.push(message(next, 0));
                        next += 1;
                    }
                    Deed::Flag(at, flags) if at < mailbox.len() => {
                        mailbox[at].flags.system = flags;
                        let uid = mailbox[at].uid;
                        if let Some(new) = changes.added.iter_mut().find(|m| m.uid == uid) {
                            *new = mailbox[at];
                        } else {
                            changes.changed.retain(|m| m.uid != uid);
                            changes.changed.push(mailbox[at]);
                            changes.changed.sort_by_key(|m| m.uid);
                        }
                    }
                    Deed::Remove(at) if at < mailbox.len() => {
                        let uid = mailbox.remove(at).uid;
                        changes.added.retain(|m| m.uid != uid);
                        changes.changed.retain(|m| m.uid != uid);
                        changes.expunged.push(uid);
                        changes.expunged.sort_unstable();
                    }
                    Deed::Look(expunge) => {
                        changes.now = ModSeq(changes.now.0 + 1);
                        let all = core::mem::take(&mut changes);
                        for news in view.apply(&all, expunge, |_, _| false) {
                            match news {
                                News::Flags { seq, message } => {
                                    let known = &mut client[seq as usize - 1];
                                    prop_assert_eq!(known.uid, message.uid);
                                    *known = message;
                                }
                                News::Expunge(seq) => {
                                    prop_assert!(expunge);
                                    client.remove(seq as usize - 1);
                                }
                                News::Exists(count) => {
                                    prop_assert!(count as usize > client.len());
                                    for place in client.len()..count as usize {
                                        client.push(view.message(place).unwrap());
                                    }
                                }
                                News::Recent(count) => {
                                    let recent = client.iter().filter(|m| m.recent).count();
                                    prop_assert_eq!(count as usize, recent);
                                }
                            }
                        }
                        prop_assert_eq!(view.len() as usize, client.len());
                        let seen: Vec<_> = (0..client.len()).filter_map(|n| view.message(n)).collect();
                        prop_assert_eq!(&seen, &client);
                        if expunge {
                            prop_assert_eq!(&client, &mailbox);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}
