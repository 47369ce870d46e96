//! What the system says of a process.

use std::fs;
use std::time::Duration;

/// A process id.
pub(crate) struct Process(pub(crate) u32);

/// What all threads of a process have done since they began.
pub(crate) struct Activity {
    /// Times that they went to wait for something.
    pub(crate) switches: u64,
    pub(crate) busy: Duration,
}

impl Process {
    /// KiB in memory, pages of the program and its libraries included.
    pub(crate) fn resident(&self) -> Result<f64, String> {
        let text = read(&format!("/proc/{}/status", self.0))?;
        Ok(number(&text, "VmRSS:")? as f64)
    }

    pub(crate) fn activity(&self) -> Result<Activity, String> {
        let folder = format!("/proc/{}/task", self.0);
        let (mut switches, mut nanos) = (0, 0);
        for thread in fs::read_dir(&folder).map_err(|e| format!("{folder}: {e}"))? {
            let thread = thread.map_err(|e| e.to_string())?.path();
            // A thread may end just now.
            let Ok(status) = read(&thread.join("status").display().to_string()) else { continue };
            switches += number(&status, "voluntary_ctxt_switches:")?;
            let times = read(&thread.join("schedstat").display().to_string()).unwrap_or_default();
            nanos += times.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        }
        Ok(Activity { switches, busy: Duration::from_nanos(nanos) })
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

fn number(text: &str, name: &str) -> Result<u64, String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let number = line.trim().trim_end_matches(" kB");
    number.parse().map_err(|_| format!("{name} {line}"))
}
