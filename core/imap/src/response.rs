//! The writer of every response: words are here and nowhere else.
//!
//! The texts are Dovecot's, without the times that it adds.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use core::fmt::Write;

use crate::config::Config;
use crate::server::{Counts, Failure, Flags, Keywords, Message};
use crate::syntax::SyntaxError;
use crate::syntax::flags::SYSTEM;
use crate::syntax::list::StatusItem;
use crate::syntax::mailbox;
use crate::view::News;

/// Why a command is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// BAD: the arguments are wrong.
    Syntax(SyntaxError),
    /// BAD, in these words.
    Bad(&'static str),
    /// NO, in these words.
    No(Cow<'static, str>),
}

impl From<SyntaxError> for Refusal {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

impl Refusal {
    pub(crate) const fn syntax(text: &'static str) -> Self {
        Self::Syntax(SyntaxError::verb(text))
    }

    pub(crate) const fn no(text: &'static str) -> Self {
        Self::No(Cow::Borrowed(text))
    }
}

pub(crate) const UNKNOWN: Refusal = Refusal::syntax("Unknown command");
pub(crate) const MISSING: Refusal = Refusal::syntax("Missing arguments");
pub(crate) const ARGUMENTS: Refusal = Refusal::Syntax(SyntaxError::Arguments);
pub(crate) const TOO_LONG: Refusal = Refusal::syntax("Too long argument");
pub(crate) const LITERAL_TOO_LARGE: Refusal = Refusal::syntax("Literal size too large");
pub(crate) const NOT_SELECTED: Refusal = Refusal::Bad("No mailbox selected.");
pub(crate) const NAME: Refusal = Refusal::no("Mailbox name is not valid mUTF-7.");
pub(crate) const MESSAGE_SET: Refusal = Refusal::syntax("Invalid messageset");
pub(crate) const UID_SET: Refusal = Refusal::syntax("Invalid uidset");

pub(crate) const NO_TAG: &str = "BAD Error in IMAP tag: Invalid tag.";
pub(crate) const NO_NAME: &str = "BAD Error in IMAP command: Invalid command name.";
pub(crate) const BEFORE_LOGIN: &str = "BAD Error in IMAP command received by server.";
pub(crate) const CONTINUE: &str = "+ OK\r\n";
pub(crate) const CLOSED: &str = "* OK [CLOSED] Previous mailbox closed.\r\n";

pub(crate) const BYE_BAD_COMMANDS: &str = "Too many invalid IMAP commands.";
pub(crate) const BYE_DELETED: &str = "Selected mailbox was deleted, have to disconnect.";
pub(crate) const BYE_INACTIVE: &str = "Disconnected for inactivity.";
pub(crate) const BYE_LITERAL: &str = "Literal size too large";
pub(crate) const BYE_LOGOUT: &str = "Logging out";
pub(crate) const BYE_MAILBOX_GONE: &str = "IMAP session state is inconsistent, please relogin.";
pub(crate) const BYE_STOP: &str = "Server shutting down.";
pub(crate) const BYE_TOO_LONG: &str = "Input buffer full, aborting";

/// The tagged line for a refusal: all but the tag.
pub(crate) fn refusal(refusal: &Refusal, name: &str, logged_in: bool) -> String {
    match refusal {
        Refusal::Bad(text) => format!("BAD {text}"),
        Refusal::No(text) => format!("NO {text}"),
        Refusal::Syntax(error) if logged_in => {
            format!("BAD Error in IMAP command {name}: {error}.")
        }
        Refusal::Syntax(SyntaxError::Verb(_) | SyntaxError::Arguments) => BEFORE_LOGIN.into(),
        Refusal::Syntax(error) => format!("BAD {error}"),
    }
}

/// What a missing mailbox means to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// No code: SELECT, STATUS, SUBSCRIBE.
    Plain,
    /// NONEXISTENT: DELETE, RENAME.
    NonExistent,
    /// TRYCREATE: COPY, MOVE, APPEND.
    TryCreate,
}

/// The tagged line for a failure of the store: all but the tag. `name` as the client wrote it.
pub(crate) fn failure(failure: &Failure, missing: Missing, name: &str) -> String {
    let text = match failure {
        Failure::NoMailbox => {
            let code = match missing {
                Missing::Plain => "",
                Missing::NonExistent => "[NONEXISTENT] ",
                Missing::TryCreate => "[TRYCREATE] ",
            };
            return format!("NO {code}Mailbox doesn't exist: {}.", printable(name));
        }
        Failure::Invalid(why) => {
            return format!("NO [CANNOT] Invalid mailbox name: {}.", printable(why));
        }
        Failure::Exists => "[ALREADYEXISTS] Mailbox already exists.",
        Failure::ReadOnly => "[NOPERM] Permission denied.",
        Failure::NoSpace => "[OVERQUOTA] Not enough disk space.",
        Failure::Limit => "[LIMIT] Too many keywords.",
        Failure::Gone => "[UNAVAILABLE] Mailbox was deleted under us.",
        Failure::Unavailable => {
            "[UNAVAILABLE] Internal error occurred. Refer to server log for more information."
        }
    };
    format!("NO {text}")
}

/// Text that came from a client, fit for the human part of a line (RFC 3501 9 `text`).
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|c| matches!(c, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect())
}

/// The capabilities before login.
pub(crate) fn login_capabilities(config: &Config, secured: bool) -> String {
    let mut text = String::from("IMAP4rev1 SASL-IR ID ENABLE IDLE LITERAL+");
    if config.starttls && !secured {
        text.push_str(" STARTTLS");
    }
    if !secured && !config.plaintext_login {
        text.push_str(" LOGINDISABLED");
    } else {
        for mechanism in &config.mechanisms {
            text.push_str(" AUTH=");
            text.push_str(mechanism.name());
        }
    }
    text
}

/// The capabilities after login.
pub(crate) fn capabilities(config: &Config) -> String {
    format!(
        "IMAP4rev1 SASL-IR ID ENABLE IDLE UNSELECT CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED \
         ESEARCH WITHIN LIST-STATUS MOVE STATUS=SIZE LITERAL+ SPECIAL-USE APPENDLIMIT={}",
        config.append_limit
    )
}

/// Writes text as an atom, a quoted string or a literal, whichever will do.
pub(crate) fn astring(text: &str, out: &mut String) {
    let atom = |c: u8| {
        c.is_ascii_graphic() && !matches!(c, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\')
    };
    if !text.is_empty() && text.bytes().all(atom) && !text.eq_ignore_ascii_case("NIL") {
        out.push_str(text);
    } else {
        string(text, out);
    }
}

/// Writes text as a quoted string or a literal.
pub(crate) fn string(text: &str, out: &mut String) {
    if text.bytes().any(|c| c >= 0x80 || matches!(c, b'\r' | b'\n' | 0)) {
        let _ = write!(out, "{{{}}}\r\n{text}", text.len());
        return;
    }
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// Writes a mailbox name for the wire.
pub(crate) fn mailbox_name(name: &str, out: &mut String) {
    astring(&mailbox::encode(name), out);
}

/// Writes the names of flags with blanks between.
fn flag_names(flags: Flags, recent: bool, keywords: &Keywords, out: &mut String) {
    let system = SYSTEM.iter().filter(|(bit, _)| flags.system & bit != 0).map(|(_, name)| *name);
    let recent = recent.then_some("\\Recent");
    let named = keywords.iter().take(32).enumerate();
    let named = named.filter(|(n, _)| flags.keywords & (1 << n) != 0).map(|(_, name)| &**name);
    for (n, name) in system.chain(recent).chain(named).enumerate() {
        if n > 0 {
            out.push(' ');
        }
        out.push_str(name);
    }
}

/// Writes `FLAGS (...)` of a message.
pub(crate) fn flags(message: &Message, keywords: &Keywords, out: &mut String) {
    out.push_str("FLAGS (");
    flag_names(message.flags, message.recent, keywords, out);
    out.push(')');
}

/// Writes FLAGS and PERMANENTFLAGS of a mailbox.
pub(crate) fn mailbox_flags(keywords: &Keywords, write: bool, may_add: bool, out: &mut String) {
    let all = Flags { system: u8::MAX, keywords: u32::MAX };
    out.push_str("* FLAGS (");
    flag_names(all, false, keywords, out);
    out.push_str(")\r\n* OK [PERMANENTFLAGS (");
    if write {
        flag_names(all, false, keywords, out);
        out.push_str(if may_add {
            " \\*)] Flags permitted.\r\n"
        } else {
            ")] Flags permitted.\r\n"
        });
    } else {
        out.push_str(")] Read-only mailbox.\r\n");
    }
}

/// Writes one line of news; `uid`: the command was a UID command.
pub(crate) fn news(news: &News, uid: bool, keywords: &Keywords, out: &mut String) {
    let written = match news {
        News::Exists(count) => write!(out, "* {count} EXISTS\r\n"),
        News::Recent(count) => write!(out, "* {count} RECENT\r\n"),
        News::Expunge(seq) => write!(out, "* {seq} EXPUNGE\r\n"),
        News::Flags { seq, message } => {
            let _ = write!(out, "* {seq} FETCH (");
            if uid {
                let _ = write!(out, "UID {} ", message.uid);
            }
            flags(message, keywords, out);
            out.push_str(")\r\n");
            Ok(())
        }
    };
    debug_assert!(written.is_ok(), "a String takes everything");
}

/// Writes a STATUS line; `name` as it goes over the wire.
pub(crate) fn status(
    name: &str,
    items: &[StatusItem],
    counts: &Counts,
    append_limit: u64,
    out: &mut String,
) {
    out.push_str("* STATUS ");
    astring(name, out);
    out.push_str(" (");
    for (n, item) in items.iter().enumerate() {
        let value = match item {
            StatusItem::Messages => counts.messages.into(),
            StatusItem::Recent => counts.recent.into(),
            StatusItem::UidNext => counts.uid_next.into(),
            StatusItem::UidValidity => counts.uid_validity.into(),
            StatusItem::Unseen => counts.unseen.into(),
            StatusItem::Size => counts.size,
            StatusItem::AppendLimit => append_limit,
        };
        let blank = if n > 0 { " " } else { "" };
        let _ = write!(out, "{blank}{} {value}", item.name());
    }
    out.push_str(")\r\n");
}
