//! Other mail servers in every mood: the client machine alone, and the whole daemon.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use waypost_conformance::remote::bare::Bare;
use waypost_conformance::remote::outside::{Outside, submit, whole};
use waypost_conformance::remote::play::{MESSAGE, play};
use waypost_conformance::remote::script::{self, Case as Script};
use waypost_conformance::report::{self, Case};
use waypost_conformance::shells::{Shell, on_all};

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    let scripts = script::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/remotes")))?;
    let both = [alone(&scripts), on_all(|shell| whole_daemon(shell, &scripts))];
    let failed: Vec<String> = both.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

fn is_for(script: &Script, place: &str) -> bool {
    script.on.is_empty() || script.on.iter().any(|on| on == place)
}

fn alone(scripts: &[Script]) -> Result<(), String> {
    let chosen = scripts.iter().filter(|script| is_for(script, "bare"));
    let cases: Vec<Case<'_>> = chosen
        .map(|script| Case {
            name: format!("bare {}", script.name),
            check: Box::new(move || {
                let mut side = Bare::new(script, "remote.test")?;
                let messages = play(script, "remote.test", &mut side)?;
                whole(&messages)
            }),
        })
        .collect();
    report::run("the client machine alone", &cases, 2)
}

fn whole_daemon(shell: Shell, scripts: &[Script]) -> Result<(), String> {
    let text = |e: std::io::Error| e.to_string();
    let chosen: Vec<&Script> = scripts
        .iter()
        .filter(|script| is_for(script, "daemon"))
        .filter(|script| report::wanted([name(shell, script).as_str()].into_iter()))
        .collect();
    if chosen.is_empty() {
        return Ok(());
    }
    let mut outside = Outside::new().map_err(text)?.on(shell);
    let mut hosts = Vec::new();
    for script in chosen {
        let (domain, wire) = outside.hosts(script)?;
        hosts.push((script, domain, Mutex::new(wire)));
    }
    outside.daemon.up().map_err(text)?;
    let stage = outside.stage();
    let cases: Vec<Case<'_>> = hosts
        .iter()
        .map(|(script, domain, wire)| {
            let stage = &stage;
            let check = move || {
                let to: Vec<String> = script.to.iter().map(|to| format!("{to}@{domain}")).collect();
                submit(stage, &to, MESSAGE)?;
                let mut wire = wire.lock().map_err(|e| e.to_string())?;
                whole(&play(script, domain, &mut *wire)?)
            };
            Case { name: name(shell, script), check: Box::new(check) }
        })
        .collect();
    // They wait for each other more than they work.
    report::run(&format!("{} and other servers", shell.name()), &cases, 16)
}

fn name(shell: Shell, script: &Script) -> String {
    format!("{} {}", shell.name(), script.name)
}
