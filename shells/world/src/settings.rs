//! What a world has to know before it starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::event::Log;

/// All settings of a world. The shell makes them out of its configuration.
#[derive(Clone)]
pub struct Settings {
    /// Our name: `myhostname`, as Received headers, file names and logs show it.
    pub hostname: Box<str>,
    /// Where messages wait that cannot be delivered now.
    pub spool: Spool,
    /// Threads for work on files. Each waits for the disk by itself, so there are more than cores.
    pub file_threads: usize,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where news of messages go.
    pub log: Arc<dyn Log>,
}

/// The spool and its schedule, with Postfix's names and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// Its directory; made when it is missing.
    pub directory: PathBuf,
    /// `minimal_backoff_time`: between the first two attempts.
    pub minimal_backoff: Duration,
    /// `maximal_backoff_time`: between attempts, at most.
    pub maximal_backoff: Duration,
    /// `queue_run_delay`: how often the spool is looked through.
    pub run_delay: Duration,
}

impl Spool {
    /// The defaults of Postfix, for a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            minimal_backoff: Duration::from_secs(300),
            maximal_backoff: Duration::from_secs(4000),
            run_delay: Duration::from_secs(300),
        }
    }
}

impl Settings {
    /// Settings with every default.
    pub fn new(hostname: &str, spool: impl Into<PathBuf>, log: Arc<dyn Log>) -> Self {
        Self {
            hostname: hostname.into(),
            spool: Spool::new(spool),
            file_threads: 32,
            clock: Arc::new(SystemClock::default()),
            log,
        }
    }
}
