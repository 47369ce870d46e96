//! Programs that are other mail servers: the rig's stand-in for the world.

use super::outside::Outside;
use crate::rig::free_ports;
use std::fs;
use std::process::{Child, Command, Stdio};

/// A program that ends with this value.
pub struct Peer(Child);

impl Peer {
    /// Starts it; it says nothing to us.
    ///
    /// # Errors
    /// It is missing.
    pub fn start(name: &str, arguments: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(name);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).map_err(|e| format!("{name}: {e}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The exchangers of a domain of theirs.
pub fn exchanger() -> Vec<(u16, String)> {
    vec![(10, "mx".to_owned())]
}

/// Waits for the word on each recipient; all are to be taken in the end.
///
/// # Errors
/// One is not taken in time, with what the log says of it.
pub fn taken(outside: &Outside, recipients: &[String]) -> Result<(), String> {
    for recipient in recipients {
        let to = format!(" to=<{recipient}>,");
        outside.journal.wait(0, recipient, |line| {
            (line.contains(&to) && line.contains("status=sent")).then_some(())
        })?;
    }
    Ok(())
}

/// The rig's stand-in, with a certificate of our authority.
pub struct StandIn {
    /// The daemon, and its names.
    pub outside: Outside,
    _peer: Peer,
}

impl StandIn {
    /// Starts it for remote.test, which has to prove itself so, and for elsewhere.test; then the
    /// daemon, with these settings.
    ///
    /// # Errors
    /// Those of the operating system; the daemon does not start.
    pub fn start(level: &str, settings: &[(&str, &str)]) -> Result<Self, String> {
        let text = |e: std::io::Error| e.to_string();
        let mut outside = Outside::new().map_err(text)?;
        let dir = outside.daemon.dir().to_owned();
        fs::create_dir(dir.join("arrived")).map_err(text)?;
        for name in ["remote", "selfsigned"] {
            outside.certificates.files("mx.remote.test", &dir.join(name)).map_err(text)?;
        }
        // It takes the two ports after this one, too.
        let (port, here) = (free_ports(3)[0], dir.display().to_string());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/tools/remote_mta.py");
        let number = port.to_string();
        let arguments = [script, "--bind", "127.0.0.2", "--port", &number, "--tls", &here];
        let arrived = format!("{here}/arrived");
        let pid = format!("{here}/peer.pid");
        let more = ["--dir", &arrived, "--pidfile", &pid];
        let peer = Peer::start("/usr/bin/python3", &[&arguments[..], &more[..]].concat())?;
        for domain in ["remote.test", "elsewhere.test"] {
            outside.domain(domain, &exchanger(), port)?;
        }
        let level = format!("[[\"remote.test:{port}\", \"{level}\"]]");
        outside.daemon.configure("relay.smtp_tls_policy_maps", &level).map_err(text)?;
        for (path, value) in settings {
            outside.daemon.configure(path, value).map_err(text)?;
        }
        outside.daemon.up().map_err(text)?;
        Ok(Self { outside, _peer: peer })
    }

    /// What arrived, as text: a line with the envelope, and the message.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn arrived(&self) -> Result<Vec<String>, String> {
        let entries = fs::read_dir(self.outside.daemon.dir().join("arrived"));
        let mut paths: Vec<_> =
            entries.map_err(|e| e.to_string())?.flatten().map(|e| e.path()).collect();
        paths.sort();
        let read = |path: &std::path::PathBuf| fs::read(path).map_err(|e| e.to_string());
        let all = paths.iter().map(|path| Ok(String::from_utf8_lossy(&read(path)?).into_owned()));
        all.collect()
    }
}
