//! Proof by dialogue: scripts of protocol sessions and the means to play them against Waypost, and
//! against the Postfix and Dovecot it replaces.

pub mod bare;
pub mod corpus;
pub mod daemon;
pub mod names;
pub mod net;
pub mod notation;
pub mod nsd;
pub mod pattern;
pub mod programs;
pub mod remote;
pub mod replay;
pub mod report;
pub mod rig;
pub mod runner;
pub mod seeds;
pub mod shells;
pub mod stage;
pub mod talk;
pub mod transcript;

pub use rustix::process::Signal;
use std::path::PathBuf;

/// The folder of the scripts.
pub fn sessions() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/sessions"))
}

/// All scripts.
///
/// # Errors
/// What is wrong with files that do not keep to the notation, one line each.
pub fn scripts() -> Result<Vec<notation::Script>, String> {
    let root = sessions();
    let (mut scripts, mut problems) = (Vec::new(), Vec::new());
    for name in notation::list(&root) {
        match notation::read(&root, &name) {
            Ok(script) => scripts.push(script),
            Err(e) => problems.push(e.to_string()),
        }
    }
    if problems.is_empty() { Ok(scripts) } else { Err(problems.join("\n")) }
}

/// The end of a test program: prints what failed.
pub fn finish(outcome: Result<(), String>) -> std::process::ExitCode {
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(problems) => {
            println!("\n{problems}");
            std::process::ExitCode::FAILURE
        }
    }
}
