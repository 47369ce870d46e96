//! The SMTP server and the SMTP client as machines.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use waypost_laws::Subject;
use waypost_machine::{Answer, Ledger, Limits, Secret};
use waypost_mail::{Address, Peer};
use waypost_sasl::Mechanism;
use waypost_smtp::client::{self, Client, Disposition, Login, Mail, Next, Outcome, Read, Reported};
use waypost_smtp::server::{self, Aborted, BareNewline, Server};

use crate::operations;
use crate::session::{self, Ended, Play};
use crate::worlds::remote;
use crate::worlds::smtp::{Dialogue, Faults, SPOOL_FULL, World, hostname, port25, port587};

/// Small limits, so that they are met.
const LIMITS: Limits = Limits { input: 16 * 1024, output: 300, handshake: Duration::from_secs(60) };

/// A server with some settings, in a good world or in a bad one.
struct Serving {
    config: Arc<server::Config>,
    faults: Faults,
}

/// Any client.
pub fn server(data: &[u8]) {
    session::all(data, Serving::new);
}

/// Any client, and anything that a shell may do.
pub fn server_operations(data: &[u8]) {
    operations::run(data, Serving::new);
}

impl Serving {
    fn new(settings: u8) -> Self {
        let login = vec![Mechanism::Plain, Mechanism::Login];
        let config = match settings % 8 {
            0 => port25(),
            1 => port587(),
            2 => server::Config { mechanisms: login, auth_in_clear: true, ..port25() },
            3 => server::Config { bare_newline: BareNewline::Reject, ..port25() },
            4 => server::Config { tls: server::Tls::Implicit, mechanisms: login, ..port25() },
            5 => server::Config {
                message_size_limit: 2000,
                hop_limit: 5,
                ..server::Config::new(hostname())
            },
            6 => server::Config {
                recipient_limit: 2,
                soft_error_limit: 2,
                hard_error_limit: 4,
                ..port25()
            },
            _ => server::Config { tls: server::Tls::Off, ..port25() },
        };
        let full = || Some(SPOOL_FULL);
        let faults = match settings / 8 {
            1 => Faults { directory_down: true, ..Faults::default() },
            2 => Faults { begin: full(), ..Faults::default() },
            3 => Faults { append: full(), ..Faults::default() },
            4 => Faults { commit: full(), ..Faults::default() },
            _ => Faults::default(),
        };
        Self { config: Arc::new(config), faults }
    }
}

impl Subject for Serving {
    type Protocol = Server;
    type World = World;

    fn protocol(&self) -> Server {
        let peer = Peer { ip: [127, 0, 1, 3].into(), port: 40000, name: None };
        Server::new(Arc::clone(&self.config), peer)
    }

    fn world(&self) -> World {
        World { faults: self.faults.clone(), ..World::default() }
    }

    fn answer(&self, world: &mut World, call: server::Call) -> Answer<server::Reply> {
        if let server::Call::Append { chunks, .. } = &call {
            assert!(chunks.iter().all(|chunk| !chunk.is_empty()), "an empty piece of a message");
        }
        world.answer(call)
    }

    fn is_commit(&self, call: &server::Call) -> bool {
        matches!(call, server::Call::Commit { .. } | server::Call::Abort { .. })
    }

    /// The messages that were taken.
    fn outcome(&self, world: &World) -> String {
        let taken = world.messages.iter().filter(|message| message.committed);
        taken.map(|m| format!("{} {}", m.envelope.sender, m.body.escape_ascii())).collect()
    }

    fn limits(&self) -> Limits {
        LIMITS
    }
}

impl Play for Serving {
    fn unknown(&self, ledger: &mut Ledger) -> Answer<server::Reply> {
        let ticket = ledger.open(None);
        ledger.close(ticket.id());
        ticket.answer(Aborted)
    }

    /// What was said to be queued is; what was begun is committed or aborted; lines are whole.
    fn check(&self, world: &World, end: &Ended<'_, Server>) {
        let said = String::from_utf8_lossy(end.sent);
        for (n, message) in (1..).zip(&world.messages) {
            let queued = said.contains(&format!("queued as Q{n}\r\n"));
            assert!(!queued || message.committed, "250, and not committed");
            assert!(!(message.committed && message.aborted), "committed and aborted");
            if end.whole && self.faults.commit.is_none() {
                assert!(message.committed || message.aborted, "neither committed nor aborted");
            }
            let bare = message.body.iter().filter(|b| **b == b'\n').count();
            let whole = message.body.windows(2).filter(|w| w == b"\r\n").count();
            assert_eq!(bare, whole, "a bare line feed in a body");
        }
    }
}

/// A client with some settings, and more messages to come.
struct Sending {
    config: Arc<client::Config>,
    more: u64,
}

struct Outbox {
    more: u64,
    begun: Vec<u64>,
    reports: Vec<Outcome>,
}

/// Any host. What holds only when the host does not speak out of turn is left out.
pub fn client(data: &[u8]) {
    session::most(data, Sending::new);
}

/// Any host, and anything that a shell may do.
pub fn client_operations(data: &[u8]) {
    operations::run(data, Sending::new);
}

impl Sending {
    fn new(settings: u8) -> Self {
        use client::{Config, Tls};
        let login = || Some(Login { user: "u".into(), password: Secret::new("p".into()) });
        let plain = remote::config;
        let config = match settings % 6 {
            0 => plain(),
            1 => Config { tls: Tls::Never, ..plain() },
            2 => Config { tls: Tls::Required, login: login(), ..plain() },
            3 => Config { tls: Tls::Never, login: login(), login_in_clear: true, ..plain() },
            4 => Config { tls: Tls::Implicit, ..plain() },
            _ => Config { tls: Tls::Never, chunking: true, ..plain() },
        };
        Self { config: Arc::new(config), more: u64::from(settings / 6 % 3) }
    }
}

fn first() -> Mail {
    Mail { id: 1, ..remote::mail(&["a@remote.test", "b@remote.test"]) }
}

impl Subject for Sending {
    type Protocol = Client;
    type World = Outbox;

    fn protocol(&self) -> Client {
        Client::new(Arc::clone(&self.config), remote::remote(), Arc::new(first()))
    }

    fn world(&self) -> Outbox {
        Outbox { more: self.more, begun: vec![1], reports: Vec::new() }
    }

    fn answer(&self, world: &mut Outbox, call: client::Call) -> Answer<client::Reply> {
        match call {
            client::Call::Read { from, len, ticket, .. } => {
                let body = Bytes::from_static(remote::MESSAGE);
                let from = usize::try_from(from).expect("within the body");
                let end = body.len().min(from + len.min(9));
                ticket.answer(Read::Block { bytes: body.slice(from..end), end: end == body.len() })
            }
            client::Call::Report { outcome, ticket, .. } => {
                world.reports.push(*outcome);
                ticket.answer(Reported)
            }
            client::Call::NextMessage { ticket } => ticket.answer(match world.more {
                0 => Next::Quit,
                more => {
                    world.more -= 1;
                    world.begun.push(more + 1);
                    let to = &["c@remote.test", "d@remote.test"];
                    Next::Message(Arc::new(Mail { id: more + 1, ..remote::mail(to) }))
                }
            }),
        }
    }

    fn is_commit(&self, call: &client::Call) -> bool {
        matches!(call, client::Call::Report { .. })
    }

    fn limits(&self) -> Limits {
        LIMITS
    }
}

impl Play for Sending {
    fn unknown(&self, ledger: &mut Ledger) -> Answer<client::Reply> {
        let ticket = ledger.open(None);
        ledger.close(ticket.id());
        ticket.answer(Reported)
    }

    /// Each message that was begun has one outcome, and nothing counts as delivered that the host has
    /// not said yes to.
    fn check(&self, world: &Outbox, end: &Ended<'_, Client>) {
        let last = end.protocol.unfinished(end.now, end.why, None);
        let outcomes: Vec<&Outcome> = world.reports.iter().chain(&last).collect();
        if end.whole {
            let told: Vec<u64> = outcomes.iter().map(|outcome| outcome.mail.id).collect();
            assert_eq!(told, world.begun);
        }
        for outcome in outcomes {
            assert_eq!(outcome.recipients.len(), 2);
            for recipient in &outcome.recipients {
                match recipient {
                    Disposition::Delivered(reply) => assert!(reply.is_success(), "{reply:?}"),
                    Disposition::Deferred(trouble) => {
                        assert_eq!(trouble.status.0, 4, "{trouble:?}")
                    }
                    Disposition::Bounced(trouble) => assert_eq!(trouble.status.0, 5, "{trouble:?}"),
                }
            }
        }
    }
}

/// A message of any octets, from our client to our server, whatever lies between them: it arrives
/// once, as it was but for line ends that are none.
pub fn exchange(data: &[u8]) {
    let [settings, cut, body @ ..] = data else { return };
    let tls = if settings & 1 == 0 { client::Tls::Never } else { client::Tls::Required };
    let mut config = client::Config { chunking: settings & 2 == 0, tls, ..remote::config() };
    config.helo = "mx2.example.net".into();
    if settings & 4 == 0 {
        config.discard.push("pipelining".into());
    }
    let to = Address::parse("mail000@example.com").expect("an address");
    let to = client::To { address: to, notify: None, orcpt: None };
    let size = body.len() as u64;
    let mail = Mail { recipients: vec![to], size, ..remote::mail(&[]) };
    let mut server = Dialogue::new(port25());
    let mut client = remote::Host::new(config, mail);
    client.bodies.insert(1, body.to_vec());
    client.block = 1 + usize::from(*cut) % 61;
    let width = 1 + usize::from(*cut) / 4 * 37;
    let mut down = server.take().into_bytes();
    for _ in 0..10_000 + body.len() {
        if client.closed.is_some() {
            break;
        }
        let part: Vec<u8> = down.drain(..down.len().min(width)).collect();
        client.input(waypost_machine::Input::Bytes(part.into()));
        let quiet = client.said.is_empty() && down.is_empty();
        if quiet && server.securing && client.securing.is_some() {
            server.handshake();
            client.handshake();
        }
        for part in std::mem::take(&mut client.said).chunks(width) {
            down.extend(server.send(part).into_bytes());
        }
    }
    let outcome = client.outcome();
    assert!(matches!(outcome.recipients[0], Disposition::Delivered(_)), "{outcome:?}");
    let [message] = &server.world.messages[..] else { panic!("one message, not two") };
    assert!(message.committed);
    assert_eq!(message.body, good(body));
}

/// With line ends that are ones.
fn good(body: &[u8]) -> Vec<u8> {
    let mut good = Vec::new();
    let mut rest = body.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'\r' if rest.peek() == Some(&b'\n') => {}
            b'\r' => good.push(b' '),
            b'\n' => good.extend(b"\r\n"),
            byte => good.push(byte),
        }
    }
    if !good.is_empty() && !good.ends_with(b"\n") {
        good.extend(b"\r\n");
    }
    good
}
