//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 3501 6.3.3 to 6.3.7).

use alloc::boxed::Box;
use alloc::string::String;

use waypost_machine::Why;

use super::{Call, Command, Context, Failure, FolderChange, Job, Managed, SEPARATOR, Server, Step};
use crate::response::{self, Missing, Refusal};
use crate::syntax::mailbox;

/// A change under way.
pub(super) struct Manage {
    /// The mailbox as the client wrote it.
    wire: Box<str>,
    verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Create,
    Delete,
    Rename,
    Subscribe,
    Unsubscribe,
}

pub(super) fn create(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
) -> Result<Step, Refusal> {
    let (wire, name) = name(command, 0)?;
    // A separator at the end says that mailboxes below will follow (RFC 3501 6.3.3).
    let name = match name.strip_suffix(SEPARATOR) {
        Some(stripped) if !stripped.is_empty() => stripped.into(),
        _ => name,
    };
    ask(server, cx, wire, Verb::Create, FolderChange::Create(name))
}

pub(super) fn delete(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
) -> Result<Step, Refusal> {
    let (wire, name) = name(command, 0)?;
    if &*name == "INBOX" {
        return Err(Refusal::no("INBOX can't be deleted."));
    }
    ask(server, cx, wire, Verb::Delete, FolderChange::Delete(name))
}

pub(super) fn rename(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
) -> Result<Step, Refusal> {
    let (wire, from) = name(command, 0)?;
    let (_, to) = name(command, 1)?;
    if &*from == "INBOX" {
        return Err(Refusal::no("[CANNOT] Renaming INBOX isn't supported."));
    }
    if from == to {
        return Err(Refusal::no("[ALREADYEXISTS] Can't rename mailbox to itself."));
    }
    ask(server, cx, wire, Verb::Rename, FolderChange::Rename(from, to))
}

pub(super) fn subscribe(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
    on: bool,
) -> Result<Step, Refusal> {
    let (wire, name) = name(command, 0)?;
    match on {
        true => ask(server, cx, wire, Verb::Subscribe, FolderChange::Subscribe(name)),
        false => ask(server, cx, wire, Verb::Unsubscribe, FolderChange::Unsubscribe(name)),
    }
}

/// The mailbox in the argument at this place: as written, and decoded.
fn name(command: &Command<'_>, place: usize) -> Result<(Box<str>, Box<str>), Refusal> {
    let wire = command.args.get(place).and_then(|arg| arg.text()).ok_or(response::MISSING)?;
    let name = mailbox::mailbox(wire).ok_or(response::NAME)?;
    Ok((String::from_utf8_lossy(wire).into(), name.into()))
}

fn ask(
    server: &mut Server,
    cx: &mut Context<'_>,
    wire: Box<str>,
    verb: Verb,
    change: FolderChange,
) -> Result<Step, Refusal> {
    let account = server.account_arc()?;
    cx.call(server.config.call_timeout, |ticket| Call::Manage { account, change, ticket });
    Ok(Step::Wait(Job::Manage(Manage { wire, verb })))
}

pub(super) fn answered(
    server: &mut Server,
    cx: &mut Context<'_>,
    job: Manage,
    Managed(done): Managed,
) -> Step {
    if done.is_ok() && job.verb == Verb::Delete && server.has_open(&job.wire) {
        server.end(cx, "OK Delete completed.");
        server.bye(cx, response::BYE_DELETED, Why::Refused, "Mailbox was deleted");
        return Step::Done;
    }
    let text: String = match (done, job.verb) {
        (Ok(()), Verb::Create) => "OK Create completed.".into(),
        (Ok(()), Verb::Delete) => "OK Delete completed.".into(),
        (Ok(()), Verb::Rename) => "OK Rename completed.".into(),
        (Ok(()), Verb::Subscribe) => "OK Subscribe completed.".into(),
        // What is not subscribed need not be there either (RFC 3501 6.3.7).
        (Ok(()) | Err(Failure::NoMailbox), Verb::Unsubscribe) => "OK Unsubscribe completed.".into(),
        (Err(Failure::Exists), Verb::Rename) => {
            "NO [ALREADYEXISTS] Target mailbox already exists.".into()
        }
        (Err(Failure::Limit), _) => "NO [CANNOT] Mailbox name too long.".into(),
        (Err(failure), Verb::Subscribe | Verb::Create) => {
            response::failure(&failure, Missing::Plain, &job.wire)
        }
        (Err(failure), _) => response::failure(&failure, Missing::NonExistent, &job.wire),
    };
    server.end(cx, &text)
}

impl Server {
    /// Whether the mailbox of this name, as a client writes it, is the one that is open.
    fn has_open(&mut self, wire: &str) -> bool {
        let name = mailbox::mailbox(wire.as_bytes());
        self.selected().is_ok_and(|selected| name.as_deref() == Some(&*selected.name))
    }
}
