//! Mail out, from submission to what its sender and the admin are told.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;
use waypost_conformance::remote::PATIENCE;
use waypost_conformance::remote::journal::fate;
use waypost_conformance::remote::outside::{Outside, sender, submit, whole};
use waypost_conformance::remote::play::{MESSAGE, play};
use waypost_conformance::remote::script;
use waypost_conformance::remote::wire::Wire;
use waypost_conformance::report::{self, Case};
use waypost_conformance::shells::Shell;

type Check = fn(Shell) -> Result<(), String>;

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    let checks: [(&str, Check); 6] = [
        ("a refusal comes back to the sender", refused),
        ("a delay is told to the sender, and then the end", delayed),
        ("what waits is listed, and tried again on demand", listed),
        ("one connection for two messages", reused),
        ("a stop while a host owes its word", stopped),
        ("a host that refuses and closes in the message", cut_short),
    ];
    let case = |shell: Shell, (name, check): (&str, Check)| Case {
        name: format!("{} {name}", shell.name()),
        check: Box::new(move || check(shell)),
    };
    let on = |shell| checks.into_iter().map(move |check| case(shell, check));
    let cases: Vec<Case<'_>> = Shell::ALL.into_iter().flat_map(on).collect();
    report::run("mail out", &cases, cases.len())
}

/// A daemon that runs, and the hosts of one case.
struct World {
    outside: Outside,
    case: script::Case,
    domain: String,
    wire: Wire,
}

impl World {
    fn new(shell: Shell, dialogue: &str, settings: &[(&str, &str)]) -> Result<Self, String> {
        let case = script::parse("outgoing", dialogue)?.remove(0);
        let text = |e: std::io::Error| e.to_string();
        let mut outside = Outside::new().map_err(text)?.on(shell);
        let (domain, wire) = outside.hosts(&case)?;
        for (path, value) in settings {
            outside.daemon.configure(path, value).map_err(text)?;
        }
        outside.daemon.up().map_err(text)?;
        Ok(Self { outside, case, domain, wire })
    }

    fn submit(&self) -> Result<String, String> {
        submit(&self.outside.stage(), &[format!("one@{}", self.domain)], MESSAGE)
    }

    fn play(&mut self) -> Result<Vec<Vec<u8>>, String> {
        play(&self.case, &self.domain, &mut self.wire)
    }
}

/// Fields of a report's machine part, in lower case, those of the message and of its one recipient.
fn machine_part(report: &str) -> Result<BTreeMap<String, String>, String> {
    let unix = report.replace("\r\n", "\n");
    let (_, part) = unix
        .split_once("Content-Type: message/delivery-status\n")
        .ok_or_else(|| format!("no machine part:\n{report}"))?;
    let part = part.split("\n--").next().unwrap_or_default().replace("\n    ", " ");
    let fields = part.lines().filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| {
        // Ours have our name.
        let name = name.to_ascii_lowercase().replace("x-postfix", "x-waypost");
        (name, value.trim().to_owned())
    });
    Ok(fields.filter(|(name, _)| !name.starts_with("content-")).collect())
}

fn refused(shell: Shell) -> Result<(), String> {
    let mut world = World::new(
        shell,
        "@ subject: a refusal\n-- connection\n-- hello\nC: MAIL FROM:<{sender}>\nS: 250 2.1.0 Ok\n\
         C: RCPT TO:<one@{domain}>\n\
         S: 550 5.1.1 <one@{domain}>: Recipient address rejected: User unknown\n-- over\n",
        &[],
    )?;
    let id = world.submit()?;
    world.play()?;
    let stage = world.outside.stage();
    stage.wait_for(&sender(), 1)?;
    let report = String::from_utf8_lossy(&stage.messages(&sender())[0]).into_owned();
    let golden = include_str!("../dsn/dsn-bounce-remote-reject.eml");
    let (ours, theirs) = (machine_part(&report)?, machine_part(golden)?);
    // Theirs was expanded from an alias.
    let names = |part: &BTreeMap<String, String>| {
        part.keys().filter(|name| *name != "original-recipient").cloned().collect::<Vec<_>>()
    };
    if names(&ours) != names(&theirs) {
        return Err(format!("{ours:#?}, and Postfix has {theirs:#?}"));
    }
    let domain = &world.domain;
    for (name, wanted) in [
        ("reporting-mta", "dns; mail.example.com".to_owned()),
        ("x-waypost-queue-id", id),
        ("final-recipient", format!("rfc822; one@{domain}")),
        ("action", "failed".to_owned()),
        ("status", "5.1.1".to_owned()),
        ("remote-mta", format!("dns; mx.{domain}")),
        (
            "diagnostic-code",
            format!("smtp; 550 5.1.1 <one@{domain}>: Recipient address rejected: User unknown"),
        ),
    ] {
        if ours.get(name) != Some(&wanted) {
            return Err(format!("{name}: {:?} instead of {wanted}", ours.get(name)));
        }
    }
    for part in ["Return-Path: <>", "\nSubject: a letter", "\nAuto-Submitted: auto-replied"] {
        if !report.contains(part) {
            return Err(format!("{part} is not in\n{report}"));
        }
    }
    nothing_waits(&world.outside)
}

/// Nobody listens: a warning after a second, a report after four.
fn delayed(shell: Shell) -> Result<(), String> {
    let world = World::new(
        shell,
        "@ subject: nobody listens\n@ mx: 10 dead\n",
        &[("spool.delay_warning_time", "\"1s\""), ("spool.maximal_queue_lifetime", "\"4s\"")],
    )?;
    world.submit()?;
    let stage = world.outside.stage();
    stage.wait_for(&sender(), 2)?;
    let reports = stage.messages(&sender());
    let reports: Vec<_> = reports.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
    let with = |action: &str| {
        let line = format!("\nAction: {action}\n");
        let found = reports.iter().find(|report| report.contains(&line));
        found.ok_or_else(|| format!("no report {action}:\n{}", reports.join("\n")))
    };
    let golden = include_str!("../dsn/dsn-delay-warning.eml");
    let (ours, theirs) = (machine_part(with("delayed")?)?, machine_part(golden)?);
    if let Some(missing) = theirs.keys().find(|name| {
        // Theirs was expanded from an alias.
        *name != "original-recipient" && !ours.contains_key(*name)
    }) {
        return Err(format!("no {missing} in {ours:#?}"));
    }
    for report in [with("delayed")?, with("failed")?] {
        let part = machine_part(report)?;
        let status = part.get("status").map(String::as_str);
        let text = part.get("diagnostic-code").map(String::as_str).unwrap_or_default();
        if status != Some("4.4.1") || !text.ends_with("Connection refused") {
            return Err(format!("not why: {part:#?}"));
        }
    }
    nothing_waits(&world.outside)
}

/// Nobody waits for the word on a message longer than for sessions: it stays in the queue.
fn stopped(shell: Shell) -> Result<(), String> {
    let mut world = World::new(
        shell,
        "@ subject: silence instead of an answer to the final dot\n-- connection\n-- hello\n\
         -- envelope\nC: DATA\nS: 354 go on\n-- message\n",
        &[("limits.stop_timeout", "\"1s\"")],
    )?;
    let id = world.submit()?;
    world.play()?;
    let status = world.outside.daemon.down().map_err(|e| e.to_string())?;
    let journal = &world.outside.journal;
    let says = |words: &'static str| journal.wait(0, "", move |l| l.contains(words).then_some(()));
    says("sessions that do not end: 1")?;
    says(" stopped")?;
    let fate = format!("{id}: to=<one@{}>,", world.domain);
    let told = journal.count(|line| line.contains(&fate) && line.contains("status=deferred"));
    let late = journal.count(|line| line.contains("deliveries did not end in time"));
    match (status.success(), told, late) {
        (true, 1, 0) => Ok(()),
        (_, told, late) => Err(format!("{status}; told {told} times, {late} came too late")),
    }
}

/// It closes with octets unread, so that its system breaks the connection: its word stands there to be
/// read when writing fails.
fn cut_short(shell: Shell) -> Result<(), String> {
    let mut world = World::new(
        shell,
        "@ subject: a word in the message\n-- connection\n-- hello\n-- envelope\nC: DATA\n\
         S: 354 go on\nC: {..}\nS: 552 5.3.4 too big\n-- reset\n",
        &[],
    )?;
    let message = [MESSAGE, &b"0123456789\r\n".repeat(500_000)].concat();
    let recipient = format!("one@{}", world.domain);
    let id = submit(&world.outside.stage(), std::slice::from_ref(&recipient), &message)?;
    world.play()?;
    let told = world.outside.journal.wait(0, &id, |line| fate(line, &recipient))?;
    let words = "said: 552 5.3.4 too big (in reply to end of DATA command))";
    match told.starts_with("bounced 5.3.4 ") && told.ends_with(words) {
        true => nothing_waits(&world.outside),
        false => Err(told),
    }
}

/// In the end the queue is empty.
fn nothing_waits(outside: &Outside) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let listed = outside.daemon.ask(&["queue", "list", "--json"])?;
        if listed.trim().is_empty() {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("it still waits: {listed}"));
        }
    }
}

fn listed(shell: Shell) -> Result<(), String> {
    let mut world = World::new(
        shell,
        "@ subject: greylisting\n-- connection\n-- hello\nC: MAIL FROM:<{sender}>\n\
         S: 250 2.1.0 Ok\nC: RCPT TO:<one@{domain}>\nS: 450 4.2.0 Greylisted\n-- over\n\
         = one deferred 4.2.0 (host {_}] said: 450 4.2.0 Greylisted (in reply to RCPT TO command))\n",
        &[("spool.minimal_backoff_time", "\"300s\""), ("spool.maximal_backoff_time", "\"4000s\"")],
    )?;
    let id = world.submit()?;
    world.play()?;
    // The log tells first, then it is written down, then it waits.
    let started = Instant::now();
    let listed = loop {
        let listed = world.outside.daemon.ask(&["queue", "list", "--json"])?;
        if listed.contains("\"deferred\"") || started.elapsed() > PATIENCE {
            break listed;
        }
    };
    let lines: Vec<&str> = listed.lines().collect();
    let [line] = lines[..] else { return Err(format!("not one message:\n{listed}")) };
    for part in [
        format!("\"queue_id\":\"{id}\""),
        "\"queue_name\":\"deferred\"".into(),
        "\"sender\":\"mail000@example.com\"".into(),
        format!("\"address\":\"one@{}\"", world.domain),
        "said: 450 4.2.0 Greylisted (in reply to RCPT TO command)".into(),
        "\"attempts\":1".into(),
    ] {
        if !line.contains(&part) {
            return Err(format!("{part} is not in {line}"));
        }
    }
    let table = world.outside.daemon.ask(&["queue", "list"])?;
    if !table.contains("Greylisted") || !table.contains(&id) {
        return Err(format!("the table does not tell why:\n{table}"));
    }
    // It would be minutes: the admin does not want to wait.
    world.outside.daemon.ask(&["queue", "retry", &id])?;
    world.case = script::parse(
        "retried",
        "@ subject: taken\n-- connection\n-- hello\n-- envelope\n-- taken\n-- quit\n\
         = one sent 2.0.0 (250 2.0.0 Ok: queued as 000001)\n",
    )?
    .remove(0);
    whole(&world.play()?)?;
    world
        .outside
        .journal
        .wait(0, &id, |line| line.ends_with(&format!("{id}: removed")).then_some(()))?;
    nothing_waits(&world.outside)
}

fn reused(shell: Shell) -> Result<(), String> {
    let mut world = World::new(
        shell,
        "@ subject: two messages\n-- connection\n-- hello\n-- envelope\n-- taken\n-- envelope\n\
         -- taken\n-- over\n= one sent 2.0.0 (250 2.0.0 Ok: queued as 000001)\n\
         = one sent 2.0.0 (250 2.0.0 Ok: queued as 000001)\n",
        &[
            ("relay.smtp_connection_cache_time_limit", "\"5s\""),
            // The second message may come before the first one has gone.
            ("spool.smtp_destination_concurrency_limit", "1"),
        ],
    )?;
    let (stage, to) = (world.outside.stage(), format!("one@{}", world.domain));
    let second = std::thread::spawn(move || {
        submit(&stage, std::slice::from_ref(&to), MESSAGE)?;
        submit(&stage, &[to], MESSAGE)
    });
    let messages = world.play()?;
    second.join().map_err(|_| "a panic")??;
    if messages.len() != 2 {
        return Err(format!("{} messages", messages.len()));
    }
    whole(&messages)
}
