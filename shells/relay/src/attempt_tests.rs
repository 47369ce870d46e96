//! What holds of every attempt, whatever the hosts do.

use super::*;
use proptest::prelude::*;
use waypost_mail::{Address, Body, ReversePath};
use waypost_smtp::client::RemoteReply;

/// What the world does next, chosen beforehand.
struct Chance(std::vec::IntoIter<u8>);

impl Chance {
    /// One of so many; zero when all is used up.
    fn of(&mut self, count: u8) -> u8 {
        self.0.next().unwrap_or(0) % count
    }
}

fn mail(count: usize) -> Arc<Mail> {
    let address = |n| Address::parse(&format!("r{n}@remote.test")).unwrap();
    let to = |n| To { address: address(n), notify: None, orcpt: None };
    Arc::new(Mail {
        id: 1,
        sender: ReversePath::Null,
        recipients: (0..count).map(to).collect(),
        size: 1,
        body: Body::SevenBit,
        smtputf8: false,
        utf8_header: false,
        ret: None,
        envid: None,
    })
}

fn host(n: u8) -> Exchanger {
    Exchanger {
        name: format!("mx{n}").into(),
        address: IpAddr::from([192, 0, 2, n]),
        preference: u16::from(n),
        best: n == 1,
        authentic: false,
    }
}

fn trouble(kind: u8) -> Arc<Trouble> {
    let (status, stage, code, elsewhere) = match kind {
        0 => (Enhanced(4, 2, 0), Stage::Rcpt, Some(450), true),
        1 => (Enhanced(5, 1, 1), Stage::Rcpt, Some(550), false),
        2 => (Enhanced(4, 5, 3), Stage::Rcpt, Some(452), true),
        3 => (Enhanced(5, 6, 7), Stage::Mail, None, true),
        4 => (Enhanced(4, 3, 0), Stage::Body, None, false),
        _ => (Enhanced(4, 7, 5), Stage::Handshake, None, true),
    };
    let text = |code: u16| RemoteReply { code, enhanced: None, text: "no".into() };
    Arc::new(Trouble {
        status,
        reason: format!("trouble {kind}").into(),
        reply: code.map(text),
        stage,
        cause: if kind == 5 { Cause::Tls } else { Cause::Refused },
        elsewhere,
        maybe_delivered: false,
    })
}

/// A world, and what it knows of each recipient.
struct World {
    chance: Chance,
    count: usize,
    /// Recipients that some host has taken.
    taken: Vec<usize>,
    /// Connections that were opened or used again.
    talks: usize,
}

impl World {
    /// A host has the message, and says something.
    fn talk(&mut self, attempt: &mut Attempt, from: u8) -> Input {
        let Some(mail) = attempt.talk() else { panic!("it is not over") };
        self.talks += 1;
        assert!(!mail.recipients.is_empty());
        let fails = self.chance.of(4) == 3;
        let stale = from == 0 && self.chance.of(4) == 3;
        let site = trouble(5);
        let mut recipients = Vec::new();
        for to in &mail.recipients {
            let name = to.address.to_string();
            let n: usize = name[1..name.find('@').unwrap()].parse().unwrap();
            assert!(!self.taken.contains(&n), "{name} is sent twice");
            recipients.push(match self.chance.of(8) {
                _ if fails || stale => Disposition::Deferred(Arc::clone(&site)),
                0 => Disposition::Deferred(trouble(0)),
                1 => Disposition::Bounced(trouble(1)),
                2 => Disposition::Deferred(trouble(2)),
                3 => Disposition::Bounced(trouble(3)),
                4 => Disposition::Deferred(trouble(4)),
                _ => {
                    self.taken.push(n);
                    let text = "250 ok".into();
                    let reply = RemoteReply { code: 250, enhanced: None, text };
                    Disposition::Delivered(Arc::new(reply))
                }
            });
        }
        let outcome = Outcome {
            mail,
            recipients,
            site: (fails || stale).then_some(site),
            stale,
            dsn: false,
            begun: (!fails).then_some(Time::ZERO),
            done: Time::ZERO,
        };
        let remote = Remote {
            name: "mx".into(),
            ip: IpAddr::from([192, 0, 2, from]),
            port: 25,
            nexthop: "remote.test".into(),
            best: true,
        };
        let optional = self.chance.of(2) == 0;
        Input::Ended { outcome: Arc::new(outcome), remote: Arc::new(remote), optional }
    }

    fn next(&mut self, attempt: &mut Attempt, action: Action) -> Input {
        match action {
            Action::Reuse if self.chance.of(2) == 0 => self.talk(attempt, 0),
            Action::Reuse => Input::NoneIdle,
            Action::Route | Action::Connect { .. } if !self.taken.is_empty() => {
                panic!("something else is begun before it is written down who has it")
            }
            Action::Route if self.chance.of(5) == 4 => {
                let status = if self.chance.of(2) == 0 { 4 } else { 5 };
                let status = Enhanced(status, 4, 4);
                Input::Route(Err(NoRoute { status, reason: "nowhere".into() }))
            }
            Action::Route => Input::Route(Ok((1..=1 + self.chance.of(4)).map(host).collect())),
            Action::Connect { host, .. } => match self.chance.of(6) {
                4 => Input::Unreachable { reason: "no way".into(), ours: self.chance.of(2) == 0 },
                5 => {
                    Input::Unsafe(Refusal { status: Enhanced(4, 7, 5), reason: "no proof".into() })
                }
                _ => match host.address {
                    IpAddr::V4(address) => self.talk(attempt, address.octets()[3]),
                    IpAddr::V6(_) => panic!("there is none"),
                },
            },
            Action::Again if self.chance.of(4) == 3 => Input::Untried,
            Action::Again => self.talk(attempt, 1),
            Action::Done(_) | Action::Wait => panic!("nothing follows"),
        }
    }

    fn check(&self, carried: &Carried) {
        assert_eq!(carried.recipients.len(), self.count);
        for (n, passed) in carried.recipients.iter().enumerate() {
            let sent = matches!(passed.fate, Fate::Sent { .. });
            assert_eq!(sent, self.taken.contains(&n), "{n}: {passed:?}");
            let class = passed.diagnosis.status.0;
            let right = match passed.fate {
                Fate::Sent { .. } => 2,
                Fate::Deferred => 4,
                Fate::Failed => 5,
            };
            assert_eq!(class, right, "{passed:?}");
        }
        if !self.taken.is_empty() {
            assert_eq!(carried.site, SiteState::Alive);
        }
    }
}

proptest! {
    #[test]
    fn every_attempt_ends_and_says_of_everybody_what_became_of_him(
        count in 1usize..6,
        limit in 0usize..4,
        chance in proptest::collection::vec(any::<u8>(), 0..200),
        stop in proptest::option::of(0usize..12),
    ) {
        let mut world =
            World { chance: Chance(chance.into_iter()), count, taken: Vec::new(), talks: 0 };
        let mut attempt = Attempt::new(mail(count), Time::ZERO, 25, limit);
        let mut action = Action::Reuse;
        for step in 0.. {
            prop_assert!(step < 100, "it does not end");
            if let Action::Done(carried) = &action {
                world.check(carried);
                prop_assert_eq!(attempt.handle(Time::ZERO, Input::Stop), Action::Wait);
                prop_assert!(attempt.talk().is_none());
                break;
            }
            if stop == Some(step) {
                action = attempt.handle(Time::ZERO, Input::Stop);
                prop_assert!(matches!(action, Action::Done(_)), "{:?}", action);
                continue;
            }
            let input = world.next(&mut attempt, action);
            if stop == Some(step + 1) && matches!(input, Input::Ended { .. }) {
                // The session finishes what it is at; nothing new is begun.
                prop_assert_eq!(attempt.handle(Time::ZERO, Input::Stop), Action::Wait);
                let talks = world.talks;
                action = attempt.handle(Time::ZERO, input);
                prop_assert!(matches!(action, Action::Done(_)), "{:?}", action);
                prop_assert_eq!(world.talks, talks);
                continue;
            }
            action = attempt.handle(Time::ZERO, input);
        }
        if limit > 0 {
            // Each session once, or once more without TLS, or again for the rest of a crowd.
            prop_assert!(world.talks <= 2 * (limit + 1) * (count + 2), "{}", world.talks);
        }
    }
}
