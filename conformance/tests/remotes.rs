//! Other mail servers in every mood: the client machine alone, and the whole daemon.

use std::path::Path;
use std::process::ExitCode;
use waypost_conformance::remote::bare::Bare;
use waypost_conformance::remote::play::{MESSAGE, play};
use waypost_conformance::remote::script::{self, Case as Script};
use waypost_conformance::report::{self, Case};

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    let scripts = script::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/remotes")))?;
    alone(&scripts)
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

/// Every message that the host was sent is the one that was to be sent.
fn whole(messages: &[Vec<u8>]) -> Result<(), String> {
    match messages.iter().find(|message| *message != MESSAGE) {
        Some(other) => Err(format!("another message:\n{}", String::from_utf8_lossy(other))),
        None => Ok(()),
    }
}
