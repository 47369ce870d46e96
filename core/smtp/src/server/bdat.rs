//! BDAT (RFC 3030): a message in counted chunks.

use waypost_machine::{Cx, Progress, Timer};
use waypost_mail::Reply as SmtpReply;

use super::{Phase, Server};
use crate::error::CommandError;
use crate::reply;

/// A chunk that is coming in.
pub(super) struct Chunk {
    /// Octets in all.
    size: u64,
    /// Octets still to come.
    left: u64,
    /// The message ends with it.
    last: bool,
    /// It is only read to stay in step; this is the reply for its end.
    refusal: Option<SmtpReply>,
}

impl Chunk {
    /// `count [LAST]`
    fn parse(args: &str) -> Result<Self, CommandError> {
        let mut words = args.split_ascii_whitespace();
        let (count, last) = match (words.next(), words.next(), words.next()) {
            (Some(count), None, _) => (count, false),
            (Some(count), Some(word), None) if word.eq_ignore_ascii_case("LAST") => (count, true),
            _ => return Err(CommandError::BdatSyntax),
        };
        if !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(CommandError::BdatSyntax);
        }
        let size = count.parse().map_err(|_| CommandError::BdatSyntax)?;
        Ok(Self { size, left: size, last, refusal: None })
    }

    /// The same chunk, to be read and dropped.
    pub(super) fn refused(self, reply: SmtpReply) -> Self {
        Self { refusal: Some(reply), ..self }
    }
}

impl Server {
    pub(super) fn bdat(&mut self, cx: &mut Cx<'_, Self>, args: &str) -> Result<(), CommandError> {
        let chunk = Chunk::parse(args)?;
        let had = match (&self.message, self.ready_for_message()) {
            (Some(message), _) => message.octets(),
            (None, Ok(())) => 0,
            (None, Err(error)) => return self.skip_chunk(cx, args, &error),
        };
        if self.config.too_big(had.saturating_add(chunk.size)) {
            let refusal = CommandError::ChunkTooBig.reply(&self.config.hostname);
            self.rejected(cx, None, &refusal);
            self.reset(cx);
            self.await_body(cx);
            self.phase = Phase::Chunk(chunk.refused(refusal));
        } else if self.message.is_some() {
            self.keep_time(cx, 0);
            self.phase = Phase::Chunk(chunk);
        } else {
            self.open(cx, Some(chunk));
        }
        Ok(())
    }

    /// Reads a chunk that is not wanted, as it follows at once (RFC 3030 4.1).
    pub(super) fn skip_chunk(
        &mut self,
        cx: &mut Cx<'_, Self>,
        args: &str,
        error: &CommandError,
    ) -> Result<(), CommandError> {
        let chunk = Chunk::parse(args)?;
        self.await_body(cx);
        self.phase = Phase::Chunk(chunk.refused(error.reply(&self.config.hostname)));
        Ok(())
    }

    /// Takes what has come of a chunk.
    pub(super) fn take_chunk(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        let Phase::Chunk(chunk) = &mut self.phase else { return Progress::Blocked };
        if chunk.left == 0 {
            return self.chunk_done(cx);
        }
        let at_most = usize::try_from(chunk.left).unwrap_or(usize::MAX);
        let taken = match &mut self.message {
            Some(message) if message.is_full() => return self.await_world(cx),
            Some(message) if chunk.refusal.is_none() => {
                message.take(cx, &self.config, at_most).map(|taken| taken.used)
            }
            _ => cx.input.take(at_most).map(|bytes| bytes.len()),
        };
        let Some(taken) = taken else { return self.await_client(cx) };
        chunk.left -= taken as u64;
        self.keep_time(cx, taken);
        Progress::More
    }

    /// Replies to a chunk once the world has what was passed on of it. The time limit is that of
    /// the message, however many chunks there are.
    fn chunk_done(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        let Phase::Chunk(chunk) = &mut self.phase else { return Progress::Blocked };
        if let Some(refusal) = chunk.refusal.take() {
            cx.disarm(Timer::Body);
            self.finish(cx, &refusal);
            return Progress::More;
        }
        let (size, last) = (chunk.size, chunk.last);
        let Some(message) = &mut self.message else { return Progress::Blocked };
        if last {
            cx.disarm(Timer::Body);
            message.finish();
            self.place = "END-OF-MESSAGE";
            return self.complete(cx, true);
        }
        match message.failure(&self.config) {
            Some(failure) => self.fail_message(cx, &failure),
            None if message.is_open() => return self.await_world(cx),
            None => self.finish(cx, &reply::chunk(size)),
        }
        Progress::More
    }
}
