//! STORE and UID STORE (RFC 3501 6.4.6).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::{
    Call, Command, Context, Failure, Flags, Job, Keywords, Message, NamedFlags, Server, Step,
    StoreHow, Stored, select, sync,
};
use crate::response::{self, Missing, Refusal};
use crate::state::Selected;
use crate::syntax::args::Arg;
use crate::syntax::flags::flags;
use crate::syntax::set::Raw;

/// A STORE under way.
pub(super) struct Store {
    uid: bool,
    /// `.SILENT`: what the client expects needs no line. The uids, ascending.
    silent: Option<Box<[u32]>>,
    how: StoreHow,
    flags: NamedFlags,
}

/// The messages that a command names.
pub(super) fn places(
    selected: &Selected,
    arg: Option<&Arg<'_>>,
    uid: bool,
) -> Result<Vec<Range<usize>>, Refusal> {
    let wrong = if uid { response::UID_SET } else { response::MESSAGE_SET };
    let set = arg.and_then(Arg::atom).and_then(Raw::parse).ok_or_else(|| wrong.clone())?;
    if uid { Ok(selected.view.uids(&set)) } else { selected.view.sequences(&set).ok_or(wrong) }
}

pub(super) fn begin(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
) -> Result<Step, Refusal> {
    let config = Arc::clone(&server.config);
    let selected = server.selected()?;
    let [_, action, words @ ..] = command.args else { return Err(response::ARGUMENTS) };
    let places = places(selected, command.args.first(), command.uid)?;
    let action = action.upper().ok_or(response::ARGUMENTS)?;
    let (action, silent) = match action.strip_suffix(".SILENT") {
        Some(action) => (action, true),
        None => (&*action, false),
    };
    let how = match action {
        "FLAGS" => StoreHow::Replace,
        "+FLAGS" => StoreHow::Add,
        "-FLAGS" => StoreHow::Remove,
        _ => return Err(response::ARGUMENTS),
    };
    // Without flags this would take all of them away: not on half a command.
    if words.is_empty() {
        return Err(response::MISSING);
    }
    let flags = flags(words)?;
    if !selected.write {
        return Ok(server.end(cx, "OK Store ignored with read-only mailbox."));
    }
    let uids = selected.view.uids_at(&places);
    let silent = silent.then(|| uids.as_slice().into());
    if uids.is_empty() {
        let how = sync::How { expunge: command.uid, uid: command.uid };
        return Ok(sync::begin(server, cx, how, "OK Store completed."));
    }
    let timeout = config.timeout_of(uids.len());
    let (handle, since) = (selected.handle, selected.now);
    let job = Store { uid: command.uid, silent, how, flags: flags.clone() };
    cx.call(timeout, |ticket| Call::Store {
        handle,
        uids,
        how,
        flags,
        since,
        durable: true,
        ticket,
    });
    Ok(Step::Wait(Job::Store(job)))
}

pub(super) fn answered(
    server: &mut Server,
    cx: &mut Context<'_>,
    job: Store,
    Stored(stored): Stored,
) -> Step {
    let how = sync::How { expunge: job.uid, uid: job.uid };
    let changes = match stored {
        Err(failure) if !select::is_gone(&failure) => {
            let text = match failure {
                Failure::ReadOnly => "OK Store ignored with read-only mailbox.".into(),
                failure => response::failure(&failure, Missing::Plain, ""),
            };
            return server.end(cx, &text);
        }
        changes => changes,
    };
    let Ok(selected) = server.selected() else { return Step::Done };
    let keywords = match &changes {
        Ok(changes) => changes.keywords.clone().unwrap_or_else(|| selected.keywords.clone()),
        Err(_) => selected.keywords.clone(),
    };
    let quiet = |before: &Message, after: Flags| {
        let silent = job.silent.as_ref();
        silent.is_some_and(|uids| uids.binary_search(&before.uid).is_ok())
            && after == combined(before.flags, job.how, &job.flags, &keywords)
    };
    sync::tell(server, cx, changes, how, quiet, "OK Store completed.".into())
}

/// The flags that a message should have after a STORE.
fn combined(before: Flags, how: StoreHow, named: &NamedFlags, keywords: &Keywords) -> Flags {
    let mut keyword_bits = 0;
    for (n, known) in keywords.iter().take(32).enumerate() {
        if named.keywords.iter().any(|name| name.eq_ignore_ascii_case(known)) {
            keyword_bits |= 1 << n;
        }
    }
    let (a, b) = ((before.system, before.keywords), (named.system, keyword_bits));
    let (system, keywords) = match how {
        StoreHow::Add => (a.0 | b.0, a.1 | b.1),
        StoreHow::Remove => (a.0 & !b.0, a.1 & !b.1),
        StoreHow::Replace => b,
    };
    Flags { system, keywords }
}
