//! The commands.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use waypost_world::{Clock, SystemClock};

use crate::control::command::{self as queue, QueueCommand};
use crate::dkim::{self, DkimKey};
use crate::files::ConfigFile;
use crate::ground::Ground;
use crate::listen::ListenError;
use crate::log;
use crate::quickstart::{self, Quickstart};
use crate::server::{Given, Server};
use crate::{admin, process, sendmail};

/// A mail server for accounts in an LDAP directory.
#[derive(Debug, Parser)]
#[command(name = "waypost", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a server to try in a directory of its own, serve on 127.0.0.1, and say how to use it
    Quickstart(Quickstart),
    /// Serve
    Serve(ConfigArgument),
    /// Look at configuration, certificates and directory; one line for each finding
    Check(ConfigArgument),
    /// Look a key up in a map, as postmap -q does
    Query {
        #[command(flatten)]
        config: ConfigArgument,
        /// virtual_alias_domains, virtual_alias_maps, virtual_mailbox_maps, virtual_uid_maps,
        /// virtual_gid_maps, smtpd_sender_login_maps
        map: String,
        /// What to look up
        key: String,
    },
    /// Check a password, read from the terminal or from standard input
    AuthTest {
        #[command(flatten)]
        config: ConfigArgument,
        /// The login name
        user: String,
    },
    /// Messages that wait: list, show, retry, hold, release, expire, drop
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Send the message on standard input, as sendmail(1) does: cron and scripts use it
    #[command(disable_help_flag = true)]
    Sendmail {
        /// -t -f SENDER -F NAME -i -bs -bp -N DSN -R RET -V ENVID, recipients
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Make a key for DKIM signatures and print its DNS record
    DkimKey(DkimKey),
    /// Print a waypost.toml with every setting, documented
    Reference,
}

#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct ConfigArgument {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/waypost/waypost.toml")]
    pub(crate) config: PathBuf,
}

/// Runs the command line. `run` takes the sockets of a server and serves until it stops.
pub fn main(run: impl FnOnce(Arc<Server>) -> io::Result<()>) -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect();
    if let Some(code) = sendmail::by_name(&arguments) {
        return code;
    }
    let done = match Arguments::parse().command {
        Command::Quickstart(arguments) => quickstart::make(&arguments)
            .and_then(|made| serve(&made.file, || made.print(), run))
            .map_err(with_other_ports),
        Command::Serve(argument) => ConfigFile::read(&argument.config)
            .map_err(Box::from)
            .and_then(|file| serve(&file, || {}, run)),
        Command::Check(file) => admin::check(&file.config),
        Command::Query { config, map, key } => admin::query(&config.config, &map, &key),
        Command::AuthTest { config, user } => admin::auth_test(&config.config, &user),
        Command::Queue(command) => queue::run(&command),
        // Taken above, with its own grammar.
        Command::Sendmail { .. } => Ok(ExitCode::from(64)),
        Command::DkimKey(arguments) => dkim::make(&arguments),
        Command::Reference => {
            print!("{}", waypost_config::reference());
            Ok(ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        for line in error.to_string().lines() {
            eprintln!("waypost: {line}");
        }
        ExitCode::from(2)
    })
}

#[cfg(test)]
pub(crate) fn queue_command<'a>(line: impl Iterator<Item = &'a str>) -> Option<QueueCommand> {
    match Arguments::try_parse_from(line).map(|it| it.command) {
        Ok(Command::Queue(command)) => Some(command),
        _ => None,
    }
}

/// Tells how to get around a port that somebody else has.
fn with_other_ports(error: Box<dyn Error>) -> Box<dyn Error> {
    match error.downcast_ref::<ListenError>() {
        Some(in_use) if in_use.is_in_use() => format!(
            "{error}\nchoose other ports: --smtp-port, --submission-port, --submissions-port, \
             --imaps-port"
        )
        .into(),
        _ => error,
    }
}

fn serve(
    file: &ConfigFile,
    ready: impl FnOnce(),
    run: impl FnOnce(Arc<Server>) -> io::Result<()>,
) -> Result<ExitCode, Box<dyn Error>> {
    process::drop_groups()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let log_file = file.config.log.file.as_deref().map(|path| file.at(path));
    let log = log::start(
        &log::Settings {
            format: file.config.log.format,
            level: file.config.log.level,
            file: log_file.as_deref(),
            hostname: file.config.hostname.as_str(),
        },
        Arc::clone(&clock),
    )?;
    process::raise_file_limit();
    process::tell_identity();
    let server = Server::on(&Ground::system(clock), &Given::of(file.clone())?)?;
    process::watch(&server, log)?;
    process::ready();
    tracing::info!(target: "waypost", "ready: {}", server.describe());
    ready();
    run(Arc::clone(&server))?;
    server.finish();
    Ok(ExitCode::SUCCESS)
}
