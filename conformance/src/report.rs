//! Runs named cases on a few threads and prints one line for each, as `cargo test` does.

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

/// Whether the command line asks for one of these names: it holds none, or a part of one.
pub fn wanted<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    filters.is_empty() || names.any(|name| filters.iter().any(|f| name.contains(f.as_str())))
}

/// Runs the cases the command line asks for.
///
/// # Errors
/// How many failed; each was printed.
pub fn run(title: &str, cases: &[Case<'_>], threads: usize) -> Result<(), String> {
    let chosen: Vec<&Case<'_>> =
        cases.iter().filter(|c| wanted(std::iter::once(c.name.as_str()))).collect();
    if chosen.is_empty() {
        return Ok(());
    }
    println!("\n{title}: {} cases", chosen.len());
    let started = Instant::now();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    match (case.check)() {
                        Ok(()) => {
                            let took = begun.elapsed().as_secs_f32();
                            println!("test {} ... ok ({took:.1} s)", case.name);
                        }
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
    if failed == 0 { Ok(()) } else { Err(format!("{title}: {failed} failed")) }
}
