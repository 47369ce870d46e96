//! `cargo run --release -p waypost-benches`: Waypost and the rig's Postfix and Dovecot in turn, on
//! the same directory and the same messages; prints the figures of both and their ratio.
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

use plan::Plan;
use server::Server;
use std::process::ExitCode;
use std::sync::Arc;
use waypost_conformance::daemon::{Accounts, Daemon};
use waypost_conformance::rig::{Options, Rig};

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
    let mut rows: Vec<(Figure, Option<Figure>)> = Vec::new();
    let sinks = outbound::Sinks::start(10)?;
    for &users in &plan.users {
        eprintln!("directory of {users} users");
        let mut peer = Vec::new();
        if plan.peers {
            let rig = start_rig(users, true)?;
            outbound::route_postfix(&rig, &sinks)?;
            peer = measure(&Server::of_rig(&rig)?, &sinks, users, plan)?;
        }
        let mut ours = Vec::new();
        if plan.waypost {
            let rig = Arc::new(start_rig(users, false)?);
            let accounts = Accounts::Slapd(rig.clone());
            let ways = outbound::transport_maps(&sinks);
            let settings = [
                ("limits.connections_per_address", "10000"),
                ("limits.user_messages_per_hour", "0"),
                ("limits.user_recipients_per_hour", "0"),
                ("log.level", "\"warn\""),
                ("relay.transport_maps", &ways),
            ];
            let mut daemon = Daemon::start(&accounts, &settings).map_err(|e| e.to_string())?;
            ours = measure(&Server::waypost(&rig, &daemon)?, &sinks, users, plan)?;
            daemon.down().map_err(|e| e.to_string())?;
        }
        if ours.is_empty() {
            rows.extend(peer.into_iter().map(|figure| (figure, None)));
        } else {
            let mut peer = peer.into_iter();
            rows.extend(ours.into_iter().map(|figure| (figure, peer.next())));
        }
    }
    print(&rows, plan);
    let floor = floor::messages_per_second(10, plan.messages.min(5_000))?;
    println!(
        "\nwrite, fsync, rename, fsync of the directory alone, 10 threads: {floor:.0} per second"
    );
    Ok(())
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
    }
    Ok(figures)
}

fn print(rows: &[(Figure, Option<Figure>)], plan: &Plan) {
    let (first, second) = if plan.waypost { ("Waypost", "peers") } else { ("peers", "-") };
    println!("\n| what | {first} | {second} | times better |\n|------|-----:|-----:|-----:|");
    for (figure, other) in rows {
        let shown = |f: &Figure| format!("{:.1} {}", f.value, f.unit);
        let ratio = other.as_ref().map_or_else(String::new, |other| {
            let (better, worse) =
                if figure.more { (figure.value, other.value) } else { (other.value, figure.value) };
            if worse > 0.0 { format!("{:.1}", better / worse) } else { "all of it".into() }
        });
        let other = other.as_ref().map_or_else(String::new, shown);
        println!("| {} | {} | {other} | {ratio} |", figure.what, shown(figure));
    }
}
