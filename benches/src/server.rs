//! The servers under load.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use waypost_conformance::daemon::Daemon;
use waypost_conformance::net::{self, Endpoint};
use waypost_conformance::rig::Rig;

/// A running server and where to look at it from outside.
pub(crate) struct Server {
    /// For what is told meanwhile.
    pub(crate) name: String,
    /// Port 25.
    pub(crate) smtp: Endpoint,
    /// Port 587.
    pub(crate) submission: Endpoint,
    /// Port 993.
    pub(crate) imaps: Endpoint,
    /// Trust in its certificate.
    pub(crate) tls: Arc<rustls::ClientConfig>,
    /// Where the homes lie.
    homes: PathBuf,
    /// Its first processes.
    masters: Vec<u32>,
    /// Directories that hold messages not delivered yet.
    queues: Vec<PathBuf>,
    /// Where messages lie whose delivery has failed for now, if that is a place of its own.
    deferred: Option<PathBuf>,
    slapd_log: PathBuf,
}

impl Server {
    /// The rig's Postfix and Dovecot.
    pub(crate) fn of_rig(rig: &Rig) -> Result<Self, String> {
        let dir = rig.dir();
        let queue = dir.join("postfix/queue");
        Ok(Self {
            name: "peers".into(),
            smtp: here(rig.smtp_port()),
            submission: here(rig.submission_port()),
            imaps: here(rig.imaps_port()),
            tls: net::trusting(&dir.join("tls/CA.pem")).map_err(|e| e.to_string())?,
            homes: dir.join("home/mail"),
            masters: vec![
                pid(&queue.join("pid/master.pid"))?,
                pid(&dir.join("dovecot/run/master.pid"))?,
            ],
            deferred: Some(queue.join("deferred")),
            queues: ["maildrop", "incoming", "active"].map(|q| queue.join(q)).to_vec(),
            slapd_log: dir.join("log/slapd.log"),
        })
    }

    /// Waypost, on the slapd of a rig.
    pub(crate) fn waypost(name: String, rig: &Rig, daemon: &Daemon) -> Result<Self, String> {
        let stage = daemon.stage(VecDeque::new());
        Ok(Self {
            name,
            smtp: here(stage.smtp),
            submission: here(stage.submission),
            imaps: here(stage.imaps),
            tls: net::trusting(&daemon.ca()).map_err(|e| e.to_string())?,
            homes: daemon.homes(),
            masters: vec![daemon.pid().ok_or("the daemon is gone")?],
            deferred: None,
            queues: vec![daemon.dir().join("spool")],
            slapd_log: rig.dir().join("log/slapd.log"),
        })
    }

    /// Process ids of its first processes.
    pub(crate) fn masters(&self) -> &[u32] {
        &self.masters
    }

    /// Makes the Maildirs of the first `count` seeded users that have none.
    pub(crate) fn make_mailboxes(&self, count: usize) -> Result<(), String> {
        for n in 0..count {
            let home = self.homes.join(format!("u{n:05}"));
            let id = u32::try_from(30_000 + n).map_err(|e| e.to_string())?;
            for folder in ["", "mailbox", "mailbox/cur", "mailbox/new", "mailbox/tmp"] {
                let path = home.join(folder);
                if !path.exists() {
                    DirBuilder::new().mode(0o700).create(&path).map_err(|e| e.to_string())?;
                    chown(&path, Some(id), Some(id)).map_err(|e| e.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// Messages in `new` and `cur` of all users' INBOX.
    pub(crate) fn delivered(&self) -> Result<usize, String> {
        let mut count = 0;
        for home in fs::read_dir(&self.homes).into_iter().flatten().flatten() {
            for folder in ["new", "cur"] {
                let path = home.path().join("mailbox").join(folder);
                count += fs::read_dir(path).into_iter().flatten().count();
            }
        }
        Ok(count)
    }

    /// Waits until nothing is on its way any more.
    pub(crate) fn wait_until_idle(&self) -> Result<(), String> {
        let started = Instant::now();
        while self.queues.iter().any(|queue| holds_file(queue)) {
            if started.elapsed() > Duration::from_secs(300) {
                return Err("the queue does not empty".into());
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// An error when a message could not be delivered at the first try.
    pub(crate) fn nothing_deferred(&self) -> Result<(), String> {
        match &self.deferred {
            Some(folder) if holds_file(folder) => Err("messages were deferred".into()),
            _ => Ok(()),
        }
    }

    /// Operations the directory has answered since it started: binds, searches and the rest.
    pub(crate) fn directory_operations(&self) -> Result<usize, String> {
        let log = fs::read_to_string(&self.slapd_log).map_err(|e| e.to_string())?;
        let operations = [" SRCH base=", " BIND dn=", " CMP dn=", " EXT oid="];
        Ok(log.lines().filter(|l| operations.iter().any(|o| l.contains(o))).count())
    }
}

fn here(port: u16) -> Endpoint {
    Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn pid(file: &Path) -> Result<u32, String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    text.trim().parse().map_err(|_| format!("no pid: {text}"))
}

fn holds_file(folder: &Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        let settled = |name: &str| ["control", "srs-secret"].contains(&name);
        match path.is_dir() {
            true => holds_file(&path),
            // Of Waypost's spool: what is there without messages, too.
            false => !entry.file_name().to_str().is_some_and(settled),
        }
    })
}
