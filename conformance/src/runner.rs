//! Plays every script that names Waypost, and runs every mail program, against the daemon.

use crate::daemon::{Accounts, Daemon};
use crate::notation::Script;
use crate::programs;
use crate::replay::{Target, play};
use crate::report::{self, Case};
use crate::rig::seeded;

/// Accounts for mail programs, beside one for each script.
const FOR_PROGRAMS: usize = 40;

/// How many seeded users the scripts and programs take.
pub fn users(scripts: &[Script]) -> usize {
    scripts.len() + FOR_PROGRAMS
}

/// Scripts for `target`, in the order of their names.
pub fn cases<'a>(scripts: &[&'a Script], target: &'a Target) -> Vec<Case<'a>> {
    let here = |s: &&&Script| s.targets.iter().any(|t| t == target.name);
    let case = |script: &&'a Script| {
        let script = *script;
        let name = format!("{} {}", target.name, script.name);
        Case { name, check: Box::new(move || play(script, target)) }
    };
    scripts.iter().filter(here).map(case).collect()
}

/// Everything, against a daemon with these accounts, started anew for each setting that scripts
/// ask for.
///
/// # Errors
/// How many cases failed; each was printed.
pub fn against_waypost(accounts: &Accounts, scripts: &[Script]) -> Result<(), String> {
    let mut settings: Vec<Option<&str>> = scripts.iter().map(|s| s.setting.as_deref()).collect();
    settings.sort_unstable();
    settings.dedup();
    // The first users are for programs, then one for each script.
    let (mut failures, mut used) = (Vec::new(), FOR_PROGRAMS);
    for setting in settings {
        let here: Vec<_> = scripts.iter().filter(|s| s.setting.as_deref() == setting).collect();
        let named = here.iter().map(|s| s.name.as_str());
        if setting.is_some() && !report::wanted(named) {
            continue;
        }
        failures.extend(one_setting(accounts, setting, &here, used).err());
        used += here.len();
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn one_setting(
    accounts: &Accounts,
    setting: Option<&str>,
    scripts: &[&Script],
    first: usize,
) -> Result<(), String> {
    let kind = match accounts {
        Accounts::Ldif(_) => "LDIF directory",
        Accounts::Slapd(_) => "slapd",
    };
    let title = format!("Waypost on its {kind}, {}", setting.unwrap_or("usual settings"));
    let extra = extra(setting)?;
    let mut daemon = Daemon::start(accounts, &extra).map_err(|e| format!("{title}: {e}"))?;
    let users = seeded(first, scripts.len());
    let target = daemon.target(users).map_err(|e| e.to_string())?;
    let (alone, shared): (Vec<_>, Vec<_>) = scripts.iter().partition(|s| s.stops_directory());
    let mut failures = Vec::new();
    failures.extend(report::run(&title, &cases(&shared, &target), 8).err());
    // Mail programs come with the packages of the rig.
    if setting.is_none() && cfg!(feature = "rig") {
        let stage = daemon.stage(seeded(0, FOR_PROGRAMS));
        failures.extend(report::run("mail programs", &programs::cases(&stage), 2).err());
    }
    if target.directory.is_some() {
        failures.extend(report::run("directory stopped", &cases(&alone, &target), 1).err());
    }
    let status = daemon.down().map_err(|e| e.to_string())?;
    if !status.success() {
        failures.push(format!("{title}: waypost ends with {status}"));
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(format!("{}\nwhat it logged last:\n{}", failures.join("\n"), last(&daemon.logged(), 30)))
}

/// The last lines of a text.
pub fn last(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Waypost's settings for the `setting` of a script.
fn extra(setting: Option<&str>) -> Result<Vec<(&'static str, &'static str)>, String> {
    match setting {
        None => Ok(Vec::new()),
        Some("auth-login") => Ok(vec![("smtp.sasl_mechanisms", "[\"PLAIN\", \"LOGIN\"]")]),
        Some("bare-newline-normalize") => Ok(vec![("smtp.forbid_bare_newline", "\"normalize\"")]),
        Some("bare-newline-reject") => Ok(vec![("smtp.forbid_bare_newline", "\"reject\"")]),
        Some("rate-limit") => Ok(vec![
            ("limits.user_messages_per_hour", "2"),
            ("limits.user_recipients_per_hour", "3"),
        ]),
        Some(other) => Err(format!("no setting {other}")),
    }
}
