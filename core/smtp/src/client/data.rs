//! The message itself: DATA or BDAT, and the word on it.
//!
//! The body is read in blocks and goes out as slices of them. A new block is asked for only when
//! less than a window of output waits, so a slow host holds one block and a window in memory, not a
//! message.

use alloc::format;
use alloc::vec::Vec;

use bytes::Bytes;
use waypost_machine::{CallId, Cx, Progress, Timer, Why};
use waypost_mail::Enhanced;

use super::Client;
use super::call::{Call, Read};
use super::outcome::{Cause, Stage, Trouble};
use super::reply::RemoteReply;
use super::stuff::Stuffer;
use super::transaction::Next;
use crate::limits;

/// A body on its way.
#[derive(Default)]
pub(super) struct Sending {
    /// The piece that is being read.
    pub(super) call: Option<CallId>,
    /// Octets read.
    at: u64,
    stuffer: Option<Stuffer>,
}

impl Client {
    /// The envelope is out: DATA, or BDAT once there is somebody to send to.
    pub(super) fn want_body(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        let chunking = self.features.chunking;
        let Some(transaction) = &mut self.transaction else { return Progress::Blocked };
        if self.expected.is_empty() && transaction.undecided == 0 {
            self.finish_if_over(cx);
            return Progress::More;
        }
        if chunking {
            if !self.expected.is_empty() {
                return Progress::Blocked;
            }
            transaction.sending.stuffer = Some(Stuffer::new(false));
            transaction.next = Next::Body;
            return Progress::More;
        }
        transaction.next = Next::Answer;
        self.command(cx, Stage::Data, "DATA");
        Progress::More
    }

    /// The reply to DATA.
    pub(super) fn data_answered(&mut self, cx: &mut Cx<'_, Self>, reply: RemoteReply) {
        let Some(transaction) = &mut self.transaction else { return };
        match reply.code / 100 {
            3 if transaction.undecided > 0 => {
                transaction.sending.stuffer = Some(Stuffer::new(true));
                transaction.next = Next::Body;
            }
            3 if transaction.accepted > 0 => {
                // MAIL was refused, and yet there are recipients: a dot would send them nothing.
                let trouble = Trouble::said(&self.remote, Stage::Data, reply);
                self.give_up(cx, trouble, Why::Refused);
            }
            3 => {
                transaction.next = Next::Drain;
                cx.send_slice(b".\r\n");
                self.expect(cx, Stage::EndOfData, 0);
            }
            4 | 5 => {
                transaction.fail(Trouble::said(&self.remote, Stage::Data, reply));
                transaction.next = Next::Drain;
            }
            _ => {
                let trouble = Trouble::said(&self.remote, Stage::Data, reply);
                self.give_up(cx, trouble, Why::Refused);
            }
        }
    }

    /// Asks for the next piece.
    pub(super) fn read_body(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        let Some(transaction) = &mut self.transaction else { return Progress::Blocked };
        if transaction.sending.call.is_some() {
            return Progress::Blocked;
        }
        // There is room for more, so the host has taken what was before.
        cx.arm(Timer::Body, self.config.timeouts.body);
        let (mail, from) = (transaction.mail.id, transaction.sending.at);
        let call = cx.call(self.config.call_timeout, |ticket| Call::Read {
            mail,
            from,
            len: limits::APPEND,
            ticket,
        });
        transaction.sending.call = Some(call);
        Progress::Blocked
    }

    /// A piece has been read, or not (`None`).
    pub(super) fn was_read(&mut self, cx: &mut Cx<'_, Self>, read: Option<Read>) {
        let chunking = self.features.chunking;
        let Some(transaction) = &mut self.transaction else { return };
        let sending = &mut transaction.sending;
        sending.call = None;
        let (bytes, end) = match read {
            Some(Read::Block { bytes, end }) if end || !bytes.is_empty() => (bytes, end),
            _ => return self.unreadable(cx),
        };
        sending.at += bytes.len() as u64;
        let Some(stuffer) = &mut sending.stuffer else { return };
        if end {
            transaction.next = Next::Answer;
            cx.disarm(Timer::Body);
        }
        if chunking {
            let mut pieces = Vec::new();
            stuffer.push(&bytes, |piece| pieces.push(piece));
            if end {
                stuffer.finish(|piece| pieces.push(piece));
            }
            return self.send_chunk(cx, pieces, end);
        }
        stuffer.push(&bytes, |piece| cx.send(piece));
        if end {
            stuffer.finish(|piece| cx.send(piece));
            cx.send_slice(b".\r\n");
            self.expect(cx, Stage::EndOfData, 0);
        }
    }

    fn send_chunk(&mut self, cx: &mut Cx<'_, Self>, pieces: Vec<Bytes>, last: bool) {
        let len: usize = pieces.iter().map(Bytes::len).sum();
        if len == 0 && !last {
            // A lone CR, which is held back.
            return;
        }
        let (stage, word) = if last { (Stage::LastChunk, " LAST") } else { (Stage::Chunk, "") };
        self.command(cx, stage, &format!("BDAT {len}{word}"));
        for piece in pieces {
            cx.send(piece);
        }
    }

    /// Without its end the message is none, and the host will drop it.
    fn unreadable(&mut self, cx: &mut Cx<'_, Self>) {
        let reason = format!("local data error while talking to {}", self.remote).into();
        let trouble = Trouble::own(Stage::Body, Cause::Local, Enhanced(4, 3, 0), reason);
        self.give_up(cx, trouble, Why::Done);
    }

    /// The reply to a chunk that is not the last.
    pub(super) fn chunk_answered(&mut self, cx: &mut Cx<'_, Self>, reply: RemoteReply) {
        if reply.is_success() {
            return;
        }
        let trouble = Trouble::said(&self.remote, Stage::Chunk, reply);
        if trouble.cause == Cause::Protocol {
            return self.give_up(cx, trouble, Why::Refused);
        }
        let Some(transaction) = &mut self.transaction else { return };
        transaction.fail(trouble);
        transaction.next = Next::Drain;
        cx.disarm(Timer::Body);
        if let Some(call) = transaction.sending.call.take() {
            cx.cancel(call);
        }
    }

    /// The word on the message.
    pub(super) fn message_answered(
        &mut self,
        cx: &mut Cx<'_, Self>,
        stage: Stage,
        reply: RemoteReply,
    ) {
        let Some(transaction) = &mut self.transaction else { return };
        if reply.is_success() {
            transaction.open = false;
            transaction.deliver(reply);
        } else {
            let trouble = Trouble::said(&self.remote, stage, reply);
            if trouble.cause == Cause::Protocol {
                return self.give_up(cx, trouble, Why::Refused);
            }
            // A refused chunk leaves the transaction open (RFC 3030 2), a refused message does not.
            transaction.open &= stage == Stage::LastChunk;
            transaction.fail(trouble);
        }
        transaction.next = Next::Drain;
    }

    /// A reply to nothing.
    pub(super) fn unasked(&mut self, cx: &mut Cx<'_, Self>, reply: RemoteReply) {
        // In the middle of the message a host may lose patience; what it then says is its last word
        // on it, and the rest need not be sent. Anything but a refusal it has no right to say.
        let trouble = Trouble::said(&self.remote, Stage::Body, reply);
        self.give_up(cx, trouble, Why::Refused);
    }
}
