//! Entity tags, HTTP dates and the If-* fields of RFC 9110. Pure.

use std::fmt;

use jiff::{Timestamp, civil, fmt::rfc2822, fmt::strtime, tz::TimeZone};

/// What a stored file's validators are made of. A stored file never changes, so size and time name its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    /// Bytes.
    pub size: u64,
    /// When its content was complete, seconds since 1970 UTC.
    pub modified_s: i64,
    /// And the nanoseconds after it.
    pub modified_ns: u32,
}

impl FileFacts {
    /// The strong entity tag.
    pub fn etag(&self) -> ETag {
        ETag(format!("\"{:x}.{:x}-{:x}\"", self.modified_s, self.modified_ns, self.size))
    }

    /// The value of Last-Modified.
    pub fn last_modified(&self) -> String {
        http_date(self.modified_s)
    }
}

/// A strong entity tag with its quotes. Source: RFC 9110, 8.8.3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// With its quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `list` (the value of If-Match or If-None-Match) is `*` or holds this tag.
    fn is_in(&self, list: &str, weak_too: bool) -> bool {
        list.trim() == "*"
            || list.split(',').map(str::trim).any(|tag| {
                let tag = if weak_too { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
                tag == self.0
            })
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The conditions of a GET or HEAD as the request states them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions<'a> {
    /// If-Match.
    pub if_match: Option<&'a str>,
    /// If-Unmodified-Since.
    pub if_unmodified_since: Option<&'a str>,
    /// If-None-Match.
    pub if_none_match: Option<&'a str>,
    /// If-Modified-Since.
    pub if_modified_since: Option<&'a str>,
    /// If-Range.
    pub if_range: Option<&'a str>,
}

/// What the conditions make of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answer as if there were none.
    Go,
    /// 304: the client has it.
    NotModified,
    /// 412: the client meant another file.
    Failed,
}

impl Conditions<'_> {
    /// Evaluates them in the order of RFC 9110, 13.2.2. A date that cannot be read counts as absent.
    pub fn evaluate(&self, facts: &FileFacts) -> Outcome {
        let etag = facts.etag();
        let is_later_than = |date: &str| http_date_seconds(date).map(|seconds| facts.modified_s > seconds);
        match (self.if_match, self.if_unmodified_since) {
            (Some(list), _) if !etag.is_in(list, false) => return Outcome::Failed,
            (None, Some(date)) if is_later_than(date) == Some(true) => return Outcome::Failed,
            (Some(_) | None, Some(_) | None) => {}
        }
        match (self.if_none_match, self.if_modified_since) {
            (Some(list), _) if etag.is_in(list, true) => Outcome::NotModified,
            (None, Some(date)) if is_later_than(date) == Some(false) => Outcome::NotModified,
            (Some(_) | None, Some(_) | None) => Outcome::Go,
        }
    }

    /// Whether a Range header counts: without If-Range it does, else only if the client's copy is this very file.
    pub fn range_counts(&self, facts: &FileFacts) -> bool {
        let Some(validator) = self.if_range.map(str::trim) else { return true };
        if validator.starts_with('"') || validator.starts_with("W/") {
            return validator == facts.etag().as_str();
        }
        http_date_seconds(validator) == Some(facts.modified_s)
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`; the epoch for a time that has no such form.
pub(super) fn http_date(seconds: i64) -> String {
    const PRINTER: rfc2822::DateTimePrinter = rfc2822::DateTimePrinter::new();
    let moment = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    PRINTER.timestamp_to_rfc9110_string(&moment).unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 GMT".to_owned())
}

/// Reads the three forms that a recipient must accept (RFC 9110, 5.6.7).
fn http_date_seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    for form in ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"] {
        let moment: Option<civil::DateTime> = strtime::parse(form, text).ok().and_then(|time| time.to_datetime().ok());
        if let Some(moment) = moment {
            return moment.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp().as_second());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: FileFacts = FileFacts { size: 10, modified_s: 784_111_777, modified_ns: 5 };
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn all_three_forms_of_a_date_are_read_and_one_is_written() {
        for text in [SAME, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(http_date_seconds(text), Some(784_111_777), "{text}");
        }
        for bad in ["", "yesterday", "784111777", "Sun, 06 Nov 1994 08:49:37 +0100"] {
            assert_eq!(http_date_seconds(bad), None, "{bad}");
        }
        assert_eq!(FACTS.last_modified(), SAME);
        assert_eq!(http_date(i64::MAX), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn conditions_are_evaluated_in_the_order_of_the_rfc() {
        let etag = FACTS.etag();
        let etag = etag.as_str();
        let weak = format!("W/{etag}");
        let list = format!("\"x\", {etag}");
        let none = Conditions::default();
        for (conditions, outcome) in [
            (none, Outcome::Go),
            (Conditions { if_match: Some(&list), ..none }, Outcome::Go),
            (Conditions { if_match: Some("*"), ..none }, Outcome::Go),
            (Conditions { if_match: Some(&weak), ..none }, Outcome::Failed),
            (Conditions { if_match: Some("\"x\""), if_none_match: Some(etag), ..none }, Outcome::Failed),
            (Conditions { if_match: Some(etag), if_unmodified_since: Some(BEFORE), ..none }, Outcome::Go),
            (Conditions { if_unmodified_since: Some(BEFORE), ..none }, Outcome::Failed),
            (Conditions { if_unmodified_since: Some(SAME), ..none }, Outcome::Go),
            (Conditions { if_none_match: Some(etag), ..none }, Outcome::NotModified),
            (Conditions { if_none_match: Some(&weak), ..none }, Outcome::NotModified),
            (Conditions { if_none_match: Some("*"), ..none }, Outcome::NotModified),
            (Conditions { if_none_match: Some("\"x\""), if_modified_since: Some(SAME), ..none }, Outcome::Go),
            (Conditions { if_modified_since: Some(SAME), ..none }, Outcome::NotModified),
            (Conditions { if_modified_since: Some(AFTER), ..none }, Outcome::NotModified),
            (Conditions { if_modified_since: Some(BEFORE), ..none }, Outcome::Go),
            (Conditions { if_modified_since: Some("junk"), ..none }, Outcome::Go),
        ] {
            assert_eq!(conditions.evaluate(&FACTS), outcome, "{conditions:?}");
        }
    }

    #[test]
    fn a_range_counts_only_for_the_file_the_client_has() {
        let etag = FACTS.etag();
        let weak = format!("W/{etag}");
        for (if_range, counts) in [
            (etag.as_str(), true),
            (SAME, true),
            (weak.as_str(), false),
            ("\"x\"", false),
            (AFTER, false),
            ("x", false),
        ] {
            let conditions = Conditions { if_range: Some(if_range), ..Conditions::default() };
            assert_eq!(conditions.range_counts(&FACTS), counts, "{if_range}");
        }
        assert!(Conditions::default().range_counts(&FACTS));
    }
}
