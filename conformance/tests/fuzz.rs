//! The fuzz targets as ordinary tests: over their corpus, over lines of the sessions, and over
//! seeded mutations of both.  `fuzz/smoke` runs the same bodies under libFuzzer.

use std::fs;
use std::path::Path;
use waypost_conformance::notation::{self, What};
use waypost_conformance::pattern::Names;

/// Mutations per target.
const ROUNDS: usize = 5_000;

/// SplitMix64: small, seeded, the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(n.max(1)).expect("fits")).expect("fits")
    }
}

/// What clients and servers say in the sessions.
fn spoken() -> Vec<Vec<u8>> {
    let root = waypost_conformance::sessions();
    let mut lines = Vec::new();
    for name in notation::list(&root) {
        let script = notation::read(&root, &name).expect("the sessions are well formed");
        for step in script.steps {
            if let What::Send { text, .. } = &step.what
                && let Ok(bytes) = text.fill(&Names::new())
            {
                lines.push(bytes);
            }
        }
    }
    lines.sort();
    lines.dedup();
    lines
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    files.sort_by_key(fs::DirEntry::file_name);
    files.iter().map(|f| fs::read(f.path()).expect("a file of the corpus")).collect()
}

fn mutate(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    const SPECIAL: &[u8] = b"\0\r\n\t \"\\(){}[]<>@.,:;*%&=+-/~\xc3\xff";
    let mut data = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(data.len() + 1);
        match dice.below(5) {
            0 => data.insert(at, SPECIAL[dice.below(SPECIAL.len())]),
            1 if at < data.len() => data[at] = SPECIAL[dice.below(SPECIAL.len())],
            2 => data.truncate(at),
            3 if at < data.len() => drop(data.drain(at..=at + dice.below(data.len() - at))),
            _ => {
                let other = &seeds[dice.below(seeds.len())];
                let part = &other[dice.below(other.len() + 1)..];
                data.splice(at..at, part.iter().copied());
            }
        }
    }
    data.truncate(4096);
    data
}

#[test]
fn every_target_stands_its_corpus_and_mutations() {
    let spoken = spoken();
    assert!(spoken.len() > 500, "the sessions are found");
    for (seed, (name, body)) in (1u64..).zip(waypost_fuzz::TARGETS) {
        let own = corpus(name);
        for data in own.iter().chain(&spoken) {
            body(data);
        }
        // A target with a corpus of its own takes most mutations from that.
        let mut seeds = own.clone();
        let share = if own.is_empty() { spoken.len() } else { own.len() };
        seeds.extend(spoken.iter().take(share).cloned());
        let mut dice = Dice(seed);
        for _ in 0..ROUNDS {
            body(&mutate(&mut dice, &seeds));
        }
        println!("{name}: {} seeds, {ROUNDS} mutations", own.len() + spoken.len());
    }
}
