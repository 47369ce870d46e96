//! What the process does besides mail: rights, signals, housekeeping, telling systemd.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use nix::unistd::{Uid, setgroups};
use rustix::process::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::log::LogFile;
use crate::server::Server;

/// How often certificate files, and memory that is not needed any more, are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Gives up the supplementary groups of root: none of them may open a mailbox. Before any thread.
pub(crate) fn drop_groups() -> io::Result<()> {
    match Uid::effective().is_root() {
        true => setgroups(&[]).map_err(io::Error::from),
        false => Ok(()),
    }
}

/// Takes as many file descriptors as the system allows: each connection is one.
pub(crate) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(target: "waypost", "limit of open files: {error}");
    }
}

/// Says whose the mail is going to be, when that is not what the directory says.
pub(crate) fn tell_identity() {
    let user = Uid::effective();
    if !user.is_root() {
        tracing::info!(
            target: "waypost",
            "not started as root: all mailboxes belong to user {user}, whatever the directory says"
        );
    }
}

/// Waits for signals, and looks at certificates now and then, in a thread of its own. SIGTERM and
/// SIGINT stop the server; SIGHUP opens the log file anew and looks at the certificates.
pub(crate) fn watch(server: &Arc<Server>, log: LogFile) -> io::Result<()> {
    let (send, received) = channel();
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if send.send(signal).is_err() {
                return;
            }
        }
    })?;
    let server = Arc::clone(server);
    thread::Builder::new().name("watch".into()).spawn(move || run(&server, &log, &received))?;
    Ok(())
}

fn run(server: &Server, log: &LogFile, signals: &Receiver<i32>) {
    loop {
        match signals.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {
                server.refresh_certificates();
                server.give_back_memory();
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(SIGHUP) => {
                // Type=notify-reload wants to know when; without a clock it just waits longer.
                let time = NotifyState::monotonic_usec_now().ok();
                let began: Vec<_> = [NotifyState::Reloading].into_iter().chain(time).collect();
                tell(&began);
                if let Err(error) = log.reopen() {
                    tracing::error!(target: "waypost", "log.file: {error}");
                }
                server.refresh_certificates();
                tell(&[NotifyState::Ready]);
            }
            Ok(_) => {
                tell(&[NotifyState::Stopping]);
                server.stop();
            }
        }
    }
}

/// Tells systemd that we take connections.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(target: "waypost", "sd_notify: {error}");
    }
}
