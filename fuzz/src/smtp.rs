use crate::session;
use bytes::Bytes;
use std::sync::Arc;
use waypost_machine::{Input, Limits, Machine, Now, Session, Step, TlsInfo};
use waypost_mail::{Address, Body, Delivery, Domain, MailHome, Peer, ReversePath, Target, Verdict};
use waypost_sasl::{Mechanism, Verified};
use waypost_smtp::client::{
    self, Client, Disposition, Mail, Next, Outcome, Read, Remote, Reported, To,
};
use waypost_smtp::server::{
    Aborted, Appended, BareNewline, Begun, Call, Committed, Config, MessageId, Reply, Server,
};

/// Any client; the second octet chooses settings.
pub fn session(data: &[u8]) {
    let Some((settings, rest)) = data.split_first() else { return };
    let domain = Domain::parse("mail.example.com").expect("a domain");
    let mut config = Config::new(domain);
    config.mechanisms = vec![Mechanism::Plain, Mechanism::Login];
    config.auth_in_clear = settings & 1 == 0;
    config.message_size_limit = 1_000;
    config.recipient_limit = 5;
    if settings & 2 == 0 {
        config.bare_newline = BareNewline::Reject;
    }
    let config = Arc::new(config);
    let peer = Peer { ip: [192, 0, 2, 7].into(), port: 40_000, name: None };
    session::run(rest, || Server::new(config.clone(), peer.clone()), answer);
}

fn answer(call: Call) -> waypost_machine::Answer<Reply> {
    match call {
        Call::Authenticate { credentials, ticket, .. } => {
            let good = credentials.authcid.len() % 2 == 0;
            let user = credentials.authcid;
            ticket.answer(if good { Verified::Accepted(user) } else { Verified::Denied })
        }
        Call::Recipient { recipient, ticket, .. } => ticket.answer(accept(recipient)),
        Call::Begin { ticket, .. } => {
            ticket.answer(Begun::Ready { message: MessageId(1), queue_id: "4gXyZ1abcd".into() })
        }
        Call::Append { ticket, chunks, .. } => {
            assert!(chunks.iter().all(|c| !c.is_empty()), "an empty piece of a message");
            ticket.answer(Appended::Done)
        }
        Call::Commit { ticket, .. } => ticket.answer(Committed::Done),
        Call::Abort { ticket, .. } => ticket.answer(Aborted),
    }
}

fn accept(to: Address) -> Verdict {
    let home = MailHome { path: "/home/mail/u/mailbox".into(), uid: 20_000, gid: 20_000 };
    Verdict::Accept(vec![Delivery { orig_to: to.clone(), to, target: Target::Maildir(home) }])
}

/// Any host for a client: it ends with one outcome, and nothing counts as delivered that the host
/// has not said yes to. The first octet chooses how the input is cut.
pub fn client(data: &[u8]) {
    let Some((cut, input)) = data.split_first() else { return };
    let to = |text: &str| To {
        address: Address::parse(text).expect("an address"),
        notify: None,
        orcpt: None,
    };
    let mail = Mail {
        id: 1,
        sender: ReversePath::Null,
        recipients: vec![to("a@remote.test"), to("b@remote.test")],
        size: 25,
        body: Body::SevenBit,
        smtputf8: false,
        utf8_header: false,
        ret: None,
        envid: None,
    };
    let remote = Remote {
        name: "mx.remote.test".into(),
        ip: [192, 0, 2, 25].into(),
        port: 25,
        nexthop: "remote.test".into(),
        best: true,
    };
    let config = Arc::new(client::Config::new("mail.example.com"));
    let mut now = Now::default();
    let mut session =
        Session::new(now, Client::new(config, remote, Arc::new(mail)), Limits::default());
    let size = 1 + usize::from(*cut) % 61;
    let mut rest = Bytes::copy_from_slice(input);
    let mut outcomes = Vec::new();
    for _ in 0..100_000 + input.len() * 10 {
        match session.poll(4_096) {
            Step::Call(call) => {
                let answer = send(call, &mut outcomes);
                session.handle(now, Input::Answer(answer));
            }
            Step::Secure(_) => session.handle(now, Input::Secured(TlsInfo::default())),
            Step::Send(_) | Step::Cancel(_) | Step::Fact(_) => {}
            Step::Close(why) => {
                outcomes.extend(session.protocol().unfinished(now, why, None));
                return check(&outcomes);
            }
            Step::Wait(wait) if wait.read > 0 && !rest.is_empty() => {
                let piece = rest.split_to(rest.len().min(wait.read).min(size));
                session.handle(now, Input::Bytes(piece));
            }
            Step::Wait(wait) => {
                let until = wait.until.expect("a client always waits for a time");
                assert!(until > now.mono, "it waits for a time that has passed");
                now.mono = until;
                session.handle(now, Input::Tick);
            }
        }
    }
    panic!("the session does not end");
}

fn send(call: client::Call, outcomes: &mut Vec<Outcome>) -> waypost_machine::Answer<client::Reply> {
    match call {
        client::Call::Read { from, ticket, .. } => {
            let body = Bytes::from_static(b"Subject: x\r\n\r\n.\r\nHello.\r\n");
            let from = usize::try_from(from).expect("within the body");
            ticket.answer(Read::Block { bytes: body.slice(from..), end: true })
        }
        client::Call::Report { outcome, ticket } => {
            outcomes.push(*outcome);
            ticket.answer(Reported)
        }
        client::Call::NextMessage { ticket } => ticket.answer(Next::Quit),
    }
}

fn check(outcomes: &[Outcome]) {
    let [outcome] = outcomes else { panic!("{} outcomes", outcomes.len()) };
    assert_eq!(outcome.recipients.len(), 2);
    for recipient in &outcome.recipients {
        match recipient {
            Disposition::Delivered(reply) => assert!(reply.is_success(), "{reply:?}"),
            Disposition::Deferred(trouble) => assert_eq!(trouble.status.0, 4, "{trouble:?}"),
            Disposition::Bounced(trouble) => assert_eq!(trouble.status.0, 5, "{trouble:?}"),
        }
    }
}
