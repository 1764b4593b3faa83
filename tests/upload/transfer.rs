use std::{fs, io::Write, thread};

use crate::world::{World, eventually, signed, signed_with};

/// Bytes without a pattern that a mistake could hide in.
fn noise(length: usize) -> Vec<u8> {
    let mut rng = roundsman::base::Rng::new(length as u64);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn a_hundred_megabytes_come_back_bit_for_bit() {
    let world = World::new("", "");
    let _server = world.start();
    let content = noise(100_000_000);
    let target = signed_with(b"mysecret", "slot/big.mp4", content.len(), Some("video/mp4"));
    let mut client = world.connect();
    let stored = client.put(&target, "content-type: video/mp4\r\n", &content);
    assert_eq!(stored.status, 201, "{stored:?}");
    assert_eq!(stored.field("location"), Some("/slot/big.mp4"));
    let got = client.get("/slot/big.mp4");
    assert_eq!((got.status, got.field("content-type")), (200, Some("video/mp4")));
    assert_eq!(got.field("etag"), stored.field("etag"));
    assert!(got.body == content, "the content differs");
    assert!(fs::read(world.store().join("slot/big.mp4")).unwrap() == content, "the file differs");
    assert_eq!(world.parts(), 0);
}

#[test]
fn an_empty_file_is_a_file() {
    let world = World::new("", "sync = \"none\"");
    let _server = world.start();
    let mut client = world.connect();
    assert_eq!(client.put(&signed("slot/empty", 0), "", b"").status, 201);
    let got = client.get("/slot/empty");
    assert_eq!((got.status, got.field("content-length"), got.body.len()), (200, Some("0"), 0));
    assert_eq!(client.request("GET", "/slot/empty", "range: bytes=0-\r\n").status, 416);
}

#[test]
fn a_slot_of_prosody_is_taken_in_every_encoding() {
    // The tag is one that Prosody 0.12.3 gave out for this very path and length.
    let tag = "761b486d024ee8016b658fe548786984ad0f5feba12581b22e0079433ba2fec9";
    let slot = "d8293730-8f0c-4bf9-934f-f0d2b988f4e8";
    for name in
        ["tr%c3%a8s%20cool%20%281%29%2b%26%25.txt", "tr%C3%A8s%20cool%20(1)+&%25.txt", "très%20cool%20(1)+&%25.txt"]
    {
        let world = World::new("base_path = \"/upload\"", "");
        let _server = world.start();
        let mut client = world.connect();
        let stored = client.put(&format!("/upload/{slot}/{name}?v={tag}"), "", b"twenty-three bytes, yes");
        assert_eq!(stored.status, 201, "{name}: {stored:?}");
        assert_eq!(world.files(), [format!("{slot}/très cool (1)+&%.txt")]);
        assert_eq!(client.get(stored.field("location").unwrap()).body, b"twenty-three bytes, yes");
    }
}

#[test]
fn of_many_uploads_of_one_name_one_is_stored_whole() {
    const UPLOADS: u8 = 64;
    const LENGTH: usize = 300_000;
    let world = World::new("", "");
    let _server = world.start();
    let target = signed("slot/name", LENGTH);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let uploads: Vec<_> = (0..UPLOADS)
            .map(|number| {
                let (world, target) = (&world, &target);
                scope.spawn(move || {
                    let mut client = world.connect();
                    client.begin_put(target, "", LENGTH);
                    let _closed = client.stream.write_all(&vec![number; LENGTH]);
                    client.answer().status
                })
            })
            .collect();
        uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
    });
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    assert_eq!((count(201), count(409)), (1, usize::from(UPLOADS) - 1), "{statuses:?}");
    let content = fs::read(world.store().join("slot/name")).unwrap();
    assert_eq!(content.len(), LENGTH);
    assert!(content.iter().all(|byte| *byte == content[0]), "two uploads were mixed");
    assert_eq!(statuses[usize::from(content[0])], 201, "the stored one is not the one that was told so");
    assert_eq!(world.parts(), 0);
}

#[test]
fn parts_of_a_file_are_sent_as_asked() {
    let world = World::new("", "");
    let _server = world.start();
    let content = noise(1_000_000);
    let mut client = world.connect();
    let etag = client.put(&signed("s/f.png", content.len()), "", &content).field("etag").unwrap().to_owned();
    let mut get = |fields: &str| client.request("GET", "/s/f.png", fields);

    let part = get("range: bytes=500000-900000\r\n");
    assert_eq!((part.status, part.field("content-range")), (206, Some("bytes 500000-900000/1000000")));
    assert!(part.body == content[500_000..=900_000]);
    assert_eq!(get(&format!("range: bytes=-5\r\nif-range: {etag}\r\n")).body, content[999_995..]);
    assert_eq!(get("range: bytes=0-0\r\nif-range: \"other\"\r\n").status, 200);
    assert_eq!(get("range: bytes=1000000-\r\n").field("content-range"), Some("bytes */1000000"));

    let several = get("range: bytes=0-1,999998-\r\n");
    assert_eq!(several.status, 206);
    let boundary = several.field("content-type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
    let head =
        |range| format!("\r\n--{boundary}\r\nContent-Type: image/png\r\nContent-Range: bytes {range}/1000000\r\n\r\n");
    let end = format!("\r\n--{boundary}--\r\n");
    let (first, last) = (head("0-1"), head("999998-999999"));
    let expected = [first.as_bytes(), &content[..2], last.as_bytes(), &content[999_998..], end.as_bytes()].concat();
    assert_eq!(several.body, expected);

    let cached = get(&format!("if-none-match: {etag}\r\n"));
    assert_eq!((cached.status, cached.field("etag")), (304, Some(etag.as_str())));
    // RFC 9110, 8.6: a length here would be that of the file.
    assert_eq!(cached.field("content-length"), None);
    let date = get("").field("last-modified").unwrap().to_owned();
    assert_eq!(get(&format!("if-modified-since: {date}\r\n")).status, 304);
    assert_eq!(get("if-match: \"other\"\r\n").status, 412);
    let head = client.request("HEAD", "/s/f.png", "");
    assert_eq!((head.status, head.field("content-length")), (200, Some("1000000")));
    assert_eq!(client.get("/s/f.png").status, 200, "the connection is still in step");
}

#[test]
fn a_browser_of_another_origin_is_let_in() {
    let world = World::new("", "");
    let _server = world.start();
    let mut client = world.connect();
    let fields = "origin: https://chat.example\r\naccess-control-request-method: PUT\r\n";
    let preflight = client.request("OPTIONS", "/slot/file", fields);
    assert_eq!((preflight.status, preflight.field("content-length")), (204, None));
    assert_eq!(preflight.field("access-control-allow-origin"), Some("https://chat.example"));
    assert!(preflight.field("access-control-allow-methods").is_some_and(|methods| methods.contains("PUT")));
    let refused = client.request("GET", "/slot/none", "origin: https://chat.example\r\n");
    assert_eq!((refused.status, refused.field("access-control-allow-origin")), (404, Some("https://chat.example")));
}

#[test]
fn what_could_hold_script_is_never_shown_in_place() {
    let world = World::new("", "");
    let _server = world.start();
    let mut client = world.connect();
    for (name, media_type) in [("a.html", "text/html"), ("a.svg", "image/svg+xml"), ("a.png", "image/svg+xml")] {
        let path = format!("slot-{name}/{name}");
        let target = signed_with(b"mysecret", &path, 5, Some(media_type));
        // One name is used twice with different types; the second finds it taken.
        client.put(&target, &format!("content-type: {media_type}\r\n"), b"<svg>");
        let got = client.get(&format!("/{path}"));
        assert!(got.field("content-disposition").unwrap().starts_with("attachment"), "{name} {media_type}: {got:?}");
        assert_eq!(got.field("x-content-type-options"), Some("nosniff"));
        assert!(got.field("content-security-policy").unwrap().contains("sandbox"));
    }
}

#[test]
fn the_metrics_move() {
    let world = World::new("", "");
    let _server = world.start();
    assert_eq!(world.metric("upload_success_total"), Some(0.0));
    let mut client = world.connect();
    assert_eq!(client.put(&signed("s/f", 1000), "", &[7; 1000]).status, 201);
    // The body of a refused upload is not read, so its connection ends.
    let refused = world.connect().put(&signed("s/f", 1000), "", &[7; 1000]);
    assert_eq!((refused.status, refused.field("connection")), (409, Some("close")));
    assert_eq!(client.get("/s/f").status, 200);
    eventually("one connection is left", || world.metric("connections_active") == Some(1.0));
    for (series, value) in [
        ("upload_success_total", 1.0),
        ("upload_bytes_total", 1000.0),
        ("upload_failure_total{reason=\"exists\"}", 1.0),
        ("upload_sessions_active", 0.0),
        ("bytes_sent_total", 1000.0),
        ("request_duration_seconds_count{method=\"PUT\"}", 2.0),
        ("requests_total{method=\"PUT\",status=\"201\"}", 1.0),
    ] {
        assert_eq!(world.metric(series), Some(value), "{series}");
    }
    assert!(world.metric("storage_free_bytes").unwrap() > 0.0);
    let mut admin = world.connect_metrics();
    assert_eq!(admin.get("/health").body, br#"{"status":"healthy","ready":true}"#);
    assert_eq!(client.get("/metrics").status, 404, "metrics are not for the public");
}
