//! LDAP URLs (RFC 4516): where a server is, and the searches that special result attributes hold.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::dn::{Dn, Scope};
use crate::filter::Filter;

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TCP, port 389; TLS by StartTLS.
    Ldap,
    /// TCP, port 636; TLS from the start.
    Ldaps,
    /// A unix socket; the host is its path.
    Ldapi,
}

/// The place of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// How to reach it.
    pub scheme: Scheme,
    /// Host name, address (IPv6 without brackets) or, for `ldapi`, path; may be empty for `ldapi`.
    pub host: String,
    /// TCP port; 0 for `ldapi`.
    pub port: u16,
}

/// A URL that stands for a search; what it leaves out is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The server; `None` for "the one we talk to".
    pub place: Option<Place>,
    /// The base.
    pub dn: Dn,
    /// Attributes; none means all.
    pub attributes: Vec<String>,
    /// The scope; by default the base alone.
    pub scope: Scope,
    /// The filter; by default every entry.
    pub filter: Filter,
}

/// Not an LDAP URL; says what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{url}': {what}")]
pub struct UrlError {
    /// The text.
    pub url: String,
    /// The fault.
    pub what: String,
}

/// Says whether a value begins like an LDAP URL; others are taken as names of entries.
pub fn is_url(text: &str) -> bool {
    scheme(text).is_some()
}

fn scheme(text: &str) -> Option<(Scheme, &str)> {
    let (name, rest) = text.split_once("://")?;
    let known = [("ldap", Scheme::Ldap), ("ldaps", Scheme::Ldaps), ("ldapi", Scheme::Ldapi)];
    let found = known.iter().find(|(known, _)| name.eq_ignore_ascii_case(known))?;
    Some((found.1, rest))
}

impl Place {
    /// Parses `ldap://host:port`, `ldaps://host`, `ldapi://%2Frun%2Fldapi`; text after the next `/`
    /// must be empty.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let fail = |what: &str| UrlError { url: text.to_string(), what: what.to_string() };
        let Some((scheme, rest)) = scheme(text) else {
            return Err(fail("must begin with ldap://, ldaps:// or ldapi://"));
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !path.is_empty() {
            return Err(fail("names more than a server"));
        }
        Self::host(scheme, host).map_err(|what| fail(&what))
    }

    /// Parses `host`, `host:port`, `[v6]:port`; `port` is taken where none is written.
    ///
    /// # Errors
    /// What is wrong.
    pub fn plain(text: &str, port: u16) -> Result<Self, UrlError> {
        Self::host(Scheme::Ldap, text)
            .map(|place| {
                let written = text.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
                if written { place } else { Self { port, ..place } }
            })
            .map_err(|what| UrlError { url: text.to_string(), what })
    }

    fn host(scheme: Scheme, text: &str) -> Result<Self, String> {
        if scheme == Scheme::Ldapi {
            return Ok(Self { scheme, host: unpercent(text)?, port: 0 });
        }
        let default = if scheme == Scheme::Ldaps { 636 } else { 389 };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or("']' is missing")?;
                (host, rest.strip_prefix(':'))
            }
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| "the port is not a number up to 65535")?,
            None => default,
        };
        let host = unpercent(host)?;
        if host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("bad character in the host name".into());
        }
        let host = if host.is_empty() { "localhost".into() } else { host };
        Ok(Self { scheme, host, port })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Ldapi => {
                write!(f, "ldapi://{}", self.host.replace('%', "%25").replace('/', "%2F"))
            }
            _ => {
                let name = if self.scheme == Scheme::Ldaps { "ldaps" } else { "ldap" };
                if self.host.contains(':') {
                    write!(f, "{name}://[{}]:{}", self.host, self.port)
                } else {
                    write!(f, "{name}://{}:{}", self.host, self.port)
                }
            }
        }
    }
}

impl Url {
    /// Parses `ldap://host/dn?attributes?scope?filter`; extensions must not be critical.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let fail = |what: String| UrlError { url: text.to_string(), what };
        let Some((scheme, rest)) = scheme(text) else {
            return Err(fail("must begin with ldap://".into()));
        };
        let (host, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let place = match host {
            "" => None,
            host => Some(Place::host(scheme, host).map_err(fail)?),
        };
        let mut parts = rest.split('?');
        let mut next = || unpercent(parts.next().unwrap_or_default());
        let dn = Dn::parse(&next().map_err(fail)?).map_err(|e| fail(e.to_string()))?;
        let attributes = next().map_err(fail)?;
        let attributes = attributes.split(',').filter(|a| !a.is_empty() && *a != "*");
        let attributes = attributes.map(ToString::to_string).collect();
        let scope = match next().map_err(fail)?.to_ascii_lowercase().as_str() {
            "" | "base" => Scope::Base,
            "one" => Scope::One,
            "sub" => Scope::Sub,
            other => return Err(fail(alloc::format!("unknown scope '{other}'"))),
        };
        let filter = match next().map_err(fail)?.as_str() {
            "" => Filter::Present("objectClass".into()),
            filter => Filter::parse(filter).map_err(|e| fail(e.to_string()))?,
        };
        if next().map_err(fail)?.split(',').any(|extension| extension.starts_with('!')) {
            return Err(fail("has a critical extension".into()));
        }
        Ok(Self { place, dn, attributes, scope, filter })
    }
}

fn unpercent(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|d| (d as char).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return Err("'%' needs two hexadecimal digits after it".into()),
        }
    }
    String::from_utf8(out).map_err(|_| "is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let show = |text| Place::parse(text).unwrap().to_string();
        assert_eq!(show("ldap://"), "ldap://localhost:389");
        assert_eq!(show("LDAPS://ldap.example.com/"), "ldaps://ldap.example.com:636");
        assert_eq!(show("ldap://[::1]:3389"), "ldap://[::1]:3389");
        let local = Place::parse("ldapi://%2Fvar%2Frun%2Fldapi").unwrap();
        assert_eq!((local.host.as_str(), local.scheme), ("/var/run/ldapi", Scheme::Ldapi));
        assert_eq!(local.to_string(), "ldapi://%2Fvar%2Frun%2Fldapi");
        assert_eq!(Place::plain("ldap1", 778).unwrap().port, 778);
        assert_eq!(Place::plain("ldap1:1444", 778).unwrap().port, 1444);
        for bad in ["http://x", "ldap://x:99999", "ldap://x/dc=a", "ldap://[::1", "ldap://a b"] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn searches() {
        let url = Url::parse("ldap:///ou=People,dc=a%20b?mail,uid?sub?(uid=x)").unwrap();
        assert_eq!(url.dn.to_string(), "ou=People,dc=a b");
        assert_eq!((url.attributes.len(), url.scope), (2, Scope::Sub));
        assert_eq!(url.filter.to_string(), "(uid=x)");
        let bare = Url::parse("ldap://h/dc=a").unwrap();
        assert_eq!(
            (bare.scope, bare.filter.to_string().as_str()),
            (Scope::Base, "(objectClass=*)")
        );
        for bad in ["ldap:///x", "ldap:///dc=a??deep", "ldap:///dc=a???(x", "ldap:///dc=a????!e=1"]
        {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}
