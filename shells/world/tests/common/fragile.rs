//! A file system that dies: after so many calls nothing works any more, as after `kill -9`. What was
//! done before stays done.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use waypost_machine::UnixTime;
use waypost_world::fs::{Each, File, Fs, RealFs, Stat};

#[derive(Clone)]
pub(crate) struct Fragile {
    real: RealFs,
    left: Arc<AtomicUsize>,
}

struct FragileFile {
    real: Box<dyn File>,
    left: Arc<AtomicUsize>,
}

fn use_up(left: &AtomicUsize) -> io::Result<()> {
    let before = left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
    before.map(drop).map_err(|_| io::Error::other("the process is dead"))
}

impl Fragile {
    pub(crate) fn new(bases: &[&Path], calls: usize) -> Self {
        let real = RealFs::new(bases).unwrap();
        Self { real, left: Arc::new(AtomicUsize::new(calls)) }
    }

    /// True while it works.
    pub(crate) fn is_alive(&self) -> bool {
        self.left.load(Ordering::Acquire) > 0
    }

    fn count(&self) -> io::Result<&RealFs> {
        use_up(&self.left).map(|()| &self.real)
    }

    fn file(&self, real: Box<dyn File>) -> Box<dyn File> {
        Box::new(FragileFile { real, left: Arc::clone(&self.left) })
    }
}

impl Fs for Fragile {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        self.count()?.create(path, mode).map(|file| self.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.count()?.open(path).map(|file| self.file(file))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.count()?.append(path).map(|file| self.file(file))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.count()?.stat(path)
    }

    fn list(&self, dir: &Path, each: Each<'_>) -> io::Result<()> {
        self.count()?.list(dir, each)
    }

    fn mkdir(&self, dir: &Path, mode: u32) -> io::Result<()> {
        self.count()?.mkdir(dir, mode)
    }

    fn rmdir(&self, dir: &Path) -> io::Result<()> {
        self.count()?.rmdir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count()?.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count()?.link(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.count()?.unlink(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.count()?.sync_dir(dir)
    }

    fn chown(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        self.count()?.chown(path, uid, gid)
    }
}

impl File for FragileFile {
    /// Dying in the middle of a write leaves half of it.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        use_up(&self.left)?;
        if self.left.load(Ordering::Acquire) == 0 {
            self.real.write_all(&bytes[..bytes.len() / 2])?;
            return Err(io::Error::other("the process is dead"));
        }
        self.real.write_all(bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        use_up(&self.left)?;
        self.real.read_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        use_up(&self.left)?;
        self.real.sync()
    }

    fn stat(&self) -> io::Result<Stat> {
        use_up(&self.left)?;
        self.real.stat()
    }

    fn set_mtime(&self, mtime: UnixTime) -> io::Result<()> {
        use_up(&self.left)?;
        self.real.set_mtime(mtime)
    }
}
