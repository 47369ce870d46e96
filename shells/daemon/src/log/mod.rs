//! Log lines: one place where they are made, four formats.
//!
//! The words of a line about mail are those of Postfix and Dovecot, in every format; what differs is
//! what stands around them. `classic` is a line of syslog, so that tools made for the logs of Postfix
//! and Dovecot (pflogsumm, fail2ban) go on working.
//!
//! | file | what is there |
//! |---|---|
//! | `smtp.rs`, `imap.rs`, `message.rs` | the lines of an SMTP session, an IMAP session, a message on its way |
//! | `relay.rs` | the lines of connections to other servers |
//! | `format.rs` | human and classic lines |
//! | `time.rs` | RFC 3339 |

mod format;
pub(crate) mod imap;
pub(crate) mod message;
pub(crate) mod relay;
pub(crate) mod smtp;
mod time;

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;
use waypost_config::{LogFormat, LogLevel};
use waypost_world::Clock;

use crate::log::format::{Lines, Style};

/// The target of lines about mail.
pub(crate) const MAIL: &str = "mail";

/// A line about mail. `program` is what a classic line names before its colon: `postfix/smtpd[7]`.
pub(crate) fn line(program: &str, queue_id: Option<&str>, text: &str) {
    match queue_id {
        Some(queue_id) => tracing::info!(target: MAIL, program, queue_id, "{queue_id}: {text}"),
        None => tracing::info!(target: MAIL, program, "{text}"),
    }
}

/// The same, for what somebody should look at.
pub(crate) fn warning(program: &str, text: &str) {
    tracing::warn!(target: MAIL, program, "{text}");
}

/// The log's file, so that it can be opened again after a rotation.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogFile(Option<Arc<(PathBuf, Mutex<File>)>>);

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = append(path)?;
        Ok(Self(Some(Arc::new((path.into(), Mutex::new(file))))))
    }

    /// Opens the file of that name anew.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        if let Some(log) = &self.0 {
            let file = append(&log.0)?;
            *log.1.lock().unwrap_or_else(PoisonError::into_inner) = file;
        }
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(log) => log.1.lock().unwrap_or_else(PoisonError::into_inner).write(line),
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn append(path: &Path) -> io::Result<File> {
    // Addresses stand in it: not for everybody, as syslog's files are not.
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// How to log.
pub(crate) struct Settings<'a> {
    pub(crate) format: LogFormat,
    pub(crate) level: LogLevel,
    pub(crate) file: Option<&'a Path>,
    pub(crate) hostname: &'a str,
}

/// Starts logging, once for the process.
pub(crate) fn start(settings: &Settings<'_>, clock: Arc<dyn Clock>) -> io::Result<LogFile> {
    let file = settings.file.map(LogFile::open).transpose()?.unwrap_or_default();
    let level = match settings.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Other people's crates are heard when something is wrong.
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(MAIL, level)
        .with_target("waypost", level);
    let format = match settings.format {
        LogFormat::Auto if from_systemd() => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Human,
        format => format,
    };
    let colour = settings.file.is_none() && io::stderr().is_terminal();
    let lines = |style| {
        let lines = Lines { style, hostname: settings.hostname.into(), clock, colour };
        tracing_subscriber::fmt::layer().event_format(lines).with_writer(file.clone())
    };
    let layer = match format {
        LogFormat::Journald => tracing_journald::layer()?
            .with_syslog_identifier("waypost".into())
            .with_field_prefix(Some("WAYPOST".into()))
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_writer(file.clone())
            .boxed(),
        LogFormat::Classic => lines(Style::Classic).boxed(),
        LogFormat::Human | LogFormat::Auto => lines(Style::Human).boxed(),
    };
    registry().with(layer.with_filter(targets)).try_init().map_err(io::Error::other)?;
    Ok(file)
}

/// Standard error is the journal's (systemd.exec(5), `JOURNAL_STREAM`).
fn from_systemd() -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    //! The lines of the reference stack, out of the facts that make them.

    use super::*;
    use std::time::Duration;
    use waypost_driver::Fault;
    use waypost_imap::server::Fact as ImapFact;
    use waypost_machine::{TlsInfo, Why};
    use waypost_mail::{Address, Client, Domain, Enhanced, Peer, Reply, ReversePath};
    use waypost_relay::Event as Sent;
    use waypost_sasl::Verified;
    use waypost_smtp::client::Remote;
    use waypost_smtp::server::{Config, Fact, Lost};
    use waypost_tls_client::Trust;
    use waypost_world::{Event, ManualClock};

    /// Gathers lines.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `log` leads to, without the process id.
    fn logged(style: Style, log: impl FnOnce(Arc<ManualClock>)) -> Vec<String> {
        let clock = Arc::new(ManualClock::new(1_795_333_822));
        let lines = Lines::default();
        let format = super::Lines {
            style,
            hostname: "mail.example.com".into(),
            clock: Arc::clone(&clock) as _,
            colour: false,
        };
        let to = lines.clone();
        let layer =
            tracing_subscriber::fmt::layer().event_format(format).with_writer(move || to.clone());
        tracing::subscriber::with_default(registry().with(layer), || log(clock));
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let pid = format!("[{}]", std::process::id());
        let mpid = format!("mpid={}", std::process::id());
        text.lines().map(|line| line.replace(&pid, "[7]").replace(&mpid, "mpid=7")).collect()
    }

    fn peer() -> Peer {
        Peer { ip: "127.0.1.4".parse().unwrap(), port: 40_000, name: None }
    }

    fn smtp(service: &str) -> smtp::Session {
        let config = Config {
            service: service.into(),
            ..Config::new(Domain::parse("mail.example.com").unwrap())
        };
        smtp::Session::new(&config, peer(), 42)
    }

    #[test]
    fn an_smtp_session() {
        let client = Client {
            peer: peer(),
            service: "smtpd".into(),
            helo: "client.example.net".into(),
            esmtp: true,
            tls: None,
            login: None,
        };
        let address = |text| Address::parse(text).unwrap();
        let lines = logged(Style::Classic, |_| {
            let session = smtp("submission/smtpd");
            session.fact(&Fact::Connected);
            session.fact(&Fact::Login {
                user: "mail000".into(),
                mechanism: "PLAIN",
                outcome: Verified::Denied,
            });
            session.fact(&Fact::Rejected {
                client: Arc::new(client),
                queue_id: None,
                stage: "RCPT",
                sender: Some(ReversePath::Address(address("someone@elsewhere.test"))),
                recipient: Some(address("nobody@example.com")),
                reply: Reply::new(550, Enhanced(5, 1, 1), "<nobody@example.com>: unknown"),
            });
            let lost = Lost { what: "lost connection", after: "DATA", octets: Some(12) };
            let counts = vec![("ehlo", 1, 1), ("data", 0, 1)];
            session.fact(&Fact::Disconnected { counts, lost: Some(lost) });
        });
        let head = "2026-11-22T07:50:22.000000+00:00 mail postfix/submission/smtpd[42]:";
        let expected = [
            "connect from unknown[127.0.1.4]",
            "warning: unknown[127.0.1.4]: SASL PLAIN authentication failed: (reason unavailable), \
             sasl_username=mail000",
            "NOQUEUE: reject: RCPT from unknown[127.0.1.4]: 550 5.1.1 <nobody@example.com>: unknown; \
             from=<someone@elsewhere.test> to=<nobody@example.com> proto=ESMTP \
             helo=<client.example.net>",
            "lost connection after DATA (12 bytes) from unknown[127.0.1.4]",
            "disconnect from unknown[127.0.1.4] ehlo=1 data=0/1 commands=1/2",
        ];
        assert_eq!(lines, expected.map(|text| format!("{head} {text}")));
    }

    #[test]
    fn a_message() {
        let lines = logged(Style::Classic, |_| {
            let queue_id: Arc<str> = "E7370142EAE".into();
            let message_id = "<inbound@client.example.net>".into();
            message::event(Event::MessageId { queue_id: Arc::clone(&queue_id), message_id });
            message::event(Event::Active {
                queue_id: Arc::clone(&queue_id),
                sender: ReversePath::Null,
                size: 356,
                recipients: 1,
            });
            let message_id = "".into();
            message::event(Event::MessageId { queue_id: Arc::clone(&queue_id), message_id });
            message::event(Event::Removed { queue_id });
        });
        assert!(lines[0].ends_with(
            "mail postfix/cleanup[7]: E7370142EAE: message-id=<inbound@client.example.net>"
        ));
        assert!(lines[1].ends_with(
            "mail postfix/qmgr[7]: E7370142EAE: from=<>, size=356, nrcpt=1 (queue active)"
        ));
        assert!(lines[2].ends_with("mail postfix/cleanup[7]: E7370142EAE: message-id=<>"));
        assert!(lines[3].ends_with("mail postfix/qmgr[7]: E7370142EAE: removed"));
    }

    #[test]
    fn connections_to_other_servers() {
        let lines = logged(Style::Classic, |_| {
            let remote = Remote {
                name: "localhost".into(),
                ip: "127.0.0.1".parse().unwrap(),
                port: 2526,
                nexthop: "remote.test".into(),
                best: true,
            };
            let info = TlsInfo {
                protocol: "TLSv1.3",
                cipher: "TLS_AES_256_GCM_SHA384",
                bits: 256,
                key_exchange: "X25519",
                ..TlsInfo::default()
            };
            let (trust, remote) = (Trust::Verified, Arc::new(remote));
            relay::event(Sent::Secured { trust, remote: Arc::clone(&remote), info });
            let reason = "connect to mx.remote.test[192.0.2.1]:25: Connection refused".into();
            relay::event(Sent::Unreachable { reason });
            let reason = "host mx.remote.test[192.0.2.1] refused to talk to me: 421 no".into();
            relay::event(Sent::Passing { queue_id: "E7370142EAE".into(), reason });
            relay::event(Sent::Odd { remote, what: "500 what?".into() });
        });
        let head = "2026-11-22T07:50:22.000000+00:00 mail postfix/smtp[7]:";
        let expected = [
            "Verified TLS connection established to localhost[127.0.0.1]:2526: TLSv1.3 with cipher \
             TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519",
            "connect to mx.remote.test[192.0.2.1]:25: Connection refused",
            "E7370142EAE: host mx.remote.test[192.0.2.1] refused to talk to me: 421 no",
            "warning: host localhost[127.0.0.1] said out of turn: 500 what?",
        ];
        assert_eq!(lines, expected.map(|text| format!("{head} {text}")));
    }

    fn imap(clock: &Arc<ManualClock>) -> imap::Session {
        let clock = Arc::clone(clock) as _;
        imap::Session::new(clock, peer(), "127.0.0.1".parse().unwrap(), 16)
    }

    #[test]
    fn imap_sessions() {
        let lines = logged(Style::Classic, |clock| {
            let mut session = imap(&clock);
            session.secured(&TlsInfo::default());
            session.fact(&ImapFact::LoggedIn { user: "mail000".into(), method: "PLAIN" });
            let (user, octets) = (Some("mail000".into()), (56, 1376));
            session.fact(&ImapFact::Disconnected { user, reason: "Logged out", octets });
            session.ended(Why::Done);

            let mut session = imap(&clock);
            let (user, method) = ("mail000".into(), "PLAIN");
            session.fact(&ImapFact::LoginFailed { user, method, unavailable: false });
            clock.advance(Duration::from_secs(2));
            session.fact(&ImapFact::Disconnected {
                user: None,
                reason: "Logged out",
                octets: (9, 9),
            });
            session.ended(Why::Done);

            let mut session = imap(&clock);
            session.fault(&Fault::WriteTimeout);
            session.ended(Why::Gone);
        });
        let texts = lines.iter().filter_map(|line| line.split_once(" mail dovecot: "));
        let texts: Vec<_> = texts.map(|(_, text)| text).collect();
        let pid = std::process::id();
        let id = "6b029ebe.10";
        assert_eq!(
            texts,
            [
                format!(
                    "imap-login: Login: user=<mail000>, method=PLAIN, rip=127.0.1.4, \
                     lip=127.0.0.1, mpid=7, TLS, session=<{id}>"
                ),
                format!("imap(mail000)<{pid}><{id}>: Disconnected: Logged out in=56 out=1376"),
                format!(
                    "imap-login: Disconnected: Aborted login by logging out (auth failed, \
                     1 attempts in 2 secs): user=<mail000>, method=PLAIN, rip=127.0.1.4, \
                     lip=127.0.0.1, session=<{id}>"
                ),
                "imap-login: Disconnected: the peer does not read (no auth attempts in 0 secs): \
                 user=<>, rip=127.0.1.4, lip=127.0.0.1, session=<6b029ec0.10>"
                    .to_string(),
            ]
        );
    }

    #[test]
    fn for_people() {
        let lines = logged(Style::Human, |_| {
            line("postfix/submission/smtpd", Some("E7370142EAE"), "client=unknown[192.0.2.1]");
            warning("postfix/smtpd", "non-SMTP command from x: a\x1b[2Jb\nc");
            tracing::warn!(target: "waypost", "warning: mail of 'x': gone");
            tracing::info!(target: "waypost", number = 7, "ready");
        });
        assert_eq!(
            lines,
            [
                "07:50:22 submission/smtpd: E7370142EAE: client=unknown[192.0.2.1]",
                "07:50:22 WARN smtpd: non-SMTP command from x: a?[2Jb?c",
                "07:50:22 WARN mail of 'x': gone",
                "07:50:22 ready number=7",
            ]
        );
    }
}
