use proptest::prelude::*;

use super::*;

const FUNNY: &str = "4a771ac1/très cool (1)+&%.txt";

/// Tags computed apart from this code, and tags that Prosody and prosody-filer's tests gave out:
/// key, scheme, path, length, type, tag (or its ends, where the source shortens it).
const VECTORS: [(&str, Scheme, &str, u64, &str, &str, &str); 11] = [
    (
        "secret string",
        Scheme::V,
        "foo/bar.jpg",
        1_048_576,
        "",
        "e6df55a04516617d6a86ad6ca2387981",
        "9591085a1a8c0041f4da06824f5d2db7",
    ),
    (
        "secret string",
        Scheme::V,
        "foo/empty.bin",
        0,
        "",
        "57643b5886c15839e698d44e39909f43",
        "427d848275d5a34f81295e9acb642e60",
    ),
    ("secret string", Scheme::V, FUNNY, 23, "", "8f3d621c53bd3a3bc4797ec56ce139e2", "53222d976ee98cb6830017f251a7c347"),
    (
        "secret string",
        Scheme::V2,
        "foo/bar.jpg",
        1_048_576,
        "image/jpeg",
        "a19d27add075aa60035e27c05e794f13",
        "079ba48c508852b3d7160a6bec0f85ab",
    ),
    (
        "secret string",
        Scheme::V2,
        FUNNY,
        23,
        "text/plain",
        "0e0e2093ad1cb8b53d3a171a0a0cd98b",
        "d00041999ca2c7f8fa18528aff9405da",
    ),
    (
        "mysecret",
        Scheme::V,
        "d69886b8-401b-474f-ba61-5aecc52189d0/bar.jpg",
        1_048_576,
        "",
        "d689aa4ce5d9c9c6927b1302582ee400",
        "df9ba3de80f1b7178c99209d9d67f5e8",
    ),
    (
        "mysecret",
        Scheme::V,
        "d8293730-8f0c-4bf9-934f-f0d2b988f4e8/très cool (1)+&%.txt",
        23,
        "",
        "761b486d024ee8016b658fe548786984",
        "ad0f5feba12581b22e0079433ba2fec9",
    ),
    (
        "mysecret",
        Scheme::V2,
        "7f9f0928-f397-42d7-b035-f872866b3484/bar.jpg",
        1_048_576,
        "image/jpeg",
        "14508fed5c67aa84803e3d9bf3dbb9e1",
        "e954ed5cb6b1e4ed9cdadcaadce3ec6e",
    ),
    (
        "mysecret",
        Scheme::V2,
        "cb73fc56-f32c-4498-9cb7-be2a059556be/très cool (1)+&%.txt",
        23,
        "text/plain",
        "4d8d2e94412de4ba1d150e80aac98899",
        "8bcccd9f31cf1f4ed09b74184392f869",
    ),
    (
        "mysecret",
        Scheme::V,
        "thomas/abc/catmetal.jpg",
        23026,
        "",
        "7b8879e2d1c733b423a70cde30cecc3a",
        "3c64a03f790d1b5bcbb2a6aca52b477e",
    ),
    ("mysecret", Scheme::V2, "thomas/abc/catmetal.jpg", 23026, "image/jpeg", "7318cd44", "4aee1c06"),
];

fn signed<'a>(path: &'a str, length: u64, media_type: &'a str) -> Signed<'a> {
    Signed { path, length, media_type: (!media_type.is_empty()).then_some(media_type.as_bytes()) }
}

#[test]
fn tags_are_those_of_real_servers() {
    for (key, scheme, path, length, media_type, head, tail) in VECTORS {
        let secret = Secret::new(key.as_bytes()).unwrap();
        let signed = signed(path, length, media_type);
        let tag = sign(scheme, signed, &secret).to_hex();
        assert!(tag.starts_with(head) && tag.ends_with(tail), "{scheme} {path}: {tag}");
        for text in [tag.clone(), tag.to_uppercase()] {
            let query = format!("{scheme}={text}");
            let credential = Credential::find(Some(&query), &Scheme::ALL).unwrap();
            assert!(credential.is_valid(signed, std::slice::from_ref(&secret)), "{query}");
        }
    }
}

#[test]
fn the_highest_scheme_counts_and_no_other() {
    let secret = Secret::new(b"k").unwrap();
    let signed = signed("a/b", 1, "text/plain");
    let (v, v2) = (sign(Scheme::V, signed, &secret).to_hex(), sign(Scheme::V2, signed, &secret).to_hex());
    let wrong = "0".repeat(64);
    let valid = |query: &str| {
        Credential::find(Some(query), &Scheme::ALL).map(|c| c.is_valid(signed, std::slice::from_ref(&secret)))
    };
    assert_eq!(valid(&format!("v={v}&v2={v2}")), Ok(true));
    assert_eq!(valid(&format!("v={wrong}&v2={v2}")), Ok(true));
    assert_eq!(valid(&format!("v={v}&v2={wrong}")), Ok(false), "fell back");
    assert_eq!(valid(&format!("v={v}&v2=junk")), Err(CredentialError::Malformed), "fell back");
    assert_eq!(valid(&format!("v={v}&v={v}")), Err(CredentialError::Malformed));
    assert_eq!(valid(&format!("x=1&v={v}&y")), Ok(true));
    assert_eq!(valid("token=abc"), Err(CredentialError::Missing));
    // A scheme that is switched off is as if it were not there.
    let only_v2 = Credential::find(Some(&format!("v={v}")), &[Scheme::V2]).map(|c| c.scheme);
    assert_eq!(only_v2, Err(CredentialError::Missing));
}

#[test]
fn a_type_is_compared_whole_and_then_without_parameters() {
    let secret = Secret::new(b"k").unwrap();
    let valid = |signed_type: &str, sent: Option<&str>| {
        let tag = sign(Scheme::V2, signed("a/b", 1, signed_type), &secret);
        let sent = Signed { path: "a/b", length: 1, media_type: sent.map(str::as_bytes) };
        Credential { scheme: Scheme::V2, tag }.is_valid(sent, std::slice::from_ref(&secret))
    };
    assert!(valid("text/plain", Some("text/plain")));
    assert!(valid("text/plain", Some("text/plain; charset=utf-8")));
    assert!(valid("text/plain; charset=utf-8", Some("text/plain; charset=utf-8")));
    assert!(valid("application/octet-stream", None));
    assert!(!valid("text/plain", Some("Text/Plain")));
    assert!(!valid("text/plain", Some("text/html")));
    assert!(!valid("text/plain", None));
}

#[test]
fn an_old_secret_stays_valid_beside_the_new_one() {
    let (old, new) = (Secret::new(b"old").unwrap(), Secret::new(b"new").unwrap());
    let signed = signed("a/b", 1, "");
    let credential = Credential { scheme: Scheme::V, tag: sign(Scheme::V, signed, &old) };
    assert!(credential.is_valid(signed, &[new.clone(), old]));
    assert!(!credential.is_valid(signed, &[new]));
    assert!(!credential.is_valid(signed, &[]));
}

#[test]
fn a_tag_is_never_shown_by_debug() {
    let tag = sign(Scheme::V, signed("a", 1, ""), &Secret::new(b"k").unwrap());
    assert!(!format!("{tag:?}").contains(&tag.to_hex()[..8]));
}

proptest! {
    #[test]
    fn any_other_path_length_or_type_is_refused(
        path in "[a-z]{1,8}/[a-z .é]{1,12}", length in any::<u64>(), media in "[a-z]{1,5}/[a-z]{1,5}",
        other_path in "[a-z]{1,8}/[a-z .é]{1,12}", other_length in any::<u64>(), other_media in "[a-z]{1,5}/[a-z]{1,5}",
    ) {
        let secret = [Secret::new(b"k").unwrap()];
        let stated = signed(&path, length, &media);
        for scheme in Scheme::ALL {
            let credential = Credential { scheme, tag: sign(scheme, stated, &secret[0]) };
            prop_assert!(credential.is_valid(stated, &secret));
            prop_assert_eq!(credential.is_valid(Signed { path: &other_path, ..stated }, &secret), other_path == path);
            prop_assert_eq!(credential.is_valid(Signed { length: other_length, ..stated }, &secret), other_length == length);
            let other = Signed { media_type: Some(other_media.as_bytes()), ..stated };
            prop_assert_eq!(credential.is_valid(other, &secret), scheme == Scheme::V || other_media == media);
        }
    }

    #[test]
    fn any_query_is_survived(query in ".{0,300}") {
        let _answer = Credential::find(Some(&query), &Scheme::ALL).is_ok();
    }

    #[test]
    fn hex_is_read_as_it_is_written(bytes in any::<[u8; 32]>()) {
        let tag = Tag(bytes);
        prop_assert!(Tag::from_hex(&tag.to_hex()).is_some_and(|read| read.agrees(&tag)));
    }
}
