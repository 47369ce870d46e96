//! SIGKILL and SIGTERM under load: every message that got its 250 lies in its mailbox after the next
//! start, at least once, and none lies there in part.  SIGTERM also ends in good order.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use waypost_conformance::daemon::{Accounts, Daemon};
use waypost_conformance::rig::seeded;
use waypost_conformance::shells::{Shell, on_all};
use waypost_conformance::stage::Stage;
use waypost_conformance::talk::Smtp;

const ROUNDS: u64 = 8;
const SENDERS: usize = 8;
const USERS: usize = 10;
/// Messages end with this line.
const END: &str = "the last line of the message";

fn main() -> ExitCode {
    waypost_conformance::finish(on_all(run))
}

fn run(shell: Shell) -> Result<(), String> {
    let name = shell.name();
    println!("\n{name}: SIGKILL and SIGTERM under load: {ROUNDS} rounds");
    // What waits in the spool is tried again soon.
    let extra = [
        ("spool.minimal_backoff_time", "\"1s\""),
        ("spool.maximal_backoff_time", "\"1s\""),
        ("spool.queue_run_delay", "\"1s\""),
    ];
    let daemon = Daemon::prepare(&Accounts::Ldif(USERS), &extra).map_err(|e| e.to_string())?;
    let mut daemon = daemon.on(shell);
    let stage = daemon.stage(seeded(0, USERS));
    let (accepted, number) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    for round in 0..ROUNDS {
        daemon.up().map_err(|e| e.to_string())?;
        let before = accepted.lock().expect("no panic").len();
        load(&mut daemon, &stage, round, &accepted, &number)?;
        let after = accepted.lock().expect("no panic").len();
        println!("{name} round {round}: {} messages got a 250", after - before);
    }
    let accepted = accepted.into_inner().expect("no panic");
    daemon.up().map_err(|e| e.to_string())?;
    let found = wait_for_all(&stage, &accepted)?;
    let twice = found.values().filter(|n| **n > 1).count();
    let unasked = found.len() - accepted.len();
    println!(
        "{name}: {} messages got a 250 and are there; {twice} more than once, {unasked} without a 250",
        accepted.len()
    );
    // The process can also end in good order.
    let status = daemon.down().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("waypost ends with {status}")) }
}

/// Senders at work until the daemon is killed, after a time that depends on the round.
fn load(
    daemon: &mut Daemon,
    stage: &Stage,
    round: u64,
    accepted: &Mutex<Vec<String>>,
    number: &AtomicUsize,
) -> Result<(), String> {
    let stop = AtomicBool::new(false);
    let (tick, ticks) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            let (tick, stop) = (tick.clone(), &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut smtp) = Smtp::greeted(stage) else { break };
                    while let Some(id) = send(&mut smtp, number) {
                        accepted.lock().expect("no panic").push(id);
                        let _ = tick.send(());
                    }
                }
            });
        }
        // So many messages, then somewhere within the next ones: not a matter of time.
        let wanted = 20 + (round * 37) % 90;
        for _ in 0..wanted {
            ticks
                .recv_timeout(Duration::from_secs(30))
                .map_err(|_| "no message is accepted".to_owned())?;
        }
        stop.store(true, Ordering::Relaxed);
        if round % 4 != 3 {
            return daemon.kill().map_err(|e| e.to_string());
        }
        let status = daemon.down().map_err(|e| e.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("SIGTERM: waypost ends with {status}")) }
    })
}

/// Sends one message; its id when it got a 250.
fn send(smtp: &mut Smtp, number: &AtomicUsize) -> Option<String> {
    let n = number.fetch_add(1, Ordering::Relaxed);
    let id = format!("<crash-{n}@client.example.net>");
    // Sizes from one block to several hundred.
    let filler = "0123456789abcdef\r\n".repeat(1 + (n * n) % 2_000);
    let text = format!("Subject: crash\r\nMessage-ID: {id}\r\n\r\n{filler}{END}");
    let reply = smtp.message(&format!("u{:05}@example.com", n % USERS), &text).ok()?;
    reply.starts_with("250").then_some(id)
}

/// Waits until every id is found; then how often each was found.
fn wait_for_all(stage: &Stage, ids: &[String]) -> Result<BTreeMap<String, usize>, String> {
    let started = Instant::now();
    loop {
        let found = look(stage)?;
        let missing: Vec<_> = ids.iter().filter(|id| !found.contains_key(*id)).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        if started.elapsed() > Duration::from_secs(60) {
            let first = &missing[0];
            return Err(format!("{} messages that got a 250 are lost: {first}", missing.len()));
        }
    }
}

/// Ids of all messages in all mailboxes; each message must be whole.
fn look(stage: &Stage) -> Result<BTreeMap<String, usize>, String> {
    let mut found = BTreeMap::new();
    for user in seeded(0, USERS) {
        for message in stage.messages(&user) {
            let text = String::from_utf8_lossy(&message);
            let id = text.lines().find_map(|l| l.strip_prefix("Message-ID: "));
            let whole = text.ends_with(&format!("{END}\n"));
            let Some(id) = id.filter(|_| whole) else {
                return Err(format!("half a message of {} bytes in {}", text.len(), user.name));
            };
            *found.entry(id.to_owned()).or_default() += 1;
        }
    }
    Ok(found)
}
