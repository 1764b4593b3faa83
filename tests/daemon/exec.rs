//! What a service is given, exactly.
use std::{collections::BTreeMap, fs};

use serde_json::Value;

use crate::{
    actor,
    support::{
        process::{need_root, until},
        world::{World, free_port},
    },
};

fn shown(world: &World, file: &str) -> Value {
    let text = until("it has looked", || fs::read_to_string(world.path(file)).ok());
    serde_json::from_str(&text).unwrap()
}

fn status_field<'a>(shown: &'a Value, name: &str) -> &'a str {
    let text = shown["status"].as_str().unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_else(|| panic!("{name}")).trim()
}

fn limit(shown: &Value, name: &str) -> (String, String) {
    let text = shown["limits"].as_str().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let mut words = line.split_whitespace();
    (words.next().unwrap().to_owned(), words.next().unwrap().to_owned())
}

pub(crate) fn a_service_gets_exactly_its_environment_and_descriptors() {
    let (http, metrics) = (free_port(), free_port());
    let mut world = World::new();
    world.variable("LEAKED_BY_THE_DAEMON", "yes");
    world.unit(
        "web",
        &format!(
            "{}[socket]\nlisten_stream = [\"127.0.0.1:{http}\", \"127.0.0.1:{metrics}\"]\n\
             file_descriptor_name = [\"http\", \"metrics\"]\n",
            actor::unit(
                "show @/shown $ADDED ${ADDED}x",
                "environment = { ADDED = \"one two\", NUMBER = 3 }\nenvironment_file = [\"@/variables\", \"-@/missing\"]\n\
                 watchdog_sec = \"30s\"\nnotify_access = \"main\""
            )
        ),
    );
    fs::write(world.path("variables"), "FROM_FILE='a b'\nNUMBER=4\n").unwrap();
    world.start();
    let shown = shown(&world, "shown");
    let variables: BTreeMap<&str, &str> = shown["variables"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let status = world.status("web");
    assert_eq!(variables["INVOCATION_ID"], status["invocation"].as_str().unwrap());
    assert_eq!(variables["NOTIFY_SOCKET"], world.path("run/notify").display().to_string());
    assert_eq!(variables["WATCHDOG_USEC"], "30000000");
    assert_eq!(variables["LISTEN_FDS"], "2");
    assert_eq!(variables["LISTEN_PID"], shown["pid"].to_string());
    assert_eq!(variables["LISTEN_FDNAMES"], "http:metrics");
    assert_eq!(variables["FROM_FILE"], "a b");
    assert_eq!(variables["NUMBER"], "4", "files override");
    assert!(variables["PATH"].contains("/usr/bin"));
    let known = [
        "ADDED",
        "FROM_FILE",
        "INVOCATION_ID",
        "LANG",
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "NOTIFY_SOCKET",
        "NUMBER",
        "PATH",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    ];
    let unknown: Vec<_> = variables.keys().filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "nobody declared {unknown:?}");
    let arguments: Vec<&str> = shown["arguments"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    assert_eq!(arguments[3..], [&world.path("shown").display().to_string(), "one", "two", "one twox"]);

    let descriptors = shown["descriptors"].as_object().unwrap();
    // The folder of descriptors is open while it is read.
    let numbers: Vec<&str> =
        descriptors.iter().filter(|(_, to)| !to.as_str().unwrap().ends_with("/fd")).map(|(n, _)| n.as_str()).collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4"], "{descriptors:#?}");
    assert_eq!(descriptors["0"], "/dev/null");
    assert!(descriptors["1"].as_str().unwrap().starts_with("pipe:") && descriptors["1"] == descriptors["2"]);
    assert!(descriptors["3"].as_str().unwrap().starts_with("socket:"));
    assert_eq!(shown["folder"], "/");
    assert_eq!(shown["oom_score_adj"].as_str().unwrap().trim(), "0", "not the keeper's");
}

pub(crate) fn a_service_runs_as_its_unit_says() {
    need_root("it starts a service as another user");
    let mut world = World::new();
    fs::create_dir(world.path("home")).unwrap();
    for path in [world.folder.path().to_owned(), world.path("home")] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    // The test program may stand where nobody else may look; a copy here may be run by all.
    let program = world.path("actor");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    world.unit(
        "web",
        "[service]\nexec_start = \"@/actor actor show @/home/shown\"\nuser = \"nobody\"\ngroup = \"daemon\"\n\
         supplementary_groups = [\"adm\", \"tty\"]\numask = \"0027\"\nworking_directory = \"@/home\"\nnice = 7\n\
         limit_nofile = \"100:200\"\nlimit_core = 0\nno_new_privileges = true\noom_score_adjust = 300\n",
    );
    world.start();
    let shown = shown(&world, "home/shown");
    let group = |name: &str| nix::unistd::Group::from_name(name).unwrap().unwrap().gid.as_raw();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw().to_string();
    assert_eq!(status_field(&shown, "Uid").split_whitespace().collect::<Vec<_>>(), [&nobody; 4]);
    let daemon = group("daemon").to_string();
    assert_eq!(status_field(&shown, "Gid").split_whitespace().collect::<Vec<_>>(), [&daemon; 4]);
    let mut groups: Vec<u32> = status_field(&shown, "Groups").split_whitespace().map(|g| g.parse().unwrap()).collect();
    groups.retain(|gid| *gid != group("daemon"));
    let nogroup = nix::unistd::User::from_name("nobody").unwrap().unwrap().gid.as_raw();
    groups.retain(|gid| *gid != nogroup);
    let mut wanted = [group("adm"), group("tty")];
    groups.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(groups, wanted, "and not root's");
    assert_eq!(status_field(&shown, "Umask"), "0027");
    assert_eq!(status_field(&shown, "NoNewPrivs"), "1");
    assert_eq!(shown["folder"], world.path("home").display().to_string());
    assert_eq!(limit(&shown, "Max open files"), ("100".to_owned(), "200".to_owned()));
    assert_eq!(limit(&shown, "Max core file size"), ("0".to_owned(), "0".to_owned()));
    assert_eq!(shown["oom_score_adj"].as_str().unwrap().trim(), "300");
    let nice = shown["stat"].as_str().unwrap().rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap();
    assert_eq!(nice, "7");
    let variables = shown["variables"].as_object().unwrap();
    assert_eq!(variables["USER"], "nobody");
    assert_eq!(variables["LOGNAME"], "nobody");
    assert!(!variables.contains_key("LISTEN_FDS"), "no sockets, no word of sockets");
}

pub(crate) fn a_service_begins_with_no_signal_blocked_and_sigpipe_as_its_unit_says() {
    // Not the test program: Rust's start-up ignores SIGPIPE by itself.
    let looks = "[service]\ntype = \"oneshot\"\nexec_start = \"/bin/grep -h ^Sig /proc/self/status\"\n";
    let world = World::with(&[("usual", looks), ("other", &format!("{looks}ignore_sigpipe = false\n"))]);
    for (unit, ignored) in [("usual", "0000000000001000"), ("other", "0000000000000000")] {
        let text = until("it has looked", || Some(world.captured(unit)).filter(|text| text.contains("SigCgt")));
        let set = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        assert_eq!((set("SigBlk:").as_str(), set("SigIgn:").as_str()), ("0000000000000000", ignored), "{unit}");
    }
}

pub(crate) fn a_service_that_says_nothing_of_open_files_has_as_many_as_under_systemd() {
    let world = World::with(&[("web", &actor::unit("show @/shown", ""))]);
    let of = |pid: i32| serde_json::json!({"limits": fs::read_to_string(format!("/proc/{pid}/limits")).unwrap()});
    let open_files = |shown: &Value| {
        let (soft, hard) = limit(shown, "Max open files");
        (soft.parse::<u64>().unwrap(), hard.parse::<u64>().unwrap())
    };
    let (_, own) = open_files(&of(i32::try_from(std::process::id()).unwrap()));
    assert_eq!(open_files(&shown(&world, "shown")), (own.min(1024), own.min(524_288)));
    for pid in [world.keeper(), world.manager()] {
        assert_eq!(open_files(&of(pid)), (own, own), "the daemon needs all that there are");
    }
}

pub(crate) fn what_the_host_does_not_let_it_have_is_shown_also_by_the_next_manager() {
    let own = fs::read_to_string("/proc/self/limits").unwrap();
    let hard = own.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().nth(4).unwrap();
    // More than any kernel gives.
    let wanted = hard.parse::<u64>().map_or(u64::MAX - 1, |hard| hard.max(1 << 30) + 1);
    let world = World::with(&[
        ("web", &format!("[service]\nexec_start = 'sleep 1000'\nlimit_nofile = '100:{wanted}'\n")),
        ("other", "[service]\nexec_start = 'sleep 1000'\n"),
    ]);
    let status = world.until_status("web", "it runs or failed", |status| status["active"] != "activating");
    if status["active"] == "failed" {
        // The host lets us raise limits, and its kernel has one of its own: the start fails by name.
        return;
    }
    let look = |what: &str| {
        let status = world.until_status("web", what, |status| !status["lowered"].is_null());
        assert_eq!(status["lowered"], serde_json::json!(["a hard limit"]));
        assert!(world.status("other")["lowered"].is_null());
        let shown = world.ok(&["status", "web"]).out;
        assert!(shown.contains("The host lets it have less than its unit asks for: a hard limit"), "{shown}");
    };
    look("it is shown");
    let up = world.managers_up();
    world.kill_manager();
    until("another manager took over", || (world.managers_up() > up).then_some(()));
    look("it is shown by the next manager");
    world.ok(&["stop", "web"]);
    assert!(world.status("web")["lowered"].is_null(), "of a service that is down it does not matter");
}
