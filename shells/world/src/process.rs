//! Which process we are, among those that use the same files.

use rustix::process::{Pid, test_kill_process};

/// A process, as names of files, queue ids and locks have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    id: u32,
    /// As Dovecot's locks have it.
    host: Option<String>,
    /// Nobody else runs on this host.
    alone: bool,
}

impl Process {
    /// Ours.
    pub fn own() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let host = host.map(|name| name.trim_end().to_owned()).filter(|name| !name.is_empty());
        Self { id: std::process::id(), host, alone: false }
    }

    /// The only one on its host: what a simulation takes us for.
    pub fn alone(id: u32, host: &str) -> Self {
        Self { id, host: Some(host.to_owned()), alone: true }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The computer's name, gethostname(2).
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Whether another process of this number lives on this host.
    pub(crate) fn lives(&self, id: i32) -> bool {
        let own = u32::try_from(id) == Ok(self.id);
        let there = |pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH);
        !own && !self.alone && Pid::from_raw(id).is_some_and(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lives() {
        let own = Process::own();
        assert!(own.lives(1));
        // Process ids end at 4194304.
        assert!(!own.lives(4_194_999) && !own.lives(0));
        assert!(!own.lives(i32::try_from(std::process::id()).unwrap()));
        assert!(!Process::alone(7, "h").lives(1));
    }
}
