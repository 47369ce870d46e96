//! The reference sessions as tables: who sends to whom, and what is said.

mod common;

use common::{Tables, address, client, path, policy, rcpt, reference, resolve, run, shown};
use waypost_mail::{Delivery, Target, Verdict};
use waypost_route::{Fact, Gid, Looked, Map, Request, Restriction};

const MAIL000: &str = "mail000@mail.example.com in /home/mail/mail000/mailbox 20000:20000";
const MAIL001: &str = "mail001@mail.example.com in /home/mail/mail001/mailbox 20001:20001";

/// From outside or as a login: (MAIL FROM, RCPT TO, verdict).
fn check(login: Option<&str>, rows: &[(&str, &str, &str)]) {
    let tables = reference();
    for (from, to, expected) in rows {
        let run = resolve(&tables, rcpt(login, from, to));
        assert_eq!(shown(&run.verdict), *expected, "from <{from}> to <{to}>");
        assert!(run.facts.is_empty(), "{:?}", run.facts);
    }
}

/// smtp/20-sender-login-mismatch
#[test]
fn sender_and_login() {
    let no = |sender: &str| {
        format!("553 5.7.1 <{sender}>: Sender address rejected: not owned by user mail000")
    };
    let to = "mail001@example.com";
    check(
        Some("mail000"),
        &[
            ("mail001@example.com", to, &no("mail001@example.com")),
            ("mail000@example.com", to, MAIL001),
            ("postmaster@example.org", to, MAIL001),
            ("MAIL000@EXAMPLE.COM", to, MAIL001),
            ("mail000@mail.example.com", to, MAIL001),
            ("mail000+tag@example.com", to, MAIL001),
            ("nobody@example.com", to, &no("nobody@example.com")),
            ("someone@elsewhere.test", to, &no("someone@elsewhere.test")),
            ("", to, MAIL001),
            ("team@example.com", to, &no("team@example.com")),
            ("anything@example.net", to, &no("anything@example.net")),
            ("someone@remote.test", to, &no("someone@remote.test")),
        ],
    );
    check(Some("MAIL000"), &[("mail000@example.com", to, MAIL001)]);
}

/// smtp/21-sender-not-logged-in
#[test]
fn sender_without_login() {
    let no = |sender: &str| format!("553 5.7.1 <{sender}>: Sender address rejected: not logged in");
    let to = "mail001@example.com";
    check(
        None,
        &[
            ("mail000@example.com", to, &no("mail000@example.com")),
            ("mail001@mail.example.com", to, &no("mail001@mail.example.com")),
            ("nobody@example.com", to, MAIL001),
            ("anything@example.net", to, &no("anything@example.net")),
            ("someone@remote.test", to, &no("someone@remote.test")),
            ("someone@elsewhere.test", to, MAIL001),
            ("", to, MAIL001),
            ("mail000+tag@example.com", to, &no("mail000+tag@example.com")),
        ],
    );
}

/// smtp/22-relay-unauthenticated
#[test]
fn no_relaying_without_login() {
    let from = "someone@elsewhere.test";
    let no = |to: &str| format!("454 4.7.1 <{to}>: Relay access denied");
    let unknown = |to: &str| {
        format!(
            "550 5.1.1 <{to}>: Recipient address rejected: User unknown in local recipient table"
        )
    };
    check(
        None,
        &[
            (from, "someone@remote.test", &no("someone@remote.test")),
            (from, "someone@gmail.com", &no("someone@gmail.com")),
            (from, "mail000%remote.test@example.com", &no("mail000%remote.test@example.com")),
            (from, "remote.test!someone@example.com", &no("remote.test!someone@example.com")),
            (from, "someone@sub.example.com", &no("someone@sub.example.com")),
            (from, "\"someone@remote.test\"@example.com", &no("someone@remote.test@example.com")),
            (from, "someone@[127.0.0.1]", &unknown("someone@[127.0.0.1]")),
            (from, "someone@[192.0.2.77]", &no("someone@[192.0.2.77]")),
            (from, "someone@localhost", &unknown("someone@localhost")),
        ],
    );
}

/// smtp/23-relay-authenticated
#[test]
fn relaying_with_login_or_from_mynetworks() {
    let row = ("mail000@example.com", "someone@remote.test", "someone@remote.test remote");
    check(Some("mail000"), &[row]);
    let near = Request::Recipient {
        client: client("203.0.113.7", None),
        sender: path("someone@elsewhere.test"),
        recipient: address("someone@remote.test"),
    };
    assert_eq!(shown(&resolve(&reference(), near).verdict), "someone@remote.test remote");
}

/// smtp/24-unknown-recipients, 37-mixed-recipients, 55-vrfy
#[test]
fn unknown_recipients() {
    let from = "someone@elsewhere.test";
    let no = |to: &str, table: &str| {
        format!(
            "550 5.1.1 <{to}>: Recipient address rejected: User unknown in virtual {table} table"
        )
    };
    check(
        None,
        &[
            (from, "nobody@example.com", &no("nobody@example.com", "alias")),
            (from, "nobody@example.org", &no("nobody@example.org", "alias")),
            (from, "nobody@mail.example.com", &no("nobody@mail.example.com", "mailbox")),
            (from, "postmaster@mail.example.com", &no("postmaster@mail.example.com", "mailbox")),
            (from, "mail000@mail.example.com", MAIL000),
            (from, "mail000@example.com", MAIL000),
            // Postfix takes this one and sends a failure notice later.
            (from, "dangling@example.com", &no("dangling@example.com", "mailbox")),
        ],
    );
}

/// smtp/30 to 36: aliases, catch-alls, forwards, extensions, case
#[test]
fn aliases() {
    let from = "someone@elsewhere.test";
    let extended =
        |extension: &str| MAIL000.replacen("mail000@", &format!("mail000+{extension}@"), 1);
    let team = format!(
        "{}; {}",
        MAIL000.replacen("mail000@", "mail000+y@", 1),
        MAIL001.replacen("mail001@", "mail001+y@", 1)
    );
    check(
        None,
        &[
            (from, "postmaster@example.org", MAIL000),
            (from, "team@example.com", &format!("{MAIL000}; {MAIL001}")),
            (from, "whoever@example.net", MAIL001),
            (from, "sales@example.net", MAIL000),
            (from, "anyone@only-catchall.test", MAIL000),
            (from, "forward@example.com", "someone@remote.test remote"),
            (from, "mail000+lists@example.com", &extended("lists")),
            (from, "mail000+x@mail.example.com", &extended("x")),
            (from, "team+y@example.com", &team),
            (from, "MAIL000@Example.COM", MAIL000),
            ("", "mail000@example.com", MAIL000),
        ],
    );
    let upper = resolve(&reference(), rcpt(None, from, "Mail001@MAIL.EXAMPLE.com"));
    let expected = MAIL001.replacen("mail001@mail.example.com", "Mail001@MAIL.EXAMPLE.com", 1);
    assert_eq!(shown(&upper.verdict), expected);
}

#[test]
fn deliveries_name_the_address_that_was_given() {
    let run = resolve(&reference(), rcpt(None, "", "mail000+tag@example.com"));
    let Verdict::Accept(deliveries) = run.verdict else { panic!("refused") };
    let [Delivery { to, orig_to, target: Target::Maildir(_) }] = &deliveries[..] else {
        panic!("{deliveries:?}")
    };
    assert_eq!(to.to_string(), "mail000+tag@mail.example.com");
    assert_eq!(orig_to.to_string(), "mail000+tag@example.com");
}

/// smtp/80-directory-down
#[test]
fn a_directory_that_is_down_refuses_for_now() {
    for to in ["mail000@example.com", "mail000@mail.example.com", "someone@remote.test"] {
        let down = |_: Map, _: &str| Looked::Unavailable("connection refused".into());
        let run = run(&policy(), rcpt(None, "", to), down);
        assert_eq!(shown(&run.verdict), format!("451 4.3.0 <{to}>: Temporary lookup failure"));
        let [Fact::Unavailable { why, .. }] = &run.facts[..] else { panic!("{:?}", run.facts) };
        assert_eq!(why, "connection refused");
    }
    let mut tables = reference();
    tables.down(Map::SenderLogins, "@elsewhere.test");
    let run = resolve(&tables, rcpt(None, "x@elsewhere.test", "mail000@example.com"));
    assert_eq!(shown(&run.verdict), "451 4.3.0 <x@elsewhere.test>: Temporary lookup failure");
}

/// A second maildrop on an account makes its mailbox lookup answer twice.
#[test]
fn two_values_for_one_mailbox_wait() {
    let mut tables = reference();
    let both = ["/home/mail/mail000/mailbox/", "/home/mail/mail001/mailbox/"];
    tables.put(Map::Mailboxes, "mail001@mail.example.com", &both);
    let run = resolve(&tables, rcpt(None, "", "mail001@example.com"));
    let what = "mailbox lookup gave 2 values: \
                /home/mail/mail000/mailbox/, /home/mail/mail001/mailbox/";
    let expected = format!("mail001@mail.example.com later 451 4.3.5 {what}");
    assert_eq!(shown(&run.verdict), expected);
    let address = address("mail001@mail.example.com");
    assert_eq!(run.facts, [Fact::Nonsense { address, what: what.into() }]);
    // The other half of a list is delivered.
    let run = resolve(&tables, rcpt(None, "", "team@example.com"));
    assert_eq!(shown(&run.verdict), format!("{MAIL000}; {expected}"));
    // Twice the same is one.
    tables.put(Map::Mailboxes, "mail001@mail.example.com", &[both[1], both[1]]);
    let run = resolve(&tables, rcpt(None, "", "mail001@example.com"));
    assert_eq!(shown(&run.verdict), MAIL001);
}

#[test]
fn bad_paths_and_ids_wait() {
    let later = |change: &dyn Fn(&mut Tables)| {
        let mut tables = reference();
        change(&mut tables);
        let run = resolve(&tables, rcpt(None, "", "mail000@mail.example.com"));
        assert_eq!(run.facts.len(), 1);
        let text = shown(&run.verdict);
        text.strip_prefix("mail000@mail.example.com later 451 4.3.5 ").expect(&text).to_string()
    };
    let key = "mail000@mail.example.com";
    for path in ["/home/../etc/", "/home/./x/", "/", "//", "/a\nb/"] {
        let text = later(&|t| t.put(Map::Mailboxes, key, &[path]));
        assert!(text.starts_with("bad mailbox path '"), "{text}");
    }
    let mbox = later(&|t| t.put(Map::Mailboxes, key, &["/var/mail/mail000"]));
    assert!(mbox.starts_with("mailbox path has no '/' at its end"), "{mbox}");
    let uid = |values: &[&str]| later(&|t| t.put(Map::Uids, key, values));
    assert_eq!(uid(&["0"]), "bad uid 0: below the minimum 100");
    assert_eq!(uid(&["99"]), "bad uid 99: below the minimum 100");
    assert_eq!(uid(&["root"]), "bad uid 'root' in virtual_uid_maps");
    assert_eq!(uid(&["-1"]), "bad uid '-1' in virtual_uid_maps");
    assert_eq!(uid(&["4294967295"]), "bad uid '4294967295' in virtual_uid_maps");
    assert_eq!(uid(&["20000", "20001"]), "uid lookup gave 2 values: 20000, 20001");
    let none = later(&|t| drop(t.0.remove(&(Map::Uids, key.to_string()))));
    assert_eq!(none, "no uid: not found in virtual_uid_maps");
}

#[test]
fn group_ids_have_their_own_table() {
    let mut tables = reference();
    let mut policy = policy();
    policy.gid = Gid::Table;
    policy.virtual_mailbox_base = "/srv/".into();
    let key = "mail000@mail.example.com";
    tables.put(Map::Gids, key, &["8"]);
    let ask = |tables: &Tables| {
        shown(&run(&policy, rcpt(None, "", key), |map, key| tables.look(map, key)).verdict)
    };
    assert_eq!(ask(&tables), format!("{key} in /srv/home/mail/mail000/mailbox 20000:8"));
    tables.put(Map::Gids, key, &["0"]);
    assert_eq!(ask(&tables), format!("{key} later 451 4.3.5 bad gid 0"));
}

/// Where only a part of an alias leads nowhere, the rest is delivered.
#[test]
fn a_part_that_leads_nowhere_is_kept_for_the_notice() {
    let mut tables = reference();
    tables.put(
        Map::Aliases,
        "list@example.com",
        &["nobody@mail.example.com, mail000@mail.example.com", "Some One <x@remote.test>"],
    );
    let run = resolve(&tables, rcpt(None, "", "list@example.com"));
    let expected = format!(
        "nobody@mail.example.com bounce 550 5.1.1 unknown user: \"nobody@mail.example.com\"; \
         {MAIL000}; x@remote.test remote"
    );
    assert_eq!(shown(&run.verdict), expected);
}

#[test]
fn forms_of_aliases() {
    let mut tables = reference();
    let rows: &[(&str, &[&str], &str)] = &[
        (
            "self@example.com",
            &["self@example.com", "x@remote.test"],
            "self@example.com bounce 550 5.1.1 unknown user: \"self@example.com\"; x@remote.test remote",
        ),
        ("bare@example.com", &["mail000"], MAIL000),
        ("moved@example.com", &["@remote.test"], "moved@remote.test remote"),
        (
            "twice@example.com",
            &["mail000@example.com", "MAIL000@mail.example.com"],
            "MAIL000@mail.example.com in",
        ),
        (
            "pipe@example.com",
            &["|/bin/sh"],
            "pipe@example.com later 451 4.3.5 alias lookup gave no address: '|/bin/sh'",
        ),
        ("quoted@example.com", &["\"a, b\"@remote.test"], "\"a, b\"@remote.test remote"),
        ("deep@example.com", &["deeper@example.com"], MAIL001),
        ("a@example.com", &["b@example.com"], "451 4.6.0 <a@example.com>: Alias expansion error"),
    ];
    tables.put(Map::Aliases, "deeper@example.com", &["mail001@example.com"]);
    tables.put(Map::Aliases, "b@example.com", &["A@example.com"]);
    for (key, values, expected) in rows {
        tables.put(Map::Aliases, key, values);
        let text = shown(&resolve(&tables, rcpt(None, "", key)).verdict);
        assert!(text.starts_with(expected), "{key}: {text}");
    }
    // A loop with a way out delivers what leads out of it.
    tables.put(Map::Aliases, "b@example.com", &["a@example.com", "mail000@example.com"]);
    assert_eq!(shown(&resolve(&tables, rcpt(None, "", "a@example.com")).verdict), MAIL000);
    // A mailbox that is kept, with a copy elsewhere.
    let copy = ["mail000@mail.example.com", "x@remote.test"];
    tables.put(Map::Aliases, "mail000@mail.example.com", &copy);
    let kept = resolve(&tables, rcpt(None, "", "mail000@example.com"));
    assert_eq!(shown(&kept.verdict), format!("{MAIL000}; x@remote.test remote"));
    // Bare keys count for our own site alone.
    tables.put(Map::Aliases, "mail001", &["x@remote.test"]);
    let own = resolve(&tables, rcpt(None, "", "mail001@mail.example.com"));
    assert_eq!(shown(&own.verdict), "x@remote.test remote");
    let other = resolve(&tables, rcpt(None, "", "mail001@example.org"));
    assert!(shown(&other.verdict).contains("User unknown in virtual alias table"));
}

#[test]
fn limits_of_aliases() {
    let error = "451 4.6.0 <start@example.com>: Alias expansion error";
    let mut wide = reference();
    let many: Vec<String> = (0..1000).map(|n| format!("u{n}@remote.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    wide.put(Map::Aliases, "start@example.com", &many);
    assert_eq!(shown(&resolve(&wide, rcpt(None, "", "start@example.com")).verdict), error);
    wide.put(Map::Aliases, "start@example.com", &many[..999]);
    let Verdict::Accept(all) = resolve(&wide, rcpt(None, "", "start@example.com")).verdict else {
        panic!("refused")
    };
    assert_eq!(all.len(), 999);

    let mut short = policy();
    short.alias_recursion_limit = 3;
    let ask = |length: usize| {
        let mut tables = reference();
        tables.put(Map::Aliases, "start@example.com", &["n1@example.com"]);
        for n in 1..length {
            let (from, to) = (format!("n{n}@example.com"), format!("n{}@example.com", n + 1));
            tables.put(Map::Aliases, &from, &[&to]);
        }
        tables.put(Map::Aliases, &format!("n{length}@example.com"), &["x@remote.test"]);
        let request = rcpt(None, "", "start@example.com");
        shown(&run(&short, request, |map, key| tables.look(map, key)).verdict)
    };
    assert_eq!(ask(2), "x@remote.test remote");
    assert_eq!(ask(3), error);
}

#[test]
fn postmaster_is_always_somebody() {
    let mut policy = policy();
    policy.postmaster = Some(address("mail001@example.com"));
    let tables = reference();
    let ask = |to: &str| {
        shown(&run(&policy, rcpt(None, "", to), |map, key| tables.look(map, key)).verdict)
    };
    assert_eq!(ask("postmaster@mail.example.com"), MAIL001);
    assert_eq!(ask("Abuse@example.org"), MAIL001);
    assert_eq!(ask("postmaster@localhost"), MAIL001);
    assert_eq!(ask("root@mail.example.com"), MAIL001);
    assert_eq!(ask("postmaster@example.com"), MAIL000);
    assert!(ask("postmaster@remote.test").contains("Relay access denied"));
    assert!(ask("hostmaster@example.com").contains("User unknown"));
}

#[test]
fn restrictions_run_in_their_order() {
    let from = "mail001@example.com";
    let ask = |relay: &str, recipient: &str, login: Option<&str>, to: &str| {
        let mut policy = policy();
        policy.relay_restrictions = Restriction::parse_list(relay).unwrap();
        policy.recipient_restrictions = Restriction::parse_list(recipient).unwrap();
        let tables = reference();
        shown(&run(&policy, rcpt(login, from, to), |map, key| tables.look(map, key)).verdict)
    };
    let remote = "x@remote.test";
    let mine = "mail000@example.com";
    assert_eq!(
        ask("reject_unauth_destination", "", None, remote),
        "554 5.7.1 <x@remote.test>: Relay access denied"
    );
    assert_eq!(
        ask("permit_sasl_authenticated reject", "", Some("a"), remote),
        "x@remote.test remote"
    );
    assert_eq!(
        ask("permit_sasl_authenticated, reject", "", None, mine),
        "554 5.7.1 <mail000@example.com>: Recipient address rejected: Access denied"
    );
    assert_eq!(
        ask("defer", "", None, mine),
        "450 4.3.2 <mail000@example.com>: Recipient address rejected: Try again later"
    );
    assert_eq!(ask("permit_auth_destination reject", "", None, mine), MAIL000);
    // No list makes an open relay.
    assert_eq!(
        ask("permit", "permit", None, remote),
        "454 4.7.1 <x@remote.test>: Relay access denied"
    );
    // The first that speaks is heard.
    let unlisted = "550 5.1.1 <nobody@example.com>: Recipient address rejected: User unknown in virtual alias table";
    let mismatch = "553 5.7.1 <mail001@example.com>: Sender address rejected: not logged in";
    let nobody = "nobody@example.com";
    let both = "reject_unlisted_recipient, reject_sender_login_mismatch";
    assert_eq!(ask("reject_unauth_destination", both, None, nobody), unlisted);
    let turned = "reject_sender_login_mismatch reject_unlisted_recipient";
    assert_eq!(ask("reject_unauth_destination", turned, None, nobody), mismatch);
    assert_eq!(ask("reject_unauth_destination", "permit", None, nobody), unlisted);
    // The halves of the sender rule.
    let half = |name: &str, login| ask("reject_unauth_destination", name, login, mine);
    assert_eq!(half("reject_authenticated_sender_login_mismatch", None), MAIL000);
    assert!(
        half("reject_authenticated_sender_login_mismatch", Some("mail000")).contains("not owned")
    );
    assert_eq!(half("reject_unauthenticated_sender_login_mismatch", None), mismatch);
    assert_eq!(half("reject_unauthenticated_sender_login_mismatch", Some("mail000")), MAIL000);
    assert!(half("reject_known_sender_login_mismatch", Some("mail000")).contains("not owned"));
    assert_eq!(half("reject_known_sender_login_mismatch", Some("mail001")), MAIL000);
    assert_eq!(
        ask("reject_non_fqdn_recipient reject_unauth_destination", "", None, "a@host"),
        "504 5.5.2 <a@host>: Recipient address rejected: need fully-qualified address"
    );
    let error = Restriction::parse_list("permit, reject_rbl").unwrap_err();
    assert_eq!(error.to_string(), "'reject_rbl' is not a restriction known here");
    let mut open = policy();
    open.relay_restrictions = vec![Restriction::Permit];
    assert!(open.check().is_err());
}

#[test]
fn domains_that_are_listed_cost_no_lookup() {
    let mut policy = policy();
    policy.relay_domains = vec!["partner.test".into()];
    policy.virtual_mailbox_domains.table = true;
    let mut tables = reference();
    tables.put(Map::MailboxDomains, "boxes.test", &["yes"]);
    tables.put(Map::Mailboxes, "@boxes.test", &["/srv/all/"]);
    tables.put(Map::Uids, "@boxes.test", &["500"]);
    let ask = |to: &str| run(&policy, rcpt(None, "", to), |map, key| tables.look(map, key));
    let direct = ask("mail000@mail.example.com");
    let maps: Vec<(Map, &str)> = direct.asked.iter().map(|(map, key)| (*map, &**key)).collect();
    let key = "mail000@mail.example.com";
    let expected = [
        (Map::Aliases, key),
        (Map::Aliases, "mail000"),
        (Map::Aliases, "@mail.example.com"),
        (Map::Mailboxes, key),
        (Map::Uids, key),
    ];
    assert_eq!(maps, expected);
    assert_eq!(shown(&ask("any@boxes.test").verdict), "any@boxes.test in /srv/all 500:500");
    assert_eq!(shown(&ask("a@Sub.Partner.test").verdict), "a@Sub.Partner.test remote");
    assert!(shown(&ask("a@notpartner.test").verdict).contains("Relay access denied"));
}

#[test]
fn what_has_waited_is_asked_again_without_restrictions() {
    let to = address("someone@remote.test");
    let orig_to = address("forward@example.com");
    let again = |to| Request::Again { to, orig_to: orig_to.clone() };
    let run = resolve(&reference(), again(to));
    let Verdict::Accept(deliveries) = &run.verdict else { panic!("refused") };
    assert_eq!((&deliveries[0].target, &deliveries[0].orig_to), (&Target::Remote, &orig_to));
    let gone = resolve(&reference(), again(address("nobody@mail.example.com")));
    assert!(shown(&gone.verdict).starts_with("550 5.1.1 <nobody@mail.example.com>"));
}

/// An address that we have made for somebody else's: the rules about senders hold, and the tables do
/// not have to know it.
#[test]
fn what_comes_back_to_a_rewritten_sender() {
    let tables = reference();
    let ask = |login: Option<&str>, from: &str| {
        let request = Request::Returned {
            client: client("127.0.1.32", login),
            sender: path(from),
            recipient: address("SRS0=hash=TT=remote.test=a%b@mail.example.com"),
            to: address("a%b@remote.test"),
        };
        shown(&resolve(&tables, request).verdict)
    };
    for from in ["", "mailer@elsewhere.test"] {
        assert_eq!(ask(None, from), "a%b@remote.test remote");
    }
    assert_eq!(
        ask(None, "mail000@example.com"),
        "553 5.7.1 <mail000@example.com>: Sender address rejected: not logged in"
    );
    assert_eq!(
        ask(Some("mail000"), "mail001@example.com"),
        "553 5.7.1 <mail001@example.com>: Sender address rejected: not owned by user mail000"
    );
}
