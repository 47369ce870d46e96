//! A message from SMTP on its way into mailboxes.
//!
//! For each mailbox: a file in `tmp/`, written as the message comes in, synced, renamed into `new/`, and
//! `new/` synced. Only then is it delivered. Each mailbox gets a file of its own: a hard link between two
//! users' mailboxes would let one of them change the other's mail.

use std::path::PathBuf;

use bytes::Bytes;
use waypost_mail::MailHome;
use waypost_maildir::name;

use super::Store;
use super::error::{Error, Tried, is_absent};
use super::home::{inside, top};
use super::line_ends::LineEnds;
use crate::fs::File;

/// Mailboxes that one message is written to at a time. For more, put it into the spool first.
pub const MAX_MAILBOXES: usize = 32;

/// One mailbox to deliver to.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The mailbox.
    pub home: MailHome,
    /// What stands before the message there: Return-Path, X-Original-To, Delivered-To, Received. Whole
    /// lines, with CRLF or LF.
    pub head: Vec<u8>,
}

/// A message that is being written. Dropped without [`Incoming::commit`], it leaves nothing behind.
pub struct Incoming {
    store: Store,
    slots: Vec<Slot>,
    ends: LineEnds,
    piece: Vec<u8>,
}

enum Slot {
    Open(Tmp),
    Failed(Error),
}

/// A file in `tmp/`, in the end in `new/`.
struct Tmp {
    home: MailHome,
    path: PathBuf,
    /// In `new/`; empty until it is known.
    name: String,
    file: Box<dyn File>,
    /// Octets of the head, on disk and with CRLF.
    head: (u64, u64),
}

impl Store {
    /// Begins a message for these mailboxes. A mailbox that cannot be written fails by itself: it has its
    /// error in the outcome, the others go on.
    pub fn deliver(&self, parcels: Vec<Parcel>) -> Incoming {
        let slots = parcels
            .into_iter()
            .map(|parcel| match self.begin_parcel(parcel) {
                Ok(tmp) => Slot::Open(tmp),
                Err(error) => Slot::Failed(error),
            })
            .collect();
        Incoming { store: self.clone(), slots, ends: LineEnds::default(), piece: Vec::new() }
    }

    fn begin_parcel(&self, parcel: Parcel) -> Result<Tmp, Error> {
        let Parcel { home, head } = parcel;
        self.settle_above(&home)?;
        let (path, mut file) = match self.as_user(&home, || self.begin_tmp(&home))? {
            Err(Error::Absent) => {
                self.make_maildir(&home)?;
                self.as_user(&home, || self.begin_tmp(&home))??
            }
            result => result?,
        };
        let mut lines = Vec::with_capacity(head.len());
        let mut ends = LineEnds::default();
        ends.push(&head, &mut lines);
        let written = self.as_user(&home, || file.write_all(&lines).tried("write", &path))?;
        let tmp =
            Tmp { home, path, name: String::new(), file, head: (ends.size(), ends.virtual_size()) };
        match written {
            Ok(()) => Ok(tmp),
            Err(error) => {
                tmp.remove(self);
                Err(error)
            }
        }
    }

    /// As the user.
    fn begin_tmp(&self, home: &MailHome) -> Result<(PathBuf, Box<dyn File>), Error> {
        if self.first_visit(top(home)) {
            self.clean_tmp(top(home));
        }
        self.settle_folder(home, top(home))?;
        self.create_tmp(top(home))
    }
}

impl Incoming {
    /// Takes the next piece of the message, with CRLF line ends. False when no mailbox is left that can
    /// take it; the pieces still to come may then be spared.
    pub fn append(&mut self, chunks: &[Bytes]) -> bool {
        self.piece.clear();
        for chunk in chunks {
            self.ends.push(chunk, &mut self.piece);
        }
        self.write_piece();
        self.slots.iter().any(|slot| matches!(slot, Slot::Open(_)))
    }

    /// Makes the message durable. The outcome is that of each parcel, in their order: the file's name in
    /// `new/`, or why there is none.
    pub fn commit(mut self) -> Vec<Result<String, Error>> {
        self.piece.clear();
        self.ends.finish(&mut self.piece);
        self.write_piece();
        let sizes = (self.ends.size(), self.ends.virtual_size());
        // Step by step for all mailboxes: where they share a disk, the first sync of a step makes those
        // that follow cheap.
        self.each(|store, tmp| tmp.seal(store, sizes));
        self.each(|store, tmp| tmp.move_to_new(store));
        self.each(|store, tmp| store.sync_dir(&top(&tmp.home).join("new")));
        let slots = std::mem::take(&mut self.slots);
        let outcome = |slot| match slot {
            Slot::Failed(error) => Err(error),
            Slot::Open(tmp) => {
                self.store.delivered(top(&tmp.home));
                Ok(tmp.name)
            }
        };
        slots.into_iter().map(outcome).collect()
    }

    /// Gives the message up.
    pub fn abort(self) {}

    fn write_piece(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        if !piece.is_empty() {
            self.each(|_, tmp| tmp.file.write_all(&piece).tried("write", &tmp.path));
        }
        self.piece = piece;
    }

    /// Does the same for each mailbox, as its user. One that fails leaves nothing there.
    fn each(&mut self, work: impl Fn(&Store, &mut Tmp) -> Result<(), Error>) {
        for slot in &mut self.slots {
            let Slot::Open(tmp) = slot else { continue };
            let MailHome { uid, gid, .. } = tmp.home;
            let done = self.store.inner.identity.as_user(uid, gid, || work(&self.store, tmp));
            if let Err(error) = done.map_err(Error::from).and_then(|result| result) {
                tmp.remove(&self.store);
                *slot = Slot::Failed(error);
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        for slot in &self.slots {
            if let Slot::Open(tmp) = slot {
                tmp.remove(&self.store);
            }
        }
    }
}

impl Tmp {
    /// Makes the content durable, and finds the name that the file will have.
    fn seal(&mut self, store: &Store, (size, virtual_size): (u64, u64)) -> Result<(), Error> {
        self.file.sync().tried("sync", &self.path)?;
        let stat = self.file.stat().tried("stat", &self.path)?;
        let (size, virtual_size) = (self.head.0 + size, self.head.1 + virtual_size);
        self.name = name::with_sizes(&store.base_name(&stat), size, virtual_size);
        Ok(())
    }

    fn move_to_new(&mut self, store: &Store) -> Result<(), Error> {
        let path = inside(top(&self.home), "new", self.name.as_bytes());
        let mut renamed = store.inner.fs.rename(&self.path, &path);
        if renamed.as_ref().is_err_and(is_absent) {
            // A crash while the Maildir was made may have left `tmp/` and not `new/`.
            store.make_subdirs(top(&self.home))?;
            renamed = store.inner.fs.rename(&self.path, &path);
        }
        renamed.tried("rename", &path)?;
        // Should a later step fail, this is what has to go: it may or may not survive a crash, and the
        // sender is told to try again.
        self.path = path;
        Ok(())
    }

    fn remove(&self, store: &Store) {
        // An error leaves a file in tmp/, where nobody looks but the cleaner; or a second copy when
        // the sender tries again.
        let _ = store.as_user(&self.home, || {
            let removed = store.inner.fs.unlink(&self.path);
            let new = top(&self.home).join("new");
            if removed.is_ok() && self.path.starts_with(&new) {
                // The name may be durable although the sync failed: it must not come back.
                let _ = store.sync_dir(&new);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use rustix::io::Errno;

    use super::super::testing::{NOON, Place, names};
    use super::*;

    fn parcel(home: MailHome) -> Parcel {
        let head = format!("Return-Path: <a@b>\r\nDelivered-To: {}\r\n", home.uid).into_bytes();
        Parcel { home, head }
    }

    fn deliver(place: &Place, homes: Vec<MailHome>) -> Vec<Result<String, Error>> {
        let mut incoming = place.store.deliver(homes.into_iter().map(parcel).collect());
        incoming
            .append(&[Bytes::from_static(b"Subject: x\r\n\r"), Bytes::from_static(b"\nbody\r")]);
        incoming.append(&[Bytes::from_static(b"\n")]);
        incoming.commit()
    }

    #[test]
    fn the_first_delivery_makes_everything() {
        let place = Place::new();
        let names = deliver(&place, vec![place.mail000()]);
        let name = names[0].as_ref().unwrap();
        let path = place.at("new").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "Return-Path: <a@b>\nDelivered-To: 20000\nSubject: x\n\nbody\n");
        let meta = std::fs::metadata(&path).unwrap();
        let micros = name.split_once('M').unwrap().1.split_once('.').unwrap().0;
        let expected = format!(
            "{NOON}.V{:x}I{:x}M{micros}.mx.example.com,S={},W={}",
            meta.dev(),
            meta.ino(),
            text.len(),
            text.len() + 5
        );
        assert_eq!(*name, expected);

        let root = nix::unistd::geteuid().is_root();
        let owner = if root { 20000 } else { meta.uid() };
        for dir in ["", "cur", "new", "tmp", ".."] {
            let meta = std::fs::metadata(place.at(dir)).unwrap();
            assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o700, owner), "{dir}");
        }
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.nlink()), (0o600, owner, 1));
        assert_eq!(place.names(""), ["cur", "new", "tmp"]);
        assert!(place.names("tmp").is_empty() && place.names("cur").is_empty());
    }

    #[test]
    fn each_mailbox_has_its_own_file_and_fate() {
        let place = Place::new();
        let (a, b) = (place.mail000(), place.home("mail001", 20001));
        std::fs::create_dir_all(Path::new(&*place.home("evil", 20002).path).parent().unwrap())
            .unwrap();
        symlink("/etc", &*place.home("evil", 20002).path).unwrap();
        let homes = vec![
            a.clone(),
            place.home("evil", 20002),
            place.home("root", 0),
            MailHome { path: "/elsewhere/mailbox".into(), uid: 20000, gid: 20000 },
            b.clone(),
        ];
        let outcome = deliver(&place, homes);
        assert!(outcome[0].is_ok() && outcome[4].is_ok(), "{outcome:?}");
        assert!(matches!(outcome[1], Err(Error::Unavailable(_))), "{outcome:?}");
        assert!(matches!(outcome[2], Err(Error::Refused(_))), "{outcome:?}");
        assert!(
            matches!(&outcome[3], Err(Error::Unavailable(why)) if why.contains("allowed base"))
        );
        for home in [a, b] {
            let new = Path::new(&*home.path).join("new");
            let file = new.join(&names(&new)[0]);
            assert_eq!(std::fs::metadata(&file).unwrap().nlink(), 1);
            assert!(std::fs::read_to_string(file).unwrap().contains(&home.uid.to_string()));
        }
    }

    #[test]
    fn what_is_missing_in_a_maildir_is_made() {
        let place = Place::new();
        for missing in ["tmp", "new", "cur"] {
            deliver(&place, vec![place.mail000()])[0].as_ref().unwrap();
            std::fs::remove_dir_all(place.at(missing)).unwrap();
            deliver(&place, vec![place.mail000()])[0].as_ref().unwrap();
            assert!(place.names("tmp").is_empty(), "{missing}");
        }
        assert_eq!(place.names("new").len(), 3);
        assert!(place.store.open(&place.mail000(), "INBOX", true).is_ok());
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let place = Place::new();
        let mut incoming = place.store.deliver(vec![parcel(place.mail000())]);
        assert!(incoming.append(&[Bytes::from_static(b"half a")]));
        assert_eq!(place.names("tmp").len(), 1);
        incoming.abort();
        assert!(place.names("tmp").is_empty() && place.names("new").is_empty());
    }

    #[test]
    fn a_full_or_broken_disk_is_told_and_leaves_nothing() {
        let place = Place::new();
        deliver(&place, vec![place.mail000()])[0].as_ref().unwrap();
        for (errno, space) in [(Errno::NOSPC, true), (Errno::DQUOT, true), (Errno::IO, false)] {
            let mut failed = 0;
            loop {
                place.faults.after(failed, errno);
                let outcome = deliver(&place, vec![place.mail000()]);
                let struck = place.faults.struck();
                place.faults.none();
                if !struck {
                    outcome[0].as_ref().unwrap();
                    break;
                }
                let error = outcome[0].as_ref().unwrap_err();
                assert_eq!(matches!(error, Error::NoSpace(_)), space, "{error}");
                assert!(place.names("tmp").is_empty(), "call {failed}");
                failed += 1;
            }
            assert!(failed >= 7, "only {failed} calls can fail");
        }
        assert_eq!(place.names("new").len(), 4);
    }

    #[test]
    fn a_mailbox_that_may_not_be_written_is_told() {
        let place = Place::new();
        deliver(&place, vec![place.mail000()])[0].as_ref().unwrap();
        std::fs::set_permissions(place.at("tmp"), PermissionsExt::from_mode(0o500)).unwrap();
        let outcome = deliver(&place, vec![place.mail000()]);
        assert!(matches!(outcome[0], Err(Error::Denied(_))), "{outcome:?}");
    }

    #[test]
    fn old_files_in_tmp_are_removed() {
        let place = Place::new();
        deliver(&place, vec![place.mail000()])[0].as_ref().unwrap();
        let store = place.restarted();
        let age = |name: &str, hours: i64| {
            let file = std::fs::File::create(place.at("tmp").join(name)).unwrap();
            let time = std::time::UNIX_EPOCH
                + std::time::Duration::from_secs((NOON - hours * 3600) as u64);
            file.set_modified(time).unwrap();
        };
        age("old", 37);
        age("young", 35);
        store.deliver(vec![parcel(place.mail000())]).abort();
        assert_eq!(place.names("tmp"), ["young"]);
    }
}
