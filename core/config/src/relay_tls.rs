//! TLS towards other servers: the `smtp_tls_` keys of `[relay]`.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use toml::de::DeValue;
use waypost_tls::{Defaults, Entry, Fingerprint, Level, NameRule, PolicyTable, parse_names};

use crate::reader::{self, Reader};

/// TLS towards other servers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented where the key is listed")]
pub struct RelayTls {
    /// `smtp_tls_security_level`, `smtp_tls_policy_maps`, and the defaults of levels.
    pub table: PolicyTable,
    pub smtp_tls_policy_file: Option<Box<str>>,
    pub smtp_tls_ca_file: Option<Box<str>>,
    pub smtp_tls_ca_path: Option<Box<str>>,
    pub smtp_tls_loglevel: u32,
    pub mta_sts: bool,
}

pub(crate) fn read(r: &mut Reader<'_>) -> RelayTls {
    RelayTls {
        table: table(r),
        smtp_tls_policy_file: r.optional("relay.smtp_tls_policy_file"),
        smtp_tls_ca_file: r.optional("relay.smtp_tls_CAfile"),
        smtp_tls_ca_path: r.optional("relay.smtp_tls_CApath"),
        smtp_tls_loglevel: r.count("relay.smtp_tls_loglevel", 0..=4),
        mta_sts: r.flag("relay.mta_sts"),
    }
}

fn table(r: &mut Reader<'_>) -> PolicyTable {
    const LEVEL: &str = "relay.smtp_tls_security_level";
    const MAPS: &str = "relay.smtp_tls_policy_maps";
    let fingerprints: Vec<Fingerprint> = r.parsed("relay.smtp_tls_fingerprint_cert_match");
    let defaults = Defaults {
        level: r.choice(LEVEL, Level::NAMES),
        verify_names: names(r, "relay.smtp_tls_verify_cert_match"),
        secure_names: names(r, "relay.smtp_tls_secure_cert_match"),
        fingerprints,
    };
    let mut table = PolicyTable::new(defaults).unwrap_or_else(|error| {
        r.bad(LEVEL, error.to_string());
        PolicyTable::default()
    });
    let entries = r.take(MAPS, "a list of pairs", |value| {
        let DeValue::Array(pairs) = value else { return Err(String::new()) };
        let pair = |pair: &DeValue<'_>| {
            let words = reader::list(pair, |word| Ok(Box::<str>::from(word)))?;
            let [nexthop, text] = <[_; 2]>::try_from(words).map_err(|_| String::new())?;
            let entry = Entry::parse(&text).map_err(|error| error.to_string())?;
            Ok((nexthop, entry))
        };
        pairs.iter().map(|words| pair(words.get_ref())).collect::<Result<Vec<_>, String>>()
    });
    for (nexthop, entry) in entries.unwrap_or_default() {
        if let Err(error) = table.add(&nexthop, entry) {
            r.bad(MAPS, error.to_string());
        }
    }
    table
}

fn names(r: &mut Reader<'_>, path: &'static str) -> Vec<NameRule> {
    let names: Vec<_> = r.texts(path).iter().flat_map(|text| parse_names(text)).collect();
    if names.is_empty() {
        r.bad(path, "write at least one name");
    }
    names
}
