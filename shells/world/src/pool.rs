//! Threads for work that waits: for the disk, or for a long computation.
//!
//! Jobs of the same key run one after the other, in the order in which they came, so what a session
//! asks for one message or mailbox is done in that order; jobs of different keys run side by side.
//! A key that is busy holds up no thread: its further jobs wait beside the line.
//!
//! In a simulation there are no threads: for each job that is ready, [`Workers`] get a turn to run one.
//!
//! A job that panics is logged and takes nothing with it. Whoever waits for it learns so by
//! [`crate::promise::Promise`], which the job dropped.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::lock;
use crate::workers::{Worker, Workers};

/// Something to do.
type Job = Box<dyn FnOnce() + Send>;

/// A set of threads and the jobs that wait for them.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    name: &'static str,
    state: Mutex<State>,
    work: Condvar,
    /// Instead of threads.
    workers: Option<(Worker, Arc<dyn Workers>)>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<(Option<u64>, Job)>,
    /// Keys with a job that runs or is ready, and the jobs behind it.
    busy: HashMap<u64, VecDeque<Job>>,
    stopping: bool,
}

impl Pool {
    /// Starts the threads. `name` is what they are called in `ps -L` and in the log.
    ///
    /// # Errors
    /// When the system refuses to start a thread.
    pub(crate) fn start(name: &'static str, threads: usize) -> io::Result<Self> {
        let pool = Self::new(name, None);
        for n in 0..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let thread =
                std::thread::Builder::new().name(format!("{name}-{n}")).spawn(move || shared.run());
            match thread {
                Ok(thread) => lock(&pool.threads).push(thread),
                Err(error) => {
                    pool.stop();
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }

    /// Without threads.
    pub(crate) fn lent(name: &'static str, worker: Worker, workers: Arc<dyn Workers>) -> Self {
        Self::new(name, Some((worker, workers)))
    }

    fn new(name: &'static str, workers: Option<(Worker, Arc<dyn Workers>)>) -> Self {
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { name, state, work: Condvar::new(), workers });
        Self { shared, threads: Mutex::new(Vec::new()) }
    }

    /// Lets a job run when its turn comes. Never waits. After [`stop`](Self::stop) the job is
    /// dropped.
    pub(crate) fn submit(&self, key: Option<u64>, job: impl FnOnce() + Send + 'static) {
        let job: Job = Box::new(job);
        let mut state = lock(&self.shared.state);
        if state.stopping {
            drop(state);
            drop(job);
            return;
        }
        if let Some(key) = key {
            match state.busy.entry(key) {
                Entry::Occupied(mut waiting) => {
                    waiting.get_mut().push_back(job);
                    return;
                }
                Entry::Vacant(free) => {
                    free.insert(VecDeque::new());
                }
            }
        }
        state.ready.push_back((key, job));
        drop(state);
        self.shared.wake();
    }

    /// Runs what has been submitted, then ends the threads.
    pub(crate) fn stop(&self) {
        lock(&self.shared.state).stopping = true;
        self.shared.work.notify_all();
        let threads = std::mem::take(&mut *lock(&self.threads));
        let own = std::thread::current().id();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != own) {
            // The threads catch the panics of their jobs.
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// A job is ready.
    fn wake(self: &Arc<Self>) {
        match &self.workers {
            None => self.work.notify_one(),
            Some((worker, workers)) => {
                let shared = Arc::clone(self);
                workers.run(*worker, Duration::ZERO, Box::new(move || shared.turn()));
            }
        }
    }

    /// Runs one job; the one that waited for it gets a turn of its own.
    fn turn(self: &Arc<Self>) {
        let Some((key, job)) = lock(&self.state).ready.pop_front() else { return };
        self.job(job);
        if key.is_some_and(|key| lock(&self.state).release(key)) {
            self.wake();
        }
    }

    fn job(&self, job: Job) {
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!(pool = self.name, "a job panicked; it was answered as failed");
        }
    }

    fn run(&self) {
        let mut state = lock(&self.state);
        loop {
            if let Some((key, job)) = state.ready.pop_front() {
                drop(state);
                self.job(job);
                state = lock(&self.state);
                if let Some(key) = key {
                    state.release(key);
                }
            } else if state.stopping {
                // Jobs behind a busy key come back to `ready` by the thread that runs it.
                return;
            } else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl State {
    /// A job of this key is done; the next one, if there is one, gets in line behind the others.
    fn release(&mut self, key: u64) -> bool {
        match self.busy.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(job) => self.ready.push_back((Some(key), job)),
            None => {
                self.busy.remove(&key);
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_key_keeps_its_order() {
        let pool = Pool::start("test", 8).unwrap();
        let (to, from) = mpsc::channel();
        for n in 0..400_u64 {
            let to = to.clone();
            pool.submit(Some(n % 7), move || {
                std::thread::yield_now();
                to.send(n).unwrap();
            });
        }
        drop(to);
        let all: Vec<u64> = from.iter().collect();
        assert_eq!(all.len(), 400);
        for key in 0..7 {
            let of_key: Vec<u64> = all.iter().copied().filter(|n| n % 7 == key).collect();
            assert!(of_key.is_sorted(), "{of_key:?}");
        }
        assert!(lock(&pool.shared.state).busy.len() <= 7);
    }

    #[test]
    fn a_busy_key_holds_up_no_other() {
        let pool = Pool::start("test", 2).unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let (to, from) = mpsc::channel();
        pool.submit(Some(1), move || wait.recv().unwrap());
        for _ in 0..10 {
            let to = to.clone();
            pool.submit(Some(1), move || to.send("behind").unwrap());
        }
        let other = to.clone();
        pool.submit(Some(2), move || other.send("beside").unwrap());
        pool.submit(None, move || to.send("beside").unwrap());
        let first = [from.recv().unwrap(), from.recv().unwrap()];
        assert_eq!(first, ["beside", "beside"]);
        go.send(()).unwrap();
        assert_eq!(from.iter().filter(|word| *word == "behind").count(), 10);
    }

    #[test]
    fn a_panic_stops_nothing() {
        let pool = Pool::start("test", 1).unwrap();
        let (to, from) = mpsc::channel();
        pool.submit(Some(1), || panic!("a fault in a job"));
        pool.submit(Some(1), move || to.send(1).unwrap());
        assert_eq!(from.recv().unwrap(), 1);
    }

    #[test]
    fn stopping_finishes_what_was_begun() {
        let pool = Pool::start("test", 3).unwrap();
        let (to, from) = mpsc::channel();
        for n in 0..50 {
            let to = to.clone();
            pool.submit(Some(n % 2), move || to.send(n).unwrap());
        }
        pool.stop();
        pool.submit(None, move || to.send(99).unwrap());
        assert_eq!(from.iter().collect::<std::collections::BTreeSet<_>>().len(), 50);
    }
}
