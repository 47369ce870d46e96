//! Messages that go out as they should, with whatever the other server offers.

mod remote;

use remote::{Host, config, hello, mail, to};
use waypost_machine::{Secret, Why};
use waypost_mail::{Address, Body, Notify, Ret, ReversePath};
use waypost_smtp::client::{Config, Fact, Login, Mail, Tls};

const ENVELOPE: &str = "C: MAIL FROM:<mail001@example.com>
                        S: 250 2.1.0 Ok
                        C: RCPT TO:<someone@remote.test>
                        S: 250 2.1.5 Ok
                        C: DATA
                        S: 354 go\n";
const BODY: &str = "C: Subject: x\nC: \nC: ..\nC: Hello.\nC: .\n";
const REST: &str = "S: 250 2.0.0 Ok: queued as 000001\nC: QUIT\n-- closed Done";

fn one() -> Mail {
    mail(&["someone@remote.test"])
}

#[test]
fn a_message_in_the_plainest_way() {
    let mut host = Host::new(config(), one());
    host.play(&[&hello(&["HELP"]), ENVELOPE, BODY, REST].concat());
    assert_eq!(host.fates(), ["sent 2.0.0 (250 2.0.0 Ok: queued as 000001)"]);
    let outcome = host.outcome();
    assert_eq!((outcome.site, outcome.stale, outcome.dsn), (None, false, false));
    assert_eq!(outcome.begun, Some(host.now.mono));
}

#[test]
fn helo_for_a_host_that_knows_no_ehlo() {
    let mut host = Host::new(config(), one());
    let script = "S: 220 mx.remote.test\nC: EHLO mail.example.com\nS: 502 5.5.2 what?\n\
                  C: HELO mail.example.com\nS: 250 mx.remote.test\n";
    host.play(&[script, ENVELOPE, BODY, REST].concat());
    assert_eq!(host.fates(), ["sent 2.0.0 (250 2.0.0 Ok: queued as 000001)"]);
}

#[test]
fn starttls_as_the_golden_forward_has_it() {
    let mut host = Host::new(config(), one());
    let script = [
        &hello(&["PIPELINING", "SIZE 10", "STARTTLS", "AUTH PLAIN", "DSN"]),
        "C: STARTTLS
         S: 220 2.0.0 Ready to start TLS
         -- tls
         C: EHLO mail.example.com
         S: 250 mx.remote.test\n",
        ENVELOPE,
        BODY,
        REST,
    ];
    host.play(&script.concat());
    assert_eq!(host.fates(), ["sent 2.0.0 (250 2.0.0 Ok: queued as 000001)"]);
    assert!(host.session.protocol().tls().is_some());
    assert!(host.facts.iter().any(|fact| matches!(fact, Fact::Secured(_))));
}

#[test]
fn tls_from_the_start_and_none_at_all() {
    let mut host = Host::new(Config { tls: Tls::Implicit, ..config() }, one());
    let script = [&hello(&["STARTTLS"]), ENVELOPE, BODY, REST].concat();
    host.play("-- tls").play(&script);
    assert_eq!(host.fates(), ["sent 2.0.0 (250 2.0.0 Ok: queued as 000001)"]);
    let mut host = Host::new(Config { tls: Tls::Never, ..config() }, one());
    host.play(&script);
    assert_eq!(host.fates(), ["sent 2.0.0 (250 2.0.0 Ok: queued as 000001)"]);
}

#[test]
fn a_refused_starttls_is_no_harm_where_tls_is_a_wish() {
    let mut host = Host::new(config(), one());
    let refused = "C: STARTTLS\nS: 454 4.7.0 no\n";
    host.play(&[&hello(&["STARTTLS"]), refused, ENVELOPE, BODY, REST].concat());
    assert_eq!(host.fates(), ["sent 2.0.0 (250 2.0.0 Ok: queued as 000001)"]);
    assert!(matches!(host.facts[1], Fact::TlsRefused(_)));
}

#[test]
fn pipelined_in_one_write() {
    let mut host = Host::new(config(), mail(&["a@remote.test", "b@remote.test"]));
    assert_eq!(
        host.greets(&["PIPELINING"]),
        "MAIL FROM:<mail001@example.com>\r\nRCPT TO:<a@remote.test>\r\nRCPT TO:<b@remote.test>\r\n\
         DATA\r\n"
    );
    assert_eq!(host.says("250 ok\r\n250 ok\r\n450 4.2.1 later\r\n"), "");
    let body = host.says("354 go\r\n");
    assert_eq!(body, "Subject: x\r\n\r\n..\r\nHello.\r\n.\r\n");
    assert_eq!(host.says("250 2.0.0 Ok\r\n"), "QUIT\r\n");
    assert_eq!(
        host.fates(),
        [
            "sent 2.0.0 (250 2.0.0 Ok)",
            "deferred 4.2.1 (host mx.remote.test[192.0.2.25] said: 450 4.2.1 later (in reply to \
             RCPT TO command))"
        ]
    );
}

#[test]
fn in_chunks() {
    for keywords in [&["CHUNKING"][..], &["PIPELINING", "CHUNKING"]] {
        let mut host = Host::new(config(), one());
        host.block = 14;
        let mut said = host.greets(keywords);
        for _ in 0..2 {
            said.push_str(&host.says("250 ok\r\n"));
        }
        let envelope = "MAIL FROM:<mail001@example.com>\r\nRCPT TO:<someone@remote.test>\r\n";
        let (first, second) = ("BDAT 14\r\nSubject: x\r\n\r\n", "BDAT 11 LAST\r\n.\r\nHello.\r\n");
        match keywords.len() {
            1 => {
                assert_eq!(said, [envelope, first].concat());
                assert_eq!(host.says("250 14 octets\r\n"), second);
            }
            _ => {
                assert_eq!(said, [envelope, first, second].concat());
                assert_eq!(host.says("250 14 octets\r\n"), "");
            }
        }
        assert_eq!(host.says("250 2.0.0 queued\r\n"), "QUIT\r\n");
        assert_eq!(host.fates(), ["sent 2.0.0 (250 2.0.0 queued)"]);
    }
}

#[test]
fn parameters_go_only_to_those_who_know_them() {
    let with = Mail {
        body: Body::EightBitMime,
        smtputf8: true,
        ret: Some(Ret::Headers),
        envid: Some("a=b c".into()),
        sender: ReversePath::Null,
        recipients: vec![
            waypost_smtp::client::To {
                notify: Some(Notify::NEVER),
                orcpt: Some(("rfc822".into(), "mail000+x@example.com".into())),
                ..to("\"some one\"@remote.test")
            },
            waypost_smtp::client::To {
                notify: Some(Notify { success: true, failure: true, delay: true }),
                orcpt: Some(("utf-8".into(), "j\u{f6}rg@x".into())),
                ..to("b@remote.test")
            },
            waypost_smtp::client::To {
                notify: Some(Notify { success: false, failure: false, delay: true }),
                orcpt: Some(("rfc822 SIZE=1".into(), "x".into())),
                ..to("c@remote.test")
            },
        ],
        ..one()
    };
    let mut host = Host::new(config(), with.clone());
    host.play(
        &[
            &hello(&["SIZE 1000", "DSN", "8BITMIME", "SMTPUTF8"]),
            "C: MAIL FROM:<> SIZE=25 BODY=8BITMIME ENVID=a+3Db+20c RET=HDRS SMTPUTF8
         S: 250 ok
         C: RCPT TO:<\"some one\"@remote.test> ORCPT=rfc822;mail000+2Bx@example.com NOTIFY=NEVER
         S: 250 ok
         C: RCPT TO:<b@remote.test> ORCPT=utf-8;j\u{f6}rg@x NOTIFY=SUCCESS,FAILURE,DELAY
         S: 250 ok
         C: RCPT TO:<c@remote.test> NOTIFY=DELAY
         S: 250 ok
         C: DATA
         -- end",
        ]
        .concat(),
    );
    assert!(host.outcome().dsn);
    let mut host = Host::new(config(), with.clone());
    host.play(
        &[
            &hello(&["DSN"]),
            "C: MAIL FROM:<> ENVID=a+3Db+20c RET=HDRS
         S: 250 ok
         C: RCPT TO:<\"some one\"@remote.test> ORCPT=rfc822;mail000+2Bx@example.com NOTIFY=NEVER
         S: 250 ok
         C: RCPT TO:<b@remote.test> ORCPT=utf-8;j\\x{F6}rg@x NOTIFY=SUCCESS,FAILURE,DELAY
         -- end",
        ]
        .concat(),
    );
    let mut host = Host::new(config(), with);
    host.play(&[&hello(&["SIZE"]), "C: MAIL FROM:<> SIZE=25\n-- end"].concat());
    assert!(!host.outcome().dsn);
}

#[test]
fn a_relay_host_with_a_password() {
    let login = Login { user: "mail001".into(), password: Secret::new("secret001".into()) };
    let config = || Config { tls: Tls::Required, login: Some(login.clone()), ..config() };
    let secure = [
        &hello(&["STARTTLS"]),
        "C: STARTTLS\nS: 220 go\n-- tls\nC: EHLO mail.example.com\nS: 250-x\nS: 250 AUTH PLAIN\n\
         C: AUTH PLAIN AG1haWwwMDEAc2VjcmV0MDAx\n",
    ]
    .concat();
    let mut host = Host::new(config(), one());
    host.play(&[&secure, "S: 235 2.7.0 ok\n", ENVELOPE, BODY, REST].concat());
    assert!(host.facts.contains(&Fact::LoggedIn));
    // A host that wants the response on a line of its own.
    let mut host = Host::new(config(), one());
    let late = "S: 334 \nC: AG1haWwwMDEAc2VjcmV0MDAx\nS: 235 2.7.0 ok\n";
    host.play(&[&secure, late, ENVELOPE, BODY, REST].concat());
    assert_eq!(host.fates(), ["sent 2.0.0 (250 2.0.0 Ok: queued as 000001)"]);
    // Without TLS only when told so.
    let in_clear = Config { tls: Tls::Never, login_in_clear: true, ..config() };
    let mut host = Host::new(in_clear, one());
    let auth = "C: AUTH PLAIN AG1haWwwMDEAc2VjcmV0MDAx\nS: 235 ok\n";
    host.play(&[&hello(&["AUTH=PLAIN"]), auth, ENVELOPE, BODY, REST].concat());
    assert_eq!(host.fates(), ["sent 2.0.0 (250 2.0.0 Ok: queued as 000001)"]);
    assert!(!format!("{:?}", login).contains("secret001"));
}

#[test]
fn several_messages_on_one_connection() {
    let mut host = Host::new(config(), one());
    host.waiting.extend([
        Mail { id: 2, ..mail(&["refused@remote.test"]) },
        Mail { id: 3, size: 2000, ..one() },
        Mail { id: 4, ..one() },
    ]);
    let accepted = "S: 250 2.0.0 Ok: queued as 000001\n";
    // The second is refused and needs RSET, the third is too big and is not even begun.
    let refused = "C: MAIL FROM:<mail001@example.com> SIZE=25
                   S: 250 ok
                   C: RCPT TO:<refused@remote.test>
                   S: 550 5.1.1 no
                   C: RSET
                   S: 250 ok\n";
    let envelope = ENVELOPE
        .replace("MAIL FROM:<mail001@example.com>", "MAIL FROM:<mail001@example.com> SIZE=25");
    host.play(
        &[&hello(&["SIZE 1000"]), &*envelope, BODY, accepted, refused, &*envelope, BODY, REST]
            .concat(),
    );
    let fates: Vec<String> =
        host.reports.iter().map(|outcome| remote::fate(&outcome.recipients[0])).collect();
    assert_eq!(
        fates,
        [
            "sent 2.0.0 (250 2.0.0 Ok: queued as 000001)",
            "bounced 5.1.1 (host mx.remote.test[192.0.2.25] said: 550 5.1.1 no (in reply to RCPT TO \
             command))",
            "bounced 5.3.4 (message size 2000 exceeds size limit 1000 of server \
             mx.remote.test[192.0.2.25])",
            "sent 2.0.0 (250 2.0.0 Ok: queued as 000001)",
        ]
    );
    let ids: Vec<u64> = host.reports.iter().map(|outcome| outcome.mail.id).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
}

#[test]
fn a_connection_is_not_used_for_ever() {
    let accepted = "S: 250 2.0.0 Ok: queued as 000001\n";
    let mut host = Host::new(Config { messages: 1, ..config() }, one());
    host.waiting.push_back(one());
    host.play(&[&hello(&["X"]), ENVELOPE, BODY, REST].concat());
    assert_eq!(host.waiting.len(), 1);
    // 300 seconds, whatever is waiting.
    let mut host = Host::new(config(), one());
    host.waiting.extend([Mail { id: 2, ..one() }, Mail { id: 3, ..one() }]);
    host.play(&[&hello(&["X"]), ENVELOPE, BODY, accepted, ENVELOPE, BODY, "-- pass 300"].concat());
    host.play(REST);
    assert_eq!((host.reports.len(), host.waiting.len()), (2, 1));
    // The world takes longer than two seconds to find another message.
    let mut host = Host::new(config(), one());
    host.thinks = true;
    host.play(
        &[&hello(&["X"]), ENVELOPE, BODY, accepted, "-- pass 2\nC: QUIT\n-- closed Done"].concat(),
    );
    assert_eq!(host.reports.len(), 1);
}

#[test]
fn a_message_that_comes_while_the_connection_is_kept() {
    let mut host = Host::new(config(), one());
    host.thinks = true;
    host.play(&[&hello(&["X"]), ENVELOPE, BODY, "S: 250 2.0.0 Ok: queued as 000001\n"].concat());
    host.waiting.push_back(Mail { id: 2, ..one() });
    host.pass(1.5);
    host.resume();
    host.play(&[ENVELOPE, BODY, REST].concat());
    assert_eq!(host.reports.len(), 2);
    assert_eq!(host.closed, Some(Why::Done));
}

#[test]
fn utf8_addresses_where_they_are_known() {
    let recipient = waypost_smtp::client::To {
        address: Address::parse("j\u{f6}rg@b\u{fc}cher.example").unwrap(),
        ..to("x@y")
    };
    let mut host = Host::new(config(), Mail { recipients: vec![recipient], ..one() });
    let script = "C: MAIL FROM:<mail001@example.com> SMTPUTF8
                  S: 250 ok
                  C: RCPT TO:<j\u{f6}rg@b\u{fc}cher.example>
                  -- end";
    host.play(&[&hello(&["SMTPUTF8"]), script].concat());
    assert!(host.facts.contains(&Fact::Utf8WithoutEightBit));
}

#[test]
fn many_recipients_are_not_named_before_mail_is_answered() {
    let names: Vec<String> = (0..1000).map(|n| format!("r{n}@remote.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut host = Host::new(config(), mail(&names));
    let ahead = host.greets(&["PIPELINING"]);
    assert_eq!(ahead.lines().count(), 100);
    // Each reply makes room for another.
    let mut rcpt = ahead.lines().count() - 1;
    let mut replies = 0;
    while rcpt < 1000 {
        rcpt += host.says("250 ok\r\n").lines().filter(|l| l.starts_with("RCPT")).count();
        replies += 1;
    }
    assert_eq!(replies, 901);
    assert_eq!(host.says(&"250 ok\r\n".repeat(1001 - replies)), "DATA\r\n");
    host.says("354 go\r\n");
    host.says("250 2.0.0 ok\r\n");
    assert!(host.fates().iter().all(|fate| fate == "sent 2.0.0 (250 2.0.0 ok)"));
    assert_eq!(host.outcome().recipients.len(), 1000);
}

#[test]
fn a_slow_reader_holds_a_window_of_the_message() {
    let mut host = Host::new(config(), one());
    host.bodies.insert(1, b"line of text\r\n".repeat(1_000_000));
    host.play(&[&hello(&["X"]), ENVELOPE].concat().replace("S: 354 go\n", ""));
    host.room = 0;
    host.says("354 go\r\n");
    assert_eq!(host.said.len(), 0);
    let mut seen = 0;
    while seen < 14_000_000 {
        // A host that takes 10 000 octets a minute is slow, not dead.
        host.pass(60.0);
        host.room = 40_000;
        host.pump();
        let got = host.take().len();
        assert!(got > 0 && host.closed.is_none(), "{seen}");
        seen += got;
    }
    host.room = usize::MAX;
    host.pump();
    seen += host.take().len();
    assert_eq!(seen, 14_000_000 + 3);
    assert_eq!(host.says("250 2.0.0 ok\r\n"), "QUIT\r\n");
}
