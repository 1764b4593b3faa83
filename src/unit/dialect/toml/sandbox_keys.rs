use std::path::Path;

use toml::de::DeValue;

use super::{
    value::{extend, items, put},
    walk::{Key, Value, Walk},
};
use crate::unit::{
    draft::Draft,
    sandbox::{
        calls::{is_known, names},
        mount_options,
        names::{NAMESPACES, address_families, address_family, errno},
    },
    similar::did_you_mean,
    spec::{
        AddressFamilies, BindPath, CallAnswer, CallRule, ProcSubset, Propagation, ProtectHome, ProtectProc,
        ProtectSystem, SandboxFallback, SandboxPath, SandboxSpec, Switch, TemporaryFileSystem,
    },
};

/// `[service]`, as systemd.exec(5) has it under "Sandboxing" and "System call filtering".
pub(super) const SANDBOX: &[Key<Draft>] = &[
    Key { name: "bind_paths", set: |d, w, v| bind_paths(d, w, v, Access::ReadWrite) },
    Key { name: "bind_read_only_paths", set: |d, w, v| bind_paths(d, w, v, Access::ReadOnly) },
    Key { name: "exec_paths", set: |d, w, v| extend(&mut sandbox(d).exec_paths, w, v, path) },
    Key { name: "inaccessible_paths", set: |d, w, v| extend(&mut sandbox(d).inaccessible_paths, w, v, path) },
    Key { name: "lock_personality", set: |d, w, v| switch(d, w, v, Switch::LockPersonality) },
    Key { name: "memory_deny_write_execute", set: |d, w, v| switch(d, w, v, Switch::MemoryDenyWriteExecute) },
    Key { name: "mount_api_vfs", set: |d, w, v| put(&mut d.exec_draft.mount_api_vfs, w.boolean(v).map(Some)) },
    Key { name: "mount_flags", set: |d, w, v| put(&mut sandbox(d).mount_flags, unset_or(w, v, PROPAGATIONS)) },
    Key { name: "network_namespace_path", set: network_namespace_path },
    Key { name: "no_exec_paths", set: |d, w, v| extend(&mut sandbox(d).no_exec_paths, w, v, path) },
    Key { name: "private_devices", set: |d, w, v| switch(d, w, v, Switch::PrivateDevices) },
    Key { name: "private_ipc", set: |d, w, v| switch(d, w, v, Switch::PrivateIpc) },
    Key { name: "private_mounts", set: |d, w, v| switch(d, w, v, Switch::PrivateMounts) },
    Key { name: "private_network", set: |d, w, v| switch(d, w, v, Switch::PrivateNetwork) },
    Key { name: "private_tmp", set: |d, w, v| switch(d, w, v, Switch::PrivateTmp) },
    Key { name: "proc_subset", set: |d, w, v| put(&mut sandbox(d).proc_subset, w.choice(v, PROC_SUBSETS)) },
    Key { name: "protect_clock", set: |d, w, v| switch(d, w, v, Switch::ProtectClock) },
    Key { name: "protect_control_groups", set: |d, w, v| switch(d, w, v, Switch::ProtectControlGroups) },
    Key { name: "protect_home", set: |d, w, v| put(&mut sandbox(d).protect_home, truth_or(w, v, PROTECT_HOME)) },
    Key { name: "protect_hostname", set: |d, w, v| switch(d, w, v, Switch::ProtectHostname) },
    Key { name: "protect_kernel_logs", set: |d, w, v| switch(d, w, v, Switch::ProtectKernelLogs) },
    Key { name: "protect_kernel_modules", set: |d, w, v| switch(d, w, v, Switch::ProtectKernelModules) },
    Key { name: "protect_kernel_tunables", set: |d, w, v| switch(d, w, v, Switch::ProtectKernelTunables) },
    Key { name: "protect_proc", set: |d, w, v| put(&mut sandbox(d).protect_proc, w.choice(v, PROTECT_PROC)) },
    Key { name: "protect_system", set: |d, w, v| put(&mut sandbox(d).protect_system, truth_or(w, v, PROTECT_SYSTEM)) },
    Key { name: "read_only_paths", set: |d, w, v| extend(&mut sandbox(d).read_only_paths, w, v, path) },
    Key { name: "read_write_paths", set: |d, w, v| extend(&mut sandbox(d).read_write_paths, w, v, path) },
    Key { name: "restrict_address_families", set: restrict_address_families },
    Key { name: "restrict_namespaces", set: restrict_namespaces },
    Key { name: "restrict_realtime", set: |d, w, v| switch(d, w, v, Switch::RestrictRealtime) },
    Key { name: "restrict_suid_sgid", set: |d, w, v| switch(d, w, v, Switch::RestrictSuidSgid) },
    Key { name: "sandbox_fallback", set: |d, w, v| put(&mut sandbox(d).fallback, w.choice(v, FALLBACKS)) },
    Key { name: "system_call_architectures", set: system_call_architectures },
    Key { name: "system_call_error_number", set: system_call_error_number },
    Key { name: "system_call_filter", set: |d, w, v| call_rules(&mut sandbox(d).system_call_filter, w, v) },
    Key { name: "system_call_log", set: |d, w, v| call_rules(&mut sandbox(d).system_call_log, w, v) },
    Key {
        name: "temporary_file_system",
        set: |d, w, v| extend(&mut sandbox(d).temporary_file_systems, w, v, temporary_file_system),
    },
];

fn sandbox(draft: &mut Draft) -> &mut SandboxSpec {
    draft.def.service.exec.sandbox.get_or_insert_default()
}

const FALLBACKS: &[(&str, SandboxFallback)] = &[("refuse", SandboxFallback::Refuse), ("warn", SandboxFallback::Warn)];
const PROPAGATIONS: &[(&str, Propagation)] =
    &[("shared", Propagation::Shared), ("slave", Propagation::Slave), ("private", Propagation::Private)];
const PROC_SUBSETS: &[(&str, ProcSubset)] = &[("all", ProcSubset::All), ("pid", ProcSubset::Pid)];
const PROTECT_PROC: &[(&str, ProtectProc)] = &[
    ("default", ProtectProc::Default),
    ("noaccess", ProtectProc::NoAccess),
    ("invisible", ProtectProc::Invisible),
    ("ptraceable", ProtectProc::Ptraceable),
];
/// Of those that are also true or false, false stands first and true second.
const PROTECT_SYSTEM: &[(&str, ProtectSystem)] = &[
    ("no", ProtectSystem::No),
    ("yes", ProtectSystem::Yes),
    ("full", ProtectSystem::Full),
    ("strict", ProtectSystem::Strict),
];
const PROTECT_HOME: &[(&str, ProtectHome)] = &[
    ("no", ProtectHome::No),
    ("yes", ProtectHome::Yes),
    ("read-only", ProtectHome::ReadOnly),
    ("tmpfs", ProtectHome::Tmpfs),
];

fn switch(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>, switch: Switch) {
    if let Some(on) = walk.boolean(value) {
        sandbox(draft).on.set(switch, on);
    }
}

/// A truth, or one of some words of which the first two mean false and true.
fn truth_or<T: Copy>(walk: &mut Walk<'_, '_>, value: &Value<'_>, words: &[(&str, T)]) -> Option<T> {
    const TRUTHS: [&str; 12] = ["0", "n", "no", "f", "false", "off", "1", "y", "yes", "t", "true", "on"];
    let is_truth = match value.get_ref() {
        DeValue::Boolean(_) => true,
        DeValue::String(word) => TRUTHS.iter().any(|truth| truth.eq_ignore_ascii_case(word)),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => false,
    };
    if !is_truth {
        return walk.choice(value, words);
    }
    let on = walk.boolean(value)?;
    words.get(usize::from(on)).map(|(_, meaning)| *meaning)
}

/// One of some words; an empty string unsets it.
fn unset_or<T: Copy>(walk: &mut Walk<'_, '_>, value: &Value<'_>, words: &[(&str, T)]) -> Option<Option<T>> {
    if value.get_ref().as_str() == Some("") {
        return Some(None);
    }
    walk.choice(value, words).map(Some)
}

/// A text that is not several paths with blanks between them, as systemd writes them: they would be one that is not there,
/// and with a `-` nobody would miss it.
fn one_item<'v>(walk: &mut Walk<'_, '_>, value: &'v Value<'_>) -> Option<&'v str> {
    let text = walk.text(value)?;
    let begins_a_path = |word: &str| word.trim_start_matches(['-', '+']).starts_with('/');
    if text.split_whitespace().skip(1).any(begins_a_path) {
        let help = Some("write a list: [\"/a\", \"/b\"]".to_owned());
        walk.error(value, format!("{:?} has several paths in one text", walk.key), help);
        return None;
    }
    Some(text)
}

/// A path with `-` (it may be missing) and `+` (below the root directory) before it.
fn path(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<SandboxPath> {
    let text = one_item(walk, value)?;
    let (text, may_miss) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    let (text, in_root) = text.strip_prefix('+').map_or((text, false), |rest| (rest, true));
    walk.path(value, text).map(|path| SandboxPath { path, may_miss, in_root })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadWrite,
    ReadOnly,
}

/// Both keys fill one list; each resets its own part of it.
fn bind_paths(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>, access: Access) {
    let read_only = access == Access::ReadOnly;
    let all = &mut sandbox(draft).bind_paths;
    let (mut own, other): (Vec<_>, Vec<_>) = all.drain(..).partition(|bind| bind.read_only == read_only);
    extend(&mut own, walk, value, |walk, item| bind_path(walk, item, read_only));
    *all = other;
    all.extend(own);
}

/// `source`, `source:target` or `source:target:norbind`; `\:` stands for a colon of a path.
fn bind_path(walk: &mut Walk<'_, '_>, value: &Value<'_>, read_only: bool) -> Option<BindPath> {
    let text = one_item(walk, value)?;
    let (text, may_miss) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    let fields = fields(text);
    let [source, rest @ ..] = fields.as_slice() else { return None };
    let (target, options) = match rest {
        [] => (source, ""),
        [target] => (target, ""),
        [target, options] => (target, options.as_str()),
        [..] => {
            let help = Some("write \"source:target:options\"".to_owned());
            walk.error(value, format!("{:?} has too many colons in {text:?}", walk.key), help);
            return None;
        }
    };
    let mut recursive = true;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "rbind" => recursive = true,
            "norbind" => recursive = false,
            other => {
                let help = Some("it can be rbind or norbind".to_owned());
                walk.error(value, format!("{other:?} is no option of {:?}", walk.key), help);
                return None;
            }
        }
    }
    let source = walk.path(value, source)?;
    let target = walk.path(value, target)?;
    if *target == *Path::new("/") {
        walk.error(value, format!("{:?} cannot mount over \"/\"", walk.key), None);
        return None;
    }
    Some(BindPath { source, target, recursive, read_only, may_miss })
}

/// What colons part; one behind a backslash does not.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(':')) => fields.last_mut().into_iter().for_each(|field| field.extend(chars.next())),
            (':', _) => fields.push(String::new()),
            _ => fields.last_mut().into_iter().for_each(|field| field.push(c)),
        }
    }
    fields
}

/// `path`, or `path:options`.
fn temporary_file_system(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<TemporaryFileSystem> {
    let text = one_item(walk, value)?;
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let path = walk.path(value, path)?;
    if *path == *Path::new("/") {
        walk.error(value, format!("{:?} cannot mount over \"/\"", walk.key), None);
        return None;
    }
    match mount_options::tmpfs(options) {
        Ok(options) => Some(TemporaryFileSystem {
            path,
            read_only: options.read_only,
            flags: options.flags,
            options: options.data.into(),
        }),
        Err(option) => {
            walk.error(value, format!("{option:?} is no option of a temporary file system"), None);
            None
        }
    }
}

fn network_namespace_path(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let Some(text) = walk.text(value) else { return };
    let path = if text.is_empty() { Some(None) } else { walk.path(value, text).map(Some) };
    put(&mut sandbox(draft).network_namespace_path, path);
}

/// Each line of a list: `None` for one that resets, else whether `~` stands before it, and its words. What is no string is
/// reported.
fn lines<'v>(walk: &mut Walk<'_, '_>, value: &'v Value<'_>) -> Vec<(Option<bool>, Vec<&'v str>)> {
    let mut lines = Vec::new();
    let items = items(value);
    if items.is_empty() {
        lines.push((None, Vec::new()));
    }
    for item in items {
        let Some(text) = walk.text(item) else { continue };
        let (words, inverted) = text.strip_prefix('~').map_or((text, false), |rest| (rest, true));
        let words: Vec<&str> = words.split_whitespace().collect();
        lines.push(((!text.is_empty()).then_some(inverted), words));
    }
    lines
}

fn call_rules(list: &mut Vec<CallRule>, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    const RULES_MAX: usize = 4096;
    for (inverted, words) in lines(walk, value) {
        let Some(inverted) = inverted else {
            list.clear();
            continue;
        };
        for word in words {
            let (name, answer) = word.split_once(':').map_or((word, None), |(name, answer)| (name, Some(answer)));
            let answer = match answer {
                None => None,
                Some("kill") => Some(CallAnswer::Kill),
                Some(text) => match errno(text) {
                    Some(number) => Some(CallAnswer::Errno(number)),
                    None => {
                        walk.error(value, format!("{text:?} is no error"), Some("write one as EPERM".to_owned()));
                        continue;
                    }
                },
            };
            if is_known(name) {
                list.push(CallRule { name: name.into(), inverted, answer });
            } else {
                walk.error(value, format!("{name:?} is no system call"), did_you_mean(name, names()));
            }
        }
    }
    if list.len() > RULES_MAX {
        list.truncate(RULES_MAX);
        walk.error(value, format!("{:?} has more than {RULES_MAX} entries", walk.key), None);
    }
}

fn system_call_error_number(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let number = value.get_ref().as_integer().map(ToString::to_string);
    let text = match (&number, value.get_ref().as_str()) {
        (Some(number), _) => number,
        (None, Some(text)) => text,
        (None, None) => {
            walk.wrong_type(value, "an error such as \"EPERM\"");
            return;
        }
    };
    let slot = &mut sandbox(draft).system_call_error_number;
    match (text, errno(text)) {
        ("" | "kill", _) => *slot = None,
        (_, Some(number @ 1..)) => *slot = Some(number),
        (_, Some(0) | None) => {
            walk.error(value, format!("{text:?} is no error"), Some("write one as EPERM".to_owned()));
        }
    }
}

/// A filter is for one machine; calls of another are not let through.
fn system_call_architectures(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    for (inverted, words) in lines(walk, value) {
        if inverted.is_none() {
            sandbox(draft).on.set(Switch::NativeCallsOnly, false);
        }
        for word in words {
            if word == "native" {
                sandbox(draft).on.set(Switch::NativeCallsOnly, true);
            } else {
                let message = format!("{:?} cannot be {word:?} in this version", walk.key);
                walk.error(value, message, Some("write \"native\"".to_owned()));
            }
        }
    }
}

fn restrict_address_families(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let slot = &mut sandbox(draft).restrict_address_families;
    for (inverted, words) in lines(walk, value) {
        let Some(inverted) = inverted else {
            *slot = None;
            continue;
        };
        if !inverted && words == ["none"] {
            *slot = Some(AddressFamilies { allow: true, families: Vec::new() });
            continue;
        }
        // The first line says of what kind the list is.
        let list = slot.get_or_insert(AddressFamilies { allow: !inverted, families: Vec::new() });
        for word in words {
            let Some(family) = address_family(word) else {
                let help = did_you_mean(word, address_families());
                walk.error(value, format!("{word:?} is no address family"), help);
                continue;
            };
            list.families.retain(|known| *known != family);
            if list.allow != inverted {
                list.families.push(family);
            }
        }
        list.families.sort_unstable();
    }
}

/// A truth, or kinds of namespaces: those that may be made, or with `~` those that may not.
fn restrict_namespaces(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let all = NAMESPACES.iter().map(|(_, flag)| flag).fold(0, |all, flag| all | flag);
    let slot = &mut sandbox(draft).restrict_namespaces;
    if let DeValue::Boolean(restricted) = value.get_ref() {
        *slot = restricted.then_some(0);
        return;
    }
    for (inverted, words) in lines(walk, value) {
        match (inverted, words.as_slice()) {
            (None, _) | (Some(false), ["no" | "false" | "off" | "0" | "n" | "f"]) => *slot = None,
            (Some(false), ["yes" | "true" | "on" | "1" | "y" | "t"]) => *slot = Some(0),
            (Some(inverted), words) => {
                let mut named = 0;
                for word in words {
                    match NAMESPACES.iter().find(|(name, _)| name == word) {
                        Some((_, flag)) => named |= flag,
                        None => {
                            let names = NAMESPACES.iter().map(|(name, _)| *name);
                            let help = did_you_mean(word, names.clone())
                                .unwrap_or_else(|| format!("it can be {}", names.collect::<Vec<_>>().join(", ")));
                            walk.error(value, format!("{word:?} is no kind of namespace"), Some(help));
                        }
                    }
                }
                *slot = Some(match (*slot, inverted) {
                    (None, false) => named,
                    (None, true) => all & !named,
                    (Some(allowed), false) => allowed | named,
                    (Some(allowed), true) => allowed & !named,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_part_fields_and_a_backslash_keeps_one() {
        assert_eq!(fields("/a:/b:norbind"), ["/a", "/b", "norbind"]);
        assert_eq!(fields(r"/a\:b:/c\d"), ["/a:b", r"/c\d"]);
        assert_eq!(fields(""), [""]);
    }
}
