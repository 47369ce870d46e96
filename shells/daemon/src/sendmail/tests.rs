//! Against a server that says what it is told to say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use super::*;

const HELLO: &[(&str, &str)] = &[
    ("", "220 mail.example.com ESMTP\r\n"),
    (
        "EHLO localhost",
        "250-mail.example.com\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n",
    ),
];

/// A server with one answer for each line it expects; `.` ends a message. Gives what it was sent
/// as message. It closes when a line has no answer.
fn fake(script: &[(&str, &str)]) -> (Vec<SocketAddr>, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script: Vec<(String, String)> =
        script.iter().map(|(expect, say)| ((*expect).into(), (*say).into())).collect();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = BufReader::new(stream.try_clone().unwrap());
        let (mut message, mut data) = (String::new(), false);
        for (expect, say) in script {
            if !expect.is_empty() {
                let mut line = String::new();
                loop {
                    line.clear();
                    assert!(read.read_line(&mut line).unwrap() > 0, "no {expect}");
                    if !data || line == ".\r\n" {
                        break;
                    }
                    message.push_str(&line);
                }
                assert_eq!(line.trim_end(), expect);
            }
            data = say.starts_with("354");
            stream.write_all(say.as_bytes()).unwrap();
        }
        message
    });
    (vec![address], thread)
}

fn try_send(arguments: &str, text: &str, script: &[(&str, &str)]) -> (Result<(), Trouble>, String) {
    let words: Vec<String> = arguments.split(' ').map(String::from).collect();
    let (servers, thread) = fake(&[HELLO, script].concat());
    let author = Author { login: "root".into(), name: String::new() };
    let done = send(&options::parse(&words).unwrap(), &servers, &author, text.into());
    (done, thread.join().unwrap())
}

const TEXT: &str = "From: x\nDate: x\nMessage-ID: x\n\n.dot\n..\n.\n\u{e9}\n";
const MAIL: (&str, &str) =
    ("MAIL FROM:<root@mail.example.com> SIZE=52 BODY=8BITMIME", "250 2.1.0 Ok\r\n");
const TAKEN: [(&str, &str); 3] = [
    ("DATA", "354 go\r\n"),
    (".", "250-2.0.0 Ok:\r\n250 2.0.0 queued\r\n"),
    ("QUIT", "221 Bye\r\n"),
];

#[test]
fn a_message_arrives() {
    let rcpt = ("RCPT TO:<a@mail.example.com>", "250 Ok\r\n");
    let (done, message) = try_send("-i a", TEXT, &[&[MAIL, rcpt], &TAKEN[..]].concat());
    assert_eq!(done, Ok(()));
    assert_eq!(
        message,
        "From: x\r\nDate: x\r\nMessage-ID: x\r\n\r\n..dot\r\n...\r\n..\r\n\u{e9}\r\n"
    );
}

#[test]
fn wishes_about_reports_are_passed_on() {
    let script = [
        ("MAIL FROM:<> SIZE=52 BODY=8BITMIME RET=HDRS ENVID=a+2Bb SMTPUTF8", "250 Ok\r\n"),
        ("RCPT TO:<a@b.test> NOTIFY=NEVER", "250 Ok\r\n"),
        ("RCPT TO:<\u{e9}@b.test> NOTIFY=NEVER", "250 Ok\r\n"),
    ];
    let (done, _) = try_send(
        "-i -f <> -N never -R hdrs -V a+b a@b.test \u{e9}@b.test",
        TEXT,
        &[&script[..], &TAKEN[..]].concat(),
    );
    assert_eq!(done, Ok(()));
}

#[test]
fn refusals_have_their_numbers() {
    let refused =
        |mail: &'static str, rcpt: &'static str, data: &'static str, end: &'static str| {
            let mut script = vec![(MAIL.0, mail)];
            if mail.starts_with('2') {
                script.push(("RCPT TO:<a@b.test>", rcpt));
                if rcpt.starts_with('2') {
                    script.push(("DATA", data));
                    script.extend(data.starts_with('3').then_some((".", end)));
                } else {
                    script.push(("QUIT", "221 Bye\r\n"));
                }
            }
            try_send("-i a@b.test", TEXT, &script).0.unwrap_err()
        };
    let ok = "250 Ok\r\n";
    let go = "354 go\r\n";
    for (trouble, exit, said) in [
        (refused("451 4.3.0 later\r\n", "", "", ""), Exit::Temporary, "the sender is refused: 451"),
        (refused("553 5.7.1 not you\r\n", "", "", ""), Exit::NotAllowed, "the sender is refused"),
        (refused("552 5.3.4 too big\r\n", "", "", ""), Exit::Unavailable, "the sender is refused"),
        (
            refused(ok, "550 5.1.1 <a@b.test>: unknown\r\n", "", ""),
            Exit::NoUser,
            "<a@b.test>: 550 5.1.1 <a@b.test>: unknown\nthe mail is not sent",
        ),
        (refused(ok, "454 4.7.1 no\r\n", "", ""), Exit::Temporary, "<a@b.test>: 454 4.7.1 no"),
        (refused(ok, ok, "452 4.3.1 full\r\n", ""), Exit::Temporary, "the message is refused: 452"),
        (
            refused(ok, ok, go, "554 5.6.0 bad\r\n"),
            Exit::Unavailable,
            "the message is refused: 554",
        ),
        (refused(ok, ok, go, "250"), Exit::Temporary, "the mail server is gone"),
        (refused(ok, ok, go, ""), Exit::Temporary, "the mail server is gone"),
        (refused(ok, ok, "hello\r\n", ""), Exit::Protocol, "the mail server says: hello"),
    ] {
        assert_eq!(trouble.exit, exit, "{trouble}");
        assert!(trouble.text.starts_with(said), "{trouble}");
    }
}

#[test]
fn some_are_taken() {
    let script = [
        MAIL,
        ("RCPT TO:<a@b.test>", "450 4.2.0 later\r\n"),
        ("RCPT TO:<c@b.test>", "250 Ok\r\n"),
        ("RCPT TO:<d@b.test>", "550-5.1.1 unknown\r\n550 5.1.1 really\r\n"),
    ];
    let (done, _) =
        try_send("-i a@b.test c@b.test d@b.test", TEXT, &[&script[..], &TAKEN[..]].concat());
    let trouble = done.unwrap_err();
    assert_eq!(trouble.exit, Exit::NoUser);
    assert_eq!(
        trouble.text,
        "<a@b.test>: 450 4.2.0 later\n<d@b.test>: 550 5.1.1 unknown 5.1.1 really\n\
         the mail is sent to 1 of 3 recipients"
    );
}

#[test]
fn a_server_that_is_not_there_or_does_not_want_us() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let trouble = submit::Server::connect(&[free]).unwrap_err();
    assert_eq!(trouble.exit, Exit::Temporary);
    let said = format!("mail server {free}: Connection refused");
    assert!(trouble.text.starts_with(&said), "{trouble}");
    for (greeting, exit) in [
        ("421 4.7.0 busy\r\n", Exit::Temporary),
        ("554 go away\r\n", Exit::Unavailable),
        ("", Exit::Temporary),
        ("\r\n", Exit::Protocol),
        ("SSH-2.0\r\n", Exit::Protocol),
    ] {
        let (servers, thread) = fake(&[("", greeting)]);
        assert_eq!(submit::Server::connect(&servers).unwrap_err().exit, exit, "{greeting}");
        thread.join().unwrap();
    }
}

#[test]
fn smtp_is_passed_through() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let echo = thread::spawn(move || {
        let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        write!(stream, "221 {all}").unwrap();
    });
    let mut out = Vec::new();
    submit::relay(&[address], &b"QUIT\r\n"[..], &mut out).unwrap();
    assert_eq!(out, b"221 QUIT\r\n");
    echo.join().unwrap();
}

#[test]
fn where_the_server_is() {
    for (listens, connects) in [
        ("0.0.0.0:2525", "127.0.0.1:2525"),
        ("[::]:25", "[::1]:25"),
        ("192.0.2.1:25", "192.0.2.1:25"),
    ] {
        assert_eq!(local(listens.parse().unwrap()), connects.parse().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.toml");
    let text = "hostname = 'a.test'\n[listen]\nsmtp = ['0.0.0.0:2525']\n";
    std::fs::write(&path, text).unwrap();
    let options = Options { config: Some(path.clone()), ..Options::default() };
    assert_eq!(server(&options, &path).unwrap(), ["127.0.0.1:2525".parse().unwrap()]);
    std::fs::write(&path, "nonsense").unwrap();
    assert_eq!(server(&options, &path).unwrap_err().exit, Exit::Config);
    // One that nobody asked for may be for others to read.
    let default = server(&Options::default(), &path).unwrap();
    assert_eq!(default, ["127.0.0.1:25".parse().unwrap()]);
}

#[test]
fn names_of_the_program() {
    let of = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|it| (*it).into()).collect();
        by_name(&words)
    };
    assert_eq!(of(&["/usr/bin/newaliases"]), Some(ExitCode::SUCCESS));
    assert_eq!(of(&["/usr/lib/sendmail", "-bi"]), Some(ExitCode::SUCCESS));
    assert_eq!(of(&["waypost", "sendmail", "-Z"]), Some(ExitCode::from(64)));
    assert_eq!(of(&["sendmail"]), Some(ExitCode::from(64)));
    let none = ["mailq", "-C", "/nonexistent"];
    assert_eq!(of(&none), Some(ExitCode::from(69)));
    for other in [&["waypost", "serve"][..], &["waypost"], &["waypost", "queue", "list"]] {
        assert_eq!(of(other), None);
    }
}
