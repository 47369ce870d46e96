//! Policies on disk: what was enforced before a restart is enforced after it.
//!
//! A file per domain: a line of our own (format, id, when it was fetched, in seconds since 1970),
//! then the policy as RFC 8461 3.2 writes it. A file that makes no sense is as good as none.
//!
//! Whoever has many domains could fill the disk: there are only so many files. Once a day, and when
//! there are too many, those are removed whose time is over, then those that were fetched first:
//! a policy that is in use is fetched anew every day.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use waypost_tls::StsPolicy;

/// Files, at most.
const LIMIT: usize = 10_000;

/// What is over is removed so often, in seconds.
const SWEEP: u64 = 86_400;

/// The first word of a file.
const FORMAT: &str = "waypost-mta-sts-1";

/// A policy, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) id: Box<str>,
    pub(crate) fetched: u64,
    pub(crate) policy: Arc<StsPolicy>,
}

impl Kept {
    /// It is not older than it may become.
    pub(crate) fn is_live(&self, now: u64) -> bool {
        now < self.fetched.saturating_add(u64::from(self.policy.max_age))
    }

    fn parse(text: &str) -> Option<Self> {
        let (head, policy) = text.split_once('\n')?;
        let mut words = head.split(' ');
        let (FORMAT, Some(id), Some(fetched)) = (words.next()?, words.next(), words.next()) else {
            return None;
        };
        let policy = Arc::new(StsPolicy::parse(policy.as_bytes()).ok()?);
        Some(Self { id: id.into(), fetched: fetched.parse().ok()?, policy })
    }
}

/// The directory.
pub(crate) struct Directory {
    /// `None`: nothing is kept.
    path: Option<PathBuf>,
    limit: usize,
    swept: Mutex<Option<Swept>>,
}

/// What is known of the files.
#[derive(Clone, Copy)]
struct Swept {
    /// When they were counted, in seconds since 1970.
    at: u64,
    /// How many there are, or fewer: one that is written anew counts twice.
    count: usize,
}

impl Directory {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, limit: LIMIT, swept: Mutex::default() }
    }

    pub(crate) fn read(&self, domain: &str) -> Option<Kept> {
        read(&self.file(domain)?)
    }

    /// Writes one, and removes what is too much. Waits for the disk.
    pub(crate) fn write(&self, domain: &str, kept: &Kept) -> io::Result<()> {
        let Some(path) = self.file(domain) else { return Ok(()) };
        // One at a time: what is half written is nobody's leftover.
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match *swept {
            Some(Swept { at, count }) if count < self.limit && kept.fetched < at + SWEEP => count,
            _ => {
                let count = self.sweep(kept.fetched);
                *swept = Some(Swept { at: kept.fetched, count });
                count
            }
        };
        *swept = swept.map(|swept| Swept { count: count + 1, ..swept });
        let Kept { id, fetched, policy } = kept;
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        // No domain has a name that begins with a dot.
        let new = path.with_file_name(format!(".{domain}"));
        let mut file = File::create(&new)?;
        file.write_all(format!("{FORMAT} {id} {fetched}\n{policy}").as_bytes())?;
        file.sync_data()?;
        fs::rename(new, path)
    }

    fn file(&self, domain: &str) -> Option<PathBuf> {
        let path = self.path.as_deref()?;
        is_domain(domain).then(|| path.join(domain))
    }

    /// Removes what is over, or no policy, and the oldest of those that are too many. Returns how
    /// many are left. What cannot be removed stays.
    fn sweep(&self, now: u64) -> usize {
        let Some(Ok(entries)) = self.path.as_ref().map(fs::read_dir) else { return 0 };
        let mut live = Vec::new();
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            match read(&path).filter(|kept| kept.is_live(now)) {
                Some(kept) => live.push((kept.fetched, path)),
                None => _ = fs::remove_file(path),
            }
        }
        // Not only one: the next would come soon.
        let room = self.limit - self.limit / 10;
        if live.len() >= self.limit {
            live.sort();
            live.drain(..live.len() - room).for_each(|(_, path)| _ = fs::remove_file(path));
        }
        live.len()
    }
}

fn read(path: &Path) -> Option<Kept> {
    Kept::parse(&fs::read_to_string(path).ok()?)
}

/// Nothing that a file name, or a URL, could take for something else.
pub(crate) fn is_domain(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    !text.starts_with('.') && (1..=240).contains(&text.len()) && text.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &[u8] = b"version: STSv1\nmode: enforce\nmx: *.example.com\nmax_age: 100\n";

    #[test]
    fn comes_back_from_disk() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::new(Some(folder.path().join("mta-sts")));
        assert_eq!(directory.read("example.com"), None);
        let policy = Arc::new(StsPolicy::parse(POLICY).unwrap());
        let kept = Kept { id: "1".into(), fetched: 1000, policy };
        directory.write("example.com", &kept).unwrap();
        assert_eq!(directory.read("example.com"), Some(kept.clone()));
        assert!(kept.is_live(1099) && !kept.is_live(1100));
        let path = folder.path().join("mta-sts/example.com");
        for broken in ["", "x", "waypost-mta-sts-1 1 x\n", "waypost-mta-sts-2 1 1000\n"] {
            fs::write(&path, [broken.as_bytes(), POLICY].concat()).unwrap();
            assert_eq!(directory.read("example.com"), None, "{broken}");
        }
    }

    #[test]
    fn the_disk_does_not_fill_up() {
        let folder = tempfile::tempdir().unwrap();
        let directory = || Directory { limit: 10, ..Directory::new(Some(folder.path().into())) };
        let policy = Arc::new(StsPolicy::parse(POLICY).unwrap());
        let kept = |fetched| Kept { id: "1".into(), fetched, policy: Arc::clone(&policy) };
        let names = || {
            let entries = fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let first = directory();
        for n in 0..10 {
            first.write(&format!("d{n}.test"), &kept(1000 + n)).unwrap();
        }
        assert_eq!(names().len(), 10);
        // The one that was fetched first goes.
        first.write("e0.test", &kept(1010)).unwrap();
        assert_eq!(names().len(), 10);
        assert!(first.read("d0.test").is_none() && first.read("d1.test").is_some());
        // So also after a restart, when nobody knows how many there are.
        for n in 0..100 {
            let directory = directory();
            directory.write(&format!("f{n}.test"), &kept(1020)).unwrap();
            assert!(directory.read(&format!("f{n}.test")).is_some() && names().len() <= 10);
        }
        // What is over, and what is no policy, goes within a day.
        fs::write(folder.path().join(".half.test"), "waypost").unwrap();
        first.write("g.test", &kept(1010 + SWEEP)).unwrap();
        assert_eq!(names(), ["g.test"]);
    }

    #[test]
    fn no_domain_leads_elsewhere() {
        let directory = Directory::new(Some("/nowhere".into()));
        for bad in ["", ".", "..", "../x", "a/b", ".hidden", "a\0", "é", &"a".repeat(241)] {
            assert_eq!(directory.file(bad), None, "{bad}");
        }
        assert_eq!(directory.file("a.b-c"), Some("/nowhere/a.b-c".into()));
        assert_eq!(Directory::new(None).file("a"), None);
    }
}
