use crate::session;
use waypost_auth::{Call, Config, Server};
use waypost_sasl::{Mechanism, Verified};

/// Any lines on the auth socket.
pub fn session(data: &[u8]) {
    let mut config = Config::new(4711, 1, "0123456789abcdef");
    config.mechanisms.push(Mechanism::Login);
    session::run_unordered(
        data,
        || Server::new(config.clone()),
        |Call::Authenticate { credentials, ticket, .. }| {
            let outcome = match credentials.authcid.len() % 3 {
                0 => Verified::Denied,
                1 => Verified::Unavailable,
                _ => Verified::Accepted(credentials.authcid),
            };
            ticket.answer(outcome)
        },
    );
}
