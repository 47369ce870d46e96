//! What is wanted of a certificate, as rustls asks for it.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use webpki::EndEntityCert;

use crate::judge::{Judge, Proof, Shown, Wanted};
use crate::seen::Seen;
use crate::settings::Authorities;

pub(crate) struct Verifier {
    pub(crate) wanted: Wanted,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) seen: Arc<Seen>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verifier").field(&self.wanted).finish()
    }
}

impl Verifier {
    fn proves(&self) -> bool {
        self.wanted.proof != Proof::Nothing
    }

    /// Where nothing is asked of a certificate, nothing is asked of its key either: not every server
    /// that cannot do better should get its mail in clear.
    fn signed(
        &self,
        result: Result<HandshakeSignatureValid, Error>,
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if result.is_ok()
            && let Ok(parsed) = EndEntityCert::try_from(certificate)
        {
            self.seen.signed(signed.scheme, &parsed.subject_public_key_info());
        }
        result.or_else(|error| {
            self.seen.unsigned("the server's signature is not good");
            match self.proves() {
                true => Err(error),
                false => Ok(HandshakeSignatureValid::assertion()),
            }
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let judge = Judge { algorithms, anchors: self.authorities.anchors(), now };
        let verdict = judge.judge(&self.wanted, Shown { leaf, chain });
        self.seen.found(verdict.clone(), self.proves());
        let Err(why) = verdict.proven() else { return Ok(ServerCertVerified::assertion()) };
        if self.proves() {
            let error = CertificateError::ApplicationVerificationFailure;
            return Err(Error::InvalidCertificate(error));
        }
        if self.wanted.testing {
            let Wanted { host, nexthop, .. } = &self.wanted;
            tracing::warn!(
                "MTA-STS policy of {nexthop} (testing): {host} would get no mail: {why}"
            );
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let result = verify_tls12_signature(message, certificate, signed, algorithms);
        self.signed(result, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let result = verify_tls13_signature(message, certificate, signed, algorithms);
        self.signed(result, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
