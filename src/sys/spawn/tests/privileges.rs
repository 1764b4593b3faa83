//! Whom a child becomes, and when it runs.

use super::*;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A line of /proc/PID/status of a program that was started so.
fn status(change: impl Fn(&mut Program<'_>)) -> impl Fn(&str) -> String {
    let (output, _, outcome) = run_as(c"/bin/cat", &[text("cat"), text("/proc/self/status")], change);
    assert_eq!(outcome, Outcome::Executed);
    move |name| {
        let line = output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim().to_owned()
    }
}

const CHOWN: u64 = 1 << 0;
const KILL: u64 = 1 << 5;
const BIND: u64 = 1 << 10;

fn set(bits: u64) -> String {
    format!("{bits:016x}")
}

#[test]
fn a_user_has_its_ambient_capabilities_and_no_others() {
    if !is_root() {
        return;
    }
    let status = status(|program| {
        program.user = Some(User { uid: 12_345, gid: 23_456, groups: &[] });
        program.privileges.bounding = Some(CHOWN | KILL | BIND);
        program.privileges.ambient = CHOWN | BIND;
        program.privileges.secure_bits = 1; // noroot
    });
    for (name, bits) in
        [("CapBnd", CHOWN | KILL | BIND), ("CapInh", CHOWN | BIND), ("CapPrm", CHOWN | BIND), ("CapEff", CHOWN | BIND)]
    {
        assert_eq!(status(name), set(bits), "{name}");
    }
    assert_eq!(status("CapAmb"), set(CHOWN | BIND));
}

#[test]
fn root_keeps_what_the_bounding_set_leaves() {
    if !is_root() {
        return;
    }
    let status = status(|program| program.privileges.bounding = Some(KILL));
    for name in ["CapBnd", "CapPrm", "CapEff"] {
        assert_eq!(status(name), set(KILL), "{name}");
    }
    assert_eq!(status("CapInh"), set(0));
}

#[test]
fn a_user_without_ambient_capabilities_has_none() {
    if !is_root() {
        return;
    }
    for secure_bits in [0, 1 << 4] {
        let status = status(|program| {
            program.user = Some(User { uid: 12_345, gid: 23_456, groups: &[] });
            program.privileges.secure_bits = secure_bits;
        });
        assert_eq!(status("CapEff") + &status("CapPrm") + &status("CapAmb"), set(0).repeat(3));
    }
}

#[test]
fn a_capability_that_we_lack_is_a_failure_of_its_own() {
    if !is_root() {
        return;
    }
    let refused = failure(c"/bin/true", |program| program.privileges.ambient = 1 << 63);
    assert_eq!(refused.step, SpawnStep::Capabilities);
}

#[test]
fn a_root_directory_is_the_root_and_the_working_directory_is_below_it() {
    if !is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("inside")).unwrap();
    let path: &'static CStr = Box::leak(text(root.path().to_str().unwrap()).into_boxed_c_str());
    let jailed = |program: &mut Program<'_>| {
        program.root = Some(path);
        program.cwd = c"/inside";
    };
    // No program is in there, so the step after the directory fails.
    assert_eq!(failure(c"/bin/true", jailed), SpawnFailure { step: SpawnStep::Exec, errno: libc::ENOENT });
    let outside = |program: &mut Program<'_>| {
        program.root = Some(path);
        program.cwd = c"/usr";
    };
    assert_eq!(failure(c"/bin/true", outside), SpawnFailure { step: SpawnStep::Chdir, errno: libc::ENOENT });
    let nowhere = failure(c"/bin/true", |program| program.root = Some(c"/nonexistent"));
    assert_eq!(nowhere, SpawnFailure { step: SpawnStep::Chroot, errno: libc::ENOENT });
}

#[test]
fn a_working_directory_may_be_missing_where_that_is_said() {
    let (output, _, _) = run("pwd", |program| {
        program.cwd = c"/nonexistent";
        program.cwd_may_miss = true;
    });
    assert_eq!(output, "/\n");
}

#[test]
fn it_runs_when_and_where_it_is_told() {
    let slack = "cat /proc/self/timerslack_ns";
    let (output, status, _) = run(&format!("chrt -p $$; taskset -p $$; ionice -p $$; {slack}; uname -m"), |program| {
        program.schedule = Schedule {
            cpu: Some(CpuScheduling { policy: 3, priority: 0 }), // SCHED_BATCH
            affinity: &[1],
            io_priority: Some(2 << 13 | 6),
            timer_slack: Some(1_234_567),
            personality: Some(8),
        };
    });
    assert_eq!(status, ExitStatus::Exited(0), "{output}");
    for part in ["SCHED_BATCH", "affinity mask: 1", "best-effort: prio 6", "1234567"] {
        assert!(output.contains(part), "{part}: {output}");
    }
    let machine = if cfg!(target_arch = "x86_64") { "i686" } else { "armv" };
    assert!(output.contains(machine), "{output}");
}

#[test]
fn a_schedule_that_is_refused_names_its_step() {
    let none = Schedule::default();
    let cases: [(Schedule<'static>, SpawnStep); 3] = [
        (Schedule { cpu: Some(CpuScheduling { policy: 99, priority: 0 }), ..none }, SpawnStep::SetScheduler),
        (Schedule { affinity: &[0, 0], ..none }, SpawnStep::CpuAffinity),
        (Schedule { io_priority: Some(7 << 13), ..none }, SpawnStep::IoPriority),
    ];
    for (schedule, step) in cases {
        let refused = failure(c"/bin/true", |program| program.schedule = schedule);
        assert_eq!(refused, SpawnFailure { step, errno: libc::EINVAL });
    }
}

#[test]
fn a_private_keyring_is_not_ours() {
    let argv = [text("cat"), text("/proc/keys")];
    let session = |keyring: Keyring| {
        let (output, _, outcome) = run_as(c"/bin/cat", &argv, |program| program.privileges.keyring = keyring);
        assert_eq!(outcome, Outcome::Executed);
        output
    };
    // Where keys are not to be had, nothing is shown and nothing fails.
    for keyring in [Keyring::Private, Keyring::Shared] {
        let shown = session(keyring);
        assert!(shown.is_empty() || shown.contains("keyring   _ses"), "{shown}");
    }
}
