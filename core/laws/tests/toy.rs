//! The laws over a toy protocol that does a little of everything; and over toys that break them, for
//! a law that cannot be broken says nothing.

use std::convert::Infallible;
use std::time::Duration;

use proptest::prelude::*;
use waypost_laws::{
    Broken, Script, Subject, all, choices, chunking, gone, interleaving, lines, patience, room,
    transcript,
};
use waypost_machine::{
    Answer, CallId, Cx, Event, Progress, Protocol, Ticket, Timer, TlsRole, TooLong, Why,
};

/// How a toy misbehaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    /// It answers by chunks, not by lines.
    Chunks,
    /// It does not care about calls that take too long.
    Forever,
    /// It tells a peer that reads slowly to hurry.
    Room,
    /// It saves again and again.
    Saves,
}

struct Toy {
    bug: Bug,
    asked: Option<CallId>,
    naps: u32,
}

enum Call {
    Turn(Vec<u8>, Ticket<Turned>),
    Save(Ticket<Saved>),
}

struct Turned(Vec<u8>);
struct Saved;

enum Reply {
    Turned(Turned),
    Saved(Saved),
}

impl From<Turned> for Reply {
    fn from(turned: Turned) -> Self {
        Self::Turned(turned)
    }
}

impl From<Saved> for Reply {
    fn from(saved: Saved) -> Self {
        Self::Saved(saved)
    }
}

impl Toy {
    fn line(&mut self, cx: &mut Cx<'_, Self>, line: &[u8]) {
        match line.strip_suffix(b"\n").unwrap_or(line) {
            b"TLS" => {
                cx.send_slice(b"go ahead\n");
                cx.secure(TlsRole::Server);
            }
            b"NAP" => {
                self.naps += 1;
                cx.arm(Timer::Delay, Duration::from_secs(1));
            }
            b"SAVE" => self.asked = Some(cx.commit(Call::Save)),
            b"LONG" => cx.send(bytes::Bytes::from(vec![b'x'; 3000])),
            b"QUIT" => {
                cx.send_slice(b"bye\n");
                cx.close(Why::Done);
            }
            other => {
                let other = other.to_vec();
                let within = match self.bug {
                    Bug::Forever => Duration::MAX,
                    _ => Duration::from_secs(5),
                };
                self.asked = Some(cx.call(within, |ticket| Call::Turn(other, ticket)));
            }
        }
    }
}

impl Protocol for Toy {
    type Call = Call;
    type Reply = Reply;
    type Notice = Infallible;
    type Fact = ();

    fn start(&mut self, cx: &mut Cx<'_, Self>) {
        cx.send_slice(b"hello\n");
        cx.arm(Timer::Command, Duration::from_secs(60));
    }

    fn advance(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        if self.asked.is_some() || self.naps > 0 {
            return Progress::Blocked;
        }
        if self.bug == Bug::Chunks {
            let Some(chunk) = cx.input.take(usize::MAX) else { return Progress::Blocked };
            cx.send(chunk);
            cx.send_slice(b";");
            return Progress::More;
        }
        if self.bug == Bug::Room && cx.room() < 3000 {
            cx.send_slice(format!("{} left, hurry\n", cx.room()).as_bytes());
        }
        match cx.input.line(100) {
            Ok(Some(line)) => {
                if self.bug != Bug::Forever {
                    cx.arm(Timer::Command, Duration::from_secs(60));
                }
                self.line(cx, &line);
            }
            Ok(None) => return Progress::Blocked,
            Err(TooLong) => cx.send_slice(b"too long\n"),
        }
        Progress::More
    }

    fn event(&mut self, cx: &mut Cx<'_, Self>, event: Event<Self>) {
        match event {
            Event::Reply(id, reply) if self.asked == Some(id) => {
                self.asked = None;
                match reply {
                    Reply::Turned(Turned(line)) => cx.send(line.into()),
                    Reply::Saved(Saved) if self.bug == Bug::Saves => {
                        self.asked = Some(cx.commit(Call::Save));
                    }
                    Reply::Saved(Saved) => cx.send_slice(b"saved\n"),
                }
            }
            Event::Expired(_) => {
                self.asked = None;
                cx.send_slice(b"not now\n");
            }
            Event::Timer(Timer::Delay) => {
                self.naps = 0;
                cx.send_slice(b"rested\n");
            }
            Event::Timer(_) if self.bug != Bug::Forever => {
                cx.send_slice(b"tired of you\n");
                cx.close(Why::Timeout);
            }
            Event::Secured(_) => {
                cx.send_slice(b"secured\n");
            }
            Event::Stop => cx.close(Why::Stopped),
            _ => {}
        }
    }
}

struct Case(Bug);

impl Subject for Case {
    type Protocol = Toy;
    type World = u32;

    fn protocol(&self) -> Toy {
        Toy { bug: self.0, asked: None, naps: 0 }
    }

    fn world(&self) -> u32 {
        0
    }

    fn answer(&self, saved: &mut u32, call: Call) -> Answer<Reply> {
        match call {
            Call::Turn(mut line, ticket) => {
                line.reverse();
                line.push(b'\n');
                ticket.answer(Turned(line))
            }
            Call::Save(ticket) => {
                *saved += 1;
                ticket.answer(Saved)
            }
        }
    }

    fn is_commit(&self, call: &Call) -> bool {
        matches!(call, Call::Save(_))
    }

    fn outcome(&self, saved: &u32) -> String {
        format!("{saved} saved")
    }
}

const LINES: &[&str] =
    &["abc\n", "TLS\n", "NAP\n", "SAVE\n", "LONG\n", "\n", "QUIT\n", "no end", "xyz\r\n"];

fn check(bug: Bug, parts: [Vec<u8>; 2], choices: &[u8]) -> Result<(), Broken> {
    all(&Case(bug), &Script::eof(parts.clone()), choices)?;
    all(&Case(bug), &Script::silence(parts), choices)
}

proptest! {
    #[test]
    fn the_toy_keeps_the_laws(
        first in lines(LINES), second in lines(LINES), choices in choices(),
    ) {
        check(Bug::None, [first, second], &choices)?;
    }
}

type Law = fn(&Case, &Script, &[u8]) -> Result<(), Broken>;

/// The law that a toy breaks, with one of a fixed set of choices.
fn law_broken_by(bug: Bug, law: Law, text: &[u8]) -> Option<&'static str> {
    let script = Script::eof([text.to_vec()]);
    (0..=255u8).find_map(|seed| {
        let choices: Vec<u8> = (0..200u8).map(|n| seed.wrapping_add(n.wrapping_mul(7))).collect();
        law(&Case(bug), &script, &choices).err().map(|broken| broken.law)
    })
}

#[test]
fn faulty_toys_are_found_out() {
    let long = b"LONG\n".repeat(40);
    for (bug, law, text, broken) in [
        (Bug::None, all as Law, &b"abc\nLONG\nSAVE\nNAP\nxyz\n"[..], None),
        (Bug::Chunks, chunking, b"abc\nxyz\n", Some("L1")),
        (Bug::Room, room, &long, Some("L2")),
        (Bug::Chunks, interleaving, b"abc\nxyz\n", Some("L3")),
        (Bug::Forever, patience, b"abc\n", Some("L8")),
        (Bug::Saves, gone, b"SAVE\n", Some("L13")),
    ] {
        assert_eq!(law_broken_by(bug, law, text), broken, "{}", text.escape_ascii());
    }
}

#[test]
fn an_example() {
    let script = Script::silence([b"abc\nTLS\n".to_vec(), b"NAP\nSAVE\n".to_vec()]);
    let seen = transcript(&Case(Bug::None), &script).unwrap();
    let sent = String::from_utf8(seen.sent).unwrap();
    assert_eq!(sent, "hello\ncba\ngo ahead\nsecured\nrested\nsaved\ntired of you\n");
    assert_eq!((seen.handshakes, seen.closed), (1, Some(Why::Timeout)));
    assert_eq!(seen.outcome, "1 saved");
}
