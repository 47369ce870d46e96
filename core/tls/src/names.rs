//! Which names a certificate may be for.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// A name that a certificate may be for (smtp_tls_verify_cert_match, smtp_tls_secure_cert_match).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameRule {
    /// `hostname`: the host that we connect to.
    Hostname,
    /// `nexthop`: the domain that we send to.
    Nexthop,
    /// `dot-nexthop`: anything below that domain.
    DotNexthop,
    /// `mx.example.com`: this name.
    Name(Box<str>),
    /// `.example.com`: anything below this name.
    Below(Box<str>),
}

/// Whom we talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer<'a> {
    /// The name of the host.
    pub host: &'a str,
    /// The next hop, without brackets and port.
    pub nexthop: &'a str,
}

impl NameRule {
    /// Whether a name in a certificate fits. A `*` stands for one label, the leftmost; trailing dots
    /// and case do not count.
    pub fn fits(&self, presented: &str, peer: Peer<'_>) -> bool {
        match self {
            Self::Hostname => is_name(presented, peer.host),
            Self::Nexthop => is_name(presented, peer.nexthop),
            Self::Name(name) => is_name(presented, name),
            Self::DotNexthop => is_below(presented, peer.nexthop),
            Self::Below(name) => is_below(presented, name),
        }
    }

    /// The one name that it stands for; `None` for those that stand for all below one.
    pub fn name<'a>(&'a self, peer: Peer<'a>) -> Option<&'a str> {
        match self {
            Self::Hostname => Some(peer.host),
            Self::Nexthop => Some(peer.nexthop),
            Self::Name(name) => Some(name),
            Self::DotNexthop | Self::Below(_) => None,
        }
    }

    fn parse(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        match (&*lower, lower.strip_prefix('.')) {
            ("hostname", _) => Self::Hostname,
            ("nexthop", _) => Self::Nexthop,
            ("dot-nexthop", _) => Self::DotNexthop,
            (_, Some(name)) if !name.is_empty() => Self::Below(name.into()),
            (name, _) => Self::Name(name.into()),
        }
    }
}

/// Parses a list of rules, with `:`, commas or blanks between them.
pub fn parse_names(text: &str) -> Vec<NameRule> {
    let words = text.split([':', ',', ' ', '\t']).filter(|word| !word.is_empty());
    words.map(NameRule::parse).collect()
}

impl fmt::Display for NameRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hostname => f.write_str("hostname"),
            Self::Nexthop => f.write_str("nexthop"),
            Self::DotNexthop => f.write_str("dot-nexthop"),
            Self::Name(name) => f.write_str(name),
            Self::Below(name) => write!(f, ".{name}"),
        }
    }
}

fn undotted(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// A presented name, which may begin with `*.`, and the name that is wanted (RFC 9525 6.3).
pub(crate) fn is_name(presented: &str, wanted: &str) -> bool {
    let (presented, wanted) = (undotted(presented), undotted(wanted));
    if wanted.is_empty() {
        return false;
    }
    match (presented.strip_prefix("*."), wanted.split_once('.')) {
        (Some(parent), Some((label, rest))) => {
            !label.is_empty() && !parent.is_empty() && parent.eq_ignore_ascii_case(rest)
        }
        (Some(_), None) => false,
        (None, _) => presented.eq_ignore_ascii_case(wanted),
    }
}

/// A presented name and the domain that it must be below, by one label or more; none is empty.
fn is_below(presented: &str, domain: &str) -> bool {
    let presented = undotted(presented);
    let mut labels = presented.rsplit('.');
    let mut ends = undotted(domain).rsplit('.');
    !presented.split('.').any(str::is_empty)
        && ends.all(|end| labels.next().is_some_and(|label| label.eq_ignore_ascii_case(end)))
        && labels.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn fits() {
        let peer = Peer { host: "mx1.Example.net", nexthop: "example.com" };
        for (rules, presented, want) in [
            ("hostname", "MX1.example.net", true),
            ("hostname", "mx1.example.net.", true),
            ("hostname", "*.example.net", true),
            ("hostname", "*.net", false),
            ("hostname", "*.mx1.example.net", false),
            ("hostname", "*.", false),
            ("hostname", "example.net", false),
            ("hostname", "m*.example.net", false),
            ("nexthop", "example.com", true),
            ("nexthop", "mail.example.com", false),
            ("nexthop", "*.com", true),
            ("dot-nexthop", "mail.example.com", true),
            ("dot-nexthop", "a.mail.example.com", true),
            ("dot-nexthop", "*.example.com", true),
            ("dot-nexthop", "example.com", false),
            ("dot-nexthop", ".example.com", false),
            ("dot-nexthop", "badexample.com", false),
            ("dot-nexthop", "..example.com", false),
            ("hostname:nexthop", "example.com", true),
            (".isp.test", "relay.isp.test", true),
            (".isp.test", "isp.test", false),
            ("relay.isp.test", "relay.isp.test", true),
            ("", "example.com", false),
        ] {
            let rules = parse_names(rules);
            let got = rules.iter().any(|rule| rule.fits(presented, peer));
            assert_eq!(got, want, "{rules:?} {presented}");
        }
        let nobody = Peer { host: "", nexthop: "" };
        for presented in ["", ".", "*.", "a", ".a", "*.a"] {
            assert!(!NameRule::Hostname.fits(presented, nobody), "{presented}");
            assert!(!NameRule::DotNexthop.fits(presented, nobody), "{presented}");
        }
        // Found by the law below.
        assert!(!NameRule::DotNexthop.fits("....", Peer { host: "..", nexthop: ".." }));
    }

    proptest! {
        #[test]
        fn below_is_never_the_name_itself(presented in "[a*.]{0,8}", name in "[a.]{1,6}") {
            let peer = Peer { host: &name, nexthop: &name };
            if NameRule::DotNexthop.fits(&presented, peer) {
                prop_assert!(presented.trim_end_matches('.').len() > name.trim_end_matches('.').len());
            }
        }

        #[test]
        fn rules_print_as_they_parse(text in "[a-z.:, -]{0,30}") {
            let rules = parse_names(&text);
            let printed: Vec<_> = rules.iter().map(ToString::to_string).collect();
            prop_assert_eq!(parse_names(&printed.join(":")), rules);
        }
    }
}
