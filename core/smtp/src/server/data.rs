//! DATA (RFC 5321 4.1.1.4), and the end of every message.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::mem;

use waypost_machine::{Cx, Progress, Timer};
use waypost_mail::{Envelope, Reply as SmtpReply};

use super::bdat::Chunk;
use super::incoming::Incoming;
use super::{Begun, Call, Committed, Phase, Reply, Server, send};
use crate::body::Scanner;
use crate::error::CommandError;
use crate::limits;
use crate::reply;

impl Server {
    pub(super) fn data(&mut self, cx: &mut Cx<'_, Self>, args: &str) -> Result<(), CommandError> {
        if self.message.is_some() {
            return Err(CommandError::DataAfterBdat);
        }
        self.ready_for_message()?;
        if !args.is_empty() {
            return Err(CommandError::Syntax("DATA"));
        }
        self.open(cx, None);
        Ok(())
    }

    /// Whether there is somebody to send a message to.
    pub(super) fn ready_for_message(&self) -> Result<(), CommandError> {
        match &self.transaction {
            None => Err(CommandError::NeedRcpt),
            Some(transaction) if transaction.recipients.is_empty() => {
                Err(CommandError::NoRecipients)
            }
            Some(_) => Ok(()),
        }
    }

    /// Opens a message, before a byte of it is asked for: what cannot be taken is told early.
    pub(super) fn open(&mut self, cx: &mut Cx<'_, Self>, chunk: Option<Chunk>) {
        let Some(transaction) = &mut self.transaction else { return };
        let params = transaction.params.clone();
        let envelope = Arc::new(Envelope {
            client: (*self.client).clone(),
            sender: transaction.sender.clone(),
            recipients: mem::take(&mut transaction.recipients),
            arrived: transaction.arrived,
            size: params.size,
            body: params.body,
            smtputf8: params.smtputf8,
            ret: params.ret,
            envid: params.envid,
        });
        let call = cx.call(self.config.call_timeout, |ticket| Call::Begin { envelope, ticket });
        self.phase = Phase::Opening { call, chunk };
    }

    /// The world has opened the message, or not (`None`).
    pub(super) fn opened(
        &mut self,
        cx: &mut Cx<'_, Self>,
        chunk: Option<Chunk>,
        outcome: Option<Reply>,
    ) {
        let failure = match outcome {
            Some(Reply::Begun(Begun::Ready { message, queue_id })) => {
                let scanner = if chunk.is_some() { Scanner::chunks() } else { Scanner::data() };
                self.message = Some(Incoming::new(message, queue_id, scanner));
                self.await_body(cx);
                if let Some(chunk) = chunk {
                    self.phase = Phase::Chunk(chunk);
                } else {
                    send(cx, &reply::GO_AHEAD);
                    self.phase = Phase::Data { ended: false };
                }
                return;
            }
            Some(Reply::Begun(Begun::Failed(failure))) => failure,
            _ => CommandError::CannotStore.reply(&self.config.hostname),
        };
        self.rejected(cx, None, &failure);
        self.reset(cx);
        match chunk {
            Some(chunk) => {
                self.await_body(cx);
                self.phase = Phase::Chunk(chunk.refused(failure));
            }
            None => self.finish(cx, &failure),
        }
    }

    /// Takes what has come of a message.
    pub(super) fn take_data(&mut self, cx: &mut Cx<'_, Self>, ended: bool) -> Progress {
        let Some(message) = &mut self.message else { return Progress::Blocked };
        if ended {
            return self.complete(cx, false);
        }
        if message.is_full() {
            return self.await_world(cx);
        }
        let Some(taken) = message.take(cx, &self.config, usize::MAX) else {
            return self.await_client(cx);
        };
        self.keep_time(cx, taken.used);
        if taken.ended {
            cx.disarm(Timer::Body);
            self.place = "END-OF-MESSAGE";
            self.phase = Phase::Data { ended: true };
        }
        Progress::More
    }

    /// The client has its time to send.
    pub(super) fn await_body(&mut self, cx: &mut Cx<'_, Self>) {
        self.progress = 0;
        cx.arm(Timer::Body, self.config.body_timeout);
    }

    /// The client waits for us: its time does not run.
    pub(super) fn await_world(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        self.progress = limits::PROGRESS;
        cx.disarm(Timer::Body);
        Progress::Blocked
    }

    /// It is the client's turn; after [`Self::await_world`] its time begins anew.
    pub(super) fn await_client(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        self.keep_time(cx, 0);
        Progress::Blocked
    }

    /// Puts off the time limit whenever enough has come.
    pub(super) fn keep_time(&mut self, cx: &mut Cx<'_, Self>, taken: usize) {
        self.progress = self.progress.saturating_add(taken);
        if self.progress >= limits::PROGRESS {
            self.await_body(cx);
        }
    }

    /// The message is here: waits for the last appends, then has it made durable.
    pub(super) fn complete(&mut self, cx: &mut Cx<'_, Self>, chunked: bool) -> Progress {
        let Some(message) = &mut self.message else { return Progress::Blocked };
        if let Some(failure) = message.failure(&self.config) {
            self.fail_message(cx, &failure);
            return Progress::More;
        }
        if !message.flush(cx, &self.config) {
            return Progress::Blocked;
        }
        let message = message.id();
        let call = cx.commit(|ticket| Call::Commit { message, ticket });
        self.phase = Phase::Committing { call, chunked };
        Progress::More
    }

    /// The message cannot be taken.
    pub(super) fn fail_message(&mut self, cx: &mut Cx<'_, Self>, failure: &SmtpReply) {
        self.rejected(cx, None, failure);
        self.reset(cx);
        self.finish(cx, failure);
    }

    /// The world has made the message durable, or not.
    pub(super) fn committed(
        &mut self,
        cx: &mut Cx<'_, Self>,
        chunked: bool,
        outcome: Option<Reply>,
    ) {
        let failure = match outcome {
            Some(Reply::Committed(Committed::Done)) => None,
            Some(Reply::Committed(Committed::Failed(failure))) => Some(failure),
            _ => Some(CommandError::CannotStore.reply(&self.config.hostname)),
        };
        if let Some(failure) = &failure {
            self.rejected(cx, None, failure);
        }
        let (octets, id): (u64, Box<str>) = match self.message.take() {
            Some(message) => (message.octets(), message.queue_id().into()),
            None => (0, "".into()),
        };
        self.transaction = None;
        let reply = match failure {
            Some(failure) => failure,
            None => {
                self.temper.calm();
                if chunked { reply::chunks_queued(octets, &id) } else { reply::queued(&id) }
            }
        };
        self.finish(cx, &reply);
    }
}
