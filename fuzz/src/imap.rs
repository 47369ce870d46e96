use crate::session;
use bytes::Bytes;
use std::sync::Arc;
use waypost_imap::Config;
use waypost_imap::server::{
    Aborted, Appended, Begun, Call, Changes, Committed, Copied, CopyUids, Counted, Counts, Data,
    Expunged, Flags, Folder, Found, Handle, Listed, LoggedIn, Looked, Managed, Message, ModSeq,
    OpenMailbox, Opened, Piece, Released, Reply, Server, Stored, Synced, Upload, Watched,
};
use waypost_mail::{Account, MailHome, Peer};
use waypost_message::mime;

const TEXT: &[u8] = b"From: a@example.com\r\nSubject: two parts\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\
    Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ntwo\r\n--b--\r\n";

/// Any client; with an even first octet it has logged in and selected a mailbox already.
pub fn session(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let config = Config { implicit_tls: false, plaintext_login: true, ..Config::default() };
    let config = Arc::new(config);
    let peer = Peer { ip: [192, 0, 2, 7].into(), port: 40_000, name: None };
    let mut input = rest.to_vec();
    if kind % 2 == 0 && !input.is_empty() {
        input.splice(1..1, *b"x LOGIN u p\r\nx SELECT INBOX\r\n");
    }
    session::run(&input, || Server::new(config.clone(), peer.clone()), answer);
}

fn account() -> Arc<Account> {
    let home = MailHome { path: "/home/mail/u/mailbox".into(), uid: 20_000, gid: 20_000 };
    Arc::new(Account { user: "u".into(), home })
}

fn messages() -> Vec<Message> {
    let message = |n: u8| Message {
        uid: u32::from(n) * 2,
        flags: Flags { system: n % 32, keywords: u32::from(n % 4) },
        recent: n == 3,
    };
    (1..=3).map(message).collect()
}

fn open() -> OpenMailbox {
    OpenMailbox {
        handle: Handle(1),
        uid_validity: 1_795_334_160,
        uid_next: 9,
        now: ModSeq(5),
        messages: messages(),
        keywords: Arc::from(["work".into(), "$Label1".into()]),
        may_add_keywords: true,
    }
}

fn changes() -> Changes {
    Changes { now: ModSeq(6), uid_next: 9, ..Changes::default() }
}

fn data(uid: u32) -> Data {
    let end = TEXT.windows(4).position(|w| w == b"\r\n\r\n").map_or(TEXT.len(), |n| n + 4);
    Data {
        uid,
        date: 1_795_334_160,
        size: TEXT.len() as u64,
        header: Bytes::from_static(&TEXT[..end]),
        structure: Some(Arc::new(mime::scan(TEXT))),
        // Some come whole, others are asked for.
        body: (uid % 2 == 0).then(|| Bytes::from_static(TEXT)),
    }
}

fn answer(call: Call) -> waypost_machine::Answer<Reply> {
    match call {
        Call::Login { ticket, credentials, .. } => {
            let good = !credentials.authcid.is_empty();
            let outcome = if good { LoggedIn::Accepted(account()) } else { LoggedIn::Denied };
            ticket.answer(outcome)
        }
        Call::List { ticket, .. } => {
            let folder = |name: &str, special_use| Folder {
                name: name.into(),
                selectable: name != "Work",
                subscribed: name.len() % 2 == 1,
                special_use,
            };
            let names = ["INBOX", "Work", "Work.2026", "Entwürfe"];
            let mut all: Vec<Folder> = names.iter().map(|name| folder(name, None)).collect();
            all.push(folder("Sent", Some("Sent")));
            ticket.answer(Listed(Ok(all)))
        }
        Call::Manage { ticket, .. } => ticket.answer(Managed(Ok(()))),
        Call::Status { ticket, mailboxes, .. } => {
            let counts = mailboxes.iter().map(|_| Ok(Counts::default())).collect();
            ticket.answer(Counted(counts))
        }
        Call::Open { ticket, .. } => ticket.answer(Opened(Ok(open()))),
        Call::Sync { ticket, .. } => ticket.answer(Synced(Ok(changes()))),
        Call::Watch { ticket, .. } => ticket.answer(Watched),
        Call::Release { ticket, .. } => ticket.answer(Released),
        Call::Store { ticket, .. } => ticket.answer(Stored(Ok(changes()))),
        Call::Expunge { ticket, .. } => ticket.answer(Expunged(Ok(changes()))),
        Call::Copy { ticket, uids, .. } => {
            let pairs = (1..).zip(uids).map(|(there, here)| (here, there)).collect();
            ticket.answer(Copied(Ok(CopyUids { uid_validity: 1_795_334_161, pairs })))
        }
        Call::Read { ticket, uids, .. } => {
            ticket.answer(Looked(Ok(uids.into_iter().map(data).collect())))
        }
        Call::Body { ticket, from, len, .. } => {
            let from = TEXT.len().min(usize::try_from(from).unwrap_or(usize::MAX));
            let to = TEXT.len().min(from.saturating_add(len as usize));
            ticket.answer(Piece(Ok(Bytes::from_static(&TEXT[from..to]))))
        }
        Call::Search { ticket, view, .. } => {
            ticket.answer(Found(Ok(view.iter().map(|m| m.uid).collect())))
        }
        Call::Begin { ticket, .. } => ticket.answer(Begun(Ok(Upload(1)))),
        Call::Append { ticket, .. } => ticket.answer(Appended(Ok(()))),
        Call::Commit { ticket, .. } => ticket.answer(Committed(Ok((1_795_334_160, 9)))),
        Call::Abort { ticket, .. } => ticket.answer(Aborted),
    }
}
