//! Messages that are recognized wherever they turn up.
//!
//! Each has a token, a number that stands in its header, in its Message-ID and in its text. So a
//! copy on disk, in a mailbox, at another host or inside of a report names the message it is of.

use std::collections::BTreeMap;

/// The field that names the message.
const FIELD: &str = "X-Token: ";

/// Fields that the server puts before a message.
const TRACES: &[&str] =
    &["return-path", "x-original-to", "delivered-to", "received", "dkim-signature"];

/// Writes a message of about `size` octets, CRLF line ends. `utf8`: its header has letters beyond ASCII.
pub fn write(token: u32, from: &str, to: &[String], size: u32, utf8: bool) -> Vec<u8> {
    let greeting = if utf8 { "grüße " } else { "" };
    let mut text = format!(
        "From: <{}>\r\nTo: <{}>\r\nSubject: {greeting}message {token}\r\n\
         Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{token}@sim.test>\r\n\
         {FIELD}{token}\r\n\r\n",
        if from.is_empty() { "nobody@sim.test" } else { from },
        to.join(">, <"),
    );
    // Lines that begin with dots, empty ones, and what looks like the end of a message.
    let lines = [".", "..", "a line of text", "", ".a", "From here", "QUIT"];
    let mut line = token as usize;
    while text.len() < size as usize {
        text.push_str(lines[line % lines.len()]);
        text.push_str("\r\n");
        line += 1;
    }
    text.push_str(&format!("end of {token}\r\n"));
    text.into_bytes()
}

/// What a copy of a message tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// The message, by its header.
    pub token: Option<u32>,
    /// The queue id that our server gave it, the last time.
    pub queue_id: Option<String>,
    /// The whole header, names in lower case.
    pub fields: Vec<(String, String)>,
    /// What it reports, if it is a report.
    pub report: Option<Report>,
}

/// A delivery status notification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The message that it is about.
    pub token: Option<u32>,
    /// Its queue id.
    pub queue_id: String,
    /// Each final recipient and what became of it: `failed`, `delayed`, ..
    pub recipients: Vec<(String, String)>,
}

/// Reads a copy.
pub fn read(content: &[u8]) -> Copy {
    let text = String::from_utf8_lossy(content);
    let (header, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let fields = fields(header);
    let received = fields.iter().find(|(name, _)| name == "received");
    Copy {
        token: number(header),
        queue_id: received.and_then(|(_, value)| queue_id(value)),
        report: is_report(&fields).then(|| report(body)),
        fields,
    }
}

fn number(text: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix(FIELD))?;
    line.trim().parse().ok()
}

fn fields(header: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in header.split("\r\n") {
        match (line.starts_with([' ', '\t']), fields.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) => value.push_str(line),
            (_, _, Some((name, value))) => {
                fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
            _ => fields.push((String::new(), line.to_owned())),
        }
    }
    fields
}

fn queue_id(received: &str) -> Option<String> {
    let (_, behind) = received.split_once(" id ")?;
    let end = behind.find([' ', '\t', ';']).unwrap_or(behind.len());
    Some(behind[..end].to_owned())
}

fn is_report(fields: &[(String, String)]) -> bool {
    fields
        .iter()
        .any(|(name, value)| name == "content-type" && value.starts_with("multipart/report"))
}

fn report(body: &str) -> Report {
    let mut report = Report { token: number(body), ..Report::default() };
    let mut last = String::new();
    for line in body.lines() {
        // What it is about may be a report, too.
        if line.starts_with("--") && !report.queue_id.is_empty() {
            break;
        }
        if let Some(id) = line.strip_prefix("X-Waypost-Queue-ID: ") {
            report.queue_id = id.trim().to_owned();
        } else if let Some((_, address)) =
            line.strip_prefix("Final-Recipient: ").and_then(|it| it.split_once("; "))
        {
            last = in_report(address);
        } else if let Some(action) = line.strip_prefix("Action: ") {
            report.recipients.push((last.clone(), action.trim().to_owned()));
        }
    }
    report
}

/// An address as a report has it, which may be unable to say letters beyond ASCII.
pub fn in_report(address: &str) -> String {
    let address = address.trim().chars();
    address.map(|c| if c.is_ascii() { c.to_ascii_lowercase() } else { '?' }).collect()
}

/// What is wrong with a copy of this original: it must be the same octets behind fields of ours.
pub fn differs(copy: &[u8], original: &[u8]) -> Option<String> {
    let Some(head) = copy.strip_suffix(original) else {
        let same = copy.iter().rev().zip(original.iter().rev()).take_while(|(a, b)| a == b).count();
        return Some(format!(
            "{} octets, of which the last {same} are those of the original, which has {}",
            copy.len(),
            original.len()
        ));
    };
    let head = String::from_utf8_lossy(head);
    if !head.ends_with("\r\n") {
        return Some(format!("fields before the message do not end with a line end: {head:?}"));
    }
    let mut counts = BTreeMap::new();
    for (name, _) in fields(head.trim_end_matches("\r\n")) {
        if !TRACES.contains(&name.as_str()) {
            return Some(format!("a field {name:?} that nobody asked for"));
        }
        *counts.entry(name).or_insert(0) += 1;
    }
    let twice = counts.iter().find(|(name, count)| **count > 1 && *name == "return-path");
    match (twice, counts.contains_key("received")) {
        (Some((name, count)), _) => Some(format!("{name} stands there {count} times")),
        (None, false) => Some("no Received field".into()),
        (None, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Return-Path: <a@far.test>\r\nDelivered-To: mail000@mail.example.com\r\n\
        Received: from far (unknown [192.0.2.1])\r\n\tby mail.example.com (Waypost) with ESMTP id 4abc\r\n\
        \tfor <x@example.com>; Sun, 22 Nov 2026\r\n";

    fn original() -> Vec<u8> {
        write(7, "a@far.test", &["x@example.com".into()], 400, false)
    }

    #[test]
    fn a_copy_tells_what_it_is() {
        let copy = [HEAD.as_bytes(), &original()].concat();
        let read = read(&copy);
        assert_eq!((read.token, read.queue_id.as_deref()), (Some(7), Some("4abc")));
        assert_eq!(read.report, None);
        assert_eq!(differs(&copy, &original()), None);
    }

    #[test]
    fn changed_octets_are_seen() {
        let copy = [HEAD.as_bytes(), &original()].concat();
        let changed = |from: &str, to: &str| {
            let text = String::from_utf8(copy.clone()).unwrap().replacen(from, to, 1);
            differs(text.as_bytes(), &original())
        };
        assert!(changed("\r\n..\r\n", "\r\n.\r\n").is_some());
        assert!(changed("end of 7\r\n", "end of 7").is_some());
        assert!(changed("Delivered-To:", "X-Odd:").is_some());
        assert!(changed("Received:", "Delivered-To:").is_some());
        assert!(changed("Delivered-To:", "Return-Path:").is_some());
        assert!(changed("for <x", "For <x").is_none());
    }

    #[test]
    fn a_report_names_message_and_recipients() {
        let text = "Content-Type: multipart/report; report-type=delivery-status\r\n\r\n--x\r\n\
            X-Waypost-Queue-ID: 4abc\r\n\r\nFinal-Recipient: rfc822; b@remote.test\r\nAction: failed\r\n\
            \r\nFinal-Recipient: utf-8; ü@Remote.test\r\nAction: delayed\r\n--x\r\nX-Token: 7\r\n\
            X-Waypost-Queue-ID: 4def\r\nFinal-Recipient: rfc822; d@remote.test\r\nAction: failed\r\n";
        let read = read(text.as_bytes());
        assert_eq!(read.token, None);
        let recipients = vec![
            ("b@remote.test".into(), "failed".into()),
            ("?@remote.test".into(), "delayed".into()),
        ];
        let report = Report { token: Some(7), queue_id: "4abc".into(), recipients };
        assert_eq!(read.report, Some(report));
    }
}
