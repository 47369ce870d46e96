//! The sessions against the machines alone: no daemon, no socket, no clock.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use waypost_conformance::bare::smtp::Place;
use waypost_conformance::net;
use waypost_conformance::notation::{Event, Script, What};
use waypost_conformance::replay::{Target, play};
use waypost_conformance::report::{self, Case};

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    let scripts = waypost_conformance::scripts()?;
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
        let (name, target) =
            (format!("bare {}", script.name), &targets[&script.setting.as_deref()]);
        cases.push(Case { name, check: Box::new(move || play(script, target)) });
    }
    report::run("the SMTP and authentication machines", &cases, 2)
}

fn target(setting: Option<&str>) -> Result<Target, String> {
    let place = Arc::new(Place::new(setting)?);
    Ok(Target {
        name: "waypost",
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
