//! Every session file whose targets name Postfix or Dovecot, against the real ones: a check of the
//! files themselves.

use std::process::ExitCode;
use std::sync::Arc;
use waypost_conformance::notation::Script;
use waypost_conformance::programs;
use waypost_conformance::replay::Target;
use waypost_conformance::report::{self, Case};
use waypost_conformance::rig::{self, Options, Rig, seeded};
use waypost_conformance::runner;

fn main() -> ExitCode {
    let scripts = match waypost_conformance::scripts() {
        Ok(scripts) => scripts,
        Err(problems) => {
            println!("{problems}");
            return ExitCode::FAILURE;
        }
    };
    // The others need settings that the peers do not have.
    let for_peers = |s: &&Script| s.targets.iter().any(|t| t == "postfix" || t == "dovecot");
    let scripts: Vec<&Script> = scripts.iter().filter(for_peers).collect();
    let mut outcome = ExitCode::SUCCESS;
    let mut settings: Vec<Option<&str>> = scripts.iter().map(|s| s.setting.as_deref()).collect();
    settings.sort_unstable();
    settings.dedup();
    for setting in settings {
        let here: Vec<_> =
            scripts.iter().copied().filter(|s| s.setting.as_deref() == setting).collect();
        let named = here.iter().map(|s| s.name.as_str());
        if setting.is_some() && !report::wanted(named) {
            continue;
        }
        if let Err(problem) = against_peers(setting, &here) {
            println!("{problem}");
            outcome = ExitCode::FAILURE;
        }
    }
    outcome
}

/// Plays the scripts that want one setting.
fn against_peers(setting: Option<&str>, scripts: &[&Script]) -> Result<(), String> {
    let settings = match setting {
        Some(name) => vec![rig::setting(name).ok_or_else(|| format!("no setting {name}"))?],
        None => Vec::new(),
    };
    let count = scripts.len();
    let options = Options { seed: count * 2 + 20, settings, ..Options::default() };
    let rig = Rig::start(options).map_err(|e| format!("the rig does not start: {e}"))?;
    let rig = Arc::new(rig);
    let postfix = rig.postfix(seeded(0, count)).map_err(|e| e.to_string())?;
    let dovecot = rig.dovecot(seeded(count, count)).map_err(|e| e.to_string())?;
    // Scripts that stop the directory come last, alone.
    let (alone, shared): (Vec<_>, Vec<_>) = scripts.iter().partition(|s| s.stops_directory());
    let title = setting.unwrap_or("usual settings");
    let targets = [&postfix, &dovecot];
    report::run(&format!("Postfix and Dovecot, {title}"), &both(&shared, targets), 8)?;
    if setting.is_none() {
        // What the programs expect is checked here too, before Waypost has to fulfil it.
        let stage = rig.stage(seeded(2 * count, 20));
        report::run("mail programs", &programs::cases(&stage), 2)?;
    }
    report::run("Postfix and Dovecot, directory stopped", &both(&alone, targets), 1)
}

fn both<'a>(scripts: &[&'a Script], targets: [&'a Target; 2]) -> Vec<Case<'a>> {
    targets.into_iter().flat_map(|target| runner::cases(scripts, target)).collect()
}
