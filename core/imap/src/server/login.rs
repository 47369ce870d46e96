//! STARTTLS, LOGIN and AUTHENTICATE (RFC 3501 6.2, RFC 4959).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use waypost_machine::{Secret, Timer, TlsRole};
use waypost_sasl::{Credentials, Exchange, Failure, Mechanism, RESPONSE_LIMIT, Step as Sasl};

use super::{Call, Command, Context, Fact, Job, LoggedIn, Server, Step};
use crate::response::{self, Refusal};
use crate::state::State;

/// A login under way.
pub(super) enum Login {
    /// The client is to send the next response.
    Response(Box<Exchange>),
    /// The world looks at the password.
    Asked {
        /// The name as typed.
        user: Box<str>,
        method: &'static str,
    },
    /// The reply to a failure is held back.
    Delayed(&'static str),
}

const DENIED: &str = "NO [AUTHENTICATIONFAILED] Authentication failed.";
const UNAVAILABLE: &str = "NO [UNAVAILABLE] Temporary authentication failure.";

/// STARTTLS (RFC 3501 6.2.1)
pub(super) fn starttls(server: &mut Server, cx: &mut Context<'_>) -> Result<Step, Refusal> {
    if server.tls.is_some() {
        return Err(Refusal::Bad("TLS is already active."));
    }
    if !server.config.starttls {
        return Err(Refusal::Bad("TLS support isn't enabled."));
    }
    let step = server.end(cx, "OK Begin TLS negotiation now.");
    server.asked = false;
    cx.secure(TlsRole::Server);
    Ok(step)
}

/// LOGIN is logged as PLAIN, as Dovecot does: the tools that read its lines know no other word.
const METHOD: &str = "PLAIN";

/// LOGIN (RFC 3501 6.2.3)
pub(super) fn login(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
) -> Result<Step, Refusal> {
    let [user, password] = command.args else { return Err(response::ARGUMENTS) };
    let user = user.text().ok_or(response::ARGUMENTS)?;
    let password = password.text().ok_or(response::ARGUMENTS)?;
    allowed(server)?;
    let (Ok(user), Ok(password)) = (core::str::from_utf8(user), core::str::from_utf8(password))
    else {
        return Ok(denied(server, cx, &String::from_utf8_lossy(user), METHOD));
    };
    // A directory takes an empty password for an anonymous bind, and says yes (RFC 4513 5.1.2).
    if user.is_empty() || password.is_empty() || user.contains('\0') || password.contains('\0') {
        return Ok(denied(server, cx, user, METHOD));
    }
    let credentials = Credentials {
        mechanism: METHOD,
        authzid: "".into(),
        authcid: user.into(),
        password: Secret::new(password.into()),
    };
    Ok(ask(server, cx, credentials))
}

/// AUTHENTICATE (RFC 3501 6.2.2), with an initial response or without (RFC 4959)
pub(super) fn authenticate(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
) -> Result<Step, Refusal> {
    let (name, initial) = match command.args {
        [name] => (name, None),
        [name, initial] => (name, Some(initial.text().ok_or(response::ARGUMENTS)?)),
        _ => return Err(response::ARGUMENTS),
    };
    let name = name.upper().ok_or(response::ARGUMENTS)?;
    allowed(server)?;
    let mechanism = Mechanism::parse(&name).filter(|m| server.config.mechanisms.contains(m));
    let Some(mechanism) = mechanism else {
        return Err(Refusal::no("[ALERT] Unsupported authentication mechanism."));
    };
    let mut exchange = Box::new(Exchange::new(mechanism));
    let step = exchange.begin(initial);
    if step == Sasl::Failed(Failure::BadBase64) {
        return Ok(server.end(cx, "BAD Invalid base64 data in initial response"));
    }
    Ok(go_on(server, cx, exchange, step))
}

fn allowed(server: &Server) -> Result<(), Refusal> {
    if server.tls.is_none() && !server.config.plaintext_login {
        return Err(Refusal::no(
            "[PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) \
             connections.",
        ));
    }
    Ok(())
}

fn go_on(server: &mut Server, cx: &mut Context<'_>, exchange: Box<Exchange>, step: Sasl) -> Step {
    match step {
        Sasl::Challenge(text) => {
            server.send(cx, &format!("+ {text}\r\n"));
            Step::Run(Job::Login(Login::Response(exchange)))
        }
        Sasl::Done(credentials) => ask(server, cx, credentials),
        Sasl::Failed(Failure::Cancelled) => server.end(cx, "BAD Authentication aborted by client."),
        Sasl::Failed(Failure::BadBase64) => server.end(cx, "NO [ALERT] Invalid base64 in response"),
        Sasl::Failed(Failure::TooLong) => server.end(cx, "NO [ALERT] Authentication data too long"),
        Sasl::Failed(failure) => {
            let user = failure.user().unwrap_or_default();
            denied(server, cx, user, exchange.mechanism().name())
        }
    }
}

/// Takes the client's next response when it is here.
pub(super) fn advance(server: &mut Server, cx: &mut Context<'_>, job: Login) -> Step {
    let Login::Response(mut exchange) = job else { return Step::Wait(Job::Login(job)) };
    match cx.input.line(RESPONSE_LIMIT + 2) {
        Ok(None) => Step::Wait(Job::Login(Login::Response(exchange))),
        Ok(Some(line)) => {
            server.octets.0 += line.len() as u64;
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let step = exchange.response(line.strip_suffix(b"\r").unwrap_or(line));
            go_on(server, cx, exchange, step)
        }
        Err(_) => go_on(server, cx, exchange, Sasl::Failed(Failure::TooLong)),
    }
}

fn ask(server: &mut Server, cx: &mut Context<'_>, credentials: Credentials) -> Step {
    let job = Login::Asked { user: credentials.authcid.clone(), method: credentials.mechanism };
    let peer = server.peer.clone();
    let secured = server.tls.is_some();
    cx.call(server.config.call_timeout, |ticket| Call::Login {
        peer,
        secured,
        credentials,
        ticket,
    });
    Step::Wait(Job::Login(job))
}

pub(super) fn answered(
    server: &mut Server,
    cx: &mut Context<'_>,
    job: Login,
    outcome: LoggedIn,
) -> Step {
    let Login::Asked { user, method } = job else { return Step::Wait(Job::Login(job)) };
    match outcome {
        LoggedIn::Denied => denied(server, cx, &user, method),
        LoggedIn::Unavailable => failed(server, cx, &user, method, true),
        LoggedIn::Accepted(account) => {
            cx.fact(Fact::LoggedIn { user: account.user.clone(), method });
            cx.disarm(Timer::Greeting);
            server.state = State::Authenticated(account);
            let capabilities = response::capabilities(&server.config);
            // Who asked before is told in the same way; who did not is spared the question.
            if server.asked {
                server.send(cx, &format!("* CAPABILITY {capabilities}\r\n"));
                return server.end(cx, "OK Logged in");
            }
            server.end(cx, &format!("OK [CAPABILITY {capabilities}] Logged in"))
        }
    }
}

fn denied(server: &mut Server, cx: &mut Context<'_>, user: &str, method: &'static str) -> Step {
    failed(server, cx, user, method, false)
}

/// Every failure is answered late, so that guessing takes time.
fn failed(
    server: &mut Server,
    cx: &mut Context<'_>,
    user: &str,
    method: &'static str,
    unavailable: bool,
) -> Step {
    cx.fact(Fact::LoginFailed { user: user.into(), method, unavailable });
    cx.arm(Timer::Delay, server.config.failure_delay);
    Step::Wait(Job::Login(Login::Delayed(if unavailable { UNAVAILABLE } else { DENIED })))
}

/// The time of a failure is over.
pub(super) fn delayed(server: &mut Server, cx: &mut Context<'_>, job: Login) -> Step {
    match job {
        Login::Delayed(text) => server.end(cx, text),
        job => Step::Wait(Job::Login(job)),
    }
}
