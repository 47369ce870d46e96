//! What the queue is told, asks, and tells.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use waypost_machine::{Ticket, UnixTime};
use waypost_mail::{ReversePath, Target};

use crate::change::Change;
use crate::destination::Destination;
use crate::diagnosis::Diagnosis;
use crate::entry::Entry;
use crate::queue_id::{QueueId, QueueIdError};
use crate::waiting::{State, Waiting};

/// What happens to the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A new message lies in the spool, durably; it is tried at once.
    Submitted(Arrival),
    /// A message was found in the spool at start; it is tried when its time comes.
    Recovered(Arrival),
    /// The admin wants something; [`Fact::Commanded`] with this number tells when it is done.
    Command(u64, Command),
}

/// What the queue needs to know of a message: its entry, without the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its name.
    pub id: QueueId,
    /// When it was accepted.
    pub arrived: UnixTime,
    /// Who shares with whom: messages of one login, or without login of one envelope sender's
    /// domain, are in each other's way; those of others are not.
    pub sender: Box<str>,
    /// The envelope sender is null: it is a report, nobody is told of its fate.
    pub null_sender: bool,
    /// When to try it.
    pub next: UnixTime,
    /// Somebody was tried before.
    pub tried: bool,
    /// The admin holds it.
    pub held: bool,
    /// The sender was told of the delay.
    pub warned: bool,
    /// How many places the entry's list of recipients has, free ones included.
    pub places: u32,
    /// Recipients whose story is not over.
    pub recipients: Vec<Addressee>,
    /// What happened already and the spool could not be told: it still is to be.
    pub unsaved: Vec<Change>,
}

/// A recipient whose story is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// Its place in [`Entry::recipients`].
    pub place: u32,
    /// What is to be done.
    pub duty: Duty,
}

/// What is to be done for a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Deliver to it there.
    Deliver(Destination),
    /// It leads nowhere, for this reason: tell the sender.
    Nowhere(Arc<Diagnosis>),
    /// It was refused or has expired: tell the sender.
    ReportFailed,
    /// It has the message: tell the sender, who wants to know.
    ReportDelivered,
}

impl Arrival {
    /// What the queue needs to know of an entry; `relayhost` takes all mail for other servers.
    ///
    /// # Errors
    /// The queue id of the entry is none.
    pub fn of(entry: &Entry, relayhost: Option<&str>) -> Result<Self, QueueIdError> {
        let origin = &entry.origin;
        let sender = match (&origin.login, &origin.sender) {
            (Some(login), _) => login.clone(),
            (None, ReversePath::Address(address)) => {
                alloc::format!("@{}", address.domain().as_str().to_ascii_lowercase()).into()
            }
            (None, ReversePath::Null) => "<>".into(),
        };
        let recipients = (0..).zip(&entry.recipients).filter_map(|(place, waiting)| {
            Some(Addressee { place, duty: Duty::of(waiting.as_ref()?, relayhost) })
        });
        Ok(Self {
            id: origin.queue_id.parse()?,
            arrived: origin.arrived,
            sender,
            null_sender: origin.sender == ReversePath::Null,
            next: entry.next().unwrap_or(origin.arrived),
            tried: entry.recipients.iter().flatten().any(|waiting| waiting.attempts > 0),
            held: entry.held,
            warned: entry.warned,
            places: u32::try_from(entry.recipients.len()).unwrap_or(u32::MAX),
            recipients: recipients.collect(),
            unsaved: Vec::new(),
        })
    }
}

impl Duty {
    pub(crate) fn of(waiting: &Waiting, relayhost: Option<&str>) -> Self {
        match (waiting.state, &waiting.delivery.target) {
            (State::Failed, _) => Self::ReportFailed,
            (State::Delivered, _) => Self::ReportDelivered,
            (State::Waiting, Target::Undeliverable(reply)) => {
                Self::Nowhere(Arc::new(Diagnosis::of_reply(reply)))
            }
            (State::Waiting, _) => match Destination::of(&waiting.delivery, relayhost) {
                Some(destination) => Self::Deliver(destination),
                None => Self::ReportFailed,
            },
        }
    }
}

/// What an admin wants. Each command does its work at once, for as many messages as it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Try nothing more until released.
    Hold(Selection),
    /// Go on, at once, with what was held.
    Release(Selection),
    /// Try now what waits for its time; dead destinations of these messages are tried again.
    Retry(Selection),
    /// Return to the sender, as if the lifetime had passed: after one last attempt.
    Expire(Selection),
    /// Throw away; nobody is told.
    Drop(Selection),
}

/// Which messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// This one.
    Id(QueueId),
    /// All with a recipient at this next hop: a domain, a relay host, the path of a mailbox.
    Nexthop(Box<str>),
    /// All.
    All,
}

/// A request to the world. None is ever cancelled, each outcome must be known.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// Deliver a message to some of its recipients, all at one destination.
    Attempt {
        /// The message.
        message: QueueId,
        /// Where to.
        destination: Arc<Destination>,
        /// Places in [`Entry::recipients`].
        recipients: Vec<u32>,
        /// For the outcome.
        ticket: Ticket<Attempted>,
    },
    /// Append these changes to the entry, and make them durable. They are in order.
    Persist {
        /// The message.
        message: QueueId,
        /// What happened.
        changes: Vec<Change>,
        /// For the outcome.
        ticket: Ticket<Persisted>,
    },
    /// Tell the sender, as far as he wants to know ([`crate::dsn::report`]): queue the report, durably.
    /// All that is to be said stands in the entry.
    Report {
        /// The message.
        message: QueueId,
        /// Of what.
        kind: ReportKind,
        /// Places in [`Entry::recipients`].
        recipients: Vec<u32>,
        /// For the outcome.
        ticket: Ticket<Reported>,
    },
    /// Remove the message from the spool, durably.
    Remove {
        /// The message.
        message: QueueId,
        /// For the outcome.
        ticket: Ticket<Removed>,
    },
}

/// What a report to the sender is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// Recipients who will not get the message.
    Failed,
    /// Recipients who have not got it yet.
    Delayed,
    /// Recipients who have it, or whose next server does not tell.
    Delivered,
}

/// The outcome of [`Call::Attempt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// For each recipient. One that is missing counts as deferred.
    pub outcomes: Vec<(u32, Outcome)>,
    /// What it tells of the destination.
    pub site: SiteState,
}

/// What has become of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has the message; `Some`: the sender wants to be told, by us, with these words.
    Delivered(Option<Arc<Diagnosis>>),
    /// Not now.
    Deferred(Arc<Diagnosis>),
    /// Never.
    Failed(Arc<Diagnosis>),
    /// Routing says that it is these: others, or the same with a way; none: it needs nothing.
    Became(Vec<Waiting>),
}

/// What an attempt tells of its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteState {
    /// Somebody was there and took or refused mail.
    Alive,
    /// Nobody was there, or would talk to us: no connection, a refusal before MAIL.
    Failed(Arc<Diagnosis>),
    /// Nothing.
    Unknown,
}

/// The outcome of [`Call::Persist`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persisted {
    /// Durable.
    Done,
    /// Not now; these are the changes, to be made later.
    Failed(Vec<Change>),
}

/// The outcome of [`Call::Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// Queued, or nobody wants it.
    Done,
    /// Not now.
    Failed,
}

/// The outcome of [`Call::Remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Gone.
    Done,
    /// Not now.
    Failed,
}

/// The sum of all outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Of [`Call::Attempt`].
    Attempted(Attempted),
    /// Of [`Call::Persist`].
    Persisted(Persisted),
    /// Of [`Call::Report`].
    Reported(Reported),
    /// Of [`Call::Remove`].
    Removed(Removed),
}

impl From<Attempted> for Answered {
    fn from(outcome: Attempted) -> Self {
        Self::Attempted(outcome)
    }
}

impl From<Persisted> for Answered {
    fn from(outcome: Persisted) -> Self {
        Self::Persisted(outcome)
    }
}

impl From<Reported> for Answered {
    fn from(outcome: Reported) -> Self {
        Self::Reported(outcome)
    }
}

impl From<Removed> for Answered {
    fn from(outcome: Removed) -> Self {
        Self::Removed(outcome)
    }
}

/// Something to log or count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A round of deliveries begins: `queue active`.
    Active(QueueId),
    /// The round left recipients waiting until then.
    Deferred(QueueId, UnixTime),
    /// The lifetime has passed: `status=expired, returned to sender`.
    Expired(QueueId),
    /// Its story is over: `removed`.
    Removed(QueueId),
    /// The spool did not do what was asked of it; it is asked again later.
    Stalled(QueueId),
    /// Nothing is tried there for a while.
    Dead {
        /// Where.
        destination: Arc<Destination>,
        /// Why.
        reason: Arc<Diagnosis>,
        /// Until then.
        until: UnixTime,
    },
    /// It is tried again.
    Alive(Arc<Destination>),
    /// A command is done.
    Commanded {
        /// Its number.
        command: u64,
        /// How many messages it changed.
        messages: usize,
    },
}

/// Where a message stands, for the listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Waits for a place among the active ones.
    Incoming,
    /// In delivery.
    Active,
    /// Waits for its time.
    Deferred,
    /// Held.
    Hold,
}

/// A line of the listing; the rest stands in the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub id: QueueId,
    /// Where it stands.
    pub place: Place,
    /// When it is tried next, if it waits for a time.
    pub next: Option<UnixTime>,
}

/// A destination, for the listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedDestination {
    /// Its name.
    pub destination: Arc<Destination>,
    /// How many deliveries may run.
    pub window: u32,
    /// How many do run.
    pub busy: u32,
    /// Why it is left alone.
    pub dead: Option<Arc<Diagnosis>>,
}
