//! Settings of one unit that work against each other.

use std::path::{Path, PathBuf};

use super::{calls, entry::HOMES};
use crate::unit::spec::{At, ProtectHome, SandboxPath, SandboxSpec, ServiceSpec, Switch};

/// A key that does not do what it says, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::unit) struct Contradiction {
    pub key: &'static str,
    pub message: String,
}

/// All of a service.
pub(in crate::unit) fn contradictions(service: &ServiceSpec) -> Vec<Contradiction> {
    let Some(spec) = service.exec.sandbox.as_deref() else { return Vec::new() };
    let mut found = Vec::new();
    let mut say = |key, message| found.push(Contradiction { key, message });
    hidden(service, spec, &mut say);
    let root = service.exec.root_directory.as_deref();
    for open in &spec.read_write_paths {
        let closed = |closed: &&SandboxPath| closed.within(root).is_some_and(|path| open.within(root) == Some(path));
        if spec.read_only_paths.iter().any(|path| closed(&path)) {
            let message = format!("{} stands in \"read_only_paths\" too, which counts", open.path.display());
            say("read_write_paths", message);
        }
    }
    if !spec.exec_paths.is_empty() && spec.no_exec_paths.is_empty() {
        say("exec_paths", "\"exec_paths\" changes nothing without \"no_exec_paths\"".to_owned());
    }
    if spec.network_namespace_path.is_some() && spec.on.has(Switch::PrivateNetwork) {
        say("private_network", "\"network_namespace_path\" counts, and not \"private_network\"".to_owned());
    }
    if spec.system_call_error_number.is_some() && spec.system_call_filter.is_empty() {
        let message = "\"system_call_error_number\" changes nothing without \"system_call_filter\"";
        say("system_call_error_number", message.to_owned());
    }
    if denies_execve(spec) {
        let message = "\"system_call_filter\" denies execve, without which the service cannot be started";
        say("system_call_filter", message.to_owned());
    }
    found
}

/// What is named below something that is not there for the service.
fn hidden(service: &ServiceSpec, spec: &SandboxSpec, say: &mut impl FnMut(&'static str, String)) {
    let root = service.exec.root_directory.as_deref();
    let hiding = |path: &Path| {
        let covers = |hidden: &&SandboxPath| hidden.within(root).is_some_and(|hidden| path.starts_with(hidden));
        let listed = spec.inaccessible_paths.iter().find(covers);
        let homes = HOMES.iter().find(|home| path.starts_with(home));
        match (listed, homes, spec.protect_home) {
            (Some(_), ..) => Some("inaccessible_paths"),
            (None, Some(_), ProtectHome::Yes) => Some("protect_home"),
            (None, ..) => None,
        }
    };
    let lists = [
        ("read_write_paths", &spec.read_write_paths),
        ("read_only_paths", &spec.read_only_paths),
        ("exec_paths", &spec.exec_paths),
    ];
    let within = |(key, list): (&'static str, &'_ Vec<SandboxPath>)| -> Vec<(&'static str, PathBuf)> {
        list.iter().filter_map(|path| Some((key, path.within(root)?))).collect()
    };
    let listed = lists.into_iter().flat_map(within);
    let binds = spec
        .bind_paths
        .iter()
        .map(|bind| (if bind.read_only { "bind_read_only_paths" } else { "bind_paths" }, bind.target.to_path_buf()));
    for (key, path) in listed.chain(binds) {
        if let Some(by) = hiding(&path) {
            say(key, format!("{} is not there for the service: {by:?} hides it", path.display()));
        }
    }
    let bound = |path: &Path| spec.bind_paths.iter().any(|bind| path.starts_with(&bind.target));
    let program = service.exec_start.iter().map(|command| ("exec_start", Path::new(&*command.program)));
    let folder = match &service.exec.working_directory.at {
        At::Path(path) => Some(("working_directory", &**path)),
        At::Root | At::Home => None,
    };
    for (key, path) in program.chain(folder) {
        if let Some(by) = hiding(path).filter(|_| !bound(path)) {
            say(key, format!("{} is not there for the service: {by:?} hides it", path.display()));
        }
    }
}

fn denies_execve(spec: &SandboxSpec) -> bool {
    let deny = spec.system_call_filter.first().is_some_and(|rule| rule.inverted);
    let mut denied = false;
    for rule in spec.system_call_filter.iter().filter(|_| deny) {
        calls::expand(&rule.name, &mut |call| denied = if call == "execve" { rule.inverted } else { denied });
    }
    denied
}
