//! TLS towards others, as a unit describes it: with the machine's authorities or its own.

use std::{
    fmt::Display,
    fs, io,
    path::Path,
    sync::{Arc, Once},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
pub(super) use tokio_rustls::client::TlsStream;

use super::{clock, secret};
use crate::{
    base::{Chain, Wall},
    unit::spec::TlsCheck,
};

/// Largest file of certificates that is read; all authorities of a machine have a quarter of a MiB.
const PEM_BYTES_MAX: u64 = 4 << 20;

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
        let held = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = held.and_then(|held| held.downcast_ref()).or_else(|| cause.downcast_ref());
        matches!(tls, Some(Error::InvalidMessage(_)))
    })
}

/// What an error that may be one of TLS's says, for people: moments as dates, and no address of a manual for programmers.
pub(super) fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    worded(Chain(error).to_string())
}

/// The same of what such an error has said already.
pub(super) fn worded(mut text: String) -> String {
    const MANUAL: &str = ": https://docs.rs/";
    if let Some(begin) = text.find(MANUAL) {
        let length = text[begin + 2..].find(char::is_whitespace).map_or(text.len() - begin, |length| length + 2);
        text.replace_range(begin..begin + length, "");
    }
    for (said, moment, words) in [
        ("certificate expired: verification time ", "not valid after ", "certificate expired at "),
        ("certificate not valid yet: verification time ", "not valid before ", "certificate not valid before "),
    ] {
        text = dated(&text, said, moment, words).unwrap_or(text);
    }
    text
}

/// The text with `words` and a date in place of the sentence that begins with `said`: its moment, in seconds since 1970,
/// stands after `moment`, and it ends with a bracket about how long that is from now.
fn dated(text: &str, said: &str, moment: &str, words: &str) -> Option<String> {
    let (before, sentence) = text.split_once(said)?;
    let (_, after) = sentence.split_once(moment)?;
    let (seconds, rest) = after.split_once(' ')?;
    let (_, rest) = rest.split_once(')')?;
    let at = Wall(seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?);
    Some(format!("{before}{words}{}{rest}", clock::rfc3339(at)))
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
    connected.map_err(|error| format!("TLS: {}", in_words(&error)))
}

/// How TLS is spoken. Reads files, those of the machine's authorities too: may wait for a disk.
pub(super) fn config(check: &TlsCheck) -> Result<ClientConfig, String> {
    provide();
    let shown = |error: Error| Chain(&error).to_string();
    let builder = ClientConfig::builder();
    let builder = match &check.ca_file {
        None => builder.with_platform_verifier().map_err(shown)?,
        Some(file) => builder.with_root_certificates(authorities_in(file)?),
    };
    let Some((cert, key)) = &check.identity else { return Ok(builder.with_no_client_auth()) };
    let (chain, key) = (chain_in(cert)?, key_in(key)?);
    builder.with_client_auth_cert(chain, key).map_err(|error| unmatched(cert, &error))
}

/// Whether a file of authorities can be used. May wait for a disk, as the next does.
pub fn check_ca_file(file: &Path) -> Result<(), String> {
    authorities_in(file).map(drop)
}

/// Whether a certificate and its key can be shown to others.
pub fn check_identity(cert: &Path, key: &Path) -> Result<(), String> {
    provide();
    let (chain, key) = (chain_in(cert)?, key_in(key)?);
    let builder = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
    builder.with_client_auth_cert(chain, key).map(drop).map_err(|error| unmatched(cert, &error))
}

/// Whether PEM text has authorities in it, and nothing that is none.
pub fn check_authorities(pem: &[u8]) -> Result<(), String> {
    authorities(pem).map(drop)
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("it is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("what it holds is not a certificate: {error}"))?;
    }
    if roots.is_empty() { Err("it holds no certificate (PEM: BEGIN CERTIFICATE)".to_owned()) } else { Ok(roots) }
}

/// The whole of a file; a pipe of this name is not waited for.
fn pem_of(file: &Path) -> io::Result<Vec<u8>> {
    let meta = fs::metadata(file)?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if meta.len() > PEM_BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {PEM_BYTES_MAX} bytes")));
    }
    fs::read(file)
}

fn authorities_in(file: &Path) -> Result<RootCertStore, String> {
    let failed = |error: &dyn Display| format!("cannot use ca_file {}: {error}", file.display());
    authorities(&pem_of(file).map_err(|error| failed(&error))?).map_err(|error| failed(&error))
}

fn chain_in(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: &dyn Display| format!("cannot use cert_file {}: {error}", file.display());
    let pem = pem_of(file).map_err(|error| failed(&error))?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| failed(&format!("it is no PEM: {error}")))?;
    if chain.is_empty() { Err(failed(&"it holds no certificate (PEM: BEGIN CERTIFICATE)")) } else { Ok(chain) }
}

/// A key is a secret, and a file that others can read holds none.
fn key_in(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let failed = |error: &dyn Display| format!("cannot use key_file: {error}");
    let pem = secret::read_key(file).map_err(|error| failed(&error))?;
    let unread = |error| failed(&format!("{} holds no private key in PEM: {error}", file.display()));
    PrivateKeyDer::from_pem_slice(&pem).map_err(unread)
}

fn unmatched(cert: &Path, error: &Error) -> String {
    format!("cannot use cert_file {} with its key_file: {}", cert.display(), Chain(error))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::{CertificateError, pki_types::UnixTime};

    use super::*;

    #[test]
    fn when_a_certificate_expired_is_a_date_and_no_manual_of_programmers_is_named() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (time, then) = (at(1_767_225_600), at(1_764_547_200));
        let said = |error| in_words(&Error::InvalidCertificate(error));
        assert_eq!(
            said(CertificateError::ExpiredContext { time, not_after: then }),
            "invalid peer certificate: certificate expired at 2025-12-01T00:00:00Z"
        );
        assert_eq!(
            said(CertificateError::NotValidYetContext { time: then, not_before: time }),
            "invalid peer certificate: certificate not valid before 2026-01-01T00:00:00Z"
        );
        let eof = io::Error::other(
            "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/manual#unexpected-eof",
        );
        assert_eq!(in_words(&eof), "peer closed connection without sending TLS close_notify");
    }
}
