//! Words for people: what a report says before the part that programs read.

use alloc::string::String;
use core::fmt::Write;

use waypost_mail::Enhanced;

use crate::call::ReportKind;

/// Columns of a line of text.
const WIDTH: usize = 76;

/// Subject of a report.
pub(crate) const fn subject(kind: ReportKind) -> &'static str {
    match kind {
        ReportKind::Failed => "Your message could not be delivered",
        ReportKind::Delayed => "Your message is delayed, nothing to do yet",
        ReportKind::Delivered => "Your message was delivered",
    }
}

/// What the part is called that holds this text, the fields, and the original.
pub(crate) const PARTS: [&str; 4] =
    ["Notification", "Delivery report", "Undelivered Message", "Message Headers"];

/// The first words.
pub(crate) fn opening(kind: ReportKind, host: &str, until: &str, out: &mut String) {
    let words = match kind {
        ReportKind::Failed => alloc::format!(
            "This is the mail server {host}. Your message could not be delivered to the \
             recipients below, and it will not be tried again."
        ),
        ReportKind::Delayed => alloc::format!(
            "This is the mail server {host}. Your message has not reached the recipients below \
             yet. You need not send it again: it will be tried until {until}, and you will be told \
             if that does not help."
        ),
        ReportKind::Delivered => alloc::format!(
            "This is the mail server {host}. You asked to be told: your message was delivered, or \
             passed on, as stands below. Where it was passed on to another mail system, that one \
             may tell you of problems, but nobody will confirm its arrival."
        ),
    };
    paragraph(&words, "", out);
}

/// What of the message comes back.
pub(crate) fn returned(full: bool, out: &mut String) {
    let words = if full {
        "The message is returned at the end of this report."
    } else {
        "The header of the message is returned at the end of this report."
    };
    paragraph(words, "", out);
}

/// The last words.
pub(crate) fn closing(kind: ReportKind, out: &mut String) {
    if kind == ReportKind::Failed {
        out.push_str("\r\n");
        let words = "If you need help, write to postmaster here and send this whole report along.";
        paragraph(words, "", out);
    }
}

/// What a status code means to somebody who never saw one; nothing when the words that come with
/// it have to do.
pub(crate) const fn meaning(status: Enhanced) -> Option<&'static str> {
    let Enhanced(class, subject, detail) = status;
    Some(match (subject, detail) {
        (1, 1 | 6) => "There is no such address. Please check how it is written.",
        (1, 2) => "The domain (the part behind the @) does not exist or takes no mail.",
        (1, 10) => "This domain takes no mail at all.",
        (1, 7 | 8) => "The other side does not accept your sender address.",
        (2, 1) => "This mailbox is not in use.",
        (2, 2) => "The mailbox is full.",
        (2, 3) | (3, 4) => "The message is too large for the other side.",
        (3, 1) => "The other mail system has no space left.",
        (4, 1 | 2) => "The other mail server does not answer.",
        (4, 3 | 4) => "It could not be found out where mail for this address goes.",
        (4, 6) | (4, 14) => "The message goes round in circles: addresses forward to each other.",
        (4, 7) => "The message was too long on its way.",
        (7, 1) if class == 4 => "The other side takes mail from us only after a while.",
        (7, 1) => "The other side does not want this message, often because it looks like spam.",
        (7, 4 | 5 | 10) => "The way to the other mail server is not secure enough.",
        (7, _) => "The other side refuses the message by its rules.",
        (6, _) => "The other side cannot handle the form of this message.",
        _ => return None,
    })
}

/// `words` in lines, each behind `indent`.
pub(crate) fn paragraph(words: &str, indent: &str, out: &mut String) {
    wrap(words, indent, indent, out);
    out.push_str("\r\n");
}

/// `words` in lines with an indent for the first and one for the others, without the last line
/// end. Control characters become `?`, so that nothing given makes a line of its own.
pub(crate) fn wrap(words: &str, first: &str, others: &str, out: &mut String) {
    out.push_str(first);
    let mut column = first.len();
    let mut fresh = true;
    for word in words.split_ascii_whitespace() {
        let len = word.chars().count();
        if !fresh && column + 1 + len > WIDTH {
            out.push_str("\r\n");
            out.push_str(others);
            column = others.len();
        } else if !fresh {
            out.push(' ');
            column += 1;
        }
        fresh = false;
        column += len;
        clean(word, out);
    }
}

/// `text` without control characters.
pub(crate) fn clean(text: &str, out: &mut String) {
    out.extend(text.chars().map(|c| if c.is_control() { '?' } else { c }));
}

/// A field, folded.
pub(crate) fn field(name: &str, value: &str, out: &mut String) {
    let mut head = String::new();
    let _ = write!(head, "{name}: ");
    wrap(value, &head, "    ", out);
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn folded() {
        let mut out = String::new();
        let words =
            "smtp; 550 5.1.1 <reject@remote.test>: Recipient address rejected: User unknown";
        field("Diagnostic-Code", words, &mut out);
        assert_eq!(
            out,
            "Diagnostic-Code: smtp; 550 5.1.1 <reject@remote.test>: Recipient address\r\n    \
             rejected: User unknown\r\n"
        );
    }

    #[test]
    fn meanings_end_in_a_full_stop() {
        for subject in 0..8 {
            for detail in 0..30 {
                for class in [4, 5] {
                    let words = meaning(Enhanced(class, subject, detail));
                    assert!(words.is_none_or(|words| words.ends_with('.')));
                }
            }
        }
        assert_eq!(meaning(Enhanced(5, 0, 0)), None);
    }

    proptest! {
        #[test]
        fn every_line_belongs_to_the_field(value in any::<String>()) {
            let mut out = String::new();
            field("X-Test", &value, &mut out);
            let lines: std::vec::Vec<_> = out.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            prop_assert!(lines[0].starts_with("X-Test: "));
            prop_assert!(lines[1..].iter().all(|l| l.starts_with("    ") && l.trim() != ""));
            prop_assert!(!lines.concat().contains(char::is_control));
            let words = |text: &str| text.split_ascii_whitespace().collect::<String>().chars()
                .map(|c| if c.is_control() { '?' } else { c }).collect::<String>();
            prop_assert_eq!(words(&lines.join(" ")), "X-Test:".to_string() + &words(&value));
        }
    }
}
