//! What to do about a request, judged by its head alone. Pure.
//!
//! The order of the checks is a promise: path, credential, length, size; the name and the disk come after, in `engine`.

use std::time::Duration;

use super::{
    condition::Conditions,
    media::{MEDIA_TYPE_BYTES_MAX, is_media_type},
    path::{BasePath, ObjectPath, PathError},
    refusal::{API_METHODS, FILE_METHODS, PAGE_METHODS, Refusal},
    secret::Secret,
    store::SyncPolicy,
    token::{Credential, Scheme, Signed},
};

/// What requests are judged by; a reload exchanges all of it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Where the files lie.
    pub base_path: BasePath,
    /// Schemes that count.
    pub schemes: Vec<Scheme>,
    /// Keys that count, the newest first.
    pub secrets: Vec<Secret>,
    /// Largest file, bytes.
    pub max_upload_size: u64,
    /// What an upload must leave free, bytes.
    pub min_free_bytes: u64,
    /// Longest silence within a body.
    pub client_timeout: Duration,
    /// What a 201 promises.
    pub sync: SyncPolicy,
}

/// What the rules look at in a request: the seam between any HTTP engine and the decisions.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// In capitals.
    pub method: &'a str,
    /// The path of the target, still encoded.
    pub path: &'a str,
    /// After the `?`.
    pub query: Option<&'a str>,
    /// How long the body says it is.
    pub length: Length,
    /// Content-Type, byte for byte.
    pub media_type: Option<&'a [u8]>,
    /// Range.
    pub range: Option<&'a str>,
    /// If-*.
    pub conditions: Conditions<'a>,
}

/// How long a body says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// It does not say: no Content-Length, or chunked.
    Unknown,
    /// Content-Length.
    Bytes(u64),
}

/// What is to be done about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Tell whether we are well.
    Health(Page),
    /// Tell what may be done here.
    Options {
        /// The methods.
        allow: &'static str,
    },
    /// Receive a file, unless its name is taken or the disk too full.
    Put(Put),
    /// Send a file, or only its head.
    Get(ObjectPath),
    /// Say no.
    Refuse(Refusal),
}

/// The health pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// `/health`: 503 while draining.
    Health,
    /// `/healthz`: the process answers.
    Alive,
    /// `/readyz`: it may be given work.
    Ready,
}

/// An upload that is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Its name.
    pub path: ObjectPath,
    /// Its exact length.
    pub length: u64,
    /// The type to serve it as; `None` leaves it to the name.
    pub media_type: Option<String>,
}

/// Judges a request by its head alone; what needs the disk comes after.
pub fn decide(head: &Head<'_>, rules: &Rules) -> Verdict {
    let page = match head.path {
        "/health" => Some(Page::Health),
        "/healthz" => Some(Page::Alive),
        "/readyz" => Some(Page::Ready),
        _ => None,
    };
    match (page, head.path) {
        (Some(page), _) => decide_page(head, page),
        (None, "/upload") => decide_api(head),
        (None, _) => decide_file(head, rules).unwrap_or_else(Verdict::Refuse),
    }
}

fn decide_page(head: &Head<'_>, page: Page) -> Verdict {
    match head.method {
        "GET" | "HEAD" => Verdict::Health(page),
        _ => Verdict::Refuse(Refusal::Method { allow: PAGE_METHODS }),
    }
}

/// The upload API has no scheme of its own in this version: it exists so that health scripts find it and are refused.
fn decide_api(head: &Head<'_>) -> Verdict {
    match head.method {
        "POST" => Verdict::Refuse(Refusal::ApiCredential),
        "OPTIONS" => Verdict::Options { allow: API_METHODS },
        _ => Verdict::Refuse(Refusal::Method { allow: API_METHODS }),
    }
}

fn decide_file(head: &Head<'_>, rules: &Rules) -> Result<Verdict, Refusal> {
    match head.method {
        "PUT" => decide_put(head, rules).map(Verdict::Put),
        // What can be no name is the name of nothing.
        "GET" | "HEAD" => ObjectPath::from_request(head.path, &rules.base_path)
            .map(Verdict::Get)
            .map_err(|_: PathError| Refusal::NotFound),
        "OPTIONS" => Ok(Verdict::Options { allow: FILE_METHODS }),
        _ => Err(Refusal::Method { allow: FILE_METHODS }),
    }
}

/// In this order: path, credential, length, size. So a stranger learns nothing but that he is one.
fn decide_put(head: &Head<'_>, rules: &Rules) -> Result<Put, Refusal> {
    let path = ObjectPath::from_request(head.path, &rules.base_path).map_err(Refusal::Path)?;
    if head.media_type.is_some_and(|media_type| media_type.len() > MEDIA_TYPE_BYTES_MAX) {
        return Err(Refusal::MediaType);
    }
    let credential = Credential::find(head.query, &rules.schemes).map_err(Refusal::Credential)?;
    let Length::Bytes(length) = head.length else { return Err(Refusal::NoLength) };
    let signed = Signed { path: path.as_str(), length, media_type: head.media_type };
    if !credential.is_valid(signed, &rules.secrets) {
        return Err(Refusal::Signature);
    }
    if length > rules.max_upload_size {
        return Err(Refusal::TooLarge { limit: rules.max_upload_size });
    }
    // What is no media type may be signed, but is not sent back to anyone.
    let media_type = head.media_type.filter(|text| is_media_type(text)).and_then(|text| str::from_utf8(text).ok());
    let media_type = media_type.map(str::to_owned);
    Ok(Put { path, length, media_type })
}

#[cfg(test)]
mod tests;
