//! AUTH (RFC 4954).

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::Bytes;
use waypost_machine::{Cx, Timer, TooLong};
use waypost_mail::Login;
use waypost_sasl::{Exchange, Failure, Mechanism, Step, Verified};

use super::{Call, Fact, Phase, Reply, Server, send};
use crate::error::CommandError;
use crate::reply;

impl Server {
    /// True when AUTH is on for this session as it is now.
    pub(super) fn offers_auth(&self) -> bool {
        !self.config.mechanisms.is_empty()
            && (self.client.tls.is_some() || self.config.auth_in_clear)
    }

    pub(super) fn auth(&mut self, cx: &mut Cx<'_, Self>, args: &str) -> Result<(), CommandError> {
        if !self.offers_auth() {
            return Err(CommandError::NoAuth);
        }
        if self.transaction.is_some() {
            return Err(CommandError::InTransaction);
        }
        let mut words = args.split_ascii_whitespace();
        let (Some(name), initial, None) = (words.next(), words.next(), words.next()) else {
            return Err(CommandError::Syntax("AUTH mechanism"));
        };
        if self.client.login.is_some() {
            return Err(CommandError::LoggedIn);
        }
        let mechanism = Mechanism::parse(name)
            .filter(|mechanism| self.config.mechanisms.contains(mechanism))
            .ok_or(CommandError::NoMechanism)?;
        let mut exchange = Exchange::new(mechanism);
        let step = exchange.begin(initial.map(str::as_bytes));
        self.auth_step(cx, exchange, step, "initial")
    }

    /// The client's line after a challenge.
    pub(super) fn auth_response(
        &mut self,
        cx: &mut Cx<'_, Self>,
        mut exchange: Exchange,
        line: &Result<Bytes, TooLong>,
    ) -> Result<(), CommandError> {
        let line = line.as_ref().map_err(|TooLong| CommandError::ResponseTooLong)?;
        let step = exchange.response(self.unterminated(line)?);
        self.auth_step(cx, exchange, step, "continued")
    }

    fn auth_step(
        &mut self,
        cx: &mut Cx<'_, Self>,
        exchange: Exchange,
        step: Step,
        which: &'static str,
    ) -> Result<(), CommandError> {
        let mechanism = exchange.mechanism().name();
        match step {
            Step::Challenge(text) => {
                send(cx, &reply::challenge(text));
                self.listen(cx, Phase::Auth(exchange));
            }
            Step::Done(credentials) => {
                let user = credentials.authcid.clone();
                let client = Arc::clone(&self.client);
                let call = cx.call(self.config.call_timeout, |ticket| Call::Authenticate {
                    client,
                    credentials,
                    ticket,
                });
                self.phase = Phase::Verifying { call, user, mechanism };
            }
            Step::Failed(Failure::Cancelled) => return Err(CommandError::Cancelled),
            Step::Failed(failure) => {
                let user = failure.user().unwrap_or_default().into();
                cx.fact(Fact::Login { user, mechanism, outcome: Verified::Denied });
                match failure {
                    Failure::TooLong => return Err(CommandError::ResponseTooLong),
                    Failure::BadBase64 => return Err(CommandError::BadBase64(which)),
                    _ => self.deny(cx),
                }
            }
        }
        Ok(())
    }

    /// The world has checked the password, or not (`None`).
    pub(super) fn verified(
        &mut self,
        cx: &mut Cx<'_, Self>,
        user: Box<str>,
        mechanism: &'static str,
        outcome: Option<Reply>,
    ) {
        let outcome = match outcome {
            Some(Reply::Verified(outcome)) => outcome,
            _ => Verified::Unavailable,
        };
        cx.fact(Fact::Login { user, mechanism, outcome: outcome.clone() });
        match outcome {
            Verified::Accepted(user) => {
                Arc::make_mut(&mut self.client).login = Some(Login { user, mechanism });
                self.finish(cx, &reply::LOGGED_IN);
            }
            Verified::Denied => self.deny(cx),
            Verified::Unavailable => self.refuse(cx, &CommandError::CannotVerify),
        }
    }

    /// Says no, after a while: guessing shall take time.
    fn deny(&mut self, cx: &mut Cx<'_, Self>) {
        self.phase = Phase::Denied;
        cx.arm(Timer::Delay, self.config.auth_failure_delay);
    }
}
