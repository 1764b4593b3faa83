//! What a daemon's main process is allowed and what it sees: what the directives of systemd.exec(5) come to.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::machine::Machine;

/// Lines of /proc/PID/status, proc_pid_status(5).
const STATUS: &[&str] = &[
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "SigIgn",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
];
/// Namespaces that a directive may give it.
const NAMESPACES: &[&str] = &["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
/// Paths that directives of the sandbox are about.
const PATHS: &[&str] = &[
    "",
    "boot",
    "dev",
    "dev/shm",
    "etc",
    "etc/redis",
    "home",
    "proc/sys",
    "root",
    "run",
    "run/log",
    "run/redis",
    "sys",
    "sys/fs/cgroup",
    "tmp",
    "usr",
    "usr/bin",
    "usr/bin/redis-server",
    "usr/lib",
    "usr/lib/modules",
    "var",
    "var/lib/haproxy/dev/log",
    "var/lib/redis",
    "var/log",
    "var/log/redis",
    "var/tmp",
];
/// Directories that it may see less of.
const FOLDERS: &[&str] = &["dev", "home", "root", "tmp", "var/tmp"];

/// glibc's own two (signal(7)); systemd passes them on as its parent had them.
const GLIBC_SIGNALS: u64 = 0x1_8000_0000;

/// What the process may and sees; empty without one.
pub(crate) fn seen(machine: &Machine, pid: u32) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    if pid == 0 {
        return seen;
    }
    let process = |path: &str| machine.path(&format!("proc/{pid}/{path}"));
    let read = |path: &str| fs::read_to_string(process(path)).expect("its main process lives");
    for (name, value) in read("status").lines().filter_map(|line| line.split_once(":\t")) {
        match name {
            "SigIgn" => {
                let ignored = u64::from_str_radix(value, 16).expect("a mask of signals") & !GLIBC_SIGNALS;
                seen.insert(name.to_owned(), format!("{ignored:016x}"));
            }
            _ if STATUS.contains(&name) => {
                seen.insert(name.to_owned(), value.to_owned());
            }
            _ => {}
        }
    }
    for line in read("limits").lines().filter(|line| line.len() > LIMIT_NAME_LEN) {
        let (name, values) = line.split_at(LIMIT_NAME_LEN);
        seen.insert(name.trim().to_owned(), values.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let namespace =
        |pid: u32, name| fs::read_link(machine.path(&format!("proc/{pid}/ns/{name}"))).expect("a namespace");
    for name in NAMESPACES {
        let is_own = namespace(pid, name) != namespace(1, name);
        seen.insert(format!("{name} namespace"), if is_own { "its own" } else { "the machine's" }.to_owned());
    }
    // Without new privileges nothing is set-user-ID, and programs do not lie in /proc and /sys.
    let no_suid = seen["NoNewPrivs"] == "1";
    for path in PATHS {
        let no_programs = path.starts_with("proc") || path.starts_with("sys");
        let moot = [(no_suid, FsFlags::ST_NOSUID), (no_programs, FsFlags::ST_NOEXEC)];
        let moot = moot.iter().filter(|(is_moot, _)| *is_moot).fold(FsFlags::empty(), |all, (_, flag)| all | *flag);
        seen.insert(format!("/{path}"), permitted(&process(&format!("root/{path}")), moot));
    }
    for path in FOLDERS {
        seen.insert(format!("/{path}/*"), names(&process(&format!("root/{path}"))));
    }
    for (name, number) in [("standard input", 0), ("standard output", 1), ("standard error", 2)] {
        let file = fs::read_link(process(&format!("fd/{number}"))).unwrap_or_default().to_string_lossy().into_owned();
        // We capture with a pipe, systemd with a socket.
        let is_captured = file.starts_with("pipe:") || file.starts_with("socket:");
        seen.insert(name.to_owned(), if is_captured { "captured".to_owned() } else { file });
    }
    seen.insert("oom_score_adj".to_owned(), read("oom_score_adj").trim().to_owned());
    seen
}

/// Where the values begin in a line of /proc/PID/limits.
const LIMIT_NAME_LEN: usize = 26;

/// What the mount says that one may do with what lies there; `moot` are flags that say nothing.
fn permitted(path: &Path, moot: FsFlags) -> String {
    let Ok(meta) = fs::metadata(path) else { return "none".to_owned() };
    let flags = statvfs(path).map(|place| place.flags() - moot).unwrap_or_else(|_| FsFlags::empty());
    let named = [(FsFlags::ST_RDONLY, "ro"), (FsFlags::ST_NOEXEC, "noexec"), (FsFlags::ST_NOSUID, "nosuid")];
    let mut words: Vec<&str> = named.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| *word).collect();
    if meta.permissions().mode() & 0o777 == 0 {
        words.push("shut");
    }
    if words.is_empty() { "free".to_owned() } else { words.join("+") }
}

/// What lies in a folder, but the private /tmp of others.
fn names(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with("systemd-private") && !name.starts_with("roundsman-private"));
    names.sort();
    names.join(" ")
}
