//! A recipient's way through the tables: runs the machine of `waypost-route`.
//!
//! Whoever brings an answer drives the machine on; while somebody does, others only leave their
//! answers. So no thread waits, and a thousand answers in a row need no deeper stack than one.

use std::sync::{Arc, Mutex};

use waypost_machine::{Answer, Input, Machine, Step};
use waypost_mail::Verdict;
use waypost_route::{Fact, Looked, Policy, Request, Resolve};

use crate::clock::Clock;
use crate::lock;
use crate::promise::Sure;
use crate::run::lookup::Lookups;
use crate::run::smtp::not_now;

/// A resolution under way.
struct Course {
    lookups: Arc<Lookups>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    /// `None` while somebody drives it.
    machine: Option<Driven>,
    answers: Vec<Answer<Looked>>,
}

struct Driven {
    resolve: Resolve,
    done: Sure<Verdict>,
}

/// Resolves a recipient; `done` gets the verdict, at once or later, on any thread.
pub(crate) fn resolve(
    lookups: &Arc<Lookups>,
    clock: &Arc<dyn Clock>,
    policy: &Arc<Policy>,
    request: Request,
    done: Box<dyn FnOnce(Verdict) + Send>,
) {
    let resolve = Resolve::new(clock.now(), Arc::clone(policy), request);
    let done = Sure::new(done, || Verdict::Refuse(not_now()));
    let course = Arc::new(Course {
        lookups: Arc::clone(lookups),
        clock: Arc::clone(clock),
        state: Mutex::new(State { machine: None, answers: Vec::new() }),
    });
    course.drive(Driven { resolve, done });
}

impl Course {
    fn answer(self: &Arc<Self>, answer: Answer<Looked>) {
        let mut state = lock(&self.state);
        state.answers.push(answer);
        let idle = state.machine.take();
        drop(state);
        if let Some(driven) = idle {
            self.drive(driven);
        }
    }

    fn drive(self: &Arc<Self>, mut driven: Driven) {
        let mut verdict = None;
        loop {
            match driven.resolve.poll(0) {
                Step::Call(lookup) => {
                    let (course, ticket) = (Arc::clone(self), lookup.ticket);
                    let done = Box::new(move |looked: Looked| course.answer(ticket.answer(looked)));
                    self.lookups.look(lookup.map, &lookup.key, done);
                }
                Step::Fact(Fact::Verdict(end)) => verdict = Some(end),
                Step::Fact(Fact::Unavailable { map, key, why }) => {
                    tracing::warn!("warning: {}: {key}: {why}", map.name());
                }
                Step::Fact(Fact::Nonsense { address, what }) => {
                    tracing::warn!("warning: {address}: {what}");
                }
                Step::Close(_) => {
                    driven.done.keep(verdict.unwrap_or_else(|| Verdict::Refuse(not_now())));
                    return;
                }
                Step::Wait(_) => {
                    let mut state = lock(&self.state);
                    if state.answers.is_empty() {
                        state.machine = Some(driven);
                        return;
                    }
                    let answers = std::mem::take(&mut state.answers);
                    drop(state);
                    for answer in answers {
                        driven.resolve.handle(self.clock.now(), Input::Answer(answer));
                    }
                }
                Step::Send(_) | Step::Cancel(_) | Step::Secure(_) => {}
            }
        }
    }
}
