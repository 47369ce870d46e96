//! Stories of single messages.

mod common;

use std::time::Duration;

use common::{Asked, START, Sim, waiting, why};
use waypost_machine::{Input, Machine, Step, Why};
use waypost_queue::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn sim() -> Sim {
    Sim::new(Settings::default())
}

#[test]
fn one_recipient_delivered_costs_one_removal() {
    let mut sim = sim();
    sim.prompt = false;
    let id = sim.submit(1, "a@b.test", &["x@remote.test"]);
    assert_eq!(sim.running[0].destination.to_string(), "smtp:remote.test");
    sim.deliver(0);
    assert!(matches!(&sim.asked[..], [common::Asked::Remove(gone, _)] if *gone == id));
    sim.answer(0, true);
    assert!(sim.queue.is_empty() && sim.spool.is_empty());
    assert_eq!(sim.facts, [Fact::Active(id), Fact::Removed(id)]);
}

#[test]
fn recipients_of_one_destination_travel_together() {
    let mut sim = sim();
    let to: Vec<String> = (0..120).map(|n| format!("x{n}@remote.test")).collect();
    let mut to: Vec<&str> = to.iter().map(String::as_str).collect();
    to.extend(["a@local", "b@local", "y@Remote.TEST"]);
    sim.submit(1, "a@b.test", &to);
    let mut counts: Vec<_> = sim.running.iter().map(|r| r.recipients.len()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 21, 50, 50]);
    let first = sim.running.iter().find(|r| r.recipients.len() == 50).unwrap();
    assert_eq!(first.recipients, (0..50).collect::<Vec<_>>(), "in order");
}

#[test]
fn retries_by_the_age_of_the_message() {
    let mut sim = sim();
    let id = sim.submit(1, "a@b.test", &["x@remote.test"]);
    let mut waits = Vec::new();
    for _ in 0..6 {
        sim.defer(0);
        assert_eq!(sim.place(id), Some(Place::Deferred));
        let next = sim.queue.find(id).unwrap().next.unwrap();
        assert_eq!(sim.entry(id).next(), Some(next), "the spool knows it too");
        waits.push(next.secs - sim.now.wall.secs);
        sim.pass(Duration::from_secs(u64::try_from(waits[waits.len() - 1]).unwrap()));
    }
    assert_eq!(waits, [300, 300, 600, 1200, 2400, 4000]);
    assert_eq!(sim.entry(id).recipients[0].as_ref().unwrap().attempts, 6);
}

#[test]
fn a_warning_then_a_bounce_for_each_who_still_waits() {
    let mut sim = sim();
    let id = sim.submit(1, "a@b.test", &["x@remote.test", "y@other.test"]);
    sim.deliver(0);
    while sim.queue.find(id).is_some() {
        match sim.running.is_empty() {
            true => assert!(sim.pass_until_due()),
            false => sim.defer(0),
        }
    }
    let age = |kind| {
        let at = sim.reports.iter().position(|(_, k, _)| *k == kind).unwrap();
        sim.reports[at].2.clone()
    };
    assert_eq!(sim.reports.len(), 2, "each once");
    assert_eq!(age(ReportKind::Delayed), ["y@other.test"]);
    assert_eq!(age(ReportKind::Failed), ["y@other.test"]);
    let days = (sim.now.wall.secs - START) as f64 / 86_400.0;
    assert!((5.0..5.1).contains(&days), "{days}");
    assert!(sim.facts.contains(&Fact::Expired(id)));
}

#[test]
fn no_warning_for_reports_and_none_when_off() {
    for (sender, warn) in [("", 4 * HOUR), ("a@b.test", Duration::ZERO)] {
        let settings = Settings { delay_warning_time: warn, ..Settings::default() };
        let mut sim = Sim::new(settings);
        sim.submit(1, sender, &["x@remote.test"]);
        sim.pass(5 * HOUR);
        sim.defer(0);
        assert!(sim.reports.is_empty());
    }
}

#[test]
fn refusals_are_told_at_the_end_of_the_round() {
    let mut sim = sim();
    let id = sim.submit(1, "a@b.test", &["x@one.test", "y@two.test", "n@nowhere", "z@three.test"]);
    sim.end(0, Outcome::Failed(why(5, "no")), SiteState::Alive);
    assert!(sim.reports.is_empty());
    sim.deliver(0);
    sim.defer(0);
    let [(_, ReportKind::Failed, to)] = &sim.reports[..] else { panic!("{:?}", sim.reports) };
    assert_eq!(to, &["n@nowhere", "x@one.test"]);
    let left: Vec<bool> = sim.entry(id).recipients.iter().map(Option::is_some).collect();
    assert_eq!(left, [false, false, false, true]);
    sim.pass(5 * MINUTE);
    sim.end(0, Outcome::Delivered(Some(why(2, "sent"))), SiteState::Alive);
    assert_eq!(sim.reports[1].1, ReportKind::Delivered);
    assert!(sim.queue.is_empty());
}

#[test]
fn a_message_to_nowhere_is_reported_without_an_attempt() {
    let mut sim = sim();
    sim.submit(1, "a@b.test", &["n@nowhere"]);
    assert_eq!((sim.begun.len(), sim.reports.len(), sim.spool.len()), (0, 1, 0));
}

#[test]
fn routing_later_finds_the_way() {
    let mut sim = sim();
    let id = sim.submit(1, "a@b.test", &["team@later"]);
    assert_eq!(sim.running[0].destination.to_string(), "route:later");
    let others = ["a@local", "x@remote.test", "n@nowhere", "sub@later"].map(waiting).to_vec();
    sim.end(0, Outcome::Became(others), SiteState::Alive);
    assert_eq!(sim.running.len(), 2, "the known ones at once");
    sim.deliver(0);
    sim.deliver(0);
    assert_eq!(sim.reports, [(id, ReportKind::Failed, vec!["n@nowhere".to_owned()])]);
    sim.pass(5 * MINUTE);
    sim.end(0, Outcome::Became(vec![]), SiteState::Alive);
    assert!(sim.queue.is_empty());
}

#[test]
fn a_dead_destination_is_left_alone() {
    let mut sim = sim();
    for n in 0..40 {
        sim.submit(n, "a@b.test", &["x@dead.test"]);
    }
    for _ in 0..4 {
        assert!(!sim.facts.iter().any(|fact| matches!(fact, Fact::Dead { .. })));
        sim.no_connection(0);
    }
    assert!(matches!(sim.facts.iter().find(|f| matches!(f, Fact::Dead { .. })),
        Some(Fact::Dead { until, .. }) if until.secs == sim.now.wall.secs + 300));
    let begun = sim.begun.len();
    assert!(begun <= 8, "{begun} of 40 were tried");
    let last = sim.entry(common::id(39)).recipients[0].clone().unwrap().last.unwrap();
    assert_eq!(&*last.text, "delivery temporarily suspended: connect: Connection refused");
    // A new message finds it dead, too; other destinations go on.
    sim.submit(50, "a@b.test", &["x@dead.test", "y@alive.test"]);
    assert_eq!(sim.begun.len(), begun + 1);
    while !sim.running.is_empty() {
        sim.deliver(0);
    }
    // One of those that were on their way has found somebody: it is tried again at once.
    assert!(sim.facts.iter().any(|fact| matches!(fact, Fact::Alive(_))));
}

#[test]
fn messages_for_dead_destinations_wait_and_expire_without_touching_the_spool() {
    let mut sim = sim();
    sim.settings.backoff.minimal = 24 * HOUR;
    sim.settings.backoff.maximal = 24 * HOUR;
    sim.queue.configure(sim.settings.clone());
    for n in 0..5 {
        sim.submit(n, "a@b.test", &["x@dead.test"]);
    }
    while !sim.running.is_empty() {
        sim.no_connection(0);
    }
    let begun = sim.begun.len();
    sim.command(Command::Expire(Selection::Id(common::id(3))));
    assert_eq!((sim.begun.len(), sim.spool.len()), (begun, 4), "no attempt in between");
    sim.pass(25 * HOUR);
    assert!(sim.begun.len() > begun, "after its pause it is tried again");
}

#[test]
fn the_window_opens_as_deliveries_succeed() {
    let mut sim = sim();
    for n in 0..200 {
        sim.submit(n, "a@b.test", &["x@remote.test"]);
    }
    assert_eq!(sim.running.len(), 5);
    for _ in 0..100 {
        sim.deliver(0);
    }
    assert_eq!(sim.running.len(), 20);
    let listed = sim.queue.destinations().next().unwrap();
    assert_eq!((listed.window, listed.busy), (20, 20));
}

#[test]
fn hold_release_retry_drop() {
    let mut sim = sim();
    let id = sim.submit(1, "a@b.test", &["x@remote.test", "y@other.test"]);
    let other = sim.submit(2, "a@b.test", &["x@remote.test"]);
    assert_eq!(sim.command(Command::Hold(Selection::Nexthop("Remote.test".into()))), 2);
    assert_eq!(sim.command(Command::Hold(Selection::All)), 0, "both are held");
    while !sim.running.is_empty() {
        sim.defer(0);
    }
    assert_eq!((sim.place(id), sim.entry(id).held), (Some(Place::Hold), true));
    sim.pass(10 * HOUR);
    assert!(sim.running.is_empty());
    sim.crash();
    sim.pass(10 * HOUR);
    assert_eq!(sim.place(id), Some(Place::Hold));
    assert_eq!(sim.command(Command::Retry(Selection::Id(id))), 0, "it is held");
    assert_eq!(sim.command(Command::Release(Selection::Id(id))), 1);
    assert_eq!((sim.running.len(), sim.entry(id).held), (2, false));
    sim.defer(0);
    sim.defer(0);
    assert_eq!(sim.place(id), Some(Place::Deferred));
    assert_eq!(sim.command(Command::Retry(Selection::Nexthop("other.test".into()))), 1);
    assert_eq!(sim.running.len(), 2);
    assert_eq!(sim.command(Command::Drop(Selection::Id(id))), 1);
    assert!(sim.spool.contains_key(&id), "deliveries run");
    sim.defer(0);
    sim.defer(0);
    assert!(!sim.spool.contains_key(&id));
    assert_eq!(sim.command(Command::Drop(Selection::Id(other))), 1);
    assert!(sim.queue.is_empty() && sim.queue.destinations().count() == 0);
    assert_eq!(sim.reports.len(), 1, "only the warning");
}

/// The entry of a damaged message has gone to where nothing is written to it any more.
#[test]
fn dropped_it_goes_though_nothing_can_be_written() {
    let mut sim = sim();
    sim.prompt = false;
    let id = sim.submit(1, "a@b.test", &["x@one.test", "y@two.test"]);
    assert_eq!(sim.command(Command::Drop(Selection::Id(id))), 1);
    sim.defer(0);
    sim.answer(0, false);
    sim.defer(0);
    sim.answer(0, false);
    let [Asked::Remove(..)] = sim.asked.as_slice() else { panic!("it is stuck") };
    sim.answer(0, true);
    assert!(sim.queue.is_empty());
}

/// What a hold called off is not forgotten by a release that comes before the running deliveries end.
#[test]
fn released_while_a_delivery_runs() {
    let mut settings = Settings::default();
    settings.smtp = Concurrency { recipient_limit: 1, initial: 1, limit: 1, ..settings.smtp };
    let mut sim = Sim::new(settings);
    let id = sim.submit(1, "a@b.test", &["x@remote.test", "y@remote.test"]);
    assert_eq!(sim.running.len(), 1);
    assert_eq!(sim.command(Command::Hold(Selection::Id(id))), 1);
    assert_eq!(sim.command(Command::Release(Selection::Id(id))), 1);
    sim.deliver(0);
    assert_eq!(sim.running.len(), 1, "the other one");
    sim.defer(0);
    assert_eq!(sim.place(id), Some(Place::Deferred), "only once");
}

#[test]
fn retry_wakes_the_dead() {
    let mut sim = sim();
    for n in 0..5 {
        sim.submit(n, "a@b.test", &["x@dead.test"]);
    }
    while !sim.running.is_empty() {
        sim.no_connection(0);
    }
    assert_eq!(sim.command(Command::Retry(Selection::Nexthop("dead.test".into()))), 5);
    assert_eq!(sim.running.len(), 5);
}

#[test]
fn expire_returns_at_once_with_the_last_words() {
    let mut sim = sim();
    let id = sim.submit(1, "a@b.test", &["x@remote.test"]);
    sim.defer(0);
    sim.command(Command::Hold(Selection::Id(id)));
    assert_eq!(sim.command(Command::Expire(Selection::Id(id))), 1);
    // One last attempt, as any message gets whose time is over.
    sim.defer(0);
    assert_eq!(sim.reports.len(), 1);
    assert!(sim.queue.is_empty());
}

#[test]
fn a_spool_that_fails_is_asked_again() {
    let mut sim = sim();
    sim.prompt = false;
    let id = sim.submit(1, "a@b.test", &["x@one.test", "y@two.test"]);
    sim.deliver(0);
    sim.answer(0, false);
    assert!(sim.facts.contains(&Fact::Stalled(id)));
    sim.end(0, Outcome::Failed(why(5, "no")), SiteState::Alive);
    assert!(sim.asked.is_empty());
    for (place, step) in ["persist", "report", "remove"].into_iter().enumerate() {
        assert!(sim.pass_until_due(), "{step}");
        assert_eq!(sim.asked.len(), 1, "{step}");
        sim.answer(0, false);
        assert!(sim.asked.is_empty(), "{step}");
        assert!(sim.pass_until_due());
        sim.answer(0, true);
        assert_eq!(sim.reports.len(), usize::from(place > 0));
        if let Some(common::Asked::Report(..) | common::Asked::Remove(..)) = sim.asked.first() {
            sim.answer(0, false);
        }
    }
    assert!(sim.queue.is_empty() && sim.spool.is_empty());
}

#[test]
fn a_jump_of_the_clock_changes_nothing() {
    let mut sim = sim();
    let id = sim.submit(1, "a@b.test", &["x@remote.test"]);
    sim.now.wall.secs += 10 * 365 * 86_400;
    sim.defer(0);
    assert_eq!(sim.place(id), Some(Place::Deferred), "not expired");
    sim.now.wall.secs -= 20 * 365 * 86_400;
    sim.pass(5 * MINUTE);
    assert_eq!(sim.running.len(), 1, "not ten years later");
}

#[test]
fn after_stop_nothing_begins_and_what_runs_ends() {
    let mut sim = sim();
    for n in 0..10 {
        sim.submit(n, "a@b.test", &["x@remote.test"]);
    }
    sim.queue.handle(sim.now, Input::Stop);
    sim.drain();
    for left in (0..5).rev() {
        let now = sim.now;
        let running = sim.running.remove(0);
        let outcomes = vec![(0, Outcome::Deferred(why(4, "busy")))];
        let answer = running.ticket.answer(Attempted { outcomes, site: SiteState::Alive });
        sim.queue.handle(now, Input::Answer(answer));
        loop {
            match sim.queue.poll(0) {
                Step::Call(Call::Persist { ticket, .. }) => {
                    sim.queue.handle(now, Input::Answer(ticket.answer(Persisted::Done)));
                }
                Step::Call(call) => panic!("{call:?}"),
                Step::Close(why) => {
                    assert_eq!((why, left), (Why::Stopped, 0));
                    break;
                }
                Step::Wait(_) if left > 0 => break,
                Step::Wait(_) => panic!("it closes first"),
                _ => {}
            }
        }
    }
}

#[test]
fn what_came_of_a_delivery_is_written_down_before_the_end() {
    let mut sim = sim();
    sim.prompt = false;
    let id = sim.submit(1, "a@b.test", &["x@remote.test", "y@other.test"]);
    sim.deliver(0);
    sim.answer(0, false);
    assert!(sim.asked.is_empty(), "not at once");
    sim.queue.handle(sim.now, Input::Stop);
    sim.drain();
    for _ in 0..3 {
        assert!(matches!(&sim.asked[..], [Asked::Persist(..)]), "again, at the end");
        sim.answer(0, false);
        assert!(sim.asked.is_empty(), "not at once");
        sim.pass(Duration::from_secs(1));
    }
    sim.answer(0, true);
    assert_eq!(sim.entry(id).recipients.iter().flatten().count(), 1);
    assert!(!sim.closed, "a delivery runs");
    sim.defer(0);
    assert!(!sim.closed, "the spool does not know");
    sim.answer(0, true);
    assert!(sim.closed);
}

#[test]
fn a_removal_that_failed_is_done_before_the_end() {
    let mut sim = sim();
    sim.prompt = false;
    sim.submit(1, "a@b.test", &["x@remote.test"]);
    sim.deliver(0);
    sim.answer(0, false);
    sim.queue.handle(sim.now, Input::Stop);
    sim.drain();
    assert!(matches!(&sim.asked[..], [Asked::Remove(..)]));
    sim.answer(0, false);
    assert!(sim.asked.is_empty() && !sim.closed);
    sim.pass(Duration::from_secs(1));
    sim.answer(0, true);
    assert!(sim.spool.is_empty() && sim.closed);
}

#[test]
fn what_the_spool_could_not_be_told_at_the_beginning_it_is_told_later() {
    let mut sim = sim();
    sim.prompt = false;
    let id = common::id(1);
    sim.submit_unsaved(1, &["x@local", "y@remote.test"], vec![Change::Done(0)]);
    assert_eq!(sim.running.len(), 1, "who has it is not tried");
    let [Asked::Persist(_, changes, _)] = &sim.asked[..] else { panic!("it is told once") };
    assert_eq!(changes[..], [Change::Done(0)]);
    sim.answer(0, true);
    assert!(sim.entry(id).recipients[0].is_none());
}
