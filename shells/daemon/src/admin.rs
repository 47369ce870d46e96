//! `waypost check`, `query` and `auth-test`: questions of the admin.

use std::error::Error;
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;

use waypost_machine::Secret;
use waypost_sasl::Verified;
use waypost_world::{Clock, Grade, SystemClock};

use crate::files::ConfigFile;
use crate::ground::Ground;
use crate::settings::Running;
use crate::{files, server, settings};

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Prints one line for each finding; fails when one is bad, not for warnings.
pub(crate) fn check(path: &Path) -> Outcome {
    let file = ConfigFile::read(path)?;
    let mut good = true;
    let mut report = |fine: bool, text: &str| {
        println!("{} {text}", if fine { "ok:" } else { "BAD:" });
        good &= fine;
    };
    report(true, &format!("{}: configuration read", path.display()));
    match settings::check(&file) {
        Ok(()) => {}
        Err(error) => report(false, &error.to_string()),
    }
    match server::certificates(&file) {
        Ok(_) => {
            for pair in &file.config.certificates {
                report(
                    true,
                    &format!("{}: certificate and key fit", file.at(&pair.chain).display()),
                );
            }
        }
        Err(error) => report(false, &error.to_string()),
    }
    let now = u64::try_from(SystemClock::default().wall().secs).unwrap_or(0);
    for (good, text) in settings::security::findings(&file, now) {
        report(good, &text);
    }
    for (key, map) in file.config.maps.files() {
        let map = file.at(map);
        match files::text(&map) {
            Ok(text) if text.contains("bind_pw") || text.contains("dnpass") => {
                let path = map.display();
                if files::exposed(&map) {
                    let what = "holds a password and is readable by others";
                    report(false, &format!("{key}: {path} {what}: chmod 400 {path}"));
                } else {
                    report(true, &format!("{key}: {path} is not readable by others"));
                }
            }
            Ok(_) => {}
            Err(error) => report(false, &format!("{key}: {error}")),
        }
    }
    match open(&file) {
        Ok(Running { world, .. }) => {
            for finding in wait(|done| world.check(done))? {
                match finding.grade {
                    Grade::Good => report(true, &finding.text),
                    Grade::Warning => println!("warning: {}", finding.text),
                    Grade::Bad => report(false, &finding.text),
                }
            }
            world.stop();
        }
        Err(error) => report(false, &error.to_string()),
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the value; fails without a word when there is none, as postmap does.
pub(crate) fn query(path: &Path, map: &str, key: &str) -> Outcome {
    let running = open(&ConfigFile::read(path)?)?;
    let world = &running.world;
    let value = wait(|done| world.query(map, key, done))?;
    world.stop();
    match value? {
        Some(value) => {
            println!("{value}");
            Ok(ExitCode::SUCCESS)
        }
        None => Ok(ExitCode::FAILURE),
    }
}

/// Prints how a password check went; fails unless it was accepted.
pub(crate) fn auth_test(path: &Path, user: &str) -> Outcome {
    let running = open(&ConfigFile::read(path)?)?;
    let world = &running.world;
    let password = Secret::new(password(user)?.into_boxed_str());
    let test = wait(|done| world.auth_test(user, password, done))?;
    world.stop();
    println!("user: {user}");
    println!("dn: {}", test.dn.as_deref().unwrap_or("-"));
    match test.code {
        Some(code) => println!("ldap result: {code}"),
        None => println!("ldap result: -"),
    }
    let (told, exit) = match &test.outcome {
        Verified::Accepted(name) => (format!("accepted, as {name}"), ExitCode::SUCCESS),
        Verified::Denied => ("denied".into(), ExitCode::FAILURE),
        Verified::Unavailable => ("not now".into(), ExitCode::FAILURE),
    };
    println!("outcome: {told} ({})", test.text);
    Ok(exit)
}

fn password(user: &str) -> io::Result<String> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(format!("Password of {user}: "));
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).into())
}

fn open(file: &ConfigFile) -> Result<Running, Box<dyn Error>> {
    settings::for_questions(file, &Ground::system(Arc::new(SystemClock::default())))
}

/// Waits for an answer that comes by callback.
fn wait<T: Send + 'static>(
    ask: impl FnOnce(Box<dyn FnOnce(T) + Send>),
) -> Result<T, Box<dyn Error>> {
    let (send, received) = channel();
    ask(Box::new(move |answer| {
        // Nobody waits any more only when this process is ending.
        let _ = send.send(answer);
    }));
    Ok(received.recv()?)
}
