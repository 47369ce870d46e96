//! Commands as they come in: framing, tags, names, the verb that takes each, and what is said to
//! those that are no commands.

use alloc::format;
use alloc::string::String;

use waypost_machine::{Progress, Timer, Why};

use super::{
    Command, Context, Server, Step, append, capability, copy, expunge, fetch, idle, list, login,
    mailbox, search, select, status, store, sync,
};
use crate::frame::Unit;
use crate::response::{self, Refusal};
use crate::state::State;
use crate::syntax::args::{Announced, args};
use crate::syntax::command::{Head, HeadError, head};

type Verb = fn(&mut Server, &mut Context<'_>, &Command<'_>) -> Result<Step, Refusal>;

const BEFORE_LOGIN: &[(&str, Verb)] = &[
    ("AUTHENTICATE", login::authenticate),
    ("CAPABILITY", |server, cx, _| Ok(capability::capability(server, cx))),
    ("ENABLE", |server, cx, _| Ok(capability::enable_early(server, cx))),
    ("ID", |server, cx, _| Ok(capability::id(server, cx))),
    ("LOGIN", login::login),
    ("LOGOUT", |server, cx, _| Ok(capability::logout(server, cx))),
    ("NOOP", |server, cx, _| Ok(sync::noop(server, cx))),
    ("STARTTLS", |server, cx, _| login::starttls(server, cx)),
];

const AFTER_LOGIN: &[(&str, Verb)] = &[
    ("APPEND", |_, _, command| append::without_literal(command)),
    ("CAPABILITY", |server, cx, _| Ok(capability::capability(server, cx))),
    ("CHECK", |server, cx, _| sync::check(server, cx)),
    ("CLOSE", |server, cx, _| select::close(server, cx)),
    ("COPY", |server, cx, command| copy::begin(server, cx, command, false)),
    ("CREATE", mailbox::create),
    ("DELETE", mailbox::delete),
    ("ENABLE", |server, cx, _| Ok(capability::enable(server, cx))),
    ("EXAMINE", |server, cx, command| select::begin(server, cx, command, false)),
    ("EXPUNGE", expunge::begin),
    ("FETCH", fetch::begin),
    ("ID", |server, cx, _| Ok(capability::id(server, cx))),
    ("IDLE", |server, cx, _| Ok(idle::begin(server, cx))),
    ("LIST", list::list),
    ("LOGOUT", |server, cx, _| Ok(capability::logout(server, cx))),
    ("LSUB", list::lsub),
    ("MOVE", |server, cx, command| copy::begin(server, cx, command, true)),
    ("NAMESPACE", |server, cx, _| Ok(capability::namespace(server, cx))),
    ("NOOP", |server, cx, _| Ok(sync::noop(server, cx))),
    ("RENAME", mailbox::rename),
    ("SEARCH", search::begin),
    ("SELECT", |server, cx, command| select::begin(server, cx, command, true)),
    ("STATUS", status::begin),
    ("STORE", store::begin),
    ("SUBSCRIBE", |server, cx, command| mailbox::subscribe(server, cx, command, true)),
    ("UNSELECT", |server, cx, _| select::unselect(server, cx)),
    ("UNSUBSCRIBE", |server, cx, command| mailbox::subscribe(server, cx, command, false)),
];

const WITH_UID: &[(&str, Verb)] = &[
    ("COPY", |server, cx, command| copy::begin(server, cx, command, false)),
    ("EXPUNGE", expunge::begin),
    ("FETCH", fetch::begin),
    ("MOVE", |server, cx, command| copy::begin(server, cx, command, true)),
    ("SEARCH", search::begin),
    ("STORE", store::begin),
];

fn full_name(head: &Head<'_>) -> String {
    if head.uid { format!("UID {}", head.name) } else { head.name.clone() }
}

/// Tag and line of the reply to what has no tag or no name.
fn headless(error: HeadError<'_>, logged_in: bool) -> (&[u8], String) {
    let (tag, line) = match error {
        HeadError::Tag => (&b"*"[..], response::NO_TAG),
        HeadError::Name(tag) => (tag, response::NO_NAME),
    };
    (tag, if logged_in { line } else { response::BEFORE_LOGIN }.into())
}

impl Server {
    pub(super) fn next_command(&mut self, cx: &mut Context<'_>) -> Progress {
        if self.stopping {
            self.bye(cx, response::BYE_STOP, Why::Stopped, "Server shutting down");
            return Progress::Blocked;
        }
        let limit = self.command_limit();
        let before = cx.input.len();
        let unit = self.frame.next(cx.input, limit);
        self.octets.0 += (before - cx.input.len()) as u64;
        let Some(unit) = unit else { return Progress::Blocked };
        match unit {
            Unit::Command(command) => self.command(cx, &command),
            Unit::Literal(literal) => self.literal(cx, literal),
            Unit::Endless => {
                self.bye(cx, response::BYE_LITERAL, Why::Refused, "Literal size too large");
            }
            Unit::TooLong(_) if self.account().is_none() => {
                self.bye(cx, response::BYE_TOO_LONG, Why::Refused, "Input buffer full");
            }
            Unit::TooLong(start) => match head(&start) {
                Ok(head) => self.refuse(cx, &head, &response::TOO_LONG),
                Err(error) => self.no_command(cx, error),
            },
            Unit::Skipped => {
                if let Some(line) = self.refused.take() {
                    self.bad_command(cx, &line);
                }
            }
        }
        Progress::More
    }

    fn command_limit(&self) -> usize {
        match self.state {
            State::NotAuthenticated => self.config.login_command_limit,
            _ => self.config.command_limit,
        }
    }

    fn command(&mut self, cx: &mut Context<'_>, command: &[u8]) {
        let head = match head(command) {
            Ok(head) => head,
            Err(error) => return self.no_command(cx, error),
        };
        self.tag = String::from_utf8_lossy(head.tag).into();
        cx.disarm(Timer::Idle);
        match self.run(cx, &head) {
            Ok(step) => {
                self.bad = 0;
                self.settle(cx, step);
            }
            Err(refusal) => self.refuse(cx, &head, &refusal),
        }
    }

    fn run(&mut self, cx: &mut Context<'_>, head: &Head<'_>) -> Result<Step, Refusal> {
        let verb = self.verb(head).ok_or(response::UNKNOWN)?;
        let args = args(head.rest)?;
        verb(self, cx, &Command { uid: head.uid, args: &args })
    }

    /// A literal is announced: before it is sent, if the client waits, is a good time to refuse.
    fn literal(&mut self, cx: &mut Context<'_>, literal: Announced) {
        let held = self.frame.held().len() as u64;
        let refusal = match head(self.frame.held()) {
            Err(_) => Some(response::UNKNOWN),
            Ok(head) if self.verb(&head).is_none() => Some(response::UNKNOWN),
            Ok(head) if head.name == "APPEND" && append::is_message(head.rest) => {
                self.tag = String::from_utf8_lossy(head.tag).into();
                let command = self.frame.take();
                cx.disarm(Timer::Idle);
                let step = append::begin(self, cx, &command, literal);
                self.settle(cx, step);
                return;
            }
            // Not looked at again with each of ten thousand literals.
            Ok(head) if head.name == "APPEND" && append::has_literal(head.rest) => {
                Some(response::ARGUMENTS)
            }
            Ok(_) if held.saturating_add(literal.octets) > self.command_limit() as u64 => {
                if self.account().is_none() {
                    let reason = "Literal size too large";
                    return self.bye(cx, response::BYE_LITERAL, Why::Refused, reason);
                }
                Some(response::LITERAL_TOO_LARGE)
            }
            Ok(_) => None,
        };
        match refusal {
            Some(refusal) => self.refuse_literal(cx, literal, &refusal),
            None => {
                self.frame.accept(literal);
                if literal.waits {
                    self.send(cx, response::CONTINUE);
                }
            }
        }
    }

    /// Refuses a command at its literal. A client that waits hears it now; otherwise the literal
    /// has to pass first, and whatever of the command is behind it.
    fn refuse_literal(&mut self, cx: &mut Context<'_>, literal: Announced, refusal: &Refusal) {
        let logged_in = self.account().is_some();
        let (tag, line) = match head(self.frame.held()) {
            Ok(head) => (head.tag, response::refusal(refusal, &full_name(&head), logged_in)),
            Err(error) => headless(error, logged_in),
        };
        self.tag = String::from_utf8_lossy(tag).into();
        if literal.waits {
            self.frame.clear();
            self.bad_command(cx, &line);
        } else {
            self.frame.skip(literal);
            self.refused = Some(line);
        }
    }

    fn refuse(&mut self, cx: &mut Context<'_>, head: &Head<'_>, refusal: &Refusal) {
        self.tag = String::from_utf8_lossy(head.tag).into();
        let logged_in = self.account().is_some();
        let line = response::refusal(refusal, &full_name(head), logged_in);
        match refusal {
            Refusal::No(_) => {
                self.end(cx, &line);
                self.idle_again(cx);
            }
            _ => self.bad_command(cx, &line),
        }
    }

    fn no_command(&mut self, cx: &mut Context<'_>, error: HeadError<'_>) {
        let (tag, line) = headless(error, self.account().is_some());
        self.tag = String::from_utf8_lossy(tag).into();
        self.bad_command(cx, &line);
    }

    /// Says that a command was bad; after too many of them in a row, good-bye.
    fn bad_command(&mut self, cx: &mut Context<'_>, line: &str) {
        self.bad += 1;
        let limit = match self.state {
            State::NotAuthenticated => self.config.bad_before_login,
            _ => self.config.bad_after_login,
        };
        if self.bad >= limit {
            let reason = "Too many invalid IMAP commands";
            return self.bye(cx, response::BYE_BAD_COMMANDS, Why::Refused, reason);
        }
        self.end(cx, line);
        self.idle_again(cx);
    }

    /// What takes a command of this name now.
    fn verb(&self, head: &Head<'_>) -> Option<Verb> {
        let verbs = match (&self.state, head.uid) {
            (State::NotAuthenticated, false) => BEFORE_LOGIN,
            (State::NotAuthenticated, true) => &[],
            (_, false) => AFTER_LOGIN,
            (_, true) => WITH_UID,
        };
        verbs.iter().find(|(name, _)| *name == head.name).map(|(_, verb)| *verb)
    }
}
