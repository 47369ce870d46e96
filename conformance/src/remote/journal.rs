//! The log of a daemon, as it is written: through a named pipe, so that nobody has to look again and
//! again whether a line has come.

use super::PATIENCE;
use rustix::fs::{CWD, Mode, mkfifoat};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// All lines so far.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Journal {
    /// Makes a pipe at `path`, for `log.file`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path) -> io::Result<Self> {
        mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?;
        // Open for both, so that it does not end with a daemon that ends.
        let pipe = File::options().read(true).write(true).open(path)?;
        let shared = Arc::new((Mutex::new(Vec::<String>::new()), Condvar::new()));
        let journal = Self { shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n') {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line).into_owned();
                shared.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                shared.1.notify_all();
            }
        });
        Ok(journal)
    }

    /// The `n`th line (from 0) of which `take` makes something; waits for it.
    ///
    /// # Errors
    /// It does not come; with all lines that have `about` in them.
    pub fn wait<T>(
        &self,
        n: usize,
        about: &str,
        take: impl Fn(&str) -> Option<T>,
    ) -> Result<T, String> {
        let (started, mut seen, mut found) = (Instant::now(), 0, 0);
        let mut lines = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while let Some(line) = lines.get(seen) {
                seen += 1;
                if let Some(taken) = take(line) {
                    if found == n {
                        return Ok(taken);
                    }
                    found += 1;
                }
            }
            let left = PATIENCE.saturating_sub(started.elapsed());
            let waited = self.shared.1.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
            if left.is_zero() {
                let lines: Vec<&str> =
                    lines.iter().filter(|l| l.contains(about)).map(String::as_str).collect();
                return Err(format!("the log does not tell; of {about}:\n{}", lines.join("\n")));
            }
        }
    }

    /// How many lines there are of which `is` is true.
    pub fn count(&self, is: impl Fn(&str) -> bool) -> usize {
        let lines = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| is(line)).count()
    }
}

/// `sent 2.0.0 (250 2.0.0 Ok)` of a line about a recipient.
pub fn fate(line: &str, recipient: &str) -> Option<String> {
    if !line.contains(&format!(" to=<{recipient}>,")) {
        return None;
    }
    let (_, dsn) = line.split_once(", dsn=")?;
    let (dsn, status) = dsn.split_once(", status=")?;
    let (word, text) = status.split_once(' ')?;
    Some(format!("{word} {dsn} {text}"))
}
