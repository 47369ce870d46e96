//! What a test sees of a disk and puts on it: none of this counts as a call.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use waypost_world::fs::Kind;

use super::Disk;
use super::state::{Body, Ino, Meta, State};

/// What is somebody's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owned {
    /// Where.
    pub path: PathBuf,
    /// Whose.
    pub uid: u32,
    /// Whose group's.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// A directory.
    pub is_dir: bool,
}

impl Disk {
    /// All files below, with what is seen of them, in the order of their paths.
    pub fn files(&self, below: impl AsRef<Path>) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        self.walk(below.as_ref(), &mut |path, _, body| {
            if let Body::File { content, .. } = body {
                files.push((path.to_path_buf(), content.clone()));
            }
        });
        files
    }

    /// Whose the files and directories below are, in the order of their paths.
    pub fn owners(&self, below: impl AsRef<Path>) -> Vec<Owned> {
        let mut owners = Vec::new();
        self.walk(below.as_ref(), &mut |path, meta, body| {
            let Meta { uid, gid, mode, .. } = *meta;
            let is_dir = matches!(body, Body::Dir { .. });
            owners.push(Owned { path: path.to_path_buf(), uid, gid, mode, is_dir });
        });
        owners
    }

    /// What a file holds.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.state();
        let ino = state.find(path.as_ref()).ok()?;
        match &state.inode(ino).body {
            Body::File { content, .. } => Some(content.clone()),
            Body::Dir { .. } => None,
        }
    }

    /// Makes a directory with all above it, durable at once. What is new is this owner's.
    ///
    /// # Errors
    /// A file is in the way.
    pub fn mkdirs(&self, dir: impl AsRef<Path>, uid: u32, gid: u32) -> io::Result<()> {
        let mtime = self.mtime();
        let mut state = self.state();
        let dir = dir.as_ref();
        for dir in dir.ancestors().collect::<Vec<_>>().into_iter().rev() {
            if state.find(dir).is_err() {
                let ino = state.make(dir, Body::dir(), 0o755, mtime)?;
                state.give(ino, uid, gid);
                state.write_last();
            }
        }
        Ok(())
    }

    /// Puts a file there as another program would, durable at once.
    ///
    /// # Errors
    /// There is one, or no directory for it.
    pub fn put(
        &self,
        path: impl AsRef<Path>,
        content: &[u8],
        uid: u32,
        gid: u32,
    ) -> io::Result<()> {
        let mtime = self.mtime();
        let mut state = self.state();
        let ino = state.make(path.as_ref(), Body::file(), 0o600, mtime)?;
        state.write(ino, content, mtime);
        if let Body::File { content, synced, .. } = &mut state.inode_mut(ino).body {
            *synced = content.len();
        }
        state.give(ino, uid, gid);
        state.write_last();
        Ok(())
    }

    /// Takes a file away as another program would, durable at once.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let mtime = self.mtime();
        let mut state = self.state();
        state.remove(path.as_ref(), Kind::File, mtime)?;
        state.write_last();
        Ok(())
    }

    fn walk(&self, below: &Path, each: &mut dyn FnMut(&Path, &Meta, &Body)) {
        let state = self.state();
        if let Ok(ino) = state.find(below) {
            state.walk(ino, &mut below.to_path_buf(), each);
        }
    }
}

impl State {
    fn walk(&self, ino: Ino, path: &mut PathBuf, each: &mut dyn FnMut(&Path, &Meta, &Body)) {
        let inode = self.inode(ino);
        each(path, &inode.meta, &inode.body);
        if let Body::Dir { seen, .. } = &inode.body {
            for (name, ino) in seen {
                path.push(std::ffi::OsStr::from_bytes(name));
                self.walk(*ino, path, each);
                path.pop();
            }
        }
    }

    fn give(&mut self, ino: Ino, uid: u32, gid: u32) {
        let inode = self.inode_mut(ino);
        (inode.meta.uid, inode.meta.gid) = (uid, gid);
        inode.durable = inode.meta;
    }
}
