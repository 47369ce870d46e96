//! Waiting for several answers without a thread.

use std::sync::{Arc, Mutex};

use crate::lock;

/// What is done with all answers.
type Done<T> = Box<dyn FnOnce(Vec<T>) + Send>;

/// Gathers answers. When the last holder lets go of it, what came is handed on; an answer that
/// never came is missing there.
pub(crate) struct Gather<T: Send>(Mutex<(Vec<T>, Option<Done<T>>)>);

impl<T: Send> Gather<T> {
    pub(crate) fn new(done: impl FnOnce(Vec<T>) + Send + 'static) -> Arc<Self> {
        Arc::new(Self(Mutex::new((Vec::new(), Some(Box::new(done))))))
    }

    /// Takes one answer.
    pub(crate) fn add(&self, answer: T) {
        lock(&self.0).0.push(answer);
    }
}

impl<T: Send> Drop for Gather<T> {
    fn drop(&mut self) {
        let (all, done) = {
            let mut state = lock(&self.0);
            (std::mem::take(&mut state.0), state.1.take())
        };
        if let Some(done) = done {
            done(all);
        }
    }
}
