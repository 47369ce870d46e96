//! Expansion of aliases: `virtual_alias_maps` (virtual(5)).
//!
//! Every address is looked up, whatever its class, until none has an alias. An address is expanded
//! once: what comes back to it again adds nothing, so that aliases that lead to one another end. An
//! address among its own aliases stands for itself.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use waypost_mail::{Address, Domain};

use crate::lookup::{Book, Hit, Key, Map, Stop, keys};
use crate::policy::Policy;
use crate::reply;

/// Where an address leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expansion {
    /// Final addresses, each once.
    pub(crate) addresses: Vec<Address>,
    /// Texts in the table that are no addresses, and the address whose alias they are.
    pub(crate) bad: Vec<(Address, String)>,
}

/// Follows the aliases of an address to their ends.
pub(crate) fn expand(policy: &Policy, book: &mut Book, start: &Address) -> Result<Expansion, Stop> {
    let mut expansion = Expansion::default();
    let mut seen = BTreeSet::from([folded(start)]);
    let mut queue = VecDeque::from([(start.clone(), 0)]);
    let mut waiting = false;
    let over = || Stop::Refuse(reply::alias_error(start));
    while let Some((address, depth)) = queue.pop_front() {
        let found = match book.find(Map::Aliases, keys(policy, &address)) {
            // Go on with the others: all that is missing is asked for at once.
            Err(Stop::Wait) => {
                waiting = true;
                continue;
            }
            other => other?,
        };
        let Some(Hit { key, values }) = found else {
            expansion.addresses.push(address);
            continue;
        };
        if depth >= policy.alias_recursion_limit {
            return Err(over());
        }
        let mut itself = false;
        for item in values.iter().flat_map(|value| items(value)) {
            match target(policy, &address, &key, item) {
                None => expansion.bad.push((address.clone(), item.to_string())),
                Some(next) if folded(&next) == folded(&address) => itself = true,
                Some(next) => {
                    if seen.insert(folded(&next)) {
                        queue.push_back((next, depth + 1));
                    }
                }
            }
            if seen.len() + expansion.bad.len() > policy.alias_expansion_limit {
                return Err(over());
            }
        }
        if itself {
            expansion.addresses.push(address);
        }
    }
    if waiting {
        return Err(Stop::Wait);
    }
    if expansion == Expansion::default() {
        return Err(over());
    }
    Ok(expansion)
}

/// Addresses are the same, for aliases, without regard to case.
fn folded(address: &Address) -> Arc<str> {
    address.lookup_key().to_lowercase().into()
}

/// The addresses in one value: separated by commas that stand in no quotes.
fn items(value: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let separator = move |c: char| {
        let plain = !escaped;
        escaped = plain && c == '\\';
        quoted ^= plain && c == '"';
        c == ',' && !quoted
    };
    value.split(separator).map(str::trim).filter(|item| !item.is_empty())
}

/// One address of an alias. `@domain` keeps the user; a user without domain is at `myorigin`; the
/// extension that the key left out is added.
fn target(policy: &Policy, alias: &Address, key: &Key, item: &str) -> Option<Address> {
    let item = match item.strip_suffix('>').and_then(|rest| rest.rsplit_once('<')) {
        Some((_, address)) => address,
        None => item,
    };
    if let Some(domain) = item.strip_prefix('@') {
        return Address::new(alias.local(), Domain::parse(domain).ok()?).ok();
    }
    if item.starts_with(['/', '|', ':', '\\']) {
        // Files, commands and includes are local(8)'s; here they are mistakes.
        return None;
    }
    let address = match Address::parse(item) {
        Ok(address) => address,
        Err(_) => Address::parse(&format!("{item}@{}", policy.myorigin)).ok()?,
    };
    if key.extension.is_empty() {
        return Some(address);
    }
    Address::new(&format!("{}{}", address.local(), key.extension), address.domain().clone()).ok()
}
