//! The simulation bites: faults that are planted in its world are found, each within so many seeds,
//! and without them the same seeds find nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use waypost_sim::choices::Choices;
use waypost_sim::directory::Defect;
use waypost_sim::faults::{Lie, Wire};
use waypost_sim::laws::{Breach, Law};
use waypost_sim::plan::plan;
use waypost_sim::run::{Options, run};
use waypost_sim::script::Script;

/// A fault, and what is expected of it.
struct Plant {
    name: &'static str,
    options: fn() -> Options,
    /// What is run with each seed; what the plan draws, if empty.
    script: &'static str,
    /// Within so many seeds it is found.
    seeds: u64,
    /// By one of these laws.
    laws: &'static [Law],
}

fn lie(lie: Lie) -> Options {
    Options { lie: Some(lie), ..Options::default() }
}

fn defect(defect: Defect) -> Options {
    Options { defect: Some(defect), ..Options::default() }
}

fn wire(wire: Wire) -> Options {
    Options { tamper: Some(Arc::new(wire.tamper())), ..Options::default() }
}

const fn plant(
    name: &'static str,
    seeds: u64,
    laws: &'static [Law],
    options: fn() -> Options,
) -> Plant {
    Plant { name, options, script: "", seeds, laws }
}

/// Lists are replaced seldom: the keywords of a mailbox are, with every new one.
const KEYWORDS: &str = "\
0ms mx alice@far.test -> mail000@example.com size 300
5s imap mail000 tls: select INBOX; fetch; store 0 +work; store 0 +later; store 0 +more; close
20s crash after 1 calls keep nothing down 1s
";

const PLANTS: &[Plant] = &[
    plant("a file's sync does nothing", 150, &[Law::W1, Law::W4, Law::W5], || lie(Lie::Sync)),
    plant("a directory's sync does nothing", 100, &[Law::W1, Law::W5], || lie(Lie::SyncDir)),
    plant("names before content", 200, &[Law::W1, Law::W4, Law::W5], || lie(Lie::NamesFirst)),
    plant("what was removed is back", 50, &[Law::W2, Law::W5], || lie(Lie::RemovedComesBack)),
    Plant {
        script: KEYWORDS,
        ..plant("what was replaced is back", 5, &[Law::W5], || lie(Lie::ReplacedComesBack))
    },
    plant("an outage is no such entry", 200, &[Law::W9, Law::W1], || {
        defect(Defect::OutageIsAbsence)
    }),
    plant("a directory remembers passwords", 1000, &[Law::W9], || defect(Defect::Remembers)),
    plant("an answer before the message", 20, &[Law::W1], || wire(Wire::AnswersEarly)),
    plant("a failure looks like success", 50, &[Law::W1, Law::W9, Law::Dialogue], || {
        wire(Wire::FailureIsSuccess)
    }),
    plant("an open relay", 50, &[Law::W7], || wire(Wire::Relays)),
    plant("AUTH in clear", 20, &[Law::W8], || wire(Wire::OffersAuthInClear)),
    plant("dots are lost", 20, &[Law::W4, Law::W1], || wire(Wire::LosesDots)),
    plant("an answer comes twice", 20, &[Law::Dialogue], || wire(Wire::AnswersTwice)),
    plant("EXPUNGE during FETCH", 20, &[Law::W6], || wire(Wire::ExpungesDuringFetch)),
    plant("one uid for all", 100, &[Law::W5, Law::W6], || wire(Wire::OneUid)),
    plant("flags are not set", 50, &[Law::W5, Law::W6], || wire(Wire::FlagsTheOtherWay)),
    plant("lost wakes", 500, &[Law::W10, Law::Dialogue], || wire(Wire::LosesWakes)),
];

fn broken(script: &str, seed: u64, options: &Options) -> Vec<Breach> {
    let script = match script {
        "" => plan(&Choices::seeded(seed)),
        text => Script { seed, ..text.parse().unwrap() },
    };
    run(&script, options).broken
}

/// The first seed that finds it, and how.
fn find(plant: &Plant) -> Option<(u64, Breach)> {
    (1..=plant.seeds).find_map(|seed| {
        let mut broken = broken(plant.script, seed, &(plant.options)()).into_iter();
        broken.find(|breach| plant.laws.contains(&breach.law)).map(|breach| (seed, breach))
    })
}

/// Does something with all numbers below `end`, on all processors.
fn all(end: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    match usize::try_from(number) {
                        Ok(number) if number < end => work(number),
                        _ => return,
                    }
                }
            });
        }
    });
}

#[test]
fn every_planted_fault_is_found() {
    let last = AtomicU64::new(0);
    let missed = Mutex::new(Vec::new());
    all(PLANTS.len(), |number| {
        let plant = &PLANTS[number];
        match find(plant) {
            Some((seed, breach)) => {
                println!("{}: seed {seed}: {breach}", plant.name);
                last.fetch_max(seed, Ordering::Relaxed);
            }
            None => missed.lock().unwrap().push(plant.name),
        }
    });
    assert_eq!(missed.into_inner().unwrap(), Vec::<&str>::new());
    // None of these seeds finds anything where nothing is planted.
    let found = Mutex::new(Vec::new());
    all(usize::try_from(last.into_inner()).unwrap(), |number| {
        let seed = number as u64 + 1;
        for script in ["", KEYWORDS] {
            let broken = broken(script, seed, &Options::default());
            if !broken.is_empty() {
                found.lock().unwrap().push((seed, broken));
            }
        }
    });
    assert_eq!(found.into_inner().unwrap(), Vec::new());
}
