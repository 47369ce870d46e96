//! COPY and MOVE (RFC 3501 6.4.7, RFC 6851) with COPYUID (RFC 4315 3).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use super::{Call, Command, Context, Copied, CopyUids, Job, Server, Step, select, store, sync};
use crate::response::{self, Missing, Refusal};
use crate::syntax::mailbox;
use crate::view::ranges;

/// A COPY or MOVE under way.
pub(super) struct Copy {
    /// The target as the client wrote it.
    wire: Box<str>,
    remove: bool,
    uid: bool,
}

pub(super) fn begin(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
    remove: bool,
) -> Result<Step, Refusal> {
    let config = Arc::clone(&server.config);
    let selected = server.selected()?;
    let [set, target, ..] = command.args else { return Err(response::MISSING) };
    let wire = target.text().ok_or(response::ARGUMENTS)?;
    let places = store::places(selected, Some(set), command.uid)?;
    let to: Box<str> = mailbox::mailbox(wire).ok_or(response::NAME)?.into();
    if remove && !selected.write {
        return Err(Refusal::no("[NOPERM] Mailbox is read-only."));
    }
    let uids = selected.view.uids_at(&places);
    if uids.is_empty() {
        let how = sync::How { expunge: true, uid: false };
        return Ok(sync::begin(server, cx, how, "OK No messages found."));
    }
    let timeout = config.timeout_of(uids.len());
    let handle = selected.handle;
    let wire = String::from_utf8_lossy(wire).into();
    cx.call(timeout, |ticket| Call::Copy { handle, uids, to, remove, ticket });
    Ok(Step::Wait(Job::Copy(Copy { wire, remove, uid: command.uid })))
}

pub(super) fn answered(
    server: &mut Server,
    cx: &mut Context<'_>,
    job: Copy,
    Copied(copied): Copied,
) -> Step {
    let how = sync::How { expunge: true, uid: job.uid };
    match copied {
        Err(failure) => {
            let gone = failure == super::Failure::Gone;
            if gone && select::is_gone(&failure) {
                return sync::tell(server, cx, Err(failure), how, |_, _| false, "".into());
            }
            let text = response::failure(&failure, Missing::TryCreate, &job.wire);
            server.end(cx, &text)
        }
        // All of them had gone meanwhile.
        Ok(uids) if uids.pairs.is_empty() => sync::begin(server, cx, how, "OK No messages found."),
        Ok(uids) if job.remove => {
            let line = format!("* OK [{}] Moved UIDs.\r\n", copyuid(&uids));
            server.send(cx, &line);
            sync::begin(server, cx, how, "OK Move completed.")
        }
        Ok(uids) => {
            let ending = format!("OK [{}] Copy completed.", copyuid(&uids));
            sync::begin(server, cx, how, ending)
        }
    }
}

fn copyuid(uids: &CopyUids) -> String {
    let from = ranges(uids.pairs.iter().map(|pair| pair.0));
    let to = ranges(uids.pairs.iter().map(|pair| pair.1));
    format!("COPYUID {} {from} {to}", uids.uid_validity)
}
