//! Whose eyes the file system is seen with.
//!
//! Run as root, every piece of work on a user's mail happens with that user's file-system identity: the
//! thread's fsuid and fsgid are the user's, and it has no supplementary groups. The kernel then decides
//! what may be read and written, disk quota counts, and files belong to whom they should. Not run as root,
//! everything belongs to the process's own user.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, geteuid, setfsgid, setfsuid};

/// The lowest user id that may own mail, unless configured otherwise; Postfix's `virtual_minimum_uid`.
pub const MIN_UID: u32 = 100;

/// Which identities may be taken on.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    root: bool,
    /// Rights are those of a simulated file system; this process keeps its own.
    simulated: bool,
    min_uid: u32,
}

/// An identity that must not, or cannot, be taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// User or group 0.
    #[error("uid {uid}, gid {gid}: mail is never handled as root")]
    Root {
        /// The user id asked for.
        uid: u32,
        /// The group id asked for.
        gid: u32,
    },
    /// A user id that belongs to the system.
    #[error("uid {uid} is below the lowest allowed, {min}")]
    TooLow {
        /// The user id asked for.
        uid: u32,
        /// The configured floor.
        min: u32,
    },
    /// The kernel does not let us, although we run as root (a container without CAP_SETUID).
    #[error("not permitted to act as uid {uid}, gid {gid}")]
    NotPermitted {
        /// The user id asked for.
        uid: u32,
        /// The group id asked for.
        gid: u32,
    },
}

/// A directory that keeps a user from a place behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// The directory: the first one on the way.
    pub directory: PathBuf,
    /// Its permissions.
    pub mode: u32,
}

impl fmt::Display for Barrier {
    /// `/root has mode 0700`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has mode {:04o}", self.directory.display(), self.mode)
    }
}

impl Barrier {
    /// The first directory on the way to `place` that lets nobody through but root.
    pub fn of_root(place: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        downwards(place).find_map(|directory| {
            let found = std::fs::metadata(directory).ok()?;
            // The bits of the group bound what an access control list allows.
            (found.uid() == 0 && found.mode() & 0o011 == 0).then(|| Self::at(directory))
        })
    }

    fn at(directory: &Path) -> Self {
        let mode = std::fs::metadata(directory).map_or(0, |found| found.permissions().mode());
        Self { directory: directory.into(), mode: mode & 0o7777 }
    }
}

/// The directories that lead to a place, that itself at the end.
fn downwards(place: &Path) -> impl Iterator<Item = &Path> {
    let mut all: Vec<&Path> = place.ancestors().collect();
    all.reverse();
    all.into_iter()
}

thread_local! {
    static GROUPS_DROPPED: Cell<bool> = const { Cell::new(false) };
    /// Who acts where identities are simulated.
    static ACTING: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// User and group whose rights count on this thread now, for a simulated file system: root's, but while
/// [`Identity::as_user`] works.
pub fn acting() -> (u32, u32) {
    ACTING.get()
}

impl Identity {
    /// Acts for others if the process runs as root, otherwise for itself alone. User ids below `min_uid`
    /// are refused in both cases, so that a wrong directory entry is seen before the change to root.
    pub fn of_process(min_uid: u32) -> Self {
        Self { root: geteuid().is_root(), simulated: false, min_uid }
    }

    /// Acts for others as if the process ran as root, and asks the system for nothing: a simulated file
    /// system has the rights of [`acting`].
    pub fn simulated(min_uid: u32) -> Self {
        Self { root: true, simulated: true, min_uid }
    }

    /// Whether each user's files are handled with that user's identity.
    pub fn changes(&self) -> bool {
        self.root
    }

    /// Checks without doing anything.
    ///
    /// # Errors
    /// Says why `uid` and `gid` may not own mail.
    pub fn check(&self, uid: u32, gid: u32) -> Result<(), Refused> {
        if uid == 0 || gid == 0 {
            return Err(Refused::Root { uid, gid });
        }
        if uid < self.min_uid {
            return Err(Refused::TooLow { uid, min: self.min_uid });
        }
        Ok(())
    }

    /// The first directory on the way to `place`, that itself included, that does not let this user
    /// through; `None` when all do that are there.
    ///
    /// # Errors
    /// Says why `uid` and `gid` may not be taken on.
    pub fn barrier(&self, uid: u32, gid: u32, place: &Path) -> Result<Option<Barrier>, Refused> {
        if self.simulated {
            return Ok(None);
        }
        let is_closed = |directory: &&Path| {
            // Who may pass a directory may look at it from inside.
            let found = std::fs::metadata(directory.join("."));
            found.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        let look = || self.as_user(uid, gid, || downwards(place).find(is_closed));
        // A thread of its own: it gives up its supplementary groups for good.
        let closed = std::thread::scope(|scope| scope.spawn(look).join());
        let closed = closed.unwrap_or(Err(Refused::NotPermitted { uid, gid }))?;
        Ok(closed.map(Barrier::at))
    }

    /// Does `work` as this user, on this thread. The identity is put back when `work` returns or panics.
    /// Threads that `work` starts are not covered.
    ///
    /// # Errors
    /// Says why `uid` and `gid` may not be taken on; `work` has then not run.
    pub fn as_user<T>(&self, uid: u32, gid: u32, work: impl FnOnce() -> T) -> Result<T, Refused> {
        self.check(uid, gid)?;
        if self.simulated {
            let _acting = Acting(ACTING.replace((uid, gid)));
            return Ok(work());
        }
        if !self.root {
            return Ok(work());
        }
        let _guard = Guard::enter(uid, gid)?;
        Ok(work())
    }
}

/// Who acted before, to go back to.
struct Acting((u32, u32));

impl Drop for Acting {
    fn drop(&mut self) {
        ACTING.set(self.0);
    }
}

/// The identity the thread had, to go back to.
struct Guard {
    uid: Uid,
    gid: Gid,
}

impl Guard {
    fn enter(uid: u32, gid: u32) -> Result<Self, Refused> {
        let refused = Refused::NotPermitted { uid, gid };
        // Supplementary groups count for file access too: a worker thread drops them once, for good.
        if !GROUPS_DROPPED.get() {
            rustix::thread::set_thread_groups(&[]).map_err(|_| refused)?;
            GROUPS_DROPPED.set(true);
        }
        let guard = Self { uid: current_uid(), gid: current_gid() };
        // The group first: once the fsuid is not root's, capabilities over files are gone.
        if !become_gid(Gid::from_raw(gid)) || !become_uid(Uid::from_raw(uid)) {
            return Err(refused);
        }
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !become_uid(self.uid) || !become_gid(self.gid) {
            // Going on would do the next user's work with this user's rights.
            tracing::error!("cannot give up a user's file-system identity");
            std::process::abort();
        }
    }
}

// setfsuid(2) and setfsgid(2) report no error: they return the id there was. An id of -1 is never
// valid, so that asking for it only tells the present one.

fn current_uid() -> Uid {
    setfsuid(Uid::from_raw(u32::MAX))
}

fn current_gid() -> Gid {
    setfsgid(Gid::from_raw(u32::MAX))
}

fn become_uid(uid: Uid) -> bool {
    setfsuid(uid);
    current_uid() == uid
}

fn become_gid(gid: Gid) -> bool {
    setfsgid(gid);
    current_gid() == gid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_ids_are_refused() {
        for identity in [
            Identity { root: false, simulated: false, min_uid: 100 },
            Identity { root: true, simulated: false, min_uid: 100 },
        ] {
            let try_as =
                |uid, gid| identity.as_user(uid, gid, || panic!("must not run")).unwrap_err();
            assert_eq!(try_as(0, 1000), Refused::Root { uid: 0, gid: 1000 });
            assert_eq!(try_as(1000, 0), Refused::Root { uid: 1000, gid: 0 });
            assert_eq!(try_as(99, 1000), Refused::TooLow { uid: 99, min: 100 });
        }
    }

    #[test]
    fn a_simulated_user_acts_until_the_end() {
        let identity = Identity::simulated(100);
        let inner = || identity.as_user(2000, 2001, acting);
        let seen = identity.as_user(1000, 1001, || (acting(), inner(), acting())).unwrap();
        assert_eq!(seen, ((1000, 1001), Ok((2000, 2001)), (1000, 1001)));
        let panicked = std::panic::catch_unwind(|| {
            let _ = identity.as_user(1000, 1001, || panic!("as it must"));
        });
        assert!(panicked.is_err());
        assert_eq!(acting(), (0, 0));
    }

    #[test]
    fn without_root_the_process_is_the_user() {
        let identity = Identity { root: false, simulated: false, min_uid: 100 };
        let before = current_uid();
        assert_eq!(identity.as_user(1000, 1000, || 7), Ok(7));
        assert_eq!(current_uid(), before);
    }

    #[test]
    fn the_first_closed_directory_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &str, mode| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        let (own, inner) = (open("", 0o755), open("a", 0o755));
        let place = open("a/b", 0o755);
        let identity = Identity::of_process(100);
        let found = || identity.barrier(20000, 20001, &place.join("not yet")).unwrap();
        assert_eq!((found(), Barrier::of_root(&place)), (None, None));
        open("a", 0o750);
        let inner = Barrier { directory: inner, mode: 0o750 };
        let root = geteuid().is_root();
        assert_eq!((found(), Barrier::of_root(&place)), (root.then(|| inner.clone()), None));
        open("a", 0o700);
        open("", 0o700);
        let own = Barrier { directory: own, mode: 0o700 };
        assert!(own.to_string().ends_with("has mode 0700"), "{own}");
        let own = root.then_some(own);
        assert_eq!((found(), Barrier::of_root(&place)), (own.clone(), own));
        let refused = Refused::Root { uid: 0, gid: 0 };
        assert_eq!(identity.barrier(0, 0, &place), Err(refused));
    }

    /// As root this shows the change itself; anyone else is refused, and the work does not run.
    #[test]
    fn the_identity_is_taken_on_and_given_back() {
        let identity = Identity { root: true, simulated: false, min_uid: 100 };
        let ids = || (current_uid().as_raw(), current_gid().as_raw());
        let before = ids();
        if !geteuid().is_root() {
            let refused = Refused::NotPermitted { uid: 20000, gid: 20001 };
            assert_eq!(identity.as_user(20000, 20001, || 0), Err(refused));
            return;
        }
        let during = identity.as_user(20000, 20001, || {
            let inner = identity.as_user(20002, 20003, ids);
            (ids(), inner, nix::unistd::getgroups().unwrap())
        });
        assert_eq!(during, Ok(((20000, 20001), Ok((20002, 20003)), Vec::new())));
        assert_eq!(ids(), before);
        let panicked =
            std::panic::catch_unwind(|| identity.as_user(20000, 20001, || panic!("in work")));
        assert!(panicked.is_err());
        assert_eq!(ids(), before);
    }
}
