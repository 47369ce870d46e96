//! Recipients, logins and questions through the whole of a world with an LDIF directory.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Place, address, call, client, credentials, sender, wait};
use waypost_imap::server as imap;
use waypost_ldap::{Outcome, Search};
use waypost_machine::{Ledger, Secret};
use waypost_mail::{Address, MailHome, Target, Verdict};
use waypost_sasl::Verified;
use waypost_smtp::server as smtp;
use waypost_world::directory::{BindDone, CheckDone, Counts, Directory, SearchDone};
use waypost_world::{AuthTest, Finding, Grade, QueryError, World};

fn recipient(world: &World, to: &str) -> Verdict {
    recipient_from(world, None, "someone@elsewhere.test", to)
}

fn recipient_from(world: &World, login: Option<&str>, from: &str, to: &str) -> Verdict {
    let reply = call(world, |ticket| smtp::Call::Recipient {
        client: Arc::new(client(login)),
        sender: sender(from),
        recipient: address(to),
        ticket,
    });
    match reply {
        smtp::Reply::Verdict(verdict) => verdict,
        other => panic!("{other:?}"),
    }
}

fn homes(verdict: Verdict) -> Vec<MailHome> {
    let Verdict::Accept(deliveries) = verdict else { panic!("{verdict:?}") };
    deliveries
        .into_iter()
        .map(|delivery| match delivery.target {
            Target::Maildir(home) => home,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn code(verdict: Verdict) -> u16 {
    match verdict {
        Verdict::Refuse(reply) => reply.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn recipients_of_the_article() {
    let place = Place::new();
    let world = place.world();
    let of = |user: &str, uid| MailHome {
        path: place.home().join(user).join("mailbox").to_str().unwrap().into(),
        uid,
        gid: uid,
    };
    let (mail000, mail001) = (of("mail000", 20000), of("mail001", 20001));
    for (to, expected) in [
        ("postmaster@example.org", vec![&mail000]),
        ("Mail001@Example.COM", vec![&mail001]),
        ("team@example.com", vec![&mail000, &mail001]),
        ("whoever@example.net", vec![&mail001]),
        ("sales@example.net", vec![&mail000]),
        ("mail000@mail.example.com", vec![&mail000]),
    ] {
        let found = homes(recipient(&world, to));
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{to}");
    }
    assert_eq!(code(recipient(&world, "nobody@example.com")), 550);
    assert_eq!(code(recipient(&world, "someone@remote.test")), 454);
    let own = recipient_from(&world, Some("mail000"), "mail000@example.com", "x@remote.test");
    assert!(matches!(own, Verdict::Accept(_)));
    let foreign = recipient_from(&world, Some("mail000"), "mail001@example.com", "x@remote.test");
    assert_eq!(code(foreign), 553);
}

#[test]
fn a_known_recipient_costs_no_search() {
    let place = Place::new();
    let world = place.world();
    for to in ["postmaster@example.org", "nobody@example.com"] {
        let first = recipient(&world, to);
        let searches = place.ldif.counters().searches;
        assert!(searches > 0);
        for _ in 0..50 {
            assert_eq!(recipient(&world, to), first);
        }
        assert_eq!(place.ldif.counters().searches, searches, "{to}");
    }
    assert_eq!(world.directory_counts(), place.ldif.counters());
    place.clock.advance(Duration::from_secs(61));
    let searches = place.ldif.counters().searches;
    recipient(&world, "postmaster@example.org");
    assert!(place.ldif.counters().searches > searches);
    let searches = place.ldif.counters().searches;
    world.forget();
    recipient(&world, "postmaster@example.org");
    assert!(place.ldif.counters().searches > searches);
}

#[test]
fn logins() {
    let place = Place::new();
    let world = place.world();
    let verify = |world: &World, user: &str, password: &str| {
        wait(|done| world.verify(credentials(user, password), done))
    };
    assert_eq!(verify(&world, "mail000", "secret000"), Verified::Accepted("mail000".into()));
    assert_eq!(verify(&world, "MAIL000", "secret000"), Verified::Accepted("mail000".into()));
    for (user, password) in [
        ("mail000", "secret001"),
        ("mail000", ""),
        ("nobody", "secret000"),
        ("mail000,ou=Mail", "secret000"),
        ("mail000@example.com", "secret000"),
        // The directory would take these for the same: limits would count them one by one.
        (" mail000", "secret000"),
        ("mail000 ", "secret000"),
        ("\u{ff4d}ail000", "secret000"),
    ] {
        assert_eq!(verify(&world, user, password), Verified::Denied, "{user}");
    }
    let mut other = credentials("mail000", "secret000");
    other.authzid = "mail001".into();
    assert_eq!(wait(|done| world.verify(other, done)), Verified::Denied);
    // The setting: any address of the account, but none that two have.
    let mut settings = place.settings();
    settings.logins.as_mut().unwrap().by_address = true;
    world.stop();
    drop(world);
    let world = World::start(settings).unwrap();
    for user in ["mail000", "sales@example.net", "mail000@mail.example.com"] {
        let expected = Verified::Accepted("mail000".into());
        assert_eq!(verify(&world, user, "secret000"), expected, "{user}");
    }
    assert_eq!(verify(&world, "sales@example.net", "secret001"), Verified::Denied);
    assert_eq!(verify(&world, "unknown@example.net", "secret001"), Verified::Denied);
}

#[test]
fn a_login_leads_to_the_mailbox() {
    let place = Place::new();
    let world = place.world();
    let session = world.imap_session(|_| {});
    let login = |user: &str, password: &str| {
        let call = imap::Call::Login {
            peer: client(None).peer,
            secured: true,
            credentials: credentials(user, password),
            ticket: Ledger::new().open(None),
        };
        wait(|done| {
            world.imap(&session, call, move |answer| match answer.into_parts().1 {
                imap::Reply::LoggedIn(outcome) => done(outcome),
                other => panic!("{other:?}"),
            });
        })
    };
    let imap::LoggedIn::Accepted(account) = login("Mail001", "secret001") else { panic!() };
    let path = place.home().join("mail001/mailbox");
    assert_eq!((&*account.user, &*account.home.path), ("mail001", path.to_str().unwrap()));
    assert_eq!((account.home.uid, account.home.gid), (20001, 20001));
    assert_eq!(login("mail001", "wrong"), imap::LoggedIn::Denied);
}

#[test]
fn questions_of_the_admin() {
    let place = Place::new();
    let world = place.world();
    let query = |map: &str, key: &str| wait(|done| world.query(map, key, done));
    let found = query("virtual_alias_maps", "team@example.com").unwrap().unwrap();
    assert_eq!(found, "mail000@mail.example.com,mail001@mail.example.com");
    let all = query("virtual_alias_domains", "example.org").unwrap().unwrap();
    assert_eq!(all, "example.com,example.com,example.org,example.net,example.com,example.org");
    assert_eq!(query("virtual_alias_maps", "nobody@example.com"), Ok(None));
    assert_eq!(query("aliases", "x"), Err(QueryError::NoMap("aliases".into())));
    let test = |user: &str, password: &str| -> AuthTest {
        wait(|done| world.auth_test(user, Secret::new(password.into()), done))
    };
    let good = test("mail000", "secret000");
    assert_eq!(good.dn.as_deref(), Some("uid=mail000,ou=Mail,dc=example,dc=com"));
    assert_eq!((good.code, good.outcome), (Some(0), Verified::Accepted("mail000".into())));
    let bad = test("mail000", "x");
    assert_eq!((bad.code, bad.outcome), (Some(49), Verified::Denied));
    let findings: Vec<Finding> = wait(|done| world.check(done));
    assert!(findings.iter().all(|finding| finding.grade < Grade::Bad), "{findings:?}");
    assert!(findings.iter().any(|finding| finding.text.contains("mail.ldif: 13 entries")));
}

/// Mail for the postmaster of the host itself has to arrive.
#[test]
fn who_is_the_postmaster() {
    for (set, grade, told) in [
        (None, Grade::Warning, "nobody gets its mail; write under [mail] postmaster = "),
        (Some("mail000@example.com"), Grade::Good, "somebody gets its mail"),
        (Some("nobody@example.com"), Grade::Bad, "nobody@example.com leads nowhere"),
    ] {
        let place = Place::new();
        let mut settings = place.settings();
        settings.policy.postmaster = set.map(|it| Address::parse(it).unwrap());
        let world = World::start(settings).unwrap();
        let findings: Vec<Finding> = wait(|done| world.check(done));
        let one = findings.iter().find(|it| it.text.contains(told)).expect(told);
        assert_eq!(one.grade, grade);
        let abuse = recipient(&world, "abuse@example.org");
        assert_eq!(matches!(abuse, Verdict::Accept(_)), grade == Grade::Good, "{abuse:?}");
    }
}

/// Who may not enter a directory on the way does not get to his mail.
#[test]
fn a_closed_way_to_the_mailboxes_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let mut settings = place.settings();
    settings.policy.postmaster = Some(Address::parse("mail000@example.com").unwrap());
    let world = World::start(settings).unwrap();
    let root = nix::unistd::geteuid().is_root();
    let home = place.home().display().to_string();
    let warnings = |mode| -> Vec<String> {
        std::fs::set_permissions(place.home(), std::fs::Permissions::from_mode(mode)).unwrap();
        let findings: Vec<Finding> = wait(|done| world.check(done));
        let warnings = findings.into_iter().filter(|it| it.grade == Grade::Warning);
        warnings.map(|it| it.text).filter(|it| it.contains("has mode")).collect()
    };
    assert_eq!(warnings(0o711), Vec::<String>::new());
    let of_user = format!(
        "mail000@mail.example.com: {home} has mode 0750, so that user 20000 does not get to the \
         mailbox: write chmod o+x {home}"
    );
    assert_eq!(warnings(0o750), Vec::from_iter(root.then_some(of_user)));
    let of_all = format!(
        "mailboxes under {home}: {home} has mode 0700, so that only root gets there: write chmod \
         o+x {home}, or choose another place"
    );
    assert_eq!(warnings(0o700), Vec::from_iter(root.then_some(of_all)));
}

/// A directory that never has the answer.
struct Down;

impl Directory for Down {
    fn search(&self, _: Search, done: SearchDone) {
        done(Outcome::Unavailable("it is down".into()));
    }

    fn bind(&self, _: &str, _: Secret<Box<str>>, done: BindDone) {
        // Not even an answer.
        drop(done);
    }

    fn counters(&self) -> Counts {
        Counts::default()
    }

    fn check(&self, done: CheckDone) {
        done(Err("it is down".into()));
    }
}

#[test]
fn a_directory_that_is_down_is_never_no_such_user() {
    let place = Place::new();
    let world = World::start(place.settings_with(Arc::new(Down))).unwrap();
    assert_eq!(code(recipient(&world, "postmaster@example.org")), 451);
    assert_eq!(code(recipient(&world, "mail000@mail.example.com")), 451);
    let query = wait(|done| world.query("virtual_alias_maps", "x@y.test", done));
    assert!(matches!(query, Err(QueryError::Unavailable(why)) if why.contains("it is down")));
    let findings: Vec<Finding> = wait(|done| world.check(done));
    let down = |it: &Finding| it.grade == Grade::Bad && it.text.contains("it is down");
    assert!(findings.iter().any(down));
}
