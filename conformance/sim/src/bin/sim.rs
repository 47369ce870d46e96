//! Runs the simulation: many seeds, or one script.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use waypost_sim::choices::Choices;
use waypost_sim::laws::Law;
use waypost_sim::plan::plan;
use waypost_sim::run::{Options, Report, run};
use waypost_sim::script::Script;
use waypost_sim::shrink::shrink;

/// Runs the simulation of the whole server.
///
/// Each seed is a script and a run of it, twice where asked for. A seed that breaks a law is printed
/// with the law and the shortest script that breaks it too.
#[derive(Debug, Parser)]
struct Arguments {
    /// The seeds, the last one not included
    #[arg(long, value_name = "A..B", default_value = "0..1000", value_parser = seeds)]
    seeds: (u64, u64),
    /// Ends after so long, with however many seeds
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Runs this script instead
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// How many seeds run side by side [default: one for each core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Runs each seed twice and compares: the same must happen
    #[arg(long)]
    twice: bool,
    /// Ends after so many failures
    #[arg(long, value_name = "N", default_value_t = 5)]
    failures: usize,
    /// Prints of each seed the number of all that happens in its run, and looks at nothing else
    #[arg(long)]
    hashes: bool,
    /// Prints all that happens
    #[arg(long)]
    told: bool,
    /// Prints the script of the first seed, and runs nothing
    #[arg(long)]
    print: bool,
    /// Leaves the scripts of failures as they are
    #[arg(long)]
    long: bool,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    match text.split_once("..") {
        Some((from, to)) => Ok((number(from)?, number(to)?)),
        None => number(text).map(|seed| (seed, seed + 1)),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.print {
        print!("{}", plan(&Choices::seeded(arguments.seeds.0)));
        return ExitCode::SUCCESS;
    }
    if arguments.hashes {
        for seed in arguments.seeds.0..arguments.seeds.1 {
            let report = run(&plan(&Choices::seeded(seed)), &Options::default());
            println!("{seed} {:016x}", report.hash);
        }
        return ExitCode::SUCCESS;
    }
    match &arguments.script {
        Some(path) => one(path, &arguments),
        None => many(&arguments),
    }
}

fn one(path: &PathBuf, arguments: &Arguments) -> ExitCode {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let script = match text.and_then(|text| text.parse::<Script>().map_err(|it| it.to_string())) {
        Ok(script) => script,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    let report = run(&script, &Options { told: arguments.told, ..Options::default() });
    report.lines.iter().for_each(|line| println!("{line}"));
    print!("{report}");
    match report.broken.first() {
        None => ExitCode::SUCCESS,
        Some(breach) => {
            if !arguments.long {
                let law = breach.law;
                print!("\nShortened:\n{}", shrink(&script, |script| breaks(script, law)));
            }
            ExitCode::FAILURE
        }
    }
}

fn breaks(script: &Script, law: Law) -> bool {
    let report = run(script, &Options::default());
    report.broken.iter().any(|breach| breach.law == law)
}

/// What all jobs share.
struct Tally {
    next: AtomicU64,
    stop: AtomicBool,
    done: AtomicU64,
    events: AtomicU64,
    crashes: AtomicU64,
    failures: Mutex<BTreeMap<u64, Failure>>,
}

struct Failure {
    script: Script,
    report: Report,
}

fn many(arguments: &Arguments) -> ExitCode {
    let (from, to) = arguments.seeds;
    let tally = Tally {
        next: AtomicU64::new(from),
        stop: AtomicBool::new(false),
        done: AtomicU64::new(0),
        events: AtomicU64::new(0),
        crashes: AtomicU64::new(0),
        failures: Mutex::default(),
    };
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let started = Instant::now();
    let end = arguments.minutes.map(|minutes| started + Duration::from_secs(60 * minutes));
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.unwrap_or_else(cores) {
            scope.spawn(|| work(&tally, to, end, arguments));
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let done = of(&tally.done);
    println!(
        "{done} seeds in {seconds:.1} s: {:.1} seeds/s, {} events, {} crashes",
        done as f64 / seconds,
        of(&tally.events),
        of(&tally.crashes),
    );
    let failures = tally.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (seed, failure) in &failures {
        tell(*seed, failure, arguments);
    }
    match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => {
            println!("{} seeds failed", failures.len());
            ExitCode::FAILURE
        }
    }
}

fn work(tally: &Tally, to: u64, end: Option<Instant>, arguments: &Arguments) {
    while !tally.stop.load(Ordering::Relaxed) && end.is_none_or(|end| Instant::now() < end) {
        let seed = tally.next.fetch_add(1, Ordering::Relaxed);
        if seed >= to {
            return;
        }
        let script = plan(&Choices::seeded(seed));
        let mut report = run(&script, &Options::default());
        if arguments.twice {
            let again = run(&script, &Options::default());
            if again.hash != report.hash {
                let what = format!("{:016x}, and then {:016x}", report.hash, again.hash);
                report.broken.push(waypost_sim::laws::Breach { law: Law::W12, what });
            }
        }
        tally.done.fetch_add(1, Ordering::Relaxed);
        tally.events.fetch_add(report.events, Ordering::Relaxed);
        tally.crashes.fetch_add(report.crashes.into(), Ordering::Relaxed);
        if !report.broken.is_empty() {
            let mut failures = tally.failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.insert(seed, Failure { script, report });
            if failures.len() >= arguments.failures {
                tally.stop.store(true, Ordering::Relaxed);
            }
        }
    }
}

fn tell(seed: u64, Failure { script, report }: &Failure, arguments: &Arguments) {
    print!("\nseed {seed} breaks {:?}: {report}", report.broken[0].law);
    let law = report.broken[0].law;
    if arguments.long || law == Law::W12 {
        return print!("{script}");
    }
    print!("{}", shrink(script, |script| breaks(script, law)));
}
