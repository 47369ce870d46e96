//! What mailboxes hold, as their owners saw them and as they are found in the end.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::folders::Folders;
use super::{Law, Ledger};
use crate::message;

/// A message in a mailbox: the name under which it is known for ever. The mailbox may get another name:
/// it is the same as long as it has its UIDVALIDITY, which no other one of the user ever has.
#[derive(Clone, Debug)]
pub struct Place {
    /// Whose mailbox.
    pub user: String,
    /// Its name at that time.
    pub mailbox: String,
    /// UIDVALIDITY
    pub validity: u32,
    /// UID
    pub uid: u32,
}

impl Place {
    fn key(&self) -> (&str, u32, u32) {
        (&self.user, self.validity, self.uid)
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} {}/{}", self.mailbox, self.user, self.validity, self.uid)
    }
}

/// Which message it is: its octets.
pub(super) type Content = std::sync::Arc<[u8]>;

/// Mailboxes.
#[derive(Default)]
pub(super) struct Mailboxes {
    /// Everything that was ever seen in a mailbox.
    pub(super) seen: BTreeMap<Place, Content>,
    /// What is there in the end.
    pub(super) last: BTreeMap<Place, Content>,
    /// Flags in the end.
    flags: BTreeMap<Place, BTreeSet<String>>,
    /// Users whose mailboxes were all read in the end.
    pub(super) read: BTreeSet<String>,
    /// What clients were told to be gone.
    gone: BTreeSet<Place>,
    /// What owners moved, whereto, and when.
    moves: Vec<(Place, String, u64)>,
    /// Files that another program put into an INBOX.
    filed: Vec<(String, Content)>,
    /// What its owner wants to be gone from there.
    pub(super) doomed: BTreeSet<Place>,
    /// Those of them that got \Deleted.
    deleted: BTreeSet<Place>,
    /// What must be there: an owner was told that it is.
    pub(super) promised: BTreeSet<Place>,
    /// Further copies that owners asked for.
    pub(super) copies: Vec<Copying>,
    /// Next uids that were told, and when, by user and UIDVALIDITY.
    next: BTreeMap<(String, u32), Vec<(u64, u32)>>,
    /// Changes of flags.
    changes: BTreeMap<(Place, String), Vec<Change>>,
    /// The tree of mailboxes.
    pub(super) folders: Folders,
    clock: u64,
}

/// COPY or MOVE.
pub(super) struct Copying {
    pub(super) from: Place,
    pub(super) to: String,
    pub(super) content: Content,
}

/// Somebody sets a flag or takes it away.
struct Change {
    set: bool,
    begun: u64,
    /// When the OK came.
    ended: Option<u64>,
}

impl Mailboxes {
    /// True when its owner wants a message to be gone from there: it got \Deleted, or was moved, or
    /// is a copy of one that had \Deleted, which the copy has too; or the mailbox was deleted.
    pub(super) fn may_go(&self, place: &Place) -> bool {
        self.doomed.contains(place)
            || self.is_deleted(place, 0)
            || self.folders.may_be_gone(&place.user, &place.mailbox, place.validity)
    }

    fn is_deleted(&self, place: &Place, depth: usize) -> bool {
        let content = self.seen.get(place);
        let is_it = |copy: &Copying| {
            copy.from.user == place.user
                && self.folders.leads(&place.user, &copy.to, &place.mailbox)
                && content.is_none_or(|content| *content == copy.content)
                && self.is_deleted(&copy.from, depth + 1)
        };
        self.deleted.contains(place) || depth < 8 && self.copies.iter().any(is_it)
    }

    /// The greatest next uid that was told before somebody asked for something.
    fn known_next(&self, user: &str, validity: u32, asked: u64) -> u32 {
        let key = (user.to_owned(), validity);
        let told = self.next.get(&key).into_iter().flatten();
        told.filter(|(at, _)| *at < asked).map(|(_, next)| *next).max().unwrap_or(0)
    }

    pub(super) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Ledger {
    /// Somebody reads a message: W4, W5.
    pub fn read(&mut self, place: &Place, content: &[u8]) {
        self.check_content(place, content);
        let known = self.mailboxes.seen.entry(place.clone()).or_insert_with(|| content.into());
        if **known != *content {
            self.breach(Law::W5, format!("{place} was another message before"));
        }
    }

    /// What is found in the end.
    pub fn read_last(&mut self, place: &Place, content: &[u8], flags: &[String]) {
        self.read(place, content);
        let before = self.mailboxes.last.get_key_value(place).map(|(before, _)| before.clone());
        if let Some(before) = before.filter(|before| before.mailbox != place.mailbox) {
            self.breach(Law::W13, format!("{place} is {before} too"));
        }
        self.mailboxes.last.insert(place.clone(), content.into());
        self.mailboxes.flags.insert(place.clone(), flags.iter().cloned().collect());
    }

    /// All mailboxes of a user were read.
    pub fn read_all(&mut self, user: &str) {
        self.mailboxes.read.insert(user.to_owned());
    }

    fn check_content(&mut self, place: &Place, content: &[u8]) {
        let copy = message::read(content);
        let message = copy.token.and_then(|token| self.messages.get(token as usize));
        let wrong = match message {
            // Only reports of our own have no token.
            None if copy.report.is_none() => Some("a message that nobody sent".to_owned()),
            None => None,
            Some(message) if message.put.is_some() => {
                (*message.data != *content).then(|| "not what was put there".to_owned())
            }
            Some(message) => message::differs(content, &message.data),
        };
        if let Some(wrong) = wrong {
            let token = copy.token.map_or_else(String::new, |token| format!(" (message {token})"));
            self.breach(Law::W4, format!("{place}{token}: {wrong}"));
        }
    }

    /// The owner sets out to remove a message.
    pub fn doom(&mut self, place: Place) {
        self.mailboxes.deleted.insert(place.clone());
        self.mailboxes.doomed.insert(place);
    }

    /// The owner sets out to move a message.
    pub fn moving(&mut self, place: Place, mailbox: &str) {
        let now = self.mailboxes.tick();
        self.mailboxes.moves.push((place.clone(), mailbox.to_owned(), now));
        self.mailboxes.doomed.insert(place);
    }

    /// A client was told that a message is gone.
    pub fn expunged(&mut self, place: Place) {
        self.mailboxes.gone.insert(place);
    }

    /// Another program has put a file into this user's INBOX, durably.
    pub fn filed(&mut self, user: &str, content: &[u8]) {
        self.mailboxes.filed.push((user.to_owned(), content.into()));
    }

    /// The owner asks for a further copy.
    pub fn copying(&mut self, from: Place, to: &str, content: &[u8]) {
        let (to, content) = (to.to_owned(), content.into());
        self.mailboxes.copies.push(Copying { from, to, content });
    }

    /// Somebody asks for something; what is told later to others may come to them before the answer.
    pub fn asking(&mut self) -> u64 {
        self.mailboxes.tick()
    }

    /// The owner was told that a message is there, after he asked for it.
    pub fn promised(&mut self, place: Place, content: &[u8], asked: u64) {
        let Place { user, mailbox, validity, uid } = &place;
        let next = self.mailboxes.known_next(user, *validity, asked);
        if *uid < next {
            let what = format!("{place} is new although {next} was told as the next");
            self.breach(Law::W5, what);
        }
        match self.mailboxes.seen.get(&place) {
            Some(known) if **known != *content => {
                self.breach(Law::W5, format!("{place} was another message before"));
            }
            _ => {
                self.mailboxes.seen.insert(place.clone(), content.into());
            }
        }
        self.met((user, mailbox), *validity, asked);
        self.mailboxes.promised.insert(place);
    }

    /// UIDNEXT was told, to somebody who asked then: W5.
    pub fn uid_next(
        &mut self,
        (user, mailbox): (&str, &str),
        validity: u32,
        next: u32,
        asked: u64,
    ) {
        self.met((user, mailbox), validity, asked);
        let before = self.mailboxes.known_next(user, validity, asked);
        let told = (self.mailboxes.tick(), next);
        let key = (user.to_owned(), validity);
        self.mailboxes.next.entry(key).or_default().push(told);
        if next < before {
            let what = format!("{mailbox} of {user}: next uid {next} after {before}");
            self.breach(Law::W5, what);
        }
    }

    /// Somebody sends a STORE; the number is for [`Ledger::stored`].
    pub fn storing(&mut self, place: &Place, flag: &str, set: bool) -> usize {
        let begun = self.mailboxes.tick();
        let changes = self.mailboxes.changes.entry((place.clone(), flag.to_owned())).or_default();
        changes.push(Change { set, begun, ended: None });
        changes.len() - 1
    }

    /// The STORE was answered with OK.
    pub fn stored(&mut self, place: &Place, flag: &str, number: usize) {
        let now = self.mailboxes.tick();
        let changes = self.mailboxes.changes.get_mut(&(place.clone(), flag.to_owned()));
        if let Some(change) = changes.and_then(|changes| changes.get_mut(number)) {
            change.ended = Some(now);
        }
    }

    /// W5: what is there in the end is what was there, flags included; W1: what was there is there.
    pub(super) fn judge_mailboxes(&mut self) {
        let mailboxes = &self.mailboxes;
        let mut broken = self.judge_copies();
        for user in self.book.users.difference(&mailboxes.read) {
            broken.push((Law::W10, format!("the mailboxes of {user} were not read in the end")));
        }
        for place in mailboxes.gone.iter().filter(|place| !mailboxes.may_go(place)) {
            broken.push((Law::W1, format!("{place} was expunged, and nobody wanted that")));
        }
        for place in mailboxes.last.keys().filter(|place| mailboxes.gone.contains(*place)) {
            broken.push((Law::W5, format!("{place} is back after its EXPUNGE")));
        }
        for (place, mailbox, asked) in &mailboxes.moves {
            let Some(content) = mailboxes.seen.get(place) else { continue };
            let arrived = |(there, it): (&Place, &Content)| {
                // Of two clients that move it, one comes too late.
                let whereto = || mailboxes.moves.iter().filter(|(other, ..)| other == place);
                let leads = |to: &str| mailboxes.folders.leads(&place.user, to, &there.mailbox);
                there.user == place.user
                    && it == content
                    && whereto().any(|(_, mailbox, _)| leads(mailbox))
            };
            if !mailboxes.last.contains_key(place)
                && !mailboxes.last.iter().any(arrived)
                // It arrived, and went on from there. \Deleted comes along, so that another client's
                // EXPUNGE may take it there, as it may where it was.
                && !mailboxes.seen.iter().any(|seen| arrived(seen) && mailboxes.may_go(seen.0))
                && !mailboxes.is_deleted(place, 0)
                // Nor did it have to, where the mailbox was deleted out of which it was to come, or to
                // which.
                && !mailboxes.folders.may_be_gone(&place.user, &place.mailbox, place.validity)
                && !mailboxes.folders.may_be_deleted(&place.user, mailbox, *asked)
            {
                broken.push((Law::W1, format!("{place} did not arrive in {mailbox}")));
            }
        }
        for (place, content) in &mailboxes.seen {
            if mailboxes.last.contains_key(place) || mailboxes.may_go(place) {
                continue;
            }
            let token = message::read(content).token;
            let told = mailboxes.promised.contains(place);
            let why = if told { "that its owner put there" } else { "that its owner has seen" };
            broken.push((Law::W1, format!("{place}, message {token:?} {why}, is gone")));
        }
        for (user, content) in &mailboxes.filed {
            let there = |(place, it): (&Place, &Content)| place.user == *user && it == content;
            let kept = mailboxes.last.iter().any(there);
            let removed =
                |(place, it): (&Place, &Content)| there((place, it)) && mailboxes.may_go(place);
            if !kept && !mailboxes.seen.iter().any(removed) {
                let token = message::read(content).token;
                broken.push((Law::W1, format!("message {token:?}, a file of {user}, is gone")));
            }
        }
        for ((place, flag), changes) in &mailboxes.changes {
            let Some(flags) = mailboxes.flags.get(place) else { continue };
            let has = flags.contains(flag);
            if !may_end(changes, has) {
                let word = if has { "has" } else { "lacks" };
                broken.push((Law::W5, format!("{place} {word} {flag} in the end")));
            }
        }
        for (law, what) in broken {
            self.breach(law, what);
        }
    }
}

impl Ledger {
    /// W2: there are no more copies than somebody asked for. Those that were delivered are judged with
    /// their messages.
    fn judge_copies(&self) -> Vec<(Law, String)> {
        let mailboxes = &self.mailboxes;
        let mut counts: BTreeMap<(&str, &str, &Content), usize> = BTreeMap::new();
        for (place, content) in &mailboxes.last {
            let token = message::read(content).token;
            let message = token.and_then(|token| self.messages.get(token as usize));
            let is_put = message.is_some_and(|message| message.put.is_some());
            // What was put somewhere counts wherever it is now.
            let is_folder = place.mailbox != "INBOX" && mailboxes.folders.has_renames(&place.user);
            let mailbox = match place.mailbox.as_str() {
                _ if is_put => "*",
                // Wherever it was put, it may have another name.
                _ if is_folder => "",
                mailbox => mailbox,
            };
            if mailbox != "INBOX" {
                *counts.entry((&place.user, mailbox, content)).or_insert(0) += 1;
            }
        }
        let mut broken = Vec::new();
        for ((user, mailbox, content), count) in counts {
            let asked = mailboxes.copies.iter().filter(|copy| {
                copy.from.user == user
                    && (mailbox == "*"
                        || copy.to == mailbox
                        || mailbox.is_empty() && copy.to != "INBOX")
                    && copy.content == *content
            });
            let allowed = asked.count() + usize::from(mailbox == "*");
            if count > allowed {
                let token = message::read(content).token;
                let what = format!("{count} copies of message {token:?} in {mailbox:?} of {user}");
                broken.push((Law::W2, format!("{what}, {allowed} may be")));
            }
        }
        broken
    }
}

/// True when a flag may end like this: some change made it so that no later one has surely undone;
/// or it was so from the beginning (not set) and no change is sure.
fn may_end(changes: &[Change], set: bool) -> bool {
    let undone = |begun_after: u64| {
        changes.iter().any(|it| it.set != set && it.ended.is_some() && it.begun > begun_after)
    };
    let made = |it: &Change| it.set == set && !undone(it.ended.unwrap_or(u64::MAX));
    (!set && !undone(0)) || changes.iter().any(made)
}
