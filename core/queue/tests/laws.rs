//! Random stories: nothing is lost, nothing is tried twice at a time, everything ends. The checks
//! of every moment stand in `common`.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Asked, Sim, id, waiting, why};
use proptest::prelude::*;
use waypost_queue::*;

#[derive(Clone, Debug)]
enum Act {
    Submit { sender: u8, to: Vec<u8> },
    End { which: u8, how: Vec<u8>, site: u8 },
    Answer { which: u8, good: bool },
    Pass { seconds: u32 },
    Command { what: u8, message: u8 },
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0u8..3, prop::collection::vec(0u8..14, 1..6))
            .prop_map(|(sender, to)| Act::Submit { sender, to }),
        9 => (any::<u8>(), prop::collection::vec(0u8..8, 0..4), 0u8..3)
            .prop_map(|(which, how, site)| Act::End { which, how, site }),
        9 => (any::<u8>(), prop::bool::weighted(0.9))
            .prop_map(|(which, good)| Act::Answer { which, good }),
        4 => (0u32..20_000).prop_map(|seconds| Act::Pass { seconds }),
        2 => (0u8..15, any::<u8>()).prop_map(|(what, message)| Act::Command { what, message }),
        1 => Just(Act::Crash),
    ]
}

fn address(n: u8) -> String {
    match n {
        0..4 => format!("u{n}@one.test"),
        4..7 => format!("u{n}@two.test"),
        7..9 => format!("u{n}@three.test"),
        9..11 => format!("u{n}@local"),
        11..13 => format!("u{n}@later"),
        _ => "n@nowhere".to_owned(),
    }
}

fn outcome(how: u8) -> Outcome {
    match how {
        0..4 => Outcome::Delivered(None),
        4 => Outcome::Delivered(Some(why(2, "sent"))),
        5 => Outcome::Failed(why(5, "refused")),
        _ => Outcome::Deferred(why(4, "busy")),
    }
}

/// A mailbox may have moved, become an alias, or be gone.
fn mailbox_outcome(how: u8) -> Outcome {
    match how {
        0 => Outcome::Became(vec![waiting("moved@local")]),
        1 => Outcome::Became(vec![waiting("r@one.test"), waiting("n@nowhere")]),
        how => outcome(how),
    }
}

fn route_outcome(how: u8) -> Outcome {
    match how {
        0 => Outcome::Became(vec![]),
        1 => Outcome::Became(vec![waiting("r@one.test"), waiting("s@one.test")]),
        2 => Outcome::Became(vec![waiting("r@local"), waiting("s@later"), waiting("n@nowhere")]),
        _ => Outcome::Deferred(why(4, "directory is down")),
    }
}

fn settings() -> Settings {
    let few = Concurrency {
        initial: 1,
        limit: 3,
        recipient_limit: 2,
        process_limit: 4,
        ..Concurrency::default()
    };
    Settings { message_active_limit: 4, smtp: few, route: few, ..Settings::default() }
}

struct Story {
    sim: Sim,
    submitted: usize,
    crashes: usize,
}

impl Story {
    fn act(&mut self, act: Act) {
        let sim = &mut self.sim;
        match act {
            Act::Submit { sender, to } => {
                let to: Vec<String> = to.into_iter().map(address).collect();
                let to: Vec<&str> = to.iter().map(String::as_str).collect();
                let sender = ["", "a@b.test", "c@d.test"][usize::from(sender)];
                sim.submit(self.submitted, sender, &to);
                self.submitted += 1;
            }
            Act::End { which, how, site } if !sim.running.is_empty() => {
                let n = usize::from(which) % sim.running.len();
                let running = &sim.running[n];
                // Sometimes fewer outcomes than recipients.
                let outcomes = how.into_iter().take(running.recipients.len());
                let outcomes = match running.destination.transport {
                    Transport::Route => outcomes.map(route_outcome).collect(),
                    Transport::Virtual => outcomes.map(mailbox_outcome).collect(),
                    Transport::Smtp => outcomes.map(outcome).collect(),
                };
                let site = match site {
                    0 => SiteState::Alive,
                    1 => SiteState::Failed(why(4, "connect: Connection refused")),
                    _ => SiteState::Unknown,
                };
                sim.end_each(n, outcomes, site);
            }
            Act::Answer { which, good } if !sim.asked.is_empty() => {
                let n = usize::from(which) % sim.asked.len();
                sim.answer(n, good);
            }
            Act::Pass { seconds } => sim.pass(Duration::from_secs(seconds.into())),
            Act::Command { what, message } => {
                let message = id(usize::from(message) % self.submitted.max(1));
                let selection = match what % 3 {
                    0 => Selection::Id(message),
                    1 => Selection::Nexthop("one.test".into()),
                    _ => Selection::Id(message),
                };
                let command = match what / 3 {
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
            Act::Crash => {
                self.crashes += 1;
                sim.crash();
            }
            Act::End { .. } | Act::Answer { .. } => {}
        }
        self.all_that_lies_there_is_known();
    }

    fn all_that_lies_there_is_known(&self) {
        let known: BTreeSet<QueueId> = self.sim.queue.list().map(|listed| listed.id).collect();
        let there: BTreeSet<QueueId> = self.sim.spool.keys().copied().collect();
        assert!(there.is_subset(&known), "lost: {there:?} {known:?}");
    }

    /// From now on all goes well; everything has to end.
    fn finish(&mut self) {
        let sim = &mut self.sim;
        sim.command(Command::Release(Selection::All));
        for _ in 0..10_000 {
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
        assert!(sim.queue.is_empty() && sim.spool.is_empty());
        assert_eq!(sim.queue.destinations().filter(|d| d.dead.is_none()).count(), 0, "a leak");
        assert_eq!(sim.removed.len(), self.submitted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_message_has_an_end(
        prompt in any::<bool>(), acts in prop::collection::vec(act(), 1..120),
    ) {
        let mut story = Story { sim: Sim::new(settings()), submitted: 0, crashes: 0 };
        story.sim.prompt = prompt;
        for act in acts {
            story.act(act);
        }
        story.finish();
        if story.crashes == 0 {
            let mut once = BTreeSet::new();
            for delivery in &story.sim.delivered {
                prop_assert!(once.insert(*delivery), "{delivery:?} was delivered twice");
            }
        }
    }

    #[test]
    fn without_interference_everybody_gets_it_or_the_sender_is_told(
        to in prop::collection::vec(prop::collection::vec(0u8..11, 1..6), 1..20),
        how in prop::collection::vec(0u8..8, 1..50),
    ) {
        let mut sim = Sim::new(settings());
        let mut expected = 0;
        for (n, to) in to.iter().enumerate() {
            let to: Vec<String> = to.iter().copied().map(address).collect();
            expected += to.len();
            sim.submit(n, "a@b.test", &to.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let mut how = how.into_iter().cycle();
        while !sim.queue.is_empty() {
            let Some(running) = sim.running.first() else {
                prop_assert!(sim.pass_until_due());
                continue;
            };
            let how = how.by_ref().take(running.recipients.len());
            sim.end_each(0, how.map(outcome).collect(), SiteState::Alive);
        }
        let failed: usize = sim
            .reports
            .iter()
            .filter(|(_, kind, _)| *kind == ReportKind::Failed)
            .map(|(_, _, to)| to.len())
            .sum();
        prop_assert_eq!(sim.delivered.len() + failed, expected);
        prop_assert!(sim.asked.iter().all(|asked| !matches!(asked, Asked::Remove(..))));
    }
}
