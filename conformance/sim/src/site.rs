//! What a server reads at its start: its configuration, and the certificate it shows. Read once for
//! each process; all servers in it start from that.

use std::sync::{Arc, LazyLock};

use waypost_daemon::{Given, StartError};

use crate::{data, peer_tls};

static STANDARD: LazyLock<Site> = LazyLock::new(|| {
    let files = [("waypost.toml", data::CONFIG), ("mail.ldif", data::LDIF)];
    Site::of(&files).expect("invariant: the configuration of the simulation is one")
});

/// What a server reads at its start.
#[derive(Clone)]
pub struct Site(Arc<Given>);

impl Site {
    /// The site of all scripts.
    pub fn standard() -> Self {
        STANDARD.clone()
    }

    /// The site of these files, by name: `waypost.toml`, and what it names. `server.crt` and
    /// `server.key` are put beside them.
    ///
    /// # Errors
    /// Those of the operating system, and what is wrong with the configuration.
    pub fn of(files: &[(&str, &str)]) -> Result<Self, StartError> {
        let dir = tempfile::tempdir()?;
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text)?;
        }
        peer_tls::write_pair(&dir.path().join("server.crt"), &dir.path().join("server.key"))?;
        Ok(Self(Arc::new(Given::read(&dir.path().join("waypost.toml"))?)))
    }

    pub(crate) fn given(&self) -> &Given {
        &self.0
    }
}
