//! How much one user, or one client, may send.

use waypost_mail::{Client, Reply};
use waypost_route::rate::{Counted, RateExceeded, RateKey};

use crate::run::submission::is_trusted;
use crate::{Inner, lock};

/// Counts one message, or one recipient, of a client: by its login, or else by its address, unless
/// that is in `mynetworks`.
///
/// # Errors
/// The reply when it was too much.
pub(crate) fn count(world: &Inner, client: &Client, what: Counted) -> Result<(), Reply> {
    let key = match &client.login {
        Some(login) => RateKey::Login(login.user.clone()),
        None if is_trusted(&world.policy, client) => return Ok(()),
        None => RateKey::client(client.peer.ip),
    };
    let now = world.settings.clock.mono();
    lock(&world.rates).take(now, &key, what, 1).map_err(|exceeded| {
        tell(client, &exceeded);
        exceeded.reply()
    })
}

/// Tells the log in Postfix's words, and what to change if it was all right.
fn tell(client: &Client, exceeded: &RateExceeded) {
    let who = match exceeded.key {
        RateKey::Login(_) => "user",
        RateKey::Client(_) => "client",
    };
    let RateExceeded { what, limit, .. } = exceeded;
    tracing::warn!(
        "warning: {exceeded}, client={}[{}], for service {} (limits.{who}_{}_per_hour = {limit})",
        client.peer.name.as_deref().unwrap_or("unknown"),
        client.peer.ip.to_canonical(),
        client.service,
        what.name(),
    );
}
