//! What a server stands on: the system, or a simulation of it.

use std::sync::Arc;

use waypost_relay::Resolve;
use waypost_world::directory::Directory;
use waypost_world::fs::Fs;
use waypost_world::{Clock, Log, Process, Workers};

/// What a server stands on besides its configuration. All that is `None` is the system's.
#[derive(Clone)]
pub struct Ground {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Instead of the files of mailboxes and spool. There is no control socket then.
    pub fs: Option<Arc<dyn Fs>>,
    /// Instead of threads for files, passwords and the queue.
    pub workers: Option<Arc<dyn Workers>>,
    /// Instead of the directories that tables and logins name.
    pub directory: Option<Arc<dyn Directory>>,
    /// Instead of the DNS.
    pub names: Option<Arc<dyn Resolve>>,
    /// Instead of log lines about messages.
    pub log: Option<Arc<dyn Log>>,
    /// Instead of the process that we are.
    pub process: Option<Process>,
    /// Instead of chance, where that decides between hosts of the same preference.
    pub seed: Option<u64>,
}

impl Ground {
    /// The system.
    pub fn system(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            fs: None,
            workers: None,
            directory: None,
            names: None,
            log: None,
            process: None,
            seed: None,
        }
    }
}
