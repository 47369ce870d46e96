//! Counts the steps of the scheduler, so that a test can tell that none depends on how many
//! messages are queued. Outside tests it is nothing.

#[cfg(test)]
std::thread_local! {
    static STEPS: core::cell::Cell<u64> = const { core::cell::Cell::new(0) };
}

/// One step: a record touched, an item of a heap moved, two keys compared.
#[inline]
pub(crate) fn count() {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// Steps so far, on this thread.
#[cfg(test)]
pub(crate) fn steps() -> u64 {
    STEPS.with(core::cell::Cell::get)
}
