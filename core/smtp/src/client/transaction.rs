//! One message on the connection: which command comes next, and who is to get what told.
//!
//! Commands that a host with PIPELINING takes ahead (MAIL, RCPT, DATA) are sent before the replies
//! to those before them are read. So each reply may come too late to change what was sent; the
//! ways out of that are those of RFC 2920 3.1:
//!
//! | refused | the rest |
//! |---|---|
//! | MAIL | replies to RCPT are ignored; see DATA |
//! | some RCPT | the message goes to the others |
//! | all RCPT, DATA not yet sent | RSET |
//! | all RCPT, DATA sent | 354: a lone dot, its reply is ignored; else nothing |
//! | MAIL, yet a RCPT accepted, and 354 | the connection is cut: a dot would deliver nothing to somebody |
//! | DATA | RSET |

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use waypost_machine::{Cx, Progress, Time, Why};

use super::call::{Call, Fact, Mail};
use super::data::Sending;
use super::envelope::{mail_command, rcpt_command};
use super::outcome::{Cause, Disposition, Outcome, Stage, Trouble};
use super::reply::RemoteReply;
use super::{Client, Phase};
use crate::limits;

/// A message at hand.
pub(super) struct Transaction {
    pub(super) mail: Arc<Mail>,
    /// `None`: not refused so far.
    fates: Vec<Option<Disposition>>,
    /// How many are not refused so far.
    pub(super) undecided: usize,
    /// The host has said yes to so many RCPT.
    pub(super) accepted: usize,
    pub(super) next: Next,
    /// The envelope goes as SMTPUTF8.
    pub(super) utf8: bool,
    /// The host has a transaction open, which RSET would end.
    pub(super) open: bool,
    pub(super) sending: Sending,
    begun: Option<Time>,
    /// The connection carried another message before.
    reused: bool,
    /// The host has said something about this message.
    answered: bool,
}

/// What is to be sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Mail,
    Rcpt(usize),
    Data,
    /// DATA is sent; or the message is: wait.
    Answer,
    /// The message, piece by piece.
    Body,
    /// Nothing; when the last reply is there, it is over.
    Drain,
}

impl Transaction {
    pub(super) fn new(mail: Arc<Mail>, reused: bool) -> Self {
        let count = mail.recipients.len();
        Self {
            mail,
            fates: alloc::vec![None; count],
            undecided: count,
            accepted: 0,
            next: Next::Mail,
            utf8: false,
            open: false,
            sending: Sending::default(),
            begun: None,
            reused,
            answered: false,
        }
    }

    /// MAIL was sent.
    pub(super) fn begun(&self) -> bool {
        self.begun.is_some()
    }

    /// One recipient is refused.
    pub(super) fn refuse(&mut self, at: usize, trouble: Trouble) {
        if let Some(fate @ None) = self.fates.get_mut(at) {
            *fate = Some(Disposition::failed(Arc::new(trouble)));
            self.undecided -= 1;
        }
    }

    /// All that were not refused before are refused now.
    pub(super) fn fail(&mut self, trouble: Trouble) -> Arc<Trouble> {
        let trouble = Arc::new(trouble);
        self.settle(&Disposition::failed(Arc::clone(&trouble)));
        trouble
    }

    /// All that were not refused have it.
    pub(super) fn deliver(&mut self, reply: RemoteReply) {
        self.settle(&Disposition::Delivered(Arc::new(reply)));
    }

    fn settle(&mut self, fate: &Disposition) {
        for open in self.fates.iter_mut().filter(|open| open.is_none()) {
            *open = Some(fate.clone());
        }
        self.undecided = 0;
    }

    /// What became of it; `trouble` tells it of those that are not decided.
    fn outcome(&self, done: Time, dsn: bool, trouble: Option<&Arc<Trouble>>) -> Outcome {
        let unknown = || {
            Arc::new(Trouble::nonsense(Stage::Idle, "the dialogue ended without a result", None))
        };
        let fate = |fate: &Option<Disposition>| {
            fate.clone()
                .unwrap_or_else(|| Disposition::failed(trouble.map_or_else(unknown, Arc::clone)))
        };
        let unsaid = self.reused && !self.answered;
        Outcome {
            mail: Arc::clone(&self.mail),
            recipients: self.fates.iter().map(fate).collect(),
            site: trouble.filter(|trouble| is_about_host(trouble)).map(Arc::clone),
            stale: unsaid && trouble.is_some_and(|trouble| is_staleness(trouble)),
            dsn,
            begun: self.begun,
            done,
        }
    }
}

/// Whether other messages would fare no better.
fn is_about_host(trouble: &Trouble) -> bool {
    match trouble.cause {
        Cause::Lost | Cause::Timeout | Cause::Tls | Cause::Loop => true,
        Cause::Local | Cause::Stopped => false,
        Cause::Refused => {
            is_before_mail(trouble.stage) || trouble.reply.as_ref().is_some_and(|r| r.code == 421)
        }
        Cause::Protocol | Cause::Unsuitable => is_before_mail(trouble.stage),
    }
}

fn is_before_mail(stage: Stage) -> bool {
    use Stage::{Auth, Ehlo, Greeting, Handshake, Helo, StartTls};
    matches!(stage, Greeting | Ehlo | Helo | StartTls | Handshake | Auth)
}

/// Whether this is how a connection ends that was kept open for too long.
fn is_staleness(trouble: &Trouble) -> bool {
    let shut = trouble.reply.as_ref().is_some_and(|reply| reply.code == 421);
    shut || matches!(trouble.cause, Cause::Lost | Cause::Timeout)
}

impl Client {
    /// Begins with the message at hand.
    pub(super) fn begin(&mut self, cx: &mut Cx<'_, Self>) {
        self.phase = Phase::Transfer;
        self.count = self.count.saturating_add(1);
        let Some(transaction) = &mut self.transaction else { return self.ask(cx) };
        let needs_utf8 = transaction.mail.needs_utf8();
        transaction.utf8 = needs_utf8 || (transaction.mail.smtputf8 && self.features.smtputf8);
        let mail = Arc::clone(&transaction.mail);
        if let Some(trouble) = self.unsuitable(&mail, needs_utf8)
            && let Some(transaction) = &mut self.transaction
        {
            transaction.fail(trouble);
        }
        self.finish_if_over(cx);
    }

    /// Sends what can be sent.
    pub(super) fn produce(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        if !matches!(self.phase, Phase::Transfer) {
            return Progress::Blocked;
        }
        let ready = self.expected.is_empty()
            || (self.features.pipelining && self.expected.len() < limits::WINDOW);
        let Some(transaction) = &mut self.transaction else { return Progress::Blocked };
        let mail = Arc::clone(&transaction.mail);
        match transaction.next {
            Next::Answer | Next::Drain => return Progress::Blocked,
            _ if !ready => return Progress::Blocked,
            Next::Mail => {
                transaction.begun = Some(cx.now.mono);
                transaction.next = Next::Rcpt(0);
                let line = mail_command(&mail, &self.features, transaction.utf8);
                self.command(cx, Stage::Mail, &line);
            }
            Next::Rcpt(at) => {
                let Some(to) = mail.recipients.get(at) else {
                    transaction.next = Next::Data;
                    return Progress::More;
                };
                transaction.next = Next::Rcpt(at + 1);
                let line = rcpt_command(to, &self.features, transaction.utf8);
                self.send_line(cx, &line);
                self.expect(cx, Stage::Rcpt, at);
            }
            Next::Data => return self.want_body(cx),
            Next::Body => return self.read_body(cx),
        }
        Progress::More
    }

    /// Ends the message when there is nothing to do for it any more.
    pub(super) fn finish_if_over(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(transaction) = &self.transaction else { return };
        let unsent = matches!(transaction.next, Next::Mail | Next::Data | Next::Drain);
        let over = transaction.next == Next::Drain || transaction.undecided == 0;
        if !(unsent && over && self.expected.is_empty()) {
            return;
        }
        let (open, reuse) = (transaction.open, self.may_reuse(cx));
        self.report(cx, None, reuse && !open);
        if !reuse {
            self.quit(cx);
        } else if open {
            self.phase = Phase::Resetting;
            self.command(cx, Stage::Reset, "RSET");
        } else {
            self.ask(cx);
        }
    }

    fn may_reuse(&self, cx: &Cx<'_, Self>) -> bool {
        let more = self.config.messages == 0 || self.count < self.config.messages;
        !self.stopping && more && cx.now.mono.since(self.opened) < self.config.reuse
    }

    /// The reply to RSET.
    pub(super) fn was_reset(&mut self, cx: &mut Cx<'_, Self>, reply: RemoteReply) {
        if reply.is_success() {
            return self.ask(cx);
        }
        cx.fact(Fact::Odd(reply));
        self.quit(cx);
    }

    /// Asks for another message.
    fn ask(&mut self, cx: &mut Cx<'_, Self>) {
        let call = cx.call(self.config.idle, |ticket| Call::NextMessage { ticket });
        self.phase = Phase::Idle(call);
    }

    pub(super) fn quit(&mut self, cx: &mut Cx<'_, Self>) {
        cx.send_slice(b"QUIT\r\n");
        cx.close(Why::Done);
    }

    /// Tells the world what became of the message at hand, and whether it is asked for another at once.
    fn report(&mut self, cx: &mut Cx<'_, Self>, trouble: Option<&Arc<Trouble>>, free: bool) {
        let Some(transaction) = self.transaction.take() else { return };
        if let Some(call) = transaction.sending.call {
            cx.cancel(call);
        }
        let outcome = Box::new(transaction.outcome(cx.now.mono, self.features.dsn, trouble));
        cx.commit(|ticket| Call::Report { outcome, free, ticket });
    }

    /// The connection cannot be used any more.
    pub(super) fn give_up(&mut self, cx: &mut Cx<'_, Self>, trouble: Trouble, why: Why) {
        self.report(cx, Some(&Arc::new(trouble)), false);
        cx.close(why);
    }

    /// The host is of no use, but has done nothing that forbids taking leave.
    pub(super) fn give_up_politely(&mut self, cx: &mut Cx<'_, Self>, trouble: Trouble) {
        self.report(cx, Some(&Arc::new(trouble)), false);
        self.quit(cx);
    }

    /// What is to be said of the message at hand, should everything end now with this trouble.
    pub(super) fn outcome_now(&self, done: Time, trouble: Trouble) -> Option<Outcome> {
        let transaction = self.transaction.as_ref()?;
        Some(transaction.outcome(done, self.features.dsn, Some(&Arc::new(trouble))))
    }

    /// Notes that the host has reacted to the message at hand.
    pub(super) fn note_answer(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.answered = true;
        }
    }
}
