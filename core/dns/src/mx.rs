//! Which host comes first, and which is ourselves (RFC 5321 5.1).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;

use waypost_mail::Enhanced;

use crate::random::Random;

/// A host that takes mail, at one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchanger {
    /// Its name: what certificates are compared with, and logs show.
    pub name: Box<str>,
    /// Where to connect.
    pub address: IpAddr,
    /// The smaller, the better.
    pub preference: u16,
    /// There is no better one.
    pub best: bool,
    /// All that led here was validated, says the name server (RFC 7672 2.2).
    pub authentic: bool,
}

/// Why there is nobody to send to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NoRoute {
    /// `dsn=`: class 4 when it may be otherwise later.
    pub status: Enhanced,
    /// The text for people, as Postfix words it.
    pub reason: Box<str>,
}

/// Who we are. Empty: nothing is taken for ourselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Names, in lower case.
    pub names: Vec<Box<str>>,
    /// Addresses that we listen on, or that lead to us through a proxy (inet_interfaces,
    /// proxy_interfaces).
    pub addresses: Vec<IpAddr>,
}

impl Own {
    pub(crate) fn is_name(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    pub(crate) fn is_address(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.to_canonical() == address.to_canonical())
    }
}

/// Puts hosts in order: by preference, those of one preference in any (RFC 5321 5.1), and keeps the
/// first of them so that neither IPv4 nor IPv6 crowds the other out (smtp_balance_inet_protocols).
pub(crate) fn order(
    mut hosts: Vec<Exchanger>,
    limit: usize,
    random: &mut Random,
) -> Vec<Exchanger> {
    random.shuffle(&mut hosts);
    hosts.sort_by_key(|host| host.preference);
    let v6 = hosts.iter().filter(|host| host.address.is_ipv6()).count();
    let v4 = hosts.len() - v6;
    if hosts.len() > limit {
        let v6_first = hosts.first().is_some_and(|host| host.address.is_ipv6());
        let half = limit / 2 + usize::from(v6_first && limit % 2 == 1);
        let mut v6_left = v6.min(half.max(limit.saturating_sub(v4)));
        let mut v4_left = limit - v6_left;
        hosts.retain(|host| {
            let left = if host.address.is_ipv6() { &mut v6_left } else { &mut v4_left };
            let keep = *left > 0;
            *left -= usize::from(keep);
            keep
        });
    }
    let best = hosts.first().map(|host| host.preference);
    for host in &mut hosts {
        host.best = Some(host.preference) == best;
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::format;

    fn host(preference: u16, n: u8, v6: bool) -> Exchanger {
        let address: IpAddr = match v6 {
            true => format!("2001:db8::{n:x}").parse().unwrap(),
            false => format!("192.0.2.{n}").parse().unwrap(),
        };
        let name = format!("mx{n}").into();
        Exchanger { name, address, preference, best: false, authentic: false }
    }

    #[test]
    fn every_order_of_equals_is_as_likely() {
        let mut counts = [0u32; 6];
        for seed in 0..6000 {
            let hosts = [host(10, 1, false), host(10, 2, false), host(10, 3, false)];
            let got = order(hosts.to_vec(), 9, &mut Random::new(seed));
            let names = got.iter().map(|h| h.name.as_bytes()[2] - b'1');
            let place = names.fold(0, |all, n| all * 3 + usize::from(n));
            let all = [5, 7, 11, 15, 19, 21];
            counts[all.iter().position(|p| *p == place).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn both_families_have_their_share() {
        for (v6, v4, limit, want) in [
            (9, 9, 4, (2, 2)),
            (1, 9, 4, (1, 3)),
            (9, 1, 4, (3, 1)),
            (9, 0, 4, (4, 0)),
            (0, 9, 4, (0, 4)),
            (2, 1, 4, (2, 1)),
            (9, 9, 0, (0, 0)),
        ] {
            let mut hosts: Vec<_> = (0..v6).map(|n| host(1, n, true)).collect();
            hosts.extend((0..v4).map(|n| host(2, n, false)));
            let got = order(hosts, limit, &mut Random::new(7));
            let six = got.iter().filter(|h| h.address.is_ipv6()).count();
            assert_eq!((six, got.len() - six), want, "{v6} {v4} {limit}");
        }
    }

    proptest! {
        #[test]
        fn sorted_limited_and_nothing_invented(
            hosts in proptest::collection::vec((0u16..4, any::<u8>(), any::<bool>()), 0..12),
            limit in 0usize..9,
            seed in any::<u64>(),
        ) {
            let hosts: Vec<_> = hosts.into_iter().map(|(p, n, six)| host(p, n, six)).collect();
            let got = order(hosts.clone(), limit, &mut Random::new(seed));
            prop_assert_eq!(got.len(), hosts.len().min(limit));
            prop_assert!(got.is_sorted_by_key(|h| h.preference));
            prop_assert!(got.iter().all(|h| hosts.iter().any(|o| o.address == h.address)));
            let best = got.first().map(|h| h.preference);
            prop_assert!(got.iter().all(|h| h.best == (Some(h.preference) == best)));
        }
    }
}
