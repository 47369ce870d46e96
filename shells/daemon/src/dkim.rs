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
        let path = file.at(&it.file);
        files::guard(&path)?;
        let read = fs::read(&path);
        let pem = read.map_err(|error| FileError::Read { path: path.clone(), error })?;
        let key = Key::parse(&pem).map_err(|error| format!("{}: {error}", path.display()))?;
        keys.add(&it.domain, &it.selector, key);
    }
    Ok(keys)
}
