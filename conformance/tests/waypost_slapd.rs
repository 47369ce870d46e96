//! The sessions and the mail programs against the daemon with a real slapd and the article's own
//! map files.

use std::process::ExitCode;
use std::sync::Arc;
use waypost_conformance::daemon::Accounts;
use waypost_conformance::rig::{Options, Rig};
use waypost_conformance::runner;

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    let scripts = waypost_conformance::scripts()?;
    let seed = runner::users(&scripts);
    let options = Options { parts: vec!["ldap"], seed, ..Options::default() };
    let rig = Rig::start(options).map_err(|e| format!("the rig does not start: {e}"))?;
    runner::against_waypost(&Accounts::Slapd(Arc::new(rig)), &scripts)
}
