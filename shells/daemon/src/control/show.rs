//! Tables and words for people. All times are UTC, as in the log.

use std::fmt::Write;

use waypost_message::date::{DateTime, rfc5322};

use super::protocol::{Destination, Message, Recipient};

pub(crate) const HEAD: &str =
    "-Queue ID-------- --Size-- -Arrival Time (UTC)- -Sender/Recipient-------";
/// Where addresses stand below that.
const INDENT: usize = 48;

/// `Sun Nov 22 07:51:30`, in UTC.
pub(crate) fn time(seconds: i64) -> String {
    let text = rfc5322(DateTime { seconds, offset: 0 });
    let mut words = text.split([',', ' ']).filter(|word| !word.is_empty());
    let mut next = || words.next().unwrap_or_default();
    let [weekday, day, month, _year, time] = [next(), next(), next(), next(), next()];
    format!("{weekday} {month} {day:>2} {time}")
}

/// The words for a message in the table, much as `postqueue -p` has them: `*` after its name is
/// "in delivery", `!` "held", `#` "on its way back".
pub(crate) fn row(message: &Message) -> String {
    let mark = match message.queue_name.as_str() {
        "active" => "*",
        "hold" => "!",
        _ if message.forced_expire => "#",
        _ => "",
    };
    let mut out = format!(
        "{:<17} {:>8} {:<20} {}\n",
        format!("{}{mark}", message.queue_id),
        message.message_size,
        time(message.arrival_time),
        message.sender
    );
    let mut said = None;
    for recipient in &message.recipients {
        let why = reason(message, recipient);
        if said.as_ref() != Some(&why) {
            for line in why.lines() {
                line_to(&mut out, format_args!("    {line}"));
            }
            said = Some(why);
        }
        line_to(&mut out, format_args!("{:INDENT$}{}", "", names(recipient)));
    }
    out
}

/// What is under a message's first line: why, and when next.
fn reason(message: &Message, recipient: &Recipient) -> String {
    let mut out = String::new();
    if let Some(reason) = &recipient.delay_reason {
        line_to(&mut out, format_args!("({reason})"));
    }
    out + &format!("{}{}", when(message, recipient), attempts(recipient))
}

fn when(message: &Message, recipient: &Recipient) -> String {
    match (recipient.status.as_str(), message.queue_name.as_str()) {
        (_, "hold") => "held".into(),
        ("failed", _) => "returned to the sender".into(),
        ("delivered", _) => "delivered; the sender is to be told".into(),
        (_, "active") => "in delivery".into(),
        (_, "incoming") => "next in turn".into(),
        _ => format!("next try {}", time(message.next.unwrap_or(recipient.next))),
    }
}

fn attempts(recipient: &Recipient) -> String {
    match recipient.attempts {
        0 => ", not tried yet".into(),
        1 => ", tried once".into(),
        n => format!(", tried {n} times"),
    }
}

/// The address, and what was given for it.
fn names(recipient: &Recipient) -> String {
    match &recipient.orig_to {
        None => recipient.address.clone(),
        Some(given) => format!("{} (given as {given})", recipient.address),
    }
}

/// The last line of the table.
pub(crate) fn total(messages: usize, octets: u64) -> String {
    match messages {
        0 => "Mail queue is empty".into(),
        1 => format!("-- {} Kbytes in 1 Request.", octets / 1024),
        n => format!("-- {} Kbytes in {n} Requests.", octets / 1024),
    }
}

/// All that is known of a message.
pub(crate) fn message(message: &Message) -> String {
    let mut out = format!("{}\n", message.queue_id);
    let from = match &message.login {
        Some(login) => format!("{} (login {login})", message.sender),
        None => message.sender.clone(),
    };
    let told = if message.warned { "yes" } else { "no" };
    let arrived = format!("{} UTC", time(message.arrival_time));
    let size = format!("{} octets", message.message_size);
    for (name, value) in [
        ("queue", message.queue_name.as_str()),
        ("from", &from),
        ("message-id", &message.message_id),
        ("size", &size),
        ("arrived", &arrived),
        ("sender warned", told),
    ] {
        line_to(&mut out, format_args!("  {:<15}{value}", format!("{name}:")));
    }
    for recipient in &message.recipients {
        line_to(&mut out, format_args!("  to: {}", names(recipient)));
        let way = match (&recipient.transport, &recipient.nexthop) {
            (Some(transport), Some(nexthop)) => format!("{transport}:{nexthop}"),
            _ => "nowhere".into(),
        };
        let when = when(message, recipient) + &attempts(recipient);
        let diagnosis = match (&recipient.dsn, &recipient.delay_reason) {
            (Some(dsn), Some(reason)) => format!("{dsn} {reason}"),
            _ => String::new(),
        };
        let reply = recipient.remote_reply.clone().unwrap_or_default();
        for (name, value) in
            [("way", way), ("state", when), ("last said", diagnosis), ("its words", reply)]
        {
            if !value.is_empty() {
                line_to(&mut out, format_args!("    {:<13}{value}", format!("{name}:")));
            }
        }
    }
    out
}

/// The head of the table of destinations.
pub(crate) fn destinations_head() -> String {
    format!(
        "{:<40} {:>8} {:>10} {:>8} {:<20} {}",
        "-Destination-", "Messages", "Recipients", "Running", "Oldest (UTC)", "State"
    )
}

/// Its rows.
pub(crate) fn destination(it: &Destination) -> String {
    let running = match (it.busy, it.window) {
        (Some(busy), Some(window)) => format!("{busy}/{window}"),
        _ => "-".into(),
    };
    let state = match (&it.dead, it.window) {
        (Some(why), _) => format!("suspended ({why})"),
        (None, Some(_)) => "ready".into(),
        (None, None) => "waiting".into(),
    };
    let name = format!("{}:{}", it.transport, it.nexthop);
    let oldest = it.oldest.map_or_else(|| "-".into(), time);
    format!("{name:<40} {:>8} {:>10} {running:>8} {oldest:<20} {state}", it.messages, it.recipients)
}

fn line_to(out: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(out, "{words}").expect("invariant: writing to a String cannot fail");
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
