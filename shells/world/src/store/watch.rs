//! Telling sessions that a mailbox has changed.
//!
//! What this process does is told at once, by whoever does it. What other programs do is seen through
//! inotify(7): one thread waits for all mailboxes that some session watches.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use waypost_imap::server as imap;

use super::Store;
use super::error::Error;
use super::mailbox::Mailbox;
use crate::fs::RealFs;
use crate::lock;

/// What is called with the handle of a session when its mailbox has changed. It must not call the store;
/// it may come from any thread, and more than once for a change.
pub type Told = Arc<dyn Fn(imap::Handle) + Send + Sync>;

impl Store {
    /// Sees, from now on, also what other programs do to watched mailboxes on this file system.
    ///
    /// # Errors
    /// When there is no inotify instance left, or no thread.
    pub fn watch_disk(&self, fs: &RealFs) -> io::Result<()> {
        let watcher = Watcher::start(fs.clone())?;
        // A second one would see nothing more.
        let _ = self.inner.watcher.set(watcher);
        Ok(())
    }

    /// While `told` is set, calls it when the mailbox of this session has changed: IDLE. [`Store::sync`]
    /// after it has been set tells what happened before. Of a mailbox that cannot be watched on disk (too
    /// many are), only what this process does is told.
    ///
    /// # Errors
    /// [`Error::Gone`] and those of identity.
    pub fn watch(&self, handle: imap::Handle, told: Option<Told>) -> Result<(), Error> {
        let session = self.session(handle)?;
        match told {
            Some(told) => {
                session.mailbox.watch(handle, told);
                self.as_user(&session.mailbox.home, || self.add_watches(&session.mailbox))
            }
            None => {
                self.unwatch(&session.mailbox, handle);
                Ok(())
            }
        }
    }

    pub(crate) fn unwatch(&self, mailbox: &Arc<Mailbox>, handle: imap::Handle) {
        if mailbox.unwatch(handle)
            && let Some(watcher) = self.inner.watcher.get()
        {
            watcher.remove(mailbox);
        }
    }

    fn add_watches(&self, mailbox: &Arc<Mailbox>) {
        let Some(watcher) = self.inner.watcher.get() else { return };
        if let Err(error) = watcher.add(mailbox) {
            tracing::warn!(mailbox = %mailbox.dir.display(), %error, "cannot watch");
        }
    }
}

impl Mailbox {
    /// Tells all sessions that watch.
    pub(crate) fn notify(&self) {
        let watchers = lock(&self.watchers).clone();
        for (handle, told) in watchers {
            told(handle);
        }
    }

    fn watch(&self, handle: imap::Handle, told: Told) {
        let mut watchers = lock(&self.watchers);
        watchers.retain(|(known, _)| *known != handle);
        watchers.push((handle, told));
    }

    /// Returns whether it was the last one.
    pub(crate) fn unwatch(&self, handle: imap::Handle) -> bool {
        let mut watchers = lock(&self.watchers);
        let before = watchers.len();
        watchers.retain(|(known, _)| *known != handle);
        watchers.is_empty() && before > 0
    }
}

/// The thread that waits for changes on disk, and what it waits for.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
}

struct Shared {
    fs: RealFs,
    inotify: Arc<Inotify>,
    watches: Mutex<HashMap<WatchDescriptor, Weak<Mailbox>>>,
    stopped: AtomicBool,
}

impl Watcher {
    fn start(fs: RealFs) -> io::Result<Self> {
        let inotify = Arc::new(Inotify::init(InitFlags::IN_CLOEXEC)?);
        let shared = Arc::new(Shared {
            fs,
            inotify: inotify.clone(),
            watches: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("mailbox-watch".to_owned())
            .spawn(move || wait(&inotify, &weak))?;
        Ok(Self { shared })
    }

    /// As the user: whoever watches a directory must be allowed to read it.
    fn add(&self, mailbox: &Arc<Mailbox>) -> io::Result<()> {
        for sub in ["new", "cur"] {
            let dir = self.shared.fs.open_dir(&mailbox.dir.join(sub))?;
            // The directory that was opened, and not what stands at its path now.
            let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
            let flags = AddWatchFlags::IN_CREATE
                | AddWatchFlags::IN_DELETE
                | AddWatchFlags::IN_DELETE_SELF
                | AddWatchFlags::IN_MOVE
                | AddWatchFlags::IN_MOVE_SELF
                | AddWatchFlags::IN_ONLYDIR;
            let mut watches = lock(&self.shared.watches);
            let watch = self.shared.inotify.add_watch(Path::new(&path), flags)?;
            watches.insert(watch, Arc::downgrade(mailbox));
            // The same one again for a directory that is watched already.
            let mut own = lock(&mailbox.watches);
            if !own.contains(&watch) {
                own.push(watch);
            }
        }
        Ok(())
    }

    pub(crate) fn remove(&self, mailbox: &Arc<Mailbox>) {
        let mut watches = lock(&self.shared.watches);
        // Another session may have begun to watch since the last one ended. It is noted in the mailbox
        // before its watch is added.
        if !lock(&mailbox.watchers).is_empty() {
            return;
        }
        for watch in std::mem::take(&mut *lock(&mailbox.watches)) {
            // A directory that is another mailbox's by now keeps its watch.
            if watches.get(&watch).is_some_and(|of| of.as_ptr() == Arc::as_ptr(mailbox)) {
                watches.remove(&watch);
                // It is gone already when the directory is.
                let _ = self.shared.inotify.rm_watch(watch);
            }
        }
    }
}

#[cfg(test)]
impl Watcher {
    /// How many directories are watched.
    pub(crate) fn count(&self) -> usize {
        lock(&self.shared.watches).len()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Removing a watch is an event too: it wakes the thread, which then ends.
        if let Ok(watch) = self.shared.inotify.add_watch("/", AddWatchFlags::IN_DELETE_SELF) {
            let _ = self.shared.inotify.rm_watch(watch);
        }
    }
}

fn wait(inotify: &Inotify, shared: &Weak<Shared>) {
    loop {
        let events = match inotify.read_events() {
            Ok(events) => events,
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => {
                tracing::error!(%error, "inotify");
                return;
            }
        };
        let Some(shared) = shared.upgrade() else { return };
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let overflow = events.iter().any(|event| event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW));
        let mut changed: Vec<Arc<Mailbox>> = Vec::new();
        {
            let watches = lock(&shared.watches);
            let of_event = |wd| watches.get(wd).and_then(Weak::upgrade);
            if overflow {
                changed.extend(watches.values().filter_map(Weak::upgrade));
            } else {
                changed.extend(events.iter().filter_map(|event| of_event(&event.wd)));
            }
        }
        changed.sort_by_key(Arc::as_ptr);
        changed.dedup_by_key(|mailbox| Arc::as_ptr(mailbox));
        for mailbox in changed {
            mailbox.notify();
        }
    }
}
