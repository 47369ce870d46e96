//! The server: one [`Protocol`] that takes commands one at a time.
//!
//! | verb | file |
//! |---|---|
//! | CAPABILITY, ID, ENABLE, NAMESPACE, LOGOUT | `capability.rs` |
//! | STARTTLS, LOGIN, AUTHENTICATE | `login.rs` |
//! | SELECT, EXAMINE, CLOSE, UNSELECT | `select.rs` |
//! | NOOP, CHECK, and the news after other commands | `sync.rs` |
//! | LIST, LSUB | `list.rs` |
//! | STATUS | `status.rs` |
//! | CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE | `mailbox.rs` |
//! | FETCH, UID FETCH | `fetch/` |
//! | STORE, UID STORE | `store.rs` |
//! | SEARCH, UID SEARCH | `search.rs` |
//! | COPY, MOVE and their UID forms | `copy.rs` |
//! | EXPUNGE, UID EXPUNGE | `expunge.rs` |
//! | APPEND | `append.rs` |
//! | IDLE | `idle.rs` |
//!
//! `intake.rs` finds the verb of a command. Its `begin` reads the arguments and asks the world; the
//! answer comes to its `answered`; what has much to say says it in `advance`, as room allows. Each
//! gives a `Step`.

mod append;
mod call;
mod capability;
mod copy;
mod expunge;
mod fetch;
mod idle;
mod intake;
mod list;
mod login;
mod mailbox;
mod search;
mod select;
mod status;
mod store;
mod sync;

pub use call::*;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use waypost_machine::{CallId, Cx, Event, Progress, Protocol, Timer, TlsInfo, TlsRole, Why};
use waypost_mail::{Account, Peer};

use crate::config::Config;
use crate::frame::Frame;
use crate::response::{self, Refusal};
use crate::state::{Selected, State};
use crate::syntax::args::Arg;

type Context<'a> = Cx<'a, Server>;

/// The server side of one connection.
pub struct Server {
    config: Arc<Config>,
    peer: Peer,
    tls: Option<TlsInfo>,
    state: State,
    frame: Frame,
    /// The command that is being worked on.
    job: Option<Job>,
    /// Its tag, or that of a command that was refused and has not ended yet.
    tag: Box<str>,
    /// The reply to the latter.
    refused: Option<String>,
    /// Bad commands since the last good one.
    bad: u32,
    /// The client has asked for capabilities itself.
    asked: bool,
    /// The shell wants to stop; a command is still running.
    stopping: bool,
    /// Good-bye is said.
    closed: bool,
    /// Octets from and to the client.
    octets: (u64, u64),
}

/// A command that waits for the world, or has more to say.
enum Job {
    Append(Box<append::Append>),
    Close(select::Close),
    Copy(copy::Copy),
    Expunge(expunge::Expunge),
    Fetch(Box<fetch::Fetch>),
    Idle(idle::Idle),
    List(Box<list::List>),
    Login(login::Login),
    Manage(mailbox::Manage),
    Search(search::Search),
    Select(select::Select),
    Status(status::Status),
    Store(store::Store),
    Sync(sync::Sync),
}

/// What a command does next.
enum Step {
    /// It is complete: its tagged line is sent.
    Done,
    /// It waits for an event.
    Wait(Job),
    /// It has more to do or to say now.
    Run(Job),
}

/// A command as a verb's `begin` sees it.
struct Command<'a> {
    /// `UID` stands before the name.
    uid: bool,
    args: &'a [Arg<'a>],
}

impl Server {
    /// A session with a client that has just connected. [`waypost_machine::Limits::input`] must be
    /// 16 KiB at least: a response to AUTHENTICATE may be a line of nearly that length.
    pub fn new(config: Arc<Config>, peer: Peer) -> Self {
        Self {
            config,
            peer,
            tls: None,
            state: State::default(),
            frame: Frame::default(),
            job: None,
            tag: "*".into(),
            refused: None,
            bad: 0,
            asked: false,
            stopping: false,
            closed: false,
            octets: (0, 0),
        }
    }

    /// Who is logged in.
    pub fn account(&self) -> Option<&Account> {
        self.state.account().map(AsRef::as_ref)
    }

    // --- what verbs use ---

    fn send(&mut self, cx: &mut Context<'_>, text: &str) {
        self.send_octets(cx, text.as_bytes());
    }

    fn send_octets(&mut self, cx: &mut Context<'_>, octets: &[u8]) {
        self.octets.1 += octets.len() as u64;
        cx.send_slice(octets);
    }

    /// Ends the command with its tagged line; `text` begins with OK, NO or BAD.
    fn end(&mut self, cx: &mut Context<'_>, text: &str) -> Step {
        let line = format!("{} {text}\r\n", self.tag);
        self.send(cx, &line);
        Step::Done
    }

    /// Says good-bye and closes; the world hears that the mailbox is not needed any more.
    fn bye(&mut self, cx: &mut Context<'_>, text: &str, why: Why, reason: &'static str) {
        let line = format!("* BYE {text}\r\n");
        self.send(cx, &line);
        self.close(cx, why, reason);
    }

    fn close(&mut self, cx: &mut Context<'_>, why: Why, reason: &'static str) {
        if let Some(Job::Append(append)) = self.job.take() {
            append.abort(cx);
        }
        self.release(cx);
        let user = self.account().map(|account| account.user.clone());
        cx.fact(Fact::Disconnected { user, reason, octets: self.octets });
        self.closed = true;
        cx.close(why);
    }

    /// Gives the open mailbox back, if there is one.
    fn release(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(selected) = self.state.unselect() else { return false };
        let handle = selected.handle;
        // A commit: it is to happen also when the session ends here. Nobody waits for it.
        cx.commit(|ticket| Call::Release { handle, ticket });
        true
    }

    fn account_arc(&self) -> Result<Arc<Account>, Refusal> {
        self.state.account().cloned().ok_or(response::UNKNOWN)
    }

    fn selected(&mut self) -> Result<&mut Selected, Refusal> {
        self.state.selected().ok_or(response::NOT_SELECTED)
    }

    // --- jobs ---

    fn settle(&mut self, cx: &mut Context<'_>, step: Step) -> Progress {
        match step {
            Step::Done => {
                self.job = None;
                self.idle_again(cx);
                Progress::More
            }
            Step::Wait(job) => {
                self.job = Some(job);
                Progress::Blocked
            }
            Step::Run(job) => {
                self.job = Some(job);
                Progress::More
            }
        }
    }

    /// A command has ended: the client has time again.
    fn idle_again(&mut self, cx: &mut Context<'_>) {
        if self.account().is_some() && !self.closed {
            cx.arm(Timer::Idle, self.config.idle_timeout);
        }
    }

    fn answered(&mut self, cx: &mut Context<'_>, id: CallId, reply: Reply) {
        let Some(job) = self.job.take() else { return };
        let step = match (job, reply) {
            (Job::Append(job), reply) => append::answered(self, cx, job, id, reply),
            (Job::Close(job), Reply::Expunged(_)) => select::closed(self, cx, job),
            (Job::Copy(job), Reply::Copied(copied)) => copy::answered(self, cx, job, copied),
            (Job::Expunge(job), Reply::Expunged(done)) => expunge::answered(self, cx, job, done),
            (Job::Fetch(job), reply) => fetch::answered(self, job, id, reply),
            (Job::Idle(job), reply) => idle::answered(self, cx, job, reply),
            (Job::List(job), reply) => list::answered(self, cx, job, reply),
            (Job::Login(job), Reply::LoggedIn(outcome)) => login::answered(self, cx, job, outcome),
            (Job::Manage(job), Reply::Managed(done)) => mailbox::answered(self, cx, job, done),
            (Job::Search(job), Reply::Found(found)) => search::answered(self, cx, job, found),
            (Job::Select(job), Reply::Opened(opened)) => select::answered(self, cx, job, opened),
            (Job::Status(job), Reply::Counted(counted)) => status::answered(self, cx, job, counted),
            (Job::Store(job), Reply::Stored(stored)) => store::answered(self, cx, job, stored),
            (Job::Sync(job), Reply::Synced(synced)) => sync::answered(self, cx, job, synced),
            // Of a call that nobody waits for.
            (job, _) => Step::Wait(job),
        };
        self.settle(cx, step);
    }

    /// A call that is not answered in time has failed for now.
    fn expired(&mut self, cx: &mut Context<'_>, id: CallId) {
        let Some(job) = &self.job else { return };
        let failed = Failure::Unavailable;
        let reply = match job {
            Job::Append(job) => job.expired(id),
            Job::Close(_) | Job::Expunge(_) => Expunged(Err(failed)).into(),
            Job::Copy(_) => Copied(Err(failed)).into(),
            Job::Fetch(job) => job.expired(id),
            Job::Idle(job) => job.expired(),
            Job::List(job) => job.expired(),
            Job::Login(_) => LoggedIn::Unavailable.into(),
            Job::Manage(_) => Managed(Err(failed)).into(),
            Job::Search(_) => Found(Err(failed)).into(),
            Job::Select(_) => Opened(Err(failed)).into(),
            Job::Status(_) => Counted(Vec::new()).into(),
            Job::Store(_) => Stored(Err(failed)).into(),
            Job::Sync(_) => Synced(Err(failed)).into(),
        };
        self.answered(cx, id, reply);
    }

    fn greet(&mut self, cx: &mut Context<'_>) {
        let capabilities = response::login_capabilities(&self.config, self.tls.is_some());
        let line = format!("* OK [CAPABILITY {capabilities}] {} ready.\r\n", self.config.product);
        self.send(cx, &line);
    }
}

impl Protocol for Server {
    type Call = Call;
    type Reply = Reply;
    type Notice = Notice;
    type Fact = Fact;

    fn start(&mut self, cx: &mut Context<'_>) {
        cx.arm(Timer::Greeting, self.config.login_timeout);
        if self.config.implicit_tls {
            cx.secure(TlsRole::Server);
        } else {
            self.greet(cx);
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Progress {
        let Some(job) = self.job.take() else { return self.next_command(cx) };
        let step = match job {
            Job::Append(job) => append::advance(self, cx, job),
            Job::Fetch(job) => fetch::advance(self, cx, job),
            Job::Idle(job) => idle::advance(self, cx, job),
            Job::List(job) => list::advance(self, cx, job),
            Job::Login(job) => login::advance(self, cx, job),
            Job::Search(job) => search::advance(self, cx, job),
            Job::Sync(job) => sync::advance(self, cx, job),
            job => Step::Wait(job),
        };
        self.settle(cx, step)
    }

    fn event(&mut self, cx: &mut Context<'_>, event: Event<Self>) {
        match event {
            Event::Reply(id, reply) => self.answered(cx, id, reply),
            Event::Expired(id) => self.expired(cx, id),
            Event::Notice(Notice::Changed(handle)) => idle::noticed(self, cx, handle),
            Event::Timer(Timer::Delay) => match self.job.take() {
                Some(Job::Login(job)) => {
                    let step = login::delayed(self, cx, job);
                    self.settle(cx, step);
                }
                Some(Job::Idle(job)) => {
                    let step = idle::still_here(self, cx, job);
                    self.settle(cx, step);
                }
                job => self.job = job,
            },
            Event::Timer(Timer::Greeting) if self.account().is_some() => {}
            Event::Timer(_) => self.bye(cx, response::BYE_INACTIVE, Why::Timeout, "Inactivity"),
            Event::Secured(info) => {
                let first = self.tls.is_none() && self.config.implicit_tls;
                self.tls = Some(info);
                if first {
                    self.greet(cx);
                }
            }
            Event::Eof => self.close(cx, Why::Gone, "Connection closed"),
            Event::Stop => match &self.job {
                Some(Job::Append(job)) if job.is_committing() => self.stopping = true,
                // Cutting these off harms nobody; others come to their end first.
                None | Some(Job::Append(_) | Job::Idle(_) | Job::Login(_)) => {
                    self.bye(cx, response::BYE_STOP, Why::Stopped, "Server shutting down");
                }
                _ => self.stopping = true,
            },
        }
    }
}
