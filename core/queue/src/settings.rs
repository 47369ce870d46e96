//! What an admin can set, by Postfix's names and with its defaults.

use alloc::boxed::Box;
use core::time::Duration;

use crate::backoff::Backoff;
use crate::destination::{Concurrency, Transport};

const DAY: u64 = 86_400;

/// Settings of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `minimal_backoff_time` and `maximal_backoff_time`. A dead destination is left alone for the
    /// minimal one.
    pub backoff: Backoff,
    /// `queue_run_delay`: the pause before work that the spool could not do is asked of it again.
    /// Messages need no queue run: each is tried when its own time has come.
    pub queue_run_delay: Duration,
    /// `maximal_queue_lifetime`: a message older than this is returned.
    pub maximal_queue_lifetime: Duration,
    /// `bounce_queue_lifetime`: the same for messages with the null sender.
    pub bounce_queue_lifetime: Duration,
    /// `delay_warning_time`: the sender is told when a message is older than this; zero: never.
    pub delay_warning_time: Duration,
    /// `qmgr_message_active_limit`: messages in delivery at the same time. One sender has at most
    /// as many of them as there are places left.
    pub message_active_limit: u32,
    /// Mailboxes here: few deliveries at a time for each, one recipient in each.
    pub virtual_mailboxes: Concurrency,
    /// Other servers.
    pub smtp: Concurrency,
    /// Recipients whose way is not known yet.
    pub route: Concurrency,
    /// `relayhost`: takes all mail for other servers.
    pub relayhost: Option<Box<str>>,
}

impl Default for Settings {
    fn default() -> Self {
        let local = Concurrency { initial: 2, limit: 2, recipient_limit: 1, ..Default::default() };
        Self {
            backoff: Backoff::default(),
            queue_run_delay: Duration::from_secs(300),
            maximal_queue_lifetime: Duration::from_secs(5 * DAY),
            bounce_queue_lifetime: Duration::from_secs(5 * DAY),
            delay_warning_time: Duration::from_secs(4 * 3600),
            message_active_limit: 20_000,
            virtual_mailboxes: local,
            smtp: Concurrency::default(),
            route: Concurrency::default(),
            relayhost: None,
        }
    }
}

impl Settings {
    /// The limits of a transport.
    pub fn concurrency(&self, transport: Transport) -> &Concurrency {
        match transport {
            Transport::Virtual => &self.virtual_mailboxes,
            Transport::Smtp => &self.smtp,
            Transport::Route => &self.route,
        }
    }

    /// The same without values that would stop all mail.
    pub(crate) fn sane(mut self) -> Self {
        for concurrency in [&mut self.virtual_mailboxes, &mut self.smtp, &mut self.route] {
            *concurrency = concurrency.sane();
        }
        self.message_active_limit = self.message_active_limit.max(1);
        self.queue_run_delay = self.queue_run_delay.max(Duration::from_secs(1));
        self.backoff.minimal = self.backoff.minimal.max(Duration::from_secs(1));
        self.backoff.maximal = self.backoff.maximal.max(self.backoff.minimal);
        self
    }
}
