//! The commands.

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Subcommand;

use super::client::{AskError, Asked, ask};
use super::protocol::{Ask, Line, Message, Which, queue_id};
use super::{history, show, socket};
use crate::cli::ConfigArgument;
use crate::files::ConfigFile;
use crate::settings::outgoing;

/// `waypost queue ..`. MESSAGES is a queue id, a next hop (a domain, with or without @), or `all`.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum QueueCommand {
    /// What waits, since when, why, and when it is tried next
    List {
        #[command(flatten)]
        config: ConfigArgument,
        /// One object in each line, with the names of postqueue -j
        #[arg(long)]
        json: bool,
        /// A queue id, a next hop (domain), or all
        #[arg(default_value = "all")]
        messages: String,
    },
    /// All that is known of a message, or the message itself
    Show {
        #[command(flatten)]
        config: ConfigArgument,
        /// As one object
        #[arg(long, conflicts_with = "body")]
        json: bool,
        /// The message, header and body
        #[arg(long)]
        body: bool,
        /// Its name in log and list
        id: String,
    },
    /// Try now what waits for its time
    Retry {
        #[command(flatten)]
        config: ConfigArgument,
        /// A queue id, a next hop (domain), or all
        #[arg(default_value = "all")]
        messages: String,
    },
    /// Try no more until released
    Hold(Change),
    /// Go on with what was held, now
    Release(Change),
    /// Return to the sender, as if it had waited too long
    Expire(Change),
    /// Throw away; nobody is told
    Drop(Change),
    /// Where a message stands, and what the log says of it
    Log {
        #[command(flatten)]
        config: ConfigArgument,
        /// Its name in log and list
        id: String,
    },
    /// Where mail waits to go, how many deliveries run there, what is suspended
    Destinations {
        #[command(flatten)]
        config: ConfigArgument,
        /// One object in each line
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Change {
    #[command(flatten)]
    config: ConfigArgument,
    /// A queue id, a next hop (domain), or all
    messages: String,
}

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Runs a command. An exit code of 1 says that there is no such message.
pub(crate) fn run(command: &QueueCommand) -> Outcome {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = run_to(command, &mut out).and_then(|code| Ok(out.flush().map(|()| code)?));
    match done {
        // Whoever reads has seen enough.
        Err(error) if is_broken_pipe(&*error) => Ok(ExitCode::SUCCESS),
        done => done,
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let io = match error.downcast_ref::<AskError>() {
        Some(AskError::Output(error)) => Some(error),
        Some(_) => None,
        None => error.downcast_ref::<io::Error>(),
    };
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

pub(crate) fn run_to(command: &QueueCommand, out: &mut dyn Write) -> Outcome {
    use QueueCommand as C;
    match command {
        C::List { config, json, messages } => {
            Place::of(config)?.list(&Which::parse(messages), *json, out)
        }
        C::Show { config, id, body: true, .. } => Place::of(config)?.body(id, out),
        C::Show { config, id, json, .. } => Place::of(config)?.show(id, *json, out),
        C::Log { config, id } => Place::of(config)?.log(id, out),
        C::Destinations { config, json } => Place::of(config)?.destinations(*json, out),
        C::Retry { config, messages } => {
            Place::of(config)?.change(messages, Ask::Retry, "tried now", out)
        }
        C::Hold(it) => Place::of(&it.config)?.change(&it.messages, Ask::Hold, "held", out),
        C::Release(it) => {
            Place::of(&it.config)?.change(&it.messages, Ask::Release, "released", out)
        }
        C::Expire(it) => Place::of(&it.config)?.change(&it.messages, Ask::Expire, "returned", out),
        C::Drop(it) => Place::of(&it.config)?.change(&it.messages, Ask::Drop, "dropped", out),
    }
}

/// A server's configuration: where its socket, its spool and its log are.
struct Place {
    socket: PathBuf,
    spool: PathBuf,
    log: Option<PathBuf>,
    relayhost: Option<Box<str>>,
}

impl Place {
    fn of(argument: &ConfigArgument) -> Result<Self, Box<dyn Error>> {
        let file = ConfigFile::read(&argument.config)?;
        Ok(Self {
            socket: socket(&file),
            spool: file.at(&file.config.spool.directory),
            log: file.config.log.file.as_deref().map(|path| file.at(path)),
            relayhost: outgoing::queue_relayhost(&file.config),
        })
    }

    fn ask(
        &self,
        question: &Ask,
        each: &mut dyn FnMut(Line) -> io::Result<()>,
    ) -> Result<usize, AskError> {
        let Self { socket, spool, relayhost, .. } = self;
        ask(&Asked { socket, spool, relayhost: relayhost.as_deref() }, question, each)
    }

    fn list(&self, which: &Which, json: bool, out: &mut dyn Write) -> Outcome {
        let (mut messages, mut octets) = (0, 0);
        self.ask(&Ask::List(which.clone()), &mut |line| {
            let Line::Message(message) = line else { return Ok(()) };
            messages += 1;
            octets += message.message_size;
            if json {
                return to_json(&message, out);
            }
            if messages == 1 {
                writeln!(out, "{}", show::HEAD)?;
            }
            writeln!(out, "{}", show::row(&message))
        })?;
        if !json {
            writeln!(out, "{}", show::total(messages, octets))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A message by its name.
    fn find(&self, id: &str) -> Result<Option<Message>, Box<dyn Error>> {
        queue_id(id)?;
        let mut found = None;
        self.ask(&Ask::List(Which::Id(id.into())), &mut |line| {
            if let Line::Message(message) = line {
                found = Some(*message);
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn show(&self, id: &str, json: bool, out: &mut dyn Write) -> Outcome {
        let Some(message) = self.find(id)? else { return Ok(absent(id)) };
        match json {
            true => to_json(&message, out)?,
            false => out.write_all(show::message(&message).as_bytes())?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn body(&self, id: &str, out: &mut dyn Write) -> Outcome {
        let found = self.ask(&Ask::Body(id.into()), &mut |line| {
            let Line::Body(piece) = line else { return Ok(()) };
            out.write_all(&BASE64_STANDARD.decode(piece).map_err(no_base64)?)
        })?;
        Ok(if found == 0 { absent(id) } else { ExitCode::SUCCESS })
    }

    fn log(&self, id: &str, out: &mut dyn Write) -> Outcome {
        let message = self.find(id)?;
        match &message {
            Some(message) => out.write_all(show::message(message).as_bytes())?,
            None => writeln!(out, "{id}: not in the queue")?,
        }
        let Some(log) = &self.log else {
            writeln!(out, "log.file is not set; under systemd: journalctl -g {id}")?;
            return Ok(if message.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        };
        writeln!(out, "in {}:", log.display())?;
        let found =
            history::print(log, id, out).map_err(|error| format!("{}: {error}", log.display()))?;
        if found == 0 {
            writeln!(out, "nothing; older files may know it: zgrep {id} {}*", log.display())?;
        }
        Ok(if message.is_some() || found > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn destinations(&self, json: bool, out: &mut dyn Write) -> Outcome {
        let mut first = true;
        self.ask(&Ask::Destinations, &mut |line| {
            let Line::Destination(destination) = line else { return Ok(()) };
            if json {
                return to_json(&destination, out);
            }
            if std::mem::take(&mut first) {
                writeln!(out, "{}", show::destinations_head())?;
            }
            writeln!(out, "{}", show::destination(&destination))
        })?;
        if first && !json {
            writeln!(out, "No destinations")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn change(
        &self,
        messages: &str,
        make: fn(Which) -> Ask,
        done: &str,
        out: &mut dyn Write,
    ) -> Outcome {
        let which = Which::parse(messages);
        let changed = self.ask(&make(which.clone()), &mut |_| Ok(()))?;
        let s = if changed == 1 { "" } else { "s" };
        writeln!(out, "{changed} message{s} {done}")?;
        Ok(match which {
            Which::Id(_) if changed == 0 => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        })
    }
}

fn no_base64(error: base64::DecodeError) -> io::Error {
    io::Error::other(format!("a piece of the message: {error}"))
}

fn absent(id: &str) -> ExitCode {
    eprintln!("waypost: {id}: not in the queue");
    ExitCode::FAILURE
}

fn to_json(value: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
