//! The signature of an upload (XEP-0363) as external upload services check it: HMAC-SHA256 over path and length, `?v=`, and
//! over the media type too, `?v2=`. Source: README and share_v2.php of Prosody's mod_http_upload_external.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::unit::spec::{UploadScheme, UploadSignature};

/// The type that is signed when the request names none.
const DEFAULT_TYPE: &[u8] = b"application/octet-stream";

/// The part of the query that signs an upload of `length` bytes to `path`, which is percent-encoded. It is a secret.
pub(super) fn sign(
    signature: &UploadSignature,
    secret: &[u8],
    path: &str,
    length: usize,
    media_type: Option<&[u8]>,
) -> Result<String, String> {
    let below = path.strip_prefix(&*signature.base_path);
    let below =
        below.ok_or_else(|| format!("the path is not below {}, so it cannot be signed", signature.base_path))?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|error| error.to_string())?;
    mac.update(&decoded(below));
    let length = length.to_string();
    let name = match signature.scheme {
        UploadScheme::V => {
            mac.update(b" ");
            mac.update(length.as_bytes());
            "v"
        }
        UploadScheme::V2 => {
            mac.update(b"\0");
            mac.update(length.as_bytes());
            mac.update(b"\0");
            mac.update(media_type.unwrap_or(DEFAULT_TYPE));
            "v2"
        }
    };
    let tag: Vec<String> = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{name}={}", tag.concat()))
}

/// Percent-encoding undone, once (RFC 3986, 2.1); what is no encoding stands for itself.
fn decoded(path: &str) -> Vec<u8> {
    let (bytes, mut decoded, mut at) = (path.as_bytes(), Vec::with_capacity(path.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let digits =
            bytes.get(at + 1..at + 3).filter(|digits| *byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let value = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(value.unwrap_or(*byte));
        at += if value.is_some() { 3 } else { 1 };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNNY: &str = "4a771ac1/tr%C3%A8s%20cool%20(1)+&%25.txt";

    fn signed(scheme: UploadScheme, path: &str, length: usize, media_type: Option<&[u8]>) -> Result<String, String> {
        let secret_file = std::path::Path::new("/secret").into();
        let signature = UploadSignature { scheme, secret_file, base_path: "/up/".into() };
        sign(&signature, b"secret string", path, length, media_type)
    }

    #[test]
    fn it_is_what_upload_services_compute() {
        let v = |path: &str, length| signed(UploadScheme::V, path, length, Some(b"ignored")).unwrap();
        assert_eq!(
            v("/up/foo/bar.jpg", 1_048_576),
            "v=e6df55a04516617d6a86ad6ca23879819591085a1a8c0041f4da06824f5d2db7"
        );
        assert_eq!(
            v(&format!("/up/{FUNNY}"), 23),
            "v=8f3d621c53bd3a3bc4797ec56ce139e253222d976ee98cb6830017f251a7c347"
        );
        let v2 = |path: &str, length, of: &[u8]| signed(UploadScheme::V2, path, length, Some(of)).unwrap();
        assert_eq!(
            v2("/up/foo/bar.jpg", 1_048_576, b"image/jpeg"),
            "v2=a19d27add075aa60035e27c05e794f13079ba48c508852b3d7160a6bec0f85ab"
        );
        assert_eq!(
            v2(&format!("/up/{FUNNY}"), 23, b"text/plain"),
            "v2=0e0e2093ad1cb8b53d3a171a0a0cd98bd00041999ca2c7f8fa18528aff9405da"
        );
        let bare = signed(UploadScheme::V2, "/up/x", 1, None).unwrap();
        assert_eq!(bare, v2("/up/x", 1, b"application/octet-stream"));
    }

    #[test]
    fn what_is_not_below_the_base_path_is_not_signed() {
        assert_eq!(
            signed(UploadScheme::V, "/other/x", 1, None).unwrap_err(),
            "the path is not below /up/, so it cannot be signed"
        );
        assert_eq!(decoded("a%2Fb%zz%4"), b"a/b%zz%4");
    }
}
