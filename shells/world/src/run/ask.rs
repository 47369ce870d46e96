//! Asking somebody who answers by callback, at once or later, without ever going deeper.

use std::sync::{Arc, Mutex};

use crate::lock;

/// What is known of a question.
enum Slot<S, O> {
    Asked,
    Answered(O),
    Parked(S),
    Over,
}

/// Asks by `start`. When the answer comes before `start` returns, it is given back together with
/// the state, so the caller goes on in its loop. Otherwise the state is kept, and `resume` gets both
/// when the answer comes, on the thread that brings it.
pub(crate) fn ask<S: Send + 'static, O: Send + 'static>(
    state: S,
    start: impl FnOnce(Box<dyn FnOnce(O) + Send>),
    resume: fn(S, O),
) -> Option<(S, O)> {
    let slot = Arc::new(Mutex::new(Slot::<S, O>::Asked));
    let theirs = Arc::clone(&slot);
    start(Box::new(move |outcome| {
        let mut slot = lock(&theirs);
        match std::mem::replace(&mut *slot, Slot::Over) {
            Slot::Asked => *slot = Slot::Answered(outcome),
            Slot::Parked(state) => {
                drop(slot);
                resume(state, outcome);
            }
            Slot::Answered(_) | Slot::Over => {}
        }
    }));
    let mut slot = lock(&slot);
    match std::mem::replace(&mut *slot, Slot::Over) {
        Slot::Answered(outcome) => Some((state, outcome)),
        _ => {
            *slot = Slot::Parked(state);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    type Asked = Box<dyn FnOnce(u32) + Send>;

    #[test]
    fn at_once_or_later() {
        assert_eq!(ask("state", |done: Asked| done(7), |_, _| unreachable!()), Some(("state", 7)));
        let (to, from) = mpsc::channel();
        let mut kept: Option<Asked> = None;
        let parked = ask(to, |done| kept = Some(done), |to, n: u32| to.send(n).unwrap());
        assert!(parked.is_none());
        kept.unwrap()(9);
        assert_eq!(from.recv(), Ok(9));
        assert!(from.recv().is_err(), "the state is gone");
    }

    #[test]
    fn a_question_that_is_dropped_drops_the_state() {
        let (to, from) = mpsc::channel::<u32>();
        assert!(ask(to, |done: Asked| drop(done), |_, _| {}).is_none());
        assert!(from.recv().is_err());
    }
}
