//! Every session file whose targets name Postfix or Dovecot, against the real ones: a check of the
//! files themselves.

use std::process::ExitCode;
use std::sync::Arc;
use waypost_conformance::notation::{self, Script};
use waypost_conformance::replay::play;
use waypost_conformance::report::{self, Case};
use waypost_conformance::rig::{Options, Rig, seeded};

fn main() -> ExitCode {
    let root = waypost_conformance::sessions();
    let (mut scripts, mut malformed) = (Vec::new(), false);
    for name in notation::list(&root) {
        match notation::read(&root, &name) {
            Ok(script) => scripts.push(script),
            Err(e) => {
                println!("{e}");
                malformed = true;
            }
        }
    }
    if malformed {
        return ExitCode::FAILURE;
    }
    let usual = |s: &&Script| s.setting.is_none();
    let options = Options { seed: scripts.len() * 2, ..Options::default() };
    let rig = match Rig::start(options) {
        Ok(rig) => Arc::new(rig),
        Err(e) => {
            println!("the reference stack does not start: {e}");
            return ExitCode::FAILURE;
        }
    };
    let postfix = rig.postfix(seeded(0, scripts.len())).expect("the rig has made its CA");
    let dovecot = rig.dovecot(seeded(scripts.len(), scripts.len())).expect("the same CA");
    let mut cases = Vec::new();
    for target in [&postfix, &dovecot] {
        for script in scripts.iter().filter(usual) {
            if script.targets.iter().any(|t| t == target.name) {
                let name = format!("{} {}", target.name, script.name);
                cases.push(Case { name, check: Box::new(move || play(script, target)) });
            }
        }
    }
    // Scripts that stop the directory come last, alone.
    let (shared, alone): (Vec<_>, Vec<_>) =
        cases.into_iter().partition(|c| !c.name.contains("directory-down"));
    let first = report::run("sessions against Postfix and Dovecot", &shared, 8);
    let last = report::run("the same, directory stopped", &alone, 1);
    if first == ExitCode::SUCCESS { last } else { first }
}
