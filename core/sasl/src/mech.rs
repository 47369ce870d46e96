//! The exchange between client and server, whatever the mechanism.

use alloc::boxed::Box;
use core::mem;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use waypost_machine::Secret;

use crate::credentials::Credentials;
use crate::{login, plain};

/// Octets of one response in base64, line end excluded (smtpd_sasl_response_limit(5)). A protocol
/// must be able to take a line of this length.
pub const RESPONSE_LIMIT: usize = 12288;

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login: obsolete, and the only one some clients have.
    Login,
}

impl Mechanism {
    /// All mechanisms there are.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Login];

    /// The registered name, in upper case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// The mechanism of this name; case does not matter.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

/// One login attempt, as far as it has come.
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    state: State,
}

#[derive(Debug)]
enum State {
    Message,
    Name,
    Password { name: Box<str> },
    Over,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this, which is in base64 already and may be empty, and hand the client's next line to
    /// [`Exchange::response`].
    Challenge(&'static str),
    /// Ask the world whether these are right.
    Done(Credentials),
    /// The attempt is over.
    Failed(Failure),
}

/// Why an attempt ended before the world was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The client sent `*`.
    #[error("cancelled by the client")]
    Cancelled,
    /// A response is not base64 (RFC 4648 4, with padding).
    #[error("invalid base64 data")]
    BadBase64,
    /// A response has more than [`RESPONSE_LIMIT`] octets.
    #[error("response too long")]
    TooLong,
    /// A response is not what the mechanism wants: NUL in a wrong place or missing, no UTF-8, no
    /// name; or a response after the end of the exchange.
    #[error("malformed response")]
    Malformed,
    /// The password is empty: a directory would take that for an anonymous bind and say yes
    /// (RFC 4513 5.1.2).
    #[error("empty password")]
    EmptyPassword {
        /// The name, for the log.
        user: Box<str>,
    },
    /// The client wants to act as somebody else.
    #[error("authorization identity differs from the login name")]
    OtherIdentity {
        /// Whose password was given, for the log.
        user: Box<str>,
    },
}

impl Failure {
    /// The login name, as far as one was understood.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::EmptyPassword { user } | Self::OtherIdentity { user } => Some(user),
            _ => None,
        }
    }

    /// True when the client should see what it sees after a wrong password, and as late.
    pub fn is_denial(&self) -> bool {
        matches!(self, Self::Malformed | Self::EmptyPassword { .. } | Self::OtherIdentity { .. })
    }
}

impl Exchange {
    /// An attempt with this mechanism.
    pub const fn new(mechanism: Mechanism) -> Self {
        let state = match mechanism {
            Mechanism::Plain => State::Message,
            Mechanism::Login => State::Name,
        };
        Self { mechanism, state }
    }

    /// The mechanism.
    pub const fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Starts, with the initial response if the client sent one (RFC 4954 4); `=` is an empty one.
    pub fn begin(&mut self, initial: Option<&[u8]>) -> Step {
        match (initial, &self.state) {
            (Some(b"="), _) => self.message(&[]),
            (Some(initial), _) => self.decode(initial),
            (None, State::Name) => Step::Challenge(login::ASK_NAME),
            (None, _) => Step::Challenge(""),
        }
    }

    /// Takes the client's line after a challenge, without its line end.
    pub fn response(&mut self, line: &[u8]) -> Step {
        if line == b"*" { self.fail(Failure::Cancelled) } else { self.decode(line) }
    }

    fn decode(&mut self, line: &[u8]) -> Step {
        if line.len() > RESPONSE_LIMIT {
            return self.fail(Failure::TooLong);
        }
        match STANDARD.decode(line) {
            Ok(message) => self.message(&message),
            Err(_) => self.fail(Failure::BadBase64),
        }
    }

    fn message(&mut self, message: &[u8]) -> Step {
        let outcome = match mem::replace(&mut self.state, State::Over) {
            State::Message => plain::parse(message),
            State::Name => match login::name(message) {
                Ok(name) => {
                    self.state = State::Password { name };
                    return Step::Challenge(login::ASK_PASSWORD);
                }
                Err(failure) => Err(failure),
            },
            State::Password { name } => login::password(&name, message),
            State::Over => Err(Failure::Malformed),
        };
        match outcome {
            Ok(credentials) => Step::Done(credentials),
            Err(failure) => Step::Failed(failure),
        }
    }

    fn fail(&mut self, failure: Failure) -> Step {
        self.state = State::Over;
        Step::Failed(failure)
    }
}

/// The rules that all mechanisms share.
pub(crate) fn credentials(
    mechanism: Mechanism,
    authzid: &str,
    authcid: &str,
    password: &str,
) -> Result<Credentials, Failure> {
    if authcid.is_empty() {
        return Err(Failure::Malformed);
    }
    if password.is_empty() {
        return Err(Failure::EmptyPassword { user: authcid.into() });
    }
    if !authzid.is_empty() && authzid != authcid {
        return Err(Failure::OtherIdentity { user: authcid.into() });
    }
    Ok(Credentials {
        mechanism: mechanism.name(),
        authzid: "".into(),
        authcid: authcid.into(),
        password: Secret::new(password.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn encode(message: &[u8]) -> Vec<u8> {
        STANDARD.encode(message).into_bytes()
    }

    fn done(step: Step) -> (Box<str>, Box<str>) {
        match step {
            Step::Done(c) => (c.authcid, c.password.expose().clone()),
            step => panic!("{step:?}"),
        }
    }

    fn both(name: &str, password: &str) -> (Box<str>, Box<str>) {
        (name.into(), password.into())
    }

    #[test]
    fn plain_in_one_step_and_in_two() {
        let message = b"AG1haWwwMDAAc2VjcmV0MDAw";
        let expected = both("mail000", "secret000");
        let mut exchange = Exchange::new(Mechanism::Plain);
        assert_eq!(done(exchange.begin(Some(message))), expected);
        let mut exchange = Exchange::new(Mechanism::Plain);
        assert_eq!(exchange.begin(None), Step::Challenge(""));
        assert_eq!(done(exchange.response(message)), expected);
    }

    #[test]
    fn login_with_and_without_initial_response() {
        let expected = both("mail000", "secret000");
        let mut exchange = Exchange::new(Mechanism::Login);
        assert_eq!(exchange.begin(None), Step::Challenge("VXNlcm5hbWU6"));
        assert_eq!(exchange.response(b"bWFpbDAwMA=="), Step::Challenge("UGFzc3dvcmQ6"));
        assert_eq!(done(exchange.response(b"c2VjcmV0MDAw")), expected);
        let mut exchange = Exchange::new(Mechanism::Login);
        assert_eq!(exchange.begin(Some(b"bWFpbDAwMA==")), Step::Challenge("UGFzc3dvcmQ6"));
        assert_eq!(done(exchange.response(b"c2VjcmV0MDAw")), expected);
    }

    #[test]
    fn failures() {
        let long = vec![b'A'; RESPONSE_LIMIT + 4];
        let cases: [(Mechanism, &[&[u8]], Failure); 10] = [
            (Mechanism::Plain, &[b"*"], Failure::Cancelled),
            (Mechanism::Plain, &[b""], Failure::Malformed),
            (Mechanism::Plain, &[b"="], Failure::BadBase64),
            (Mechanism::Plain, &[b"!!!!"], Failure::BadBase64),
            (Mechanism::Plain, &[b"AG1haWwwMDAAc2VjcmV0MDA"], Failure::BadBase64),
            (Mechanism::Plain, &[&long], Failure::TooLong),
            (Mechanism::Login, &[b""], Failure::Malformed),
            (Mechanism::Login, &[b"bWFpbDAwMA==", b"*"], Failure::Cancelled),
            (Mechanism::Login, &[b"AA=="], Failure::Malformed),
            (
                Mechanism::Login,
                &[b"bWFpbDAwMA==", b""],
                Failure::EmptyPassword { user: "mail000".into() },
            ),
        ];
        for (mechanism, lines, failure) in cases {
            let mut exchange = Exchange::new(mechanism);
            exchange.begin(None);
            let last = lines.iter().map(|line| exchange.response(line)).last();
            assert_eq!(last, Some(Step::Failed(failure)));
        }
    }

    #[test]
    fn an_equals_sign_is_an_empty_initial_response() {
        let mut exchange = Exchange::new(Mechanism::Plain);
        assert_eq!(exchange.begin(Some(b"=")), Step::Failed(Failure::Malformed));
    }

    #[test]
    fn nothing_comes_after_the_end() {
        let mut exchange = Exchange::new(Mechanism::Plain);
        assert_eq!(exchange.begin(Some(b"!")), Step::Failed(Failure::BadBase64));
        let again = exchange.response(b"AG1haWwwMDAAc2VjcmV0MDAw");
        assert_eq!(again, Step::Failed(Failure::Malformed));
    }

    #[test]
    fn names_of_mechanisms() {
        assert_eq!(Mechanism::parse("plain"), Some(Mechanism::Plain));
        assert_eq!(Mechanism::parse("LOGIN"), Some(Mechanism::Login));
        assert_eq!(Mechanism::parse("CRAM-MD5"), None);
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_what_was_meant(
            name in "[^\\x00]{1,12}", password in "[^\\x00]{1,12}",
        ) {
            let message = std::format!("\0{name}\0{password}");
            let line = encode(message.as_bytes());
            prop_assert_eq!(
                done(Exchange::new(Mechanism::Plain).begin(Some(&line))),
                both(&name, &password)
            );
        }

        #[test]
        fn credentials_are_never_empty(lines in proptest::collection::vec(any::<Vec<u8>>(), 1..4)) {
            for mechanism in Mechanism::ALL {
                let mut exchange = Exchange::new(mechanism);
                exchange.begin(None);
                for line in &lines {
                    if let Step::Done(c) = exchange.response(&encode(line)) {
                        prop_assert!(!c.authcid.is_empty() && !c.password.expose().is_empty());
                        prop_assert!(!c.authcid.contains('\0') && !c.password.expose().contains('\0'));
                    }
                }
            }
        }
    }
}
