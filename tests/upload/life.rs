use std::{fs, io::Write, time::Duration};

use nix::sys::signal::Signal;

use crate::world::{Client, World, eventually, now, pause, signed, signed_with};

#[test]
fn a_killed_server_leaves_nothing_visible_and_the_slot_usable() {
    let world = World::new("", "");
    let mut server = world.start();
    let target = signed("s/f", 1_000_000);
    let mut client = world.connect();
    client.begin_put(&target, "", 1_000_000);
    client.stream.write_all(&[1; 900_000]).unwrap();
    eventually("the part is begun", || world.metric("bytes_received_total").is_some_and(|bytes| bytes > 0.0));
    server.signal(Signal::SIGKILL);
    server.wait();
    assert_eq!(world.parts(), 1, "the part of the dead upload");
    let _next = world.start();
    assert_eq!((world.parts(), world.metric("parts_swept_total")), (0, Some(1.0)));
    assert_eq!(world.connect().get("/s/f").status, 404);
    assert_eq!(world.connect().put(&target, "", &[2; 1_000_000]).status, 201);
}

#[test]
fn a_drain_lets_uploads_finish_and_refuses_nobody() {
    let world = World::new("", "");
    let mut server = world.start();
    let (mut busy, mut idle) = (world.connect(), world.connect());
    assert_eq!(idle.get("/healthz").status, 200);
    busy.begin_put(&signed("s/busy", 1000), "", 1000);
    busy.stream.write_all(&[1; 500]).unwrap();
    eventually("the upload is begun", || world.metric("upload_sessions_active") == Some(1.0));

    server.signal(Signal::SIGTERM);
    world.await_notice("STOPPING=1");
    eventually("readiness says no", || world.connect_metrics().get("/readyz").status == 503);
    let health = world.connect_metrics().get("/health");
    assert_eq!((health.status, health.body.as_slice()), (503, &br#"{"status":"draining","ready":false}"#[..]));
    assert_eq!(world.connect_metrics().get("/healthz").status, 200, "alive until the end");
    // Requests on a kept connection are still answered, and from the moment when no new one is taken each is told to be the last.
    eventually("it is told to be the last", || {
        let last = idle.get("/health");
        assert_eq!(last.status, 503);
        last.field("connection") == Some("close")
    });
    // One who comes now waits in the queue of the socket that outlives the server.
    let mut early = world.connect();
    early.send("GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n");
    assert!(idle.is_closed_within(Duration::from_secs(3)));
    pause(Duration::from_millis(300));
    assert!(server.is_running(), "the upload in flight is waited for");
    busy.stream.write_all(&[1; 500]).unwrap();
    let stored = busy.answer();
    assert_eq!((stored.status, stored.field("connection")), (201, Some("close")));
    assert!(server.wait().success());
    assert_eq!(fs::read(world.store().join("s/busy")).unwrap(), [1; 1000]);

    let _next = world.start();
    assert_eq!(early.answer().status, 200, "the next server answers who waited");
}

#[test]
fn the_service_manager_is_told_how_many_uploads_are_in_flight() {
    let world = World::new("", "");
    let server = world.start();
    let mut busy = world.connect();
    busy.begin_put(&signed("s/busy", 1000), "", 1000);
    busy.stream.write_all(&[1; 500]).unwrap();
    world.await_notice("; 1 upload in flight");
    busy.stream.write_all(&[1; 500]).unwrap();
    assert_eq!(busy.answer().status, 201);
    world.await_notice("; 0 uploads in flight");
    let mut late = world.connect();
    late.begin_put(&signed("s/late", 1000), "", 1000);
    eventually("the upload is begun", || world.metric("upload_sessions_active") == Some(1.0));
    server.signal(Signal::SIGTERM);
    world.await_notice("STATUS=draining: requests in flight finish, new ones go elsewhere; 1 upload in flight");
}

#[test]
fn a_new_server_does_not_touch_the_uploads_of_the_old() {
    let world = World::new("", "");
    let old = world.start();
    let mut busy = world.connect();
    busy.begin_put(&signed("s/busy", 1000), "", 1000);
    busy.stream.write_all(&[1; 500]).unwrap();
    eventually("the part is begun", || world.parts() == 1);
    old.signal(Signal::SIGTERM);
    let _new = world.start();
    assert_eq!(world.connect().put(&signed("s/new", 1), "", b"n").status, 201);
    busy.stream.write_all(&[1; 500]).unwrap();
    assert_eq!(busy.answer().status, 201);
}

#[test]
fn idle_connections_are_closed_late_in_a_drain() {
    let world = World::new("", "");
    let mut server = world.start();
    let mut idle = world.connect();
    assert_eq!(idle.get("/healthz").status, 200);
    let begun = now();
    server.signal(Signal::SIGTERM);
    assert!(idle.is_closed_within(Duration::from_secs(15)));
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(3), "closed at once, which races with a request on the wire: {took:?}");
    assert!(server.wait().success());
}

#[test]
fn what_does_not_finish_in_time_is_cut() {
    for limit in ["connection_drain_timeout = 1", "graceful_shutdown_timeout = 1"] {
        let world = World::new(limit, "");
        let mut server = world.start();
        let mut stuck = world.connect();
        stuck.begin_put(&signed("s/f", 1000), "", 1000);
        stuck.send("some");
        eventually("the part is begun", || world.parts() == 1);
        let begun = now();
        server.signal(Signal::SIGTERM);
        assert!(server.wait().success());
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(900) && took < Duration::from_secs(4), "{limit}: {took:?}");
        assert_eq!((world.parts(), world.files()), (0, Vec::new()));
    }
}

#[test]
fn a_reload_takes_new_secrets_and_a_bad_one_changes_nothing() {
    let world = World::new("", "");
    let server = world.start();
    let put = |secret: &[u8], path: &str| world.connect().put(&signed_with(secret, path, 1, None), "", b"x").status;
    assert_eq!((put(b"mysecret", "a/1"), put(b"fresh", "a/2")), (201, 403));

    world.write_secret("fresh", b"fresh\n");
    world.write_settings("", "max_upload_size = 10", &["fresh", "secret"]);
    server.signal(Signal::SIGHUP);
    assert!(world.await_notice("RELOADING=1").contains("MONOTONIC_USEC="));
    world.await_notice("READY=1");
    assert_eq!((put(b"mysecret", "b/1"), put(b"fresh", "b/2")), (201, 201), "both count during a rotation");
    assert_eq!(world.connect().put(&signed("b/3", 11), "", &[0; 11]).status, 413);

    for (server_lines, secrets) in [("lisen = 1", &["secret"][..]), ("", &["missing"]), ("", &[])] {
        world.write_settings(server_lines, "", secrets);
        server.signal(Signal::SIGHUP);
        assert!(world.await_notice("READY=1").contains("the last reload failed"));
        assert_eq!(world.connect().put(&signed("b/3", 11), "", &[0; 11]).status, 413);
    }
    assert_eq!((put(b"mysecret", "c/1"), put(b"fresh", "c/2")), (201, 201));
    assert_eq!(world.metric("config_reloads_total{result=\"success\"}"), Some(1.0));
    assert_eq!(world.metric("config_reloads_total{result=\"failure\"}"), Some(3.0));

    world.write_settings("", "", &["fresh"]);
    server.signal(Signal::SIGHUP);
    world.await_notice("READY=1");
    assert_eq!((put(b"mysecret", "d/1"), put(b"fresh", "d/2")), (403, 201), "the old one is out");
}

#[test]
fn without_a_service_manager_it_binds_its_sockets_itself() {
    let world = World::new("", "");
    let (mut server, address) = world.start_alone();
    assert_eq!(Client::connect(address).put(&signed("s/f", 1), "", b"x").status, 201);
    server.signal(Signal::SIGINT);
    assert!(server.wait().success());
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn the_watchdog_is_fed() {
    let world = World::new("", "");
    let _server = world.spawn(&[("WATCHDOG_USEC", "200000")]);
    for _ in 0..3 {
        world.await_notice("WATCHDOG=1");
    }
}

#[test]
fn a_server_outlives_its_manager_and_the_reader_of_its_log() {
    let mut world = World::new("", "");
    let (reader, writer) = std::io::pipe().unwrap();
    let mut server = world.spawn_with(&[("WATCHDOG_USEC", "200000")], writer.into());
    world.await_notice("WATCHDOG=1");
    drop(reader);
    // What it cannot tell the manager it says in the log, which nobody reads.
    world.replace_manager(Duration::from_millis(500));
    world.await_notice("WATCHDOG=1");
    assert!(server.is_running());
    assert_eq!(world.connect().get("/health").status, 200);
}

#[test]
fn an_idle_server_is_small() {
    /// What an idle server may have resident, KiB; a release build has less.
    const RESIDENT_MAX: u64 = 15 * 1024;
    let world = World::new("", "");
    let server = world.start();
    assert_eq!(world.connect().get("/health").status, 200);
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < RESIDENT_MAX, "{resident} KiB");
}
