//! EXPUNGE and UID EXPUNGE (RFC 3501 6.4.3, RFC 4315 2.1).

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Call, Command, Context, Expunged, Job, Server, Step, select, store, sync};
use crate::response::{self, Missing, Refusal};

/// An EXPUNGE under way.
pub(super) struct Expunge;

pub(super) fn begin(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
) -> Result<Step, Refusal> {
    let config = Arc::clone(&server.config);
    let selected = server.selected()?;
    let uids = match command.uid {
        false => None,
        true if command.args.is_empty() => return Err(response::MISSING),
        true => {
            let places = store::places(selected, command.args.first(), true)?;
            Some(selected.view.uids_at(&places))
        }
    };
    if !selected.write || uids.as_ref().is_some_and(Vec::is_empty) {
        let how = sync::How { expunge: true, uid: false };
        return Ok(sync::begin(server, cx, how, "OK Expunge completed."));
    }
    let messages = uids.as_ref().map_or(selected.view.len() as usize, Vec::len);
    let timeout = config.timeout_of(messages);
    let (handle, since) = (selected.handle, selected.now);
    cx.call(timeout, |ticket| Call::Expunge { handle, uids, since, ticket });
    Ok(Step::Wait(Job::Expunge(Expunge)))
}

pub(super) fn answered(
    server: &mut Server,
    cx: &mut Context<'_>,
    _: Expunge,
    Expunged(expunged): Expunged,
) -> Step {
    match expunged {
        Err(failure) if !select::is_gone(&failure) => {
            let text = response::failure(&failure, Missing::Plain, "");
            server.end(cx, &text)
        }
        changes => {
            let how = sync::How { expunge: true, uid: false };
            sync::tell(server, cx, changes, how, |_, _| false, "OK Expunge completed.".into())
        }
    }
}
