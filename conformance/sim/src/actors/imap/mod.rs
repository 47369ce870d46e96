//! An IMAP client, which does one step after the other and believes what fits.
//!
//! | file | what is there |
//! |---|---|
//! | `mod.rs` | the connection: greeting, TLS, login, one command at a time |
//! | `command.rs` | the command of each step, and what its answer means |
//! | `news.rs` | untagged responses |
//! | `model.rs` | what is known of the open mailbox |
//! | `response.rs` | responses as parts |

mod command;
mod model;
mod news;
mod response;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use waypost_daemon::Service;
use waypost_machine::Now;

use super::Scene;
use crate::laws::{Change, Law, Place};
use crate::peer::{Close, Ended, Line, Peer};
use crate::script::{Login, Step, Tls};
use model::Model;
use response::Responses;

/// How long a client waits for the end of a command.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn begin(scene: &Scene, from: SocketAddr, login: &Login, steps: &[Step]) {
    connect(scene, from, login, steps.iter().cloned().collect(), false);
}

/// Reads everything, for the ledger's end.
pub(super) fn audit(scene: &Scene, from: SocketAddr, login: &Login) {
    connect(scene, from, login, VecDeque::new(), true);
}

fn connect(scene: &Scene, from: SocketAddr, login: &Login, steps: VecDeque<Step>, audit: bool) {
    let Some(network) = scene.network.upgrade() else { return };
    let service = if login.tls == Tls::Implicit { Service::Imaps } else { Service::Imap };
    let client = Client {
        scene: scene.clone(),
        heard: scene.expect(),
        login: login.clone(),
        steps,
        secure: service == Service::Imaps,
        responses: Responses::default(),
        tag: 0,
        state: State::Greeting,
        model: None,
        learned: false,
        folders: Vec::new(),
        made: false,
        asked: 0,
        sent: Duration::ZERO,
        deaf: false,
        copied: None,
        audit: if audit { Audit::Wanted } else { Audit::None },
        left: false,
        at: Duration::ZERO,
    };
    scene.ledger().begun();
    network.connect(service, from, Box::new(client));
}

/// What is under way.
#[derive(Clone, Debug, PartialEq)]
enum State {
    /// The greeting is to come.
    Greeting,
    /// A command, to be answered.
    Command(Command),
    /// Nothing, until the time is over.
    Pause,
    /// TLS is to come.
    Securing,
    /// Nothing more.
    Over,
}

/// A command, with what its answer needs.
#[derive(Clone, Debug, PartialEq)]
enum Command {
    Starttls,
    Login,
    /// LIST or LSUB.
    List {
        subscribed: bool,
    },
    Open {
        mailbox: String,
        read_only: bool,
    },
    Fetch,
    Flags,
    Store {
        changes: Vec<(Place, String, usize)>,
        set: bool,
    },
    Search,
    Copy {
        step: Step,
        mailbox: String,
        content: Arc<[u8]>,
    },
    Append {
        step: Step,
        mailbox: String,
        content: Arc<[u8]>,
    },
    /// CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE; the number is the ledger's.
    Change {
        change: Change,
        number: usize,
    },
    Status {
        mailbox: String,
    },
    Idle {
        time: Duration,
        begun: bool,
    },
    Expunge,
    Noop,
    Close,
    Logout,
}

impl Command {
    /// True when no EXPUNGE may come while it is under way (RFC 3501 7.4.1).
    fn forbids_expunge(&self) -> bool {
        // A STORE of ours is a UID STORE when it has several flags; by number it has one.
        matches!(self, Self::Fetch | Self::Flags | Self::Search)
            || matches!(self, Self::Store { changes, .. } if changes.len() <= 1)
    }
}

/// The reading of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audit {
    /// It is no such client.
    None,
    /// The folders are not known yet.
    Wanted,
    /// They are read one after the other.
    Reading,
    /// All is read.
    Done,
}

/// The client.
struct Client {
    scene: Scene,
    heard: Arc<AtomicBool>,
    login: Login,
    steps: VecDeque<Step>,
    secure: bool,
    responses: Responses,
    tag: u32,
    /// When the last command was sent, by the ledger.
    asked: u64,
    /// The same by the clock.
    sent: Duration,
    /// Nothing is read for a while.
    deaf: bool,
    state: State,
    model: Option<Model>,
    /// What the next step needs to know was just asked for.
    learned: bool,
    folders: Vec<String>,
    /// A folder was made for the step that is tried again.
    made: bool,
    /// COPYUID or APPENDUID of the command under way: UIDVALIDITY, UID.
    copied: Option<(u32, u32)>,
    audit: Audit,
    left: bool,
    at: Duration,
}

impl Client {
    fn breach(&self, law: Law, what: &str) {
        let what = format!("IMAP client of {} at {:?}: {what}", self.login.user, self.at);
        self.scene.ledger().breach(law, what);
    }

    fn is_calm(&self) -> bool {
        self.scene.ledger().is_calm()
    }

    /// The mailbox that is open may be deleted, or get another name.
    fn is_shaken(&self) -> bool {
        let open = self.model.as_ref();
        open.is_some_and(|open| self.scene.ledger().is_shaken(&open.user, &open.mailbox))
    }

    /// A message may be expunged by another client while it is being sent; in the middle of a literal
    /// the server can only leave.
    fn has_vanished(&self) -> bool {
        matches!(self.state, State::Command(Command::Fetch))
            && self.responses.is_begun()
            && !self.scene.ledger().is_alone(&self.login.user)
    }

    /// Sends a command.
    fn send(&mut self, command: Command, text: &str, line: &mut Line) {
        self.tag += 1;
        self.asked = self.scene.ledger().asking();
        self.sent = self.at;
        line.say(&format!("a{:03} {text}", self.tag));
        line.wake = Some(PATIENCE);
        self.copied = None;
        self.state = State::Command(command);
    }

    fn leave(&mut self, close: Close, line: &mut Line) {
        self.state = State::Over;
        self.finish_once();
        line.wake = None;
        line.close = Some(close);
    }

    /// It does nothing by itself any more.
    fn finish_once(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            self.scene.ledger().finished();
        }
    }

    fn greeted(&mut self, line: &mut Line) {
        match self.login.tls {
            Tls::Starttls if !self.secure => self.send(Command::Starttls, "STARTTLS", line),
            _ => self.log_in(line),
        }
    }

    fn log_in(&mut self, line: &mut Line) {
        let user = &self.login.user;
        let password = match self.login.wrong {
            true => "wrong".to_owned(),
            false => crate::book::Book::password(user),
        };
        self.send(Command::Login, &format!("LOGIN {user} {password}"), line);
    }

    fn take(&mut self, response: &[u8], line: &mut Line) {
        let text = String::from_utf8_lossy(response).into_owned();
        if let State::Greeting = self.state {
            match text.starts_with("* OK") {
                true => self.greeted(line),
                false => self.leave(Close::Eof, line),
            }
            return;
        }
        let tag = format!("a{:03} ", self.tag);
        if let Some(answer) = text.strip_prefix(&tag) {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Command(command) => self.answered(command, answer, line),
                state => {
                    self.state = state;
                    self.breach(Law::Dialogue, &format!("a second answer: {text}"));
                }
            }
        } else if let Some(news) = text.strip_prefix("* ") {
            self.news(news, response);
        } else if text.starts_with('+') {
            self.go_on(&text, line);
        } else {
            self.breach(Law::Dialogue, &format!("not a response: {text}"));
        }
    }

    /// A continuation request.
    fn go_on(&mut self, text: &str, line: &mut Line) {
        match &mut self.state {
            State::Command(Command::Append { content, .. }) => {
                line.out.extend_from_slice(content);
                line.out.extend_from_slice(b"\r\n");
            }
            State::Command(Command::Idle { time, begun }) if !*begun => {
                *begun = true;
                line.wake = Some(*time);
            }
            _ => self.breach(Law::Dialogue, &format!("nobody asked for {text}")),
        }
    }
}

impl Peer for Client {
    fn opened(&mut self, _: Now, line: &mut Line) {
        self.heard.store(true, Ordering::Relaxed);
        line.wake = Some(PATIENCE);
    }

    fn received(&mut self, at: Now, bytes: &[u8], line: &mut Line) {
        self.at = super::elapsed(at);
        self.responses.push(bytes);
        while !self.left
            && let Some(response) = self.responses.next()
        {
            self.take(&response, line);
        }
    }

    fn secured(&mut self, at: Now, line: &mut Line) {
        self.at = super::elapsed(at);
        self.secure = true;
        self.log_in(line);
    }

    fn ended(&mut self, at: Now, how: Ended, line: &mut Line) {
        self.heard.store(true, Ordering::Relaxed);
        self.at = super::elapsed(at);
        let finished = matches!(self.state, State::Over | State::Command(Command::Logout));
        if !self.left && !finished && how == Ended::Eof && self.is_calm() && !self.has_vanished() {
            self.breach(Law::Dialogue, &format!("the server went away in {:?}", self.state));
        }
        if self.audit != Audit::None && self.audit != Audit::Done {
            self.breach(Law::W10, &format!("the last reading ended by {how:?}"));
        }
        self.finish_once();
        line.close = Some(Close::Eof);
    }

    fn woken(&mut self, at: Now, line: &mut Line) {
        self.at = super::elapsed(at);
        match &self.state {
            _ if self.left => {}
            _ if std::mem::take(&mut self.deaf) => {
                (line.pause, line.wake) = (Some(false), Some(PATIENCE));
            }
            State::Pause => self.next_step(line),
            State::Command(Command::Idle { begun: true, .. }) => {
                line.say("DONE");
                self.state = State::Command(Command::Noop);
                line.wake = Some(PATIENCE);
            }
            state => {
                if self.is_calm() || self.audit != Audit::None {
                    self.breach(Law::W10, &format!("no answer in {state:?}"));
                }
                self.leave(Close::Reset, line);
            }
        }
    }
}
