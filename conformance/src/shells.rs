//! The programs that run Waypost: one for each runtime.
//!
//! What a shell does is sockets, timers and wake-ups, so the tests that are about these run on all of
//! them, and those about the world behind run on the first alone:
//!
//! | on all shells | because |
//! |---|---|
//! | `tests/waypost.rs`, `tests/waypost_slapd.rs` | sessions and real clients; the same dialogue comes out everywhere |
//! | `tests/hostile.rs`, `tests/limits.rs` | reading and writing, limits, time limits, descriptors |
//! | `tests/process.rs` | sockets handed over, readiness, graceful stop |
//! | `tests/crash.rs` | what is begun when the process ends |
//! | `tests/remotes.rs`, `tests/outgoing.rs` | connections to other servers |
//!
//! | on one | because it is about |
//! |---|---|
//! | `tests/faults.rs`, `tests/takeover.rs` | directory, disk and Maildir |
//! | `tests/maps.rs`, `tests/logs.rs`, `tests/readme.rs` | commands and log lines, which `shells/daemon` has |
//! | `tests/tls.rs` | certificates and versions, which `shells/daemon` and `shells/driver` have |
//! | `tests/outgoing_peers.rs`, `tests/outgoing_duties.rs`, `tests/remote_crash.rs` | message, queue and spool |

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A program that runs Waypost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shell {
    /// `waypost`
    Tokio,
    /// `waypost-mio`
    Mio,
    /// `waypost-smol`
    Smol,
}

impl Shell {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tokio, Self::Mio, Self::Smol];

    /// The name of the program, and of its package.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokio => "waypost",
            Self::Mio => "waypost-mio",
            Self::Smol => "waypost-smol",
        }
    }

    /// The program: in the folder that WAYPOST_PROGRAMS names, or of the profile the caller was built
    /// in, which cargo brings up to date first.
    ///
    /// # Errors
    /// It does not build.
    pub fn program(self) -> io::Result<PathBuf> {
        static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let folder = FOLDER.get_or_init(|| match std::env::var_os("WAYPOST_PROGRAMS") {
            Some(folder) => Ok(folder.into()),
            None => build().map_err(|e| e.to_string()),
        });
        folder
            .as_deref()
            .map(|at: &Path| at.join(self.name()))
            .map_err(|e| io::Error::other(e.clone()))
    }
}

/// Runs a check for every shell at once.
///
/// # Errors
/// Those of the checks.
pub fn on_all(check: impl Fn(Shell) -> Result<(), String> + Sync) -> Result<(), String> {
    let failures: Vec<String> = std::thread::scope(|scope| {
        let check = &check;
        let threads = Shell::ALL.map(|shell| scope.spawn(move || check(shell)));
        threads.into_iter().filter_map(|it| it.join().expect("no panic").err()).collect()
    });
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// Builds all; their folder.
fn build() -> io::Result<PathBuf> {
    let ours = std::env::current_exe()?;
    // .../target/debug/deps/test-1234 or .../target/release/compare
    let folder = ours.ancestors().skip(1).find(|p| !p.ends_with("deps"));
    let folder = folder.ok_or_else(|| io::Error::other("no target directory"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked"]);
    command.args(Shell::ALL.iter().flat_map(|shell| ["-p", shell.name()]));
    command.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    if folder.ends_with("release") {
        command.arg("--release");
    }
    if !command.status()?.success() {
        return Err(io::Error::other("cargo build of waypost fails"));
    }
    Ok(folder.to_owned())
}
