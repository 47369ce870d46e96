//! A recipient that has not got the message, as fields of a line.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use waypost_machine::UnixTime;
use waypost_mail::{Address, Delivery, MailHome, Notify, Reply, Target};

use crate::diagnosis::{Diagnosis, enhanced, read_diagnosis, write_diagnosis};
use crate::record::{Fields, Line, boxed, time};

/// Fields of one recipient, see [`Waiting::write`].
pub(crate) const WAITING_FIELDS: usize = 21;

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

    pub(crate) fn write(&self, line: Line) -> Line {
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

    pub(crate) fn read(fields: &mut Fields<'_>) -> Option<Self> {
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
