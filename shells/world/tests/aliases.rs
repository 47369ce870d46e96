//! Aliases of which one part waits in the queue: the others do not get the message again.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::remote::everywhere;
use common::{Place, client, send, wait};
use waypost_queue::{Place as Standing, Selection};
use waypost_world::{Event, World};

const TEXT: &str = "Subject: it\r\n\r\nx\r\n";
const FORWARD: &str = "private@remote.test";

/// A directory with one alias more.
fn place(alias: &str, maildrops: &[&str]) -> Place {
    let place = Place::new();
    let path = place.dir.path().join("mail.ldif");
    let mut ldif = std::fs::read_to_string(&path).unwrap();
    let drops: String = maildrops.iter().map(|drop| format!("maildrop: {drop}\n")).collect();
    ldif.push_str(&format!(
        "\ndn: uid=added,ou=Mail,dc=example,dc=com\nobjectClass: account\n\
         objectClass: postfixUser\nuid: added\nmailacceptinggeneralid: {alias}\n{drops}"
    ));
    std::fs::write(path, ldif).unwrap();
    place.clock.advance(Duration::from_secs(1));
    place
}

fn start(place: &Place) -> World {
    let mut settings = place.settings();
    settings.carrier = Some(everywhere().0);
    World::start(settings).unwrap()
}

/// How often an address was tried, as the log has it.
fn tried(place: &Place, to: &str) -> usize {
    let events = place.events.lock().unwrap();
    let is_it = |event: &&Event| matches!(event, Event::Delivery(it) if it.to.to_string() == to);
    events.iter().filter(is_it).count()
}

fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not come");
        std::thread::yield_now();
    }
}

/// Waits until an address was tried so often, and nothing is tried any more.
fn until_tried(place: &Place, world: &World, to: &str, times: usize) {
    until(|| tried(place, to) >= times);
    until(|| {
        let listed = wait(|done| world.queue(Selection::All, done)).unwrap();
        listed.iter().all(|it| it.place == Standing::Deferred)
    });
    assert_eq!(tried(place, to), times);
}

#[test]
fn a_mailbox_that_waits_sends_its_forward_once() {
    let user = "mail001@mail.example.com";
    let place = place(user, &[user, FORWARD]);
    let home = place.home().join("mail001");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o777)).unwrap();
    // A file where the Maildir should be.
    std::fs::write(home.join("mailbox"), "in the way").unwrap();
    let world = start(&place);
    send(&world, &client(None), "a@elsewhere.test", user, TEXT).unwrap();
    for times in 1..4 {
        until_tried(&place, &world, user, times);
        place.clock.advance(Duration::from_secs(4000));
        world.run_queue();
    }
    until_tried(&place, &world, user, 4);
    std::fs::remove_file(home.join("mailbox")).unwrap();
    place.clock.advance(Duration::from_secs(4000));
    world.run_queue();
    until(|| world.queued() == 0);
    assert_eq!(place.new_mail("mail001").len(), 1);
    assert_eq!(tried(&place, FORWARD), 1);
}

#[test]
fn a_part_that_makes_no_sense_sends_the_others_once() {
    let alias = "mixed@example.com";
    let place = place(alias, &["|/bin/false", FORWARD]);
    let world = start(&place);
    send(&world, &client(None), "a@elsewhere.test", alias, TEXT).unwrap();
    for times in 1..4 {
        until_tried(&place, &world, alias, times);
        assert_eq!(world.queued(), 1);
        place.clock.advance(Duration::from_secs(4000));
        world.run_queue();
    }
    until_tried(&place, &world, alias, 4);
    assert_eq!(tried(&place, FORWARD), 1);
}
