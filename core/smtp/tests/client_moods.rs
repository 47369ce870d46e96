//! Hosts that refuse, stall, close, lie, or answer late, at every place of the dialogue.

mod remote;

use remote::{Host, config, hello, mail, to};
use waypost_machine::{Input, Secret, TlsInfo, Why};
use waypost_mail::{Address, Body, Enhanced};
use waypost_smtp::client::{Cause, Config, Disposition, Fact, Login, Mail, Remote, Stage, Tls, To};

const HOST: &str = "mx.remote.test[192.0.2.25]";

/// The dialogue with everything in it: what the host says, what that is the reply to, what we are
/// doing meanwhile, and for how many seconds.
const PLACES: &[(Stage, &str, &str, &str, f64)] = &[
    (Stage::Greeting, "220 mx", "connection", "receiving the initial server greeting", 300.0),
    (Stage::Ehlo, "250-mx\r\n250 STARTTLS", "EHLO command", "performing the EHLO handshake", 300.0),
    (Stage::StartTls, "220 go", "STARTTLS command", "receiving the STARTTLS response", 300.0),
    (
        Stage::Ehlo,
        "250-mx\r\n250 AUTH PLAIN",
        "EHLO command",
        "performing the EHLO handshake",
        300.0,
    ),
    (Stage::Auth, "235 in", "AUTH command", "performing the AUTH handshake", 300.0),
    (Stage::Mail, "250 ok", "MAIL FROM command", "sending MAIL FROM", 300.0),
    (Stage::Rcpt, "250 ok", "RCPT TO command", "sending RCPT TO", 300.0),
    (Stage::Rcpt, "250 ok", "RCPT TO command", "sending RCPT TO", 300.0),
    (Stage::Data, "354 go", "DATA command", "sending DATA command", 120.0),
    (
        Stage::EndOfData,
        "250 2.0.0 ok",
        "end of DATA command",
        "sending end of data -- message may be sent more than once",
        600.0,
    ),
];

fn secure() -> Config {
    let login = Login { user: "u".into(), password: Secret::new("p".into()) };
    Config { tls: Tls::Required, login: Some(login), ..config() }
}

/// A host that has been good at this many places.
fn good(places: usize) -> Host {
    let mut host = Host::new(secure(), mail(&["a@remote.test", "b@remote.test"]));
    for (stage, said, ..) in &PLACES[..places] {
        host.says(&format!("{said}\r\n"));
        if *stage == Stage::StartTls {
            host.handshake();
            host.take();
        }
    }
    assert_eq!(host.closed, None);
    host
}

/// What must hold however it ended.
fn check(host: &Host, place: usize) {
    let trouble = host.trouble();
    assert_ne!(host.closed, None);
    let stage = PLACES[place].0;
    let unknown = stage == Stage::EndOfData && trouble.cause != Cause::Refused;
    assert_eq!(trouble.maybe_delivered, unknown, "{trouble:?}");
    assert_eq!(trouble.stage, stage, "{trouble:?}");
}

#[test]
fn the_dialogue_itself_is_good() {
    let mut host = good(PLACES.len() - 1);
    host.says("250 2.0.0 ok\r\n");
    assert_eq!(host.fates(), ["sent 2.0.0 (250 2.0.0 ok)"; 2]);
}

#[test]
fn closing_anywhere() {
    for (place, (_, said, _, doing, _)) in PLACES.iter().enumerate() {
        for part in ["", &said[..3], &format!("{}-x\r\n", &said[..3])] {
            let mut host = good(place);
            host.says(part);
            host.input(Input::Eof);
            check(&host, place);
            let lost = format!("deferred 4.4.2 (lost connection with {HOST} while {doing})");
            assert_eq!(host.fates(), [lost.clone(), lost]);
            assert_eq!(host.trouble().cause, Cause::Lost);
            assert!(host.outcome().site.is_some() && !host.outcome().stale);
            assert_eq!(host.closed, Some(Why::Gone));
        }
    }
}

#[test]
fn silence_anywhere_and_answers_that_come_too_late() {
    for (place, (_, said, _, doing, seconds)) in PLACES.iter().enumerate() {
        let mut host = good(place);
        // A line now and then does not buy time.
        host.pass(seconds - 1.0);
        host.says(&format!("{}-wait\r\n", &said[..3]));
        assert_eq!(host.closed, None);
        host.pass(1.0);
        check(&host, place);
        let late = format!("deferred 4.4.2 (conversation with {HOST} timed out while {doing})");
        assert_eq!(host.fates(), [late.clone(), late]);
        assert_eq!(host.closed, Some(Why::Timeout));
        let before = host.outcome();
        host.input(Input::Bytes(format!("{said}\r\n").into()));
        assert_eq!(host.outcome(), before);
    }
}

#[test]
fn shutting_down_anywhere() {
    for (place, (stage, _, request, ..)) in PLACES.iter().enumerate() {
        let mut host = good(place);
        assert_eq!(host.says("421 4.3.2 bye\r\n"), "", "no word more");
        check(&host, place);
        let reason = match stage {
            Stage::Greeting | Stage::Ehlo | Stage::StartTls | Stage::Auth => {
                format!("host {HOST} refused to talk to me: 421 4.3.2 bye")
            }
            _ => format!("host {HOST} said: 421 4.3.2 bye (in reply to {request})"),
        };
        assert_eq!(host.fates(), [(); 2].map(|()| format!("deferred 4.3.2 ({reason})")));
        assert!(host.outcome().site.is_some());
    }
}

#[test]
fn nonsense_anywhere() {
    for (place, (.., request, _, _)) in PLACES.iter().enumerate() {
        for said in ["who is there?", "", "25 ok", "999 what", "150 wait", "000 x", "\u{7f}\u{1b}["]
        {
            let mut host = good(place);
            host.says(&format!("{said}\r\n"));
            check(&host, place);
            let shown: String =
                said.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            let nonsense = format!(
                "deferred 4.5.0 (Protocol error: host {HOST} said: {shown} (in reply to {request}))"
            );
            assert_eq!(host.fates(), [nonsense.clone(), nonsense]);
            assert_eq!(host.closed, Some(Why::Refused));
        }
    }
}

#[test]
fn a_code_that_belongs_elsewhere() {
    for (place, wrong) in
        [(0, "354"), (1, "354"), (4, "250"), (5, "354"), (6, "354"), (8, "250"), (9, "354")]
    {
        let mut host = good(place);
        host.says(&format!("{wrong} hm\r\n"));
        if place == 4 {
            // Any 2xx will do for AUTH.
            assert_eq!(host.closed, None);
            continue;
        }
        check(&host, place);
        assert_eq!(host.trouble().cause, Cause::Protocol, "{place}");
        assert_eq!(host.trouble().status, Enhanced(4, 5, 0));
    }
}

#[test]
fn refusals_before_the_message() {
    let cases = [
        (0, "554 5.7.1 go away", "deferred 4.7.1", "refused to talk to me: 554 5.7.1 go away"),
        (0, "450 later", "deferred 4.0.0", "refused to talk to me: 450 later"),
        (1, "450 4.3.0 later", "deferred 4.3.0", "refused to talk to me: 450 4.3.0 later"),
        (2, "454 4.7.0 no", "deferred 4.7.4", "refused to start TLS: 454 4.7.0 no"),
        (2, "554 5.7.0 no", "deferred 4.7.4", "refused to start TLS: 554 5.7.0 no"),
        (4, "535 5.7.8 who?", "deferred 4.7.8", "said: 535 5.7.8 who?"),
        (4, "454 4.7.0 hm", "deferred 4.7.0", "said: 454 4.7.0 hm"),
    ];
    for (place, said, word, reason) in cases {
        let mut host = good(place);
        assert_eq!(host.says(&format!("{said}\r\n")), "QUIT\r\n");
        check(&host, place);
        for fate in host.fates() {
            assert!(fate.starts_with(word), "{fate}");
            assert!(fate.ends_with(&format!("{reason})")) && fate.contains(HOST), "{fate}");
        }
        let trouble = host.trouble();
        assert!(trouble.elsewhere && host.outcome().site.is_some());
        assert_eq!(&*trouble.reply.unwrap().text, said);
    }
    // No to EHLO and no to HELO.
    let mut host = good(1);
    assert_eq!(host.says("502 5.5.1 what\r\n"), "HELO mail.example.com\r\n");
    assert_eq!(host.says("550 5.7.1 never\r\n"), "QUIT\r\n");
    let reason = format!("bounced 5.7.1 (host {HOST} refused to talk to me: 550 5.7.1 never)");
    assert_eq!(host.fates(), [reason.clone(), reason]);
    assert!(host.trouble().elsewhere);
}

#[test]
fn tls_that_does_not_come_about() {
    // Not offered: golden/logs/16.
    let mut host = Host::new(secure(), mail(&["someone@notls.test"]));
    host.play(&[&hello(&["PIPELINING", "AUTH PLAIN"]), "C: QUIT\n-- closed Done"].concat());
    assert_eq!(
        host.fates(),
        [format!("deferred 4.7.4 (TLS is required, but was not offered by host {HOST})")]
    );
    // Not offered by a host that knows no EHLO.
    let mut host = Host::new(secure(), mail(&["someone@notls.test"]));
    host.says("220 x\r\n");
    host.says("500 x\r\n");
    assert_eq!(host.says("250 x\r\n"), "QUIT\r\n");
    assert_eq!(host.trouble().status, Enhanced(4, 7, 4));
    // The handshake fails: the shell sees it, the session only that nothing more comes.
    let mut host = Host::new(secure(), mail(&["someone@selfsigned.test"]));
    for (_, said, ..) in &PLACES[..3] {
        host.says(&format!("{said}\r\n"));
    }
    assert!(host.securing.is_some());
    host.input(Input::Eof);
    assert!(host.reports.is_empty());
    let client = host.session.protocol();
    let untold = client.unfinished(host.now, Why::Gone, None).unwrap();
    let told = client.unfinished(host.now, Why::Gone, Some("Server certificate not verified"));
    let told = told.unwrap();
    for (outcome, reason) in [
        (&untold, "deferred 4.7.5 (Cannot start TLS: handshake failure)"),
        (&told, "deferred 4.7.5 (Server certificate not verified)"),
    ] {
        assert_eq!(remote::fate(&outcome.recipients[0]), reason);
        let site = outcome.site.as_ref().unwrap();
        assert_eq!((site.cause, site.stage), (Cause::Tls, Stage::Handshake));
    }
    // The handshake takes for ever.
    let mut host = Host::new(secure(), mail(&["someone@remote.test"]));
    for (_, said, ..) in &PLACES[..3] {
        host.says(&format!("{said}\r\n"));
    }
    host.pass(60.0);
    assert_eq!(host.closed, Some(Why::Timeout));
    assert_eq!(
        host.fates(),
        [format!(
            "deferred 4.4.2 (conversation with {HOST} timed out while performing the TLS \
                  handshake)"
        )]
    );
}

#[test]
fn what_was_said_in_clear_is_not_heard_in_tls() {
    // With the reply to STARTTLS, or after it.
    for early in [true, false] {
        let mut host = good(2);
        let injected = "250-mx\r\n250 AUTH PLAIN\r\n235 in\r\n";
        if early {
            host.says(&format!("220 go\r\n{injected}"));
        } else {
            host.says("220 go\r\n");
            host.input(Input::Bytes(injected.into()));
        }
        assert_eq!(host.closed, Some(Why::Injected));
        host.input(Input::Secured(TlsInfo::default()));
        assert_eq!(host.take(), "");
        let trouble = host.trouble();
        assert_eq!((trouble.cause, trouble.status), (Cause::Protocol, Enhanced(4, 5, 0)));
    }
    // What was offered in clear does not count after the handshake.
    let mut host = Host::new(secure(), mail(&["someone@remote.test"]));
    host.play(&[
        &hello(&["STARTTLS", "AUTH PLAIN", "PIPELINING"]),
        "C: STARTTLS\nS: 220 go\n-- tls\nC: EHLO mail.example.com\nS: 250 mx\nC: QUIT\n-- closed Done",
    ].concat());
    assert!(host.fates()[0].starts_with("deferred 4.7.0 (SASL authentication failed: server "));
    // Nor when the host knows no EHLO any more.
    let mut host = Host::new(config(), mail(&["someone@remote.test"]));
    host.play(
        &[
            &hello(&["STARTTLS", "PIPELINING", "SIZE 10"]),
            "C: STARTTLS\nS: 220 go\n-- tls\nC: EHLO mail.example.com\nS: 502 what\n\
             C: HELO mail.example.com\nS: 250 mx\nC: MAIL FROM:<mail001@example.com>\n-- end",
        ]
        .concat(),
    );
}

#[test]
fn no_password_without_tls() {
    let config = Config { tls: Tls::IfOffered, ..secure() };
    let mut host = Host::new(config, mail(&["someone@remote.test"]));
    host.play(&[&hello(&["AUTH PLAIN"]), "C: QUIT\n-- closed Done"].concat());
    assert_eq!(host.trouble().cause, Cause::Unsuitable);
    assert_eq!(host.trouble().status, Enhanced(4, 7, 0));
}

#[test]
fn ourselves() {
    for (best, status) in [(true, "bounced 5.4.6"), (false, "deferred 4.4.6")] {
        let at = Remote { best, ..remote::remote() };
        let mut host = Host::at(config(), at, mail(&["someone@remote.test"]));
        host.says("220 MAIL.example.com\r\n");
        assert_eq!(host.says("250-MAIL.example.com hi\r\n250 X\r\n"), "QUIT\r\n");
        assert_eq!(host.fates(), [format!("{status} (mail for remote.test loops back to myself)")]);
    }
}

#[test]
fn a_host_that_cannot_take_the_message() {
    let plain = || mail(&["someone@remote.test"]);
    let utf8: To = To { address: Address::parse("\u{e4}@b.test").unwrap(), ..to("x@y") };
    let no_utf8 = format!(
        "bounced 5.6.7 (message requires SMTPUTF8, but no server was found that supports SMTPUTF8. \
         The last attempted server was {HOST})"
    );
    let no_8bit = format!("bounced 5.6.3 (message requires 8BITMIME, which {HOST} does not offer)");
    let strict = Config { strict_8bitmime: true, ..config() };
    for (config, mail, fate) in [
        (config(), Mail { recipients: vec![utf8], ..plain() }, Some(&no_utf8)),
        (config(), Mail { smtputf8: true, utf8_header: true, ..plain() }, Some(&no_utf8)),
        (config(), Mail { smtputf8: true, ..plain() }, None),
        (config(), Mail { utf8_header: true, ..plain() }, None),
        (config(), Mail { body: Body::EightBitMime, ..plain() }, None),
        (strict.clone(), Mail { body: Body::EightBitMime, ..plain() }, Some(&no_8bit)),
        (strict, plain(), None),
    ] {
        let mut host = Host::new(config, mail);
        let said = host.greets(&["SIZE 0"]);
        match fate {
            Some(fate) => {
                assert_eq!(said, "QUIT\r\n");
                assert_eq!(host.fates(), [fate.as_str()]);
                assert!(host.trouble().elsewhere && host.outcome().site.is_none());
            }
            None => assert_eq!(said, "MAIL FROM:<mail001@example.com> SIZE=25\r\n"),
        }
    }
}

#[test]
fn the_last_word_comes_before_the_message_is_out() {
    for (said, fate) in [
        ("552 5.3.4 too big", "bounced 5.3.4"),
        ("451 4.3.1 full", "deferred 4.3.1"),
        ("421 4.4.2 tired", "deferred 4.4.2"),
        ("250 2.0.0 ok", "deferred 4.5.0"),
        ("354 go", "deferred 4.5.0"),
    ] {
        let mut host = good(PLACES.len() - 2);
        host.silent = true;
        assert_eq!(host.says("354 go\r\n"), "");
        host.says(&format!("{said}\r\n"));
        for got in host.fates() {
            assert!(got.starts_with(fate), "{got}");
        }
        assert_eq!(host.closed, Some(Why::Refused));
        assert!(!host.trouble().maybe_delivered);
        host.answer_all();
        assert_eq!(host.take(), "", "not a byte of the message");
    }
}

#[test]
fn a_host_that_stops_reading() {
    let mut host = good(PLACES.len() - 2);
    host.bodies.insert(1, vec![b'x'; 1_000_000]);
    host.room = 300_000;
    host.says("354 go\r\n");
    host.pass(179.0);
    assert_eq!(host.closed, None);
    host.pass(1.0);
    host.room = usize::MAX;
    host.pump();
    assert_eq!(host.closed, Some(Why::Timeout));
    let late =
        format!("deferred 4.4.2 (conversation with {HOST} timed out while sending message body)");
    assert_eq!(host.fates(), [late.clone(), late]);
    assert!(!host.trouble().maybe_delivered);
}

/// It does not matter whether our output waits for the host, or we for the next piece.
#[test]
fn a_connection_that_breaks_in_the_message() {
    for reading in [true, false] {
        let mut host = good(PLACES.len() - 2);
        host.bodies.insert(1, vec![b'x'; 1_000_000]);
        host.silent = reading;
        host.room = 300_000;
        host.says("354 go\r\n");
        host.input(Input::Gone);
        host.room = usize::MAX;
        host.pump();
        let lost =
            format!("deferred 4.4.2 (lost connection with {HOST} while sending message body)");
        assert_eq!(host.fates(), [lost.clone(), lost]);
        assert_eq!((host.trouble().cause, host.closed), (Cause::Lost, Some(Why::Gone)));
        assert!(host.outcome().site.is_some() && host.trouble().elsewhere);
    }
}

#[test]
fn a_host_that_says_why_it_stops_reading() {
    for end in [Some(Input::Stop), Some(Input::Gone), None] {
        let mut host = good(PLACES.len() - 2);
        host.bodies.insert(1, vec![b'x'; 1_000_000]);
        host.room = 300_000;
        host.says("354 go\r\n");
        host.says("552 5.3.4 too big\r\n");
        assert_eq!(host.closed, None, "our output waits");
        match end {
            Some(end) => host.input(end),
            None => host.pass(180.0),
        }
        host.room = usize::MAX;
        host.pump();
        let fate = format!(
            "bounced 5.3.4 (host {HOST} said: 552 5.3.4 too big (in reply to end of DATA command))"
        );
        assert_eq!(host.fates(), [fate.clone(), fate]);
    }
}

#[test]
fn a_body_that_cannot_be_read_never_ends_with_a_dot() {
    for unreadable in [Some(0), Some(14), None] {
        let mut host = good(PLACES.len() - 2);
        host.block = 14;
        host.unreadable = unreadable;
        host.silent = unreadable.is_none();
        let said = host.says("354 go\r\n");
        host.pass(60.0);
        assert_eq!(host.closed, Some(Why::Done));
        assert!(!said.contains("\r\n.\r\n") && host.take().is_empty());
        let fate = format!("deferred 4.3.0 (local data error while talking to {HOST})");
        assert_eq!(host.fates(), [fate.clone(), fate]);
        assert_eq!(host.outcome().site, None);
    }
}

#[test]
fn stopping_waits_for_the_word_on_a_message_and_for_nothing_else() {
    for (place, (stage, _, _, doing, _)) in PLACES.iter().enumerate() {
        let mut host = good(place);
        host.input(Input::Stop);
        if *stage == Stage::EndOfData {
            assert_eq!(host.closed, None);
            host.waiting.push_back(mail(&["c@remote.test"]));
            assert_eq!(host.says("250 2.0.0 ok\r\n"), "QUIT\r\n");
            assert_eq!(host.fates(), ["sent 2.0.0 (250 2.0.0 ok)"; 2]);
            assert_eq!(host.waiting.len(), 1);
            continue;
        }
        check(&host, place);
        let fate = format!("deferred 4.4.2 (delivery to {HOST} was broken off while {doing})");
        assert_eq!(host.fates(), [fate.clone(), fate]);
        assert_eq!(host.outcome().site, None);
    }
    // Between messages there is nothing to lose.
    let mut host = good(PLACES.len() - 1);
    host.thinks = true;
    assert_eq!(host.says("250 2.0.0 ok\r\n"), "");
    host.input(Input::Stop);
    assert_eq!((host.take().as_str(), host.closed), ("QUIT\r\n", Some(Why::Done)));
    assert_eq!(host.fates(), ["sent 2.0.0 (250 2.0.0 ok)"; 2]);
}

/// A connection that is kept after a good message, with another one handed over later.
fn kept() -> Host {
    let mut host = good(PLACES.len() - 1);
    host.thinks = true;
    host.says("250 2.0.0 ok\r\n");
    host.waiting.push_back(Mail { id: 2, ..mail(&["c@remote.test"]) });
    host
}

#[test]
fn a_kept_connection_that_is_gone() {
    // Closed by the host while it was kept, with or without a word.
    for said in [None, Some("421 4.4.2 idle for too long\r\n")] {
        let mut host = kept();
        host.resume();
        assert_eq!(host.take(), "MAIL FROM:<mail001@example.com>\r\n");
        match said {
            None => host.input(Input::Eof),
            Some(said) => assert_eq!(host.says(said), ""),
        }
        assert_eq!(host.reports.len(), 2);
        let outcome = &host.reports[1];
        assert!(outcome.stale, "{outcome:?}");
        assert!(matches!(outcome.recipients[0], Disposition::Deferred(_)));
    }
    // Once it has answered, it counts.
    let mut host = kept();
    host.resume();
    host.says("250 ok\r\n");
    host.input(Input::Eof);
    assert!(!host.reports[1].stale);
    // A word out of turn while nobody is asked: the message that was waiting was not tried.
    let mut host = kept();
    assert_eq!(host.says("421 4.4.2 idle for too long\r\n"), "");
    assert_eq!(host.closed, Some(Why::Gone));
    assert!(matches!(host.facts.last(), Some(Fact::Odd(_))));
    assert_eq!((host.reports.len(), host.waiting.len()), (1, 1));
    host.resume();
    assert_eq!((host.take().as_str(), host.reports.len()), ("", 1));
}

#[test]
fn a_reset_that_does_not_work() {
    for said in ["500 no\r\n", "421 bye\r\n", "-- end", "-- pass"] {
        let mut host = good(PLACES.len() - 2);
        host.waiting.push_back(mail(&["c@remote.test"]));
        assert_eq!(host.says("451 4.3.0 no\r\n"), "RSET\r\n");
        match said {
            "-- end" => host.input(Input::Eof),
            "-- pass" => host.pass(20.0),
            said => host.bytes(said.as_bytes()),
        }
        assert_ne!(host.closed, None);
        assert_eq!((host.reports.len(), host.waiting.len()), (1, 1));
    }
}

#[test]
fn chunks_refused() {
    for keywords in [&["CHUNKING"][..], &["PIPELINING", "CHUNKING"]] {
        let mut host = Host::new(config(), mail(&["someone@remote.test"]));
        host.block = 10;
        host.greets(keywords);
        host.says("250 ok\r\n");
        assert!(host.says("250 ok\r\n").contains("BDAT 10\r\n"));
        let said = host.says("552 5.3.4 too big\r\n");
        if keywords.len() == 2 {
            // The other two chunks were sent ahead.
            assert_eq!(said, "");
            assert_eq!(host.says("503 no\r\n"), "");
            assert_eq!(host.says("503 no\r\n"), "RSET\r\n");
        } else {
            assert_eq!(said, "RSET\r\n");
        }
        assert_eq!(host.says("250 ok\r\n"), "QUIT\r\n");
        assert_eq!(
            host.fates(),
            [format!(
                "bounced 5.3.4 (host {HOST} said: 552 5.3.4 too big (in reply to BDAT command))"
            )]
        );
    }
    // Lost after the last chunk: it may be there.
    let mut host = Host::new(config(), mail(&["someone@remote.test"]));
    host.greets(&["CHUNKING"]);
    host.says("250 ok\r\n");
    assert!(host.says("250 ok\r\n").starts_with("BDAT 25 LAST\r\n"));
    host.input(Input::Eof);
    assert!(host.trouble().maybe_delivered);
    assert_eq!(host.trouble().stage, Stage::LastChunk);
}

#[test]
fn too_many_recipients_at_once() {
    let mut host = Host::new(config(), mail(&["a@remote.test", "b@remote.test"]));
    host.greets(&["X"]);
    for said in ["250 ok", "250 ok", "452 4.5.3 too many", "354 go", "250 2.0.0 ok"] {
        host.says(&format!("{said}\r\n"));
    }
    let outcome = host.outcome();
    assert!(matches!(outcome.recipients[0], Disposition::Delivered(_)));
    assert!(outcome.recipients[1].trouble().unwrap().is_too_many_recipients());
}

#[test]
fn more_than_the_client_wants_to_hold() {
    let mut host = good(PLACES.len() - 2);
    host.room = 0;
    host.bodies.insert(1, vec![b'x'; 1_000_000]);
    host.says("354 go\r\n");
    // The client does not read on while its own output waits; who sends all the same is cut off.
    host.input(Input::Bytes(vec![b'x'; 65 * 1024].into()));
    host.room = usize::MAX;
    host.pump();
    assert_eq!(host.closed, Some(Why::Refused));
    assert_eq!(host.trouble().status, Enhanced(4, 5, 0));
}
