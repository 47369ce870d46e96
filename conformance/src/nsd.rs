//! A real name server (Debian's nsd) on a free port of loopback, with zones of the caller.

use crate::rig::free_ports;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// It runs until it is dropped.
pub struct Nsd {
    dir: PathBuf,
    child: Child,
    /// Where it listens, by UDP and TCP.
    pub address: SocketAddr,
}

impl Nsd {
    /// Starts it with zones: the name of each, and its records as a zone file has them, without SOA
    /// and NS. One without records has not been loaded: SERVFAIL. Other names are refused.
    ///
    /// # Errors
    /// It is not installed, or does not like a zone; with what it said.
    pub fn start(zones: &[(&str, &str)]) -> io::Result<Self> {
        static NUMBER: AtomicU16 = AtomicU16::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/var/tmp/waypost-nsd-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
        let here = dir.display();
        let mut config = format!(
            "server:\n ip-address: 127.0.0.1@{}\n username: \"\"\n server-count: 1\n \
             zonesdir: \"{here}\"\n database: \"\"\n pidfile: \"{here}/pid\"\n \
             xfrdfile: \"{here}/xfrd\"\n xfrdir: \"{here}\"\n zonelistfile: \"{here}/list\"\n \
             cookie-secret-file: \"\"\n rrl-ratelimit: 0\n\
             remote-control:\n control-enable: no\n",
            address.port()
        );
        for (name, records) in zones {
            if records.is_empty() {
                write!(config, "zone:\n name: \"{name}\"\n").map_err(io::Error::other)?;
                continue;
            }
            let head = "@ 300 IN SOA ns hostmaster 1 3600 600 86400 60\n@ 300 IN NS ns\n";
            let text = format!("$ORIGIN {name}.\n$TTL 300\n{head}ns A 127.0.0.1\n{records}\n");
            fs::write(dir.join(format!("{name}.zone")), text)?;
            write!(config, "zone:\n name: \"{name}\"\n zonefile: \"{name}.zone\"\n")
                .map_err(io::Error::other)?;
        }
        fs::write(dir.join("nsd.conf"), config)?;
        let child = Command::new("/usr/sbin/nsd")
            .args(["-d", "-V", "2", "-c"])
            .arg(dir.join("nsd.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut nsd = Self { dir, child, address };
        nsd.wait_until_ready()?;
        Ok(nsd)
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let errors = self.child.stderr.take().ok_or_else(|| io::Error::other("no pipe"))?;
        let (mut errors, mut said) = (BufReader::new(errors), String::new());
        while !said.contains("nsd started") {
            if errors.read_line(&mut said)? == 0 || said.contains("error:") {
                return Err(io::Error::other(format!("nsd: {said}")));
            }
        }
        // What it says from now on goes nowhere, but the pipe must not fill.
        std::thread::spawn(move || io::copy(&mut errors, &mut io::sink()));
        Ok(())
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        // SIGTERM: its children end with it.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        );
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
