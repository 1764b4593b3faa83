//! Probes of several steps, of output, and of what others depend on.
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::{
    health::certificates,
    support::{
        hook::Hook,
        process::{Signal, command, kill, lives, need_root, pause, until},
        world::{World, free_port},
    },
};

const KEY: &str = "geheimnis";

fn write_secret(world: &World, name: &str, secret: &str, mode: u32) {
    fs::write(world.path(name), format!("{secret}\n")).unwrap();
    fs::set_permissions(world.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

/// The file server, and a probe that signs with the secret of a file.
fn upload_server(port: u16, metrics: u16, scheme: &str) -> (String, String) {
    let settings = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\nmetrics_listen = \"127.0.0.1:{metrics}\"\nbase_path = \"/up\"\n\
         [uploads]\nstorage_path = \"@/store\"\n[security]\nsecret_files = [\"@/key\"]\n"
    );
    let unit = format!(
        "[service]\ntype = \"notify\"\nexec_start = \"{} --config @/hfs.toml\"\n\
         [[health]]\nname = \"upload\"\non_unhealthy = \"alert\"\ninterval = \"500ms\"\ntimeout = \"450ms\"\n\
         unhealthy_after = 2\n\
         [[health.http]]\nname = \"put\"\nurl = \"http://127.0.0.1:{port}/up/probe/${{random}}/a%%20b.bin\"\nmethod = \"PUT\"\n\
         random_body = \"200K\"\nheaders = {{ Content-Type = \"image/png\" }}\nexpect_status = 201\n\
         sign = {{ scheme = \"{scheme}\", secret_file = \"@/probe-key\", base_path = \"/up/\" }}\n\
         [[health.http]]\nname = \"get\"\nurl = \"http://127.0.0.1:{port}/up/probe/${{random}}/a%%20b.bin\"\n\
         expect_body_of = \"put\"\n",
        env!("CARGO_BIN_EXE_hmac-file-server")
    );
    (settings, unit)
}

/// What a probe said last.
fn reason(status: &serde_json::Value) -> &str {
    status["probes"][0]["failure"].as_str().unwrap_or_default()
}

pub(crate) fn a_signed_upload_that_comes_back_is_a_check() {
    for scheme in ["v", "v2"] {
        let (settings, unit) = upload_server(free_port(), free_port(), scheme);
        let mut world = World::new();
        write_secret(&world, "key", KEY, 0o600);
        write_secret(&world, "probe-key", KEY, 0o600);
        let root = world.path("").display().to_string();
        fs::write(world.path("hfs.toml"), settings.replace("@/", &root)).unwrap();
        world.unit("files", &unit);
        world.start();
        world.until_status("files", "healthy", |status| status["health"] == "healthy");
        let kept = fs::read_dir(world.path("store/probe")).unwrap().count();
        assert!(kept > 0, "the server has what was sent");
        write_secret(&world, "probe-key", "wrong", 0o600);
        let status = world.until_status("files", "refused", |status| status["health"] == "unhealthy");
        assert_eq!(reason(&status), "step put: status 403, expected 201");
        write_secret(&world, "probe-key", KEY, 0o644);
        let status = world.until_status("files", "not signed", |status| reason(status).contains("others can read"));
        assert!(reason(&status).starts_with("step put: ") && reason(&status).contains("chmod 0600"), "{status:#}");
        write_secret(&world, "probe-key", KEY, 0o600);
        world.until_status("files", "healthy again", |status| status["health"] == "healthy");
        let everything = [&["why", "files"][..], &["events"], &["show", "files"], &["check", "files"]];
        for args in everything {
            let said = world.ctl(args);
            assert!(!said.out.contains(KEY) && !said.out.contains(&format!("?{scheme}=")), "{said:?}");
        }
    }
}

pub(crate) fn a_secret_that_others_can_read_is_refused_at_load() {
    let (_, unit) = upload_server(free_port(), free_port(), "v");
    let world = World::with(&[("web", "[service]\nexec_start = \"sleep 1000\"\n")]);
    write_secret(&world, "probe-key", KEY, 0o640);
    world.unit("files", &unit);
    let said = world.ctl(&["reload-config"]);
    assert_ne!(said.code, 0, "{said:?}");
    let all = format!("{}{}", said.out, said.err);
    // At the line that names it.
    let line = 1 + unit.lines().position(|line| line.contains("secret_file")).unwrap();
    let place = format!("files.toml:{line}:");
    for part in [&*place, ": error: the probe \"upload\" cannot ask: ", "mode 0640", "chmod 0600"] {
        assert!(all.contains(part), "{part}: {said:?}");
    }
    write_secret(&world, "probe-key", KEY, 0o600);
    world.ok(&["reload-config"]);
    // What is in force outlives a secret that is gone wrong, and a manager.
    write_secret(&world, "probe-key", KEY, 0o640);
    let pid = world.pid("web");
    world.kill_manager();
    assert_eq!(world.pid("web"), pid);
    world.until_status("files", "known to the next manager", |status| !status["active"].is_null());
}

pub(crate) fn a_line_that_a_service_writes_is_news_once() {
    // Each run begins with the line that ended the one before.
    let start = "/bin/sh -c 'echo started; tail -n 0 -f @/say & wait'";
    let mut world = World::new();
    fs::write(world.path("say"), "").unwrap();
    world.unit(
        "web",
        &format!(
            "[service]\nexec_start = \"{start}\"\nrestart = \"always\"\nrestart_sec = 0\n[log]\nsegment_size = \"4K\"\n\
             [[health]]\nname = \"lines\"\nlog = {{ fail_on = \"^FATAL\", warn_on = \"slow\" }}\n\
             interval = \"300ms\"\ntimeout = \"290ms\"\n"
        ),
    );
    world.start();
    let say = |text: &str| {
        use std::io::Write;
        fs::File::options().append(true).open(world.path("say")).unwrap().write_all(text.as_bytes()).unwrap();
    };
    world.until_status("web", "healthy", |status| status["health"] == "healthy");
    say("a slow answer\n");
    world.until_status("web", "degraded", |status| status["health"] == "degraded");
    world.until_status("web", "news no more", |status| status["health"] == "healthy");
    // Through many segments, and a manager that dies.
    say(&format!("{}\n", "x".repeat(100)).repeat(200));
    world.kill_manager();
    let status = world.until_status("web", "healthy", |status| status["health"] == "healthy");
    assert_eq!(status["generation"], 1);
    say("FATAL: no more\n");
    world.until_status("web", "restarted", |status| status["generation"].as_u64() > Some(1));
    let told = world.until_notices("unhealthy", 1);
    assert!(told[0]["message"].as_str().unwrap().contains("it wrote \"FATAL: no more\""), "{told:#?}");
    let status = world.until_status("web", "healthy", |status| status["health"] == "healthy");
    assert_eq!(status["generation"], 2, "what the run before wrote is no news: {status:#}");
}

pub(crate) fn what_a_command_says_is_the_reason() {
    let mut world = World::new();
    let unit = |kind: &str, name: &str| {
        fs::write(
            world.path(name),
            "echo; echo \"CRITICAL - \u{1b}queue $(basename $0)|q=7\"; echo to the log >&2; exit 2",
        )
        .unwrap();
        world.unit(
            name,
            &format!(
                "[service]\nexec_start = \"sleep 1000\"\n[[health]]\nname = \"queue\"\non_unhealthy = \"alert\"\n\
                 {kind} = \"/bin/sh @/{name}\"\ninterval = \"200ms\"\ntimeout = \"190ms\"\nunhealthy_after = 2\n"
            ),
        );
    };
    unit("plugin", "one");
    unit("exec", "two");
    unit("exec", "much");
    fs::write(world.path("much"), "echo too much; head -c 1000000 /dev/zero; exit 1").unwrap();
    world.start();
    for (name, said) in [
        ("one", "CRITICAL -  queue one"),
        ("two", "CRITICAL -  queue two (exit code 2)"),
        ("much", "too much (exit code 1)"),
    ] {
        let status = world.until_status(name, "unhealthy", |status| status["health"] == "unhealthy");
        assert_eq!(reason(&status), said);
        let told = world.until_notices("unhealthy", 1);
        assert!(!told.is_empty());
        assert!(world.ok(&["why", name]).out.contains(said), "{name}");
    }
    assert!(world.captured("one").contains("to the log") && !world.captured("one").contains("CRITICAL"));
    fs::write(world.path("one"), "exit 2").unwrap();
    world.until_status("one", "in silence", |status| reason(status) == "exit code 2");
}

/// A unit whose probe falls with the first bad answer.
pub(crate) fn asking(port: u16, action: &str, more: &str) -> String {
    format!(
        "[service]\nexec_start = \"sleep 1000\"\n[unit]\nstart_limit_burst = 0\n\
         [[health]]\nname = \"live\"\ntcp = \"127.0.0.1:{port}\"\non_unhealthy = \"{action}\"\n\
         interval = \"300ms\"\ntimeout = \"290ms\"\nunhealthy_after = 1\n{more}\n"
    )
}

fn incidents(world: &World) -> Vec<String> {
    let said = world.ok(&["alerts", "--json"]).json();
    said["incidents"].as_array().unwrap().iter().map(ToString::to_string).collect()
}

pub(crate) fn a_probe_of_a_dead_manager_is_ended_and_asked_again() {
    let mut world = World::new();
    let script = world.path("look");
    // Two that hang, then one that answers.
    fs::write(
        &script,
        "#!/bin/sh\necho $$ >> \"$0.pids\"\n[ $(wc -l < \"$0.pids\") -gt 2 ] || exec sleep 1000\necho well\n",
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let probe = format!(
        "[[health]]\nname = \"look\"\nexec = \"{}\"\ninterval = \"100ms\"\ntimeout = \"5min\"\nunhealthy_after = 1\n",
        script.display()
    );
    world.unit("web", &format!("[service]\nexec_start = \"sleep 1000\"\n{probe}"));
    world.start();
    let looks = |count: usize| {
        until("it looks", || {
            let text = fs::read_to_string(world.path("look.pids")).ok()?;
            let pids: Vec<i32> = text.lines().map(|line| line.parse().unwrap()).collect();
            (pids.len() >= count).then_some(pids)
        })
    };
    let main = world.pid("web");
    for count in 1..=2 {
        let hangs = looks(count)[count - 1];
        world.kill_manager();
        until("nobody hangs any more", || (!lives(hangs)).then_some(()));
    }
    looks(3);
    let status = world.until_status("web", "healthy", |status| status["health"] == "healthy");
    assert_eq!((status["pid"].as_i64(), &status["restarts_total"]), (Some(main.into()), &0.into()), "{status}");
}

pub(crate) fn of_twenty_probes_behind_a_dead_host_one_is_an_incident() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut world = World::new();
    world.unit("host", &asking(port, "alert", ""));
    let names: Vec<String> = (0..20).map(|n| format!("web{n}")).collect();
    for name in &names {
        world.unit(name, &asking(port, "restart", "depends_on = \"host/live\""));
    }
    world.start();
    let all = |what: &str, is_so: &dyn Fn(&serde_json::Value) -> bool| {
        for name in &names {
            world.until_status(name, what, is_so);
        }
    };
    all("healthy", &|status| status["health"] == "healthy");
    drop(listener);
    all("excused", &|status| status["health"] == "unknown");
    world.until_status("host", "unhealthy", |status| status["health"] == "unhealthy");
    pause(1500);
    all("still the first run", &|status| status["generation"] == 1);
    let status = world.status("web7");
    assert_eq!(reason(&status), "host/live fails, on which it depends");
    let open = incidents(&world);
    assert!(open.len() == 1 && open[0].contains("host"), "{open:#?}");
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    all("healthy again", &|status| status["health"] == "healthy");
    drop(listener);
}

pub(crate) fn a_broken_dependency_restarts_no_more_than_the_budget() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut world = World::new();
    let hook = Hook::new(0);
    let budget = |burst: u32| {
        format!(
            "[health]\nrestart_budget = {burst}\nrestart_budget_interval = \"1h\"\n\
             [[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n",
            hook.url
        )
    };
    world.settings(&budget(2));
    let names: Vec<String> = (0..6).map(|n| format!("web{n}")).collect();
    for name in &names {
        world.unit(name, &asking(port, "restart", ""));
    }
    world.start();
    for name in &names {
        world.until_status(name, "healthy", |status| status["health"] == "healthy");
    }
    drop(listener);
    world.until_notices("restart_held", 4);
    let restarts = |world: &World| {
        let runs = names.iter().map(|name| world.until_active(name, "active")["generation"].as_u64().unwrap());
        runs.sum::<u64>() - 6
    };
    assert_eq!(restarts(&world), 2);
    let unhealthy = || -> Vec<String> {
        let all = hook.taken();
        let fallen = all.iter().filter(|message| message["event"] == "unit_unhealthy");
        fallen.map(|message| message["action"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let told = until("all are told", || Some(unhealthy()).filter(|told| told.len() == 6));
    assert_eq!(told.iter().filter(|action| *action == "it is restarted").count(), 2, "{told:#?}");
    let waits = |action: &&String| action.starts_with("nothing while the budget of restarts by probes is spent");
    assert_eq!(told.iter().filter(waits).count(), 4, "{told:#?}");
    let waiting = |world: &World| world.ok(&["alerts"]).out.matches("done: nothing while the budget").count();
    until("those who were restarted fall again, and wait too", || (waiting(&world) == 6).then_some(()));
    world.kill_manager();
    pause(1500);
    assert_eq!(restarts(&world), 2, "the next manager has no budget of its own");
    let held = names.iter().map(|name| world.status(name)).find(|status| !status["restart_held"].is_null()).unwrap();
    assert_eq!(held["restart_held"], "the budget of restarts by probes is spent");
    let check = world.ctl(&["check"]);
    assert!(check.code == 2 && check.out.contains("left alone: the budget"), "{check:?}");
    assert_eq!(restarts(&world), 2);
    assert_eq!(waiting(&world), 6, "so does the next manager say: {}", world.ok(&["alerts"]).out);
    // More is allowed: whoever is still unhealthy is restarted.
    world.settings(&budget(3));
    world.ok(&["reload-config"]);
    world.until_notices("restart_released", 1);
    pause(1000);
    assert_eq!(restarts(&world), 3);
    let refused = {
        world.settings("[health]\nrestart_budget = 1000\n");
        world.ctl(&["reload-config"])
    };
    assert!(refused.code != 0 && format!("{refused:?}").contains("restart_budget is at most 128"), "{refused:?}");
}

pub(crate) fn in_maintenance_no_probe_restarts() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let world = World::with(&[("web", &asking(port, "restart", ""))]);
    world.until_status("web", "healthy", |status| status["health"] == "healthy");
    world.ok(&["alerts", "silence", "web", "--for", "1h", "--maintenance"]);
    drop(listener);
    let status = world.until_status("web", "held", |status| !status["restart_held"].is_null());
    assert_eq!(status["restart_held"], "the unit is in maintenance");
    world.kill_manager();
    pause(1500);
    let status = world.until_status("web", "held", |status| !status["restart_held"].is_null());
    assert_eq!(status["generation"], 1);
    assert!(world.ctl(&["check"]).out.contains("in maintenance"));
    world.ok(&["alerts", "unsilence", "web"]);
    world.until_status("web", "restarted", |status| status["generation"].as_u64() > Some(1));
    // One that ends by its time.
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    world.until_status("web", "healthy", |status| status["health"] == "healthy");
}

/// A resolver that lets everyone wait for half a minute, and a server that closes each connection.
const STUB: &str = r#"use IO::Socket::INET; my $u = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 53, Proto => "udp") or die; my $t = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 7000, Listen => 1000) or die; while (my $c = $t->accept) { close $c }"#;

/// Starts the daemon in a network of its own, where names are asked of whoever listens there.
fn start_with_own_resolver(world: &mut World) {
    fs::write(world.path("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n").unwrap();
    let script = "ip link set lo up; mount --bind \"$2\" /etc/resolv.conf; exec \"$0\" --config \"$1\"";
    let mut daemon = command("unshare");
    daemon.args(["--mount", "--net", "sh", "-ec", script, env!("CARGO_BIN_EXE_supervisord")]);
    daemon.arg(world.path("roundsman.toml")).arg(world.path("resolv.conf"));
    let log = fs::File::create(world.path("daemon.log")).unwrap();
    let child = daemon.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    world.adopt(child);
    world.await_answer();
}

/// A resolver for which every name is 127.0.0.1 while a file is there, and silent without it; and the server.
const RESOLVER: &str = r#"use IO::Socket::INET;
my $names = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 53, Proto => "udp") or die;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 7000, Listen => 100) or die;
if (fork) { while (my $peer = $server->accept) { close $peer } }
while ($names->recv(my $query, 512)) {
    next unless -e $ARGV[0];
    my $end = index($query, "\0", 12) + 5;
    my $is_a = unpack("n", substr($query, $end - 4, 2)) == 1;
    my $answer = $is_a ? pack("nnnNnC4", 0xc00c, 1, 1, 0, 4, 127, 0, 0, 1) : "";
    $names->send(substr($query, 0, 2) . pack("n5", 0x8180, 1, $is_a ? 1 : 0, 0, 0) . substr($query, 12, $end - 12) . $answer);
}"#;

pub(crate) fn a_name_outlives_its_resolver_for_a_while() {
    need_root("it makes namespaces");
    let mut world = World::new();
    fs::write(world.path("resolver.pl"), RESOLVER).unwrap();
    fs::write(world.path("answers"), "").unwrap();
    world.unit("resolver", "[service]\nexec_start = \"perl @/resolver.pl @/answers\"\n");
    let probe = "[[health]]\nname = \"live\"\ntcp = \"far.example:7000\"\ninterval = \"300ms\"\ntimeout = \"250ms\"\n";
    world.unit("far", &format!("[service]\nexec_start = \"sleep 1000\"\n{probe}"));
    start_with_own_resolver(&mut world);
    world.until_status("far", "healthy", |status| status["health"] == "healthy");
    let before = world.notices("unhealthy").len();
    fs::remove_file(world.path("answers")).unwrap();
    // Every look waits for the resolver and then goes on without it.
    let waits = |status: &serde_json::Value| status["probes"][0]["took_us"].as_u64() > Some(90_000);
    world.until_status("far", "waiting for the resolver", waits);
    pause(2_000);
    let status = world.until_status("far", "waiting for the resolver", waits);
    assert_eq!((&status["health"], world.notices("unhealthy").len()), (&"healthy".into(), before), "{status}");
}

pub(crate) fn a_resolver_that_is_slow_delays_nobody_else() {
    need_root("it makes namespaces");
    let mut world = World::new();
    fs::write(world.path("stub.pl"), STUB).unwrap();
    let asks = |address: &str| {
        format!(
            "[service]\nexec_start = \"sleep 1000\"\nrestart = \"always\"\nrestart_sec = 0\n[unit]\nstart_limit_burst = 0\n\
             [[health]]\nname = \"live\"\ntcp = \"{address}\"\non_unhealthy = \"alert\"\ninterval = \"500ms\"\ntimeout = \"400ms\"\n"
        )
    };
    world.unit("stub", "[service]\nexec_start = \"perl @/stub.pl\"\n");
    for n in 0..40 {
        world.unit(&format!("far{n}"), &asks(&format!("host{n}.example:80")));
    }
    let near: Vec<String> = (0..10).map(|n| format!("near{n}")).collect();
    for name in &near {
        world.unit(name, &asks("127.0.0.1:7000"));
    }
    start_with_own_resolver(&mut world);
    // So many hang that all threads for names are taken, and all who ask for one have been told.
    for n in 0..40 {
        let status = world.until_status(&format!("far{n}"), "unhealthy", |status| status["health"] == "unhealthy");
        let why = format!("cannot look up host{n}.example:80: no answer from DNS within 400ms");
        assert_eq!(reason(&status), why);
    }
    for turn in 0..10 {
        for name in &near {
            let status = world.until_status(name, "healthy", |status| status["health"] == "healthy");
            let took = status["probes"][0]["took_us"].as_u64().unwrap();
            assert!(took < 200_000, "{name} took {took} us in turn {turn}");
        }
        let before = world.pid("near0");
        let begun = Instant::now();
        kill(before, Signal::SIGKILL);
        world.until_status("near0", "the next run", |status| {
            status["pid"].as_i64().is_some_and(|pid| pid != i64::from(before))
        });
        assert!(begun.elapsed() < Duration::from_secs(1), "a restart waited for {:?}", begun.elapsed());
    }
    let told = world.notices("unhealthy");
    assert!(told.iter().all(|notice| notice["unit"].as_str().unwrap().starts_with("far")), "{told:#?}");
}

pub(crate) fn an_expired_certificate_is_a_bad_answer() {
    let port = free_port();
    let mut world = World::new();
    certificates(&world, -1);
    let server = format!("openssl s_server -accept 127.0.0.1:{port} -cert @/own.pem -key @/own.key -www -quiet");
    world.unit(
        "web",
        &format!(
            "[service]\nexec_start = \"{server}\"\n[[health]]\nname = \"live\"\non_unhealthy = \"alert\"\ninterval = \"200ms\"\n\
             timeout = \"190ms\"\nhttp = {{ url = \"https://localhost:{port}/\", tls = {{ ca_file = \"@/ca.pem\" }} }}\n"
        ),
    );
    world.start();
    let expired = |status: &serde_json::Value| reason(status).contains("xpired");
    let status = world.until_status("web", "refused", |status| status["health"] == "unhealthy" && expired(status));
    assert!(reason(&status).contains("TLS: "), "{status:#}");
}
