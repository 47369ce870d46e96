//! A daemon, and the world outside it: names, hosts, certificates; nothing leaves loopback.

use super::certificates::Certificates;
use super::journal::Journal;
use super::play::{MESSAGE, SENDER};
use super::script::{Case, HOSTS};
use super::wire::Wire;
use crate::daemon::{Accounts, Daemon};
use crate::names::Names;
use crate::replay::User;
use crate::rig::seeded;
use crate::shells::Shell;
use crate::stage::Stage;
use crate::talk::Smtp;
use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Seeded accounts of the daemon.
const USERS: usize = 2;

/// The login of [`SENDER`], to find its mailbox.
pub fn sender() -> User {
    let [name, password] = ["mail000", "secret000"].map(str::to_owned);
    User { name, password, address: SENDER.into() }
}

/// The world of one daemon.
pub struct Outside {
    /// The daemon; not started.
    pub daemon: Daemon,
    /// Its log.
    pub journal: Journal,
    /// The name server that it asks.
    pub names: Names,
    /// The authority that it trusts.
    pub certificates: Arc<Certificates>,
    /// Next hops with ports, as `relay.transport_maps` has them.
    transports: Vec<(String, String)>,
    /// `relay.smtp_tls_policy_maps`
    policies: Vec<String>,
}

impl Outside {
    /// Prepares a daemon that tries again after a second.
    ///
    /// # Errors
    /// Those of the file system and the operating system.
    pub fn new() -> io::Result<Self> {
        let names = Names::start()?;
        let servers = format!("[\"{}\"]", names.address);
        let soon = "\"1s\"";
        let mut daemon = Daemon::prepare(
            &Accounts::Ldif(USERS),
            &[
                ("dns.servers", &servers),
                ("spool.minimal_backoff_time", soon),
                ("spool.maximal_backoff_time", soon),
                ("spool.queue_run_delay", soon),
                ("log.format", "\"classic\""),
                // A connection for each message, or a script would not know when QUIT comes.
                ("relay.smtp_connection_cache_time_limit", "\"0s\""),
            ],
        )?;
        let pipe = daemon.dir().join("journal");
        let journal = Journal::open(&pipe)?;
        daemon.configure("log.file", &format!("\"{}\"", pipe.display()))?;
        let certificates = Arc::new(Certificates::new()?);
        let authority = daemon.dir().join("outside.pem");
        std::fs::write(&authority, certificates.pem())?;
        daemon.configure("relay.smtp_tls_CAfile", &format!("\"{}\"", authority.display()))?;
        Ok(Self {
            daemon,
            journal,
            names,
            certificates,
            transports: Vec::new(),
            policies: Vec::new(),
        })
    }

    /// The same, run by this program.
    #[must_use]
    pub fn on(mut self, shell: Shell) -> Self {
        self.daemon = self.daemon.on(shell);
        self
    }

    /// Mail for this domain goes to these exchangers at this port.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn domain(&mut self, domain: &str, mx: &[(u16, String)], port: u16) -> Result<(), String> {
        let mut zone = String::new();
        for (preference, host) in mx {
            let name = match &**host {
                "null" => String::new(),
                host => format!("{host}.{domain}"),
            };
            let _ = writeln!(zone, "{domain} MX {preference} {name}.");
            let known = HOSTS.iter().find(|(known, _)| known == host).and_then(|(_, at)| *at);
            if let Some(address) = known {
                let _ = writeln!(zone, "{name} A {}", Ipv4Addr::from(address));
            }
        }
        self.names.add(&zone)?;
        self.transports.push((domain.to_owned(), format!("{domain}:{port}")));
        let pairs: Vec<String> =
            self.transports.iter().map(|(from, to)| format!("[\"{from}\", \"{to}\"]")).collect();
        let pairs = format!("[{}]", pairs.join(", "));
        self.daemon.configure("relay.transport_maps", &pairs).map_err(|e| e.to_string())
    }

    /// Hosts of this next hop have to prove themselves so.
    fn level(&mut self, nexthop: &str, level: &str) -> Result<(), String> {
        if level != "may" {
            self.policies.push(format!("[\"{nexthop}\", \"{level}\"]"));
        }
        let policies = format!("[{}]", self.policies.join(", "));
        self.daemon.configure("relay.smtp_tls_policy_maps", &policies).map_err(|e| e.to_string())
    }

    /// The hosts of a case, to be played when the daemon runs.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn hosts(&mut self, case: &Case) -> Result<(String, Wire), String> {
        let domain = format!("{}.test", case.name.replace('/', "-"));
        let (certificates, journal) = (Arc::clone(&self.certificates), self.journal.clone());
        // The queue tries again by itself.
        let retry = Box::new(|| Ok(()));
        let wire = Wire::new(&domain, certificates, journal, retry).map_err(|e| e.to_string())?;
        let port = wire.port().map_err(|e| e.to_string())?;
        self.domain(&domain, &case.mx, port)?;
        self.level(&format!("{domain}:{port}"), &case.level)?;
        Ok((domain, wire))
    }

    /// As mail programs see the daemon.
    pub fn stage(&self) -> Stage {
        self.daemon.stage(seeded(0, USERS))
    }
}

/// Submits [`MESSAGE`], or another one, as its sender does: port 587, STARTTLS, AUTH. Gives the queue
/// id.
///
/// # Errors
/// The first reply that is not as usual.
pub fn submit(stage: &Stage, recipients: &[String], message: &[u8]) -> Result<String, String> {
    let client = stage.dial(stage.submission).map_err(|e| e.to_string())?;
    let mut smtp = Smtp { client };
    smtp.hear_code("220")?;
    smtp.say("EHLO client.example.net", "250")?;
    smtp.say("STARTTLS", "220")?;
    let tls = crate::net::trusting(&stage.ca).map_err(|e| e.to_string())?;
    smtp.client.secure(&tls, "mail.example.com").map_err(|e| e.to_string())?;
    smtp.say("EHLO client.example.net", "250")?;
    smtp.say("AUTH PLAIN AG1haWwwMDAAc2VjcmV0MDAw", "235")?;
    smtp.say(&format!("MAIL FROM:<{SENDER}>"), "250")?;
    for recipient in recipients {
        smtp.say(&format!("RCPT TO:<{recipient}>"), "250")?;
    }
    smtp.say("DATA", "354")?;
    let stuffed = String::from_utf8_lossy(message).replace("\r\n.", "\r\n..");
    smtp.client.send(format!("{stuffed}.\r\n").as_bytes()).map_err(|e| e.to_string())?;
    let reply = smtp.hear_code("250")?;
    smtp.say("QUIT", "221")?;
    let id = reply.rsplit_once("queued as ").map(|(_, id)| id.trim().to_owned());
    id.ok_or_else(|| format!("no queue id in {reply}"))
}

/// Whether what a host was sent is [`MESSAGE`] under trace headers.
///
/// # Errors
/// It is not; with what it is.
pub fn whole(messages: &[Vec<u8>]) -> Result<(), String> {
    match messages.iter().find(|message| !message.ends_with(MESSAGE)) {
        Some(other) => Err(format!("another message:\n{}", String::from_utf8_lossy(other))),
        None => Ok(()),
    }
}
