//! The sessions against the machines alone: no daemon, no socket, no clock.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use waypost_conformance::bare::imap::Place;
use waypost_conformance::bare::smtp;
use waypost_conformance::net;
use waypost_conformance::notation::{Event, Script, What};
use waypost_conformance::replay::{Target, User};
use waypost_conformance::report;
use waypost_conformance::rig::seeded;
use waypost_conformance::runner;

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    let scripts = waypost_conformance::scripts()?;
    let both = [smtp_alone(&scripts), imap_alone(&scripts)];
    let failed: Vec<String> = both.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

fn imap_alone(scripts: &[Script]) -> Result<(), String> {
    let chosen: Vec<&Script> = scripts.iter().filter(|s| is_imap_alone(s)).collect();
    let users = seeded(0, chosen.len());
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let known: Vec<User> = users.iter().cloned().collect();
    let place = Place::new(dir.path().to_owned(), &known).map_err(|e| e.to_string())?;
    let place = Arc::new(place);
    let target = Target {
        name: "waypost",
        program: "bare",
        host: "mail.example.com".into(),
        dial: Box::new(move |service, _| place.dial(service)),
        tls: net::trusting_nobody(),
        users: Mutex::new(users),
        directory: None,
        names: BTreeMap::new(),
    };
    report::run("the IMAP machine and the store", &runner::cases(&chosen, &target), 2)
}

fn smtp_alone(scripts: &[Script]) -> Result<(), String> {
    let chosen: Vec<&Script> = scripts.iter().filter(|s| is_for_machines(s)).collect();
    let mut targets = BTreeMap::new();
    for script in &chosen {
        if let Entry::Vacant(entry) = targets.entry(script.setting.as_deref()) {
            let setting = *entry.key();
            entry.insert(target(setting)?);
        }
    }
    let mut cases = Vec::new();
    for script in chosen {
        cases.extend(runner::cases(&[script], &targets[&script.setting.as_deref()]));
    }
    report::run("the SMTP and authentication machines", &cases, 2)
}

fn target(setting: Option<&str>) -> Result<Target, String> {
    let place = Arc::new(smtp::Place::new(setting)?);
    Ok(Target {
        name: "waypost",
        program: "bare",
        host: "mail.example.com".into(),
        dial: Box::new(move |service, local| place.dial(service, local)),
        tls: net::trusting_nobody(),
        users: Mutex::new(VecDeque::new()),
        directory: None,
        names: BTreeMap::new(),
    })
}

/// Whether a script needs nothing but these machines.
fn is_for_machines(script: &Script) -> bool {
    let alone = script.steps.iter().all(|step| match &step.what {
        What::Event(Event::Connect { service, .. }) => {
            matches!(service.as_str(), "smtp" | "submission" | "auth")
        }
        What::Event(event) => {
            matches!(event, Event::Tls | Event::ServerCloses | Event::ClientCloses)
        }
        _ => true,
    });
    alone && script.mail.is_none() && script.targets.iter().any(|t| t == "waypost")
}

/// Whether a script needs nothing but IMAP connections.
fn is_imap_alone(script: &Script) -> bool {
    let alone = script.steps.iter().all(|step| match &step.what {
        What::Event(Event::Connect { service, .. }) => service == "imaps",
        What::Event(
            Event::Arrives { .. }
            | Event::DirectoryStops
            | Event::DirectoryStarts
            | Event::Holds(_),
        ) => false,
        _ => true,
    });
    alone && script.targets.iter().any(|t| t == "waypost") && script.name.starts_with("imap/")
}
