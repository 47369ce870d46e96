//! SEARCH and UID SEARCH (RFC 3501 6.4.4, RFC 4731).

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;

use super::{Call, Command, Context, Found, Job, Server, Step, select, sync};
use crate::response::{self, Missing, Refusal};
use crate::syntax::search::{Last, Return, SearchError, search};
use crate::view::ranges;

/// A SEARCH under way.
pub(super) struct Search {
    uid: bool,
    options: Option<Return>,
    /// What was found and is not said yet.
    found: Option<vec::IntoIter<u32>>,
}

pub(super) fn begin(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
) -> Result<Step, Refusal> {
    let config = Arc::clone(&server.config);
    let selected = server.selected()?;
    let last = Last { seq: selected.view.len(), uid: selected.view.last_uid() };
    let search = search(command.args, last).map_err(|error| match error {
        SearchError::Charset => Refusal::no("[BADCHARSET] Unknown charset."),
        SearchError::Syntax(error) => error.into(),
    })?;
    let (handle, view) = (selected.handle, selected.view.snapshot());
    let program = Arc::new(search.program);
    let timeout = config.timeout_of(view.len());
    cx.call(timeout, |ticket| Call::Search { handle, view, program, ticket });
    Ok(Step::Wait(Job::Search(Search { uid: command.uid, options: search.options, found: None })))
}

pub(super) fn answered(
    server: &mut Server,
    cx: &mut Context<'_>,
    mut job: Search,
    Found(found): Found,
) -> Step {
    let how = sync::How { expunge: job.uid, uid: job.uid };
    let uids = match found {
        Ok(uids) => uids,
        Err(failure) if select::is_gone(&failure) => {
            return sync::tell(server, cx, Err(failure), how, |_, _| false, "".into());
        }
        Err(failure) => {
            let text = response::failure(&failure, Missing::Plain, "");
            return server.end(cx, &text);
        }
    };
    let Ok(selected) = server.selected() else { return Step::Done };
    let numbers: Vec<u32> = if job.uid {
        uids
    } else {
        let places = uids.iter().filter_map(|uid| selected.view.place(*uid));
        places.filter_map(|place| u32::try_from(place + 1).ok()).collect()
    };
    if let Some(options) = job.options {
        let line = extended(&server.tag, job.uid, options, &numbers);
        server.send(cx, &line);
        return sync::begin(server, cx, how, "OK Search completed.");
    }
    server.send(cx, "* SEARCH");
    job.found = Some(numbers.into_iter());
    Step::Run(Job::Search(job))
}

/// The reply to RETURN: items in Dovecot's order.
fn extended(tag: &str, uid: bool, options: Return, numbers: &[u32]) -> String {
    let mut line = String::from("* ESEARCH (TAG ");
    response::string(tag, &mut line);
    line.push_str(if uid { ") UID" } else { ")" });
    if let (Some(min), Some(max)) = (numbers.first(), numbers.last()) {
        if options.min {
            let _ = write!(line, " MIN {min}");
        }
        if options.max {
            let _ = write!(line, " MAX {max}");
        }
        if options.all {
            let _ = write!(line, " ALL {}", ranges(numbers.iter().copied()));
        }
    }
    if options.count {
        let _ = write!(line, " COUNT {}", numbers.len());
    }
    line.push_str("\r\n");
    line
}

/// Says the numbers as room allows.
pub(super) fn advance(server: &mut Server, cx: &mut Context<'_>, mut job: Search) -> Step {
    let Some(found) = &mut job.found else { return Step::Wait(Job::Search(job)) };
    while cx.room() > 0 {
        let Some(number) = found.next() else {
            server.send(cx, "\r\n");
            let how = sync::How { expunge: job.uid, uid: job.uid };
            return sync::begin(server, cx, how, "OK Search completed.");
        };
        server.send(cx, &format!(" {number}"));
    }
    Step::Run(Job::Search(job))
}
