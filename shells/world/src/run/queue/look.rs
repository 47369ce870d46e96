//! What the admin sees of the queue. Whoever asks learns, too, that there is no answer: a queue that
//! does not tell what it holds is not empty.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use waypost_queue::{Command, Listed, ListedDestination, QueueId, Selection};

use super::{Queue, Task};
use crate::Inner;
use crate::promise::Sure;
use crate::rest::Queued;
use crate::spool::SpoolError;

/// Why the queue of a server has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// It has stopped, or the work for the answer did not come to its end.
    #[error("the queue is not at work")]
    Stopped,
    /// A message cannot be read; the text names the file.
    #[error("spool: {0}")]
    Unreadable(String),
}

impl From<SpoolError> for QueueError {
    fn from(error: SpoolError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// An answer to the admin.
pub(crate) type Told<T> = Box<dyn FnOnce(Result<T, QueueError>) + Send>;

fn sure<T>(done: Told<T>) -> Sure<Result<T, QueueError>> {
    Sure::new(done, || Err(QueueError::Stopped))
}

/// `None` for what is not there.
fn found<T>(read: Result<T, SpoolError>) -> Result<Option<T>, QueueError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(SpoolError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Queue {
    /// Does what the admin wants; `done` gets the number of messages that it changed.
    pub(crate) fn command(&self, command: Command, done: Told<usize>) {
        self.push(Task::Command(command, sure(done)));
    }

    /// Lists messages by name, without their entries.
    pub(crate) fn list(&self, selection: Selection, done: Told<Vec<Listed>>) {
        let done = sure(done);
        self.push(Task::Look(Box::new(move |machine| {
            let mut listed: Vec<_> = machine.listing(&selection).collect();
            listed.sort_unstable_by_key(|it| it.id);
            done.keep(Ok(listed));
        })));
    }

    /// Reads the entries of listed messages. One that went meanwhile is left out.
    pub(crate) fn entries(
        world: &Arc<Inner>,
        listed: Vec<Listed>,
        done: Told<Vec<Result<Queued, QueueError>>>,
    ) {
        let (worker, done) = (Arc::clone(world), sure(done));
        world.files.submit(None, move || {
            let load = |listed: Listed| {
                let entry = found(worker.queue.spool.load(listed.id.as_str())).transpose()?;
                Some(entry.map(|entry| Queued { listed, entry: Arc::new(entry) }))
            };
            done.keep(Ok(listed.into_iter().filter_map(load).collect()));
        });
    }

    /// Lists the destinations that something is known of.
    pub(crate) fn destinations(&self, done: Told<Vec<ListedDestination>>) {
        let done = sure(done);
        self.push(Task::Look(Box::new(move |machine| {
            done.keep(Ok(machine.destinations().collect()));
        })));
    }

    /// Reads the text of a message; `None` when it is not there.
    pub(crate) fn body(world: &Arc<Inner>, id: QueueId, done: Told<Option<Bytes>>) {
        let (worker, done) = (Arc::clone(world), sure(done));
        world.files.submit(None, move || {
            let spool = &worker.queue.spool;
            let mut text = Vec::new();
            let mut each = |piece: Bytes| text.extend_from_slice(&piece);
            let read =
                spool.load(id.as_str()).and_then(|entry| spool.read_body(&entry.origin, &mut each));
            done.keep(found(read).map(|read| read.map(|()| text.into())));
        });
    }
}
