//! Runs named cases on a few threads and prints one line for each, as `cargo test` does.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// One case: its name and what it does; the error is shown.
pub struct Case<'a> {
    /// What is printed, and what a filter on the command line is compared with.
    pub name: String,
    /// The check.
    pub check: Box<dyn Fn() -> Result<(), String> + Send + Sync + 'a>,
}

/// Runs the cases whose name contains an argument of the command line (all, when there is none).
pub fn run(title: &str, cases: &[Case<'_>], threads: usize) -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()));
    let chosen: Vec<&Case<'_>> = cases.iter().filter(|c| wanted(&c.name)).collect();
    println!("\n{title}: {} cases", chosen.len());
    let started = Instant::now();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match (case.check)() {
                        Ok(()) => println!("test {} ... ok", case.name),
                        Err(problem) => {
                            println!("test {} ... FAILED", case.name);
                            let mut failures = failures.lock().expect("no case panics holding it");
                            failures.push((case.name.clone(), problem));
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("all threads have ended");
    for (name, problem) in &failures {
        println!("\n---- {name} ----\n{problem}");
    }
    let (failed, time) = (failures.len(), started.elapsed().as_secs_f32());
    println!("\n{title}: {} passed, {failed} failed in {time:.1} s", chosen.len() - failed);
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
