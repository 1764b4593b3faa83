//! Media types and dispositions: what a browser may show, what it must save. Pure.

use super::{path::percent_encoded, token::DEFAULT_TYPE};

/// Bytes of a media type we keep. Source: share_v2.php of Prosody's mod_http_upload_external.
pub const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// Types a browser may show in place: they cannot hold script. Notably not SVG, HTML, XML or PDF.
const INLINE: [&str; 22] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/bmp",
    "image/webp",
    "text/plain",
    "audio/aac",
    "audio/flac",
    "audio/mp4",
    "audio/mpeg",
    "audio/ogg",
    "audio/opus",
    "audio/wav",
    "audio/wave",
    "audio/webm",
    "audio/x-m4a",
    "audio/x-wav",
    "video/mp4",
    "video/mpeg",
    "video/ogg",
    "video/quicktime",
    "video/webm",
];

/// What files without a stored type are served as, by the end of their name.
const EXTENSIONS: [(&str, &str); 34] = [
    ("aac", "audio/aac"),
    ("apk", "application/vnd.android.package-archive"),
    ("avi", "video/x-msvideo"),
    ("bmp", "image/bmp"),
    ("csv", "text/csv; charset=utf-8"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("heic", "image/heic"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("json", "application/json"),
    ("log", "text/plain; charset=utf-8"),
    ("m4a", "audio/mp4"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/opus"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("xml", "application/xml"),
    ("xz", "application/x-xz"),
    ("zip", "application/zip"),
];

/// The type a file is served as: the one stored with it, else by its name, else bytes.
pub fn media_type(stored: Option<String>, file_name: &str) -> String {
    let by_name = || {
        let (_, extension) = file_name.rsplit_once('.')?;
        let extension = extension.to_ascii_lowercase();
        EXTENSIONS.iter().find(|(known, _)| *known == extension).map(|(_, media_type)| *media_type)
    };
    stored.unwrap_or_else(|| by_name().unwrap_or(DEFAULT_TYPE).to_owned())
}

/// Whether `text` may be stored and sent back as a Content-Type: `type/subtype` and parameters, printable ASCII.
pub fn is_media_type(text: &[u8]) -> bool {
    let token = |part: &[u8]| {
        !part.is_empty() && part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(byte))
    };
    let essence = text.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let mut halves = essence.splitn(2, |byte| *byte == b'/');
    let both_are_tokens = halves.next().is_some_and(token) && halves.next().is_some_and(token);
    both_are_tokens && text.len() <= MEDIA_TYPE_BYTES_MAX && text.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

/// The value of Content-Disposition: inline for what cannot hold script, else as a download. Source: RFC 6266.
pub fn disposition(media_type: &str, file_name: &str) -> String {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind = if INLINE.contains(&essence.as_str()) { "inline" } else { "attachment" };
    let plain = |c: char| c == ' ' || (c.is_ascii_graphic() && !"\"\\%;".contains(c));
    let fallback: String = file_name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    // attr-char of RFC 8187, so that nothing in the name ends the value.
    let encoded = percent_encoded(file_name, b"-._~!#$&+^`|");
    if fallback == file_name {
        format!("{kind}; filename=\"{fallback}\"")
    } else {
        format!("{kind}; filename=\"{fallback}\"; filename*=UTF-8''{encoded}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_holds_no_script_is_shown_in_place() {
        for (media_type, kind) in [
            ("image/png", "inline"),
            ("IMAGE/PNG", "inline"),
            ("text/plain; charset=utf-8", "inline"),
            ("video/mp4", "inline"),
            ("image/svg+xml", "attachment"),
            ("text/html", "attachment"),
            ("application/xml", "attachment"),
            ("application/pdf", "attachment"),
            ("text/plain\u{0}", "attachment"),
            ("", "attachment"),
        ] {
            assert!(disposition(media_type, "a").starts_with(kind), "{media_type}");
        }
    }

    #[test]
    fn a_file_name_cannot_leave_its_quotes() {
        for (name, value) in [
            ("bar.jpg", "inline; filename=\"bar.jpg\""),
            ("très cool.jpg", "inline; filename=\"tr_s cool.jpg\"; filename*=UTF-8''tr%C3%A8s%20cool.jpg"),
            ("a\"b\\c", "inline; filename=\"a_b_c\"; filename*=UTF-8''a%22b%5Cc"),
            ("a\r\nb: c", "inline; filename=\"a__b: c\"; filename*=UTF-8''a%0D%0Ab%3A%20c"),
        ] {
            assert_eq!(disposition("image/png", name), value);
        }
    }

    #[test]
    fn a_type_comes_from_the_store_then_from_the_name() {
        assert_eq!(media_type(Some("image/heic".to_owned()), "a.txt"), "image/heic");
        assert_eq!(media_type(None, "a.TXT"), "text/plain; charset=utf-8");
        assert_eq!(media_type(None, "txt"), DEFAULT_TYPE);
        assert_eq!(media_type(None, "a.unheard"), DEFAULT_TYPE);
    }

    #[test]
    fn a_stored_type_is_one() {
        for good in ["image/png", "text/plain; charset=\"utf-8\"", "application/vnd.a+json"] {
            assert!(is_media_type(good.as_bytes()), "{good}");
        }
        let long = format!("image/{}", "x".repeat(250));
        for bad in ["", "image", "image/", "/png", "a/b\r\nx: y", "a/b\u{e9}", "im age/png", &long] {
            assert!(!is_media_type(bad.as_bytes()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_disposition_is_one_line_of_ascii_with_two_quotes(name in ".{0,80}", media_type in ".{0,20}") {
            let value = disposition(&media_type, &name);
            prop_assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(value.matches('"').count(), 2);
        }
    }
}
