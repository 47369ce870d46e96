//! What a host said, in the terms of the queue.

use std::sync::Arc;
use std::time::Duration;

use waypost_machine::Time;
use waypost_queue::{Diagnosis, Remote as Said};
use waypost_smtp::client::{Disposition, Outcome, Remote, RemoteReply, Trouble};
use waypost_world::carrier::{Fate, Passed};

/// What an outcome says of its recipients. Those with the same words share them.
pub(crate) struct Words<'o> {
    outcome: &'o Outcome,
    remote: &'o Remote,
    delays: [Duration; 2],
    last: Option<(*const (), Arc<Diagnosis>)>,
}

impl<'o> Words<'o> {
    /// `started` is when the attempt began.
    pub(crate) fn new(outcome: &'o Outcome, remote: &'o Remote, started: Time) -> Self {
        let begun = outcome.begun.unwrap_or(outcome.done);
        let delays = [begun.since(started), outcome.done.since(begun)];
        Self { outcome, remote, delays, last: None }
    }

    /// The words on one recipient.
    pub(crate) fn passed(&mut self, disposition: &Disposition) -> Passed {
        let (fate, key) = match disposition {
            Disposition::Delivered(reply) => {
                (Fate::Sent { notifies: self.outcome.dsn }, Arc::as_ptr(reply).cast())
            }
            Disposition::Deferred(trouble) => (Fate::Deferred, Arc::as_ptr(trouble).cast()),
            Disposition::Bounced(trouble) => (Fate::Failed, Arc::as_ptr(trouble).cast()),
        };
        let diagnosis = match &self.last {
            Some((before, diagnosis)) if *before == key => Arc::clone(diagnosis),
            _ => Arc::new(match disposition {
                Disposition::Delivered(reply) => Diagnosis {
                    status: reply.status(),
                    text: reply.text.clone(),
                    remote: said(self.remote, reply),
                },
                Disposition::Deferred(trouble) | Disposition::Bounced(trouble) => {
                    diagnosis(self.remote, trouble)
                }
            }),
        };
        self.last = Some((key, Arc::clone(&diagnosis)));
        Passed { fate, diagnosis, relay: format!("{:#}", self.remote).into(), delays: self.delays }
    }
}

/// A trouble in the terms of the queue.
pub(crate) fn diagnosis(remote: &Remote, trouble: &Trouble) -> Diagnosis {
    Diagnosis {
        status: trouble.status,
        text: trouble.reason.clone(),
        remote: trouble.reply.as_ref().and_then(|reply| said(remote, reply)),
    }
}

fn said(remote: &Remote, reply: &RemoteReply) -> Option<Box<Said>> {
    Some(Box::new(Said { host: remote.name.clone(), reply: reply.text.clone() }))
}
