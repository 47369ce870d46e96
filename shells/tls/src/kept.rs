//! Policies on disk: what was enforced before a restart is enforced after it.
//!
//! A file per domain: a line of our own (format, id, when it was fetched, in seconds since 1970),
//! then the policy as RFC 8461 3.2 writes it. A file that makes no sense is as good as none.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use waypost_tls::StsPolicy;

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

/// The directory; `None`: nothing is kept.
pub(crate) struct Directory(pub(crate) Option<PathBuf>);

impl Directory {
    pub(crate) fn read(&self, domain: &str) -> Option<Kept> {
        Kept::parse(&fs::read_to_string(self.file(domain)?).ok()?)
    }

    pub(crate) fn write(&self, domain: &str, kept: &Kept) -> io::Result<()> {
        let Some(path) = self.file(domain) else { return Ok(()) };
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
        let path = self.0.as_deref().map(Path::to_owned)?;
        is_domain(domain).then(|| path.join(domain))
    }
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
        let directory = Directory(Some(folder.path().join("mta-sts")));
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
    fn no_domain_leads_elsewhere() {
        let directory = Directory(Some("/nowhere".into()));
        for bad in ["", ".", "..", "../x", "a/b", ".hidden", "a\0", "é", &"a".repeat(241)] {
            assert_eq!(directory.file(bad), None, "{bad}");
        }
        assert_eq!(directory.file("a.b-c"), Some("/nowhere/a.b-c".into()));
        assert_eq!(Directory(None).file("a"), None);
    }
}
