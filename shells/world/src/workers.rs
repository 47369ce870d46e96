//! Threads, or what takes their place.

use std::time::Duration;

/// For which of the world's duties a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Worker {
    /// Work on files.
    Files,
    /// Comparing passwords.
    Passwords,
    /// The queue manager.
    Queue,
}

/// Takes the place of the world's threads, so that a simulation decides what runs when. Jobs that
/// must keep an order among themselves are handed over one after the other.
pub trait Workers: Send + Sync {
    /// Runs the job once, when `after` is over or later, and never inside this call. A job that is
    /// dropped instead is answered as failed.
    fn run(&self, who: Worker, after: Duration, job: Box<dyn FnOnce() + Send>);
}
