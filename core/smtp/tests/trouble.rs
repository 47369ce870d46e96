//! A world that fails or is silent, peers that go away, are slow, or want too much.

mod common;

use std::time::Duration;

use common::{Dialogue, Faults, SPOOL_FULL, port25, port587};
use waypost_machine::{Input, Machine, Step, Why};
use waypost_mail::{Enhanced, Reply};
use waypost_sasl::Verified;
use waypost_smtp::limits;
use waypost_smtp::server::{BareNewline, Call, Config, Fact, Lost};

const QUEUED: &str = "250 2.0.0 Ok: queued as Q1\r\n";
const WRITE_ERROR: &str = "451 4.3.0 Error: queue file write error\r\n";

fn faulty(mut d: Dialogue, faults: Faults) -> Dialogue {
    d.world.faults = faults;
    d
}

fn append_fails() -> Faults {
    Faults { append: Some(SPOOL_FULL), ..Faults::default() }
}

fn silent() -> Faults {
    Faults { silent: true, ..Faults::default() }
}

#[test]
fn a_directory_that_is_down_is_no_wrong_password() {
    let down = Faults { directory_down: true, ..Faults::default() };
    let mut d = faulty(Dialogue::secured(port587()), down);
    let said = d.say("AUTH PLAIN AG1haWwwMDAAc2VjcmV0MDAw\r\n");
    assert_eq!(
        said,
        "454 4.7.0 Temporary authentication failure: user directory not available\r\n"
    );
    assert_eq!(
        d.say("MAIL FROM:<>\r\nRCPT TO:<mail000@example.com>\r\n"),
        "250 2.1.0 Ok\r\n451 4.3.0 <mail000@example.com>: Temporary lookup failure\r\n"
    );
}

#[test]
fn a_wrong_password_is_told_after_a_while() {
    let mut d = Dialogue::secured(port587());
    for attempt in ["AG1haWwwMDAAd3Jvbmc=", "AG1haWwwMDAA", "bWFpbDAwMQBtYWlsMDAwAHNlY3JldDAwMA=="]
    {
        assert_eq!(d.say(&format!("AUTH PLAIN {attempt}\r\nNOOP\r\n")), "");
        assert_eq!(d.pass(1.9), "");
        assert_eq!(
            d.pass(0.1),
            "535 5.7.8 Error: authentication failed: (reason unavailable)\r\n250 2.0.0 Ok\r\n"
        );
        let login =
            Fact::Login { user: "mail000".into(), mechanism: "PLAIN", outcome: Verified::Denied };
        assert_eq!(d.facts.last(), Some(&login));
    }
    // Only the first was asked of the directory.
    assert_eq!(d.world.calls, ["authenticate"]);
}

#[test]
fn a_world_that_is_silent_is_a_temporary_failure() {
    let mut d = faulty(Dialogue::secured(port587()), silent());
    assert_eq!(d.say("AUTH PLAIN AG1haWwwMDAAc2VjcmV0MDAw\r\nMAIL FROM:<a@b.test>\r\n"), "");
    assert!(d.pass(60.0).starts_with("454 4.7.0 "));
    assert_eq!(d.say("RCPT TO:<mail000@example.com>\r\n"), "");
    assert_eq!(d.pass(60.0), "451 4.3.0 <mail000@example.com>: Temporary lookup failure\r\n");
    d.world.faults.silent = false;
    assert_eq!(d.say("RCPT TO:<mail000@example.com>\r\n"), "250 2.1.5 Ok\r\n");
    d.world.faults.silent = true;
    assert_eq!(d.say("DATA\r\n"), "");
    assert_eq!(d.pass(60.0), WRITE_ERROR);
    // Answers that come too late change nothing.
    assert_eq!(d.answer_all(), "");
    assert_eq!(d.say("NOOP\r\n"), "250 2.0.0 Ok\r\n");
}

#[test]
fn no_space_is_told_before_the_message_is_sent() {
    let full = Faults { begin: Some(SPOOL_FULL), ..Faults::default() };
    let mut d = faulty(Dialogue::greeted(port25()), full);
    d.envelope();
    let reply = "452 4.3.1 Error: insufficient system storage\r\n";
    assert_eq!(d.say("DATA\r\n"), reply);
    d.envelope();
    assert_eq!(d.say("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"), format!("{reply}250 2.0.0 Ok\r\n"));
    let rejected = d.facts.iter().filter(|f| matches!(f, Fact::Rejected { .. }));
    assert_eq!(rejected.count(), 2);
}

#[test]
fn a_failed_append_is_told_at_the_end() {
    let mut d = faulty(Dialogue::greeted(port25()), append_fails());
    d.data();
    for _ in 0..40 {
        assert_eq!(d.send(&b"a line of the message\r\n".repeat(1000)), "");
    }
    let said = d.say(".\r\nNOOP\r\n");
    assert_eq!(said, "452 4.3.1 Error: insufficient system storage\r\n250 2.0.0 Ok\r\n");
    assert_eq!(d.world.messages[0].appends, 1);
    assert!(d.world.messages[0].aborted && !d.world.messages[0].committed);
    let Some(Fact::Rejected { stage, queue_id, .. }) = d.facts.last() else { panic!("a fact") };
    assert_eq!((*stage, queue_id.as_deref()), ("END-OF-MESSAGE", Some("Q1")));
    // A short one: the failure comes with the last append.
    d.data();
    let said = d.say("short\r\n.\r\n");
    assert_eq!(said, "452 4.3.1 Error: insufficient system storage\r\n");
    d.world.faults = Faults::default();
    d.data();
    assert_eq!(d.say("short\r\n.\r\n"), "250 2.0.0 Ok: queued as Q3\r\n");
}

#[test]
fn a_failed_chunk_ends_the_transaction() {
    let mut d = faulty(Dialogue::greeted(port25()), append_fails());
    d.envelope();
    let chunk = vec![b'x'; limits::APPEND];
    assert_eq!(
        d.send(&[b"BDAT 65536\r\n", &chunk[..]].concat()),
        "452 4.3.1 Error: insufficient system storage\r\n"
    );
    assert_eq!(d.say("BDAT 3 LAST\r\nabc"), "503 5.5.1 Error: need RCPT command\r\n");
    assert!(d.world.messages[0].aborted);
}

#[test]
fn a_failed_commit_is_told() {
    let reply = Reply::new(451, Enhanced(4, 3, 0), "Error: no");
    let failing = Faults { commit: Some(reply), ..Faults::default() };
    let mut d = faulty(Dialogue::greeted(port25()), failing);
    d.data();
    assert_eq!(d.say("x\r\n.\r\n"), "451 4.3.0 Error: no\r\n");
    assert_eq!(
        d.say("RCPT TO:<mail000@example.com>\r\n"),
        "503 5.5.1 Error: need MAIL command\r\n"
    );
    // A commit that fails has been dealt with: it is not given up as well.
    assert_eq!(d.world.calls.last(), Some(&"commit"));
}

#[test]
fn a_slow_world_makes_the_client_wait() {
    let mut d = Dialogue::greeted(port25());
    d.data();
    d.world.faults.silent = true;
    let line = b"a line of the message, of some length\r\n";
    let (mut sent, mut read) = (0, usize::MAX);
    while read > 0 {
        let text = line.repeat(100);
        let count = text.len().min(read);
        d.input(Input::Bytes(bytes::Bytes::copy_from_slice(&text[..count])));
        sent += count;
        read = d.pump().expect("open").read;
        assert!(sent < 400_000, "the server reads on without end");
    }
    assert_eq!(d.calls.len(), limits::APPENDS);
    // Its time does not run meanwhile, for an append has its own.
    assert_eq!(d.pump().expect("open").until, Some(d.now.mono.plus(Duration::from_secs(60))));
    d.world.faults.silent = false;
    d.answer_all();
    let rest = &line.repeat(100)[sent % (line.len() * 100)..];
    d.send(rest);
    assert_eq!(d.say(".\r\n"), QUEUED);
    let body = &d.world.messages[0].body;
    assert_eq!(*body, line.repeat(body.len() / line.len()));
    assert_eq!(body.len(), sent + rest.len());
}

/// However the last octets and the world's answers fall, a client that falls silent is not waited
/// for without end.
#[test]
fn a_client_that_falls_silent_after_a_slow_world() {
    for command in ["DATA\r\n", "BDAT 1000000\r\n"] {
        let mut d = Dialogue::greeted(port25());
        d.say("MAIL FROM:<a@b.test>\r\nRCPT TO:<mail000@example.com>\r\n");
        d.say(command);
        d.world.faults.silent = true;
        // Two appends are open, and all that was read has been taken.
        for _ in 0..3 {
            d.input(Input::Bytes(bytes::Bytes::from(vec![b'x'; limits::APPEND])));
            d.pump().expect("open");
        }
        assert_eq!(d.calls.len(), limits::APPENDS);
        d.world.faults.silent = false;
        d.answer_all();
        let until = d.pump().expect("open").until;
        assert_eq!(until, Some(d.now.mono.plus(Duration::from_secs(300))), "{command}");
        let told = d.pass(301.0);
        assert_eq!(told, "421 4.4.2 mail.example.com Error: timeout exceeded\r\n", "{command}");
    }
}

#[test]
fn a_body_is_not_copied() {
    let mut d = Dialogue::greeted(port25());
    d.data();
    d.world.faults.silent = true;
    let text = bytes::Bytes::from(b"a line of the message, of some length\r\n".repeat(1500));
    let range = text.as_ptr_range();
    d.input(Input::Bytes(text.clone()));
    d.input(Input::Bytes(text.clone()));
    let Some(Call::Append { chunks, .. }) = d.calls.first() else { panic!("an append") };
    assert!(chunks.iter().all(|chunk| range.contains(&chunk.as_ptr())));
    assert_eq!(chunks.len(), 2);
}

#[test]
fn a_body_of_dots_takes_few_calls() {
    let mut d = Dialogue::greeted(port25());
    d.data();
    let text = b"..\r\n".repeat(200_000);
    d.send(&text);
    assert_eq!(d.say(".\r\n"), QUEUED);
    let message = &d.world.messages[0];
    assert_eq!(message.body, b".\r\n".repeat(200_000));
    assert!(message.appends < 12, "{}", message.appends);
}

#[test]
fn a_client_that_goes_away_in_a_message() {
    let mut d = Dialogue::greeted(port25());
    d.data();
    d.say("Subject: x\r\n");
    d.input(Input::Eof);
    assert_eq!(d.closed, Some(Why::Gone));
    assert!(d.world.messages[0].aborted && !d.world.messages[0].committed);
    let lost = Lost { what: "lost connection", after: "DATA", octets: Some(12) };
    let Fact::Disconnected { counts, lost: told } = d.farewell() else { panic!("a farewell") };
    assert_eq!(*told, Some(lost));
    assert_eq!(counts[..], [("ehlo", 1, 1), ("mail", 1, 1), ("rcpt", 1, 1), ("data", 0, 1)]);
}

#[test]
fn a_client_that_goes_away_while_its_message_is_made_durable() {
    for end in [Input::Eof, Input::Gone] {
        let mut d = Dialogue::greeted(port25());
        d.data();
        d.say("x\r\n");
        d.world.faults.silent = true;
        d.say(".\r\n");
        d.answer_all();
        assert!(matches!(d.calls[..], [Call::Commit { .. }]));
        d.input(end);
        assert_eq!(d.closed, None);
        assert_eq!(d.answer_all(), QUEUED);
        assert_eq!(d.closed, Some(Why::Gone));
        assert!(d.world.messages[0].committed);
    }
}

#[test]
fn a_connection_that_breaks_ends_at_once() {
    let mut d = Dialogue::greeted(port25());
    d.data();
    d.world.faults.silent = true;
    d.say(&"x\r\n".repeat(50_000));
    d.say(".\r\nQUIT\r\n");
    assert!(matches!(d.calls[..], [Call::Append { .. }, ..]));
    d.input(Input::Gone);
    d.answer_all();
    assert_eq!(d.closed, Some(Why::Gone));
    assert!(d.world.messages[0].aborted && !d.world.messages[0].committed);
    let Fact::Disconnected { lost: Some(lost), .. } = d.farewell() else { panic!("a farewell") };
    assert_eq!((lost.what, lost.after), ("lost connection", "END-OF-MESSAGE"));
}

#[test]
fn what_was_pipelined_before_the_end_is_worked_off() {
    let mut d = Dialogue::greeted(port25());
    d.world.faults.silent = true;
    d.say("MAIL FROM:<a@b.test>\r\nRCPT TO:<mail000@example.com>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n");
    d.input(Input::Eof);
    while d.closed.is_none() {
        d.answer_all();
    }
    assert_eq!(d.closed, Some(Why::Done));
    assert!(d.world.messages[0].committed);
}

#[test]
fn silence_ends_a_session() {
    let mut d = Dialogue::new(port25());
    d.take();
    assert_eq!(d.pass(299.0), "");
    // A byte now and then is no command.
    assert_eq!(d.say("NO"), "");
    assert_eq!(d.pass(1.0), "421 4.4.2 mail.example.com Error: timeout exceeded\r\n");
    assert_eq!(d.closed, Some(Why::Timeout));
    let Fact::Disconnected { lost, .. } = d.farewell() else { panic!("a farewell") };
    let told = Lost { what: "timeout", after: "CONNECT", octets: None };
    assert_eq!(*lost, Some(told));
}

#[test]
fn a_trickle_is_no_message() {
    let mut d = Dialogue::greeted(port25());
    d.data();
    for _ in 0..4 {
        d.say("x");
        d.pass(70.0);
    }
    assert_eq!(d.closed, None);
    assert_eq!(d.pass(20.0), "421 4.4.2 mail.example.com Error: timeout exceeded\r\n");
    assert!(d.world.messages[0].aborted);
    // Who sends enough may take longer.
    let mut d = Dialogue::greeted(port25());
    d.data();
    for _ in 0..20 {
        d.send(&[b'x'; limits::PROGRESS]);
        assert_eq!(d.pass(200.0), "");
    }
    assert_eq!(d.say("\r\n.\r\n"), QUEUED);
}

#[test]
fn a_trickle_of_chunks_is_no_message_either() {
    let timeout = "421 4.4.2 mail.example.com Error: timeout exceeded\r\n";
    for (chunk, said) in [("BDAT 1\r\nx", "1"), ("BDAT 0\r\n", "0")] {
        let mut d = Dialogue::greeted(port25());
        d.envelope();
        // Enough for one call to the world, whose time is not the client's.
        d.send(&[b"BDAT 65536\r\n", &[b'x'; 65536][..]].concat());
        d.pass(250.0);
        for _ in 0..4 {
            assert_eq!(d.say(chunk), format!("250 2.0.0 Ok: {said} bytes\r\n"));
            d.pass(70.0);
        }
        assert_eq!(d.closed, None);
        assert_eq!(d.pass(20.0), timeout);
        assert!(d.world.messages[0].aborted);
    }
    // Who sends enough may take longer.
    let mut d = Dialogue::greeted(port25());
    d.envelope();
    let chunk = [b"BDAT 16384\r\n", &[b'x'; limits::PROGRESS][..]].concat();
    for _ in 0..20 {
        assert_eq!(d.send(&chunk), "250 2.0.0 Ok: 16384 bytes\r\n");
        assert_eq!(d.pass(200.0), "");
    }
    assert!(d.say("BDAT 0 LAST\r\n").starts_with("250 2.0.0 Ok: 327682 bytes queued"));
    // A message that is over, or given up, has no time limit any more.
    for end in ["BDAT 0 LAST\r\n", "RSET\r\n", "EHLO c\r\n"] {
        let mut d = Dialogue::greeted(port25());
        d.envelope();
        d.say("BDAT 1\r\nx");
        d.pass(200.0);
        assert!(d.say(end).starts_with("250"), "{end}");
        assert_eq!(d.pass(299.0), "");
        assert_eq!(d.pass(1.0), timeout);
    }
}

#[test]
fn a_polite_stop() {
    let stopping = "421 4.3.2 mail.example.com Service shutting down\r\n";
    let mut d = Dialogue::greeted(port25());
    d.data();
    d.input(Input::Stop);
    assert_eq!((d.take().as_str(), d.closed), (stopping, Some(Why::Stopped)));
    assert!(d.world.messages[0].aborted);
    // A message that is being made durable is told of first.
    let mut d = Dialogue::greeted(port25());
    d.data();
    d.say("x\r\n");
    d.world.faults.silent = true;
    d.say(".\r\n");
    d.answer_all();
    d.input(Input::Stop);
    assert_eq!((d.take().as_str(), d.closed), ("", None));
    assert_eq!(d.answer_all(), format!("{QUEUED}{stopping}"));
    assert_eq!(d.closed, Some(Why::Stopped));
}

#[test]
fn a_hundred_thousand_recipients() {
    let mut d = Dialogue::greeted(port25());
    d.say("MAIL FROM:<a@b.test>\r\n");
    let mut text = String::new();
    for n in 0..100_000 {
        text.push_str(&format!("RCPT TO:<mail000+{n}@example.com>\r\n"));
    }
    let said = d.say(&text);
    let refused = "452 4.5.3 Error: too many recipients\r\n";
    assert_eq!(said, "250 2.1.5 Ok\r\n".repeat(1000) + &refused.repeat(99_000));
    assert_eq!(d.world.calls.len(), 1000);
    assert_eq!(d.say("DATA\r\nx\r\n.\r\n").lines().count(), 2);
    assert_eq!(d.world.messages[0].envelope.recipients.len(), 1000);
}

#[test]
fn a_list_that_is_named_again_and_again() {
    let mut d = Dialogue::greeted(port25());
    d.say("MAIL FROM:<a@b.test>\r\n");
    let said = d.say(&"RCPT TO:<list@example.com>\r\n".repeat(100));
    let refused = "452 4.5.3 Error: too many recipients\r\n";
    assert_eq!(said, "250 2.1.5 Ok\r\n".repeat(10) + &refused.repeat(90));
    assert_eq!(d.world.calls.len(), 10);
    // The next message begins anew.
    assert_eq!(d.say("RSET\r\nMAIL FROM:<a@b.test>\r\n").lines().count(), 2);
    assert_eq!(d.say("RCPT TO:<list@example.com>\r\n"), "250 2.1.5 Ok\r\n");
}

#[test]
fn original_recipients_of_twelve_kilobytes() {
    let mut d = Dialogue::greeted(port25());
    d.say("MAIL FROM:<a@b.test>\r\n");
    let long = "x".repeat(12_000);
    let said = d.say(&format!("RCPT TO:<mail000@example.com> ORCPT=rfc822;{long}\r\n").repeat(100));
    let refused = "452 4.5.3 Error: too many recipients\r\n";
    assert_eq!(said, "250 2.1.5 Ok\r\n".repeat(86) + &refused.repeat(14));
    // As many as there may be, if they are of a length that there is.
    let mut d = Dialogue::greeted(port25());
    d.say("MAIL FROM:<a@b.test>\r\n");
    let long = "x".repeat(500);
    let said =
        d.say(&format!("RCPT TO:<mail000@example.com> ORCPT=rfc822;{long}\r\n").repeat(1000));
    assert_eq!(said, "250 2.1.5 Ok\r\n".repeat(1000));
}

#[test]
fn a_message_in_a_loop() {
    let mut d = Dialogue::greeted(port25());
    for (hops, reply) in [(49, QUEUED), (50, "554 5.4.0 Error: too many hops\r\n")] {
        d.data();
        d.send(&b"Received: from a by b;\r\n\tSun, 22 Nov 2026 10:00:00 +0000\r\n".repeat(hops));
        assert_eq!(d.say("\r\nx\r\n.\r\n"), reply);
    }
    assert!(d.world.messages[1].aborted);
}

#[test]
fn a_message_that_is_too_big() {
    let small = || Config { message_size_limit: 100, ..port25() };
    let mut d = Dialogue::greeted(small());
    for (count, reply) in [(98, QUEUED), (99, "552 5.3.4 Error: message file too big\r\n")] {
        d.data();
        d.send(&vec![b'x'; count]);
        assert_eq!(d.say("\r\n.\r\n"), reply);
    }
    assert!(d.world.messages[1].aborted);
    let mut d = Dialogue::greeted(small());
    d.envelope();
    d.send(b"BDAT 60\r\n");
    assert_eq!(d.send(&[b'x'; 60]), "250 2.0.0 Ok: 60 bytes\r\n");
    d.send(b"BDAT 41 LAST\r\n");
    assert_eq!(d.send(&[b'x'; 41]), "552 5.3.4 Chunk exceeds message size limit\r\n");
    assert!(d.world.messages[0].aborted);
    // A bare LF makes it longer than it was announced.
    d.envelope();
    d.send(b"BDAT 100 LAST\r\n");
    assert_eq!(d.send(&[b'\n'; 100]), "552 5.3.4 Error: message file too big\r\n");
}

#[test]
fn bare_newlines_by_setting() {
    for (text, body, reply) in [
        ("a\nb\r\n", "a\r\nb\r\n", "550 5.5.2 mail.example.com Error: bare <LF> received\r\n"),
        ("a\rb\r\n", "a b\r\n", "550 5.5.2 mail.example.com Error: bare <CR> received\r\n"),
        ("a\r\n.\r\r\n", "a\r\n \r\n", "550 5.5.2 mail.example.com Error: bare <CR> received\r\n"),
    ] {
        let mut d = Dialogue::greeted(port25());
        d.data();
        assert_eq!(d.say(&format!("{text}.\r\n")), QUEUED);
        assert_eq!(d.world.messages[0].body, body.as_bytes());
        let strict = || Config { bare_newline: BareNewline::Reject, ..port25() };
        let mut d = Dialogue::greeted(strict());
        d.data();
        assert_eq!(d.say(&format!("{text}.\r\nNOOP\r\n")), format!("{reply}250 2.0.0 Ok\r\n"));
        assert!(d.world.messages[0].aborted && !d.world.messages[0].committed);
        let mut d = Dialogue::greeted(strict());
        d.envelope();
        let said = d.say(&format!("BDAT {} LAST\r\n{text}NOOP\r\n", text.len()));
        assert_eq!(said, format!("{reply}250 2.0.0 Ok\r\n"));
    }
}

#[test]
fn endless_lines() {
    let mut d = Dialogue::greeted(port25());
    assert_eq!(d.send(&[b'x'; 200_000]), "500 5.5.2 Error: line too long\r\n");
    assert_eq!(d.say("\r\nNOOP\r\n"), "250 2.0.0 Ok\r\n");
    let mut d = Dialogue::secured(port587());
    assert_eq!(d.say("AUTH PLAIN\r\n"), "334 \r\n");
    assert_eq!(d.send(&[b'A'; 12_290]), "");
    assert_eq!(d.say("\r\n"), "500 5.5.6 SASL response limit exceeded\r\n");
    assert_eq!(d.say("AUTH PLAIN\r\n"), "334 \r\n");
    assert_eq!(d.send(&[b'A'; 50_000]), "500 5.5.6 SASL response limit exceeded\r\n");
    assert_eq!(d.say("\r\nNOOP\r\n"), "250 2.0.0 Ok\r\n");
}

#[test]
fn errors_make_a_session_slow_and_then_end_it() {
    let mut d = Dialogue::greeted(port25());
    for _ in 0..10 {
        assert_eq!(d.say("BOGUS\r\n"), "500 5.5.2 Error: command not recognized\r\n");
    }
    assert_eq!(d.say("NOOP\r\nNOOP\r\n"), "");
    assert_eq!(d.pass(1.0), "250 2.0.0 Ok\r\n");
    assert_eq!(d.pass(0.5), "");
    assert_eq!(d.pass(0.5), "250 2.0.0 Ok\r\n");
    for _ in 0..10 {
        d.say("BOGUS\r\n");
        assert_eq!(d.pass(1.0), "500 5.5.2 Error: command not recognized\r\n");
    }
    d.say("QUIT\r\n");
    assert_eq!(d.pass(1.0), "421 4.7.0 mail.example.com Error: too many errors\r\n");
    assert_eq!(d.closed, Some(Why::Refused));
    // A message that is taken makes up for them.
    let mut d = Dialogue::greeted(port25());
    d.say(&"BOGUS\r\n".repeat(9));
    d.data();
    d.say("x\r\n.\r\n");
    assert_eq!(d.say(&"BOGUS\r\n".repeat(10)).lines().count(), 10);
}

#[test]
fn a_client_that_reads_nothing_is_not_listened_to() {
    let mut d = Dialogue::greeted(port25());
    let text = bytes::Bytes::from("HELP\r\n".repeat(10_000));
    d.session.handle(d.now, Input::Bytes(text));
    // Nothing is taken from the server; it stops when its output is full.
    let mut steps = 0;
    let read = loop {
        match d.session.poll(0) {
            Step::Wait(wait) => break wait.read,
            _ => steps += 1,
        }
    };
    assert_eq!((read < 64 * 1024, steps), (true, 0));
}
