//! A message on its way, in the words of Postfix's cleanup, qmgr and virtual.

use std::time::Duration;

use waypost_mail::Envelope;
use waypost_queue::ReportKind;
use waypost_world::{Attempt, Event};

use crate::log::{line, smtp};

/// Logs what happened to a message.
pub(crate) fn event(event: Event) {
    match event {
        Event::Client { queue_id, envelope } => {
            let program = format!("postfix/{}", envelope.client.service);
            line(&program, Some(&queue_id), &client(&envelope));
        }
        Event::MessageId { queue_id, message_id } => {
            let shown = if message_id.is_empty() { "<>" } else { &message_id };
            line("postfix/cleanup", Some(&queue_id), &format!("message-id={shown}"));
        }
        Event::Active { queue_id, sender, size, recipients } => {
            let text = format!("from=<{sender}>, size={size}, nrcpt={recipients} (queue active)");
            line("postfix/qmgr", Some(&queue_id), &text);
        }
        Event::Delivery(attempt) => {
            let program = format!("postfix/{}", attempt.agent.name());
            line(&program, Some(&attempt.queue_id), &delivery(&attempt));
        }
        Event::Notified { queue_id, kind, report, postmaster } => {
            let what = notification(kind, postmaster);
            line("postfix/bounce", Some(&queue_id), &format!("{what} notification: {report}"));
        }
        Event::Expired { queue_id, sender } => {
            let text = format!("from=<{sender}>, status=expired, returned to sender");
            line("postfix/qmgr", Some(&queue_id), &text);
        }
        Event::Removed { queue_id } => line("postfix/qmgr", Some(&queue_id), "removed"),
        Event::Abandoned => {
            let text = "warning: deliveries did not end in time; they will be tried again";
            line("postfix/qmgr", None, text);
        }
    }
}

/// As Postfix's bounce daemon calls it.
fn notification(kind: ReportKind, postmaster: bool) -> &'static str {
    match (kind, postmaster) {
        (ReportKind::Failed, false) => "sender non-delivery",
        (ReportKind::Failed, true) => "postmaster non-delivery",
        (ReportKind::Delayed, false) => "sender delay",
        (ReportKind::Delayed, true) => "postmaster delay",
        (ReportKind::Delivered, _) => "sender delivery status",
    }
}

fn client(envelope: &Envelope) -> String {
    let client = &envelope.client;
    let mut text = format!("client={}", smtp::peer(&client.peer));
    if let Some(login) = &client.login {
        text += &format!(", sasl_method={}, sasl_username={}", login.mechanism, login.user);
    }
    text
}

fn delivery(attempt: &Attempt) -> String {
    let Attempt { to, orig_to, relay, delays, dsn, status, text, .. } = attempt;
    let mut line = format!("to=<{to}>, ");
    if orig_to != to {
        line += &format!("orig_to=<{orig_to}>, ");
    }
    let total: Duration = delays.iter().sum();
    let parts: Vec<_> = delays.iter().map(|delay| seconds(*delay)).collect();
    let (total, parts) = (seconds(total), parts.join("/"));
    let status = status.word();
    line + &format!(
        "relay={relay}, delay={total}, delays={parts}, dsn={dsn}, status={status} ({text})"
    )
}

/// As Postfix's format_tv: two digits that count, at most two of them behind the point.
fn seconds(time: Duration) -> String {
    let hundredths = (time.as_millis() + 5) / 10;
    let (whole, part) = (hundredths / 100, hundredths % 100);
    if whole >= 10 || part == 0 {
        return (whole + u128::from(whole >= 10 && part >= 50)).to_string();
    }
    let part = if whole > 0 { (part + 5) / 10 * 10 } else { part };
    if part >= 100 {
        return (whole + 1).to_string();
    }
    format!("{whole}.{part:02}").trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_mail::{Address, Enhanced};
    use waypost_world::{Agent, Status};

    #[test]
    fn times() {
        for (millis, shown) in [
            (0, "0"),
            (4, "0"),
            (6, "0.01"),
            (42, "0.04"),
            (420, "0.42"),
            (100, "0.1"),
            (999, "1"),
            (1234, "1.2"),
            (1960, "2"),
            (9990, "10"),
            (12_345, "12"),
            (12_600, "13"),
            (300_000, "300"),
        ] {
            assert_eq!(seconds(Duration::from_millis(millis)), shown, "{millis}");
        }
    }

    /// The words of golden logs: a refusal, a deferral, and what bounce(8) says.
    #[test]
    fn other_servers_as_postfix_logs_them() {
        let address = |text: &str| Address::parse(text).unwrap();
        let ms = Duration::from_millis;
        let attempt = Attempt {
            queue_id: "CADDB142031".into(),
            to: address("reject@remote.test"),
            orig_to: address("rejected@example.com"),
            agent: Agent::Smtp,
            relay: "localhost[127.0.0.1]:2526".into(),
            delays: [ms(40), ms(10), ms(10), ms(10)],
            dsn: Enhanced(5, 1, 1),
            status: Status::Bounced,
            text: "host localhost[127.0.0.1] said: 550 5.1.1 <reject@remote.test>: Recipient \
                   address rejected: User unknown (in reply to RCPT TO command)"
                .into(),
        };
        assert_eq!(
            delivery(&attempt),
            "to=<reject@remote.test>, orig_to=<rejected@example.com>, \
             relay=localhost[127.0.0.1]:2526, delay=0.07, delays=0.04/0.01/0.01/0.01, dsn=5.1.1, \
             status=bounced (host localhost[127.0.0.1] said: 550 5.1.1 <reject@remote.test>: \
             Recipient address rejected: User unknown (in reply to RCPT TO command))"
        );
        let deferred = Attempt {
            to: address("someone@selfsigned.test"),
            orig_to: address("someone@selfsigned.test"),
            relay: "localhost[127.0.0.1]:2528".into(),
            delays: [ms(10), ms(0), ms(10), ms(0)],
            dsn: Enhanced(4, 7, 5),
            status: Status::Deferred,
            text: "Server certificate not verified".into(),
            ..attempt
        };
        assert_eq!(
            delivery(&deferred),
            "to=<someone@selfsigned.test>, relay=localhost[127.0.0.1]:2528, delay=0.02, \
             delays=0.01/0/0.01/0, dsn=4.7.5, status=deferred (Server certificate not verified)"
        );
        assert_eq!(notification(ReportKind::Failed, false), "sender non-delivery");
        assert_eq!(notification(ReportKind::Delayed, false), "sender delay");
        assert_eq!(notification(ReportKind::Failed, true), "postmaster non-delivery");
    }

    #[test]
    fn a_delivery_as_postfix_logs_it() {
        let address = |text: &str| Address::parse(text).unwrap();
        let ms = Duration::from_millis;
        let mut attempt = Attempt {
            queue_id: "E7370142EAE".into(),
            to: address("mail000@mail.example.com"),
            orig_to: address("postmaster@example.org"),
            agent: Agent::Virtual,
            relay: "virtual".into(),
            delays: [ms(60), ms(20), ms(0), ms(10)],
            dsn: Enhanced(2, 0, 0),
            status: Status::Sent,
            text: "delivered to maildir".into(),
        };
        assert_eq!(
            delivery(&attempt),
            "to=<mail000@mail.example.com>, orig_to=<postmaster@example.org>, relay=virtual, \
             delay=0.09, delays=0.06/0.02/0/0.01, dsn=2.0.0, status=sent (delivered to maildir)"
        );
        attempt.orig_to = attempt.to.clone();
        assert!(delivery(&attempt).starts_with("to=<mail000@mail.example.com>, relay=virtual, "));
    }
}
