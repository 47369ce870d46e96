//! Threads for work that waits: for the disk, or for a long computation.
//!
//! Jobs of the same key run one after the other, in the order in which they came, so what a session
//! asks for one message or mailbox is done in that order; jobs of different keys run side by side.
//! A key that is busy holds up no thread: its further jobs wait beside the line.
//!
//! A thread is started when a job finds none that is idle, and ends after a while without work; who
//! was idle for the shortest time gets the next job. So a server with little to do has few threads,
//! and the memory of few.
//!
//! In a simulation there are no threads: for each job that is ready, [`Workers`] get a turn to run one.
//!
//! A job that panics is logged and takes nothing with it. Whoever waits for it learns so by
//! [`crate::promise::Promise`], which the job dropped.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle, Thread, ThreadId};
use std::time::Duration;

use crate::lock;
use crate::workers::{Worker, Workers};

/// Something to do.
type Job = Box<dyn FnOnce() + Send>;

/// How long a thread stays without work, unless it is the only one.
const KEEP: Duration = Duration::from_secs(10);

/// A set of threads and the jobs that wait for them.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    /// Threads, at most.
    limit: usize,
    keep: Duration,
    state: Mutex<State>,
    /// Instead of threads.
    workers: Option<(Worker, Arc<dyn Workers>)>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<(Option<u64>, Job)>,
    /// Keys with a job that runs or is ready, and the jobs behind it.
    busy: HashMap<u64, VecDeque<Job>>,
    stopping: bool,
    threads: HashMap<ThreadId, JoinHandle<()>>,
    /// Those without work, the last one to come back at the end.
    idle: Vec<Thread>,
    /// Threads that were ever started.
    started: usize,
}

impl Pool {
    /// Starts the first of at most `threads` threads. `name` is what they are called in `ps -L` and
    /// in the log.
    ///
    /// # Errors
    /// When the system refuses to start a thread.
    pub(crate) fn start(name: &'static str, threads: usize) -> io::Result<Self> {
        let pool = Self::new(name, threads.max(1), KEEP, None);
        pool.shared.start_thread(&mut lock(&pool.shared.state))?;
        Ok(pool)
    }

    /// Without threads.
    pub(crate) fn lent(name: &'static str, worker: Worker, workers: Arc<dyn Workers>) -> Self {
        Self::new(name, 0, KEEP, Some((worker, workers)))
    }

    fn new(
        name: &'static str,
        limit: usize,
        keep: Duration,
        workers: Option<(Worker, Arc<dyn Workers>)>,
    ) -> Self {
        let state = Mutex::new(State::default());
        Self { shared: Arc::new(Shared { name, limit, keep, state, workers }) }
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
        self.shared.wake(state);
    }

    /// Jobs that wait or run; of those without a key, the ones that wait.
    pub(crate) fn jobs(&self) -> usize {
        let state = lock(&self.shared.state);
        let loose = state.ready.iter().filter(|(key, _)| key.is_none()).count();
        loose + state.busy.values().map(|behind| 1 + behind.len()).sum::<usize>()
    }

    /// Runs what has been submitted, then ends the threads.
    pub(crate) fn stop(&self) {
        let (threads, idle) = {
            let mut state = lock(&self.shared.state);
            state.stopping = true;
            (std::mem::take(&mut state.threads), std::mem::take(&mut state.idle))
        };
        idle.iter().for_each(Thread::unpark);
        let own = thread::current().id();
        for thread in threads.into_values().filter(|thread| thread.thread().id() != own) {
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
    fn wake(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        match &self.workers {
            None => match state.idle.pop() {
                Some(thread) => {
                    drop(state);
                    thread.unpark();
                }
                None if state.threads.len() < self.limit => {
                    // Those that are there, one at least, do it otherwise.
                    if let Err(error) = self.start_thread(&mut state) {
                        tracing::debug!(pool = self.name, "one more thread: {error}");
                    }
                }
                None => {}
            },
            Some((worker, workers)) => {
                drop(state);
                let shared = Arc::clone(self);
                workers.run(*worker, Duration::ZERO, Box::new(move || shared.turn()));
            }
        }
    }

    /// Runs one job; the one that waited for it gets a turn of its own.
    fn turn(self: &Arc<Self>) {
        let Some((key, job)) = lock(&self.state).ready.pop_front() else { return };
        self.job(job);
        let mut state = lock(&self.state);
        if key.is_some_and(|key| state.release(key)) {
            self.wake(state);
        }
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let shared = Arc::clone(self);
        let name = format!("{}-{}", self.name, state.started);
        let thread = thread::Builder::new().name(name).spawn(move || shared.run())?;
        state.started += 1;
        state.threads.insert(thread.thread().id(), thread);
        Ok(())
    }

    fn job(&self, job: Job) {
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!(pool = self.name, "a job panicked; it was answered as failed");
        }
    }

    fn run(&self) {
        let own = thread::current();
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
                let alone = state.threads.len() == 1;
                state.idle.push(own.clone());
                drop(state);
                match alone {
                    true => thread::park(),
                    false => thread::park_timeout(self.keep),
                }
                state = lock(&self.state);
                // Whoever wakes it takes it off the list.
                if let Some(at) = state.idle.iter().position(|thread| thread.id() == own.id()) {
                    state.idle.remove(at);
                    if state.threads.len() > 1 {
                        state.threads.remove(&own.id());
                        return;
                    }
                }
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
    use std::sync::{Barrier, mpsc};

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
    fn threads_come_with_work_and_go_without() {
        let pool = Pool::new("test", 4, Duration::from_millis(1), None);
        pool.shared.start_thread(&mut lock(&pool.shared.state)).unwrap();
        let count = || lock(&pool.shared.state).threads.len();
        for round in 0..3 {
            let all = Arc::new(Barrier::new(5));
            for _ in 0..4 {
                let all = Arc::clone(&all);
                pool.submit(None, move || {
                    all.wait();
                });
            }
            // Not before all four have come together.
            all.wait();
            assert!(count() <= 4);
            while count() > 1 {
                thread::yield_now();
            }
            assert!(lock(&pool.shared.state).started <= 4 + 3 * round);
        }
    }

    #[test]
    fn a_thread_that_is_idle_gets_the_next_job() {
        let pool = Pool::start("test", 8).unwrap();
        for _ in 0..50 {
            while lock(&pool.shared.state).idle.is_empty() {
                thread::yield_now();
            }
            let (to, from) = mpsc::channel();
            pool.submit(None, move || to.send(thread::current().id()).unwrap());
            let id = from.recv().unwrap();
            assert!(lock(&pool.shared.state).threads.contains_key(&id));
        }
        assert_eq!(lock(&pool.shared.state).started, 1);
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
