//! The answer that a call must get, whatever happens to the work for it.

use waypost_machine::{Answer, Ticket};

/// Takes an answer back to its machine. The only piece that differs between runtimes.
pub(crate) type Done<R> = Box<dyn FnOnce(Answer<R>) + Send>;

/// The duty to answer one call. When the work for it panics, or is dropped undone, the call is
/// answered with its temporary failure, so a peer always gets a reply.
pub(crate) struct Promise<T, R: From<T>> {
    open: Option<(Ticket<T>, Done<R>)>,
    failure: fn() -> T,
}

impl<T, R: From<T>> Promise<T, R> {
    /// `failure` makes the answer for work that was not finished.
    pub(crate) fn new(ticket: Ticket<T>, done: Done<R>, failure: fn() -> T) -> Self {
        Self { open: Some((ticket, done)), failure }
    }

    /// Answers.
    pub(crate) fn keep(mut self, outcome: T) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: T) {
        if let Some((ticket, done)) = self.open.take() {
            done(ticket.answer(outcome));
        }
    }
}

impl<T, R: From<T>> Drop for Promise<T, R> {
    fn drop(&mut self) {
        if self.open.is_some() {
            let outcome = (self.failure)();
            self.settle(outcome);
        }
    }
}

/// A callback that is called once, also when the job that holds it panics or is dropped.
pub struct Sure<T> {
    done: Option<Box<dyn FnOnce(T) + Send>>,
    failed: fn() -> T,
}

impl<T> Sure<T> {
    /// `failed` makes the outcome of a job that did not get to the end.
    pub fn new(done: Box<dyn FnOnce(T) + Send>, failed: fn() -> T) -> Self {
        Self { done: Some(done), failed }
    }

    /// Calls back.
    pub fn keep(mut self, outcome: T) {
        if let Some(done) = self.done.take() {
            done(outcome);
        }
    }
}

impl<T> Drop for Sure<T> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done((self.failed)());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use waypost_machine::Ledger;

    #[derive(Debug, PartialEq)]
    struct Number(u32);

    fn promise(to: &mpsc::Sender<u32>) -> Promise<Number, Number> {
        let to = to.clone();
        let done = Box::new(move |answer: Answer<Number>| {
            to.send(answer.into_parts().1.0).unwrap();
        });
        Promise::new(Ledger::new().open(None), done, || Number(4))
    }

    #[test]
    fn kept_or_broken_it_answers_once() {
        let (to, from) = mpsc::channel();
        promise(&to).keep(Number(2));
        drop(promise(&to));
        let broken = promise(&to);
        let job = std::panic::AssertUnwindSafe(move || {
            let _held = broken;
            panic!("the work fails");
        });
        assert!(std::panic::catch_unwind(job).is_err());
        drop(to);
        assert_eq!(from.iter().collect::<Vec<_>>(), [2, 4, 4]);
    }
}
