//! Signing.

use std::collections::BTreeMap;
use std::sync::Arc;

use mail_auth::Error;
use mail_auth::common::crypto::{Algorithm, DkimKey, Sha256, SigningKey};
use mail_auth::common::headers::{HeaderWriter, Writable};
use mail_auth::dkim::{Canonicalization, DkimSigner, Done};
use waypost_mail::Domain;
use waypost_message::header::fields;
use waypost_world::signer::{Message, SignError, Signer};

use crate::key::Key;

/// Fields that are signed where they are there (RFC 6376 5.4.1). `From` always is.
const FIELDS: &[&str] = &[
    "Sender",
    "Reply-To",
    "Subject",
    "Date",
    "To",
    "Cc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Resent-Date",
    "Resent-From",
    "Resent-To",
    "Resent-Cc",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
];

/// The keys of all domains.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    of: BTreeMap<String, Vec<(Box<str>, Key)>>,
}

/// A key that many messages are signed with.
struct Shared(Arc<DkimKey>);

impl SigningKey for Shared {
    type Hasher = Sha256;

    fn sign(&self, input: impl Writable) -> Result<Vec<u8>, Error> {
        self.0.sign(input)
    }

    fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }
}

impl Keys {
    /// Adds a key; the signatures of a domain stand in the order in which its keys were added.
    pub fn add(&mut self, domain: &Domain, selector: &str, key: Key) {
        let keys = self.of.entry(domain.as_str().to_ascii_lowercase()).or_default();
        keys.push((selector.into(), key));
    }

    /// True when no domain has a key.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    fn keys(&self, domain: &Domain) -> &[(Box<str>, Key)] {
        let keys = self.of.get(&domain.as_str().to_ascii_lowercase());
        keys.map(Vec::as_slice).unwrap_or_default()
    }

    fn signers(&self, domain: &Domain, header: &[u8]) -> Vec<DkimSigner<Shared, Done>> {
        // A blank before the colon is not what verifiers look for.
        let has = |name: &str| {
            fields(header).any(|it| it.is(name.as_bytes()) && it.whole[it.name.len()] == b':')
        };
        if !has("From") {
            return Vec::new();
        }
        // A field that is named once more than it is there cannot be added by anybody (RFC 6376
        // 8.15): so nobody can put another From on top.
        let mut names = vec!["From", "From"];
        names.extend(FIELDS.iter().filter(|name| has(name)));
        let each = self.keys(domain).iter().map(|(selector, key)| {
            DkimSigner::from_key(Shared(Arc::clone(&key.key)))
                .domain(domain.as_str().to_ascii_lowercase())
                .selector(&**selector)
                .headers(names.iter().copied())
                // Its relaxed form of a body keeps lines of blanks at the end, against RFC 6376
                // 3.4.4; so such mail would not pass anywhere else.
                .body_canonicalization(Canonicalization::Simple)
        });
        each.collect()
    }
}

impl Signer for Keys {
    fn signs(&self, domain: &Domain) -> bool {
        !self.keys(domain).is_empty()
    }

    fn sign(&self, domain: &Domain, header: &[u8], rest: Message<'_>) -> Result<String, SignError> {
        let signers = self.signers(domain, header);
        let mut streams: Vec<_> = signers.iter().map(DkimSigner::sign_streaming).collect();
        for stream in &mut streams {
            stream.write(header);
        }
        rest(&mut |piece| {
            for stream in &mut streams {
                stream.write(piece);
            }
        })?;
        let mut fields = String::new();
        for stream in streams {
            let signature = stream.finish().map_err(|error| SignError(error.to_string()))?;
            fields.push_str(&signature.to_header());
        }
        Ok(fields)
    }
}
