//! The last look at the requests of an http probe: each uses only what is there before it.

use std::collections::BTreeSet;

use super::{
    check::Clean,
    diag::Report,
    draft::{HttpDraft, pairs},
    placeholder::{self, Piece},
    similar::did_you_mean,
    spec::{HttpBody, HttpCheck, ProbeCheck},
};

/// The check, with whatever is wrong with it reported.
pub(super) fn finish(steps: Vec<HttpDraft>, probe: &str, clean: Clean, report: &mut Report<'_>) -> Option<ProbeCheck> {
    let (mut captured, mut sent) = (BTreeSet::from([Box::from(placeholder::RANDOM)]), BTreeSet::new());
    let mut names: BTreeSet<Box<str>> = BTreeSet::new();
    let mut requests = Vec::with_capacity(steps.len());
    let count = steps.len();
    for (index, step) in steps.into_iter().enumerate() {
        let name = step.name.clone().unwrap_or_else(|| (index + 1).to_string().into());
        if !names.insert(name.clone()) {
            report.error(step.at("name"), format!("the probe {probe:?} has two requests named {name:?}"), None);
        }
        if clean == Clean::Yes {
            values(&step, probe, &captured, report);
            earlier_body(&step, probe, &sent, report);
        }
        captured.extend(step.capture.keys().cloned());
        if step.body.is_some() || step.random_body.is_some() {
            sent.insert(name.clone());
        }
        requests.extend(request(step, name, probe, clean, report));
    }
    (requests.len() == count).then(|| ProbeCheck::Http(requests.into()))
}

/// What is filled in is captured before.
fn values(step: &HttpDraft, probe: &str, captured: &BTreeSet<Box<str>>, report: &mut Report<'_>) {
    let texts =
        [("url", &step.url), ("body", &step.body)].into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?)));
    for (key, text) in texts.chain(step.headers.values().map(|text| ("headers", text))) {
        let pieces = match placeholder::pieces(text) {
            Ok(pieces) => pieces,
            Err(error) => {
                let help = Some("write $${ for ${ itself".to_owned());
                report.error(step.at(key), format!("of the probe {probe:?}, in {text:?}: {error}"), help);
                continue;
            }
        };
        for piece in pieces {
            let Piece::Value(name) = piece else { continue };
            if !captured.contains(name) {
                let help = did_you_mean(name, captured.iter().map(AsRef::as_ref)).or_else(|| {
                    Some(format!(
                        "capture = {{ {name} = … }} in an earlier request, or write $${{{name}}} for the text"
                    ))
                });
                let message = format!("the probe {probe:?} uses ${{{name}}}, which no earlier request captures");
                report.error(step.at(key), message, help);
            }
        }
    }
}

/// What is expected to come back was sent before.
fn earlier_body(step: &HttpDraft, probe: &str, sent: &BTreeSet<Box<str>>, report: &mut Report<'_>) {
    let Some(of) = step.expect_body_of.as_deref().filter(|of| !sent.contains(*of)) else { return };
    let help = did_you_mean(of, sent.iter().map(AsRef::as_ref))
        .or_else(|| Some("name an earlier request of this probe that has a body or a random_body".to_owned()));
    let message = format!("the probe {probe:?} expects the body of {of:?}, which sent none before");
    report.error(step.at("expect_body_of"), message, help);
}

fn request(step: HttpDraft, name: Box<str>, probe: &str, clean: Clean, report: &mut Report<'_>) -> Option<HttpCheck> {
    let (place, method, second_body) = (step.place, step.at("method"), step.at("random_body"));
    let tls_at = step.at("tls");
    let Some(url) = step.url else {
        if clean == Clean::Yes {
            report.error(place, format!("the http probe {probe:?} has no url"), None);
        }
        return None;
    };
    if url.starts_with("http://") && step.keys.iter().any(|(key, _)| *key == "tls") {
        let message = format!("the probe {probe:?} gives tls to a request over http, where nothing of it holds");
        let help = Some("write https:// in its url, or leave tls out".to_owned());
        report.error(tls_at, message, help);
    }
    let in_body = |from: &str| from.starts_with('/');
    let reads_body = step.expect_body.is_some()
        || step.expect_body_of.is_some()
        || !step.expect_json.is_empty()
        || step.capture.values().any(|from| in_body(from));
    if step.method == "HEAD" && reads_body {
        report.error(method, format!("the probe {probe:?} expects a body of a HEAD request"), None);
    }
    let body = match (step.body, step.random_body) {
        (None, None) => HttpBody::None,
        (Some(text), None) => HttpBody::Text(text),
        (None, Some(size)) => HttpBody::Random(size),
        (Some(_), Some(_)) => {
            let message = format!("the probe {probe:?} gives a request both a body and a random_body");
            report.error(second_body, message, None);
            HttpBody::None
        }
    };
    Some(HttpCheck {
        name,
        url,
        method: step.method,
        body,
        sign: step.sign,
        tls: step.tls,
        headers: pairs(step.headers),
        unix_socket: step.unix_socket,
        expect_status: step.expect_status.into(),
        expect_body: step.expect_body,
        expect_json: pairs(step.expect_json),
        expect_body_of: step.expect_body_of,
        capture: pairs(step.capture),
        body_max: step.body_max,
    })
}
