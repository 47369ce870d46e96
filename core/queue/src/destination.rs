//! Where mail goes together: one next hop, how many deliveries to it may run at the same time, and
//! whether it is dead.
//!
//! The terms and the arithmetic are those of Postfix's SCHEDULER_README: a *window* of concurrency
//! that starts at `initial`, grows by positive feedback while it is in use, falls by negative
//! feedback, and is closed when a whole *cohort* of deliveries (as many as the window allows) found
//! nobody.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use waypost_mail::{Delivery, Target};

use crate::diagnosis::Diagnosis;
use crate::flow::Flow;
use crate::job::Job;
use crate::meter;
use crate::slab::{Link, Linked, List};

/// How mail gets to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Into a mailbox here; the next hop is the path of the Maildir.
    Virtual,
    /// To the mail exchangers of the next hop, a domain or a relay host.
    Smtp,
    /// Back to routing, which could not tell before; the next hop is the recipient's domain.
    Route,
}

/// All transports, in the order of their numbers.
pub(crate) const TRANSPORTS: [Transport; 3] =
    [Transport::Virtual, Transport::Smtp, Transport::Route];

/// What deliveries have in common that may share a connection, and whose failures tell of each
/// other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// How to get there.
    pub transport: Transport,
    /// Where: a domain in lower case, a relay host, or the path of a Maildir.
    pub nexthop: Box<str>,
}

impl Destination {
    /// Where a delivery goes; `relayhost` takes all mail for other servers, if there is one.
    /// `None` for a delivery that leads nowhere.
    pub fn of(delivery: &Delivery, relayhost: Option<&str>) -> Option<Self> {
        let domain = || delivery.to.domain().as_str().to_ascii_lowercase().into();
        let (transport, nexthop) = match &delivery.target {
            Target::Maildir(home) => (Transport::Virtual, home.path.clone()),
            Target::Remote => {
                (Transport::Smtp, relayhost.map_or_else(domain, |relayhost| relayhost.into()))
            }
            Target::Later(_) => (Transport::Route, domain()),
            Target::Undeliverable(_) => return None,
        };
        Some(Self { transport, nexthop })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Virtual => "virtual",
            Transport::Smtp => "smtp",
            Transport::Route => "route",
        };
        write!(f, "{transport}:{}", self.nexthop)
    }
}

impl PartialOrd for Destination {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Destination {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        meter::count();
        (self.transport, &self.nexthop).cmp(&(other.transport, &other.nexthop))
    }
}

/// By how much one delivery changes the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// By this many thousandths of a delivery, at most 1000: Postfix's `1`.
    Constant(u32),
    /// By one divided by the window: Postfix's `1/concurrency`.
    Inverse,
}

/// How many deliveries to one destination may run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// `initial_destination_concurrency`: where the window starts.
    pub initial: u32,
    /// `default_destination_concurrency_limit`: what it never exceeds.
    pub limit: u32,
    /// `default_destination_recipient_limit`: recipients in one delivery.
    pub recipient_limit: u32,
    /// `default_destination_concurrency_positive_feedback`.
    pub positive_feedback: Feedback,
    /// `default_destination_concurrency_negative_feedback`.
    pub negative_feedback: Feedback,
    /// `default_destination_concurrency_failed_cohort_limit`: after so many cohorts in a row that
    /// found nobody the destination is dead; 0: never.
    pub failed_cohort_limit: u32,
    /// `default_process_limit`: deliveries of the transport at the same time, to all destinations.
    pub process_limit: u32,
}

impl Default for Concurrency {
    /// Postfix's: 5, 20, 50 recipients, feedback 1 and 1, 1 cohort, 100 in all.
    fn default() -> Self {
        Self {
            initial: 5,
            limit: 20,
            recipient_limit: 50,
            positive_feedback: Feedback::Constant(1000),
            negative_feedback: Feedback::Constant(1000),
            failed_cohort_limit: 1,
            process_limit: 100,
        }
    }
}

impl Concurrency {
    /// The same without values that would stop all mail: no limit is below 1.
    pub(crate) fn sane(self) -> Self {
        let limit = self.limit.max(1);
        Self {
            initial: self.initial.clamp(1, limit),
            limit,
            recipient_limit: self.recipient_limit.max(1),
            process_limit: self.process_limit.max(1),
            ..self
        }
    }
}

/// One delivery, in the units of feedback. Divisible by all windows up to 16.
const ONE: u64 = 720_720_000;

/// The window of one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    size: u32,
    success: u64,
    failure: u64,
    failed_cohorts: u64,
}

impl Window {
    pub(crate) const fn new(settings: &Concurrency) -> Self {
        Self { size: settings.initial, success: 0, failure: 0, failed_cohorts: 0 }
    }

    pub(crate) const fn size(&self) -> u32 {
        self.size
    }

    fn part(&self, feedback: Feedback) -> u64 {
        match feedback {
            Feedback::Constant(thousandths) => u64::from(thousandths.min(1000)) * (ONE / 1000),
            Feedback::Inverse => self.inverse(),
        }
    }

    /// Rounded up, so that as many of them as the window is wide make a whole.
    fn inverse(&self) -> u64 {
        ONE.div_ceil(u64::from(self.size.max(1)))
    }

    /// Somebody was there. The window grows only while it is in use: `busy` deliveries run, this
    /// one included.
    pub(crate) fn succeeded(&mut self, settings: &Concurrency, busy: u32) {
        self.failed_cohorts = 0;
        if self.size >= settings.limit || self.size >= busy.saturating_add(settings.initial) {
            return;
        }
        self.success += self.part(settings.positive_feedback);
        while self.success >= ONE && self.size < settings.limit {
            self.success -= ONE;
            self.failure = 0;
            self.size += 1;
        }
    }

    /// Nobody was there; true when the destination is dead now.
    pub(crate) fn failed(&mut self, settings: &Concurrency) -> bool {
        self.failed_cohorts += self.inverse();
        let limit = u64::from(settings.failed_cohort_limit) * ONE;
        if limit > 0 && self.failed_cohorts >= limit {
            return true;
        }
        self.failure += self.part(settings.negative_feedback);
        while self.failure >= ONE {
            self.failure -= ONE;
            self.success = 0;
            self.size = self.size.saturating_sub(1).max(1);
        }
        false
    }
}

/// What the scheduler knows of a destination.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) key: Arc<Destination>,
    pub(crate) window: Window,
    /// Deliveries that run.
    pub(crate) busy: u32,
    /// Places in the window promised to flows that wait for their turn.
    pub(crate) granted: u32,
    /// Why nothing is tried there now.
    pub(crate) dead: Option<Arc<Diagnosis>>,
    /// All jobs, waiting or deferred.
    pub(crate) jobs: List,
    /// Flows with waiting jobs.
    pub(crate) flows: List,
    /// Flows that wait for a place in the window.
    pub(crate) parked: List,
    /// Among the dead whose waiting jobs are to be deferred.
    links: [Link; 1],
}

impl Linked for Site {
    fn links(&self) -> &[Link] {
        &self.links
    }

    fn links_mut(&mut self) -> &mut [Link] {
        &mut self.links
    }
}

impl Site {
    pub(crate) fn new(key: Arc<Destination>, settings: &Concurrency) -> Self {
        Self {
            key,
            window: Window::new(settings),
            busy: 0,
            granted: 0,
            dead: None,
            jobs: List::new(Job::OF_SITE),
            flows: List::new(Flow::OF_SITE),
            parked: List::new(Flow::PARKED),
            links: [Link::NEW],
        }
    }

    /// Whether one more delivery may begin.
    pub(crate) fn has_room(&self) -> bool {
        self.dead.is_none() && self.busy + self.granted < self.window.size()
    }

    /// Whether nothing would be lost with it.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.busy == 0 && self.dead.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use waypost_mail::{Address, Domain, MailHome, Reply};

    #[test]
    fn destinations() {
        let home = MailHome { path: "/home/mail/a/mailbox".into(), uid: 1, gid: 1 };
        let reply = Reply { code: 451, enhanced: None, text: "later".into() };
        let to = Address::new("a", Domain::parse("Remote.TEST").unwrap()).unwrap();
        let of = |target, relay| {
            let delivery = Delivery { to: to.clone(), orig_to: to.clone(), target };
            Destination::of(&delivery, relay).map(|d| std::format!("{d}"))
        };
        assert_eq!(of(Target::Maildir(home), Some("r")).unwrap(), "virtual:/home/mail/a/mailbox");
        assert_eq!(of(Target::Remote, None).unwrap(), "smtp:remote.test");
        assert_eq!(of(Target::Remote, Some("[relay]:587")).unwrap(), "smtp:[relay]:587");
        assert_eq!(of(Target::Later(reply.clone()), Some("r")).unwrap(), "route:remote.test");
        assert_eq!(of(Target::Undeliverable(reply), None), None);
    }

    #[test]
    fn the_window_grows_only_in_use_and_up_to_its_limit() {
        let settings = Concurrency::default();
        let mut window = Window::new(&settings);
        for _ in 0..100 {
            window.succeeded(&settings, 1);
        }
        assert_eq!(window.size(), 6, "one delivery at a time");
        for _ in 0..100 {
            window.succeeded(&settings, window.size());
        }
        assert_eq!(window.size(), 20);
    }

    #[test]
    fn a_failed_cohort_is_death() {
        let settings = Concurrency { negative_feedback: Feedback::Inverse, ..Default::default() };
        let mut window = Window::new(&settings);
        assert_eq!([(); 5].map(|()| window.failed(&settings)), [false, false, false, false, true]);
        // With feedback 1 the window shrinks with each failure: 1/5 + 1/4 + 1/3 + 1/2 > 1.
        let settings = Concurrency::default();
        let mut window = Window::new(&settings);
        assert_eq!([(); 4].map(|()| window.failed(&settings)), [false, false, false, true]);
    }

    #[test]
    fn one_success_forgives_all_failures() {
        let settings = Concurrency::default();
        let mut window = Window::new(&settings);
        for _ in 0..100 {
            assert!(!window.failed(&settings));
            window.succeeded(&settings, 1);
        }
        let never = Concurrency { failed_cohort_limit: 0, ..settings };
        assert!((0..100).all(|_| !window.failed(&never)));
        assert_eq!(window.size(), 1);
    }

    proptest! {
        #[test]
        fn always_between_one_and_the_limit(
            initial in 0u32..30, limit in 0u32..30, inverse in any::<bool>(), cohorts in 0u32..3,
            steps in prop::collection::vec(any::<Option<u8>>(), 0..200),
        ) {
            let feedback = if inverse { Feedback::Inverse } else { Feedback::Constant(700) };
            let settings = Concurrency {
                initial, limit, failed_cohort_limit: cohorts, positive_feedback: feedback,
                negative_feedback: feedback, ..Default::default()
            }.sane();
            let mut window = Window::new(&settings);
            for step in steps {
                match step {
                    Some(busy) => window.succeeded(&settings, busy.into()),
                    None => if window.failed(&settings) {
                        window = Window::new(&settings);
                    }
                }
                prop_assert!(window.size() >= 1 && window.size() <= settings.limit);
            }
        }
    }
}
