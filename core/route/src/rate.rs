//! Rate limits: how many messages and recipients a login, or a client, may send in an hour.
//!
//! A stolen password is the usual disaster: this bounds it. Counting is by a leaky bucket for each
//! key: what was sent runs off evenly over the period, so there is no moment at which a new hour
//! gives everything back at once. After a burst of all that is allowed, as much again trickles
//! through in the period that follows, never more.
//!
//! Memory is bounded: a bucket that has run empty says nothing and is dropped, and when there are
//! too many, the emptiest of a few is. So whoever brings many keys can at most make us forget keys
//! that have sent little.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use waypost_machine::Time;
use waypost_mail::{Enhanced, Reply};

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RateKey {
    /// An account that has logged in.
    Login(alloc::boxed::Box<str>),
    /// An address; of IPv6 the network of 64 bits, which is what one client has.
    Client(IpAddr),
}

impl RateKey {
    /// The key of a client's address.
    pub fn client(ip: IpAddr) -> Self {
        Self::Client(match ip.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        })
    }
}

impl fmt::Display for RateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login(name) => write!(f, "login {name}"),
            Self::Client(IpAddr::V4(ip)) => write!(f, "client {ip}"),
            Self::Client(IpAddr::V6(ip)) => write!(f, "client {ip}/64"),
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// Accepted messages.
    Messages,
    /// Accepted recipients.
    Recipients,
}

/// How much is allowed in a period; zero: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// For each login: messages, recipients.
    pub login: [u32; 2],
    /// For each client that has not logged in: messages, recipients.
    pub client: [u32; 2],
    /// The period; an hour by default.
    pub period: Duration,
    /// How many keys are remembered.
    pub keys: usize,
}

impl Default for Rates {
    /// 500 messages and 2000 recipients an hour for a login, no limit for clients, 10,000 keys.
    fn default() -> Self {
        let period = Duration::from_secs(3600);
        Self { login: [500, 2000], client: [0, 0], period, keys: 10_000 }
    }
}

/// A limit was reached: what the log says; [`RateExceeded::reply`] is what the client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} rate limit exceeded: {count} from {key}", .what.in_log())]
pub struct RateExceeded {
    /// Whose.
    pub key: RateKey,
    /// What there is too much of.
    pub what: Counted,
    /// How many there would be, with what was asked for.
    pub count: u32,
    /// How many are allowed.
    pub limit: u32,
    /// In which time.
    pub period: Duration,
    /// When there is room again for what was asked.
    pub wait: Duration,
}

impl RateExceeded {
    /// `450 4.7.1`, so that mail programs try again by themselves. It begins as in Postfix
    /// (smtpd_client_message_rate_limit).
    pub fn reply(&self) -> Reply {
        let minutes = self.wait.as_secs().div_ceil(60).max(1);
        let much = match self.what {
            Counted::Messages => "much mail",
            Counted::Recipients => "many recipients",
        };
        let who = alloc::format!("{}", self.key);
        let (_, who) = who.split_once(' ').unwrap_or_default();
        let text = alloc::format!(
            "Error: too {much} from {who}: {} {} are allowed in {}; try again in {minutes} minutes",
            self.limit,
            self.what.name(),
            period(self.period),
        );
        Reply::new(450, Enhanced(4, 7, 1), text)
    }
}

impl Counted {
    /// `messages`, `recipients`
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Recipients => "recipients",
        }
    }

    /// As the warnings of Postfix call it.
    fn in_log(self) -> &'static str {
        match self {
            Self::Messages => "Message delivery request",
            Self::Recipients => "Recipient address",
        }
    }
}

fn period(period: Duration) -> String {
    match period.as_secs() {
        3600 => "one hour".into(),
        86_400 => "one day".into(),
        seconds => alloc::format!("{seconds} seconds"),
    }
}

/// What a key has sent.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Messages and recipients, in nanoseconds that they take to run off.
    level: [u64; 2],
    at: Time,
}

/// The counters.
#[derive(Debug)]
pub struct RateLimiter {
    rates: Rates,
    buckets: BTreeMap<RateKey, Bucket>,
    /// Where the search for buckets to drop goes on.
    hand: Option<RateKey>,
}

/// How many buckets are looked at to find one to drop.
const LOOK: usize = 8;

impl RateLimiter {
    /// Counters at zero.
    pub fn new(rates: Rates) -> Self {
        Self { rates, buckets: BTreeMap::new(), hand: None }
    }

    /// Changes the limits; what was counted stays.
    pub fn configure(&mut self, rates: Rates) {
        self.rates = rates;
    }

    /// How many keys are remembered now.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// True when nobody has sent anything lately.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Counts `count` more of a key, if that is within its limit.
    ///
    /// # Errors
    /// It is not: nothing is counted.
    pub fn take(
        &mut self,
        now: Time,
        key: &RateKey,
        what: Counted,
        count: u32,
    ) -> Result<(), RateExceeded> {
        let limits = match key {
            RateKey::Login(_) => self.rates.login,
            RateKey::Client(_) => self.rates.client,
        };
        let index = what as usize;
        let limit = limits[index];
        if limit == 0 || count == 0 {
            return Ok(());
        }
        let period = u64::try_from(self.rates.period.as_nanos()).unwrap_or(u64::MAX);
        let each = period / u64::from(limit);
        let mut bucket = self.buckets.get(key).copied().unwrap_or_default();
        bucket.run_off(now);
        let asked = each.saturating_mul(count.into());
        let level = bucket.level[index].saturating_add(asked);
        if level > period {
            return Err(RateExceeded {
                key: key.clone(),
                what,
                count: u32::try_from(level.div_ceil(each.max(1))).unwrap_or(u32::MAX),
                limit,
                period: self.rates.period,
                wait: Duration::from_nanos(level - period),
            });
        }
        bucket.level[index] = level;
        if !self.buckets.contains_key(key) {
            self.make_room(now);
        }
        self.buckets.insert(key.clone(), bucket);
        Ok(())
    }

    /// Drops the empty ones among a few; and the emptiest of them when there are too many.
    fn make_room(&mut self, now: Time) {
        let start = self.hand.take();
        let after = start.as_ref().map_or(core::ops::Bound::Unbounded, core::ops::Bound::Excluded);
        let range = (after, core::ops::Bound::Unbounded);
        let mut seen: Vec<(u64, RateKey)> = Vec::with_capacity(LOOK);
        for (key, bucket) in self.buckets.range::<RateKey, _>(range).take(LOOK) {
            let mut bucket = *bucket;
            bucket.run_off(now);
            seen.push((bucket.level[0].max(bucket.level[1]), key.clone()));
        }
        self.hand = (seen.len() == LOOK).then(|| seen[LOOK - 1].1.clone());
        seen.sort_unstable();
        if seen.is_empty()
            && let Some((key, _)) = self.buckets.first_key_value()
        {
            seen.push((u64::MAX, key.clone()));
        }
        for (level, key) in seen {
            if level == 0 || self.buckets.len() >= self.rates.keys.max(1) {
                self.buckets.remove(&key);
            }
        }
    }
}

impl Bucket {
    fn run_off(&mut self, now: Time) {
        let passed = u64::try_from(now.since(self.at).as_nanos()).unwrap_or(u64::MAX);
        self.level = self.level.map(|level| level.saturating_sub(passed));
        self.at = now.max(self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn login(name: &str) -> RateKey {
        RateKey::Login(name.into())
    }

    fn limiter(messages: u32, recipients: u32) -> RateLimiter {
        RateLimiter::new(Rates { login: [messages, recipients], ..Rates::default() })
    }

    #[test]
    fn as_many_as_allowed_and_more_as_time_passes() {
        let mut limiter = limiter(10, 0);
        let mut now = Time::ZERO;
        for _ in 0..10 {
            limiter.take(now, &login("a"), Counted::Messages, 1).unwrap();
        }
        let error = limiter.take(now, &login("a"), Counted::Messages, 1).unwrap_err();
        assert_eq!(error.wait, Duration::from_secs(360));
        assert_eq!(
            error.to_string(),
            "Message delivery request rate limit exceeded: 11 from login a"
        );
        assert_eq!(
            error.reply().to_string(),
            "450 4.7.1 Error: too much mail from a: 10 messages are allowed in one hour; \
             try again in 6 minutes"
        );
        limiter.take(now, &login("b"), Counted::Messages, 10).unwrap();
        limiter.take(now, &login("a"), Counted::Recipients, 10_000).unwrap();
        now = now.plus(error.wait);
        limiter.take(now, &login("a"), Counted::Messages, 1).unwrap();
        assert!(limiter.take(now, &login("a"), Counted::Messages, 1).is_err());
    }

    #[test]
    fn a_refusal_counts_nothing() {
        let mut limiter = limiter(0, 100);
        limiter.take(Time::ZERO, &login("a"), Counted::Recipients, 60).unwrap();
        assert!(limiter.take(Time::ZERO, &login("a"), Counted::Recipients, 41).is_err());
        limiter.take(Time::ZERO, &login("a"), Counted::Recipients, 40).unwrap();
    }

    #[test]
    fn one_key_for_one_client() {
        let key = |ip: &str| RateKey::client(ip.parse().unwrap());
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("2001:db8::1").to_string(), "client 2001:db8::/64");
    }

    #[test]
    fn many_keys_do_not_push_out_the_busy_ones() {
        let rates = Rates { login: [1000, 0], client: [1000, 0], keys: 100, ..Rates::default() };
        let mut limiter = RateLimiter::new(rates);
        let now = Time::ZERO;
        limiter.take(now, &login("busy"), Counted::Messages, 1000).unwrap();
        for n in 0u32..10_000 {
            let key = RateKey::Client(IpAddr::V4(n.into()));
            limiter.take(now, &key, Counted::Messages, 1).unwrap();
            assert!(limiter.len() <= 100);
        }
        assert!(limiter.take(now, &login("busy"), Counted::Messages, 1).is_err());
        // After the period only those are left that were not looked at again.
        for n in 0u32..100 {
            let key = RateKey::Client(IpAddr::V4(n.into()));
            limiter.take(now.plus(HOUR), &key, Counted::Messages, 1).unwrap();
        }
        assert!(limiter.len() <= 100);
    }

    proptest! {
        #[test]
        fn never_more_than_twice_the_limit_in_a_period(
            limit in 1u32..20, steps in prop::collection::vec((0u64..2000, 0u32..5), 1..200),
        ) {
            let mut limiter = limiter(limit, 0);
            let mut now = Time::ZERO;
            let mut taken: Vec<(Time, u32)> = Vec::new();
            for (wait, count) in steps {
                now = now.plus(Duration::from_secs(wait));
                if limiter.take(now, &login("a"), Counted::Messages, count).is_ok() {
                    taken.push((now, count));
                }
                let lately = taken.iter().filter(|(at, _)| now.since(*at) < HOUR);
                let sum: u32 = lately.map(|(_, count)| count).sum();
                prop_assert!(sum <= 2 * limit);
            }
        }
    }
}
