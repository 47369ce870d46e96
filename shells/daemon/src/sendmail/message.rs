//! From what a program writes to a message for SMTP.

use std::io::{self, BufRead, BufReader, Read};
use std::process;

use waypost_machine::UnixTime;
use waypost_mail::{Address, Domain};
use waypost_message::crlf::to_crlf;
use waypost_message::date::{DateTime, civil};
use waypost_message::envelope::{Address as Listed, addresses};
use waypost_message::header::{Field, fields};
use waypost_message::submission::{Additions, apply, edits};

use super::options::Options;
use super::{Exit, Trouble};

/// Who runs this: the sender of what names no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Author {
    pub(super) login: String,
    /// Possibly empty.
    pub(super) name: String,
}

/// A message for SMTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mail {
    /// `None`: the null sender.
    pub(super) sender: Option<Address>,
    /// At least one, each once.
    pub(super) recipients: Vec<Address>,
    pub(super) notify: Option<String>,
    pub(super) ret: Option<String>,
    pub(super) envid: Option<String>,
    /// With CRLF line ends, the last one included; not dot-stuffed.
    pub(super) text: Vec<u8>,
}

/// Reads a message up to its end, or a line with a dot alone, where that ends one.
pub(super) fn read(input: &mut dyn Read, dot_ends: bool, limit: u64) -> Result<Vec<u8>, Trouble> {
    let failed = |error: io::Error| Trouble::new(Exit::Io, format!("standard input: {error}"));
    let mut input = BufReader::new(input.take(limit.saturating_add(1)));
    let mut text = Vec::new();
    if dot_ends {
        loop {
            let start = text.len();
            if input.read_until(b'\n', &mut text).map_err(failed)? == 0 {
                break;
            }
            if matches!(&text[start..], b".\n" | b".\r\n" | b".") {
                text.truncate(start);
                break;
            }
        }
    } else {
        input.read_to_end(&mut text).map_err(failed)?;
    }
    match text.len() as u64 > limit {
        true => Err(Trouble::new(Exit::Data, format!("message is longer than {limit} octets"))),
        false => Ok(text),
    }
}

/// Makes a message for SMTP of it; addresses without a domain are in this one.
pub(super) fn prepare(
    options: &Options,
    author: &Author,
    domain: &Domain,
    now: UnixTime,
    text: &[u8],
) -> Result<Mail, Trouble> {
    let (header, body) = split(text);
    let header = to_crlf(header);
    let login = author.login.as_str();
    let own = || match Address::new(login, domain.clone()) {
        Ok(own) => Ok(own),
        Err(error) => Err(Trouble::new(Exit::Software, format!("{login}: {error}"))),
    };
    let sender = match options.sender.as_deref() {
        None => Some(own()?),
        Some("" | "<>") => None,
        Some(text) => Some(argument(text, domain)?),
    };
    let mut recipients = Vec::new();
    for text in &options.recipients {
        recipients.extend(arguments(text, domain)?);
    }
    if options.from_header {
        from_header(&header, domain, &mut recipients)?;
    }
    let mut seen = std::collections::BTreeSet::new();
    recipients.retain(|address| seen.insert(address.to_string()));
    if recipients.is_empty() {
        return Err(Trouble::new(Exit::Usage, "no recipients in the header"));
    }
    let from = match &sender {
        Some(sender) => sender.clone(),
        None => own()?,
    };
    let header = complete(header, options, author, &from, domain, now);
    let body = to_crlf(body);
    let mut text = [&header[..], b"\r\n", &body].concat();
    if !text.ends_with(b"\r\n") {
        text.extend_from_slice(b"\r\n");
    }
    let Options { notify, ret, envid, .. } = options.clone();
    Ok(Mail { sender, recipients, notify, ret, envid, text })
}

/// The header's fields, and the body without the empty line. A `From ` line before the header, as
/// in a mailbox file, is left out; a message need not have a header.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let start = match text.starts_with(b"From ") || text.starts_with(b">From ") {
        true => text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |lf| lf + 1),
        false => 0,
    };
    let text = &text[start..];
    let good =
        |field: &Field<'_>| !field.name.is_empty() && field.name.iter().all(u8::is_ascii_graphic);
    let length = fields(text).take_while(good).map(|field| field.whole.len()).sum();
    let (header, body) = text.split_at(length);
    let body = body.strip_prefix(b"\r\n").or_else(|| body.strip_prefix(b"\n")).unwrap_or(body);
    (header, body)
}

/// One address of the command line.
fn argument(text: &str, domain: &Domain) -> Result<Address, Trouble> {
    let mut found = arguments(text, domain)?;
    match (found.pop(), found.pop()) {
        (Some(one), None) => Ok(one),
        _ => Err(Trouble::new(Exit::Usage, format!("{text}: not one address"))),
    }
}

/// The addresses in one word of the command line: one without anything around it, or a list as in
/// a header.
fn arguments(text: &str, domain: &Domain) -> Result<Vec<Address>, Trouble> {
    let mut found = Vec::new();
    if text.contains([',', ';', '<', '"', '(', ' ']) {
        named(&addresses(text.as_bytes()), text, Exit::Usage, domain, &mut found)?;
        return Ok(found);
    }
    let address = match text.contains('@') {
        true => Address::parse(text),
        false => Address::new(text, domain.clone()),
    };
    found.push(address.map_err(|error| Trouble::new(Exit::Usage, format!("{text}: {error}")))?);
    Ok(found)
}

/// Recipients of To, Cc and Bcc; where a message was resent, of Resent-To and so on instead.
fn from_header(
    header: &[u8],
    domain: &Domain,
    recipients: &mut Vec<Address>,
) -> Result<(), Trouble> {
    let names: [&[u8]; 3] = [b"Resent-To", b"Resent-Cc", b"Resent-Bcc"];
    let is = |field: &Field<'_>, resent: bool| {
        names.iter().any(|name| field.is(if resent { name } else { &name["Resent-".len()..] }))
    };
    let resent = fields(header).any(|field| is(&field, true));
    for field in fields(header).filter(|field| is(field, resent)) {
        let value = field.value();
        let shown = String::from_utf8_lossy(&value);
        named(&addresses(&value), shown.trim(), Exit::Data, domain, recipients)?;
    }
    Ok(())
}

/// The addresses of a list; `shown` is what they came from.
fn named(
    listed: &[Listed],
    shown: &str,
    exit: Exit,
    domain: &Domain,
    to: &mut Vec<Address>,
) -> Result<(), Trouble> {
    let bad = |why: &str| Trouble::new(exit, format!("{shown}: {why}"));
    for Listed { mailbox, domain: given, .. } in listed {
        // Begin and end of a group have no domain.
        let (Some(mailbox), Some(given)) = (mailbox, given) else { continue };
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).map_err(|_| bad("not UTF-8"));
        let (mailbox, given) = (text(mailbox)?, text(given)?);
        if mailbox == "MISSING_MAILBOX" || given == "SYNTAX_ERROR" {
            return Err(bad("not an address"));
        }
        let address = match given.as_str() {
            "MISSING_DOMAIN" => Address::new(&mailbox, domain.clone()),
            given => Domain::parse(given).and_then(|domain| Address::new(&mailbox, domain)),
        };
        to.push(address.map_err(|error| bad(&error.to_string()))?);
    }
    Ok(())
}

/// Adds From, Date and Message-ID where they are missing, and takes Bcc out.
fn complete(
    mut header: Vec<u8>,
    options: &Options,
    author: &Author,
    from: &Address,
    domain: &Domain,
    now: UnixTime,
) -> Vec<u8> {
    if !header.is_empty() && !header.ends_with(b"\r\n") {
        header.extend_from_slice(b"\r\n");
    }
    let name = options.name.as_deref().unwrap_or(&author.name);
    let name: String = name.chars().filter(|c| !c.is_control() && !"\"\\".contains(*c)).collect();
    if !name.is_empty() && !fields(&header).any(|field| field.is(b"From")) {
        header.extend_from_slice(format!("From: \"{name}\" <{from}>\r\n").as_bytes());
    }
    let (year, month, day) = civil(now.secs.div_euclid(86_400));
    let second = now.secs.rem_euclid(86_400);
    let message_id = format!(
        "<{year:04}{month:02}{day:02}{second:05}.{:09}.{}@{domain}>",
        now.nanos,
        process::id()
    );
    let additions = Additions {
        date: DateTime { seconds: now.secs, offset: 0 },
        message_id: &message_id,
        from: &from.to_string(),
    };
    let edits = edits(&header, &additions);
    apply(&header, &edits)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
