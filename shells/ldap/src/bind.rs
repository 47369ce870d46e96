//! Password checks: binds as the user, on connections of their own.
//!
//! A bind changes who the whole connection is, so it cannot share one with searches, nor with another
//! bind. A few connections are kept and used in turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use waypost_machine::Secret;
use waypost_world::directory::Bound;

use crate::connect::Connection;
use crate::{Setup, backoff, code_name};

/// Binds at the same time, and connections kept.
const AT_ONCE: usize = 4;
const INVALID_CREDENTIALS: u32 = 49;

/// The connections for binds.
pub(crate) struct Binds {
    setup: Arc<Setup>,
    permits: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    failures: u32,
    /// Until then no connection is tried, for this reason.
    down: Option<(Instant, String)>,
}

impl Binds {
    pub(crate) fn new(setup: Arc<Setup>) -> Self {
        Self { setup, permits: Semaphore::new(AT_ONCE), state: Mutex::default() }
    }

    /// Checks a password; answers by `deadline`.
    pub(crate) async fn bind(
        self: Arc<Self>,
        name: String,
        password: Secret<Box<str>>,
        deadline: Instant,
    ) -> Bound {
        let late = || {
            unavailable(format!(
                "{}: no answer within {} s",
                self.setup.name,
                self.setup.server.timeout.as_secs()
            ))
        };
        let Ok(Ok(_permit)) = timeout_at(deadline, self.permits.acquire()).await else {
            return late();
        };
        loop {
            let (connection, used) = match self.take() {
                Some(kept) => (kept, true),
                None => match timeout_at(deadline, self.connect()).await {
                    Ok(Ok(new)) => (new, false),
                    Ok(Err(why)) => return unavailable(why),
                    Err(_) => return late(),
                },
            };
            let mut ldap = connection.ldap();
            self.setup.counters.bind();
            match timeout_at(deadline, ldap.simple_bind(&name, password.expose())).await {
                Ok(Ok(result)) => {
                    let bound = match result.rc {
                        0 => Bound::Accepted,
                        INVALID_CREDENTIALS => Bound::Denied,
                        code => Bound::Unavailable {
                            code: Some(code),
                            text: format!(
                                "{}: bind as '{name}' failed: {} ({code}) {}",
                                connection.place,
                                code_name(code),
                                result.text
                            ),
                        },
                    };
                    self.keep(connection);
                    return bound;
                }
                // Servers close connections that are idle for long; a new one will tell.
                Ok(Err(_)) if used => {}
                Ok(Err(error)) => return unavailable(connection.explain(&error.to_string())),
                Err(_) => return late(),
            }
        }
    }

    fn take(&self) -> Option<Connection> {
        let mut state = self.state();
        while let Some(connection) = state.idle.pop() {
            if connection.is_open() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: Connection) {
        if connection.is_open() {
            self.state().idle.push(connection);
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        if let Some((until, why)) = &self.state().down
            && Instant::now() < *until
        {
            return Err(why.clone());
        }
        let result = self.setup.reach().await;
        let mut state = self.state();
        match &result {
            Ok(_) => {
                state.failures = 0;
                state.down = None;
            }
            Err(why) => {
                state.failures += 1;
                state.down = Some((Instant::now() + backoff(state.failures), why.clone()));
            }
        }
        drop(state);
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(text: String) -> Bound {
    Bound::Unavailable { code: None, text }
}
