//! `cargo run --release -p waypost-benches`: Waypost and the rig's Postfix and Dovecot in turn, on
//! the same directory and the same messages; prints the figures of all and their ratios.
//!
//! Needs root and the packages of `conformance/rig/rig install`.  README.md beside this crate says
//! how to read the figures.

mod floor;
mod imap;
mod memory;
mod outbound;
mod plan;
mod server;
mod smtp;

use plan::{Contestant, Plan};
use server::Server;
use std::process::ExitCode;
use std::sync::Arc;
use waypost_conformance::daemon::{Accounts, Daemon};
use waypost_conformance::rig::{Options, Rig};
use waypost_conformance::shells::Shell;

/// What one measurement gave.
struct Figure {
    what: String,
    unit: &'static str,
    /// Whether more is better.
    more: bool,
    value: f64,
}

fn main() -> ExitCode {
    let plan = match Plan::from_arguments() {
        Ok(plan) => plan,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    match compare(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn compare(plan: &Plan) -> Result<(), String> {
    let mut table: Vec<Vec<Figure>> = Vec::new();
    let sinks = outbound::Sinks::start(10)?;
    for &users in &plan.users {
        eprintln!("directory of {users} users");
        for (column, contestant) in plan.contestants.iter().enumerate() {
            let figures = match contestant {
                Contestant::Peers => peers(&sinks, users, plan)?,
                Contestant::Waypost(shell, threads) => {
                    waypost(*shell, *threads, &sinks, users, plan)?
                }
            };
            table.resize_with(plan.contestants.len(), Vec::new);
            table[column].extend(figures);
        }
    }
    print(&table, plan);
    let floor = floor::messages_per_second(10, plan.messages.min(5_000))?;
    println!(
        "\nwrite, fsync, rename, fsync of the directory alone, 10 threads: {floor:.0} per second"
    );
    Ok(())
}

fn peers(sinks: &outbound::Sinks, users: usize, plan: &Plan) -> Result<Vec<Figure>, String> {
    let rig = start_rig(users, true)?;
    outbound::route_postfix(&rig, sinks)?;
    measure(&Server::of_rig(&rig)?, sinks, users, plan)
}

fn waypost(
    shell: Shell,
    threads: Option<u8>,
    sinks: &outbound::Sinks,
    users: usize,
    plan: &Plan,
) -> Result<Vec<Figure>, String> {
    let rig = Arc::new(start_rig(users, false)?);
    let accounts = Accounts::Slapd(rig.clone());
    let ways = outbound::transport_maps(sinks);
    let settings = [
        ("limits.connections_per_address", "10000"),
        ("limits.user_messages_per_hour", "0"),
        ("limits.user_recipients_per_hour", "0"),
        ("log.level", "\"warn\""),
        ("relay.transport_maps", &ways),
    ];
    let daemon = Daemon::prepare(&accounts, &settings).map_err(|e| e.to_string())?;
    let mut daemon = daemon.on(shell);
    if let Some(threads) = threads {
        daemon = daemon.on_threads(threads);
    }
    daemon.up().map_err(|e| e.to_string())?;
    let name = Contestant::Waypost(shell, threads).name();
    let figures = measure(&Server::waypost(name, &rig, &daemon)?, sinks, users, plan)?;
    daemon.down().map_err(|e| e.to_string())?;
    Ok(figures)
}

/// A rig for load; `all` with Postfix and Dovecot, else slapd alone.
fn start_rig(users: usize, all: bool) -> Result<Rig, String> {
    let parts = if all { vec!["ldap", "dovecot", "postfix"] } else { vec!["ldap"] };
    let settings = vec![("RIG_PROFILE", "load".to_owned())];
    Rig::start(Options { parts, seed: users, settings }).map_err(|e| e.to_string())
}

fn measure(
    server: &Server,
    sinks: &outbound::Sinks,
    users: usize,
    plan: &Plan,
) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    let mut add = |what: String, unit, more, value| {
        eprintln!("  {:<8} {what}: {value:.1} {unit}", server.name);
        figures.push(Figure { what, unit, more, value });
    };
    if users == plan.users[0] {
        let rest = memory::kib(server)?;
        add("memory at rest".into(), "KiB", false, rest);
        // Before any load: what that has freed would hide what sessions take.
        let per_session = memory::per_idle_session(server, plan.idle)?;
        let what = format!("memory per idle IMAPS session, {} open", plan.idle);
        add(what, "KiB", false, per_session);
    }
    // Nobody's figure shall depend on how many mailboxes are made on the way.
    let recipients = users.min(plan.recipients);
    server.make_mailboxes(recipients)?;
    // The first message of each user finds nothing in any cache.
    let before = server.directory_operations()?;
    let time = plan.time;
    let cold = smtp::Load { senders: 1, size: 1_000, messages: users.min(50), time, recipients };
    let done = smtp::run(server, &cold)?;
    let operations = server.directory_operations()? - before;
    let per_message = |operations: usize, messages: usize| operations as f64 / messages as f64;
    let what = format!("directory operations per message, cold, {users} users");
    add(what, "", false, per_message(operations, done.messages));
    let before = server.directory_operations()?;
    let done = smtp::run(server, &cold)?;
    let operations = server.directory_operations()? - before;
    let what = format!("directory operations per message, warm, {users} users");
    add(what, "", false, per_message(operations, done.messages));

    // Everybody's first message, then the loads.
    let first = smtp::Load { senders: 10, size: 1_000, messages: recipients, time, recipients };
    let rate = smtp::run(server, &first)?.rate;
    add(
        format!("first messages to {recipients} users, 10 senders, {users} users"),
        "/s",
        true,
        rate,
    );
    for &(senders, size) in &plan.loads {
        let messages = if size > 10_000 { plan.messages / 4 } else { plan.messages };
        let load = smtp::Load { senders, size, messages, time, recipients };
        let rate = smtp::run(server, &load)?.rate;
        let what = format!("messages into Maildir, {senders} senders, {size} bytes, {users} users");
        add(what, "/s", true, rate);
    }
    if users == plan.users[0] {
        for senders in [10, 50] {
            let messages = plan.messages;
            let load = smtp::Load { senders, size: 1_000, messages, time, recipients };
            let rate = outbound::run(server, sinks, &load)?;
            add(
                format!("messages out to 10 servers, {senders} users, 1000 bytes"),
                "/s",
                true,
                rate,
            );
        }
        imap::fill(server, "u00000", plan.mailbox)?;
        let rate = imap::envelopes(server, "u00000", plan.mailbox, plan.rounds)?;
        add(format!("login, select, fetch {} envelopes", plan.mailbox), "/s", true, rate);
        let rate = imap::bodies(server, "u00000", plan.mailbox, plan.rounds)?;
        add("message bodies fetched, one command each".into(), "/s", true, rate);
        let rate = imap::commands(server, "u00000", plan.mailbox, plan.rounds)?;
        add("IMAP commands, 10 sessions".into(), "/s", true, rate);
    }
    Ok(figures)
}

/// A column for each server; in parentheses, how many times better than the last one's it is.
fn print(table: &[Vec<Figure>], plan: &Plan) {
    let names: Vec<String> = plan.contestants.iter().map(|it| it.name()).collect();
    println!("\n| what | {} |\n|------|{}", names.join(" | "), "-----:|".repeat(names.len()));
    let Some((last, others)) = table.split_last() else { return };
    for (row, base) in last.iter().enumerate() {
        let cells = others.iter().filter_map(|column| column.get(row)).map(|figure| {
            let (better, worse) = match figure.more {
                true => (figure.value, base.value),
                false => (base.value, figure.value),
            };
            let times =
                if worse > 0.0 { format!("{:.1}", better / worse) } else { "all of it".into() };
            format!("{:.1} {} ({times})", figure.value, figure.unit)
        });
        let cells: Vec<String> = cells.collect();
        let base_cell = format!("{:.1} {}", base.value, base.unit);
        let all: Vec<String> = cells.into_iter().chain([base_cell]).collect();
        println!("| {} | {} |", base.what, all.join(" | "));
    }
}
