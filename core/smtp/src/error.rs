//! What the server says when it refuses: each fault has its reply here, and nowhere else.

use alloc::boxed::Box;
use alloc::string::ToString;

use waypost_mail::{Address, Enhanced, Reply};

use crate::body::Bare;
use crate::syntax::ParamError;

/// Why a command is refused. The text is what the peer reads; in some it begins with our name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// 501: EHLO without a name.
    #[error("Syntax: EHLO hostname")]
    EhloSyntax,
    /// 501: HELO without a name.
    #[error("Syntax: HELO hostname")]
    HeloSyntax,
    /// 501 5.5.4: how the command is to be written.
    #[error("Syntax: {0}")]
    Syntax(&'static str),
    /// 521 5.5.4: it cannot be told how many octets follow, so the session ends.
    #[error("Syntax: BDAT count [LAST]")]
    BdatSyntax,
    /// 500 5.5.2: an empty line.
    #[error("Error: bad syntax")]
    Empty,
    /// 500 5.5.2: no such verb.
    #[error("Error: command not recognized")]
    Unknown,
    /// 502 5.5.1: a verb that is known, and not on here.
    #[error("Error: command not implemented")]
    NotImplemented,
    /// 500 5.5.2: the line is no UTF-8.
    #[error("Error: bad UTF-8 syntax")]
    BadUtf8,
    /// 500 5.5.2: the line has no end.
    #[error("Error: line too long")]
    LineTooLong,
    /// 521 5.7.0: a web browser, or something that wants to abuse one.
    #[error("Error: I can break rules, too. Goodbye.")]
    NotSmtp,
    /// 530 5.7.0
    #[error("Must issue a STARTTLS command first")]
    NeedTls,
    /// 554 5.5.1
    #[error("Error: TLS already active")]
    TlsActive,
    /// 554 5.5.0: more was sent behind STARTTLS, in clear.
    #[error("Error: SMTP protocol synchronization")]
    Injected,
    /// 503 5.5.1
    #[error("Error: authentication not enabled")]
    NoAuth,
    /// 503 5.5.1
    #[error("Error: MAIL transaction in progress")]
    InTransaction,
    /// 503 5.5.1
    #[error("Error: already authenticated")]
    LoggedIn,
    /// 535 5.7.8
    #[error("Error: authentication failed: Invalid authentication mechanism")]
    NoMechanism,
    /// 535 5.7.8
    #[error("Error: authentication failed: (reason unavailable)")]
    Denied,
    /// 535 5.7.8
    #[error("Error: authentication failed: Invalid base64 data in {0} response")]
    BadBase64(&'static str),
    /// 500 5.5.6
    #[error("SASL response limit exceeded")]
    ResponseTooLong,
    /// 501 5.7.0
    #[error("Authentication aborted")]
    Cancelled,
    /// 454 4.7.0: the directory does not answer; the password may well be right.
    #[error("Temporary authentication failure: user directory not available")]
    CannotVerify,
    /// 503 5.5.1
    #[error("Error: nested MAIL command")]
    NestedMail,
    /// 503 5.5.1
    #[error("Error: need MAIL command")]
    NeedMail,
    /// 503 5.5.1
    #[error("Error: need RCPT command")]
    NeedRcpt,
    /// 554 5.5.1
    #[error("Error: no valid recipients")]
    NoRecipients,
    /// 503 5.5.1
    #[error("Error: RCPT after BDAT")]
    RcptAfterBdat,
    /// 503 5.5.1
    #[error("Error: DATA after BDAT")]
    DataAfterBdat,
    /// 501 5.1.7
    #[error("Bad sender address syntax")]
    BadSender,
    /// 501 5.1.3
    #[error("Bad recipient address syntax")]
    BadRecipient,
    /// 501, 552 or 555: a parameter of MAIL.
    #[error("{}", mail_param(.0))]
    MailParam(ParamError),
    /// 501 or 555: a parameter of RCPT.
    #[error("{}", rcpt_param(.0))]
    RcptParam(ParamError),
    /// 552 5.3.4: the announced size is above the limit.
    #[error("Message size exceeds fixed limit")]
    AnnouncedTooBig,
    /// 552 5.3.4: the message is above the limit.
    #[error("Error: message file too big")]
    TooBig,
    /// 552 5.3.4: with this chunk the message is above the limit.
    #[error("Chunk exceeds message size limit")]
    ChunkTooBig,
    /// 452 4.5.3
    #[error("Error: too many recipients")]
    TooManyRecipients,
    /// 451 4.3.0: routing had no answer in time.
    #[error("<{0}>: Temporary lookup failure")]
    CannotRoute(Box<Address>),
    /// 451 4.3.0: the spool had no answer in time.
    #[error("Error: queue file write error")]
    CannotStore,
    /// 554 5.4.0
    #[error("Error: too many hops")]
    TooManyHops,
    /// 550 5.5.2, with our name
    #[error("Error: bare {} received", bare(*.0))]
    Bare(Bare),
    /// 421 4.7.0, with our name
    #[error("Error: too many errors")]
    TooManyErrors,
    /// 421 4.4.2, with our name
    #[error("Error: timeout exceeded")]
    Timeout,
    /// 421 4.3.2, with our name
    #[error("Service shutting down")]
    Stopping,
}

fn bare(bare: Bare) -> &'static str {
    match bare {
        Bare::Cr => "<CR>",
        Bare::Lf => "<LF>",
    }
}

fn mail_param(error: &ParamError) -> alloc::string::String {
    match error {
        ParamError::Size => "Bad message size syntax".into(),
        ParamError::HugeSize => "Message size exceeds file system imposed limit".into(),
        ParamError::Ret => "Bad RET parameter syntax".into(),
        ParamError::Envid => "Bad ENVID parameter syntax".into(),
        other => rcpt_param(other),
    }
}

fn rcpt_param(error: &ParamError) -> alloc::string::String {
    match error {
        ParamError::Notify => "Error: Bad NOTIFY parameter syntax".into(),
        ParamError::Orcpt => "Error: Bad ORCPT parameter syntax".into(),
        ParamError::Unsupported(option) => alloc::format!("Unsupported option: {option}"),
        other => other.to_string(),
    }
}

impl CommandError {
    /// The reply. `hostname` is our name.
    pub fn reply(&self, hostname: &str) -> Reply {
        let (code, enhanced) = self.code();
        let text = match self {
            Self::Bare(_) | Self::TooManyErrors | Self::Timeout | Self::Stopping => {
                alloc::format!("{hostname} {self}")
            }
            _ => self.to_string(),
        };
        Reply { code, enhanced, text: text.into() }
    }

    /// True when the session cannot go on after a command with this fault.
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::BdatSyntax
                | Self::Bare(_)
                | Self::NotSmtp
                | Self::Injected
                | Self::TooManyErrors
                | Self::Timeout
                | Self::Stopping
        )
    }

    fn code(&self) -> (u16, Option<Enhanced>) {
        let (code, class, subject, detail) = match self {
            Self::EhloSyntax | Self::HeloSyntax => return (501, None),
            Self::Syntax(_) => (501, 5, 5, 4),
            Self::BdatSyntax => (521, 5, 5, 4),
            Self::Empty | Self::Unknown | Self::BadUtf8 | Self::LineTooLong => (500, 5, 5, 2),
            Self::NotImplemented => (502, 5, 5, 1),
            Self::NotSmtp => (521, 5, 7, 0),
            Self::NeedTls => (530, 5, 7, 0),
            Self::TlsActive | Self::NoRecipients => (554, 5, 5, 1),
            Self::Injected => (554, 5, 5, 0),
            Self::NoAuth
            | Self::InTransaction
            | Self::LoggedIn
            | Self::NestedMail
            | Self::NeedMail
            | Self::NeedRcpt
            | Self::RcptAfterBdat
            | Self::DataAfterBdat => (503, 5, 5, 1),
            Self::NoMechanism | Self::Denied | Self::BadBase64(_) => (535, 5, 7, 8),
            Self::ResponseTooLong => (500, 5, 5, 6),
            Self::Cancelled => (501, 5, 7, 0),
            Self::CannotVerify => (454, 4, 7, 0),
            Self::BadSender => (501, 5, 1, 7),
            Self::BadRecipient => (501, 5, 1, 3),
            Self::MailParam(ParamError::HugeSize)
            | Self::AnnouncedTooBig
            | Self::TooBig
            | Self::ChunkTooBig => (552, 5, 3, 4),
            Self::MailParam(ParamError::Unsupported(_))
            | Self::RcptParam(ParamError::Unsupported(_)) => (555, 5, 5, 4),
            Self::MailParam(_) | Self::RcptParam(_) => (501, 5, 5, 4),
            Self::TooManyRecipients => (452, 4, 5, 3),
            Self::CannotRoute(_) | Self::CannotStore => (451, 4, 3, 0),
            Self::TooManyHops => (554, 5, 4, 0),
            Self::Bare(_) => (550, 5, 5, 2),
            Self::TooManyErrors => (421, 4, 7, 0),
            Self::Timeout => (421, 4, 4, 2),
            Self::Stopping => (421, 4, 3, 2),
        };
        (code, Some(Enhanced(class, subject, detail)))
    }
}
