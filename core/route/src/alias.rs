//! Expansion of aliases: `virtual_alias_maps` (virtual(5)).
//!
//! Every address is looked up, whatever its class, until none has an alias. An address is expanded
//! once: what comes back to it again adds nothing, so that aliases that lead to one another end. An
//! address among its own aliases stands for itself.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
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

/// An expansion under way. The book keeps it between two tellings of the story, so that a long list
/// or a long chain is not walked again from its start with each answer.
#[derive(Debug)]
pub(crate) struct Progress {
    expansion: Expansion,
    seen: BTreeSet<String>,
    queue: VecDeque<Item>,
    /// Final addresses with their numbers, which give them their order.
    ends: Vec<(usize, Address)>,
}

#[derive(Debug)]
struct Item {
    address: Address,
    /// How many aliases led to it.
    depth: usize,
    /// Counts the addresses in the order in which they came up.
    number: usize,
}

impl Progress {
    fn new(start: &Address) -> Self {
        Self {
            expansion: Expansion::default(),
            seen: BTreeSet::from([folded(start)]),
            queue: VecDeque::from([Item { address: start.clone(), depth: 0, number: 0 }]),
            ends: Vec::new(),
        }
    }

    /// Takes in the aliases found for an address. False when they are too many or too deep.
    fn take(&mut self, policy: &Policy, item: Item, hit: &Hit) -> bool {
        let Item { address, depth, number } = item;
        let own = folded(&address);
        let mut itself = false;
        for item in hit.values.iter().flat_map(|value| items(value)) {
            match target(policy, &address, &hit.key, item) {
                None => self.expansion.bad.push((address.clone(), item.to_string())),
                Some(next) => {
                    let next_folded = folded(&next);
                    if next_folded == own {
                        itself = true;
                    } else if self.seen.insert(next_folded) {
                        let (depth, number) = (depth + 1, self.seen.len());
                        self.queue.push_back(Item { address: next, depth, number });
                    }
                }
            }
            if self.seen.len() + self.expansion.bad.len() > policy.alias_expansion_limit {
                return false;
            }
        }
        if itself {
            self.ends.push((number, address));
        }
        depth < policy.alias_recursion_limit
    }
}

/// Follows the aliases of an address to their ends.
pub(crate) fn expand(policy: &Policy, book: &mut Book, start: &Address) -> Result<Expansion, Stop> {
    let at = folded(start);
    let mut progress = book.expansions.remove(&at).unwrap_or_else(|| Progress::new(start));
    let end = advance(policy, book, start, &mut progress);
    let result = end.map(|()| progress.expansion.clone());
    book.expansions.insert(at, progress);
    result
}

fn advance(
    policy: &Policy,
    book: &mut Book,
    start: &Address,
    progress: &mut Progress,
) -> Result<(), Stop> {
    let mut waiting = VecDeque::new();
    while let Some(item) = progress.queue.pop_front() {
        match book.find(Map::Aliases, keys(policy, &item.address)) {
            Ok(None) => progress.ends.push((item.number, item.address)),
            Ok(Some(hit)) => {
                if !progress.take(policy, item, &hit) {
                    return Err(Stop::Refuse(reply::alias_error(start)));
                }
            }
            // Go on with the others: all that is missing is asked for at once.
            Err(Stop::Wait) => waiting.push_back(item),
            Err(other) => return Err(other),
        }
    }
    progress.queue = waiting;
    if !progress.queue.is_empty() {
        return Err(Stop::Wait);
    }
    progress.ends.sort_by_key(|(number, _)| *number);
    progress.expansion.addresses.extend(progress.ends.drain(..).map(|(_, address)| address));
    if progress.expansion == Expansion::default() {
        return Err(Stop::Refuse(reply::alias_error(start)));
    }
    Ok(())
}

/// Addresses are the same, for aliases, without regard to case.
fn folded(address: &Address) -> String {
    address.lookup_key().to_lowercase()
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
