//! Searches: many at a time on one connection, which is made anew when it breaks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ldap3::asn1::{PL, StructureTag};
use ldap3::{DerefAliases, LdapError, ResultEntry, Scope as LdapScope, SearchOptions};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use waypost_ldap::entry::Attribute;
use waypost_ldap::search::Deref;
use waypost_ldap::{Dn, Entry, Outcome, Scope, Search};

use crate::connect::Connection;
use crate::{Setup, backoff, code_name};

/// Searches under way on the connection; more wait here.
const AT_ONCE: usize = 64;
/// Octets of all entries of one search, at most.
const MAX_RESULT: usize = 64 * 1024 * 1024;
/// An attempt to connect that fails within this time holds nobody up.
const QUICK: Duration = Duration::from_millis(200);
/// A search is sent anew this often when the connection breaks under it.
const TRIES: usize = 2;

/// The connection for searches and its state.
pub(crate) struct Link {
    setup: Arc<Setup>,
    state: Mutex<State>,
    changed: Notify,
    /// Somebody waits for the next attempt.
    wanted: Notify,
    permits: Semaphore,
}

enum State {
    /// Nobody has asked yet.
    Idle,
    /// It is being made; who asks, waits.
    Connecting,
    /// It is there.
    Up(Arc<Connection>),
    /// It could not be made: who asks is told at once. Attempts go on behind the scenes.
    Down(Down),
}

/// The last attempt to connect.
struct Down {
    why: String,
    at: Instant,
    /// It failed without making anybody wait: the next one is made for whoever asks.
    quick: bool,
}

impl Down {
    fn is_worth_a_try(&self) -> bool {
        self.quick && self.at.elapsed() >= backoff(1)
    }
}

/// Why a search did not get to its end.
enum Failed {
    /// For good, as far as this search goes.
    Final(String),
    /// The connection broke; another one may do.
    Broken(String),
}

impl Link {
    pub(crate) fn new(setup: Arc<Setup>) -> Self {
        Self {
            setup,
            state: Mutex::new(State::Idle),
            changed: Notify::new(),
            wanted: Notify::new(),
            permits: Semaphore::new(AT_ONCE),
        }
    }

    /// Runs a search; answers by `deadline`.
    pub(crate) async fn search(self: Arc<Self>, search: Search, deadline: Instant) -> Outcome {
        let late = || format!("no answer within {} s", self.setup.server.timeout.as_secs());
        let mut why = String::new();
        for _ in 0..TRIES {
            let connection = match timeout_at(deadline, self.connection()).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(why)) => return Outcome::Unavailable(why),
                Err(_) => return Outcome::Unavailable(format!("{}: {}", self.setup.name, late())),
            };
            let Ok(Ok(_permit)) = timeout_at(deadline, self.permits.acquire()).await else {
                return Outcome::Unavailable(format!("{}: {}", connection.place, late()));
            };
            self.setup.counters.search();
            match run(&connection, &search, deadline, self.setup.server.timeout).await {
                Ok(outcome) => return outcome,
                Err(Failed::Final(why)) => return Outcome::Unavailable(connection.explain(&why)),
                Err(Failed::Broken(error)) => {
                    why = connection.explain(&error);
                    connection.close(&error);
                }
            }
        }
        Outcome::Unavailable(why)
    }

    /// The connection, once it is there.
    pub(crate) async fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, String> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.state();
                match &*state {
                    State::Up(connection) if connection.is_open() => {
                        return Ok(Arc::clone(connection));
                    }
                    State::Down(down) if down.is_worth_a_try() => {
                        *state = State::Connecting;
                        self.wanted.notify_one();
                    }
                    State::Down(down) => return Err(down.why.clone()),
                    State::Connecting => {}
                    State::Idle | State::Up(_) => {
                        *state = State::Connecting;
                        tokio::spawn(Arc::clone(self).establish());
                    }
                }
            }
            changed.await;
        }
    }

    /// Tries until there is a connection. The first failure lets everybody go who waits.
    async fn establish(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let started = Instant::now();
            match self.setup.connect().await {
                Ok(connection) => {
                    if failures > 0 {
                        tracing::info!("{}: the directory answers again", connection.place);
                    }
                    self.enter(State::Up(Arc::new(connection)));
                    return;
                }
                Err(why) => {
                    if failures == 0 {
                        tracing::error!("{why}");
                    }
                    failures += 1;
                    let quick = started.elapsed() < QUICK;
                    self.enter(State::Down(Down { why, at: Instant::now(), quick }));
                    // Whichever comes first.
                    let _ = timeout(backoff(failures), self.wanted.notified()).await;
                }
            }
        }
    }

    fn enter(&self, state: State) {
        *self.state() = state;
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One search on one connection.
async fn run(
    connection: &Connection,
    search: &Search,
    deadline: Instant,
    limit: Duration,
) -> Result<Outcome, Failed> {
    let heard = connection.heard();
    let mut ldap = connection.ldap();
    ldap.with_search_options(options(search, limit));
    let scope = match search.scope {
        Scope::Base => LdapScope::Base,
        Scope::One => LdapScope::OneLevel,
        Scope::Sub => LdapScope::Subtree,
    };
    let (base, filter) = (search.base.to_string(), search.filter.to_string());
    let started = ldap.streaming_search(&base, scope, &filter, search.attributes.clone());
    let mut stream = match timeout_at(deadline, started).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(LdapError::FilterParsing)) => {
            return Err(Failed::Final(format!("filter '{filter}' cannot be sent")));
        }
        Ok(Err(error)) => return Err(Failed::Broken(error.to_string())),
        Err(_) => {
            connection.close("the server takes nothing any more");
            return Err(Failed::Final("cannot send".into()));
        }
    };
    let mut entries = Vec::new();
    let mut size = 0;
    let end = loop {
        match timeout_at(deadline, stream.next()).await {
            Ok(Ok(Some(entry))) => {
                let Some((entry, octets)) = decode(entry) else {
                    break Err(Failed::Final("an entry makes no sense".into()));
                };
                size += octets;
                entries.push(entry);
                if size > MAX_RESULT {
                    break Err(Failed::Final("more entries than fit in memory".into()));
                }
            }
            Ok(Ok(None)) => break Ok(()),
            Ok(Err(error)) => break Err(Failed::Broken(error.to_string())),
            Err(_) => {
                if connection.heard() == heard {
                    // In all that time not one octet came, for no search: nobody is there.
                    connection.close("the server is silent");
                }
                break Err(Failed::Final(format!("no answer within {} s", limit.as_secs())));
            }
        }
    };
    let id = stream.ldap_handle().last_id();
    let result = stream.finish().await;
    if let Err(failed) = end {
        abandon(connection, id);
        return Err(failed);
    }
    match result.rc {
        0 => Ok(Outcome::Entries { entries, more: false }),
        // sizeLimitExceeded
        4 => Ok(Outcome::Entries { entries, more: true }),
        // noSuchObject
        32 => Ok(Outcome::NoSuchBase),
        code => Err(Failed::Final(format!(
            "search in '{base}' failed: {} ({code}) {}",
            code_name(code),
            result.text
        ))),
    }
}

/// Tells the server that nobody waits for this search any more.
fn abandon(connection: &Connection, id: i32) {
    if connection.is_open() {
        let mut ldap = connection.ldap();
        tokio::spawn(async move {
            // When it cannot be sent, there is no connection to burden.
            let _ = tokio::time::timeout(Duration::from_secs(1), ldap.abandon(id)).await;
        });
    }
}

fn options(search: &Search, limit: Duration) -> SearchOptions {
    let number = |n: u64| i32::try_from(n).unwrap_or(i32::MAX);
    let deref = match search.deref {
        Deref::Never => DerefAliases::Never,
        Deref::Searching => DerefAliases::Searching,
        Deref::Finding => DerefAliases::Finding,
        Deref::Always => DerefAliases::Always,
    };
    SearchOptions::new()
        .deref(deref)
        .sizelimit(number(search.size_limit.into()))
        .timelimit(number(limit.as_secs().max(1)))
}

/// The entry, in the server's order, and its size. ldap3's own way panics on what it does not expect
/// and loses the order.
fn decode(entry: ResultEntry) -> Option<(Entry, usize)> {
    let mut fields = parts(entry.0)?.into_iter();
    let dn = String::from_utf8(octets(fields.next()?)?).ok()?;
    let mut size = dn.len();
    let mut attributes: Vec<Attribute> = Vec::new();
    for attribute in parts(fields.next()?)? {
        let mut fields = parts(attribute)?.into_iter();
        let name = String::from_utf8(octets(fields.next()?)?).ok()?;
        let values: Vec<Vec<u8>> =
            parts(fields.next()?)?.into_iter().map(octets).collect::<Option<_>>()?;
        size += name.len() + values.iter().map(Vec::len).sum::<usize>();
        attributes.push(Attribute { name, values });
    }
    Some((Entry { dn: Dn::parse(&dn).ok()?, attributes }, size))
}

fn parts(tag: StructureTag) -> Option<Vec<StructureTag>> {
    match tag.payload {
        PL::C(parts) => Some(parts),
        // An empty list cannot be told from an empty value.
        PL::P(octets) => octets.is_empty().then(Vec::new),
    }
}

fn octets(tag: StructureTag) -> Option<Vec<u8>> {
    match tag.payload {
        PL::P(octets) => Some(octets),
        PL::C(_) => None,
    }
}
