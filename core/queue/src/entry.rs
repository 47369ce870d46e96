//! What a spool entry holds: the envelope of a message, who has it, who still waits.
//!
//! An entry is a file of lines, in the order in which things happened:
//!
//! | line | meaning |
//! |---|---|
//! | `waypost-spool 1 ID ..` | the message as it was accepted |
//! | `rcpt ..` | a recipient that waits |
//! | `free N` | N places that nobody has any more |
//! | `ready N` | N places stand above; without this line the entry was never finished |
//! | `done N` | recipient N has it, or needs it no more |
//! | `tried N ..` | recipient N could not have it |
//! | `became N ..` | recipient N turned out to be these recipients |
//! | `deferred N ..` | recipient N could not have it, for this reason |
//! | `delivered N ..` | recipient N has it, the sender is to be told |
//! | `failed N ..` | recipient N will never have it, the sender is to be told |
//! | `expired N` | the same, for the last reason told |
//! | `held 1` | the admin holds it; `0`: no more |
//! | `warned` | the sender was told of the delay |
//!
//! Later lines are appended, so that a crash at any moment leaves either the state before or after.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use waypost_machine::UnixTime;
use waypost_mail::{
    Address, Body, Delivery, Enhanced, MailHome, Notify, Reply, Ret, ReversePath, Target,
};

use crate::diagnosis::{Diagnosis, Remote};
use crate::record::{self, Fields, Line};

const MAGIC: &str = "waypost-spool";
const VERSION: u32 = 1;
/// Places that may be free: alias expansion makes at most a thousand of each of a thousand.
const MAX_PLACES: usize = 1 << 21;
/// Fields of one recipient, see [`Waiting::write`].
const WAITING_FIELDS: usize = 21;

/// A message in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it was when it was accepted.
    pub origin: Origin,
    /// Its recipients, in order; `None` for those who have it. Places are never used again.
    pub recipients: Vec<Option<Waiting>>,
    /// The admin holds it.
    pub held: bool,
    /// The sender was told of the delay.
    pub warned: bool,
}

/// What is known of a message from its acceptance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its name in logs and replies.
    pub queue_id: Box<str>,
    /// When it was accepted.
    pub arrived: UnixTime,
    /// MAIL FROM.
    pub sender: ReversePath,
    /// Octets of the body file.
    pub size: u64,
    /// Message-ID as written; empty without.
    pub message_id: Box<str>,
    /// `BODY=`
    pub body: Body,
    /// `SMTPUTF8`
    pub smtputf8: bool,
    /// `RET=`
    pub ret: Option<Ret>,
    /// `ENVID=`, decoded.
    pub envid: Option<Box<str>>,
    /// The login that sent it.
    pub login: Option<Box<str>>,
}

/// A recipient that has not got the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Where it leads.
    pub delivery: Delivery,
    /// `NOTIFY=`
    pub notify: Option<Notify>,
    /// `ORCPT=`, decoded: type and address.
    pub orcpt: Option<(Box<str>, Box<str>)>,
    /// How often it was tried.
    pub attempts: u32,
    /// When to try next.
    pub next: UnixTime,
    /// Whether it still waits for the message, or for a report to the sender.
    pub state: State,
    /// What was said last.
    pub last: Option<Arc<Diagnosis>>,
}

/// What a recipient waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The message.
    #[default]
    Waiting,
    /// It has the message; the sender is to be told.
    Delivered,
    /// It will never have the message; the sender is to be told.
    Failed,
}

/// Something that happened to a recipient; the number is its place in [`Entry::recipients`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has the message, or needs it no more.
    Done(usize),
    /// It could not have it; next time then.
    Tried(usize, UnixTime),
    /// Routing now says that it is these.
    Became(usize, Vec<Waiting>),
    /// It could not have it for this reason; next time then.
    Deferred(usize, UnixTime, Arc<Diagnosis>),
    /// It has the message, and the sender is to be told.
    Delivered(usize, Arc<Diagnosis>),
    /// It will never have the message, and the sender is to be told.
    Failed(usize, Arc<Diagnosis>),
    /// The same, for the reason that was told last.
    Expired(usize),
    /// The admin holds the message, or does so no more.
    Held(bool),
    /// The sender was told of the delay.
    Warned,
}

/// Why a file is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct EntryError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file does not begin as an entry does.
    #[error("not a spool entry")]
    Magic,
    /// Written by a later version.
    #[error("written by a later version")]
    Version,
    /// The file ends before its recipients are complete: the message was never accepted.
    #[error("incomplete")]
    Incomplete,
    /// The line is whole but makes no sense.
    #[error("makes no sense")]
    Nonsense,
}

impl Entry {
    /// A new entry.
    pub fn new(origin: Origin, recipients: Vec<Waiting>) -> Self {
        let recipients = recipients.into_iter().map(Some).collect();
        Self { origin, recipients, held: false, warned: false }
    }

    /// The file for a new entry, or a shorter one for an old entry: recipients who have the message
    /// are left out. The others keep their places.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        self.origin.write().finish(&mut out);
        let mut free = 0;
        for waiting in &self.recipients {
            let Some(waiting) = waiting else {
                free += 1;
                continue;
            };
            write_free(&mut free, &mut out);
            waiting.write(Line::new("rcpt")).finish(&mut out);
        }
        write_free(&mut free, &mut out);
        Line::new("ready").plain(self.recipients.len()).finish(&mut out);
        if self.held {
            out.push_str(&Change::Held(true).encode());
        }
        if self.warned {
            out.push_str(&Change::Warned.encode());
        }
        out
    }

    /// Reads a file. What was torn off its end after it was complete does not count.
    ///
    /// # Errors
    /// When the file never was a complete entry.
    pub fn decode(file: &[u8]) -> Result<Self, EntryError> {
        let mut lines = record::lines(file).zip(1..);
        let fail = |line, fault| EntryError { line, fault };
        let (mut first, _) = lines.next().ok_or_else(|| fail(1, Fault::Magic))?;
        let origin = Origin::read(&mut first).map_err(|fault| fail(1, fault))?;
        let mut entry = Self::new(origin, Vec::new());
        let mut ready = false;
        for (mut fields, line) in lines {
            let kind = fields.text().ok_or_else(|| fail(line, Fault::Nonsense))?;
            let good = match (kind.as_ref(), ready) {
                ("rcpt", false) => {
                    Waiting::read(&mut fields).map(|waiting| entry.recipients.push(Some(waiting)))
                }
                ("free", false) => fields.plain::<usize>().and_then(|count| {
                    let places = entry.recipients.len().checked_add(count)?;
                    (places <= MAX_PLACES).then(|| entry.recipients.resize(places, None))
                }),
                ("ready", false) => {
                    ready = true;
                    fields
                        .plain::<usize>()
                        .filter(|count| *count == entry.recipients.len())
                        .map(drop)
                }
                ("rcpt" | "ready", true) => None,
                (_, true) => {
                    Change::read(&kind, &mut fields).and_then(|change| entry.apply(change))
                }
                _ => None,
            };
            good.ok_or_else(|| fail(line, Fault::Nonsense))?;
        }
        if ready { Ok(entry) } else { Err(fail(0, Fault::Incomplete)) }
    }

    /// How many bytes at the start of a file are whole lines. What follows was torn in a crash and
    /// has to be cut off before anything is appended.
    pub fn whole(file: &[u8]) -> usize {
        record::whole(file)
    }

    /// Makes a change; `None` when there is no such recipient.
    pub fn apply(&mut self, change: Change) -> Option<()> {
        match change {
            Change::Done(n) => {
                self.recipients.get_mut(n)?.take();
            }
            Change::Tried(n, next) => {
                if let Some(waiting) = self.recipients.get_mut(n)? {
                    waiting.attempts = waiting.attempts.saturating_add(1);
                    waiting.next = next;
                }
            }
            Change::Became(n, others) => {
                self.recipients.get_mut(n)?.take();
                self.recipients.extend(others.into_iter().map(Some));
            }
            Change::Deferred(n, next, why) => {
                if let Some(waiting) = self.recipients.get_mut(n)? {
                    waiting.attempts = waiting.attempts.saturating_add(1);
                    waiting.next = next;
                    waiting.last = Some(why);
                }
            }
            Change::Delivered(n, why) => self.report(n, State::Delivered, Some(why))?,
            Change::Failed(n, why) => self.report(n, State::Failed, Some(why))?,
            Change::Expired(n) => self.report(n, State::Failed, None)?,
            Change::Held(held) => self.held = held,
            Change::Warned => self.warned = true,
        }
        Some(())
    }

    fn report(&mut self, n: usize, state: State, why: Option<Arc<Diagnosis>>) -> Option<()> {
        if let Some(waiting) = self.recipients.get_mut(n)? {
            waiting.state = state;
            waiting.last = why.or_else(|| waiting.last.take());
        }
        Some(())
    }

    /// True when nobody waits.
    pub fn is_finished(&self) -> bool {
        self.recipients.iter().all(Option::is_none)
    }

    /// When somebody is to be tried, or the sender told, next.
    pub fn next(&self) -> Option<UnixTime> {
        self.recipients.iter().flatten().map(|waiting| waiting.next).min()
    }
}

impl Change {
    /// The line to append.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        match self {
            Self::Done(n) => Line::new("done").plain(n),
            Self::Tried(n, next) => Line::new("tried").plain(n).plain(next.secs).plain(next.nanos),
            Self::Became(n, others) => others
                .iter()
                .fold(Line::new("became").plain(n), |line, waiting| waiting.write(line)),
            Self::Deferred(n, next, why) => write_diagnosis(
                Line::new("deferred").plain(n).plain(next.secs).plain(next.nanos),
                Some(why),
            ),
            Self::Delivered(n, why) => write_diagnosis(Line::new("delivered").plain(n), Some(why)),
            Self::Failed(n, why) => write_diagnosis(Line::new("failed").plain(n), Some(why)),
            Self::Expired(n) => Line::new("expired").plain(n),
            Self::Held(held) => Line::new("held").plain(u8::from(*held)),
            Self::Warned => Line::new("warned"),
        }
        .finish(&mut out);
        out
    }

    fn read(kind: &str, fields: &mut Fields<'_>) -> Option<Self> {
        match kind {
            "held" => return Some(Self::Held(fields.plain::<u8>()? == 1)),
            "warned" => return Some(Self::Warned),
            _ => {}
        }
        let n = fields.plain()?;
        Some(match kind {
            "done" => Self::Done(n),
            "tried" => Self::Tried(n, time(fields)?),
            "deferred" => Self::Deferred(n, time(fields)?, read_diagnosis(fields)??),
            "delivered" => Self::Delivered(n, read_diagnosis(fields)??),
            "failed" => Self::Failed(n, read_diagnosis(fields)??),
            "expired" => Self::Expired(n),
            "became" => {
                let count = fields.left().len();
                if !count.is_multiple_of(WAITING_FIELDS) {
                    return None;
                }
                let others = (0..count / WAITING_FIELDS).map(|_| Waiting::read(fields));
                Self::Became(n, others.collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}

impl Origin {
    fn write(&self) -> Line {
        let sender = match &self.sender {
            ReversePath::Null => None,
            ReversePath::Address(address) => Some(address.to_string()),
        };
        let ret = self.ret.map(|ret| match ret {
            Ret::Full => "FULL",
            Ret::Headers => "HDRS",
        });
        Line::new(MAGIC)
            .plain(VERSION)
            .text(&self.queue_id)
            .plain(self.arrived.secs)
            .plain(self.arrived.nanos)
            .option(sender.as_deref())
            .plain(self.size)
            .text(&self.message_id)
            .text(match self.body {
                Body::SevenBit => "7BIT",
                Body::EightBitMime => "8BITMIME",
            })
            .plain(self.smtputf8)
            .option(ret)
            .option(self.envid.as_deref())
            .option(self.login.as_deref())
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Fault> {
        if fields.text().as_deref() != Some(MAGIC) {
            return Err(Fault::Magic);
        }
        match fields.plain::<u32>() {
            Some(VERSION) => Self::read_fields(fields).ok_or(Fault::Nonsense),
            Some(version) if version > VERSION => Err(Fault::Version),
            _ => Err(Fault::Nonsense),
        }
    }

    fn read_fields(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            queue_id: boxed(fields.text()?),
            arrived: time(fields)?,
            sender: match fields.option()? {
                None => ReversePath::Null,
                Some(text) => ReversePath::Address(Address::parse(&text).ok()?),
            },
            size: fields.plain()?,
            message_id: boxed(fields.text()?),
            body: match fields.text()?.as_ref() {
                "7BIT" => Body::SevenBit,
                "8BITMIME" => Body::EightBitMime,
                _ => return None,
            },
            smtputf8: fields.plain()?,
            ret: match fields.option()?.as_deref() {
                None => None,
                Some("FULL") => Some(Ret::Full),
                Some("HDRS") => Some(Ret::Headers),
                Some(_) => return None,
            },
            envid: fields.option()?.map(boxed),
            login: fields.option()?.map(boxed),
        })
    }
}

impl Waiting {
    /// A recipient that was not tried yet.
    pub fn new(
        delivery: Delivery,
        notify: Option<Notify>,
        orcpt: Option<(Box<str>, Box<str>)>,
        next: UnixTime,
    ) -> Self {
        let state = State::Waiting;
        Self { delivery, notify, orcpt, attempts: 0, next, state, last: None }
    }

    fn write(&self, line: Line) -> Line {
        let notify = self.notify.map(|notify| {
            let mut text = String::new();
            for (on, letter) in [(notify.success, 'S'), (notify.failure, 'F'), (notify.delay, 'D')]
            {
                if on {
                    text.push(letter);
                }
            }
            text
        });
        let line = line
            .plain(&self.delivery.to)
            .plain(&self.delivery.orig_to)
            .option(notify.as_deref())
            .option(self.orcpt.as_ref().map(|(kind, _)| kind.as_ref()))
            .option(self.orcpt.as_ref().map(|(_, address)| address.as_ref()))
            .plain(self.attempts)
            .plain(self.next.secs)
            .plain(self.next.nanos);
        let line = match &self.delivery.target {
            Target::Maildir(home) => {
                line.text("maildir").text(&home.path).plain(home.uid).plain(home.gid)
            }
            Target::Remote => line.text("remote").text("").plain(0).plain(0),
            Target::Later(_) => line.text("later").text("").plain(0).plain(0),
            Target::Undeliverable(_) => line.text("undeliverable").text("").plain(0).plain(0),
        }
        .plain(self.reply().map_or(0, |reply| reply.code))
        .plain(
            self.reply()
                .and_then(|reply| reply.enhanced)
                .map_or_else(|| "-".into(), |e| e.to_string()),
        )
        .text(self.reply().map_or("", |reply| &reply.text))
        .text(match self.state {
            State::Waiting => "waiting",
            State::Delivered => "delivered",
            State::Failed => "failed",
        });
        write_diagnosis(line, self.last.as_deref()).text(".")
    }

    fn reply(&self) -> Option<&Reply> {
        match &self.delivery.target {
            Target::Later(reply) | Target::Undeliverable(reply) => Some(reply),
            Target::Maildir(_) | Target::Remote => None,
        }
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let to = Address::parse(&fields.text()?).ok()?;
        let orig_to = Address::parse(&fields.text()?).ok()?;
        let notify = fields.option()?.map(|text| Notify {
            success: text.contains('S'),
            failure: text.contains('F'),
            delay: text.contains('D'),
        });
        let orcpt = match (fields.option()?, fields.option()?) {
            (Some(kind), Some(address)) => Some((boxed(kind), boxed(address))),
            _ => None,
        };
        let attempts = fields.plain()?;
        let next = time(fields)?;
        let kind = fields.text()?;
        let home =
            MailHome { path: boxed(fields.text()?), uid: fields.plain()?, gid: fields.plain()? };
        let code = fields.plain()?;
        let enhanced = enhanced(&fields.text()?)?;
        let text = fields.text()?.into_owned();
        let reply = Reply { code, enhanced, text: Cow::Owned(text) };
        let state = match fields.text()?.as_ref() {
            "waiting" => State::Waiting,
            "delivered" => State::Delivered,
            "failed" => State::Failed,
            _ => return None,
        };
        let last = read_diagnosis(fields)?;
        if fields.text()? != "." {
            return None;
        }
        let target = match kind.as_ref() {
            "maildir" => Target::Maildir(home),
            "remote" => Target::Remote,
            "later" => Target::Later(reply),
            "undeliverable" => Target::Undeliverable(reply),
            _ => return None,
        };
        Some(Self {
            delivery: Delivery { to, orig_to, target },
            notify,
            orcpt,
            attempts,
            next,
            state,
            last,
        })
    }
}

/// A run of places that nobody has any more.
fn write_free(count: &mut usize, out: &mut String) {
    if *count > 0 {
        Line::new("free").plain(*count).finish(out);
        *count = 0;
    }
}

fn time(fields: &mut Fields<'_>) -> Option<UnixTime> {
    Some(UnixTime { secs: fields.plain()?, nanos: fields.plain()? })
}

/// `-`, or `4.3.0`.
fn enhanced(text: &str) -> Option<Option<Enhanced>> {
    if text == "-" {
        return Some(None);
    }
    let mut parts = text.split('.');
    let mut part = || parts.next()?.parse::<u16>().ok();
    let (class, subject, detail) = (part()?, part()?, part()?);
    Some(Some(Enhanced(u8::try_from(class).ok()?, subject, detail)))
}

/// Status, words, other server, its reply.
fn write_diagnosis(line: Line, diagnosis: Option<&Diagnosis>) -> Line {
    let remote = diagnosis.and_then(|diagnosis| diagnosis.remote.as_deref());
    line.text(&diagnosis.map_or_else(|| "-".into(), |diagnosis| diagnosis.status.to_string()))
        .text(diagnosis.map_or("", |diagnosis| &diagnosis.text))
        .option(remote.map(|remote| remote.host.as_ref()))
        .option(remote.map(|remote| remote.reply.as_ref()))
}

fn read_diagnosis(fields: &mut Fields<'_>) -> Option<Option<Arc<Diagnosis>>> {
    let status = enhanced(&fields.text()?)?;
    let text = boxed(fields.text()?);
    let remote = match (fields.option()?, fields.option()?) {
        (Some(host), Some(reply)) => {
            Some(Box::new(Remote { host: boxed(host), reply: boxed(reply) }))
        }
        _ => None,
    };
    Some(status.map(|status| Arc::new(Diagnosis { status, text, remote })))
}

fn boxed(text: Cow<'_, str>) -> Box<str> {
    text.into_owned().into()
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
