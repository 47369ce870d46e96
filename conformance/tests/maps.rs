//! `waypost query` beside `postmap -q`: the article's five maps, each key through each of them, the
//! same output and the same exit status.

use std::process::{Command, ExitCode};
use std::sync::Arc;
use waypost_conformance::daemon::{Accounts, Daemon, program};
use waypost_conformance::rig::{Options, Rig};

const MAPS: [&str; 5] = [
    "virtual_alias_domains",
    "virtual_alias_maps",
    "virtual_mailbox_maps",
    "virtual_uid_maps",
    "smtpd_sender_login_maps",
];

const KEYS: &[&str] = &[
    "mail000@example.com",
    "MAIL000@Example.COM",
    "mail000+x@example.com",
    "mail001@example.com",
    "postmaster@example.com",
    "postmaster@example.org",
    "info@example.org",
    "sales@example.net",
    "whoever@example.net",
    "team@example.com",
    "forward@example.com",
    "dangling@example.com",
    "nobody@example.com",
    "someone@remote.test",
    "@example.net",
    "@example.com",
    "@mail.example.com",
    "mail000@mail.example.com",
    "MAIL000@mail.example.com",
    "mail001@mail.example.com",
    "mail000+x@mail.example.com",
    "nobody@mail.example.com",
    "mail000",
    "example.com",
    "EXAMPLE.COM",
    "example.org",
    "example.net",
    "only-catchall.test",
    "mail.example.com",
    "remote.test",
    "nosuch.test",
    "ample.com",
    "com",
    "",
    "*",
    "exa*",
    "a)(uid=*",
    "(x)@example.com",
    "a\\b@example.com",
    "*@example.com",
    "mail0*@example.com",
    "mail000@example.com ",
    " mail000@example.com",
    "gr\u{fc}\u{df}e@example.com",
];

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    let options = Options { parts: vec!["ldap"], seed: 20, ..Options::default() };
    let rig = Arc::new(Rig::start(options).map_err(|e| e.to_string())?);
    let daemon = Daemon::prepare(&Accounts::Slapd(rig.clone()), &[]).map_err(|e| e.to_string())?;
    let (etc, config) = (rig.dir().join("postfix/etc"), daemon.config());
    println!("\nwaypost query and postmap -q: {} keys, {} maps", KEYS.len(), MAPS.len());
    let mut differences = Vec::new();
    for map in MAPS {
        for key in KEYS {
            let mut theirs = Command::new("postmap");
            theirs.arg("-c").arg(&etc).arg("-q").arg(key);
            theirs.arg(format!("ldap:{}/ldap/{map}", etc.display()));
            let mut ours = Command::new(program().map_err(|e| e.to_string())?);
            ours.arg("query").arg("--config").arg(&config).arg(map).arg(key);
            let (theirs, ours) = (answer(theirs)?, answer(ours)?);
            if theirs != ours {
                differences.push(format!("{map} `{key}`: postmap {theirs:?}, waypost {ours:?}"));
            }
        }
        println!("{map}: ok");
    }
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
}

/// What a command prints, its values in order, and its exit status.
fn answer(mut command: Command) -> Result<(Vec<String>, Option<i32>), String> {
    let output = command.output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    // The order of a directory's answers is its own.
    let mut values: Vec<String> = text.trim_end().split(',').map(str::to_owned).collect();
    values.sort_unstable();
    Ok((values, output.status.code()))
}
