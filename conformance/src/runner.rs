//! Plays every script that names Waypost, and runs every mail program, against every shell.

use crate::daemon::{Accounts, Daemon};
use crate::notation::Script;
use crate::programs;
use crate::replay::{Target, play};
use crate::report::{self, Case};
use crate::rig::seeded;
use crate::shells::Shell;
use crate::stage::Stage;
use crate::transcript::Transcript;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Accounts for mail programs, beside one for each script.
const FOR_PROGRAMS: usize = 40;
/// Cases at once. Most of them wait: for what a wrong password costs, for the client's next try.
const AT_ONCE: usize = 64;

/// Answers come as they are ready here: the same lines, in any order.
const ANY_ORDER: &str = "auth/35-pipelined";

/// How many seeded users the scripts and programs take.
pub fn users(scripts: &[Script]) -> usize {
    Shell::ALL.len() * (scripts.len() + FOR_PROGRAMS)
}

/// What scripts said, by script and program.
#[derive(Default)]
struct Said(Mutex<BTreeMap<String, Vec<(&'static str, Transcript)>>>);

impl Said {
    fn add(&self, script: &Script, target: &Target, transcript: Transcript) {
        let transcript = match script.name == ANY_ORDER {
            true => transcript.sorted(),
            false => transcript,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(script.name.clone()).or_default().push((target.program, transcript));
    }
}

/// Scripts for `target`, in the order of their names.
pub fn cases<'a>(scripts: &[&'a Script], target: &'a Target) -> Vec<Case<'a>> {
    each(scripts, target, |_, _, _| {})
}

fn each<'a>(
    scripts: &[&'a Script],
    target: &'a Target,
    then: impl Fn(&Script, &Target, Transcript) + Copy + Send + Sync + 'a,
) -> Vec<Case<'a>> {
    let here = |s: &&&Script| s.targets.iter().any(|t| t == target.name);
    let case = |script: &&'a Script| {
        let script = *script;
        let check = move || play(script, target).map(|said| then(script, target, said));
        Case { name: format!("{} {}", target.program, script.name), check: Box::new(check) }
    };
    scripts.iter().filter(here).map(case).collect()
}

/// A daemon, and what is played against it.
struct Place<'s> {
    daemon: Daemon,
    target: Target,
    /// For mail programs, which come with the packages of the rig.
    stage: Option<Stage>,
    scripts: Vec<&'s Script>,
}

/// Everything, against each shell with these accounts and each setting that scripts ask for. In the
/// end the shells must have said the same.
///
/// # Errors
/// How many cases failed; each was printed.
pub fn against_waypost(accounts: &Accounts, scripts: &[Script]) -> Result<(), String> {
    let mut places = places(accounts, scripts)?;
    let ups = all(&mut places, |place| place.daemon.up().map_err(|e| e.to_string()));
    ups.into_iter().collect::<Result<Vec<()>, String>>()?;
    let (said, mut failures) = (Said::default(), Vec::new());
    let keep = |script: &Script, target: &Target, transcript| said.add(script, target, transcript);
    let (mut shared, mut alone) = (Vec::new(), Vec::new());
    for place in &places {
        let (stops, others): (Vec<_>, Vec<_>) =
            place.scripts.iter().partition(|s| s.stops_directory());
        shared.extend(each(&others, &place.target, keep));
        shared.extend(place.stage.iter().flat_map(programs::cases));
        if place.target.directory.is_some() {
            alone.extend(each(&stops, &place.target, keep));
        }
    }
    let directory = match accounts {
        Accounts::Ldif(_) => "its LDIF directory",
        Accounts::Slapd(_) => "slapd",
    };
    failures.extend(report::run(&format!("Waypost on {directory}"), &shared, AT_ONCE).err());
    failures.extend(report::run("directory stopped", &alone, 1).err());
    drop((shared, alone));
    failures.extend(report::run("every shell says the same", &comparisons(&said), 1).err());
    for end in all(&mut places, |place| place.daemon.down()) {
        match end {
            Ok(status) if status.success() => {}
            Ok(status) => failures.push(format!("waypost ends with {status}")),
            Err(error) => failures.push(error.to_string()),
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let logs = places.iter().map(|place| {
        format!("what {} logged last:\n{}", place.target.program, last(&place.daemon.logged(), 30))
    });
    failures.extend(logs);
    Err(failures.join("\n"))
}

/// A daemon for each shell and setting that a chosen script asks for; not started.
fn places<'s>(accounts: &Accounts, scripts: &'s [Script]) -> Result<Vec<Place<'s>>, String> {
    let mut settings: Vec<Option<&str>> = scripts.iter().map(|s| s.setting.as_deref()).collect();
    settings.sort_unstable();
    settings.dedup();
    let (mut places, mut used) = (Vec::new(), 0);
    // Each user is one place's: they may have a directory in common.
    let mut take = |count: usize| {
        used += count;
        seeded(used - count, count)
    };
    for shell in Shell::ALL {
        for setting in &settings {
            let here: Vec<_> =
                scripts.iter().filter(|s| s.setting.as_deref() == *setting).collect();
            let names: Vec<_> =
                here.iter().map(|s| format!("{} {}", shell.name(), s.name)).collect();
            let usual = setting.is_none();
            if !usual && !report::wanted(names.iter().map(String::as_str)) {
                continue;
            }
            let daemon = Daemon::prepare(accounts, &extra(*setting)?);
            let daemon = daemon.map_err(|e| e.to_string())?.on(shell);
            let target = daemon.target(take(here.len())).map_err(|e| e.to_string())?;
            let with_programs = usual && cfg!(feature = "rig");
            let stage = with_programs.then(|| daemon.stage(take(FOR_PROGRAMS)));
            places.push(Place { daemon, target, stage, scripts: here });
        }
    }
    Ok(places)
}

/// Does something with all at once.
fn all<T: Send>(places: &mut [Place<'_>], act: impl Fn(&mut Place<'_>) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> =
            places.iter_mut().map(|place| scope.spawn(move || act(place))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

/// A case for each script that was played on more than one.
fn comparisons(said: &Said) -> Vec<Case<'_>> {
    let all = std::mem::take(&mut *said.0.lock().unwrap_or_else(PoisonError::into_inner));
    let more = all.into_iter().filter(|(_, on)| on.len() > 1);
    let case = |(script, on): (String, Vec<(&'static str, Transcript)>)| Case {
        name: format!("every shell {script}"),
        check: Box::new(move || {
            let (first, one) = &on[0];
            on.iter().try_for_each(|(program, other)| match one.differs(other) {
                None => Ok(()),
                Some((a, b)) => Err(format!("{first}: {a}\n{program}: {b}")),
            })
        }),
    };
    more.map(case).collect()
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
