//! A message on its way from an SMTP session into mailboxes, or into the spool.
//!
//! Where every recipient is a mailbox here, the message goes straight into their Maildirs: one write,
//! one sync and one rename for each, all before the session gets its 250. The spool gets what cannot
//! be finished now: recipients elsewhere or nowhere, recipients whose tables hold nonsense, more mailboxes than
//! one message is written to at a time, recipients of whose delivery the sender wants to be told, and
//! a mailbox that fails while others do not.
//!
//! For that last case a message for several mailboxes is also written to the spool as it comes in,
//! but not synced; it is used, or removed, when the outcome is known.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use waypost_machine::UnixTime;
use waypost_mail::{Client, Delivery, Enhanced, Envelope, MailHome, Notify, Reply, Target};
use waypost_message::date::DateTime;
use waypost_message::received::{self, Delivered, Received, With};
use waypost_queue::{Change, Diagnosis, Entry, Origin, Waiting};
use waypost_smtp::server::Committed;

use crate::Inner;
use crate::event::{Agent, Attempt, Event, Status};
use crate::run::header::{HOPCOUNT_LIMIT, Header};
use crate::run::queue::How;
use crate::run::srs;
use crate::run::submission::{self, Authors, Submission};
use crate::signer::SignError;
use crate::spool::{Draft, SpoolError};
use crate::store::{Error, Incoming, MAX_MAILBOXES, Parcel};

/// "Routing loop detected" (RFC 3463 3.5).
pub(crate) const LOOP: Enhanced = Enhanced(5, 4, 6);

/// A message that is coming in.
pub(crate) struct Transit {
    world: Arc<Inner>,
    queue_id: Arc<str>,
    envelope: Arc<Envelope>,
    /// Our Received field, lines ending with LF.
    received: String,
    header: Header,
    /// Everybody it goes to, each final address once.
    finals: Vec<Final>,
    /// Octets of the message with LF line ends.
    size: u64,
    last_cr: bool,
    files: Option<Files>,
}

/// One final address.
struct Final {
    delivery: Delivery,
    notify: Option<Notify>,
    orcpt: Option<(Box<str>, Box<str>)>,
}

/// Where it is written to.
struct Files {
    incoming: Option<Incoming>,
    /// Places in [`Transit::finals`] of the mailboxes of `incoming`.
    locals: Vec<usize>,
    draft: Option<Result<Draft, SpoolError>>,
}

/// The outcome for the mailboxes.
#[derive(Default)]
struct Outcome {
    delivered: Vec<usize>,
    failed: Vec<(usize, Error)>,
    /// What lies in the spool, for the queue.
    left: Option<(Entry, How)>,
    /// What of that the spool could not be told.
    unsaved: Vec<Change>,
}

impl Transit {
    /// Begins: nothing is written yet.
    pub(crate) fn new(world: &Arc<Inner>, queue_id: Arc<str>, envelope: Arc<Envelope>) -> Self {
        let received = trace(world, &queue_id, &envelope);
        let mut seen = HashSet::new();
        let mut finals = Vec::new();
        for recipient in &envelope.recipients {
            for delivery in &recipient.deliveries {
                if seen.insert(delivery.to.lookup_key().to_lowercase()) {
                    finals.push(Final {
                        delivery: delivery.clone(),
                        notify: recipient.notify,
                        orcpt: recipient.orcpt.clone(),
                    });
                }
            }
        }
        if finals.iter().any(|it| srs::is_forward(&it.delivery)) {
            srs::ask_ahead(world, &envelope.sender);
        }
        let world = Arc::clone(world);
        let settings = &world.settings;
        let submission =
            Submission::new(&settings.policy, &settings.hostname, &queue_id, &envelope);
        let is_ours = envelope.client.login.is_some()
            || submission::is_trusted(&settings.policy, &envelope.client);
        let (header, size) = (Header::new(submission, is_ours), received.len() as u64);
        Self {
            world,
            queue_id,
            envelope,
            received,
            header,
            finals,
            size,
            last_cr: false,
            files: None,
        }
    }

    /// Takes the next pieces.
    pub(crate) fn append(&mut self, chunks: Vec<Bytes>) {
        let ready = self.header.push(chunks);
        self.write(&ready);
    }

    fn write(&mut self, chunks: &[Bytes]) {
        if chunks.is_empty() {
            return;
        }
        for chunk in chunks {
            self.count(chunk);
        }
        let mut files = match self.files.take() {
            Some(files) => files,
            None => self.open(),
        };
        if let Some(incoming) = &mut files.incoming {
            // What failed is told at the end.
            incoming.append(chunks);
        }
        if let Some(Ok(draft)) = &mut files.draft
            && let Err(error) = draft.write(chunks)
        {
            files.draft = Some(Err(error));
        }
        self.files = Some(files);
    }

    /// Counts octets as they would be with LF line ends.
    fn count(&mut self, chunk: &[u8]) {
        self.size += chunk.len() as u64;
        for lf in memchr::memchr_iter(b'\n', chunk) {
            let cr = if lf == 0 { self.last_cr } else { chunk[lf - 1] == b'\r' };
            self.size -= u64::from(cr);
        }
        self.last_cr = chunk.last().map_or(self.last_cr, |last| *last == b'\r');
    }

    /// Opens the files. The header is known by now.
    fn open(&mut self) -> Files {
        self.stop_loops();
        let mut locals: Vec<usize> = (0..self.finals.len())
            .filter(|n| matches!(self.finals[*n].delivery.target, Target::Maildir(_)))
            .collect();
        let told = self.finals.iter().any(|it| it.notify.is_some_and(|notify| notify.success));
        if locals.len() > MAX_MAILBOXES || told {
            locals.clear();
        }
        let parcels: Vec<Parcel> = locals
            .iter()
            .filter_map(|n| match &self.finals[*n].delivery.target {
                Target::Maildir(home) => Some(self.parcel(&self.finals[*n].delivery, home)),
                _ => None,
            })
            .collect();
        let mut incoming = (!parcels.is_empty()).then(|| self.world.store.deliver(parcels));
        // Nothing to write yet: it only tells whether any mailbox could be begun.
        let writable = incoming.as_mut().is_some_and(|incoming| incoming.append(&[]));
        let simple = locals.len() == 1 && self.finals.len() == 1 && writable;
        let draft = (!simple).then(|| self.draft());
        Files { incoming, locals, draft }
    }

    fn draft(&self) -> Result<Draft, SpoolError> {
        let mut draft = self.world.queue.spool.begin(&self.queue_id)?;
        draft.write(&[self.received.replace('\n', "\r\n").into()])?;
        Ok(draft)
    }

    /// A message that was delivered to one of its addresses before is not delivered there again
    /// (RFC 5321 6.3, Delivered-To).
    fn stop_loops(&mut self) {
        let Some(known) = self.header.known() else { return };
        for it in &mut self.finals {
            // A forward has left with the address that it had here, see `srs::leaving`.
            let passed = match &it.delivery.target {
                Target::Maildir(_) => &it.delivery.to,
                _ if srs::is_forward(&it.delivery) => &it.delivery.orig_to,
                _ => continue,
            };
            if known.delivered_to.contains(&passed.lookup_key().to_lowercase()) {
                let text = format!("mail forwarding loop for {passed}");
                it.delivery.target = Target::Undeliverable(Reply::new(554, LOOP, text));
            }
        }
    }

    fn parcel(&self, delivery: &Delivery, home: &MailHome) -> Parcel {
        let mut head = delivered_head(&self.envelope.sender.to_string(), delivery);
        head.push_str(&self.received);
        Parcel { home: home.clone(), head: head.into_bytes() }
    }

    /// The message is complete.
    pub(crate) fn complete(&mut self) {
        let rest = self.header.finish();
        self.write(&rest);
    }

    /// The session that it came in.
    pub(crate) fn client(&self) -> &Client {
        &self.envelope.client
    }

    /// Who is to be checked as its author, once it is complete: nobody, unless that is wanted and it
    /// came by a login.
    pub(crate) fn authors(&self) -> Authors {
        let wanted = self.world.settings.check_authors && self.client().login.is_some();
        match self.header.known() {
            Some(known) if wanted && !known.cut => match &known.authors {
                Some(authors) => Authors::Check(authors.clone()),
                None => Authors::Unreadable,
            },
            _ => Authors::Free,
        }
    }

    /// Makes the message durable, once it is complete.
    pub(crate) fn commit(mut self) -> Committed {
        if self.files.is_none() {
            // A message without a single octet is still a message.
            self.files = Some(self.open());
        }
        let Some(files) = self.files.take() else { return Committed::Failed(not_written(None)) };
        if let Some(refusal) = self.refusal() {
            return Committed::Failed(refusal);
        }
        let Files { incoming, locals, draft } = files;
        let begun = self.world.settings.clock.now();
        let before = crate::run::queue::since(self.envelope.arrived, begun.wall);
        let elsewhere = self.finals.len() > locals.len();
        let committed = if elsewhere {
            self.spool_first(incoming, &locals, draft)
        } else {
            self.mailboxes_first(incoming, &locals, draft)
        };
        match committed {
            Err(reply) => Committed::Failed(reply),
            Ok(outcome) => {
                let took = self.world.settings.clock.mono().since(begun.mono);
                self.report(&outcome, before, took);
                if let Some((entry, how)) = outcome.left {
                    self.world.queue.submit(entry, how, outcome.unsaved);
                }
                Committed::Done
            }
        }
    }

    /// Why the message is not taken at all.
    fn refusal(&self) -> Option<Reply> {
        if self.header.known().is_some_and(|known| known.hops > HOPCOUNT_LIMIT) {
            return Some(Reply::new(554, LOOP, "Error: too many hops"));
        }
        if self.header.is_submission() && self.header.known().is_some_and(|known| known.cut) {
            let text = "Error: message header size exceeds limit";
            return Some(Reply::new(552, Enhanced(5, 3, 4), text));
        }
        let mut loops = self.finals.iter().map(|it| match &it.delivery.target {
            Target::Undeliverable(reply) if reply.enhanced == Some(Enhanced(5, 4, 6)) => {
                Some(reply)
            }
            _ => None,
        });
        let first = loops.next().flatten()?;
        loops.all(|it| it.is_some()).then(|| first.clone())
    }

    /// Some recipients are not mailboxes here. First everybody is put down in the spool; then those
    /// with a mailbox get it and are struck out, and the queue has the rest. A crash in between
    /// delivers once more at worst, and a spool that fails leaves nothing behind.
    fn spool_first(
        &self,
        incoming: Option<Incoming>,
        locals: &[usize],
        draft: Option<Result<Draft, SpoolError>>,
    ) -> Result<Outcome, Reply> {
        let now = self.world.settings.clock.wall();
        let all = (0..self.finals.len()).map(|n| self.waiting(n, now));
        let mut entry = self.spool(draft, all.collect())?;
        let mut outcome = deliver(incoming, locals);
        // The queue tries them at once, and tells then.
        outcome.failed.clear();
        let done: Vec<Change> = outcome.delivered.iter().map(|n| Change::Done(*n)).collect();
        if !done.is_empty()
            && let Err(error) = self.world.queue.spool.record(&self.queue_id, &done)
        {
            tracing::error!("spool: {error}; {} is written down later", self.queue_id);
            outcome.unsaved.clone_from(&done);
        }
        for change in done {
            entry.apply(change);
        }
        outcome.left = Some((entry, How::Now));
        Ok(outcome)
    }

    /// Everybody has a mailbox here. Those that fail while others do not wait in the spool.
    fn mailboxes_first(
        &self,
        incoming: Option<Incoming>,
        locals: &[usize],
        draft: Option<Result<Draft, SpoolError>>,
    ) -> Result<Outcome, Reply> {
        let mut outcome = deliver(incoming, locals);
        let Some((_, first)) = outcome.failed.first() else { return Ok(outcome) };
        if draft.is_none() {
            tracing::warn!("warning: {}: {first}", self.queue_id);
            return Err(not_written(Some(first)));
        }
        let next = self.world.queue.second_attempt(self.world.settings.clock.wall());
        let failed = outcome.failed.iter().map(|(n, error)| {
            let why = Diagnosis::own(dsn_of(error), error.to_string());
            Waiting { attempts: 1, last: Some(Arc::new(why)), ..self.waiting(*n, next) }
        });
        match self.spool(draft, failed.collect()) {
            Ok(entry) => {
                outcome.left = Some((entry, How::Later));
                Ok(outcome)
            }
            Err(reply) => {
                if !outcome.delivered.is_empty() {
                    let count = outcome.delivered.len();
                    tracing::error!(
                        "{}: in {count} mailboxes, but neither in the others nor in the spool; \
                         the sender will try again",
                        self.queue_id
                    );
                }
                Err(reply)
            }
        }
    }

    /// A recipient as the spool has it.
    fn waiting(&self, n: usize, next: UnixTime) -> Waiting {
        let Final { delivery, notify, orcpt } = &self.finals[n];
        Waiting::new(delivery.clone(), *notify, orcpt.clone(), next)
    }

    /// Puts recipients down in the spool.
    fn spool(
        &self,
        draft: Option<Result<Draft, SpoolError>>,
        recipients: Vec<Waiting>,
    ) -> Result<Entry, Reply> {
        let envelope = &self.envelope;
        let mut entry = Entry::new(
            Origin {
                queue_id: (*self.queue_id).into(),
                arrived: envelope.arrived,
                sender: envelope.sender.clone(),
                size: 0,
                checksum: None,
                message_id: self.message_id(),
                body: envelope.body,
                smtputf8: envelope.smtputf8,
                ret: envelope.ret,
                envid: envelope.envid.clone(),
                login: envelope.client.login.as_ref().map(|login| login.user.clone()),
                head: Box::default(),
            },
            recipients,
        );
        let draft = draft.unwrap_or_else(|| self.draft());
        if let Ok(draft) = &draft {
            entry.origin.head = self.signatures(draft).map_err(|error| {
                tracing::error!("{}: {error}", self.queue_id);
                not_written(None)
            })?;
        }
        if let Err(error) = draft.and_then(|it| it.commit(&mut entry)) {
            tracing::error!("spool: {error}");
            return Err(if error.is_full() { full() } else { not_written(None) });
        }
        Ok(entry)
    }

    /// Signs what a user sends, where any of it leaves.
    fn signatures(&self, draft: &Draft) -> Result<Box<str>, SignError> {
        let leaves = self.finals.iter().any(|it| !matches!(it.delivery.target, Target::Maildir(_)));
        let (Some(signer), Some(known), true) =
            (&self.world.settings.signer, self.header.known(), leaves)
        else {
            return Ok(Box::default());
        };
        let sender = &self.envelope.sender;
        match submission::signing_domain(&self.world, self.client(), sender, known) {
            Some(domain) if signer.signs(domain) => {
                let mut rest = |each: &mut dyn FnMut(&[u8])| {
                    // Our Received field is not signed, and nothing else stands before the header.
                    let from = self.received.replace('\n', "\r\n").len() + known.block.len();
                    let read = draft.read(from as u64, each);
                    read.map_err(|error| SignError(error.to_string()))
                };
                signer.sign(domain, &known.block, &mut rest).map(Into::into)
            }
            _ => Ok(Box::default()),
        }
    }

    fn message_id(&self) -> Box<str> {
        self.header.known().map(|known| known.message_id.clone()).unwrap_or_default()
    }

    /// Tells the log what has become of everybody.
    fn report(&self, outcome: &Outcome, before: Duration, took: Duration) {
        let log = &self.world.settings.log;
        let queue_id = || Arc::clone(&self.queue_id);
        log.event(Event::MessageId { queue_id: queue_id(), message_id: self.message_id() });
        log.event(Event::Active {
            queue_id: queue_id(),
            sender: self.envelope.sender.clone(),
            size: self.size,
            recipients: self.finals.len(),
        });
        let attempt = |n: usize, dsn, status, agent: Agent, text: String| {
            let delivery = &self.finals[n].delivery;
            log.event(Event::Delivery(Box::new(Attempt {
                queue_id: queue_id(),
                to: delivery.to.clone(),
                orig_to: delivery.orig_to.clone(),
                agent,
                relay: "virtual".into(),
                delays: [before, Duration::ZERO, Duration::ZERO, took],
                dsn,
                status,
                text: text.into(),
            })));
        };
        for n in &outcome.delivered {
            let text = "delivered to maildir".to_owned();
            attempt(*n, Enhanced(2, 0, 0), Status::Sent, Agent::Virtual, text);
        }
        for (n, error) in &outcome.failed {
            attempt(*n, dsn_of(error), Status::Deferred, Agent::Virtual, error.to_string());
        }
        if outcome.left.is_none() {
            log.event(Event::Removed { queue_id: queue_id() });
        }
    }
}

fn deliver(incoming: Option<Incoming>, locals: &[usize]) -> Outcome {
    let mut outcome = Outcome::default();
    let results = incoming.map(Incoming::commit).unwrap_or_default();
    for (n, result) in locals.iter().zip(results) {
        match result {
            Ok(_) => outcome.delivered.push(*n),
            Err(error) => outcome.failed.push((*n, error)),
        }
    }
    outcome
}

/// What stands before the message in one mailbox, but for Received.
pub(crate) fn delivered_head(sender: &str, delivery: &Delivery) -> String {
    let (to, orig_to) = (delivery.to.to_string(), delivery.orig_to.to_string());
    let mut head = String::new();
    Delivered { sender, original_to: Some(&orig_to), delivered_to: &to }.print(&mut head);
    head
}

/// The enhanced code of a mailbox's failure.
pub(crate) fn dsn_of(error: &Error) -> Enhanced {
    match error {
        Error::NoSpace(_) => Enhanced(4, 2, 2),
        Error::Denied(_) | Error::Refused(_) => Enhanced(4, 2, 0),
        _ => Enhanced(4, 3, 0),
    }
}

fn full() -> Reply {
    Reply::new(452, Enhanced(4, 3, 1), "Insufficient system storage")
}

/// The reply when the message could not be made durable.
fn not_written(error: Option<&Error>) -> Reply {
    match error {
        Some(Error::NoSpace(_)) => full(),
        _ => Reply::new(451, Enhanced(4, 3, 0), "Error: queue file write error"),
    }
}

/// Our Received field.
fn trace(world: &Inner, queue_id: &str, envelope: &Envelope) -> String {
    let client = &envelope.client;
    let address = match client.peer.ip.to_canonical() {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("IPv6:{ip}"),
    };
    let only = match envelope.recipients.as_slice() {
        [only] => Some(only.address.to_string()),
        _ => None,
    };
    let some = |text: &'static str| (!text.is_empty()).then_some(text);
    let mut out = String::new();
    Received {
        helo: (!client.helo.is_empty()).then_some(&client.helo),
        client_name: client.peer.name.as_deref().unwrap_or("unknown"),
        client_address: &address,
        tls: client.tls.as_ref().map(|tls| received::Tls {
            protocol: tls.protocol,
            cipher: tls.cipher,
            bits: tls.bits.into(),
            key_exchange: some(tls.key_exchange),
            server_signature: some(tls.signature).map(|name| received::Signature {
                name,
                detail: &tls.signature_key,
                digest: tls.digest,
            }),
            ..received::Tls::default()
        }),
        shown_login: None,
        host: &world.settings.hostname,
        software: "Waypost",
        with: With {
            extended: client.esmtp,
            utf8: envelope.smtputf8,
            authenticated: client.login.is_some(),
        },
        id: queue_id,
        only_recipient: only.as_deref(),
        at: DateTime { seconds: envelope.arrived.secs, offset: 0 },
        zone: "UTC",
    }
    .print(&mut out);
    out
}
