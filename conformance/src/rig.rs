//! The reference stack: slapd, Postfix and Dovecot as private instances (`rig/README.md`).

use crate::net::{self, Endpoint};
use crate::replay::{Target, User, sockets};
use crate::stage::Stage;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Password of every seeded user.
pub const SEED_PASSWORD: &str = "seedpass";

/// A running rig; dropped, it is stopped and its directory removed.
pub struct Rig {
    dir: PathBuf,
    settings: Vec<(&'static str, String)>,
    ports: Ports,
    parts: Vec<&'static str>,
    /// Whether Postfix's map files are written: it takes seconds.
    mapped: Mutex<bool>,
}

#[derive(Clone, Copy)]
struct Ports {
    ldap: u16,
    smtp: u16,
    submission: u16,
    imaps: u16,
}

/// What a rig is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Parts to start: `ldap`, `dovecot`, `remote`, `postfix`; empty means all.
    pub parts: Vec<&'static str>,
    /// Users `u00000` and up to add to the directory.
    pub seed: usize,
    /// Settings of the rig, `RIG_...`.
    pub settings: Vec<(&'static str, String)>,
}

impl Rig {
    /// Starts one below `/var/tmp` on free ports.
    ///
    /// # Errors
    /// What the rig says when it cannot: it needs root and the packages of `rig install`.
    pub fn start(options: Options) -> io::Result<Self> {
        static NUMBER: AtomicU16 = AtomicU16::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/var/tmp/waypost-rig-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755))?;
        let free = free_ports(7);
        let ports = Ports { ldap: free[0], smtp: free[1], submission: free[2], imaps: free[3] };
        let mut settings = options.settings;
        for (name, port) in [
            ("RIG_LDAP_PORT", ports.ldap),
            ("RIG_SMTP_PORT", ports.smtp),
            ("RIG_SUBMISSION_PORT", ports.submission),
            ("RIG_IMAPS_PORT", ports.imaps),
            ("RIG_REMOTE_PORT", free[4]),
        ] {
            settings.push((name, port.to_string()));
        }
        let rig = Self { dir, settings, ports, parts: options.parts, mapped: Mutex::new(false) };
        if options.seed > 0 {
            rig.run(&["seed", &options.seed.to_string()])?;
        }
        let mut up = vec!["up"];
        up.extend_from_slice(&rig.parts);
        rig.run(&up)?;
        Ok(rig)
    }

    /// Where its state lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Port of slapd, StartTLS.
    pub fn ldap_port(&self) -> u16 {
        self.ports.ldap
    }

    /// Port of Postfix that stands for 25.
    pub fn smtp_port(&self) -> u16 {
        self.ports.smtp
    }

    /// Port of Postfix that stands for 587.
    pub fn submission_port(&self) -> u16 {
        self.ports.submission
    }

    /// Port of Dovecot, TLS from the start.
    pub fn imaps_port(&self) -> u16 {
        self.ports.imaps
    }

    /// As real mail programs see it.
    pub fn stage(&self, users: VecDeque<User>) -> Stage {
        Stage {
            name: "peers",
            smtp: self.ports.smtp,
            submission: self.ports.submission,
            submissions: None,
            imaps: self.ports.imaps,
            ca: self.dir.join("tls/CA.pem"),
            homes: self.dir.join("home/mail"),
            users: Mutex::new(users),
        }
    }

    /// Writes the article's map files, once.
    ///
    /// # Errors
    /// What the rig says when it cannot.
    pub fn write_maps(&self) -> io::Result<()> {
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*mapped {
            self.run(&["maps"])?;
            *mapped = true;
        }
        Ok(())
    }

    /// Runs a command of the rig and returns its output.
    ///
    /// # Errors
    /// What it printed, when it fails.
    pub fn run(&self, arguments: &[&str]) -> io::Result<String> {
        self.run_with(arguments, &[])
    }

    /// The same with other settings, which the rig remembers.
    ///
    /// # Errors
    /// What it printed, when it fails.
    pub fn run_with(&self, arguments: &[&str], settings: &[(&str, &str)]) -> io::Result<String> {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/rig");
        let output = Command::new(program)
            .args(arguments)
            .env("RIG_DIR", &self.dir)
            .envs(self.settings.iter().map(|(k, v)| (*k, v.as_str())))
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let problem = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(io::Error::other(format!("rig {}: {text}{problem}", arguments.join(" "))))
    }

    fn target(self: &Arc<Self>, name: &'static str, users: VecDeque<User>) -> io::Result<Target> {
        let here = |port| Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let endpoints = BTreeMap::from([
            ("smtp".to_owned(), here(self.ports.smtp)),
            ("submission".to_owned(), here(self.ports.submission)),
            ("imaps".to_owned(), here(self.ports.imaps)),
            ("auth".to_owned(), Endpoint::Unix(self.dir.join("postfix/queue/private/auth"))),
            ("auth-userdb".to_owned(), Endpoint::Unix(self.dir.join("dovecot/run/auth-userdb"))),
        ]);
        let rig = self.clone();
        let base = self.dir.display().to_string();
        Ok(Target {
            name,
            program: name,
            host: "mail.example.com".into(),
            dial: sockets(endpoints),
            tls: net::trusting(&self.dir.join("tls/CA.pem"))?,
            users: Mutex::new(users),
            directory: Some(Box::new(move |on| {
                rig.run(&[if on { "up" } else { "down" }, "ldap"]).map(drop)
            })),
            names: BTreeMap::from([("base".to_owned(), base.into_bytes())]),
        })
    }

    /// Its Postfix, as the target of scripts; `users` are accounts nobody has used.
    ///
    /// # Errors
    /// A CA file that cannot be read.
    pub fn postfix(self: &Arc<Self>, users: VecDeque<User>) -> io::Result<Target> {
        self.target("postfix", users)
    }

    /// Its Dovecot, as the target of scripts; `users` are accounts nobody has used.
    ///
    /// # Errors
    /// A CA file that cannot be read.
    pub fn dovecot(self: &Arc<Self>, users: VecDeque<User>) -> io::Result<Target> {
        self.target("dovecot", users)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Err(e) = self.run(&["down"]) {
            eprintln!("{e}");
        }
        if std::env::var_os("WAYPOST_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// What a rig needs for the `setting` of a script.
pub fn setting(name: &str) -> Option<(&'static str, String)> {
    match name {
        "auth-login" => Some(("RIG_AUTH_MECHANISMS", "plain login".into())),
        "bare-newline-normalize" => Some(("RIG_FORBID_BARE_NEWLINE", "normalize".into())),
        "bare-newline-reject" => Some(("RIG_FORBID_BARE_NEWLINE", "reject".into())),
        _ => None,
    }
}

/// The seeded users `first` to `first + count - 1`.
pub fn seeded(first: usize, count: usize) -> VecDeque<User> {
    (first..first + count)
        .map(|n| User {
            name: format!("u{n:05}"),
            password: SEED_PASSWORD.into(),
            address: format!("u{n:05}@example.com"),
        })
        .collect()
}

/// `count` consecutive ports of the loopback address that nobody listens on, below the range that
/// the kernel gives to clients.
pub fn free_ports(count: u16) -> Vec<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = u16::try_from(std::process::id() % 1000).expect("invariant: below 1000") * 20;
    loop {
        let offset = NEXT.fetch_add(count, Ordering::Relaxed);
        let first = 10_000 + (spread + offset) % 22_000;
        let ports: Vec<u16> = (first..first + count).collect();
        let open = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        if ports.iter().all(open) {
            return ports;
        }
    }
}
