//! What to measure, from the command line.

use std::time::Duration;

use waypost_conformance::shells::Shell;

/// A server to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// Waypost by one of its programs; on tokio with so many worker threads, if that is given.
    Waypost(Shell, Option<u8>),
    /// The rig's Postfix and Dovecot.
    Peers,
}

impl Contestant {
    /// `waypost`, `waypost:1`, `waypost-mio`, `waypost-smol`, `peers`.
    fn parse(name: &str) -> Option<Self> {
        let (program, threads) = match name.split_once(':') {
            Some((program, threads)) => (program, Some(threads.parse().ok()?)),
            None => (name, None),
        };
        match Shell::ALL.into_iter().find(|shell| shell.name() == program) {
            Some(shell) if threads.is_none() || shell == Shell::Tokio => {
                Some(Self::Waypost(shell, threads))
            }
            _ => (name == "peers").then_some(Self::Peers),
        }
    }

    /// Its name in the table.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Waypost(shell, None) => shell.name().into(),
            Self::Waypost(shell, Some(threads)) => format!("{} {threads} worker", shell.name()),
            Self::Peers => "Postfix, Dovecot".into(),
        }
    }
}

/// Sizes of the measurements.
pub(crate) struct Plan {
    /// What to measure.
    pub(crate) contestants: Vec<Contestant>,
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

const USAGE: &str = "usage: compare [--quick] [--servers NAME[,NAME...]] [--users N[,N...]]
  --servers waypost, waypost:THREADS, waypost-mio, waypost-smol, peers; default: waypost,peers
  --quick   small runs, to see that everything works: the figures mean nothing";

impl Plan {
    /// The full plan, as changed by the arguments.
    pub(crate) fn from_arguments() -> Result<Self, String> {
        let mut plan = Self {
            contestants: vec![Contestant::Waypost(Shell::Tokio, None), Contestant::Peers],
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
                "--servers" => {
                    let list = arguments.next().ok_or(USAGE)?;
                    let named: Option<_> = list.split(',').map(Contestant::parse).collect();
                    plan.contestants = named.ok_or(USAGE)?;
                }
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
