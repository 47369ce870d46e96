//! What comes to a session from other threads, and the waking of whoever drives it.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use waypost_machine::{Answer, Machine};

/// One thing that came.
pub(crate) enum Arrival<M: Machine> {
    Answer(Answer<M::Reply>),
    Notice(M::Notice),
    Stop,
}

/// A session's letter box.
pub(crate) struct Post<M: Machine>(Mutex<Held<M>>);

struct Held<M: Machine> {
    arrivals: VecDeque<Arrival<M>>,
    waker: Option<Waker>,
}

impl<M: Machine> Default for Post<M> {
    fn default() -> Self {
        Self(Mutex::new(Held { arrivals: VecDeque::new(), waker: None }))
    }
}

impl<M: Machine> Post<M> {
    /// Puts one in, from any thread.
    pub(crate) fn put(&self, arrival: Arrival<M>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.arrivals.push_back(arrival);
        let waker = held.waker.take();
        drop(held);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes all; `waker` is woken by the next one.
    pub(crate) fn take(&self, waker: &Waker) -> VecDeque<Arrival<M>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut held.waker {
            Some(kept) => kept.clone_from(waker),
            None => held.waker = Some(waker.clone()),
        }
        mem::take(&mut held.arrivals)
    }
}

/// Something that can be asked to stop, whatever its machine.
pub(crate) trait Stop: Send + Sync {
    fn stop(&self);
}

impl<M> Stop for Post<M>
where
    M: Machine<Reply: Send, Notice: Send>,
{
    fn stop(&self) {
        self.put(Arrival::Stop);
    }
}
