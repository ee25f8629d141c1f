//! What a TLS handshake is held to: certificates, versions, clients.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::clients::ClientPolicy;
use crate::config::web::{FileField, TlsConfig, TlsVersion};

/// Files by path, or why one could not be read.
pub(super) type Files = BTreeMap<PathBuf, Result<Vec<u8>, String>>;

/// What is wrong, and with which of the files.
#[derive(Debug)]
pub(super) struct TlsError {
    pub file: FileField,
    pub message: String,
}

/// The files a configuration names.
pub(super) fn files(config: &TlsConfig) -> impl Iterator<Item = &FileField> {
    [&config.cert_file, &config.key_file].into_iter().chain(&config.client_ca_file)
}

/// Builds what handshakes are held to from the content of the files.
///
/// # Errors
/// When a file is missing, holds no PEM of the right kind, or the key is not the certificate's.
pub(super) fn server_config(config: &TlsConfig, files: &Files) -> Result<ServerConfig, Vec<TlsError>> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&config.cert_file, files);
    let key = private_key(&config.key_file, files);
    let clients = client_policy(config, files, &provider);
    let (chain, key, clients) = match (chain, key, clients) {
        (Ok(chain), Ok(key), Ok(clients)) => (chain, key, clients),
        (chain, key, clients) => {
            return Err([chain.err(), key.err(), clients.err()].into_iter().flatten().collect());
        }
    };
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(config))
        .map(|builder| builder.with_client_cert_verifier(Arc::new(clients)))
        .and_then(|builder| builder.with_single_cert(chain, key))
        .map_err(|error| vec![unusable(config, &error)])?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    if config.client_auth.verifies() {
        // A resumed session would let a client in after its certificate has expired.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
    }
    Ok(server)
}

fn unusable(config: &TlsConfig, error: &rustls::Error) -> TlsError {
    let certificate = config.cert_file.path.display();
    let message = match error {
        rustls::Error::InconsistentKeys(_) => format!("the key does not belong to the certificate in {certificate}"),
        error => format!("the certificate and key cannot be used: {error}"),
    };
    failed(&config.key_file, message)
}

fn versions(config: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let accepted = config.min_version..=config.max_version;
    let all = [(TlsVersion::Tls13, &version::TLS13), (TlsVersion::Tls12, &version::TLS12)];
    all.into_iter().filter(|(version, _)| accepted.contains(version)).map(|(_, supported)| supported).collect()
}

fn client_policy(config: &TlsConfig, files: &Files, provider: &Arc<CryptoProvider>) -> Result<ClientPolicy, TlsError> {
    let roots = config.client_ca_file.as_ref().map(|file| roots(file, files)).transpose()?;
    ClientPolicy::new(config.client_auth, roots, config.client_allowed_sans.clone(), provider).map_err(|error| {
        let file = config.client_ca_file.clone().unwrap_or_else(|| config.cert_file.clone());
        TlsError { file, message: format!("the CA cannot be used: {error}") }
    })
}

fn roots(file: &FileField, files: &Files) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, files)? {
        // The error would speak of a peer's certificate.
        let unfit = |_| failed(file, format!("{} holds a certificate that cannot be read", file.path.display()));
        roots.add(certificate).map_err(unfit)?;
    }
    Ok(roots)
}

fn certificates(file: &FileField, files: &Files) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(content(file, files)?).collect();
    let shown = file.path.display();
    let found = read.map_err(|error| failed(file, format!("{shown} is not PEM: {error}")))?;
    if found.is_empty() {
        return Err(failed(file, format!("{shown} holds no certificate in PEM")));
    }
    Ok(found)
}

fn private_key(file: &FileField, files: &Files) -> Result<PrivateKeyDer<'static>, TlsError> {
    let shown = file.path.display();
    PrivateKeyDer::from_pem_slice(content(file, files)?).map_err(|error| match error {
        pem::Error::NoItemsFound => failed(file, format!("{shown} holds no unencrypted private key in PEM")),
        // Without the error's text, which may quote the file.
        _ => failed(file, format!("{shown} is not PEM")),
    })
}

fn content<'f>(file: &FileField, files: &'f Files) -> Result<&'f [u8], TlsError> {
    match files.get(&file.path) {
        Some(Ok(content)) => Ok(content),
        Some(Err(reason)) => Err(failed(file, format!("cannot read {}: {reason}", file.path.display()))),
        None => Err(failed(file, format!("{} was not read", file.path.display()))),
    }
}

fn failed(file: &FileField, message: String) -> TlsError {
    TlsError { file: file.clone(), message }
}
