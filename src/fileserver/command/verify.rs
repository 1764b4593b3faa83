use std::fmt;

use crate::fileserver::{
    media,
    path::{BasePath, ObjectPath, PathError},
    secret::Secret,
    token::{Credential, CredentialError, DEFAULT_TYPE, Scheme, Signed},
};

/// Lengths tried around the stated one.
const LENGTHS_AROUND: u64 = 4096;

/// A URL and what the PUT with it stated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) url: &'a str,
    pub(super) base: &'a BasePath,
    pub(super) length: u64,
    pub(super) media_type: Option<&'a str>,
}

/// Why a URL cannot be examined at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error(transparent)]
    Path(PathError),
    #[error(transparent)]
    Credential(CredentialError),
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// It grants the upload: the scheme, and which secret made it, from 1.
    Valid(Scheme, usize),
    /// It does not, but would if these inputs were others.
    Differs(Vec<String>),
    /// It does not, and no likely mistake explains it.
    Unexplained,
}

impl Finding {
    pub(super) const fn is_valid(&self) -> bool {
        matches!(self, Self::Valid(..))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid(scheme, secret) => write!(f, "valid: scheme {scheme}, secret {secret}"),
            Self::Differs(differences) => write!(f, "refused, but it was signed with {}", differences.join(" and ")),
            Self::Unexplained => f.write_str(
                "refused, and no likely mistake explains it: the secret differs, or the path, length or type is another",
            ),
        }
    }
}

/// A value that may have been signed, and how it differs from the stated one; `None` is the stated one itself.
type Guess<T> = (T, Option<String>);

impl Claim<'_> {
    /// Checks the claim as the server does; if it fails, tries what signers are known to get wrong.
    pub(super) fn examine(&self, secrets: &[Secret]) -> Result<Finding, UrlError> {
        let after_host =
            self.url.split_once("://").map_or(self.url, |(_, rest)| rest.find('/').map_or("/", |slash| &rest[slash..]));
        let (raw, query) = after_host.split_once('?').map_or((after_host, None), |(raw, query)| (raw, Some(query)));
        let path = ObjectPath::from_request(raw, self.base).map_err(UrlError::Path)?;
        let credential = Credential::find(query, &Scheme::ALL).map_err(UrlError::Credential)?;
        let stated =
            Signed { path: path.as_str(), length: self.length, media_type: self.media_type.map(str::as_bytes) };
        for (index, secret) in secrets.iter().enumerate() {
            if credential.is_valid(stated, std::slice::from_ref(secret)) {
                return Ok(Finding::Valid(credential.scheme, index + 1));
            }
        }
        let guesses = Guesses {
            schemes: schemes(credential.scheme),
            paths: paths(&path, raw),
            lengths: self.lengths(),
            types: self.types(&path),
            secrets: trimmed_secrets(secrets),
        };
        Ok(guesses.search(&credential).map_or(Finding::Unexplained, Finding::Differs))
    }

    fn lengths(&self) -> Vec<Guess<u64>> {
        let around = self.length.saturating_sub(LENGTHS_AROUND)..=self.length.saturating_add(LENGTHS_AROUND);
        let others = [0].into_iter().chain(around).filter(|length| *length != self.length);
        let others = others.map(|length| (length, Some(format!("length {length} (stated: {})", self.length))));
        [(self.length, None)].into_iter().chain(others).collect()
    }

    fn types(&self, path: &ObjectPath) -> Vec<Guess<Option<String>>> {
        let stated = self.media_type.map(str::to_owned);
        let by_name = media::media_type(None, path.file_name());
        let bare = by_name.split(';').next().unwrap_or_default().to_owned();
        let lower = self.media_type.map(str::to_ascii_lowercase);
        let others = [Some(DEFAULT_TYPE.to_owned()), Some(by_name), Some(bare), lower, Some(String::new())];
        let others = others.into_iter().filter(|other| other.is_some() && *other != stated);
        let others = others.map(|other| {
            let name = other.clone().unwrap_or_default();
            let sent = self.media_type.unwrap_or("none");
            (other, Some(format!("type {name:?} (stated: {sent:?})")))
        });
        [(stated.clone(), None)].into_iter().chain(others).collect()
    }
}

fn schemes(named: Scheme) -> Vec<Guess<Scheme>> {
    let others = Scheme::ALL.into_iter().filter(|scheme| *scheme != named);
    let others = others.map(|scheme| (scheme, Some(format!("scheme {scheme} (the URL says {named})"))));
    [(named, None)].into_iter().chain(others).collect()
}

/// Paths that signers are known to sign: with the base path, with a slash, still encoded, or without folders.
fn paths(path: &ObjectPath, raw: &str) -> Vec<Guess<String>> {
    let stated = path.as_str().to_owned();
    let mut candidates =
        vec![raw.to_owned(), raw.trim_start_matches('/').to_owned(), format!("/{stated}"), path.to_encoded()];
    if let Ok(whole) = ObjectPath::from_encoded(raw.trim_start_matches('/')) {
        candidates.push(whole.as_str().to_owned());
        candidates.push(format!("/{whole}"));
    }
    candidates.extend(stated.match_indices('/').map(|(slash, _)| stated[slash + 1..].to_owned()));
    if let Ok(again) = ObjectPath::from_encoded(&stated) {
        candidates.push(again.as_str().to_owned());
    }
    let mut guesses: Vec<Guess<String>> = vec![(stated.clone(), None)];
    for candidate in candidates {
        if guesses.iter().all(|(known, _)| *known != candidate) {
            let difference = format!("path {candidate:?} (expected: {stated:?})");
            guesses.push((candidate, Some(difference)));
        }
    }
    guesses
}

/// Secrets with the white space that an editor or a shell leaves or takes.
fn trimmed_secrets(secrets: &[Secret]) -> Vec<Guess<Secret>> {
    let mut guesses: Vec<Guess<Secret>> = secrets.iter().map(|secret| (secret.clone(), None)).collect();
    for secret in secrets {
        let bytes = secret.bytes();
        let with_line_break = [bytes, b"\n"].concat();
        let variants = [
            (bytes.trim_ascii(), "a secret without white space around it"),
            (&with_line_break, "a secret with a line break at its end"),
        ];
        for (variant, difference) in variants {
            if let Some(other) = Secret::new(variant).filter(|other| other != secret) {
                guesses.push((other, Some(difference.to_owned())));
            }
        }
    }
    guesses
}

/// All that may have been signed.
#[derive(Debug)]
struct Guesses {
    schemes: Vec<Guess<Scheme>>,
    paths: Vec<Guess<String>>,
    lengths: Vec<Guess<u64>>,
    types: Vec<Guess<Option<String>>>,
    secrets: Vec<Guess<Secret>>,
}

impl Guesses {
    /// The combination with the fewest differences that makes the credential valid.
    fn search(&self, credential: &Credential) -> Option<Vec<String>> {
        let mut best: Option<Vec<String>> = None;
        for (scheme, scheme_differs) in &self.schemes {
            for (path, path_differs) in &self.paths {
                for (media_type, type_differs) in &self.types {
                    for (secret, secret_differs) in &self.secrets {
                        let other = [scheme_differs, path_differs, type_differs, secret_differs];
                        let other: Vec<String> = other.into_iter().flatten().cloned().collect();
                        // Other lengths are many, so they are tried only where nothing else differs.
                        let lengths = if other.is_empty() { &self.lengths[..] } else { &self.lengths[..1] };
                        for (length, length_differs) in lengths {
                            let media_type = media_type.as_deref().map(str::as_bytes);
                            let signed = Signed { path, length: *length, media_type };
                            let credential = Credential { scheme: *scheme, tag: credential.tag };
                            if credential.is_valid(signed, std::slice::from_ref(secret)) {
                                let found: Vec<String> = other.iter().chain(length_differs).cloned().collect();
                                best = best.filter(|best| best.len() <= found.len()).or(Some(found));
                            }
                        }
                    }
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fileserver::token::sign;

    fn examine(signed: Signed<'_>, scheme: Scheme, secret: &[u8]) -> String {
        let tag = sign(scheme, signed, &Secret::new(secret).unwrap()).to_hex();
        let url = format!("https://up.example/upload/slot/a%20b.txt?{scheme}={tag}");
        let base = BasePath::new("/upload").unwrap();
        let claim = Claim { url: &url, base: &base, length: 10, media_type: Some("text/x-note") };
        let text = claim.examine(&[Secret::new(b"key").unwrap()]).unwrap().to_string();
        assert!(!text.contains(&tag), "a tag is never shown: {text}");
        text
    }

    #[test]
    fn the_input_that_differs_is_named() {
        let good = Signed { path: "slot/a b.txt", length: 10, media_type: Some(b"text/x-note") };
        for (signed, secret, part) in [
            (good, &b"key"[..], "valid: scheme v2, secret 1"),
            (Signed { path: "upload/slot/a b.txt", ..good }, b"key", "path \"upload/slot/a b.txt\""),
            (Signed { path: "slot/a%20b.txt", ..good }, b"key", "path \"slot/a%20b.txt\""),
            (Signed { path: "a b.txt", ..good }, b"key", "path \"a b.txt\""),
            (Signed { length: 0, ..good }, b"key", "length 0 (stated: 10)"),
            (Signed { length: 99, ..good }, b"key", "length 99 (stated: 10)"),
            (Signed { media_type: None, ..good }, b"key", "type \"application/octet-stream\""),
            (
                Signed { media_type: Some(b"text/plain; charset=utf-8"), ..good },
                b"key",
                "type \"text/plain; charset=utf-8\"",
            ),
            (good, b"key\n", "a secret with a line break at its end"),
            (good, b"other", "no likely mistake"),
            (Signed { length: 1 << 40, ..good }, b"key", "no likely mistake"),
        ] {
            let text = examine(signed, Scheme::V2, secret);
            assert!(text.contains(part), "{signed:?}: {text}");
        }
        let v = Signed { path: "/slot/a b.txt", ..good };
        assert!(examine(v, Scheme::V, b"key").contains("path \"/slot/a b.txt\""));
    }

    #[test]
    fn a_tag_under_the_wrong_parameter_is_recognised() {
        let signed = Signed { path: "a/b", length: 1, media_type: None };
        let secret = Secret::new(b"key").unwrap();
        let url = format!("/a/b?v2={}", sign(Scheme::V, signed, &secret).to_hex());
        let claim = Claim { url: &url, base: &BasePath::root(), length: 1, media_type: None };
        let text = claim.examine(&[secret]).unwrap().to_string();
        assert!(text.contains("scheme v (the URL says v2)"), "{text}");
    }
}
