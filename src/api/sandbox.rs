//! What a definition says of its sandbox, key by key, as `supervisorctl show` prints it: what is not said is not shown.

use crate::unit::spec::{
    AddressFamilies, BindPath, CallAnswer, CallRule, ProcSubset, Propagation, ProtectHome, ProtectProc, ProtectSystem,
    SandboxFallback, SandboxPath, SandboxSpec, Switch,
};

/// Names and values; lists of flags are in numbers.
pub(super) fn of(spec: &SandboxSpec) -> Vec<(&'static str, String)> {
    let mut all: Vec<(&'static str, String)> = vec![("sandbox_fallback", fallback(spec.fallback).to_owned())];
    all.extend(spec.on.iter().map(|switch| {
        let word = if switch == Switch::NativeCallsOnly { "native" } else { "true" };
        (switch.as_str(), word.to_owned())
    }));
    words(spec, &mut all);
    let lists = [
        ("read_only_paths", paths(&spec.read_only_paths)),
        ("read_write_paths", paths(&spec.read_write_paths)),
        ("inaccessible_paths", paths(&spec.inaccessible_paths)),
        ("exec_paths", paths(&spec.exec_paths)),
        ("no_exec_paths", paths(&spec.no_exec_paths)),
        ("bind_paths", binds(spec.bind_paths.iter().filter(|bind| !bind.read_only))),
        ("bind_read_only_paths", binds(spec.bind_paths.iter().filter(|bind| bind.read_only))),
        ("system_call_filter", calls(&spec.system_call_filter)),
        ("system_call_log", calls(&spec.system_call_log)),
    ];
    all.extend(lists.into_iter().filter(|(_, list)| !list.is_empty()));
    let empty = spec.temporary_file_systems.iter().map(|empty| format!("{}:{}", empty.path.display(), empty.options));
    let empty: Vec<String> = empty.collect();
    if !empty.is_empty() {
        all.push(("temporary_file_system", empty.join(" ")));
    }
    all
}

fn words(spec: &SandboxSpec, all: &mut Vec<(&'static str, String)>) {
    let system = match spec.protect_system {
        ProtectSystem::No => None,
        ProtectSystem::Yes => Some("yes"),
        ProtectSystem::Full => Some("full"),
        ProtectSystem::Strict => Some("strict"),
    };
    let home = match spec.protect_home {
        ProtectHome::No => None,
        ProtectHome::Yes => Some("yes"),
        ProtectHome::ReadOnly => Some("read-only"),
        ProtectHome::Tmpfs => Some("tmpfs"),
    };
    let proc = match spec.protect_proc {
        ProtectProc::Default => None,
        ProtectProc::NoAccess => Some("noaccess"),
        ProtectProc::Invisible => Some("invisible"),
        ProtectProc::Ptraceable => Some("ptraceable"),
    };
    let subset = match spec.proc_subset {
        ProcSubset::All => None,
        ProcSubset::Pid => Some("pid"),
    };
    let flags = spec.mount_flags.map(|flags| match flags {
        Propagation::Shared => "shared",
        Propagation::Slave => "slave",
        Propagation::Private => "private",
    });
    let said = [
        ("protect_system", system),
        ("protect_home", home),
        ("protect_proc", proc),
        ("proc_subset", subset),
        ("mount_flags", flags),
    ];
    all.extend(said.into_iter().filter_map(|(key, word)| Some((key, word?.to_owned()))));
    let path = spec.network_namespace_path.as_ref().map(|path| path.display().to_string());
    let more = [
        ("network_namespace_path", path),
        ("restrict_address_families", spec.restrict_address_families.as_ref().map(families)),
        ("restrict_namespaces", spec.restrict_namespaces.map(|allowed| format!("{allowed:#x}"))),
        ("system_call_error_number", spec.system_call_error_number.map(|errno| errno.to_string())),
    ];
    all.extend(more.into_iter().filter_map(|(key, value)| Some((key, value?))));
}

const fn fallback(fallback: SandboxFallback) -> &'static str {
    match fallback {
        SandboxFallback::Refuse => "refuse",
        SandboxFallback::Warn => "warn",
    }
}

fn paths(list: &[SandboxPath]) -> String {
    let shown = list.iter().map(|path| {
        let may_miss = if path.may_miss { "-" } else { "" };
        let in_root = if path.in_root { "+" } else { "" };
        format!("{may_miss}{in_root}{}", path.path.display())
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn binds<'b>(list: impl Iterator<Item = &'b BindPath>) -> String {
    let shown = list.map(|bind| {
        let may_miss = if bind.may_miss { "-" } else { "" };
        let recursive = if bind.recursive { "rbind" } else { "norbind" };
        format!("{may_miss}{}:{}:{recursive}", bind.source.display(), bind.target.display())
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn calls(list: &[CallRule]) -> String {
    let shown = list.iter().map(|rule| {
        let inverted = if rule.inverted { "~" } else { "" };
        let answer = match rule.answer {
            None => String::new(),
            Some(CallAnswer::Kill) => ":kill".to_owned(),
            Some(CallAnswer::Errno(errno)) => format!(":{errno}"),
        };
        format!("{inverted}{}{answer}", rule.name)
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn families(families: &AddressFamilies) -> String {
    let list: Vec<String> = families.families.iter().map(ToString::to_string).collect();
    let inverted = if families.allow { "" } else { "~" };
    if list.is_empty() { "none".to_owned() } else { format!("{inverted}{}", list.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::{SourceText, load};

    #[test]
    fn what_is_said_is_shown_and_nothing_else() {
        let text = "service.exec_start = 'x'\nservice.private_tmp = true\nservice.protect_system = 'strict'\n\
                    service.read_write_paths = ['-/a']\nservice.bind_paths = '/b:/c'\n\
                    service.system_call_filter = '~@mount reboot:EPERM'\nservice.restrict_address_families = '~AF_INET'\n";
        let loaded = load(&[SourceText::new("a.toml", text).unwrap()]).unwrap();
        let unit = loaded.set.units.values().next().unwrap();
        let shown: Vec<String> = of(unit.service.exec.sandbox.as_deref().unwrap())
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert_eq!(
            shown,
            [
                "sandbox_fallback=refuse",
                "private_tmp=true",
                "protect_system=strict",
                "restrict_address_families=~2",
                "read_write_paths=-/a",
                "bind_paths=/b:/c:rbind",
                "system_call_filter=~@mount ~reboot:1",
            ]
        );
    }
}
