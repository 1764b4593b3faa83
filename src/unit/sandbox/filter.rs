//! The filter of system calls that a unit asks for, by itself or through what other settings imply (systemd.exec(5)).

use std::collections::BTreeMap;

use super::{
    bpf::{self, Condition, Fate, Rule, Table, Verdict},
    calls::{self, Machine},
    names::{NAMESPACES, errno},
};
use crate::{
    base::confinement::Instruction,
    unit::spec::{CallAnswer, CallRule, SandboxSpec, Switch},
};

/// The filter; empty when the unit asks for none.
pub(super) fn filter(spec: &SandboxSpec, machine: Machine) -> Vec<Instruction> {
    if wants(spec).next().is_none() {
        return Vec::new();
    }
    let listed = listed(spec);
    let logged = Listed::of(&spec.system_call_log, |_| Verdict::Log);
    let mut rules = rules(spec);
    let mut table = Table { calls: BTreeMap::new(), others: decide(&listed, &logged, None) };
    for name in calls::names() {
        if let Some(number) = calls::number(name, machine) {
            let verdict = decide(&listed, &logged, Some(name));
            // A rule's error is milder than what a list kills for.
            let rules = if verdict == Verdict::Kill { Vec::new() } else { rules.remove(name).unwrap_or_default() };
            table.calls.insert(number, Fate { rules, verdict });
        }
    }
    bpf::compile(&table, machine)
}

/// The keys that ask for a filter.
pub(super) fn wants(spec: &SandboxSpec) -> impl Iterator<Item = &'static str> {
    let lists = [
        (!spec.system_call_filter.is_empty(), "system_call_filter"),
        (!spec.system_call_log.is_empty(), "system_call_log"),
        (spec.restrict_address_families.is_some(), "restrict_address_families"),
        (spec.restrict_namespaces.is_some(), "restrict_namespaces"),
    ];
    let switches = spec.on.iter().filter(|switch| match switch {
        Switch::LockPersonality
        | Switch::MemoryDenyWriteExecute
        | Switch::PrivateDevices
        | Switch::ProtectClock
        | Switch::ProtectHostname
        | Switch::ProtectKernelLogs
        | Switch::ProtectKernelModules
        | Switch::ProtectKernelTunables
        | Switch::RestrictRealtime
        | Switch::RestrictSuidSgid
        | Switch::NativeCallsOnly => true,
        Switch::MountApiVfs
        | Switch::PrivateIpc
        | Switch::PrivateMounts
        | Switch::PrivateNetwork
        | Switch::PrivateTmp
        | Switch::ProtectControlGroups => false,
    });
    let lists = lists.into_iter().filter(|(wanted, _)| *wanted).map(|(_, key)| key);
    lists.chain(switches.map(Switch::as_str))
}

/// A list of calls, worked out.
struct Listed {
    /// The fate of each that is listed.
    calls: BTreeMap<String, Verdict>,
    /// Whether the first rule names what is allowed, or what is logged.
    allow: bool,
    /// The fate of all others.
    others: Verdict,
}

impl Listed {
    /// The first rule says of what kind the list is, later ones add to it or take from it.
    fn of(rules: &[CallRule], verdict: impl Fn(Option<CallAnswer>) -> Verdict) -> Self {
        let allow = rules.first().is_some_and(|rule| !rule.inverted);
        let mut calls = BTreeMap::new();
        for rule in rules {
            let adds = rule.inverted != allow || rule.answer.is_some();
            calls::expand(&rule.name, &mut |name| {
                if adds {
                    calls.insert(name.to_owned(), verdict(rule.answer));
                } else {
                    calls.remove(name);
                }
            });
        }
        Self { calls, allow, others: Verdict::Allow }
    }
}

fn listed(spec: &SandboxSpec) -> Listed {
    let refused = spec.system_call_error_number.map_or(Verdict::Kill, Verdict::Errno);
    let allow = spec.system_call_filter.first().is_some_and(|rule| !rule.inverted);
    let unmarked = if allow { Verdict::Allow } else { refused };
    let mut rules = spec.system_call_filter.clone();
    if allow {
        // What no program can do without.
        rules.insert(0, CallRule { name: "@default".into(), inverted: false, answer: None });
    }
    let mut listed = Listed::of(&rules, |answer| match answer {
        None => unmarked,
        Some(CallAnswer::Kill) => Verdict::Kill,
        Some(CallAnswer::Errno(errno)) => Verdict::Errno(errno),
    });
    if allow {
        listed.others = refused;
    }
    listed
}

/// What the lists make of a call; of those that have no name when it is `None`.
fn decide(listed: &Listed, logged: &Listed, name: Option<&str>) -> Verdict {
    let verdict = name.and_then(|name| listed.calls.get(name)).copied().unwrap_or(listed.others);
    let in_log = name.is_some_and(|name| logged.calls.contains_key(name));
    let log = if logged.allow { in_log } else { !logged.calls.is_empty() && !in_log };
    if log { verdict.min(Verdict::Log) } else { verdict }
}

/// When the argument, masked, is this.
const fn is(argument: u8, mask: u32, value: u32) -> Condition {
    Condition { argument, mask, value, equal: true }
}

/// When the argument, masked, is not this.
const fn is_not(argument: u8, mask: u32, value: u32) -> Condition {
    Condition { argument, mask, value, equal: false }
}

/// errno(3), the same on the machines we build for.
const NOT_PERMITTED: &str = "EPERM";
const NO_SUCH_CALL: &str = "ENOSYS";
const NO_SUCH_FAMILY: &str = "EAFNOSUPPORT";

#[derive(Default)]
struct Rules(BTreeMap<String, Vec<Rule>>);

impl Rules {
    fn add(&mut self, call: &str, error: &str, conditions: &[Condition]) {
        let rule = Rule { conditions: conditions.to_vec(), errno: errno(error).unwrap_or_default() };
        self.0.entry(call.to_owned()).or_default().push(rule);
    }

    /// Without any look at its arguments.
    fn refuse(&mut self, name: &str) {
        calls::expand(name, &mut |call| self.add(call, NOT_PERMITTED, &[]));
    }
}

fn rules(spec: &SandboxSpec) -> BTreeMap<String, Vec<Rule>> {
    let mut rules = Rules::default();
    for (switch, names) in [
        (Switch::PrivateDevices, &["@raw-io"][..]),
        (Switch::ProtectClock, &["@clock"]),
        (Switch::ProtectHostname, &["sethostname", "setdomainname"]),
        (Switch::ProtectKernelLogs, &["syslog"]),
        (Switch::ProtectKernelModules, &["@module"]),
        (Switch::ProtectKernelTunables, &["_sysctl"]),
    ] {
        if spec.on.has(switch) {
            names.iter().for_each(|name| rules.refuse(name));
        }
    }
    if spec.on.has(Switch::LockPersonality) {
        // All bits set is a question.
        rules.add("personality", NOT_PERMITTED, &[is_not(0, u32::MAX, 0), is_not(0, u32::MAX, u32::MAX)]);
    }
    if spec.on.has(Switch::MemoryDenyWriteExecute) {
        memory_deny_write_execute(&mut rules);
    }
    if spec.on.has(Switch::RestrictRealtime) {
        restrict_realtime(&mut rules);
    }
    if spec.on.has(Switch::RestrictSuidSgid) {
        restrict_suid_sgid(&mut rules);
    }
    if let Some(allowed) = spec.restrict_namespaces {
        restrict_namespaces(&mut rules, allowed);
    }
    if let Some(families) = &spec.restrict_address_families {
        let family = |number: &u16| u32::from(*number);
        if families.allow {
            let none: Vec<_> = families.families.iter().map(|number| is_not(0, u32::MAX, family(number))).collect();
            rules.add("socket", NO_SUCH_FAMILY, &none);
        } else {
            for number in &families.families {
                rules.add("socket", NO_SUCH_FAMILY, &[is(0, u32::MAX, family(number))]);
            }
        }
    }
    rules.0
}

fn memory_deny_write_execute(rules: &mut Rules) {
    const PROT_WRITE: u32 = 2;
    const PROT_EXEC: u32 = 4;
    const SHM_EXEC: u32 = 0o100_000;
    let both = PROT_WRITE | PROT_EXEC;
    rules.add("mmap", NOT_PERMITTED, &[is(2, both, both)]);
    rules.add("mprotect", NOT_PERMITTED, &[is(2, PROT_EXEC, PROT_EXEC)]);
    rules.add("pkey_mprotect", NOT_PERMITTED, &[is(2, PROT_EXEC, PROT_EXEC)]);
    rules.add("shmat", NOT_PERMITTED, &[is(2, SHM_EXEC, SHM_EXEC)]);
}

/// sched(7). What sched_setattr(2) is given lies in memory, where no filter can look: programs that are told that there is
/// no such call take the other one.
fn restrict_realtime(rules: &mut Rules) {
    const RESET_ON_FORK: u32 = 0x4000_0000;
    const OTHER_BATCH_IDLE: [u32; 3] = [0, 3, 5];
    let real = OTHER_BATCH_IDLE.map(|policy| is_not(1, !RESET_ON_FORK, policy));
    rules.add("sched_setscheduler", NOT_PERMITTED, &real);
    rules.add("sched_setattr", NO_SUCH_CALL, &[]);
}

/// inode(7). What openat2(2) is given lies in memory.
fn restrict_suid_sgid(rules: &mut Rules) {
    const BITS: [u32; 2] = [0o4000, 0o2000];
    const CREATE: u32 = 0o100;
    const TEMPORARY: u32 = 0o20_000_000;
    for bit in BITS {
        for (call, mode) in [
            ("chmod", 1),
            ("fchmod", 1),
            ("fchmodat", 2),
            ("fchmodat2", 2),
            ("mkdir", 1),
            ("mkdirat", 2),
            ("mknod", 1),
            ("mknodat", 2),
            ("creat", 1),
        ] {
            rules.add(call, NOT_PERMITTED, &[is(mode, bit, bit)]);
        }
        for (call, flags) in [("open", 1), ("openat", 2)] {
            for makes in [CREATE, TEMPORARY] {
                rules.add(call, NOT_PERMITTED, &[is(flags, makes, makes), is(flags + 1, bit, bit)]);
            }
        }
    }
    rules.add("openat2", NO_SUCH_CALL, &[]);
}

/// unshare(2), setns(2). What clone3(2) is given lies in memory.
fn restrict_namespaces(rules: &mut Rules, allowed: u32) {
    // In clone(2) these bits are a signal.
    const NEW_TIME: u32 = 0x80;
    let all = NAMESPACES.iter().fold(0, |all, (_, flag)| all | flag);
    let denied = all & !allowed;
    if denied == 0 {
        return;
    }
    let time = if allowed == 0 { NEW_TIME } else { 0 };
    rules.add("clone", NOT_PERMITTED, &[is_not(0, denied, 0)]);
    rules.add("unshare", NOT_PERMITTED, &[is_not(0, denied | time, 0)]);
    rules.add("setns", NOT_PERMITTED, &[is_not(1, denied | time, 0)]);
    // Of any kind: the descriptor says which.
    rules.add("setns", NOT_PERMITTED, &[is(1, u32::MAX, 0)]);
    rules.add("clone3", NO_SUCH_CALL, &[]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::spec::AddressFamilies;

    const ALLOW: u32 = 0x7fff_0000;
    const LOG: u32 = 0x7ffc_0000;
    const KILL: u32 = 0x8000_0000;
    const fn error(errno: u32) -> u32 {
        0x0005_0000 | errno
    }

    /// What the filter of `spec` says to a call, which both machines must agree on where both have it.
    fn said(spec: &SandboxSpec, call: &str, arguments: [u64; 6]) -> u32 {
        let of = |machine| {
            let number = calls::number(call, machine)?;
            Some(bpf::tests::run(&filter(spec, machine), machine, number, arguments))
        };
        let (x86_64, aarch64) = (of(Machine::X86_64), of(Machine::Aarch64));
        if let (Some(one), Some(other)) = (x86_64, aarch64) {
            assert_eq!(one, other, "{call}");
        }
        x86_64.or(aarch64).unwrap()
    }

    fn rules(lines: &[&str]) -> Vec<CallRule> {
        let mut rules = Vec::new();
        for line in lines {
            let (words, inverted) = line.strip_prefix('~').map_or((*line, false), |rest| (rest, true));
            for word in words.split(' ') {
                let (name, answer) = word.split_once(':').map_or((word, None), |(name, answer)| (name, Some(answer)));
                let answer = answer.map(|text| errno(text).map_or(CallAnswer::Kill, CallAnswer::Errno));
                rules.push(CallRule { name: name.into(), inverted, answer });
            }
        }
        rules
    }

    fn listing(lines: &[&str]) -> SandboxSpec {
        SandboxSpec { system_call_filter: rules(lines), ..SandboxSpec::default() }
    }

    fn switched(switch: Switch) -> SandboxSpec {
        let mut spec = SandboxSpec::default();
        spec.on.set(switch, true);
        spec
    }

    const NONE: [u64; 6] = [0; 6];

    #[test]
    fn nothing_asked_for_is_no_filter() {
        assert_eq!(filter(&SandboxSpec::default(), Machine::HERE), []);
        assert_eq!(filter(&switched(Switch::PrivateTmp), Machine::HERE), []);
        assert_eq!(said(&switched(Switch::NativeCallsOnly), "mount", NONE), ALLOW);
    }

    #[test]
    fn a_list_of_what_is_allowed_kills_for_all_else_but_what_no_program_can_do_without() {
        let spec = listing(&["read @aio"]);
        for (call, fate) in [("read", ALLOW), ("io_setup", ALLOW), ("execve", ALLOW), ("write", KILL), ("mount", KILL)]
        {
            assert_eq!(said(&spec, call, NONE), fate, "{call}");
        }
        let mild = SandboxSpec { system_call_error_number: Some(1), ..spec };
        assert_eq!(said(&mild, "write", NONE), error(1));
    }

    #[test]
    fn a_list_of_what_is_denied_lets_all_else_through() {
        let spec = listing(&["~mount @reboot:EACCES umount2:kill"]);
        for (call, fate) in [("mount", KILL), ("reboot", error(13)), ("umount2", KILL), ("read", ALLOW)] {
            assert_eq!(said(&spec, call, NONE), fate, "{call}");
        }
        let mild = SandboxSpec { system_call_error_number: Some(38), ..spec };
        assert_eq!((said(&mild, "mount", NONE), said(&mild, "umount2", NONE)), (error(38), KILL));
    }

    #[test]
    fn the_first_word_says_of_what_kind_the_list_is() {
        let allowed = listing(&["@system-service", "~@resources setpriority:EPERM"]);
        assert_eq!(said(&allowed, "mbind", NONE), KILL);
        assert_eq!(said(&allowed, "setpriority", NONE), error(1));
        assert_eq!(said(&allowed, "read", NONE), ALLOW);
        let denied = listing(&["~@mount", "chroot"]);
        assert_eq!((said(&denied, "mount", NONE), said(&denied, "chroot", NONE)), (KILL, ALLOW));
    }

    #[test]
    fn what_is_logged_is_made_all_the_same_and_what_is_refused_stays_so() {
        let mut spec = listing(&["~mount:EPERM"]);
        spec.system_call_log = rules(&["read mount"]);
        assert_eq!((said(&spec, "read", NONE), said(&spec, "write", NONE)), (LOG, ALLOW));
        assert_eq!(said(&spec, "mount", NONE), error(1));
        spec.system_call_log = rules(&["~read"]);
        assert_eq!((said(&spec, "read", NONE), said(&spec, "write", NONE)), (ALLOW, LOG));
    }

    #[test]
    fn a_switch_refuses_its_calls() {
        for (switch, call) in [
            (Switch::PrivateDevices, "iopl"),
            (Switch::ProtectClock, "clock_settime"),
            (Switch::ProtectHostname, "sethostname"),
            (Switch::ProtectKernelLogs, "syslog"),
            (Switch::ProtectKernelModules, "finit_module"),
        ] {
            assert_eq!((said(&switched(switch), call, NONE), said(&switched(switch), "read", NONE)), (error(1), ALLOW));
        }
    }

    #[test]
    fn writable_memory_cannot_be_executed() {
        let spec = switched(Switch::MemoryDenyWriteExecute);
        for (call, protection, fate) in [
            ("mmap", 3, ALLOW),
            ("mmap", 5, ALLOW),
            ("mmap", 7, error(1)),
            ("mprotect", 5, error(1)),
            ("mprotect", 3, ALLOW),
        ] {
            assert_eq!(said(&spec, call, [0, 0, protection, 0, 0, 0]), fate, "{call} {protection}");
        }
        assert_eq!(said(&spec, "shmat", [0, 0, 0o100_000, 0, 0, 0]), error(1));
    }

    #[test]
    fn only_ordinary_scheduling_can_be_had() {
        let spec = switched(Switch::RestrictRealtime);
        for (policy, fate) in [
            (0, ALLOW),
            (1, error(1)),
            (2, error(1)),
            (3, ALLOW),
            (5, ALLOW),
            (6, error(1)),
            (0x4000_0000, ALLOW),
            (0x4000_0001, error(1)),
        ] {
            assert_eq!(said(&spec, "sched_setscheduler", [0, policy, 0, 0, 0, 0]), fate, "{policy:#x}");
        }
        assert_eq!(said(&spec, "sched_setattr", NONE), error(38));
    }

    #[test]
    fn files_cannot_be_made_to_run_as_somebody_else() {
        let spec = switched(Switch::RestrictSuidSgid);
        for (call, arguments, fate) in [
            ("chmod", [0, 0o755, 0, 0, 0, 0], ALLOW),
            ("chmod", [0, 0o4755, 0, 0, 0, 0], error(1)),
            ("fchmodat", [0, 0, 0o2755, 0, 0, 0], error(1)),
            ("mkdirat", [0, 0, 0o2755, 0, 0, 0], error(1)),
            ("openat", [0, 0, 0o101, 0o644, 0, 0], ALLOW),
            ("openat", [0, 0, 0o101, 0o4644, 0, 0], error(1)),
            ("openat", [0, 0, 0, 0o4644, 0, 0], ALLOW),
            ("openat2", NONE, error(38)),
        ] {
            assert_eq!(said(&spec, call, arguments), fate, "{call} {arguments:?}");
        }
    }

    #[test]
    fn namespaces_that_are_not_allowed_cannot_be_made_or_joined() {
        let spec = |allowed| SandboxSpec { restrict_namespaces: Some(allowed), ..SandboxSpec::default() };
        let (mounts, user) = (0x0002_0000, 0x1000_0000);
        for (allowed, flags, fate) in [
            (0, mounts, error(1)),
            (0, 0x80, error(1)),
            (0, 0, ALLOW),
            (0x0002_0000, mounts, ALLOW),
            (0x0002_0000, user, error(1)),
        ] {
            assert_eq!(said(&spec(allowed), "unshare", [flags, 0, 0, 0, 0, 0]), fate, "{allowed:#x} {flags:#x}");
        }
        assert_eq!(said(&spec(0), "clone", [0x80 | 17, 0, 0, 0, 0, 0]), ALLOW, "a signal, not a namespace");
        assert_eq!(said(&spec(0), "setns", [3, 0, 0, 0, 0, 0]), error(1));
        assert_eq!(said(&spec(0), "clone3", NONE), error(38));
        let all = NAMESPACES.iter().fold(0, |all, (_, flag)| all | flag);
        assert_eq!(said(&spec(all), "clone3", NONE), ALLOW);
    }

    #[test]
    fn sockets_of_other_families_do_not_exist() {
        let spec = |allow, families: &[u16]| SandboxSpec {
            restrict_address_families: Some(AddressFamilies { allow, families: families.to_vec() }),
            ..SandboxSpec::default()
        };
        for (allow, families, family, fate) in [
            (true, &[1, 10][..], 1, ALLOW),
            (true, &[1, 10], 10, ALLOW),
            (true, &[1, 10], 2, error(97)),
            (true, &[], 1, error(97)),
            (false, &[17], 17, error(97)),
            (false, &[17], 1, ALLOW),
        ] {
            assert_eq!(
                said(&spec(allow, families), "socket", [family, 0, 0, 0, 0, 0]),
                fate,
                "{allow} {families:?} {family}"
            );
        }
    }

    #[test]
    fn of_a_list_and_a_rule_the_harder_counts() {
        let mut spec = switched(Switch::ProtectClock);
        spec.system_call_filter = rules(&["~@clock"]);
        assert_eq!(said(&spec, "clock_settime", NONE), KILL);
        spec.system_call_filter = rules(&["@clock @basic-io"]);
        assert_eq!(said(&spec, "clock_settime", NONE), error(1));
    }
}
