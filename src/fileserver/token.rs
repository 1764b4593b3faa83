//! The upload signatures `v` and `v2`. Pure.
//!
//! XMPP servers sign, we verify; the vectors in the tests are what real ones give out.

use std::{fmt, str::FromStr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::secret::Secret;

/// The type that is signed when the client names none. Source: share_v2.php of Prosody's mod_http_upload_external.
pub const DEFAULT_TYPE: &str = "application/octet-stream";

/// How an upload URL is signed; a later one signs more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `?v=` over path and length. Source: README of Prosody's mod_http_upload_external; ejabberd's `external_secret`.
    V,
    /// `?v2=` over path, length and media type.
    V2,
}

impl Scheme {
    /// All of them, the one that signs most first.
    pub const ALL: [Self; 2] = [Self::V2, Self::V];

    /// The query parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V => "v",
            Self::V2 => "v2",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Scheme {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == text).ok_or(())
    }
}

/// What the XMPP server signed, as the request states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The path below the base path, decoded once, without a leading slash.
    pub path: &'a str,
    /// Content-Length.
    pub length: u64,
    /// Content-Type, byte for byte; `None` when the client sent none.
    pub media_type: Option<&'a [u8]>,
}

/// HMAC-SHA256 of one slot. Shown as lower-case hex by [`Tag::to_hex`] only, never by `Debug`: it is as good as a password.
#[derive(Clone, Copy)]
pub struct Tag([u8; 32]);

impl Tag {
    /// Reads 64 hex digits of either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut tag = [0; 32];
        if digits.len() != 2 * tag.len() {
            return None;
        }
        for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(Self(tag))
    }

    /// The form that goes into a URL.
    pub fn to_hex(self) -> String {
        use fmt::Write;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "{byte:02x}");
            text
        })
    }

    /// Compares without telling, by its duration, how much agrees.
    fn agrees(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(…)")
    }
}

/// The value of one hex digit.
pub(super) const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// What a request's query says about its right to upload.
#[derive(Debug, Clone, Copy)]
pub struct Credential {
    /// The highest scheme that the query names.
    pub scheme: Scheme,
    /// The claimed tag.
    pub tag: Tag,
}

/// Why a query holds no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// No parameter of an accepted scheme.
    #[error("the URL is not signed")]
    Missing,
    /// Not 64 hex digits, or given twice.
    #[error("the signature in the URL is malformed")]
    Malformed,
}

impl Credential {
    /// Takes the highest of the `accepted` schemes that `query` names, and only that one: falling back to a lower one
    /// would let an attacker choose what is checked.
    pub fn find(query: Option<&str>, accepted: &[Scheme]) -> Result<Self, CredentialError> {
        let pairs = || query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        for scheme in Scheme::ALL {
            let mut values = pairs().filter(|(name, _)| *name == scheme.as_str()).map(|(_, value)| value);
            let Some(value) = values.next() else { continue };
            if !accepted.contains(&scheme) {
                continue;
            }
            let tag = Tag::from_hex(value).ok_or(CredentialError::Malformed)?;
            return if values.next().is_some() { Err(CredentialError::Malformed) } else { Ok(Self { scheme, tag }) };
        }
        Err(CredentialError::Missing)
    }

    /// Whether one of `secrets` made this credential for what `signed` states.
    ///
    /// A media type is tried byte for byte, then without parameters: HTTP libraries append a charset that was not signed.
    pub fn is_valid(&self, signed: Signed<'_>, secrets: &[Secret]) -> bool {
        let bare = Signed { media_type: signed.media_type.map(without_parameters), ..signed };
        let mut stated = vec![signed];
        if self.scheme == Scheme::V2 && bare != signed {
            stated.push(bare);
        }
        // All are computed, so that the time does not tell which secret is in use.
        secrets.iter().fold(false, |valid, secret| {
            stated.iter().fold(valid, |valid, signed| sign(self.scheme, *signed, secret).agrees(&self.tag) | valid)
        })
    }
}

/// `text/plain; charset=utf-8` without what follows the type.
fn without_parameters(media_type: &[u8]) -> &[u8] {
    media_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end()
}

/// Makes the tag that proves the right to upload.
pub fn sign(scheme: Scheme, signed: Signed<'_>, secret: &Secret) -> Tag {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104)")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes a key of any length");
    mac.update(signed.path.as_bytes());
    let length = signed.length.to_string();
    match scheme {
        Scheme::V => {
            mac.update(b" ");
            mac.update(length.as_bytes());
        }
        Scheme::V2 => {
            mac.update(b"\0");
            mac.update(length.as_bytes());
            mac.update(b"\0");
            mac.update(signed.media_type.unwrap_or(DEFAULT_TYPE.as_bytes()));
        }
    }
    Tag(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests;
