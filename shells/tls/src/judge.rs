//! A certificate against what is wanted, in words.

use std::net::IpAddr;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use waypost_tls::{Fingerprint, NameRule, Peer, Tlsa, Usage};
use webpki::{EndEntityCert, Error, KeyUsage};

/// What is wanted of a host. Sessions are shared only between those that want the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) proof: Proof,
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    pub(crate) nexthop: Box<str>,
    /// The name that is asked for.
    pub(crate) server_name: Box<str>,
    /// A domain whose MTA-STS policy is being tested.
    pub(crate) testing: bool,
}

/// What counts as proof of who the host is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Proof {
    /// Nothing is asked for.
    Nothing,
    /// A chain to an authority, and one of these names.
    Names(Vec<NameRule>),
    /// One of these certificates or keys.
    Fingerprints(Vec<Fingerprint>),
    /// One of these records.
    Tlsa(Vec<Tlsa>),
}

/// What the host showed.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) leaf: &'a CertificateDer<'a>,
    pub(crate) chain: &'a [CertificateDer<'a>],
}

/// What is found of a certificate; errors are in words that follow "verification failed: ".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// It leads to an authority, or is otherwise known.
    pub(crate) trusted: Result<(), String>,
    /// It is for a name that fits.
    pub(crate) named: Result<(), String>,
}

pub(crate) struct Judge<'a> {
    pub(crate) algorithms: &'a WebPkiSupportedAlgorithms,
    pub(crate) anchors: &'a [TrustAnchor<'a>],
    pub(crate) now: UnixTime,
}

impl Judge<'_> {
    pub(crate) fn judge(&self, wanted: &Wanted, shown: Shown<'_>) -> Verdict {
        let leaf = match EndEntityCert::try_from(shown.leaf) {
            Ok(leaf) => leaf,
            Err(error) => {
                let why = format!("certificate cannot be read ({error:?})");
                return Verdict { trusted: Err(why.clone()), named: Err(why) };
            }
        };
        let peer = Peer { host: &wanted.host, nexthop: &wanted.nexthop };
        match &wanted.proof {
            Proof::Nothing => Verdict {
                trusted: self.chain(&leaf, self.anchors, shown.chain),
                named: named(&leaf, &[NameRule::Hostname], peer),
            },
            Proof::Names(rules) => Verdict {
                trusted: self.chain(&leaf, self.anchors, shown.chain),
                named: named(&leaf, rules, peer),
            },
            Proof::Fingerprints(known) => {
                Verdict { trusted: fingerprint(shown.leaf, &leaf, known), named: Ok(()) }
            }
            Proof::Tlsa(records) => {
                Verdict { trusted: self.dane(&leaf, shown, records, peer), named: Ok(()) }
            }
        }
    }

    /// Whether the certificate leads to one of the anchors, and is good now, for a server.
    fn chain(
        &self,
        leaf: &EndEntityCert<'_>,
        anchors: &[TrustAnchor<'_>],
        chain: &[CertificateDer<'_>],
    ) -> Result<(), String> {
        let usage = KeyUsage::server_auth();
        let all = self.algorithms.all;
        leaf.verify_for_usage(all, anchors, chain, self.now, usage, None, None)
            .map(|_| ())
            .map_err(|error| words(leaf, &error))
    }

    fn dane(
        &self,
        leaf: &EndEntityCert<'_>,
        shown: Shown<'_>,
        records: &[Tlsa],
        peer: Peer<'_>,
    ) -> Result<(), String> {
        let key = leaf.subject_public_key_info();
        let own = |record: &&Tlsa| record.usage == Usage::EndEntity;
        if records.iter().filter(own).any(|record| record.matches(shown.leaf, &key)) {
            return Ok(());
        }
        let mut why = "certificate fits none of the TLSA records".to_owned();
        for record in records.iter().filter(|record| record.usage == Usage::TrustAnchor) {
            let whole = record.certificate().map(CertificateDer::from);
            for authority in shown.chain.iter().chain(whole.as_ref()) {
                let Ok(parsed) = EndEntityCert::try_from(authority) else { continue };
                if !record.matches(authority, &parsed.subject_public_key_info()) {
                    continue;
                }
                let Ok(anchor) = webpki::anchor_from_trusted_cert(authority) else { continue };
                // RFC 7672 3.2.2: the host, or the domain that was asked for.
                let names = [NameRule::Hostname, NameRule::Nexthop];
                let good = self
                    .chain(leaf, &[anchor], shown.chain)
                    .and_then(|()| named(leaf, &names, peer));
                match good {
                    Ok(()) => return Ok(()),
                    Err(error) => why = error,
                }
            }
        }
        Err(why)
    }
}

fn fingerprint(
    leaf: &CertificateDer<'_>,
    parsed: &EndEntityCert<'_>,
    known: &[Fingerprint],
) -> Result<(), String> {
    let certificate = Fingerprint::of(leaf);
    let key = Fingerprint::of(&parsed.subject_public_key_info());
    match known.contains(&certificate) || known.contains(&key) {
        true => Ok(()),
        false => Err(format!("fingerprint {certificate}, of the key {key}, is not known")),
    }
}

fn named(leaf: &EndEntityCert<'_>, rules: &[NameRule], peer: Peer<'_>) -> Result<(), String> {
    let names: Vec<&str> = leaf.valid_dns_names().collect();
    let by_address = |rule: &NameRule| {
        let address = rule.name(peer).and_then(|name| name.parse::<IpAddr>().ok());
        address.is_some_and(|address| {
            leaf.verify_is_valid_for_subject_name(&ServerName::IpAddress(address.into())).is_ok()
        })
    };
    let fits = |rule: &NameRule| names.iter().any(|name| rule.fits(name, peer)) || by_address(rule);
    if rules.iter().any(fits) {
        return Ok(());
    }
    let wanted: Vec<String> = rules
        .iter()
        .map(|rule| match (rule, rule.name(peer)) {
            (_, Some(name)) => name.into(),
            (NameRule::DotNexthop, None) => format!(".{}", peer.nexthop),
            (rule, None) => rule.to_string(),
        })
        .collect();
    let shown = match &names[..] {
        [] => "no name".to_owned(),
        some if some.len() <= 3 => some.join(", "),
        [first, ..] => format!("{first} and {} others", names.len() - 1),
    };
    Err(format!("certificate is for {shown}, not for {}", wanted.join(" or ")))
}

/// What is wrong with a chain, as Postfix words it where it does.
fn words(leaf: &EndEntityCert<'_>, error: &Error) -> String {
    let own = leaf.issuer() == leaf.subject();
    match error {
        Error::UnknownIssuer | Error::CaUsedAsEndEntity if own => "self-signed certificate".into(),
        Error::UnknownIssuer => match common_name(leaf.issuer()) {
            Some(name) => format!("untrusted issuer {name}"),
            None => "untrusted issuer".into(),
        },
        Error::CertExpired { .. } => "certificate has expired".into(),
        Error::CertNotValidYet { .. } => "certificate is not yet valid".into(),
        Error::RequiredEkuNotFoundContext(_) => {
            "not designated for use as a server certificate".into()
        }
        error => format!("certificate is not good ({error:?})"),
    }
}

/// The CN (2.5.4.3) of a name in DER, for people.
fn common_name(name: &[u8]) -> Option<String> {
    const CN: [u8; 5] = [6, 3, 0x55, 4, 3];
    let at = name.windows(CN.len()).position(|window| window == CN)?;
    let (head, value) = name.get(at + CN.len()..)?.split_at_checked(2)?;
    let value = value.get(..usize::from(head[1]))?;
    let text = std::str::from_utf8(value).ok()?;
    let plain = !text.is_empty() && !text.chars().any(char::is_control);
    plain.then(|| format!("CN={text}"))
}
