//! A mailbox as it is known: its messages, and what has happened to it.
//!
//! All sessions that have a mailbox open share one of these. Each change takes the next number (modseq);
//! a session asks what has happened since the number it knows. A message costs 24 octets and its base
//! name; the rest of the file's name follows from its flags.

use std::collections::BTreeMap;
use std::sync::Arc;

use waypost_imap::server as imap;
use waypost_machine::{Time, UnixTime};
use waypost_maildir::name::{self, Flags, Info, Letters};
use waypost_maildir::sync::Dir;
use waypost_maildir::{Keywords, UidList};

use crate::fs::Stat;

/// One message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// When it was last changed.
    pub(crate) modseq: u64,
    pub(crate) uid: u32,
    start: u32,
    letters: u32,
    length: u8,
    flags: u8,
    place: u8,
}

/// The file is in `new/`.
const NEW: u8 = 1;
/// The name does not follow from the flags; it stands in `odd`.
const ODD: u8 = 2;

/// When a directory was last read, and what it was then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DirSeen {
    mtime: Option<UnixTime>,
    /// It changed so shortly before it was read that another change may go unnoticed.
    dirty: bool,
    read: Time,
}

/// What tells a file from its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileSeen {
    inode: u64,
    size: u64,
    mtime: UnixTime,
}

impl From<Stat> for FileSeen {
    fn from(stat: Stat) -> Self {
        Self { inode: stat.inode, size: stat.size, mtime: stat.mtime }
    }
}

/// The state of a mailbox.
#[derive(Debug)]
pub(crate) struct State {
    /// It has been read from the disk.
    pub(crate) loaded: bool,
    /// It was deleted, or replaced by another one of its name.
    pub(crate) gone: bool,
    /// Device and inode of the folder.
    pub(crate) folder: Option<(u64, u64)>,
    pub(crate) uid_validity: u32,
    pub(crate) next_uid: u32,
    pub(crate) guid: Option<[u8; 16]>,
    pub(crate) records: Vec<Record>,
    /// How many of them are in `new/`.
    pub(crate) in_new: usize,
    names: Vec<u8>,
    odd: BTreeMap<u32, Box<[u8]>>,
    /// RFC822.SIZE where the name does not tell it.
    pub(crate) sizes: BTreeMap<u32, u64>,
    pub(crate) keywords: Keywords,
    pub(crate) keyword_names: imap::Keywords,
    pub(crate) keywords_seen: Option<FileSeen>,
    keywords_modseq: u64,
    pub(crate) modseq: u64,
    /// Modseq and uid of what is gone, in the order of events.
    expunged: Vec<(u64, u32)>,
    /// Modseq and lowest uid of each lot of new messages.
    added: Vec<(u64, u32)>,
    /// Messages that no session has been told of as recent, ascending.
    pub(crate) recent: Vec<u32>,
    pub(crate) new_seen: DirSeen,
    pub(crate) cur_seen: DirSeen,
    pub(crate) list_seen: Option<FileSeen>,
    /// What each session knows.
    sessions: BTreeMap<u64, u64>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            loaded: false,
            gone: false,
            folder: None,
            uid_validity: 0,
            next_uid: 1,
            guid: None,
            records: Vec::new(),
            in_new: 0,
            names: Vec::new(),
            odd: BTreeMap::new(),
            sizes: BTreeMap::new(),
            keywords: Keywords::default(),
            keyword_names: Arc::from([]),
            keywords_seen: None,
            keywords_modseq: 0,
            modseq: 1,
            expunged: Vec::new(),
            added: Vec::new(),
            recent: Vec::new(),
            new_seen: DirSeen::default(),
            cur_seen: DirSeen::default(),
            list_seen: None,
            sessions: BTreeMap::new(),
        }
    }
}

/// A message as a listing of the disk has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    pub(crate) uid: u32,
    pub(crate) dir: Dir,
    pub(crate) file_name: &'a [u8],
}

impl State {
    /// The place of a uid in `records`.
    pub(crate) fn find(&self, uid: u32) -> Option<usize> {
        self.records.binary_search_by_key(&uid, |record| record.uid).ok()
    }

    /// The base name of a message's file.
    pub(crate) fn base(&self, record: &Record) -> &[u8] {
        &self.names[record.start as usize..][..usize::from(record.length)]
    }

    /// Where a message's file is: `new` or `cur`, and its name.
    pub(crate) fn file(&self, record: &Record) -> (Dir, Vec<u8>) {
        let dir = if record.place & NEW != 0 { Dir::New } else { Dir::Cur };
        let name = match self.odd.get(&record.uid) {
            Some(odd) if record.place & ODD != 0 => odd.to_vec(),
            _ if dir == Dir::New => self.base(record).to_vec(),
            _ => name::with_info(self.base(record), record.info()),
        };
        (dir, name)
    }

    /// Notes what a message's file is called now. Returns whether that changes its flags.
    pub(crate) fn set_file(&mut self, at: usize, dir: Dir, file_name: &[u8]) -> bool {
        let record = self.records[at];
        let info = name::info(file_name);
        let plain = match dir {
            Dir::New => file_name == self.base(&record),
            Dir::Cur => file_name == name::with_info(self.base(&record), info),
        };
        if record.place & ODD != 0 {
            self.odd.remove(&record.uid);
        }
        if !plain {
            self.odd.insert(record.uid, file_name.into());
        }
        self.in_new -= usize::from(record.is_new());
        self.in_new += usize::from(dir == Dir::New);
        let changed = record.info() != info;
        let record = &mut self.records[at];
        record.place = if dir == Dir::New { NEW } else { 0 } | if plain { 0 } else { ODD };
        record.flags = info.flags.bits();
        record.letters = info.letters.bits();
        changed
    }

    /// The number for a change that is being made.
    pub(crate) fn next_modseq(&mut self) -> u64 {
        self.modseq += 1;
        self.modseq
    }

    /// Notes that a message has other flags.
    pub(crate) fn touch(&mut self, at: usize, modseq: u64) {
        self.records[at].modseq = modseq;
    }

    /// Takes in what a listing of both directories has found, by uid. `fresh` is the first uid that was
    /// given out for this listing.
    pub(crate) fn take_all<'a>(&mut self, found: impl Iterator<Item = Found<'a>>, fresh: u32) {
        let known = std::mem::take(&mut self.records);
        let mut old = known.into_iter().peekable();
        let modseq = self.modseq + 1;
        let mut changed = false;
        for found in found {
            while let Some(gone) = old.next_if(|record| record.uid < found.uid) {
                self.forget(&gone, modseq);
                changed = true;
            }
            if let Some(record) = old.next_if(|record| record.uid == found.uid) {
                self.records.push(record);
                let at = self.records.len() - 1;
                if self.set_file(at, found.dir, found.file_name) {
                    self.touch(at, modseq);
                    changed = true;
                }
            } else {
                self.push(&found, modseq, found.uid >= fresh);
                changed = true;
            }
        }
        for gone in old {
            self.forget(&gone, modseq);
            changed = true;
        }
        self.forget_recent();
        if changed {
            self.modseq = modseq;
        }
        self.name_keywords(modseq);
        self.pack();
    }

    /// Adds messages with new uids, by uid.
    pub(crate) fn add<'a>(&mut self, found: impl Iterator<Item = Found<'a>>) {
        let modseq = self.modseq + 1;
        for found in found {
            self.push(&found, modseq, true);
            self.modseq = modseq;
        }
        self.name_keywords(modseq);
    }

    fn push(&mut self, found: &Found<'_>, modseq: u64, fresh: bool) {
        let base = name::base(found.file_name);
        let (Ok(start), Ok(length)) = (u32::try_from(self.names.len()), u8::try_from(base.len()))
        else {
            // A file system has no such names, and a mailbox not 4 GiB of them.
            return;
        };
        self.names.extend_from_slice(base);
        let uid = found.uid;
        self.records.push(Record { modseq, uid, start, letters: 0, length, flags: 0, place: 0 });
        self.set_file(self.records.len() - 1, found.dir, found.file_name);
        if self.loaded && self.added.last().is_none_or(|last| last.0 != modseq) {
            self.added.push((modseq, uid));
        }
        if fresh || found.dir == Dir::New {
            self.recent.push(uid);
        }
        self.next_uid = self.next_uid.max(uid.saturating_add(1));
    }

    /// Removes messages, given by their places in `records`, ascending.
    pub(crate) fn remove(&mut self, places: &[usize]) {
        if places.is_empty() {
            return;
        }
        let modseq = self.next_modseq();
        for &at in places {
            let record = self.records[at];
            self.forget(&record, modseq);
        }
        let mut places = places.iter().peekable();
        let mut at = 0;
        self.records.retain(|_| {
            let gone = places.next_if(|place| **place == at).is_some();
            at += 1;
            !gone
        });
        self.forget_recent();
        self.pack();
    }

    fn forget(&mut self, record: &Record, modseq: u64) {
        self.in_new -= usize::from(record.is_new());
        self.odd.remove(&record.uid);
        self.sizes.remove(&record.uid);
        if !self.sessions.is_empty() {
            self.expunged.push((modseq, record.uid));
        }
    }

    /// What is gone is not recent any more: once for all that went.
    fn forget_recent(&mut self) {
        let Self { recent, records, .. } = self;
        recent.retain(|uid| records.binary_search_by_key(uid, |record| record.uid).is_ok());
    }

    /// Gives back the room of names that are no more, once it is more than half.
    fn pack(&mut self) {
        let used: usize = self.records.iter().map(|record| usize::from(record.length)).sum();
        if self.names.len() <= used * 2 + 4096 {
            return;
        }
        let mut names = Vec::with_capacity(used);
        for record in &mut self.records {
            let start = record.start as usize;
            // Shorter than the old one, whose places fitted.
            record.start = u32::try_from(names.len()).unwrap_or(u32::MAX);
            names.extend_from_slice(&self.names[start..start + usize::from(record.length)]);
        }
        self.names = names;
    }

    /// Takes the keywords as they stand in the file now.
    pub(crate) fn set_keywords(&mut self, keywords: Keywords) {
        self.keywords = keywords;
        let modseq = self.modseq + 1;
        self.publish_keywords(modseq);
    }

    /// Letters in file names that the keyword file does not know get a name.
    fn name_keywords(&mut self, modseq: u64) {
        let used = self.records.iter().fold(0, |used, record| used | record.letters);
        if self.keywords.name_all(Letters::from_bits(used)) {
            self.publish_keywords(modseq);
        }
    }

    fn publish_keywords(&mut self, modseq: u64) {
        let mut names: Vec<Box<str>> = Vec::new();
        for (index, name) in self.keywords.iter() {
            // A letter without a name that no message has.
            while names.len() < usize::from(index) {
                names.push(format!("unknown-{}", names.len()).into());
            }
            names.push(name.into());
        }
        if *names != *self.keyword_names {
            self.keyword_names = names.into();
            self.keywords_modseq = modseq;
            self.modseq = modseq;
        }
    }

    /// Begins to keep the history for a session, which knows the present.
    pub(crate) fn attach(&mut self, session: u64) {
        self.sessions.insert(session, self.modseq);
    }

    /// Ends it.
    pub(crate) fn detach(&mut self, session: u64) {
        self.sessions.remove(&session);
        self.prune();
    }

    fn prune(&mut self) {
        let oldest = self.sessions.values().min().copied().unwrap_or(u64::MAX);
        self.expunged.retain(|(modseq, _)| *modseq > oldest);
        self.added.retain(|(modseq, _)| *modseq > oldest);
    }

    /// What has changed since `since`, for a session. `claim`: new messages are then no longer recent for
    /// any other session.
    pub(crate) fn changes(&mut self, session: u64, since: u64, claim: bool) -> imap::Changes {
        let now = imap::ModSeq(self.modseq);
        if let Some(known) = self.sessions.get_mut(&session) {
            *known = (*known).max(since);
        }
        if since >= self.modseq {
            return imap::Changes { now, uid_next: self.next_uid, ..imap::Changes::default() };
        }
        let first_new =
            self.added.iter().find(|(modseq, _)| *modseq > since).map_or(u32::MAX, |(_, uid)| *uid);
        let later =
            self.expunged.iter().filter(|(modseq, uid)| *modseq > since && *uid < first_new);
        let mut expunged: Vec<u32> = later.map(|(_, uid)| *uid).collect();
        expunged.sort_unstable();
        let split = self.records.partition_point(|record| record.uid < first_new);
        let (old, new) = self.records.split_at(split);
        let changes = imap::Changes {
            now,
            expunged,
            added: new.iter().map(|record| self.message(record)).collect(),
            changed: old
                .iter()
                .filter(|record| record.modseq > since)
                .map(|record| self.message(record))
                .collect(),
            keywords: (self.keywords_modseq > since).then(|| self.keyword_names.clone()),
            uid_next: self.next_uid,
        };
        if claim {
            self.recent.retain(|uid| *uid < first_new);
        }
        self.prune();
        changes
    }

    /// All messages, for a session that opens the mailbox.
    pub(crate) fn messages(&mut self, claim: bool) -> Vec<imap::Message> {
        let messages = self.records.iter().map(|record| self.message(record)).collect();
        if claim {
            self.recent.clear();
        }
        messages
    }

    fn message(&self, record: &Record) -> imap::Message {
        imap::Message {
            uid: record.uid,
            flags: to_imap(record.info()),
            recent: self.recent.binary_search(&record.uid).is_ok(),
        }
    }

    /// The uid list without its records: what gets a uid now is added to it.
    pub(crate) fn end_of_list(&self) -> UidList {
        let mut list = UidList::new(self.uid_validity, self.guid.unwrap_or_default());
        list.reserve_below(self.next_uid);
        list
    }

    /// The uid list that this state stands for: when the file is lost or broken, it is made anew from
    /// what is known, and uids keep their meaning.
    pub(crate) fn to_list(&self, guid: [u8; 16]) -> UidList {
        let mut list = UidList::new(self.uid_validity, self.guid.unwrap_or(guid));
        for record in &self.records {
            list.add_with_uid(record.uid, b"", self.base(record));
        }
        list.reserve_below(self.next_uid);
        list
    }
}

impl Record {
    pub(crate) fn info(&self) -> Info {
        Info { flags: Flags::from_bits(self.flags), letters: Letters::from_bits(self.letters) }
    }

    pub(crate) fn has(&self, flag: Flags) -> bool {
        Flags::from_bits(self.flags).has(flag)
    }

    pub(crate) fn is_new(&self) -> bool {
        self.place & NEW != 0
    }
}

/// Maildir's flag and IMAP's.
const FLAGS: [(Flags, u8); 5] = [
    (Flags::ANSWERED, imap::Flags::ANSWERED),
    (Flags::FLAGGED, imap::Flags::FLAGGED),
    (Flags::DELETED, imap::Flags::DELETED),
    (Flags::SEEN, imap::Flags::SEEN),
    (Flags::DRAFT, imap::Flags::DRAFT),
];

/// Flags as the IMAP server has them.
pub(crate) fn to_imap(info: Info) -> imap::Flags {
    let bits = FLAGS.iter().filter(|(flag, _)| info.flags.has(*flag)).map(|(_, bit)| bit);
    imap::Flags { system: bits.sum(), keywords: info.letters.bits() }
}

/// System flags as Maildir has them.
pub(crate) fn from_imap(system: u8) -> Flags {
    let set = FLAGS.iter().filter(|(_, bit)| system & bit != 0);
    set.fold(Flags::NONE, |all, (flag, _)| all.with(*flag))
}

/// Until a directory's time of change is this far in the past, another change may leave it as it is: some
/// file systems count in whole seconds, others in ticks of some milliseconds.
const SETTLED_NANOS: i128 = 1_000_000_000;

impl DirSeen {
    /// Whether the directory has to be read. While it is dirty, it is read again as often as its `size`
    /// allows: at once up to 500 messages, each 2 s for a million.
    pub(crate) fn must_read(&self, stat: &Stat, mono: Time, size: usize) -> bool {
        let pause = size as u128 / 500;
        self.mtime != Some(stat.mtime) || self.dirty && mono.since(self.read).as_millis() >= pause
    }

    /// Notes that the directory was read at `now`, after `stat` was taken.
    pub(crate) fn note(&mut self, stat: &Stat, now: waypost_machine::Now) {
        self.mtime = Some(stat.mtime);
        self.dirty = nanos(now.wall) < nanos(stat.mtime) + SETTLED_NANOS;
        self.read = now.mono;
    }

    /// Notes that we have changed the directory ourselves.
    pub(crate) fn changed_by_us(&mut self, stat: &Stat) {
        self.mtime = Some(stat.mtime);
        self.dirty = true;
    }

    /// Has the directory read again also when it does not change, as often as its size allows.
    pub(crate) fn read_again(&mut self) {
        self.dirty = true;
    }

    /// Makes the next look at it a full one.
    pub(crate) fn forget(&mut self) {
        self.mtime = None;
    }
}

fn nanos(time: UnixTime) -> i128 {
    i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos)
}
