//! Messages from the greeting to the last reply.

mod common;

use common::{Dialogue, hostname, port25, port587};
use waypost_machine::Why;
use waypost_mail::{Body, Notify, Ret, ReversePath};
use waypost_smtp::server::{Config, Fact, Tls};

#[test]
fn a_message() {
    let mut d = Dialogue::new(port25());
    assert_eq!(d.take(), "220 mail.example.com ESMTP Waypost\r\n");
    let offer = d.say("EHLO client.example.net\r\n");
    assert_eq!(
        offer,
        "250-mail.example.com\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n\
         250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n"
    );
    d.data();
    let said = d.say("Subject: dots\r\n\r\n..\r\n..one\r\n.\r\nQUIT\r\n");
    assert_eq!(said, "250 2.0.0 Ok: queued as Q1\r\n221 2.0.0 Bye\r\n");
    assert_eq!(d.closed, Some(Why::Done));
    let message = &d.world.messages[0];
    assert!(message.committed && !message.aborted);
    assert_eq!(message.body, b"Subject: dots\r\n\r\n.\r\n.one\r\n");
    assert_eq!(message.envelope.sender.to_string(), "someone@elsewhere.test");
    assert_eq!(message.envelope.recipients.len(), 1);
    assert_eq!(&*message.envelope.client.helo, "client.example.net");
    assert!(message.envelope.client.esmtp && message.envelope.client.tls.is_none());
    assert_eq!(message.envelope.arrived.secs, 1_795_341_600);
    let counts = [("ehlo", 1), ("mail", 1), ("rcpt", 1), ("data", 1), ("quit", 1)];
    let counts = counts.map(|(verb, n)| (verb, n, n)).to_vec();
    assert_eq!(d.facts, [Fact::Connected, Fact::Disconnected { counts, lost: None }]);
}

#[test]
fn what_mail_and_rcpt_say_reaches_the_envelope() {
    let mut d = Dialogue::secured(port587());
    d.say("AUTH PLAIN AE1BSUwwMDAAc2VjcmV0MDAw\r\n");
    d.say(
        "MAIL FROM:<> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+3Db AUTH=<>\r\n\
         RCPT TO:<\"mail000\"@EXAMPLE.com.> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c.test\r\n\
         RCPT TO:<mail001>\r\n",
    );
    d.say("DATA\r\n.\r\n");
    let envelope = &d.world.messages[0].envelope;
    assert_eq!(envelope.sender, ReversePath::Null);
    assert_eq!(envelope.size, Some(1000));
    assert_eq!((envelope.body, envelope.smtputf8), (Body::EightBitMime, true));
    assert_eq!((envelope.ret, envelope.envid.as_deref()), (Some(Ret::Headers), Some("a=b")));
    let [first, second] = &envelope.recipients[..] else { panic!("two recipients") };
    assert_eq!(first.address.to_string(), "mail000@EXAMPLE.com");
    assert_eq!(first.notify, Some(Notify { success: true, failure: false, delay: true }));
    assert_eq!(first.orcpt, Some(("rfc822".into(), "a+b@c.test".into())));
    assert_eq!(second.address.to_string(), "mail001@mail.example.com");
    assert_eq!((second.notify, &second.orcpt), (None, &None));
    let login = envelope.client.login.as_ref().expect("logged in");
    assert_eq!((&*login.user, login.mechanism), ("mail000", "PLAIN"));
    assert_eq!(envelope.client.tls.as_ref().expect("TLS").protocol, "TLSv1.3");
}

#[test]
fn nothing_is_left_of_one_message_in_the_next() {
    let mut d = Dialogue::greeted(port25());
    for n in 1..=3 {
        d.data();
        assert_eq!(d.say("x\r\n.\r\n"), format!("250 2.0.0 Ok: queued as Q{n}\r\n"));
        assert_eq!(d.world.messages[n - 1].body, b"x\r\n");
        assert_eq!(d.world.messages[n - 1].envelope.recipients.len(), 1);
    }
    assert_eq!(d.say("DATA\r\n"), "503 5.5.1 Error: need RCPT command\r\n");
}

#[test]
fn tls_from_the_start() {
    let mut d = Dialogue::new(Config { tls: Tls::Implicit, ..port25() });
    assert_eq!(d.take(), "");
    d.handshake();
    assert_eq!(d.take(), "220 mail.example.com ESMTP Waypost\r\n");
    let offer = d.say("EHLO x\r\n");
    assert!(offer.contains("250-AUTH PLAIN\r\n") && !offer.contains("STARTTLS"), "{offer}");
    assert_eq!(d.say("STARTTLS\r\n"), "554 5.5.1 Error: TLS already active\r\n");
    assert_eq!(d.facts[..2], [Fact::Connected, Fact::Secured]);
}

#[test]
fn what_was_said_in_clear_is_forgotten() {
    let mut d = Dialogue::greeted(Config { auth_in_clear: true, ..port25() });
    assert_eq!(
        d.say("AUTH PLAIN AG1haWwwMDAAc2VjcmV0MDAw\r\n"),
        "235 2.7.0 Authentication successful\r\n"
    );
    d.envelope();
    d.say("STARTTLS\r\n");
    d.handshake();
    let client = d.session.protocol().client();
    assert!(client.login.is_none() && client.helo.is_empty() && !client.esmtp);
    assert_eq!(d.say("RCPT TO:<a@b.test>\r\n"), "503 5.5.1 Error: need MAIL command\r\n");
}

#[test]
fn clear_text_behind_starttls_ends_the_session() {
    let mut d = Dialogue::greeted(port25());
    let said = d.say("STARTTLS\r\nMAIL FROM:<injected@elsewhere.test>\r\n");
    assert_eq!(said, "554 5.5.0 Error: SMTP protocol synchronization\r\n");
    assert_eq!(d.closed, Some(Why::Injected));
    let mut d = Dialogue::greeted(port25());
    d.say("STARTTLS\r\n");
    assert_eq!(d.pump().expect("open").read, 0);
    let late = bytes::Bytes::from_static(b"MAIL FROM:<injected@elsewhere.test>\r\n");
    d.input(waypost_machine::Input::Bytes(late));
    assert_eq!(d.closed, Some(Why::Injected));
}

#[test]
fn settings_show_in_what_is_offered() {
    let config = Config {
        message_size_limit: 0,
        smtputf8: false,
        broken_sasl_auth_clients: false,
        auth_in_clear: true,
        tls: Tls::Off,
        ..port25()
    };
    let mut d = Dialogue::greeted(config);
    assert_eq!(
        d.say("EHLO x\r\n"),
        "250-mail.example.com\r\n250-PIPELINING\r\n250-SIZE\r\n250-AUTH PLAIN\r\n\
         250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250 CHUNKING\r\n"
    );
    assert_eq!(d.say("STARTTLS\r\n"), "502 5.5.1 Error: command not implemented\r\n");
    assert_eq!(
        d.say("MAIL FROM:<ren\u{e9}@elsewhere.test>\r\n"),
        "501 5.1.7 Bad sender address syntax\r\n"
    );
    assert_eq!(
        d.say("MAIL FROM:<a@b.test> SMTPUTF8\r\n"),
        "555 5.5.4 Unsupported option: SMTPUTF8\r\n"
    );
    assert_eq!(d.say("MAIL FROM:<a@b.test> SIZE=99999999999\r\n"), "250 2.1.0 Ok\r\n");
    let mut d = Dialogue::secured(Config::new(hostname()));
    assert_eq!(d.say("AUTH PLAIN\r\n"), "503 5.5.1 Error: authentication not enabled\r\n");
}

#[test]
fn names_and_options_of_the_peer_come_back_printable() {
    let mut d = Dialogue::greeted(port25());
    d.say("EHLO a\u{1b}[31m\0b\r\n");
    assert_eq!(&*d.session.protocol().client().helo, "a?[31m?b");
    let said = d.say("MAIL FROM:<a@b.test> X\u{7}Y\r\n");
    assert_eq!(said, "555 5.5.4 Unsupported option: X?Y\r\n");
    d.say(&format!("EHLO {}\r\n", "\u{fc}".repeat(300)));
    assert_eq!(d.session.protocol().client().helo.len(), 254);
}

#[test]
fn a_web_browser_is_sent_away() {
    let mut d = Dialogue::new(port25());
    d.take();
    let said = d.say("POST /\u{1b} HTTP/1.1\r\nHost: mail\r\n\r\nMAIL FROM:<a@b.test>\r\n");
    assert_eq!(said, "521 5.7.0 Error: I can break rules, too. Goodbye.\r\n");
    assert_eq!(d.closed, Some(Why::Refused));
    assert_eq!(
        d.facts[1..],
        [
            Fact::NotSmtp { line: "POST /? HTTP/1.1".into() },
            Fact::Disconnected { counts: vec![("unknown", 0, 1)], lost: None },
        ]
    );
}
