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
    for set in ["SigBlk", "SigIgn"] {
        // SIGPIPE is ignored unless the unit says otherwise (systemd.exec(5)).
        let wanted = if set == "SigIgn" { "0000000000001000" } else { "0000000000000000" };
        assert_eq!(status_field(&shown, set), wanted, "{set}");
    }
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
         limit_nofile = \"100:200\"\nlimit_core = 0\nno_new_privileges = true\noom_score_adjust = 300\nignore_sigpipe = false\n",
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
    (groups.sort_unstable(), wanted.sort_unstable());
    assert_eq!(groups, wanted, "and not root's");
    assert_eq!(status_field(&shown, "Umask"), "0027");
    assert_eq!(status_field(&shown, "NoNewPrivs"), "1");
    assert_eq!(status_field(&shown, "SigIgn"), "0000000000000000");
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
