//! Anything that a shell can do to a session, in any order: the first octet chooses settings, the
//! second one says how many octets of operations follow, the rest is what the peer sends.
//!
//! After each step it is looked whether the machine keeps to the interface: laws L2, L4 to L7, L9, L10
//! and L12. When the operations are over, all that is open is answered, all input is handed in, and
//! time passes: the session has to end (L8, L11).

use bytes::Bytes;
use std::cell::RefCell;
use std::time::Duration;
use waypost_laws::Subject;
use waypost_machine::{
    Answer, Held, Input, Ledger, Limits, Machine, Now, Protocol, Session, Step, TlsInfo, UnixTime,
    Wait, Why,
};

use crate::session::{Ended, Play};

/// Steps after which a session counts as endless.
const ENDLESS: usize = 200_000;
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SIZES: [usize; 16] = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 300, 600, 1500, usize::MAX];
const ROOMS: [usize; 16] =
    [0, 0, 1, 1, 2, 3, 5, 7, 16, 40, 100, 299, 600, 4096, 1 << 16, usize::MAX];
const SECONDS: [u64; 8] = [0, 1, 3, 10, 60, 301, 1801, 100_000];

thread_local! {
    /// Its ids are ones that no session of this size reaches.
    static FOREIGN: RefCell<Ledger> = RefCell::new({
        let mut ledger = Ledger::new();
        (0..ENDLESS).for_each(|_| {
            let ticket = ledger.open::<()>(None);
            ledger.close(ticket.id());
        });
        ledger
    });
}

type Reply<S> = <<S as Subject>::Protocol as Protocol>::Reply;

struct Run<'a, S: Play> {
    subject: &'a S,
    session: Session<S::Protocol>,
    world: S::World,
    limits: Limits,
    now: Now,
    text: Bytes,
    /// How many bytes may be handed in before the machine says so anew.
    credit: usize,
    open: Vec<Answer<Reply<S>>>,
    /// Answers to calls that were given up.
    late: Vec<Answer<Reply<S>>>,
    given_up: usize,
    sent: Vec<u8>,
    /// A handshake runs; clear bytes came meanwhile.
    securing: bool,
    injected: bool,
    eof: bool,
    stopped: bool,
    /// It waits, with all the room there is, and nothing has happened since.
    idle: bool,
    wait: Wait,
    closed: Option<Why>,
}

/// Does what the input says.
pub(crate) fn run<S: Play>(data: &[u8], subject: impl Fn(u8) -> S) {
    let [settings, count, rest @ ..] = data else { return };
    let (operations, text) = rest.split_at(rest.len().min(usize::from(*count)));
    let subject = subject(settings & 0x7f);
    let now = Now { wall: UnixTime { secs: 1_795_341_600, nanos: 0 }, ..Now::default() };
    let limits = subject.limits();
    let mut run = Run {
        session: Session::new(now, subject.protocol(), subject.limits()),
        world: subject.world(),
        subject: &subject,
        limits,
        now,
        text: Bytes::copy_from_slice(text),
        credit: 0,
        open: Vec::new(),
        late: Vec::new(),
        given_up: 0,
        sent: Vec::new(),
        securing: false,
        injected: false,
        eof: false,
        stopped: false,
        idle: false,
        wait: Wait { until: None, read: 0 },
        closed: None,
    };
    for operation in operations {
        if run.closed.is_none() {
            run.operation(operation & 15, usize::from(operation >> 4));
        }
    }
    run.finish();
    run.after_the_end();
}

impl<S: Play> Run<'_, S> {
    fn operation(&mut self, what: u8, how: usize) {
        match what {
            0..=4 => self.bytes(SIZES[how]),
            5 | 6 => drop(self.poll(ROOMS[how])),
            7 | 8 => self.drain(),
            9 => drop(self.answer(how)),
            10 => self.late(how),
            11 => {
                let answer = FOREIGN.with_borrow_mut(|ledger| self.subject.unknown(ledger));
                self.without_effect(Input::Answer(answer));
            }
            12 => self.without_effect(Input::Tick),
            13 => self.pass(how),
            14 => self.secured(),
            _ => self.event(how),
        }
    }

    fn hand_in(&mut self, input: Input<Session<S::Protocol>>) {
        self.idle = false;
        self.session.handle(self.now, input);
        let Held { input, output, .. } = self.session.held();
        assert!(input <= self.limits.input, "L10: it holds {input} bytes of input");
        let most = self.limits.output + self.subject.longest_reply();
        assert!(output <= most, "L10: it holds {output} bytes of output");
    }

    /// What must change nothing (L7, L12).
    fn without_effect(&mut self, input: Input<Session<S::Protocol>>) {
        let idle = self.idle;
        self.hand_in(input);
        if idle {
            let Step::Wait(wait) = self.session.poll(usize::MAX) else {
                panic!("L7, L12: it does something after an answer to nothing, or a tick");
            };
            assert_eq!(wait, self.wait, "L7, L12: it waits for something else");
            self.idle = true;
        }
    }

    fn bytes(&mut self, most: usize) {
        let count = most.min(self.credit).min(self.text.len());
        if count > 0 && !self.eof {
            self.credit -= count;
            self.injected |= self.securing;
            let bytes = self.text.split_to(count);
            self.hand_in(Input::Bytes(bytes));
        }
    }

    fn answer(&mut self, which: usize) -> bool {
        if self.open.is_empty() {
            return false;
        }
        let answer = self.open.remove(which % self.open.len());
        self.hand_in(Input::Answer(answer));
        true
    }

    fn late(&mut self, which: usize) {
        if !self.late.is_empty() {
            let answer = self.late.swap_remove(which % self.late.len());
            self.without_effect(Input::Answer(answer));
        }
    }

    fn pass(&mut self, how: usize) {
        let exactly = self.wait.until.filter(|until| *until > self.now.mono);
        let time = match exactly {
            Some(until) if how >= 12 => until.since(self.now.mono) + Duration::from_secs(1),
            Some(until) if how >= 8 => until.since(self.now.mono),
            _ => Duration::from_secs(SECONDS[how % 8]),
        };
        self.now.mono = self.now.mono.plus(time);
        self.now.wall.secs += i64::try_from(time.as_secs()).expect("some days");
        self.hand_in(Input::Tick);
    }

    fn secured(&mut self) {
        if self.securing {
            self.securing = self.injected;
            self.hand_in(Input::Secured(TlsInfo::default()));
        } else {
            self.without_effect(Input::Secured(TlsInfo::default()));
        }
    }

    fn event(&mut self, how: usize) {
        match how {
            0 => {
                self.eof = true;
                self.hand_in(Input::Eof);
            }
            1 => {
                self.stopped = true;
                self.hand_in(Input::Stop);
            }
            _ => {
                let what = u8::try_from(how).expect("small");
                if let Some(notice) = self.subject.happen(&mut self.world, what) {
                    self.hand_in(Input::Notice(notice));
                }
            }
        }
    }

    /// One step; true when there may be more.
    fn poll(&mut self, room: usize) -> bool {
        let step = self.session.poll(room);
        if self.securing {
            let quiet =
                matches!(step, Step::Close(_) | Step::Cancel(_) | Step::Fact(_) | Step::Wait(_));
            assert!(quiet, "L9: it acts between Secure and Secured");
        }
        match step {
            Step::Send(bytes) => {
                assert!(!bytes.is_empty() && bytes.len() <= room, "L2: {} for {room}", bytes.len());
                self.sent.extend_from_slice(&bytes);
            }
            Step::Call(call) => self.open.push(self.subject.answer(&mut self.world, call)),
            Step::Cancel(id) => {
                // The answer may have crossed it.
                self.given_up += 1;
                if let Some(at) = self.open.iter().position(|answer| answer.id() == id) {
                    let answer = self.open.remove(at);
                    self.late.push(answer);
                }
            }
            Step::Fact(_) => {}
            Step::Secure(_) => self.securing = true,
            Step::Close(why) => {
                let ended = self.eof || self.stopped;
                assert!(!self.injected || ended || why == Why::Injected, "L9: {why:?}");
                self.closed = Some(why);
            }
            Step::Wait(wait) => {
                self.waits(wait, room);
                return false;
            }
        }
        self.closed.is_none()
    }

    fn waits(&mut self, wait: Wait, room: usize) {
        self.credit = wait.read;
        self.wait = wait;
        let held = self.session.held().output > 0;
        assert!(room < 4096 || !held, "L4: there is room, and it does not send");
        if held {
            return;
        }
        assert!(wait.until.is_none_or(|until| until > self.now.mono), "L5: it would spin");
        let day = wait.until.is_none_or(|until| until.since(self.now.mono) <= A_DAY);
        assert!(day, "L8: it waits for more than a day");
        let hope = wait.read > 0 || wait.until.is_some() || !self.open.is_empty();
        assert!(hope || self.eof || self.securing, "L4: it waits for nothing");
        self.idle = true;
    }

    fn drain(&mut self) {
        for _ in 0..ENDLESS {
            if !self.poll(usize::MAX) {
                return;
            }
        }
        panic!("L11: it goes on for ever");
    }

    /// From now on all goes well.
    fn finish(&mut self) {
        for _ in 0..ENDLESS {
            if self.closed.is_none() {
                self.drain();
            }
            if self.closed.is_some() {
                return;
            }
            if self.answer(0) {
                continue;
            }
            if self.securing && !self.eof {
                self.secured();
            } else if !self.eof && self.credit > 0 && !self.text.is_empty() {
                self.bytes(1000);
            } else if !self.eof {
                self.event(0);
            } else {
                let until = self.wait.until.expect("L4: after the end it waits for nothing");
                self.now.mono = until;
                self.hand_in(Input::Tick);
            }
        }
        panic!("L8: it does not end");
    }

    /// L6: whatever comes after the end, nothing happens.
    fn after_the_end(mut self) {
        let Some(why) = self.closed else { return };
        let end = Ended {
            protocol: self.session.protocol(),
            now: self.now,
            why,
            sent: &self.sent,
            whole: self.given_up == 0 && self.open.is_empty(),
        };
        self.subject.check(&self.world, &end);
        let secured = Input::Secured(TlsInfo::default());
        let mut inputs = vec![Input::Tick, secured, Input::Stop, Input::Eof, Input::Gone];
        inputs.extend(self.open.drain(..).chain(self.late.drain(..)).map(Input::Answer));
        for input in inputs {
            self.session.handle(self.now, input);
            let quiet =
                matches!(self.session.poll(usize::MAX), Step::Wait(Wait { until: None, read: 0 }));
            assert!(quiet, "L6: it does something after Close");
        }
    }
}
