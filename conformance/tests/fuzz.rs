//! The fuzz targets as ordinary tests: over their corpus, over lines of the sessions, and over
//! seeded mutations of both.  `fuzz/smoke` runs the same bodies under libFuzzer.

use std::collections::BTreeSet;
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

/// The names in a folder of `fuzz`.
fn files(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.')).collect()
}

#[test]
fn every_target_stands_its_corpus_and_mutations() {
    let spoken = spoken();
    assert!(spoken.len() > 500, "the sessions are found");
    for (seed, (name, _, body)) in (1u64..).zip(waypost_fuzz::TARGETS) {
        let own = corpus(name);
        assert!(!own.is_empty(), "{name} has no corpus");
        for data in &own {
            body(data);
        }
        // A session takes many runs for one input.
        let slow = name.ends_with("-session") || name.ends_with("-operations");
        let rounds = match *name {
            // Has tests of its own, with many more.
            "sim" => 20,
            _ if slow => ROUNDS / 20,
            _ => ROUNDS,
        };
        let slow = slow || *name == "sim";
        for data in spoken.iter().step_by(if slow { 20 } else { 1 }) {
            body(data);
        }
        // Most mutations are of its own corpus.
        let mut seeds = own.clone();
        seeds.extend(spoken.iter().take(own.len()).cloned());
        let mut dice = Dice(seed);
        for _ in 0..rounds {
            body(&mutate(&mut dice, &seeds));
        }
        println!("{name}: {} seeds, {rounds} mutations", own.len());
    }
}

/// A target is a line of the table, a program for `cargo fuzz`, a folder of inputs and a line of the
/// README.
#[test]
fn every_target_is_known_everywhere() {
    let names: BTreeSet<String> =
        waypost_fuzz::TARGETS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(names.len(), waypost_fuzz::TARGETS.len(), "a name stands twice");
    assert_eq!(files("corpus"), names);
    let programs: BTreeSet<String> = names.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(files("fuzz_targets"), programs);
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(name);
        fs::read_to_string(path).expect("a text")
    };
    let (manifest, readme) = (read("Cargo.toml"), read("README.md"));
    for name in &names {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        assert!(readme.contains(&format!("| `{name}` |")), "{name} is not in the README");
    }
    let dictionaries: BTreeSet<String> = waypost_fuzz::TARGETS
        .iter()
        .filter(|(_, dictionary, _)| !dictionary.is_empty())
        .map(|(_, dictionary, _)| format!("{dictionary}.dict"))
        .collect();
    assert_eq!(files("dict"), dictionaries);
}

/// The inputs that come from the sessions are those that the sessions give.
#[test]
fn the_corpus_knows_the_sessions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let seeds =
        waypost_conformance::seeds::seeds(&waypost_conformance::scripts().expect("scripts"));
    assert!(seeds.len() > 100);
    let renew = "cargo run -p waypost-conformance --example fuzz_seeds";
    for (path, content) in &seeds {
        let there = fs::read(root.join(path)).unwrap_or_default();
        assert!(there == *content, "{path} is not what the sessions give: {renew}");
    }
    for (name, ..) in waypost_fuzz::TARGETS {
        for file in files(&format!("corpus/{name}")) {
            let path = format!("{name}/{file}");
            let stale = file.starts_with("session-") && !seeds.contains_key(&path);
            assert!(!stale, "{path} comes from no session any more: {renew}");
        }
    }
}
