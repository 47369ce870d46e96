//! The queue manager as a machine: a story of submissions, attempts that end, answers of the spool that
//! come late or bad, commands, time and crashes. The checks of every moment stand in its tests' world:
//! nothing is lost, nobody is tried twice at a time, no window is exceeded, it waits for something.

use std::collections::BTreeSet;
use std::time::Duration;
use waypost_queue::{
    Command, Concurrency, Outcome, QueueId, Selection, Settings, SiteState, Transport,
};

use crate::worlds::queue::{Sim, id, waiting, why};

const ADDRESSES: [&str; 9] = [
    "a@one.test",
    "b@one.test",
    "c@one.test",
    "d@two.test",
    "e@three.test",
    "f@local",
    "g@local",
    "h@later",
    "n@nowhere",
];

/// Octets of operations.
struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Bytes<'_> {
    fn below(&mut self, count: usize) -> usize {
        usize::from(*self.0.next().unwrap_or(&0)) % count.max(1)
    }
}

struct Story {
    sim: Sim,
    submitted: usize,
    crashes: usize,
}

/// Any story; in the end all goes well, and all of it ends.
pub fn queue(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let few = Concurrency {
        initial: 1,
        limit: 3,
        recipient_limit: 2,
        process_limit: 4,
        ..Concurrency::default()
    };
    let settings =
        Settings { message_active_limit: 4, smtp: few, route: few, ..Settings::default() };
    let mut story = Story { sim: Sim::new(settings), submitted: 0, crashes: 0 };
    story.sim.prompt = first % 2 == 0;
    let mut bytes = Bytes(rest.iter());
    // What is longer shows nothing new.
    for _ in 0..300 {
        if bytes.0.len() == 0 {
            break;
        }
        story.operation(&mut bytes);
        story.nothing_is_lost();
    }
    story.finish();
}

impl Story {
    fn operation(&mut self, bytes: &mut Bytes<'_>) {
        let sim = &mut self.sim;
        match bytes.below(16) {
            0..=3 => {
                let to: Vec<&str> =
                    (0..=bytes.below(5)).map(|_| ADDRESSES[bytes.below(ADDRESSES.len())]).collect();
                let sender = ["", "a@b.test", "c@d.test"][bytes.below(3)];
                sim.submit(self.submitted, sender, &to);
                self.submitted += 1;
            }
            4..=7 if !sim.running.is_empty() => {
                let n = bytes.below(sim.running.len());
                let running = &sim.running[n];
                // Sometimes fewer outcomes than recipients.
                let count = bytes.below(running.recipients.len() + 1);
                let route = running.destination.transport == Transport::Route;
                let outcome = if route { routed } else { delivered };
                let outcomes = (0..count).map(|_| outcome(bytes.below(7))).collect();
                let site = match bytes.below(3) {
                    0 => SiteState::Alive,
                    1 => SiteState::Failed(why(4, "connect: Connection refused")),
                    _ => SiteState::Unknown,
                };
                sim.end_each(n, outcomes, site);
            }
            8..=10 if !sim.asked.is_empty() => {
                let n = bytes.below(sim.asked.len());
                sim.answer(n, bytes.below(8) > 0);
            }
            11 => sim.pass(Duration::from_secs(bytes.below(256) as u64 * 80)),
            12 => drop(sim.pass_until_due()),
            13 => self.command(bytes),
            14 if bytes.below(4) == 0 => {
                self.crashes += 1;
                sim.crash();
            }
            _ => sim.pass(Duration::ZERO),
        }
    }

    fn command(&mut self, bytes: &mut Bytes<'_>) {
        let sim = &mut self.sim;
        let message = id(bytes.below(self.submitted));
        let selection = match bytes.below(4) {
            0 => Selection::Nexthop("one.test".into()),
            1 => Selection::All,
            _ => Selection::Id(message),
        };
        let command = match bytes.below(5) {
            0 => Command::Hold(selection),
            1 => Command::Release(selection),
            2 => Command::Retry(selection),
            3 => Command::Expire(selection),
            _ => {
                if sim.queue.find(message).is_some() {
                    sim.dropped.insert(message);
                }
                Command::Drop(Selection::Id(message))
            }
        };
        sim.command(command);
    }

    fn nothing_is_lost(&self) {
        let known: BTreeSet<QueueId> = self.sim.queue.list().map(|listed| listed.id).collect();
        let there: BTreeSet<QueueId> = self.sim.spool.keys().copied().collect();
        assert!(there.is_subset(&known), "lost: {there:?} {known:?}");
    }

    fn finish(&mut self) {
        let sim = &mut self.sim;
        sim.command(Command::Release(Selection::All));
        for _ in 0..20_000 {
            if sim.queue.is_empty() {
                break;
            }
            if !sim.asked.is_empty() {
                sim.answer(0, true);
            } else if let Some(running) = sim.running.first() {
                match running.destination.transport {
                    Transport::Route => sim.end(0, Outcome::Became(vec![]), SiteState::Alive),
                    _ => sim.deliver(0),
                }
            } else {
                assert!(sim.pass_until_due(), "it waits for nothing");
            }
        }
        assert!(sim.queue.is_empty() && sim.spool.is_empty(), "it does not end");
        let alive = sim.queue.destinations().filter(|d| d.dead.is_none()).count();
        assert_eq!(alive, 0, "a destination without messages");
        assert_eq!(sim.removed.len(), self.submitted);
        if self.crashes == 0 {
            let mut once = BTreeSet::new();
            for delivery in &sim.delivered {
                assert!(once.insert(*delivery), "{delivery:?} was delivered twice");
            }
        }
    }
}

fn delivered(how: usize) -> Outcome {
    match how {
        0..=2 => Outcome::Delivered(None),
        3 => Outcome::Delivered(Some(why(2, "sent"))),
        4 => Outcome::Failed(why(5, "refused")),
        _ => Outcome::Deferred(why(4, "busy")),
    }
}

fn routed(how: usize) -> Outcome {
    match how {
        0 => Outcome::Became(vec![]),
        1 => Outcome::Became(vec![waiting("r@one.test"), waiting("s@one.test")]),
        2 => Outcome::Became(vec![waiting("r@local"), waiting("s@later"), waiting("n@nowhere")]),
        _ => Outcome::Deferred(why(4, "directory is down")),
    }
}
