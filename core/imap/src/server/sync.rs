//! NOOP and CHECK (RFC 3501 6.1.2, 6.4.1), and the news that other commands end with.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec;

use waypost_machine::Why;

use super::{Call, Changes, Context, Failure, Flags, Job, Message, Server, Step, Synced, select};
use crate::response::{self, Refusal};
use crate::view::News;

/// What is said before the tagged line, and that line.
pub(super) struct Sync {
    news: Option<vec::IntoIter<News>>,
    /// The tagged line without the tag.
    ending: Cow<'static, str>,
    how: How,
}

/// What a command allows to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct How {
    /// Messages may lose their numbers now.
    pub(super) expunge: bool,
    /// Lines about flags name the uid.
    pub(super) uid: bool,
}

pub(super) fn noop(server: &mut Server, cx: &mut Context<'_>) -> Step {
    begin(server, cx, How { expunge: true, uid: false }, "OK NOOP completed.")
}

pub(super) fn check(server: &mut Server, cx: &mut Context<'_>) -> Result<Step, Refusal> {
    server.selected()?;
    Ok(begin(server, cx, How { expunge: true, uid: false }, "OK Check completed."))
}

/// Ends a command: asks what is new in the open mailbox, tells it, then sends the tagged line.
pub(super) fn begin(
    server: &mut Server,
    cx: &mut Context<'_>,
    how: How,
    ending: impl Into<Cow<'static, str>>,
) -> Step {
    let ending = ending.into();
    let timeout = server.config.call_timeout;
    let Ok(selected) = server.selected() else { return server.end(cx, &ending) };
    let (handle, since) = (selected.handle, selected.now);
    cx.call(timeout, |ticket| Call::Sync { handle, since, ticket });
    Step::Wait(Job::Sync(Sync { news: None, ending, how }))
}

pub(super) fn answered(
    server: &mut Server,
    cx: &mut Context<'_>,
    job: Sync,
    Synced(synced): Synced,
) -> Step {
    let Sync { ending, how, .. } = job;
    tell(server, cx, synced, how, |_, _| false, ending)
}

/// Ends a command with changes that are here already.
pub(super) fn tell(
    server: &mut Server,
    cx: &mut Context<'_>,
    changes: Result<Changes, Failure>,
    how: How,
    quiet: impl Fn(&Message, Flags) -> bool,
    ending: Cow<'static, str>,
) -> Step {
    match take_in(server, cx, changes, how, quiet) {
        Some(news) => Step::Run(Job::Sync(Sync { news: Some(news), ending, how })),
        None => Step::Done,
    }
}

/// Takes changes into the view. `None`: the mailbox is gone and so is the session. A mailbox that
/// cannot be looked at now has no news; the next command asks again.
pub(super) fn take_in(
    server: &mut Server,
    cx: &mut Context<'_>,
    changes: Result<Changes, Failure>,
    how: How,
    quiet: impl Fn(&Message, Flags) -> bool,
) -> Option<vec::IntoIter<News>> {
    let changes = match changes {
        Ok(changes) => changes,
        Err(failure) if select::is_gone(&failure) => {
            server.bye(cx, response::BYE_MAILBOX_GONE, Why::Refused, "Mailbox was deleted");
            return None;
        }
        // What is gone already can be told all the same.
        Err(_) => match server.selected() {
            Ok(selected) => Changes { now: selected.now, ..Changes::default() },
            Err(_) => Changes::default(),
        },
    };
    let Ok(selected) = server.selected() else { return Some(vec::IntoIter::default()) };
    selected.now = changes.now;
    let mut line = String::new();
    if let Some(keywords) = changes.keywords.clone().filter(|k| *k != selected.keywords) {
        selected.keywords = keywords;
        let (write, may_add) = (selected.write, selected.may_add_keywords);
        response::mailbox_flags(&selected.keywords, write, may_add, &mut line);
    }
    let news = selected.view.apply(&changes, how.expunge, quiet).into_iter();
    server.send(cx, &line);
    Some(news)
}

/// Says the news as room allows; true when all is said.
pub(super) fn say(
    server: &mut Server,
    cx: &mut Context<'_>,
    news: &mut vec::IntoIter<News>,
    uid: bool,
) -> bool {
    let mut line = String::new();
    while cx.room() > 0 {
        let Some(next) = news.next() else { return true };
        line.clear();
        let Ok(selected) = server.selected() else { return true };
        response::news(&next, uid, &selected.keywords, &mut line);
        server.send(cx, &line);
    }
    news.len() == 0
}

pub(super) fn advance(server: &mut Server, cx: &mut Context<'_>, mut job: Sync) -> Step {
    let Some(mut news) = job.news.take() else { return Step::Wait(Job::Sync(job)) };
    if say(server, cx, &mut news, job.how.uid) {
        return server.end(cx, &job.ending);
    }
    job.news = Some(news);
    Step::Run(Job::Sync(job))
}
