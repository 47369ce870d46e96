//! The IMAP server as a machine, over a store in memory.

use std::sync::Arc;
use std::time::Duration;

use waypost_imap::Config;
use waypost_imap::server::{Aborted, Call, Handle, NamedFlags, Notice, Reply, Server};
use waypost_laws::Subject;
use waypost_machine::{Answer, Ledger, Limits};
use waypost_mail::Peer;

use crate::operations;
use crate::session::{self, Ended, Play};
use crate::worlds::imap::World;

const LOGIN: &[u8] = b"l LOGIN u p\r\ns SELECT INBOX\r\n";

/// What may fail for now.
const FAILING: &[&[&str]] = &[
    &["Sync"],
    &["Store"],
    &["Read"],
    &["Body"],
    &["Begin"],
    &["Append"],
    &["Commit"],
    &["List", "Status"],
    &["Open"],
    &["Search", "Copy", "Expunge"],
    &["Login"],
];

/// A server with some settings, in a good world or in a bad one.
struct Serving {
    config: Arc<Config>,
    failing: &'static [&'static str],
}

/// Any client; with an even first octet it has logged in and selected a mailbox already.
pub fn server(data: &[u8]) {
    let Some((settings, rest)) = data.split_first() else { return };
    let mut input = data.to_vec();
    if settings % 2 == 0 && !rest.is_empty() {
        input.splice(2..2, LOGIN.iter().copied());
    }
    session::all(&input, Serving::new);
}

/// Any client, and anything that a shell may do.
pub fn server_operations(data: &[u8]) {
    let [settings, count, rest @ ..] = data else { return };
    let mut input = data.to_vec();
    if settings % 2 == 0 {
        let start = 2 + rest.len().min(usize::from(*count));
        input.splice(start..start, LOGIN.iter().copied());
    }
    operations::run(&input, Serving::new);
}

impl Serving {
    fn new(settings: u8) -> Self {
        // Without signs of life silence ends IDLE too (L11); with them a client may stay for ever.
        let tls = || Config { idle_notice: Duration::from_secs(3600), ..Config::default() };
        let clear = || Config { implicit_tls: false, plaintext_login: true, ..tls() };
        let config = match settings / 2 % 4 {
            0 | 1 => clear(),
            2 => Config { starttls: true, ..clear() },
            _ if settings % 2 == 1 => tls(),
            _ => Config { append_limit: 20, command_limit: 200, ..clear() },
        };
        // The lower half of the rest is a good world.
        let failing = FAILING.get((usize::from(settings) / 8).wrapping_sub(5)).copied();
        Self { config: Arc::new(config), failing: failing.unwrap_or_default() }
    }
}

fn message(n: usize) -> bytes::Bytes {
    let text = "line of the body\r\n".repeat(n * n * 7);
    let octets = format!(
        "From: a@b\r\nSubject: m{n}\r\nDate: Mon, {n} Mar 2026 09:15:00 +0100\r\n\
         Content-Type: multipart/mixed; boundary=x\r\n\r\n\
         --x\r\n\r\n{text}\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nX: y\r\n\r\nin\r\n--x--\r\n"
    );
    octets.into()
}

impl Subject for Serving {
    type Protocol = Server;
    type World = World;

    fn protocol(&self) -> Server {
        let peer = Peer { ip: [127, 0, 1, 3].into(), port: 40_000, name: None };
        Server::new(Arc::clone(&self.config), peer)
    }

    fn world(&self) -> World {
        let mut world = World::new("u", "p");
        // Some messages come whole with what is read of them, others piece by piece.
        world.bodies = 400;
        world.failing = self.failing;
        world.create("Work");
        for n in 1..=3 {
            world.deliver("INBOX", message(n), &NamedFlags::default(), 1_000_000);
        }
        world
    }

    fn answer(&self, world: &mut World, call: Call) -> Answer<Reply> {
        world.run(call)
    }

    fn is_commit(&self, call: &Call) -> bool {
        matches!(call, Call::Commit { .. } | Call::Abort { .. } | Call::Release { .. })
    }

    /// What lies in the mailboxes, and what is still held.
    fn outcome(&self, world: &World) -> String {
        let mut text =
            format!("{} handles, {} uploads", world.open_handles(), world.open_uploads());
        for (name, folder) in &world.folders {
            text += &format!("; {name}");
            for mail in &folder.mails {
                text += &format!(" {} {:?} {}", mail.uid, mail.flags, mail.octets.len());
            }
        }
        text
    }

    /// Small ones, so that they are met.
    fn limits(&self) -> Limits {
        Limits { input: 16 * 1024, output: 300, ..Limits::default() }
    }
}

impl Play for Serving {
    /// Somebody delivers, somebody expunges, or it is said so and nothing is there.
    fn happen(&self, world: &mut World, what: u8) -> Option<Notice> {
        match what {
            2..=5 => drop(world.deliver("INBOX", message(1), &NamedFlags::default(), 7)),
            6..=9 => world.folders.values_mut().for_each(|folder| {
                folder.expunge(|mail| mail.uid % 4 == u32::from(what % 4));
            }),
            _ => world.changed.push(Handle(u64::from(what - 9))),
        }
        world.changed.pop().map(Notice::Changed)
    }

    fn unknown(&self, ledger: &mut Ledger) -> Answer<Reply> {
        let ticket = ledger.open(None);
        ledger.close(ticket.id());
        ticket.answer(Aborted)
    }

    fn check(&self, world: &World, end: &Ended<'_, Server>) {
        if end.whole && self.failing.is_empty() {
            assert_eq!(world.open_handles(), 0, "a mailbox is still open");
            assert_eq!(world.open_uploads(), 0, "an upload is still open");
        }
    }
}
