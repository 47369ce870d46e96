//! Scripts that once broke a law, and must not again.

use std::fs;
use std::path::Path;

use waypost_sim::run::{Options, run};
use waypost_sim::script::Script;

#[test]
fn no_script_breaks_a_law_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for path in files {
        let name = path.display();
        let text = fs::read_to_string(&path).unwrap();
        let script: Script = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        let report = run(&script, &Options::default());
        assert!(report.broken.is_empty(), "{name}: {report}");
    }
}
