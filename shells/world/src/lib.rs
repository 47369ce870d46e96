#![forbid(unsafe_code)]
//! The world that Waypost's machines ask: directory, mailboxes, spool. Shared by every runtime.
//!
//! [`World::smtp`], [`World::imap`] and [`World::auth`] take a call of a machine and answer it by a
//! callback. They return at once: searches wait in the directory's own thread, work on files in a
//! pool of threads, so a shell may call them from its event loop. The callback runs on one of those
//! threads; all it should do is hand the answer to the session (a channel, a queue and a wake-up).
//! Every call is answered exactly once, also when the work for it fails in some unforeseen way; then
//! with a temporary failure.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::{Arc, mpsc};
//!
//! use waypost_ldap::Table;
//! use waypost_route::Map;
//! use waypost_world::directory::Ldif;
//! use waypost_world::{Event, Settings, Source, SystemClock, World};
//!
//! let dir = tempfile::tempdir()?;
//! let file = dir.path().join("mail.ldif");
//! let entry = "dn: uid=x,dc=example\nmailacceptinggeneralid: a@b.test\nmaildrop: x@mail.test\n";
//! std::fs::write(&file, entry)?;
//!
//! let log = Arc::new(|event: Event| println!("{event:?}"));
//! let mut settings = Settings::new("mail.test", dir.path().join("spool"), log);
//! let directory = Arc::new(Ldif::open(file, false, Arc::new(SystemClock::default()))?);
//! let map = "search_base = dc=example\nbind = no\n\
//!     query_filter = mailacceptinggeneralid=%s\nresult_attribute = maildrop\n";
//! let table = Arc::new(Table::parse("virtual_alias_maps", map)?);
//! settings.maps = BTreeMap::from([(Map::Aliases, Source { table, directory })]);
//!
//! let world = World::start(settings)?;
//! let (to, from) = mpsc::channel();
//! world.query("virtual_alias_maps", "a@b.test", move |answer| to.send(answer).unwrap());
//! assert_eq!(from.recv()??.as_deref(), Some("x@mail.test"));
//! world.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! How much can wait here is bounded by the calls that sessions hold open: a machine has at most two
//! pieces of a message under way and reads no more from its peer until one is answered.
//!
//! | file | what is there |
//! |---|---|
//! | `run/` | what is done for each call |
//! | `directory/` | the directory: what we need of one, and one out of an LDIF file |
//! | `store/` | mailboxes (Maildir) |
//! | `spool/` | messages that cannot be delivered now |
//! | `pool.rs`, `workers.rs` | threads for work that waits for the disk, or what takes their place |
//! | `fs.rs`, `identity.rs` | files, and whose rights are used for them |
//! | `process.rs` | which process we are |
//! | `carrier.rs` | mail for other servers: what we need of who takes it there |
//! | `rest.rs` | the spool of a server that does not run, for the admin |
//! | `signer.rs` | signatures: what we need of who makes them |
//! | `event.rs` | what the log is told of messages |
//! | `held.rs` | what is kept in memory, counted |

pub mod carrier;
mod clock;
pub mod directory;
mod event;
pub mod fs;
mod held;
pub mod identity;
mod pool;
mod process;
mod promise;
mod rest;
mod run;
mod settings;
pub mod signer;
mod spool;
pub mod store;
mod workers;

use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use waypost_imap::server as imap;
use waypost_machine::{Answer, Secret};
use waypost_mail::srs::Srs;
use waypost_queue::{Command, Listed, ListedDestination, QueueId, Selection};
use waypost_route::Policy;
use waypost_route::rate::RateLimiter;
use waypost_sasl::{Credentials, Verified};
use waypost_smtp::server as smtp;

use directory::Directory;
use fs::{Fs, RealFs};
use identity::Identity;
use pool::Pool;
use promise::Promise;
use run::lookup::Lookups;
use run::queue::{Queue, Removals};
use run::queue_id::QueueIds;
use run::smtp::Transits;
use spool::SpoolError;
use store::Store;

pub use clock::{Clock, ManualClock, SystemClock};
pub use event::{Agent, Attempt, Event, Log, Status};
pub use held::Held;
pub use process::Process;
pub use rest::{AtRest, Queued, RestError};
pub use run::login::AuthTest;
pub use run::query::QueryError;
pub use run::queue::QueueError;
pub use settings::{Cache, Logins, Settings, Source, Spool};
pub use workers::{Worker, Workers};

/// Threads that compare passwords with hashes.
const PASSWORD_THREADS: usize = 2;

/// The world. Cheap to clone; all clones are the same world.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    settings: Settings,
    policy: Arc<Policy>,
    lookups: Arc<Lookups>,
    store: Store,
    transits: Transits,
    queue: Arc<Queue>,
    removals: Removals,
    queue_ids: QueueIds,
    /// How senders of forwarded mail are rewritten.
    srs: Option<Srs>,
    /// What users and clients have sent lately.
    rates: Mutex<RateLimiter>,
    /// Threads for work on messages that come and go.
    files: Pool,
    /// Threads for work in mailboxes: however long their users search, mail is taken.
    mailboxes: Pool,
    /// Threads for comparing passwords.
    passwords: Pool,
    /// The spool is ours alone while this is held.
    spool_lock: Mutex<Option<OwnedFd>>,
}

/// Why a world did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// A directory that mailboxes or the spool need cannot be used.
    #[error("{path}: {what}")]
    Directory {
        /// The directory.
        path: String,
        /// What the system said.
        what: String,
    },
    /// Another process delivers what is in the spool.
    #[error("{0}: another server uses this spool")]
    SpoolInUse(String),
    /// What waits in the spool cannot be taken up.
    #[error("spool: {0}")]
    Spool(String),
    /// The system refuses to start threads.
    #[error("threads: {0}")]
    Threads(String),
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Good,
    /// It works, but somebody should look at it.
    Warning,
    /// It must be mended.
    Bad,
}

/// One line of [`World::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub grade: Grade,
    /// `virtual_alias_maps: ldap://.. answers`
    pub text: String,
}

/// What [`World::unusable`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Damaged messages, in `corrupt/` below the spool's directory until somebody takes them away.
    pub damaged: usize,
    /// Messages that could not be read at the start; it is tried again and again.
    pub unread: usize,
}

/// An IMAP session's side of the world: the mailboxes that it has open. Dropping it closes them.
pub struct ImapSession {
    world: Arc<Inner>,
    session: Arc<run::imap::Session>,
}

impl Drop for ImapSession {
    fn drop(&mut self) {
        self.session.end(&self.world);
    }
}

impl World {
    /// Starts: makes the spool where it is missing and takes up what waits in it.
    ///
    /// # Errors
    /// When the spool cannot be used, or another process uses it.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let (fs, real) = file_system(&settings, true)?;
        let lock =
            real.as_ref().map(|real| lock_spool(real, &settings.spool.directory)).transpose()?;
        let spool = spool::Spool::new(Arc::clone(&fs), &settings.spool.directory);
        let queue = Queue::open(spool, &settings.spool);
        let srs = secrets(&settings, &*fs, true)?;
        let world = Self::with(settings, fs, queue, srs, lock)?;
        let inner = &world.inner;
        if let Some(real) = real
            && let Err(error) = inner.store.watch_disk(&real)
        {
            tracing::warn!("warning: changes by other programs are not seen at once: {error}");
        }
        inner.queue.start(inner).map_err(threads)?;
        Ok(world)
    }

    /// Starts for [`query`](Self::query), [`check`](Self::check) and
    /// [`auth_test`](Self::auth_test) alone: what is in the spool is counted and not touched, so a
    /// server may be at work on it meanwhile.
    ///
    /// # Errors
    /// When the spool cannot be read.
    pub fn for_questions(settings: Settings) -> Result<Self, StartError> {
        let (fs, _) = file_system(&settings, false)?;
        let spool = spool::Spool::new(Arc::clone(&fs), &settings.spool.directory);
        let queue = Queue::resting(spool, &settings.spool);
        let srs = secrets(&settings, &*fs, false)?;
        Self::with(settings, fs, queue, srs, None)
    }

    fn with(
        settings: Settings,
        fs: Arc<dyn Fs>,
        queue: Result<Queue, SpoolError>,
        srs: Option<Srs>,
        lock: Option<OwnedFd>,
    ) -> Result<Self, StartError> {
        let queue = Arc::new(queue.map_err(|error| StartError::Spool(error.to_string()))?);
        let clock = || Arc::clone(&settings.clock);
        let lookups = Arc::new(Lookups::new(settings.maps.clone(), settings.cache, clock()));
        let identity = match settings.workers {
            None => Identity::of_process(settings.minimum_uid),
            Some(_) => Identity::simulated(settings.minimum_uid),
        };
        let pool = |name, worker, threads| match &settings.workers {
            None => Pool::start(name, threads).map_err(self::threads),
            Some(workers) => Ok(Pool::lent(name, worker, Arc::clone(workers))),
        };
        let process = settings.process.clone().unwrap_or_else(Process::own);
        let inner = Arc::new(Inner {
            store: Store::new(fs, identity, process.clone(), clock(), &settings.hostname),
            transits: Transits::default(),
            queue,
            removals: Removals::default(),
            queue_ids: QueueIds::new(process.id()),
            srs,
            rates: Mutex::new(RateLimiter::new(settings.rates)),
            files: pool("file", Worker::Files, settings.file_threads)?,
            mailboxes: pool("mailbox", Worker::Files, settings.file_threads)?,
            policy: Arc::new(settings.policy.clone()),
            lookups,
            passwords: pool("password", Worker::Passwords, PASSWORD_THREADS)?,
            spool_lock: Mutex::new(lock),
            settings,
        });
        Ok(Self { inner })
    }

    /// Does what an SMTP session asks for.
    pub fn smtp(&self, call: smtp::Call, done: impl FnOnce(Answer<smtp::Reply>) + Send + 'static) {
        run::smtp::run(&self.inner, call, Box::new(done));
    }

    /// A new IMAP session; `notify` takes news of its mailboxes, from any thread.
    pub fn imap_session(
        &self,
        notify: impl Fn(imap::Notice) + Send + Sync + 'static,
    ) -> ImapSession {
        let session = Arc::new(run::imap::Session::new(Arc::new(notify)));
        ImapSession { world: Arc::clone(&self.inner), session }
    }

    /// Does what an IMAP session asks for.
    pub fn imap(
        &self,
        session: &ImapSession,
        call: imap::Call,
        done: impl FnOnce(Answer<imap::Reply>) + Send + 'static,
    ) {
        run::imap::run(&self.inner, &session.session, call, Box::new(done));
    }

    /// Does what a client of the authentication socket asks for.
    pub fn auth(
        &self,
        call: waypost_auth::Call,
        done: impl FnOnce(Answer<waypost_auth::Reply>) + Send + 'static,
    ) {
        let waypost_auth::Call::Authenticate { credentials, ticket, .. } = call;
        let promise = Promise::new(ticket, Box::new(done), || Verified::Unavailable);
        run::login::verify(&self.inner, credentials, Box::new(move |it| promise.keep(it)));
    }

    /// Checks a password.
    pub fn verify(&self, credentials: Credentials, done: impl FnOnce(Verified) + Send + 'static) {
        run::login::verify(&self.inner, credentials, Box::new(done));
    }

    /// Looks a key up in a map, as `postmap -q` does: no value means "not found".
    pub fn query(
        &self,
        map: &str,
        key: &str,
        done: impl FnOnce(Result<Option<String>, QueryError>) + Send + 'static,
    ) {
        run::query::query(&self.inner, map, key, Box::new(done));
    }

    /// Checks a password and says how it was done.
    pub fn auth_test(
        &self,
        user: &str,
        password: Secret<Box<str>>,
        done: impl FnOnce(AuthTest) + Send + 'static,
    ) {
        run::login::check(&self.inner, user, password, Box::new(done));
    }

    /// Looks at everything that can be looked at before a message comes: maps, directory, spool,
    /// the place of the mailboxes.
    pub fn check(&self, done: impl FnOnce(Vec<Finding>) + Send + 'static) {
        run::query::check(&self.inner, Box::new(done));
    }

    /// Forgets what is remembered of the tables: the next question goes to the directory.
    pub fn forget(&self) {
        self.inner.lookups.forget();
    }

    /// Tries the messages in the spool that are due. The world does so by itself, by its schedule;
    /// this is for a clock that was moved.
    pub fn run_queue(&self) {
        self.inner.queue.tick();
    }

    /// Tries all messages in the spool now, as `postqueue -f` does.
    pub fn flush_queue(&self) {
        self.queue_command(Command::Retry(Selection::All), |_| {});
    }

    /// Lists messages in the queue, in the order of their names, which is that of their arrival.
    /// [`queue_entries`](Self::queue_entries) tells more of some of them.
    pub fn queue(
        &self,
        selection: Selection,
        done: impl FnOnce(Result<Vec<Listed>, QueueError>) + Send + 'static,
    ) {
        self.inner.queue.list(selection, Box::new(done));
    }

    /// Reads the entries of these messages; all are held in memory, so ask for a few at a time. One
    /// that went meanwhile is left out, one that cannot be read stands there with the reason.
    pub fn queue_entries(
        &self,
        listed: Vec<Listed>,
        done: impl FnOnce(Result<Vec<Result<Queued, QueueError>>, QueueError>) + Send + 'static,
    ) {
        Queue::entries(&self.inner, listed, Box::new(done));
    }

    /// Lists the destinations that something is known of.
    pub fn destinations(
        &self,
        done: impl FnOnce(Result<Vec<ListedDestination>, QueueError>) + Send + 'static,
    ) {
        self.inner.queue.destinations(Box::new(done));
    }

    /// Does what the admin wants with messages in the queue; `done` gets the number of those that
    /// it changed.
    pub fn queue_command(
        &self,
        command: Command,
        done: impl FnOnce(Result<usize, QueueError>) + Send + 'static,
    ) {
        self.inner.queue.command(command, Box::new(done));
    }

    /// The text of a message in the queue, CRLF line ends; `None` when it is not there.
    pub fn queue_body(
        &self,
        id: QueueId,
        done: impl FnOnce(Result<Option<Bytes>, QueueError>) + Send + 'static,
    ) {
        Queue::body(&self.inner, id, Box::new(done));
    }

    /// How many searches and binds all directories were asked for so far.
    pub fn directory_counts(&self) -> directory::Counts {
        self.inner.directories().iter().map(|(directory, _)| directory.counters()).fold(
            directory::Counts::default(),
            |sum, it| directory::Counts {
                searches: sum.searches + it.searches,
                binds: sum.binds + it.binds,
            },
        )
    }

    /// How many messages wait in the spool.
    pub fn queued(&self) -> usize {
        self.inner.queue.len()
    }

    /// Messages in the spool that nobody will get as things are. Reads a directory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn unusable(&self) -> Result<Unusable, StartError> {
        let spool = &self.inner.queue.spool;
        let failed = |error: SpoolError| StartError::Spool(error.to_string());
        Ok(Unusable { damaged: spool.damaged().map_err(failed)?, unread: spool.unread() })
    }

    /// Ends: what was begun is finished, then the threads stop. Calls that come later get their
    /// temporary failure. Waits for the disk.
    pub fn stop(&self) {
        self.inner.queue.stop();
        self.inner.files.stop();
        self.inner.mailboxes.stop();
        self.inner.passwords.stop();
        drop(lock(&self.inner.spool_lock).take());
    }
}

impl Inner {
    /// Every directory, once, and what it is for.
    fn directories(&self) -> Vec<(Arc<dyn Directory>, Vec<&'static str>)> {
        let mut all: Vec<(Arc<dyn Directory>, Vec<&'static str>)> = Vec::new();
        let mut add = |directory: &Arc<dyn Directory>, name| {
            let same = |known: &Arc<dyn Directory>| {
                std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(directory))
            };
            match all.iter_mut().find(|(known, _)| same(known)) {
                Some((_, names)) => names.push(name),
                None => all.push((Arc::clone(directory), vec![name])),
            }
        };
        for (map, source) in self.lookups.sources() {
            add(&source.directory, map.name());
        }
        if let Some(logins) = &self.settings.logins {
            add(&logins.directory, "logins");
        }
        all
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

fn secrets(settings: &Settings, fs: &dyn Fs, make: bool) -> Result<Option<Srs>, StartError> {
    let srs = run::srs::open(fs, &settings.spool.directory, settings.srs_domain.as_ref(), make);
    srs.map_err(|error| StartError::Spool(format!("srs-secret: {error}")))
}

/// The file system, and the real one behind it where it is that. With `make`, the spool's directory
/// is there then: it belongs to whoever makes it, so nobody may who only asks.
fn file_system(
    settings: &Settings,
    make: bool,
) -> Result<(Arc<dyn Fs>, Option<RealFs>), StartError> {
    if let Some(fs) = &settings.fs {
        return Ok((Arc::clone(fs), None));
    }
    let spool = &settings.spool.directory;
    let failed = |path: &Path, error: &std::io::Error| StartError::Directory {
        path: path.display().to_string(),
        what: error.to_string(),
    };
    if make {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(spool).map_err(|error| failed(spool, &error))?;
    }
    let mut bases = settings.allowed_bases.clone();
    // Where there is none yet, that is found below what there is.
    let there = spool.ancestors().find(|path| make || path.exists());
    bases.extend(there.map(Path::to_path_buf));
    for base in &bases {
        std::fs::metadata(base).map_err(|error| failed(base, &error))?;
    }
    let real = RealFs::new(&bases).map_err(|error| failed(spool, &error))?;
    Ok((Arc::new(real.clone()), Some(real)))
}

/// Makes the spool ours until the descriptor is closed, also by a crash. Two servers would deliver
/// each message twice, and remove what the other one is just writing.
fn lock_spool(real: &RealFs, path: &Path) -> Result<OwnedFd, StartError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock => StartError::SpoolInUse(path.display().to_string()),
        _ => StartError::Directory { path: path.display().to_string(), what: error.to_string() },
    };
    let dir = real.open_dir(path).map_err(failed)?;
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|error| failed(error.into()))?;
    Ok(dir)
}

fn threads(error: std::io::Error) -> StartError {
    StartError::Threads(error.to_string())
}

/// Locks; a panic of another thread while it held the lock does not spread (its job was answered
/// with a failure, and what the locks here guard is whole between any two statements).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
