//! TLS towards others, as a unit describes it: with the machine's authorities or its own.

use std::sync::{Arc, Once};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
pub(super) use tokio_rustls::client::TlsStream;

use crate::{base::Chain, unit::spec::TlsCheck};

/// Has TLS use its one implementation of cryptography.
pub(super) fn provide() {
    static PROVIDER: Once = Once::new();
    // An error says that a program that embeds us has chosen one already.
    PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap_or(()));
}

/// Whether an exchange failed because what was said to us is nothing of TLS's.
pub(super) fn spoke_no_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = error.source();
    let mut causes = std::iter::from_fn(|| {
        let cause = next?;
        next = cause.source();
        Some(cause)
    });
    causes.any(|cause| {
        // An I/O error shows as its cause that of what it holds.
        let held = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = held.and_then(|held| held.downcast_ref()).or_else(|| cause.downcast_ref());
        matches!(tls, Some(Error::InvalidMessage(_)))
    })
}

/// The first certificate that is shown over a connection to whoever asks for `name`; nobody checks it.
pub(super) async fn shown_certificate(stream: TcpStream, name: &str) -> Result<Vec<u8>, String> {
    provide();
    let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Onlooker));
    let stream = handshake(stream, name, config.with_no_client_auth()).await?;
    let (_, session) = stream.get_ref();
    let first = session.peer_certificates().and_then(|all| all.first());
    first.map(|certificate| certificate.to_vec()).ok_or_else(|| "no certificate was shown".to_owned())
}

/// The first certificate of a PEM file.
pub(super) fn first_of_pem(pem: &[u8]) -> Result<Vec<u8>, String> {
    let read = CertificateDer::from_pem_slice(pem);
    read.map(|certificate| certificate.to_vec()).map_err(|error| format!("it holds no certificate: {error}"))
}

/// Speaks TLS over a connection with whoever bears `name`.
pub(super) async fn handshake(
    stream: TcpStream,
    name: &str,
    config: ClientConfig,
) -> Result<TlsStream<TcpStream>, String> {
    let bare = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name =
        ServerName::try_from(bare).map_err(|error| format!("{name:?} is no name that a certificate bears: {error}"))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| format!("TLS: {}", Chain(&error)))
}

/// How TLS is spoken. Reads files, those of the machine's authorities too: may wait for a disk.
pub(super) fn config(check: &TlsCheck) -> Result<ClientConfig, String> {
    provide();
    let shown = |error: Error| Chain(&error).to_string();
    let builder = ClientConfig::builder();
    let builder = match &check.ca_file {
        None => builder.with_platform_verifier().map_err(shown)?,
        Some(file) => {
            let failed = |error: &dyn std::fmt::Display| format!("cannot use ca_file {}: {error}", file.display());
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))? {
                let certificate = certificate.map_err(|error| failed(&error))?;
                roots.add(certificate).map_err(|error| failed(&error))?;
            }
            if roots.is_empty() {
                return Err(failed(&"it holds no certificate"));
            }
            builder.with_root_certificates(roots)
        }
    };
    let Some((cert, key)) = &check.identity else { return Ok(builder.with_no_client_auth()) };
    let failed = |what, file: &std::path::Path, error: rustls::pki_types::pem::Error| {
        format!("cannot use {what} {}: {error}", file.display())
    };
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| failed("cert_file", cert, error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| failed("key_file", key, error))?;
    builder.with_client_auth_cert(chain, key).map_err(shown)
}

/// Believes every certificate: it is only to be looked at, and nothing is said over that connection.
#[derive(Debug)]
struct Onlooker;

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
