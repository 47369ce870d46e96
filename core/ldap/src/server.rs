//! How to reach a directory: servers, TLS, bind. Shared by both kinds of settings files.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use waypost_machine::Secret;

use crate::settings::Reader;
use crate::url::Place;

/// How to reach a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Servers, in the order in which to try them; at least one.
    pub places: Vec<Place>,
    /// TLS by StartTLS before anything else is sent; places with `ldaps` have TLS anyway.
    pub start_tls: bool,
    /// TLS files and whether the server must prove who it is.
    pub tls: Tls,
    /// Who we are.
    pub bind: Bind,
    /// Time for connecting, for binding and for each search.
    pub timeout: Duration,
    /// Whether referrals to other servers are followed.
    pub chase_referrals: bool,
}

/// TLS towards the directory. Paths are as written in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Check chain and host name. Only an explicit `no` or `never` turns this off.
    pub verify: bool,
    /// PEM file of trusted authorities.
    pub ca_file: Option<String>,
    /// Directory of PEM files of trusted authorities.
    pub ca_dir: Option<String>,
    /// PEM file of our own certificate.
    pub cert_file: Option<String>,
    /// PEM file of its key.
    pub key_file: Option<String>,
}

/// Who we are towards the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Nobody.
    Anonymous,
    /// A name and a password.
    Simple {
        /// The name, as written.
        dn: String,
        /// The password; never empty.
        password: Secret<String>,
    },
    /// SASL EXTERNAL: who the unix socket or the client certificate says we are.
    External {
        /// Whom to act for; empty for ourselves.
        authorize: String,
    },
}

/// Settings of both files whose meaning is the same.
pub(crate) struct Names {
    pub(crate) ca_file: &'static str,
    pub(crate) ca_dir: &'static str,
    pub(crate) cert: &'static str,
    pub(crate) key: &'static str,
}

pub(crate) fn tls(reader: &Reader, names: &Names, verify: bool) -> Tls {
    Tls {
        verify,
        ca_file: reader.filled(names.ca_file),
        ca_dir: reader.filled(names.ca_dir),
        cert_file: reader.filled(names.cert),
        key_file: reader.filled(names.key),
    }
}

/// Reads a list of URLs, or of host names with the port given.
pub(crate) fn places(reader: &mut Reader, name: &str, words: Vec<String>, port: u16) -> Vec<Place> {
    let mut places = Vec::new();
    for word in words {
        let place =
            if word.contains("://") { Place::parse(&word) } else { Place::plain(&word, port) };
        match place {
            Ok(place) => places.push(place),
            Err(error) => reader.bad(name, &error.to_string()),
        }
    }
    if places.is_empty() {
        reader.bad(name, "names no server");
    }
    places
}

/// A simple bind from two settings.
pub(crate) fn simple(reader: &mut Reader, dn: &str, password: &str) -> Bind {
    match (reader.filled(dn), reader.filled(password)) {
        (None, None) => Bind::Anonymous,
        (Some(dn), Some(secret)) => Bind::Simple { dn, password: Secret::new(secret) },
        (Some(_), None) => {
            // RFC 4513 5.1.2: a name without a password "succeeds" and is anonymous.
            let what = "is set without a password; the bind would silently be anonymous";
            reader.bad(dn, what);
            Bind::Anonymous
        }
        (None, Some(_)) => {
            let what = alloc::format!("is set without {dn}; the password would not be used");
            reader.bad(password, &what);
            Bind::Anonymous
        }
    }
}
