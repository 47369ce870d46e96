//! Which login may use which sender address: `smtpd_sender_login_maps`.

use alloc::string::String;
use alloc::vec::Vec;

use waypost_mail::{Address, Reply};

use crate::lookup::{Book, Map, Stop, keys};
use crate::policy::Policy;
use crate::reply;

/// What to make of an address that nobody owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unowned {
    /// A login may not use it.
    Refuse,
    /// Anybody may.
    Allow,
}

/// The logins that own an address; nobody when empty.
fn owners(policy: &Policy, book: &mut Book, sender: &Address) -> Result<Vec<String>, Stop> {
    let found = book.find(Map::SenderLogins, keys(policy, sender));
    let found = found.map_err(|stop| stop.about(sender))?;
    let separator = |c: char| c == ',' || c.is_whitespace();
    let values = found.map(|hit| hit.values).unwrap_or_default();
    let names = values.iter().flat_map(|value| value.split(separator));
    Ok(names.filter(|name| !name.is_empty()).map(String::from).collect())
}

/// A login may only use addresses that it owns.
pub(crate) fn authenticated(
    policy: &Policy,
    book: &mut Book,
    sender: &Address,
    user: &str,
    unowned: Unowned,
) -> Result<Option<Reply>, Stop> {
    let owners = owners(policy, book, sender)?;
    let fine = match owners.as_slice() {
        [] => unowned == Unowned::Allow,
        some => some.iter().any(|owner| owner.to_lowercase() == user.to_lowercase()),
    };
    Ok(if fine { None } else { Some(reply::not_owned(sender, user)) })
}

/// Without a login, only addresses that nobody owns may be used.
pub(crate) fn unauthenticated(
    policy: &Policy,
    book: &mut Book,
    sender: &Address,
) -> Result<Option<Reply>, Stop> {
    let owned = !owners(policy, book, sender)?.is_empty();
    Ok(owned.then(|| reply::not_logged_in(sender)))
}
