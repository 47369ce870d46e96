//! An IMAP session's calls through the world: its mailboxes, its news, its end.

mod common;

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use common::{Place, client, credentials, files, send};
use waypost_imap::search::{Key, Program};
use waypost_imap::server as imap;
use waypost_imap::server::{Call, Reply};
use waypost_machine::{Ledger, Ticket};
use waypost_mail::Account;
use waypost_world::{ImapSession, World};

fn ask<T>(world: &World, session: &ImapSession, make: impl FnOnce(Ticket<T>) -> Call) -> Reply {
    let (to, from) = mpsc::channel();
    let call = make(Ledger::new().open(None));
    world.imap(session, call, move |answer| to.send(answer.into_parts().1).unwrap());
    from.recv().expect("every call is answered")
}

fn login(world: &World, session: &ImapSession) -> Arc<Account> {
    let reply = ask(world, session, |ticket| Call::Login {
        peer: client(None).peer,
        secured: true,
        credentials: credentials("mail000", "secret000"),
        ticket,
    });
    match reply {
        Reply::LoggedIn(imap::LoggedIn::Accepted(account)) => account,
        other => panic!("{other:?}"),
    }
}

fn open(world: &World, session: &ImapSession, account: &Arc<Account>) -> imap::OpenMailbox {
    let account = Arc::clone(account);
    let reply = ask(world, session, |ticket| Call::Open {
        account,
        mailbox: "INBOX".into(),
        write: true,
        ticket,
    });
    match reply {
        Reply::Opened(imap::Opened(Ok(opened))) => opened,
        other => panic!("{other:?}"),
    }
}

fn begin(world: &World, session: &ImapSession, account: &Arc<Account>) -> imap::Upload {
    let account = Arc::clone(account);
    let reply = ask(world, session, |ticket| Call::Begin {
        account,
        mailbox: "INBOX".into(),
        flags: imap::NamedFlags::default(),
        date: None,
        size: 22,
        ticket,
    });
    match reply {
        Reply::Begun(imap::Begun(Ok(upload))) => upload,
        other => panic!("{other:?}"),
    }
}

fn append(world: &World, session: &ImapSession, upload: imap::Upload) {
    let chunks = vec![Bytes::from_static(b"Subject: green\r\n\r\nx\r\n")];
    let reply = ask(world, session, |ticket| Call::Append { upload, chunks, ticket });
    assert!(matches!(reply, Reply::Appended(imap::Appended(Ok(())))), "{reply:?}");
}

#[test]
fn a_session_sees_what_comes() {
    let place = Place::new();
    let world = place.world();
    let (to, news) = mpsc::channel();
    let session = world.imap_session(move |notice| drop(to.send(notice)));
    let account = login(&world, &session);
    let opened = open(&world, &session, &account);
    assert!(opened.messages.is_empty());
    let handle = opened.handle;
    let watch = |on| ask(&world, &session, |ticket| Call::Watch { handle, on, ticket });
    assert!(matches!(watch(true), Reply::Watched(_)));
    let upload = begin(&world, &session, &account);
    append(&world, &session, upload);
    let reply = ask(&world, &session, |ticket| Call::Commit { upload, ticket });
    let Reply::Committed(imap::Committed(Ok((_, uid)))) = reply else { panic!("{reply:?}") };
    assert_eq!(news.recv().unwrap(), imap::Notice::Changed(handle));
    let since = opened.now;
    let reply = ask(&world, &session, |ticket| Call::Sync { handle, since, ticket });
    let Reply::Synced(imap::Synced(Ok(changes))) = reply else { panic!("{reply:?}") };
    assert_eq!(changes.added.iter().map(|message| message.uid).collect::<Vec<_>>(), [uid]);
    let view: Arc<[imap::Message]> = changes.added.into();
    let program = Arc::new(Program(vec![Key::Smaller(100)]));
    let reply = ask(&world, &session, |ticket| Call::Search { handle, view, program, ticket });
    assert!(matches!(reply, Reply::Found(imap::Found(Ok(found))) if found == [uid]));
    let reply = ask(&world, &session, |ticket| Call::Status {
        account,
        mailboxes: vec!["INBOX".into(), "None".into()],
        size: true,
        ticket,
    });
    let Reply::Counted(imap::Counted(counts)) = reply else { panic!("{reply:?}") };
    assert_eq!(counts[0].as_ref().unwrap().messages, 1);
    assert_eq!(counts[1], Err(imap::Failure::NoMailbox));
}

#[test]
fn the_end_of_a_session_closes_what_it_left_open() {
    let place = Place::new();
    let world = place.world();
    let session = world.imap_session(|_| {});
    let account = login(&world, &session);
    let handle = open(&world, &session, &account).handle;
    let upload = begin(&world, &session, &account);
    append(&world, &session, upload);
    let tmp = place.home().join("mail000/mailbox/tmp");
    assert_eq!(files(&tmp).len(), 1);
    drop(session);
    // Behind the end of the first session, by the order of their keys.
    let other = world.imap_session(|_| {});
    let since = imap::ModSeq::default();
    let reply = ask(&world, &other, |ticket| Call::Sync { handle, since, ticket });
    assert!(matches!(reply, Reply::Synced(imap::Synced(Err(imap::Failure::Gone)))), "{reply:?}");
    let reply = ask(&world, &other, |ticket| Call::Commit { upload, ticket });
    assert!(matches!(reply, Reply::Committed(imap::Committed(Err(_)))), "{reply:?}");
    assert_eq!(files(&tmp), Vec::<String>::new());
    world.stop();
    let reply = ask(&world, &other, |ticket| Call::List { account, ticket });
    assert!(matches!(reply, Reply::Listed(imap::Listed(Err(imap::Failure::Unavailable)))));
}

/// However many sessions have the threads for mailboxes busy, mail is taken.
#[test]
fn busy_mailboxes_keep_no_mail_away() {
    let place = Place::new();
    let world = place.world();
    let session = world.imap_session(|_| {});
    let account = login(&world, &session);
    // Work that ends only when the message is taken, for more threads than there are.
    let (go, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let (to, listed) = mpsc::channel();
    for _ in 0..2 * place.settings().file_threads {
        let (account, wait, to) = (account.clone(), wait.clone(), to.clone());
        let list = Call::List { account, ticket: Ledger::new().open(None) };
        world.imap(&session, list, move |answer| {
            let over = wait.lock().unwrap().recv();
            to.send((answer.into_parts().1, over)).unwrap();
        });
    }
    let (took, taken) = mpsc::channel();
    let sender = world.clone();
    let thread = std::thread::spawn(move || {
        let text = "Subject: x\r\n\r\nx\r\n";
        let from = "someone@elsewhere.test";
        let sent = send(&sender, &client(None), from, "postmaster@example.org", text);
        took.send(sent).unwrap_or_default();
    });
    let taken = taken.recv_timeout(Duration::from_secs(20));
    drop((go, to));
    assert_eq!(taken, Ok(Ok(())));
    assert_eq!(place.new_mail("mail000").len(), 1);
    assert_eq!(listed.iter().count(), 2 * place.settings().file_threads);
    thread.join().unwrap();
}

/// One account cannot search with all the threads there are.
#[test]
fn searches_of_one_account_leave_threads_to_others() {
    let place = Place::new();
    let world = place.world();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let (to, searched) = mpsc::channel();
    let sessions: Vec<_> = (0..place.settings().file_threads)
        .map(|_| {
            let session = world.imap_session(|_| {});
            let account = login(&world, &session);
            let handle = open(&world, &session, &account).handle;
            (session, handle)
        })
        .collect();
    for (session, handle) in &sessions {
        let (wait, to) = (wait.clone(), to.clone());
        let (view, program) = (Arc::default(), Arc::new(Program(vec![Key::Smaller(100)])));
        let ticket = Ledger::new().open(None);
        let search = Call::Search { handle: *handle, view, program, ticket };
        world.imap(session, search, move |answer| {
            let over = wait.lock().unwrap().recv();
            to.send((answer.into_parts().1, over)).unwrap();
        });
    }
    let other = world.imap_session(|_| {});
    let account = login(&world, &other);
    let (took, listed) = mpsc::channel();
    let list = Call::List { account, ticket: Ledger::new().open(None) };
    world.imap(&other, list, move |answer| took.send(answer.into_parts().1).unwrap_or_default());
    let listed = listed.recv_timeout(Duration::from_secs(20));
    drop((go, to));
    assert!(matches!(listed, Ok(Reply::Listed(imap::Listed(Ok(_))))), "{listed:?}");
    assert_eq!(searched.iter().count(), sessions.len());
}
