//! A message on its way from the client to the world.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use waypost_machine::{CallId, Cx};
use waypost_mail::Reply as SmtpReply;

use super::{Appended, BareNewline, Call, Config, MessageId, Reply, Server};
use crate::body::{Piece, Scanned, Scanner};
use crate::error::CommandError;
use crate::limits;

/// A message that has begun.
pub(super) struct Incoming {
    id: MessageId,
    queue_id: Box<str>,
    scanner: Scanner,
    hops: Hops,
    gathered: Gathered,
    /// Octets of the message so far, line ends as CRLF.
    octets: u64,
    /// Open appends.
    open: Vec<CallId>,
    failure: Option<SmtpReply>,
    aborted: bool,
}

impl Incoming {
    pub(super) fn new(id: MessageId, queue_id: Box<str>, scanner: Scanner) -> Self {
        Self {
            id,
            queue_id,
            scanner,
            hops: Hops::default(),
            gathered: Gathered::default(),
            octets: 0,
            open: Vec::new(),
            failure: None,
            aborted: false,
        }
    }

    pub(super) fn id(&self) -> MessageId {
        self.id
    }

    pub(super) fn queue_id(&self) -> &str {
        &self.queue_id
    }

    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// True when the world has to catch up before more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.gathered.len >= limits::APPEND && self.open.len() >= limits::APPENDS
    }

    /// True while an append is open.
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Takes at most that many octets from the input and passes them on; `None` when there are
    /// none.
    pub(super) fn take(
        &mut self,
        cx: &mut Cx<'_, Server>,
        config: &Config,
        at_most: usize,
    ) -> Option<Scanned> {
        self.pass_on(cx, config);
        let front = cx.input.front()?;
        let front = &front[..front.len().min(at_most)];
        let mut pieces = Vec::new();
        let scanned = self.scanner.scan(front, |piece| pieces.push(piece));
        let chunk = cx.input.take(scanned.used)?;
        for piece in pieces {
            match piece {
                Piece::Slice(range) => self.add(chunk.slice(range)),
                Piece::Text(text) => self.add(Bytes::from_static(text)),
            }
        }
        self.check(cx, config);
        self.pass_on(cx, config);
        Some(scanned)
    }

    /// Ends a message in chunks.
    pub(super) fn finish(&mut self) {
        let mut end = Vec::new();
        self.scanner.finish(|piece| end.push(piece));
        for piece in end {
            if let Piece::Text(text) = piece {
                self.add(Bytes::from_static(text));
            }
        }
    }

    /// Passes on all that is left; true when the world has it.
    pub(super) fn flush(&mut self, cx: &mut Cx<'_, Server>, config: &Config) -> bool {
        if self.gathered.len > 0 && self.open.len() < limits::APPENDS {
            self.append(cx, config);
        }
        self.gathered.len == 0 && self.open.is_empty()
    }

    /// Why the message cannot be taken, if so.
    pub(super) fn failure(&self, config: &Config) -> Option<SmtpReply> {
        let bare = match config.bare_newline {
            BareNewline::Reject => self.scanner.bare(),
            BareNewline::Normalise => None,
        };
        let bare = bare.map(|bare| CommandError::Bare(bare).reply(&config.hostname));
        self.failure.clone().or(bare)
    }

    /// The outcome of an append, `None` when it did not come in time; false when it is none of
    /// this message.
    pub(super) fn appended(
        &mut self,
        cx: &mut Cx<'_, Server>,
        call: CallId,
        outcome: Option<&Reply>,
        config: &Config,
    ) -> bool {
        let Some(at) = self.open.iter().position(|open| *open == call) else { return false };
        self.open.remove(at);
        match outcome {
            Some(Reply::Appended(Appended::Done)) => {}
            Some(Reply::Appended(Appended::Failed(reply))) => self.fail(cx, reply.clone()),
            _ => self.fail(cx, CommandError::CannotStore.reply(&config.hostname)),
        }
        true
    }

    /// Gives the message up. The world hears of it even if the client has gone.
    pub(super) fn abort(&mut self, cx: &mut Cx<'_, Server>) {
        self.gathered = Gathered::default();
        for call in mem::take(&mut self.open) {
            cx.cancel(call);
        }
        if !mem::replace(&mut self.aborted, true) {
            let message = self.id;
            cx.commit(|ticket| Call::Abort { message, ticket });
        }
    }

    /// The rest of the message is read and dropped.
    fn fail(&mut self, cx: &mut Cx<'_, Server>, reply: SmtpReply) {
        self.failure.get_or_insert(reply);
        self.abort(cx);
    }

    fn add(&mut self, piece: Bytes) {
        self.octets += piece.len() as u64;
        if self.failure.is_none() {
            self.hops.count(&piece);
            self.gathered.push(piece);
        }
    }

    fn check(&mut self, cx: &mut Cx<'_, Server>, config: &Config) {
        if self.failure.is_some() {
            return;
        }
        let error = if config.too_big(self.octets) {
            CommandError::TooBig
        } else if self.hops.received >= config.hop_limit {
            CommandError::TooManyHops
        } else {
            return;
        };
        self.fail(cx, error.reply(&config.hostname));
    }

    /// Passes on what has gathered, when it is much.
    fn pass_on(&mut self, cx: &mut Cx<'_, Server>, config: &Config) {
        while self.gathered.len >= limits::APPEND && self.open.len() < limits::APPENDS {
            self.append(cx, config);
        }
    }

    fn append(&mut self, cx: &mut Cx<'_, Server>, config: &Config) {
        let message = self.id;
        let chunks = self.gathered.take();
        let call = cx.call(config.call_timeout, |ticket| Call::Append { message, chunks, ticket });
        self.open.push(call);
    }
}

/// Pieces of a message: large ones as they are, small ones copied together.
#[derive(Default)]
struct Gathered {
    pieces: Vec<Bytes>,
    small: BytesMut,
    len: usize,
}

impl Gathered {
    fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if piece.len() < limits::SMALL {
            self.small.extend_from_slice(&piece);
        } else {
            self.seal();
            self.pieces.push(piece);
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.seal();
        self.len = 0;
        mem::take(&mut self.pieces)
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(mem::take(&mut self.small).freeze());
        }
    }
}

const RECEIVED: &[u8] = b"received:";

/// Counts Received headers (RFC 5321 6.3).
#[derive(Default)]
struct Hops {
    received: u32,
    /// The beginning of the line, as far as it may still be the header's name.
    line: Vec<u8>,
    /// The line cannot be one any more.
    other: bool,
    /// The header is over.
    over: bool,
}

impl Hops {
    fn count(&mut self, mut piece: &[u8]) {
        while !self.over && !piece.is_empty() {
            let end = memchr(b'\n', piece);
            let part = &piece[..end.unwrap_or(piece.len())];
            self.part(part);
            let Some(end) = end else { return };
            piece = &piece[end + 1..];
            self.over = !self.other && (self.line == b"\r" || self.line.is_empty());
            self.line.clear();
            self.other = false;
        }
    }

    fn part(&mut self, part: &[u8]) {
        if self.other {
            return;
        }
        let room = RECEIVED.len() - self.line.len();
        self.line.extend_from_slice(&part[..part.len().min(room)]);
        if self.line.eq_ignore_ascii_case(RECEIVED) {
            self.received += 1;
            self.other = true;
        } else {
            self.other = self.line.len() == RECEIVED.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(pieces: &[&str]) -> u32 {
        let mut hops = Hops::default();
        for piece in pieces {
            hops.count(piece.as_bytes());
        }
        hops.received
    }

    #[test]
    fn received_headers_are_counted_up_to_the_body() {
        let text = "Received: a\r\n\tb\r\nRECEIVED:c\r\nReceived-SPF: x\r\n Received: y\r\n\
                    X: Received:\r\nreceived: z\r\n\r\nReceived: body\r\n";
        assert_eq!(hops(&[text]), 3);
        for at in 0..text.len() {
            assert_eq!(hops(&[&text[..at], &text[at..]]), 3, "{at}");
        }
        assert_eq!(hops(&["\r\n", "Received: a\r\n"]), 0);
        assert_eq!(hops(&["", "Received", ":"]), 1);
    }

    #[test]
    fn small_pieces_are_joined_and_large_ones_kept() {
        let large = Bytes::from(std::vec![b'x'; limits::SMALL]);
        let mut gathered = Gathered::default();
        for piece in [Bytes::from_static(b"a"), Bytes::from_static(b"b"), large.clone()] {
            gathered.push(piece);
        }
        gathered.push(Bytes::from_static(b"c"));
        assert_eq!(gathered.len, limits::SMALL + 3);
        let pieces = gathered.take();
        assert_eq!(pieces, [Bytes::from_static(b"ab"), large.clone(), Bytes::from_static(b"c")]);
        assert_eq!(pieces[1].as_ptr(), large.as_ptr());
        assert_eq!(gathered.len, 0);
    }
}
