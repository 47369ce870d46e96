//! APPEND (RFC 3501 6.3.11, RFC 4315, RFC 7888, RFC 7889): the one literal that is not kept but
//! passed on as it comes.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use waypost_machine::{CallId, Timer, Why};
use waypost_message::date::parse_imap;

use super::{
    Appended, Begun, Call, Command, Committed, Context, Failure, Job, NamedFlags, Reply, Server,
    Step, Upload, sync,
};
use crate::config::Config;
use crate::frame::{Frame, Unit};
use crate::response::{self, Missing, Refusal};
use crate::syntax::SyntaxError;
use crate::syntax::args::{Announced, Arg, args};
use crate::syntax::command::head;
use crate::syntax::{flags, mailbox};

/// Octets per [`Call::Append`], about.
const BLOCK: usize = 64 * 1024;

/// Pieces below this size are copied together.
const SMALL: usize = 512;

/// Pieces of a message in one [`Call::Append`], at most.
const PIECES: usize = 256;

/// [`Call::Append`]s at one time, at most.
const OPEN: usize = 2;

/// An APPEND under way.
pub(super) struct Append {
    /// The mailbox as the client wrote it.
    wire: Box<str>,
    name: Box<str>,
    literal: Announced,
    /// Octets of the message still to come.
    left: u64,
    phase: Phase,
    upload: Option<Upload>,
    /// Pieces not passed on yet; small ones are copied together, so that none holds on to a large
    /// buffer.
    pieces: Vec<Bytes>,
    small: BytesMut,
    /// Octets in both.
    gathered: usize,
    /// Open calls for pieces.
    open: usize,
    /// Octets that have come since the client's time began; enough of them while it does not run.
    progress: usize,
    /// The tagged line of a failure; what still comes of the message is dropped.
    failed: Option<String>,
    /// Reads what is behind the message: nothing, it should be.
    tail: Frame,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The world prepares a place.
    Beginning(CallId),
    /// The message comes.
    Body,
    /// The end of the command comes.
    Tail,
    /// All is here; the last pieces are being written.
    Draining,
    /// The world makes it durable.
    Committing,
}

/// Whether the literal behind these arguments is the message: the mailbox stands before it.
pub(super) fn is_message(arguments: &[u8]) -> bool {
    args(arguments).is_ok_and(|args| !args.is_empty())
}

/// Whether a literal stands in these arguments: that of the mailbox. Behind it comes the message or
/// nothing.
pub(super) fn has_literal(arguments: &[u8]) -> bool {
    memchr::memchr(b'\n', arguments).is_some()
}

/// APPEND whose end has come without a message.
pub(super) fn without_literal(command: &Command<'_>) -> Result<Step, Refusal> {
    match command.args {
        [] | [_] => Err(Refusal::syntax("Missing message size")),
        _ => Err(response::ARGUMENTS),
    }
}

struct Request {
    wire: Box<str>,
    name: Box<str>,
    flags: NamedFlags,
    date: Option<i64>,
}

fn request(command: &[u8], literal: Announced, limit: u64) -> Result<Request, Refusal> {
    let head = head(command).map_err(|_| response::ARGUMENTS)?;
    let args = args(head.rest)?;
    let (first, rest) = args.split_first().ok_or(response::ARGUMENTS)?;
    let wire = first.text().ok_or(response::ARGUMENTS)?;
    let (flags, rest) = match rest {
        [Arg::List(list), rest @ ..] => (flags::flags(list)?, rest),
        rest => (NamedFlags::default(), rest),
    };
    let date = match rest {
        [] => None,
        [Arg::Str(text)] => {
            let wrong = SyntaxError::verb("Invalid internal date");
            // Some write a day of one digit without its blank.
            let parsed = parse_imap(text).or_else(|| parse_imap(&[b" ", &text[..]].concat()));
            Some(parsed.ok_or(wrong)?.seconds)
        }
        _ => return Err(response::ARGUMENTS),
    };
    let name = mailbox::mailbox(wire).ok_or(response::NAME)?.into();
    if literal.octets == 0 {
        return Err(Refusal::no("Can't save a zero byte message."));
    }
    if literal.octets > limit {
        let text = format!("[TOOBIG] Message size is limited to {limit} octets.");
        return Err(Refusal::No(text.into()));
    }
    Ok(Request { wire: String::from_utf8_lossy(wire).into(), name, flags, date })
}

/// The command up to its message is here.
pub(super) fn begin(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &[u8],
    literal: Announced,
) -> Step {
    let request = request(command, literal, server.config.append_limit);
    let account = server.account_arc();
    let mut job = Box::new(Append {
        wire: "".into(),
        name: "".into(),
        literal,
        left: literal.octets,
        phase: Phase::Body,
        upload: None,
        pieces: Vec::new(),
        small: BytesMut::new(),
        gathered: 0,
        open: 0,
        progress: Config::PROGRESS,
        failed: None,
        tail: Frame::default(),
    });
    match (request, account) {
        (Ok(request), Ok(account)) => {
            job.wire = request.wire;
            job.name = request.name.clone();
            let Request { name: mailbox, flags, date, .. } = request;
            let size = literal.octets;
            let call = |ticket| Call::Begin { account, mailbox, flags, date, size, ticket };
            job.phase = Phase::Beginning(cx.call(server.config.call_timeout, call));
            Step::Wait(Job::Append(job))
        }
        (Err(refusal), _) | (_, Err(refusal)) => {
            let line = response::refusal(&refusal, "APPEND", true);
            refuse(server, cx, job, line)
        }
    }
}

/// A client that waits hears of the failure now; one that does not, when its message has passed.
fn refuse(server: &mut Server, cx: &mut Context<'_>, mut job: Box<Append>, line: String) -> Step {
    if job.literal.waits && job.left == job.literal.octets {
        return server.end(cx, &line);
    }
    job.failed = Some(line);
    job.phase = Phase::Body;
    Step::Run(Job::Append(job))
}

impl Append {
    /// The message is being made durable: no stopping now.
    pub(super) fn is_committing(&self) -> bool {
        self.phase == Phase::Committing
    }

    /// The world may forget the message.
    pub(super) fn abort(&self, cx: &mut Context<'_>) {
        if let Some(upload) = self.upload
            && !self.is_committing()
        {
            cx.commit(|ticket| Call::Abort { upload, ticket });
        }
    }

    /// What this call was for, failed.
    pub(super) fn expired(&self, id: CallId) -> Reply {
        match self.phase {
            Phase::Beginning(begin) if begin == id => Begun(Err(Failure::Unavailable)).into(),
            _ => Appended(Err(Failure::Unavailable)).into(),
        }
    }

    /// The command itself is wrong. That comes before what the world says of it, whichever is
    /// known first.
    fn is_wrong(&mut self, line: String) {
        self.failed = None;
        self.fail(line);
    }

    fn fail(&mut self, line: String) {
        self.failed.get_or_insert(line);
        self.pieces = Vec::new();
        self.small = BytesMut::new();
        self.gathered = 0;
    }

    /// Keeps a piece for the next call.
    fn gather(&mut self, piece: Bytes) {
        self.gathered += piece.len();
        if piece.len() < SMALL {
            self.small.extend_from_slice(&piece);
        } else {
            self.seal();
            self.pieces.push(piece);
        }
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }

    /// So much has come. The time limit is put off whenever that is enough, and begins when it did
    /// not run.
    fn keep_time(&mut self, config: &Config, cx: &mut Context<'_>, taken: usize) {
        self.progress = self.progress.saturating_add(taken);
        if self.progress >= Config::PROGRESS {
            self.progress = 0;
            cx.arm(Timer::Body, config.body_timeout);
        }
    }

    /// The client waits for the world: its time does not run.
    fn await_world(mut self: Box<Self>, cx: &mut Context<'_>) -> Step {
        self.progress = Config::PROGRESS;
        cx.disarm(Timer::Body);
        Step::Wait(Job::Append(self))
    }
}

pub(super) fn answered(
    server: &mut Server,
    cx: &mut Context<'_>,
    mut job: Box<Append>,
    _: CallId,
    reply: Reply,
) -> Step {
    match reply {
        Reply::Begun(Begun(Ok(upload))) => {
            job.upload = Some(upload);
            job.phase = Phase::Body;
            if job.literal.waits {
                server.send(cx, response::CONTINUE);
            }
        }
        Reply::Begun(Begun(Err(failure))) => {
            let line = response::failure(&failure, Missing::TryCreate, &job.wire);
            return refuse(server, cx, job, line);
        }
        Reply::Appended(Appended(appended)) => {
            job.open = job.open.saturating_sub(1);
            if let Err(failure) = appended {
                let line = response::failure(&failure, Missing::TryCreate, &job.wire);
                job.fail(line);
            }
        }
        Reply::Committed(Committed(committed)) => {
            return committed_now(server, cx, &job, committed);
        }
        _ => {}
    }
    Step::Run(Job::Append(job))
}

fn committed_now(
    server: &mut Server,
    cx: &mut Context<'_>,
    job: &Append,
    committed: Result<(u32, u32), Failure>,
) -> Step {
    match committed {
        Err(failure) => {
            let text = response::failure(&failure, Missing::TryCreate, &job.wire);
            server.end(cx, &text)
        }
        Ok((uid_validity, uid)) => {
            let ending = format!("OK [APPENDUID {uid_validity} {uid}] Append completed.");
            let here = server.selected().is_ok_and(|selected| selected.name == job.name);
            if !here {
                return server.end(cx, &ending);
            }
            sync::begin(server, cx, sync::How { expunge: true, uid: false }, ending)
        }
    }
}

pub(super) fn advance(server: &mut Server, cx: &mut Context<'_>, mut job: Box<Append>) -> Step {
    match job.phase {
        Phase::Beginning(_) | Phase::Committing => Step::Wait(Job::Append(job)),
        Phase::Body => body(server, cx, job),
        Phase::Tail => tail(server, cx, job),
        Phase::Draining => {
            if job.open > 0 {
                return Step::Wait(Job::Append(job));
            }
            if let Some(line) = &job.failed {
                job.abort(cx);
                return server.end(cx, line);
            }
            let Some(upload) = job.upload else { return Step::Done };
            job.phase = Phase::Committing;
            cx.commit(|ticket| Call::Commit { upload, ticket });
            Step::Wait(Job::Append(job))
        }
    }
}

/// Takes what is here of the message and passes it on in blocks.
fn body(server: &mut Server, cx: &mut Context<'_>, mut job: Box<Append>) -> Step {
    if job.left > 0 && (job.open < OPEN || job.failed.is_some()) {
        let most = usize::try_from(job.left).unwrap_or(usize::MAX);
        let room = BLOCK - job.gathered;
        let Some(piece) = cx.input.take(most.min(room)) else {
            job.keep_time(&server.config, cx, 0);
            return Step::Wait(Job::Append(job));
        };
        job.keep_time(&server.config, cx, piece.len());
        job.left -= piece.len() as u64;
        server.octets.0 += piece.len() as u64;
        if job.failed.is_none() {
            job.gather(piece);
        }
    } else if job.left > 0 {
        return job.await_world(cx);
    }
    let full = job.gathered >= BLOCK || job.pieces.len() >= PIECES;
    if (full || job.left == 0) && job.gathered > 0 {
        if job.open >= OPEN {
            return job.await_world(cx);
        }
        pass_on(server, cx, &mut job);
    }
    if job.left == 0 && job.gathered == 0 {
        job.phase = Phase::Tail;
    }
    Step::Run(Job::Append(job))
}

fn pass_on(server: &Server, cx: &mut Context<'_>, job: &mut Append) {
    job.seal();
    job.gathered = 0;
    let chunks = core::mem::take(&mut job.pieces);
    if let Some(upload) = job.upload {
        job.open += 1;
        cx.call(server.config.call_timeout, |ticket| Call::Append { upload, chunks, ticket });
    }
}

/// The command must end behind the message. Anything else is refused, with whatever literals it
/// announces.
fn tail(server: &mut Server, cx: &mut Context<'_>, mut job: Box<Append>) -> Step {
    let before = cx.input.len();
    let unit = job.tail.next(cx.input, server.config.command_limit);
    let taken = before - cx.input.len();
    server.octets.0 += taken as u64;
    job.keep_time(&server.config, cx, taken);
    let wrong = || response::refusal(&response::ARGUMENTS, "APPEND", true);
    match unit {
        None => return Step::Wait(Job::Append(job)),
        Some(Unit::Command(rest)) if rest.trim_ascii().is_empty() => {}
        Some(Unit::Skipped) => {}
        Some(Unit::Literal(literal)) if !literal.waits => {
            job.tail.skip(literal);
            job.is_wrong(wrong());
        }
        Some(Unit::Endless) => {
            job.abort(cx);
            server.bye(cx, response::BYE_LITERAL, Why::Refused, "Literal size too large");
            return Step::Done;
        }
        Some(_) => job.is_wrong(wrong()),
    }
    if !job.tail.is_skipping() {
        cx.disarm(Timer::Body);
        job.phase = Phase::Draining;
    }
    Step::Run(Job::Append(job))
}
