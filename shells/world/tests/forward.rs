//! Mail that an alias leads to other servers, and what comes back.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::remote::{Deliveries, Got, everywhere};
use common::{Place, client, route, send};
use waypost_mail::{Client, Domain};
use waypost_world::World;

const TEXT: &str = "DKIM-Signature: v=1; d=elsewhere.test\r\nFrom: <a@elsewhere.test>\r\n\r\nx\r\n";

fn start(place: &Place, srs: bool) -> (World, Deliveries) {
    let mut settings = place.settings();
    let (carrier, deliveries) = everywhere();
    settings.carrier = Some(carrier);
    settings.srs_domain = srs.then(|| Domain::parse("mail.example.com").unwrap());
    (World::start(settings).unwrap(), deliveries)
}

/// Sends from outside to an alias of `someone@remote.test`.
fn forward(world: &World, deliveries: &Deliveries, from: &str, text: &str) -> Got {
    send(world, &client(None), from, "forward@example.com", text).unwrap();
    deliveries.next()
}

#[test]
fn there_and_back() {
    let place = Place::new();
    let (world, deliveries) = start(&place, true);
    let got = forward(&world, &deliveries, "a@elsewhere.test", TEXT);
    assert_eq!((&*got.nexthop, &*got.recipients[0]), ("remote.test", "someone@remote.test"));
    assert!(
        got.sender.starts_with("SRS0=") && got.sender.ends_with("@mail.example.com"),
        "{got:?}"
    );
    assert!(got.sender.contains("=elsewhere.test=a@"), "{got:?}");
    assert_eq!(got.sender.split('=').nth(1).map(str::len), Some(8), "{got:?}");
    // Two fields on top, the rest is untouched.
    let rest =
        got.text.strip_prefix("Delivered-To: forward@example.com\r\nReceived: from ").unwrap();
    assert_eq!(rest.split_once("(UTC)\r\n").unwrap().1, TEXT);

    // The failure notice goes to the sender, whoever brings it.
    send(&world, &client(None), "", &got.sender, "Subject: failed\r\n\r\nx\r\n").unwrap();
    let back = deliveries.next();
    assert_eq!((&*back.sender, &*back.recipients[0]), ("", "a@elsewhere.test"));
    assert!(back.text.starts_with("Received: from "), "{back:?}");
    // Also in other letter case, and after a restart.
    world.stop();
    drop(world);
    let (world, deliveries) = start(&place, true);
    let shouted = got.sender.to_uppercase();
    send(&world, &client(None), "", &shouted, "Subject: failed\r\n\r\nx\r\n").unwrap();
    assert_eq!(deliveries.next().recipients[0].to_lowercase(), "a@elsewhere.test");

    let refused = |to: &str| route(&world, &client(None), "", to).unwrap_err().to_string();
    let forged = got.sender.replace("=a@", "=b@");
    assert_eq!(
        refused(&forged),
        format!(
            "550 5.1.1 <{forged}>: Recipient address rejected: User unknown (SRS hash does not \
             match)"
        )
    );
    assert!(refused("SRS0=x@mail.example.com").ends_with("in virtual mailbox table"));
    assert!(refused("SRS0=aaaa=aa=b.test=c@elsewhere.test").contains("Relay access denied"));
    // The rules about senders hold here as well.
    let posing = route(&world, &client(None), "mail000@example.com", &got.sender).unwrap_err();
    assert!(posing.to_string().ends_with("rejected: not logged in"), "{posing}");
    place.clock.advance(Duration::from_secs(22 * 86_400));
    assert!(refused(&got.sender).ends_with("User unknown (SRS time stamp out of date)"));
}

/// Also when the sender is one that we have written, because a message comes through here twice.
#[test]
fn a_report_goes_to_the_first_sender() {
    let place = Place::new();
    let (world, deliveries) = start(&place, true);
    let mut from = "a@elsewhere.test".to_owned();
    for _ in 0..2 {
        send(&world, &client(None), &from, "rejected@example.com", "Subject: x\r\n\r\nx\r\n")
            .unwrap();
        let refused = deliveries.next();
        assert_eq!(refused.recipients, ["reject@remote.test"]);
        assert!(refused.sender.starts_with("SRS0="), "{refused:?}");
        let report = deliveries.next();
        assert_eq!((&*report.sender, &*report.recipients[0]), ("", "a@elsewhere.test"));
        assert!(report.text.contains("\r\nFinal-Recipient: rfc822; reject@remote.test\r\n"));
        from = refused.sender;
    }
}

#[test]
fn only_foreign_senders_are_rewritten() {
    let place = Place::new();
    let (world, deliveries) = start(&place, true);
    let mail001: Client = client(Some("mail001"));
    let to = "forward@example.com";
    // Of the alias's own domain, of another one of the table, of the listed one, and none.
    for from in ["mail001@example.com", "info@example.org", "mail001@mail.example.com", ""] {
        send(&world, &mail001, from, to, TEXT).unwrap();
        assert_eq!(deliveries.next().sender, from);
    }
    // What is sent straight to another server is no forward.
    send(&world, &mail001, "mail001@example.com", "someone@remote.test", TEXT).unwrap();
    let got = deliveries.next();
    assert!(got.sender == "mail001@example.com" && got.text.starts_with("Received: "), "{got:?}");
}

#[test]
fn without_srs_the_sender_stays() {
    let place = Place::new();
    let (world, deliveries) = start(&place, false);
    let got = forward(&world, &deliveries, "a@elsewhere.test", TEXT);
    assert_eq!(got.sender, "a@elsewhere.test");
    assert!(!place.spool().join("srs-secret").exists());
    let to = "SRS0=aaaa=aa=b.test=c@mail.example.com";
    assert_eq!(route(&world, &client(None), "", to).unwrap_err().code, 550);
}

/// A second forwarder gets what it has written back.
#[test]
fn the_sender_of_another_forwarder() {
    let place = Place::new();
    let (world, deliveries) = start(&place, true);
    let got = forward(&world, &deliveries, "SRS0=hash=TT=a.test=b@elsewhere.test", TEXT);
    assert!(got.sender.starts_with("SRS1="), "{got:?}");
    send(&world, &client(None), "", &got.sender, TEXT).unwrap();
    assert_eq!(deliveries.next().recipients, ["SRS0=hash=TT=a.test=b@elsewhere.test"]);
}

#[test]
fn the_secret_is_ours_alone_and_can_be_changed() {
    let place = Place::new();
    let (world, deliveries) = start(&place, true);
    let old = forward(&world, &deliveries, "a@elsewhere.test", TEXT).sender;
    world.stop();
    drop(world);
    let path = place.spool().join("srs-secret");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = std::fs::read_to_string(&path).unwrap();
    assert_eq!(secret.trim().len(), 64);
    std::fs::write(&path, format!("a new secret of mine\n{secret}")).unwrap();
    let (world, deliveries) = start(&place, true);
    let new = forward(&world, &deliveries, "a@elsewhere.test", TEXT).sender;
    assert_ne!(new, old);
    for sender in [&old, &new] {
        assert!(route(&world, &client(None), "", sender).is_ok());
    }
    world.stop();
    drop(world);
    std::fs::write(&path, "a new secret of mine\n").unwrap();
    let (world, _deliveries) = start(&place, true);
    assert!(route(&world, &client(None), "", &old).is_err());
    assert!(route(&world, &client(None), "", &new).is_ok());
}

/// What was forwarded and comes back to the same alias would go round for ever.
#[test]
fn a_forward_that_comes_back() {
    let place = Place::new();
    let (world, deliveries) = start(&place, true);
    let got = forward(&world, &deliveries, "a@elsewhere.test", TEXT);
    let again = |to| send(&world, &client(None), "a@elsewhere.test", to, &got.text);
    let reply = again("Forward@example.com").unwrap_err().to_string();
    assert_eq!(reply, "554 5.4.6 mail forwarding loop for Forward@example.com");
    // Another alias is another matter.
    assert_eq!(again("mail000@example.com"), Ok(()));
    assert_eq!(place.new_mail("mail000").len(), 1);
}
