//! How long a single mail waits behind a bulk sender.

mod common;

use common::Sim;
use waypost_queue::{Place, Settings};

/// A single mail comes; how many deliveries begin before it is tried.
fn waits(sim: &mut Sim, to: &str) -> usize {
    let before = sim.begun.len();
    let single = sim.submit(9_999, "me@single.test", &[to]);
    loop {
        if let Some(n) = sim.begun[before..].iter().position(|(id, _)| *id == single) {
            return n;
        }
        assert!(sim.begun.len() < before + 1000, "it waits too long");
        sim.deliver(0);
    }
}

#[test]
fn behind_one_message_with_many_recipients() {
    let mut sim = Sim::new(Settings::default());
    let to: Vec<String> = (0..2_000).map(|n| format!("x{n}@big.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    sim.submit(0, "news@bulk.test", &to);
    let to = "you@big.test";
    assert!(waits(&mut sim, to) <= 1);
}

#[test]
fn behind_many_messages_of_one_sender() {
    let mut sim = Sim::new(Settings::default());
    for n in 1..2_000 {
        sim.submit(n, "news@bulk.test", &[&format!("x{n}@big.test")]);
    }
    let to = "you@big.test";
    assert!(waits(&mut sim, to) <= 1);
}

#[test]
fn behind_many_destinations_of_one_sender() {
    let mut sim = Sim::new(Settings::default());
    let to: Vec<String> = (0..3_000).map(|n| format!("x@big{n}.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    sim.submit(0, "news@bulk.test", &to);
    assert_eq!(sim.running.len(), 100, "all processes are taken");
    let to = "you@small.test";
    assert!(waits(&mut sim, to) <= 1);
}

#[test]
fn behind_an_active_set_that_one_sender_would_fill() {
    let mut sim = Sim::new(Settings { message_active_limit: 100, ..Settings::default() });
    for n in 1..500 {
        sim.submit(n, "news@bulk.test", &[&format!("x{n}@big.test")]);
    }
    let active = sim.queue.list().filter(|l| l.place == Place::Active).count();
    assert_eq!(active, 50, "half of the places");
    let to = "you@small.test";
    assert_eq!(waits(&mut sim, to), 0);
}

#[test]
fn behind_many_senders_at_one_destination() {
    let mut sim = Sim::new(Settings::default());
    for sender in 0..50 {
        for n in 0..20 {
            sim.submit(100 * sender + n, &format!("a@s{sender}.test"), &["x@big.test"]);
        }
    }
    let to = "you@big.test";
    assert!(waits(&mut sim, to) <= 50, "one delivery of each other sender");
}

#[test]
fn mailboxes_here_do_not_wait_for_other_servers() {
    let mut sim = Sim::new(Settings::default());
    let to: Vec<String> = (0..500).map(|n| format!("x@big{n}.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    sim.submit(0, "news@bulk.test", &to);
    let to = "you@local";
    assert_eq!(waits(&mut sim, to), 0);
}

#[test]
fn behind_the_same_senders_own_bulk() {
    let mut sim = Sim::new(Settings::default());
    let to: Vec<String> = (0..2_000).map(|n| format!("x{n}@big.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    sim.submit(0, "me@single.test", &to);
    assert!(waits(&mut sim, "you@big.test") <= 2);
}
