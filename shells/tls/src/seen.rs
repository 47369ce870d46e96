//! What a handshake found.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::SignatureScheme;
use waypost_machine::TlsInfo;

use crate::judge::Verdict;

/// The first words of [`Seen::refusal`], and all that Postfix has.
pub const UNVERIFIED: &str = "Server certificate not verified";

/// What the handshakes with a host found. Made for one connection at a time.
#[derive(Debug, Default)]
pub struct Seen(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Of the last certificate that was looked at. A resumed session shows none: then it is the one
    /// of the session that is resumed.
    verdict: Option<Verdict>,
    /// The level asks for proof.
    proves: bool,
    /// The certificate ended the handshake.
    refused: bool,
    /// How the server has signed, and the SubjectPublicKeyInfo of its key, in DER.
    signature: Option<(SignatureScheme, Box<[u8]>)>,
}

/// How much a certificate is worth, in the words of Postfix's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// It says nothing.
    Untrusted,
    /// An authority vouches for it. Nobody asked for which name.
    Trusted,
    /// It is the one that was asked for.
    Verified,
}

impl Trust {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Untrusted => "Untrusted",
            Self::Trusted => "Trusted",
            Self::Verified => "Verified",
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Seen {
    /// How much the certificate is worth: the first word of `Verified TLS connection established to
    /// mx.example[192.0.2.1]:25: ...`.
    pub fn trust(&self) -> Trust {
        let state = self.state();
        match &state.verdict {
            Some(Verdict { trusted: Ok(()), named: Ok(()) }) if state.proves => Trust::Verified,
            Some(Verdict { trusted: Ok(()), .. }) => Trust::Trusted,
            _ => Trust::Untrusted,
        }
    }

    /// What is wrong with the certificate, at levels that ask for proof: what stands at the end of
    /// `certificate verification failed for mx.example[192.0.2.1]:25: self-signed certificate`.
    pub fn complaint(&self) -> Option<String> {
        let state = self.state();
        let verdict = state.verdict.as_ref().filter(|_| state.proves)?;
        verdict.clone().proven().err()
    }

    /// Why the handshake was ended by us, as the reason of a deferral: `Server certificate not
    /// verified: self-signed certificate`. `None`: it was not the certificate.
    pub fn refusal(&self) -> Option<String> {
        let state = self.state();
        let why = state.verdict.clone().filter(|_| state.refused)?.proven().err()?;
        Some(format!("{UNVERIFIED}: {why}"))
    }

    /// Adds what only the look at the certificate has shown: how the server has signed.
    pub fn complete(&self, info: &mut TlsInfo) {
        let state = self.state();
        // Like Postfix: in TLS 1.2 the cipher's name says it.
        if let Some((scheme, key)) = state.signature.as_ref().filter(|_| info.protocol == "TLSv1.3")
        {
            waypost_driver::signed(info, *scheme, Some(key));
        }
    }

    /// The signature is good.
    pub(crate) fn signed(&self, scheme: SignatureScheme, key: &[u8]) {
        self.state().signature = Some((scheme, key.into()));
    }

    /// Another handshake begins.
    pub(crate) fn begin(&self) {
        self.state().refused = false;
    }

    pub(crate) fn found(&self, verdict: Verdict, proves: bool) {
        let refused = proves && verdict.clone().proven().is_err();
        *self.state() = State { verdict: Some(verdict), proves, refused, signature: None };
    }

    /// The certificate is not the host's: it cannot sign with it.
    pub(crate) fn unsigned(&self, why: &str) {
        let mut state = self.state();
        state.refused = state.proves;
        if let Some(verdict) = &mut state.verdict {
            verdict.trusted = Err(why.into());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verdict {
    pub(crate) fn proven(self) -> Result<(), String> {
        self.trusted.and(self.named)
    }
}
