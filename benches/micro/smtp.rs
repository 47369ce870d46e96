//! The SMTP server machine, its calls answered at once.

use bytes::Bytes;
use std::fmt::Write as _;
use std::sync::Arc;
use waypost_machine::{Input, Limits, Machine, Now, Session, Step};
use waypost_mail::{Address, Delivery, Domain, MailHome, Peer, Target, Verdict};
use waypost_smtp::server::{Appended, Begun, Call, Committed, Config, MessageId, Server};

/// Hands in `input` in blocks as a socket would give them; returns how many octets of reply came.
fn run(input: &Bytes) -> usize {
    let domain = Domain::parse("mail.example.com").expect("a domain");
    let peer = Peer { ip: [192, 0, 2, 7].into(), port: 40_000, name: None };
    let server = Server::new(Arc::new(Config::new(domain)), peer);
    let now = Now::default();
    let mut session = Session::new(now, server, Limits::default());
    let (mut sent, mut at) = (0, 0);
    loop {
        match session.poll(usize::MAX) {
            Step::Send(bytes) => sent += bytes.len(),
            Step::Call(call) => answer(&mut session, now, call),
            Step::Wait(wait) if wait.read > 0 && at < input.len() => {
                let end = input.len().min(at + wait.read.min(16_384));
                session.handle(now, Input::Bytes(input.slice(at..end)));
                at = end;
            }
            Step::Wait(_) | Step::Close(_) => return sent,
            _ => {}
        }
    }
}

fn answer(session: &mut Session<Server>, now: Now, call: Call) {
    let answer = match call {
        Call::Recipient { recipient, ticket, .. } => ticket.answer(accept(recipient)),
        Call::Begin { ticket, .. } => {
            ticket.answer(Begun::Ready { message: MessageId(1), queue_id: "4gXyZ1abcd".into() })
        }
        Call::Append { ticket, .. } => ticket.answer(Appended::Done),
        Call::Commit { ticket, .. } => ticket.answer(Committed::Done),
        _ => return,
    };
    session.handle(now, Input::Answer(answer));
}

fn accept(to: Address) -> Verdict {
    let home = MailHome { path: "/home/mail/u/mailbox".into(), uid: 20_000, gid: 20_000 };
    let target = Target::Maildir(home);
    Verdict::Accept(vec![Delivery { orig_to: to.clone(), to, target }])
}

fn transaction(text: &mut String, body: &str) {
    let _ = write!(
        text,
        "MAIL FROM:<someone@elsewhere.test> SIZE=1000\r\nRCPT TO:<mail000@example.com>\r\nDATA\r\n\
         {body}\r\n.\r\n"
    );
}

/// EHLO, a hundred transactions, QUIT.
pub(crate) fn dialogue() -> Box<dyn FnMut() -> usize> {
    let body = "0123456789012345678901234567890123456789012345678901234567890123\r\n".repeat(15);
    let mut text = String::from("EHLO client.example.net\r\n");
    for _ in 0..100 {
        transaction(&mut text, &body);
    }
    text.push_str("QUIT\r\n");
    let input = Bytes::from(text);
    Box::new(move || {
        assert!(run(&input) > 100 * 40, "all is accepted");
        100
    })
}

fn one_message(body: &str) -> Box<dyn FnMut() -> usize> {
    let mut text = String::from("EHLO client.example.net\r\n");
    transaction(&mut text, body);
    let (input, size) = (Bytes::from(text), body.len());
    Box::new(move || {
        assert!(run(&input) > 40, "it is accepted");
        size
    })
}

/// Ordinary lines.
pub(crate) fn data() -> Box<dyn FnMut() -> usize> {
    let line = "0123456789012345678901234567890123456789012345678901234567890123456789\r\n";
    one_message(&line.repeat(10_000_000 / line.len()))
}

/// Nothing but stuffed dots: a slice for each.
pub(crate) fn dots() -> Box<dyn FnMut() -> usize> {
    one_message(&"..\r\n".repeat(250_000))
}
