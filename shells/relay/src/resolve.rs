//! What is needed of the DNS.

use waypost_dns::{Answer, Question};

/// Answers questions.
pub trait Resolve: Send + Sync {
    /// Asks; returns at once. `done` is called exactly once, on any thread, also on this one.
    fn ask(&self, question: Question, done: Box<dyn FnOnce(Answer) + Send>);
}
