//! What systemd sees of the process: sockets that it hands over, readiness, reload, a stop in good
//! order.

use std::net::TcpListener;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use waypost_conformance::Signal;
use waypost_conformance::daemon::{Accounts, Daemon};
use waypost_conformance::net::{Client, Heard};
use waypost_conformance::replay::command;
use waypost_conformance::report::{self, Case};
use waypost_conformance::rig::seeded;
use waypost_conformance::shells::Shell;
use waypost_conformance::stage::Stage;
use waypost_conformance::talk::Smtp;

type Check = fn(Shell) -> Result<(), String>;

const CHECKS: &[(&str, Check)] = &[
    ("sockets handed over", sockets_handed_over),
    ("readiness, reload, stop", notifications),
    ("a stop while sessions wait", stop),
    ("a stop while a message is committed", stop_in_commit),
    ("a stop that a session cannot delay", stop_in_time),
];

fn main() -> ExitCode {
    let cases = Shell::ALL.into_iter().flat_map(|shell| {
        CHECKS.iter().map(move |(name, check)| Case {
            name: format!("{} {name}", shell.name()),
            check: Box::new(move || check(shell)),
        })
    });
    let cases: Vec<Case<'_>> = cases.collect();
    waypost_conformance::finish(report::run("the process", &cases, 8))
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

fn daemon(shell: Shell, extra: &[(&str, &str)]) -> Result<(Daemon, Stage), String> {
    let daemon = Daemon::prepare(&Accounts::Ldif(4), extra).map_err(text)?.on(shell);
    let stage = daemon.stage(seeded(0, 4));
    Ok((daemon, stage))
}

/// A connection to port 25 that has been accepted by the kernel, and maybe by nobody else.
fn connected(stage: &Stage) -> Result<Smtp, String> {
    Ok(Smtp { client: stage.dial(stage.smtp).map_err(text)? })
}

fn ends_well(daemon: &mut Daemon) -> Result<(), String> {
    let status = daemon.down().map_err(text)?;
    let problem = || format!("waypost ends with {status}\n{}", daemon.logged());
    if status.success() { Ok(()) } else { Err(problem()) }
}

fn sockets_handed_over(shell: Shell) -> Result<(), String> {
    let (mut daemon, stage) = daemon(shell, &[])?;
    let bind = |port| TcpListener::bind(("127.0.0.1", port)).map_err(text);
    let (smtp, imaps) = (bind(stage.smtp)?, bind(stage.imaps)?);
    // Who comes before the daemon is served when it is there, at each start.
    for _ in 0..2 {
        let mut early = connected(&stage)?;
        let sockets = [smtp.try_clone().map_err(text)?, imaps.try_clone().map_err(text)?];
        daemon.up_with(sockets).map_err(text)?;
        early.hear_code("220")?;
        stage.imaps()?;
        // It has the others from itself.
        let mut submission = Smtp { client: stage.dial(stage.submission).map_err(text)? };
        submission.hear_code("220")?;
        ends_well(&mut daemon)?;
    }
    // A socket that no service names is a mistake in the units.
    drop(imaps);
    let stranger = TcpListener::bind("127.0.0.1:0").map_err(text)?;
    let sockets = [smtp, stranger];
    match daemon.up_with(sockets) {
        Err(error) if error.to_string().contains("which no service in [listen] names") => Ok(()),
        other => Err(format!("a socket too many: {other:?}")),
    }
}

fn notifications(shell: Shell) -> Result<(), String> {
    let (mut daemon, stage) = daemon(shell, &[])?;
    // Its READY=1 is what `up` waits for: from then on connections are taken.
    daemon.up().map_err(text)?;
    Smtp::greeted(&stage)?;
    daemon.signal(Signal::HUP).map_err(text)?;
    let reloading = daemon.told().map_err(text)?;
    if !reloading.starts_with("RELOADING=1 MONOTONIC_USEC=") {
        return Err(format!("SIGHUP: {reloading}"));
    }
    let ready = daemon.told().map_err(text)?;
    if ready != "READY=1" {
        return Err(format!("after a reload: {ready}"));
    }
    Smtp::greeted(&stage)?;
    daemon.signal(Signal::TERM).map_err(text)?;
    let stopping = daemon.told().map_err(text)?;
    if stopping != "STOPPING=1" {
        return Err(format!("SIGTERM: {stopping}"));
    }
    ends_well(&mut daemon)
}

fn hears(client: &mut Client, start: &str) -> Result<(), String> {
    match client.line().map_err(text)? {
        Heard::Line(line) if line.starts_with(start.as_bytes()) => Ok(()),
        other => Err(format!("{other:?}, not {start}")),
    }
}

fn stop(shell: Shell) -> Result<(), String> {
    const STOPS: &str = "421 4.3.2";
    let (mut daemon, stage) = daemon(shell, &[])?;
    daemon.up().map_err(text)?;
    let user = stage.user()?;
    let mut idle = Smtp::greeted(&stage)?;
    let mut data = Smtp::greeted(&stage)?;
    data.say("MAIL FROM:<someone@elsewhere.test>", "250")?;
    data.say(&format!("RCPT TO:<{}>", user.address), "250")?;
    data.say("DATA", "354")?;
    data.send("Subject: half a message\r\n")?;
    let mut silent = stage.dial(stage.imaps).map_err(text)?;
    let mut fresh = stage.imaps()?;
    let mut idling = stage.logged_in(&user)?;
    command(&mut idling, b"SELECT INBOX")?;
    idling.send(b"i IDLE\r\n").map_err(text)?;
    hears(&mut idling, "+ ")?;
    daemon.signal(Signal::TERM).map_err(text)?;
    idle.hear_code(STOPS)?;
    data.hear_code(STOPS)?;
    hears(&mut fresh, "* BYE")?;
    hears(&mut idling, "* BYE")?;
    for client in [&mut idle.client, &mut data.client, &mut fresh, &mut idling, &mut silent] {
        match client.line().map_err(text)? {
            Heard::End => client.close(),
            Heard::Line(line) => return Err(String::from_utf8_lossy(&line).into()),
        }
    }
    ends_well(&mut daemon)?;
    // Nobody listens any more, and half a message is none.
    match (connected(&stage), stage.messages(&user).len()) {
        (Err(_), 0) => Ok(()),
        (open, count) => Err(format!("listening: {}, {count} messages", open.is_ok())),
    }
}

/// The end of the message and the signal come together: it is taken or not, and the reply says which.
fn stop_in_commit(shell: Shell) -> Result<(), String> {
    let (mut daemon, stage) = daemon(shell, &[])?;
    let user = stage.user()?;
    let mut taken = 0;
    for _ in 0..10 {
        daemon.up().map_err(text)?;
        let mut smtp = Smtp::greeted(&stage)?;
        smtp.say("MAIL FROM:<someone@elsewhere.test>", "250")?;
        smtp.say(&format!("RCPT TO:<{}>", user.address), "250")?;
        smtp.say("DATA", "354")?;
        smtp.send("Subject: the last one\r\n\r\nHello.\r\n.")?;
        daemon.signal(Signal::TERM).map_err(text)?;
        let reply = smtp.hear()?;
        match reply.get(..3) {
            Some("250") => {
                taken += 1;
                smtp.hear_code("421")?;
            }
            Some("421") => {}
            _ => return Err(reply),
        }
        ends_well(&mut daemon)?;
    }
    daemon.up().map_err(text)?;
    if taken > 0 {
        stage.wait_for(&user, taken)?;
    }
    ends_well(&mut daemon)?;
    let count = stage.messages(&user).len();
    if count == taken { Ok(()) } else { Err(format!("{taken} taken, {count} there")) }
}

/// A client that reads nothing of what waits for it keeps its session, but not the process.
fn stop_in_time(shell: Shell) -> Result<(), String> {
    let (mut daemon, stage) = daemon(shell, &[("limits.stop_timeout", "\"2s\"")])?;
    daemon.up().map_err(text)?;
    let user = stage.user()?;
    let mut client = stage.logged_in(&user)?;
    let message = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(400_000));
    command(&mut client, format!("APPEND INBOX {{{}+}}\r\n{message}", message.len()).as_bytes())?;
    command(&mut client, b"SELECT INBOX")?;
    client.send(b"f FETCH 1:* BODY.PEEK[]\r\n".repeat(5).as_slice()).map_err(text)?;
    hears(&mut client, "* 1 FETCH")?;
    let started = Instant::now();
    ends_well(&mut daemon)?;
    let took = started.elapsed();
    if !daemon.logged().contains("sessions that do not end: 1") {
        return Err(format!("it ended by itself?\n{}", daemon.logged()));
    }
    if took < Duration::from_secs(20) { Ok(()) } else { Err(format!("it takes {took:?}")) }
}
