//! The lines of connections to other servers, as Postfix's smtp writes them.

use waypost_relay::Event;

use crate::log::{line, smtp, warning};

const PROGRAM: &str = "postfix/smtp";

/// Logs.
pub(crate) fn event(event: Event) {
    match event {
        Event::Unreachable { reason } | Event::Insecure { reason } => {
            line(PROGRAM, None, &reason);
        }
        Event::Skipped { reason } => warning(PROGRAM, &reason),
        Event::Secured { trust, remote, info } => {
            let words = smtp::tls(&info);
            let text = format!("{trust} TLS connection established to {remote:#}: {words}");
            line(PROGRAM, None, &text);
        }
        Event::Passing { queue_id, reason } => line(PROGRAM, Some(&queue_id), &reason),
        Event::Odd { remote, what } => {
            warning(PROGRAM, &format!("host {remote} said out of turn: {what}"));
        }
    }
}
