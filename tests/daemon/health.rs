//! Services that live and are not well.
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use crate::{
    actor,
    support::{
        process::{PATIENCE, Signal, kill, pause, until},
        world::{World, free_port},
    },
};

const QUICK: &str = "interval = \"100ms\"\ntimeout = \"90ms\"\nunhealthy_after = 2\n";

/// A server, its held socket, and these probes.
fn server(port: u16, probes: &str) -> String {
    let policy = "restart = \"always\"\nrestart_sec = \"20ms\"\n[unit]\nstart_limit_burst = 0";
    format!("{}[socket]\nlisten_stream = \"127.0.0.1:{port}\"\n{probes}", actor::unit("serve @/mood", policy))
}

fn http(port: u16, action: &str, more: &str) -> String {
    format!(
        "[[health]]\nname = \"live\"\nhttp = {{ url = \"http://127.0.0.1:{port}/\", expect_status = [200] }}\n\
         on_unhealthy = \"{action}\"\n{more}"
    )
}

fn second_run(world: &World) -> serde_json::Value {
    until("the second run is on disk", || world.history("web", 1).into_iter().find(|run| run["generation"] == 2))
}

pub(crate) fn a_service_that_answers_badly_is_restarted_by_its_http_probe() {
    let port = free_port();
    let quick = "interval = \"200ms\"\ntimeout = \"150ms\"\nunhealthy_after = 2\n";
    let world = World::with(&[("web", &server(port, &http(port, "restart", quick)))]);
    let first = world.until_status("web", "healthy", |status| status["health"] == "healthy");
    fs::write(world.path("mood"), "bad").unwrap();
    world.until_status("web", "the next run", |status| status["generation"].as_u64() > Some(1));
    fs::remove_file(world.path("mood")).unwrap();
    let status = world.until_status("web", "healthy again", |status| status["health"] == "healthy");
    assert_ne!(status["pid"], first["pid"]);
    let second = second_run(&world);
    assert_eq!((&second["cause"], &second["cause_detail"]), (&"unhealthy".into(), &"live".into()), "{second:#}");
    assert!(world.until_notices("unhealthy", 1)[0]["message"].as_str().unwrap().contains("500"));
}

pub(crate) fn exec_and_tcp_probes_see_what_is_wrong() {
    let port = free_port();
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let probes = format!(
        "[[health]]\nname = \"file\"\nexec = \"/bin/sh -c 'test ! -e @/sick'\"\non_unhealthy = \"restart\"\n\
         interval = \"150ms\"\ntimeout = \"1400ms\"\nunhealthy_after = 2\n\
         [[health]]\nname = \"port\"\ntcp = \"127.0.0.1:{port}\"\non_unhealthy = \"alert\"\n{QUICK}"
    )
    .replace("timeout = \"1400ms\"", "timeout = \"140ms\"");
    let text =
        format!("[service]\nexec_start = \"sleep 1000\"\nrestart = \"always\"\nrestart_sec = \"20ms\"\n{probes}");
    let world = World::with(&[("web", &text)]);
    world.until_status("web", "healthy", |status| status["health"] == "healthy");
    drop(listener);
    let status = world.until_status("web", "the port is missed", |status| {
        status["probes"].as_array().unwrap().iter().any(|p| p["name"] == "port" && p["verdict"] == "unhealthy")
    });
    assert_eq!(status["generation"], 1, "an alert restarts nothing");
    fs::write(world.path("sick"), "").unwrap();
    world.until_status("web", "restarted by the exec probe", |status| status["generation"].as_u64() > Some(1));
    assert_eq!(second_run(&world)["cause_detail"], "file");
}

pub(crate) fn check_speaks_in_the_exit_codes_of_monitoring() {
    let port = free_port();
    // So seldom that only `check` asks.
    let seldom = |severity: &str| format!("interval = \"1h\"\ntimeout = \"2s\"\nseverity = \"{severity}\"\n");
    let world = World::with(&[
        ("grave", &server(port, &http(port, "none", &seldom("critical")))),
        ("slight", &format!("[service]\nexec_start = \"sleep 1000\"\n{}", http(port, "none", &seldom("warning")))),
        ("plain", "[service]\nexec_start = \"sleep 1000\"\n"),
    ]);
    let pid = world.pid("grave");
    world.until_active("slight", "active");
    let said = world.ctl(&["check"]);
    assert_eq!(said.code, 0, "{said:?}");
    fs::write(world.path("mood"), "bad").unwrap();
    assert_eq!(world.ctl(&["check", "plain"]).code, 0);
    assert_eq!(world.ctl(&["check", "slight"]).code, 1);
    let said = world.ctl(&["check", "--no-restart"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.out.lines().next().unwrap().contains("CRITICAL") && said.out.contains("500"),
        "the worst first: {said:?}"
    );
    assert_eq!(world.pid("grave"), pid, "it only looked");
    let said = world.ctl(&["check", "grave"]);
    assert_eq!(said.code, 2, "{said:?}");
    world.until_active("grave", "active");
    assert_ne!(world.pid("grave"), pid, "and now it acted: {said:?}");
    fs::remove_file(world.path("mood")).unwrap();
    assert_eq!(world.ctl(&["check"]).code, 0);
    assert_eq!(world.ctl(&["check", "nobody"]).code, 3);
}

pub(crate) fn check_leaves_alone_what_is_still_starting() {
    let port = free_port();
    let grace = |span: &str| format!("interval = \"1h\"\ntimeout = \"2s\"\nstartup_grace = \"{span}\"\n");
    let mut world = World::new();
    fs::write(world.path("mood"), "bad").unwrap();
    world.unit("web", &server(port, &http(port, "restart", &grace("1h"))));
    world.start();
    let pid = world.pid("web");
    let said = world.ctl(&["check"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.starts_with("WARNING - web: live: still starting (") && said.out.contains("500"), "{said:?}");
    assert_eq!(world.pid("web"), pid);
    // It was there, and is not any more.
    fs::remove_file(world.path("mood")).unwrap();
    assert_eq!(world.ctl(&["check"]).code, 0);
    fs::write(world.path("mood"), "bad").unwrap();
    let said = world.ctl(&["check"]);
    assert!(said.code == 2 && said.out.contains("; restarted"), "{said:?}");
    assert_ne!(world.pid("web"), pid);
}

pub(crate) fn a_probe_that_hangs_delays_nothing() {
    let port = free_port();
    let slow = "interval = \"5s\"\ntimeout = \"4s\"\n";
    let hanging = "[[health]]\nname = \"stuck\"\nexec = \"sleep 1000\"\non_unhealthy = \"none\"\ninterval = \"5s\"\ntimeout = \"4s\"\n";
    let world = World::new();
    fs::write(world.path("mood"), "hang").unwrap();
    let mut world = world;
    world.unit("web", &server(port, &http(port, "alert", slow)));
    world.unit("stuck", &format!("[service]\nexec_start = \"sleep 1000\"\n{hanging}"));
    world.unit("other", "[service]\nexec_start = \"sleep 1000\"\nrestart = \"always\"\nrestart_sec = 0\n[unit]\nstart_limit_burst = 0\n");
    world.start();
    world.pid("web");
    pause(300);
    for _ in 0..5 {
        let before = world.until_active("other", "active");
        let began = Instant::now();
        kill(i32::try_from(before["pid"].as_i64().unwrap()).unwrap(), Signal::SIGKILL);
        world.until_status("other", "restarted", |now| {
            now["generation"] != before["generation"] && now["active"] == "active"
        });
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    let began = Instant::now();
    world.ok(&["stop", "web", "stuck"]);
    assert!(began.elapsed() < Duration::from_secs(2), "a stop does not wait for probes: {:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE);
}

/// A unit that asks so often that its verdicts come at once.
fn asking(start: &str, probe: &str, more: &str) -> String {
    format!(
        "[service]\nexec_start = \"{start}\"\n[[health]]\nname = \"live\"\n{probe}\non_unhealthy = \"alert\"\n\
         interval = \"200ms\"\ntimeout = \"190ms\"\nunhealthy_after = 2\n{more}"
    )
}

fn reason(status: &serde_json::Value) -> &str {
    status["probes"][0]["failure"].as_str().unwrap_or_default()
}

pub(crate) fn a_monitoring_plugin_speaks_by_its_exit_code() {
    let probe = "plugin = \"/bin/sh -c 'exit $$(cat @/code)'\"";
    let mut world = World::new();
    fs::write(world.path("code"), "0").unwrap();
    world.unit("web", &asking("sleep 1000", probe, "severity = \"critical\"\n"));
    world.start();
    world.until_status("web", "healthy", |status| status["health"] == "healthy");
    fs::write(world.path("code"), "1").unwrap();
    let status = world.until_status("web", "degraded", |status| status["health"] == "degraded");
    assert_eq!(reason(&status), "exit code 1");
    assert_eq!(world.ctl(&["check", "web"]).code, 1);
    fs::write(world.path("code"), "2").unwrap();
    world.until_status("web", "unhealthy", |status| status["health"] == "unhealthy");
    assert_eq!(world.ctl(&["check", "--no-restart", "web"]).code, 2);
    fs::write(world.path("code"), "3").unwrap();
    assert_eq!(world.ctl(&["check", "--no-restart", "web"]).code, 3);
    fs::write(world.path("code"), "0").unwrap();
    let status = world.until_status("web", "healthy", |status| status["health"] == "healthy");
    assert_eq!(status["generation"], 1, "nothing was restarted");
    assert!(!world.until_notices("degraded", 1).is_empty());
}

pub(crate) fn a_redis_server_is_asked_what_it_is() {
    let (one, other) = (free_port(), free_port());
    let server = |port: u16, more: &str| {
        format!(
            "redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no --requirepass pw --masterauth pw --dir @ {more}"
        )
    };
    let probe = |port: u16, role: &str| {
        format!("redis = {{ url = \"redis://127.0.0.1:{port}\", password_file = \"@/pw\", role = \"{role}\" }}")
    };
    let mut world = World::new();
    fs::write(world.path("pw"), "pw\n").unwrap();
    fs::set_permissions(world.path("pw"), fs::Permissions::from_mode(0o600)).unwrap();
    world.unit("primary", &asking(&server(one, ""), &probe(one, "primary"), ""));
    let follows = server(other, &format!("--replicaof 127.0.0.1 {one}"));
    world.unit("replica", &asking(&follows, &probe(other, "replica"), ""));
    world.unit("wrong", &asking("sleep 1000", &probe(one, "replica"), ""));
    world.start();
    world.until_status("primary", "healthy", |status| status["health"] == "healthy");
    world.until_status("replica", "healthy", |status| status["health"] == "healthy");
    let status = world.until_status("wrong", "unhealthy", |status| status["health"] == "unhealthy");
    assert_eq!(reason(&status), "it is a primary, expected a replica");
    world.ok(&["stop", "primary"]);
    let status = world.until_status("replica", "unhealthy", |status| status["health"] == "unhealthy");
    assert!(
        reason(&status).starts_with(&format!("its link to the primary 127.0.0.1:{one} has been down")),
        "{status:#}"
    );
    fs::write(world.path("pw"), "guess").unwrap();
    let refused = |status: &serde_json::Value| reason(status).contains("authentication failed");
    let status = world.until_status("replica", "refused", refused);
    assert!(!reason(&status).contains("guess"), "no secret is shown: {status:#}");
}

/// An authority, and a certificate of `localhost` for some days, made by openssl(1).
pub(crate) fn certificates(world: &World, days: i32) {
    let make = |words: &str| {
        let done =
            std::process::Command::new("openssl").args(words.split(' ')).current_dir(world.path("")).output().unwrap();
        assert!(done.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&done.stderr));
    };
    make(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -days 100 -subj /CN=authority",
    );
    make(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout own.key -out own.csr -subj /CN=localhost",
    );
    fs::write(world.path("names"), "subjectAltName=DNS:localhost,DNS:inner.example.org\n").unwrap();
    make(&format!(
        "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out own.pem -days {days} -extfile names"
    ));
}

pub(crate) fn tls_is_spoken_with_ones_own_authority_and_certificates_are_watched() {
    let port = free_port();
    let mut world = World::new();
    certificates(&world, 20);
    // It wants to know who asks, and answers a request with a page.
    let server = format!(
        "openssl s_server -accept 127.0.0.1:{port} -cert @/own.pem -key @/own.key -CAfile @/ca.pem -Verify 1 -verify_return_error -www -quiet"
    );
    let url = format!("https://localhost:{port}/");
    let own = "cert_file = \"@/own.pem\", key_file = \"@/own.key\"";
    world.unit(
        "web",
        &asking(&server, &format!("http = {{ url = \"{url}\", tls = {{ ca_file = \"@/ca.pem\", {own} }} }}"), ""),
    );
    let idle = |probe: String| asking("sleep 1000", &probe, "");
    world.unit("nobody", &idle(format!("http = {{ url = \"{url}\", tls = {{ ca_file = \"@/ca.pem\" }} }}")));
    world.unit("stranger", &idle(format!("http = \"{url}\"")));
    world.unit(
        "named",
        &idle(format!(
            "tcp = {{ address = \"127.0.0.1:{port}\", send = \"GET / HTTP/1.0\\r\\n\\r\\n\", expect = \"200 ok\", \
             tls = {{ ca_file = \"@/ca.pem\", server_name = \"inner.example.org\", {own} }} }}"
        )),
    );
    world.unit("file", &idle("certificate = \"@/own.pem\"".to_owned()));
    world.unit("enough", &idle("certificate = { file = \"@/own.pem\", days = 10 }".to_owned()));
    world.unit("shown", &idle(format!("certificate = {{ address = \"localhost:{port}\" }}")));
    world.start();
    for good in ["web", "named", "enough"] {
        world.until_status(good, "healthy", |status| status["health"] == "healthy");
    }
    let status = world.until_status("nobody", "unhealthy", |status| status["health"] == "unhealthy");
    assert!(!reason(&status).is_empty(), "{status:#}");
    let status = world.until_status("stranger", "unhealthy", |status| status["health"] == "unhealthy");
    assert!(reason(&status).contains("TLS: "), "{status:#}");
    let status = world.until_status("file", "degraded", |status| status["health"] == "degraded");
    let said = reason(&status);
    assert!(said.starts_with("the certificate expires on 2") && said.ends_with(", in 19 days, less than 30"), "{said}");
    let status = world.until_status("shown", "seen", |status| !reason(status).is_empty());
    assert!(matches!(status["health"].as_str(), Some("degraded")), "{status:#}");
}
