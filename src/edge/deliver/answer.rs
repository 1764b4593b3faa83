//! What a receiver's answer means.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use reqwest::StatusCode;

use crate::{base::Wall, edge::tls};

/// What one try came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Taken.
    Taken,
    /// Not now.
    Later {
        /// Why.
        reason: String,
        /// How long the receiver wants us to wait, if it says so.
        after: Option<Duration>,
        /// Whether it may have been taken all the same.
        maybe_taken: bool,
    },
    /// Not now: it is told too much at a time (status 429).
    TooMuch {
        /// What it says.
        reason: String,
        /// How long it wants us to wait, if it says so.
        after: Option<Duration>,
    },
    /// Taken, but not for all whom it is for.
    Partly {
        /// Who has it now.
        taken: BTreeSet<String>,
        /// Who has it not, and why.
        others: BTreeMap<String, String>,
        /// Whether some of these want it later.
        later: bool,
    },
    /// Not now, says a mail server (4yz, RFC 5321 section 4.2.1), and not soon: whoever greylists wants to see that we come back.
    Deferred {
        /// Why.
        reason: String,
        /// Whether it may have been taken all the same.
        maybe_taken: bool,
    },
    /// Not this message.
    RefusesMessage(String),
    /// Not from us, not there, not any more.
    RefusesUs(String),
}

impl Answer {
    /// Why it is not taken, or not for all.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Taken => String::new(),
            Self::Partly { others, .. } => format!("taken, but not for {}", each(others)),
            Self::Later { reason, .. }
            | Self::TooMuch { reason, .. }
            | Self::Deferred { reason, .. }
            | Self::RefusesMessage(reason)
            | Self::RefusesUs(reason) => reason.clone(),
        }
    }
}

/// Who has it not, with the reason of each.
pub(super) fn each(others: &BTreeMap<String, String>) -> String {
    others.iter().map(|(who, why)| format!("{who}: {why}")).collect::<Vec<_>>().join("; ")
}

/// Reads the answer's status, its `Retry-After` and the beginning of its body (Slack says there what is wrong).
pub(super) fn of_response(status: StatusCode, retry_after: Option<&str>, said: &str, now: Wall) -> Answer {
    let reason = format!("status {}: {said}", status.as_u16()).trim_end_matches([':', ' ']).to_owned();
    let after = retry_after.and_then(|text| wait_of(text, now));
    match status {
        _ if status.is_success() => Answer::Taken,
        StatusCode::TOO_MANY_REQUESTS => Answer::TooMuch { reason, after },
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => Answer::Later { reason, after, maybe_taken: true },
        _ if status.is_server_error() => Answer::Later { reason, after, maybe_taken: true },
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Answer::RefusesMessage(reason)
        }
        _ if status.is_redirection() => {
            Answer::RefusesUs(format!("{reason} (redirects are not followed: name the place itself)"))
        }
        _ => Answer::RefusesUs(reason),
    }
}

/// Reads what Slack's methods answer with status 200.
pub(super) fn of_slack(said: &str) -> Answer {
    let answer: serde_json::Value = serde_json::from_str(said).unwrap_or_default();
    let error = answer["error"].as_str().unwrap_or("no answer of Slack's").to_owned();
    match error.as_str() {
        _ if answer["ok"] == true => Answer::Taken,
        "ratelimited" | "rate_limited" => Answer::TooMuch { reason: error, after: None },
        "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" => {
            Answer::Later { reason: error, after: None, maybe_taken: false }
        }
        "msg_too_long" | "no_text" | "invalid_blocks" | "invalid_blocks_format" => Answer::RefusesMessage(error),
        _ => Answer::RefusesUs(error),
    }
}

/// What Slack calls the message that it took: its timestamp, by which a thread is named.
pub(super) fn slack_receipt(said: &str) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_str(said).ok()?;
    answer["ts"].as_str().map(str::to_owned)
}

/// Reads a failure before or in the middle of an answer.
pub(super) fn of_error(error: reqwest::Error) -> Answer {
    // Nothing was sent on a connection that did not come about.
    let maybe_taken = !error.is_connect() && !error.is_builder();
    let unusable = error.is_builder();
    // The URL is a secret.
    let reason = tls::in_words(&error.without_url());
    if unusable { Answer::RefusesUs(reason) } else { Answer::Later { reason, after: None, maybe_taken } }
}

/// `Retry-After` is seconds or an HTTP date, RFC 9110 section 10.2.3.
fn wait_of(text: &str, now: Wall) -> Option<Duration> {
    let digits = text.trim();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits is long, not nothing.
        return Some(Duration::from_secs(digits.parse().unwrap_or(u64::MAX)));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    let micros = at.as_microsecond().saturating_sub(now.0);
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Wall(1_445_412_480_000_000); // 2015-10-21 07:28:00 UTC
        let cases = [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Wed, 21 Oct 2015 07:29:00 GMT", Some(60)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", Some(0)),
            ("99999999999999999999", Some(u64::MAX)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(wait_of(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn an_answer_is_taken_later_or_never() {
        let of = |status| of_response(StatusCode::from_u16(status).unwrap(), None, "", Wall(0));
        for status in [200, 201, 202, 204] {
            assert_eq!(of(status), Answer::Taken);
        }
        for (status, maybe) in [(500, true), (502, true), (503, true), (599, true), (408, true)] {
            assert!(matches!(of(status), Answer::Later { maybe_taken, .. } if maybe_taken == maybe), "{status}");
        }
        assert!(matches!(of(429), Answer::TooMuch { .. }));
        for status in [400, 413, 422] {
            assert!(matches!(of(status), Answer::RefusesMessage(_)), "{status}");
        }
        let Answer::RefusesUs(why) = of(302) else { panic!("a redirect") };
        assert_eq!(why, "status 302 (redirects are not followed: name the place itself)");
        for status in [301, 302, 307, 401, 403, 404, 405, 410] {
            assert!(matches!(of(status), Answer::RefusesUs(_)), "{status}");
        }
    }
}
