//! Names of stored files: decoded once and safe to walk. Pure.
//!
//! What a change here usually breaks is the safety of the whole server; the property tests say what must hold.

use std::fmt;

use super::token::hex_digit;

/// Bytes of a whole decoded path. Longer ones are never handed out by XMPP servers.
pub const PATH_BYTES_MAX: usize = 1024;
/// Bytes of one segment: NAME_MAX of Linux file systems.
pub const SEGMENT_BYTES_MAX: usize = 255;
/// Segments of a path, which bounds the directories one upload can make.
pub const SEGMENTS_MAX: usize = 16;

/// The path under which all files lie, such as `/upload/`: begins and ends with a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePath(String);

/// Why a text is no base path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a base path is absolute and has no empty, dotted or encoded segment, such as \"/upload/\"")]
pub struct BasePathError;

impl BasePath {
    /// Reads `/upload/`; missing slashes at its ends are added.
    pub fn new(text: &str) -> Result<Self, BasePathError> {
        let inner = text.trim_matches('/');
        if inner.is_empty() {
            return Ok(Self::root());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_~.".contains(c);
        let good = |segment: &str| !segment.is_empty() && !segment.starts_with('.') && segment.chars().all(plain);
        if inner.split('/').all(good) { Ok(Self(format!("/{inner}/"))) } else { Err(BasePathError) }
    }

    /// The root of the server.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// With a slash at both ends.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a stored file below the base path: decoded once, safe to walk, `slot/file` as a rule.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ObjectPath(String);

/// Why a request's path names no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Outside the base path.
    #[error("the path is not below the base path")]
    Outside,
    /// `%` without two hex digits.
    #[error("the path has a '%' that encodes nothing")]
    Encoding,
    /// A byte that could mean something to a file system, a terminal or a log.
    #[error("the path has a forbidden byte (control, backslash, or an encoded slash)")]
    Byte,
    /// `a//b`, `.`, `..`, or an ending slash.
    #[error("the path has an empty or dotted segment")]
    Segment,
    /// Begins with a dot, where our own files are.
    #[error("the path begins with a dot")]
    Hidden,
    /// Past a limit.
    #[error("the path is too long")]
    Long,
    /// Not UTF-8.
    #[error("the path is not UTF-8")]
    Utf8,
}

impl ObjectPath {
    /// Reads the path of a request target, percent-decoding exactly once.
    pub fn from_request(raw: &str, base: &BasePath) -> Result<Self, PathError> {
        Self::from_encoded(raw.strip_prefix(base.as_str()).ok_or(PathError::Outside)?)
    }

    /// Reads a percent-encoded path below the base path.
    pub fn from_encoded(encoded: &str) -> Result<Self, PathError> {
        // A decoded byte takes at most three encoded ones, so nothing longer can be within the limit.
        if encoded.len() > 3 * PATH_BYTES_MAX {
            return Err(PathError::Long);
        }
        let mut decoded = Vec::with_capacity(encoded.len());
        let mut bytes = encoded.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                decoded.push(byte);
                continue;
            }
            let high = bytes.next().and_then(hex_digit).ok_or(PathError::Encoding)?;
            let low = bytes.next().and_then(hex_digit).ok_or(PathError::Encoding)?;
            let byte = high << 4 | low;
            if byte == b'/' {
                return Err(PathError::Byte);
            }
            decoded.push(byte);
        }
        Self::new(&String::from_utf8(decoded).map_err(|_| PathError::Utf8)?)
    }

    /// Checks a path that is already decoded.
    pub fn new(path: &str) -> Result<Self, PathError> {
        if path.len() > PATH_BYTES_MAX || path.split('/').count() > SEGMENTS_MAX {
            return Err(PathError::Long);
        }
        if path.chars().any(|c| c.is_control() || c == '\\') {
            return Err(PathError::Byte);
        }
        for segment in path.split('/') {
            if matches!(segment, "" | "." | "..") {
                return Err(PathError::Segment);
            }
            if segment.len() > SEGMENT_BYTES_MAX {
                return Err(PathError::Long);
            }
        }
        if path.starts_with('.') {
            return Err(PathError::Hidden);
        }
        Ok(Self(path.to_owned()))
    }

    /// The decoded path, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// All but the last segment; `None` for a file at the top.
    pub fn folder(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(folder, _)| folder)
    }

    /// As it goes into a URL: everything but the unreserved characters and `/` is encoded. Source: RFC 3986, 2.3.
    pub fn to_encoded(&self) -> String {
        percent_encoded(&self.0, b"-._~/")
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Encodes every byte that is neither a letter, a digit nor in `also_plain`.
pub(super) fn percent_encoded(text: &str, also_plain: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || also_plain.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
            encoded.push('%');
            encoded.extend(digits.map(char::from));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(raw: &str) -> Result<String, PathError> {
        ObjectPath::from_request(raw, &BasePath::new("/upload").unwrap()).map(|path| path.as_str().to_owned())
    }

    #[test]
    fn a_path_is_decoded_exactly_once() {
        for (raw, path) in [
            ("/upload/a/b.jpg", "a/b.jpg"),
            ("/upload/a/tr%c3%a8s%20cool%20%281%29%2b%26%25.txt", "a/très cool (1)+&%.txt"),
            ("/upload/a/tr%C3%A8s%20cool%20(1)+&%25.txt", "a/très cool (1)+&%.txt"),
            ("/upload/a/très.txt", "a/très.txt"),
            ("/upload/a/%252e%252e", "a/%2e%2e"),
            ("/upload/a/b+c", "a/b+c"),
            ("/upload/a/.hidden", "a/.hidden"),
            ("/upload/a/...", "a/..."),
        ] {
            assert_eq!(read(raw).as_deref(), Ok(path), "{raw}");
        }
    }

    #[test]
    fn nothing_that_leaves_the_store_is_a_path() {
        for (raw, error) in [
            ("/upload", PathError::Outside),
            ("/other/a", PathError::Outside),
            ("/uploada/b", PathError::Outside),
            ("/upload/", PathError::Segment),
            ("/upload//a", PathError::Segment),
            ("/upload/a/", PathError::Segment),
            ("/upload/a//b", PathError::Segment),
            ("/upload/../etc/passwd", PathError::Segment),
            ("/upload/a/../../etc/passwd", PathError::Segment),
            ("/upload/a/%2e%2e/b", PathError::Segment),
            ("/upload/a/%2E./b", PathError::Segment),
            ("/upload/./a", PathError::Segment),
            ("/upload/a%2fb", PathError::Byte),
            ("/upload/..%2f..%2fetc", PathError::Byte),
            ("/upload/a%5cb", PathError::Byte),
            ("/upload/a\\b", PathError::Byte),
            ("/upload/a/b%00.jpg", PathError::Byte),
            ("/upload/a/b%0a", PathError::Byte),
            ("/upload/a/b%7f", PathError::Byte),
            ("/upload/a/b%c2%85", PathError::Byte),
            ("/upload/.hfs/parts/x", PathError::Hidden),
            ("/upload/%2ehfs/parts/x", PathError::Hidden),
            ("/upload/a/%", PathError::Encoding),
            ("/upload/a/%2", PathError::Encoding),
            ("/upload/a/%zz", PathError::Encoding),
            ("/upload/a/%+2", PathError::Encoding),
            ("/upload/a/%ff", PathError::Utf8),
            ("/upload/a/%c0%ae%c0%ae", PathError::Utf8),
        ] {
            assert_eq!(read(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn the_limits_are_where_they_are_said_to_be() {
        let segment = "s".repeat(SEGMENT_BYTES_MAX);
        assert!(ObjectPath::new(&segment).is_ok());
        assert_eq!(ObjectPath::new(&format!("{segment}s")), Err(PathError::Long));
        let deep = ["d"; SEGMENTS_MAX].join("/");
        assert!(ObjectPath::new(&deep).is_ok());
        assert_eq!(ObjectPath::new(&format!("{deep}/d")), Err(PathError::Long));
        let long = ["x".repeat(255), "x".repeat(255), "x".repeat(255), "x".repeat(256 - 1), "y".to_owned()].join("/");
        assert_eq!(long.len(), 1025);
        assert_eq!(ObjectPath::new(&long), Err(PathError::Long));
        assert_eq!(ObjectPath::from_encoded(&"%41".repeat(1025)), Err(PathError::Long));
    }

    #[test]
    fn a_base_path_has_a_slash_at_both_ends() {
        for (text, base) in [("", "/"), ("/", "/"), ("upload", "/upload/"), ("/a/b/", "/a/b/")] {
            assert_eq!(BasePath::new(text).map(|b| b.0).as_deref(), Ok(base));
        }
        for bad in ["/a//b", "/../", "/.hfs/", "/a b/", "/a%20/", "http://x/"] {
            assert_eq!(BasePath::new(bad), Err(BasePathError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn an_encoded_path_is_read_back(path in "[^\\x00-\\x1f\\\\]{1,60}") {
            if let Ok(object) = ObjectPath::new(&path) {
                prop_assert_eq!(ObjectPath::from_encoded(&object.to_encoded()), Ok(object));
            }
        }

        #[test]
        fn whatever_is_accepted_stays_below_the_root(raw in "(/|%2f|\\.|%2e|a|%00|\\\\|%5c|%25){0,24}") {
            if let Ok(path) = ObjectPath::from_encoded(&raw) {
                prop_assert!(!path.as_str().starts_with(['/', '.']));
                prop_assert!(path.as_str().split('/').all(|s| !s.is_empty() && s != "." && s != ".."));
                prop_assert!(!path.as_str().contains(['\0', '\\']));
            }
        }

        #[test]
        fn any_text_is_survived(raw in ".{0,400}") {
            let _answer = ObjectPath::from_encoded(&raw).is_ok();
        }
    }
}
