//! `cargo run --release -p waypost-benches --bin idle`: what connections that do nothing cost.
//!
//! Starts one program of Waypost on an LDIF directory, opens IMAPS sessions in three steps, and
//! prints after each what the process holds and, over some seconds in which no client says anything,
//! what it does: context switches of all its threads, and the time they run.

mod process;

use std::collections::VecDeque;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use process::Process;
use rustix::process::{Resource, getrlimit, setrlimit};
use waypost_conformance::daemon::{self, Accounts, Daemon};
use waypost_conformance::net::{self, Client, Endpoint};
use waypost_conformance::replay::command;
use waypost_conformance::rig::SEED_PASSWORD;

const USAGE: &str = "idle [--program PATH] [--sessions N] [--users N] [--seconds N]

  --program   what is measured (waypost of this profile)
  --sessions  how many there are in the last step (10000)
  --users     whose sessions they are, in turn (a tenth of the sessions, at most 1000)
  --seconds   how long each look at the idle process is (10)";

/// How long a process may take to come to rest.
const SETTLE: Duration = Duration::from_secs(3);

/// The server looks every ten seconds whether there is memory to give back.
const AFTERWARDS: Duration = Duration::from_secs(15);

struct Plan {
    program: Option<PathBuf>,
    sessions: usize,
    users: usize,
    look: Duration,
}

fn main() -> ExitCode {
    let done = plan().and_then(|plan| measure(&plan));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn plan() -> Result<Plan, String> {
    let (mut program, mut sessions, mut users, mut seconds) = (None, 10_000, None, 10);
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        let number = || value.parse::<usize>().map_err(|_| USAGE.to_owned());
        match option.as_str() {
            "--program" => program = Some(PathBuf::from(&value)),
            "--sessions" => sessions = number()?,
            "--users" => users = Some(number()?.max(1)),
            "--seconds" => seconds = number()?.max(1),
            _ => return Err(USAGE.into()),
        }
    }
    let users = users.unwrap_or_else(|| (sessions / 10).clamp(1, 1000));
    Ok(Plan { program, sessions, users, look: Duration::from_secs(seconds as u64) })
}

fn measure(plan: &Plan) -> Result<(), String> {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).map_err(|e| e.to_string())?;
    if let Some(program) = &plan.program {
        let program =
            fs::canonicalize(program).map_err(|e| format!("{}: {e}", program.display()))?;
        daemon::choose_program(program).map_err(|e| e.to_string())?;
    }
    let settings = [
        ("limits.connections", "20000"),
        ("limits.connections_per_address", "20000"),
        ("log.level", "\"warn\""),
    ];
    let start = |users| Daemon::start(&Accounts::Ldif(users), &settings).map_err(|e| e.to_string());
    let mut daemon = start(0)?;
    pass(SETTLE);
    let without_users = Process(daemon.pid().ok_or("the daemon is gone")?).resident()? / 1024.0;
    daemon.down().map_err(|e| e.to_string())?;
    let mut daemon = start(plan.users)?;
    let process = Process(daemon.pid().ok_or("the daemon is gone")?);
    let program = daemon::program().map_err(|e| e.to_string())?;
    let stripped = stripped(&program, &daemon)?;
    println!("{}: {:.1} MiB stripped", program.display(), stripped as f64 / 1024.0 / 1024.0);
    println!(
        "at rest, no user in its directory: {without_users:.1} MiB; below, {} users\n",
        plan.users
    );
    println!("| sessions | resident | each, logged in | each, in IDLE | switches/s | CPU/s |");
    println!("|-----:|-----:|-----:|-----:|-----:|-----:|");
    let rest = process.resident()?;
    report(&process, plan, 0, ["", ""].map(str::to_owned))?;
    let imaps = Imaps::of(&daemon)?;
    let mut clients = Vec::new();
    for count in [plan.sessions / 10, plan.sessions] {
        let (known, before) = (clients.len(), process.resident()?);
        for n in known..count {
            clients.push(imaps.log_in(n % plan.users)?);
        }
        let logged_in = each(before, process.resident()?, count - known);
        for client in &mut clients[known..] {
            idle(client)?;
        }
        let idle = each(rest, process.resident()?, count);
        report(&process, plan, count, [logged_in, idle])?;
    }
    drop(clients);
    pass(AFTERWARDS);
    println!("\nall closed, {AFTERWARDS:?} later: {:.1} MiB", process.resident()? / 1024.0);
    daemon.down().map(drop).map_err(|e| e.to_string())
}

/// Lets time go by: that nothing happens is what is measured.
#[allow(clippy::disallowed_methods, reason = "there is no event to wait for")]
fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// KiB that each of `count` sessions has added.
fn each(before: f64, after: f64, count: usize) -> String {
    format!("{:.1} KiB", (after - before) / count.max(1) as f64)
}

/// Looks at the process while nothing happens, and prints a line of the table.
fn report(process: &Process, plan: &Plan, count: usize, each: [String; 2]) -> Result<(), String> {
    // What was just begun shall be over.
    pass(SETTLE);
    let before = process.activity()?;
    pass(plan.look);
    let after = process.activity()?;
    let seconds = plan.look.as_secs_f64();
    let switches = after.switches.saturating_sub(before.switches) as f64 / seconds;
    let busy = after.busy.saturating_sub(before.busy).as_secs_f64() * 1000.0 / seconds;
    let [logged_in, idle] = each;
    let resident = process.resident()? / 1024.0;
    println!(
        "| {count} | {resident:.1} MiB | {logged_in} | {idle} | {switches:.1} | {busy:.2} ms |"
    );
    Ok(())
}

/// The port for IMAPS, and trust in its certificate.
struct Imaps {
    at: Endpoint,
    tls: Arc<rustls::ClientConfig>,
}

impl Imaps {
    fn of(daemon: &Daemon) -> Result<Self, String> {
        let port = daemon.stage(VecDeque::new()).imaps;
        let at = Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let tls = net::trusting(&daemon.ca()).map_err(|e| e.to_string())?;
        Ok(Self { at, tls })
    }

    fn log_in(&self, user: usize) -> Result<Client, String> {
        let mut client = Client::new(self.at.dial(None).map_err(|e| e.to_string())?);
        client.secure(&self.tls, "mail.example.com").map_err(|e| e.to_string())?;
        client.line().map_err(|e| e.to_string())?;
        command(&mut client, format!("LOGIN u{user:05} {SEED_PASSWORD}").as_bytes())?;
        Ok(client)
    }
}

fn idle(client: &mut Client) -> Result<(), String> {
    command(client, b"SELECT INBOX")?;
    client.send(b"a002 IDLE\r\n").map_err(|e| e.to_string())?;
    client.line().map(drop).map_err(|e| e.to_string())
}

/// The size of the program without symbols.
fn stripped(program: &Path, daemon: &Daemon) -> Result<u64, String> {
    let copy = daemon.dir().join("stripped");
    let status = Command::new("strip").arg("-o").arg(&copy).arg(program).status();
    if !status.as_ref().is_ok_and(ExitStatus::success) {
        return Err(format!("strip {}: {status:?}", program.display()));
    }
    fs::metadata(&copy).map(|file| file.len()).map_err(|e| e.to_string())
}
