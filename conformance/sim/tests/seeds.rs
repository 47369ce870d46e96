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
        assert_eq!(hash(seed), hash(seed), "seed {seed}:\n{}", plan(&Choices::seeded(seed)));
    }
}

fn hash(seed: u64) -> u64 {
    run(&plan(&Choices::seeded(seed)), &Options::default()).hash
}

#[test]
fn so_it_is_in_another_process() {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_sim"));
    let output = program.args(["--hashes", "--seeds", "40..48"]).output().unwrap();
    let here: String = (40..48).map(|seed| format!("{seed} {:016x}\n", hash(seed))).collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), here);
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
