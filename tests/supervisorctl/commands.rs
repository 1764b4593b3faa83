//! What each command asks, prints and ends with.
#![expect(clippy::unwrap_used, reason = "what helpers of tests cannot do stops the test")]

use axum::{
    Json, Router,
    extract::RawQuery,
    response::IntoResponse,
    routing::{get, post},
};
use roundsman::wire::v1::{
    CheckAnswer, Dependencies, History, Order, OrderAnswer, Properties, Reloaded, UnitCheck, UnitFile, UnitFiles,
    UnitOutcome, Units, Why,
};
use serde_json::Value;

use crate::world::{Ended, World, problem, unit, units};

/// Units that answer as the daemon does: all, those that are named, or a problem.
fn site(all: &[(&'static str, &'static str)]) -> Router {
    let all = all.to_vec();
    let list = move |RawQuery(query): RawQuery| async move {
        let query = query.unwrap_or_default();
        let names: Vec<&str> = query.split('&').filter_map(|pair| pair.strip_prefix("unit=")).collect();
        let picked: Option<Vec<_>> =
            names.iter().map(|name| all.iter().find(|(known, _)| known == name).copied()).collect();
        match picked {
            _ if names.is_empty() => Json(units(&all)).into_response(),
            Some(picked) => Json(units(&picked)).into_response(),
            None => problem(404, &format!("there is no such unit in {query}; did you mean web?")),
        }
    };
    Router::new().route("/v1/units", get(list)).route("/v1/units/{unit}/logs", get(|| async { "the last line\n" }))
}

#[test]
fn status_ends_with_what_the_units_are() {
    for (states, line, code) in [
        (&[("web", "active"), ("db", "active")][..], "status", 0),
        (&[("web", "active"), ("db", "failed")], "status", 3),
        (&[("web", "active"), ("db", "failed")], "status web", 0),
        (&[("web", "inactive")], "status --json", 3),
        (&[("web", "active")], "status wbe", 4),
        (&[("web", "active")], "status web wbe", 4),
        (&[("web", "active")], "status wbe --json", 4),
        (&[], "status", 0),
    ] {
        let ended = World::serving(site(states)).run(line);
        assert_eq!(ended.code, Some(code), "{states:?} {line}: {ended:?}");
    }
    let nobody = World::empty().run("status");
    assert_eq!(nobody.code, Some(1));
    assert!(
        nobody.err.contains("cannot reach the daemon at /") && nobody.err.contains("is supervisord running?"),
        "{nobody:?}"
    );
}

#[test]
fn a_mistyped_name_hides_no_other_unit() {
    let ended = World::serving(site(&[("web", "active"), ("db", "failed")])).run("status web wbe db");
    assert!(ended.out.contains("● web - a service") && ended.out.contains("× db"), "{ended:?}");
    assert!(ended.out.contains("the last line"), "{ended:?}");
    assert!(ended.err.contains("did you mean web?"), "{ended:?}");
}

#[test]
fn json_is_what_the_daemon_said_even_what_this_version_does_not_know() {
    let mut said = serde_json::to_value(units(&[("web", "active")])).unwrap();
    said["units"][0]["invented_later"] = 1.into();
    let answer = said.clone();
    let world = World::serving(Router::new().route("/v1/units", get(move || async move { Json(answer) })));
    let ended = world.run("--json status");
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap(), said);
    let refused = World::serving(site(&[("web", "active")])).run("status wbe --json");
    let document: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!(document["status"], 404);
}

/// A daemon that answers every order with these outcomes, and repeats the order in the first message.
fn obeying(outcomes: &[(&'static str, bool, &'static str)]) -> Router {
    let outcomes = outcomes.to_vec();
    let order = move |Json(order): Json<Order>| async move {
        let message = serde_json::to_string(&order).unwrap();
        let outcome = |(unit, ok, code): &(&str, bool, &str)| UnitOutcome {
            unit: (*unit).into(),
            ok: *ok,
            code: (*code).into(),
            message: message.clone(),
        };
        Json(OrderAnswer { outcomes: outcomes.iter().map(outcome).collect() })
    };
    Router::new().route("/v1/orders", post(order))
}

#[test]
fn orders_end_with_what_became_of_them() {
    for (outcomes, line, code) in [
        (&[("web", true, "done"), ("db", true, "already")][..], "start web db", 0),
        (&[("web", true, "done"), ("db", false, "start-failed")], "restart web db", 1),
        (&[("web", true, "done"), ("wbe", false, "unknown-unit")], "stop web wbe", 4),
        (&[], "start", 2),
        (&[], "reset", 2),
        (&[], "start web --frobnicate", 2),
        (&[], "signal NONSENSE web", 2),
    ] {
        let ended = World::serving(obeying(outcomes)).run(line);
        assert_eq!(ended.code, Some(code), "{line}: {ended:?}");
    }
    let nobody = World::empty().run("start web");
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    let unknown = Router::new().route("/v1/orders", post(|| async { problem(404, "no unit wbe") }));
    assert_eq!(World::serving(unknown).run("start wbe").code, Some(4));
}

#[test]
fn an_order_says_what_was_typed() {
    let world = World::serving(obeying(&[("web", true, "done")]));
    let ordered = |line: &str| {
        let ended = world.run(line);
        let message = ended.out.split_once('{').unwrap_or_else(|| panic!("{line}: {ended:?}")).1;
        serde_json::from_str::<Order>(&format!("{{{}", message.trim_end())).unwrap()
    };
    let order = |verb: &str, units: &[&str]| Order {
        verb: verb.into(),
        units: units.iter().map(ToString::to_string).collect(),
        all: false,
        signal: None,
        what: None,
        dry_run: false,
        no_wait: false,
    };
    assert_eq!(ordered("start web.service db"), order("start", &["web", "db"]));
    assert_eq!(ordered("reload web --dry-run"), Order { dry_run: true, ..order("reload", &["web"]) });
    assert_eq!(ordered("disable web --no-wait"), Order { no_wait: true, ..order("disable", &["web"]) });
    assert_eq!(ordered("signal usr1 web"), Order { signal: Some("SIGUSR1".into()), ..order("signal", &["web"]) });
    assert_eq!(ordered("reset --all"), Order { all: true, ..order("reset", &[]) });
}

#[test]
fn a_bare_reset_names_both_forms() {
    let world = World::empty();
    let ended = world.run("reset");
    assert!(
        ended.err.contains("supervisorctl reset UNIT…") && ended.err.contains("supervisorctl reset --all"),
        "{ended:?}"
    );
}

#[test]
fn check_ends_and_speaks_as_a_monitoring_plugin() {
    let checking = |level: u8| {
        let check = move |Json(asked): Json<Value>| async move {
            let message = format!("asked {asked}");
            let check = UnitCheck { unit: "web".into(), level, message, probes: vec![], action: None };
            Json(CheckAnswer { checks: vec![check] })
        };
        World::serving(Router::new().route("/v1/check", post(check)))
    };
    for (level, word) in [(0, "OK"), (1, "WARNING"), (2, "CRITICAL"), (3, "UNKNOWN")] {
        let ended = checking(level).run("check web");
        assert_eq!(ended.code, Some(i32::from(level)), "{ended:?}");
        assert_eq!(ended.out, format!("{word} - web: asked {{\"restart\":true,\"units\":[\"web\"]}}\n"));
    }
    assert!(checking(0).run("check --no-restart").out.contains("{\"restart\":false,\"units\":[]}"));
    let refused = Router::new().route("/v1/check", post(|| async { problem(403, "ask as root | or so") }));
    let ended = World::serving(refused).run("check");
    assert_eq!((ended.code, ended.out.as_str()), (Some(3), "UNKNOWN - ask as root ¦ or so\n"));
    assert_eq!(World::empty().run("check --frobnicate").code, Some(3), "2 would be CRITICAL");
}

#[test]
fn the_other_commands_ask_at_their_places() {
    let router = Router::new()
        .route("/v1/history", get(|| async { Json(History { runs: vec![] }) }))
        .route("/v1/units", get(|| async { Json(Units { units: vec![unit("web", "active")] }) }))
        .route(
            "/v1/units/{unit}/why",
            get(|| async {
                Json(Why {
                    unit: "a@b".into(),
                    now: "active".into(),
                    chain: vec![],
                    has_more: false,
                    last_output: vec![],
                })
            }),
        )
        .route(
            "/v1/units/{unit}/files",
            get(|| async {
                Json(UnitFiles { files: vec![UnitFile { path: "/u/web.toml".into(), text: "[unit]\n".into() }] })
            }),
        )
        .route(
            "/v1/units/{unit}/properties",
            get(|| async {
                Json(Properties { properties: vec![("restart".into(), "no".into()), ("user".into(), "x".into())] })
            }),
        )
        .route(
            "/v1/units/{unit}/dependencies",
            get(|| async { Json(Dependencies { unit: "a@b".into(), relations: vec![] }) }),
        )
        .route(
            "/admin/reload",
            post(|| async {
                Json(Reloaded {
                    status: "reloaded".into(),
                    revision: "r1".into(),
                    timestamp: 0,
                    instances_notified: 0,
                    instances: vec![],
                    units: 2,
                    needs_restart: vec![],
                })
            }),
        );
    let world = World::serving(router);
    for (line, asked, out) in [
        ("history a@b -n 3", "GET /v1/history?unit=a%40b&limit=3", "no runs"),
        ("history", "GET /v1/history?limit=20", "no runs"),
        ("why a@b", "GET /v1/units/a%40b/why", "a@b: active"),
        ("list", "GET /v1/units", "web"),
        ("list --names", "GET /v1/units", "web\n"),
        ("cat a@b", "GET /v1/units/a%40b/files", "# /u/web.toml\n[unit]\n"),
        ("show a@b", "GET /v1/units/a%40b/properties", "restart=no\nuser=x\n"),
        ("show a@b -p User", "GET /v1/units/a%40b/properties", "user=x\n"),
        ("deps a@b", "GET /v1/units/a%40b/dependencies", "needs no other"),
        ("reload-config", "POST /admin/reload", "Reloaded: 2 units, revision r1.\n"),
    ] {
        let ended = world.run(line);
        assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
        assert!(ended.out.contains(out), "{line}: {ended:?}");
        assert_eq!(world.asked().last().map(String::as_str), Some(asked), "{line}");
    }
    let ended = world.run("show a@b -p colour");
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("no such property"), "{ended:?}");
}

#[test]
fn help_is_there_for_each_command() {
    let world = World::empty();
    let all = world.run("help");
    assert_eq!(all.code, Some(0));
    for command in ["status", "reset", "check", "logs"] {
        let ended = world.run(&format!("help {command}"));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.out.contains("Examples:") && all.out.contains(command), "{ended:?}");
    }
    assert_eq!(world.run("--version").code, Some(0));
    assert_eq!(world.run("frobnicate").code, Some(2));
    assert_eq!(world.run("").code, Some(2));
}

#[test]
fn lint_tells_of_a_program_of_supervisors_that_is_ours() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("web.toml");
    let write = |more: &str| std::fs::write(&file, format!("[external]\nsupervisor = \"web\"\n{more}\n")).unwrap();
    let lint = || World::empty().run(&format!("lint {}", dir.path().display()));
    let ours = dir.path().join("supervisorctl");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_supervisorctl"), &ours).unwrap();
    write(&format!("supervisorctl = \"{}\"", ours.display()));
    let ended = lint();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let place = format!("{}:3:1: error: {} is this program's", file.display(), ours.display());
    assert!(ended.out.contains(&place) && ended.out.contains("Beside Supervisor"), "{ended:?}");
    write("supervisorctl = \"/bin/true\"");
    assert_eq!(lint().code, Some(0), "another one");
}

#[test]
fn lint_needs_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("web.toml");
    std::fs::write(&file, "[service]\nexec_start = \"/bin/true\"\nrestrat = \"no\"\n").unwrap();
    let ended = World::empty().run(&format!("lint {}", file.display()));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.out.starts_with(&format!("{}:3:1: error: unknown key \"restrat\"", file.display())), "{ended:?}");
    let json = World::empty().run(&format!("lint --json {}", dir.path().display()));
    let found: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&found["files"], &found["problems"][0]["line"]), (&1.into(), &3.into()));
    std::fs::write(&file, "[service]\nexec_start = \"/bin/true\"\n").unwrap();
    assert_eq!(World::empty().run(&format!("lint {}", dir.path().display())).code, Some(0));
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a copy of the program under test is started, beside a supervisord of ours"
)]
fn check_without_a_daemon_becomes_the_supervisord_beside_it() {
    use std::{fs, os::unix::fs::PermissionsExt, process::Command};
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("supervisorctl");
    fs::copy(env!("CARGO_BIN_EXE_supervisorctl"), &own).unwrap();
    let check = |words: &[&str]| {
        let socket = dir.path().join("none.sock");
        Ended::from(Command::new(&own).arg("check").args(words).env("ROUNDSMAN_SOCKET", socket).output().unwrap())
    };
    let missing = check(&[]);
    assert_eq!(missing.code, Some(3), "{missing:?}");
    assert!(
        missing.out.starts_with("UNKNOWN - cannot run ") && missing.err.contains("install supervisord"),
        "{missing:?}"
    );

    let daemon = dir.path().join("supervisord");
    fs::write(&daemon, "#!/bin/sh\necho \"$@\"\nexit 2\n").unwrap();
    fs::set_permissions(&daemon, fs::Permissions::from_mode(0o755)).unwrap();
    let ended = check(&["--config", "/a b.toml", "web", "--no-restart", "--json"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(2), "check --config /a b.toml --no-restart --json web\n"));
    let named = dir.path().join("named.sock");
    let named = named.to_str().unwrap();
    let refused = check(&["--socket", named]);
    assert_eq!(refused.code, Some(3), "who names a socket means the units of its daemon: {refused:?}");
    assert!(refused.err.contains(named) && refused.err.contains("--config FILE"), "{refused:?}");
    let ended = check(&["--socket", named, "--config", "/a.toml"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(2), "check --config /a.toml\n"));
    let elsewhere = check(&["--url", "http://127.0.0.1:1"]);
    assert_eq!(elsewhere.code, Some(3), "who names a port does not mean the units here: {elsewhere:?}");
}

#[test]
fn a_check_that_cannot_be_made_is_unknown_on_standard_output() {
    use std::fs;
    let world = World::empty();
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("wrong.toml");
    fs::write(&wrong, "[paths]\nuntis = \"/tmp\"\n").unwrap();
    let units = dir.path().join("units");
    fs::create_dir(&units).unwrap();
    fs::write(units.join("web.toml"), "[service]\nexec_strat = \"sleep 1\"\n").unwrap();
    let good = dir.path().join("good.toml");
    fs::write(&good, format!("[paths]\nunits = [\"{}\"]\n", units.display())).unwrap();
    let cases =
        [("/nonexistent", "/nonexistent"), (wrong.to_str().unwrap(), "untis"), (good.to_str().unwrap(), "exec_strat")];
    for (config, named) in cases {
        let ended = world.run(&format!("check --config {config}"));
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.out.starts_with("UNKNOWN - cannot check: ") && ended.out.contains(named), "{ended:?}");
        assert_eq!(ended.out.lines().count(), 1, "{ended:?}");
        let ended = world.run(&format!("--json check --config {config}"));
        let said: Value = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        assert_eq!((ended.code, &said["checks"]), (Some(3), &serde_json::json!([])), "{ended:?}");
        assert!(said["detail"].as_str().unwrap().contains(named), "{said}");
    }
}

#[test]
fn tcp_takes_a_token_and_stays_on_this_machine() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let list = |headers: axum::http::HeaderMap| async move {
        match headers.get("authorization").map(|value| value.as_bytes()) {
            Some(b"Bearer sesame") => Json(units(&[("web", "active")])).into_response(),
            _ => problem(401, "no token"),
        }
    };
    let router = Router::new().route("/v1/units", get(list));
    runtime.spawn(async move { axum::serve(listener, router).await });

    let world = World::empty();
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "sesame\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let with_token = format!("list --names --url {url} --token-file {}", token.display());
    assert_eq!(world.run(&with_token).out, "web\n");
    let without = world.run(&format!("list --url {url}"));
    assert!(without.code == Some(1) && without.err.contains("--token-file"), "{without:?}");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let open = world.run(&with_token);
    assert!(
        open.code == Some(1) && open.err.contains("others may read it") && !open.err.contains("sesame"),
        "{open:?}"
    );
    for remote in ["http://192.0.2.1:9180", "https://127.0.0.1:9180"] {
        let ended = world.run(&format!("list --url {remote}"));
        assert!(ended.code == Some(1) && ended.err.contains("ssh -L"), "{ended:?}");
    }
}
