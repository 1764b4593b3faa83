//! The requests of one HTTP probe, in order: what one captured or sent the next may use.
//!
//! What is captured may be a token, and a signed URL is as good as a password. So a reason tells what the unit says and what
//! the server answers, and never what was filled in. The host is always the unit's word, whatever was captured.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use hyper::{
    Uri,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};

use super::{
    Prober,
    http::{Answer, Filled, json, judge, own_headers},
    signing,
};
use crate::{
    base::Rng,
    node::input::Finding,
    unit::{
        placeholder::{self, Piece},
        spec::{HttpBody, HttpCheck},
    },
};

/// The longest value that is captured.
const VALUE_BYTES_MAX: usize = 8 << 10;

/// What is known on the way.
struct Flow {
    values: BTreeMap<Box<str>, String>,
    /// The bodies that were sent.
    sent: BTreeMap<Box<str>, Bytes>,
    rng: Rng,
}

impl Prober {
    /// Sends the requests; `at` is the one under way, for whoever gives up.
    pub(super) async fn ask_http(&self, steps: &[HttpCheck], at: &AtomicUsize) -> Result<Finding, String> {
        let mut flow = Flow::begin()?;
        for (index, step) in steps.iter().enumerate() {
            at.store(index, Ordering::Relaxed);
            let taken = self.take_step(step, &mut flow).await;
            taken.map_err(|reason| if steps.len() == 1 { reason } else { format!("step {}: {reason}", step.name) })?;
        }
        Ok(Finding::Good)
    }

    async fn take_step(&self, step: &HttpCheck, flow: &mut Flow) -> Result<(), String> {
        let body = flow.body(step)?;
        let headers = flow.headers(step)?;
        let mut url = flow.url(step)?;
        if let Some(signature) = &step.sign {
            let path = signature.secret_file.to_path_buf();
            let secret = self.beside(path.clone(), move || crate::edge::secret::read(&path)).await?;
            let media_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
            let uri = parse(step, &url)?;
            let query = signing::sign(signature, &secret, uri.path(), body.len(), media_type)?;
            url.push(if uri.query().is_some() { '&' } else { '?' });
            url.push_str(&query);
        }
        let uri = parse(step, &url)?;
        let awaited = step.expect_body_of.as_ref().and_then(|of| flow.sent.get(of)).cloned();
        // One more byte shows that more comes than was sent.
        let whole = awaited.as_ref().map_or(0, |sent| sent.len() + 1);
        let limit = usize::try_from(step.body_max.0).unwrap_or(usize::MAX).max(whole);
        flow.sent.insert(step.name.clone(), body.clone());
        let answer = self.send(step, Filled { uri, headers, body, limit }).await?;
        judge(step, &answer)?;
        if let (Some(sent), Some(of)) = (awaited, &step.expect_body_of) {
            compare(&answer, &sent, of)?;
        }
        flow.capture(step, &answer)
    }
}

impl Flow {
    fn begin() -> Result<Self, String> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| format!("cannot get random bytes: {error}"))?;
        let mut rng = Rng::new(u64::from_le_bytes(seed));
        let random = format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64());
        Ok(Self { values: BTreeMap::from([(placeholder::RANDOM.into(), random)]), sent: BTreeMap::new(), rng })
    }

    fn fill(&self, text: &str) -> Result<String, String> {
        let pieces = placeholder::pieces(text).map_err(|error| error.to_string())?;
        let value = |piece| match piece {
            Piece::Text(text) => Ok(text),
            Piece::Value(name) => {
                self.values.get(name).map(String::as_str).ok_or_else(|| format!("${{{name}}} was not captured"))
            }
        };
        pieces.into_iter().map(value).collect()
    }

    /// The URL without its fragment; a value that would name another host is none.
    fn url(&self, step: &HttpCheck) -> Result<String, String> {
        let filled = self.fill(&step.url)?;
        let fixed = authority(step.url.split("${").next().unwrap_or_default());
        if authority(&filled) != fixed {
            return Err(format!("what is filled into {:?} is no path", step.url));
        }
        Ok(filled.split('#').next().unwrap_or_default().to_owned())
    }

    fn headers(&self, step: &HttpCheck) -> Result<HeaderMap, String> {
        let mut headers = own_headers();
        for (name, value) in &step.headers {
            let unfit = || format!("cannot send the header {name:?}");
            let value = HeaderValue::try_from(self.fill(value)?).map_err(|_| unfit())?;
            headers.insert(HeaderName::try_from(&**name).map_err(|_| unfit())?, value);
        }
        Ok(headers)
    }

    fn body(&mut self, step: &HttpCheck) -> Result<Bytes, String> {
        Ok(match &step.body {
            HttpBody::None => Bytes::new(),
            HttpBody::Text(text) => self.fill(text)?.into(),
            HttpBody::Random(size) => {
                let count = usize::try_from(size.0).map_err(|error| error.to_string())?;
                let mut bytes = Vec::with_capacity(count + 8);
                while bytes.len() < count {
                    bytes.extend(self.rng.next_u64().to_le_bytes());
                }
                bytes.truncate(count);
                bytes.into()
            }
        })
    }

    fn capture(&mut self, step: &HttpCheck, answer: &Answer) -> Result<(), String> {
        let mut body = None;
        for (name, from) in &step.capture {
            let found = if from.starts_with('/') {
                let body = match &body {
                    Some(body) => body,
                    None => body.insert(json(step, answer)?),
                };
                match body.pointer(from) {
                    Some(serde_json::Value::String(text)) => Some(text.clone()),
                    Some(number @ serde_json::Value::Number(_)) => Some(number.to_string()),
                    Some(_) | None => None,
                }
            } else {
                answer.headers.get(&**from).and_then(|value| value.to_str().ok()).map(str::to_owned)
            };
            let value = found.ok_or_else(|| format!("there is no text or number at {from} to be captured"))?;
            if value.len() > VALUE_BYTES_MAX || value.contains(char::is_control) {
                return Err(format!("what stands at {from} cannot be used: it is too long or has control characters"));
            }
            self.values.insert(name.clone(), value);
        }
        Ok(())
    }
}

fn parse(step: &HttpCheck, url: &str) -> Result<Uri, String> {
    url.parse().map_err(|error| format!("cannot read the url {:?}: {error}", step.url))
}

/// Scheme and host of a URL.
fn authority(url: &str) -> &str {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |at| begin + at);
    &url[..end]
}

fn compare(answer: &Answer, sent: &[u8], of: &str) -> Result<(), String> {
    let (came, length) = (&answer.body, sent.len());
    if let Some(at) = came.iter().zip(sent).position(|(came, sent)| came != sent) {
        return Err(format!("the body is not the one that {of} sent: it differs at byte {at}"));
    }
    match came.len() {
        more if more > length => Err(format!("the body is longer than the {length} bytes that {of} sent")),
        less if less < length => Err(format!("the body has {less} of the {length} bytes that {of} sent")),
        _ => Ok(()),
    }
}
