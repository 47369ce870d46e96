//! What must hold for any message and any peer: cutting changes nothing, nothing panics, and what a
//! client sends is what our own server takes.

mod common;
mod remote;

use std::sync::Arc;

use bytes::Bytes;
use common::{Dialogue, port25};
use proptest::prelude::*;
use remote::{Host, config, mail, to};
use waypost_laws::{Script, Subject, choices, lines};
use waypost_machine::{Answer, Input, Limits, Secret, Why};
use waypost_mail::{Address, Body, Notify, Ret, ReversePath};
use waypost_smtp::client::{
    Call, Client, Config, Disposition, Login, Mail, Next, Read, Reply, Reported, Tls,
};

/// A source of choices.
struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn next(&mut self, below: usize) -> usize {
        usize::from(self.0.next().unwrap_or(255)) % below.max(1)
    }
}

/// Replies that make sense, and some that do not.
fn replies() -> impl Strategy<Value = Vec<String>> {
    let code = prop_oneof![
        8 => Just("250"), 4 => Just("354"), 1 => Just("220"), 1 => Just("421"), 1 => Just("450"),
        1 => Just("550"), 1 => Just("999"), 1 => Just("x"),
    ];
    let text = prop_oneof![
        4 => Just(" 2.0.0 ok"), 1 => Just(""), 1 => Just("-more\r\n250 STARTTLS"),
        1 => Just("-PIPELINING\r\n250-SIZE 5\r\n250 CHUNKING"), 1 => Just(" \u{0}\u{e9}"),
    ];
    let line = (code, text).prop_map(|(code, text)| format!("{code}{text}\r\n"));
    proptest::collection::vec(line, 0..14)
}

/// Says one reply after the other, cut as told, and gives everything that was to be seen.
fn talk(replies: &[String], choices: &mut Choices, cut: bool) -> (Vec<u8>, String) {
    let mut host = Host::new(Config { tls: Tls::Never, ..config() }, mail(&["a@b", "c@d"]));
    host.waiting.push_back(Mail { id: 2, ..mail(&["e@f"]) });
    let mut heard = Vec::new();
    for reply in replies {
        let mut rest = reply.as_bytes();
        while !rest.is_empty() {
            let count = if cut { 1 + choices.next(rest.len()) } else { rest.len() };
            if cut {
                host.room = choices.next(40);
                host.input(Input::Tick);
            }
            let (part, more) = rest.split_at(count.min(rest.len()));
            host.input(Input::Bytes(Bytes::copy_from_slice(part)));
            rest = more;
            if choices.next(8) == 0 {
                host.input(Input::Tick);
            }
        }
        host.room = usize::MAX;
        host.pump();
        heard.append(&mut host.said);
    }
    host.input(Input::Eof);
    heard.append(&mut host.said);
    assert_ne!(host.closed, None, "the end of input ends everything");
    let rest = host.session.protocol().unfinished(host.now, host.closed.unwrap(), None);
    assert_eq!(rest, None, "told by the session itself");
    let end = format!("{:?} {:?} {:?}", host.closed, host.reports, host.facts);
    (heard, end)
}

/// Any message that a server could have accepted.
fn any_mail() -> impl Strategy<Value = (Mail, Vec<u8>)> {
    let line = "[.x]{0,3}[ -~\u{e9}]{0,30}";
    let body = prop_oneof![
        6 => proptest::collection::vec(line, 0..20)
            .prop_map(|lines| lines.into_iter().map(|line| line + "\r\n").collect::<String>()),
        1 => (0usize..3000).prop_map(|count| ".\r\n".repeat(count)),
        1 => (0usize..200_000).prop_map(|count| "x".repeat(count) + "\r\n"),
    ];
    let locals = proptest::collection::vec("mail00[0-9][ -~]{0,8}", 1..8);
    let envid = proptest::option::of("[ -~]{1,20}");
    let notify = proptest::option::of((any::<bool>(), any::<bool>(), any::<bool>()));
    let orcpt = proptest::option::of("[ -~]{1,20}");
    (body, locals, envid, notify, orcpt, any::<bool>()).prop_map(
        |(body, locals, envid, notify, orcpt, null)| {
            let notify = notify.map(|(success, failure, delay)| Notify { success, failure, delay });
            let orcpt = orcpt.map(|address| ("rfc822".into(), address.into()));
            let recipients = locals.iter().map(|local| {
                let domain = waypost_mail::Domain::parse("example.com").unwrap();
                let address = Address::new(local, domain).unwrap();
                waypost_smtp::client::To { address, notify, orcpt: orcpt.clone() }
            });
            let body = body.into_bytes();
            let sender = Address::parse("\"some one\"@elsewhere.test").unwrap();
            let mail = Mail {
                sender: if null { ReversePath::Null } else { ReversePath::Address(sender) },
                recipients: recipients.collect(),
                size: body.len() as u64,
                body: if body.is_ascii() { Body::SevenBit } else { Body::EightBitMime },
                ret: notify.map(|n| if n.success { Ret::Full } else { Ret::Headers }),
                envid: envid.map(Into::into),
                ..mail(&[])
            };
            (mail, body)
        },
    )
}

/// Client and server, with what goes between them cut as told.
fn exchange(config: Config, mail: Mail, body: Vec<u8>, choices: &mut Choices) -> (Host, Dialogue) {
    let mut server = Dialogue::new(port25());
    let mut client = Host::new(config, mail);
    client.bodies.insert(1, body);
    client.block = 1 + choices.next(200) * 37;
    let mut down = server.take().into_bytes();
    while client.closed.is_none() {
        let before = (down.len(), client.said.len());
        let count = down.len().min(1 + choices.next(64));
        let part: Vec<u8> = down.drain(..count).collect();
        client.input(Input::Bytes(part.into()));
        if client.said.is_empty() && server.securing && client.securing.is_some() && down.is_empty()
        {
            server.handshake();
            client.handshake();
        }
        let up = std::mem::take(&mut client.said);
        let mut rest = up.as_slice();
        while !rest.is_empty() {
            let (part, more) = rest.split_at(rest.len().min(1 + choices.next(5000)));
            down.extend(server.send(part).into_bytes());
            rest = more;
        }
        let quiet = down.is_empty() && before == (0, 0) && up.is_empty();
        assert!(!quiet || client.closed.is_some(), "both wait");
    }
    // QUIT.
    server.send(&client.said);
    (client, server)
}

/// The laws of machines over a client with a world that reads, writes down, and has so many more
/// messages.
#[derive(Clone, Debug)]
struct Case {
    config: Config,
    more: u64,
}

/// How many messages are left, and what was reported.
struct World {
    more: u64,
    reports: Vec<String>,
}

impl Subject for Case {
    type Protocol = Client;
    type World = World;

    fn protocol(&self) -> Client {
        let mail = mail(&["a@remote.test", "b@remote.test"]);
        Client::new(Arc::new(self.config.clone()), remote::remote(), Arc::new(mail))
    }

    fn world(&self) -> World {
        World { more: self.more, reports: Vec::new() }
    }

    fn answer(&self, world: &mut World, call: Call) -> Answer<Reply> {
        match call {
            Call::Read { from, len, ticket, .. } => {
                let body = "a line\r\n.\r\n".repeat(200).into_bytes();
                let from = usize::try_from(from).unwrap();
                let end = body.len().min(from + len.min(700));
                let bytes = Bytes::copy_from_slice(&body[from..end]);
                ticket.answer(Read::Block { bytes, end: end == body.len() })
            }
            Call::Report { outcome, ticket, .. } => {
                let fates: Vec<String> = outcome.recipients.iter().map(remote::fate).collect();
                world.reports.push(format!("{} {fates:?} {:?}", outcome.mail.id, outcome.stale));
                ticket.answer(Reported)
            }
            Call::NextMessage { ticket } => ticket.answer(match world.more {
                0 => Next::Quit,
                more => {
                    world.more -= 1;
                    Next::Message(Arc::new(Mail { id: more + 1, ..mail(&["c@remote.test"]) }))
                }
            }),
        }
    }

    fn is_commit(&self, call: &Call) -> bool {
        matches!(call, Call::Report { .. })
    }

    fn outcome(&self, world: &World) -> String {
        world.reports.join("; ")
    }

    fn limits(&self) -> Limits {
        Limits { input: 16 * 1024, output: 300, ..Limits::default() }
    }
}

/// What a host says that never wants a message: no 3xx, and no CHUNKING.
const BEFORE: &[&str] = &[
    "220 mx ESMTP\r\n",
    "250-mx\r\n250-STARTTLS\r\n250-SIZE 5000\r\n250 PIPELINING\r\n",
    "250-mx\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n",
    "250 2.0.0 ok\r\n",
    "250 2.0.0 ok\r\n",
    "250 2.0.0 ok\r\n",
    "235 2.7.0 in\r\n",
    "450 4.2.0 later\r\n",
    "550-5.1.1 no\r\n550 5.1.1 such\r\n",
    "421 4.3.2 bye\r\n",
    "502 what\r\n",
    "999\r\n",
    "nonsense\r\n",
    "25",
];
/// What any host says.
const ALL: &[&str] = &[
    "220 mx ESMTP\r\n",
    "250-mx\r\n250-STARTTLS\r\n250-CHUNKING\r\n250 PIPELINING\r\n",
    "250-mx\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n",
    "250 2.0.0 ok\r\n",
    "250 2.0.0 ok\r\n",
    "250 2.0.0 ok\r\n",
    "235 2.7.0 in\r\n",
    "334 \r\n",
    "354 go\r\n",
    "354 go\r\n",
    "450 4.2.0 later\r\n",
    "550 5.1.1 no\r\n",
    "421 4.3.2 bye\r\n",
    "nonsense\r\n",
];

fn cases() -> impl Strategy<Value = Case> {
    let login = || Some(Login { user: "u".into(), password: Secret::new("p".into()) });
    let config = prop_oneof![
        Just(config()),
        Just(Config { tls: Tls::Never, ..config() }),
        Just(Config { tls: Tls::Required, login: login(), ..config() }),
        Just(Config { tls: Tls::Never, login: login(), login_in_clear: true, ..config() }),
        Just(Config { tls: Tls::Implicit, messages: 1, ..config() }),
    ];
    (config, 0u64..3).prop_map(|(config, more)| Case { config, more })
}

/// A greeting and an offer, then anything out of these.
fn scripted(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    (0..3usize, lines(texts)).prop_map(|(start, rest)| {
        let start =
            ["", "220 mx\r\n", "220 mx\r\n250-mx\r\n250-STARTTLS\r\n250 PIPELINING\r\n"][start];
        [start.as_bytes(), &rest].concat()
    })
}

proptest! {
    /// Neither in the middle of a message nor between two can a host speak out of turn that never
    /// wants one: everything holds. With another it matters when it speaks; see the next two.
    #[test]
    fn the_client_keeps_the_laws(
        case in cases(), first in scripted(BEFORE), second in lines(BEFORE), choices in choices(),
    ) {
        let case = Case { config: Config { messages: 1, ..case.config }, more: 0 };
        let parts = [first, second];
        waypost_laws::all(&case, &Script::eof(parts.clone()), &choices)?;
        waypost_laws::all(&case, &Script::silence(parts), &choices)?;
    }

    #[test]
    fn the_client_keeps_the_laws_with_a_host_that_speaks_out_of_turn(
        case in cases(), first in scripted(ALL), second in lines(ALL), choices in choices(),
    ) {
        let parts = [first, second];
        for script in [Script::eof(parts.clone()), Script::silence(parts)] {
            waypost_laws::lateness(&case, &script, &choices)?;
            waypost_laws::patience(&case, &script, &choices)?;
            waypost_laws::injection(&case, &script, &choices)?;
            waypost_laws::robustness(&case, &script, &choices)?;
            waypost_laws::ticks(&case, &script, &choices)?;
        }
    }

    #[test]
    fn cutting_and_room_change_nothing(
        replies in replies(),
        choices in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut choices = Choices(choices.into_iter());
        let whole = talk(&replies, &mut choices, false);
        let cut = talk(&replies, &mut choices, true);
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn any_bytes_end_in_an_outcome(
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                "[245][0-9]{2}[ -]?[A-Z0-9.]{0,12}\r\n".prop_map(String::into_bytes),
            ],
            0..20,
        ),
    ) {
        let mut host = Host::new(config(), mail(&["a@b", "c@d"]));
        for piece in pieces {
            host.input(Input::Bytes(piece.into()));
            if host.securing.is_some() {
                host.handshake();
            }
        }
        host.input(Input::Eof);
        prop_assert!(host.closed.is_some());
        let _ = host.outcome();
    }

    #[test]
    fn any_message_goes_through_unchanged(
        (mail, body) in any_mail(),
        choices in proptest::collection::vec(any::<u8>(), 0..400),
        chunking in any::<bool>(),
        pipelining in any::<bool>(),
        tls in any::<bool>(),
    ) {
        let mut config = Config { chunking, ..config() };
        config.helo = "mx2.example.net".into();
        config.tls = if tls { Tls::Required } else { Tls::Never };
        config.tls_name = "mx.remote.test".into();
        if !pipelining {
            config.discard.push("pipelining".into());
        }
        let mut choices = Choices(choices.into_iter());
        let (client, server) = exchange(config, mail.clone(), body.clone(), &mut choices);
        let outcome = client.outcome();
        prop_assert!(
            outcome.recipients.iter().all(|r| matches!(r, Disposition::Delivered(_))),
            "{:?}", client.fates()
        );
        prop_assert_eq!((client.closed, server.closed), (Some(Why::Done), Some(Why::Done)));
        prop_assert_eq!(server.world.messages.len(), 1);
        let got = &server.world.messages[0];
        prop_assert!(got.committed && !got.aborted);
        prop_assert_eq!(&got.body, &body);
        let envelope = &got.envelope;
        prop_assert_eq!(&envelope.sender, &mail.sender);
        prop_assert_eq!(envelope.size, Some(mail.size));
        prop_assert_eq!(envelope.body, mail.body);
        prop_assert_eq!((envelope.ret, &envelope.envid), (mail.ret, &mail.envid));
        prop_assert_eq!(envelope.client.tls.is_some(), tls);
        let sent: Vec<_> = mail.recipients.iter().map(|r| (&r.address, r.notify, &r.orcpt)).collect();
        let got: Vec<_> = envelope.recipients.iter().map(|r| (&r.address, r.notify, &r.orcpt)).collect();
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn a_body_with_odd_line_ends_arrives_with_good_ones(
        body in proptest::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'x')], 0..60,
        ),
        choices in proptest::collection::vec(any::<u8>(), 0..60),
        chunking in any::<bool>(),
    ) {
        let config = Config { chunking, tls: Tls::Never, helo: "x".into(), ..config() };
        let mail = Mail { recipients: vec![to("mail000@example.com")], ..mail(&[]) };
        let mut choices = Choices(choices.into_iter());
        let (client, server) = exchange(config, mail, body.clone(), &mut choices);
        prop_assert!(matches!(client.outcome().recipients[0], Disposition::Delivered(_)));
        prop_assert_eq!(server.world.messages.len(), 1, "one message, not two");
        let mut good = String::new();
        let mut rest = body.iter().copied().peekable();
        while let Some(byte) = rest.next() {
            match byte {
                b'\r' if rest.peek() == Some(&b'\n') => {
                    rest.next();
                    good.push_str("\r\n");
                }
                b'\r' => good.push(' '),
                b'\n' => good.push_str("\r\n"),
                byte => good.push(char::from(byte)),
            }
        }
        if !good.is_empty() && !good.ends_with('\n') {
            good.push_str("\r\n");
        }
        prop_assert_eq!(&server.world.messages[0].body, good.as_bytes());
    }
}
