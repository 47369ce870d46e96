//! What a server reads at its start: its configuration, and the certificate it shows. Written once
//! for each process, and the same for all servers in it.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::peer_tls;

/// A directory of its own with the files of a configuration.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
}

impl Site {
    /// Writes these files, by name, and `mail.crt` and `mail.key` beside them.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn write(files: &[(&str, &str)]) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text)?;
        }
        peer_tls::write_pair(&dir.path().join("mail.crt"), &dir.path().join("mail.key"))?;
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
