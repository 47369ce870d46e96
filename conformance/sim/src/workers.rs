//! Threads without threads: each job is an event, and chance decides which of those that are ready
//! comes first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use waypost_world::{Worker, Workers};

use crate::choices::Choices;
use crate::heap::{Heap, Life};

/// How long jobs take beside what they wait for.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Work on files takes so many milliseconds at most; one half when zero.
    pub(crate) files: AtomicU64,
}

/// The workers of one life of a server.
pub(crate) struct Jobs {
    pub(crate) heap: Arc<Heap>,
    pub(crate) life: Life,
    pub(crate) pace: Arc<Pace>,
    files: Choices,
    passwords: Choices,
    queue: Choices,
}

impl Jobs {
    pub(crate) fn new(heap: Arc<Heap>, life: Life, pace: Arc<Pace>, seed: u64) -> Self {
        let part = |n: u64| Choices::seeded(seed.wrapping_add(n));
        Self { heap, life, pace, files: part(1), passwords: part(2), queue: part(3) }
    }
}

impl Workers for Jobs {
    fn run(&self, who: Worker, after: Duration, job: Box<dyn FnOnce() + Send>) {
        let takes = match who {
            Worker::Files => {
                let most = 1000 * self.pace.files.load(Ordering::Relaxed);
                self.files.below(most.max(500))
            }
            Worker::Passwords => self.passwords.below(2_000),
            Worker::Queue => self.queue.below(50),
        };
        self.heap.after(self.life, after + Duration::from_micros(takes), job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn order(seed: u64) -> Vec<u32> {
        let heap = Arc::new(Heap::new(0));
        let jobs = Jobs::new(Arc::clone(&heap), heap.birth(), Arc::default(), seed);
        let done = Arc::new(Mutex::new(Vec::new()));
        for n in 0..20 {
            let done = Arc::clone(&done);
            let job = move || done.lock().unwrap().push(n);
            jobs.run(Worker::Files, Duration::ZERO, Box::new(job));
        }
        assert!(done.lock().unwrap().is_empty(), "a job ran inside the call");
        while let Some(event) = heap.next(Duration::MAX) {
            event();
        }
        let done = done.lock().unwrap();
        done.clone()
    }

    #[test]
    fn chance_decides_the_order_and_the_seed_decides_chance() {
        assert_eq!(order(4), order(4));
        assert_ne!(order(4), order(5));
        assert!(!order(4).is_sorted());
    }
}
