//! Where others are asked: hosts, ports, URLs. What of them cannot be asked is said where they are read.

use std::net::Ipv6Addr;

/// Host and port of `host:port`; an IPv6 address stands in brackets.
pub fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    is_host(host).then_some((host, port_of(port)?))
}

/// Whether it can be a host: a name, or an address, that of IPv6 in brackets.
pub fn is_host(host: &str) -> bool {
    is_ipv6(host) || (!host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)))
}

/// A port that can be asked.
pub fn port_of(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port != 0)
}

/// Why a URL cannot be asked over HTTP, as what follows "it". Nothing of the URL is said: it may be a secret.
pub fn url_fault(url: &str) -> Option<&'static str> {
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
        return Some("begins with neither http:// nor https://");
    };
    if url.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Some("contains white space (a space in a path is %20)");
    }
    if url.contains('#') {
        return Some("has a fragment, which is never sent (leave out the # and what follows; the sign itself is %23)");
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (place, None),
    };
    if host.is_empty() {
        return Some("has no host (http://HOST:PORT/PATH)");
    }
    // A name that is not ASCII is one that whoever sends writes in ASCII.
    let is_name = |host: &str| host.chars().all(|letter| letter.is_alphanumeric() || "-._".contains(letter));
    if !is_ipv6(host) && !is_name(host) {
        return Some("has a host that cannot be one (http://HOST:PORT/PATH; an IPv6 address stands in brackets)");
    }
    if port.is_some_and(|port| port_of(port).is_none()) {
        return Some("has a port that is none of 1 to 65535");
    }
    None
}

/// In brackets.
fn is_ipv6(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    inner.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        assert_eq!(split_host_port("localhost:80"), Some(("localhost", 80)));
        assert_eq!(split_host_port("[::1]:80"), Some(("[::1]", 80)));
        for bad in ["localhost", ":80", "a:0", "a:99999", "a:+80", "a:", "::1:80", "[x]:1", "a b:1"] {
            assert_eq!(split_host_port(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_asked_says_why_and_nothing_of_itself() {
        for good in [
            "http://127.0.0.1:8080/health",
            "http://[::1]:80/",
            "https://example.org",
            "http://[::1]",
            "http://a?x=1",
            "https://me:pass:word@hooks.example.org:8443/T1?a=b:c",
            "https://bücher.example/",
        ] {
            assert_eq!(url_fault(good), None, "{good}");
        }
        for (bad, why) in [
            ("", "neither"),
            ("ftp://a", "neither"),
            ("http://", "no host"),
            ("https:///secret", "no host"),
            ("http://:80/", "no host"),
            ("http://me@/", "no host"),
            ("http://a:0", "port"),
            ("http://a:99999/", "port"),
            ("http://a:secret", "port"),
            ("http://a:/", "port"),
            ("http://a b/", "white space"),
            ("http://a/secret\n", "white space"),
            ("http://a/#secret", "fragment"),
            ("http://::1/", "cannot be one"),
            ("http://[secret]/", "cannot be one"),
            ("http://a\\secret", "cannot be one"),
        ] {
            let said = url_fault(bad).unwrap_or_default();
            assert!(said.contains(why) && !said.contains("secret"), "{bad}: {said:?}");
        }
    }
}
