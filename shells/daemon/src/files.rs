//! Files that the configuration names.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use waypost_config::Config;
use waypost_machine::Secret;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{}: readable by others (mode {mode:04o}); chmod o-rwx it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{}: is empty", path.display())]
    Empty { path: PathBuf },
    /// Each line is `file:line: what`.
    #[error("{0}")]
    Config(String),
}

/// A configuration, and the directory that its paths start from.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    pub(crate) config: Config,
}

impl ConfigFile {
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let text = text(path)?;
        let config = waypost_config::parse(&text).map_err(|problems| {
            let lines: Vec<_> =
                problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect();
            FileError::Config(lines.join("\n"))
        })?;
        let path = path.canonicalize().map_err(|error| unreadable(path, error))?;
        Ok(Self { path, config })
    }

    /// Where a path of the configuration leads.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or_else(|| Path::new("/")).join(path)
    }
}

fn unreadable(path: &Path, error: io::Error) -> FileError {
    FileError::Read { path: path.into(), error }
}

pub(crate) fn text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|error| unreadable(path, error))
}

/// Refuses a file that others may read.
pub(crate) fn guard(path: &Path) -> Result<(), FileError> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    closed_to_others(path, &file)
}

/// True when others may read the file.
pub(crate) fn exposed(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o007 != 0)
}

/// The first line of a file that holds a secret.
pub(crate) fn secret(path: &Path) -> Result<Secret<String>, FileError> {
    let mut file = File::open(path).map_err(|error| unreadable(path, error))?;
    closed_to_others(path, &file)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|error| unreadable(path, error))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line.into())),
        _ => Err(FileError::Empty { path: path.into() }),
    }
}

fn closed_to_others(path: &Path, file: &File) -> Result<(), FileError> {
    let meta = file.metadata().map_err(|error| unreadable(path, error))?;
    let mode = meta.permissions().mode() & 0o7777;
    match mode & 0o007 {
        0 => Ok(()),
        _ => Err(FileError::Exposed { path: path.into(), mode }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_for_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "hunter2\nmore\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        let error = secret(&path).unwrap_err().to_string();
        assert!(error.ends_with("readable by others (mode 0604); chmod o-rwx it"), "{error}");
        assert!(guard(&path).is_err() && exposed(&path));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(secret(&path).unwrap().expose(), "hunter2");
        fs::write(&path, "\n").unwrap();
        assert!(matches!(secret(&path), Err(FileError::Empty { .. })));
    }

    #[test]
    fn problems_name_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("waypost.toml");
        fs::write(&path, "hostname = 'a.test'\nbanana = 1\n[smtp]\ntimeout = 1\n").unwrap();
        let error = ConfigFile::read(&path).unwrap_err().to_string();
        let lines: Vec<_> = error.lines().collect();
        assert!(lines[0].ends_with("waypost.toml:2: 'banana' is no setting"), "{error}");
        assert!(lines[1].contains("waypost.toml:4: smtp.timeout: write a time"), "{error}");
        fs::write(&path, "hostname = 'a.test'").unwrap();
        let config = ConfigFile::read(&path).unwrap();
        assert_eq!(config.at("tls/x"), dir.path().canonicalize().unwrap().join("tls/x"));
        assert_eq!(config.at("/tls/x"), Path::new("/tls/x"));
    }
}
