//! The file system as the store and the spool use it: a dozen calls, so that a simulated disk can take
//! its place, and the real one.
//!
//! # Paths cannot lead astray
//!
//! Paths come from a directory entry's `homeDirectory` and are as trustworthy as that. The real file
//! system therefore takes a path only if it is absolute, has no `.` or `..` in it, and lies under one of
//! the allowed bases. A user can write into his own home, so he can put symbolic links there; no link below
//! a base is followed, at any place of the path (openat2(2), `RESOLVE_NO_SYMLINKS`): a home, a folder or a
//! message that is a link is an error. Calls that take a name (rename, unlink) first open the directory
//! in that way and then work relative to it. Only regular files and directories are opened; a FIFO put into
//! `cur/` does not make anybody wait. A base itself may be a link, for the administrator made it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT,
};
use waypost_machine::UnixTime;

/// What a directory entry or an open file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Owner.
    pub uid: u32,
    /// Names it has.
    pub links: u64,
    /// Time of last change of the content.
    pub mtime: UnixTime,
    /// What it is.
    pub kind: Kind,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File,
    /// Something else, such as a symbolic link.
    Other,
}

/// What is told of each entry while a directory is listed: its name and kind.
pub type Each<'a> = &'a mut dyn FnMut(&[u8], Kind);

/// A file system. All calls block. No call follows a symbolic link.
pub trait Fs: Send + Sync {
    /// Makes a new file and opens it for reading and writing; `AlreadyExists` if there is one.
    ///
    /// # Errors
    /// What the file system says.
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>>;

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// What the file system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a regular file for writing at its end.
    ///
    /// # Errors
    /// What the file system says.
    fn append(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// What stands at this path.
    ///
    /// # Errors
    /// What the file system says.
    fn stat(&self, path: &Path) -> io::Result<Stat>;

    /// Tells all entries of a directory but `.` and `..`, in no order.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self, dir: &Path, each: Each<'_>) -> io::Result<()>;

    /// Makes a directory.
    ///
    /// # Errors
    /// What the file system says.
    fn mkdir(&self, dir: &Path, mode: u32) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// What the file system says.
    fn rmdir(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file or directory another name; a file there is replaced.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name; `AlreadyExists` if it is taken.
    ///
    /// # Errors
    /// What the file system says.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name of a file.
    ///
    /// # Errors
    /// What the file system says.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Changes owner and group.
    ///
    /// # Errors
    /// What the file system says.
    fn chown(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()>;
}

/// An open file.
pub trait File: Send {
    /// Writes all of `bytes` at the end of what has been written.
    ///
    /// # Errors
    /// What the file system says.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Reads into `buffer` from `offset`; 0 at the end of the file.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes the content durable.
    ///
    /// # Errors
    /// What the file system says.
    fn sync(&self) -> io::Result<()>;

    /// What the file is now.
    ///
    /// # Errors
    /// What the file system says.
    fn stat(&self) -> io::Result<Stat>;

    /// Sets the time of last change.
    ///
    /// # Errors
    /// What the file system says.
    fn set_mtime(&self, mtime: UnixTime) -> io::Result<()>;
}

/// Reads a whole file, of `limit` bytes at most.
///
/// # Errors
/// What the file system says; `FileTooLarge` beyond the limit.
pub fn read_to_end(file: &dyn File, limit: u64) -> io::Result<Vec<u8>> {
    let size = file.stat()?.size;
    if size > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0) + 1];
    let mut filled = 0;
    loop {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            n => filled += n,
        }
        if filled as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if filled == bytes.len() {
            bytes.resize(filled * 2, 0);
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The real file system below the allowed bases.
#[derive(Clone, Debug)]
pub struct RealFs {
    bases: Vec<Base>,
}

#[derive(Clone, Debug)]
struct Base {
    /// As configured.
    given: PathBuf,
    /// Without links.
    real: PathBuf,
}

impl RealFs {
    /// Allows what lies below `bases`. They must exist: a disk that is not mounted yet should stop us now.
    ///
    /// # Errors
    /// What the file system says of a base.
    pub fn new<P: AsRef<Path>>(bases: impl IntoIterator<Item = P>) -> io::Result<Self> {
        let resolve = |base: P| {
            let given = base.as_ref().to_path_buf();
            Ok(Base { real: std::fs::canonicalize(&given)?, given })
        };
        Ok(Self { bases: bases.into_iter().map(resolve).collect::<io::Result<_>>()? })
    }

    /// The path without links in its base.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let refused = |why| Err(io::Error::new(io::ErrorKind::PermissionDenied, Outside(why)));
        let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
        // `components` drops `.` in the middle, but that changes nothing of where a path leads.
        if !path.is_absolute() || !path.components().all(plain) {
            return refused("not absolute, or with .. in it");
        }
        for base in &self.bases {
            if let Ok(below) =
                path.strip_prefix(&base.given).or_else(|_| path.strip_prefix(&base.real))
            {
                return Ok(base.real.join(below));
            }
        }
        refused("not under an allowed base directory")
    }

    fn open_at(&self, path: &Path, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let path = self.resolve(path)?;
        Ok(rustix::fs::openat2(
            CWD,
            &path,
            flags | OFlags::CLOEXEC,
            Mode::from_raw_mode(mode),
            resolve,
        )?)
    }

    /// The directory a path's last name stands in, and that name.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a Path)> {
        match (path.parent(), path.file_name()) {
            (Some(dir), Some(name)) => {
                Ok((self.open_at(dir, OFlags::PATH | OFlags::DIRECTORY, 0)?, Path::new(name)))
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Opens a directory for other calls, such as inotify_add_watch(2) through `/proc/self/fd`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open_dir(&self, dir: &Path) -> io::Result<OwnedFd> {
        self.open_at(dir, OFlags::RDONLY | OFlags::DIRECTORY, 0)
    }

    /// Opens an existing regular file. Not blocking, so that a FIFO answers at once and is refused.
    fn open_file(&self, path: &Path, flags: OFlags) -> io::Result<Box<dyn File>> {
        let file =
            RealFile(self.open_at(path, flags | OFlags::NONBLOCK | OFlags::NOCTTY, 0)?.into());
        match file.stat()?.kind {
            Kind::File => Ok(Box::new(file)),
            Kind::Dir => Err(io::ErrorKind::IsADirectory.into()),
            Kind::Other => Err(io::Error::other(Outside("not a regular file"))),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("refused: {0}")]
struct Outside(&'static str);

impl Fs for RealFs {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        Ok(Box::new(RealFile(self.open_at(path, flags, mode)?.into())))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open_file(path, OFlags::RDONLY)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open_file(path, OFlags::RDWR | OFlags::APPEND)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let found = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, 0)?;
        Ok(to_stat(&rustix::fs::fstat(found)?))
    }

    fn list(&self, dir: &Path, each: Each<'_>) -> io::Result<()> {
        let mut entries = rustix::fs::Dir::new(self.open_dir(dir)?)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(
                        entries.fd()?,
                        entry.file_name(),
                        AtFlags::SYMLINK_NOFOLLOW,
                    );
                    // Gone since it was listed.
                    let Ok(stat) = stat else { continue };
                    to_kind(FileType::from_raw_mode(stat.st_mode))
                }
                known => to_kind(known),
            };
            each(name, kind);
        }
        Ok(())
    }

    fn mkdir(&self, dir: &Path, mode: u32) -> io::Result<()> {
        let (parent, name) = self.parent(dir)?;
        Ok(rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode))?)
    }

    fn rmdir(&self, dir: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(dir)?;
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from) = self.parent(from)?;
        let (to_dir, to) = self.parent(to)?;
        Ok(rustix::fs::renameat(from_dir, from, to_dir, to)?)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from) = self.parent(from)?;
        let (to_dir, to) = self.parent(to)?;
        Ok(rustix::fs::linkat(from_dir, from, to_dir, to, AtFlags::empty())?)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.open_dir(dir)?)?)
    }

    fn chown(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let uid = Some(rustix::fs::Uid::from_raw(uid));
        let gid = Some(rustix::fs::Gid::from_raw(gid));
        Ok(rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

struct RealFile(std::fs::File);

impl File for RealFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.0, bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match std::os::unix::fs::FileExt::read_at(&self.0, buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(to_stat(&rustix::fs::fstat(&self.0)?))
    }

    fn set_mtime(&self, mtime: UnixTime) -> io::Result<()> {
        let time = Timespec { tv_sec: mtime.secs, tv_nsec: i64::from(mtime.nanos) };
        let unchanged = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: unchanged, last_modification: time };
        Ok(rustix::fs::futimens(&self.0, &times)?)
    }
}

fn to_kind(kind: FileType) -> Kind {
    match kind {
        FileType::Directory => Kind::Dir,
        FileType::RegularFile => Kind::File,
        _ => Kind::Other,
    }
}

fn to_stat(stat: &rustix::fs::Stat) -> Stat {
    Stat {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        uid: stat.st_uid,
        links: stat.st_nlink,
        mtime: UnixTime {
            secs: stat.st_mtime,
            nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        kind: to_kind(FileType::from_raw_mode(stat.st_mode)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Place {
        dir: tempfile::TempDir,
        fs: RealFs,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("base/home")).unwrap();
            std::fs::create_dir(dir.path().join("outside")).unwrap();
            std::fs::write(dir.path().join("outside/secret"), "secret").unwrap();
            let fs = RealFs::new([dir.path().join("base")]).unwrap();
            Self { dir, fs }
        }

        fn at(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }
    }

    fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[test]
    fn a_file_lives() {
        let place = Place::new();
        let (fs, a, b) = (&place.fs, place.at("base/home/a"), place.at("base/home/b"));
        let mut file = fs.create(&a, 0o600).unwrap();
        file.write_all(b"hello ").unwrap();
        file.write_all(b"world").unwrap();
        file.set_mtime(UnixTime { secs: 1_769_978_096, nanos: 0 }).unwrap();
        file.sync().unwrap();
        assert_eq!(kind(fs.create(&a, 0o600)), Some(io::ErrorKind::AlreadyExists));
        assert_eq!(fs.stat(&a).unwrap().mtime.secs, 1_769_978_096);
        fs.link(&a, &b).unwrap();
        assert_eq!(fs.stat(&b).unwrap().links, 2);
        assert_eq!(kind(fs.link(&a, &b)), Some(io::ErrorKind::AlreadyExists));
        fs.unlink(&a).unwrap();
        fs.append(&b).unwrap().write_all(b"!").unwrap();
        assert_eq!(read_to_end(&*fs.open(&b).unwrap(), 100).unwrap(), b"hello world!");
        assert_eq!(kind(read_to_end(&*fs.open(&b).unwrap(), 5)), Some(io::ErrorKind::FileTooLarge));
        fs.mkdir(&place.at("base/home/d"), 0o700).unwrap();
        fs.rename(&b, &place.at("base/home/d/c")).unwrap();
        fs.sync_dir(&place.at("base/home/d")).unwrap();
        let mut seen = Vec::new();
        fs.list(&place.at("base/home"), &mut |name, kind| seen.push((name.to_vec(), kind)))
            .unwrap();
        assert_eq!(seen, [(b"d".to_vec(), Kind::Dir)]);
        fs.unlink(&place.at("base/home/d/c")).unwrap();
        fs.rmdir(&place.at("base/home/d")).unwrap();
    }

    #[test]
    fn nothing_outside_the_bases_is_touched() {
        let place = Place::new();
        for path in ["outside/secret", "base/../outside/secret", "base/home/../../outside/secret"] {
            assert_eq!(
                kind(place.fs.open(&place.at(path))),
                Some(io::ErrorKind::PermissionDenied),
                "{path}"
            );
            assert_eq!(
                kind(place.fs.unlink(&place.at(path))),
                Some(io::ErrorKind::PermissionDenied)
            );
        }
        assert_eq!(kind(place.fs.open(Path::new("base/x"))), Some(io::ErrorKind::PermissionDenied));
        assert_eq!(kind(place.fs.open(Path::new(""))), Some(io::ErrorKind::PermissionDenied));
        assert_eq!(kind(RealFs::new([place.at("missing")])), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn no_link_is_followed() {
        let place = Place::new();
        let (fs, outside) = (&place.fs, place.at("outside"));
        symlink(&outside, place.at("base/dir")).unwrap();
        symlink(outside.join("secret"), place.at("base/home/file")).unwrap();
        symlink("../../outside", place.at("base/home/up")).unwrap();
        symlink("home", place.at("base/inside")).unwrap();
        let is_loop = |result: io::Result<()>, what: &str| {
            let error = result.expect_err(what);
            assert_eq!(
                error.raw_os_error(),
                Some(rustix::io::Errno::LOOP.raw_os_error()),
                "{what}: {error}"
            );
        };
        is_loop(fs.open(&place.at("base/dir/secret")).map(drop), "open through a link");
        is_loop(fs.open(&place.at("base/home/file")).map(drop), "open a link");
        is_loop(
            fs.open(&place.at("base/home/up/secret")).map(drop),
            "open through a relative link",
        );
        is_loop(fs.append(&place.at("base/home/file")).map(drop), "append to a link");
        is_loop(fs.create(&place.at("base/dir/new"), 0o600).map(drop), "create through a link");
        is_loop(fs.mkdir(&place.at("base/dir/new"), 0o700), "mkdir through a link");
        is_loop(fs.unlink(&place.at("base/dir/secret")), "unlink through a link");
        is_loop(fs.list(&place.at("base/dir"), &mut |_, _| {}), "list a link");
        is_loop(fs.sync_dir(&place.at("base/inside")), "even inside");
        std::fs::write(place.at("base/home/mine"), "x").unwrap();
        let rename = fs.rename(&place.at("base/home/mine"), &place.at("base/dir/secret"));
        is_loop(rename, "rename through a link");
        assert!(fs.create(&place.at("base/home/file"), 0o600).is_err());
        assert_eq!(fs.stat(&place.at("base/home/file")).unwrap().kind, Kind::Other);
        assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"secret");
    }

    #[test]
    fn a_base_may_be_a_link() {
        let place = Place::new();
        symlink(place.at("base"), place.at("link")).unwrap();
        let fs = RealFs::new([place.at("link")]).unwrap();
        fs.create(&place.at("link/home/x"), 0o600).unwrap();
        assert!(fs.stat(&place.at("base/home/x")).is_ok());
    }

    #[test]
    fn a_fifo_is_refused_at_once() {
        let place = Place::new();
        let path = place.at("base/home/fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(place.fs.open(&path).is_err());
        assert!(place.fs.append(&path).is_err());
    }
}
