//! Configurations with their sessions, kept for the next connection to the same host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::{ALL_VERSIONS, ClientConfig};

use crate::judge::Wanted;
use crate::seen::Seen;
use crate::settings::Authorities;
use crate::verifier::Verifier;

/// For how long sessions are resumed (smtp_tls_session_cache_timeout), in seconds.
const LIFETIME: u64 = 3600;

/// Configurations kept, in use or not.
const LIMIT: usize = 2000;

/// One connection at a time has a slot: so what its handshake found is not mistaken for another's.
struct Slot {
    config: Arc<ClientConfig>,
    seen: Arc<Seen>,
    made: u64,
}

impl Slot {
    fn is_free(&self) -> bool {
        // The verifier has the other half of `seen`.
        Arc::strong_count(&self.config) == 1 && Arc::strong_count(&self.seen) == 2
    }

    fn is_fresh(&self, now: u64) -> bool {
        (self.made..self.made + LIFETIME).contains(&now)
    }
}

pub(crate) struct Slots {
    provider: Arc<CryptoProvider>,
    authorities: Arc<Authorities>,
    kept: Mutex<HashMap<Wanted, Vec<Slot>>>,
}

impl Slots {
    pub(crate) fn new(provider: Arc<CryptoProvider>, authorities: Arc<Authorities>) -> Self {
        Self { provider, authorities, kept: Mutex::default() }
    }

    /// A configuration for one connection, and what its handshake will find.
    pub(crate) fn take(&self, wanted: Wanted, now: u64) -> (Arc<ClientConfig>, Arc<Seen>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = kept.get_mut(&wanted) {
            slots.retain(|slot| slot.is_fresh(now) || !slot.is_free());
            if let Some(slot) = slots.iter().find(|slot| slot.is_fresh(now) && slot.is_free()) {
                slot.seen.begin();
                return (Arc::clone(&slot.config), Arc::clone(&slot.seen));
            }
        }
        if kept.values().map(Vec::len).sum::<usize>() >= LIMIT {
            kept.retain(|_, slots| {
                slots.retain(|slot| !slot.is_free());
                !slots.is_empty()
            });
        }
        let slot = self.make(wanted.clone(), now);
        let taken = (Arc::clone(&slot.config), Arc::clone(&slot.seen));
        kept.entry(wanted).or_default().push(slot);
        taken
    }

    fn make(&self, wanted: Wanted, now: u64) -> Slot {
        let seen = Arc::new(Seen::default());
        let verifier = Verifier {
            wanted,
            authorities: Arc::clone(&self.authorities),
            provider: Arc::clone(&self.provider),
            seen: Arc::clone(&seen),
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(ALL_VERSIONS)
            .expect("invariant: the provider has suites for all versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        // One server: sessions of others never come here.
        config.resumption = Resumption::in_memory_sessions(1);
        Slot { config: Arc::new(config), seen, made: now }
    }
}
