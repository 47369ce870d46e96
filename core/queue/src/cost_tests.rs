//! What an event costs, counted in steps, does not depend on how many messages are queued.

use std::format;
use std::string::String;
use std::sync::Arc;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use waypost_machine::{Input, Machine, Now, Step, Ticket, Time, UnixTime};
use waypost_mail::Enhanced;

use crate::call::{
    Addressee, Arrival, Attempted, Call, Command, Duty, Notice, Outcome, Persisted, Removed,
    Selection, SiteState,
};
use crate::destination::{Destination, Transport};
use crate::diagnosis::Diagnosis;
use crate::job::Job;
use crate::meter;
use crate::queue::{Message, Queue};
use crate::settings::Settings;

struct Bench {
    queue: Queue,
    now: Now,
    attempts: Vec<Ticket<Attempted>>,
}

impl Bench {
    /// Steps that one input takes, and all that follows from it.
    fn handle(&mut self, input: Input<Queue>) -> u64 {
        let before = meter::steps();
        self.queue.handle(self.now, input);
        loop {
            let answer = match self.queue.poll(0) {
                Step::Call(Call::Attempt { ticket, .. }) => {
                    self.attempts.push(ticket);
                    continue;
                }
                Step::Call(Call::Persist { ticket, .. }) => ticket.answer(Persisted::Done),
                Step::Call(Call::Remove { ticket, .. }) => ticket.answer(Removed::Done),
                Step::Wait(_) => break,
                _ => continue,
            };
            self.queue.handle(self.now, Input::Answer(answer));
        }
        meter::steps() - before
    }

    fn arrival(&self, n: usize, destination: String, due: i64) -> Arrival {
        let destination = Destination { transport: Transport::Smtp, nexthop: destination.into() };
        let duty = Duty::Deliver(destination);
        Arrival {
            id: format!("m{n}").parse().unwrap(),
            arrived: self.now.wall,
            sender: format!("@s{}.test", n % 1000).into(),
            null_sender: false,
            next: UnixTime { secs: self.now.wall.secs + due, nanos: 0 },
            tried: due > 0,
            held: false,
            warned: false,
            places: 1,
            recipients: vec![Addressee { place: 0, duty }],
            unsaved: Vec::new(),
        }
    }

    fn end(&mut self, outcome: Outcome, site: SiteState) -> u64 {
        let ticket = self.attempts.remove(0);
        let outcomes = vec![(0, outcome)];
        self.handle(Input::Answer(ticket.answer(Attempted { outcomes, site })))
    }
}

/// The dearest event of each kind with `count` messages deferred and 300 active.
fn costs(count: usize) -> Vec<(&'static str, u64)> {
    let now = Now { mono: Time::ZERO, wall: UnixTime { secs: 1_800_000_000, nanos: 0 } };
    let mut bench = Bench { queue: Queue::new(Settings::default()), now, attempts: Vec::new() };
    let mut recovered = 0;
    for n in 0..count {
        let due = 1000 + i64::try_from(n * 7919 % count).unwrap() % 2000;
        let arrival = bench.arrival(n, format!("d{}.test", n % 5000), due);
        recovered = recovered.max(bench.handle(Input::Notice(Notice::Recovered(arrival))));
    }
    let mut submitted = 0;
    for n in 0..300 {
        let arrival = bench.arrival(count + n, format!("d{}.test", n % 50), 0);
        submitted = submitted.max(bench.handle(Input::Notice(Notice::Submitted(arrival))));
    }
    let why = Arc::new(Diagnosis::own(Enhanced(4, 4, 1), "busy"));
    let (mut delivered, mut deferred) = (0, 0);
    for _ in 0..50 {
        delivered = delivered.max(bench.end(Outcome::Delivered(None), SiteState::Alive));
        let outcome = Outcome::Deferred(Arc::clone(&why));
        deferred = deferred.max(bench.end(outcome, SiteState::Alive));
    }
    let id = format!("m{}", count / 2).parse().unwrap();
    let hold = Input::Notice(Notice::Command(1, Command::Hold(Selection::Id(id))));
    let held = bench.handle(hold);
    // One message at a time becomes due: as many as there are, in as many seconds.
    bench.now.mono = bench.now.mono.plus(Duration::from_secs(1000));
    bench.now.wall.secs += 1000;
    let due = bench.handle(Input::Tick) / (count as u64 / 2000 + 1);
    vec![
        ("recovered", recovered),
        ("submitted", submitted),
        ("delivered", delivered),
        ("deferred", deferred),
        ("held", held),
        ("due", due),
    ]
}

#[test]
fn cost_does_not_grow_with_the_queue() {
    let small = costs(100);
    for (count, levels) in [(10_000, 7), (100_000, 10)] {
        for ((what, small), (_, large)) in small.iter().zip(costs(count)) {
            // A few trees and heaps are that many levels deeper.
            let bound = small + 12 * levels;
            assert!(large <= bound, "{what}: {small} steps with 100, {large} with {count}");
        }
    }
}

#[test]
fn a_message_takes_little_memory() {
    // With its index, its deadline and one recipient: below 300 octets.
    assert!(size_of::<Message>() <= 112, "{}", size_of::<Message>());
    assert!(size_of::<Job>() <= 72, "{}", size_of::<Job>());
}
