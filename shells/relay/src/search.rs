//! The hosts of a next hop: drives [`Exchangers`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use waypost_dns::{Answer, Ask, Exchanger, Exchangers, ExchangersFact, NoRoute};
use waypost_machine::{self as machine, Input, Machine, Step};
use waypost_world::Clock;

use crate::resolve::Resolve;

/// What is called in the end.
type Done = Box<dyn FnOnce(Result<Vec<Exchanger>, NoRoute>) + Send>;

struct Search {
    resolve: Arc<dyn Resolve>,
    clock: Arc<dyn Clock>,
    skipped: Box<dyn Fn(NoRoute) + Send + Sync>,
    state: Mutex<(Exchangers, Option<Done>)>,
}

/// Drives the search. `skipped` hears of hosts without addresses.
pub(crate) fn search(
    exchangers: Exchangers,
    resolve: Arc<dyn Resolve>,
    clock: Arc<dyn Clock>,
    skipped: Box<dyn Fn(NoRoute) + Send + Sync>,
    done: Done,
) {
    let state = Mutex::new((exchangers, Some(done)));
    Arc::new(Search { resolve, clock, skipped, state }).pump();
}

impl Search {
    fn lock(&self) -> MutexGuard<'_, (Exchangers, Option<Done>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pump(self: &Arc<Self>) {
        let (mut asks, mut end) = (Vec::new(), None);
        {
            let mut state = self.lock();
            loop {
                match state.0.poll(0) {
                    Step::Call(ask) => asks.push(ask),
                    Step::Fact(ExchangersFact::Skipped(trouble)) => (self.skipped)(trouble),
                    Step::Fact(ExchangersFact::Route(route)) => {
                        end = state.1.take().map(|done| (done, route));
                    }
                    Step::Cancel(_) | Step::Send(_) | Step::Secure(_) => {}
                    Step::Close(_) | Step::Wait(_) => break,
                }
            }
        }
        if let Some((done, route)) = end {
            return done(route);
        }
        // Nothing is locked: an answer may come at once.
        for Ask { question, ticket } in asks {
            let search = Arc::clone(self);
            let done = move |answer: Answer| search.answered(ticket.answer(answer));
            self.resolve.ask(question, Box::new(done));
        }
    }

    fn answered(self: &Arc<Self>, answer: machine::Answer<Answer>) {
        let now = self.clock.now();
        self.lock().0.handle(now, Input::Answer(answer));
        self.pump();
    }
}
