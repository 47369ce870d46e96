//! Log lines: one place where they are made, four formats.
//!
//! The words of a line about mail are those of Postfix and Dovecot, in every format; what differs is
//! what stands around them. `classic` is a line of syslog, so that tools made for the logs of Postfix
//! and Dovecot (pflogsumm, fail2ban) go on working.
//!
//! | file | what is there |
//! |---|---|
//! | `smtp.rs`, `imap.rs`, `message.rs` | the lines of an SMTP session, an IMAP session, a message on its way |
//! | `format.rs` | human and classic lines |
//! | `time.rs` | RFC 3339 |

mod format;
pub(crate) mod imap;
pub(crate) mod message;
pub(crate) mod smtp;
mod time;

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
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
        Some(queue_id) => tracing::info!(target: MAIL, program, queue_id, "{text}"),
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
    OpenOptions::new().create(true).append(true).open(path)
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
        LogFormat::Journald => tracing_journald::layer()?.boxed(),
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
