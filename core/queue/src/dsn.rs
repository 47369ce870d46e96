//! Reports to the sender: delivery status notifications (RFC 3461, 3464, 6522, 6533).
//!
//! A report is a message of three parts: words for people, fields for programs, and the original
//! or its header. The original is not copied here: [`Report::head`] ends where it begins.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use waypost_mail::{Address, Body, Enhanced, Ret, ReversePath, Target};
use waypost_message::date::{DateTime, rfc5322, stamp};

use waypost_machine::UnixTime;

use crate::call::ReportKind;
use crate::diagnosis::Diagnosis;
use crate::dsn_text as text;
use crate::dsn_text::field;
use crate::entry::Entry;
use crate::origin::Origin;
use crate::waiting::Waiting;

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// Our host name: `Reporting-MTA`, and the domain of `MAILER-DAEMON`.
    pub host: String,
    /// `bounce_size_limit`: of a larger original, in octets, only the header is returned.
    pub bounce_size_limit: u64,
    /// How long delayed messages are tried; see [`crate::Settings::maximal_queue_lifetime`].
    pub lifetime: Duration,
    /// Who is told of reports that could not be delivered; usually the postmaster. `None`: nobody.
    pub double_bounce: Option<Address>,
}

impl Reporter {
    /// The settings of Postfix for a host: originals up to 50,000 octets, 5 days, double bounces
    /// to nobody.
    pub fn new(host: impl Into<String>) -> Self {
        let lifetime = Duration::from_secs(5 * 86_400);
        Self { host: host.into(), bounce_size_limit: 50_000, lifetime, double_bounce: None }
    }
}

/// A report, to be queued as a message with the null sender. Lines end with CRLF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its recipient.
    pub to: Address,
    /// `BODY=` that it needs.
    pub body: Body,
    /// It needs SMTPUTF8.
    pub smtputf8: bool,
    /// Its Message-ID.
    pub message_id: String,
    /// Everything before the original.
    pub head: Vec<u8>,
    /// What to put after `head`.
    pub original: Part,
    /// Everything behind the original.
    pub tail: Vec<u8>,
}

/// What of the original goes into a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Full,
    /// Its header, without the empty line.
    Headers,
}

/// A recipient as the fields name it.
struct Told<'a> {
    waiting: &'a Waiting,
    action: &'static str,
    diagnosis: Diagnosis,
}

/// Makes the report on these recipients (places in [`Entry::recipients`]) of a message, as far as
/// the sender wants one (`NOTIFY=`); `id` is the queue id that the report will have. `None` when
/// nobody is to be told: a report that cannot be delivered is told to `double_bounce` alone, and a
/// report to that one to nobody.
pub fn report(
    reporter: &Reporter,
    entry: &Entry,
    kind: ReportKind,
    places: &[u32],
    id: &str,
    now: UnixTime,
) -> Option<Report> {
    let mut told = Vec::new();
    for place in places {
        let waiting = entry.recipients.get(*place as usize).and_then(Option::as_ref);
        let Some(waiting) = waiting.filter(|waiting| is_wanted(waiting, kind)) else { continue };
        let new = Told::new(waiting, kind);
        // One expansion is told once, whatever it led to.
        let known = new.action == "expanded"
            && told.iter().any(|told: &Told<'_>| told.same_expansion(&new));
        if !known {
            told.push(new);
        }
    }
    if told.is_empty() {
        return None;
    }
    let to = match &entry.origin.sender {
        ReversePath::Address(sender) => sender.clone(),
        ReversePath::Null => double_bounce(reporter, kind, &told)?,
    };
    let writer = Writer { reporter, origin: &entry.origin, kind, told: &told, id, now };
    Some(writer.write(to))
}

fn is_wanted(waiting: &Waiting, kind: ReportKind) -> bool {
    match (kind, waiting.notify) {
        (ReportKind::Failed, notify) => notify.is_none_or(|notify| notify.failure),
        (ReportKind::Delayed, notify) => notify.is_none_or(|notify| notify.delay),
        (ReportKind::Delivered, notify) => notify.is_some_and(|notify| notify.success),
    }
}

fn double_bounce(reporter: &Reporter, kind: ReportKind, told: &[Told<'_>]) -> Option<Address> {
    let to = reporter.double_bounce.as_ref().filter(|_| kind == ReportKind::Failed)?;
    let is_it =
        |told: &Told<'_>| told.waiting.delivery.to == *to || told.waiting.delivery.orig_to == *to;
    (!told.iter().any(is_it)).then(|| to.clone())
}

impl<'a> Told<'a> {
    fn new(waiting: &'a Waiting, kind: ReportKind) -> Self {
        let delivery = &waiting.delivery;
        let unknown = || match kind {
            ReportKind::Delivered => Diagnosis::own(Enhanced(2, 0, 0), "delivered"),
            _ => Diagnosis::own(Enhanced(4, 4, 7), "delivery time expired"),
        };
        let diagnosis = waiting.last.as_deref().cloned().unwrap_or_else(unknown);
        let (action, diagnosis) = match kind {
            ReportKind::Failed => ("failed", diagnosis),
            ReportKind::Delayed => ("delayed", diagnosis),
            // Where an alias leads is nobody's business as long as it works.
            ReportKind::Delivered if delivery.to != delivery.orig_to => {
                ("expanded", Diagnosis::own(Enhanced(2, 0, 0), "alias expanded"))
            }
            ReportKind::Delivered => match delivery.target {
                Target::Maildir(_) => ("delivered", diagnosis),
                _ => ("relayed", diagnosis),
            },
        };
        Self { waiting, action, diagnosis }
    }

    fn same_expansion(&self, other: &Self) -> bool {
        self.action == other.action
            && self.waiting.delivery.orig_to == other.waiting.delivery.orig_to
    }

    fn final_recipient(&self) -> &Address {
        let delivery = &self.waiting.delivery;
        if self.action == "expanded" { &delivery.orig_to } else { &delivery.to }
    }
}

struct Writer<'a> {
    reporter: &'a Reporter,
    origin: &'a Origin,
    kind: ReportKind,
    told: &'a [Told<'a>],
    id: &'a str,
    now: UnixTime,
}

fn date(time: UnixTime) -> String {
    rfc5322(DateTime { seconds: time.secs, offset: 0 }) + " (UTC)"
}

/// What stands for a text in a field that must be ASCII.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

impl Writer<'_> {
    fn write(&self, to: Address) -> Report {
        let original = self.original();
        let mut words = String::new();
        self.words(original, &mut words);
        let mut fields = String::new();
        self.fields(&mut fields);
        let smtputf8 = self.origin.smtputf8 || to.is_utf8();
        let plain = words.is_ascii() && self.origin.body == Body::SevenBit && !smtputf8;
        let (body, encoding) =
            if plain { (Body::SevenBit, "7bit") } else { (Body::EightBitMime, "8bit") };
        let boundary = format!("{}.{}/{}", self.id, self.now.secs, self.reporter.host);
        let stamp = stamp(self.now.secs);
        let message_id = format!("<{stamp}.{}@{}>", self.id, self.reporter.host);
        let mut head = String::new();
        self.header(&to, &message_id, &boundary, encoding, &mut head);
        let utf8 = self.origin.smtputf8;
        let (status, returned) = match (utf8, original) {
            (false, Part::Full) => ("message/delivery-status", "message/rfc822"),
            (false, Part::Headers) => ("message/delivery-status", "text/rfc822-headers"),
            (true, Part::Full) => ("message/global-delivery-status", "message/global"),
            (true, Part::Headers) => ("message/global-delivery-status", "message/global-headers"),
        };
        let returned_name = match original {
            Part::Full => text::PARTS[2],
            Part::Headers => text::PARTS[3],
        };
        for (name, kind, content) in [
            (text::PARTS[0], "text/plain; charset=utf-8", words.as_str()),
            (text::PARTS[1], status, fields.as_str()),
            (returned_name, returned, ""),
        ] {
            head.push_str(&format!(
                "\r\n--{boundary}\r\nContent-Description: {name}\r\nContent-Type: {kind}\r\n"
            ));
            // RFC 3464 2.1: these fields are ASCII and never encoded.
            if kind != "message/delivery-status" {
                head.push_str(&format!("Content-Transfer-Encoding: {encoding}\r\n"));
            }
            head.push_str("\r\n");
            head.push_str(content);
        }
        let tail = format!("\r\n--{boundary}--\r\n").into_bytes();
        Report { to, body, smtputf8, message_id, head: head.into_bytes(), original, tail }
    }

    /// RFC 3461 4.3: `RET=` counts for failures; other reports never return more than the header.
    fn original(&self) -> Part {
        let full = self.kind == ReportKind::Failed
            && self.origin.ret != Some(Ret::Headers)
            && self.origin.size <= self.reporter.bounce_size_limit;
        if full { Part::Full } else { Part::Headers }
    }

    fn header(
        &self,
        to: &Address,
        message_id: &str,
        boundary: &str,
        encoding: &str,
        out: &mut String,
    ) {
        let host = &self.reporter.host;
        let date = date(self.now);
        out.push_str(&format!("Received: by {host} (Waypost)\r\n\tid {}; {date}\r\n", self.id));
        field("Date", &date, out);
        field("From", &format!("Mail Delivery System <MAILER-DAEMON@{host}>"), out);
        field("Subject", text::subject(self.kind), out);
        field("To", &to.to_string(), out);
        field("Message-ID", message_id, out);
        if !self.origin.message_id.is_empty() {
            field("References", &self.origin.message_id, out);
        }
        field("Auto-Submitted", "auto-replied", out);
        out.push_str(&format!(
            "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n\
             \tboundary=\"{boundary}\"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n\
             This is a MIME-encapsulated message.\r\n"
        ));
    }

    fn until(&self) -> UnixTime {
        let lifetime = i64::try_from(self.reporter.lifetime.as_secs()).unwrap_or(i64::MAX);
        let arrived = self.origin.arrived;
        UnixTime { secs: arrived.secs.saturating_add(lifetime), ..arrived }
    }

    fn words(&self, original: Part, out: &mut String) {
        text::opening(self.kind, &self.reporter.host, &date(self.until()), out);
        if self.kind == ReportKind::Failed {
            text::returned(original == Part::Full, out);
        }
        for told in self.told {
            let delivery = &told.waiting.delivery;
            let mut name = format!("<{}>", told.final_recipient());
            if told.final_recipient() != &delivery.orig_to {
                name.push_str(&format!(" (reached through <{}>)", delivery.orig_to));
            }
            out.push_str("\r\n");
            text::paragraph(&name, "", out);
            if self.kind != ReportKind::Delivered
                && let Some(meaning) = text::meaning(told.diagnosis.status)
            {
                text::paragraph(meaning, "    ", out);
            }
            text::paragraph(&told.diagnosis.text, "    ", out);
        }
        text::closing(self.kind, out);
    }

    /// RFC 3464 2.2 and 2.3, RFC 6533 3.
    fn fields(&self, out: &mut String) {
        let origin = self.origin;
        field("Reporting-MTA", &format!("dns; {}", self.reporter.host), out);
        if let Some(envid) = &origin.envid {
            field("Original-Envelope-Id", &self.fit(envid), out);
        }
        field("X-Waypost-Queue-ID", &origin.queue_id, out);
        if let ReversePath::Address(sender) = &origin.sender {
            field("X-Waypost-Sender", &self.typed(sender), out);
        }
        field("Arrival-Date", &date(origin.arrived), out);
        for told in self.told {
            out.push_str("\r\n");
            field("Final-Recipient", &self.typed(told.final_recipient()), out);
            let original = match &told.waiting.orcpt {
                Some((kind, address)) => self.fit(&format!("{kind};{address}")),
                None => self.typed(&told.waiting.delivery.orig_to),
            };
            field("Original-Recipient", &original, out);
            field("Action", told.action, out);
            field("Status", &told.diagnosis.status.to_string(), out);
            match &told.diagnosis.remote {
                Some(remote) => {
                    field("Remote-MTA", &self.fit(&format!("dns; {}", remote.host)), out);
                    field("Diagnostic-Code", &self.fit(&format!("smtp; {}", remote.reply)), out);
                }
                None => {
                    let words = format!("X-Waypost; {}", told.diagnosis.text);
                    field("Diagnostic-Code", &self.fit(&words), out);
                }
            }
            if self.kind == ReportKind::Delayed {
                field("Will-Retry-Until", &date(self.until()), out);
            }
        }
    }

    /// An address with its type.
    fn typed(&self, address: &Address) -> String {
        if address.is_utf8() && self.origin.smtputf8 {
            format!("utf-8; {address}")
        } else {
            format!("rfc822; {}", ascii(&address.to_string()))
        }
    }

    fn fit(&self, text: &str) -> String {
        if self.origin.smtputf8 { text.to_string() } else { ascii(text) }
    }
}
