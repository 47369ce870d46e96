//! STATUS (RFC 3501 6.3.10, RFC 8438, RFC 7889).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::{Call, Command, Context, Counted, Failure, Job, Server, Step, sync};
use crate::response::{self, Missing, Refusal};
use crate::syntax::list::{StatusItem, status_items};
use crate::syntax::mailbox;

/// A STATUS under way.
pub(super) struct Status {
    /// The mailbox as the client wrote it.
    wire: Box<str>,
    items: Vec<StatusItem>,
    /// It is the one that is open.
    selected: bool,
}

pub(super) fn begin(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
) -> Result<Step, Refusal> {
    let [wire, items, ..] = command.args else { return Err(response::MISSING) };
    let wire = wire.text().ok_or(response::ARGUMENTS)?;
    let items = items.list().ok_or(response::ARGUMENTS)?;
    let items = status_items(items)?;
    let name: Box<str> = mailbox::mailbox(wire).ok_or(response::NAME)?.into();
    let account = server.account_arc()?;
    let selected = server.state.selected().is_some_and(|selected| selected.name == name);
    let size = items.contains(&StatusItem::Size);
    let mailboxes = vec![name];
    cx.call(server.config.call_timeout, |ticket| Call::Status { account, mailboxes, size, ticket });
    let wire = String::from_utf8_lossy(wire).into();
    Ok(Step::Wait(Job::Status(Status { wire, items, selected })))
}

pub(super) fn answered(
    server: &mut Server,
    cx: &mut Context<'_>,
    job: Status,
    Counted(counted): Counted,
) -> Step {
    match counted.into_iter().next().unwrap_or(Err(Failure::Unavailable)) {
        Ok(counts) => {
            let mut line = String::new();
            let limit = server.config.append_limit;
            response::status(&job.wire, &job.items, &counts, limit, &mut line);
            server.send(cx, &line);
            if !job.selected {
                return server.end(cx, "OK Status completed.");
            }
            let how = sync::How { expunge: true, uid: false };
            sync::begin(server, cx, how, "OK [CLIENTBUG] Status on selected mailbox completed.")
        }
        Err(failure) => {
            let text = response::failure(&failure, Missing::Plain, &job.wire);
            server.end(cx, &text)
        }
    }
}
