//! The queue manager, with more and more messages that wait for their time.

use waypost_machine::{Input, Machine, Now, Step, Time, UnixTime};
use waypost_queue::{
    Addressee, Arrival, Attempted, Call, Destination, Duty, Notice, Outcome, Persisted, Queue,
    Removed, Reported, Settings, SiteState, Transport,
};

const NOW: Now = Now { mono: Time::ZERO, wall: UnixTime { secs: 1_800_000_000, nanos: 0 } };
/// Messages in one round.
const ROUND: usize = 1000;

fn arrival(n: usize, due: i64) -> Arrival {
    let nexthop = format!("d{}.test", n % 5000).into();
    let duty = Duty::Deliver(Destination { transport: Transport::Smtp, nexthop });
    Arrival {
        id: format!("m{n}").parse().expect("a queue id"),
        arrived: NOW.wall,
        sender: format!("@s{}.test", n % 1000).into(),
        null_sender: false,
        next: UnixTime { secs: NOW.wall.secs + due, nanos: 0 },
        tried: due > 0,
        held: false,
        warned: false,
        places: 1,
        recipients: vec![Addressee { place: 0, duty }],
        unsaved: Vec::new(),
    }
}

/// Does all that the queue asks for, at once and well.
fn drain(queue: &mut Queue) {
    loop {
        let answer = match queue.poll(0) {
            Step::Call(Call::Attempt { recipients, ticket, .. }) => {
                let delivered = |place| (place, Outcome::Delivered(None));
                let outcomes = recipients.into_iter().map(delivered).collect();
                ticket.answer(Attempted { outcomes, site: SiteState::Alive })
            }
            Step::Call(Call::Persist { ticket, .. }) => ticket.answer(Persisted::Done),
            Step::Call(Call::Report { ticket, .. }) => ticket.answer(Reported::Done),
            Step::Call(Call::Remove { ticket, .. }) => ticket.answer(Removed::Done),
            Step::Wait(_) | Step::Close(_) => return,
            _ => continue,
        };
        queue.handle(NOW, Input::Answer(answer));
    }
}

fn filled(count: usize) -> Queue {
    let mut queue = Queue::new(Settings::default());
    for n in 0..count {
        let due = 1 + i64::try_from(n * 7919 % 3600).unwrap_or(0);
        queue.handle(NOW, Input::Notice(Notice::Recovered(arrival(n, due))));
    }
    drain(&mut queue);
    queue
}

fn through(count: usize) -> Box<dyn FnMut() -> usize> {
    let mut queue = filled(count);
    Box::new(move || {
        for n in 0..ROUND {
            queue.handle(NOW, Input::Notice(Notice::Submitted(arrival(count + n, 0))));
        }
        drain(&mut queue);
        assert_eq!(queue.len(), count, "all are delivered");
        ROUND
    })
}

/// From submission to removal, with 100 others.
pub(crate) fn through_100() -> Box<dyn FnMut() -> usize> {
    through(100)
}

/// The same with 10,000.
pub(crate) fn through_10_000() -> Box<dyn FnMut() -> usize> {
    through(10_000)
}

/// The same with 1,000,000.
pub(crate) fn through_1_000_000() -> Box<dyn FnMut() -> usize> {
    through(1_000_000)
}

/// Taking up what lies in the spool at start.
pub(crate) fn recovery() -> Box<dyn FnMut() -> usize> {
    Box::new(|| filled(100_000).len())
}
