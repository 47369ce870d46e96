//! Networks in CIDR notation, as in `mynetworks`.

use alloc::string::String;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

/// A network: `127.0.0.0/8`, `[::1]/128`, `2001:db8::/32`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is not written like one.
    #[error("'{0}' is no network; write 192.0.2.0/24, [2001:db8::]/32, or one address")]
    Malformed(String),
    /// The address has bits behind the prefix: whether one address is meant, or all of the network,
    /// cannot be known.
    #[error(
        "'{0}' is an address in a network; write {1} for all of it, or {2} for the one address"
    )]
    HostBits(String, Network, IpAddr),
}

impl Network {
    /// True when the address lies in the network. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (own, width) = bits(self.address);
        let (other, other_width) = bits(ip.to_canonical());
        let shift = u32::from(width - self.prefix);
        width == other_width && (own ^ other).checked_shr(shift).unwrap_or(0) == 0
    }
}

fn bits(ip: IpAddr) -> (u128, u8) {
    match ip {
        IpAddr::V4(v4) => (u32::from(v4).into(), 32),
        IpAddr::V6(v6) => (v6.into(), 128),
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError::Malformed(text.into());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        let address: IpAddr = bare.parse().map_err(|_| wrong())?;
        let (_, width) = bits(address);
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|p| *p <= width).ok_or_else(wrong)?,
            None => width,
        };
        let whole = Self { address: start(address, prefix), prefix };
        if whole.address != address {
            return Err(NetworkError::HostBits(text.into(), whole, address));
        }
        Ok(whole)
    }
}

/// The first address of the network that an address is in.
fn start(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(u32::BITS - prefix).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(u128::BITS - prefix).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(v4) => write!(f, "{v4}/{}", self.prefix),
            IpAddr::V6(v6) => write!(f, "[{v6}]/{}", self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn membership() {
        for (network, ip, inside) in [
            ("127.0.0.0/8", "127.1.2.3", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("[::1]/128", "::1", true),
            ("[::1]", "::2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(ip.parse().unwrap()), inside, "{network} {ip}");
        }
        for wrong in ["", "localhost", "127.0.0.1/33", "127.0.0.1/", "[::1"] {
            let error = wrong.parse::<Network>().unwrap_err();
            assert_eq!(error, NetworkError::Malformed(wrong.into()));
        }
    }

    #[test]
    fn an_address_in_a_network_is_ambiguous() {
        for (wrong, whole, one) in [
            ("192.0.2.5/24", "192.0.2.0/24", "192.0.2.5"),
            ("192.0.2.5/0", "0.0.0.0/0", "192.0.2.5"),
            ("[2001:db8::1]/32", "[2001:db8::]/32", "2001:db8::1"),
        ] {
            let error = wrong.parse::<Network>().unwrap_err().to_string();
            let meant = std::format!("write {whole} for all of it, or {one} for the one address");
            assert!(error.ends_with(&meant), "{error}");
        }
    }
}
