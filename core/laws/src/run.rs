//! One run of a session against a script, and the laws that hold in every run.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use waypost_machine::{
    Answer, CallId, Held, Input, Machine, Now, Protocol, Session, Step, TlsInfo, UnixTime, Wait,
    Why,
};

use crate::script::{End, Script};
use crate::{Broken, Subject};

/// Steps after which a run counts as endless.
const ENDLESS: usize = 1_000_000;
/// Steps that a session may take when its connection has broken.
const FAREWELL: usize = 10_000;
/// No timer is longer.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What was seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// All bytes that were sent.
    pub sent: Vec<u8>,
    /// Handshakes that were asked for.
    pub handshakes: usize,
    /// Why it closed; `None` when it waits.
    pub closed: Option<Why>,
    /// What has come of it in the world.
    pub outcome: String,
}

impl Transcript {
    pub(crate) fn without_outcome(self) -> Self {
        Self { outcome: String::new(), ..self }
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, handshakes, closed, outcome } = self;
        write!(f, "\"{}\" ({} bytes)", sent.escape_ascii(), sent.len())?;
        write!(f, ", {handshakes} handshakes, closed: {closed:?}, {outcome}")
    }
}

/// What is decided by choices; otherwise it is done at once and in order.
#[derive(Clone, Copy)]
pub(crate) struct Freedom {
    pub(crate) cuts: bool,
    pub(crate) rooms: bool,
    pub(crate) drains: bool,
    /// The end of the input may come before the machine is drained, after so many handshakes: an
    /// end in a handshake is the end of all.
    pub(crate) early_end: Option<usize>,
    pub(crate) answers: bool,
    pub(crate) ticks: bool,
    /// No call is answered but commits.
    pub(crate) silent: bool,
    /// Calls that were given up are answered all the same.
    pub(crate) late: bool,
    /// Clear bytes come where a handshake should.
    pub(crate) inject: bool,
    /// The connection breaks after so many steps.
    pub(crate) gone: Option<usize>,
}

impl Freedom {
    pub(crate) const NONE: Self = Self {
        cuts: false,
        rooms: false,
        drains: false,
        early_end: None,
        answers: false,
        ticks: false,
        silent: false,
        late: false,
        inject: false,
        gone: None,
    };
}

type Reply<S> = <<S as Subject>::Protocol as Protocol>::Reply;

struct Run<'a, S: Subject> {
    subject: &'a S,
    session: Session<S::Protocol>,
    world: S::World,
    now: Now,
    freedom: Freedom,
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    parts: VecDeque<Bytes>,
    end: End,
    ended: bool,
    /// How many bytes may be handed in before the machine says so anew.
    credit: usize,
    /// Answers on their way, in the order of their calls.
    answers: VecDeque<Answer<Reply<S>>>,
    /// Calls that have no answer, and those that were given up.
    silent: Vec<Answer<Reply<S>>>,
    given_up: Vec<CallId>,
    open: usize,
    securing: bool,
    seen: Transcript,
    steps: usize,
}

/// Plays a script.
pub(crate) fn run<S: Subject>(
    subject: &S,
    script: &Script,
    choices: &[u8],
    freedom: Freedom,
) -> Result<Transcript, Broken> {
    let now = Now { wall: UnixTime { secs: 1_795_341_600, nanos: 0 }, ..Now::default() };
    let mut run = Run {
        subject,
        session: Session::new(now, subject.protocol(), subject.limits()),
        world: subject.world(),
        now,
        freedom,
        choices: choices.iter().cycle(),
        parts: script.parts.iter().map(|part| Bytes::copy_from_slice(part)).collect(),
        end: script.end,
        ended: false,
        credit: 0,
        answers: VecDeque::new(),
        silent: Vec::new(),
        given_up: Vec::new(),
        open: 0,
        securing: false,
        seen: Transcript { sent: Vec::new(), handshakes: 0, closed: None, outcome: String::new() },
        steps: 0,
    };
    run.play()?;
    run.after_the_end()?;
    run.seen.outcome = subject.outcome(&run.world);
    Ok(run.seen)
}

fn broken<T>(law: &'static str, how: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { law, how: how.into() })
}

impl<S: Subject> Run<'_, S> {
    /// A choice below `count`, 0 when there is nothing to choose.
    fn choose(&mut self, free: bool, count: usize) -> usize {
        if !free || count < 2 {
            return 0;
        }
        self.choices.next().map_or(0, |choice| usize::from(*choice) % count)
    }

    fn play(&mut self) -> Result<(), Broken> {
        let mut room = usize::MAX;
        while self.seen.closed.is_none() {
            self.steps += 1;
            if self.steps > ENDLESS {
                return broken("L11", format!("it goes on for ever:\n{}", self.seen));
            }
            if self.freedom.gone.is_some_and(|at| at < self.steps) {
                return self.gone();
            }
            if self.choose(self.freedom.ticks, 4) == 1 {
                self.hand_in(Input::Tick)?;
            }
            if self.choose(self.freedom.drains, 3) == 1 {
                // Something comes before the machine is drained.
                self.something(false)?;
            }
            room = match self.choose(self.freedom.rooms, 5) {
                0 => usize::MAX,
                1 => 1,
                2 => 7,
                // No progress, so not twice.
                3 if room > 0 => 0,
                _ => 600,
            };
            match self.session.poll(room) {
                Step::Wait(_) if room == 0 && self.session.held().output > 0 => {}
                Step::Wait(wait) => {
                    self.check_wait(wait)?;
                    self.check_drained()?;
                    self.credit = wait.read;
                    if !self.something(true)? && !self.pass(wait)? {
                        return Ok(());
                    }
                }
                step => self.step(step, room)?,
            }
        }
        Ok(())
    }

    /// The connection breaks: what is due then is due without a byte more, and at once.
    fn gone(&mut self) -> Result<(), Broken> {
        self.hand_in(Input::Gone)?;
        for _ in 0..FAREWELL {
            match self.session.poll(usize::MAX) {
                Step::Wait(_) if self.answer()? => {}
                Step::Wait(_) => return broken("L13", format!("it waits:\n{}", self.seen)),
                step => self.step(step, usize::MAX)?,
            }
            if self.seen.closed.is_some() {
                return Ok(());
            }
        }
        broken("L13", format!("it goes on:\n{}", self.seen))
    }

    fn step(&mut self, step: Step<Session<S::Protocol>>, room: usize) -> Result<(), Broken> {
        if self.securing && !matches!(step, Step::Close(_) | Step::Cancel(_) | Step::Fact(_)) {
            return broken("L9", "it acts between Secure and Secured");
        }
        match step {
            Step::Send(bytes) => {
                if bytes.is_empty() || bytes.len() > room {
                    return broken("L2", format!("{} bytes sent for {room}", bytes.len()));
                }
                self.seen.sent.extend_from_slice(&bytes);
            }
            Step::Call(call) => {
                let commit = self.subject.is_commit(&call);
                let answer = self.subject.answer(&mut self.world, call);
                self.open += 1;
                if self.freedom.silent && !commit {
                    self.silent.push(answer);
                } else {
                    self.answers.push_back(answer);
                }
            }
            Step::Cancel(id) => self.given_up.push(id),
            Step::Secure(_) => {
                self.securing = true;
                self.seen.handshakes += 1;
            }
            Step::Close(why) => self.seen.closed = Some(why),
            Step::Fact(_) | Step::Wait(_) => {}
        }
        Ok(())
    }

    /// Lets one thing happen that can happen; false when there is none. `drained`: the machine has
    /// nothing to do.
    fn something(&mut self, drained: bool) -> Result<bool, Broken> {
        if self.securing {
            return if drained { self.handshake().map(|()| true) } else { Ok(false) };
        }
        let answer_first = self.choose(self.freedom.answers, 3) == 0;
        if answer_first && self.answer()? {
            return Ok(true);
        }
        if self.bytes()? || self.answer()? || self.late()? {
            return Ok(true);
        }
        let early = self.choose(self.freedom.drains, 2) == 1
            && self.end == End::Eof
            && self.freedom.early_end == Some(self.seen.handshakes);
        if !(drained || early && self.parts.len() < 2) {
            return Ok(false);
        }
        if self.parts.front().is_some_and(Bytes::is_empty) && self.parts.len() > 1 {
            // No handshake came after this part: the next one follows.
            self.parts.pop_front();
            return Ok(true);
        }
        if self.parts.iter().any(|part| !part.is_empty()) {
            return Ok(false);
        }
        match self.end {
            _ if self.ended => return Ok(false),
            End::Silence => return Ok(false),
            End::Eof => self.hand_in(Input::Eof)?,
            End::Stop => self.hand_in(Input::Stop)?,
        }
        self.ended = true;
        Ok(true)
    }

    fn bytes(&mut self) -> Result<bool, Broken> {
        let Some(part) = self.parts.front() else { return Ok(false) };
        let most = part.len().min(self.credit);
        if most == 0 {
            return Ok(false);
        }
        let count = match self.choose(self.freedom.cuts, 6) {
            0 if self.freedom.cuts => most.min(1000),
            0 => most,
            1 | 2 => 1,
            3 => most.min(2),
            4 => most.min(5),
            _ => most.min(100),
        };
        let bytes = self.parts.front_mut().map(|part| part.split_to(count)).unwrap_or_default();
        self.credit -= count;
        self.hand_in(Input::Bytes(bytes))?;
        Ok(true)
    }

    fn answer(&mut self) -> Result<bool, Broken> {
        let at = self.choose(self.freedom.answers, self.answers.len());
        let Some(answer) = self.answers.remove(at) else { return Ok(false) };
        self.open -= 1;
        self.hand_in(Input::Answer(answer))?;
        Ok(true)
    }

    /// Answers a call that was given up.
    fn late(&mut self) -> Result<bool, Broken> {
        let given_up = |answer: &Answer<_>| self.given_up.contains(&answer.id());
        if !self.freedom.late {
            return Ok(false);
        }
        let Some(at) = self.silent.iter().position(given_up) else { return Ok(false) };
        let answer = self.silent.remove(at);
        self.hand_in(Input::Answer(answer))?;
        Ok(true)
    }

    /// The handshake, if no clear bytes come before it.
    fn handshake(&mut self) -> Result<(), Broken> {
        let mut clear = self.parts.front_mut().map(std::mem::take).unwrap_or_default();
        if self.freedom.inject && clear.is_empty() {
            clear = Bytes::from_static(b"injected\r\n");
        }
        if !clear.is_empty() {
            self.hand_in(Input::Bytes(clear))?;
            let before = self.seen.sent.len();
            loop {
                match self.session.poll(usize::MAX) {
                    Step::Close(Why::Injected) if self.seen.sent.len() == before => {
                        self.seen.closed = Some(Why::Injected);
                        return Ok(());
                    }
                    Step::Fact(_) | Step::Cancel(_) => {}
                    // A commit is still waited for.
                    Step::Wait(_) if self.answer()? => {}
                    _ => return broken("L9", "clear bytes before the handshake do not end it"),
                }
            }
        }
        self.securing = false;
        if self.parts.len() > 1 {
            self.parts.pop_front();
        }
        self.hand_in(Input::Secured(TlsInfo::default()))
    }

    /// Time passes until the machine wants to be woken; false when it does not.
    fn pass(&mut self, wait: Wait) -> Result<bool, Broken> {
        match wait.until {
            Some(until) if until.since(self.now.mono) > A_DAY => {
                broken("L8", format!("it wants to wait for more than a day:\n{}", self.seen))
            }
            Some(until) => {
                self.now.mono = until;
                self.hand_in(Input::Tick)?;
                Ok(true)
            }
            None if self.silent.iter().any(|answer| !self.given_up.contains(&answer.id())) => {
                broken("L8", format!("it waits for an answer for ever:\n{}", self.seen))
            }
            None if !self.subject.may_idle() => {
                broken("L8", format!("it waits for ever:\n{}", self.seen))
            }
            None => Ok(false),
        }
    }

    fn hand_in(&mut self, input: Input<Session<S::Protocol>>) -> Result<(), Broken> {
        self.session.handle(self.now, input);
        let (limits, held) = (self.subject.limits(), self.session.held());
        let Held { input, output, .. } = held;
        if input > limits.input || output > limits.output + self.subject.longest_reply() {
            return broken("L10", format!("it holds {input} and {output} bytes"));
        }
        Ok(())
    }

    fn check_wait(&self, wait: Wait) -> Result<(), Broken> {
        if wait.until.is_some_and(|until| until <= self.now.mono) {
            return broken("L5", "it waits for a time that has come");
        }
        let hope = wait.read > 0 || wait.until.is_some() || self.open > 0;
        if !hope && !self.ended && !self.securing {
            return broken("L4", format!("it waits for nothing:\n{}", self.seen));
        }
        Ok(())
    }

    /// A machine that waits has done all it can do now: a tick does not wake it.
    fn check_drained(&mut self) -> Result<(), Broken> {
        if self.freedom.ticks && !self.securing && self.session.held().output == 0 {
            self.hand_in(Input::Tick)?;
            let waits = matches!(self.session.poll(usize::MAX), Step::Wait(_));
            return if waits { Ok(()) } else { broken("L4", "it waits with work left to do") };
        }
        Ok(())
    }

    /// L6: whatever comes after the end, nothing happens.
    fn after_the_end(&mut self) -> Result<(), Broken> {
        if self.seen.closed.is_none() {
            return Ok(());
        }
        let mut inputs = vec![
            Input::Tick,
            Input::Bytes(Bytes::from_static(b"more\r\n")),
            Input::Secured(TlsInfo::default()),
            Input::Stop,
            Input::Eof,
            Input::Gone,
        ];
        inputs.extend(self.answers.drain(..).chain(self.silent.drain(..)).map(Input::Answer));
        for input in inputs {
            self.session.handle(self.now, input);
            match self.session.poll(usize::MAX) {
                Step::Wait(Wait { until: None, read: 0 }) => {}
                _ => return broken("L6", "it does something after Close"),
            }
        }
        Ok(())
    }
}
