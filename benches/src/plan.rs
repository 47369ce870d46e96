//! What to measure, from the command line.

use std::time::Duration;

/// Sizes of the measurements.
pub(crate) struct Plan {
    /// Measure Waypost.
    pub(crate) waypost: bool,
    /// Measure Postfix and Dovecot.
    pub(crate) peers: bool,
    /// Users in one domain, a run for each.
    pub(crate) users: Vec<usize>,
    /// Users that get mail, at most.
    pub(crate) recipients: usize,
    /// Senders at once, and message size in bytes.
    pub(crate) loads: Vec<(usize, usize)>,
    /// Messages per run, at most (a quarter of it for large ones).
    pub(crate) messages: usize,
    /// How long a run may send, at most.
    pub(crate) time: Duration,
    /// Messages in the mailbox that IMAP reads.
    pub(crate) mailbox: usize,
    /// Repetitions of an IMAP measurement.
    pub(crate) rounds: usize,
    /// Idle sessions held open.
    pub(crate) idle: usize,
}

const USAGE: &str = "usage: compare [--quick] [--only waypost|peers] [--users N[,N...]]
  --quick   small runs, to see that everything works: the figures mean nothing";

impl Plan {
    /// The full plan, as changed by the arguments.
    pub(crate) fn from_arguments() -> Result<Self, String> {
        let mut plan = Self {
            waypost: true,
            peers: true,
            users: vec![50, 1_000, 5_000],
            recipients: 1_000,
            loads: vec![(10, 1_000), (100, 1_000), (10, 100_000), (100, 100_000)],
            messages: 20_000,
            time: Duration::from_secs(15),
            mailbox: 1_000,
            rounds: 10,
            idle: 200,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => {
                    plan.users = vec![50];
                    plan.loads = vec![(10, 1_000)];
                    (plan.messages, plan.mailbox, plan.rounds, plan.idle) = (100, 100, 2, 20);
                }
                "--only" => match arguments.next().as_deref() {
                    Some("waypost") => plan.peers = false,
                    Some("peers") => plan.waypost = false,
                    _ => return Err(USAGE.into()),
                },
                "--users" => {
                    let list = arguments.next().ok_or(USAGE)?;
                    let numbers: Result<_, _> = list.split(',').map(str::parse).collect();
                    plan.users = numbers.map_err(|_| USAGE)?;
                }
                _ => return Err(USAGE.into()),
            }
        }
        Ok(plan)
    }
}
