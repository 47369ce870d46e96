//! What an SMTP session asks for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use waypost_mail::{Enhanced, Envelope, Reply, Verdict};
use waypost_route::Request;
use waypost_route::rate::Counted;
use waypost_smtp::server::{self as smtp, Aborted, Appended, Begun, Call, Committed, MessageId};

use crate::event::Event;
use crate::promise::{Done, Promise};
use crate::run::login;
use crate::run::message::Transit;
use crate::run::rate;
use crate::run::resolve::resolve;
use crate::run::srs;
use crate::run::submission;
use crate::{Inner, lock};

/// Runs one call.
pub(crate) fn run(world: &Arc<Inner>, call: Call, done: Done<smtp::Reply>) {
    match call {
        Call::Authenticate { client: _, credentials, ticket } => {
            let promise = Promise::new(ticket, done, || waypost_sasl::Verified::Unavailable);
            login::verify(world, credentials, Box::new(move |verified| promise.keep(verified)));
        }
        Call::Recipient { client, sender, recipient, ticket } => {
            let promise = Promise::new(ticket, done, || Verdict::Refuse(not_now()));
            let counted = Arc::clone(world);
            let sends = Arc::clone(&client);
            let keep: Box<dyn FnOnce(Verdict) + Send> = Box::new(move |verdict| match verdict {
                Verdict::Accept(_) => match rate::count(&counted, &sends, Counted::Recipients) {
                    Ok(()) => promise.keep(verdict),
                    Err(reply) => promise.keep(Verdict::Refuse(reply)),
                },
                Verdict::Refuse(_) => promise.keep(verdict),
            });
            let request = match srs::returning(world, &recipient) {
                None => Request::Recipient { client, sender, recipient },
                Some(Ok(to)) => Request::Returned { client, sender, recipient, to },
                Some(Err(reply)) => return keep(Verdict::Refuse(reply)),
            };
            resolve(&world.lookups, &world.settings.clock, &world.policy, request, keep);
        }
        Call::Begin { envelope, ticket } => {
            let promise = Promise::new(ticket, done, || Begun::Failed(not_now()));
            promise.keep(begin(world, envelope));
        }
        Call::Append { message, chunks, ticket } => {
            let promise = Promise::new(ticket, done, || Appended::Failed(not_now()));
            let worker = Arc::clone(world);
            world.files.submit(Some(message.0), move || {
                promise.keep(match worker.transits.find(message) {
                    None => Appended::Failed(not_now()),
                    Some(transit) => {
                        lock(&transit).append(chunks);
                        Appended::Done
                    }
                });
            });
        }
        Call::Commit { message, ticket } => {
            let promise = Promise::new(ticket, done, || Committed::Failed(not_now()));
            let worker = Arc::clone(world);
            world.files.submit(Some(message.0), move || match worker.transits.take(message) {
                None => promise.keep(Committed::Failed(not_now())),
                Some(transit) => submission::finish(&worker, transit, promise),
            });
        }
        Call::Abort { message, ticket } => {
            let promise = Promise::new(ticket, done, || Aborted);
            let worker = Arc::clone(world);
            world.files.submit(Some(message.0), move || {
                drop(worker.transits.take(message));
                promise.keep(Aborted);
            });
        }
    }
}

/// The messages that are coming in.
#[derive(Default)]
pub(crate) struct Transits {
    open: Mutex<HashMap<MessageId, Arc<Mutex<Transit>>>>,
    last: AtomicU64,
}

impl Transits {
    pub(crate) fn len(&self) -> usize {
        lock(&self.open).len()
    }

    fn find(&self, message: MessageId) -> Option<Arc<Mutex<Transit>>> {
        lock(&self.open).get(&message).cloned()
    }

    /// Takes a message out. Its calls run one after the other, so nobody else holds it.
    fn take(&self, message: MessageId) -> Option<Transit> {
        let transit = lock(&self.open).remove(&message)?;
        Arc::into_inner(transit)?.into_inner().ok()
    }
}

/// A message begins. Nothing is written before its header is known, so this does not wait.
fn begin(world: &Arc<Inner>, envelope: Arc<Envelope>) -> Begun {
    if let Err(reply) = rate::count(world, &envelope.client, Counted::Messages) {
        return Begun::Failed(reply);
    }
    let queue_id: Arc<str> = world.queue_ids.next(world.settings.clock.wall()).into();
    let message = MessageId(world.transits.last.fetch_add(1, Ordering::Relaxed) + 1);
    let client = Event::Client { queue_id: Arc::clone(&queue_id), envelope: Arc::clone(&envelope) };
    world.settings.log.event(client);
    let transit = Transit::new(world, Arc::clone(&queue_id), envelope);
    lock(&world.transits.open).insert(message, Arc::new(Mutex::new(transit)));
    Begun::Ready { message, queue_id: (*queue_id).into() }
}

/// The reply when something of ours failed.
pub(crate) fn not_now() -> Reply {
    Reply::new(451, Enhanced(4, 3, 0), Cow::Borrowed("Error: queue file write error"))
}
