//! Names, types, records, answers.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// A name for an address.
    Ptr,
    /// A certificate (RFC 6698).
    Tlsa,
    /// Text.
    Txt,
}

impl fmt::Display for Kind {
    /// As in zone files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Mx => "MX",
            Self::Ptr => "PTR",
            Self::Tlsa => "TLSA",
            Self::Txt => "TXT",
        })
    }
}

/// A question: a name and what is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    name: Box<str>,
    kind: Kind,
}

/// A text that is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a domain name")]
pub struct NameError;

impl Question {
    /// A question. The name may have characters beyond ASCII (RFC 5890) and a trailing dot.
    ///
    /// # Errors
    /// [`NameError`]
    pub fn new(name: &str, kind: Kind) -> Result<Self, NameError> {
        Ok(Self { name: canonical(&wire_name(name)?), kind })
    }

    /// In lower case ASCII, without trailing dot.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is asked for.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Question {
    /// `name=remote.test type=MX`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "name={} type={}", self.name, self.kind)
    }
}

/// A name as packets have it, always from the root.
pub(crate) fn wire_name(name: &str) -> Result<Name, NameError> {
    let labels = name.strip_suffix('.').unwrap_or(name);
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
    if labels.split('.').any(str::is_empty) || labels.contains(odd) {
        return Err(NameError);
    }
    let parsed = match name.is_ascii() {
        true => Name::from_ascii(name),
        false => Name::from_utf8(name),
    };
    let mut parsed = parsed.map_err(|_| NameError)?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

/// In lower case, without trailing dot; empty for the root.
pub(crate) fn canonical(name: &Name) -> Box<str> {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').unwrap_or(&text).into()
}

/// A record. Names are in lower case, without trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Record {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A mail exchanger.
    Mx {
        /// The smaller, the better.
        preference: u16,
        /// Its name; empty: nobody takes mail here (RFC 7505).
        exchange: Box<str>,
    },
    /// A name.
    Ptr(Box<str>),
    /// A certificate, its key, or a hash of one of them (RFC 6698 2.1).
    Tlsa {
        /// Certificate usage.
        usage: u8,
        /// Selector.
        selector: u8,
        /// Matching type.
        matching: u8,
        /// Certificate association data.
        data: Box<[u8]>,
    },
    /// Text, its pieces joined (RFC 7208 3.3).
    Txt(Box<[u8]>),
}

/// What is known of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The thing itself.
    pub found: Found,
    /// The server says that it has validated all of it (AD, RFC 4035 3.2.3). Worth as much as the
    /// way to the server: something on this host, nothing across a network.
    pub authentic: bool,
    /// For how many seconds it holds.
    pub ttl: u32,
}

/// The three things that must not be mistaken for each other, and a fourth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// These; at least one.
    Records(Vec<Record>),
    /// The name exists, but has no such record.
    NoData,
    /// The name does not exist (NXDOMAIN).
    NoName,
    /// It cannot be told now.
    Unavailable(Failure),
}

impl Answer {
    /// No answer.
    pub fn unavailable(failure: Failure) -> Self {
        Self { found: Found::Unavailable(failure), authentic: false, ttl: 0 }
    }
}

/// Why something cannot be told now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// SERVFAIL: the zone's servers are down, or its signatures are wrong.
    #[error("the name server could not find out (SERVFAIL)")]
    ServFail,
    /// REFUSED or the like: the server does not want to work for us.
    #[error("the name server refused to answer")]
    Refused,
    /// No server answered in time, or at all.
    #[error("no name server answered")]
    Silence,
    /// Answers that make no sense.
    #[error("the name server gave no usable answer")]
    Nonsense,
    /// An alias of an alias of an alias, without end.
    #[error("too many aliases")]
    Aliases,
    /// There is no name server to ask.
    #[error("no name server is configured")]
    NoServer,
    /// More is asked at once than is allowed.
    #[error("too many questions to name servers at once")]
    Busy,
    /// We were told to stop.
    #[error("stopped")]
    Stopped,
}
