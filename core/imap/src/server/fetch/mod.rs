//! FETCH and UID FETCH (RFC 3501 6.4.5).
//!
//! Nothing is made before there is room for it: messages are looked into some at a time
//! ([`READ_BATCH`] at most), the next ones while the former are sent; bodies come in blocks and go out as
//! they came. A small message comes whole with what else is read of it, and the news that the
//! command ends with are asked for at the same time: one way to the files and back is all it takes.
//! The size of a literal is known before its first octet, so a message that vanishes in the middle
//! of one leaves no way to go on: the connection is closed.

mod render;

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;
use waypost_machine::{CallId, Why};

use super::{
    Call, Changes, Command, Context, Data, Failure, Flags, Job, Looked, Message, NamedFlags, Piece,
    READ_BATCH, Reply, Server, Step, StoreHow, Stored, Synced, What, select, store, sync,
};
use crate::response::{self, Missing, Refusal};
use crate::syntax::fetch::{Item, items};
use render::Segment;

/// Octets of a body in one call.
const BLOCK: u64 = 64 * 1024;

/// Octets of bodies that are asked for and not sent, at most (one block more at times).
const AHEAD: u64 = 2 * BLOCK;

/// Calls for bodies at one time, at most.
const CALLS: usize = 8;

/// Messages that are looked into first, before it is known how much there is to each.
const FIRST_BATCH: usize = 8;

/// Octets of headers and structures in a batch, above which the next ones are smaller.
const HEAVY: usize = 256 * 1024;

/// Segments that wait to be sent, before more messages are rendered.
const SEGMENTS: usize = 16;

/// Octets of responses that wait to be sent, before more messages are rendered.
const RENDERED: usize = 256 * 1024;

/// Responses of so many octets are passed on as they are; below, copying is cheaper.
const LARGE: usize = 16 * 1024;

/// A FETCH under way.
pub(super) struct Fetch {
    items: Vec<Item>,
    uid: bool,
    what: What,
    /// An item sets `\Seen`, and the mailbox allows it.
    marks: bool,
    /// Messages not asked for yet.
    places: Places,
    /// Messages in the next batch, at most.
    batch: usize,
    /// At most two: one that is rendered, one that is being read.
    batches: VecDeque<Batch>,
    /// What is to be sent, in order.
    segments: VecDeque<Segment>,
    /// Octets asked for or here, and not sent.
    ahead: u64,
    /// Calls for bodies that are open.
    calls: usize,
    /// A message that was asked for is not there any more.
    missing: bool,
    failed: Option<Failure>,
    news: News,
}

/// What is told at the end. Where nothing is marked, it is asked for beside the last messages, and
/// not after them.
enum News {
    Unasked,
    Asked(CallId),
    Here(Result<Changes, Failure>),
}

/// Some messages.
struct Batch {
    read: Option<CallId>,
    /// All of the batch, ascending.
    uids: Vec<u32>,
    data: VecDeque<Data>,
    mark: Mark,
}

/// How far the `\Seen` of a batch is.
enum Mark {
    Wanted,
    Asked(CallId),
    /// Set for these uids.
    Done(Vec<u32>),
}

/// The places of a set, one after the other.
struct Places {
    ranges: vec::IntoIter<Range<usize>>,
    current: Range<usize>,
}

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            if let Some(place) = self.current.next() {
                return Some(place);
            }
            self.current = self.ranges.next()?;
        }
    }
}

pub(super) fn begin(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
) -> Result<Step, Refusal> {
    let selected = server.selected()?;
    if command.args.len() < 2 {
        return Err(response::ARGUMENTS);
    }
    let places = store::places(selected, command.args.first(), command.uid)?;
    let items = items(&command.args[1..])?;
    let marks = selected.write && render::sets_seen(&items);
    let job = Fetch {
        what: render::what(&items),
        items,
        uid: command.uid,
        marks,
        places: Places { ranges: places.into_iter(), current: 0..0 },
        batch: FIRST_BATCH,
        batches: VecDeque::new(),
        segments: VecDeque::new(),
        ahead: 0,
        calls: 0,
        missing: false,
        failed: None,
        news: News::Unasked,
    };
    Ok(advance(server, cx, job.into()))
}

impl Fetch {
    /// No message has to be looked into.
    fn is_flags_only(&self) -> bool {
        self.what == What::default()
    }

    /// What this call was for, failed.
    pub(super) fn expired(&self, id: CallId) -> Reply {
        let failed = Failure::Unavailable;
        if matches!(self.news, News::Asked(call) if call == id) {
            Synced(Err(failed)).into()
        } else if self.batches.iter().any(|batch| batch.read == Some(id)) {
            Looked(Err(failed)).into()
        } else if self.segments.iter().any(|segment| segment.call() == Some(id)) {
            Piece(Err(failed)).into()
        } else {
            Stored(Err(failed)).into()
        }
    }

    fn is_finished(&self) -> bool {
        self.segments.is_empty() && self.batches.is_empty()
    }
}

pub(super) fn advance(
    server: &mut Server,
    cx: &mut Context<'_>,
    mut job: alloc::boxed::Box<Fetch>,
) -> Step {
    if job.is_flags_only() {
        return flags_only(server, cx, job);
    }
    loop {
        send(server, cx, &mut job);
        if matches!(job.segments.front(), Some(Segment::Lost)) {
            // In the middle of a response, maybe of a literal: nothing can be said any more.
            server.close(cx, Why::Stopped, "Message vanished while being sent");
            return Step::Done;
        }
        load(server, cx, &mut job);
        read(server, cx, &mut job);
        mark(server, cx, &mut job);
        if !render_next(server, &mut job) {
            break;
        }
    }
    if !job.is_finished() {
        // Blocked on the world, unless it is the client that has to read first.
        let sendable = job.segments.front().is_some_and(Segment::is_here);
        return if sendable { Step::Run(Job::Fetch(job)) } else { Step::Wait(Job::Fetch(job)) };
    }
    finish(server, cx, job)
}

fn finish(server: &mut Server, cx: &mut Context<'_>, mut job: alloc::boxed::Box<Fetch>) -> Step {
    let how = sync::How { expunge: job.uid, uid: job.uid };
    let news = match core::mem::replace(&mut job.news, News::Unasked) {
        News::Asked(id) => {
            job.news = News::Asked(id);
            return Step::Wait(Job::Fetch(job));
        }
        News::Here(news) => Some(news),
        News::Unasked => None,
    };
    match &job.failed {
        Some(failure) if select::is_gone(failure) => {
            sync::tell(server, cx, Err(failure.clone()), how, |_, _| false, "".into())
        }
        Some(failure) => {
            let text = response::failure(failure, Missing::Plain, "");
            server.end(cx, &text)
        }
        None => {
            let ending = match job.missing {
                true => "OK [EXPUNGEISSUED] Some messages were already expunged.",
                false => "OK Fetch completed.",
            };
            match news {
                Some(news) => sync::tell(server, cx, news, how, |_, _| false, ending.into()),
                None => sync::begin(server, cx, how, ending),
            }
        }
    }
}

/// FLAGS and UID are in the view.
fn flags_only(
    server: &mut Server,
    cx: &mut Context<'_>,
    mut job: alloc::boxed::Box<Fetch>,
) -> Step {
    let mut line = alloc::string::String::new();
    while cx.room() > 0 {
        let Some(place) = job.places.next() else { return finish(server, cx, job) };
        line.clear();
        if let Ok(selected) = server.selected()
            && let Some(message) = selected.view.message(place)
        {
            let with_uid = job.uid || job.items.contains(&Item::Uid);
            let with_flags = job.items.contains(&Item::Flags);
            render::short(place, &message, with_uid, with_flags, &selected.keywords, &mut line);
        }
        server.send(cx, &line);
    }
    Step::Run(Job::Fetch(job))
}

/// Sends what is here, as room allows.
fn send(server: &mut Server, cx: &mut Context<'_>, job: &mut Fetch) {
    while cx.room() > 0 {
        match job.segments.pop_front() {
            Some(Segment::Text(text)) => send_text(server, cx, text),
            Some(Segment::Shared(bytes)) => send_bytes(server, cx, bytes),
            Some(Segment::Arrived(bytes)) => {
                job.ahead -= bytes.len() as u64;
                send_bytes(server, cx, bytes);
            }
            Some(Segment::Picked { header, item, ahead }) => {
                job.ahead -= ahead;
                if let Some(Item::Section(section)) = job.items.get(item) {
                    send_text(server, cx, render::filtered(section, &header));
                }
            }
            Some(other) => {
                job.segments.push_front(other);
                return;
            }
            None => return,
        }
    }
}

fn send_text(server: &mut Server, cx: &mut Context<'_>, text: Vec<u8>) {
    if text.len() < LARGE {
        server.send_octets(cx, &text);
    } else {
        send_bytes(server, cx, text.into());
    }
}

fn send_bytes(server: &mut Server, cx: &mut Context<'_>, bytes: Bytes) {
    server.octets.1 += bytes.len() as u64;
    cx.send(bytes);
}

/// Asks for blocks of bodies, in order.
fn load(server: &mut Server, cx: &mut Context<'_>, job: &mut Fetch) {
    let timeout = server.config.call_timeout;
    let Ok(selected) = server.selected() else { return };
    let handle = selected.handle;
    let mut at = 0;
    while job.ahead < AHEAD && job.calls < CALLS && at < job.segments.len() {
        if let Segment::Wanted { uid, from, len, filter } = &job.segments[at] {
            let (uid, from, len, filter) = (*uid, *from, *len, *filter);
            let now = if filter.is_some() { len } else { len.min(BLOCK) };
            let octets = u32::try_from(now).unwrap_or(u32::MAX);
            let id =
                cx.call(timeout, |ticket| Call::Body { handle, uid, from, len: octets, ticket });
            job.ahead += now;
            job.calls += 1;
            job.segments[at] = Segment::Asked { id, len: now, filter };
            if now < len {
                let rest = Segment::Wanted { uid, from: from + now, len: len - now, filter: None };
                job.segments.insert(at + 1, rest);
            }
        }
        at += 1;
    }
}

/// Asks for the next messages.
fn read(server: &mut Server, cx: &mut Context<'_>, job: &mut Fetch) {
    let timeout = server.config.call_timeout;
    while job.batches.len() < 2 && job.failed.is_none() {
        let Ok(selected) = server.selected() else { return };
        let view = &selected.view;
        let places = job.places.by_ref().take(job.batch);
        let uids: Vec<u32> =
            places.filter_map(|place| view.message(place)).map(|message| message.uid).collect();
        if uids.is_empty() {
            if !job.marks && matches!(job.news, News::Unasked) {
                let (handle, since) = (selected.handle, selected.now);
                let id = cx.call(timeout, |ticket| Call::Sync { handle, since, ticket });
                job.news = News::Asked(id);
            }
            return;
        }
        let (handle, what) = (selected.handle, job.what);
        let asked = uids.clone();
        let id = cx.call(timeout, |ticket| Call::Read { handle, uids: asked, what, ticket });
        let mark = if job.marks { Mark::Wanted } else { Mark::Done(Vec::new()) };
        job.batches.push_back(Batch { read: Some(id), uids, data: VecDeque::new(), mark });
    }
}

/// Sets `\Seen` on the messages of the first batch, once they have been read.
fn mark(server: &mut Server, cx: &mut Context<'_>, job: &mut Fetch) {
    let timeout = server.config.call_timeout;
    let Some(batch) = job.batches.front_mut() else { return };
    if batch.read.is_some() || !matches!(batch.mark, Mark::Wanted) {
        return;
    }
    let Ok(selected) = server.selected() else { return };
    let view = &selected.view;
    let unseen = |uid: &u32| {
        let message = view.place(*uid).and_then(|place| view.message(place));
        message.is_some_and(|message| message.flags.system & Flags::SEEN == 0)
    };
    let uids: Vec<u32> = batch.data.iter().map(|data| data.uid).filter(unseen).collect();
    if uids.is_empty() {
        batch.mark = Mark::Done(uids);
        return;
    }
    let (handle, since) = (selected.handle, selected.now);
    let flags = NamedFlags { system: Flags::SEEN, keywords: Vec::new() };
    let how = StoreHow::Add;
    batch.mark = Mark::Asked(cx.call(timeout, |ticket| Call::Store {
        handle,
        uids,
        how,
        flags,
        since,
        durable: false,
        ticket,
    }));
}

/// Makes segments of the next message; false when there is none to take or enough is there.
fn render_next(server: &mut Server, job: &mut Fetch) -> bool {
    let rendered = job.segments.iter().map(Segment::rendered).sum::<usize>();
    if job.segments.len() >= SEGMENTS || rendered >= RENDERED {
        return false;
    }
    let Some(batch) = job.batches.front_mut() else { return false };
    let Mark::Done(marked) = &batch.mark else { return false };
    if batch.read.is_some() {
        return false;
    }
    let Some(data) = batch.data.pop_front() else {
        job.batches.pop_front();
        return true;
    };
    let Ok(selected) = server.selected() else { return false };
    if let Some(place) = selected.view.place(data.uid)
        && let Some(message) = selected.view.message(place)
    {
        let marked = marked.binary_search(&data.uid).is_ok();
        let one = render::One { place, message, data, marked, with_uid: job.uid };
        render::message(&one, &job.items, &selected.keywords, &mut job.segments);
    }
    true
}

pub(super) fn answered(
    server: &mut Server,
    mut job: alloc::boxed::Box<Fetch>,
    id: CallId,
    reply: Reply,
) -> Step {
    match reply {
        Reply::Looked(Looked(looked)) => read_done(&mut job, id, looked),
        Reply::Stored(Stored(stored)) => {
            if let Some(failure) = marked(server, &mut job, id, stored) {
                job.failed.get_or_insert(failure);
            }
        }
        Reply::Synced(Synced(news)) if matches!(job.news, News::Asked(call) if call == id) => {
            job.news = News::Here(news);
        }
        Reply::Piece(Piece(piece)) => {
            job.calls = job.calls.saturating_sub(1);
            arrived(&mut job, id, piece);
        }
        _ => {}
    }
    Step::Run(Job::Fetch(job))
}

fn read_done(job: &mut Fetch, id: CallId, looked: Result<Vec<Data>, Failure>) {
    let Some(batch) = job.batches.iter_mut().find(|batch| batch.read == Some(id)) else { return };
    batch.read = None;
    match looked {
        Ok(data) => {
            let uids = &batch.uids;
            batch.data = data.into_iter().filter(|d| uids.binary_search(&d.uid).is_ok()).collect();
            job.missing |= batch.data.len() < batch.uids.len();
            let heavy = batch.data.iter().map(weight).sum::<usize>() > HEAVY;
            let brought = batch.data.iter().filter(|data| data.body.is_some()).count();
            let wanted = if heavy {
                batch.uids.len() / 4
            } else if job.what.bodies > 0 && (1..batch.data.len()).contains(&brought) {
                // As many as come whole.
                brought
            } else {
                job.batch * 2
            };
            job.batch = wanted.clamp(1, READ_BATCH);
        }
        Err(failure) => {
            batch.mark = Mark::Done(Vec::new());
            job.failed.get_or_insert(failure);
        }
    }
}

/// Octets of memory that what was read of a message takes, about.
fn weight(data: &Data) -> usize {
    data.header.len() + data.structure.as_ref().map_or(0, |structure| structure.weight())
}

/// The outcome of setting `\Seen`; gives the failure that ends the command.
fn marked(
    server: &mut Server,
    job: &mut Fetch,
    id: CallId,
    stored: Result<Changes, Failure>,
) -> Option<Failure> {
    let batch =
        job.batches.iter_mut().find(|b| matches!(b.mark, Mark::Asked(call) if call == id))?;
    let changes = match stored {
        Ok(changes) => changes,
        Err(failure) => {
            // The messages can be shown all the same, unless the mailbox is gone.
            batch.mark = Mark::Done(Vec::new());
            return select::is_gone(&failure).then_some(failure);
        }
    };
    let shown = &batch.uids;
    let quiet = |before: &Message, _: Flags| shown.binary_search(&before.uid).is_ok();
    let selected = server.selected().ok()?;
    selected.now = changes.now;
    let mut text = alloc::string::String::new();
    if let Some(keywords) = changes.keywords.clone().filter(|k| *k != selected.keywords) {
        selected.keywords = keywords;
        let may_add = selected.may_add_keywords;
        response::mailbox_flags(&selected.keywords, selected.write, may_add, &mut text);
    }
    let known: Vec<u32> = changes.changed.iter().map(|message| message.uid).collect();
    for news in selected.view.apply(&changes, false, quiet) {
        response::news(&news, job.uid, &selected.keywords, &mut text);
    }
    batch.mark = Mark::Done(known);
    if !text.is_empty() {
        job.segments.push_back(Segment::Text(text.into_bytes()));
    }
    None
}

/// A block of a body is here, unless it is not what was promised.
fn arrived(job: &mut Fetch, id: CallId, piece: Result<Bytes, Failure>) {
    let Some(at) = job.segments.iter().position(|segment| segment.call() == Some(id)) else {
        return;
    };
    let Segment::Asked { len, filter, .. } = job.segments[at] else { return };
    let piece = piece.ok().filter(|bytes| bytes.len() as u64 == len);
    job.segments[at] = match (piece, filter) {
        (None, _) => Segment::Lost,
        (Some(header), Some(item)) => Segment::Picked { header, item, ahead: len },
        (Some(bytes), None) => Segment::Arrived(bytes),
    };
}
