use std::path::Path;

use super::{
    exec_directories::preserve,
    exec_keys as exec,
    value::{extend, put, signal_names},
    walk::{Key, Value, Walk},
};
use crate::{
    base::{Signal, TimeSpan},
    unit::{
        draft::{Draft, ExitMember},
        similar::did_you_mean,
        spec::{ExitType, FailureMode, KillMode, NotifyAccess, Restart, ServiceKind},
    },
};

/// The keeper holds no more for a unit, nor has one variable room for many more names.
const DESCRIPTORS_MAX: i64 = 1024;

/// `[service]`, as systemd.service(5) has it.
pub(super) const SERVICE: &[Key<Draft>] = &[
    Key { name: "exec_condition", set: |d, w, v| exec::commands(&mut d.exec.condition, w, v) },
    Key { name: "exec_reload", set: |d, w, v| exec::commands(&mut d.exec.reload, w, v) },
    Key { name: "exec_start", set: |d, w, v| exec::commands(&mut d.exec.start, w, v) },
    Key { name: "exec_start_post", set: |d, w, v| exec::commands(&mut d.exec.start_post, w, v) },
    Key { name: "exec_start_pre", set: |d, w, v| exec::commands(&mut d.exec.start_pre, w, v) },
    Key { name: "exec_stop", set: |d, w, v| exec::commands(&mut d.exec.stop, w, v) },
    Key { name: "exec_stop_post", set: |d, w, v| exec::commands(&mut d.exec.stop_post, w, v) },
    Key { name: "exit_type", set: |d, w, v| put(&mut d.def.service.main.exit_type, w.choice(v, EXIT_TYPES)) },
    Key {
        name: "file_descriptor_store_max",
        set: |d, w, v| put(&mut d.def.service.file_descriptor_store_max, descriptors(w, v)),
    },
    Key {
        name: "file_descriptor_store_preserve",
        set: |d, w, v| put(&mut d.def.service.file_descriptor_store_preserve, preserve(w, v)),
    },
    Key { name: "guess_main_pid", set: |d, w, v| put(&mut d.def.service.main.guess_main_pid, w.boolean(v)) },
    Key { name: "notify_access", set: |d, w, v| put(&mut d.notify_access, w.choice(v, NOTIFY_ACCESS).map(Some)) },
    Key { name: "pid_file", set: |d, w, v| put(&mut d.def.service.main.pid_file, pid_file(w, v)) },
    Key { name: "reload_signal", set: |d, w, v| put(&mut d.def.service.reload_signal, w.signal(v)) },
    Key { name: "remain_after_exit", set: |d, w, v| put(&mut d.def.service.remain_after_exit, w.boolean(v)) },
    Key { name: "restart", set: |d, w, v| put(&mut d.def.service.restart.when, w.choice(v, RESTARTS)) },
    Key { name: "restart_force_exit_status", set: |d, w, v| extend(&mut d.force, w, v, exit_member) },
    Key { name: "restart_jitter", set: |d, w, v| put(&mut d.def.service.restart.jitter, jitter(w, v)) },
    Key { name: "restart_max_delay_sec", set: |d, w, v| put(&mut d.def.service.restart.delay_max, w.span(v)) },
    Key { name: "restart_prevent_exit_status", set: |d, w, v| extend(&mut d.prevent, w, v, exit_member) },
    Key { name: "restart_reset_after_sec", set: |d, w, v| put(&mut d.def.service.restart.reset_after, finite(w, v)) },
    Key { name: "restart_sec", set: |d, w, v| put(&mut d.def.service.restart.delay, w.span(v)) },
    Key { name: "restart_steps", set: |d, w, v| put(&mut d.def.service.restart.steps, w.count(v, 0)) },
    Key { name: "runtime_max_sec", set: |d, w, v| put(&mut d.def.service.timeouts.runtime_max, w.limit_span(v)) },
    Key {
        name: "runtime_randomized_extra_sec",
        set: |d, w, v| {
            put(&mut d.def.service.timeouts.runtime_extra, w.span(v).filter(|span| *span != TimeSpan::INFINITY))
        },
    },
    Key { name: "success_exit_status", set: |d, w, v| extend(&mut d.success, w, v, exit_member) },
    Key { name: "timeout_abort_sec", set: |d, w, v| put(&mut d.timeout_abort, w.limit_span(v).map(Some)) },
    Key { name: "timeout_sec", set: both_timeouts },
    Key {
        name: "timeout_start_failure_mode",
        set: |d, w, v| put(&mut d.def.service.timeouts.start_failure, w.choice(v, FAILURE_MODES)),
    },
    Key { name: "timeout_start_sec", set: |d, w, v| put(&mut d.timeout_start, w.limit_span(v).map(Some)) },
    Key {
        name: "timeout_stop_failure_mode",
        set: |d, w, v| put(&mut d.def.service.timeouts.stop_failure, w.choice(v, FAILURE_MODES)),
    },
    Key { name: "timeout_stop_sec", set: |d, w, v| put(&mut d.def.service.timeouts.stop, w.limit_span(v)) },
    Key { name: "type", set: |d, w, v| kind(d, w, v) },
    Key { name: "watchdog_sec", set: |d, w, v| put(&mut d.def.service.watchdog, finite(w, v)) },
];

/// `[service]`, as systemd.kill(5) has it.
pub(super) const KILL: &[Key<Draft>] = &[
    Key { name: "final_kill_signal", set: |d, w, v| put(&mut d.def.service.kill.final_signal, w.signal(v)) },
    Key { name: "kill_mode", set: |d, w, v| put(&mut d.def.service.kill.mode, w.choice(v, KILL_MODES)) },
    Key { name: "kill_signal", set: |d, w, v| put(&mut d.def.service.kill.signal, w.signal(v)) },
    Key {
        name: "restart_kill_signal",
        set: |d, w, v| put(&mut d.def.service.kill.restart_signal, w.signal(v).map(Some)),
    },
    Key { name: "send_sighup", set: |d, w, v| put(&mut d.def.service.kill.send_sighup, w.boolean(v)) },
    Key { name: "send_sigkill", set: |d, w, v| put(&mut d.def.service.kill.send_sigkill, w.boolean(v)) },
    Key { name: "watchdog_signal", set: |d, w, v| put(&mut d.def.service.kill.watchdog_signal, w.signal(v)) },
];

const KINDS: &[(&str, Option<ServiceKind>)] = &[
    ("simple", Some(ServiceKind::Simple)),
    ("exec", Some(ServiceKind::Exec)),
    ("notify", Some(ServiceKind::Notify)),
    ("oneshot", Some(ServiceKind::Oneshot)),
    ("forking", Some(ServiceKind::Forking)),
    ("notify-reload", Some(ServiceKind::NotifyReload)),
    ("idle", Some(ServiceKind::Idle)),
    ("dbus", None),
];

const RESTARTS: &[(&str, Restart)] = &[
    ("no", Restart::No),
    ("always", Restart::Always),
    ("on-success", Restart::OnSuccess),
    ("on-failure", Restart::OnFailure),
    ("on-abnormal", Restart::OnAbnormal),
    ("on-abort", Restart::OnAbort),
    ("on-watchdog", Restart::OnWatchdog),
];

const EXIT_TYPES: &[(&str, ExitType)] = &[("main", ExitType::Main), ("cgroup", ExitType::Cgroup)];

const FAILURE_MODES: &[(&str, FailureMode)] =
    &[("terminate", FailureMode::Terminate), ("abort", FailureMode::Abort), ("kill", FailureMode::Kill)];

const KILL_MODES: &[(&str, KillMode)] = &[
    ("control-group", KillMode::ControlGroup),
    ("mixed", KillMode::Mixed),
    ("process", KillMode::Process),
    ("none", KillMode::None),
];

const NOTIFY_ACCESS: &[(&str, NotifyAccess)] = &[
    ("none", NotifyAccess::None),
    ("main", NotifyAccess::Main),
    ("exec", NotifyAccess::Exec),
    ("all", NotifyAccess::All),
];

fn kind(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    match walk.choice(value, KINDS) {
        Some(Some(kind)) => draft.def.service.kind = kind,
        Some(None) => {
            let message = "type \"dbus\" cannot be waited for: there is no bus that we watch for the service's name";
            let help =
                "most such services can say READY=1: use \"notify\"; else \"exec\", with a probe of the bus name";
            walk.error(value, message, Some(help.to_owned()));
        }
        None => {}
    }
}

/// A relative path is one below /run (systemd.service(5)); an empty string unsets it.
fn pid_file(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Box<Path>>> {
    let text = walk.text(value)?;
    match text {
        "" => Some(None),
        _ if text.starts_with('/') => walk.path(value, text).map(Some),
        _ => walk.path(value, &format!("/run/{text}")).map(Some),
    }
}

/// `timeout_sec` stands for the start's and the stop's.
fn both_timeouts(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    if let Some(span) = walk.limit_span(value) {
        draft.timeout_start = Some(span);
        draft.def.service.timeouts.stop = span;
    }
}

/// A span that zero and infinity switch off.
fn finite(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<TimeSpan>> {
    walk.span(value).map(|span| (!span.is_zero() && span != TimeSpan::INFINITY).then_some(span))
}

fn descriptors(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<u16> {
    walk.integer(value, 0..=DESCRIPTORS_MAX).and_then(|number| u16::try_from(number).ok())
}

fn jitter(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<f64> {
    let number = value.get_ref().as_float().map(|number| number.as_str());
    let number = number.or_else(|| value.get_ref().as_integer().map(|number| number.as_str()));
    let Some(number) = number else {
        walk.wrong_type(value, "a number from 0.0 to 1.0");
        return None;
    };
    let share = number.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    if share.is_none() {
        walk.error(value, format!("{:?} must be a share of the delay from 0.0 to 1.0, not {number}", walk.key), None);
    }
    share
}

/// An exit code, or the name of one, or a signal (by name: numbers are codes).
fn exit_member(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<ExitMember> {
    if value.get_ref().is_integer() {
        let code = walk.integer(value, 0..=255)?;
        return u8::try_from(code).ok().map(ExitMember::Code);
    }
    let word = walk.text(value)?;
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        let code = walk.integer(value, 0..=255)?;
        return u8::try_from(code).ok().map(ExitMember::Code);
    }
    let code = EXIT_NAMES.iter().find(|(_, name)| *name == word).map(|(code, _)| ExitMember::Code(*code));
    let member = code.or_else(|| Signal::parse(word).map(ExitMember::Signal));
    if member.is_none() {
        let signals = signal_names();
        let names = EXIT_NAMES.iter().map(|(_, name)| *name).chain(signals.iter().map(String::as_str));
        walk.error(value, format!("{word:?} is neither an exit code nor a signal"), did_you_mean(word, names));
    }
    member
}

/// `systemd-analyze exit-status`, which names the codes of libc, LSB, BSD and systemd itself.
#[rustfmt::skip]
const EXIT_NAMES: [(u8, &str); 67] = [
    (0, "SUCCESS"), (1, "FAILURE"), (2, "INVALIDARGUMENT"), (3, "NOTIMPLEMENTED"), (4, "NOPERMISSION"),
    (5, "NOTINSTALLED"), (6, "NOTCONFIGURED"), (7, "NOTRUNNING"), (64, "USAGE"), (65, "DATAERR"), (66, "NOINPUT"),
    (67, "NOUSER"), (68, "NOHOST"), (69, "UNAVAILABLE"), (70, "SOFTWARE"), (71, "OSERR"), (72, "OSFILE"),
    (73, "CANTCREAT"), (74, "IOERR"), (75, "TEMPFAIL"), (76, "PROTOCOL"), (77, "NOPERM"), (78, "CONFIG"),
    (200, "CHDIR"), (201, "NICE"), (202, "FDS"), (203, "EXEC"), (204, "MEMORY"), (205, "LIMITS"), (206, "OOM_ADJUST"),
    (207, "SIGNAL_MASK"), (208, "STDIN"), (209, "STDOUT"), (210, "CHROOT"), (211, "IOPRIO"), (212, "TIMERSLACK"),
    (213, "SECUREBITS"), (214, "SETSCHEDULER"), (215, "CPUAFFINITY"), (216, "GROUP"), (217, "USER"),
    (218, "CAPABILITIES"), (219, "CGROUP"), (220, "SETSID"), (221, "CONFIRM"), (222, "STDERR"), (224, "PAM"),
    (225, "NETWORK"), (226, "NAMESPACE"), (227, "NO_NEW_PRIVILEGES"), (228, "SECCOMP"), (229, "SELINUX_CONTEXT"),
    (230, "PERSONALITY"), (231, "APPARMOR"), (232, "ADDRESS_FAMILIES"), (233, "RUNTIME_DIRECTORY"), (235, "CHOWN"),
    (236, "SMACK_PROCESS_LABEL"), (237, "KEYRING"), (238, "STATE_DIRECTORY"), (239, "CACHE_DIRECTORY"),
    (240, "LOGS_DIRECTORY"), (241, "CONFIGURATION_DIRECTORY"), (242, "NUMA_POLICY"), (243, "CREDENTIALS"),
    (244, "BPF"), (255, "EXCEPTION"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_have_the_names_that_systemd_prints() {
        let code = |wanted: &str| EXIT_NAMES.iter().find(|(_, name)| *name == wanted).map(|(code, _)| *code);
        for (name, number) in
            [("SUCCESS", 0), ("USAGE", 64), ("TEMPFAIL", 75), ("CONFIG", 78), ("EXEC", 203), ("BPF", 244)]
        {
            assert_eq!(code(name), Some(number), "{name}");
        }
        assert!(EXIT_NAMES.is_sorted_by(|a, b| a.0 < b.0));
    }
}
