use super::*;
use crate::fileserver::token::{CredentialError, sign};

fn rules() -> Rules {
    Rules {
        base_path: BasePath::new("/").unwrap(),
        schemes: Scheme::ALL.to_vec(),
        secrets: vec![Secret::new(b"secret string").unwrap()],
        max_upload_size: 1_048_576,
        min_free_bytes: 0,
        client_timeout: Duration::from_secs(1),
        sync: SyncPolicy::Data,
    }
}

fn head<'a>(method: &'a str, path: &'a str, query: &'a str) -> Head<'a> {
    Head {
        method,
        path,
        query: Some(query),
        length: Length::Bytes(1_048_576),
        media_type: Some(b"image/jpeg"),
        range: None,
        conditions: Conditions::default(),
    }
}

fn refusal(head: &Head<'_>) -> Option<Refusal> {
    match decide(head, &rules()) {
        Verdict::Refuse(refusal) => Some(refusal),
        Verdict::Health(_) | Verdict::Options { .. } | Verdict::Put(_) | Verdict::Get(_) => None,
    }
}

const V: &str = "v=e6df55a04516617d6a86ad6ca23879819591085a1a8c0041f4da06824f5d2db7";
const V2: &str = "v2=a19d27add075aa60035e27c05e794f13079ba48c508852b3d7160a6bec0f85ab";

#[test]
fn a_signed_put_is_granted_with_its_exact_length_and_type() {
    for query in [V, V2] {
        let put = Put {
            path: ObjectPath::new("foo/bar.jpg").unwrap(),
            length: 1_048_576,
            media_type: Some("image/jpeg".to_owned()),
        };
        assert_eq!(decide(&head("PUT", "/foo/bar.jpg", query), &rules()), Verdict::Put(put));
    }
}

#[test]
fn a_put_is_checked_in_the_order_of_the_table() {
    let good = head("PUT", "/foo/bar.jpg", V2);
    let bad = "v2=00";
    let wrong = format!("v2={}", "0".repeat(64));
    let long = vec![b'a'; 300];
    let cases = [
        // A bad path hides everything after it, a bad credential everything after that, and so on.
        (
            Head { path: "/foo/../x", query: Some(bad), length: Length::Unknown, ..good },
            Refusal::Path(PathError::Segment),
        ),
        (Head { media_type: Some(&long), query: None, ..good }, Refusal::MediaType),
        (Head { query: None, length: Length::Unknown, ..good }, Refusal::Credential(CredentialError::Missing)),
        (Head { query: Some(bad), length: Length::Unknown, ..good }, Refusal::Credential(CredentialError::Malformed)),
        (Head { length: Length::Unknown, ..good }, Refusal::NoLength),
        (Head { query: Some(&wrong), length: Length::Bytes(u64::MAX), ..good }, Refusal::Signature),
        (Head { length: Length::Bytes(1_048_575), ..good }, Refusal::Signature),
        (Head { media_type: Some(b"image/png"), ..good }, Refusal::Signature),
    ];
    for (head, expected) in cases {
        assert_eq!(refusal(&head), Some(expected), "{head:?}");
    }
}

#[test]
fn a_signed_file_past_the_limit_is_too_large() {
    let signed = |length| {
        let signed = Signed { path: "a/b", length, media_type: None };
        format!("v={}", sign(Scheme::V, signed, &rules().secrets[0]).to_hex())
    };
    let at = |length, query: &str| {
        let head = head("PUT", "/a/b", query);
        refusal(&Head { length: Length::Bytes(length), ..head })
    };
    assert_eq!(at(1_048_576, &signed(1_048_576)), None);
    assert_eq!(at(1_048_577, &signed(1_048_577)), Some(Refusal::TooLarge { limit: 1_048_576 }));
    assert_eq!(at(0, &signed(0)), None, "an empty file is a file");
}

#[test]
fn a_strange_type_is_signed_as_it_is_and_not_kept() {
    for strange in ["", "jpeg", "image/jpeg; name=\"tr\u{e8}s.jpg\"", "text/html\u{b}"] {
        let signed = Signed { path: "a/b", length: 1, media_type: Some(strange.as_bytes()) };
        let query = format!("v2={}", sign(Scheme::V2, signed, &rules().secrets[0]).to_hex());
        let head =
            Head { length: Length::Bytes(1), media_type: Some(strange.as_bytes()), ..head("PUT", "/a/b", &query) };
        let put = Put { path: ObjectPath::new("a/b").unwrap(), length: 1, media_type: None };
        assert_eq!(decide(&head, &rules()), Verdict::Put(put), "{strange:?}");
    }
}

#[test]
fn the_upload_page_refuses_as_health_scripts_expect() {
    assert_eq!(refusal(&head("GET", "/upload", "")), Some(Refusal::Method { allow: "POST, OPTIONS" }));
    assert_eq!(refusal(&head("HEAD", "/upload", "")).map(|r| r.status().as_u16()), Some(405));
    assert_eq!(refusal(&head("POST", "/upload", "")).map(|r| r.status().as_u16()), Some(401));
    assert_eq!(decide(&head("OPTIONS", "/upload", ""), &rules()), Verdict::Options { allow: "POST, OPTIONS" });
}

#[test]
fn our_own_pages_cannot_be_uploaded_over() {
    for path in ["/health", "/healthz", "/readyz", "/upload"] {
        assert_eq!(refusal(&head("PUT", path, V)).map(|r| r.status().as_u16()), Some(405), "{path}");
    }
}

#[test]
fn other_methods_are_told_which_there_are() {
    for method in ["POST", "PATCH", "DELETE", "PROPFIND", "put"] {
        assert_eq!(refusal(&head(method, "/a/b", V)), Some(Refusal::Method { allow: FILE_METHODS }), "{method}");
    }
    assert_eq!(decide(&head("OPTIONS", "/a/b", ""), &rules()), Verdict::Options { allow: FILE_METHODS });
}

#[test]
fn a_get_of_what_can_be_no_name_finds_nothing() {
    for path in ["/", "/a/", "/../etc/passwd", "/.hfs/parts/x", "/a%2fb", "/%ff", "*"] {
        assert_eq!(refusal(&head("GET", path, "")), Some(Refusal::NotFound), "{path}");
    }
    let path = ObjectPath::new("a/b").unwrap();
    assert_eq!(decide(&head("HEAD", "/a/b", ""), &rules()), Verdict::Get(path));
}
