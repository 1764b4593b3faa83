//! The same settings under a real systemd and under us, on one machine: the same program, shut in by the one and by the
//! other, sees the same and may the same.

use std::collections::BTreeMap;

use crate::machine::{Machine, eventually};

/// What the program tries, in each row.
const WORDS: &[&str] = &[
    "list /home",
    "list /root",
    "list /run/user",
    "list /srv/full",
    "list /srv/empty",
    "list /usr/lib/modules",
    "write /",
    "write /usr",
    "write /boot",
    "write /etc",
    "write /var/lib",
    "write /var/tmp",
    "write /tmp",
    "write /home",
    "write /root",
    "write /run",
    "write /srv/full",
    "write /srv/empty",
    "write /dev",
    "write /dev/shm",
    "write /dev/null",
    "write /proc/sys/kernel/domainname",
    "read /proc/kallsyms",
    "read /proc/uptime",
    "read /dev/kmsg",
    "read /dev/zero",
    "mount /",
    "mount /usr",
    "mount /etc",
    "mount /home",
    "mount /root",
    "mount /run",
    "mount /run/user",
    "mount /proc",
    "mount /sys",
    "mount /sys/fs/cgroup",
    "mount /dev",
    "mount /dev/shm",
    "mount /dev/pts",
    "mount /tmp",
    "mount /var/tmp",
    "mount /srv/full",
    "mount /srv/empty",
    "mknod",
    "suid",
    "suid_new",
    "tmp_exec",
    "devices",
    "processes",
    "interfaces",
    "hostname",
    "call mmap_write_exec",
    "call mmap_write",
    "call mprotect_exec",
    "call personality",
    "call unshare_mount",
    "call unshare_user",
    "call unshare_nothing",
    "call setns",
    "call clone3",
    "call realtime",
    "call batch",
    "call sethostname",
    "call syslog",
    "call clock_settime",
    "call delete_module",
    "call iopl",
    "call mount",
    "call reboot",
    "call uname",
    "call getpriority",
    "call socket_unix",
    "call socket_inet",
    "call socket_inet6",
    "call socket_netlink",
    "call socket_packet",
    "status CapBnd",
    "status CapEff",
    "status NoNewPrivs",
    "status Seccomp",
];

/// A name, systemd's lines, ours.
const TABLE: &[(&str, &str, &str)] = &[
    ("nothing", "", ""),
    ("system-yes", "ProtectSystem=yes", "protect_system = true"),
    ("system-full", "ProtectSystem=full", "protect_system = 'full'"),
    ("system-strict", "ProtectSystem=strict", "protect_system = 'strict'"),
    (
        "strict-writable",
        "ProtectSystem=strict\nReadWritePaths=/var/lib -/none /srv/full\nReadOnlyPaths=/home\nProtectHome=yes",
        "protect_system = 'strict'\nread_write_paths = ['/var/lib', '-/none', '/srv/full']\nread_only_paths = '/home'\nprotect_home = true",
    ),
    ("home-yes", "ProtectHome=yes", "protect_home = true"),
    ("home-read-only", "ProtectHome=read-only", "protect_home = 'read-only'"),
    (
        "home-tmpfs",
        "ProtectHome=tmpfs\nBindPaths=/srv/full:/home/shown",
        "protect_home = 'tmpfs'\nbind_paths = '/srv/full:/home/shown'",
    ),
    ("read-only-root", "ReadOnlyPaths=/\nReadWritePaths=/srv", "read_only_paths = '/'\nread_write_paths = '/srv'"),
    ("inaccessible", "InaccessiblePaths=/srv/full -/none", "inaccessible_paths = ['/srv/full', '-/none']"),
    ("no-exec", "NoExecPaths=/tmp", "no_exec_paths = '/tmp'"),
    ("no-exec-root", "NoExecPaths=/\nExecPaths=/usr", "no_exec_paths = '/'\nexec_paths = '/usr'"),
    ("bind", "BindReadOnlyPaths=/srv/full:/srv/empty", "bind_read_only_paths = '/srv/full:/srv/empty'"),
    ("bind-norbind", "BindPaths=/srv/full:/srv/empty:norbind", "bind_paths = '/srv/full:/srv/empty:norbind'"),
    ("tmpfs", "TemporaryFileSystem=/srv/full:ro /srv/empty", "temporary_file_system = ['/srv/full:ro', '/srv/empty']"),
    ("private-tmp", "PrivateTmp=yes", "private_tmp = true"),
    ("private-tmp-strict", "PrivateTmp=yes\nProtectSystem=strict", "private_tmp = true\nprotect_system = 'strict'"),
    ("private-devices", "PrivateDevices=yes", "private_devices = true"),
    ("kernel-tunables", "ProtectKernelTunables=yes", "protect_kernel_tunables = true"),
    ("kernel-modules", "ProtectKernelModules=yes", "protect_kernel_modules = true"),
    ("kernel-logs", "ProtectKernelLogs=yes", "protect_kernel_logs = true"),
    ("control-groups", "ProtectControlGroups=yes", "protect_control_groups = true"),
    ("clock", "ProtectClock=yes", "protect_clock = true"),
    ("hostname", "ProtectHostname=yes", "protect_hostname = true"),
    ("proc-invisible", "ProtectProc=invisible\nUser=daemon", "protect_proc = 'invisible'\nuser = 'daemon'"),
    ("proc-subset", "ProcSubset=pid\nProtectKernelTunables=yes", "proc_subset = 'pid'\nprotect_kernel_tunables = true"),
    ("private-network", "PrivateNetwork=yes", "private_network = true"),
    ("private-ipc", "PrivateIPC=yes", "private_ipc = true"),
    ("private-mounts", "PrivateMounts=yes\nMountFlags=private", "private_mounts = true\nmount_flags = 'private'"),
    ("families", "RestrictAddressFamilies=AF_UNIX AF_INET6", "restrict_address_families = 'AF_UNIX AF_INET6'"),
    (
        "families-denied",
        "RestrictAddressFamilies=~AF_INET AF_PACKET",
        "restrict_address_families = '~AF_INET AF_PACKET'",
    ),
    ("families-none", "RestrictAddressFamilies=none", "restrict_address_families = 'none'"),
    ("namespaces", "RestrictNamespaces=yes", "restrict_namespaces = true"),
    ("namespaces-some", "RestrictNamespaces=~user", "restrict_namespaces = '~user'"),
    ("realtime", "RestrictRealtime=yes", "restrict_realtime = true"),
    ("suid-sgid", "RestrictSUIDSGID=yes", "restrict_suid_sgid = true"),
    ("write-execute", "MemoryDenyWriteExecute=yes", "memory_deny_write_execute = true"),
    ("personality", "LockPersonality=yes", "lock_personality = true"),
    ("native", "SystemCallArchitectures=native", "system_call_architectures = 'native'"),
    (
        "filter-allowed",
        "SystemCallFilter=@system-service @mount\nSystemCallFilter=~@resources getpriority:ENOTTY\nSystemCallErrorNumber=EXDEV",
        "system_call_filter = ['@system-service @mount', '~@resources getpriority:ENOTTY']\nsystem_call_error_number = 'EXDEV'",
    ),
    (
        "filter-denied",
        "SystemCallFilter=~@clock:EPERM @reboot @raw-io:ENOSYS getpriority:13\nSystemCallErrorNumber=EXDEV",
        "system_call_filter = '~@clock:EPERM @reboot @raw-io:ENOSYS getpriority:13'\nsystem_call_error_number = 'EXDEV'",
    ),
    (
        "as-user",
        "User=daemon\nProtectClock=yes\nProtectSystem=strict",
        "user = 'daemon'\nprotect_clock = true\nprotect_system = 'strict'",
    ),
    (
        "as-debian-has-it",
        "User=daemon\nPrivateTmp=yes\nPrivateDevices=yes\nProtectSystem=strict\nProtectHome=yes\nNoNewPrivileges=yes\n\
         ProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectKernelLogs=yes\nProtectControlGroups=yes\nProtectClock=yes\n\
         ProtectHostname=yes\nProtectProc=invisible\nRestrictRealtime=yes\nRestrictSUIDSGID=yes\nRestrictNamespaces=yes\n\
         LockPersonality=yes\nMemoryDenyWriteExecute=yes\nSystemCallArchitectures=native\nReadWritePaths=/srv/full\n\
         RestrictAddressFamilies=AF_UNIX AF_INET\nSystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\n\
         SystemCallErrorNumber=EPERM",
        "user = 'daemon'\nprivate_tmp = true\nprivate_devices = true\nprotect_system = 'strict'\nprotect_home = true\n\
         no_new_privileges = true\nprotect_kernel_tunables = true\nprotect_kernel_modules = true\nprotect_kernel_logs = true\n\
         protect_control_groups = true\nprotect_clock = true\nprotect_hostname = true\nprotect_proc = 'invisible'\n\
         restrict_realtime = true\nrestrict_suid_sgid = true\nrestrict_namespaces = true\nlock_personality = true\n\
         memory_deny_write_execute = true\nsystem_call_architectures = 'native'\nread_write_paths = '/srv/full'\n\
         restrict_address_families = 'AF_UNIX AF_INET'\nsystem_call_filter = ['@system-service', '~@privileged @resources']\n\
         system_call_error_number = 'EPERM'",
    ),
];

/// What is tried below a root as well.
const WORDS_BELOW: &[&str] = &[
    "list /",
    "list /run/systemd/journal",
    "list /run/credentials",
    "write /var/lib/own",
    "write /run/own",
    "write /opt",
    "read /file",
    "read /opt/link/file",
    "mount /var/lib/own",
    "mount /run/own",
    "mount /run/credentials",
    "mount /opt/link",
];

/// The same for services whose root is /srv/jail, which holds what the machine itself does for these tests.
const TABLE_BELOW: &[(&str, &str, &str)] = &[
    ("plain", "", ""),
    ("no-api", "MountAPIVFS=no\nBindPaths=/proc", "mount_api_vfs = false\nbind_paths = ['/proc']"),
    ("system-yes", "ProtectSystem=yes", "protect_system = true"),
    (
        "strict",
        "ProtectSystem=strict\nReadWritePaths=+/opt /srv/jail/srv/full -/srv/empty -+/none\nPrivateTmp=yes",
        "protect_system = 'strict'\nread_write_paths = ['+/opt', '/srv/jail/srv/full', '-/srv/empty', '-+/none']\n\
         private_tmp = true",
    ),
    ("home-yes", "ProtectHome=yes", "protect_home = true"),
    ("home-read-only", "ProtectHome=read-only", "protect_home = 'read-only'"),
    (
        "listed",
        "ReadOnlyPaths=+/opt /srv/full\nInaccessiblePaths=+/home /srv/jail/srv/empty\nNoExecPaths=+/tmp",
        "read_only_paths = ['+/opt', '/srv/full']\ninaccessible_paths = ['+/home', '/srv/jail/srv/empty']\n\
         no_exec_paths = '+/tmp'",
    ),
    (
        "bind",
        "BindPaths=/srv/full:/opt/link /srv/full:/new/place",
        "bind_paths = ['/srv/full:/opt/link', '/srv/full:/new/place']",
    ),
    ("tmpfs", "TemporaryFileSystem=/opt:ro /srv/empty", "temporary_file_system = ['/opt:ro', '/srv/empty']"),
    ("private-tmp", "PrivateTmp=yes", "private_tmp = true"),
    ("private-devices", "PrivateDevices=yes", "private_devices = true"),
    (
        "kernel",
        "ProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectKernelLogs=yes\nProtectControlGroups=yes",
        "protect_kernel_tunables = true\nprotect_kernel_modules = true\nprotect_kernel_logs = true\n\
         protect_control_groups = true",
    ),
    (
        "tunables-no-api",
        "ProtectKernelTunables=yes\nMountAPIVFS=no",
        "protect_kernel_tunables = true\nmount_api_vfs = false",
    ),
    ("proc", "ProtectProc=invisible\nUser=daemon", "protect_proc = 'invisible'\nuser = 'daemon'"),
    ("ipc", "PrivateIPC=yes", "private_ipc = true"),
    (
        "own",
        "StateDirectory=own\nRuntimeDirectory=own\nSetCredential=key:value\nUser=daemon\nProtectSystem=strict\nPrivateTmp=yes",
        "state_directory = 'own'\nruntime_directory = 'own'\nset_credential = 'key:value'\nuser = 'daemon'\n\
         protect_system = 'strict'\nprivate_tmp = true",
    ),
    (
        "plus",
        "StateDirectory=own\nUser=daemon\nPrivateTmp=yes\nProtectSystem=strict\nLockPersonality=yes\nBindPaths=/proc\n\
         TemporaryFileSystem=/opt",
        "state_directory = 'own'\nuser = 'daemon'\nprivate_tmp = true\nprotect_system = 'strict'\nlock_personality = true\n\
         bind_paths = ['/proc']\ntemporary_file_system = '/opt'",
    ),
    (
        "bang",
        "StateDirectory=own\nUser=daemon\nPrivateTmp=yes\nProtectSystem=strict\nTemporaryFileSystem=/opt",
        "state_directory = 'own'\nuser = 'daemon'\nprivate_tmp = true\nprotect_system = 'strict'\ntemporary_file_system = '/opt'",
    ),
    (
        "own-no-api",
        "StateDirectory=own\nUser=daemon\nPrivateTmp=yes\nMountAPIVFS=no\nBindPaths=/proc /dev/null",
        "state_directory = 'own'\nuser = 'daemon'\nprivate_tmp = true\nmount_api_vfs = false\nbind_paths = ['/proc', '/dev/null']",
    ),
    (
        "everything",
        "User=daemon\nPrivateTmp=yes\nPrivateDevices=yes\nProtectSystem=strict\nProtectHome=yes\nNoNewPrivileges=yes\n\
         ProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectKernelLogs=yes\nProtectControlGroups=yes\n\
         ProtectProc=invisible\nStateDirectory=own\nReadWritePaths=+/opt",
        "user = 'daemon'\nprivate_tmp = true\nprivate_devices = true\nprotect_system = 'strict'\nprotect_home = true\n\
         no_new_privileges = true\nprotect_kernel_tunables = true\nprotect_kernel_modules = true\n\
         protect_kernel_logs = true\nprotect_control_groups = true\nprotect_proc = 'invisible'\nstate_directory = 'own'\n\
         read_write_paths = '+/opt'",
    ),
];

/// One setting under both.
struct Row {
    name: String,
    command: String,
    words: usize,
    theirs: String,
    own: String,
}

impl Row {
    fn of(&(name, theirs, own): &(&str, &str, &str)) -> Self {
        let command = format!("/usr/bin/perl /run/probe.pl {}", WORDS.join(" "));
        Self { name: name.to_owned(), command, words: WORDS.len(), theirs: theirs.to_owned(), own: own.to_owned() }
    }

    fn below(&(name, theirs, own): &(&str, &str, &str)) -> Self {
        let words = [WORDS, WORDS_BELOW].concat();
        let prefix = match name {
            "plus" => "+",
            "bang" => "!",
            _ => "",
        };
        // What programs need is bound, as a root has it itself.
        let programs = ["/usr", "/usr/bin:/bin", "/usr/lib:/lib", "/usr/lib64:/lib64"];
        let theirs = format!("RootDirectory=/srv/jail\nBindPaths={}\n{theirs}", programs.join(" "));
        let (binds, more) = match own.split_once("bind_paths = [") {
            Some((before, after)) => (format!("{before}bind_paths = ['{}', {after}", programs.join("', '")), ""),
            None => (format!("bind_paths = {programs:?}"), own),
        };
        Self {
            name: format!("below-{name}"),
            command: format!("{prefix}/usr/bin/perl /probe.pl {}", words.join(" ")),
            words: words.len(),
            theirs,
            own: format!("root_directory = '/srv/jail'\n{binds}\n{more}"),
        }
    }
}

/// Where we differ on purpose: the row, the word, what systemd does, what we do.
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
    // Its manual says that they are read-only.
    ("home-tmpfs", "write /home", "ok", "EROFS"),
    ("home-tmpfs", "write /root", "ok", "EROFS"),
    ("home-tmpfs", "mount /home", "rw", "ro"),
    ("home-tmpfs", "mount /root", "rw", "ro"),
    ("home-tmpfs", "mount /run/user", "rw", "ro"),
    // It mounts a new /proc as well, which undoes what is read-only in the one of this machine.
    ("control-groups", "write /proc/sys/kernel/domainname", "ok", "EROFS"),
    // With so much at a time it leaves /run writable, which its manual does not say.
    ("as-debian-has-it", "write /run", "EACCES", "EROFS"),
    ("as-debian-has-it", "mount /run", "rw", "ro"),
    // An empty directory, and a link to where its journal would be.
    ("private-devices", "devices", SYSTEMDS_DEVICES, OUR_DEVICES),
    ("as-debian-has-it", "devices", SYSTEMDS_DEVICES, OUR_DEVICES),
    ("below-private-devices", "devices", SYSTEMDS_DEVICES, OUR_DEVICES),
    ("below-everything", "devices", SYSTEMDS_DEVICES, OUR_DEVICES),
    // It means a mode of 0755 and forgets it: there everyone may write into the root's /run.
    ("below-proc", "write /run", "ok", "EACCES"),
    ("below-proc", "write /run/own", "ok", "EACCES"),
    ("below-own", "write /run", "ok", "EACCES"),
    ("below-everything", "write /run", "ok", "EACCES"),
    ("below-everything", "write /run/own", "ok", "EACCES"),
    // A file system of its own for one directory, in a /run that is empty anyway.
    ("below-own", "mount /run/credentials", "ro,noexec", "rw"),
];
const SYSTEMDS_DEVICES: &str =
    "char fd full hugepages log mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
const OUR_DEVICES: &str = "fd full hugepages mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";

fn lines(text: &str) -> Vec<String> {
    text.lines().take_while(|line| *line != "end").map(str::to_owned).collect()
}

/// What the program has said in our log of it, which may not be there yet.
fn ours(machine: &Machine, name: &str) -> String {
    machine.run(&["sh", "-c", &format!("cat /var/log/roundsman/{name}/*.log 2>&- || :")])
}

#[test]
fn the_same_settings_make_the_same_sandbox() {
    let program = include_str!("../support/sandbox-probe.pl").to_owned();
    let mut files = vec![
        ("run/probe.pl".to_owned(), program.clone()),
        ("srv/jail/probe.pl".to_owned(), program),
        ("run/said/.keep".to_owned(), String::new()),
        ("home/shown/.keep".to_owned(), String::new()),
        ("run/user/0/file".to_owned(), "x".to_owned()),
    ];
    for root in ["", "srv/jail/"] {
        for name in ["srv/full/file", "home/me/file", "root/file"] {
            files.push((format!("{root}{name}"), "x".to_owned()));
        }
        files.push((format!("{root}srv/empty/.keep"), String::new()));
    }
    for name in ["boot", "dev/shm", "etc", "opt", "opt/link", "tmp", "var/tmp", "var/lib"] {
        files.push((format!("srv/jail/{name}/.keep"), String::new()));
    }
    files.push(("srv/jail/dev/null".to_owned(), String::new()));
    let rows: Vec<Row> = TABLE.iter().map(Row::of).chain(TABLE_BELOW.iter().map(Row::below)).collect();
    for Row { name, command, theirs, own, .. } in &rows {
        let unit =
            format!("[Service]\nType=oneshot\nExecStart={command}\nStandardOutput=file:/run/said/{name}\n{theirs}\n");
        files.push((format!("etc/systemd/system/probe-{name}.service"), unit));
        let unit = format!("[service]\ntype = 'oneshot'\nexec_start = '{command}'\n{own}\n");
        files.push((format!("etc/roundsman/units/{name}.toml"), unit));
    }
    let machine = Machine::boot(&files);
    machine.systemctl(&["start", "roundsman"]);
    let known: BTreeMap<_, _> =
        DIFFERENCES.iter().map(|(row, word, theirs, own)| ((*row, *word), (*theirs, *own))).collect();
    let mut found = Vec::new();
    for Row { name, words, .. } in &rows {
        let unit = format!("probe-{name}");
        let started = machine.run(&[
            "sh",
            "-c",
            &format!("systemctl start {unit} || systemctl show {unit} -p Result,ExecMainStatus"),
        ]);
        assert_eq!(started, "", "{name}: {}", machine.read(&format!("run/said/{name}")));
        let theirs = lines(&machine.read(&format!("run/said/{name}")));
        let mut own = String::new();
        eventually(&format!("{name} has tried everything"), || {
            own = ours(&machine, name);
            own.ends_with("end")
        });
        let own = lines(&own);
        assert_eq!((theirs.len(), own.len()), (*words, *words), "{name}: {theirs:#?} {own:#?}");
        for (their, own) in theirs.iter().zip(&own) {
            let (word, their) = their.split_once(": ").unwrap_or_default();
            let (_, own) = own.split_once(": ").unwrap_or_default();
            if their != own && known.get(&(name.as_str(), word)) != Some(&(their, own)) {
                found.push(format!("{name}, {word}: systemd {their}, we {own}"));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
