//! SELECT, EXAMINE, CLOSE and UNSELECT (RFC 3501 6.3.1, 6.3.2, 6.4.2, RFC 3691).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::Write;

use super::{Call, Command, Context, Failure, Job, OpenMailbox, Opened, Server, Step};
use crate::response::{self, Missing, Refusal};
use crate::state::Selected;
use crate::syntax::mailbox;
use crate::view::View;

/// A mailbox is being opened.
pub(super) struct Select {
    mailbox: Box<str>,
    /// As the client wrote it.
    wire: Box<str>,
    write: bool,
}

/// CLOSE removes what is `\Deleted` first.
pub(super) struct Close;

pub(super) fn begin(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
    write: bool,
) -> Result<Step, Refusal> {
    // The open mailbox is closed also when the new one cannot be opened (RFC 3501 6.3.1).
    if server.release(cx) {
        server.send(cx, response::CLOSED);
    }
    let wire = command.args.first().and_then(|arg| arg.text()).ok_or(response::ARGUMENTS)?;
    let mailbox: Box<str> = mailbox::mailbox(wire).ok_or(response::NAME)?.into();
    let account = server.account_arc()?;
    let wire = String::from_utf8_lossy(wire).into();
    let job = Select { mailbox: mailbox.clone(), wire, write };
    cx.call(server.config.call_timeout, |ticket| Call::Open { account, mailbox, write, ticket });
    Ok(Step::Wait(Job::Select(job)))
}

pub(super) fn answered(
    server: &mut Server,
    cx: &mut Context<'_>,
    job: Select,
    Opened(opened): Opened,
) -> Step {
    match opened {
        Ok(open) => {
            let view = View::new(&open.messages);
            let text = describe(&open, &view, job.write);
            server.state.select(Selected {
                handle: open.handle,
                name: job.mailbox,
                write: job.write,
                view,
                keywords: open.keywords,
                may_add_keywords: open.may_add_keywords,
                now: open.now,
            });
            server.send(cx, &text);
            server.end(
                cx,
                if job.write {
                    "OK [READ-WRITE] Select completed."
                } else {
                    "OK [READ-ONLY] Examine completed."
                },
            )
        }
        Err(failure) => {
            let text = response::failure(&failure, Missing::Plain, &job.wire);
            server.end(cx, &text)
        }
    }
}

fn describe(open: &OpenMailbox, view: &View, write: bool) -> String {
    let mut text = String::new();
    response::mailbox_flags(&open.keywords, write, open.may_add_keywords, &mut text);
    let _ = write!(text, "* {} EXISTS\r\n* {} RECENT\r\n", view.len(), view.recent());
    if let Some(seq) = view.first_unseen() {
        let _ = write!(text, "* OK [UNSEEN {seq}] First unseen.\r\n");
    }
    let _ = write!(
        text,
        "* OK [UIDVALIDITY {}] UIDs valid\r\n* OK [UIDNEXT {}] Predicted next UID\r\n",
        open.uid_validity, open.uid_next
    );
    text
}

pub(super) fn close(server: &mut Server, cx: &mut Context<'_>) -> Result<Step, Refusal> {
    let config = Arc::clone(&server.config);
    let selected = server.selected()?;
    if !selected.write {
        return Ok(closed(server, cx, Close));
    }
    let timeout = config.timeout_of(selected.view.len() as usize);
    let (handle, since) = (selected.handle, selected.now);
    cx.call(timeout, |ticket| Call::Expunge { handle, uids: None, since, ticket });
    Ok(Step::Wait(Job::Close(Close)))
}

/// The client hears nothing of what was removed, nor that removing failed: it may open the
/// mailbox again and see.
pub(super) fn closed(server: &mut Server, cx: &mut Context<'_>, _: Close) -> Step {
    server.release(cx);
    server.end(cx, "OK Close completed.")
}

pub(super) fn unselect(server: &mut Server, cx: &mut Context<'_>) -> Result<Step, Refusal> {
    server.selected()?;
    server.release(cx);
    Ok(server.end(cx, "OK Unselect completed."))
}

/// The mailbox was deleted or is another one now: nothing that the client knows of it is true.
pub(super) fn is_gone(failure: &Failure) -> bool {
    matches!(failure, Failure::Gone | Failure::NoMailbox)
}
