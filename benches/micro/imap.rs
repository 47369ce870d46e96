//! The IMAP server machine, its calls answered from memory.

use bytes::Bytes;
use std::sync::Arc;
use waypost_imap::Config;
use waypost_imap::server::{
    Call, Changes, Data, Found, Handle, LoggedIn, Looked, Message, ModSeq, OpenMailbox, Opened,
    Reply, Server, Synced,
};
use waypost_machine::{Answer, Input, Limits, Machine, Now, Session, Step};
use waypost_mail::{Account, MailHome, Peer};
use waypost_message::mime;

const COUNT: u32 = 1_000;

const HEADER: &[u8] = b"From: \"Some One\" <someone@elsewhere.test>\r\nTo: <you@example.com>\r\n\
    Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\
    Message-ID: <bench@client.example.net>\r\n\r\nHello.\r\n";

fn log_in() -> LoggedIn {
    let home = MailHome { path: "/home/mail/u/mailbox".into(), uid: 20_000, gid: 20_000 };
    LoggedIn::Accepted(Arc::new(Account { user: "u".into(), home }))
}

fn open() -> OpenMailbox {
    let message = |uid| Message { uid, flags: Default::default(), recent: false };
    OpenMailbox {
        handle: Handle(1),
        uid_validity: 1_795_334_160,
        uid_next: COUNT + 1,
        now: ModSeq(1),
        messages: (1..=COUNT).map(message).collect(),
        keywords: Arc::from([]),
        may_add_keywords: true,
    }
}

fn answer(call: Call) -> Option<Answer<Reply>> {
    Some(match call {
        Call::Login { ticket, .. } => ticket.answer(log_in()),
        Call::Open { ticket, .. } => ticket.answer(Opened(Ok(open()))),
        Call::Read { ticket, uids, .. } => {
            let structure = Arc::new(mime::scan(HEADER));
            let data = |uid| Data {
                uid,
                date: 1_795_334_160,
                size: HEADER.len() as u64,
                header: Bytes::from_static(HEADER),
                structure: Some(structure.clone()),
                body: None,
            };
            ticket.answer(Looked(Ok(uids.into_iter().map(data).collect())))
        }
        Call::Search { ticket, view, .. } => {
            ticket.answer(Found(Ok(view.iter().map(|m| m.uid).filter(|u| u % 3 == 0).collect())))
        }
        Call::Sync { ticket, .. } => {
            let changes = Changes { now: ModSeq(1), uid_next: COUNT + 1, ..Changes::default() };
            ticket.answer(Synced(Ok(changes)))
        }
        _ => return None,
    })
}

/// Log in, select, say `commands`; returns the octets of all replies.
fn run(commands: &Bytes) -> usize {
    let config = Config { implicit_tls: false, plaintext_login: true, ..Config::default() };
    let peer = Peer { ip: [192, 0, 2, 7].into(), port: 40_000, name: None };
    let now = Now::default();
    let server = Server::new(Arc::new(config), peer);
    let mut session = Session::new(now, server, Limits::default());
    let (mut said, mut rest) = (0, commands.clone());
    loop {
        match session.poll(65_536) {
            Step::Send(bytes) => said += bytes.len(),
            Step::Call(call) => {
                if let Some(answer) = answer(call) {
                    session.handle(now, Input::Answer(answer));
                }
            }
            Step::Wait(wait) if wait.read > 0 && !rest.is_empty() => {
                let piece = rest.split_to(rest.len().min(wait.read));
                session.handle(now, Input::Bytes(piece));
            }
            Step::Wait(_) | Step::Close(_) => return said,
            _ => {}
        }
    }
}

fn repeated(command: &str, units: usize, least: usize) -> Box<dyn FnMut() -> usize> {
    let text = format!("a LOGIN u p\r\nb SELECT INBOX\r\n{command}");
    let input = Bytes::from(text);
    Box::new(move || {
        let said = run(&input);
        assert!(said > least, "the commands are answered with {said} octets");
        units
    })
}

/// FETCH of a thousand envelopes.
pub(crate) fn envelopes() -> Box<dyn FnMut() -> usize> {
    repeated("c FETCH 1:* (UID FLAGS ENVELOPE)\r\n", COUNT as usize, 200_000)
}

/// SEARCH that the store answers, over a thousand messages.
pub(crate) fn search() -> Box<dyn FnMut() -> usize> {
    repeated("c UID SEARCH UNSEEN SUBJECT \"x\"\r\n", COUNT as usize, 1_000)
}

/// Small commands.
pub(crate) fn commands() -> Box<dyn FnMut() -> usize> {
    repeated(&"c FETCH 17 (UID FLAGS)\r\nd NOOP\r\n".repeat(500), 1_000, 10_000)
}
