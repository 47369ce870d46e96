//! A directory out of an LDIF file, in this process.
//!
//! The file is read again when it has changed and was left alone for a second: looked at once a second
//! at most, and only when somebody asks. A file that cannot be read keeps the entries of the last good one, and the log says which
//! line is wrong. Password checks and reading run on threads of its own, at most [`THREADS`] at a
//! time.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use waypost_ldap::ldif::LdifError;
use waypost_ldap::tree::{Duplicate, Tree};
use waypost_ldap::{Dn, Outcome, Search, ldif};
use waypost_machine::{Secret, Time, UnixTime};

use crate::clock::Clock;
use crate::directory::password::{self, Unusable};
use crate::directory::{BindDone, Bound, CheckDone, Counters, Counts, Directory, SearchDone};
use crate::lock;
use crate::pool::Pool;
use crate::promise::Sure;
use crate::run::queue::since;

/// Threads that check passwords and read the file.
pub const THREADS: usize = 2;
/// How often the file is looked at, at most; and how long it must be left alone before it is read: it
/// may be only half written.
const LOOK: Duration = Duration::from_secs(1);

/// A directory out of a file.
#[derive(Clone)]
pub struct Ldif {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
}

struct Shared {
    path: PathBuf,
    allow_cleartext: bool,
    clock: Arc<dyn Clock>,
    tree: ArcSwap<Tree>,
    /// When the file was last looked at.
    looked: Mutex<Time>,
    /// The state of the file that was read, held while it is read; `None` once it was not there.
    seen: Mutex<Option<Mark>>,
    counters: Counters,
}

/// What changes when a file is written or replaced: device, inode, size, seconds, nanoseconds.
type Mark = (u64, u64, u64, i64, i64);

/// Why a file gives no directory. The text names file and line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("{path}: {what}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        what: String,
    },
    /// It is not LDIF.
    #[error("{path}:{}: {}", .error.line, .error.kind)]
    Ldif {
        /// The file.
        path: String,
        /// The fault and its line.
        error: LdifError,
    },
    /// A name stands twice.
    #[error("{path}: {error}")]
    Duplicate {
        /// The file.
        path: String,
        /// The name.
        error: Duplicate,
    },
}

impl Ldif {
    /// Reads a file. Passwords that stand in it as they are count only with `allow_cleartext`.
    ///
    /// # Errors
    /// When the file cannot be read, or is wrong; names the line.
    pub fn open(
        path: impl Into<PathBuf>,
        allow_cleartext: bool,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LoadError> {
        let path = path.into();
        // The mark is taken before the content: a change in between is seen as one more change.
        let mark = mark(&path).map_err(|error| unreadable(&path, &error))?;
        let tree = load(&path)?;
        let pool = Pool::start("ldif", THREADS).map_err(|error| unreadable(&path, &error))?;
        let shared = Shared {
            path,
            allow_cleartext,
            tree: ArcSwap::from_pointee(tree),
            looked: Mutex::new(clock.mono()),
            clock,
            seen: Mutex::new(Some(mark)),
            counters: Counters::default(),
        };
        Ok(Self { shared: Arc::new(shared), pool: Arc::new(pool) })
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.shared.tree.load().entries().len()
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shared {
    /// True when it is time to look at the file; then it is this caller's turn.
    fn is_due(&self) -> bool {
        let now = self.clock.mono();
        let mut looked = lock(&self.looked);
        let due = now.since(*looked) >= LOOK;
        if due {
            *looked = now;
        }
        due
    }

    /// True when somebody may still be writing the file. A time to come says nothing: the clock that
    /// gave it is not ours.
    fn is_fresh(&self, (_, _, _, secs, nanos): &Mark) -> bool {
        let nanos = u32::try_from(*nanos).unwrap_or(0);
        let now = self.clock.wall();
        let age = since(UnixTime { secs: *secs, nanos }, now);
        (*secs, nanos) <= (now.secs, now.nanos) && age < LOOK
    }

    /// Reads the file again if it has changed.
    fn refresh(&self) {
        let now = mark(&self.path);
        let mut seen = lock(&self.seen);
        match &now {
            Ok(mark) if *seen == Some(*mark) || self.is_fresh(mark) => return,
            Err(_) if seen.is_none() => return,
            _ => *seen = now.as_ref().ok().copied(),
        }
        // Still locked: an older reading must not come after a newer one.
        let loaded =
            now.map_err(|error| unreadable(&self.path, &error)).and_then(|_| load(&self.path));
        match loaded {
            Ok(tree) => {
                tracing::info!(path = %self.path.display(), entries = tree.entries().len(),
                    "directory file read again");
                self.tree.store(Arc::new(tree));
            }
            Err(error) => {
                tracing::error!("{error}; the entries read before stay in use");
            }
        }
    }

    fn bind(&self, name: &str, password: &Secret<Box<str>>) -> Bound {
        let Ok(dn) = Dn::parse(name) else { return Bound::Denied };
        let tree = self.tree.load_full();
        let mut unusable = None;
        for stored in tree.passwords(&dn) {
            match password::check(stored, password.expose().as_bytes(), self.allow_cleartext) {
                Ok(true) => return Bound::Accepted,
                Ok(false) => {}
                Err(why) => unusable = Some(why),
            }
        }
        match unusable {
            None => Bound::Denied,
            Some(why) => self.uncheckable(name, why),
        }
    }

    /// None of the passwords fits, but one could not be compared: it may have been that one.
    fn uncheckable(&self, name: &str, why: Unusable) -> Bound {
        let text = format!("{}: userPassword of '{name}': {why}", self.path.display());
        Bound::Unavailable { code: None, text }
    }
}

impl Directory for Ldif {
    fn search(&self, search: Search, done: SearchDone) {
        self.shared.counters.search();
        if !self.shared.is_due() {
            done(self.shared.tree.load().search(&search));
            return;
        }
        let shared = Arc::clone(&self.shared);
        let failed = || Outcome::Unavailable("the directory file could not be read".into());
        let done = Sure::new(done, failed);
        self.pool.submit(None, move || {
            shared.refresh();
            done.keep(shared.tree.load().search(&search));
        });
    }

    fn bind(&self, name: &str, password: Secret<Box<str>>, done: BindDone) {
        if password.expose().is_empty() {
            done(Bound::Denied);
            return;
        }
        self.shared.counters.bind();
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        let failed = || Bound::Unavailable { code: None, text: "the check failed".into() };
        let done = Sure::new(done, failed);
        self.pool.submit(None, move || {
            if shared.is_due() {
                shared.refresh();
            }
            done.keep(shared.bind(&name, &password));
        });
    }

    fn counters(&self) -> Counts {
        self.shared.counters.read()
    }

    fn check(&self, done: CheckDone) {
        let shared = Arc::clone(&self.shared);
        let done = Sure::new(done, || Err("the check failed".into()));
        self.pool.submit(None, move || {
            let path = shared.path.display();
            done.keep(match load(&shared.path) {
                Ok(tree) => Ok(format!("{path}: {} entries", tree.entries().len())),
                Err(error) => Err(error.to_string()),
            });
        });
    }
}

fn mark(path: &Path) -> io::Result<Mark> {
    let of = |m: Metadata| (m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec());
    std::fs::metadata(path).map(of)
}

fn load(path: &Path) -> Result<Tree, LoadError> {
    let text = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let name = || path.display().to_string();
    let entries = ldif::parse(&text).map_err(|error| LoadError::Ldif { path: name(), error })?;
    Tree::new(entries).map_err(|error| LoadError::Duplicate { path: name(), error })
}

fn unreadable(path: &Path, error: &io::Error) -> LoadError {
    LoadError::Read { path: path.display().to_string(), what: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::sync::mpsc;
    use waypost_ldap::{Filter, Scope};

    const DATA: &str = include_str!("../../tests/data/article.ldif");

    struct Place {
        dir: tempfile::TempDir,
        clock: Arc<ManualClock>,
        ldif: Ldif,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("mail.ldif");
            std::fs::write(&path, DATA).unwrap();
            let clock = Arc::new(ManualClock::new(0));
            let ldif = Ldif::open(path, false, Arc::<ManualClock>::clone(&clock)).unwrap();
            Self { dir, clock, ldif }
        }

        fn write(&self, text: &str) {
            std::fs::write(self.dir.path().join("mail.ldif"), text).unwrap();
            self.clock.advance(LOOK);
        }

        fn find(&self, filter: &str) -> Vec<String> {
            let (to, from) = mpsc::channel();
            let search = Search {
                base: Dn::parse("ou=Mail,dc=example,dc=com").unwrap(),
                scope: Scope::Sub,
                filter: Filter::parse(filter).unwrap(),
                attributes: vec![],
                size_limit: 0,
                deref: waypost_ldap::search::Deref::Never,
            };
            self.ldif.search(search, Box::new(move |outcome| to.send(outcome).unwrap()));
            match from.recv().unwrap() {
                Outcome::Entries { entries, more: false } => {
                    entries.iter().map(|e| e.text("uid").unwrap().to_owned()).collect()
                }
                other => panic!("{other:?}"),
            }
        }

        fn bind(&self, dn: &str, password: &str) -> Bound {
            let (to, from) = mpsc::channel();
            let secret = Secret::new(password.into());
            self.ldif.bind(dn, secret, Box::new(move |bound| to.send(bound).unwrap()));
            from.recv().unwrap()
        }
    }

    const MAIL000: &str = "uid=mail000,ou=Mail,dc=example,dc=com";

    #[test]
    fn the_article_s_entries() {
        let place = Place::new();
        assert_eq!(place.find("(mailacceptinggeneralid=sales@example.net)"), ["mail000"]);
        assert_eq!(place.find("(mailacceptinggeneralid=*@only-catchall.test)"), ["catchall2"]);
        assert_eq!(place.find("(uid=nobody)"), Vec::<String>::new());
        assert_eq!(place.bind(MAIL000, "secret000"), Bound::Accepted);
        assert_eq!(
            place.bind("UID=Mail000, ou=mail,dc=Example,dc=com", "secret000"),
            Bound::Accepted
        );
        for (dn, password) in [
            (MAIL000, "secret001"),
            (MAIL000, ""),
            ("uid=nobody,ou=Mail,dc=example,dc=com", "secret000"),
            ("uid=forward,ou=Mail,dc=example,dc=com", "secret000"),
            ("not a name", "secret000"),
        ] {
            assert_eq!(place.bind(dn, password), Bound::Denied, "{dn}");
        }
        assert_eq!(place.ldif.counters(), Counts { searches: 3, binds: 6 });
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let place = Place::new();
        std::fs::write(place.dir.path().join("mail.ldif"), "").unwrap();
        assert_eq!(place.find("(uid=mail000)"), ["mail000"], "not looked at yet");
        place.write(&DATA.replace("uid: mail001", "uid: mail002"));
        assert_eq!(place.find("(uid=mail002)"), ["mail002"]);
        assert_eq!(place.find("(uid=mail001)"), Vec::<String>::new());
        std::fs::remove_file(place.dir.path().join("mail.ldif")).unwrap();
        place.clock.advance(LOOK);
        assert_eq!(place.find("(uid=mail002)"), ["mail002"]);
        place.write(DATA);
        assert_eq!(place.find("(uid=mail001)"), ["mail001"]);
    }

    /// Who is only not there yet is no unknown user.
    #[test]
    fn a_file_is_not_read_while_it_is_written() {
        let place = Place::new();
        let path = place.dir.path().join("mail.ldif");
        let at = |secs: u64| std::time::UNIX_EPOCH + Duration::from_secs(secs);
        let write = |text: &str, secs| {
            std::fs::write(&path, text).unwrap();
            std::fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(at(secs))
                .unwrap();
        };
        // The clock stands at 1000 s, and goes on by a second with each look.
        place.clock.advance(Duration::from_secs(1000));
        write("", 1000);
        assert_eq!(place.find("(uid=mail000)"), ["mail000"]);
        place.clock.advance(LOOK);
        write(&DATA.replace("uid: mail001", "uid: mail002"), 1001);
        assert_eq!(place.find("(uid=mail000)"), ["mail000"]);
        place.clock.advance(LOOK);
        assert_eq!(place.find("(uid=mail002)"), ["mail002"]);
    }

    #[test]
    fn a_bad_file_keeps_the_old_entries() {
        let place = Place::new();
        place.write("dn: uid=x,dc=example\nuid x\n");
        assert_eq!(place.find("(uid=mail000)"), ["mail000"]);
        let (to, from) = mpsc::channel();
        place.ldif.check(Box::new(move |result| to.send(result).unwrap()));
        let text = from.recv().unwrap().unwrap_err();
        assert!(text.contains("mail.ldif:2: "), "{text}");
        let error = Ldif::open(
            place.dir.path().join("none"),
            false,
            Arc::<ManualClock>::clone(&place.clock),
        );
        assert!(matches!(error, Err(LoadError::Read { .. })));
    }

    #[test]
    fn a_hash_that_cannot_be_checked_is_no_wrong_password() {
        let place = Place::new();
        place.write(&DATA.replace("{SSHA}", "{MYSTERY}"));
        assert_eq!(place.find("(uid=mail000)"), ["mail000"]);
        assert!(matches!(place.bind(MAIL000, "secret000"), Bound::Unavailable { code: None, .. }));
    }
}
