//! Services that are shut in, and try what they may not. Each is also started without its sandbox, where it can.
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::support::{
    process::{Signal, kill, lives, need_root, until},
    world::World,
};

/// A program that tries things, where no sandbox hides it.
struct Probe {
    folder: tempfile::TempDir,
}

impl Probe {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("roundsman-test-").tempdir_in("/run").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let probe = Self { folder };
        fs::write(probe.path("probe.pl"), include_str!("../support/sandbox-probe.pl")).unwrap();
        for name in ["full", "other"] {
            fs::create_dir(probe.path(name)).unwrap();
        }
        fs::write(probe.path("full/file"), "x").unwrap();
        probe
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `$` in settings and words is the folder.
    fn text(&self, text: &str) -> String {
        text.replace('$', &self.folder.path().display().to_string())
    }

    fn unit(&self, settings: &str, words: &str) -> String {
        let program = self.path("probe.pl");
        let text = format!(
            "[service]\ntype = \"oneshot\"\nexec_start = \"/usr/bin/perl {} {words}\"\n{settings}\n",
            program.display()
        );
        self.text(&text)
    }
}

/// What a probe said, as soon as it has said all.
fn said(world: &World, unit: &str) -> Vec<String> {
    let text = until("it has tried everything", || Some(world.captured(unit)).filter(|text| text.ends_with("end\n")));
    text.lines().filter(|line| *line != "end").map(str::to_owned).collect()
}

/// Settings, what is tried, what comes of it in the sandbox, and outside of it; `*` is anything else.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const TABLE: &[Row] = &[
    ("protect_system", "protect_system = true", &[("write /usr", "EROFS|ok"), ("write /etc", "ok|ok")]),
    ("protect_system_full", "protect_system = \"full\"", &[("write /usr", "EROFS|ok"), ("write /etc", "EROFS|ok")]),
    (
        "protect_system_strict",
        "protect_system = \"strict\"\nread_write_paths = \"$/other\"",
        &[
            ("write /var/lib", "EROFS|ok"),
            ("write $/full", "EROFS|ok"),
            ("write $/other", "ok|ok"),
            ("write /dev/shm", "ok|ok"),
        ],
    ),
    ("protect_home", "protect_home = true", &[("list /root", "nothing|something")]),
    (
        "protect_home_read_only",
        "protect_home = \"read-only\"",
        &[("write /root", "EROFS|ok"), ("list /root", "something|something")],
    ),
    (
        "protect_home_tmpfs",
        "protect_home = \"tmpfs\"",
        &[("list /root", "nothing|something"), ("write /root", "EROFS|ok")],
    ),
    ("read_only_paths", "read_only_paths = \"$/full\"", &[("write $/full", "EROFS|ok"), ("write $/other", "ok|ok")]),
    (
        "inaccessible_paths",
        "inaccessible_paths = [\"$/full\", \"-$/none\"]",
        &[("list $/full", "nothing|something"), ("write $/full", "EROFS|ok")],
    ),
    (
        "inaccessible_file",
        "inaccessible_paths = \"$/full/file\"",
        &[("read $/full/file", "nothing|something"), ("write $/full/file", "EROFS|ok")],
    ),
    ("no_exec_paths", "no_exec_paths = \"/tmp\"", &[("tmp_exec", "EACCES|ok")]),
    (
        "bind_read_only_paths",
        "bind_read_only_paths = \"$/full:$/other\"",
        &[("list $/other", "something|nothing"), ("write $/other", "EROFS|ok")],
    ),
    ("bind_paths", "bind_paths = \"$/full:$/new/place\"", &[("list $/new/place", "something|*")]),
    (
        "temporary_file_system",
        "temporary_file_system = \"$/full\"",
        &[("list $/full", "nothing|something"), ("write $/full", "ok|ok")],
    ),
    (
        "private_tmp",
        "private_tmp = true",
        &[("list /tmp", "nothing|something"), ("write /tmp", "ok|ok"), ("list /var/tmp", "nothing|*")],
    ),
    (
        "private_devices",
        "private_devices = true",
        &[
            ("mknod", "EPERM|ok"),
            ("write /dev", "EROFS|ok"),
            ("call iopl", "EPERM|*"),
            ("read /dev/zero", "something|something"),
            ("write /dev/null", "ok|ok"),
            ("write /dev/shm", "ok|ok"),
        ],
    ),
    (
        "protect_kernel_tunables",
        "protect_kernel_tunables = true",
        &[
            ("write /proc/sys/kernel/domainname", "EROFS|ok"),
            ("mount /sys", "ro|*"),
            ("read /proc/kallsyms", "nothing|something"),
        ],
    ),
    ("protect_kernel_modules", "protect_kernel_modules = true", &[("call delete_module", "EPERM|*")]),
    (
        "protect_kernel_logs",
        "protect_kernel_logs = true",
        &[("call syslog", "EPERM|ok"), ("read /dev/kmsg", "EACCES|*")],
    ),
    ("protect_control_groups", "protect_control_groups = true", &[("mount /sys/fs/cgroup", "ro|rw")]),
    ("protect_clock", "protect_clock = true", &[("call clock_settime", "EPERM|EFAULT")]),
    ("protect_hostname", "protect_hostname = true", &[("call sethostname", "EPERM|ok")]),
    ("protect_proc", "protect_proc = \"invisible\"\nuser = \"nobody\"", &[("processes", "own only|others")]),
    ("proc_subset", "proc_subset = \"pid\"", &[("read /proc/uptime", "ENOENT|something")]),
    ("private_network", "private_network = true", &[("interfaces", "lo|others"), ("call socket_inet", "ok|ok")]),
    (
        "restrict_address_families",
        "restrict_address_families = [\"AF_UNIX AF_INET6\"]",
        &[("call socket_inet", "EAFNOSUPPORT|ok"), ("call socket_unix", "ok|ok"), ("call socket_inet6", "ok|ok")],
    ),
    (
        "deny_address_families",
        "restrict_address_families = \"~AF_INET\"",
        &[("call socket_inet", "EAFNOSUPPORT|ok"), ("call socket_unix", "ok|ok")],
    ),
    (
        "restrict_namespaces",
        "restrict_namespaces = true",
        &[
            ("call unshare_mount", "EPERM|ok"),
            ("call unshare_nothing", "ok|ok"),
            ("call clone3", "ENOSYS|EINVAL"),
            ("call setns", "EPERM|EBADF"),
        ],
    ),
    (
        "restrict_some_namespaces",
        "restrict_namespaces = \"mnt\"",
        &[("call unshare_user", "EPERM|ok"), ("call unshare_mount", "ok|ok")],
    ),
    ("restrict_realtime", "restrict_realtime = true", &[("call batch", "ok|ok"), ("call realtime", "EPERM|ok")]),
    ("restrict_suid_sgid", "restrict_suid_sgid = true", &[("suid", "EPERM|ok"), ("suid_new", "EPERM|ok")]),
    (
        "memory_deny_write_execute",
        "memory_deny_write_execute = true",
        &[("call mmap_write_exec", "EPERM|ok"), ("call mprotect_exec", "EPERM|ok"), ("call mmap_write", "ok|ok")],
    ),
    ("lock_personality", "lock_personality = true", &[("call personality", "EPERM|ok")]),
    (
        "system_call_filter",
        "system_call_filter = [\"@system-service\", \"~getpriority:ENOTTY\"]\nsystem_call_error_number = \"EXDEV\"",
        &[("call mount", "EXDEV|ENOENT"), ("call getpriority", "ENOTTY|ok"), ("write /dev/shm", "ok|ok")],
    ),
    (
        "filter_as_user",
        "user = \"nobody\"\nlock_personality = true",
        &[("status NoNewPrivs", "1|0"), ("status Seccomp", "2|0")],
    ),
    ("filter_as_root", "lock_personality = true", &[("status NoNewPrivs", "0|0"), ("status Seccomp", "2|0")]),
];

/// Keys that say who a service is, and not what it may.
fn without_sandbox(settings: &str) -> String {
    settings.lines().filter(|line| line.starts_with("user")).collect::<Vec<_>>().join("\n")
}

pub(crate) fn what_a_sandbox_forbids_cannot_be_done_and_can_without_it() {
    need_root("it makes namespaces");
    let probe = Probe::new();
    let mut world = World::new();
    for (name, settings, tries) in TABLE {
        let words: Vec<&str> = tries.iter().map(|(word, _)| *word).collect();
        let write = |name: &str, settings: &str| {
            fs::write(world.unit_path(name), probe.unit(settings, &words.join(" "))).unwrap();
        };
        write(name, settings);
        write(&format!("{name}-open"), &without_sandbox(settings));
    }
    world.start();
    let mut wrong = Vec::new();
    for (name, _, tries) in TABLE {
        let (inside, outside) = (said(&world, name), said(&world, &format!("{name}-open")));
        let mut forbids = false;
        for (at, (word, wanted)) in tries.iter().enumerate() {
            let (shut_in, open) = wanted.split_once('|').unwrap();
            let word = probe.text(word);
            let has = |said: &[String], wanted: &str| {
                wanted == "*" || said.get(at).is_some_and(|line| *line == format!("{word}: {wanted}"))
            };
            if !has(&inside, shut_in) || !has(&outside, open) {
                wrong.push(format!("{name}, {word}: wanted {wanted}, not {:?}, {:?}", inside.get(at), outside.get(at)));
            }
            forbids |= inside.get(at) != outside.get(at);
        }
        assert!(forbids, "{name} makes no difference: {inside:?}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

pub(crate) fn a_call_that_is_not_let_through_kills() {
    need_root("it makes filters");
    let probe = Probe::new();
    let world =
        World::with(&[("killed", &probe.unit("system_call_filter = \"~getpriority\"", "call uname call getpriority"))]);
    let status = world.until_active("killed", "failed");
    assert!(status["last_exit"].as_str().unwrap().contains("SIGSYS"), "{status:#}");
    assert_eq!(world.captured("killed"), "call uname: ok\n");
}

pub(crate) fn a_command_with_a_plus_is_not_shut_in() {
    need_root("it makes namespaces");
    let probe = Probe::new();
    let unit = probe.unit("protect_system = true\nlock_personality = true", "write /usr call personality");
    let world = World::with(&[("free", &unit.replace("\"/usr/bin/perl", "\"+/usr/bin/perl"))]);
    assert_eq!(said(&world, "free"), ["write /usr: ok", "call personality: ok"]);
}

/// What a start needs and is not there is named with its step, and its path in the log.
pub(crate) fn a_sandbox_that_cannot_be_set_up_fails_by_name() {
    need_root("it makes namespaces");
    let probe = Probe::new();
    let units = [("missing", probe.unit("read_only_paths = \"/nonexistent/path\"", "status Seccomp"))];
    let world = World::with(&[(units[0].0, &units[0].1)]);
    world.until_active("missing", "failed");
    let failed = world.until_notices("spawn_failed", 1);
    assert!(failed[0]["message"].as_str().unwrap().contains("namespace: no such file"), "{failed:#?}");
    until("it is in the log", || world.captured("missing").contains("sandbox at /nonexistent/path").then_some(()));
}

fn own_directories(world: &World) -> Vec<PathBuf> {
    let instance = instance(world);
    let places = ["/tmp", "/var/tmp"].map(|place| fs::read_dir(place).unwrap());
    let paths = places.into_iter().flatten().flatten().map(|entry| entry.path());
    paths.filter(|path| path.to_string_lossy().contains(&instance)).collect()
}

/// Named by the runtime directory, by FNV-1a.
fn instance(world: &World) -> String {
    let path = world.path("run").display().to_string();
    let hash = path
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("roundsman-private-{hash:016x}-")
}

pub(crate) fn a_runs_own_tmp_outlives_the_manager_and_goes_with_the_run() {
    need_root("it makes namespaces");
    // The second command of a run finds what the first has left.
    let dies = "[service]\nexec_start = \"/bin/sleep 100\"\nprivate_tmp = true\n";
    let keeps = "[service]\nexec_start_pre = \"/bin/touch /tmp/before\"\n\
                 exec_start = '''/bin/sh -c \"ls /tmp; trap 'ls /tmp; exit 0' TERM; while :; do sleep 100 & wait; done\"'''\n\
                 private_tmp = true\n";
    let world = World::with(&[("keeps", keeps), ("dies", dies)]);
    let pid = world.pid("keeps");
    until("it has looked", || (world.captured("keeps") == "before\n").then_some(()));
    let dying = world.pid("dies");
    assert_eq!(own_directories(&world).len(), 4);
    // The manager is away when one of the runs ends: the next one removes what is left.
    let manager = world.manager();
    kill(manager, Signal::SIGKILL);
    kill(dying, Signal::SIGKILL);
    until("it is dead", || (!lives(dying)).then_some(()));
    until("another manager answers", || {
        (world.managers_up() == 2 && world.status("dies")["active"] == "failed").then_some(())
    });
    until("what is left is removed", || (own_directories(&world).len() == 2).then_some(()));
    assert_eq!(world.pid("keeps"), pid);
    world.ok(&["stop", "keeps"]);
    assert_eq!(world.captured("keeps"), "before\nbefore\n", "it had it until its end");
    until("it goes with the run", || own_directories(&world).is_empty().then_some(()));
    world.ok(&["start", "keeps"]);
    until("a new run begins with nothing", || (world.captured("keeps") == "before\nbefore\nbefore\n").then_some(()));
    let made = own_directories(&world);
    assert!(made.iter().all(|path| fs::metadata(path).unwrap().permissions().mode() & 0o777 == 0o700), "{made:?}");
    let after = instance(&world);
    drop(world);
    let left =
        fs::read_dir("/tmp").unwrap().flatten().any(|entry| entry.file_name().to_string_lossy().contains(&after));
    assert!(!left, "the daemon's end leaves nothing");
}

/// As in a container that grants nothing.
pub(crate) fn what_the_host_cannot_do_is_refused_or_left_out_as_the_unit_says() {
    need_root("it takes a right away from root");
    let probe = Probe::new();
    let settings = "private_tmp = true\nprotect_system = true\nlock_personality = true";
    let mut world = World::new();
    world.unit("refused", &probe.unit(settings, "write /usr call personality"));
    let warned = format!("{settings}\nsandbox_fallback = \"warn\"");
    world.unit("warned", &probe.unit(&warned, "write /usr call personality status NoNewPrivs"));
    // A root is entered all the same, and holds no program.
    let root =
        format!("[service]\nexec_start = \"/bin/true\"\nroot_directory = \"{}\"\n", probe.folder.path().display());
    world.unit("root-refused", &root);
    world.unit("root-warned", &format!("{root}sandbox_fallback = \"warn\"\n"));
    let plain = world.command();
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-sys_admin").arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    let log = fs::File::options().create(true).append(true).open(world.path("daemon.log")).unwrap();
    let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    world.adopt(child);
    world.await_answer();
    let refused = world.until_active("refused", "failed");
    let unmet = "no mount namespaces (Operation not permitted) for private_tmp, protect_system";
    assert_eq!(refused["sandbox_unmet"], unmet);
    assert_eq!(world.captured("refused"), "");
    assert_eq!(said(&world, "warned"), ["write /usr: ok", "call personality: EPERM", "status NoNewPrivs: 1"]);
    assert_eq!(world.status("warned")["sandbox_unmet"], unmet);
    for (unit, why) in
        [("root-refused", "cannot set up the sandbox: no mount namespaces"), ("root-warned", "exec: no such file")]
    {
        let unmet = "no mount namespaces (Operation not permitted) for mount_api_vfs";
        assert_eq!(world.until_active(unit, "failed")["sandbox_unmet"], unmet);
        until("the reason is told", || world.ok(&["why", unit]).out.contains(why).then_some(()));
    }
    let shown = world.ctl(&["status", "warned"]).out;
    assert!(shown.contains(&format!("Sandbox: {unmet}")), "{shown}");
    assert!(world.log().contains("sandbox_fallback"), "the remedy is named");
    assert!(Path::new("/usr").exists());
}
