#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! The contract of all Waypost machines: `handle` in, `poll` out, nothing else.
//!
//! A machine takes bytes, answers and the time, and gives back steps. It names no clock, socket,
//! file or thread, so the same machine runs under any runtime, in a test, or in a simulation.
//!
//! The loop that drives one is always this:
//!
//! 1. hand in what happened with [`Machine::handle`];
//! 2. [`Machine::poll`] until it answers [`Step::Wait`], doing what each step says;
//! 3. wait for one of: `Wait.read` bytes or less from the peer, room to send, an answer to a call,
//!    or the time `Wait.until`; go to 1.
//!
//! ```
//! use std::time::Duration;
//! use bytes::Bytes;
//! use waypost_machine::*;
//!
//! /// Asks the world to turn each line around.
//! struct Mirror;
//!
//! enum Call { Turn(Bytes, Ticket<Turned>) }
//! struct Turned(Vec<u8>);
//!
//! impl Protocol for Mirror {
//!     type Call = Call;
//!     type Reply = Turned;
//!     type Notice = ();
//!     type Fact = ();
//!     fn start(&mut self, cx: &mut Cx<'_, Self>) {
//!         cx.send_slice(b"hello\n");
//!     }
//!     fn advance(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
//!         match cx.input.line(100) {
//!             Ok(Some(line)) => {
//!                 cx.call(Duration::from_secs(5), |ticket| Call::Turn(line, ticket));
//!                 Progress::More
//!             }
//!             Ok(None) => Progress::Blocked,
//!             Err(TooLong) => { cx.close(Why::Refused); Progress::Blocked }
//!         }
//!     }
//!     fn event(&mut self, cx: &mut Cx<'_, Self>, event: Event<Self>) {
//!         match event {
//!             Event::Reply(_, Turned(text)) => cx.send(text.into()),
//!             Event::Expired(_) => cx.send_slice(b"not now\n"),
//!             Event::Stop => cx.close(Why::Stopped),
//!             _ => {}
//!         }
//!     }
//! }
//!
//! let now = Now::default();
//! let mut session = Session::new(now, Mirror, Limits::default());
//! session.handle(now, Input::Bytes(Bytes::from_static(b"abc\n")));
//! session.handle(now, Input::Eof);
//! let mut sent = Vec::new();
//! loop {
//!     match session.poll(usize::MAX) {
//!         Step::Send(bytes) => sent.extend_from_slice(&bytes),
//!         Step::Call(Call::Turn(line, ticket)) => {
//!             let mut turned: Vec<u8> = line.iter().rev().skip(1).copied().collect();
//!             turned.push(b'\n');
//!             session.handle(now, Input::Answer(ticket.answer(Turned(turned))));
//!         }
//!         Step::Close(_) => break,
//!         Step::Wait(_) => panic!("nothing to wait for in this example"),
//!         _ => {}
//!     }
//! }
//! assert_eq!(sent, b"hello\ncba\n");
//! ```
//!
//! The laws that every machine keeps stand, as properties to run, in `waypost-laws`.

extern crate alloc;
#[cfg(test)]
extern crate std;

mod inbox;
mod outbox;
mod secret;
mod session;
mod step;
mod ticket;
mod time;
mod timers;

pub use inbox::{Inbox, TooLong};
pub use secret::Secret;
pub use session::{Cx, Event, Held, Limits, Progress, Protocol, Session};
pub use step::{Input, Machine, Step, TlsInfo, TlsRole, Wait, Why};
pub use ticket::{Answer, CallId, Ledger, Ticket};
pub use time::{Now, Time, UnixTime};
pub use timers::Timer;
