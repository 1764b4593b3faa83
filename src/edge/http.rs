//! An HTTP client for requests whose answers are short: no redirect is followed, no proxy asked, no connection kept.

use reqwest::{Client, Response, redirect};

/// Whether a client must be able to speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    /// For `https:`; needs the machine's certificate authorities.
    Yes,
    /// For `http:` alone; works on a machine that has none.
    No,
}

impl Tls {
    pub(super) fn of(url: &str) -> Self {
        let scheme = url.get(..6).unwrap_or_default();
        if scheme.eq_ignore_ascii_case("https:") { Self::Yes } else { Self::No }
    }
}

/// Makes a client. It costs memory, so each user makes it at its first request.
pub(super) fn client(tls: Tls) -> reqwest::Result<Client> {
    super::tls::provide();
    let builder = Client::builder().redirect(redirect::Policy::none()).no_proxy().pool_max_idle_per_host(0);
    match tls {
        Tls::Yes => builder.build(),
        Tls::No => builder.tls_certs_only([]).build(),
    }
}

/// Reads a body up to `limit` bytes; whether it was longer.
pub(super) async fn body(response: &mut Response, limit: usize) -> reqwest::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = limit - body.len();
        if chunk.len() > room {
            body.extend_from_slice(&chunk[..room]);
            return Ok((body, true));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, false))
}
