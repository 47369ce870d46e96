//! What is said on the control socket: one line of JSON asks, lines of JSON answer.
//!
//! ```text
//! {"version":1,"ask":{"list":"all"}}
//! {"message":{"queue_name":"deferred","queue_id":"4gXyZ1abcdz1B",...}}
//! {"done":1}
//! ```
//!
//! The last line is `done` or `error`; an answer that ends without either is torn. The fields of a
//! message begin with those of `postqueue -j`, under its names.

use serde::{Deserialize, Serialize};
use waypost_machine::UnixTime;
use waypost_mail::ReversePath;
use waypost_queue::{
    self as queue, Listed, ListedDestination, Place, QueueId, Selection, State, Transport, Waiting,
};
use waypost_world::Queued;

/// What we speak.
pub(crate) const VERSION: u32 = 1;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) version: u32,
    pub(crate) ask: Ask,
}

/// The version alone, of a question that may be from another time.
#[derive(Deserialize)]
pub(crate) struct Version {
    pub(crate) version: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ask {
    List(Which),
    Body(String),
    Destinations,
    Retry(Which),
    Hold(Which),
    Release(Which),
    Expire(Which),
    Drop(Which),
}

/// Which messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Which {
    Id(String),
    Nexthop(String),
    All,
}

impl Which {
    /// `all`, a queue id, `@domain` or anything else for a next hop.
    pub(crate) fn parse(text: &str) -> Self {
        if text == "all" {
            return Self::All;
        }
        match text.strip_prefix('@') {
            Some(domain) => Self::Nexthop(domain.into()),
            None if text.parse::<QueueId>().is_ok() => Self::Id(text.into()),
            None => Self::Nexthop(text.into()),
        }
    }

    pub(crate) fn selection(&self) -> Result<Selection, String> {
        Ok(match self {
            Self::All => Selection::All,
            Self::Nexthop(name) => Selection::Nexthop(name.as_str().into()),
            Self::Id(id) => Selection::Id(queue_id(id)?),
        })
    }
}

pub(crate) fn queue_id(text: &str) -> Result<QueueId, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// A line of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Line {
    Message(Box<Message>),
    Destination(Destination),
    /// A piece of a message, in base64.
    Body(String),
    /// That was all; so many messages were listed or changed.
    Done(usize),
    /// It cannot be done, for this reason.
    Error(String),
}

/// A message. Times are seconds since 1970-01-01 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// `incoming`, `active`, `deferred`, `hold`
    pub(crate) queue_name: String,
    pub(crate) queue_id: String,
    pub(crate) arrival_time: i64,
    /// Octets.
    pub(crate) message_size: u64,
    /// It is on its way back to its sender, whoever decided so.
    pub(crate) forced_expire: bool,
    /// `MAILER-DAEMON` for the null sender.
    pub(crate) sender: String,
    pub(crate) recipients: Vec<Recipient>,
    /// When it is tried next, if it waits for a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<i64>,
    pub(crate) message_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<String>,
    /// The sender was told of the delay.
    pub(crate) warned: bool,
}

/// A recipient that does not have the message, or of whom the sender has to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recipient {
    pub(crate) address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay_reason: Option<String>,
    /// What was given, where an alias led to `address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) orig_to: Option<String>,
    /// `waiting`; `delivered` or `failed`: its sender is to be told of that.
    pub(crate) status: String,
    pub(crate) attempts: u32,
    pub(crate) next: i64,
    /// `smtp`, `virtual`, `route`; none where it leads nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transport: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nexthop: Option<String>,
    /// Status of the last attempt: `4.7.4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dsn: Option<String>,
    /// The other server's own words, code first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remote_reply: Option<String>,
}

/// Where mail goes, or waits to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Destination {
    pub(crate) transport: String,
    pub(crate) nexthop: String,
    /// Messages with a recipient there.
    pub(crate) messages: usize,
    /// Recipients there.
    pub(crate) recipients: usize,
    /// When the oldest of the messages arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oldest: Option<i64>,
    /// How many deliveries may run, and do run; of a server that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) busy: Option<u32>,
    /// Why it is left alone for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dead: Option<String>,
}

pub(crate) fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Virtual => "virtual",
        Transport::Smtp => "smtp",
        Transport::Route => "route",
    }
}

impl Message {
    pub(crate) fn of(queued: &Queued, relayhost: Option<&str>) -> Self {
        let Listed { id, place, next } = queued.listed;
        let origin = &queued.entry.origin;
        let waiting = || queued.entry.recipients.iter().flatten();
        Self {
            queue_name: match place {
                Place::Incoming => "incoming",
                Place::Active => "active",
                Place::Deferred => "deferred",
                Place::Hold => "hold",
            }
            .into(),
            queue_id: id.to_string(),
            arrival_time: origin.arrived.secs,
            message_size: origin.size,
            forced_expire: waiting().any(|it| it.state == State::Failed),
            sender: match &origin.sender {
                ReversePath::Null => "MAILER-DAEMON".into(),
                ReversePath::Address(address) => address.to_string(),
            },
            recipients: waiting().map(|it| Recipient::of(it, relayhost)).collect(),
            next: next.map(|UnixTime { secs, .. }| secs),
            message_id: origin.message_id.to_string(),
            login: origin.login.as_deref().map(String::from),
            warned: queued.entry.warned,
        }
    }
}

impl Recipient {
    fn of(waiting: &Waiting, relayhost: Option<&str>) -> Self {
        let delivery = &waiting.delivery;
        let destination = queue::Destination::of(delivery, relayhost);
        let last = waiting.last.as_deref();
        Self {
            address: delivery.to.to_string(),
            delay_reason: last.map(|last| last.text.to_string()),
            orig_to: (delivery.orig_to != delivery.to).then(|| delivery.orig_to.to_string()),
            status: match waiting.state {
                State::Waiting => "waiting",
                State::Delivered => "delivered",
                State::Failed => "failed",
            }
            .into(),
            attempts: waiting.attempts,
            next: waiting.next.secs,
            transport: destination.as_ref().map(|it| transport(it.transport).into()),
            nexthop: destination.map(|it| it.nexthop.into()),
            dsn: last.map(|last| last.status.to_string()),
            remote_reply: last
                .and_then(|last| last.remote.as_deref())
                .map(|remote| remote.reply.to_string()),
        }
    }
}

impl Destination {
    pub(crate) fn of(listed: &ListedDestination) -> Self {
        Self {
            transport: transport(listed.destination.transport).into(),
            nexthop: listed.destination.nexthop.to_string(),
            window: Some(listed.window),
            busy: Some(listed.busy),
            dead: listed.dead.as_deref().map(|why| why.text.to_string()),
            ..Self::default()
        }
    }
}
