//! `cargo run --release -p waypost-benches --bin micro [NAME...]`: small pieces of the core, by
//! time; with `--instructions`, by instructions under valgrind, which do not depend on what else
//! the machine does.

mod imap;
mod ldap;
mod maildir;
mod message;
mod queue;
mod smtp;

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// A bench: prepares its input, then gives the piece to repeat, which returns how many octets or
/// items it has worked on.
type Prepare = fn() -> Box<dyn FnMut() -> usize>;

struct Bench {
    name: &'static str,
    /// What the returned number counts.
    unit: &'static str,
    prepare: Prepare,
}

const fn bench(name: &'static str, unit: &'static str, prepare: Prepare) -> Bench {
    Bench { name, unit, prepare }
}

const BENCHES: &[Bench] = &[
    bench("smtp dialogue, one message of 1 KB", "messages", smtp::dialogue),
    bench("smtp DATA, 10 MB", "octets", smtp::data),
    bench("smtp DATA, 1 MB of dots", "octets", smtp::dots),
    bench("imap small commands", "commands", imap::commands),
    bench("imap FETCH of 1000 envelopes", "messages", imap::envelopes),
    bench("imap SEARCH over 1000 messages", "messages", imap::search),
    bench("message structure, 100 KB with attachment", "octets", message::structure),
    bench("message envelope printed", "messages", message::envelope),
    bench("uid list of 10000 parsed", "entries", maildir::uidlist),
    bench("uid list of 10000 matched with files", "entries", maildir::sync),
    bench("recipient resolved among 5000 users", "recipients", ldap::resolve),
    bench("alias lookup among 5000 entries", "lookups", ldap::lookup),
    bench("LDIF of 1000 entries read", "entries", ldap::ldif),
    bench("queue, 100 others wait", "messages", queue::through_100),
    bench("queue, 10000 others wait", "messages", queue::through_10_000),
    bench("queue, 1000000 others wait", "messages", queue::through_1_000_000),
    bench("queue of 100000 taken up at start", "messages", queue::recovery),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, times] = arguments.as_slice()
        && flag == "--times"
    {
        return repeat(name, times);
    }
    let instructions = arguments.iter().any(|a| a == "--instructions");
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    for bench in BENCHES {
        if !filters.is_empty() && !filters.iter().any(|f| bench.name.contains(f.as_str())) {
            continue;
        }
        let line = if instructions { count(bench) } else { Ok(time(bench)) };
        match line {
            Ok(line) => println!("{:<48} {line}", bench.name),
            Err(problem) => {
                eprintln!("{}: {problem}", bench.name);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// The best of many runs: others on the machine only ever make it slower.
fn time(bench: &Bench) -> String {
    let mut run = (bench.prepare)();
    let (started, mut best, mut work) = (Instant::now(), Duration::MAX, 0);
    while started.elapsed() < Duration::from_millis(600) {
        let from = Instant::now();
        work = black_box(run());
        best = best.min(from.elapsed());
    }
    let each = best.as_secs_f64() * 1e9 / work as f64;
    let rate = work as f64 / best.as_secs_f64();
    format!("{each:>12.2} ns each {rate:>16.0} {}/s", bench.unit)
}

/// Runs one bench a few times and nothing else: what valgrind looks at.
fn repeat(name: &str, times: &str) -> ExitCode {
    let (Some(bench), Ok(times)) = (BENCHES.iter().find(|b| b.name == name), times.parse()) else {
        return ExitCode::FAILURE;
    };
    let mut run = (bench.prepare)();
    let work: usize = (0..times).map(|_| black_box(run())).sum();
    println!("{work}");
    ExitCode::SUCCESS
}

/// Instructions for each unit: those of three rounds less those of one, without the preparation.
fn count(bench: &Bench) -> Result<String, String> {
    let (one, work) = valgrind(bench.name, 1)?;
    let (three, _) = valgrind(bench.name, 3)?;
    let each = (three - one) as f64 / 2.0 / work as f64;
    Ok(format!("{each:>12.2} instructions each"))
}

fn valgrind(name: &str, times: u32) -> Result<(u64, u64), String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--times", name, &times.to_string()])
        .output()
        .map_err(|e| format!("valgrind: {e}"))?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = told.lines().find_map(|l| l.split("Collected : ").nth(1));
    let instructions = collected.and_then(|n| n.trim().parse().ok()).ok_or_else(|| told.clone())?;
    let work = String::from_utf8_lossy(&output.stdout).trim().parse().map_err(|_| told)?;
    Ok((instructions, work))
}
