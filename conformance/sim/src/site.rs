//! What a server reads at its start: its configuration, and the certificate it shows. Written once
//! for each process, and the same for all servers in it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::{data, peer_tls};

static STANDARD: LazyLock<Site> = LazyLock::new(|| {
    Site::write(&[("waypost.toml", data::CONFIG), ("mail.ldif", data::LDIF)])
        .expect("a directory for temporary files")
});

/// A directory of its own with the files of a configuration.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
}

impl Site {
    /// The site of all scripts.
    pub fn standard() -> &'static Self {
        &STANDARD
    }

    /// Writes these files, by name, and `server.crt` and `server.key` beside them.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn write(files: &[(&str, &str)]) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text)?;
        }
        peer_tls::write_pair(&dir.path().join("server.crt"), &dir.path().join("server.key"))?;
        Ok(Self { dir })
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path().join("waypost.toml")
    }

    /// Where all of it lies.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}
