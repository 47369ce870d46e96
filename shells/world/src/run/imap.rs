//! What an IMAP session asks for.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use waypost_imap::server::{
    self as imap, Call, Failure, Handle, LoggedIn, NamedFlags, Notice, OpenMailbox, Upload,
};
use waypost_machine::Ticket;
use waypost_mail::MailHome;
use waypost_sasl::{Credentials, Verified};

use crate::promise::{Done, Promise};
use crate::run::login::{Found, account, verify};
use crate::store::{Error, Told};
use crate::{Inner, lock};

const DOWN: Failure = Failure::Unavailable;

/// The mailboxes and messages that a session has open.
pub(crate) struct Session {
    notify: Arc<dyn Fn(Notice) + Send + Sync>,
    /// `None` once the session is over.
    open: Mutex<Option<Open>>,
}

#[derive(Default)]
struct Open {
    handles: BTreeSet<u64>,
    uploads: BTreeSet<u64>,
}

/// Kinds of keys, so that numbers of different kinds do not hold each other up.
const MAILBOX: u64 = 1 << 62;
const UPLOAD: u64 = 2 << 62;
const SEARCHES: u64 = 3 << 62;

impl Session {
    pub(crate) fn new(notify: Arc<dyn Fn(Notice) + Send + Sync>) -> Self {
        Self { notify, open: Mutex::new(Some(Open::default())) }
    }

    /// Ends the session: closes what it left open, and what is still being opened as soon as it is.
    pub(crate) fn end(&self, world: &Arc<Inner>) {
        let Some(open) = lock(&self.open).take() else { return };
        for handle in open.handles {
            let store = world.store.clone();
            world.mailboxes.submit(Some(MAILBOX | handle), move || store.release(Handle(handle)));
        }
        for upload in open.uploads {
            let store = world.store.clone();
            world
                .mailboxes
                .submit(Some(UPLOAD | upload), move || store.abort_upload(Upload(upload)));
        }
    }

    /// Notes what was opened or closed; false when the session is over.
    fn note(&self, change: impl FnOnce(&mut Open) -> bool) -> bool {
        let mut open = lock(&self.open);
        open.as_mut().map(change).is_some()
    }
}

/// The work for one call, when its turn comes.
struct Work<'w> {
    world: &'w Arc<Inner>,
    session: &'w Arc<Session>,
}

impl Work<'_> {
    /// Runs `job` on a thread for files; `key` keeps the order within a mailbox or message.
    fn run<T: Send + 'static>(
        &self,
        key: Option<u64>,
        ticket: Ticket<T>,
        done: Done<imap::Reply>,
        failure: fn() -> T,
        job: impl FnOnce(&Arc<Inner>, &Arc<Session>) -> T + Send + 'static,
    ) where
        imap::Reply: From<T>,
    {
        let promise = Promise::new(ticket, done, failure);
        let (world, session) = (Arc::clone(self.world), Arc::clone(self.session));
        self.world.mailboxes.submit(key, move || promise.keep(job(&world, &session)));
    }
}

/// Runs one call.
pub(crate) fn run(world: &Arc<Inner>, session: &Arc<Session>, call: Call, done: Done<imap::Reply>) {
    let work = Work { world, session };
    match call {
        Call::Login { credentials, ticket, .. } => {
            let promise = Promise::new(ticket, done, || LoggedIn::Unavailable);
            login(world, credentials, promise);
        }
        Call::List { account, ticket } => {
            work.run(
                None,
                ticket,
                done,
                || imap::Listed(Err(DOWN)),
                move |world, _| imap::Listed(told(world.store.list(&account.home))),
            );
        }
        Call::Manage { account, change, ticket } => {
            work.run(
                None,
                ticket,
                done,
                || imap::Managed(Err(DOWN)),
                move |world, _| imap::Managed(told(world.store.manage(&account.home, &change))),
            );
        }
        Call::Status { account, mailboxes, size, ticket } => {
            let count = move |world: &Arc<Inner>, name: &str| {
                told(world.store.status(&account.home, name, size))
            };
            let job = move |world: &Arc<Inner>, _: &Arc<Session>| {
                imap::Counted(mailboxes.iter().map(|name| count(world, name)).collect())
            };
            work.run(None, ticket, done, || imap::Counted(Vec::new()), job);
        }
        Call::Open { account, mailbox, write, ticket } => {
            work.run(
                None,
                ticket,
                done,
                || imap::Opened(Err(DOWN)),
                move |world, session| {
                    imap::Opened(open(world, session, &account.home, &mailbox, write))
                },
            );
        }
        Call::Begin { account, mailbox, flags, date, ticket, .. } => {
            work.run(
                None,
                ticket,
                done,
                || imap::Begun(Err(DOWN)),
                move |world, session| {
                    imap::Begun(begin(world, session, &account.home, &mailbox, flags, date))
                },
            );
        }
        other => in_mailbox(&work, other, done),
    }
}

/// Calls for a mailbox that is open, or for an APPEND under way.
fn in_mailbox(work: &Work<'_>, call: Call, done: Done<imap::Reply>) {
    let key = |handle: Handle| Some(MAILBOX | handle.0);
    match call {
        Call::Sync { handle, since, ticket } => {
            work.run(
                key(handle),
                ticket,
                done,
                || imap::Synced(Err(DOWN)),
                move |world, _| imap::Synced(told(world.store.sync(handle, since))),
            );
        }
        Call::Watch { handle, on, ticket } => {
            work.run(
                key(handle),
                ticket,
                done,
                || imap::Watched,
                move |world, session| watch(world, session, handle, on),
            );
        }
        Call::Release { handle, ticket } => {
            work.run(
                key(handle),
                ticket,
                done,
                || imap::Released,
                move |world, session| {
                    session.note(|open| open.handles.remove(&handle.0));
                    world.store.release(handle);
                    imap::Released
                },
            );
        }
        other => with_messages(work, other, done),
    }
}

/// Calls for messages of a mailbox that is open.
fn with_messages(work: &Work<'_>, call: Call, done: Done<imap::Reply>) {
    let key = |handle: Handle| Some(MAILBOX | handle.0);
    match call {
        Call::Store { handle, uids, how, flags, since, durable, ticket } => {
            work.run(
                key(handle),
                ticket,
                done,
                || imap::Stored(Err(DOWN)),
                move |world, _| {
                    let mut stored = world.store.set_flags(handle, &uids, how, &flags, since);
                    if durable && stored.is_ok() {
                        stored = world.store.settle(handle).and(stored);
                    }
                    imap::Stored(told(stored))
                },
            );
        }
        Call::Expunge { handle, uids, since, ticket } => {
            work.run(
                key(handle),
                ticket,
                done,
                || imap::Expunged(Err(DOWN)),
                move |world, _| {
                    imap::Expunged(told(world.store.expunge(handle, uids.as_deref(), since)))
                },
            );
        }
        Call::Copy { handle, uids, to, remove, ticket } => {
            work.run(
                key(handle),
                ticket,
                done,
                || imap::Copied(Err(DOWN)),
                move |world, _| imap::Copied(told(world.store.copy(handle, &uids, &to, remove))),
            );
        }
        Call::Read { handle, uids, what, ticket } => {
            work.run(
                key(handle),
                ticket,
                done,
                || imap::Looked(Err(DOWN)),
                move |world, _| imap::Looked(told(world.store.read(handle, &uids, what))),
            );
        }
        Call::Body { handle, uid, from, len, ticket } => {
            work.run(
                key(handle),
                ticket,
                done,
                || imap::Piece(Err(DOWN)),
                move |world, _| {
                    let piece = told(world.store.body(handle, uid, from, len));
                    imap::Piece(piece.and_then(|piece| piece.ok_or(Failure::Gone)))
                },
            );
        }
        Call::Search { handle, view, program, ticket } => {
            work.run(
                searches_of(work.world, handle),
                ticket,
                done,
                || imap::Found(Err(DOWN)),
                move |world, _| imap::Found(told(world.store.search(handle, &view, &program))),
            );
        }
        other => in_upload(work, other, done),
    }
}

/// A search may take minutes. Those of one account run one after the other, and leave the threads to
/// others.
fn searches_of(world: &Inner, handle: Handle) -> Option<u64> {
    let session = world.store.session(handle).ok()?;
    let mut hasher = DefaultHasher::new();
    session.mailbox.home.path.hash(&mut hasher);
    Some(SEARCHES | hasher.finish())
}

/// Calls for an APPEND under way.
fn in_upload(work: &Work<'_>, call: Call, done: Done<imap::Reply>) {
    let key = |upload: Upload| Some(UPLOAD | upload.0);
    match call {
        Call::Append { upload, chunks, ticket } => {
            work.run(
                key(upload),
                ticket,
                done,
                || imap::Appended(Err(DOWN)),
                move |world, _| imap::Appended(told(world.store.append(upload, &chunks))),
            );
        }
        Call::Commit { upload, ticket } => {
            work.run(
                key(upload),
                ticket,
                done,
                || imap::Committed(Err(DOWN)),
                move |world, s| {
                    s.note(|open| open.uploads.remove(&upload.0));
                    imap::Committed(told(world.store.commit_upload(upload)))
                },
            );
        }
        Call::Abort { upload, ticket } => {
            work.run(
                key(upload),
                ticket,
                done,
                || imap::Aborted,
                move |world, session| {
                    session.note(|open| open.uploads.remove(&upload.0));
                    world.store.abort_upload(upload);
                    imap::Aborted
                },
            );
        }
        other => debug_assert!(false, "a call without work: {other:?}"),
    }
}

fn open(
    world: &Arc<Inner>,
    session: &Arc<Session>,
    home: &MailHome,
    mailbox: &str,
    write: bool,
) -> Result<OpenMailbox, Failure> {
    let opened = told(world.store.open(home, mailbox, write))?;
    let handle = opened.handle;
    if !session.note(|open| open.handles.insert(handle.0)) {
        world.store.release(handle);
    }
    Ok(opened)
}

fn begin(
    world: &Arc<Inner>,
    session: &Arc<Session>,
    home: &MailHome,
    mailbox: &str,
    flags: NamedFlags,
    date: Option<i64>,
) -> Result<Upload, Failure> {
    let upload = told(world.store.begin_upload(home, mailbox, flags, date))?;
    if !session.note(|open| open.uploads.insert(upload.0)) {
        world.store.abort_upload(upload);
    }
    Ok(upload)
}

fn watch(world: &Arc<Inner>, session: &Arc<Session>, handle: Handle, on: bool) -> imap::Watched {
    let notify = Arc::clone(&session.notify);
    let told: Option<Told> =
        on.then(|| -> Told { Arc::new(move |handle| notify(Notice::Changed(handle))) });
    if let Err(error) = world.store.watch(handle, told) {
        // The session goes on without news; it looks at the disk when the client asks.
        tracing::warn!("warning: cannot watch a mailbox: {error}");
    }
    imap::Watched
}

/// What a client is told; what the admin should know goes to the log.
fn told<T>(result: Result<T, Error>) -> Result<T, Failure> {
    result.map_err(|error| {
        if matches!(
            error,
            Error::Denied(_)
                | Error::Locked(_)
                | Error::NoSpace(_)
                | Error::Refused(_)
                | Error::Unavailable(_)
        ) {
            tracing::warn!("warning: mailbox: {error}");
        }
        error.into()
    })
}

/// A password that is right leads on to the account.
fn login(world: &Arc<Inner>, credentials: Credentials, promise: Promise<LoggedIn, imap::Reply>) {
    let after = Arc::clone(world);
    let tell = move |verified| match verified {
        Verified::Denied => promise.keep(LoggedIn::Denied),
        Verified::Unavailable => promise.keep(LoggedIn::Unavailable),
        Verified::Accepted(user) => {
            let name = user.clone();
            let tell = move |found| {
                promise.keep(match found {
                    Found::Account(account) => LoggedIn::Accepted(Arc::new(account)),
                    Found::Absent => {
                        tracing::warn!("warning: '{name}' can log in but is not in the userdb");
                        LoggedIn::Unavailable
                    }
                    Found::Unavailable(why) => {
                        tracing::warn!("warning: mail of '{name}': {why}");
                        LoggedIn::Unavailable
                    }
                });
            };
            account(&after, &user, Box::new(tell));
        }
    };
    verify(world, credentials, Box::new(tell));
}
