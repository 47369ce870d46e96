//! Address classes: what kind of domain an address is in (ADDRESS_CLASS_README).

use core::net::{IpAddr, Ipv6Addr};

use waypost_mail::{Address, Domain};

use crate::lookup::{Book, Map, Stop};
use crate::policy::{Domains, Policy};

/// The class of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The machine itself: `mydestination`.
    Local,
    /// Every address is an alias.
    VirtualAlias,
    /// Addresses are mailboxes.
    VirtualMailbox,
    /// Passed on for anybody.
    Relay,
    /// Somebody else's.
    Default,
}

/// The class of a domain. What is listed comes before what a table knows, so that a listed domain
/// costs no lookup; within each, the order is Postfix's.
pub(crate) fn of(policy: &Policy, book: &mut Book, domain: &Domain) -> Result<Class, Stop> {
    let listed = |names: &[alloc::string::String]| {
        names.iter().any(|name| name.eq_ignore_ascii_case(domain.as_str()))
    };
    if domain.is_literal() {
        return Ok(if is_own_literal(policy, domain) { Class::Local } else { Class::Default });
    }
    if listed(&policy.mydestination) {
        return Ok(Class::Local);
    }
    if listed(&policy.virtual_alias_domains.listed) {
        return Ok(Class::VirtualAlias);
    }
    if listed(&policy.virtual_mailbox_domains.listed) {
        return Ok(Class::VirtualMailbox);
    }
    if in_table(&policy.virtual_alias_domains, book, Map::AliasDomains, domain)? {
        return Ok(Class::VirtualAlias);
    }
    if in_table(&policy.virtual_mailbox_domains, book, Map::MailboxDomains, domain)? {
        return Ok(Class::VirtualMailbox);
    }
    let below = |parent: &alloc::string::String| is_at_or_below(domain.as_str(), parent);
    Ok(if policy.relay_domains.iter().any(below) { Class::Relay } else { Class::Default })
}

fn in_table(domains: &Domains, book: &mut Book, map: Map, domain: &Domain) -> Result<bool, Stop> {
    Ok(domains.table && !book.look(map, domain.as_str())?.is_empty())
}

/// Whether mail for this recipient is ours to take: its domain is, and it names no way onward
/// (`user%elsewhere@ours`, `elsewhere!user@ours`, `"user@elsewhere"@ours`).
pub(crate) fn is_ours(policy: &Policy, book: &mut Book, recipient: &Address) -> Result<bool, Stop> {
    let class = of(policy, book, recipient.domain())?;
    Ok(class != Class::Default && !recipient.local().contains(['@', '%', '!']))
}

/// Whether a bare `user` in a table means this domain: `myorigin`, `mydestination`, our addresses.
pub(crate) fn is_own_site(policy: &Policy, domain: &Domain) -> bool {
    let same = |name: &str| name.eq_ignore_ascii_case(domain.as_str());
    same(&policy.myorigin)
        || policy.mydestination.iter().any(|name| same(name))
        || is_own_literal(policy, domain)
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]` with an address of ours.
fn is_own_literal(policy: &Policy, domain: &Domain) -> bool {
    let Some(inner) = domain.as_str().strip_prefix('[').and_then(|t| t.strip_suffix(']')) else {
        return false;
    };
    let v6 = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    let address = match v6 {
        Some(_) => inner[5..].parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => inner.parse().ok(),
    };
    address.is_some_and(|a| {
        policy.own_addresses.iter().any(|own| own.to_canonical() == a.to_canonical())
    })
}

fn is_at_or_below(domain: &str, parent: &str) -> bool {
    let Some(cut) = domain.len().checked_sub(parent.len()) else { return false };
    let (head, tail) = (domain.as_bytes().get(..cut), domain.as_bytes().get(cut..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(parent.as_bytes()))
        && head.is_some_and(|head| head.is_empty() || head.ends_with(b"."))
}
