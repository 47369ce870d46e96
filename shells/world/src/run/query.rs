//! Questions of the admin: `waypost query`, `waypost auth-test`, `waypost check`.

use std::sync::Arc;

use waypost_machine::Secret;
use waypost_sasl::Verified;

use crate::{Finding, Inner};

/// Why a map has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No map of that name.
    #[error("unknown map '{0}'")]
    NoMap(String),
    /// The directory did not answer, or not in a way that can be used.
    #[error("{0}")]
    Unavailable(String),
}

/// How a password check went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthTest {
    /// The name bound as; `None` when none was found.
    pub dn: Option<String>,
    /// The LDAP result code, where the directory gave one.
    pub code: Option<u32>,
    /// What a client would be told.
    pub outcome: Verified,
    /// Why, in words.
    pub text: String,
}

/// Looks up a key.
pub(crate) fn query(
    _world: &Arc<Inner>,
    map: &str,
    _key: &str,
    done: Box<dyn FnOnce(Result<Option<String>, QueryError>) + Send>,
) {
    done(Err(QueryError::NoMap(map.into())));
}

/// Checks a password.
pub(crate) fn auth_test(
    _world: &Arc<Inner>,
    _user: &str,
    _password: Secret<Box<str>>,
    done: Box<dyn FnOnce(AuthTest) + Send>,
) {
    let text = "no directory is configured".into();
    done(AuthTest { dn: None, code: None, outcome: Verified::Unavailable, text });
}

/// Checks everything.
pub(crate) fn check(_world: &Arc<Inner>, done: Box<dyn FnOnce(Vec<Finding>) + Send>) {
    done(Vec::new());
}
