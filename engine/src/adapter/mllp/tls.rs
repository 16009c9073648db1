//! rustls settings of listeners and callers, read from the secrets that the site names.

use crate::configuration::{CallerTls, ClientCertificate, ListenerTls, Secret, SecretUnreadable, TlsMinimum};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;

/// TLS of a location or send port cannot be set up. Names references, never contents.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A secret cannot be opened.
    #[error(transparent)]
    Secret(#[from] SecretUnreadable),
    /// What is in it is not what it should be.
    #[error("{reference} holds no usable {what}")]
    Content {
        /// `file:…` or `env:…`.
        reference: String,
        /// Certificate, private key or authority.
        what: &'static str,
    },
    /// Key and certificate do not belong together, or an algorithm is not supported.
    #[error("certificate and key cannot be used")]
    Rejected(#[source] rustls::Error),
    /// `client` asks for certificates, `client_ca` is missing.
    #[error("client certificates are asked for, but no client_ca says who signs them")]
    NoClientAuthority,
}

const FROM_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
const FROM_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

fn versions(minimum: TlsMinimum) -> &'static [&'static SupportedProtocolVersion] {
    match minimum {
        TlsMinimum::V1_2 => FROM_1_2,
        TlsMinimum::V1_3 => FROM_1_3,
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Settings of a listener; `data` is the folder that `file:` references are relative to.
///
/// # Errors
///
/// Tells which secret is missing or unusable.
pub fn listener(tls: &ListenerTls, data: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(tls.minimum))
        .map_err(TlsError::Rejected)?;
    let builder = match (tls.client, &tls.client_ca) {
        (ClientCertificate::None, _) => builder.with_no_client_auth(),
        (_, None) => return Err(TlsError::NoClientAuthority),
        (asked, Some(authority)) => {
            let roots = Arc::new(authorities(authority, data)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier =
                if asked == ClientCertificate::Offered { verifier.allow_unauthenticated() } else { verifier };
            let unusable = |_| TlsError::Content { reference: authority.to_string(), what: "authority" };
            builder.with_client_cert_verifier(verifier.build().map_err(unusable)?)
        }
    };
    let config = builder
        .with_single_cert(certificates(&tls.certificate, data)?, private_key(&tls.key, data)?)
        .map_err(TlsError::Rejected)?;
    Ok(Arc::new(config))
}

/// Settings of a caller.
///
/// # Errors
///
/// Tells which secret is missing or unusable.
pub fn caller(tls: &CallerTls, data: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &tls.ca {
        Some(authority) => authorities(authority, data)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(tls.minimum))
        .map_err(TlsError::Rejected)?
        .with_root_certificates(roots);
    let config = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => builder
            .with_client_auth_cert(certificates(certificate, data)?, private_key(key, data)?)
            .map_err(TlsError::Rejected)?,
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// A hash over what the secrets of a listener hold now, so that a change is seen.
///
/// # Errors
///
/// Tells which secret is missing.
pub fn listener_contents(tls: &ListenerTls, data: &Path) -> Result<[u8; 32], TlsError> {
    contents([Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()], data)
}

/// The same for a caller.
///
/// # Errors
///
/// Tells which secret is missing.
pub fn caller_contents(tls: &CallerTls, data: &Path) -> Result<[u8; 32], TlsError> {
    contents([tls.ca.as_ref(), tls.certificate.as_ref(), tls.key.as_ref()], data)
}

fn contents(secrets: [Option<&Secret>; 3], data: &Path) -> Result<[u8; 32], TlsError> {
    let mut all = Sha256::new();
    for secret in secrets {
        let bytes = secret.map(|secret| secret.read(data)).transpose()?.unwrap_or_default();
        all.update(bytes.len().to_be_bytes());
        all.update(bytes);
    }
    Ok(all.finalize().into())
}

fn certificates(secret: &Secret, data: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = || TlsError::Content { reference: secret.to_string(), what: "certificate" };
    let pem = secret.read(data)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(unusable)
}

fn private_key(secret: &Secret, data: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&secret.read(data)?)
        .map_err(|_| TlsError::Content { reference: secret.to_string(), what: "private key" })
}

fn authorities(secret: &Secret, data: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(secret, data)? {
        roots
            .add(certificate)
            .map_err(|_| TlsError::Content { reference: secret.to_string(), what: "authority" })?;
    }
    Ok(roots)
}
