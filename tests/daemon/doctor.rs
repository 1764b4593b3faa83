//! Each thing is broken for real, and the doctor finds it and says what to do.
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    process::{self, Signal, kill, need_root, until},
    world::{World, free_port},
};

const SLEEPS: &str = "[service]\nexec_start = \"sleep 1000\"\n";

/// What it finds, with its exit code, which is always that of the worst.
fn findings(world: &World) -> Vec<Value> {
    let said = world.ctl(&["doctor", "--config", world.path("roundsman.toml").to_str().unwrap(), "--json"]);
    let all = said.json()["findings"].as_array().unwrap().clone();
    let has = |level: &str| all.iter().any(|one| one["level"] == level);
    let code = if has("fail") { 2 } else { i32::from(has("warn") || has("unknown")) };
    assert_eq!(said.code, code, "{said:?}");
    for one in &all {
        assert_eq!(one["level"] == "ok", one["remedy"].is_null(), "whatever is not well has a remedy: {one}");
    }
    all
}

/// The one finding of this topic about this place.
#[track_caller]
fn finding(all: &[Value], topic: &str, place: &str) -> (String, String, String) {
    let found = all.iter().find(|one| one["topic"] == topic && one["place"].as_str().unwrap().contains(place));
    let one = found.unwrap_or_else(|| panic!("nothing on {topic} {place} in {all:#?}"));
    let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
    (text("level"), text("message"), text("remedy"))
}

#[track_caller]
fn level(all: &[Value], topic: &str, place: &str) -> String {
    finding(all, topic, place).0
}

pub(crate) fn the_daemon_that_is_named_says_where_its_settings_are() {
    let world = World::with(&[("web", SLEEPS)]);
    world.until_active("web", "active");
    let all = |said: &str| serde_json::from_str::<Value>(said).unwrap()["findings"].as_array().unwrap().clone();
    let found = all(&world.ctl(&["doctor", "--json"]).out);
    assert_eq!(level(&found, "settings", world.path("roundsman.toml").to_str().unwrap()), "ok");
    assert_eq!(level(&found, "daemon", world.path("run/control.sock").to_str().unwrap()), "ok");
    // One that is not there is not another one.
    let said = process::command(env!("CARGO_BIN_EXE_supervisorctl"))
        .args(["doctor", "--json", "--socket", "/no/such.sock"])
        .output()
        .unwrap();
    let found = all(str::from_utf8(&said.stdout).unwrap());
    assert_eq!(level(&found, "daemon", "/no/such.sock"), "warn");
}

pub(crate) fn a_world_that_is_well_is_said_to_be() {
    let port = free_port();
    let socket = format!("{SLEEPS}[socket]\nlisten_stream = \"127.0.0.1:{port}\"\n");
    let world = World::with(&[("web", &socket)]);
    world.until_active("web", "active");
    let all = findings(&world);
    // These are the machine's, whatever they are.
    let machine = ["clock", "limits", "cgroup", "init"];
    let ill: Vec<_> =
        all.iter().filter(|one| !machine.contains(&one["topic"].as_str().unwrap()) && one["level"] != "ok").collect();
    assert!(ill.is_empty(), "{ill:#?}");
    for topic in machine {
        assert!(all.iter().any(|one| one["topic"] == topic), "{topic}");
    }
    let (_, message, _) = finding(&all, "ports", &format!("127.0.0.1:{port}"));
    assert!(message.ends_with("listens there for web"), "{message}");
    let people = world.ctl(&["doctor", "--config", world.path("roundsman.toml").to_str().unwrap()]);
    assert!(people.out.lines().any(|line| line.starts_with("OK      daemon ")), "{people:?}");
}

pub(crate) fn whoever_has_a_units_port_is_named() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let probed = TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = probed.local_addr().unwrap().port();
    world.unit("web", &format!("{SLEEPS}[socket]\nlisten_stream = \"0.0.0.0:{port}\"\n"));
    world.unit("app", &format!("{SLEEPS}[[health]]\nname = \"live\"\nhttp = \"http://localhost:{asked}/\"\n"));
    let all = findings(&world);
    let own = std::process::id();
    let (level, message, remedy) = finding(&all, "ports", &format!("0.0.0.0:{port}"));
    assert_eq!(level, "fail", "{all:#?}");
    assert!(message.contains(&format!("(pid {own}) listens there, so web cannot")), "{message}");
    assert!(remedy.contains(&format!("kill {own}")) && remedy.contains("another port"), "{remedy}");
    let (level, message, _) = finding(&all, "ports", &format!("127.0.0.1:{asked}"));
    assert_eq!(level, "warn", "{message}");
    assert!(message.contains("probe live of app asks it"), "{message}");
    drop(taken);
    drop(probed);
    let all = findings(&world);
    assert_eq!(finding(&all, "ports", &format!("0.0.0.0:{port}")).1, "free for web");
    assert_eq!(finding(&all, "ports", &format!("127.0.0.1:{asked}")).1, "free for app");
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn a_secret_that_everyone_can_read_and_a_unit_that_everyone_can_change_are_found() {
    const SECRET: &str = "very-secret-words";
    let world = World::new();
    let (password, hook) = (world.path("password"), world.path("hook"));
    fs::write(&password, SECRET).unwrap();
    fs::write(&hook, format!("http://127.0.0.1:9/{SECRET}\n")).unwrap();
    chmod(&password, 0o644);
    chmod(&hook, 0o600);
    world.unit("web", &format!("{SLEEPS}load_credential = [\"pw:{}\"]\n", password.display()));
    chmod(&world.unit_path("web"), 0o666);
    world.settings("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl_file = \"hook\"\n");
    let all = findings(&world);
    let (level_of_it, message, remedy) = finding(&all, "permissions", "password");
    assert_eq!(level_of_it, "fail");
    assert!(message.contains("(mode 0644)") && remedy.starts_with("chmod 0600 "), "{message} {remedy}");
    let (level_of_it, _, remedy) = finding(&all, "permissions", "web.toml");
    assert!(level_of_it == "fail" && remedy.starts_with("chmod o-w "), "{remedy}");
    chmod(&password, 0o600);
    chmod(&world.unit_path("web"), 0o644);
    let all = findings(&world);
    assert_eq!(level(&all, "permissions", "password"), "ok");
    assert_eq!(level(&all, "permissions", "settings and units"), "ok");
    // One of the settings themselves, which then cannot be used; the rest is looked at all the same.
    chmod(&hook, 0o644);
    let all = findings(&world);
    let (level_of_it, message, _) = finding(&all, "settings", "roundsman.toml");
    assert!(level_of_it == "fail" && message.contains("chmod 0600"), "{message}");
    assert_eq!(level(&all, "permissions", "password"), "ok");
    // And one that stands in the settings.
    let open = |url: &str| format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{url}\"\n");
    world.settings(&open("http://127.0.0.1:9/hook"));
    chmod(&world.path("roundsman.toml"), 0o644);
    let of_route = |all: &[Value]| Value::from(all).to_string().contains("the secret of alert route ops");
    assert!(!of_route(&findings(&world)), "a port of this machine is no secret");
    world.settings(&open(&format!("https://127.0.0.1:9/{SECRET}")));
    chmod(&world.path("roundsman.toml"), 0o644);
    let all = findings(&world);
    let (level_of_it, message, _) = finding(&all, "permissions", "roundsman.toml");
    assert!(level_of_it == "fail" && message.contains("alert route ops"), "{message}");
    assert!(!Value::from(all).to_string().contains(SECRET), "no secret is said");
}

pub(crate) fn a_probe_that_cannot_ask_for_want_of_its_secret_or_its_program_is_found() {
    const SECRET: &str = "very-secret-words";
    let world = World::new();
    let (key, check) = (world.path("probe-key"), world.path("looks"));
    let upload = format!(
        "{SLEEPS}[[health]]\nname = \"upload\"\n[[health.http]]\nurl = \"http://127.0.0.1:9/f\"\nmethod = \"PUT\"\n\
         body = \"x\"\nsign = {{ secret_file = \"{}\" }}\n",
        key.display()
    );
    world.unit("upload", &upload);
    world.unit("web", &format!("{SLEEPS}[[health]]\nname = \"live\"\nexec = \"{}\"\n", check.display()));
    world.unit("db", &format!("{SLEEPS}[[health]]\nname = \"live\"\nplugin = \"no-such-plugin-here -v\"\n"));
    world.unit("sh", &format!("{SLEEPS}[[health]]\nname = \"live\"\nexec = \"sh -c true\"\n"));
    let all = findings(&world);
    let (level_of_it, message, remedy) = finding(&all, "permissions", "probe-key");
    assert!(level_of_it == "fail" && message.contains("No such file"), "{message}");
    assert!(remedy.contains("put it there"), "{remedy}");
    let (level_of_it, message, remedy) = finding(&all, "units", "probe live of web");
    assert!(level_of_it == "fail" && message.contains("No such file"), "{message}");
    assert!(remedy.contains("install it"), "{remedy}");
    let (level_of_it, message, _) = finding(&all, "units", "probe live of db");
    assert!(level_of_it == "fail" && message.contains("it is in none of /"), "{message}");
    let (level_of_it, message, _) = finding(&all, "units", "programs of probes");
    assert_eq!((level_of_it.as_str(), message.as_str()), ("ok", "1 are there"));
    fs::write(&key, format!("{SECRET}\n")).unwrap();
    chmod(&key, 0o640);
    fs::write(&check, "#!/bin/sh\n").unwrap();
    chmod(&check, 0o644);
    let all = findings(&world);
    let (level_of_it, message, remedy) = finding(&all, "permissions", "probe-key");
    assert!(level_of_it == "fail" && message.contains("has mode 0640"), "{message}");
    assert!(remedy.starts_with("chmod 0600 "), "{remedy}");
    let (level_of_it, message, _) = finding(&all, "units", "probe live of web");
    assert!(level_of_it == "fail" && message.contains("chmod +x"), "{message}");
    chmod(&key, 0o600);
    chmod(&check, 0o755);
    let all = findings(&world);
    assert_eq!(level(&all, "permissions", "probe-key"), "ok");
    let (_, message, _) = finding(&all, "units", "programs of probes");
    assert_eq!(message, "2 are there");
    fs::write(&key, "\n").unwrap();
    let (level_of_it, message, _) = finding(&findings(&world), "permissions", "probe-key");
    assert!(level_of_it == "fail" && message.contains("is empty"), "{message}");
    assert!(!Value::from(all).to_string().contains(SECRET), "no secret is said");
}

/// Runs the doctor in namespaces of its own, after `before`, which is for the shell.
fn in_namespaces(world: &World, namespaces: &[&str], before: &str) -> (Output, Vec<Value>) {
    need_root("it makes namespaces");
    let mut command = process::command("unshare");
    command.args(namespaces).args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec"]);
    command.arg(format!("{before}\nexec \"$0\" doctor --config \"$1\" --json"));
    command.arg(env!("CARGO_BIN_EXE_supervisord")).arg(world.path("roundsman.toml"));
    let output = command.output().expect("unshare is in the Debian package util-linux");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let all = said["findings"].as_array().unwrap().clone();
    (output, all)
}

pub(crate) fn a_disk_that_is_full_has_no_files_left_or_is_read_only_is_found() {
    let world = World::new();
    for folder in ["state", "logs", "run"] {
        fs::create_dir(world.path(folder)).unwrap();
    }
    world.settings("[disk]\nmin_free_bytes = \"1M\"");
    let at = |name: &str| world.path(name).display().to_string();
    let before = format!(
        "mount -t tmpfs -o size=1m none {state}\nhead -c 1000000 /dev/zero > {state}/full\n\
         mount -t tmpfs -o size=16m,nr_inodes=3 none {logs}\ntouch {logs}/a {logs}/b\n\
         mount -t tmpfs -o ro none {run}",
        state = at("state"),
        logs = at("logs"),
        run = at("run")
    );
    let (output, all) = in_namespaces(&world, &["--mount"], &before);
    assert_eq!(output.status.code(), Some(2));
    let (level, message, remedy) = finding(&all, "disk", &at("state"));
    assert!(level == "fail" && message.contains("free, less than 1M") && remedy.contains("make room"), "{message}");
    let (level, message, remedy) = finding(&all, "disk", &at("logs"));
    assert!(level == "fail" && message.starts_with("0 files") && remedy.contains("du --inodes"), "{message}");
    let (level, message, remedy) = finding(&all, "disk", &at("run"));
    assert!(level == "fail" && message.contains("read-only") && remedy.contains("remount,rw"), "{message}");
    let all = findings(&world);
    for folder in ["state", "logs", "run"] {
        assert_eq!(self::level(&all, "disk", &at(folder)), "ok");
    }
}

pub(crate) fn a_resolver_that_hangs_is_found_and_holds_nothing_up() {
    let world = World::new();
    let probe = |name: &str, host: &str| {
        format!("[[health]]\nname = \"{name}\"\ntcp = \"{host}:80\"\non_unhealthy = \"alert\"\n")
    };
    let text = format!("{SLEEPS}{}{}", probe("far", "far.example"), probe("near", "localhost"));
    world.unit("web", &text);
    world.settings("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"http://hook.example/secret\"\n");
    fs::write(world.path("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:30 attempts:3\n").unwrap();
    // Whatever is asked at port 53 is never answered.
    let before = format!(
        "ip link set lo up\nmount --bind {} /etc/resolv.conf\n\
         perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalAddr => \"127.0.0.1\", LocalPort => 53, \
         Proto => \"udp\") or die; close(STDOUT); sleep 120' &\n\
         until grep -q ':0035 ' /proc/self/net/udp; do :; done",
        world.path("resolv.conf").display()
    );
    let begun = Instant::now();
    let (output, all) = in_namespaces(&world, &["--mount", "--net"], &before);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(2));
    for (name, who) in [("far.example", "probe far of web"), ("hook.example", "alert route ops")] {
        let (level, message, remedy) = finding(&all, "dns", name);
        assert_eq!((level.as_str(), message.as_str()), ("fail", format!("no answer within 2 s, for {who}").as_str()));
        assert!(remedy.contains("/etc/resolv.conf"), "{remedy}");
    }
    assert_eq!(level(&all, "dns", "localhost"), "ok");
}

pub(crate) fn a_service_that_outlived_keeper_and_manager_is_found_until_a_daemon_has_it_again() {
    let mut world = World::with(&[("web", SLEEPS)]);
    world.until_active("web", "active");
    let pid = world.pid("web");
    world.history("web", 0);
    assert_eq!(level(&findings(&world), "processes", "services"), "ok");
    let manager = world.manager();
    world.kill_keeper();
    until("the manager is gone with its keeper", || (!process::lives(manager)).then_some(()));
    let all = findings(&world);
    let (level_of_it, message, remedy) = finding(&all, "processes", "web");
    assert_eq!(level_of_it, "warn", "{all:#?}");
    assert!(message.contains(&format!("nobody supervises it: pid {pid} (sleep)")), "{message}");
    assert!(remedy.contains("start supervisord") && remedy.ends_with(&format!("kill {pid}")), "{remedy}");
    // Its threads may let go of the socket a moment later than its first.
    until("nobody listens", || (level(&findings(&world), "daemon", "control.sock") == "warn").then_some(()));
    world.start();
    assert_eq!(level(&findings(&world), "processes", "services"), "ok");
    assert_eq!(world.pid("web"), pid);
}

pub(crate) fn a_redis_that_is_not_what_it_should_be_is_no_failed_connection() {
    let port = free_port();
    let server = format!(
        "[service]\nexec_start = \"redis-server --port {port} --bind 127.0.0.1 --save '' --dir @ --replicaof 127.0.0.1 9\"\n"
    );
    let probe = |name: &str, role: &str, port: u16, more: &str| {
        let check = format!("redis = {{ url = \"redis://127.0.0.1:{port}\", role = \"{role}\" }}");
        format!("[[health]]\nname = \"{name}\"\n{check}\ninitial_delay = \"1h\"\n{more}\n")
    };
    let all = [
        probe("other", "primary", port, ""),
        probe("cut", "replica", port, ""),
        probe("shown", "primary", 9, "on_unhealthy = \"none\""),
    ];
    let world = World::with(&[("cache", &(server + &all.concat()))]);
    let of = |name: &str| format!("(probe {name} of cache)");
    until("redis answers", || {
        let (_, message, _) = finding(&findings(&world), "redis", &of("other"));
        (message == "it is a replica, expected a primary").then_some(())
    });
    let all = findings(&world);
    let (level_of_it, _, remedy) = finding(&all, "redis", &of("other"));
    assert!(level_of_it == "fail" && remedy.contains("replicaof no one"), "{remedy}");
    let (level_of_it, message, remedy) = finding(&all, "redis", &of("cut"));
    assert!(level_of_it == "fail" && message.contains("link to the primary"), "{message}");
    assert!(remedy.contains("masterauth"), "{remedy}");
    let (level_of_it, _, remedy) = finding(&all, "redis", &of("shown"));
    assert!(level_of_it == "warn" && remedy.contains("redis-cli ping"), "{remedy}");
}

pub(crate) fn a_damaged_database_a_dead_redis_and_a_daemon_that_hangs_are_found() {
    let port = free_port();
    let probe = format!(
        "{SLEEPS}[[health]]\nname = \"ping\"\nredis = \"redis://127.0.0.1:{port}\"\non_unhealthy = \"alert\"\n"
    );
    let mut world = World::with(&[("web", &probe)]);
    let all = findings(&world);
    let (level_of_it, _, remedy) = finding(&all, "redis", &format!("127.0.0.1:{port} (probe ping of web)"));
    assert!(level_of_it == "fail" && remedy.contains("redis-cli ping"), "{remedy}");
    assert_eq!(level(&all, "database", "state.db"), "ok");
    let manager = world.manager();
    kill(manager, Signal::SIGSTOP);
    let (level_of_it, message, _) = finding(&findings(&world), "daemon", "control.sock");
    kill(manager, Signal::SIGCONT);
    assert!(level_of_it == "fail" && message.contains("does not answer"), "{message}");
    world.await_answer();
    world.stop();
    let database = world.path("state/state.db");
    let mut bytes = fs::read(&database).unwrap();
    bytes.iter_mut().skip(4096).for_each(|byte| *byte = 0x5a);
    fs::write(&database, bytes).unwrap();
    let (level_of_it, message, remedy) = finding(&findings(&world), "database", "state.db");
    assert!(level_of_it == "fail" && remedy.contains("save a copy"), "{message} {remedy}");
}

pub(crate) fn whatever_cannot_be_used_is_said_by_its_place_and_the_rest_is_looked_at() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    world.unit("web", "[service]\nexec_start = \"sleep 1\"\nrestrat = \"always\"\n");
    world.unit(
        "good",
        &format!("[unit]\nrequires = [\"db\"]\n{SLEEPS}[socket]\nlisten_stream = \"127.0.0.1:{port}\"\n"),
    );
    world.unit(
        "db",
        &format!("{SLEEPS}user = \"no-such-user\"\n[[health]]\nname = \"r\"\nredis = \"redis://127.0.0.1:9\"\n"),
    );
    world.unit("needs-web", &format!("[unit]\nrequires = [\"web\"]\n{SLEEPS}"));
    let all = findings(&world);
    let refused: Vec<_> = all
        .iter()
        .filter(|one| one["topic"] == "units" && one["level"] == "fail")
        .map(|one| one["message"].as_str().unwrap())
        .collect();
    assert_eq!(refused.len(), 2, "and none of what follows from it: {refused:#?}");
    assert!(refused.iter().any(|message| message.contains("web.toml:3:1: error: unknown key")), "{refused:#?}");
    assert!(refused.iter().any(|message| message.contains("db.toml:3:8: error: cannot find user")), "{refused:#?}");
    assert_eq!(level(&all, "ports", &format!("127.0.0.1:{port}")), "fail", "what can be read is looked at");
    assert_eq!(level(&all, "redis", "127.0.0.1:9"), "fail");
    for topic in ["ports", "dns", "redis", "permissions"] {
        let (level, message, _) = finding(
            &all.iter().filter(|one| one["level"] == "unknown").cloned().collect::<Vec<_>>(),
            topic,
            "unit files",
        );
        assert!(level == "unknown" && message.ends_with("are refused: needs-web.toml, web.toml"), "{topic}: {message}");
    }
    assert!(!all.iter().any(|one| one["message"].as_str().unwrap().contains("needs one")), "{all:#?}");
    world.settings("[nonsense]\n");
    let all = findings(&world);
    assert_eq!(level(&all, "settings", "roundsman.toml"), "fail");
    assert_eq!(level(&all, "dns", "alert routes"), "unknown");
    let runtime = world.path("run").display().to_string();
    assert_eq!(level(&all, "disk", &runtime), "ok", "where things are is still known");
}

pub(crate) fn a_program_that_cannot_be_started_is_found() {
    let world = World::new();
    let (program, gone) = (world.path("program"), world.path("gone"));
    fs::write(&program, "#!/bin/sh\n").unwrap();
    chmod(&program, 0o644);
    let unit = |line: &str| format!("[service]\ntype = \"oneshot\"\nexec_start = {line}\n");
    world.unit("barred", &unit(&format!("\"{}\"", program.display())));
    world.unit("gone", &unit(&format!("\"{} --now\"", gone.display())));
    world.unit("named", &unit("[\"sh -c true\", \"no-such-program-here\"]"));
    world.unit("spared", &unit(&format!("\"-{}\"", gone.display())));
    let all = findings(&world);
    for (unit, wanted, why) in [
        ("barred", "fail", "chmod +x"),
        ("gone", "fail", "No such file"),
        ("named", "fail", "it is in none of /"),
        ("spared", "warn", "goes on without it"),
    ] {
        let (level, message, remedy) = finding(&all, "units", &format!("exec_start of {unit}"));
        assert!(level == wanted && message.contains(why) && remedy.starts_with("install it"), "{unit}: {message}");
    }
    assert_eq!(finding(&all, "units", "programs of units").1, "1 are there");
}

pub(crate) fn files_of_variables_that_are_missing_and_limits_that_cannot_be_given_are_found() {
    let world = World::new();
    let (there, gone) = (world.path("there.env"), world.path("gone.env"));
    fs::write(&there, "A=b\n").unwrap();
    let unit = |files: &str, more: &str| format!("{SLEEPS}environment_file = [{files}]\n{more}");
    let (there, gone) = (there.display(), gone.display());
    world.unit("web", &unit(&format!("\"{there}\", \"{gone}\""), "limit_nofile = \"1024:infinity\"\n"));
    world.unit("spared", &unit(&format!("\"-{gone}\""), "limit_nofile = \"64\"\n"));
    world.unit("pattern", &unit(&format!("\"{gone}.*\""), ""));
    let all = findings(&world);
    let (level_of_it, message, remedy) = finding(&all, "units", "environment_file of web");
    assert!(level_of_it == "fail" && message.contains("gone.env: No such file"), "{message}");
    assert!(remedy.contains("put the file there"), "{remedy}");
    let (level_of_it, message, _) = finding(&all, "units", "environment_file of pattern");
    assert!(level_of_it == "fail" && message.contains("gone.env.*"), "{message}");
    assert_eq!(finding(&all, "units", "files of variables").1, "1 are there");
    let spared = all.iter().find(|one| one["place"] == "environment_file of spared");
    assert!(spared.is_none(), "{spared:?}");
    // Whoever may raise limits is stopped by fs.nr_open.
    let (level_of_it, message, _) = finding(&all, "limits", "limit_nofile of web");
    assert!(level_of_it != "ok" && message.starts_with("it asks for infinity"), "{message}");
    assert_eq!(finding(&all, "limits", "limits of units").1, "1 can be given");
}

pub(crate) fn files_that_are_not_what_is_in_force_are_named() {
    let world = World::with(&[("web", SLEEPS), ("gone", SLEEPS)]);
    world.until_active("web", "active");
    let said = || finding(&findings(&world), "daemon", "configuration");
    assert_eq!(said().0, "ok");
    world.unit("web", &SLEEPS.replace("1000", "2000"));
    world.unit("new", SLEEPS);
    fs::remove_file(world.unit_path("gone")).unwrap();
    world.settings("[health]\nrestart_budget = 7\n");
    let (level, message, remedy) = said();
    assert_eq!(level, "warn");
    for part in ["web.toml is changed", "new.toml is new", "gone.toml is gone", "roundsman.toml is changed"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(remedy.contains("reload-config"), "{remedy}");
    world.ok(&["reload-config"]);
    assert_eq!(said().0, "ok");
}
