//! Services that live and are not well.
use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{
    actor,
    support::{
        process::{PATIENCE, Signal, kill, pause},
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
    let history = world.history("web");
    let second = &history[history.len() - 2];
    assert_eq!((&second["cause"], &second["cause_detail"]), (&"unhealthy".into(), &"live".into()), "{second:#}");
    assert!(world.notices("unhealthy")[0]["message"].as_str().unwrap().contains("500"));
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
    assert_eq!(world.history("web")[world.history("web").len() - 2]["cause_detail"], "file");
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
