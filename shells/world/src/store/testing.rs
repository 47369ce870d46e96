//! A place for mailboxes in tests, and a file system that fails when told to.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use waypost_machine::UnixTime;
use waypost_mail::MailHome;

use super::Store;
use crate::clock::ManualClock;
use crate::fs::{Each, File, Fs, RealFs, Stat};
use crate::identity::Identity;

/// The time at which tests begin. It lies in the past, so that all the disk shows looks recent, and
/// every look is a thorough one.
pub(crate) const NOON: i64 = 1_700_000_000;

/// A directory with a store in it. Run as root, its users are real ones; else all are ourselves.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) faults: Arc<Faults>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        allow_all(dir.path());
        let base = dir.path().join("home/mail");
        std::fs::create_dir_all(&base).unwrap();
        let clock = Arc::new(ManualClock::new(NOON));
        let faults = Arc::new(Faults::default());
        let fs = FaultyFs { real: RealFs::new([base]).unwrap(), faults: faults.clone() };
        let store = Store::new(
            Arc::new(fs),
            Identity::of_process(100),
            crate::Process::own(),
            clock.clone(),
            "mx.example.com",
        );
        Self { dir, store, clock, faults }
    }

    /// With a Maildir for mail000.
    pub(crate) fn with_maildir() -> Self {
        let place = Self::new();
        place.store.make_maildir(&place.mail000()).unwrap();
        place
    }

    /// Does something as mail000.
    pub(crate) fn as_user<T>(&self, work: impl FnOnce() -> T) -> T {
        self.store.as_user(&self.mail000(), work).unwrap()
    }

    /// The same disk seen by a server that has just been started.
    pub(crate) fn restarted(&self) -> Store {
        let fs = RealFs::new([self.dir.path().join("home/mail")]).unwrap();
        Store::new(
            Arc::new(fs),
            Identity::of_process(100),
            crate::Process::own(),
            self.clock.clone(),
            "mx.example.com",
        )
    }

    pub(crate) fn home(&self, user: &str, uid: u32) -> MailHome {
        let path = self.dir.path().join("home/mail").join(user).join("mailbox");
        MailHome { path: path.to_str().unwrap().into(), uid, gid: uid }
    }

    /// The account most tests use.
    pub(crate) fn mail000(&self) -> MailHome {
        self.home("mail000", 20000)
    }

    /// Names in a directory of mail000's Maildir, sorted.
    pub(crate) fn names(&self, sub: &str) -> Vec<String> {
        names(&Path::new(&*self.mail000().path).join(sub))
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        Path::new(&*self.mail000().path).join(path)
    }
}

fn allow_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entry = |entry: io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().to_str().unwrap().to_owned()
    };
    let mut names: Vec<String> = match std::fs::read_dir(dir) {
        Ok(entries) => entries.map(entry).collect(),
        Err(_) => Vec::new(),
    };
    names.sort();
    names
}

/// Calls until one fails, and how.
pub(crate) struct Faults {
    left: AtomicUsize,
    errno: AtomicUsize,
    struck: AtomicBool,
    /// How many calls there is room for.
    room: AtomicUsize,
    no_links: AtomicBool,
    squashed: AtomicBool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            left: AtomicUsize::new(usize::MAX),
            errno: AtomicUsize::new(0),
            struck: AtomicBool::new(false),
            room: AtomicUsize::new(usize::MAX),
            no_links: AtomicBool::new(false),
            squashed: AtomicBool::new(false),
        }
    }
}

impl Faults {
    /// Lets the call after `calls` more, and all that follow, fail. Unlinking always works.
    pub(crate) fn after(&self, calls: usize, error: rustix::io::Errno) {
        self.errno.store(usize::try_from(error.raw_os_error()).unwrap(), Ordering::SeqCst);
        self.struck.store(false, Ordering::SeqCst);
        self.left.store(calls, Ordering::SeqCst);
    }

    /// Lets every call fail that needs room on the disk.
    pub(crate) fn full(&self) {
        self.full_after(0);
    }

    /// The same, but for the next ones.
    pub(crate) fn full_after(&self, calls: usize) {
        self.room.store(calls, Ordering::SeqCst);
    }

    /// Makes root nobody in the directories of users, as NFS does.
    pub(crate) fn squashed(&self) {
        self.squashed.store(true, Ordering::SeqCst);
    }

    /// Makes the disk one without hard links.
    pub(crate) fn no_links(&self) {
        self.no_links.store(true, Ordering::SeqCst);
    }

    pub(crate) fn none(&self) {
        self.room.store(usize::MAX, Ordering::SeqCst);
        self.left.store(usize::MAX, Ordering::SeqCst);
    }

    /// Whether a call has failed.
    pub(crate) fn struck(&self) -> bool {
        self.struck.load(Ordering::SeqCst)
    }

    fn room(&self) -> io::Result<()> {
        self.count()?;
        match self.room.load(Ordering::SeqCst) {
            usize::MAX => Ok(()),
            0 => Err(rustix::io::Errno::NOSPC.into()),
            room => {
                self.room.store(room - 1, Ordering::SeqCst);
                Ok(())
            }
        }
    }

    fn count(&self) -> io::Result<()> {
        match self.left.load(Ordering::SeqCst) {
            usize::MAX => Ok(()),
            0 => {
                self.struck.store(true, Ordering::SeqCst);
                let errno = self.errno.load(Ordering::SeqCst);
                Err(io::Error::from_raw_os_error(i32::try_from(errno).unwrap()))
            }
            left => {
                self.left.store(left - 1, Ordering::SeqCst);
                Ok(())
            }
        }
    }
}

struct FaultyFs {
    real: RealFs,
    faults: Arc<Faults>,
}

struct FaultyFile {
    real: Box<dyn File>,
    faults: Arc<Faults>,
}

impl FaultyFs {
    fn wrap(&self, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(FaultyFile { real: file, faults: self.faults.clone() })
    }
}

impl Fs for FaultyFs {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        self.faults.room()?;
        Ok(self.wrap(self.real.create(path, mode)?))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.faults.count()?;
        Ok(self.wrap(self.real.open(path)?))
    }
    fn append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.faults.count()?;
        Ok(self.wrap(self.real.append(path)?))
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.faults.count()?;
        self.real.stat(path)
    }
    fn list(&self, dir: &Path, each: Each<'_>) -> io::Result<()> {
        self.faults.count()?;
        self.real.list(dir, each)
    }
    fn mkdir(&self, dir: &Path, mode: u32) -> io::Result<()> {
        self.faults.room()?;
        self.real.mkdir(dir, mode)
    }
    fn rmdir(&self, dir: &Path) -> io::Result<()> {
        self.faults.count()?;
        self.real.rmdir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.count()?;
        self.real.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.room()?;
        if self.faults.no_links.load(Ordering::SeqCst) {
            return Err(rustix::io::Errno::PERM.into());
        }
        self.real.link(from, to)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.real.unlink(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.faults.count()?;
        // An id that is never valid: it only tells the present one.
        let root = || nix::unistd::setfsuid(nix::unistd::Uid::from_raw(u32::MAX)).is_root();
        if self.faults.squashed.load(Ordering::SeqCst) && root() && self.real.stat(dir)?.uid != 0 {
            return Err(rustix::io::Errno::ACCESS.into());
        }
        self.real.sync_dir(dir)
    }
    fn chown(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        self.faults.count()?;
        self.real.chown(path, uid, gid)
    }
}

impl File for FaultyFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.faults.room()?;
        self.real.write_all(bytes)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.faults.count()?;
        self.real.read_at(buffer, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.faults.count()?;
        self.real.sync()
    }
    fn stat(&self) -> io::Result<Stat> {
        self.faults.count()?;
        self.real.stat()
    }
    fn set_mtime(&self, mtime: UnixTime) -> io::Result<()> {
        self.faults.count()?;
        self.real.set_mtime(mtime)
    }
}
