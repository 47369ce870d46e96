//! The tree of mailboxes and the subscriptions: what was answered is so, also after a crash.
//!
//! Who asks for a change does not always learn what came of it, and others may change the same at the
//! same time. So of a name something is known only where the last change that may concern it was answered
//! with OK, and none is under way.

use std::collections::BTreeSet;

use super::{Law, Ledger};

/// The mailbox that is always there.
const INBOX: &str = "INBOX";
/// So many names are followed at most.
const NAMES: usize = 500;

/// What an owner does to his mailboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// CREATE
    Create(String),
    /// DELETE
    Delete(String),
    /// RENAME, with all that is below.
    Rename(String, String),
    /// SUBSCRIBE
    Subscribe(String),
    /// UNSUBSCRIBE
    Unsubscribe(String),
}

impl Change {
    /// True when a mailbox may come to this name, or go from it.
    fn concerns(&self, name: &str) -> bool {
        match self {
            Self::Create(it) | Self::Delete(it) => it == name,
            Self::Rename(from, to) => {
                [from, to].into_iter().any(|it| it == name || below(name, it).is_some())
            }
            Self::Subscribe(_) | Self::Unsubscribe(_) => false,
        }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        let (first, second) = match self {
            Self::Create(it) | Self::Delete(it) => (Some(it), None),
            Self::Rename(from, to) => (Some(from), Some(to)),
            Self::Subscribe(_) | Self::Unsubscribe(_) => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// The name after a RENAME of what has this one.
    fn renamed(&self, name: &str) -> Option<String> {
        match self {
            Self::Rename(from, to) if from == name => Some(to.clone()),
            Self::Rename(from, to) => below(name, from).map(|rest| format!("{to}.{rest}")),
            _ => None,
        }
    }
}

/// What stands behind `above` and a separator.
fn below<'a>(name: &'a str, above: &str) -> Option<&'a str> {
    name.strip_prefix(above)?.strip_prefix('.')
}

/// A change that somebody asked for.
#[derive(Debug)]
struct Deed {
    user: String,
    change: Change,
    begun: u64,
    /// When it was answered, or the server died.
    ended: Option<u64>,
    came: Came,
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was answered with OK.
    Done,
    /// Nothing: the mailbox is not there.
    Missing,
    /// Nothing: there is one of that name.
    Exists,
    /// Nothing: that is not done.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl Deed {
    /// It may have happened after this.
    fn may_follow(&self, at: u64) -> bool {
        self.ended.is_none_or(|ended| ended > at)
    }
}

/// A mailbox as it was met: by a name, with a UIDVALIDITY, at some time between two.
#[derive(Debug)]
struct Sighting {
    user: String,
    name: String,
    validity: u32,
    asked: u64,
    told: u64,
}

/// The trees of all users.
#[derive(Debug, Default)]
pub(super) struct Folders {
    deeds: Vec<Deed>,
    sightings: Vec<Sighting>,
}

impl Folders {
    /// What this user asked for, in the order of that.
    fn deeds_of<'a>(&'a self, user: &'a str) -> impl Iterator<Item = (usize, &'a Deed)> {
        let counts = move |(_, deed): &(usize, &Deed)| {
            deed.user == user && matches!(deed.came, Came::Done | Came::Unknown)
        };
        self.deeds.iter().enumerate().filter(counts)
    }

    /// The last change that decides something between two times, but for one; `Err` when that is not
    /// known, `Ok(None)` when there is none.
    fn last(
        &self,
        user: &str,
        (from, to): (u64, u64),
        but: Option<usize>,
        concerns: impl Fn(&Change) -> bool,
    ) -> Result<Option<usize>, ()> {
        let (mut last, mut latest, mut clear) = (None, 0, true);
        for (number, deed) in self.deeds_of(user) {
            if Some(number) == but || deed.begun > to || !concerns(&deed.change) {
                continue;
            }
            let ended = deed.ended.filter(|ended| *ended < from).ok_or(())?;
            // Of two at the same time nobody knows which came first.
            clear = deed.came == Came::Done && deed.begun > latest;
            latest = latest.max(ended);
            last = Some(number);
        }
        if clear { Ok(last) } else { Err(()) }
    }

    /// Whether there was a mailbox of this name between two times, if that is known.
    fn is_there(
        &self,
        user: &str,
        name: &str,
        time: (u64, u64),
        but: Option<usize>,
    ) -> Option<bool> {
        if name == INBOX {
            return Some(true);
        }
        let Some(number) = self.last(user, time, but, |change| change.concerns(name)).ok()? else {
            return Some(false);
        };
        let deed = &self.deeds[number];
        match &deed.change {
            Change::Create(_) => Some(true),
            Change::Delete(_) => Some(false),
            Change::Rename(from, to) => {
                let from_here = name == from || below(name, from).is_some();
                let rest = if name == to { Some("") } else { below(name, to) };
                match (from_here, rest) {
                    (true, None) => Some(false),
                    (false, Some(rest)) => {
                        let dot = if rest.is_empty() { "" } else { "." };
                        let before = format!("{from}{dot}{rest}");
                        let time = (deed.begun, deed.ended.unwrap_or(deed.begun));
                        self.is_there(user, &before, time, Some(number)).filter(|was| *was)
                    }
                    _ => None,
                }
            }
            Change::Subscribe(_) | Change::Unsubscribe(_) => None,
        }
    }

    fn is_subscribed(&self, user: &str, name: &str, time: (u64, u64)) -> Option<bool> {
        let concerns = |change: &Change| match change {
            Change::Subscribe(it) | Change::Unsubscribe(it) => it == name,
            _ => false,
        };
        let last = self.last(user, time, None, concerns).ok()?;
        Some(last.is_some_and(|last| matches!(self.deeds[last].change, Change::Subscribe(_))))
    }

    /// The names that a mailbox may have come to after this time; `None` when they are too many.
    fn ways(&self, user: &str, name: &str, since: u64) -> Option<BTreeSet<String>> {
        let mut names = BTreeSet::from([name.to_owned()]);
        let mut before: Vec<&Deed> = Vec::new();
        for (_, deed) in self.deeds_of(user).filter(|(_, deed)| deed.may_follow(since)) {
            if !matches!(deed.change, Change::Rename(..)) {
                continue;
            }
            // Of those that are under way at the same time any may be the first.
            before.retain(|before| before.may_follow(deed.begun));
            before.push(deed);
            for deed in before.iter().rev() {
                let renamed: Vec<_> =
                    names.iter().filter_map(|name| deed.change.renamed(name)).collect();
                names.extend(renamed);
            }
            if names.len() > NAMES {
                return None;
            }
        }
        Some(names)
    }

    /// True when a mailbox of this name may have another one later.
    pub(super) fn leads(&self, user: &str, from: &str, to: &str) -> bool {
        from == to
            || self.has_renames(user)
                && self.ways(user, from, 0).is_none_or(|names| names.contains(to))
    }

    /// True when this user renames anything.
    pub(super) fn has_renames(&self, user: &str) -> bool {
        self.deeds_of(user).any(|(_, deed)| matches!(deed.change, Change::Rename(..)))
    }

    /// True when a mailbox that had this name may be deleted after this time.
    pub(super) fn may_be_deleted(&self, user: &str, name: &str, since: u64) -> bool {
        let is_delete = |deed: &Deed| matches!(deed.change, Change::Delete(_));
        let deletes = || self.deeds_of(user).filter(|(_, deed)| is_delete(deed));
        if name == INBOX || deletes().next().is_none() {
            return false;
        }
        let ways = self.ways(user, name, since);
        deletes().any(|(_, deed)| {
            let is_it = |name| ways.as_ref().is_none_or(|ways| ways.contains(name));
            deed.may_follow(since) && deed.change.names().any(is_it)
        })
    }

    /// The same for the mailbox with this UIDVALIDITY, which was met by this name.
    pub(super) fn may_be_gone(&self, user: &str, name: &str, validity: u32) -> bool {
        let met = self.sightings.iter().filter(|it| it.user == user && it.validity == validity);
        let last = met.max_by_key(|met| met.asked);
        let (name, since) = last.map_or((name, 0), |last| (&last.name, last.asked));
        self.may_be_deleted(user, name, since)
    }

    /// What is wrong with a mailbox that is met: its name was of another one, or it was deleted.
    fn wrong(&self, met: &Sighting) -> Option<String> {
        let Sighting { user, name, validity, .. } = met;
        let is_it = |it: &&Sighting| it.user == *user && it.validity == *validity;
        for before in self.sightings.iter().filter(is_it) {
            if !self.leads(user, &before.name, name) && before.told < met.asked {
                return Some(format!("was {}, which nobody renamed", before.name));
            }
            let deleted = |(number, deed): (usize, &Deed)| {
                deed.came == Came::Done
                    && deed.change == Change::Delete(before.name.clone())
                    && deed.begun > before.told
                    && deed.ended.is_some_and(|ended| {
                        let concerns = |change: &Change| change.concerns(&before.name);
                        let others = self.deeds_of(user).filter(|(other, _)| *other != number);
                        ended < met.asked
                            && !others.into_iter().any(|(_, other)| {
                                concerns(&other.change)
                                    && other.begun < ended
                                    && other.may_follow(before.asked)
                            })
                    })
            };
            if self.deeds_of(user).any(deleted) {
                return Some(format!("was deleted as {}", before.name));
            }
        }
        None
    }

    /// Names that may be there.
    fn names(&self, user: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (_, deed) in self.deeds_of(user) {
            let renamed: Vec<String> =
                names.iter().filter_map(|name: &String| deed.change.renamed(name)).collect();
            names.extend(renamed);
            names.extend(deed.change.names().cloned());
            if names.len() > NAMES {
                break;
            }
        }
        names
    }
}

impl Ledger {
    /// An owner asks for a change; the number is for [`Ledger::changed`].
    pub fn changing(&mut self, user: &str, change: Change) -> usize {
        let begun = self.mailboxes.tick();
        let deed = Deed { user: user.to_owned(), change, begun, ended: None, came: Came::Unknown };
        self.mailboxes.folders.deeds.push(deed);
        self.mailboxes.folders.deeds.len() - 1
    }

    /// The answer. What was refused may have happened all the same, but does not happen later.
    pub fn changed(&mut self, number: usize, came: Came) {
        let now = self.mailboxes.tick();
        let Some(deed) = self.mailboxes.folders.deeds.get_mut(number) else { return };
        (deed.ended, deed.came) = (Some(now), came);
        let (user, change, time) = (deed.user.clone(), deed.change.clone(), (deed.begun, now));
        let known = |name: &str| self.mailboxes.folders.is_there(&user, name, time, Some(number));
        // The mailbox that must be there, and the name that must be free. Of a RENAME those below may be
        // all that is there, or be in the way.
        let (old, new) = match &change {
            Change::Create(name) => (None, known(name)),
            Change::Delete(name) | Change::Subscribe(name) => (known(name), None),
            Change::Rename(from, to) => {
                (known(from).filter(|there| *there), known(to).filter(|there| *there))
            }
            Change::Unsubscribe(_) => (None, None),
        };
        let is_inbox = |name: &String| name == INBOX;
        let wrong = match came {
            Came::Done => {
                let goes = matches!(change, Change::Delete(_) | Change::Rename(..));
                old == Some(false) || new == Some(true) || goes && change.names().any(is_inbox)
            }
            Came::Missing => old == Some(true),
            Came::Exists => new == Some(false),
            Came::Refused => !change.names().any(is_inbox),
            Came::Unknown => false,
        };
        if wrong {
            self.breach(Law::W13, format!("{change:?} of {user}: {came:?}, which cannot be"));
        }
    }

    /// The server died: what was under way does not happen any more.
    pub(super) fn changes_end(&mut self) {
        let now = self.mailboxes.tick();
        let open = self.mailboxes.folders.deeds.iter_mut().filter(|deed| deed.ended.is_none());
        open.for_each(|deed| deed.ended = Some(now));
    }

    /// Somebody who asked then was told that there is no such mailbox.
    pub fn missed(&mut self, user: &str, name: &str, asked: u64) {
        let time = (asked, self.mailboxes.tick());
        if self.mailboxes.folders.is_there(user, name, time, None) == Some(true) {
            self.breach(Law::W13, format!("{name} of {user} is there, and is not found"));
        }
    }

    /// Somebody who asked then was told a mailbox's UIDVALIDITY.
    pub(super) fn met(&mut self, (user, name): (&str, &str), validity: u32, asked: u64) {
        let told = self.mailboxes.tick();
        let folders = &self.mailboxes.folders;
        let met = Sighting { user: user.to_owned(), name: name.to_owned(), validity, asked, told };
        let missing = folders.is_there(user, name, (asked, told), None) == Some(false);
        let wrong = folders.wrong(&met);
        if missing {
            self.breach(Law::W13, format!("{name} of {user} is found, and is not there"));
        }
        if let Some(wrong) = wrong {
            let what = format!("{name} of {user} with UIDVALIDITY {validity} {wrong}");
            self.breach(Law::W5, what);
        }
        self.mailboxes.folders.sightings.push(met);
    }

    /// Somebody who asked then got this from LIST, or from LSUB.
    pub fn listed(&mut self, user: &str, names: &[String], subscribed: bool, asked: u64) {
        let time = (asked, self.mailboxes.tick());
        let folders = &self.mailboxes.folders;
        let mut all = folders.names(user);
        all.extend(folders.deeds_of(user).filter_map(|(_, deed)| match &deed.change {
            Change::Subscribe(name) => Some(name.clone()),
            _ => None,
        }));
        all.extend(names.iter().cloned());
        all.insert(INBOX.to_owned());
        let wrong = |name: &&String| {
            let known = match subscribed {
                true => folders.is_subscribed(user, name, time),
                false => folders.is_there(user, name, time, None),
            };
            known.is_some_and(|known| known != names.contains(name))
        };
        let wrong: Vec<String> = all.iter().filter(wrong).cloned().collect();
        let verb = if subscribed { "LSUB" } else { "LIST" };
        for name in wrong {
            let word = if names.contains(&name) { "has" } else { "lacks" };
            self.breach(Law::W13, format!("{verb} of {user} {word} {name}"));
        }
    }

    /// True when this user gives other names to mailboxes.
    pub fn renames(&self, user: &str) -> bool {
        self.mailboxes.folders.has_renames(user)
    }

    /// True when a mailbox may go away while somebody has it open.
    pub fn is_shaken(&self, user: &str, name: &str) -> bool {
        let changes = |(_, deed): (usize, &Deed)| {
            matches!(deed.change, Change::Delete(_) | Change::Rename(..))
        };
        name != INBOX && self.mailboxes.folders.deeds_of(user).any(changes)
    }
}
