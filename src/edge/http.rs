//! An HTTP client for requests whose answers are short: no redirect is followed, no proxy asked, no connection kept.

use std::{
    fmt, fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use reqwest::{
    Certificate, Client, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};

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

/// What a name in a URL may stand for. An address in a URL is the operator's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Any address.
    Anywhere,
    /// None of this machine, of its link, or of a private network: who rules a name server must not reach into them.
    Public,
}

/// Looks names up and leaves out what is not public.
struct PublicNames;

/// A name stands for private addresses alone.
#[derive(Debug, thiserror::Error)]
#[error("{0} stands for private addresses only (allow_private = true lets them be)")]
struct NotPublic(String);

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> = found.into_iter().filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic(name.as_str().to_owned()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is of the internet at large (the special ones are in RFC 6890 and its registries).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_multicast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (b == 18 || b == 19))
                || (a, b, c) == (192, 0, 0))
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4_mapped() {
                return is_public(v4.into());
            }
            let first = v6.segments()[0];
            // 2000::/3 is what is given out; of it, 6to4 and Teredo carry addresses of version 4.
            (0x2000..0x4000).contains(&first) && first != 0x2002 && !(first == 0x2001 && v6.segments()[1] < 0x0200)
        }
    }
}

/// Makes a client. It costs memory, so each user makes it at its first request.
pub(super) fn client(tls: Tls) -> reqwest::Result<Client> {
    client_within(tls, Reach::Anywhere)
}

/// The same where the authorities in this file are believed and no others.
pub(super) fn client_believing(ca_file: &Path) -> Result<Client, String> {
    super::tls::provide();
    super::tls::check_ca_file(ca_file)?;
    let failed = |why: &dyn fmt::Display| format!("cannot use ca_file {}: {why}", ca_file.display());
    let pem = fs::read(ca_file).map_err(|error| failed(&error))?;
    let authorities = Certificate::from_pem_bundle(&pem).map_err(|error| failed(&error))?;
    let builder = Client::builder().redirect(redirect::Policy::none()).no_proxy().pool_max_idle_per_host(0);
    builder.tls_certs_only(authorities).build().map_err(|error| failed(&error))
}

/// The same, for names that stand for addresses within reach.
pub(super) fn client_within(tls: Tls, reach: Reach) -> reqwest::Result<Client> {
    super::tls::provide();
    let builder = Client::builder().redirect(redirect::Policy::none()).no_proxy().pool_max_idle_per_host(0);
    let builder = match reach {
        Reach::Anywhere => builder,
        Reach::Public => builder.dns_resolver(Arc::new(PublicNames)),
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_machine_its_link_or_a_private_network_is_not_public() {
        let private = [
            "127.0.0.1",
            "127.255.0.9",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "169.254.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "198.18.0.1",
            "198.19.9.9",
            "192.0.0.8",
            "192.0.2.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2002:7f00:1::",
            "2001::1",
            "64:ff9b::7f00:1",
        ];
        for text in private {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "100.63.0.1", "172.32.0.1", "198.20.0.1", "2606:4700::1111", "2a00:1450::1"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_that_stands_for_this_machine_is_not_asked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let error = client_within(Tls::No, Reach::Public).unwrap().get(&url).send().await.unwrap_err();
        assert!(crate::base::Chain(&error).to_string().contains("private addresses"), "{}", crate::base::Chain(&error));
        let asked = tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await;
        assert!(asked.is_err(), "nobody came");
    }
}
