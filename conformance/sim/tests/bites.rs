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
    /// By this law, for a reason that is told in these words.
    law: (Law, &'static str),
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
    law: (Law, &'static str),
    options: fn() -> Options,
) -> Plant {
    Plant { name, options, script: "", seeds, law }
}

/// Lists are replaced seldom: the keywords of a mailbox are, with every new one.
const KEYWORDS: &str = "\
0ms mx alice@far.test -> mail000@example.com size 300
5s imap mail000 tls: select INBOX; fetch; store 0 +work; store 0 +later; store 0 +more; close
20s crash after 1 calls keep nothing down 1s
";

/// The first of two messages goes, and the server crashes.
const UIDS: &str = "\
0ms mx alice@far.test -> mail000@example.com size 300
0ms mx bob@plain.test -> mail000@example.com size 300
5s imap mail000 tls: select INBOX; fetch; delete 0; expunge; close
20s crash after 1 calls keep nothing down 1s
";

/// The domain is known without the directory, its users are not.
const OUTAGE: &str = "\
0ms directory gone 100s
1s mx alice@far.test -> mail002@mail.example.com size 300 retries 2
";

/// Mailboxes that are made, deleted, made again and renamed.
const FOLDERS: &str = "\
0ms imap mail000 tls: create Work; append Work 300; create Old; append Old 300; remove Old; \
create Again; status Again; remove Again; create Again; rename Work Kept
20s crash after 1 calls keep nothing down 1s
";

/// The same, in a Maildir that is durable before.
const RENAMED: &str = "\
0ms imap mail000 tls: create Work; append Work 300; subscribe INBOX
10s crash after 1 calls keep all down 1s
50s imap mail000 tls: rename Work Kept; create Old; subscribe Old
70s crash after 1 calls keep nothing down 1s
";

#[rustfmt::skip]
const PLANTS: &[Plant] = &[
    plant("a file's sync does nothing", 150, (Law::W4, "octets, of which the last"), || lie(Lie::Sync)),
    plant("a directory's sync does nothing", 100, (Law::W1, "is lost"), || lie(Lie::SyncDir)),
    plant("an answer before what it promises is durable", 400, (Law::W1, "is lost"), || lie(Lie::SyncLate)),
    plant("a name before its content", 200, (Law::W1, "not a spool entry"), || lie(Lie::NamesFirst)),
    plant("what was removed is back", 200, (Law::W2, " came 2 times"), || lie(Lie::RemovedComesBack)),
    Plant {
        script: KEYWORDS,
        ..plant("what was replaced is back", 5, (Law::W5, "lacks"), || lie(Lie::ReplacedComesBack))
    },
    Plant {
        script: UIDS,
        ..plant("a uid is given out again after a crash", 5, (Law::W5, "was another message before"), || {
            lie(Lie::UidsForgotten)
        })
    },
    Plant {
        script: FOLDERS,
        ..plant("a deleted mailbox is back", 5, (Law::W13, "LIST of mail000 has Old"), || {
            lie(Lie::RemovedComesBack)
        })
    },
    Plant {
        script: FOLDERS,
        ..plant("a renamed mailbox has both names", 5, (Law::W13, " too"), || lie(Lie::RemovedComesBack))
    },
    Plant {
        script: FOLDERS,
        ..plant("a mailbox is the deleted one of its name", 5, (Law::W5, "was deleted as Again"), || {
            lie(Lie::RemovedComesBack)
        })
    },
    Plant {
        script: RENAMED,
        ..plant("a RENAME whose directory is not synced", 5, (Law::W13, "LIST of mail000 lacks Kept"), || {
            lie(Lie::SyncDir)
        })
    },
    Plant {
        script: RENAMED,
        ..plant("a subscription is forgotten", 5, (Law::W13, "LSUB of mail000 lacks Old"), || {
            lie(Lie::ReplacedComesBack)
        })
    },
    plant("an outage denies logins", 400, (Law::W9, "good: false, temporary: false"), || {
        defect(Defect::OutageIsAbsence)
    }),
    Plant {
        script: OUTAGE,
        ..plant("an outage is no such entry", 5, (Law::W9, "from <alice@far.test> as Stranger got 550"), || {
            defect(Defect::OutageIsAbsence)
        })
    },
    plant("a cache answers when a bind fails", 400, (Law::W9, "good: true"), || defect(Defect::Remembers)),
    plant("an answer to a message that did not come", 20, (Law::W1, "(4EARLY)"), || wire(Wire::AnswersEarly)),
    plant("a failure looks like success", 200, (Law::W1, "(4FAILED)"), || wire(Wire::FailureIsSuccess)),
    plant("an open relay", 50, (Law::W7, "as Stranger got 250"), || wire(Wire::Relays)),
    plant("AUTH in clear", 20, (Law::W8, "AUTH is offered before TLS"), || wire(Wire::OffersAuthInClear)),
    plant("dots are lost", 20, (Law::W4, "octets, of which the last"), || wire(Wire::LosesDots)),
    plant("an answer comes twice", 20, (Law::Dialogue, " got ["), || wire(Wire::AnswersTwice)),
    plant("EXPUNGE during FETCH", 20, (Law::W6, "EXPUNGE during Fetch"), || wire(Wire::ExpungesDuringFetch)),
    plant("one uid for all", 100, (Law::W6, "has uid 1"), || wire(Wire::OneUid)),
    plant("flags are not set", 50, (Law::W6, "after STORE"), || wire(Wire::FlagsTheOtherWay)),
    plant("who wants no report gets one", 400, (Law::W2, "nobody wanted to know"), || wire(Wire::LosesWishes)),
    plant("sessions are kept", 20, (Law::W11, "is at rest and keeps"), || wire(Wire::KeepsSessions)),
    plant("lost wakes", 100, (Law::W10, "no reply to"), || wire(Wire::LosesWakes)),
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
        let (law, words) = plant.law;
        let found = broken.find(|breach| breach.law == law && breach.what.contains(words));
        found.map(|breach| (seed, breach))
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
        for script in ["", KEYWORDS, UIDS, FOLDERS, RENAMED, OUTAGE] {
            let broken = broken(script, seed, &Options::default());
            if !broken.is_empty() {
                found.lock().unwrap().push((seed, broken));
            }
        }
    });
    assert_eq!(found.into_inner().unwrap(), Vec::new());
}
