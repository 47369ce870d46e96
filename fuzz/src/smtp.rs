use crate::session;
use std::sync::Arc;
use waypost_mail::{Address, Delivery, Domain, MailHome, Peer, Target, Verdict};
use waypost_sasl::{Mechanism, Verified};
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
