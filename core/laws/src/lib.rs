#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! The laws that every machine keeps, as properties to run over a protocol.
//!
//! | law | says | checked by |
//! |---|---|---|
//! | L1 chunking | cutting the input anywhere changes no output | [`chunking`] |
//! | L2 room | however little is polled at a time, the output is the same | [`room`] |
//! | L3 interleaving | draining late or in part, answering late or in another order, changes no output | [`interleaving`] |
//! | L4 wake | a drained machine waits for something that can come, or has closed | every run |
//! | L5 no spin | a drained machine waits for a time that has not come yet | every run |
//! | L6 end | one `Close`, last; nothing wakes the machine after it | every run |
//! | L7 late | an answer that comes after its call was given up changes nothing | [`lateness`] |
//! | L8 patience | a world that never answers, and a peer that says no more, lead to an end within days | [`patience`] |
//! | L9 barrier | nothing is done between `Secure` and `Secured`; bytes that come in between end the session | every run, [`injection`] |
//! | L10 limits | input and output that are held stay within their limits | every run |
//! | L11 robust | no input makes it panic or go on for ever | [`robustness`] |
//! | L12 ticks | a tick at any time is harmless | [`ticks`] |
//! | L13 gone | when the connection breaks, commits are waited for and nothing else | [`gone`] |
//!
//! A test names its protocol and the world around it once, by a [`Subject`], and runs [`all`] over
//! scripts of its choosing:
//!
//! ```
//! use bytes::Bytes;
//! use proptest::prelude::*;
//! use waypost_laws::{Script, Subject, choices, lines};
//! use waypost_machine::*;
//!
//! /// Says every line back.
//! struct Echo;
//! # #[derive(Debug)]
//! # enum Never {}
//!
//! impl Protocol for Echo {
//!     type Call = Never;
//!     type Reply = Never;
//!     type Notice = Never;
//!     type Fact = Never;
//!     fn start(&mut self, _: &mut Cx<'_, Self>) {}
//!     fn advance(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
//!         match cx.input.line(1000) {
//!             Ok(Some(line)) => cx.send(line),
//!             Ok(None) => return Progress::Blocked,
//!             Err(TooLong) => cx.close(Why::Refused),
//!         }
//!         Progress::More
//!     }
//!     fn event(&mut self, cx: &mut Cx<'_, Self>, event: Event<Self>) {
//!         if matches!(event, Event::Stop) {
//!             cx.close(Why::Stopped);
//!         }
//!     }
//! }
//!
//! struct Case;
//!
//! impl Subject for Case {
//!     type Protocol = Echo;
//!     type World = ();
//!     fn protocol(&self) -> Echo { Echo }
//!     fn world(&self) {}
//!     fn answer(&self, _: &mut (), call: Never) -> Answer<Never> { match call {} }
//!     fn may_idle(&self) -> bool { true }
//! }
//!
//! proptest! {
//! #   #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]
//!     // #[test] in a real one
//!     fn laws(text in lines(&["hello\n", "\n", "no end"]), choices in choices()) {
//!         waypost_laws::all(&Case, &Script::eof([text]), &choices)?;
//!     }
//! }
//! # laws();
//! ```
//!
//! A protocol with TLS has a script of several parts: the next one is sent after each handshake. The
//! world must answer a call by what it is and by what came before it, not by when it comes. What it
//! remembers (mail that was stored) is compared too, when [`Subject::outcome`] tells it.

mod run;
mod script;

use std::fmt;

use waypost_machine::{Answer, Limits, Protocol, Why};

pub use run::Transcript;
use run::{Freedom, run};
pub use script::{End, Script, choices, lines, mangled};

/// A protocol with the world around it.
pub trait Subject {
    /// The protocol.
    type Protocol: Protocol;
    /// What its calls act on.
    type World;

    /// A new connection.
    fn protocol(&self) -> Self::Protocol;

    /// The world before the connection.
    fn world(&self) -> Self::World;

    /// Does what a call asks for.
    fn answer(
        &self,
        world: &mut Self::World,
        call: <Self::Protocol as Protocol>::Call,
    ) -> Answer<<Self::Protocol as Protocol>::Reply>;

    /// True for calls whose outcome must be known ([`waypost_machine::Cx::commit`]): they are
    /// answered even by a world that answers nothing.
    fn is_commit(&self, call: &<Self::Protocol as Protocol>::Call) -> bool {
        let _ = call;
        false
    }

    /// What has come of it all, to be compared between runs.
    fn outcome(&self, world: &Self::World) -> String {
        let _ = world;
        String::new()
    }

    /// What was sent, brought in an order that does not depend on when the world answers: for a
    /// protocol that works on several requests at a time.
    fn settled(&self, sent: Vec<u8>) -> Vec<u8> {
        sent
    }

    /// True when a peer that has nothing to say may stay connected for ever.
    fn may_idle(&self) -> bool {
        false
    }

    /// How much the session may hold.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Bytes that may be sent in one go, beyond the limit of the output.
    fn longest_reply(&self) -> usize {
        16 * 1024
    }
}

/// A law that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// `L1` to `L13`.
    pub law: &'static str,
    /// What was seen.
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken: {}", self.law, self.how)
    }
}

impl std::error::Error for Broken {}

/// All laws. `choices` decides whatever is left open: sizes, orders, moments.
///
/// # Errors
/// The first law that is broken.
pub fn all<S: Subject>(subject: &S, script: &Script, choices: &[u8]) -> Result<(), Broken> {
    chunking(subject, script, choices)?;
    room(subject, script, choices)?;
    interleaving(subject, script, choices)?;
    lateness(subject, script, choices)?;
    patience(subject, script, choices)?;
    injection(subject, script, choices)?;
    robustness(subject, script, choices)?;
    ticks(subject, script, choices)?;
    gone(subject, script, choices)
}

/// L1.
///
/// # Errors
/// The law is broken.
pub fn chunking<S: Subject>(subject: &S, script: &Script, choices: &[u8]) -> Result<(), Broken> {
    same("L1", subject, script, choices, Freedom { cuts: true, ..Freedom::NONE })
}

/// L2.
///
/// # Errors
/// The law is broken.
pub fn room<S: Subject>(subject: &S, script: &Script, choices: &[u8]) -> Result<(), Broken> {
    same("L2", subject, script, choices, Freedom { rooms: true, ..Freedom::NONE })
}

/// L3: with all freedoms at once.
///
/// # Errors
/// The law is broken.
pub fn interleaving<S: Subject>(
    subject: &S,
    script: &Script,
    choices: &[u8],
) -> Result<(), Broken> {
    let freedom = Freedom { cuts: true, rooms: true, drains: true, answers: true, ..Freedom::NONE };
    same("L3", subject, script, choices, freedom)
}

/// L7.
///
/// # Errors
/// The law is broken.
pub fn lateness<S: Subject>(subject: &S, script: &Script, choices: &[u8]) -> Result<(), Broken> {
    let never = run(subject, script, choices, Freedom { silent: true, ..Freedom::NONE })?;
    let late = Freedom { silent: true, late: true, ..Freedom::NONE };
    let late = run(subject, script, choices, late)?;
    equal("L7", &never.without_outcome(), &late.without_outcome())
}

/// L8.
///
/// # Errors
/// The law is broken.
pub fn patience<S: Subject>(subject: &S, script: &Script, choices: &[u8]) -> Result<(), Broken> {
    let script = Script { end: End::Silence, ..script.clone() };
    run(subject, &script, choices, Freedom { silent: true, ..Freedom::NONE }).map(|_| ())
}

/// L9: bytes in clear where the handshake should come.
///
/// # Errors
/// The law is broken.
pub fn injection<S: Subject>(subject: &S, script: &Script, choices: &[u8]) -> Result<(), Broken> {
    run(subject, script, choices, Freedom { inject: true, ..Freedom::NONE }).map(|_| ())
}

/// L11: the script out of step, ended by a stop.
///
/// # Errors
/// The law is broken.
pub fn robustness<S: Subject>(subject: &S, script: &Script, choices: &[u8]) -> Result<(), Broken> {
    let script = Script { parts: mangled(&script.parts, choices), end: End::Stop };
    let freedom = Freedom { cuts: true, rooms: true, drains: true, ..Freedom::NONE };
    let seen = run(subject, &script, choices, Freedom { answers: true, ticks: true, ..freedom })?;
    match seen.closed {
        Some(_) => Ok(()),
        None => Err(Broken { law: "L11", how: format!("a stop does not end it:\n{seen}") }),
    }
}

/// L12.
///
/// # Errors
/// The law is broken.
pub fn ticks<S: Subject>(subject: &S, script: &Script, choices: &[u8]) -> Result<(), Broken> {
    same("L12", subject, script, choices, Freedom { ticks: true, ..Freedom::NONE })
}

/// L13: the connection breaks at some moment.
///
/// # Errors
/// The law is broken.
pub fn gone<S: Subject>(subject: &S, script: &Script, choices: &[u8]) -> Result<(), Broken> {
    let at = choices.iter().take(8).map(|choice| usize::from(*choice)).sum::<usize>() / 8;
    let freedom = Freedom { cuts: true, rooms: true, drains: true, ..Freedom::NONE };
    run(subject, script, choices, Freedom { silent: true, gone: Some(at), ..freedom }).map(|_| ())
}

/// What the protocol says to a script, when everything comes at once and in order.
///
/// # Errors
/// A law that holds in every run is broken.
pub fn transcript<S: Subject>(subject: &S, script: &Script) -> Result<Transcript, Broken> {
    run(subject, script, &[], Freedom::NONE)
}

fn same<S: Subject>(
    law: &'static str,
    subject: &S,
    script: &Script,
    choices: &[u8],
    freedom: Freedom,
) -> Result<(), Broken> {
    let settled = |seen: Transcript| Transcript { sent: subject.settled(seen.sent), ..seen };
    let plain = settled(transcript(subject, script)?);
    let freedom = Freedom { early_end: Some(plain.handshakes), ..freedom };
    let free = settled(run(subject, script, choices, freedom)?);
    equal(law, &plain, &free)
}

fn equal(law: &'static str, plain: &Transcript, free: &Transcript) -> Result<(), Broken> {
    let injected = |seen: &Transcript| seen.closed == Some(Why::Injected);
    // Whether clear bytes behind STARTTLS are seen before or after the barrier is up to the network.
    if plain == free || injected(plain) && injected(free) {
        return Ok(());
    }
    Err(Broken { law, how: format!("\n{plain}\nbecomes\n{free}") })
}
