//! Other ways for some domains: `transport_maps` of postconf(5), as far as next hops go.

use std::collections::BTreeMap;

use waypost_dns::{NextHop, NextHopError};

/// Domains and their next hops.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transports(BTreeMap<Box<str>, Box<str>>);

/// What is wrong with a line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportsError {
    /// The key is no domain.
    Domain(Box<str>),
    /// The value is no next hop.
    NextHop(NextHopError),
}

impl std::fmt::Display for TransportsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Domain(text) => {
                write!(f, "'{text}' is no domain; write remote.test, or .remote.test for all below")
            }
            Self::NextHop(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for TransportsError {}

impl Transports {
    /// A table of domains (`remote.test`; `.remote.test` for all domains below) and next hops.
    ///
    /// # Errors
    /// [`TransportsError`]
    pub fn new<'a>(
        lines: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, TransportsError> {
        let mut table = BTreeMap::new();
        for (domain, nexthop) in lines {
            let name = domain.strip_prefix('.').unwrap_or(domain);
            match NextHop::parse(name) {
                Ok((NextHop::Domain(_), None)) => {}
                _ => return Err(TransportsError::Domain(domain.into())),
            }
            NextHop::parse(nexthop).map_err(TransportsError::NextHop)?;
            table.insert(domain.to_ascii_lowercase().into(), nexthop.into());
        }
        Ok(Self(table))
    }

    /// True when no domain has another way.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next hop of a domain: its own, or that of the nearest domain above.
    pub fn find(&self, domain: &str) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        let domain = domain.to_ascii_lowercase();
        if let Some(nexthop) = self.0.get(&*domain) {
            return Some(nexthop);
        }
        let mut dots = domain.match_indices('.');
        dots.find_map(|(at, _)| self.0.get(&domain[at..])).map(|nexthop| &**nexthop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_counts() {
        let table = Transports::new([
            ("remote.test", "[127.0.0.1]:2526"),
            (".remote.test", "[127.0.0.1]:2527"),
            (".a.remote.test", "mx.test"),
        ])
        .unwrap();
        assert_eq!(table.find("Remote.Test"), Some("[127.0.0.1]:2526"));
        assert_eq!(table.find("b.remote.test"), Some("[127.0.0.1]:2527"));
        assert_eq!(table.find("c.b.a.remote.test"), Some("mx.test"));
        assert_eq!(table.find("xremote.test"), None);
        assert_eq!(table.find("test"), None);
        assert_eq!(table.find("[192.0.2.1]"), None);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let error = |domain, nexthop| Transports::new([(domain, nexthop)]).unwrap_err().to_string();
        assert!(error("[192.0.2.1]", "mx.test").starts_with("'[192.0.2.1]' is no domain"));
        assert!(error("", "mx.test").contains("is no domain"));
        assert!(error("a.test", "[x").starts_with("'[x' is no destination"));
    }
}
