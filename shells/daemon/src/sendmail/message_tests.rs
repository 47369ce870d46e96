//! Messages as programs write them, by example.

use super::super::options::parse;
use super::*;

const NOW: UnixTime = UnixTime { secs: 1_795_334_005, nanos: 5 };

fn of(arguments: &[&str], text: &str) -> Result<Mail, Trouble> {
    let words: Vec<_> = arguments.iter().map(|it| (*it).to_owned()).collect();
    let author = Author { login: "root".into(), name: "Charlie \"R\" Root".into() };
    let domain = Domain::parse("mail.example.com").unwrap();
    prepare(&parse(&words).unwrap(), &author, &domain, NOW, text.as_bytes())
}

fn recipients(mail: &Mail) -> Vec<String> {
    mail.recipients.iter().map(Address::to_string).collect()
}

fn text(mail: &Mail) -> String {
    let text = String::from_utf8(mail.text.clone()).unwrap();
    text.replace(&format!(".{}@", process::id()), ".PID@")
}

#[test]
fn what_cron_sends() {
    let mail = of(
        &["-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "root"],
        "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@vm> echo hello\n\
         Content-Type: text/plain; charset=UTF-8\n\nhello\n",
    )
    .unwrap();
    assert_eq!(mail.sender.as_ref().unwrap().to_string(), "root@mail.example.com");
    assert_eq!(recipients(&mail), ["root@mail.example.com"]);
    assert_eq!(
        text(&mail),
        "From: root (Cron Daemon)\r\nTo: root\r\nSubject: Cron <root@vm> echo hello\r\n\
         Content-Type: text/plain; charset=UTF-8\r\nDate: Sun, 22 Nov 2026 07:53:25 +0000\r\n\
         Message-ID: <2026112228405.000000005.PID@mail.example.com>\r\n\r\nhello\r\n"
    );
}

#[test]
fn no_header_at_all() {
    for given in ["hello", "hello\n", "\nhello\n", "From root Sun Nov 22\n\nhello\n"] {
        let mail = of(&["x@a.test"], given).unwrap();
        assert_eq!(
            text(&mail),
            "From: \"Charlie R Root\" <root@mail.example.com>\r\n\
             Date: Sun, 22 Nov 2026 07:53:25 +0000\r\n\
             Message-ID: <2026112228405.000000005.PID@mail.example.com>\r\n\r\nhello\r\n",
            "{given:?}"
        );
    }
    // A body that only looks like one.
    let mail = of(&["x@a.test"], "Subject: x\nsee here: y\n").unwrap();
    assert!(text(&mail).starts_with("Subject: x\r\nFrom: "), "{}", text(&mail));
    assert!(text(&mail).ends_with("\r\n\r\nsee here: y\r\n"));
}

#[test]
fn recipients_of_the_header() {
    let header = "From: me@a.test\nDate: x\nMessage-ID: <y>\n\
        To: \"Doe, J.\" <j@b.test>, root,\n friends: k@c.test, \"odd one\"@c.test;\n\
        cc: J@b.test (twice), j@b.test\nBcc: secret@d.test,\n other@d.test\n\nhello\n";
    let mail = of(&["-t", "-f", "<>", "last@e.test, more@e.test"], header).unwrap();
    assert_eq!(mail.sender, None);
    assert_eq!(
        recipients(&mail),
        [
            "last@e.test",
            "more@e.test",
            "j@b.test",
            "root@mail.example.com",
            "k@c.test",
            "\"odd one\"@c.test",
            "J@b.test",
            "secret@d.test",
            "other@d.test"
        ]
    );
    let text = text(&mail);
    assert!(
        !text.contains("cret") && !text.contains("other") && text.contains("cc: J@b"),
        "{text}"
    );

    let resent = "To: old@a.test\nResent-To: new@a.test\nResent-Bcc: hidden@a.test\n\nhello\n";
    let mail = of(&["-t"], resent).unwrap();
    assert_eq!(recipients(&mail), ["new@a.test", "hidden@a.test"]);
    assert!(!String::from_utf8_lossy(&mail.text).contains("hidden"));
}

#[test]
fn what_cannot_be_sent() {
    for (arguments, text, exit) in [
        (&["-t"][..], "Subject: x\n\nhello\n", Exit::Usage),
        (&["-t"], "To: undisclosed-recipients:;\n\nhello\n", Exit::Usage),
        (&["-t"], "To: @\n\nhello\n", Exit::Data),
        (&["a@b@c"], "hello", Exit::Usage),
        (&["a@[nonsense]"], "hello", Exit::Usage),
        (&["-f", "x@a.test, y@a.test", "z@a.test"], "hello", Exit::Usage),
    ] {
        let said = of(arguments, text).map(|mail| recipients(&mail));
        assert_eq!(said.map_err(|it| it.exit), Err(exit), "{arguments:?} {text}");
    }
}

#[test]
fn where_a_message_ends() {
    let of = |text: &str, dot_ends, limit| read(&mut text.as_bytes(), dot_ends, limit);
    let text = "a\n..\n.\nb\n";
    assert_eq!(of(text, true, 100).unwrap(), b"a\n..\n");
    assert_eq!(of(text, false, 100).unwrap(), text.as_bytes());
    assert_eq!(of("a\r\n.\r\nb", true, 100).unwrap(), b"a\r\n");
    assert_eq!(of("", true, 100).unwrap(), b"");
    assert_eq!(of("12345", false, 5).unwrap(), b"12345");
    assert_eq!(of("123456", false, 5).unwrap_err().exit, Exit::Data);
    assert_eq!(of("123456", true, 5).unwrap_err().exit, Exit::Data);
}
