use std::{fs, io::Write, time::Duration};

use crate::world::{World, eventually, now, pause, signed, signed_with};

#[test]
fn nothing_outside_the_store_is_read_or_written() {
    let world = World::new("base_path = \"/up\"", "");
    let _server = world.start();
    fs::write(world.folder.path().join("outside"), "precious").unwrap();
    fs::create_dir_all(world.store().join("real")).unwrap();
    std::os::unix::fs::symlink(world.folder.path(), world.store().join("link")).unwrap();
    std::os::unix::fs::symlink(world.folder.path().join("outside"), world.store().join("real/link")).unwrap();
    let targets = [
        "/up/../outside",
        "/up/real/../../outside",
        "/up/%2e%2e/outside",
        "/up/real/%2e%2e/%2e%2e/outside",
        "/up/..%2foutside",
        "/up/real/..%2f..%2foutside",
        "/up/real%2f..%2f..%2foutside",
        "/up/..%5coutside",
        "/up/%252e%252e/outside",
        "/up/....//outside",
        "/up//outside",
        "/up//etc/passwd",
        "/up/.hfs/parts/x",
        "/up/%2ehfs/parts/x",
        "/up/link/outside",
        "/up/real/link",
        "/up/real",
        "/up/real/",
        "/up/",
        "/up",
        "/up/real/x%00.jpg",
        "/up/real/x%0d%0aset-cookie:%20a=b",
        "/up/%c0%ae%c0%ae/outside",
        "/../../../../etc/passwd",
        "http://other/up/../outside",
        "*",
    ];
    for target in targets {
        let got = world.connect().get(target);
        assert!(matches!(got.status, 400 | 404), "GET {target}: {got:?}");
        assert!(!String::from_utf8_lossy(&got.body).contains("precious"), "GET {target}");
    }
    // With a right signature, too: the XMPP server signs whatever its user calls the file.
    for path in
        ["../outside", "real/../../outside", "link/outside2", "link/sub/file", "real/link", "real", ".hfs/parts/x"]
    {
        let tag = {
            use roundsman::fileserver::{
                secret::Secret,
                token::{Scheme, Signed, sign},
            };
            let signed = Signed { path, length: 1, media_type: None };
            sign(Scheme::V, signed, &Secret::new(b"mysecret").unwrap()).to_hex()
        };
        let answer = world.connect().put(&format!("/up/{path}?v={tag}"), "", b"x");
        assert!(matches!(answer.status, 400 | 409), "PUT {path}: {answer:?}");
    }
    assert_eq!(fs::read(world.folder.path().join("outside")).unwrap(), b"precious");
    assert!(!world.folder.path().join("outside2").exists());
    assert_eq!(world.files(), ["link", "real/link"], "something was stored");
}

#[test]
fn the_stranger_gets_the_statuses_of_the_table() {
    let world = World::new("", "max_upload_size = 1000");
    let _server = world.start();
    let ask = |method: &str, target: &str, fields: &str| world.connect().request(method, target, fields).status;
    let good = signed("s/f", 5);
    assert_eq!(ask("PUT", "/s/f", "content-length: 5\r\n"), 403, "no credential");
    assert_eq!(ask("PUT", &format!("/s/f?v={}", "0".repeat(64)), "content-length: 5\r\n"), 403, "wrong tag");
    assert_eq!(ask("PUT", "/s/f?v2=zz", "content-length: 5\r\n"), 403, "malformed tag");
    assert_eq!(ask("PUT", &good, "content-length: 6\r\n"), 403, "another length");
    assert_eq!(ask("PUT", &good.replace("/s/f", "/s/g"), "content-length: 5\r\n"), 403, "another path");
    let typed = signed_with(b"mysecret", "s/f", 5, Some("image/png"));
    assert_eq!(ask("PUT", &typed, "content-length: 5\r\ncontent-type: text/html\r\n"), 403, "another type");
    assert_eq!(ask("PUT", &signed_with(b"other", "s/f", 5, None), "content-length: 5\r\n"), 403, "another secret");
    assert_eq!(ask("PUT", &good, "transfer-encoding: chunked\r\n"), 411, "chunked");
    assert_eq!(ask("PUT", &good, ""), 411, "no length");
    assert_eq!(ask("PUT", &signed("s/f", 1001), "content-length: 1001\r\n"), 413, "too large");
    assert_eq!(ask("GET", "/upload", ""), 405);
    assert_eq!(ask("POST", "/upload", "content-length: 0\r\n"), 401);
    assert_eq!(ask("DELETE", "/s/f", ""), 405);
    assert_eq!(ask("GET", "/s/f", ""), 404);
    assert_eq!(world.connect().get("/healthz").status, 200);
    assert_eq!(world.files(), Vec::<String>::new());
}

#[test]
fn a_full_disk_is_told_before_the_body_is_asked_for() {
    let world = World::new("", "min_free_bytes = \"1000000T\"");
    let _server = world.start();
    let mut client = world.connect();
    client.begin_put(&signed("s/f", 5), "expect: 100-continue\r\n", 5);
    assert_eq!(client.answer().status, 507);
    assert_eq!(world.parts(), 0);
}

#[test]
fn a_body_is_asked_for_only_when_it_can_be_stored() {
    let world = World::new("", "");
    let _server = world.start();
    let expect = "expect: 100-continue\r\n";
    let mut client = world.connect();
    client.begin_put("/s/f?v=00", expect, 5);
    assert_eq!(client.answer().status, 403);
    let mut client = world.connect();
    client.begin_put(&signed("s/f", 5), expect, 5);
    assert_eq!(client.answer().status, 100);
    client.send("hello");
    assert_eq!(client.answer().status, 201);
    let mut client = world.connect();
    client.begin_put(&signed("s/f", 5), expect, 5);
    assert_eq!(client.answer().status, 409);
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let world = World::new("", "");
    let _server = world.start();
    for _ in 0..5 {
        let mut client = world.connect();
        client.begin_put("/s/f?v=00", "", 20 << 20);
        // A server that closed now would reset the connection, and the answer could be lost with it.
        client.stream.write_all(&vec![1; 20 << 20]).unwrap();
        assert_eq!(client.answer().status, 403);
        assert!(client.is_closed_within(Duration::from_secs(5)));
    }
}

#[test]
fn a_body_is_exactly_as_long_as_it_said() {
    let world = World::new("", "");
    let _server = world.start();
    let mut client = world.connect();
    client.begin_put(&signed("s/long", 5), "", 5);
    client.send("helloGARBAGE THAT IS NO REQUEST\r\n\r\n");
    assert_eq!(client.answer().status, 201);
    assert!(client.read(true).is_none_or(|answer| answer.status == 400));
    assert_eq!(fs::read(world.store().join("s/long")).unwrap(), b"hello");
    // Half-closed before the end: the server knows that no more will come, and says so.
    let mut client = world.connect();
    client.begin_put(&signed("s/short", 500), "", 500);
    client.send("only this");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.read(true).is_none_or(|answer| answer.status == 400));
    eventually("the part is gone", || world.parts() == 0);
    assert_eq!(world.files(), ["s/long"]);
}

#[test]
fn two_lengths_are_no_upload() {
    let world = World::new("", "");
    let _server = world.start();
    for fields in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 6\r\n",
        "content-length: +5\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "transfer-encoding: gzip\r\ncontent-length: 5\r\n",
    ] {
        let mut client = world.connect();
        client.send(&format!("PUT {} HTTP/1.1\r\nhost: test\r\n{fields}\r\nhello", signed("s/f", 5)));
        let answer = client.answer();
        assert!(matches!(answer.status, 400 | 411), "{fields}: {answer:?}");
        assert_eq!(world.files(), Vec::<String>::new(), "{fields}");
    }
}

#[test]
fn a_cut_upload_is_invisible_and_its_slot_stays_usable() {
    let world = World::new("", "");
    let _server = world.start();
    let target = signed("s/f", 1_000_000);
    let mut client = world.connect();
    client.begin_put(&target, "", 1_000_000);
    client.stream.write_all(&[1; 600_000]).unwrap();
    eventually("the part is begun", || world.parts() == 1);
    assert_eq!(world.metric("upload_sessions_active"), Some(1.0));
    assert_eq!(world.connect().get("/s/f").status, 404);
    drop(client);
    eventually("the part is gone", || world.parts() == 0);
    eventually("the failure is counted", || world.metric("upload_failure_total{reason=\"short_body\"}") == Some(1.0));
    assert_eq!(world.metric("upload_sessions_active"), Some(0.0));
    assert_eq!(world.connect().get("/s/f").status, 404);
    assert_eq!(world.connect().put(&target, "", &[2; 1_000_000]).status, 201);
    assert_eq!(fs::read(world.store().join("s/f")).unwrap(), [2; 1_000_000]);
}

#[test]
fn slow_clients_are_closed() {
    let world = World::new("header_timeout = 1\nclient_timeout = 1", "");
    let _server = world.start();
    let (mut silent, mut dripping) = (world.connect(), world.connect());
    let begun = now();
    for byte in "GET / HTTP/1.1\r\nx: aaaaaaaaaaaaaaaaaaaaaaa".chars() {
        dripping.send(&byte.to_string());
        pause(Duration::from_millis(50));
    }
    assert!(silent.is_closed_within(Duration::from_secs(5)), "a silent client stays");
    assert!(dripping.is_closed_within(Duration::from_secs(5)), "a dripping client stays");
    assert!(begun.elapsed() < Duration::from_secs(8));

    let mut stuck = world.connect();
    stuck.begin_put(&signed("s/f", 100), "", 100);
    stuck.send("some");
    assert_eq!(stuck.answer().status, 408);
    assert!(stuck.is_closed_within(Duration::from_secs(5)));

    // Never silent for long, and yet it would take a minute for a hundred bytes.
    let mut trickling = world.connect();
    trickling.begin_put(&signed("s/f", 100), "", 100);
    let begun = now();
    while begun.elapsed() < Duration::from_secs(2) {
        trickling.send("x");
        pause(Duration::from_millis(100));
    }
    assert_eq!(trickling.answer().status, 408);
    eventually("the parts are gone", || world.parts() == 0);
    assert_eq!(world.connect().put(&signed("s/f", 100), "", &[1; 100]).status, 201);
}
