//! What is left when the power fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::state::{Body, Change, Ino, Inode, ROOT, State};
use super::{Disk, Failure};
use crate::choices::Choices;
use crate::faults::Lie;

/// What the disk had written of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// All of it.
    All,
    /// All names, no content.
    Names,
    /// All content, no names.
    Data,
    /// Some of it, by choice: the beginning of the journal of names, for all directories or for each
    /// of them; files that end at any byte, or have a hole of zeros where they were written last.
    Half,
}

impl Survival {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::All, Self::Names, Self::Data, Self::Half];
}

impl fmt::Display for Survival {
    /// As a script has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::All => "all",
            Self::Names => "names",
            Self::Data => "data",
            Self::Half => "half",
        })
    }
}

impl FromStr for Survival {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|rule| rule.to_string() == text);
        found.ok_or_else(|| format!("no rule of what survives: {text}"))
    }
}

impl Disk {
    /// Turns the power off, if it has not failed yet, and on again: what is durable, and by this rule
    /// more, is all there is. Files that were open are of no use any more.
    pub fn crash(&self, rule: Survival, choices: &Choices) {
        let mut state = self.state();
        state.keep_names(rule, choices);
        state.keep_content(rule, choices);
        state.count_links();
        if state.lie == Some(Lie::UidsForgotten) {
            state.forget_uids();
        }
        state.boot += 1;
        state.left = None;
        state.put_off = None;
        state.failures.remove(&Failure::Any);
    }
}

impl State {
    fn keep_names(&mut self, rule: Survival, choices: &Choices) {
        let journal = std::mem::take(&mut self.journal);
        let gone = std::mem::take(&mut self.gone);
        match rule {
            Survival::Nothing | Survival::Data => {}
            Survival::All | Survival::Names => {
                journal.iter().for_each(|change| self.write_names(change));
            }
            Survival::Half => self.keep_some_names(&journal, choices),
        }
        for ((dir, name), ino) in gone {
            if let Body::Dir { durable, .. } = &mut self.inode_mut(dir).body {
                durable.insert(name, ino);
            }
        }
        for inode in self.inodes.iter_mut().flatten() {
            let inode = Arc::make_mut(inode);
            if let Body::Dir { seen, durable } = &mut inode.body {
                seen.clone_from(durable);
            }
        }
    }

    /// A journal for all directories, or one for each of them: in both what is kept is a beginning.
    fn keep_some_names(&mut self, journal: &[Change], choices: &Choices) {
        let cut = |length: usize| usize::try_from(choices.below(length as u64 + 1)).unwrap_or(0);
        if choices.percent(50) {
            journal[..cut(journal.len())].iter().for_each(|change| self.write_names(change));
            return;
        }
        // The directory where something appears has the change in its journal.
        let whose = |change: &Change| change.names.last().map_or(ROOT, |(dir, ..)| *dir);
        let mut lengths: BTreeMap<Ino, usize> = BTreeMap::new();
        for change in journal {
            *lengths.entry(whose(change)).or_default() += 1;
        }
        let mut kept: BTreeMap<Ino, usize> =
            lengths.into_iter().map(|(dir, length)| (dir, cut(length))).collect();
        for change in journal {
            match kept.get_mut(&whose(change)) {
                Some(0) | None => {}
                Some(left) => {
                    *left -= 1;
                    self.write_names(change);
                }
            }
        }
    }

    fn keep_content(&mut self, rule: Survival, choices: &Choices) {
        for inode in self.inodes.iter_mut().flatten() {
            let inode = Arc::make_mut(inode);
            let all = match rule {
                Survival::All | Survival::Data => true,
                Survival::Nothing | Survival::Names => false,
                Survival::Half => choices.percent(50),
            };
            match all {
                true => inode.durable = inode.meta,
                false => inode.meta = inode.durable,
            }
            let Body::File { content, synced, lost } = &mut inode.body else { continue };
            let unsynced = content.len() - *synced;
            match rule {
                Survival::All | Survival::Data => {}
                Survival::Nothing | Survival::Names => content.truncate(*synced),
                Survival::Half if unsynced == 0 => {}
                Survival::Half => {
                    let kept = usize::try_from(choices.below(unsynced as u64 + 1)).unwrap_or(0);
                    content.truncate(*synced + kept);
                    if choices.percent(30) {
                        let hole = usize::try_from(choices.below(kept as u64 + 1)).unwrap_or(0);
                        content[*synced..*synced + hole].fill(0);
                    }
                }
            }
            for lost in lost.drain(..) {
                let end = lost.end.min(content.len());
                content[lost.start.min(end)..end].fill(0);
            }
            *synced = content.len();
        }
    }

    /// Lists of uids are as if no uid had ever been given.
    fn forget_uids(&mut self) {
        const LIST: &[u8] = b"dovecot-uidlist";
        let list = |inode: &Arc<Inode>| match &inode.body {
            Body::Dir { seen, .. } => seen.get(LIST).copied(),
            Body::File { .. } => None,
        };
        let lists: Vec<Ino> = self.inodes.iter().flatten().filter_map(list).collect();
        for ino in lists {
            if let Body::File { content, synced, .. } = &mut self.inode_mut(ino).body {
                let text = String::from_utf8_lossy(content);
                let first = text.lines().next().unwrap_or_default();
                let words =
                    first.split(' ').map(|word| if word.starts_with('N') { "N1" } else { word });
                let empty = words.collect::<Vec<_>>().join(" ") + "\n";
                *content = empty.into_bytes();
                *synced = content.len();
            }
        }
    }

    /// What no name leads to is free.
    fn count_links(&mut self) {
        let mut links: BTreeMap<Ino, u32> = BTreeMap::from([(ROOT, 1)]);
        let mut open = vec![ROOT];
        let mut entered = BTreeSet::from([ROOT]);
        while let Some(dir) = open.pop() {
            let Some(Body::Dir { seen, .. }) = self.inodes[dir].as_ref().map(|it| &it.body) else {
                continue;
            };
            for &ino in seen.values() {
                *links.entry(ino).or_default() += 1;
                if entered.insert(ino) {
                    open.push(ino);
                }
            }
        }
        self.free.clear();
        for ino in (ROOT..self.inodes.len()).rev() {
            match links.get(&ino) {
                Some(&links) => self.inode_mut(ino).links = links,
                None => {
                    self.inodes[ino] = None;
                    self.free.push(ino);
                }
            }
        }
    }
}
