//! Renews the inputs in `fuzz/corpus` that come from the sessions; see `waypost_conformance::seeds`.

use std::path::Path;
use std::{fs, io};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let folders = fs::read_dir(&corpus)?.collect::<io::Result<Vec<_>>>()?;
    for folder in folders.iter().filter(|folder| folder.path().is_dir()) {
        for file in fs::read_dir(folder.path())?.collect::<io::Result<Vec<_>>>()? {
            if file.file_name().to_string_lossy().starts_with("session-") {
                fs::remove_file(file.path())?;
            }
        }
    }
    let seeds = waypost_conformance::seeds::seeds(&waypost_conformance::scripts()?);
    for (path, content) in &seeds {
        let path = corpus.join(path);
        fs::create_dir_all(path.parent().expect("a folder"))?;
        fs::write(path, content)?;
    }
    println!("{} inputs", seeds.len());
    Ok(())
}
