//! What became of a message, recipient by recipient.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use waypost_machine::Time;
use waypost_mail::Enhanced;

use super::call::{Mail, Remote};
use super::reply::RemoteReply;

/// The outcome of one attempt to pass a message on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The message.
    pub mail: Arc<Mail>,
    /// What became of it, in the order of [`Mail::recipients`].
    pub recipients: Vec<Disposition>,
    /// Set when nothing more is to be had from this host now: later messages for it need not try.
    pub site: Option<Arc<Trouble>>,
    /// The connection had carried other messages and was gone before this one was begun. It was not
    /// tried at all: connect again.
    pub stale: bool,
    /// The host has taken over the duty to notify the sender (RFC 3461 5.2): it knows DSN.
    pub dsn: bool,
    /// When MAIL was sent: the end of the third of the four `delays=` of a classic log line.
    /// `None`: it never was.
    pub begun: Option<Time>,
    /// When the last word about it was said.
    pub done: Time,
}

/// What became of a message for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The host has it, and said so: `status=sent (250 2.0.0 Ok: queued as 000001)`.
    Delivered(Arc<RemoteReply>),
    /// Not now: `status=deferred`.
    Deferred(Arc<Trouble>),
    /// Never: `status=bounced`.
    Bounced(Arc<Trouble>),
}

impl Disposition {
    /// What is wrong, if anything.
    pub fn trouble(&self) -> Option<&Arc<Trouble>> {
        match self {
            Self::Delivered(_) => None,
            Self::Deferred(trouble) | Self::Bounced(trouble) => Some(trouble),
        }
    }

    /// Deferred or bounced, as the status says.
    pub(super) fn failed(trouble: Arc<Trouble>) -> Self {
        match trouble.status.0 {
            5 => Self::Bounced(trouble),
            _ => Self::Deferred(trouble),
        }
    }
}

/// Why a message was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// `dsn=` in logs, `Status:` in notices. Class 4: deferred; class 5: bounced.
    pub status: Enhanced,
    /// The text for people, as Postfix words it: `host mx.example[192.0.2.1] said: 550 5.1.1 ...
    /// (in reply to RCPT TO command)`.
    pub reason: Box<str>,
    /// The reply that tells it: `Diagnostic-Code: smtp; ...`. `None`: it is our own finding.
    pub reply: Option<RemoteReply>,
    /// Where in the dialogue it happened.
    pub stage: Stage,
    /// What kind of trouble it is.
    pub cause: Cause,
    /// Another mail exchanger of the same destination may do better: try it before giving up, even
    /// when the status is permanent.
    pub elsewhere: bool,
    /// The whole message had been sent when the connection was lost: the host may well have it, and
    /// the next attempt may make a second one of it.
    pub maybe_delivered: bool,
}

impl Trouble {
    /// The host takes no more recipients in one go (RFC 5321 4.5.3.1.10): those that it refused
    /// with this can be sent at once in another transaction, if it has taken any.
    pub fn is_too_many_recipients(&self) -> bool {
        self.stage == Stage::Rcpt && self.reply.as_ref().is_some_and(|reply| reply.code == 452)
    }
}

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The host refused: 4xx or 5xx.
    Refused,
    /// The host says what it must not say: no reply, or one that does not fit the command.
    Protocol,
    /// The connection was lost.
    Lost,
    /// The host did not say anything in time.
    Timeout,
    /// TLS was wanted and did not come about. Where TLS is a mere wish, another connection without
    /// it may do.
    Tls,
    /// The host does not offer what the message needs: its size, SMTPUTF8, 8BITMIME; or the login.
    Unsuitable,
    /// The mail for this destination comes back to ourselves.
    Loop,
    /// Our own fault: the message could not be read.
    Local,
    /// We were told to stop, or the socket broke.
    Stopped,
}

/// A place in the dialogue; those that come later are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Before the greeting.
    Greeting,
    /// EHLO.
    Ehlo,
    /// HELO.
    Helo,
    /// STARTTLS.
    StartTls,
    /// The handshake.
    Handshake,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, up to its 354.
    Data,
    /// The message itself.
    Body,
    /// BDAT, but for the last.
    Chunk,
    /// The dot after the message.
    EndOfData,
    /// BDAT LAST.
    LastChunk,
    /// RSET.
    Reset,
    /// Between messages.
    Idle,
}

impl Stage {
    /// What a reply was said to: `in reply to ...`.
    pub fn request(self) -> &'static str {
        match self {
            Self::Greeting => "connection",
            Self::Ehlo => "EHLO command",
            Self::Helo => "HELO command",
            Self::StartTls | Self::Handshake => "STARTTLS command",
            Self::Auth => "AUTH command",
            Self::Mail => "MAIL FROM command",
            Self::Rcpt => "RCPT TO command",
            Self::Data => "DATA command",
            Self::Body | Self::EndOfData => "end of DATA command",
            Self::Chunk | Self::LastChunk => "BDAT command",
            Self::Reset => "final RSET command",
            Self::Idle => "nothing",
        }
    }

    /// What was going on: `lost connection with ... while ...`.
    pub fn doing(self) -> &'static str {
        match self {
            Self::Greeting => "receiving the initial server greeting",
            Self::Ehlo => "performing the EHLO handshake",
            Self::Helo => "performing the HELO handshake",
            Self::StartTls => "receiving the STARTTLS response",
            Self::Handshake => "performing the TLS handshake",
            Self::Auth => "performing the AUTH handshake",
            Self::Mail => "sending MAIL FROM",
            Self::Rcpt => "sending RCPT TO",
            Self::Data => "sending DATA command",
            Self::Body | Self::Chunk => "sending message body",
            Self::EndOfData | Self::LastChunk => {
                "sending end of data -- message may be sent more than once"
            }
            Self::Reset => "sending final RSET",
            Self::Idle => "waiting for another message",
        }
    }

    /// The message is out, and its fate unknown.
    pub(super) fn is_end(self) -> bool {
        matches!(self, Self::EndOfData | Self::LastChunk)
    }
}

impl Trouble {
    /// A finding of our own.
    pub(super) fn own(stage: Stage, cause: Cause, status: Enhanced, reason: Box<str>) -> Self {
        let maybe_delivered = stage.is_end() && !matches!(cause, Cause::Refused);
        Self { status, reason, reply: None, stage, cause, elsewhere: false, maybe_delivered }
    }

    /// The host said no, or something that makes no sense here.
    pub(super) fn said(remote: &Remote, stage: Stage, reply: RemoteReply) -> Self {
        let request = stage.request();
        let said = format!("host {remote} said: {} (in reply to {request})", reply.text);
        if !reply.is_refusal() {
            return Self::nonsense(stage, &said, Some(reply));
        }
        let mut trouble = Self::own(stage, Cause::Refused, reply.status(), said.into());
        trouble.elsewhere = trouble.status.0 == 4;
        trouble.reply = Some(reply);
        trouble
    }

    /// The host talks nonsense. It is deferred: what a confused host says is no reason to give up.
    pub(super) fn nonsense(stage: Stage, said: &str, reply: Option<RemoteReply>) -> Self {
        let reason = format!("Protocol error: {said}").into();
        let status = Enhanced(4, 5, 0);
        let elsewhere = true;
        Self { reply, elsewhere, ..Self::own(stage, Cause::Protocol, status, reason) }
    }

    /// The host did not even let us begin.
    pub(super) fn unwelcome(remote: &Remote, stage: Stage, reply: RemoteReply) -> Self {
        let reason = format!("host {remote} refused to talk to me: {}", reply.text).into();
        let status = match reply.status() {
            // What a greeting or a 421 says is true of the host now, not of the message for good.
            Enhanced(_, b, c) if stage == Stage::Greeting || reply.code == 421 => Enhanced(4, b, c),
            status => status,
        };
        let own = Self::own(stage, Cause::Refused, status, reason);
        Self { reply: Some(reply), elsewhere: true, ..own }
    }

    /// The connection is gone.
    pub(super) fn lost(remote: &Remote, stage: Stage) -> Self {
        let reason = format!("lost connection with {remote} while {}", stage.doing()).into();
        Self { elsewhere: true, ..Self::own(stage, Cause::Lost, Enhanced(4, 4, 2), reason) }
    }

    /// The host is silent.
    pub(super) fn timeout(remote: &Remote, stage: Stage) -> Self {
        let doing = stage.doing();
        let reason = format!("conversation with {remote} timed out while {doing}").into();
        Self { elsewhere: true, ..Self::own(stage, Cause::Timeout, Enhanced(4, 4, 2), reason) }
    }

    /// We were told to stop.
    pub(super) fn stopped(remote: &Remote, stage: Stage) -> Self {
        let doing = stage.doing();
        let reason = format!("delivery to {remote} was broken off while {doing}").into();
        Self::own(stage, Cause::Stopped, Enhanced(4, 4, 2), reason)
    }

    /// TLS did not come about. `detail` is what the shell knows: a certificate that does not fit.
    pub(super) fn tls(detail: Option<&str>) -> Self {
        let reason = detail.unwrap_or("Cannot start TLS: handshake failure").into();
        let own = Self::own(Stage::Handshake, Cause::Tls, Enhanced(4, 7, 5), reason);
        Self { elsewhere: true, ..own }
    }
}
