//! DKIM: the keys of the configuration, and new ones.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use waypost_dkim::{Key, Keys, Kind, generate};
use waypost_mail::Domain;

use crate::files::{self, ConfigFile, FileError};
use crate::server::StartError;

/// `waypost dkim-key`
#[derive(Debug, clap::Args)]
pub(crate) struct DkimKey {
    /// The domain in From
    domain: String,
    /// A name for the key, for example the year
    selector: String,
    /// Make an Ed25519 key; beside an RSA key, since not everybody can check it
    #[arg(long)]
    ed25519: bool,
    /// Where to write the private key
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Makes a key, and says what to do with it.
pub(crate) fn make(arguments: &DkimKey) -> Result<ExitCode, Box<dyn Error>> {
    let DkimKey { domain, selector, ed25519, file } = arguments;
    Domain::parse(domain).map_err(|error| format!("{domain}: {error}"))?;
    Domain::parse(selector).map_err(|error| format!("{selector}: {error}"))?;
    let default = || PathBuf::from(format!("{domain}.{selector}.pem"));
    let file = file.clone().unwrap_or_else(default);
    let pem = generate(if *ed25519 { Kind::Ed25519 } else { Kind::Rsa })?;
    let key = Key::parse(pem.as_bytes())?;
    write(&file, &pem).map_err(|error| format!("{}: {error}", file.display()))?;
    println!("{}", key.zone_line(domain, selector));
    eprintln!(
        "The private key is in {0}. Put the line above into the zone, then write into waypost.toml:\n\n\
         [dkim]\nkeys = [[\"{domain}\", \"{selector}\", \"{0}\"]]",
        file.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Never over another key.
fn write(file: &Path, pem: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut out = options.write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(pem.as_bytes())?;
    out.sync_all()
}

/// The keys of the configuration.
pub(crate) fn keys(file: &ConfigFile) -> Result<Keys, StartError> {
    let mut keys = Keys::default();
    for it in &file.config.dkim_keys {
        let key = key(&file.at(&it.file)).map_err(|error| format!("[dkim] keys: {error}"))?;
        keys.add(&it.domain, &it.selector, key);
    }
    Ok(keys)
}

fn key(path: &Path) -> Result<Key, StartError> {
    files::guard(path)?;
    let pem = fs::read(path).map_err(|error| FileError::Read { path: path.into(), error })?;
    Key::parse(&pem).map_err(|error| format!("{}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Names the setting and the file, and nothing of what is in it.
    #[test]
    fn keys_that_cannot_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("waypost.toml");
        let text = "hostname = 'a.test'\n[dkim]\nkeys = [['a.test', 's1', 'key.pem']]\n";
        fs::write(&config, text).unwrap();
        let path = dir.path().canonicalize().unwrap().join("key.pem");
        let told = || keys(&ConfigFile::read(&config).unwrap()).unwrap_err().to_string();
        let start = format!("[dkim] keys: {}: ", path.display());
        assert!(told().starts_with(&start), "{}", told());
        write(&path, "tops3cr3t").unwrap();
        assert_eq!(told(), format!("{start}not a private key in PEM form"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        assert!(told().ends_with("readable by others (mode 0604); chmod o-rwx it"), "{}", told());
        // Another key is never written over.
        assert!(write(&path, "new").is_err());
    }
}
