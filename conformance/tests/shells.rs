//! A shell is sockets, timers and wake-ups, and nothing else: what is spoken, looked up, stored or
//! logged is the same under every runtime because it is not there.

use std::fs;
use std::path::{Path, PathBuf};

/// Folder, program, and how many lines of code it may have. mio has no tasks: what wakes whom, and
/// when, it has to keep itself.
const SHELLS: &[(&str, &str, usize)] = &[
    ("shells/tokio", "waypost", 300),
    ("shells/mio", "waypost-mio", 600),
    ("shells/smol", "waypost-smol", 300),
];

/// What code of a shell does not name, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("std::fs", "files are the world's"),
    ("File", "files are the world's"),
    ("std::process::Command", "programs are the world's"),
    ("std::env", "settings come from the configuration"),
    ("SystemTime", "time comes from the server"),
    ("rustls", "TLS is the driver's"),
    ("Tls", "TLS is the driver's"),
    ("waypost_config", "settings are the daemon's"),
    ("waypost_world", "the world is the daemon's"),
    ("waypost_smtp", "protocols are the machines'"),
    ("waypost_imap", "protocols are the machines'"),
    ("waypost_auth", "protocols are the machines'"),
    ("waypost_relay", "protocols are the machines'"),
    ("waypost_mail", "protocols are the machines'"),
    ("Service::", "all services are driven alike"),
    ("println!", "the log is the daemon's"),
    ("b'", "what bytes mean is the machines'"),
    ("unsafe", "nothing here needs it"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The code of a shell, without comments, blank lines and unit tests: file and line.
fn code(folder: &str) -> Vec<(String, String)> {
    let source = root().join(folder).join("src");
    let entries = fs::read_dir(&source).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        assert!(path.is_file(), "{} is not a file", path.display());
        let text = fs::read_to_string(&path).expect("a source file");
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        let name = format!("{folder}/src/{}", entry.file_name().to_string_lossy());
        let lines = shipped.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
        found.extend(lines.map(|line| (name.clone(), line.to_owned())));
    }
    found
}

/// Why a line may not stand in a shell.
fn problem(line: &str) -> Option<&'static str> {
    let named = FORBIDDEN.iter().find(|(word, _)| line.contains(word)).map(|(_, why)| *why);
    // Words are for the log only: what is said to a peer stands elsewhere.
    let says = line.contains('"') && !line.starts_with("tracing::");
    named.or_else(|| says.then_some("a shell has nothing to say"))
}

#[test]
fn a_shell_knows_no_protocol_and_no_world() {
    let mut problems = Vec::new();
    for (folder, _, _) in SHELLS {
        for (file, line) in code(folder) {
            problems.extend(problem(&line).map(|why| format!("{file}: {why}: {line}")));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn what_does_not_belong_there_is_found() {
    for line in [
        "use std::fs::File;",
        "let reply = \"250 2.0.0 Ok\";",
        "stream.write(b\"* OK ready\\r\\n\")",
        "if line.ends_with(b'\\n') {",
        "use waypost_smtp::server;",
        "Service::Imaps => secure(stream),",
        "let config = rustls::ServerConfig::builder();",
    ] {
        assert!(problem(line).is_some(), "{line}");
    }
    assert_eq!(problem("session.received(bytes);"), None);
    assert_eq!(problem("tracing::error!(target: \"waypost\", \"wake-up: {error}\");"), None);
}

#[test]
fn shells_are_short_and_readme_says_how_short() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    for (folder, program, most) in SHELLS {
        let lines = code(folder).len();
        assert!(lines <= *most, "{folder} has {lines} lines of code, {most} is the limit");
        let row = format!("| `{program}` | `{folder}` | {lines} |");
        assert!(readme.contains(&row), "README.md, Runtimes: it is {row}");
    }
}
