//! IDLE (RFC 2177).

use alloc::vec;

use waypost_machine::Timer;

use super::{Call, Context, Failure, Handle, Job, Reply, Server, Step, Synced, Watched, sync};
use crate::view::News;

/// The longest line worth reading: `DONE`.
const LINE: usize = 4096;

/// An IDLE under way.
#[derive(Default)]
pub(super) struct Idle {
    /// The mailbox that is watched.
    handle: Option<Handle>,
    /// The world is being asked for news.
    syncing: bool,
    /// There are more news than those asked for.
    dirty: bool,
    /// News being told.
    news: vec::IntoIter<News>,
    /// The client has ended it; the tagged line, sent when the world has stopped watching.
    ending: Option<&'static str>,
    watch: Watch,
}

/// What the world watches. The end of it is only asked for once the beginning is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Watch {
    #[default]
    Off,
    Starting,
    On,
    Stopping,
}

const HOW: sync::How = sync::How { expunge: true, uid: false };

pub(super) fn begin(server: &mut Server, cx: &mut Context<'_>) -> Step {
    server.send(cx, "+ idling\r\n");
    let timeout = server.config.call_timeout;
    cx.arm(Timer::Idle, server.config.idle_timeout);
    cx.arm(Timer::Delay, server.config.idle_notice);
    let mut job = Idle::default();
    if let Ok(selected) = server.selected() {
        let handle = selected.handle;
        job.handle = Some(handle);
        job.watch = Watch::Starting;
        cx.call(timeout, |ticket| Call::Watch { handle, on: true, ticket });
    }
    Step::Run(Job::Idle(job))
}

/// The watched mailbox has changed.
pub(super) fn noticed(server: &mut Server, cx: &mut Context<'_>, handle: Handle) {
    let Some(Job::Idle(mut job)) = server.job.take_if(|job| matches!(job, Job::Idle(_))) else {
        return;
    };
    if job.handle == Some(handle) && job.ending.is_none() {
        ask(server, cx, &mut job);
    }
    server.job = Some(Job::Idle(job));
}

fn ask(server: &mut Server, cx: &mut Context<'_>, job: &mut Idle) {
    if job.syncing || job.news.len() > 0 {
        job.dirty = true;
        return;
    }
    let timeout = server.config.call_timeout;
    if let Ok(selected) = server.selected() {
        job.syncing = true;
        let (handle, since) = (selected.handle, selected.now);
        cx.call(timeout, |ticket| Call::Sync { handle, since, ticket });
    }
}

impl Idle {
    /// What it waits for, failed.
    pub(super) fn expired(&self) -> Reply {
        if self.syncing { Synced(Err(Failure::Unavailable)).into() } else { Watched.into() }
    }
}

pub(super) fn answered(
    server: &mut Server,
    cx: &mut Context<'_>,
    mut job: Idle,
    reply: Reply,
) -> Step {
    match reply {
        Reply::Watched(_) if job.watch == Watch::Stopping => job.watch = Watch::Off,
        Reply::Watched(_) => {
            job.watch = Watch::On;
            // What came between the last command and the watch is news too, however soon it ends.
            ask(server, cx, &mut job);
        }
        Reply::Synced(Synced(synced)) => {
            job.syncing = false;
            match sync::take_in(server, cx, synced, HOW, |_, _| false) {
                Some(news) => job.news = news,
                None => return Step::Done,
            }
        }
        _ => {}
    }
    Step::Run(Job::Idle(job))
}

pub(super) fn advance(server: &mut Server, cx: &mut Context<'_>, mut job: Idle) -> Step {
    if job.news.len() > 0 && !sync::say(server, cx, &mut job.news, false) {
        return Step::Run(Job::Idle(job));
    }
    if let Some(ending) = job.ending {
        if let (Watch::On, Some(handle)) = (job.watch, job.handle) {
            let timeout = server.config.call_timeout;
            cx.call(timeout, |ticket| Call::Watch { handle, on: false, ticket });
            job.watch = Watch::Stopping;
        }
        // The answers to what is still asked belong to this command.
        if job.syncing || job.watch != Watch::Off {
            return Step::Wait(Job::Idle(job));
        }
        cx.disarm(Timer::Delay);
        return server.end(cx, ending);
    }
    if core::mem::take(&mut job.dirty) {
        ask(server, cx, &mut job);
    }
    match cx.input.line(LINE) {
        Ok(None) => return Step::Wait(Job::Idle(job)),
        Ok(Some(line)) if line.trim_ascii_end().eq_ignore_ascii_case(b"DONE") => {
            server.octets.0 += line.len() as u64;
            job.ending = Some("OK Idle completed.");
        }
        _ => job.ending = Some("BAD Expected DONE."),
    }
    Step::Run(Job::Idle(job))
}

/// A sign of life, for those between us and the client who forget silent connections. A client that
/// is gone does not take it, and the connection breaks; who is there may idle for ever.
pub(super) fn still_here(server: &mut Server, cx: &mut Context<'_>, job: Idle) -> Step {
    server.send(cx, "* OK Still here\r\n");
    cx.arm(Timer::Idle, server.config.idle_timeout);
    cx.arm(Timer::Delay, server.config.idle_notice);
    Step::Wait(Job::Idle(job))
}
