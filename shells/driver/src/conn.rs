//! One connection: a machine, the wire under it, and the pump between the two.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use waypost_machine::{Answer, CallId, Held, Input, Machine, Now, Step, Time, TlsInfo, Wait, Why};

use crate::trace;
use crate::wire::{Arrived, TlsConfigs, TlsFault, Wire};

/// What a shell decides about its connections.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The machine is not asked for more while so many bytes wait to be written.
    pub high_mark: usize,
    /// A peer is dropped that takes less than [`Settings::PROGRESS`] of what waits for it, and not
    /// all of it, within this time.
    pub write_timeout: Duration,
}

impl Settings {
    /// Octets, as they go over the line: who takes one now and then is not waited for.
    pub const PROGRESS: usize = 16 * 1024;
}

impl Default for Settings {
    /// 64 KiB; 300 s, as Postfix's `smtpd_timeout`.
    fn default() -> Self {
        Self { high_mark: 64 * 1024, write_timeout: Duration::from_secs(300) }
    }
}

/// What [`Conn::pump`] hands out.
#[derive(Debug)]
pub enum Effect<M: Machine> {
    /// Run this; the outcome goes to [`Conn::answer`].
    Call(M::Call),
    /// The outcome of this call is not wanted any more. A hint.
    Cancel(CallId),
    /// Log or count this.
    Fact(M::Fact),
    /// TLS is up.
    Secured(TlsInfo),
    /// The connection broke in a way that the machine does not see.
    Fault(Fault),
}

/// Why a connection ended without the machine's doing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The peer's bytes are no TLS, or not a TLS that we speak.
    #[error("TLS: {0}")]
    Tls(TlsFault),
    /// The peer took too little of what was sent to it within [`Settings::write_timeout`].
    #[error("the peer does not read")]
    WriteTimeout,
    /// The socket failed.
    #[error("{0}")]
    Socket(io::ErrorKind),
}

/// A machine on a connection.
pub struct Conn<M: Machine> {
    /// For trace lines.
    id: u64,
    machine: M,
    wire: Wire,
    settings: Settings,
    wait: Wait,
    /// While output waits.
    stuck: Option<Stuck>,
    /// Writing has failed with this; what the peer said before may still be in the socket.
    deaf: Option<io::ErrorKind>,
    fault: Option<Fault>,
    /// What the machine still says goes nowhere.
    broken: bool,
    /// The machine knows that no more input comes.
    ended: bool,
    closed: Option<Why>,
}

/// Output waits for the peer to take it.
struct Stuck {
    /// Since when, or since there was progress.
    since: Time,
    /// Octets that it took meanwhile.
    taken: usize,
}

impl<M: Machine> Conn<M> {
    /// A connection that was opened just now, in clear. A machine for a port with TLS from the
    /// start asks for it as its first step. `id` shows in trace lines.
    pub fn new(id: u64, machine: M, tls: TlsConfigs, settings: Settings) -> Self {
        let wait = Wait { until: None, read: 0 };
        Self {
            id,
            machine,
            wire: Wire::new(tls),
            settings,
            wait,
            stuck: None,
            deaf: None,
            fault: None,
            broken: false,
            ended: false,
            closed: None,
        }
    }

    /// The machine, for a look from outside.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// What is kept for and of the peer, here and in the machine.
    pub fn held(&self) -> Held {
        let Held { input, output, calls } = self.machine.held();
        let (raw, plain) = (self.wire.unread(), self.wire.held());
        Held { input: input + raw, output: output + plain, calls }
    }

    /// Raw bytes came from the peer. They are kept until the machine wants them.
    pub fn received(&mut self, bytes: Bytes) {
        if self.closed.is_none() {
            self.wire.received(bytes);
        }
    }

    /// The peer sends no more.
    pub fn eof(&mut self) {
        self.wire.eof();
    }

    /// A call has its outcome.
    pub fn answer(&mut self, now: Now, answer: Answer<M::Reply>) {
        self.handle(now, Input::Answer(answer));
    }

    /// News from the world.
    pub fn notice(&mut self, now: Now, notice: M::Notice) {
        self.handle(now, Input::Notice(notice));
    }

    /// [`Conn::deadline`] has come, or nothing has: harmless at any time.
    pub fn tick(&mut self, now: Now) {
        if self.is_too_slow(now) {
            return self.fail(now, Fault::WriteTimeout);
        }
        self.handle(now, Input::Tick);
    }

    /// Shut down politely.
    pub fn stop(&mut self, now: Now) {
        self.handle(now, Input::Stop);
    }

    /// The socket failed: nothing can be sent any more.
    pub fn broken(&mut self, now: Now, error: &io::Error) {
        self.fail(now, Fault::Socket(error.kind()));
    }

    /// Moves everything as far as it goes, and hands out what the shell has to do.
    pub fn pump(&mut self, now: Now, mut effects: impl FnMut(Effect<M>)) {
        loop {
            self.drain(now, &mut effects);
            self.tell_fault(&mut effects);
            if self.closed.is_some() {
                break;
            }
            if !(self.feed(now, &mut effects) || self.has_heard_all(now)) {
                break;
            }
        }
        if self.wire.wants_write() {
            self.stuck.get_or_insert(Stuck { since: now.mono, taken: 0 });
        }
    }

    /// True while there is something to write.
    pub fn wants_write(&self) -> bool {
        self.deaf.is_none() && self.wire.wants_write()
    }

    /// Writes as much as `to` takes before it would block. When this is true, pump again: there is
    /// room for more, or `to` failed, or has taken too little for too long.
    pub fn write_to(&mut self, now: Now, to: &mut dyn io::Write) -> bool {
        match self.wire.write_to(to) {
            Ok(count) => {
                self.taken(now, count);
                // Not left to `tick`: a peer that sends all the time leaves no moment for it.
                let slow = self.is_too_slow(now);
                if slow {
                    self.fail(now, Fault::WriteTimeout);
                }
                slow || count > 0
            }
            // A host that refuses the rest of a message says so and closes: its words are there to
            // be read, then comes the end.
            Err(error) if self.closed.is_none() => {
                self.deaf = Some(error.kind());
                true
            }
            Err(error) => {
                self.broken(now, &error);
                true
            }
        }
    }

    /// True when bytes from the peer are welcome; else leave them in the socket.
    pub fn wants_read(&self) -> bool {
        self.closed.is_none()
            && !self.broken
            && !self.wire.has_input()
            && (self.wire.is_securing() || self.wait.read > 0)
    }

    /// When [`Conn::tick`] is due.
    pub fn deadline(&self) -> Option<Time> {
        let machine = self.wait.until.filter(|_| self.closed.is_none());
        match (machine, self.stuck_until()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// True when the connection can be dropped.
    pub fn finished(&self) -> bool {
        self.closed.is_some() && !self.wants_write()
    }

    /// Why the machine closed, once it has.
    pub fn closed(&self) -> Option<Why> {
        self.closed
    }

    /// True when the peer may still be sending although we have closed: shut down the sending
    /// half and read off what comes for a moment, or the peer may never see our last words.
    pub fn lingers(&self) -> bool {
        !self.broken && matches!(self.closed, Some(Why::Injected | Why::Refused | Why::Stopped))
    }

    fn stuck_until(&self) -> Option<Time> {
        self.stuck.as_ref().map(|stuck| stuck.since.plus(self.settings.write_timeout))
    }

    fn is_too_slow(&self, now: Now) -> bool {
        self.stuck_until().is_some_and(|due| due <= now.mono)
    }

    /// The peer took so much.
    fn taken(&mut self, now: Now, count: usize) {
        let Some(stuck) = &mut self.stuck else { return };
        stuck.taken += count;
        if !self.wire.wants_write() {
            self.stuck = None;
        } else if stuck.taken >= Settings::PROGRESS {
            *stuck = Stuck { since: now.mono, taken: 0 };
        }
    }

    fn handle(&mut self, now: Now, input: Input<M>) {
        trace::input(self.id, &input);
        self.machine.handle(now, input);
    }

    /// Nothing can be sent any more, and what comes does not count.
    fn fail(&mut self, now: Now, fault: Fault) {
        self.stuck = None;
        self.wire.discard();
        self.gone(now, fault);
    }

    /// Whether there is nobody to write to, and nothing that the machine would still read.
    fn has_heard_all(&mut self, now: Now) -> bool {
        match self.deaf {
            Some(kind) if !(self.broken || self.wants_read()) => {
                self.fail(now, Fault::Socket(kind));
                true
            }
            _ => false,
        }
    }

    /// What the machine has begun and must finish, it finishes.
    fn gone(&mut self, now: Now, fault: Fault) {
        if !self.broken {
            self.broken = true;
            self.ended = true;
            self.fault = Some(fault);
            self.handle(now, Input::Gone);
        }
    }

    fn tell_fault(&mut self, effects: &mut impl FnMut(Effect<M>)) {
        if let Some(fault) = self.fault.take() {
            effects(Effect::Fault(fault));
        }
    }

    /// Does what the machine says until it waits or closes.
    fn drain(&mut self, now: Now, effects: &mut impl FnMut(Effect<M>)) {
        while self.closed.is_none() {
            // Before whatever comes of it: what the machine says then is not the whole story.
            self.tell_fault(effects);
            let room = match self.deaf {
                _ if self.broken => usize::MAX,
                Some(_) => 0,
                None => self.settings.high_mark.saturating_sub(self.wire.held()),
            };
            let step = self.machine.poll(room);
            trace::step(self.id, room, &step);
            match step {
                Step::Send(bytes) if self.broken => drop(bytes),
                Step::Send(bytes) => self.wire.send(bytes),
                Step::Call(call) => effects(Effect::Call(call)),
                Step::Cancel(id) => effects(Effect::Cancel(id)),
                Step::Fact(fact) => effects(Effect::Fact(fact)),
                Step::Secure(role) => {
                    // Clear bytes that are already here were sent before the handshake could
                    // begin. The machine closes on them.
                    if let Some(injected) = self.wire.take_clear_input() {
                        self.handle(now, Input::Bytes(injected));
                    } else if let Err(fault) = self.wire.secure(&role) {
                        self.tls_fault(now, fault);
                    }
                }
                Step::Close(why) => {
                    self.closed = Some(why);
                    self.wire.close();
                }
                Step::Wait(wait) => {
                    self.wait = wait;
                    return;
                }
            }
        }
    }

    /// Hands the machine one thing that the wire has for it; false when there is none.
    fn feed(&mut self, now: Now, effects: &mut impl FnMut(Effect<M>)) -> bool {
        if self.ended {
            return false;
        }
        match self.wire.arrived(self.wait.read) {
            Ok(Arrived::Plain(bytes)) => self.handle(now, Input::Bytes(bytes)),
            Ok(Arrived::Secured(info)) => {
                effects(Effect::Secured(info.clone()));
                self.handle(now, Input::Secured(info));
            }
            Ok(Arrived::End) if let Some(kind) = self.deaf => {
                self.fail(now, Fault::Socket(kind));
            }
            Ok(Arrived::End) => {
                self.ended = true;
                self.handle(now, Input::Eof);
            }
            Ok(Arrived::Nothing) => return false,
            Err(fault) => self.tls_fault(now, fault),
        }
        true
    }

    /// The alert still goes out; nothing else does.
    fn tls_fault(&mut self, now: Now, fault: TlsFault) {
        self.gone(now, Fault::Tls(fault));
    }
}
