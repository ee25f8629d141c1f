//! Which clients' certificates are accepted.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use webpki::EndEntityCert;

use crate::config::web::{AllowedSan, ClientAuth};

/// rustls' verification against a CA, made optional where the policy does without, and a list of names.
///
/// Whatever the policy, a client that shows a certificate has to prove that it holds the key.
#[derive(Debug)]
pub(super) struct ClientPolicy {
    auth: ClientAuth,
    /// There where the policy verifies.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    allowed_sans: Vec<AllowedSan>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientPolicy {
    /// `roots` has to be there where `auth` verifies.
    pub(super) fn new(
        auth: ClientAuth,
        roots: Option<RootCertStore>,
        allowed_sans: Vec<AllowedSan>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let chain = if auth.verifies() {
            let roots = Arc::new(roots.unwrap_or_else(RootCertStore::empty));
            Some(WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build()?)
        } else {
            None
        };
        Ok(Self { auth, chain, allowed_sans, algorithms: provider.signature_verification_algorithms })
    }

    fn bears_allowed_name(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(certificate) = EndEntityCert::try_from(certificate) else { return false };
        let names: Vec<&str> = certificate.valid_dns_names().chain(certificate.valid_uri_names()).collect();
        let is_for = |address: IpAddr| {
            certificate.verify_is_valid_for_subject_name(&ServerName::IpAddress(address.into())).is_ok()
        };
        self.allowed_sans.iter().any(|allowed| match allowed {
            AllowedSan::Name(name) => names.contains(&name.as_str()),
            AllowedSan::Address(address) => is_for(*address),
        })
    }
}

impl ClientCertVerifier for ClientPolicy {
    fn offer_client_auth(&self) -> bool {
        self.auth != ClientAuth::NoClientCert
    }

    fn client_auth_mandatory(&self) -> bool {
        self.auth.requires()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(end_entity, intermediates, now)?;
        }
        if !self.allowed_sans.is_empty() && !self.bears_allowed_name(end_entity) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
