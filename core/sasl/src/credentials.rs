//! What a mechanism gets out of a client.

use alloc::boxed::Box;

use waypost_machine::Secret;

/// A name and a password, as a client gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The mechanism, `PLAIN` or `LOGIN`.
    pub mechanism: &'static str,
    /// Whose mail is wanted (authorization identity); empty: the same as `authcid`.
    pub authzid: Box<str>,
    /// Whose password this is (authentication identity).
    pub authcid: Box<str>,
    /// The password; never empty.
    pub password: Secret<Box<str>>,
}

/// What the world says of credentials, where only the login matters (SMTP, the auth socket).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// The password is right; the account's own name follows, whatever was typed.
    Accepted(Box<str>),
    /// Wrong password, no such user, or an account that may not log in: the peer is told no more.
    Denied,
    /// The directory did not answer: the password may well be right.
    Unavailable,
}
