use super::*;
use crate::fileserver::{condition::Conditions, decide::Length};

const FACTS: FileFacts = FileFacts { size: 1000, modified_s: 784_111_777, modified_ns: 0 };

fn get<'a>(method: &'a str, range: Option<&'a str>, conditions: Conditions<'a>) -> Answer {
    let head =
        Head { method, path: "/a/pic.png", query: None, length: Length::Unknown, media_type: None, range, conditions };
    let found = Found { facts: FACTS, stored_type: None };
    Answer::file(&head, &ObjectPath::new("a/pic.png").unwrap(), &found, || "BOUNDARY".to_owned())
}

fn field<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_whole_file_comes_with_all_it_needs() {
    let answer = get("GET", None, Conditions::default());
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, [Piece::File(0..1000)]);
    for (name, value) in [
        ("content-type", "image/png"),
        ("content-disposition", "inline; filename=\"pic.png\""),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(field(&answer, name), Some(value), "{name}");
    }
}

#[test]
fn a_head_says_the_length_and_ignores_ranges() {
    let answer = get("HEAD", Some("bytes=0-1"), Conditions::default());
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    assert_eq!(field(&answer, "content-length"), Some("1000"));
}

#[test]
fn one_range_is_a_part_and_several_are_a_multipart() {
    let answer = get("GET", Some("bytes=10-19"), Conditions::default());
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(field(&answer, "content-range"), Some("bytes 10-19/1000"));
    assert_eq!(answer.body, [Piece::File(10..20)]);

    let answer = get("GET", Some("bytes=0-0,-1"), Conditions::default());
    assert_eq!(field(&answer, "content-type"), Some("multipart/byteranges; boundary=BOUNDARY"));
    assert_eq!(field(&answer, "content-range"), None);
    let text = |text: &str| Piece::Bytes(text.as_bytes().to_vec());
    assert_eq!(
        answer.body,
        [
            text("\r\n--BOUNDARY\r\nContent-Type: image/png\r\nContent-Range: bytes 0-0/1000\r\n\r\n"),
            Piece::File(0..1),
            text("\r\n--BOUNDARY\r\nContent-Type: image/png\r\nContent-Range: bytes 999-999/1000\r\n\r\n"),
            Piece::File(999..1000),
            text("\r\n--BOUNDARY--\r\n"),
        ]
    );
}

#[test]
fn a_range_outside_the_file_is_told_its_size() {
    let answer = get("GET", Some("bytes=1000-"), Conditions::default());
    assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(field(&answer, "content-range"), Some("bytes */1000"));
}

#[test]
fn conditions_decide_before_ranges() {
    let etag = FACTS.etag();
    let same = Conditions { if_none_match: Some(etag.as_str()), ..Conditions::default() };
    let answer = get("GET", Some("bytes=0-1"), same);
    assert_eq!((answer.status, answer.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(field(&answer, "etag"), Some(etag.as_str()));
    let other = Conditions { if_match: Some("\"x\""), ..Conditions::default() };
    assert_eq!(get("GET", None, other).status, StatusCode::PRECONDITION_FAILED);
    let stale = Conditions { if_range: Some("\"x\""), ..Conditions::default() };
    assert_eq!(get("GET", Some("bytes=0-1"), stale).status, StatusCode::OK);
}

#[test]
fn readiness_goes_before_health_and_life_stays() {
    let status = |page, leaving| Answer::page(page, leaving).status.as_u16();
    assert_eq!([Page::Health, Page::Ready, Page::Alive].map(|page| status(page, false)), [200, 200, 200]);
    assert_eq!([Page::Health, Page::Ready, Page::Alive].map(|page| status(page, true)), [503, 503, 200]);
    let healthy = r#"{"status":"healthy","ready":true}"#;
    assert_eq!(Answer::page(Page::Health, false).body, [Piece::Bytes(healthy.as_bytes().to_vec())]);
}

#[test]
fn a_browser_gets_its_origin_back() {
    let answer = Answer::options("GET").for_origin(Some("https://chat.example"));
    assert_eq!(field(&answer, "access-control-allow-origin"), Some("https://chat.example"));
    assert_eq!(field(&answer, "access-control-allow-methods"), Some("OPTIONS, HEAD, GET, PUT"));
    assert_eq!(field(&answer, "vary"), Some("Origin"));
    let plain = Answer::options("GET").for_origin(None);
    assert_eq!(field(&plain, "access-control-allow-origin"), None);
}
