//! Looking at the disk: what has become of a mailbox since it was last looked at.
//!
//! If neither `new/` nor `cur/` has changed, three stat calls are all. If only `new/` has, only `new/` is
//! read. Otherwise both are, and matched with the uid list. New messages get their uids, and these are
//! written and synced, before anybody is told of them. For a session that may write, files then move from
//! `new/` to `cur/`. All of it under Dovecot's lock.

use std::path::Path;

use waypost_maildir::sync::{Dir, Listing, Plan, plan};
use waypost_maildir::{Keywords, UidList, keywords, name, uidlist};

use super::Store;
use super::error::{Error, Tried, is_absent};
use super::home::inside;
use super::mailbox::Mailbox;
use super::state::{Found, State};
use crate::fs::{Kind, Stat, read_to_end};

/// Longest `dovecot-keywords` file that is read, in bytes.
const KEYWORDS_LIMIT: u64 = 64 * 1024;

/// The file of keywords.
const KEYWORDS: &str = "dovecot-keywords";

impl Store {
    /// Brings the state up to date. `claim`: move new messages to `cur/`. As the user.
    pub(crate) fn look(
        &self,
        mailbox: &Mailbox,
        state: &mut State,
        claim: bool,
    ) -> Result<(), Error> {
        if state.gone {
            return Err(Error::Gone);
        }
        self.settle_folder(&mailbox.home, &mailbox.dir)?;
        let new = self.stat_sub(mailbox, state, "new")?;
        let cur = self.stat_sub(mailbox, state, "cur")?;
        let mono = self.inner.clock.mono();
        let size = state.records.len();
        let cur_changed = state.cur_seen.must_read(&cur, mono, size);
        let new_changed = state.new_seen.must_read(&new, mono, 0);
        let to_move = claim && state.in_new > 0;
        if state.loaded && !cur_changed && !new_changed && !to_move {
            return Ok(());
        }
        self.check_folder(mailbox, state)?;
        let lock = match self.lock_list(&mailbox.dir) {
            Ok(lock) => Some(lock),
            // A full disk, or a mailbox the user may only read: what has a uid can still be shown.
            Err(Error::NoSpace(_) | Error::Denied(_)) => None,
            Err(error) => return Err(error),
        };
        self.read_keywords(mailbox, state)?;
        if !state.loaded
            || cur_changed
            || !self.look_at_new(mailbox, state, &new, lock.is_some())?
        {
            self.look_at_all(mailbox, state, (&new, &cur), lock.is_some())?;
        }
        if claim && lock.is_some() {
            self.move_to_cur(mailbox, state)?;
        }
        Ok(())
    }

    fn stat_sub(&self, mailbox: &Mailbox, state: &mut State, sub: &str) -> Result<Stat, Error> {
        let path = mailbox.dir.join(sub);
        self.inner.fs.stat(&path).map_err(|error| {
            if is_absent(&error) {
                state.gone = state.loaded;
                return if state.loaded { Error::Gone } else { Error::Absent };
            }
            Error::io("stat", &path, &error)
        })
    }

    /// A folder that was deleted and made again has the same name but is another one.
    fn check_folder(&self, mailbox: &Mailbox, state: &mut State) -> Result<(), Error> {
        let stat = self.inner.fs.stat(&mailbox.dir).tried("stat", &mailbox.dir)?;
        let folder = Some((stat.device, stat.inode));
        if state.folder.is_some() && state.folder != folder {
            state.gone = true;
            return Err(Error::Gone);
        }
        state.folder = folder;
        Ok(())
    }

    /// Only `new/` has changed. False if that leaves a question that needs a look at everything.
    fn look_at_new(
        &self,
        mailbox: &Mailbox,
        state: &mut State,
        stat: &Stat,
        locked: bool,
    ) -> Result<bool, Error> {
        if !locked || !self.is_list_known(&mailbox.dir, state) {
            return Ok(false);
        }
        let mut listing = Listing::default();
        self.list_dir(&mailbox.dir, Dir::New, &mut listing)?;
        if !listing.duplicates().is_empty() || !listing.nameless().is_empty() {
            return Ok(false);
        }
        let mut known = vec![false; listing.len()];
        for record in &state.records {
            match listing.find(state.base(record)) {
                Some(file) if record.is_new() && listing.file(file).1 == state.file(record).1 => {
                    known[file] = true;
                }
                // It was in new/ and is not any more, or it came back, or got flags there.
                None if !record.is_new() => {}
                _ => return Ok(false),
            }
        }
        let mut fresh: Vec<&[u8]> =
            (0..listing.len()).filter(|at| !known[*at]).map(|at| listing.file(at).1).collect();
        fresh.sort_unstable_by(|a, b| name::order(a, b));
        let mut list = state.end_of_list();
        let mut found = Vec::with_capacity(fresh.len());
        for file_name in fresh {
            let Some(uid) = list.add(file_name) else { break };
            found.push(Found { uid, dir: Dir::New, file_name });
        }
        if !found.is_empty() && !self.append_list(&mailbox.dir, state, &list.print_from(0))? {
            return Ok(true);
        }
        state.add(found.into_iter());
        state.new_seen.note(stat, self.inner.clock.now());
        Ok(true)
    }

    fn look_at_all(
        &self,
        mailbox: &Mailbox,
        state: &mut State,
        (new, cur): (&Stat, &Stat),
        locked: bool,
    ) -> Result<(), Error> {
        let now = self.inner.clock.now();
        let read = self.read_list(mailbox, state)?;
        if read.is_none() && !locked && !state.loaded {
            return Err(Error::Denied(format!("make {}", uidlist::FILE)));
        }
        let mut list = match read {
            Some(list) => list,
            None => self.new_list(mailbox, state)?,
        };
        list.reserve_below(state.next_uid);
        if list.guid().is_none() {
            list.set_guid(self.new_guid());
        }

        let mut listing = self.list_both(&mailbox.dir, state.records.len())?;
        let is_gone =
            |state: &State, uid| state.loaded && uid < state.next_uid && state.find(uid).is_none();
        let fresh = list.next_uid();
        let mut planned = plan(&listing, &mut list, |uid| is_gone(state, uid));
        if planned.vanished.iter().any(|uid| state.find(*uid).is_some()) {
            // A file that is renamed while the directory is read can be missed. Only what is missed
            // twice is gone.
            let first = listing;
            listing = self.list_both(&mailbox.dir, first.len())?;
            let first_new = planned.first_new;
            planned = Plan { first_new, ..plan(&listing, &mut list, |uid| is_gone(state, uid)) };
        }
        if locked {
            self.mend(&mailbox.dir, &listing);
        }
        let mut next_uid = list.next_uid();
        let unsure = self.is_list_unsure(&mailbox.dir);
        let written = self.write_list(mailbox, state, &list, &planned, locked)?;
        if !written {
            if unsure && !state.loaded {
                return Err(Error::NoSpace(format!("mend {}", mailbox.dir.display())));
            }
            // Only what is surely in the list has a uid.
            next_uid = if unsure { state.next_uid } else { fresh };
            planned.present.retain(|present| present.uid < next_uid);
        }

        state.uid_validity = list.uid_validity();
        state.guid = list.guid();
        let found = planned.present.iter().map(|present| {
            let (dir, file_name) = listing.file(present.file);
            Found { uid: present.uid, dir, file_name }
        });
        state.take_all(found, fresh);
        state.next_uid = state.next_uid.max(next_uid);
        state.loaded = true;
        state.new_seen.note(new, now);
        state.cur_seen.note(cur, now);
        if !written {
            // What got no uid is looked for again, although no directory changes.
            state.cur_seen.read_again();
        }
        Ok(())
    }

    fn list_both(&self, dir: &Path, size: usize) -> Result<Listing, Error> {
        let mut listing = Listing::with_capacity(size);
        self.list_dir(dir, Dir::New, &mut listing)?;
        self.list_dir(dir, Dir::Cur, &mut listing)?;
        Ok(listing)
    }

    fn list_dir(&self, dir: &Path, sub: Dir, listing: &mut Listing) -> Result<(), Error> {
        let path = dir.join(sub.name());
        let mut each = |name: &[u8], kind| {
            if kind == Kind::File {
                listing.push(sub, name);
            }
        };
        self.inner.fs.list(&path, &mut each).tried("list", &path)
    }

    /// Two different files with one base name, or files without one, get a name of their own and are
    /// found at the next look. What fails stays as it is.
    fn mend(&self, dir: &Path, listing: &Listing) {
        let rename = |sub: Dir, old: &[u8]| {
            let from = inside(dir, sub.name(), old);
            let Ok(stat) = self.inner.fs.stat(&from) else { return };
            let mut fresh = self.base_name(&stat);
            if let (Some(size), Some(virtual_size)) = (name::size(old), name::virtual_size(old)) {
                fresh = name::with_sizes(&fresh, size, virtual_size);
            }
            tracing::warn!(file = %from.display(), new_name = %fresh, "giving a file a name of its own");
            let _ = self.inner.fs.rename(&from, &inside(dir, "new", fresh.as_bytes()));
        };
        for duplicate in listing.duplicates() {
            let stat = |name| self.inner.fs.stat(&inside(dir, duplicate.dir.name(), name));
            if let (Ok(kept), Ok(extra)) = (stat(&duplicate.kept), stat(&duplicate.extra)) {
                // The same file twice is a rename in mid-listing, or a hard link.
                if (kept.device, kept.inode) != (extra.device, extra.inode) {
                    rename(duplicate.dir, &duplicate.extra);
                }
            }
        }
        for (sub, name) in listing.nameless() {
            rename(*sub, name);
        }
    }

    /// Moves new messages to `cur/`. What cannot be moved stays where it is, and is served from there.
    fn move_to_cur(&self, mailbox: &Mailbox, state: &mut State) -> Result<(), Error> {
        let mut moved = false;
        if state.in_new == 0 {
            return Ok(());
        }
        for at in 0..state.records.len() {
            if !state.records[at].is_new() {
                continue;
            }
            let (_, old) = state.file(&state.records[at]);
            let new = name::in_cur(&old);
            let (from, to) = (inside(&mailbox.dir, "new", &old), inside(&mailbox.dir, "cur", &new));
            match self.inner.fs.rename(&from, &to) {
                Ok(()) => {
                    state.set_file(at, Dir::Cur, &new);
                    moved = true;
                }
                Err(error) if is_absent(&error) => state.cur_seen.forget(),
                Err(error) => {
                    tracing::warn!(file = %from.display(), %error, "cannot move to cur");
                    break;
                }
            }
        }
        if moved {
            self.note_own_change(mailbox, state, Dir::New);
            self.note_own_change(mailbox, state, Dir::Cur);
        }
        Ok(())
    }

    /// After a change of ours the directory's new time is no news.
    pub(crate) fn note_own_change(&self, mailbox: &Mailbox, state: &mut State, sub: Dir) {
        let stat = self.inner.fs.stat(&mailbox.dir.join(sub.name()));
        let seen = match sub {
            Dir::New => &mut state.new_seen,
            Dir::Cur => &mut state.cur_seen,
        };
        // The change itself is done: a failure here must not make it look undone.
        match stat {
            Ok(stat) => seen.changed_by_us(&stat),
            Err(_) => seen.forget(),
        }
    }

    /// Reads `dovecot-keywords` if it is not the one that was read last.
    pub(crate) fn read_keywords(&self, mailbox: &Mailbox, state: &mut State) -> Result<(), Error> {
        let path = mailbox.dir.join(KEYWORDS);
        let seen = match self.inner.fs.stat(&path) {
            Ok(stat) => Some(stat.into()),
            Err(error) if is_absent(&error) => None,
            Err(error) => return Err(Error::io("stat", &path, &error)),
        };
        if seen == state.keywords_seen && state.loaded {
            return Ok(());
        }
        let text = match self.inner.fs.open(&path) {
            Ok(file) => read_to_end(&*file, KEYWORDS_LIMIT).tried("read", &path)?,
            Err(error) if is_absent(&error) => Vec::new(),
            Err(error) => return Err(Error::io("open", &path, &error)),
        };
        state.set_keywords(Keywords::parse(&text));
        state.keywords_seen = seen;
        Ok(())
    }

    /// Writes `dovecot-keywords`. Under the lock.
    pub(crate) fn write_keywords(
        &self,
        mailbox: &Mailbox,
        state: &mut State,
        keywords: Keywords,
    ) -> Result<(), Error> {
        debug_assert!(keywords.iter().count() <= keywords::LIMIT);
        let path = mailbox.dir.join(KEYWORDS);
        // The lock of its own that Dovecot keeps for this file.
        self.replace(
            &path,
            &mailbox.dir.join("dovecot-keywords.lock"),
            keywords.to_string().as_bytes(),
        )?;
        state.set_keywords(keywords);
        state.keywords_seen = Some(self.inner.fs.stat(&path).tried("stat", &path)?.into());
        Ok(())
    }

    fn write_list(
        &self,
        mailbox: &Mailbox,
        state: &mut State,
        list: &UidList,
        planned: &Plan,
        locked: bool,
    ) -> Result<bool, Error> {
        let alive = planned.present.len();
        let rewrite = list.is_untidy()
            || self.is_list_unsure(&mailbox.dir)
            || uidlist::worth_rewriting(list.len(), alive);
        if !rewrite && planned.first_new == list.len() {
            return Ok(true);
        }
        if !locked {
            state.list_seen = None;
            return Ok(false);
        }
        if !rewrite {
            return self.append_list(&mailbox.dir, state, &list.print_from(planned.first_new));
        }
        let mut present = planned.present.iter().peekable();
        let text = list.print(|at| {
            let uid = list.entry(at).uid;
            while present.next_if(|present| present.uid < uid).is_some() {}
            present.peek().is_some_and(|present| present.uid == uid)
        });
        self.replace_list(&mailbox.dir, state, &text)
    }
}
