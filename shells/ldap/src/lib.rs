#![forbid(unsafe_code)]
//! Directories reached by LDAP, for `waypost-world`.
//!
//! A [`Client`] is one thread with all connections to all directories; [`Client::directory`] gives a
//! [`Directory`] for the settings of a map or of the logins. Settings that are the same share their
//! connections.
//!
//! - Searches go over one connection for each directory, up to 64 at a time; password checks go over
//!   a few of their own. Each is answered within the directory's time limit.
//! - Nothing is sent before TLS is up, where TLS is asked for: chain and host name are checked first.
//!   StartTLS is done here, octet for octet, before ldap3 sees the connection.
//! - Answers come through [`waypost_ldap::guard`], which keeps from ldap3 what it would stumble over.
//! - Several servers, and several addresses of one, are tried in turn, beginning with the server that
//!   served last. While none can be reached, searches are answered at once, and attempts go on in the background.
//! - A connection that breaks is made anew, and the searches that were under way are sent again.
//! - A search that takes too long is abandoned; a server that is silent all that time is left.
//!
//! Only result code 49 says "wrong password", 32 "no such base", 4 "there are more"; all others are
//! "not now", with a text for the log.

mod bind;
mod connect;
mod search;
mod tls;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use waypost_ldap::server::{Bind, Server};
use waypost_ldap::url::Scheme;
use waypost_ldap::{Outcome, Search};
use waypost_machine::Secret;
use waypost_world::directory::{
    BindDone, Bound, CheckDone, Counters, Counts, Directory, SearchDone, Sure,
};

use crate::bind::Binds;
use crate::connect::Connection;
use crate::search::Link;
pub use crate::tls::TlsError;

/// Requests that wait for one directory; more are answered "not now" at once.
const MAX_OPEN: usize = 4096;

/// The directory thread.
pub struct Client {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    directories: Mutex<Vec<Arc<Ldap>>>,
}

/// Settings of a directory that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Its TLS files.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No server is named.
    #[error("no server is named")]
    NoServer,
    /// EXTERNAL for somebody else.
    #[error("SASL EXTERNAL with an authorization identity is not supported")]
    Authorize,
}

/// One directory.
pub struct Ldap {
    setup: Arc<Setup>,
    handle: Handle,
    link: Arc<Link>,
    binds: Arc<Binds>,
    open: Arc<AtomicUsize>,
}

/// What its connections have in common.
struct Setup {
    server: Server,
    config: Option<Arc<ClientConfig>>,
    /// The servers, for messages.
    name: String,
    /// The place that served last.
    first: AtomicUsize,
    counters: Counters,
}

impl Client {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses a thread or what a runtime needs.
    pub fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("directory".into()).spawn(move || {
            // Either way it is the end: told so, or the client is gone.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
            directories: Mutex::new(Vec::new()),
        })
    }

    /// The directory with these settings. Reads the TLS files; connects when first asked.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn directory(&self, server: &Server) -> Result<Arc<Ldap>, SetupError> {
        let mut known = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.iter().find(|known| known.setup.server == *server) {
            return Ok(Arc::clone(known));
        }
        if server.places.is_empty() {
            return Err(SetupError::NoServer);
        }
        if matches!(&server.bind, Bind::External { authorize } if !authorize.is_empty()) {
            return Err(SetupError::Authorize);
        }
        let tls = server.places.iter().any(|place| match place.scheme {
            Scheme::Ldap => server.start_tls,
            Scheme::Ldaps => true,
            Scheme::Ldapi => false,
        });
        let names: Vec<String> = server.places.iter().map(ToString::to_string).collect();
        let setup = Arc::new(Setup {
            server: server.clone(),
            config: if tls { Some(tls::config(&server.tls)?) } else { None },
            name: names.join(", "),
            first: AtomicUsize::new(0),
            counters: Counters::default(),
        });
        let directory = Arc::new(Ldap {
            link: Arc::new(Link::new(Arc::clone(&setup))),
            binds: Arc::new(Binds::new(Arc::clone(&setup))),
            setup,
            handle: self.handle.clone(),
            open: Arc::default(),
        });
        known.push(Arc::clone(&directory));
        Ok(directory)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only ends; its tasks answer "not now" as they are dropped.
            let _ = thread.join();
        }
    }
}

impl Setup {
    /// Connects to the first server that can be reached, and binds as the settings say.
    async fn connect(&self) -> Result<Connection, String> {
        self.first_of(true).await
    }

    /// Connects to the first server that can be reached; nobody is bound.
    async fn reach(&self) -> Result<Connection, String> {
        self.first_of(false).await
    }

    async fn first_of(&self, bind: bool) -> Result<Connection, String> {
        let count = self.server.places.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for index in (0..count).map(|n| (first + n) % count) {
            match self.at(index, bind).await {
                Ok(connection) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(why) => failures.push(why),
            }
        }
        Err(failures.join("; "))
    }

    /// Connects to one server, in its share of the time.
    async fn at(&self, index: usize, bind: bool) -> Result<Connection, String> {
        let place = &self.server.places[index];
        let count = u32::try_from(self.server.places.len()).unwrap_or(u32::MAX);
        let share = self.server.timeout / count;
        let whole = async {
            let connection = Connection::open(place, &self.server, self.config.as_ref(), share)
                .await
                .map_err(|why| format!("{place}: {why}"))?;
            if bind {
                connection
                    .bind(&self.server.bind)
                    .await
                    .map_err(|why| format!("{place}: {why}"))?;
            }
            Ok(connection)
        };
        match tokio::time::timeout(share, whole).await {
            Ok(result) => result,
            Err(_) => Err(format!("{place}: no answer within {} ms", share.as_millis())),
        }
    }
}

impl Ldap {
    /// Counts a request in; `None` when there are too many.
    fn enter(&self) -> Option<Entered> {
        let open = Arc::clone(&self.open);
        if open.fetch_add(1, Ordering::AcqRel) < MAX_OPEN {
            Some(Entered(open))
        } else {
            open.fetch_sub(1, Ordering::AcqRel);
            None
        }
    }

    fn crowded(&self) -> String {
        format!("{}: {MAX_OPEN} requests wait already", self.setup.name)
    }
}

/// A request that was counted in.
struct Entered(Arc<AtomicUsize>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Directory for Ldap {
    fn search(&self, search: Search, done: SearchDone) {
        let Some(entered) = self.enter() else {
            done(Outcome::Unavailable(self.crowded()));
            return;
        };
        let done = Sure::new(done, || Outcome::Unavailable("the search failed".into()));
        let link = Arc::clone(&self.link);
        let limit = self.setup.server.timeout;
        self.handle.spawn(async move {
            let outcome = link.search(search, Instant::now() + limit).await;
            drop(entered);
            done.keep(outcome);
        });
    }

    fn bind(&self, name: &str, password: Secret<Box<str>>, done: BindDone) {
        // RFC 4513 5.1.2, 5.1.1: without a password, or without a name, a bind "succeeds" and is
        // anonymous.
        if password.expose().is_empty() || name.is_empty() {
            done(Bound::Denied);
            return;
        }
        let Some(entered) = self.enter() else {
            done(Bound::Unavailable { code: None, text: self.crowded() });
            return;
        };
        let failed = || Bound::Unavailable { code: None, text: "the bind failed".into() };
        let done = Sure::new(done, failed);
        let (binds, name) = (Arc::clone(&self.binds), name.to_owned());
        let limit = self.setup.server.timeout;
        self.handle.spawn(async move {
            let bound = binds.bind(name, password, Instant::now() + limit).await;
            drop(entered);
            done.keep(bound);
        });
    }

    fn counters(&self) -> Counts {
        self.setup.counters.read()
    }

    /// Tries every server, and says how each fares.
    fn check(&self, done: CheckDone) {
        let done = Sure::new(done, || Err("the check failed".into()));
        let setup = Arc::clone(&self.setup);
        self.handle.spawn(async move {
            let mut lines = Vec::new();
            let mut good = true;
            for index in 0..setup.server.places.len() {
                match setup.at(index, true).await {
                    Ok(connection) => lines.push(format!("{}: answers", connection.place)),
                    Err(why) => {
                        good = false;
                        lines.push(why);
                    }
                }
            }
            let text = lines.join("; ");
            done.keep(if good { Ok(text) } else { Err(text) });
        });
    }
}

/// How long to wait after so many failures in a row: 100, 200, 400 .. 2000 milliseconds. One attempt
/// in two seconds hurts nobody, and a directory that was restarted is used again at once.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(5);
    Duration::from_millis((100 << doublings).min(2000))
}

/// The names of result codes (RFC 4511 appendix A).
fn code_name(code: u32) -> &'static str {
    match code {
        0 => "success",
        1 => "operations error",
        2 => "protocol error",
        3 => "time limit exceeded",
        4 => "size limit exceeded",
        7 => "authentication method not supported",
        8 => "stronger authentication required",
        10 => "referral",
        11 => "administrative limit exceeded",
        13 => "confidentiality required",
        17 => "undefined attribute type",
        18 => "inappropriate matching",
        32 => "no such object",
        34 => "invalid DN syntax",
        48 => "inappropriate authentication",
        49 => "invalid credentials",
        50 => "insufficient access rights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwilling to perform",
        _ => "failure",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit() {
        let waits: Vec<u128> = (1..8).map(|n| backoff(n).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(backoff(60).as_millis(), 2000);
        assert_eq!(backoff(u32::MAX).as_millis(), 2000);
    }
}
