//! `waypost sendmail`, and what this program does under the names `sendmail`, `mailq` and
//! `newaliases`: the commands by which cron and scripts send mail, as in Postfix's sendmail(1).
//!
//! Mail is handed to the server by SMTP on this computer, so that any user may send.
//!
//! | file | what is there |
//! |---|---|
//! | `options.rs` | the command line |
//! | `message.rs` | recipients out of the header, what a header lacks |
//! | `submit.rs` | the SMTP client |

mod message;
mod options;
mod submit;

use std::env;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::unistd::{Uid, User};
use waypost_world::{Clock, SystemClock};

use crate::cli::ConfigArgument;
use crate::control::command::{self as queue, QueueCommand};
use crate::files::ConfigFile;
use message::Author;
use options::{Job, Options};

/// Says where the server is, as `host:port`: for those whose configuration cannot be read, or says
/// something else.
const SERVER: &str = "WAYPOST_SERVER";
const CONFIG: &str = "/etc/waypost/waypost.toml";
/// Octets of a message where the configuration does not tell; the server has the last word.
const SIZE_LIMIT: u64 = 50 * 1024 * 1024;

/// How it ended, by the numbers of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Usage = 64,
    Data = 65,
    NoUser = 67,
    Unavailable = 69,
    Software = 70,
    Io = 74,
    Temporary = 75,
    Protocol = 76,
    NotAllowed = 77,
    Config = 78,
}

/// Why the mail is not sent, or not to all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Trouble {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl Trouble {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }
}

/// Runs when the command line is one for sendmail: by the program's own name, or by the first word.
pub(crate) fn by_name(arguments: &[String]) -> Option<ExitCode> {
    let name = Path::new(arguments.first()?).file_name()?.to_str()?;
    let rest = arguments.get(1..).unwrap_or_default();
    let done = match (name, rest.first().map(String::as_str)) {
        ("sendmail", _) => run(rest),
        ("mailq", _) => run(&[&["-bp".into()], rest].concat()),
        ("newaliases", _) => Ok(()),
        (_, Some("sendmail")) => run(&rest[1..]),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            trouble.text.lines().for_each(|line| eprintln!("sendmail: {line}"));
            ExitCode::from(trouble.exit as u8)
        }
    })
}

fn run(arguments: &[String]) -> Result<(), Trouble> {
    let options = options::parse(arguments).map_err(|text| Trouble::new(Exit::Usage, text))?;
    let path = options.config.clone().unwrap_or_else(|| CONFIG.into());
    match options.job {
        Job::Nothing => Ok(()),
        Job::List => {
            ask(|config| QueueCommand::List { config, json: false, messages: "all".into() }, path)
        }
        Job::Flush => ask(|config| QueueCommand::Retry { config, messages: "all".into() }, path),
        Job::Relay => submit::relay(&server(&options, &path)?, io::stdin(), &mut io::stdout()),
        Job::Send => {
            let file = config(&options, &path)?;
            let limit = file.as_ref().map_or(SIZE_LIMIT, |it| it.config.mail.message_size_limit);
            let text = message::read(&mut io::stdin().lock(), !options.ignore_dots, limit)?;
            send(&options, &server(&options, &path)?, &author(), text)
        }
    }
}

/// Sends a message that was read.
fn send(
    options: &Options,
    servers: &[SocketAddr],
    author: &Author,
    text: Vec<u8>,
) -> Result<(), Trouble> {
    let mut server = submit::Server::connect(servers)?;
    let now = SystemClock::default().wall();
    let mail = message::prepare(options, author, &server.domain, now, &text)?;
    drop(text);
    server.send(&mail)
}

/// Another command, with what comes of it.
fn ask(make: impl FnOnce(ConfigArgument) -> QueueCommand, config: PathBuf) -> Result<(), Trouble> {
    let done = queue::run(&make(ConfigArgument { config }));
    done.map(drop).map_err(|error| Trouble::new(Exit::Unavailable, error.to_string()))
}

/// The configuration, where it is for us to see. One that was asked for must be.
fn config(options: &Options, path: &Path) -> Result<Option<ConfigFile>, Trouble> {
    match ConfigFile::read(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if options.config.is_some() => {
            Err(Trouble::new(Exit::Config, error.to_string()))
        }
        Err(_) => Ok(None),
    }
}

/// Where the server is: what the environment says, else the first port for mail of the
/// configuration, else port 25 here.
fn server(options: &Options, path: &Path) -> Result<Vec<SocketAddr>, Trouble> {
    if let Ok(name) = env::var(SERVER) {
        let found = name.to_socket_addrs();
        let bad = |error| Trouble::new(Exit::Usage, format!("{SERVER}: {name}: {error}"));
        return Ok(found.map_err(bad)?.collect());
    }
    let file = config(options, path)?;
    let listens = file.and_then(|file| file.config.listen.smtp.first().copied());
    Ok(vec![local(listens.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 25).into()))])
}

/// Where to connect to a server that listens there.
fn local(mut listens: SocketAddr) -> SocketAddr {
    if listens.ip().is_unspecified() {
        listens.set_ip(match listens {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listens
}

/// Who runs this.
fn author() -> Author {
    let uid = Uid::current();
    match User::from_uid(uid) {
        Ok(Some(user)) => {
            let gecos = user.gecos.to_string_lossy();
            let name = gecos.split(',').next().unwrap_or_default().replace('&', &user.name);
            Author { login: user.name, name }
        }
        _ => Author { login: uid.to_string(), name: String::new() },
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
