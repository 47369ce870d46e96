//! SIGKILL while mail goes out: what got a 250 from us arrives at least once, and more than once only
//! where the answer to its final dot was lost, or was on its way when the process died.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use waypost_conformance::remote::moody::{Answer, Delivery, Moody};
use waypost_conformance::remote::outside::{Outside, submit};

const ROUNDS: usize = 6;
const SENDERS: usize = 4;
/// How long it may take to write down that a message was taken.
const WRITE: Duration = Duration::from_secs(1);
const DOMAIN: &str = "far.test";

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    println!("\nSIGKILL while mail goes out: {ROUNDS} rounds");
    let text = |e: std::io::Error| e.to_string();
    let mut outside = Outside::new().map_err(text)?;
    let host = Moody::start().map_err(text)?;
    outside.domain(DOMAIN, &[(10, "mx".to_owned())], host.port)?;
    let (accepted, number) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let mut kills = Vec::new();
    for round in 0..ROUNDS {
        outside.daemon.up().map_err(text)?;
        let before = host.deliveries().len();
        load(&mut outside, &host, round, &accepted, &number)?;
        kills.push(Instant::now());
        let (sent, arrived) = (accepted.lock().expect("no panic").len(), host.deliveries().len());
        println!("round {round}: {sent} messages got a 250, {} more arrived", arrived - before);
    }
    let accepted = accepted.into_inner().expect("no panic");
    outside.daemon.up().map_err(text)?;
    check(&accepted, &host, &kills)?;
    let status = outside.daemon.down().map_err(text)?;
    if status.success() { Ok(()) } else { Err(format!("waypost ends with {status}")) }
}

/// Senders at work until the daemon is killed, after a number of deliveries that depends on the round.
fn load(
    outside: &mut Outside,
    host: &Moody,
    round: usize,
    accepted: &Mutex<Vec<String>>,
    number: &AtomicUsize,
) -> Result<(), String> {
    let (stage, stop) = (outside.stage(), AtomicBool::new(false));
    let already: usize = host.deliveries().values().map(Vec::len).sum();
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let n = number.fetch_add(1, Ordering::Relaxed);
                    let name = format!("m{n}");
                    let filler = "0123456789abcdef\r\n".repeat(1 + (n * n) % 2_000);
                    let message = format!(
                        "From: <mail000@example.com>\r\nSubject: crash\r\n\r\n{filler}\
                         the last line of the message\r\n"
                    );
                    let to = [format!("{name}@{DOMAIN}")];
                    if submit(&stage, &to, message.as_bytes()).is_ok() {
                        accepted.lock().expect("no panic").push(name);
                    }
                }
            });
        }
        let wanted = already + 10 + (round * 37) % 50;
        let came = host.wait(|all| all.values().map(Vec::len).sum::<usize>() >= wanted);
        stop.store(true, Ordering::Relaxed);
        outside.daemon.kill().map_err(|e| e.to_string())?;
        if came { Ok(()) } else { Err(format!("only {:?} arrive", host.deliveries())) }
    })
}

fn check(accepted: &[String], host: &Moody, kills: &[Instant]) -> Result<(), String> {
    let taken = |all: &[Delivery]| all.iter().any(|one| one.answer != Answer::Lost);
    let all_there = host.wait(|all| {
        accepted.iter().all(|name| all.get(name).is_some_and(|deliveries| taken(deliveries)))
    });
    let deliveries = host.deliveries();
    if !all_there {
        let lost = accepted.iter().filter(|name| !deliveries.get(*name).is_some_and(|d| taken(d)));
        let lost: Vec<&String> = lost.collect();
        return Err(format!("{} messages that got a 250 do not arrive: {lost:?}", lost.len()));
    }
    let (mut twice, mut lost) = (0, 0);
    for (name, all) in &deliveries {
        // Every delivery but the last was one that we could not know of.
        let (_, before) = all.split_last().ok_or("invariant: a delivery makes the entry")?;
        for one in before {
            match one.answer {
                Answer::Lost => lost += 1,
                Answer::Said | Answer::Heard => {
                    let kill = kills.iter().find(|kill| **kill > one.at);
                    let left = kill.map(|kill| kill.duration_since(one.at));
                    if left.is_none_or(|left| left > WRITE) {
                        return Err(format!("{name} arrives again, {left:?} before a kill"));
                    }
                    twice += 1;
                }
            }
        }
    }
    println!(
        "{} messages got a 250 and arrived; {lost} again as the host had gone away at the dot, \
         {twice} again as we had been killed at it",
        accepted.len()
    );
    Ok(())
}
