//! The sender is told: a report is a new message, which goes the way of all others.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use waypost_mail::{Delivery, ReversePath, Target, Verdict};
use waypost_queue::dsn::{self, Part, Report, Reporter};
use waypost_queue::{Entry, Origin, ReportKind, Reported, Waiting};

use super::How;
use super::slot::{Due, Slot};
use crate::Inner;
use crate::event::Event;
use crate::run::smtp::not_now;
use crate::run::srs;
use crate::spool::{Draft, SpoolError};

/// A report on its way into the spool.
struct Letter {
    world: Arc<Inner>,
    slot: Arc<Slot>,
    kind: ReportKind,
    /// It goes to the postmaster.
    postmaster: bool,
    /// Its own queue id.
    id: String,
    report: Report,
    /// The message that it is about.
    original: Origin,
    due: Due<Reported>,
}

/// Tells the sender, as far as he wants to know.
pub(super) fn report(
    world: &Arc<Inner>,
    slot: Arc<Slot>,
    kind: ReportKind,
    places: Vec<u32>,
    due: Due<Reported>,
) {
    let worker = Arc::clone(world);
    world.files.submit(Some(slot.key), move || {
        let world = worker;
        let now = world.settings.clock.wall();
        let id = world.queue_ids.next(now);
        let made = slot.read(&world.queue.spool, |entry| {
            let reporter = reporter(&world, entry);
            let postmaster = entry.origin.sender == ReversePath::Null;
            let report = dsn::report(&reporter, entry, kind, &places, &id, now);
            (report, postmaster, entry.origin.clone())
        });
        match made {
            Err(error) => world.queue.complain(&slot, &error),
            Ok((None, ..)) => due.keep(Reported::Done),
            Ok((Some(report), postmaster, original)) => {
                Letter { world, slot, kind, postmaster, id, report, original, due }.address();
            }
        }
    });
}

/// What cannot be delivered of our own reports is told to the postmaster. Of others' messages with
/// the null sender nobody is told: theirs is the duty, and we would bounce what is a bounce.
fn reporter(world: &Inner, entry: &Entry) -> Reporter {
    let (settings, host) = (&world.settings.spool, &world.settings.hostname);
    let origin = &entry.origin;
    // Nobody else can know the queue id that a message will have here.
    let ours = origin.message_id.ends_with(&format!(".{}@{host}>", origin.queue_id));
    Reporter {
        bounce_size_limit: settings.bounce_size_limit,
        lifetime: settings.queue.maximal_queue_lifetime,
        double_bounce: settings.double_bounce.clone().filter(|_| ours),
        ..Reporter::new(&**host)
    }
}

impl Letter {
    /// Asks where it goes.
    fn address(self) {
        let world = Arc::clone(&self.world);
        let to = self.report.to.clone();
        let request = srs::again(&world, to.clone(), to);
        let posted = Box::new(move |verdict| {
            let worker = Arc::clone(&self.world);
            worker.files.submit(None, move || self.post(verdict));
        });
        let (lookups, clock) = (&world.lookups, &world.settings.clock);
        crate::run::resolve::resolve(lookups, clock, &world.policy, request, posted);
    }

    /// Puts it into the spool, and only then answers.
    fn post(self, verdict: Verdict) {
        let mut entry = self.entry(verdict);
        let queue = &self.world.queue;
        let written = self.write(&mut entry, true).or_else(|broke| match broke {
            // To be told that it is lost the sender need not get it back.
            Broke::Original(error) if self.kind != ReportKind::Delayed && error.is_lasting() => {
                queue.complain(&self.slot, &error);
                self.write(&mut entry, false)
            }
            broke => Err(broke),
        });
        let lines = match written {
            Ok(lines) => lines,
            Err(Broke::Original(error) | Broke::Own(error)) => {
                return queue.complain(&self.slot, &error);
            }
        };
        let log = &self.world.settings.log;
        let id: Arc<str> = self.id.as_str().into();
        let message_id = entry.origin.message_id.clone();
        log.event(Event::MessageId { queue_id: Arc::clone(&id), message_id });
        log.event(Event::Active {
            queue_id: Arc::clone(&id),
            sender: ReversePath::Null,
            size: entry.origin.size - lines,
            recipients: entry.recipients.len(),
        });
        log.event(Event::Notified {
            queue_id: Arc::clone(&self.slot.name),
            kind: self.kind,
            report: id,
            postmaster: self.postmaster,
        });
        // First: with the answer the message may go, and the queue must not look empty in between.
        self.world.queue.submit(entry, How::Now, Vec::new());
        self.due.keep(Reported::Done);
    }

    fn entry(&self, verdict: Verdict) -> Entry {
        let now = self.world.settings.clock.wall();
        let to = &self.report.to;
        let only = |target| vec![Delivery { to: to.clone(), orig_to: to.clone(), target }];
        let deliveries = match verdict {
            Verdict::Accept(deliveries) if deliveries.is_empty() => only(Target::Later(not_now())),
            Verdict::Accept(deliveries) => deliveries,
            Verdict::Refuse(reply) if reply.is_temporary() => only(Target::Later(reply)),
            Verdict::Refuse(reply) => only(Target::Undeliverable(reply)),
        };
        let waiting = |delivery| Waiting::new(delivery, None, None, now);
        let origin = Origin {
            queue_id: self.id.as_str().into(),
            arrived: now,
            sender: ReversePath::Null,
            size: 0,
            checksum: None,
            message_id: self.report.message_id.as_str().into(),
            body: self.report.body,
            smtputf8: self.report.smtputf8,
            ret: None,
            envid: None,
            login: None,
            head: Box::default(),
        };
        Entry::new(origin, deliveries.into_iter().map(waiting).collect())
    }

    /// Makes it durable, with the original or without; how many lines it has.
    fn write(&self, entry: &mut Entry, original: bool) -> Result<u64, Broke> {
        let draft = self.world.queue.spool.begin(&self.id)?;
        let mut out = Counted { draft, lines: 0 };
        out.write(Bytes::copy_from_slice(&self.report.head))?;
        if original {
            self.write_original(&mut out)?;
        } else {
            out.write(Bytes::from_static(UNREADABLE))?;
        }
        out.write(Bytes::copy_from_slice(&self.report.tail))?;
        out.draft.commit(entry)?;
        Ok(out.lines)
    }

    fn write_original(&self, out: &mut Counted) -> Result<(), Broke> {
        let body = self.world.queue.spool.body(&self.original);
        let mut body = body.map_err(Broke::Original)?;
        let mut header = Vec::new();
        let (mut offset, mut end) = (0, false);
        while !end {
            let (block, last) = body.read(offset, BLOCK).map_err(Broke::Original)?;
            (offset, end) = (offset + block.len() as u64, last);
            if self.report.original == Part::Full {
                out.write(block)?;
                continue;
            }
            header.extend_from_slice(&block);
            let empty_line = memmem::find(&header, b"\r\n\r\n");
            header.truncate(empty_line.map_or(header.len(), |at| at + 2));
            end |= empty_line.is_some() || header.len() > MAX_HEADER;
        }
        if !header.is_empty() {
            out.write(header.into())?;
        }
        Ok(())
    }
}

/// Why a report is not written.
enum Broke {
    /// The message that it is about cannot be read.
    Original(SpoolError),
    /// It cannot be written itself.
    Own(SpoolError),
}

impl From<SpoolError> for Broke {
    fn from(error: SpoolError) -> Self {
        Self::Own(error)
    }
}

/// In place of an original that nobody can read any more.
const UNREADABLE: &[u8] = b"Comments: the message cannot be read any more\r\n";
/// Octets of a header that are returned, at least.
const MAX_HEADER: usize = 128 * 1024;
/// Octets that are read at a time.
const BLOCK: usize = 64 * 1024;

/// A draft that counts its lines.
struct Counted {
    draft: Draft,
    lines: u64,
}

impl Counted {
    fn write(&mut self, piece: Bytes) -> Result<(), SpoolError> {
        self.lines += memchr::memchr_iter(b'\n', &piece).count() as u64;
        self.draft.write(&[piece])
    }
}
