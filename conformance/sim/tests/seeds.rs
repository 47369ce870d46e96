//! Two hundred seeds; and that a seed says all, which is law W12.

use waypost_sim::choices::Choices;
use waypost_sim::plan::plan;
use waypost_sim::run::{Options, run};

#[test]
fn no_law_is_broken() {
    for seed in 0..200 {
        let script = plan(&Choices::seeded(seed));
        let report = run(&script, &Options::default());
        assert!(report.broken.is_empty(), "seed {seed}: {report}{script}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..40 {
        let script = plan(&Choices::seeded(seed));
        let hash = run(&script, &Options::default()).hash;
        assert_eq!(run(&script, &Options::default()).hash, hash, "seed {seed}:\n{script}");
    }
}

/// Prints the hashes of some seeds; see below.
#[test]
fn hashes() {
    for seed in 40..48 {
        println!(
            "hash {seed} {:016x}",
            run(&plan(&Choices::seeded(seed)), &Options::default()).hash
        );
    }
}

#[test]
fn so_it_is_in_another_process() {
    let program = std::env::current_exe().unwrap();
    let other = || {
        let mut command = std::process::Command::new(&program);
        let output = command.args(["--exact", "hashes", "--nocapture"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter_map(|line| Some(line[line.find("hash ")?..].to_owned()));
        lines.collect::<Vec<_>>()
    };
    let hashes = other();
    assert_eq!(hashes.len(), 8, "{hashes:?}");
    assert_eq!(hashes, other());
}

/// As a fuzzer does it.
#[test]
fn bytes_decide_as_well() {
    for n in 0..40_u8 {
        let bytes: Vec<u8> = (0..n).map(|at| at.wrapping_mul(151) ^ n.wrapping_mul(29)).collect();
        let script = plan(&Choices::from_bytes(&bytes));
        let report = run(&script, &Options::default());
        assert!(report.broken.is_empty(), "{n}: {report}{script}");
    }
}
