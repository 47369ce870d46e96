//! Who answers: a world that is at work, or a spool at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::channel;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use waypost_queue::{Command, ListedDestination, QueueId, Selection};
use waypost_world::{AtRest, Clock, QueueError, Queued, RestError, SystemClock, World};

use super::protocol::{Ask, Destination, Line, Message, queue_id};

/// How long the queue manager may take for an answer.
const PATIENCE: Duration = Duration::from_secs(100);
/// Messages whose entries are held at the same time.
const PAGE: usize = 64;
/// Octets of a message in one line.
const PIECE: usize = 48 * 1024;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// Nobody listens to the answer any more.
    #[error("{0}")]
    Peer(#[from] io::Error),
    /// For this reason.
    #[error("{0}")]
    Own(String),
}

impl From<RestError> for Failed {
    fn from(error: RestError) -> Self {
        Self::Own(error.to_string())
    }
}

impl From<QueueError> for Failed {
    fn from(error: QueueError) -> Self {
        Self::Own(error.to_string())
    }
}

impl From<String> for Failed {
    fn from(text: String) -> Self {
        Self::Own(text)
    }
}

pub(crate) type Each<'a, T> = &'a mut dyn FnMut(T) -> Result<(), Failed>;

type Told<T> = Box<dyn FnOnce(Result<T, QueueError>) + Send>;

/// Messages that wait. May block.
pub(crate) trait Backend {
    /// Takes all mail for other servers.
    fn relayhost(&self) -> Option<&str>;
    /// Hands out the messages of a selection.
    fn each(&self, selection: &Selection, each: Each<'_, Queued>) -> Result<(), Failed>;
    /// Does what is said; how many messages it changed.
    fn command(&self, command: Command) -> Result<usize, Failed>;
    /// Destinations that the queue manager knows.
    fn destinations(&self) -> Result<Vec<ListedDestination>, Failed>;
    /// Hands out a message, piece by piece; false when there is none of this name.
    fn body(&self, id: QueueId, each: Each<'_, Bytes>) -> Result<bool, Failed>;
}

/// Answers a question, line by line, the last one included.
///
/// # Errors
/// What `line` says.
pub(crate) fn answer(
    ask: &Ask,
    backend: &dyn Backend,
    line: &mut dyn FnMut(Line) -> io::Result<()>,
) -> io::Result<()> {
    match try_answer(ask, backend, line) {
        Ok(messages) => line(Line::Done(messages)),
        Err(Failed::Own(text)) => line(Line::Error(text)),
        Err(Failed::Peer(error)) => Err(error),
    }
}

fn try_answer(
    ask: &Ask,
    backend: &dyn Backend,
    line: &mut dyn FnMut(Line) -> io::Result<()>,
) -> Result<usize, Failed> {
    match ask {
        Ask::Body(id) => {
            let found = backend.body(queue_id(id)?, &mut |piece| {
                Ok(line(Line::Body(BASE64_STANDARD.encode(piece)))?)
            })?;
            Ok(usize::from(found))
        }
        Ask::Destinations => {
            let all = destinations(backend)?;
            let count = all.len();
            for destination in all {
                line(Line::Destination(destination))?;
            }
            Ok(count)
        }
        Ask::List(which) => {
            let mut count = 0;
            backend.each(&which.selection()?, &mut |queued| {
                count += 1;
                Ok(line(Line::Message(Message::of(&queued, backend.relayhost()).into()))?)
            })?;
            Ok(count)
        }
        Ask::Retry(which) => backend.command(Command::Retry(which.selection()?)),
        Ask::Hold(which) => backend.command(Command::Hold(which.selection()?)),
        Ask::Release(which) => backend.command(Command::Release(which.selection()?)),
        Ask::Expire(which) => backend.command(Command::Expire(which.selection()?)),
        Ask::Drop(which) => backend.command(Command::Drop(which.selection()?)),
    }
}

/// What waits where, and how the queue manager sees it.
fn destinations(backend: &dyn Backend) -> Result<Vec<Destination>, Failed> {
    let key = |it: &Destination| (it.transport.clone(), it.nexthop.clone());
    let known = backend.destinations()?;
    let known = known.iter().map(Destination::of).map(|it| (key(&it), it));
    let mut all: BTreeMap<_, _> = known.collect();
    backend.each(&Selection::All, &mut |queued| {
        let message = Message::of(&queued, backend.relayhost());
        let mut counted = BTreeSet::new();
        for recipient in message.recipients {
            let (Some(transport), Some(nexthop)) = (recipient.transport, recipient.nexthop) else {
                continue;
            };
            let new = Destination { transport, nexthop, ..Destination::default() };
            let key = key(&new);
            let destination = all.entry(key.clone()).or_insert(new);
            destination.recipients += 1;
            if counted.insert(key) {
                destination.messages += 1;
                let oldest = destination.oldest.unwrap_or(message.arrival_time);
                destination.oldest = Some(oldest.min(message.arrival_time));
            }
        }
        Ok(())
    })?;
    Ok(all.into_values().collect())
}

/// A world at work.
pub(crate) struct Live {
    pub(crate) world: World,
    pub(crate) relayhost: Option<Box<str>>,
}

impl Live {
    /// Waits for what comes by callback.
    fn wait<T: Send + 'static>(ask: impl FnOnce(Told<T>)) -> Result<T, Failed> {
        let (send, received) = channel();
        ask(Box::new(move |answer| {
            // Nobody waits any more when it took too long.
            let _ = send.send(answer);
        }));
        let late = |_| Failed::Own("the queue manager does not answer in time".into());
        Ok(received.recv_timeout(PATIENCE).map_err(late)??)
    }
}

impl Backend for Live {
    fn relayhost(&self) -> Option<&str> {
        self.relayhost.as_deref()
    }

    fn each(&self, selection: &Selection, each: Each<'_, Queued>) -> Result<(), Failed> {
        let listed = Self::wait(|done| self.world.queue(selection.clone(), done))?;
        let mut unreadable = None;
        for page in listed.chunks(PAGE) {
            let page = page.to_vec();
            for queued in Self::wait(|done| self.world.queue_entries(page, done))? {
                match queued {
                    Ok(queued) => each(queued)?,
                    Err(error) => unreadable = unreadable.or(Some(error)),
                }
            }
        }
        // The others are no less interesting.
        unreadable.map_or(Ok(()), |error| Err(error.into()))
    }

    fn command(&self, command: Command) -> Result<usize, Failed> {
        Self::wait(|done| self.world.queue_command(command, done))
    }

    fn destinations(&self) -> Result<Vec<ListedDestination>, Failed> {
        Self::wait(|done| self.world.destinations(done))
    }

    fn body(&self, id: QueueId, each: Each<'_, Bytes>) -> Result<bool, Failed> {
        match Self::wait(|done| self.world.queue_body(id, done))? {
            None => Ok(false),
            Some(mut body) => {
                while !body.is_empty() {
                    each(body.split_to(body.len().min(PIECE)))?;
                }
                Ok(true)
            }
        }
    }
}

/// A spool at rest, and who takes mail for other servers.
pub(crate) struct Resting {
    pub(crate) spool: AtRest,
    pub(crate) relayhost: Option<Box<str>>,
}

impl Backend for Resting {
    fn relayhost(&self) -> Option<&str> {
        self.relayhost.as_deref()
    }

    fn each(&self, selection: &Selection, each: Each<'_, Queued>) -> Result<(), Failed> {
        self.spool.each(selection, each)
    }

    fn command(&self, command: Command) -> Result<usize, Failed> {
        Ok(self.spool.command(SystemClock::default().wall(), &command)?)
    }

    fn destinations(&self) -> Result<Vec<ListedDestination>, Failed> {
        Ok(Vec::new())
    }

    fn body(&self, id: QueueId, each: Each<'_, Bytes>) -> Result<bool, Failed> {
        let mut told = Ok(());
        let found = self.spool.body(id, &mut |piece| {
            if told.is_ok() {
                told = each(piece);
            }
        })?;
        told.map(|()| found)
    }
}
