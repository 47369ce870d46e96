//! The ends of messages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use waypost_queue::Entry;
use waypost_world::{Event, Status};

use super::{Law, Ledger, Message, Outcome, Try, wishes};
use crate::book::{End, Known};
use crate::message::{self, Report, in_report};
use crate::script::Fault;

/// A message under one queue id.
type Name<'a> = (u32, &'a str);

/// What is found in the end, by message and queue id.
#[derive(Default)]
pub(super) struct Found {
    /// Copies in INBOX, by the address that they were delivered to.
    pub(super) delivered: BTreeMap<(u32, String, String), usize>,
    /// What hosts took, by recipient: all, and those whose reply the server may not have got.
    pub(super) relayed: BTreeMap<(u32, String, String), (usize, usize)>,
    /// Reports by queue id and final recipient ([`in_report`]): their actions, and how often each came.
    pub(super) reported: BTreeMap<(String, String), BTreeMap<String, usize>>,
    /// Who waits, by queue id.
    pub(super) waiting: BTreeMap<String, BTreeSet<String>>,
}

impl Found {
    fn report(&mut self, report: Report, count: usize) {
        for (recipient, action) in report.recipients {
            let actions = self.reported.entry((report.queue_id.clone(), recipient)).or_default();
            *actions.entry(action).or_insert(0) += count;
        }
    }
}

/// Faults after which nobody knows whether what was done is durable.
const FAILURES: [Fault; 4] =
    [Fault::DiskSyncFails, Fault::DiskDirSyncFails, Fault::DiskFull, Fault::DiskBroken];
/// Faults of the disk that befall more than one call, and those that befall one.
const LASTING: [Fault; 3] = [Fault::DiskFull, Fault::DiskOpenFails, Fault::DiskBroken];
const SINGLE: [Fault; 2] = [Fault::DiskSyncFails, Fault::DiskDirSyncFails];
/// Who gets reports on reports: `postmaster` of the configuration.
const POSTMASTER: &str = "mail000@";

impl Ledger {
    /// Judges the run, at its end: mailboxes are read, what is in the spool's directory is given.
    pub fn judge(&mut self, spool: &[(PathBuf, Vec<u8>)]) {
        self.judge_mailboxes();
        let found = self.find(spool);
        let mut broken = Vec::new();
        for (token, message) in (0..).zip(&self.messages) {
            for tried in &message.tries {
                if let Outcome::Accepted(queue_id) = &tried.outcome {
                    self.judge_ends(token, message, tried, queue_id, &found, &mut broken);
                }
            }
        }
        self.judge_strangers(&found, &mut broken);
        self.judge_reports(&found, &mut broken);
        for (queue_id, waiting) in &found.waiting {
            broken.push((Law::W10, format!("{queue_id} still waits for {waiting:?}")));
        }
        for (law, what) in broken {
            self.breach(law, what);
        }
    }

    fn find(&mut self, spool: &[(PathBuf, Vec<u8>)]) -> Found {
        let mut found = Found::default();
        let mut broken = Vec::new();
        self.find_in_mailboxes(&mut found, &mut broken);
        self.find_at_hosts(&mut found, &mut broken);
        for (path, file) in spool.iter().filter(|(path, _)| ends_with(path, "entry")) {
            match Entry::decode(file) {
                Ok(entry) => {
                    let waiting: BTreeSet<_> = entry.recipients.iter().flatten().collect_to();
                    found.waiting.insert(entry.origin.queue_id.to_string(), waiting);
                }
                Err(error) => broken.push((Law::W1, format!("{}: {error}", path.display()))),
            }
        }
        for (law, what) in broken {
            self.breach(law, what);
        }
        found
    }

    fn find_in_mailboxes(&self, found: &mut Found, broken: &mut Vec<(Law, String)>) {
        let boxes = &self.mailboxes;
        let gone = boxes
            .seen
            .iter()
            .filter(|(place, _)| !boxes.last.contains_key(*place) && boxes.may_go(place));
        for (place, content) in boxes.last.iter().chain(gone) {
            let copy = message::read(content);
            let is_inbox = place.mailbox.eq_ignore_ascii_case("INBOX");
            let to = copy.fields.iter().find(|(name, _)| name == "delivered-to");
            let to = to.map_or("", |(_, value)| value).to_ascii_lowercase();
            if let Some(report) = copy.report {
                self.judge_report(&report, &[to], broken);
                let is_copied = boxes.copies.iter().any(|it| it.content == *content);
                found.report(report, usize::from(is_inbox && !is_copied));
            } else if let (Some(token), Some(queue_id)) = (copy.token, copy.queue_id)
                && is_inbox
            {
                if !to.starts_with(&place.user) {
                    broken.push((Law::W3, format!("{place} is for {to:?}")));
                }
                *found.delivered.entry((token, queue_id, to)).or_insert(0) += 1;
            }
        }
    }

    fn find_at_hosts(&self, found: &mut Found, broken: &mut Vec<(Law, String)>) {
        for taken in &self.taken {
            let copy = message::read(&taken.data);
            let original = copy.token.and_then(|token| self.messages.get(token as usize));
            let wrong = original.and_then(|it| message::differs(&taken.data, &it.data));
            if let Some(wrong) = wrong {
                broken.push((Law::W4, format!("{} got {:?}: {wrong}", taken.host, copy.token)));
            }
            if let Some(report) = copy.report {
                self.judge_report(&report, &taken.to, broken);
                found.report(report, usize::from(taken.heard));
            } else if let (Some(token), Some(queue_id), Some(message)) =
                (copy.token, copy.queue_id, original)
            {
                self.judge_envelope(token, message, taken, broken);
                for to in &taken.to {
                    let key = (token, queue_id.clone(), to.to_ascii_lowercase());
                    let count = found.relayed.entry(key).or_insert((0, 0));
                    count.0 += 1;
                    count.1 += usize::from(!taken.heard);
                }
            } else {
                broken.push((Law::W3, format!("{} got a message nobody sent", taken.host)));
            }
        }
    }

    /// W2: a report goes to whoever sent the message, or to the postmaster.
    fn judge_report(&self, report: &Report, to: &[String], broken: &mut Vec<(Law, String)>) {
        let message = report.token.and_then(|token| self.messages.get(token as usize));
        let Some(message) = message else { return };
        let is_told = to.iter().all(|to| {
            self.leads(&message.mail.from, to) || to.to_ascii_lowercase().starts_with(POSTMASTER)
        });
        if !is_told {
            let what = format!("a report on a message of <{}> went to {to:?}", message.mail.from);
            broken.push((Law::W2, what));
        }
    }

    /// W1 and W2: each end of an accepted message.
    fn judge_ends(
        &self,
        token: u32,
        message: &Message,
        tried: &Try,
        queue_id: &str,
        found: &Found,
        broken: &mut Vec<(Law, String)>,
    ) {
        let (mut ends, name) = (BTreeSet::new(), (token, queue_id));
        for to in &tried.to {
            if self.catch_all(to).is_some() {
                continue;
            }
            if let Some(meant) = self.meant(name, to, found) {
                ends.extend(meant);
                continue;
            }
            match self.book.look(to) {
                Known::Here(more) => ends.extend(more),
                Known::Foreign => {
                    ends.insert(End::Remote(to.to_ascii_lowercase()));
                }
                Known::Unknown => {}
            }
        }
        let mishaps = self.mishaps_around(queue_id, tried.time);
        for end in &ends {
            self.judge_end(name, message, end, mishaps, found, broken);
        }
        self.judge_wishes(name, (message, tried), &ends, found, broken);
    }

    fn judge_end(
        &self,
        (token, queue_id): Name<'_>,
        message: &Message,
        end: &End,
        mishaps: usize,
        found: &Found,
        broken: &mut Vec<(Law, String)>,
    ) {
        let key = |who: &str| (token, queue_id.to_owned(), who.to_owned());
        let (who, copies, unheard) = match end {
            End::Mailbox(_, to) => {
                (to.clone(), found.delivered.get(&key(to)).copied().unwrap_or(0), 0)
            }
            End::Remote(to) => {
                let (copies, unheard) = found.relayed.get(&key(to)).copied().unwrap_or((0, 0));
                (to.clone(), copies, unheard)
            }
            End::Nowhere(to) => (to.clone(), 0, 0),
        };
        let it = format!("message {token} ({queue_id}) for {who}");
        let told = |action: &str| {
            let actions = found.reported.get(&(queue_id.to_owned(), in_report(&who)));
            actions.is_some_and(|actions| actions.contains_key(action))
        };
        let failed = told("failed")
            || self.is_told_of_alias(queue_id, &who, found)
            || self.is_told_elsewhere(message, queue_id, &who);
        let waits = found.waiting.get(queue_id).is_some_and(|waiting| waiting.contains(&who));
        if copies == 0 && !failed && !waits {
            broken.push((Law::W1, format!("{it} is lost")));
        }
        let copied = self.copies_into_inbox(token, end);
        let allowed = 1 + mishaps + unheard + copied;
        if copies > allowed {
            broken.push((Law::W2, format!("{it} came {copies} times, {allowed} may be")));
        }
        if told("failed") && copies > 0 && mishaps + unheard == 0 {
            broken.push((Law::W2, format!("{it} came, and its sender was told that it did not")));
        }
        if told("failed") && waits {
            broken.push((Law::W2, format!("{it} waits, and its sender was told that it failed")));
        }
    }

    /// How often an owner asked for a further copy in INBOX.
    fn copies_into_inbox(&self, token: u32, end: &End) -> usize {
        let End::Mailbox(user, _) = end else { return 0 };
        let copies = self.mailboxes.copies.iter();
        let of_it = copies.filter(|copy| {
            copy.from.user == *user
                && copy.to.eq_ignore_ascii_case("INBOX")
                && message::read(&copy.content).token == Some(token)
        });
        of_it.count()
    }

    /// What may be the reason for a second copy: crashes, stops that did not wait for the end, and
    /// syncs that failed, while the message was here. Nobody knows then whether what was done is
    /// durable.
    fn mishaps_around(&self, queue_id: &str, (begun, _): (Duration, Duration)) -> usize {
        let removed = self.events.iter().find_map(|(at, event)| match event {
            Event::Removed { queue_id: id } if **id == *queue_id => Some(*at),
            _ => None,
        });
        let until = removed.unwrap_or(Duration::MAX);
        let crashes = self.crashes.iter().filter(|at| (begun..=until).contains(*at)).count();
        let abandoned = |(at, event): &&(Duration, Event)| {
            (begun..=until).contains(at) && matches!(event, Event::Abandoned)
        };
        let abandoned = self.events.iter().filter(abandoned).count();
        crashes + abandoned + self.count(&FAILURES, (begun, until))
    }

    /// How many of these faults there were in a time.
    fn count(&self, faults: &[Fault], (begun, until): (Duration, Duration)) -> usize {
        let times = faults.iter().filter_map(|fault| self.faults.get(fault)).flatten();
        times.filter(|(from, to)| *from <= until && *to >= begun).count()
    }

    /// True when nobody knows whether a message was accepted: no answer came, or the disk failed more
    /// than once. Then somebody may have what could not be put into the queue for the others, and
    /// what was refused may come back after a crash.
    fn is_unknown(&self, tried: &Try) -> bool {
        match tried.outcome {
            Outcome::Unknown => true,
            Outcome::Refused(code) => {
                let lasting = self.count(&LASTING, tried.time);
                let single = self.count(&SINGLE, tried.time);
                code / 100 == 4 && (lasting > 0 || single > 1)
            }
            Outcome::Unsent | Outcome::Accepted(_) => false,
        }
    }

    /// While entries are missing an alias that leads there may be nobody, as a member of a list whose entry
    /// was found: its sender is then told of the alias.
    fn is_told_of_alias(&self, queue_id: &str, who: &str, found: &Found) -> bool {
        self.has(Fault::DirectoryEmpty)
            && found.reported.iter().any(|((id, alias), actions)| {
                id == queue_id && actions.contains_key("failed") && self.leads(alias, who)
            })
    }

    /// A report that could not be delivered itself, or that nobody was to get.
    pub(super) fn is_told_elsewhere(&self, message: &Message, queue_id: &str, who: &str) -> bool {
        // While entries are missing an alias is not followed.
        let is_it = |to: &str| {
            to.eq_ignore_ascii_case(who) || self.has(Fault::DirectoryEmpty) && self.leads(to, who)
        };
        let bounced = self.events.iter().any(|(_, event)| match event {
            Event::Delivery(attempt) => {
                attempt.status == Status::Bounced
                    && *attempt.queue_id == *queue_id
                    && is_it(&attempt.to.to_string())
            }
            Event::Expired { queue_id: id, .. } => **id == *queue_id,
            _ => false,
        });
        // The sender of a bounce is not told, nor who wants to know nothing.
        if bounced && (message.mail.from.is_empty() || !wishes::of(message).failure) {
            return true;
        }
        self.events.iter().any(|(_, event)| match event {
            Event::Notified { queue_id: id, report, .. } if **id == *queue_id => {
                self.events.iter().any(|(_, event)| match event {
                    Event::Delivery(attempt) => {
                        attempt.queue_id == *report && attempt.status == Status::Bounced
                    }
                    Event::Expired { queue_id: id, .. } => id == report,
                    _ => false,
                })
            }
            _ => false,
        })
    }

    /// W2: nobody is told the same twice, unless a crash or a failed sync is the reason. An alias that
    /// leads to several is told of when the message has come to some of them, and again with the rest.
    fn judge_reports(&self, found: &Found, broken: &mut Vec<(Law, String)>) {
        for ((queue_id, who), actions) in &found.reported {
            for (action, count) in actions.iter().filter(|(_, count)| **count > 1) {
                let ends = match (action.as_str(), self.book.look(who)) {
                    ("expanded", Known::Here(ends)) => ends.len(),
                    _ => 1,
                };
                if *count > ends && *count > ends + self.mishaps_of(queue_id) {
                    let what = format!("{queue_id} for {who}: {action} was told {count} times");
                    broken.push((Law::W2, what));
                }
            }
        }
    }

    /// What may be the reason for a second report: mishaps of the message, and of reports on it.
    pub(super) fn mishaps_of(&self, queue_id: &str) -> usize {
        let reports = self.events.iter().filter_map(|(at, event)| match event {
            Event::Notified { queue_id: id, report, .. } if **id == *queue_id => {
                Some(self.mishaps_around(report, (*at, *at)))
            }
            _ => None,
        });
        self.mishaps_around(queue_id, self.handed_over(queue_id)) + reports.sum::<usize>()
    }

    /// When the message was handed over that got this queue id; of our own reports nobody knows.
    fn handed_over(&self, queue_id: &str) -> (Duration, Duration) {
        let tries = self.messages.iter().flat_map(|message| &message.tries);
        let is_it =
            |tried: &&Try| matches!(&tried.outcome, Outcome::Accepted(id) if id == queue_id);
        tries.into_iter().find(is_it).map_or_else(Default::default, |tried| tried.time)
    }

    /// W3: what came without a promise.
    fn judge_strangers(&self, found: &Found, broken: &mut Vec<(Law, String)>) {
        let mut unknown: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
        for (token, queue_id, who) in found.delivered.keys().chain(found.relayed.keys()) {
            let token = *token;
            let Some(message) = self.messages.get(token as usize) else { continue };
            let leads = |tried: &Try| tried.to.iter().any(|to| self.leads(to, who));
            let promised = message
                .tries
                .iter()
                .any(|tried| tried.outcome == Outcome::Accepted(queue_id.clone()) && leads(tried));
            if promised {
                continue;
            }
            let lost = |tried: &Try| self.is_unknown(tried) && leads(tried);
            if !message.tries.iter().any(lost) {
                let what = format!("message {token} ({queue_id}) came to {who} without a 250");
                broken.push((Law::W3, what));
            }
            unknown.entry(token).or_default().insert(queue_id);
        }
        for (token, queue_ids) in unknown {
            let tries = &self.messages[token as usize].tries;
            let lost = tries.iter().filter(|it| self.is_unknown(it)).count();
            if queue_ids.len() > lost {
                let what = format!(
                    "message {token} came under {} queue ids without a 250, {lost} replies were lost",
                    queue_ids.len()
                );
                broken.push((Law::W3, what));
            }
        }
    }

    /// Where a recipient may lead instead, when entries are missing for a while.
    fn catch_all(&self, to: &str) -> Option<Known> {
        self.book.look_catch_all(to).filter(|_| self.has(Fault::DirectoryEmpty))
    }

    /// True when a recipient leads to this address.
    pub(super) fn leads(&self, to: &str, who: &str) -> bool {
        let is_it = |end: &End| match end {
            End::Mailbox(_, to) | End::Remote(to) => to == who,
            End::Nowhere(_) => false,
        };
        if let Some(Known::Here(ends)) = self.catch_all(to)
            && ends.iter().any(is_it)
        {
            return true;
        }
        match self.book.look(to) {
            Known::Here(ends) => ends.iter().any(is_it),
            Known::Foreign => to.eq_ignore_ascii_case(who),
            Known::Unknown => false,
        }
    }
}

fn ends_with(path: &std::path::Path, extension: &str) -> bool {
    path.extension().is_some_and(|it| it == extension)
}

/// Addresses of those who wait.
trait Addresses {
    fn collect_to(self) -> BTreeSet<String>;
}

impl<'a, I: Iterator<Item = &'a waypost_queue::Waiting>> Addresses for I {
    fn collect_to(self) -> BTreeSet<String> {
        self.map(|waiting| waiting.delivery.to.to_string().to_ascii_lowercase()).collect()
    }
}
