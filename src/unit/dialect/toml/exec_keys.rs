use std::ops::RangeInclusive;

use super::{
    exec_directories as directories, exec_environment as environment, exec_limits as limits,
    exec_privileges as privileges, exec_stdio as stdio,
    value::{extend, put},
    walk::{Key, Value, Walk},
};
use crate::unit::{
    draft::Draft,
    spec::{Capabilities, Command, DirectoryKind, Resource},
};

/// `[service]`, as systemd.exec(5) has it.
pub(super) const EXEC: &[Key<Draft>] = &[
    Key { name: "ambient_capabilities", set: ambient_set },
    Key { name: "cache_directory", set: |d, w, v| directories::names(d, w, v, DirectoryKind::Cache) },
    Key { name: "cache_directory_mode", set: |d, w, v| put(&mut d.def.service.exec.directories.cache.mode, w.mode(v)) },
    Key { name: "capability_bounding_set", set: bounding_set },
    Key { name: "configuration_directory", set: |d, w, v| directories::names(d, w, v, DirectoryKind::Configuration) },
    Key {
        name: "configuration_directory_mode",
        set: |d, w, v| put(&mut d.def.service.exec.directories.configuration.mode, w.mode(v)),
    },
    Key { name: "cpu_affinity", set: limits::cpu_affinity },
    Key {
        name: "cpu_scheduling_policy",
        set: |d, w, v| put(&mut d.def.service.exec.scheduling.cpu_policy, w.choice(v, limits::CPU_POLICIES).map(Some)),
    },
    Key {
        name: "cpu_scheduling_priority",
        set: |d, w, v| put(&mut d.def.service.exec.scheduling.cpu_priority, small(w, v, 0..=99).map(Some)),
    },
    Key {
        name: "cpu_scheduling_reset_on_fork",
        set: |d, w, v| put(&mut d.def.service.exec.scheduling.cpu_reset_on_fork, w.boolean(v).map(Some)),
    },
    Key { name: "environment", set: environment::environment },
    Key { name: "environment_file", set: environment::environment_file },
    Key { name: "exec_search_path", set: environment::search_path },
    Key { name: "group", set: |d, w, v| put(&mut d.def.service.exec.group, account(w, v)) },
    Key {
        name: "ignore_sigpipe",
        set: |d, w, v| put(&mut d.def.service.exec.keep_sigpipe, w.boolean(v).map(|ignore| !ignore)),
    },
    Key {
        name: "io_scheduling_class",
        set: |d, w, v| put(&mut d.def.service.exec.scheduling.io_class, limits::io_class(w, v).map(Some)),
    },
    Key {
        name: "io_scheduling_priority",
        set: |d, w, v| put(&mut d.def.service.exec.scheduling.io_priority, small(w, v, 0..=7).map(Some)),
    },
    Key {
        name: "keyring_mode",
        set: |d, w, v| put(&mut d.def.service.exec.keyring, w.choice(v, privileges::KEYRING_MODES)),
    },
    Key { name: "limit_as", set: |d, w, v| limits::limit(d, w, v, Resource::As) },
    Key { name: "limit_core", set: |d, w, v| limits::limit(d, w, v, Resource::Core) },
    Key { name: "limit_cpu", set: |d, w, v| limits::limit(d, w, v, Resource::Cpu) },
    Key { name: "limit_data", set: |d, w, v| limits::limit(d, w, v, Resource::Data) },
    Key { name: "limit_fsize", set: |d, w, v| limits::limit(d, w, v, Resource::Fsize) },
    Key { name: "limit_locks", set: |d, w, v| limits::limit(d, w, v, Resource::Locks) },
    Key { name: "limit_memlock", set: |d, w, v| limits::limit(d, w, v, Resource::Memlock) },
    Key { name: "limit_msgqueue", set: |d, w, v| limits::limit(d, w, v, Resource::Msgqueue) },
    Key { name: "limit_nice", set: |d, w, v| limits::limit(d, w, v, Resource::Nice) },
    Key { name: "limit_nofile", set: |d, w, v| limits::limit(d, w, v, Resource::Nofile) },
    Key { name: "limit_nproc", set: |d, w, v| limits::limit(d, w, v, Resource::Nproc) },
    Key { name: "limit_rss", set: |d, w, v| limits::limit(d, w, v, Resource::Rss) },
    Key { name: "limit_rtprio", set: |d, w, v| limits::limit(d, w, v, Resource::Rtprio) },
    Key { name: "limit_rttime", set: |d, w, v| limits::limit(d, w, v, Resource::Rttime) },
    Key { name: "limit_sigpending", set: |d, w, v| limits::limit(d, w, v, Resource::Sigpending) },
    Key { name: "limit_stack", set: |d, w, v| limits::limit(d, w, v, Resource::Stack) },
    Key { name: "load_credential", set: privileges::load_credential },
    Key { name: "logs_directory", set: |d, w, v| directories::names(d, w, v, DirectoryKind::Logs) },
    Key { name: "logs_directory_mode", set: |d, w, v| put(&mut d.def.service.exec.directories.logs.mode, w.mode(v)) },
    Key { name: "nice", set: |d, w, v| number(&mut d.def.service.exec.nice, w, v, -20..=19) },
    Key { name: "no_new_privileges", set: |d, w, v| put(&mut d.def.service.exec.no_new_privileges, w.boolean(v)) },
    Key {
        name: "oom_score_adjust",
        set: |d, w, v| number(&mut d.def.service.exec.oom_score_adjust, w, v, -1000..=1000),
    },
    Key { name: "pass_environment", set: environment::pass_environment },
    Key {
        name: "personality",
        set: |d, w, v| put(&mut d.def.service.exec.scheduling.personality, limits::personality(w, v)),
    },
    Key {
        name: "root_directory",
        set: |d, w, v| put(&mut d.def.service.exec.root_directory, environment::optional_path(w, v)),
    },
    Key {
        name: "root_directory_start_only",
        set: |d, w, v| put(&mut d.def.service.exec.root_directory_start_only, w.boolean(v)),
    },
    Key { name: "runtime_directory", set: |d, w, v| directories::names(d, w, v, DirectoryKind::Runtime) },
    Key {
        name: "runtime_directory_mode",
        set: |d, w, v| put(&mut d.def.service.exec.directories.runtime.mode, w.mode(v)),
    },
    Key {
        name: "runtime_directory_preserve",
        set: |d, w, v| put(&mut d.def.service.exec.directories.preserve, directories::preserve(w, v)),
    },
    Key { name: "secure_bits", set: secure_bits },
    Key { name: "set_credential", set: privileges::set_credential },
    Key {
        name: "set_login_environment",
        set: |d, w, v| put(&mut d.def.service.exec.set_login_environment, w.boolean(v).map(Some)),
    },
    Key { name: "standard_error", set: |d, w, v| put(&mut d.def.service.exec.stderr, stdio::standard_error(w, v)) },
    Key { name: "standard_input", set: |d, w, v| put(&mut d.exec_draft.stdin, stdio::input(w, v)) },
    Key { name: "standard_input_data", set: stdio::input_data },
    Key { name: "standard_input_text", set: stdio::input_text },
    Key {
        name: "standard_output",
        set: |d, w, v| put(&mut d.exec_draft.stdout, stdio::output(w, v, "stdout").map(Some)),
    },
    Key { name: "state_directory", set: |d, w, v| directories::names(d, w, v, DirectoryKind::State) },
    Key { name: "state_directory_mode", set: |d, w, v| put(&mut d.def.service.exec.directories.state.mode, w.mode(v)) },
    Key { name: "supplementary_groups", set: |d, w, v| extend(&mut d.supplementary_groups, w, v, account_name) },
    Key {
        name: "timer_slack_nsec",
        set: |d, w, v| put(&mut d.def.service.exec.scheduling.timer_slack_nsec, limits::nanoseconds(w, v).map(Some)),
    },
    Key { name: "tty_path", set: |d, w, v| put(&mut d.def.service.exec.tty_path, environment::optional_path(w, v)) },
    Key { name: "umask", set: |d, w, v| put(&mut d.def.service.exec.umask, w.mode(v).map(Some)) },
    Key { name: "unset_environment", set: environment::unset_environment },
    Key { name: "user", set: |d, w, v| put(&mut d.def.service.exec.user, account(w, v)) },
    Key {
        name: "working_directory",
        set: |d, w, v| put(&mut d.def.service.exec.working_directory, environment::working_directory(w, v)),
    },
];

/// One command line, or a list of them.
pub(super) fn commands(list: &mut Vec<Command>, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    extend(list, walk, value, |walk, item| walk.command(item));
}

/// A user or group; an empty string unsets it.
pub(super) fn account(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Box<str>>> {
    if value.get_ref().as_str() == Some("") {
        return Some(None);
    }
    account_name(walk, value).map(Some)
}

/// A name or number of a user or group. Whether it exists is for the host to say.
pub(super) fn account_name(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Box<str>> {
    const NAME_BYTES_MAX: usize = 256;
    if value.get_ref().is_integer() {
        // The largest number means "none" to the kernel.
        let number = walk.integer(value, 0..=i64::from(u32::MAX - 1))?;
        return Some(number.to_string().into());
    }
    let name = walk.text(value)?;
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/' | ',');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(odd) || name.starts_with('-') {
        walk.error(value, format!("{name:?} is no name of a user or group"), None);
        return None;
    }
    Some(name.into())
}

fn number(slot: &mut Option<i32>, walk: &mut Walk<'_, '_>, value: &Value<'_>, range: RangeInclusive<i64>) {
    let number = walk.integer(value, range).and_then(|number| i32::try_from(number).ok());
    *slot = number.or(*slot);
}

fn small<T: TryFrom<i64>>(walk: &mut Walk<'_, '_>, value: &Value<'_>, range: RangeInclusive<i64>) -> Option<T> {
    walk.integer(value, range).and_then(|number| T::try_from(number).ok())
}

fn bounding_set(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let set = &mut draft.def.service.exec.capability_bounding_set;
    *set = Some(privileges::capabilities(walk, value, set.unwrap_or(Capabilities::ALL), Capabilities::ALL));
}

fn ambient_set(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let set = &mut draft.def.service.exec.ambient_capabilities;
    *set = privileges::capabilities(walk, value, *set, Capabilities::default());
}

fn secure_bits(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let bits = &mut draft.def.service.exec.secure_bits;
    *bits = privileges::secure_bits(walk, value, *bits);
}
